//! The replicated state machine: one committed command in, one answer and its events out.
//!
//! Applying cannot fail. A refusal is an answer; only a state store that cannot be read ends the process.

use std::sync::Arc;

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, command::Op};

use crate::alarm::{self, Alarms};
use crate::auth::{self, AuthStore, Caller, Need, needs};
use crate::backend::{BackendError, SideChange};
use crate::console::Console;
use crate::error::Error;
use crate::lease::Lessor;
use crate::membership::Members;
use crate::mvcc::flush::read_meta_number;
use crate::mvcc::store::{META_DIGEST, META_FINISHED_COMPACT, META_SCHEDULED_COMPACT};
use crate::mvcc::{Event, OpCounts, ReadError, Store, Writing};
use crate::reply::{AuthReply, Reply};
use crate::sessions::Sessions;
use crate::trust::Trust;
use crate::types::{LeaseId, RequestId};

const META_CLUSTER_VERSION: &str = "cluster_version";

/// What all members must agree on, beside the log.
#[derive(Clone, Copy, Debug)]
pub struct MachineOptions {
    /// Logical bytes from which puts are refused; `i64::MAX` for no quota.
    pub quota_bytes: i64,
    /// Shorter lease TTLs are raised to this, seconds.
    pub lease_ttl_min_s: i64,
}

/// One command was applied.
#[derive(Debug)]
pub struct Applied {
    /// Whom to answer.
    pub request_id: RequestId,
    /// Revision of the store after it; goes to the header.
    pub revision: i64,
    /// The answer.
    pub result: Result<Reply, Error>,
    /// Changes of keys, all of one main revision.
    pub events: Vec<Event>,
    /// Set by a compaction: watchers that need older history end, and the store thread has work.
    pub compacted: Option<i64>,
    /// What it came to.
    pub ops: OpCounts,
    /// What it did to users and roles.
    pub auth: auth::Changed,
}

/// Where a command stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Index of the entry.
    pub index: u64,
    /// Term of the entry.
    pub term: u64,
    /// The member's clock, milliseconds; only deadlines of leases on the leader depend on it.
    pub now_ms: u64,
}

/// Everything replicated but the keys.
#[derive(Debug)]
pub struct Machine {
    options: MachineOptions,
    lessor: Lessor,
    alarms: Alarms,
    auth: Arc<AuthStore>,
    members: Members,
    cluster_version: Option<String>,
    sessions: Sessions,
    /// Shared with readers; copied where it changes, which is rare.
    trust: Arc<Trust>,
    console: Arc<Console>,
}

/// What one command brought about, before it is wrapped up.
#[derive(Default)]
struct Effect {
    events: Vec<Event>,
    compacted: Option<i64>,
    ops: OpCounts,
    auth: auth::Changed,
}

impl Machine {
    /// An empty machine.
    #[must_use]
    pub fn new(options: MachineOptions) -> Self {
        Self {
            options,
            lessor: Lessor::new(options.lease_ttl_min_s),
            alarms: Alarms::default(),
            auth: Arc::default(),
            members: Members::default(),
            cluster_version: None,
            sessions: Sessions::default(),
            trust: Arc::default(),
            console: Arc::default(),
        }
    }

    /// What changed of the sessions since the last call; called after the last command of each entry.
    pub fn take_sessions(&mut self) -> Vec<SideChange> {
        self.sessions.take_changes()
    }

    /// The leases.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// The leases, for the leader's clock.
    pub fn lessor_mut(&mut self) -> &mut Lessor {
        &mut self.lessor
    }

    /// The raised alarms.
    #[must_use]
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Users and roles, as they are now: they never change under whoever holds them.
    #[must_use]
    pub fn auth(&self) -> &Arc<AuthStore> {
        &self.auth
    }

    /// Whether a caller may have all of this.
    ///
    /// # Errors
    /// As `AuthStore::authorise`.
    pub fn authorise(&self, caller: &Caller, needs: &[Need<'_>]) -> Result<(), Error> {
        self.auth.authorise_with(caller, needs, Some(&self.lessor))
    }

    /// The members, by id.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The certificate authority and who is trusted.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The console's accounts, sessions, links and events.
    #[must_use]
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// The decided cluster version.
    #[must_use]
    pub fn cluster_version(&self) -> Option<&str> {
        self.cluster_version.as_deref()
    }

    /// The quota, bytes.
    #[must_use]
    pub fn quota_bytes(&self) -> i64 {
        self.options.quota_bytes
    }

    /// Applies one command.
    ///
    /// # Errors
    /// The state store could not be read: the process must end.
    pub fn apply(
        &mut self,
        store: &mut Store,
        context: Context,
        command: &kvorumpb::Command,
    ) -> Result<Applied, BackendError> {
        let mut effect = Effect::default();
        let stamp = command.stamp.as_ref();
        let first = stamp.is_none_or(|s| self.sessions.admit(s, context.index));
        let result = match command.op.as_ref().filter(|_| first) {
            Some(op) => match self.admit(store, command, op) {
                Ok(quota) => {
                    let done = self.run(store, context, op, &mut effect);
                    // A put that finds the quota used up is applied all the same, and refused: etcd's rule, so that
                    // all members do alike whatever their quota.
                    done.and_then(|reply| quota.map(|()| reply).map_err(ReadError::Refused))
                }
                Err(refused) => Err(ReadError::Refused(refused)),
            },
            None => Ok(Reply::Done),
        };
        let result = match result {
            Ok(reply) => Ok(reply),
            Err(ReadError::Refused(e)) => Err(e),
            Err(ReadError::Backend(e)) => return Err(e),
        };
        Ok(Applied {
            request_id: RequestId(command.request_id),
            revision: store.current(),
            result,
            events: effect.events,
            compacted: effect.compacted,
            ops: effect.ops,
            auth: effect.auth,
        })
    }

    /// Alarms, the caller's rights and quota. The inner result is the quota's verdict, which does not stop the command.
    fn admit(
        &self,
        store: &Store,
        command: &kvorumpb::Command,
        op: &Op,
    ) -> Result<Result<(), Error>, Error> {
        let guarded = matches!(
            op,
            Op::Put(_)
                | Op::DeleteRange(_)
                | Op::Txn(_)
                | Op::Compaction(_)
                | Op::LeaseGrant(_)
                | Op::LeaseRevoke(_)
                | Op::LeaseExpire(_)
        );
        if guarded && self.alarms.any(pb::AlarmType::Corrupt) {
            return Err(Error::Corrupt);
        }
        let cost = cost(op);
        if cost > 0 && self.alarms.any(pb::AlarmType::Nospace) {
            return Err(Error::NoSpace);
        }
        if self.auth.is_enabled() && command.caller.is_some() {
            let caller = Caller::from_wire(command.caller.as_ref());
            self.authorise(&caller, &needs::command(op))?;
        }
        Ok(match cost {
            0 => Ok(()),
            cost => self.fits(store, cost),
        })
    }

    fn fits(&self, store: &Store, cost: i64) -> Result<(), Error> {
        let size = store.size().total().saturating_add(cost);
        if size < self.options.quota_bytes {
            Ok(())
        } else {
            Err(Error::NoSpace)
        }
    }

    fn run(
        &mut self,
        store: &mut Store,
        context: Context,
        op: &Op,
        effect: &mut Effect,
    ) -> Result<Reply, ReadError> {
        match op {
            Op::Put(r) => self.write(store, effect, |w| w.put(r).map(Reply::Put)),
            Op::DeleteRange(r) => self.write(store, effect, |w| {
                Ok(Reply::DeleteRange(w.delete_range(r)?))
            }),
            Op::Txn(r) => self.write(store, effect, |w| w.txn(r).map(Reply::Txn)),
            Op::Compaction(r) => compact(store, r, effect),
            Op::LeaseGrant(r) => self.grant(store, context, r),
            Op::LeaseRevoke(r) => self.revoke(store, LeaseId(r.id), effect),
            Op::LeaseExpire(r) => {
                if r.term == context.term {
                    self.revoke(store, LeaseId(r.id), effect)
                } else {
                    self.lessor.expiry_failed(&[LeaseId(r.id)]);
                    Ok(Reply::Done)
                }
            }
            Op::LeaseCheckpoint(r) => {
                for c in &r.checkpoints {
                    let kept = self.lessor.checkpoint(LeaseId(c.id), c.remaining_ttl);
                    kept.into_iter().for_each(|change| store.note(change));
                }
                Ok(Reply::Done)
            }
            Op::Alarm(r) => {
                let mut changes = Vec::new();
                let mut response = self.alarms.apply(r, &mut changes);
                changes.into_iter().for_each(|c| store.note(c));
                response.header = header(store);
                Ok(Reply::Alarm(response))
            }
            Op::Publish(r) => {
                self.members_noted(store, |members, notes| members.publish(r, notes));
                Ok(Reply::Done)
            }
            Op::MemberUpdate(r) => {
                let list = self.members_noted(store, |members, notes| members.update(r, notes));
                Ok(Reply::Members(list?))
            }
            Op::DigestCheck(_) => Ok(Reply::Done),
            Op::Auth(op) => self.change_auth(store, context, op, effect),
            Op::Trust(r) => self.change_trust(store, r),
            Op::Console(change) => {
                let mut notes = Vec::new();
                let answer = Arc::make_mut(&mut self.console).apply(change, &mut notes);
                notes.into_iter().for_each(|note| store.note(note));
                Ok(Reply::Console(answer))
            }
            Op::ClusterVersion(r) => {
                store.note(SideChange::MetaPut(
                    META_CLUSTER_VERSION.into(),
                    r.version.clone().into_bytes().into(),
                ));
                self.cluster_version = Some(r.version.clone());
                Ok(Reply::Done)
            }
        }
    }

    fn write(
        &mut self,
        store: &mut Store,
        effect: &mut Effect,
        run: impl FnOnce(&mut Writing<'_>) -> Result<Reply, ReadError>,
    ) -> Result<Reply, ReadError> {
        let mut writing = Writing::new(store, &mut self.lessor);
        let reply = run(&mut writing);
        effect.ops = writing.ops();
        effect.events = writing.end();
        reply
    }

    fn grant(
        &mut self,
        store: &mut Store,
        context: Context,
        r: &pb::LeaseGrantRequest,
    ) -> Result<Reply, ReadError> {
        let (ttl, change) = self.lessor.grant(LeaseId(r.id), r.ttl, context.now_ms)?;
        store.note(change);
        Ok(Reply::LeaseGrant(pb::LeaseGrantResponse {
            header: header(store),
            id: r.id,
            ttl,
            error: String::new(),
        }))
    }

    fn revoke(
        &mut self,
        store: &mut Store,
        id: LeaseId,
        effect: &mut Effect,
    ) -> Result<Reply, ReadError> {
        let (keys, change) = self.lessor.revoke(id)?;
        store.note(change);
        self.write(store, effect, |w| {
            keys.iter().for_each(|k| w.delete_key(k));
            Ok(Reply::Done)
        })?;
        Ok(Reply::LeaseRevoke(pb::LeaseRevokeResponse {
            header: header(store),
        }))
    }

    fn change_auth(
        &mut self,
        store: &mut Store,
        context: Context,
        op: &kvorumpb::AuthOp,
        effect: &mut Effect,
    ) -> Result<Reply, ReadError> {
        let mut notes = Vec::new();
        effect.auth = AuthStore::apply(&mut self.auth, op, context.index, &mut notes)?;
        notes.into_iter().for_each(|note| store.note(note));
        Ok(Reply::Auth(AuthReply {
            auth_revision: self.auth.revision(),
            index: context.index,
        }))
    }

    /// Applies a change of the voters and learners to the table of members.
    ///
    /// # Errors
    /// The change breaks a rule that every member can check, or its caller may not make it; then raft must not apply it
    /// either.
    pub fn change_members(
        &mut self,
        store: &mut Store,
        change: &kvorumpb::MemberChange,
    ) -> Result<Reply, Error> {
        let caller = Caller::from_wire(change.caller.as_ref());
        self.authorise(&caller, &[Need::Admin])?;
        self.members_noted(store, |members, notes| members.change(change, notes))
            .map(Reply::Members)
    }

    fn change_trust(
        &mut self,
        store: &mut Store,
        r: &kvorumpb::TrustOp,
    ) -> Result<Reply, ReadError> {
        let mut notes = Vec::new();
        let trust = Arc::make_mut(&mut self.trust);
        let reply = trust.apply(r, &self.members, &mut notes);
        let reply = reply.map_err(Error::Trust)?;
        notes.into_iter().for_each(|note| store.note(note));
        Ok(reply)
    }

    fn members_noted<R>(
        &mut self,
        store: &mut Store,
        run: impl FnOnce(&mut Members, &mut Vec<SideChange>) -> R,
    ) -> R {
        let mut notes = Vec::new();
        let result = run(&mut self.members, &mut notes);
        notes.into_iter().for_each(|note| store.note(note));
        self.tell_removed();
        result
    }

    /// Whom to trust depends on who was removed.
    fn tell_removed(&mut self) {
        if self.trust.removed() != self.members.removed() {
            Arc::make_mut(&mut self.trust).note_removed(self.members.removed());
        }
    }

    /// Takes the small tables back from the state store, and hangs the keys of the store on their leases.
    pub fn restore(&mut self, store: &Store, restored: &crate::backend::Restored) {
        self.restore_tables(restored);
        for (key, latest) in store.live().filter(|(_, l)| l.lease != 0) {
            self.lessor.attach(LeaseId(latest.lease), key);
        }
    }

    /// Takes the small tables back, and knows nothing of keys.
    pub fn restore_tables(&mut self, restored: &crate::backend::Restored) {
        for (id, lease) in &restored.leases {
            self.lessor.restore(*id, lease);
        }
        let mut auth = AuthStore::default();
        for (key, value) in &restored.meta {
            if key == META_CLUSTER_VERSION {
                self.cluster_version = String::from_utf8(value.to_vec()).ok();
            } else if !self.members.restore(key, value)
                && !self.sessions.restore(key, value)
                && !auth.restore(key, value)
                && !Arc::make_mut(&mut self.trust).restore(key, value)
                && !Arc::make_mut(&mut self.console).restore(key, value)
            {
                self.alarms.restore(key);
            }
        }
        auth.restored();
        self.auth = Arc::new(auth);
        self.tell_removed();
    }
}

/// The compact revision that the state store's meta table tells.
#[must_use]
pub fn restored_compact_revision(restored: &crate::backend::Restored) -> Option<i64> {
    meta_revision(restored, META_SCHEDULED_COMPACT)
}

/// The compact revision whose removals are done, as the state store's meta table tells.
#[must_use]
pub fn restored_finished_compaction(restored: &crate::backend::Restored) -> Option<i64> {
    meta_revision(restored, META_FINISHED_COMPACT)
}

/// The rolling digest of the state that the store holds.
#[must_use]
pub fn restored_digest(restored: &crate::backend::Restored) -> u64 {
    meta_revision(restored, META_DIGEST).map_or(0, i64::cast_unsigned)
}

fn meta_revision(restored: &crate::backend::Restored, name: &str) -> Option<i64> {
    let (_, value) = restored.meta.iter().find(|(k, _)| k == name)?;
    read_meta_number(value)
}

fn header(store: &Store) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision: store.current(),
        ..Default::default()
    })
}

/// What a command may add to the store, bytes; 0 for what is always admitted.
fn cost(op: &Op) -> i64 {
    match op {
        Op::Put(r) => alarm::put_cost(r),
        Op::Txn(r) => alarm::txn_cost(r),
        Op::LeaseGrant(_) => alarm::lease_cost(),
        _ => 0,
    }
}

fn compact(
    store: &mut Store,
    r: &pb::CompactionRequest,
    effect: &mut Effect,
) -> Result<Reply, ReadError> {
    if r.revision <= store.compacted() {
        return Err(Error::Compacted.into());
    }
    if r.revision > store.current() {
        return Err(Error::FutureRevision.into());
    }
    store.schedule_compaction(r.revision);
    effect.compacted = Some(r.revision);
    Ok(Reply::Compaction(pb::CompactionResponse {
        header: header(store),
    }))
}
