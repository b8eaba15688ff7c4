//! Writes: single ones and transactions. Everything is validated before the first change, so that a transaction
//! happens whole or not at all. (etcd: server/etcdserver/txn/txn.go)

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;
use pb::request_op::Request as Op;
use pb::response_op::Response;
use prost::Message;

use super::compare;
use super::interval::Interval;
use super::ops::OpCounts;
use super::range::{self, ReadError, Reading};
use super::read_txn::ReadTxn;
use super::store::{Event, Store, Write};
use crate::backend::BackendError;
use crate::error::Error;
use crate::lease::Lessor;
use crate::mutants::{self, Mutant};
use crate::types::LeaseId;

/// One write transaction on the store and the leases its keys hang on.
pub struct Writing<'a> {
    store: &'a mut Store,
    lessor: &'a mut Lessor,
    write: Write,
    /// Ranges made while it was checked, which etcd does in a transaction of their own.
    checked: OpCounts,
    done: OpCounts,
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}

fn decode(kv: Bytes) -> Option<KeyValue> {
    KeyValue::decode(kv).ok()
}

impl<'a> Writing<'a> {
    /// Begins.
    pub fn new(store: &'a mut Store, lessor: &'a mut Lessor) -> Self {
        let write = store.begin();
        Self {
            store,
            lessor,
            write,
            checked: OpCounts::default(),
            done: OpCounts::default(),
        }
    }

    /// Ends: the changes have happened together. Gives them back for the watchers.
    pub fn end(self) -> Vec<Event> {
        self.store.commit(&self.write);
        self.write.events
    }

    /// What it has done so far.
    #[must_use]
    pub fn ops(&self) -> OpCounts {
        self.checked.grouped().plus(self.done.grouped())
    }

    /// The revision that a read inside this transaction sees.
    fn revision(&self) -> i64 {
        self.store.current() + i64::from(!self.write.events.is_empty())
    }

    /// A put that stands alone.
    ///
    /// # Errors
    /// The lease, or the key whose value or lease is to be kept, does not exist.
    pub fn put(&mut self, r: &pb::PutRequest) -> Result<pb::PutResponse, ReadError> {
        self.check_lease(r)?;
        if let Err(missing) = self.check_kept(r) {
            self.done.ranges += 1;
            return Err(missing.into());
        }
        Ok(self.run_put(r)?)
    }

    fn check_lease(&self, r: &pb::PutRequest) -> Result<(), Error> {
        let known = r.lease == 0 || self.lessor.contains(LeaseId(r.lease));
        if known {
            Ok(())
        } else {
            Err(Error::LeaseNotFound)
        }
    }

    fn check_kept(&self, r: &pb::PutRequest) -> Result<(), Error> {
        let missing = (r.ignore_value || r.ignore_lease) && self.store.latest(&r.key).is_none();
        if missing {
            Err(Error::KeyNotFound)
        } else {
            Ok(())
        }
    }

    fn run_put(&mut self, r: &pb::PutRequest) -> Result<pb::PutResponse, BackendError> {
        self.done.ranges += u64::from(r.prev_kv || r.ignore_value || r.ignore_lease);
        let before = self.store.latest(&r.key);
        let old = match before {
            Some(l) if r.prev_kv || r.ignore_value => decode(self.store.load_newest(l.revision)?),
            _ => None,
        };
        let value = match &old {
            Some(kv) if r.ignore_value => kv.value.clone(),
            _ => r.value.clone(),
        };
        let lease = if r.ignore_lease {
            before.map_or(0, |l| l.lease)
        } else {
            r.lease
        };
        self.store.put(&mut self.write, &r.key, &value, lease);
        self.done.puts += 1;
        self.done.put_bytes += (r.key.len() + value.len()) as u64;
        let old_lease = before.map_or(0, |l| l.lease);
        if old_lease != lease {
            self.lessor.detach(LeaseId(old_lease), &r.key);
            self.lessor.attach(LeaseId(lease), &r.key);
        }
        Ok(pb::PutResponse {
            header: header(self.revision()),
            prev_kv: old.filter(|_| r.prev_kv),
        })
    }

    /// A delete.
    ///
    /// # Errors
    /// The state store failed.
    pub fn delete_range(
        &mut self,
        r: &pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, BackendError> {
        self.done.deletes += 1;
        self.done.ranges += u64::from(r.prev_kv);
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        if let Some(bounds) = Interval::new(&r.key, &r.range_end).bounds() {
            let live = self.store.index.range::<[u8], _>(bounds);
            keys.extend(
                live.filter(|(_, i)| i.latest().is_some())
                    .map(|(k, _)| k.clone()),
            );
        }
        let mut prev_kvs = Vec::new();
        for key in &keys {
            if r.prev_kv
                && let Some(l) = self.store.latest(key)
            {
                prev_kvs.extend(decode(self.store.load_newest(l.revision)?));
            }
            self.remove(key);
        }
        let deleted = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        Ok(pb::DeleteRangeResponse {
            header: header(self.revision()),
            deleted,
            prev_kvs,
        })
    }

    /// Deletes one key if it exists.
    pub fn delete_key(&mut self, key: &[u8]) {
        self.done.deletes += 1;
        self.remove(key);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(before) = self.store.delete(&mut self.write, key) {
            self.lessor.detach(LeaseId(before.lease), key);
        }
    }

    /// A transaction.
    ///
    /// # Errors
    /// An operation on the chosen path cannot be done; nothing was changed then.
    pub fn txn(&mut self, r: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        let mut path = Vec::new();
        self.checked.ranges += compare::path(self.store, r, &mut path)?;
        self.check_txn(r, &mut path.iter().copied())?;
        let mut response = self.run_txn(r, &mut path.iter().copied())?;
        response.header = header(self.revision());
        Ok(response)
    }

    fn check_txn(
        &mut self,
        r: &pb::TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<(), Error> {
        let taken = path.next().unwrap_or_default();
        for op in compare::branch(r, taken) {
            match &op.request {
                Some(Op::RequestRange(_)) if mutants::on(Mutant::UncheckedRange) => {}
                Some(Op::RequestRange(r)) => check_range_revision(self.store, r)?,
                // The other way round than for a plain put: etcd's checkPut.
                Some(Op::RequestPut(r)) => {
                    self.checked.ranges += u64::from(r.ignore_value || r.ignore_lease);
                    self.check_kept(r)?;
                    self.check_lease(r)?;
                }
                Some(Op::RequestTxn(r)) => self.check_txn(r, path)?,
                Some(Op::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn run_txn(
        &mut self,
        r: &pb::TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<pb::TxnResponse, ReadError> {
        let succeeded = path.next().unwrap_or_default();
        let mut responses = Vec::new();
        for op in compare::branch(r, succeeded) {
            let response = match &op.request {
                Some(Op::RequestRange(_)) if mutants::on(Mutant::UncheckedRange) => None,
                Some(Op::RequestRange(r)) => {
                    self.done.ranges += 1;
                    let reading = Reading::in_txn(r, self.revision());
                    let reply = range::read_now(self.store, reading)?;
                    Some(Response::ResponseRange(range::to_message(reply)))
                }
                Some(Op::RequestPut(r)) => Some(Response::ResponsePut(self.run_put(r)?)),
                Some(Op::RequestDeleteRange(r)) => {
                    Some(Response::ResponseDeleteRange(self.delete_range(r)?))
                }
                Some(Op::RequestTxn(r)) => Some(Response::ResponseTxn(self.run_txn(r, path)?)),
                None => None,
            };
            responses.push(pb::ResponseOp { response });
        }
        Ok(pb::TxnResponse {
            header: header(0),
            succeeded,
            responses,
        })
    }
}

/// A range inside a transaction is checked against the state before it, and unlike a plain one a negative revision is
/// below the compact revision. (etcd: checkRange)
pub(super) fn check_range_revision(store: &Store, r: &pb::RangeRequest) -> Result<(), Error> {
    if r.revision > store.current() {
        return Err(Error::FutureRevision);
    }
    if r.revision != 0 && r.revision < store.compacted() {
        return Err(Error::Compacted);
    }
    Ok(())
}

/// True if all operations of both branches are plain ranges: such a transaction needs no log entry. A nested one of
/// any kind does. (isTxnReadonly)
#[must_use]
pub fn is_read_only(r: &pb::TxnRequest) -> bool {
    let plain = |op: &pb::RequestOp| matches!(op.request, Some(Op::RequestRange(_)));
    r.success.iter().chain(&r.failure).all(plain)
}

/// True if a read-only transaction has ranges, and every one is serializable. One that only compares asked for nothing of
/// the kind, and is linearizable; etcd's isTxnSerializable lets it read what the member happens to have.
#[must_use]
pub fn is_serializable(r: &pb::TxnRequest) -> bool {
    let local = |op: &pb::RequestOp| match &op.request {
        Some(Op::RequestRange(r)) => r.serializable,
        _ => false,
    };
    let mut ranges = r.success.iter().chain(&r.failure).peekable();
    ranges.peek().is_some() && ranges.all(local)
}

/// A read-only transaction, at one revision, and what it came to.
///
/// # Errors
/// A range's revision is compacted or in the future, or the state store failed.
pub fn read_txn(
    store: &Store,
    r: &pb::TxnRequest,
) -> Result<(pb::TxnResponse, OpCounts), ReadError> {
    let steps = ReadTxn::new(store, r)?;
    let mut responses = Vec::new();
    for (_, reading) in steps.readings() {
        let reply = range::read_now(store, reading)?;
        let response = Some(Response::ResponseRange(range::to_message(reply)));
        responses.push(pb::ResponseOp { response });
    }
    let response = pb::TxnResponse {
        header: header(steps.at),
        succeeded: steps.succeeded,
        responses,
    };
    Ok((response, steps.ops))
}
