//! Put, DeleteRange and Compact.

use bytes::Bytes;
use kvorum_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse,
};
use kvorum_proto::mvccpb::KeyValue;

use super::{Interval, Model, ModelError, Outcome, check, header};

impl Model {
    /// Answers a put.
    ///
    /// # Errors
    /// The request is malformed, an alarm forbids it, or its lease or its key does not exist.
    pub fn put(&mut self, request: &PutRequest) -> Outcome<PutResponse> {
        check::put(request)?;
        self.refuse_if_corrupt()?;
        self.refuse_if_no_space()?;
        // The lease is looked up first; inside a transaction the key is.
        self.require_lease(request.lease)?;
        self.require_kept(request)?;
        let response = self.put_in_txn(request);
        self.commit();
        Ok(response)
    }

    /// The key whose value or lease a put keeps must exist.
    pub(super) fn require_kept(&self, request: &PutRequest) -> Outcome<()> {
        let exists = self.at(&request.key, self.revision).is_some();
        if (request.ignore_value || request.ignore_lease) && !exists {
            return Err(ModelError::KeyNotFound);
        }
        Ok(())
    }

    /// A put as part of the running transaction. Where an open-ended delete of the same transaction has just removed
    /// the key whose value or lease was to be kept, etcd panics; here there is nothing to keep.
    pub(super) fn put_in_txn(&mut self, request: &PutRequest) -> PutResponse {
        let previous = self.at(&request.key, self.visible_revision()).cloned();
        let (value, lease) = match &previous {
            Some(kv) => (
                if request.ignore_value {
                    &kv.value
                } else {
                    &request.value
                },
                if request.ignore_lease {
                    kv.lease
                } else {
                    request.lease
                },
            ),
            None => (&request.value, request.lease),
        };
        let main = self.revision + 1;
        let kv = KeyValue {
            key: request.key.clone(),
            value: value.clone(),
            lease,
            mod_revision: main,
            create_revision: previous.as_ref().map_or(main, |kv| kv.create_revision),
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
        };
        self.record(request.key.clone(), Some(kv));
        let prev_kv = if request.prev_kv { previous } else { None };
        PutResponse {
            header: header(main),
            prev_kv,
        }
    }

    /// Answers a delete.
    ///
    /// # Errors
    /// The request is malformed, or the cluster is corrupt.
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> Outcome<DeleteRangeResponse> {
        check::delete_range(request)?;
        self.refuse_if_corrupt()?;
        let response = self.delete_in_txn(request);
        self.commit();
        Ok(response)
    }

    /// A delete as part of the running transaction.
    pub(super) fn delete_in_txn(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let interval = Interval::new(&request.key, &request.range_end);
        let removed = self.remove(&interval);
        DeleteRangeResponse {
            header: header(self.visible_revision()),
            deleted: i64::try_from(removed.len()).unwrap_or(i64::MAX),
            prev_kvs: if request.prev_kv { removed } else { Vec::new() },
        }
    }

    /// Deletes the keys of `interval` in ascending order and says what they were.
    pub(super) fn remove(&mut self, interval: &Interval) -> Vec<KeyValue> {
        let pairs = self.pairs(interval, self.visible_revision());
        let removed: Vec<KeyValue> = pairs.into_iter().cloned().collect();
        for kv in &removed {
            self.record(Bytes::clone(&kv.key), None);
        }
        removed
    }

    /// Answers a compaction.
    ///
    /// # Errors
    /// The revision is compacted already or in the future, or the cluster is corrupt.
    pub fn compact(&mut self, request: &CompactionRequest) -> Outcome<CompactionResponse> {
        self.refuse_if_corrupt()?;
        if request.revision <= self.compact_revision {
            return Err(ModelError::Compacted);
        }
        if request.revision > self.revision {
            return Err(ModelError::FutureRevision);
        }
        self.compact_revision = request.revision;
        Ok(CompactionResponse {
            header: header(self.revision),
        })
    }
}
