//! The self-check: replies decoded in full with `kvorum-proto` and held against the quick readers.

use anyhow::{Context as _, Result, bail, ensure};
use kvorum_proto::{etcdserverpb as pb, mvccpb};
use prost::Message;

use crate::reply::{Asked, LeaseId, Revision};

/// The quick verdict, provided that the full one says the same.
pub(crate) fn compare<T: PartialEq + std::fmt::Debug>(
    quick: Result<T>,
    full: Result<T>,
) -> Result<T> {
    match (quick, full) {
        (Ok(quick), Ok(full)) => {
            ensure!(
                quick == full,
                "self-check: quick reader says {quick:?}, full decoding {full:?}"
            );
            Ok(quick)
        }
        (Err(error), Err(_)) => Err(error),
        (Ok(_), Err(error)) => Err(error).context("self-check: only full decoding found this"),
        (Err(error), Ok(_)) => Err(error).context("self-check: only the quick reader found this"),
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Result<Revision> {
    let header = header.context("reply without a header")?;
    ensure!(
        header.cluster_id != 0 && header.member_id != 0,
        "header without ids: {header:?}"
    );
    ensure!(header.raft_term > 0, "header without a term: {header:?}");
    Ok(Revision(header.revision))
}

pub(crate) fn put(bytes: &[u8]) -> Result<Revision> {
    revision(pb::PutResponse::decode(bytes)?.header)
}

pub(crate) fn range(bytes: &[u8], asked: Asked) -> Result<Revision> {
    let reply = pb::RangeResponse::decode(bytes)?;
    ensure!(!reply.more, "more is set");
    ensure!(reply.count == asked.keys as i64, "count is {}", reply.count);
    ensure!(
        reply.kvs.len() as u64 == asked.keys,
        "{} keys",
        reply.kvs.len()
    );
    for (at, kv) in (0..).zip(&reply.kvs) {
        let expected = asked.first.plus(at).key();
        ensure!(kv.key == expected[..], "key {at} is {:?}", kv.key);
        ensure!(
            kv.value.len() == asked.value_bytes,
            "value of {} bytes",
            kv.value.len()
        );
        ensure!(
            kv.version > 0 && kv.create_revision > 0,
            "key never created: {kv:?}"
        );
        ensure!(
            kv.mod_revision >= kv.create_revision,
            "revisions out of order: {kv:?}"
        );
    }
    let revision = revision(reply.header)?;
    let newest = reply
        .kvs
        .iter()
        .map(|kv| kv.mod_revision)
        .max()
        .unwrap_or(0);
    ensure!(
        newest <= revision.0,
        "key at {newest} in a reply at {revision:?}"
    );
    Ok(revision)
}

pub(crate) fn txn(bytes: &[u8]) -> Result<Revision> {
    let reply = pb::TxnResponse::decode(bytes)?;
    ensure!(reply.succeeded, "failure branch taken");
    let revision = revision(reply.header)?;
    match &reply.responses[..] {
        [
            pb::ResponseOp {
                response: Some(pb::response_op::Response::ResponsePut(_)),
            },
        ] => Ok(revision),
        other => bail!("txn responses are {other:?}"),
    }
}

pub(crate) fn lease_keep_alive(bytes: &[u8], expected: LeaseId) -> Result<()> {
    let reply = pb::LeaseKeepAliveResponse::decode(bytes)?;
    ensure!(reply.id == expected.0, "lease {}", reply.id);
    ensure!(reply.ttl > 0, "TTL {}", reply.ttl);
    revision(reply.header).map(|_| ())
}

/// The values and revisions of all changes in a WatchResponse.
pub(crate) fn watch(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Revision)>> {
    let reply = pb::WatchResponse::decode(bytes)?;
    ensure!(!reply.canceled, "canceled: {}", reply.cancel_reason);
    let mut changes = Vec::with_capacity(reply.events.len());
    for event in reply.events {
        ensure!(
            event.r#type == mvccpb::event::EventType::Put as i32,
            "event {}",
            event.r#type
        );
        let kv = event.kv.context("event without a key-value pair")?;
        changes.push((kv.value.to_vec(), Revision(kv.mod_revision)));
    }
    revision(reply.header)?;
    Ok(changes)
}
