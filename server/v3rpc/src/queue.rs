//! The queue behind locks and elections: of all keys under a prefix, the one created first is at its head. (etcd:
//! client/v3/concurrency)
//!
//! A place is a key whose lease is its owner's. Whoever comes watches the key just before its own, so that the end of
//! one place wakes one caller and not all. The create revision of a place is a fencing number: it grows with every
//! holder.

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
        ResponseHeader, ResponseOp, TxnRequest,
        compare::{CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op, response_op,
    },
    mvccpb::{KeyValue, event::EventType},
};
use prost::Message;

use crate::{client::Client, follow::Follow};

/// All keys of one lock or election.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    prefix: Bytes,
    range_end: Bytes,
}

/// A place in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) key: Bytes,
    /// Revision at which the key was created.
    pub(crate) created: i64,
    /// The pair, if the lease had this place before.
    pub(crate) before: Option<KeyValue>,
    /// Nobody stood before this place when it was taken.
    pub(crate) first: bool,
    /// Of the transaction that took the place.
    pub(crate) header: ResponseHeader,
}

impl Queue {
    pub(crate) fn new(name: &[u8]) -> Self {
        let with = |last: u8| {
            let mut key = Vec::with_capacity(name.len() + 1);
            key.extend_from_slice(name);
            key.push(last);
            Bytes::from(key)
        };
        Self {
            prefix: with(b'/'),
            range_end: with(b'/' + 1),
        }
    }

    /// The key of a lease's place.
    pub(crate) fn key(&self, lease: i64) -> Bytes {
        let digits = lease.unsigned_abs();
        let sign = if lease < 0 { "-" } else { "" };
        let mut key = self.prefix.to_vec();
        key.extend_from_slice(format!("{sign}{digits:x}").as_bytes());
        key.into()
    }

    /// Takes a place at the end, or finds the one that this lease has.
    pub(crate) async fn enter(
        &self,
        client: &Client,
        lease: i64,
        value: Bytes,
    ) -> Result<Place, Error> {
        let key = self.key(lease);
        let put = PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        };
        let own = RangeRequest {
            key: key.clone(),
            ..Default::default()
        };
        let head = request_op::Request::RequestRange(self.first());
        let request = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: ops([request_op::Request::RequestPut(put), head.clone()]),
            failure: ops([request_op::Request::RequestRange(own), head]),
        };
        let response = client.txn(request).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        let mut answers = response.responses.into_iter().map(pairs);
        let before = answers.next().flatten();
        let head = answers.next().flatten();
        let created = before
            .as_ref()
            .map_or(revision, |pair| pair.create_revision);
        Ok(Place {
            first: head.is_none_or(|head| head.create_revision == created),
            header: client.header(revision),
            key,
            created,
            before,
        })
    }

    /// Waits until all places before the one created at `created` are given up.
    pub(crate) async fn wait_turn(&self, client: &Client, created: i64) -> Result<(), Error> {
        loop {
            let request = RangeRequest {
                max_create_revision: created - 1,
                sort_order: SortOrder::Descend.into(),
                ..self.first()
            };
            let reply = client.range(request).await?;
            let Some(pair) = reply.kvs.first() else {
                return Ok(());
            };
            let key = decode(pair)?.key;
            let mut follow = Follow::key(client, key, reply.revision).await?;
            // Where history was compacted under the watch, or the right to it was lost, the next look tells.
            while let Some((_, events)) = follow.next().await? {
                if events
                    .iter()
                    .any(|event| event.r#type() == EventType::Delete)
                {
                    break;
                }
            }
        }
    }

    /// The oldest place, and the revision that was read.
    pub(crate) async fn head(&self, client: &Client) -> Result<(i64, Option<KeyValue>), Error> {
        let reply = client.range(self.first()).await?;
        let pair = reply.kvs.first().map(decode).transpose()?;
        Ok((reply.revision, pair))
    }

    /// Follows all places from a revision on.
    pub(crate) async fn follow(
        &self,
        client: &Client,
        start_revision: i64,
    ) -> Result<Follow, Error> {
        let (from, to) = (self.prefix.clone(), self.range_end.clone());
        Follow::interval(client, from, to, start_revision).await
    }

    fn first(&self) -> RangeRequest {
        RangeRequest {
            key: self.prefix.clone(),
            range_end: self.range_end.clone(),
            limit: 1,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            ..Default::default()
        }
    }
}

/// Gives a place up; that it is gone already does not matter.
pub(crate) async fn leave(client: &Client, key: Bytes) -> Result<i64, Error> {
    let request = DeleteRangeRequest {
        key,
        ..Default::default()
    };
    let response = client.delete_range(request).await?;
    Ok(response.header.map_or(0, |header| header.revision))
}

/// The pair at `key`, and the revision that was read.
pub(crate) async fn get(client: &Client, key: Bytes) -> Result<(i64, Option<KeyValue>), Error> {
    let request = RangeRequest {
        key,
        ..Default::default()
    };
    let reply = client.range(request).await?;
    let pair = reply.kvs.first().map(decode).transpose()?;
    Ok((reply.revision, pair))
}

/// Does `op` if `key` was created at `created`. Whether it was, and the revision.
pub(crate) async fn if_created_at(
    client: &Client,
    key: &Bytes,
    created: i64,
    op: request_op::Request,
) -> Result<(bool, i64), Error> {
    let request = TxnRequest {
        compare: vec![created_at(key, created)],
        success: ops([op]),
        failure: Vec::new(),
    };
    let response = client.txn(request).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    Ok((response.succeeded, revision))
}

fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

fn ops<const N: usize>(ops: [request_op::Request; N]) -> Vec<RequestOp> {
    ops.map(|op| RequestOp { request: Some(op) }).into()
}

/// The pair that a range inside a transaction found.
fn pairs(op: ResponseOp) -> Option<KeyValue> {
    match op.response {
        Some(response_op::Response::ResponseRange(RangeResponse { kvs, .. })) => {
            kvs.into_iter().next()
        }
        _ => None,
    }
}

/// Stored pairs decode: the machine encoded them.
fn decode(pair: &Bytes) -> Result<KeyValue, Error> {
    KeyValue::decode(pair.clone()).map_err(|error| {
        tracing::error!(%error, "a stored pair does not decode");
        Error::Stopped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_by_their_lease_in_hexadecimal() {
        let queue = Queue::new(b"lock");
        assert_eq!(queue.key(0x7a1b), "lock/7a1b");
        assert_eq!(queue.key(-5), "lock/-5");
        assert_eq!(queue.key(i64::MIN), "lock/-8000000000000000");
        assert_eq!(
            (&queue.prefix[..], &queue.range_end[..]),
            (&b"lock/"[..], &b"lock0"[..])
        );
        assert_eq!(Queue::new(b"").key(1), "/1");
    }
}
