//! Clients that write until the server is gone, and note what it acknowledged.

use std::time::Duration;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::Server;

use super::{CLIENTS, connect, ledger::Ledger};
use crate::{
    both::{delete, op, put, txn},
    rpc::Rpc,
    seed::Seed,
};

/// One key's new value, `None` for a delete.
pub(super) type Change = (String, Option<String>);

/// All changes of one request, which belong to one revision.
pub(super) type Write = Vec<Change>;

/// What one load left behind.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Acknowledged writes with their revisions.
    pub(super) acknowledged: Vec<(i64, Write)>,
    /// Sent, but the answer never came: may have happened or not.
    pub(super) unknown: Vec<Write>,
    /// Leases whose grant was acknowledged.
    pub(super) leases: Vec<i64>,
}

/// Lets all clients write, kills the server after `moment`, returns what they were told.
pub(super) async fn load_until_killed(
    server: &mut Server,
    cycle: u64,
    seed: u64,
    moment: Duration,
    ledger: &Ledger,
) -> Outcome {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let rpc = connect(server).await;
        let random = Seed::new(seed).split(cycle * 1000 + number as u64 + 1);
        let existing = ledger.existing_keys(number);
        clients.push(tokio::spawn(write_until_gone(
            rpc, number, cycle, random, existing,
        )));
    }
    // The moment of the kill is the point of the test; nothing is waited for here.
    tokio::time::sleep(moment).await;
    server.kill();
    let mut all = Outcome::default();
    for client in clients {
        let outcome = client.await.expect("a client does not panic");
        all.acknowledged.extend(outcome.acknowledged);
        all.unknown.extend(outcome.unknown);
        all.leases.extend(outcome.leases);
    }
    all
}

/// The keys of client `number`, so that no two clients write the same one.
pub(super) fn prefix(number: usize) -> String {
    format!("client{number}/")
}

async fn write_until_gone(
    rpc: Rpc,
    number: usize,
    cycle: u64,
    mut random: Seed,
    mut existing: Vec<String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let lease = pb::LeaseGrantRequest {
        ttl: 100_000,
        id: 0,
    };
    match rpc.call(lease).await {
        Ok(granted) => outcome.leases.push(granted.id),
        Err(_) => return outcome,
    }
    for serial in 0.. {
        // Names every write, so that the history can tell them apart.
        let name = format!(
            "{cycle}.{number}.{serial}.{}",
            "v".repeat(random.below(200) as usize)
        );
        let write = draw(&mut random, number, &name, &mut existing);
        match send(&rpc, &write).await {
            Ok(revision) => outcome.acknowledged.push((revision, write)),
            Err(status) => {
                // Only the connection may fail; the server refuses none of these writes.
                assert!(
                    matches!(
                        status.code(),
                        tonic::Code::Unavailable | tonic::Code::Unknown
                    ),
                    "{status:?}"
                );
                outcome.unknown.push(write);
                break;
            }
        }
    }
    outcome
}

/// Draws a put, a delete of an existing key, or a transaction of several puts and a delete.
fn draw(random: &mut Seed, number: usize, name: &str, existing: &mut Vec<String>) -> Write {
    let key = |random: &mut Seed| format!("{}{:04}", prefix(number), random.below(2000));
    let mut write = Write::new();
    let kind = random.below(10);
    if kind >= 8 && !existing.is_empty() {
        let gone = random.below(existing.len() as u64) as usize;
        write.push((existing.swap_remove(gone), None));
    }
    let puts = match kind {
        0..=6 => 1,
        7 | 8 => 3,
        _ => usize::from(write.is_empty()),
    };
    for _ in 0..puts {
        let key = key(random);
        if write.iter().any(|(other, _)| *other == key) {
            continue; // A transaction must not write a key twice.
        }
        if !existing.contains(&key) {
            existing.push(key.clone());
        }
        write.push((key, Some(name.to_owned())));
    }
    write
}

/// Sends the write and returns its revision.
async fn send(rpc: &Rpc, write: &Write) -> Result<i64, tonic::Status> {
    let header = match write.as_slice() {
        [(key, Some(value))] => rpc.call(put(key, value)).await?.header,
        [(key, None)] => rpc.call(delete(key)).await?.header,
        several => {
            let ops = several.iter().map(|(key, value)| match value {
                Some(value) => op(put(key, value)),
                None => op(delete(key)),
            });
            rpc.call(txn(ops.collect())).await?.header
        }
    };
    Ok(header.expect("every answer has a header").revision)
}
