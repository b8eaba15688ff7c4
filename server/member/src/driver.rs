//! What a turn of the replica brought: answers and events go to the I/O threads, figures to the meters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::auth::{AuthEvent, AuthStore};
use kvorum_core::mvcc::Store;
use kvorum_core::replica::{Answer, Observer, Output, StoreAccess};
use kvorum_core::reply::Reply;
use kvorum_core::{Applied, Machine, RequestId};
use kvorum_proto::kvorumpb::{Command, command::Op};
use parking_lot::RwLock;

use crate::port::port_of;
use crate::shared::{Shared, View};

/// The store that readers share.
pub(crate) struct SharedStore<'a>(pub(crate) &'a RwLock<Store>);

impl StoreAccess for SharedStore<'_> {
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        f(&mut self.0.write())
    }
}

/// Counts what is applied.
pub(crate) struct Counter {
    shared: Arc<Shared>,
    begin: Instant,
    /// Puts, deletes and transactions of this pass.
    writes: u64,
}

impl Counter {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            begin: Instant::now(),
            writes: 0,
        }
    }

    /// Ends a pass that began then.
    pub(crate) fn pass(&mut self, took: Duration) {
        let writes = std::mem::take(&mut self.writes);
        self.shared.meters.passed(writes, took);
    }
}

impl Observer for Counter {
    fn begin(&mut self) {
        self.begin = Instant::now();
    }

    fn auth_changed(&mut self, auth: &Arc<AuthStore>) {
        self.shared.auth.publish(auth.clone());
        // Open watchers are looked at again.
        let ports = self.shared.ports.read();
        ports.iter().for_each(|port| port.carrier.notify_one());
    }

    fn auth_event(&mut self, event: &AuthEvent) {
        let now_ms = self.shared.clock.now_ms();
        self.shared.authentication.heard(event, now_ms);
        self.shared.auth.tell(event);
    }

    fn applied(&mut self, command: &Command, applied: &Applied) {
        let end = Instant::now();
        let took = end - std::mem::replace(&mut self.begin, end);
        let Some(op) = &command.op else { return };
        let meters = &self.shared.meters;
        meters.apply.record(op, applied.result.is_ok(), took);
        meters.ops.add(&applied.ops);
        let leases = &meters.leases;
        match (op, &applied.result) {
            (Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_), Ok(_)) => self.writes += 1,
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
}

/// Brings answers and events to the I/O threads.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    answers: BTreeMap<usize, Vec<(RequestId, Answer)>>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            answers: BTreeMap::new(),
        }
    }

    /// Sends what a turn brought: events and answers to each I/O thread in one go.
    pub(crate) fn deliver(&mut self, out: &mut Output) {
        let batch = (out.events.last > 0).then(|| Arc::new(std::mem::take(&mut out.events)));
        for (id, answer) in out.answers.drain(..) {
            if matches!(answer, Answer::Renewed(1..)) {
                self.shared.meters.leases.renewed.inc();
            }
            if let Some(port) = port_of(id, self.shared.boot) {
                self.answers.entry(port).or_default().push((id, answer));
            }
        }
        if batch.is_none() && self.answers.is_empty() {
            return;
        }
        for (number, port) in self.shared.ports.read().iter().enumerate() {
            let mut answers = self.answers.remove(&number).unwrap_or_default();
            port.deliver(&mut answers, batch.as_ref());
        }
        self.answers.clear();
    }

    /// Publishes members, alarms and cluster version.
    pub(crate) fn publish_view(&self, machine: &Machine) {
        let members = machine.members().list();
        crate::heal::note_members(self.shared.identity.member_id, &members);
        let view = View {
            members,
            removed: machine.members().removed().clone(),
            alarms: machine.alarms().list(0),
            cluster_version: machine.cluster_version().map(str::to_owned),
            console: machine.console().clone(),
        };
        let nospace = machine
            .alarms()
            .any(kvorum_proto::etcdserverpb::AlarmType::Nospace);
        self.shared
            .published
            .nospace
            .store(nospace, Ordering::SeqCst);
        let own = self.shared.identity.member_id;
        let is_learner = machine.members().get(own).is_some_and(|m| m.is_learner);
        self.shared
            .published
            .is_learner
            .store(is_learner, Ordering::SeqCst);
        *self.shared.view.write() = Arc::new(view);
        let trust = machine.trust();
        self.shared.trust.send_if_modified(|told| {
            let is_news = !Arc::ptr_eq(told, trust);
            if is_news {
                told.clone_from(trust);
            }
            is_news
        });
    }
}
