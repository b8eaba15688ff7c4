//! What only the leader does: the first authority, the next issuing certificate, and the steps of a rotation. Each step
//! is one entry of the log that names the state it follows, so whoever leads next goes on.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_core::auth::Caller;
use kvorum_core::membership::Members;
use kvorum_core::trust::{EVICTED_BY, Stage, Trust};
use kvorum_core::{Error, MemberId};
use kvorum_pki::Validity;
use kvorum_proto::kvorumpb::{
    IssuerChange, RotationBegin, RotationDrop, RotationForce, TrustDenial, TrustForget, TrustOp,
    trust_denial::Subject, trust_op::Op,
};

use super::TrustError;
use super::authority::{Authority, der};
use crate::clock::unix_s;
use crate::handle::Handle;
use kvorum_core::reply::Reply;

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{0}")]
    Refused(#[from] Error),
}

impl Handle {
    /// A change of the trust state, with this member's clock.
    pub(crate) async fn trust_change(&self, op: Op) -> Result<Reply, Error> {
        let change = TrustOp {
            now_unix_s: unix_s(),
            op: Some(op),
        };
        let op = kvorum_proto::kvorumpb::command::Op::Trust(Box::new(change));
        self.propose(&Caller::own(), op).await
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == self.shared.identity.member_id.0
    }

    /// The table of members as the rules of a rotation see it.
    pub(crate) fn member_table(&self) -> Members {
        Members::founders(self.members())
    }

    /// Members that this one has no connection to.
    pub(crate) fn unreached(&self) -> Vec<MemberId> {
        let peers = self.shared.cluster.peers();
        let active = peers.map(crate::peer::Peers::active).unwrap_or_default();
        let active: BTreeSet<MemberId> = active.into_iter().map(|(id, _)| id).collect();
        let own = self.shared.identity.member_id;
        let ids = self.members().into_iter().map(|m| MemberId(m.id));
        ids.filter(|id| *id != own && !active.contains(id))
            .collect()
    }
}

/// What a new rotation proposes.
pub(crate) fn begin(
    authority: &Authority,
    trust: &Trust,
    grace_s: i64,
    by: &str,
) -> Result<Op, TrustError> {
    let root = kvorum_pki::Root::generate(&authority.domain, unix_s());
    let root = root.map_err(TrustError::pki("a new root"))?;
    let (root_der, sealed_root_key): (Bytes, Bytes) = authority.sealed_root(&root)?;
    Ok(Op::RotationBegin(RotationBegin {
        after: trust.authority(),
        root_der,
        sealed_root_key,
        grace_s,
        begun_by: by.to_owned(),
    }))
}

/// What a rotation is not to wait for any longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// The members that the leader cannot reach now. Their certificates of the old root are worth nothing when it goes.
    pub members: bool,
    /// The rest of the grace period.
    pub grace: bool,
}

pub(crate) fn force(trust: &Trust, without: Without) -> Op {
    Op::RotationForce(RotationForce {
        after: trust.authority(),
        end_grace: without.grace,
        without_unreached: without.members,
        ..RotationForce::default()
    })
}

/// Somebody wants to go on without the members that are not there: those whom the leader does not reach.
fn name_unreached(handle: &Handle, trust: &Trust) -> Op {
    let unreached = handle.unreached();
    tracing::warn!(members = ?unreached, "the rotation goes on without members that cannot be reached");
    Op::RotationForce(RotationForce {
        after: trust.authority(),
        without_members: unreached.iter().map(|id| id.0).collect(),
        unreached_named: true,
        ..RotationForce::default()
    })
}

/// The next step that is due, if any.
pub(crate) async fn step(
    handle: &Handle,
    authority: &Authority,
    trust: &Trust,
    jitter: u32,
    is_settled: bool,
) -> Result<(), StepError> {
    let wishes = trust.rotation().is_some_and(|r| r.without_unreached);
    if wishes && is_settled {
        handle.trust_change(name_unreached(handle, trust)).await?;
        return Ok(());
    }
    let progress = trust.progress(&handle.member_table(), unix_s());
    let due = match progress.stage {
        Stage::Issuer => Some(next_root_issues(authority, trust)?),
        Stage::Drop => drop_old(handle, trust),
        Stage::None | Stage::Bundle | Stage::Reissue | Stage::Grace => {
            renewed_issuer(authority, trust, jitter)?
        }
    };
    let Some(op) = due else {
        // First: where the table of denials is full, this is what makes room in it.
        if trust.has_old_rows(unix_s()) {
            let forget = Op::Forget(TrustForget {});
            handle.trust_change(forget).await?;
        }
        if let Some(serial) = trust.next_evicted() {
            // It is refused already; this says since when, and is kept where the cluster goes on from a snapshot.
            let denial = TrustDenial {
                subject: Some(Subject::Serial(serial.clone())),
                denied_by: EVICTED_BY.to_owned(),
                ..TrustDenial::default()
            };
            handle.trust_change(Op::Deny(denial)).await?;
        }
        return Ok(());
    };
    let told = step_name(&op);
    handle.trust_change(op).await?;
    tracing::info!(step = told, "the certificate authority has changed");
    Ok(())
}

fn step_name(op: &Op) -> &'static str {
    match op {
        Op::Issuer(_) => "another issuing certificate",
        Op::RotationDrop(_) => "the old root is not trusted any more",
        _ => "another one",
    }
}

/// All trust the new root: it issues from now on. Those who do not know it take the old root's word.
fn next_root_issues(authority: &Authority, trust: &Trust) -> Result<Op, TrustError> {
    let rotation = trust.rotation().ok_or(TrustError::State("no rotation"))?;
    let root = |id| trust.root(id).ok_or(TrustError::State("a root is missing"));
    let new = authority.root(root(rotation.new_root)?)?;
    let old = authority.root(root(rotation.old_root)?)?;
    let now = unix_s();
    let what = "the next issuing certificate";
    let issuer = new.issuing_ca(&authority.domain, now);
    let issuer = issuer.map_err(TrustError::pki(what))?;
    let cross = old
        .cross_sign(&issuer, now)
        .map_err(TrustError::pki(what))?;
    let issuer = authority.kept_issuer(&issuer, rotation.new_root, Some(&cross))?;
    Ok(Op::Issuer(IssuerChange {
        after: trust.authority(),
        issuer: Some(issuer),
    }))
}

/// Nothing needs the old root any more; but whoever cannot be reached now may not know that yet.
fn drop_old(handle: &Handle, trust: &Trust) -> Option<Op> {
    let rotation = trust.rotation()?;
    let mut away = handle.unreached();
    away.retain(|id| !rotation.without_members.contains(&id.0));
    if let Some(id) = away.first() {
        let member = format!("{:x}", id.0);
        tracing::warn!(member, "the old root stays: a member cannot be reached");
        return None;
    }
    Some(Op::RotationDrop(RotationDrop {
        after: trust.authority(),
    }))
}

/// The issuing certificate is renewed at two thirds of its life, for the same key: what it has signed stays valid.
fn renewed_issuer(
    authority: &Authority,
    trust: &Trust,
    jitter: u32,
) -> Result<Option<Op>, TrustError> {
    let kept = trust.issuer().ok_or(TrustError::State("no issuer"))?;
    let what = "the issuing certificate";
    let validity = Validity::of(&der(&kept.der)).map_err(TrustError::pki(what))?;
    let now = unix_s();
    if !validity.is_due(now, jitter) {
        return Ok(None);
    }
    let (issuer, root) = authority.issuer(trust)?;
    let signs = |id| trust.root(id).ok_or(TrustError::State("a root is missing"));
    let by = authority.root(signs(root)?)?;
    let next = by
        .renew_issuing(&issuer, now)
        .map_err(TrustError::pki(what))?;
    let old = trust.rotation().filter(|r| r.new_root == root);
    let cross = match old.map(|r| signs(r.old_root)).transpose()? {
        Some(old) => {
            let cross = authority.root(old)?.cross_sign(&next, now);
            Some(cross.map_err(TrustError::pki(what))?)
        }
        None => None,
    };
    Ok(Some(Op::Issuer(IssuerChange {
        after: trust.authority(),
        issuer: Some(authority.kept_issuer(&next, root, cross.as_ref())?),
    })))
}
