//! Writers at a steady rate: puts, some deletes, some transactions.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::{
    GROUPS, KEYS_PER_GROUP, PUTS_PER_SECOND,
    expect::{Change, key_name},
};
use crate::{
    both::{delete, op, put, txn},
    rpc::Rpc,
    seed::Seed,
};

const WRITERS: u64 = 64;

/// Revisions with their changes, in the order in which they were acknowledged.
pub(super) type Acknowledged = Vec<(i64, Vec<Change>)>;

/// Writes for so long, then returns everything that was acknowledged.
pub(super) async fn load(rpc: Rpc, duration: Duration) -> Result<Acknowledged, Status> {
    let until = Instant::now() + duration;
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(write(rpc.clone(), number, until)))
        .collect();
    let mut all = Acknowledged::new();
    for writer in writers {
        all.extend(
            writer
                .await
                .map_err(|error| Status::internal(error.to_string()))??,
        );
    }
    Ok(all)
}

async fn write(rpc: Rpc, number: u64, until: Instant) -> Result<Acknowledged, Status> {
    let mut random = Seed::new(7).split(number);
    let mut acknowledged = Acknowledged::new();
    // Every writer has its place in the second; who is late catches up.
    let mut pace =
        tokio::time::interval(Duration::from_micros(1_000_000 * WRITERS / PUTS_PER_SECOND));
    let mut serial = 0;
    while Instant::now() < until {
        pace.tick().await;
        serial += 1;
        let name = number << 32 | serial;
        let mut changes = draw(&mut random, name);
        if let Some(revision) = send(&rpc, &mut changes).await? {
            acknowledged.push((revision, changes));
        }
    }
    Ok(acknowledged)
}

fn draw(random: &mut Seed, name: u64) -> Vec<Change> {
    let kind = random.below(100);
    let count = if kind < 5 { 3 } else { 1 };
    let mut changes: Vec<Change> = Vec::with_capacity(count);
    while changes.len() < count {
        let key = random.below((GROUPS * KEYS_PER_GROUP) as u64) as u16;
        if changes.iter().all(|change| change.key != key) {
            let deleted = (5..12).contains(&kind);
            changes.push(Change {
                key,
                name: (!deleted).then_some(name),
            });
        }
    }
    changes
}

/// Sends the changes as one request; no revision if nothing was there to delete.
async fn send(rpc: &Rpc, changes: &mut [Change]) -> Result<Option<i64>, Status> {
    let header = match changes {
        [Change { key, name: None }] => {
            let answer = rpc.call(delete(&key_name(*key))).await?;
            if answer.deleted == 0 {
                return Ok(None);
            }
            answer.header
        }
        [
            Change {
                key,
                name: Some(name),
            },
        ] => rpc.call(put(&key_name(*key), &value(*name))).await?.header,
        several => {
            let ops = several.iter().map(|change| {
                op(put(
                    &key_name(change.key),
                    &value(change.name.unwrap_or_default()),
                ))
            });
            rpc.call(txn(ops.collect())).await?.header
        }
    };
    Ok(Some(header.expect("every answer has a header").revision))
}

/// Sixteen digits that name the write, and some weight.
fn value(name: u64) -> String {
    format!("{name:016x}{:048}", 0)
}
