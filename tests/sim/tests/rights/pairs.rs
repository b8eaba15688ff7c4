//! Random sets of roles, random requests: the code and the model must say the same of each pair.
//!
//! `KVORUM_TEST_AUTH_PAIRS` is the number of pairs, `KVORUM_TEST_AUTH_SEED` where they begin.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::LeaseId;
use kvorum_core::auth::{AuthStore, Caller, Need, needs};
use kvorum_core::lease::Lessor;
use kvorum_core::mutants::{self, Mutant};
use kvorum_proto::authpb::{Permission, permission::Type};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, auth_op, command::Op};
use pb::request_op::Request as Operation;

use super::model::{Asks, ENDS, Model, Request};

const PAIRS: u64 = 1_000_000;
const REQUESTS_PER_WORLD: u64 = 10;
const USER: &str = "u";
const LEASES: [i64; 3] = [1, 2, 3];
/// Leases that a request may name; the last is none.
const NAMED_LEASES: [i64; 4] = [1, 2, 3, 9];

/// Numbers that follow from a seed. (splitmix64)
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).expect("it is below a usize")
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    fn end(&mut self) -> &'static [u8] {
        ENDS[self.roll(ENDS.len())]
    }

    /// One key, an open end, or something between, which may be nothing.
    fn interval(&mut self) -> (Bytes, Bytes) {
        let key = self.end();
        let end: &[u8] = match self.roll(10) {
            0..4 => b"",
            4 => b"\0",
            _ => self.end(),
        };
        (Bytes::from_static(key), Bytes::copy_from_slice(end))
    }
}

/// Roles, a user, leases.
struct World {
    auth: Arc<AuthStore>,
    lessor: Lessor,
    model: Model,
}

/// Carries a change out; false if it is refused.
fn change(auth: &mut Arc<AuthStore>, op: auth_op::Op) -> bool {
    let op = kvorumpb::AuthOp { op: Some(op) };
    AuthStore::apply(auth, &op, 1, &mut Vec::new()).is_ok()
}

fn add_user(auth: &mut Arc<AuthStore>, name: &str) {
    let add = kvorumpb::UserAdd {
        name: name.into(),
        ..Default::default()
    };
    assert!(change(auth, auth_op::Op::UserAdd(add)));
}

fn grant_role(auth: &mut Arc<AuthStore>, user: &str, role: &str) {
    let grant = kvorumpb::UserRole {
        user: user.into(),
        role: role.into(),
    };
    assert!(change(auth, auth_op::Op::UserGrantRole(grant)));
}

type Granted = (Type, Bytes, Bytes);

/// A new role and what it grants.
fn add_role(auth: &mut Arc<AuthStore>, dice: &mut Dice, name: &str) -> Vec<Granted> {
    assert!(change(auth, auth_op::Op::RoleAdd(name.into())));
    let mut granted: Vec<Granted> = Vec::new();
    for _ in 0..dice.roll(5) {
        let kind = *dice.one_of(&[Type::Read, Type::Write, Type::Readwrite]);
        let (key, range_end) = dice.interval();
        let grant = kvorumpb::RoleGrant {
            role: name.into(),
            permission: Some(Permission {
                perm_type: kind as i32,
                key: key.clone(),
                range_end: range_end.clone(),
            }),
        };
        if change(auth, auth_op::Op::RoleGrantPermission(grant)) {
            // The newest on an interval counts.
            granted.retain(|(_, k, e)| (k, e) != (&key, &range_end));
            granted.push((kind, key, range_end));
        }
    }
    granted
}

fn world(dice: &mut Dice) -> World {
    let (mut model, mut auth) = (Model::new(), Arc::default());
    add_user(&mut auth, "root");
    grant_role(&mut auth, "root", "root");
    add_user(&mut auth, USER);
    for name in ["r", "s", "t"] {
        let granted = add_role(&mut auth, dice, name);
        if dice.chance(70) {
            grant_role(&mut auth, USER, name);
            let all = granted.iter();
            all.for_each(|(kind, key, end)| model.permit(*kind, key, end));
        }
    }
    if dice.chance(3) {
        grant_role(&mut auth, USER, "root");
        model.is_root = true;
    }
    model.settle();
    assert!(change(
        &mut auth,
        auth_op::Op::Enable(kvorumpb::AuthEnable {})
    ));
    let mut lessor = Lessor::new(1);
    for id in LEASES {
        lessor.grant(LeaseId(id), 100, 0).expect("it is new");
        let keys = model.leases.entry(id).or_default();
        for _ in 0..dice.roll(4) {
            let key = dice.end();
            lessor.attach(LeaseId(id), key);
            keys.insert(key.to_vec());
        }
    }
    World {
        auth,
        lessor,
        model,
    }
}

fn put(dice: &mut Dice) -> pb::PutRequest {
    let (key, _) = dice.interval();
    let lease = match dice.chance(35) {
        true => *dice.one_of(&NAMED_LEASES),
        false => 0,
    };
    pb::PutRequest {
        key,
        lease,
        prev_kv: dice.chance(30),
        ..Default::default()
    }
}

fn delete(dice: &mut Dice) -> pb::DeleteRangeRequest {
    let (key, range_end) = dice.interval();
    pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv: dice.chance(30),
    }
}

fn range(dice: &mut Dice) -> pb::RangeRequest {
    let (key, range_end) = dice.interval();
    pb::RangeRequest {
        key,
        range_end,
        ..Default::default()
    }
}

fn txn(dice: &mut Dice, depth: usize) -> pb::TxnRequest {
    let branch = |dice: &mut Dice| {
        let operations = (0..dice.roll(3)).map(|_| {
            let request = match dice.roll(10) {
                0..3 => Some(Operation::RequestRange(range(dice))),
                3..6 => Some(Operation::RequestPut(put(dice))),
                6..8 => Some(Operation::RequestDeleteRange(delete(dice))),
                8 if depth == 0 => None,
                _ if depth == 0 => Some(Operation::RequestRange(range(dice))),
                _ => Some(Operation::RequestTxn(txn(dice, depth - 1))),
            };
            pb::RequestOp { request }
        });
        operations.collect::<Vec<_>>()
    };
    let compares = dice.roll(5).saturating_sub(2);
    let mut compare = Vec::new();
    for _ in 0..compares {
        let (key, range_end) = dice.interval();
        compare.push(pb::Compare {
            key,
            range_end,
            ..Default::default()
        });
    }
    pb::TxnRequest {
        compare,
        success: branch(dice),
        failure: branch(dice),
    }
}

fn request(dice: &mut Dice) -> Request {
    let lease = *dice.one_of(&NAMED_LEASES);
    match dice.roll(20) {
        0..2 => Request::Range(range(dice)),
        2..5 => Request::Put(put(dice)),
        5..7 => Request::Delete(delete(dice)),
        7..12 => Request::Txn(txn(dice, 2)),
        12 => {
            let (key, range_end) = dice.interval();
            let key = if dice.chance(20) { Bytes::new() } else { key };
            Request::Watch(pb::WatchCreateRequest {
                key,
                range_end,
                ..Default::default()
            })
        }
        13 => Request::LeaseRevoke(lease),
        14 => Request::LeaseKeepAlive(lease),
        15 => Request::LeaseKeys(lease),
        16 => Request::Leases,
        17 => Request::ForRoot,
        18 => Request::ForSomebody,
        _ if dice.chance(50) => Request::LeaseGrant,
        _ => Request::LeaseTime,
    }
}

/// What the code under test says.
fn allows(world: &World, caller: &Caller, request: &Request) -> bool {
    let auth = &world.auth;
    let by = |needs: &[Need<'_>]| {
        let decided = auth.authorise_with(caller, needs, Some(&world.lessor));
        decided.is_ok()
    };
    let logged = |op: Op| by(&needs::command(&op));
    match request {
        Request::Range(r) => by(&needs::range(r)),
        Request::Put(r) => logged(Op::Put(r.clone())),
        Request::Delete(r) => logged(Op::DeleteRange(r.clone())),
        Request::Txn(r) => logged(Op::Txn(r.clone())),
        Request::Watch(r) => by(&needs::watch(r)),
        Request::LeaseGrant => logged(Op::LeaseGrant(pb::LeaseGrantRequest::default())),
        Request::LeaseRevoke(id) => logged(Op::LeaseRevoke(pb::LeaseRevokeRequest { id: *id })),
        Request::LeaseKeepAlive(id) => by(&[Need::LeaseWrite(LeaseId(*id))]),
        Request::LeaseKeys(id) => by(&[Need::LeaseRead(LeaseId(*id))]),
        Request::Leases => by(&[Need::LeasesRead]),
        Request::LeaseTime => by(&[Need::Authenticated]),
        Request::ForRoot => logged(Op::Compaction(pb::CompactionRequest::default())),
        Request::ForSomebody => logged(Op::Alarm(pb::AlarmRequest::default())),
    }
}

/// What both say of all pairs from a seed on.
#[derive(Debug, Default)]
struct Tally {
    pairs: u64,
    allowed: u64,
    leaks: u64,
    false_denials: u64,
    first: Option<String>,
}

fn compare(pairs: u64, seed: u64) -> Tally {
    let mut tally = Tally::default();
    let mut number = 0;
    while tally.pairs < pairs {
        let mut dice = Dice(seed ^ number);
        number += 1;
        let world = world(&mut dice);
        for _ in 0..REQUESTS_PER_WORLD {
            let asks = match dice.roll(20) {
                0 => Asks::Nobody,
                1 => Asks::Stranger,
                2 => Asks::Stale,
                _ => Asks::User,
            };
            let now = world.auth.revision();
            let caller = match asks {
                Asks::Nobody => Caller::nobody(),
                Asks::Stranger => Caller::user("x", now),
                Asks::Stale => Caller::user(USER, now - 1),
                Asks::User => Caller::user(USER, now),
            };
            let request = request(&mut dice);
            let wanted = world.model.allows(&asks, &request);
            let found = allows(&world, &caller, &request);
            tally.pairs += 1;
            tally.allowed += u64::from(wanted);
            tally.leaks += u64::from(found && !wanted);
            tally.false_denials += u64::from(!found && wanted);
            if found != wanted && tally.first.is_none() {
                let model = &world.model;
                tally.first = Some(format!("{asks:?} {request:?}\nby {model:?}\nfound {found}"));
            }
        }
    }
    tally
}

fn number_from(variable: &str) -> Option<u64> {
    let set = std::env::var(variable).ok()?;
    Some(set.parse().expect("it is a number"))
}

#[test]
fn code_and_model_agree_on_every_pair_of_roles_and_request() {
    let pairs = number_from("KVORUM_TEST_AUTH_PAIRS").unwrap_or(PAIRS);
    let seed = number_from("KVORUM_TEST_AUTH_SEED").unwrap_or(0x5eed);
    let tally = compare(pairs, seed << 32);
    assert_eq!((tally.leaks, tally.false_denials), (0, 0), "{tally:?}");
    // Both answers are worth something only if there are enough of each.
    assert!(tally.allowed * 10 > tally.pairs, "{tally:?}");
    assert!(tally.allowed * 10 < tally.pairs * 9, "{tally:?}");
    eprintln!("{tally:?}");
}

#[test]
fn the_model_finds_each_check_that_is_left_out() {
    for mutant in [
        Mutant::NestedTxnUnchecked,
        Mutant::PrevKvUnchecked,
        Mutant::LeaseAttachUnchecked,
    ] {
        mutants::set(Some(mutant));
        let tally = compare(20_000, 1 << 32);
        mutants::set(None);
        assert!(tally.leaks > 0, "{mutant:?}: {tally:?}");
        eprintln!("{mutant:?}: {} leaks in {} pairs", tally.leaks, tally.pairs);
    }
}
