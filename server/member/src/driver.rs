//! Applies committed entries: a few commands per lock, then answers and events together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::backend::SideChange;
use kvorum_core::log::{Entry, EntryKind};
use kvorum_core::node::Node;
use kvorum_core::reply::Reply;
use kvorum_core::watch::EventBatch;
use kvorum_core::{Applied, Context, Index, Machine, RequestId, Term};
use kvorum_proto::kvorumpb::{Command, EntryBatch, command::Op};
use prost::Message;

use crate::port::{Answer, port_of};
use crate::shared::{Shared, View};

/// Commands applied while readers wait.
const COMMANDS_PER_LOCK: usize = 32;
/// Events collected before watchers hear of them.
const EVENTS_PER_BATCH: usize = 4096;

/// Meta key of the raft configuration.
pub(crate) const META_CONF_STATE: &str = "conf_state";

/// Collects what a pass has to tell the I/O threads.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    answers: BTreeMap<usize, Vec<(RequestId, Answer)>>,
    batch: EventBatch,
    /// Puts, deletes and transactions of this pass.
    writes: u64,
    view_changed: bool,
    compacted: Option<i64>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            answers: BTreeMap::new(),
            batch: EventBatch::default(),
            writes: 0,
            view_changed: true,
            compacted: None,
        }
    }

    /// Puts an answer in the mail of the thread that asked.
    pub(crate) fn answer(&mut self, id: RequestId, answer: Answer) {
        if let Some(port) = port_of(id, self.shared.boot) {
            self.answers.entry(port).or_default().push((id, answer));
        }
    }

    /// Applies entries in order. The hook sees every command that was applied.
    ///
    /// # Errors
    /// The state store could not be read, or an entry makes no sense: the process must end.
    pub(crate) fn apply(
        &mut self,
        node: &mut Node,
        machine: &mut Machine,
        entries: Vec<Entry>,
        mut after: impl FnMut(&Command, &Applied),
    ) -> Result<(), String> {
        if entries.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        for entry in entries {
            let (index, term) = (Index(entry.index), Term(entry.term));
            match entry.kind {
                EntryKind::Normal => self.apply_batch(machine, &entry, &mut after)?,
                _ => self.change_configuration(node, &entry)?,
            }
            self.shared.store.write().set_applied(index, term);
            // Only now: the store thread flushes whole entries, and begins with one that holds this decision.
            if let Some(at) = self.compacted.take() {
                self.shared.published.compaction.store(at, Ordering::SeqCst);
            }
            node.applied(index);
            self.shared
                .published
                .applied
                .store(entry.index, Ordering::Relaxed);
        }
        self.shared
            .meters
            .passed(std::mem::take(&mut self.writes), begin.elapsed());
        Ok(())
    }

    fn change_configuration(&self, node: &mut Node, entry: &Entry) -> Result<(), String> {
        let state = node.apply_conf_change(entry)?;
        self.shared
            .store
            .write()
            .note(SideChange::MetaPut(META_CONF_STATE.into(), state));
        Ok(())
    }

    fn apply_batch(
        &mut self,
        machine: &mut Machine,
        entry: &Entry,
        after: &mut impl FnMut(&Command, &Applied),
    ) -> Result<(), String> {
        let batch = EntryBatch::decode(entry.data.clone())
            .map_err(|e| format!("entry {} cannot be read: {e}", entry.index))?;
        let context = Context {
            term: entry.term,
            now_ms: self.shared.clock.now_ms(),
        };
        let shared = self.shared.clone();
        for chunk in batch.commands.chunks(COMMANDS_PER_LOCK) {
            let mut store = shared.store.write();
            let mut begin = Instant::now();
            for command in chunk {
                let before = store.current();
                let mut applied = machine
                    .apply(&mut store, context, command)
                    .map_err(|e| e.to_string())?;
                let end = Instant::now();
                after(command, &applied);
                self.count(command, &applied, end - std::mem::replace(&mut begin, end));
                self.collect(&mut applied, before, entry.term);
                self.compacted = applied.compacted.or(self.compacted);
                self.answer(applied.request_id, Answer::Applied(applied.result));
            }
            drop(store);
            if self.batch.events.len() >= EVENTS_PER_BATCH {
                self.deliver();
            }
        }
        Ok(())
    }

    fn count(&mut self, command: &Command, applied: &Applied, took: Duration) {
        let Some(op) = &command.op else { return };
        let meters = &self.shared.meters;
        meters.apply.record(op, applied.result.is_ok(), took);
        meters.ops.add(&applied.ops);
        let leases = &meters.leases;
        match (op, &applied.result) {
            (Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_), Ok(_)) => self.writes += 1,
            (Op::Alarm(_) | Op::Publish(_) | Op::ClusterVersion(_), _) => self.view_changed = true,
            (_, Ok(Reply::LeaseGrant(granted))) => {
                leases.granted.inc();
                leases.ttl.observe(granted.ttl as f64);
            }
            (_, Ok(Reply::LeaseRevoke(_))) => {
                leases.revoked.inc();
                if matches!(op, Op::LeaseExpire(_)) {
                    leases.expired.inc();
                }
            }
            _ => {}
        }
    }

    fn collect(&mut self, applied: &mut Applied, before: i64, term: u64) {
        if applied.events.is_empty() {
            return;
        }
        if self.batch.events.is_empty() {
            self.batch.first = before + 1;
        }
        self.batch.last = applied.revision;
        self.batch.term = Term(term);
        self.batch.events.append(&mut applied.events);
    }

    /// Sends what was collected: events and answers to each I/O thread in one go.
    pub(crate) fn deliver(&mut self) {
        let batch =
            (!self.batch.events.is_empty()).then(|| Arc::new(std::mem::take(&mut self.batch)));
        if batch.is_none() && self.answers.is_empty() {
            return;
        }
        for (number, port) in self.shared.ports.read().iter().enumerate() {
            let mut answers = self.answers.remove(&number).unwrap_or_default();
            port.deliver(&mut answers, batch.as_ref());
        }
        self.answers.clear();
    }

    /// Publishes members, alarms and cluster version if they changed.
    pub(crate) fn publish_view(&mut self, machine: &Machine) {
        if !std::mem::take(&mut self.view_changed) {
            return;
        }
        let view = View {
            members: machine.members().cloned().collect(),
            alarms: machine.alarms().list(0),
            cluster_version: machine.cluster_version().map(str::to_owned),
        };
        let nospace = machine
            .alarms()
            .any(kvorum_proto::etcdserverpb::AlarmType::Nospace);
        self.shared
            .published
            .nospace
            .store(nospace, Ordering::SeqCst);
        *self.shared.view.write() = Arc::new(view);
    }
}
