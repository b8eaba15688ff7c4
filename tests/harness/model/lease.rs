//! Leases. A key belongs to the lease that its newest record names, so attachments need no table of their own.

use bytes::Bytes;
use kvorum_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

use super::{Interval, Model, ModelError, Outcome, header};

const MAX_TTL_S: i64 = 9_000_000_000;

/// One lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The TTL that was granted.
    pub ttl_s: i64,
    /// When it ends unless it is kept alive.
    pub expires_ms: i64,
}

impl Model {
    /// Answers a grant. Id 0 is for the server to replace before it comes here.
    ///
    /// # Errors
    /// An alarm forbids it, the TTL is too large, or the id is taken.
    pub fn lease_grant(&mut self, request: &LeaseGrantRequest) -> Outcome<LeaseGrantResponse> {
        self.refuse_if_corrupt()?;
        self.refuse_if_no_space()?;
        if request.ttl > MAX_TTL_S {
            return Err(ModelError::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&request.id) {
            return Err(ModelError::LeaseExists);
        }
        let ttl_s = request.ttl.max(self.limits.min_lease_ttl_s);
        self.leases.insert(
            request.id,
            Lease {
                ttl_s,
                expires_ms: self.now_ms + ttl_s * 1000,
            },
        );
        Ok(LeaseGrantResponse {
            header: header(self.revision),
            id: request.id,
            ttl: ttl_s,
            error: String::new(),
        })
    }

    /// Answers a revoke: the lease goes, its keys go in one transaction.
    ///
    /// # Errors
    /// The cluster is corrupt, or there is no such lease.
    pub fn lease_revoke(&mut self, request: &LeaseRevokeRequest) -> Outcome<LeaseRevokeResponse> {
        self.refuse_if_corrupt()?;
        self.require_lease(request.id)?;
        for key in self.attached(request.id) {
            self.remove(&Interval::One(key));
        }
        self.commit();
        self.leases.remove(&request.id);
        Ok(LeaseRevokeResponse {
            header: header(self.revision),
        })
    }

    /// Answers a keep-alive; TTL 0 says that the lease is gone.
    pub fn lease_keep_alive(&mut self, request: &LeaseKeepAliveRequest) -> LeaseKeepAliveResponse {
        let now_ms = self.now_ms;
        let ttl = self.leases.get_mut(&request.id).map_or(0, |lease| {
            lease.expires_ms = now_ms + lease.ttl_s * 1000;
            lease.ttl_s
        });
        LeaseKeepAliveResponse {
            header: header(self.revision),
            id: request.id,
            ttl,
        }
    }

    /// Answers a question for the rest of a lease's time; keys come in ascending order.
    #[must_use]
    pub fn lease_time_to_live(&self, request: &LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse {
        let alive = self
            .leases
            .get(&request.id)
            .filter(|lease| lease.expires_ms > self.now_ms);
        let mut response = LeaseTimeToLiveResponse {
            header: header(self.revision),
            id: request.id,
            ttl: -1,
            granted_ttl: 0,
            keys: Vec::new(),
        };
        if let Some(lease) = alive {
            response.ttl = (lease.expires_ms - self.now_ms) / 1000;
            response.granted_ttl = lease.ttl_s;
            if request.keys {
                response.keys = self.attached(request.id);
            }
        }
        response
    }

    /// Lists the leases, those that expire first at the front.
    #[must_use]
    pub fn lease_leases(&self) -> LeaseLeasesResponse {
        let mut by_expiry: Vec<(i64, i64)> = self
            .leases()
            .map(|(id, lease)| (lease.expires_ms, id))
            .collect();
        by_expiry.sort_unstable();
        let leases = by_expiry
            .into_iter()
            .map(|(_, id)| LeaseStatus { id })
            .collect();
        LeaseLeasesResponse {
            header: header(self.revision),
            leases,
        }
    }

    /// The leases that exist.
    pub fn leases(&self) -> impl Iterator<Item = (i64, Lease)> + '_ {
        self.leases.iter().map(|(id, lease)| (*id, *lease))
    }

    /// The clock of the leases.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Lets time pass. Nothing ends by that alone: the leader has to say so with `lease_revoke`.
    pub fn advance_ms(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
    }

    /// The leases whose time is up, by id.
    #[must_use]
    pub fn expired(&self) -> Vec<i64> {
        let expired = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_ms <= self.now_ms);
        expired.map(|(id, _)| *id).collect()
    }

    /// Starts every lease anew, as a leader does that has just come to power.
    pub fn restart_leases(&mut self) {
        for lease in self.leases.values_mut() {
            lease.expires_ms = self.now_ms + lease.ttl_s * 1000;
        }
    }

    /// The keys of a lease, in ascending order.
    #[must_use]
    pub fn attached(&self, id: i64) -> Vec<Bytes> {
        let pairs = self.pairs(&Interval::all(), self.revision);
        pairs
            .into_iter()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect()
    }

    /// 0 stands for "no lease".
    pub(super) fn require_lease(&self, id: i64) -> Outcome<()> {
        if id == 0 || self.leases.contains_key(&id) {
            Ok(())
        } else {
            Err(ModelError::LeaseNotFound)
        }
    }
}
