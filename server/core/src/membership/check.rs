//! What is asked before a change is proposed, first where it is asked for, then on the leader. (etcd: mayAddMember, mayRemoveMember, mayPromoteMember in server.go)

use std::collections::{BTreeMap, BTreeSet};

use kvorum_proto::kvorumpb::{self, member_op::Op};

use super::table::Members;
use crate::error::Error;
use crate::types::{Index, MemberId};

/// What a member knows when it judges a change.
#[derive(Clone, Debug, Default)]
pub struct Reconfiguration {
    /// A change that could cost the quorum is refused.
    pub strict: bool,
    /// Learners that a cluster may have at once.
    pub learners_max: usize,
    /// The member that judges.
    pub own: MemberId,
    /// Members that it has been connected to for some time without a break.
    pub steady: BTreeSet<MemberId>,
    /// Members that it is connected to.
    pub reached: BTreeSet<MemberId>,
    /// On the leader: the last entry that each member is known to have, the leader among them.
    pub matched: BTreeMap<MemberId, Index>,
}

/// A learner has caught up when it has this much of the leader's log, tenths.
const READY_TENTHS: u64 = 9;

/// Judges a change where it is asked for: the connections that count are those of the member that was asked, as in etcd,
/// which has them for longer than a leader that was just elected.
///
/// # Errors
/// Applied, it could cost the cluster its quorum.
pub fn check_connections(
    members: &Members,
    change: &kvorumpb::MemberChange,
    known: &Reconfiguration,
) -> Result<(), Error> {
    let (mut after, mut unused) = (members.clone(), Vec::new());
    for op in change.ops.iter().map(|op| op.op.as_ref()) {
        match op {
            Some(Op::Add(_)) => known.may_add(&after, false)?,
            Some(Op::AddLearner(_)) => known.may_add(&after, true)?,
            Some(Op::Remove(id)) => known.may_remove(&after, MemberId(*id))?,
            Some(Op::Promote(_)) | None => {}
        }
        // This member may be late; the leader judges the rest.
        let _known_later = after.carry_out(op, &mut unused);
    }
    Ok(())
}

/// Judges a change before it is proposed.
///
/// # Errors
/// It breaks a rule; applied, it could cost the cluster its quorum, or would be refused anyway.
pub fn check(
    members: &Members,
    change: &kvorumpb::MemberChange,
    known: &Reconfiguration,
) -> Result<(), Error> {
    let (mut after, mut unused) = (members.clone(), Vec::new());
    for op in &change.ops {
        let op = op.op.as_ref();
        match op {
            Some(Op::Add(_)) => known.has_started_to_add(&after)?,
            Some(Op::Remove(id)) => known.has_started_without(&after, MemberId(*id))?,
            Some(Op::Promote(id)) => known.may_promote(&after, MemberId(*id))?,
            Some(Op::AddLearner(_)) | None => {}
        }
        after.carry_out(op, &mut unused)?;
        // One that is about to vote is not there to learn.
        let is_new_learner = matches!(op, Some(Op::AddLearner(new)) if !new.promote);
        if is_new_learner && after.lasting_learners().count() > known.learners_max {
            return Err(Error::TooManyLearners);
        }
    }
    if after.voters().next().is_none() {
        return Err(Error::NotEnoughStarted);
    }
    Ok(())
}

const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Voters that have told their name, without one of them.
fn started(members: &Members, without: Option<MemberId>) -> (usize, usize) {
    let rest = members.voters().filter(|m| Some(MemberId(m.id)) != without);
    rest.fold((0, 0), |(voters, started), m| {
        (voters + 1, started + usize::from(!m.name.is_empty()))
    })
}

impl Reconfiguration {
    fn has_started_to_add(&self, members: &Members) -> Result<(), Error> {
        let (voters, started) = started(members, None);
        // A cluster of one may always grow: this is how a lost one is built up again.
        let alone = voters == 1 && started == 1;
        if self.strict && started < quorum(voters + 1) && !alone {
            return Err(Error::NotEnoughStarted);
        }
        Ok(())
    }

    fn may_add(&self, members: &Members, learner: bool) -> Result<(), Error> {
        if !self.strict {
            return Ok(());
        }
        if !learner {
            self.has_started_to_add(members)?;
        }
        let voters = members.voters().count();
        if voters > 1 && self.count_steady(members) < quorum(voters + 1) {
            return Err(Error::Unhealthy);
        }
        Ok(())
    }

    fn has_started_without(&self, members: &Members, id: MemberId) -> Result<(), Error> {
        if !self.strict || members.get(id).is_some_and(|m| m.is_learner) {
            return Ok(());
        }
        let (rest, started) = started(members, Some(id));
        match started < quorum(rest) {
            true => Err(Error::NotEnoughStarted),
            false => Ok(()),
        }
    }

    fn may_remove(&self, members: &Members, id: MemberId) -> Result<(), Error> {
        self.has_started_without(members, id)?;
        let is_learner = members.get(id).is_some_and(|m| m.is_learner);
        // Who is not there does not count now either.
        let is_away = id != self.own && !self.reached.contains(&id);
        if !self.strict || is_learner || is_away {
            return Ok(());
        }
        let voters = members.voters().count();
        if self.count_steady(members) < 1 + quorum(voters.saturating_sub(1)) {
            return Err(Error::Unhealthy);
        }
        Ok(())
    }

    fn may_promote(&self, members: &Members, id: MemberId) -> Result<(), Error> {
        let matched = self.matched.get(&id).ok_or(Error::MemberNotFound)?;
        let own = self.matched.get(&self.own).copied().unwrap_or_default();
        if matched.0.saturating_mul(10) < own.0.saturating_mul(READY_TENTHS) {
            return Err(Error::LearnerNotReady);
        }
        let (voters, started) = started(members, None);
        if self.strict && started + 1 < quorum(voters + 1) {
            return Err(Error::NotEnoughStarted);
        }
        Ok(())
    }

    fn count_steady(&self, members: &Members) -> usize {
        let is_steady = |id| id == self.own || self.steady.contains(&id);
        let voters = members.voters();
        voters.filter(|m| is_steady(MemberId(m.id))).count()
    }
}
