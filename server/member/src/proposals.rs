//! Writes: checked, proposed, answered once applied.

use std::sync::atomic::Ordering;

use kvorum_core::alarm;
use kvorum_core::auth::{Caller, Need, needs};
use kvorum_core::mvcc::{check, txn};
use kvorum_core::reply::Reply;
use kvorum_core::{Error, LeaseId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, command::Op};
use pb::alarm_request::AlarmAction;
use prost::Message;

use crate::budget::Hold;
use crate::handle::Handle;
use crate::port::{Answer, Ask};

macro_rules! expect_reply {
    ($reply:expr, $kind:ident) => {
        match $reply {
            Reply::$kind(response) => Ok(response),
            // The machine answers each command with its own kind of reply.
            _ => Err(Error::Stopped),
        }
    };
}

impl Handle {
    /// A put.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.5, or the cluster cannot take it now.
    pub async fn put(
        &self,
        caller: &Caller,
        request: pb::PutRequest,
    ) -> Result<pb::PutResponse, Error> {
        check::put(&request)?;
        let op = Op::Put(request);
        self.check_quota(caller, &op).await?;
        expect_reply!(self.propose(caller, op).await?, Put)
    }

    /// A delete.
    ///
    /// # Errors
    /// The key is empty, or the cluster cannot take it now.
    pub async fn delete_range(
        &self,
        caller: &Caller,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Error> {
        check::delete_range(&request)?;
        let op = Op::DeleteRange(request);
        expect_reply!(self.propose(caller, op).await?, DeleteRange)
    }

    /// A transaction; a read-only one does not touch the log.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.7, or the cluster cannot take it now.
    pub async fn txn(
        &self,
        caller: &Caller,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Error> {
        Ok(self.txn_answer(caller, request).await?.0)
    }

    /// A transaction whose response may be large, and the memory it takes.
    ///
    /// # Errors
    /// As `txn`; one that only reads is refused if there is no memory for its response.
    pub async fn txn_answer(
        &self,
        caller: &Caller,
        request: pb::TxnRequest,
    ) -> Result<(pb::TxnResponse, Hold), Error> {
        check::txn(&request, self.shared.options.max_txn_ops)?;
        if txn::is_read_only(&request) {
            return self.read_txn(caller, &request).await;
        }
        let op = Op::Txn(request);
        self.check_quota(caller, &op).await?;
        let response = expect_reply!(self.propose(caller, op).await?, Txn)?;
        let hold = self.hold_applied(response.encoded_len()).await;
        Ok((response, hold))
    }

    /// Room for the response to a write, beside its encoding. It has happened, so it is answered in any case; without
    /// room it only waits a while.
    pub async fn hold_applied(&self, response_bytes: usize) -> Hold {
        let mut hold = self.shared.budget.hold();
        let _refused = hold.grow(2 * response_bytes).await;
        hold
    }

    /// A compaction. A `physical` one is answered when its removals are done.
    ///
    /// # Errors
    /// The revision is compacted already or in the future.
    pub async fn compact(
        &self,
        caller: &Caller,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Error> {
        let (physical, revision) = (request.physical, request.revision);
        self.check_fresh(caller)?;
        let op = Op::Compaction(request);
        let response = expect_reply!(self.propose(caller, op).await?, Compaction)?;
        if physical {
            let mut done = self.shared.compacted.subscribe();
            // The sender lives as long as `shared`: the only error is that the member stops.
            done.wait_for(|at| *at >= revision)
                .await
                .map_err(|_| Error::Stopped)?;
        }
        Ok(response)
    }

    /// A new lease; id 0 lets the member choose.
    ///
    /// # Errors
    /// The id is taken or the TTL too large.
    pub async fn lease_grant(
        &self,
        caller: &Caller,
        mut request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, Error> {
        self.check_quota(caller, &Op::LeaseGrant(request)).await?;
        let chosen = request.id != 0;
        request.ttl = request.ttl.max(self.shared.options.lease_ttl_min_s());
        loop {
            if !chosen {
                request.id = random_lease_id()?;
            }
            match self.propose(caller, Op::LeaseGrant(request)).await {
                Err(Error::LeaseExists) if !chosen => {}
                reply => return expect_reply!(reply?, LeaseGrant),
            }
        }
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// There is no such lease.
    pub async fn lease_revoke(
        &self,
        caller: &Caller,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, Error> {
        let op = Op::LeaseRevoke(request);
        expect_reply!(self.propose(caller, op).await?, LeaseRevoke)
    }

    /// Renews a lease; TTL 0 if it is unknown.
    ///
    /// # Errors
    /// This member does not count time.
    pub async fn lease_keep_alive(
        &self,
        caller: &Caller,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, Error> {
        // etcd fills the header before it renews.
        let header = Some(self.header(0));
        loop {
            let ask = |id| Ask::KeepAlive(id, LeaseId(request.id), caller.clone());
            match self.ask(ask).await? {
                Answer::Renewed(ttl) => {
                    return Ok(pb::LeaseKeepAliveResponse {
                        header,
                        id: request.id,
                        ttl,
                    });
                }
                // The checkpoint that stood in the way is cleared: once more.
                Answer::Applied(Ok(_)) => {}
                Answer::Applied(Err(e)) | Answer::Refused(e) => return Err(e),
                _ => return Err(Error::Stopped),
            }
        }
    }

    /// Time left; TTL −1 if it is unknown.
    ///
    /// # Errors
    /// The member stops.
    pub async fn lease_time_to_live(
        &self,
        caller: &Caller,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Error> {
        let ask = |id| Ask::TimeLeft(id, LeaseId(request.id), request.keys, caller.clone());
        let left = match self.ask(ask).await? {
            Answer::TimeLeft(left) => left,
            Answer::Refused(refused) => return Err(refused),
            _ => return Err(Error::Stopped),
        };
        let mut response = pb::LeaseTimeToLiveResponse {
            header: Some(self.header(0)),
            id: request.id,
            ttl: -1,
            ..Default::default()
        };
        if let Some(left) = left {
            response.ttl = left.remaining_s;
            response.granted_ttl = left.granted_s;
            response.keys = left.keys.into_iter().map(|k| Vec::from(k).into()).collect();
        }
        Ok(response)
    }

    /// All leases by expiry.
    ///
    /// # Errors
    /// The member stops.
    pub async fn lease_leases(&self, caller: &Caller) -> Result<pb::LeaseLeasesResponse, Error> {
        let ids = match self.ask(|id| Ask::Leases(id, caller.clone())).await? {
            Answer::Leases(ids) => ids,
            Answer::Refused(refused) => return Err(refused),
            _ => return Err(Error::Stopped),
        };
        let leases = ids
            .into_iter()
            .map(|id| pb::LeaseStatus { id: id.0 })
            .collect();
        Ok(pb::LeaseLeasesResponse {
            header: Some(self.header(0)),
            leases,
        })
    }

    /// Reads, raises or disarms alarms; all three go through the log.
    ///
    /// # Errors
    /// Its type or action is unknown, or the cluster cannot take it now.
    pub async fn alarm(
        &self,
        caller: &Caller,
        request: pb::AlarmRequest,
    ) -> Result<pb::AlarmResponse, Error> {
        check::alarm(&request)?;
        if needs::alarm(&request) == Need::Admin {
            self.check_fresh(caller)?;
        }
        expect_reply!(self.propose(caller, Op::Alarm(request)).await?, Alarm)
    }

    /// Refuses what does not fit, and raises the alarm. (etcd: api/v3rpc/quota.go)
    async fn check_quota(&self, caller: &Caller, op: &Op) -> Result<(), Error> {
        let cost = match op {
            Op::Put(r) => alarm::put_cost(r),
            Op::Txn(r) => alarm::txn_cost(r),
            _ => alarm::lease_cost(),
        };
        if cost > 0 && self.shared.published.disk_full.load(Ordering::SeqCst) {
            return Err(Error::NoSpace);
        }
        let size = self.shared.store.read().size().total();
        if cost == 0 || size.saturating_add(cost) < self.shared.options.quota_bytes() {
            return Ok(());
        }
        self.refuse_nobody(caller).await?;
        // Whoever may not write must not stop the others either. The log looks at leases.
        let mut needs = needs::command(op);
        needs.retain(|need| !matches!(need, Need::LeaseWrite(_)));
        self.permit(caller, &needs)?;
        self.raise_nospace().await?;
        Err(Error::NoSpace)
    }

    /// True if the alarm is up for this member; one that another has raised does not count.
    fn has_raised_nospace(&self) -> bool {
        let own = self.shared.identity.member_id.0;
        let view = self.shared.view.read();
        let mut alarms = view.alarms.iter();
        alarms.any(|alarm| alarm.member_id == own && alarm.alarm() == pb::AlarmType::Nospace)
    }

    async fn raise_nospace(&self) -> Result<(), Error> {
        if self.has_raised_nospace() {
            return Ok(());
        }
        tracing::warn!(
            quota_bytes = self.shared.options.quota_bytes(),
            "the quota is reached: writes are refused until the store is compacted and the alarm disarmed"
        );
        let raise = pb::AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: self.shared.identity.member_id.0,
            alarm: pb::AlarmType::Nospace as i32,
        };
        self.alarm(&Caller::own(), raise).await.map(drop)
    }

    /// Proposes a command and waits for its answer.
    pub(crate) async fn propose(&self, caller: &Caller, op: Op) -> Result<Reply, Error> {
        self.refuse_nobody(caller).await?;
        let command = Command {
            request_id: 0,
            op: Some(op),
            stamp: None,
            // Also while authentication is off: it may be switched on before this is applied.
            caller: caller.to_wire(),
        };
        if command.encoded_len() > self.shared.options.max_request_bytes {
            return Err(Error::RequestTooLarge);
        }
        let pending = self.port.pending();
        let answer = self
            .ask(|id| {
                Ask::Propose(Command {
                    request_id: id.0,
                    ..command
                })
            })
            .await;
        drop(pending);
        match answer.inspect_err(|_| self.shared.meters.proposals_failed.inc())? {
            Answer::Applied(result) => result,
            Answer::Refused(e) => Err(e),
            _ => Err(Error::Stopped),
        }
    }

    pub(crate) async fn ask(
        &self,
        ask: impl FnOnce(kvorum_core::RequestId) -> Ask,
    ) -> Result<Answer, Error> {
        if self.shared.is_stopping() {
            return Err(Error::Stopped);
        }
        // The sweep drops whoever waits too long.
        self.port.ask(ask).await.map_err(|_| Error::Timeout)
    }
}

/// A positive 63-bit number. (etcd: LeaseGrant in v3_server.go)
fn random_lease_id() -> Result<i64, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| {
        tracing::error!(error = %e, "the system gives no random numbers");
        Error::Stopped
    })?;
    let id = i64::from_be_bytes(bytes) & i64::MAX;
    Ok(id.max(1))
}
