//! What a leader does: proposes, counts the time of leases, hands over.

use kvorum_proto::kvorumpb::{Command, DigestCheck, command::Op};

use super::Replica;
use super::ask::Answer;
use super::disk::Relief;
use super::output::Output;
use crate::node::Leadership;
use crate::types::{MemberId, RequestId};

/// A command of the cluster itself: nobody waits for its answer.
pub(super) fn internal(op: Op) -> Command {
    Command {
        request_id: 0,
        op: Some(op),
        ..Command::default()
    }
}

impl Replica {
    pub(super) fn tick_leader(&mut self, now_ms: u64) {
        let term = self.leadership.term;
        let due = self.leases.due(self.machine.lessor_mut(), term, now_ms);
        self.commands.extend(due);
        if now_ms >= self.next_digest_ms && !self.node.is_alone() {
            self.next_digest_ms = now_ms + self.options.digest_interval_ms;
            self.commands
                .push(internal(Op::DigestCheck(DigestCheck {})));
        }
    }

    /// Puts the commands that wait into the log.
    pub(super) fn propose(&mut self, now_ms: u64, out: &mut Output) {
        if self.commands.is_empty() || self.holding || self.node.is_handing_over() {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        // Whoever has a stamp asks the next leader; the others are told.
        let told: Vec<RequestId> = commands
            .iter()
            .filter(|c| c.stamp.is_none() && c.request_id != 0)
            .map(|c| RequestId(c.request_id))
            .collect();
        if let Err(refused) = self.node.propose(commands) {
            for id in told {
                self.answer(id, Answer::Refused(refused), now_ms, out);
            }
        }
    }

    pub(super) fn lead(&mut self, leadership: Leadership, out: &mut Output) {
        let before = std::mem::replace(&mut self.leadership, leadership);
        out.leadership = Some(leadership);
        let changed = before.leader != leadership.leader || before.term != leadership.term;
        if changed {
            self.reads.restart();
            if leadership.leader != 0 {
                self.outbox.send_again();
            }
        }
        if before.is_leader && (!leadership.is_leader || changed) {
            self.end_of_leading();
        }
    }

    pub(super) fn end_of_leading(&mut self) {
        // Those with a stamp are sent again by whoever asked; what the cluster itself wanted, the next leader decides.
        self.commands
            .retain(|c| c.stamp.is_none() && c.request_id != 0);
        self.remotes.clear();
        self.remote_answers.clear();
        self.digests.forget_reports();
        self.forget_changes();
        if self.settled.take().is_some() {
            self.machine.lessor_mut().demote();
            self.leases.demoted();
        }
    }

    /// The first applied entry of its own term tells a leader that it has seen everything committed before.
    pub(super) fn settle(&mut self, now_ms: u64, out: &mut Output) {
        let leads = self.leadership.is_leader && self.is_member() && self.node.leads_surely();
        if !leads || self.settled.is_some() || self.node.committed() > self.applied {
            return;
        }
        self.settled = Some(self.leadership.term);
        self.next_digest_ms = now_ms + self.options.digest_interval_ms;
        self.machine
            .lessor_mut()
            .promote(now_ms, self.options.election_timeout_ms);
        self.introduce(now_ms);
        self.decide_version(now_ms);
        self.outbox.send_again_waiting();
        self.collect_own(now_ms, out);
    }

    /// True while this member's disk hangs; a leader with peers then lets go of the leadership.
    pub(super) fn relieve_disk(&mut self, now_ms: u64) -> bool {
        let limit_ms = self.options.election_timeout_ms;
        let stalled = self.disk.waiting_ms(now_ms) >= limit_ms;
        if !stalled || self.node.is_alone() || !self.leadership.is_leader {
            return stalled && !self.node.is_alone();
        }
        match self.disk.relief(now_ms, limit_ms) {
            Some(Relief::Offer) => self.give_up_leadership(),
            Some(Relief::LetGo) => self.node.step_down(),
            None => {}
        }
        true
    }

    /// Hands the leadership to whoever lacks least.
    pub fn give_up_leadership(&mut self) {
        if let Some(successor) = self.node.best_successor() {
            // It votes and this member leads: nothing is refused.
            let _offered = self.node.transfer(successor);
        }
    }

    pub(super) fn ask_transfer(
        &mut self,
        id: RequestId,
        to: MemberId,
        now_ms: u64,
        out: &mut Output,
    ) {
        match self.node.transfer(to) {
            Ok(()) => self.transfers.push((id, to, now_ms)),
            Err(refused) => self.answer(id, Answer::Refused(refused), now_ms, out),
        }
        self.end_transfers(now_ms, out);
    }

    /// Those who wait for the leadership to move are told once it has.
    pub(super) fn end_transfers(&mut self, now_ms: u64, out: &mut Output) {
        let leader = MemberId(self.leadership.leader);
        let (done, rest) = std::mem::take(&mut self.transfers)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, to, _)| *to == leader);
        self.transfers = rest;
        for (id, ..) in done {
            self.answer(id, Answer::Transferred, now_ms, out);
        }
    }

    /// Raft gives a transfer up after an election timeout; it is asked again until nobody waits any more.
    pub(super) fn tick_transfers(&mut self, now_ms: u64) {
        let timeout_ms = self.options.request_timeout_ms;
        self.transfers
            .retain(|(_, _, since)| now_ms.saturating_sub(*since) < timeout_ms);
        let wanted = self.transfers.first().map(|(_, to, _)| *to);
        if let Some(to) = wanted
            && self.leadership.is_leader
            && !self.node.is_handing_over()
        {
            let _offered = self.node.transfer(to);
        }
    }
}
