//! The lease table and, on the leader, its clock.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_proto::leasepb;
use prost::Message;

use super::TTL_MAX_S;
use super::expiry::Expiry;
use crate::backend::SideChange;
use crate::error::Error;
use crate::types::LeaseId;

/// Keys tied to one lease, in order.
pub type Keys = BTreeSet<Box<[u8]>>;

#[derive(Debug, Default)]
struct Lease {
    ttl_s: i64,
    /// Checkpointed remainder, 0 if none.
    remaining_s: i64,
    /// Deadline on the leader's clock; none elsewhere.
    expires_ms: Option<u64>,
    /// Its end is proposed: nothing renews it any more.
    ending: bool,
    keys: Keys,
}

impl Lease {
    fn encoded(&self, id: LeaseId) -> SideChange {
        let lease = leasepb::Lease {
            id: id.0,
            ttl: self.ttl_s,
            remaining_ttl: self.remaining_s,
        };
        SideChange::LeasePut(id, lease.encode_to_vec().into())
    }

    /// What a new leader gives it: the checkpointed remainder if there is one.
    fn span_ms(&self) -> u64 {
        let s = if self.remaining_s > 0 {
            self.remaining_s
        } else {
            self.ttl_s
        };
        u64::try_from(s).unwrap_or_default().saturating_mul(1000)
    }
}

/// Answer to a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renewed; the full TTL counts from now.
    Renewed {
        /// TTL, seconds.
        ttl_s: i64,
        /// A checkpointed remainder must be cleared through the log, else the next leader would shorten the lease.
        clear_checkpoint: bool,
    },
    /// No such lease.
    Unknown,
    /// Its time is up and its end is on the way through the log: the answer waits for that.
    Ending,
    /// This member does not count time.
    NotPrimary,
}

/// Answer to a time-to-live request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Seconds left.
    pub remaining_s: i64,
    /// TTL as granted.
    pub granted_s: i64,
    /// Attached keys, if asked for.
    pub keys: Vec<Box<[u8]>>,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    expiry: Expiry,
    primary: bool,
    ttl_min_s: i64,
}

impl Lessor {
    /// An empty table. Shorter TTLs are raised to `ttl_min_s`.
    #[must_use]
    pub fn new(ttl_min_s: i64) -> Self {
        Self {
            ttl_min_s,
            ..Self::default()
        }
    }

    /// Number of leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// True without leases.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// True if the lease exists.
    #[must_use]
    pub fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// The keys that are tied to a lease.
    pub fn keys(&self, id: LeaseId) -> impl Iterator<Item = &[u8]> {
        let keys = self.leases.get(&id).into_iter().flat_map(|l| &l.keys);
        keys.map(|key| &**key)
    }

    /// The keys that are tied to any lease.
    pub fn all_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.leases.values().flat_map(|l| &l.keys).map(|key| &**key)
    }

    /// Adds a lease and tells its effective TTL.
    ///
    /// # Errors
    /// The id is 0 or taken, or the TTL too large.
    pub fn grant(
        &mut self,
        id: LeaseId,
        ttl_s: i64,
        now_ms: u64,
    ) -> Result<(i64, SideChange), Error> {
        if id.0 == 0 {
            return Err(Error::LeaseNotFound);
        }
        if ttl_s > TTL_MAX_S {
            return Err(Error::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(Error::LeaseExists);
        }
        let lease = Lease {
            ttl_s: ttl_s.max(self.ttl_min_s),
            ..Lease::default()
        };
        let (ttl_s, change, span_ms) = (lease.ttl_s, lease.encoded(id), lease.span_ms());
        self.leases.insert(id, lease);
        if self.primary {
            self.set_deadline(id, Some(now_ms.saturating_add(span_ms)));
        }
        Ok((ttl_s, change))
    }

    /// Removes a lease and gives back its keys in ascending order.
    ///
    /// # Errors
    /// There is no such lease.
    pub fn revoke(&mut self, id: LeaseId) -> Result<(Keys, SideChange), Error> {
        self.set_deadline(id, None);
        let lease = self.leases.remove(&id).ok_or(Error::LeaseNotFound)?;
        Ok((lease.keys, SideChange::LeaseDelete(id)))
    }

    /// Ties a key to a lease; 0 ties it to none.
    pub fn attach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.into());
        }
    }

    /// Unties a key.
    pub fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Records the seconds a lease had left, so that a later leader goes on from there. 0 clears it.
    pub fn checkpoint(&mut self, id: LeaseId, remaining_s: i64) -> Option<SideChange> {
        let lease = self.leases.get_mut(&id)?;
        lease.remaining_s = remaining_s.clamp(0, lease.ttl_s);
        Some(lease.encoded(id))
    }

    /// Renews a lease on the leader's clock.
    pub fn renew(&mut self, id: LeaseId, now_ms: u64) -> Renewal {
        if !self.primary {
            return Renewal::NotPrimary;
        }
        let Some(lease) = self.leases.get(&id) else {
            return Renewal::Unknown;
        };
        if lease.ending || lease.expires_ms.is_some_and(|at| at <= now_ms) {
            return Renewal::Ending;
        }
        let (ttl_s, clear_checkpoint) = (lease.ttl_s, lease.remaining_s > 0);
        let span_ms = u64::try_from(ttl_s)
            .unwrap_or_default()
            .saturating_mul(1000);
        self.set_deadline(id, Some(now_ms.saturating_add(span_ms)));
        Renewal::Renewed {
            ttl_s,
            clear_checkpoint,
        }
    }

    /// What is left of a lease; `None` if it is unknown or its time is up.
    #[must_use]
    pub fn time_left(&self, id: LeaseId, with_keys: bool, now_ms: u64) -> Option<TimeLeft> {
        let lease = self.leases.get(&id)?;
        let left_ms = lease
            .expires_ms
            .map_or(u64::MAX, |at| at.saturating_sub(now_ms));
        if left_ms == 0 {
            return None;
        }
        let keys = if with_keys {
            lease.keys.iter().cloned().collect()
        } else {
            Vec::new()
        };
        // etcd truncates to whole seconds.
        let remaining_s = i64::try_from(left_ms / 1000)
            .unwrap_or(i64::MAX)
            .min(lease.ttl_s);
        Some(TimeLeft {
            remaining_s,
            granted_s: lease.ttl_s,
            keys,
        })
    }

    /// All leases, those that expire first at the front; by id where no clock runs.
    #[must_use]
    pub fn ids(&self) -> Vec<LeaseId> {
        if self.primary {
            self.expiry.ordered().collect()
        } else {
            self.leases.keys().copied().collect()
        }
    }

    /// This member became leader: every lease gets its remainder and `extend_ms` on top, because nobody counted
    /// between two leaders, so a lease never ends early. (Promote)
    pub fn promote(&mut self, now_ms: u64, extend_ms: u64) {
        self.primary = true;
        for id in self.leases.keys().copied().collect::<Vec<_>>() {
            let span_ms = self.leases.get(&id).map_or(0, Lease::span_ms);
            self.set_deadline(
                id,
                Some(now_ms.saturating_add(span_ms).saturating_add(extend_ms)),
            );
        }
    }

    /// This member is no longer leader: leases last until another one says otherwise.
    pub fn demote(&mut self) {
        self.primary = false;
        for id in self.leases.keys().copied().collect::<Vec<_>>() {
            self.set_deadline(id, None);
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.ending = false;
            }
        }
    }

    /// Takes up to `limit` leases whose time is up and whose end is not proposed yet.
    pub fn take_expired(&mut self, now_ms: u64, limit: usize) -> Vec<LeaseId> {
        let due: Vec<LeaseId> = self.expiry.due(now_ms).collect();
        let mut taken = Vec::new();
        for id in due {
            if taken.len() == limit {
                break;
            }
            if let Some(lease) = self.leases.get_mut(&id).filter(|l| !l.ending) {
                lease.ending = true;
                taken.push(id);
            }
        }
        taken
    }

    /// The proposal to end these leases did not get through: they are to be proposed again.
    pub fn expiry_failed(&mut self, ids: &[LeaseId]) {
        for id in ids {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.ending = false;
            }
        }
    }

    /// Remainders worth writing to the log: of leases whose TTL is longer than the interval between two checkpoints.
    #[must_use]
    pub fn checkpoints(&self, now_ms: u64, interval_s: i64, limit: usize) -> Vec<(LeaseId, i64)> {
        let long = self
            .leases
            .iter()
            .filter(|(_, l)| l.ttl_s > interval_s && !l.ending);
        long.filter_map(|(id, l)| {
            let left_s = l.expires_ms?.saturating_sub(now_ms) / 1000;
            let left_s = i64::try_from(left_s).ok()?;
            let known = if l.remaining_s > 0 {
                l.remaining_s
            } else {
                l.ttl_s
            };
            (left_s > 0 && left_s < known).then_some((*id, left_s))
        })
        .take(limit)
        .collect()
    }

    fn set_deadline(&mut self, id: LeaseId, at_ms: Option<u64>) {
        if let Some(lease) = self.leases.get_mut(&id) {
            self.expiry.set(id, lease.expires_ms, at_ms);
            lease.expires_ms = at_ms;
        }
    }

    /// Takes a lease back from the state store.
    pub fn restore(&mut self, id: LeaseId, encoded: &[u8]) {
        if let Ok(l) = leasepb::Lease::decode(encoded) {
            let lease = Lease {
                ttl_s: l.ttl,
                remaining_s: l.remaining_ttl,
                ..Lease::default()
            };
            self.leases.insert(id, lease);
        }
    }
}
