//! Requests encoded once, then sent again and again with another key and value in place.

use kvorum_proto::etcdserverpb as pb;
use prost::Message;

use crate::{
    http2::Path,
    keyspace::{KEY_BYTES, KeyNumber, PREFIX, Random, Values},
    reply::LeaseId,
};

/// Bytes that stand for a key or value while a message is encoded; no other part of it looks so.
const KEY_MARK: u8 = 0xf1;
const END_MARK: u8 = 0xf2;
const VALUE_MARK: u8 = 0xf3;

/// A gRPC message: compression flag, length, protobuf.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut out = vec![0];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// A method and a message for it, with the places of what changes.
pub(crate) struct Template {
    pub(crate) path: Path,
    message: Vec<u8>,
    keys_at: Vec<usize>,
    ends_at: Vec<usize>,
    values_at: Vec<usize>,
}

impl Template {
    fn new(path: &str, message: &impl Message, value_bytes: usize) -> Self {
        let message = framed(message);
        let keys_at = places(&message, &[KEY_MARK; KEY_BYTES]);
        let ends_at = places(&message, &[END_MARK; KEY_BYTES]);
        let values_at = places(&message, &vec![VALUE_MARK; value_bytes]);
        Self {
            path: Path::new(path),
            message,
            keys_at,
            ends_at,
            values_at,
        }
    }

    pub(crate) fn put(value_bytes: usize) -> Self {
        Self::new(
            "/etcdserverpb.KV/Put",
            &marked_put(value_bytes),
            value_bytes,
        )
    }

    /// One key, linearizable or serializable.
    pub(crate) fn get(serializable: bool) -> Self {
        let key = vec![KEY_MARK; KEY_BYTES].into();
        let request = pb::RangeRequest {
            key,
            serializable,
            ..Default::default()
        };
        Self::new("/etcdserverpb.KV/Range", &request, 0)
    }

    /// All keys from one key to before another.
    pub(crate) fn range() -> Self {
        let request = pb::RangeRequest {
            key: vec![KEY_MARK; KEY_BYTES].into(),
            range_end: vec![END_MARK; KEY_BYTES].into(),
            ..Default::default()
        };
        Self::new("/etcdserverpb.KV/Range", &request, 0)
    }

    /// If the key exists then put it, else get it.
    pub(crate) fn txn(value_bytes: usize) -> Self {
        let key = || vec![KEY_MARK; KEY_BYTES].into();
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Greater.into(),
            target: pb::compare::CompareTarget::Version.into(),
            key: key(),
            target_union: Some(pb::compare::TargetUnion::Version(0)),
            ..Default::default()
        };
        let put = pb::request_op::Request::RequestPut(marked_put(value_bytes));
        let get = pb::RangeRequest {
            key: key(),
            ..Default::default()
        };
        let get = pb::request_op::Request::RequestRange(get);
        let request = pb::TxnRequest {
            compare: vec![compare],
            success: vec![pb::RequestOp { request: Some(put) }],
            failure: vec![pb::RequestOp { request: Some(get) }],
        };
        Self::new("/etcdserverpb.KV/Txn", &request, value_bytes)
    }

    /// Sets the key, and the end of the range that starts there.
    pub(crate) fn set_keys(&mut self, first: KeyNumber, keys: u64) {
        fill(&mut self.message, &self.keys_at, &first.key());
        if !self.ends_at.is_empty() {
            fill(&mut self.message, &self.ends_at, &first.plus(keys).key());
        }
    }

    /// Sets the value; `stamp` overwrites its first bytes.
    pub(crate) fn set_value(&mut self, values: &Values, random: &mut Random, stamp: &[u8]) {
        for at in &self.values_at {
            let value = values.pick(random);
            self.message[*at..*at + value.len()].copy_from_slice(value);
            self.message[*at..*at + stamp.len()].copy_from_slice(stamp);
        }
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }
}

fn marked_put(value_bytes: usize) -> pb::PutRequest {
    pb::PutRequest {
        key: vec![KEY_MARK; KEY_BYTES].into(),
        value: vec![VALUE_MARK; value_bytes].into(),
        ..Default::default()
    }
}

fn fill(message: &mut [u8], places: &[usize], bytes: &[u8]) {
    for at in places {
        message[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Where `mark` stands in `message`, without overlaps.
fn places(message: &[u8], mark: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while !mark.is_empty() && at + mark.len() <= message.len() {
        if message[at..].starts_with(mark) {
            found.push(at);
            at += mark.len();
        } else {
            at += 1;
        }
    }
    found
}

/// Watches everything under the bench's prefix.
pub(crate) fn watch_create() -> Vec<u8> {
    let mut range_end = PREFIX.to_vec();
    if let Some(last) = range_end.last_mut() {
        *last += 1;
    }
    let create = pb::WatchCreateRequest {
        key: PREFIX.to_vec().into(),
        range_end: range_end.into(),
        ..Default::default()
    };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    framed(&pb::WatchRequest {
        request_union: Some(union),
    })
}

pub(crate) fn lease_grant(ttl_seconds: i64) -> Vec<u8> {
    framed(&pb::LeaseGrantRequest {
        ttl: ttl_seconds,
        id: 0,
    })
}

pub(crate) fn lease_keep_alive(lease: LeaseId) -> Vec<u8> {
    framed(&pb::LeaseKeepAliveRequest { id: lease.0 })
}

/// How many keys the bench has, without the keys.
pub(crate) fn count() -> Vec<u8> {
    framed(&pb::RangeRequest {
        key: PREFIX.to_vec().into(),
        range_end: vec![0].into(),
        count_only: true,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<M: Message + Default>(template: &Template) -> M {
        M::decode(&template.message()[5..]).expect("a valid message")
    }

    #[test]
    fn keys_and_values_land_in_their_fields() {
        let mut random = Random::new(3);
        let values = Values::new(256, &mut random);
        let mut put = Template::put(256);
        put.set_keys(KeyNumber(42), 1);
        put.set_value(&values, &mut random, b"stamp");
        let request: pb::PutRequest = decoded(&put);
        assert_eq!(request.key, KeyNumber(42).key()[..]);
        assert_eq!(request.value.len(), 256);
        assert!(request.value.starts_with(b"stamp"));
        assert_ne!(request.value[5..], [VALUE_MARK; 251], "no mark is left");
    }

    #[test]
    fn a_range_of_keys_ends_before_the_next_key() {
        let mut range = Template::range();
        range.set_keys(KeyNumber(900), 100);
        let request: pb::RangeRequest = decoded(&range);
        assert_eq!(request.key, KeyNumber(900).key()[..]);
        assert_eq!(request.range_end, KeyNumber(1000).key()[..]);
    }

    #[test]
    fn a_txn_names_its_key_in_every_part() {
        let mut txn = Template::txn(256);
        txn.set_keys(KeyNumber(7), 1);
        let request: pb::TxnRequest = decoded(&txn);
        let key = &KeyNumber(7).key()[..];
        assert_eq!(request.compare[0].key, key);
        match &request.success[0].request {
            Some(pb::request_op::Request::RequestPut(put)) => assert_eq!(put.key, key),
            other => panic!("{other:?}"),
        }
        match &request.failure[0].request {
            Some(pb::request_op::Request::RequestRange(get)) => assert_eq!(get.key, key),
            other => panic!("{other:?}"),
        }
    }
}
