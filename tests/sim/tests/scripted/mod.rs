//! What the scripted scenarios are made of: one member's history and watchers, a member alone, three members.

pub(crate) mod alone;
pub(crate) mod trio;
pub(crate) mod watched;

use std::sync::Arc;

use kvorum_core::backend::{Restored, SideChange};
use kvorum_core::mutants::{self, Mutant};
use kvorum_core::mvcc::Store;
use kvorum_core::node::{NodeOptions, encode_conf_state};
use kvorum_core::replica::{META_CONF_STATE, MembershipOptions, ReplicaOptions};
use kvorum_core::{Index, Machine, MachineOptions};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, command::Op};
use kvorum_storage::{MemDisk, StateStore, StoreOptions};
use prost::Message as _;

/// What a scenario finds wrong.
pub(crate) type Found = Result<(), String>;

/// The scenario passes, and with the bug built in its check notices.
pub(crate) fn passes_but_not_with(mutant: Mutant, scenario: impl Fn() -> Found) {
    mutants::set(None);
    assert_eq!(scenario(), Ok(()), "without the bug");
    mutants::set(Some(mutant));
    let found = scenario();
    mutants::set(None);
    let reason = found.expect_err("the check has to notice the bug");
    eprintln!("{}: {reason}", mutant.name());
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put(pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    })
}

pub(crate) fn command(request_id: u64, op: Op) -> Command {
    Command {
        request_id,
        op: Some(op),
        stamp: None,
        caller: None,
    }
}

pub(crate) fn open(disk: &MemDisk) -> (Arc<StateStore>, Restored) {
    let options = StoreOptions {
        cache_bytes: 1 << 20,
    };
    let (state, restored) =
        StateStore::open(Arc::new(disk.clone()), options).expect("a whole disk");
    (Arc::new(state), restored)
}

pub(crate) fn machine() -> Machine {
    Machine::new(MachineOptions {
        quota_bytes: i64::MAX,
        lease_ttl_min_s: 1,
    })
}

/// What the small tables of a new cluster hold.
pub(crate) fn founded(voters: &[u64]) -> Vec<(String, bytes::Bytes)> {
    let conf_state = (META_CONF_STATE.to_owned(), encode_conf_state(voters));
    let rows = voters.iter().map(|id| {
        let member = pb::Member {
            id: *id,
            peer_ur_ls: vec![format!("http://sim/{id}")],
            ..Default::default()
        };
        (format!("member/{id:016x}"), member.encode_to_vec().into())
    });
    std::iter::once(conf_state).chain(rows).collect()
}

pub(crate) fn replica_options(id: u64, boot: u64) -> ReplicaOptions {
    ReplicaOptions {
        node: NodeOptions {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: 7,
        },
        session: boot,
        own_ids: boot << 44 | 255 << 36,
        election_timeout_ms: 1_000,
        request_timeout_ms: 7_000,
        digest_interval_ms: 1_000_000,
        tail_bytes: 1 << 20,
        lag_bytes: 1 << 20,
        membership: MembershipOptions {
            name: format!("m{id}"),
            client_urls: Vec::new(),
            peer_urls: vec![format!("http://sim/{id}")],
            version: "3.6.0".into(),
            strict: true,
            learners_max: 1,
            auto_promote: false,
        },
    }
}

/// The store thread's flush: everything that counts as applied.
pub(crate) fn flush(store: &mut Store, state: &StateStore, flushed: Index) -> Index {
    let Some(plan) = store.begin_flush(flushed) else {
        return flushed;
    };
    let records = store.unflushed(plan.after, plan.to, usize::MAX);
    state
        .flush(records.into_iter(), &plan.mark)
        .expect("a whole disk");
    while store.flushed(plan.to) {}
    plan.mark.applied
}

pub(crate) fn rows(meta: Vec<(String, bytes::Bytes)>) -> Vec<SideChange> {
    let row = |(key, value)| SideChange::MetaPut(key, value);
    meta.into_iter().map(row).collect()
}
