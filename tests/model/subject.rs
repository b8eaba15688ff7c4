//! The core under test, with as much of a member around it as it needs: a log, a state store, a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvorum_core::backend::Record;
use kvorum_core::lease::Renewal;
use kvorum_core::machine::restored_compact_revision;
use kvorum_core::mvcc::hash::KvHasher;
use kvorum_core::mvcc::range::{read_now, to_message};
use kvorum_core::mvcc::{CompactCursor, ReadError, Reading, Restore, Store, check, encoding, txn};
use kvorum_core::{
    Applied, Context, Error, Index, LeaseId, Machine, MachineOptions, Revision, Term,
};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, LeaseExpire, command::Op};
use kvorum_tests::harness::generate::Operation;
use kvorum_tests::harness::model::Limits;

use crate::answer::Answer;
use crate::disk::Disk;

/// How a run sets the core up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    /// Memory for values that are flushed; little of it makes the core read its state store.
    pub(crate) recent_bytes: usize,
    /// Keys that one step of a compaction looks at.
    pub(crate) slice: usize,
}

/// The core.
pub(crate) struct Subject {
    setup: Setup,
    pub(crate) store: Store,
    machine: Machine,
    disk: Arc<Disk>,
    /// Commands that no flush covers yet, with the index, term and time of each.
    log: Vec<(Index, Context, Command)>,
    index: Index,
    pub(crate) term: u64,
    pub(crate) now_ms: u64,
    flushed: Index,
    compactions: Vec<CompactCursor>,
    removed: Vec<Revision>,
}

impl Subject {
    pub(crate) fn new(setup: Setup) -> Self {
        let disk = Arc::new(Disk::default());
        let mut subject = Self {
            setup,
            store: Store::new(disk.clone(), setup.recent_bytes),
            machine: Self::machine(setup),
            disk,
            log: Vec::new(),
            index: Index(0),
            term: 1,
            now_ms: 0,
            flushed: Index(0),
            compactions: Vec::new(),
            removed: Vec::new(),
        };
        subject.machine.lessor_mut().promote(0, 0);
        subject
    }

    fn machine(setup: Setup) -> Machine {
        Machine::new(MachineOptions {
            quota_bytes: i64::MAX,
            lease_ttl_min_s: setup.limits.min_lease_ttl_s,
        })
    }

    /// Carries out one operation; the second part is what watchers are to be told.
    pub(crate) fn run(
        &mut self,
        operation: &Operation,
    ) -> (Result<Answer, Error>, Option<Applied>) {
        let op = match operation {
            Operation::Put(request) => check::put(request).map(|()| Op::Put(request.clone())),
            Operation::DeleteRange(request) => {
                check::delete_range(request).map(|()| Op::DeleteRange(request.clone()))
            }
            Operation::Txn(request) => {
                let checked = check::txn(request, self.setup.limits.max_txn_ops);
                if checked.is_ok() && txn::is_read_only(request) {
                    let read = txn::read_txn(&self.store, request).map_err(refusal);
                    return (read.map(|(reply, _)| Answer::Txn(reply)), None);
                }
                checked.map(|()| Op::Txn(request.clone()))
            }
            Operation::Compact(request) => Ok(Op::Compaction(*request)),
            Operation::LeaseGrant(request) => Ok(Op::LeaseGrant(*request)),
            Operation::LeaseRevoke(request) => Ok(Op::LeaseRevoke(*request)),
            Operation::Alarm(request) => Ok(Op::Alarm(*request)),
            _ => return (self.read(operation), None),
        };
        match op {
            Err(error) => (Err(error), None),
            Ok(op) => {
                let mut applied = self.apply(op);
                let answer = std::mem::replace(&mut applied.result, Err(Error::Stopped));
                (answer.map(Answer::from), Some(applied))
            }
        }
    }

    /// What needs no log entry.
    fn read(&mut self, operation: &Operation) -> Result<Answer, Error> {
        Ok(match operation {
            Operation::Range(request) => Answer::Range(self.range(request)?),
            Operation::HashKv(request) => Answer::HashKv(self.hash(request.revision)?),
            Operation::LeaseKeepAlive(request) => self.keep_alive(request.id),
            Operation::LeaseTimeToLive(request) => {
                Answer::LeaseTimeToLive(self.time_to_live(request))
            }
            Operation::LeaseLeases => {
                let ids = self.machine.lessor().ids();
                let leases = ids
                    .into_iter()
                    .map(|id| pb::LeaseStatus { id: id.0 })
                    .collect();
                Answer::LeaseLeases(pb::LeaseLeasesResponse {
                    header: self.header(),
                    leases,
                })
            }
            Operation::Flush => {
                self.flush();
                Answer::Nothing
            }
            _ => Answer::Nothing,
        })
    }

    pub(crate) fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        check::range(request)?;
        let reading = Reading::new(&self.store, request)?;
        read_now(&self.store, reading)
            .map(to_message)
            .map_err(refusal)
    }

    fn keep_alive(&mut self, id: i64) -> Answer {
        let ttl = match self.machine.lessor_mut().renew(LeaseId(id), self.now_ms) {
            Renewal::Renewed {
                ttl_s,
                clear_checkpoint,
            } => {
                assert!(!clear_checkpoint, "nothing was checkpointed");
                ttl_s
            }
            Renewal::Unknown => 0,
            Renewal::Ending => return Answer::Waits,
            Renewal::NotPrimary => panic!("the only member leads"),
        };
        Answer::LeaseKeepAlive(pb::LeaseKeepAliveResponse {
            header: self.header(),
            id,
            ttl,
        })
    }

    fn time_to_live(&self, request: &pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse {
        let lessor = self.machine.lessor();
        let left = lessor.time_left(LeaseId(request.id), request.keys, self.now_ms);
        pb::LeaseTimeToLiveResponse {
            header: self.header(),
            id: request.id,
            ttl: left.as_ref().map_or(-1, |left| left.remaining_s),
            granted_ttl: left.as_ref().map_or(0, |left| left.granted_s),
            keys: left.map_or(Vec::new(), |left| {
                left.keys
                    .into_iter()
                    .map(Vec::from)
                    .map(Into::into)
                    .collect()
            }),
        }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            revision: self.store.current(),
            ..Default::default()
        })
    }

    /// Every record that memory or the state store has, hashed.
    fn hash(&self, revision: i64) -> Result<pb::HashKvResponse, Error> {
        let (current, compacted) = (self.store.current(), self.store.compacted());
        if revision > 0 && revision < compacted {
            return Err(Error::Compacted);
        }
        if revision > current {
            return Err(Error::FutureRevision);
        }
        let at = if revision == 0 { current } else { revision };
        let recent =
            self.store
                .unflushed(Revision::default(), Revision::last_of(current), usize::MAX);
        let all = self.disk.everything().into_iter().chain(recent);
        let all: BTreeMap<Revision, Record> = all.map(|record| (record.revision, record)).collect();
        let sees = |record: &Record, at| {
            self.store.revision_at(encoding::key_of(&record.kv), at) == Some(record.revision)
        };
        let nothing_lives = !all.values().any(|record| sees(record, at));
        let mut hasher = KvHasher::new(compacted, at);
        for record in all.values() {
            hasher.record(
                record,
                sees(record, if nothing_lives { compacted } else { at }),
            );
        }
        Ok(pb::HashKvResponse {
            header: self.header(),
            hash: hasher.finish(),
            compact_revision: compacted,
            hash_revision: at,
        })
    }

    fn apply(&mut self, op: Op) -> Applied {
        self.index = Index(self.index.0 + 1);
        let command = Command {
            request_id: self.index.0,
            op: Some(op),
            stamp: None,
            caller: None,
        };
        let context = Context {
            index: self.index.0,
            term: self.term,
            now_ms: self.now_ms,
        };
        self.log.push((self.index, context, command.clone()));
        let applied = self.apply_logged(self.index, context, &command);
        if let Some(at) = applied.compacted {
            self.compactions.push(cursor(at));
        }
        applied
    }

    fn apply_logged(&mut self, index: Index, context: Context, command: &Command) -> Applied {
        let applied = self.machine.apply(&mut self.store, context, command);
        self.store.set_applied(index, Term(context.term));
        applied.expect("memory does not fail")
    }

    /// Lets time pass; the leases whose time is up, in the order in which the core has them.
    pub(crate) fn pass(&mut self, by_ms: i64) -> Vec<i64> {
        self.now_ms += by_ms.unsigned_abs();
        let expired = self
            .machine
            .lessor_mut()
            .take_expired(self.now_ms, usize::MAX);
        expired.into_iter().map(|id| id.0).collect()
    }

    /// Ends a lease whose time is up, as its leader does.
    pub(crate) fn expire(&mut self, id: i64) -> (Result<Answer, Error>, Applied) {
        let mut applied = self.apply(Op::LeaseExpire(LeaseExpire {
            id,
            term: self.term,
        }));
        if applied.result.is_err() {
            self.machine.lessor_mut().expiry_failed(&[LeaseId(id)]);
        }
        let answer = std::mem::replace(&mut applied.result, Err(Error::Stopped));
        (answer.map(Answer::from), applied)
    }

    /// One step of the oldest compaction that is under way.
    pub(crate) fn compact_some(&mut self) {
        let Some(cursor) = self.compactions.first_mut() else {
            return;
        };
        if !self
            .store
            .compact_slice(cursor, self.setup.slice, &mut self.removed)
        {
            self.compactions.remove(0);
        }
    }

    fn flush(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        let walked = self.compactions.is_empty();
        let compacted = self.store.compacted();
        if let Some(plan) = self.store.begin_flush(self.flushed) {
            let mut records: Vec<Record> = Vec::new();
            let mut after = plan.after;
            loop {
                let page = self.store.unflushed(after, plan.to, 7);
                let Some(last) = page.last() else { break };
                after = last.revision;
                records.extend(page);
            }
            self.flushed = plan.mark.applied;
            self.log.retain(|(index, ..)| *index > plan.mark.applied);
            self.disk.flush(records, plan.mark);
            while self.store.flushed(plan.to) {}
        }
        let freed = self.disk.remove(&removed);
        self.store.freed(freed.into_iter());
        if walked && compacted >= 0 {
            self.store.finish_compaction(compacted);
        }
    }

    /// Everything in memory is lost; the state store and the log are read again.
    pub(crate) fn restart(&mut self) {
        let restored = self.disk.restored();
        self.machine = Self::machine(self.setup);
        let mut restore = Restore::default();
        for record in self.disk.everything() {
            let numbers = encoding::numbers_of(&record.kv).expect("the core wrote it");
            restore.record(record.revision, record.tombstone, &numbers, record.kv.len());
        }
        let compacted = restored_compact_revision(&restored);
        self.store = restore.finish(
            self.disk.clone(),
            self.setup.recent_bytes,
            compacted,
            (restored.applied, restored.term),
        );
        self.machine.restore(&self.store, &restored);
        self.removed.clear();
        self.compactions = compacted.map(cursor).into_iter().collect();
        self.flushed = restored.applied;
        for (index, context, command) in self.log.clone() {
            let applied = self.apply_logged(index, context, &command);
            self.compactions.extend(applied.compacted.map(cursor));
        }
        self.term += 1;
        self.machine.lessor_mut().promote(self.now_ms, 0);
    }
}

/// The refusal in a read error; memory does not fail.
fn refusal(error: ReadError) -> Error {
    match error {
        ReadError::Refused(error) => error,
        ReadError::Backend(error) => panic!("memory does not fail: {error}"),
    }
}

fn cursor(at: i64) -> CompactCursor {
    let mut cursor = CompactCursor::default();
    cursor.at = at;
    cursor
}
