//! What is right, found in another way: every key of a small universe is looked at by itself, and a request is taken
//! apart with a list of what is left to do. Nothing is merged, sorted or shared with the code under test.
//!
//! The universe has every key that an interval here begins or ends with, and the key right after each: between two
//! neighbours no interval begins or ends, so what holds for all of these keys holds for all there are.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_proto::authpb::permission::Type;
use kvorum_proto::etcdserverpb as pb;
use pb::request_op::Request as Operation;

/// Where intervals begin and end.
pub(super) const ENDS: [&[u8]; 10] = [
    b"\0", b"a", b"a\0", b"aa", b"ab", b"b", b"b\0", b"ba", b"c", b"\xff",
];

/// A set of keys of the universe, a bit each.
type Keys = u64;

/// Who asks, as far as rights go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// A client without a name.
    Nobody,
    /// A name that is no user.
    Stranger,
    /// The user, known by tables that are old by now.
    Stale,
    /// The user.
    User,
}

/// One request, of any kind.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Watch(pb::WatchCreateRequest),
    LeaseGrant,
    LeaseRevoke(i64),
    LeaseKeepAlive(i64),
    LeaseKeys(i64),
    LeaseTime,
    Leases,
    /// Compaction, members, users, roles, maintenance.
    ForRoot,
    /// Alarms that are looked at, status, the list of members.
    ForSomebody,
}

/// What the model knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    universe: Vec<Vec<u8>>,
    /// Permissions of the user, one by one: kind, key, end.
    permissions: Vec<(Type, Vec<u8>, Vec<u8>)>,
    pub(super) is_root: bool,
    /// Keys by lease.
    pub(super) leases: BTreeMap<i64, BTreeSet<Vec<u8>>>,
    readable: Keys,
    writable: Keys,
}

impl Model {
    pub(super) fn new() -> Self {
        let mut universe: BTreeSet<Vec<u8>> = BTreeSet::new();
        for end in ENDS {
            universe.insert(end.to_vec());
            universe.insert([end, b"\0"].concat());
        }
        // Beyond everything that has an end.
        universe.insert(b"\xff\xff\xff".to_vec());
        Self {
            universe: universe.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) fn permit(&mut self, kind: Type, key: &[u8], end: &[u8]) {
        self.permissions.push((kind, key.to_vec(), end.to_vec()));
    }

    /// To be called when all is permitted.
    pub(super) fn settle(&mut self) {
        for (kind, key, end) in &self.permissions {
            let keys = self.named(key, end);
            if *kind != Type::Write {
                self.readable |= keys;
            }
            if *kind != Type::Read {
                self.writable |= keys;
            }
        }
    }

    fn is_named(candidate: &[u8], key: &[u8], end: &[u8]) -> bool {
        if end.is_empty() {
            candidate == key
        } else if end == b"\0" {
            candidate >= key
        } else {
            candidate >= key && candidate < end
        }
    }

    /// The keys of the universe that a request names.
    fn named(&self, key: &[u8], end: &[u8]) -> Keys {
        let mut keys = 0;
        for (at, candidate) in self.universe.iter().enumerate() {
            if Self::is_named(candidate, key, end) {
                keys |= 1 << at;
            }
        }
        keys
    }

    /// The same; where it names no key at all, the first one is asked for.
    fn asked(&self, key: &[u8], end: &[u8]) -> Keys {
        match self.named(key, end) {
            0 => self.named(key, b""),
            keys => keys,
        }
    }

    fn reads(&self, key: &[u8], end: &[u8]) -> bool {
        self.asked(key, end) & !self.readable == 0
    }

    fn writes(&self, key: &[u8], end: &[u8]) -> bool {
        self.asked(key, end) & !self.writable == 0
    }

    fn puts(&self, r: &pb::PutRequest) -> bool {
        let tied = self.leases.get(&r.lease).into_iter().flatten();
        self.writes(&r.key, b"")
            && (!r.prev_kv || self.reads(&r.key, b""))
            && tied.into_iter().all(|key| self.writes(key, b""))
    }

    fn deletes(&self, r: &pb::DeleteRangeRequest) -> bool {
        self.writes(&r.key, &r.range_end) && (!r.prev_kv || self.reads(&r.key, &r.range_end))
    }

    fn transacts(&self, r: &pb::TxnRequest) -> bool {
        let mut left = vec![r];
        while let Some(txn) = left.pop() {
            if !txn.compare.iter().all(|c| self.reads(&c.key, &c.range_end)) {
                return false;
            }
            for branch in [&txn.failure, &txn.success] {
                for operation in branch {
                    let fine = match &operation.request {
                        Some(Operation::RequestRange(r)) => self.reads(&r.key, &r.range_end),
                        Some(Operation::RequestPut(r)) => self.puts(r),
                        Some(Operation::RequestDeleteRange(r)) => self.deletes(r),
                        Some(Operation::RequestTxn(inner)) => {
                            left.push(inner);
                            true
                        }
                        None => true,
                    };
                    if !fine {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn ties(&self, lease: i64, all: impl Fn(&[u8]) -> bool) -> bool {
        let keys = self.leases.get(&lease).into_iter().flatten();
        keys.into_iter().all(|key| all(key))
    }

    /// True if the request names keys, by itself or through a lease.
    fn has_keys(&self, request: &Request) -> bool {
        match request {
            Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Watch(_) => true,
            Request::Txn(r) => has_operations(r),
            Request::LeaseRevoke(id) | Request::LeaseKeepAlive(id) | Request::LeaseKeys(id) => {
                self.leases.get(id).is_some_and(|keys| !keys.is_empty())
            }
            Request::Leases => self.leases.values().any(|keys| !keys.is_empty()),
            Request::LeaseGrant | Request::LeaseTime | Request::ForRoot | Request::ForSomebody => {
                false
            }
        }
    }

    /// True if the answer may be more than a refusal.
    pub(super) fn allows(&self, asks: &Asks, request: &Request) -> bool {
        match asks {
            Asks::Nobody => return false,
            Asks::Stranger if matches!(request, Request::ForRoot) || self.has_keys(request) => {
                return false;
            }
            // Leases are let go by whoever is root now.
            Asks::Stale if self.has_keys(request) && !(self.is_root && is_of_lease(request)) => {
                return false;
            }
            Asks::Stranger => return true,
            Asks::Stale | Asks::User if self.is_root => return true,
            Asks::Stale | Asks::User => {}
        }
        match request {
            Request::Range(r) => self.reads(&r.key, &r.range_end),
            Request::Put(r) => self.puts(r),
            Request::Delete(r) => self.deletes(r),
            Request::Txn(r) => self.transacts(r),
            Request::Watch(r) if r.key.is_empty() => self.reads(b"\0", &r.range_end),
            Request::Watch(r) => self.reads(&r.key, &r.range_end),
            Request::LeaseRevoke(id) | Request::LeaseKeepAlive(id) => {
                self.ties(*id, |key| self.writes(key, b""))
            }
            Request::LeaseKeys(id) => self.ties(*id, |key| self.reads(key, b"")),
            Request::Leases => {
                let mut all = self.leases.values().flatten();
                all.all(|key| self.reads(key, b""))
            }
            Request::ForRoot => false,
            Request::LeaseGrant | Request::LeaseTime | Request::ForSomebody => true,
        }
    }
}

fn is_of_lease(request: &Request) -> bool {
    matches!(
        request,
        Request::LeaseRevoke(_)
            | Request::LeaseKeepAlive(_)
            | Request::LeaseKeys(_)
            | Request::Leases
    )
}

fn has_operations(r: &pb::TxnRequest) -> bool {
    let deeper = |operation: &pb::RequestOp| match &operation.request {
        Some(Operation::RequestTxn(inner)) => has_operations(inner),
        Some(_) => true,
        None => false,
    };
    !r.compare.is_empty() || r.success.iter().chain(&r.failure).any(deeper)
}
