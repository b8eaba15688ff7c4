//! Members come and go, as an operator would have it.

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{MemberChange, MemberOp, NewMember, member_op::Op};

use crate::client::What;
use crate::member::{Member, url};
use crate::plan::Fault;
use crate::world::{Event, World};

/// More members than this are not added.
const MEMBERS_MAX: usize = 7;
/// Calls of the operator are nobody's.
const OPERATOR: usize = usize::MAX;

fn op(op: Op) -> MemberOp {
    MemberOp { op: Some(op) }
}

impl World {
    /// The member that knows most.
    pub(crate) fn furthest(&self) -> Option<u64> {
        let running = self
            .members
            .values()
            .filter(|m| m.running.is_some() && !m.gone);
        let applied = |m: &&Member| m.running.as_ref().map(|r| r.replica.applied());
        running.max_by_key(applied).map(|m| m.id)
    }

    /// Who votes, as far as anybody knows.
    pub(crate) fn voters(&self) -> Vec<u64> {
        self.listed(true)
    }

    /// True if the voters whose files were damaged leave no majority. The operator of these clusters takes one member
    /// away while another one's files rot; from there a product only has its recovery by hand.
    pub(crate) fn damage_took_the_quorum(&self) -> bool {
        let there = |id: MemberId| self.members.get(&id.0).is_none_or(|m| !m.gone);
        let furthest = self.furthest().and_then(|id| self.members.get(&id));
        let running = furthest.and_then(|m| m.running.as_ref());
        self.figures.damaged > 0 && running.is_some_and(|r| !r.replica.node().has_quorum(there))
    }

    /// Who is a member, or a voter.
    pub(crate) fn listed(&self, voters: bool) -> Vec<u64> {
        let Some(running) = self
            .furthest()
            .and_then(|id| self.members.get(&id)?.running.as_ref())
        else {
            return Vec::new();
        };
        if voters {
            return running
                .replica
                .node()
                .voters()
                .iter()
                .map(|v| v.0)
                .collect();
        }
        running
            .replica
            .machine()
            .members()
            .iter()
            .map(|m| m.id)
            .collect()
    }

    /// Whoever was added and is known to be a member is started.
    pub(crate) fn start_newcomers(&mut self) {
        let listed = self.listed(false);
        for id in listed {
            if self
                .members
                .get(&id)
                .is_some_and(|m| m.life == 0 && !m.gone)
            {
                self.queue.after(1_000, Event::Start(id));
            }
        }
    }

    /// Asks for a change.
    pub(crate) fn change_members(&mut self, fault: Fault) {
        let up = self.up();
        if up.is_empty() {
            return;
        }
        let contact = self.dice.pick(&up);
        let voters = self.voters();
        let learners: Vec<u64> = self
            .listed(false)
            .into_iter()
            .filter(|id| !voters.contains(id))
            .collect();
        let leader = self.leader();
        let what = match fault {
            Fault::Transfer => match leader {
                Some(leader) => {
                    let to = self.dice.pick(&voters);
                    return self.operate(What::Transfer(to), leader);
                }
                None => return,
            },
            Fault::AddLearner
                if voters.len() + learners.len() < MEMBERS_MAX && learners.len() < 2 =>
            {
                vec![self.newcomer()]
            }
            Fault::Promote if !learners.is_empty() => {
                vec![op(Op::Promote(self.dice.pick(&learners)))]
            }
            Fault::Remove | Fault::RemoveLeader => {
                match self.spare(&voters, &learners, fault, leader) {
                    Some(id) => vec![op(Op::Remove(id))],
                    None => return,
                }
            }
            Fault::Replace => match self.spare(&voters, &learners, fault, leader) {
                Some(id) => vec![op(Op::Remove(id)), self.newcomer()],
                None => return,
            },
            _ => return,
        };
        self.figures.changes += 1;
        let change = MemberChange {
            request_id: 0,
            ops: what,
            caller: None,
        };
        self.operate(What::Change(change), contact);
    }

    fn operate(&mut self, what: What, contact: u64) {
        self.call(OPERATOR, what, contact);
    }

    fn newcomer(&mut self) -> MemberOp {
        let id = self.next_member;
        self.next_member += 1;
        let member = Member::new(id, &self.plan, &mut self.dice);
        self.members.insert(id, member);
        op(Op::AddLearner(NewMember {
            id,
            peer_urls: vec![url(id)],
            promote: self.dice.one_in(2),
        }))
    }

    /// Somebody who can go: first whoever is lost, and never so many that the rest could not decide anything.
    fn spare(
        &mut self,
        voters: &[u64],
        learners: &[u64],
        fault: Fault,
        leader: Option<u64>,
    ) -> Option<u64> {
        let bad = |id: &u64| self.members.get(id).is_none_or(|m| m.gone || m.rotten);
        if let Some(lost) = voters.iter().chain(learners).find(|id| bad(id)) {
            return Some(*lost);
        }
        if fault == Fault::RemoveLeader {
            return leader.filter(|l| voters.len() > 1 && voters.contains(l));
        }
        if !learners.is_empty() && self.dice.one_in(2) {
            return Some(self.dice.pick(learners));
        }
        (voters.len() > 1).then(|| self.dice.pick(voters))
    }
}
