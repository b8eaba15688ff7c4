//! What members say to each other, beside raft: forwarded requests, their answers, digests.

use kvorum_proto::kvorumpb::{
    Answers, Command, DigestReport, Dissent, Forward, ForwardedAnswer, ForwardedAsk, PeerMessage,
    RaftMessage, TimeLeftAnswer, forwarded_answer, forwarded_ask, peer_message::Body,
};
use raft::eraftpb::MessageType;

use super::ask::{Answer, Ask};
use super::digest::Verdict;
use super::forward::Pending;
use super::membership::Asker;
use super::output::{Divergence, Lane, Output, Send, SnapshotWanted};
use super::{Remote, Replica};
use crate::auth::{Caller, Need};
use crate::error::Error;
use crate::lease::TimeLeft;
use crate::node::Refused;
use crate::types::{LeaseId, MemberId, RequestId};

pub(super) fn message(body: Body) -> PeerMessage {
    PeerMessage { body: Some(body) }
}

pub(super) fn forward(to: MemberId, forward: Forward) -> Send {
    Send {
        to,
        lane: Lane::Append,
        message: message(Body::Forward(forward)),
    }
}

fn control(to: MemberId, body: Body) -> Send {
    Send {
        to,
        lane: Lane::Control,
        message: message(body),
    }
}

impl Replica {
    pub(super) fn send_raft(
        &mut self,
        messages: Vec<RaftMessage>,
        snapshots: Vec<RaftMessage>,
        out: &mut Output,
    ) {
        for raft in messages {
            let lane = if raft.kind == MessageType::MsgAppend as i32 {
                Lane::Append
            } else {
                Lane::Control
            };
            let to = MemberId(raft.to);
            out.sends.push(Send {
                to,
                lane,
                message: message(Body::Raft(raft)),
            });
        }
        for raft in snapshots {
            let to = MemberId(raft.to);
            out.snapshots.push(SnapshotWanted { to, raft });
        }
    }

    pub(super) fn receive_body(
        &mut self,
        from: MemberId,
        message: PeerMessage,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), Refused> {
        match message.body {
            Some(Body::Raft(raft)) => self.receive_raft(from, raft),
            Some(Body::Forward(forward)) => {
                self.receive_forward(from, forward, now_ms, out);
                Ok(())
            }
            Some(Body::Answers(answers)) => {
                self.receive_answers(answers, out);
                Ok(())
            }
            Some(Body::Digest(report)) => {
                self.receive_report(from, &report, out);
                Ok(())
            }
            Some(Body::Dissent(dissent)) => {
                if let Some(divergence) = self.digests.dissents(dissent.index, dissent.digest) {
                    out.divergence = Some(divergence);
                }
                Ok(())
            }
            None => Err(Refused::Malformed("a message without content".into())),
        }
    }

    fn receive_raft(&mut self, from: MemberId, raft: RaftMessage) -> Result<(), Refused> {
        if raft.from != from.0 {
            let text = format!("{from:x} speaks for {:x}", raft.from, from = from.0);
            return Err(Refused::Malformed(text));
        }
        if raft.kind == MessageType::MsgSnapshot as i32 {
            let text = "a snapshot without its state";
            return Err(Refused::Malformed(text.into()));
        }
        // Entries are not taken while the state store is too far behind: the leader stops to send by itself.
        if self.holding && raft.kind == MessageType::MsgAppend as i32 && !raft.entries.is_empty() {
            return Ok(());
        }
        self.node.receive(raft)
    }

    /// A snapshot was received in full and is staged on this member's disk.
    ///
    /// # Errors
    /// The message with it is none that a correct leader sends.
    pub fn snapshot_arrived(&mut self, from: MemberId, raft: RaftMessage) -> Result<(), Refused> {
        if raft.from != from.0 || raft.kind != MessageType::MsgSnapshot as i32 {
            return Err(Refused::Malformed(
                "this is no snapshot of its sender".into(),
            ));
        }
        self.node.receive(raft)
    }

    /// Only a leader answers; whoever asks another one asks again.
    fn receive_forward(&mut self, from: MemberId, forward: Forward, now_ms: u64, out: &mut Output) {
        // Who asks speaks for its clients, and for itself: the ones that raft knows may, and nobody else that can connect.
        // Whoever was just added asks again.
        if !self.leadership.is_leader || !self.node.knows(from) {
            return;
        }
        let session = forward.session;
        for forwarded in forward.asks {
            let ForwardedAsk {
                sequence,
                ask,
                caller,
            } = forwarded;
            let caller = Caller::from_wire(caller.as_ref());
            match ask {
                Some(forwarded_ask::Ask::Propose(command)) => self.commands.push(command),
                Some(forwarded_ask::Ask::KeepAlive(lease)) => {
                    let ask = |id| Ask::KeepAlive(id, LeaseId(lease), caller);
                    if !self.may_not_know(LeaseId(lease)) {
                        self.ask_remotely((from, session, sequence), ask, now_ms, out);
                    }
                }
                Some(forwarded_ask::Ask::TimeLeft(r)) => {
                    let ask = |id| Ask::TimeLeft(id, LeaseId(r.lease), r.keys, caller);
                    if !self.may_not_know(LeaseId(r.lease)) {
                        self.ask_remotely((from, session, sequence), ask, now_ms, out);
                    }
                }
                Some(forwarded_ask::Ask::Change(change)) => {
                    self.ask_change(Asker::Peer(from, session, sequence), change, now_ms);
                }
                None => {}
            }
        }
    }

    fn ask_remotely(
        &mut self,
        (from, session, sequence): (MemberId, u64, u64),
        ask: impl FnOnce(RequestId) -> Ask,
        now_ms: u64,
        out: &mut Output,
    ) {
        let id = self.own_id();
        let ask = ask(id);
        let remote = Remote {
            from,
            session,
            sequence,
            ask: ask.clone(),
        };
        self.remotes.insert(id, remote);
        self.answer_as_leader(ask, now_ms, out);
    }

    pub(super) fn answer_remote(
        &mut self,
        remote: Remote,
        answer: Answer,
        now_ms: u64,
        out: &mut Output,
    ) {
        let wire = match answer {
            Answer::Renewed(ttl) => forwarded_answer::Answer::Renewed(ttl),
            Answer::TimeLeft(left) => forwarded_answer::Answer::TimeLeft(travelling(left)),
            // What stood in the way of a renewal is gone: once more.
            Answer::Applied(Ok(_)) => {
                let (from, session, sequence) = (remote.from, remote.session, remote.sequence);
                if let Ask::KeepAlive(_, lease, caller) = remote.ask {
                    let ask = |id| Ask::KeepAlive(id, lease, caller);
                    self.ask_remotely((from, session, sequence), ask, now_ms, out);
                }
                return;
            }
            // The member asks the next leader by itself.
            Answer::Refused(Error::NotLeader | Error::NoLeader) => return,
            Answer::Refused(e) | Answer::Applied(Err(e)) => {
                forwarded_answer::Answer::Refused(e.code())
            }
            Answer::Leases(_) | Answer::Readable | Answer::Transferred => return,
        };
        self.post(remote.from, remote.session, remote.sequence, wire);
    }

    pub(super) fn post(
        &mut self,
        to: MemberId,
        session: u64,
        sequence: u64,
        answer: forwarded_answer::Answer,
    ) {
        let answer = ForwardedAnswer {
            sequence,
            answer: Some(answer),
        };
        self.remote_answers
            .entry((to, session))
            .or_default()
            .push(answer);
    }

    pub(super) fn send_answers(&mut self, out: &mut Output) {
        for ((to, session), answers) in std::mem::take(&mut self.remote_answers) {
            let body = Body::Answers(Answers { session, answers });
            out.sends.push(control(to, body));
        }
    }

    fn receive_answers(&mut self, answers: Answers, out: &mut Output) {
        if answers.session != self.outbox.session() {
            return;
        }
        for ForwardedAnswer { sequence, answer } in answers.answers {
            let (Some(answer), Some(pending)) = (answer, self.outbox.answered(sequence)) else {
                continue;
            };
            let answer = match answer {
                forwarded_answer::Answer::Renewed(ttl) => Answer::Renewed(ttl),
                forwarded_answer::Answer::TimeLeft(left) => Answer::TimeLeft(arrived(left)),
                forwarded_answer::Answer::Refused(code) => Answer::Refused(Error::from_code(code)),
            };
            out.answers.push((pending.id(), answer));
        }
    }

    /// True while only another leader, or this one later, can speak for a lease: one whose disk hangs applies nothing,
    /// while its followers commit what it sent them.
    pub(super) fn may_not_know(&self, lease: LeaseId) -> bool {
        let behind = self.node.committed() > self.applied;
        self.settled.is_none() || (behind && !self.machine.lessor().contains(lease))
    }

    /// This leader answers what needs no log.
    pub(super) fn answer_as_leader(&mut self, ask: Ask, now_ms: u64, out: &mut Output) {
        if let Err((id, refused)) = self.may_have(&ask) {
            return self.answer(id, Answer::Refused(refused), now_ms, out);
        }
        match ask {
            Ask::KeepAlive(id, lease, _) => {
                let lessor = self.machine.lessor_mut();
                match self.leases.keep_alive(lessor, id, lease, now_ms) {
                    Some(Ok(answer)) => self.answer(id, answer, now_ms, out),
                    Some(Err(command)) => self.commands.push(command),
                    None => {}
                }
            }
            Ask::TimeLeft(id, lease, keys, _) => {
                let left = self.machine.lessor().time_left(lease, keys, now_ms);
                self.answer(id, Answer::TimeLeft(left), now_ms, out);
            }
            _ => {}
        }
    }

    /// Lease calls are no commands: whoever answers them looks at the caller's rights.
    fn may_have(&self, ask: &Ask) -> Result<(), (RequestId, Error)> {
        let (id, caller, needs) = match ask {
            Ask::KeepAlive(id, lease, caller) => (id, caller, Need::LeaseWrite(*lease)),
            // The keys of a lease tell more than its time.
            Ask::TimeLeft(id, lease, true, caller) => (id, caller, Need::LeaseRead(*lease)),
            Ask::TimeLeft(id, _, false, caller) => (id, caller, Need::Authenticated),
            _ => return Ok(()),
        };
        let allowed = self.machine.authorise(caller, &[needs]);
        allowed.map_err(|refused| (*id, refused))
    }

    /// All leases, for whoever may read their keys.
    pub(super) fn leases(&self, caller: &Caller) -> Answer {
        match self.machine.authorise(caller, &[Need::LeasesRead]) {
            Ok(()) => Answer::Leases(self.machine.lessor().ids()),
            Err(refused) => Answer::Refused(refused),
        }
    }

    /// The digest of this member at a check; the leader compares.
    pub(super) fn note_digest(&mut self, index: u64, digest: u64, out: &mut Output) {
        // Checks that waited together are in one entry: the first counts, else one member's first would be held
        // against another's second.
        if self.digests.own(index).is_some() {
            return;
        }
        self.digests.note(index, digest);
        let report = DigestReport { index, digest };
        if self.leadership.is_leader {
            self.receive_report(self.id(), &report, out);
        } else if self.leadership.leader != 0 {
            let to = MemberId(self.leadership.leader);
            out.sends.push(control(to, Body::Digest(report)));
        }
    }

    fn receive_report(&mut self, from: MemberId, report: &DigestReport, out: &mut Output) {
        if !self.leadership.is_leader || self.digests.own(report.index).is_none() {
            return;
        }
        let voters = self.node.voters();
        match self
            .digests
            .report(report.index, from, report.digest, &voters)
        {
            Some(Verdict::Dissenters(digest, dissenters)) => {
                let index = report.index;
                for member in dissenters {
                    if member == self.id() {
                        out.divergence = Some(Divergence::Dissents { index });
                        self.give_up_leadership();
                    } else {
                        let body = Body::Dissent(Dissent { index, digest });
                        out.sends.push(control(member, body));
                    }
                }
            }
            Some(Verdict::Split) => {
                let index = report.index;
                out.divergence = Some(Divergence::Split { index });
            }
            None => {}
        }
    }

    /// Stamps and proposes what this leader's own clients ask.
    pub(super) fn collect_own(&mut self, now_ms: u64, out: &mut Output) {
        if !self.outbox.has_unsent() || self.node.is_handing_over() {
            return;
        }
        for (sequence, pending) in self.outbox.take_unsent(now_ms) {
            match pending {
                Pending::Command(command) => {
                    let stamp = Some(self.outbox.stamp(sequence));
                    self.commands.push(Command { stamp, ..command });
                }
                Pending::Change(change) => self.ask_change(Asker::Own(sequence), change, now_ms),
                // Asked before this member led.
                Pending::KeepAlive(id, lease, caller) if !self.may_not_know(lease) => {
                    let _answered = self.outbox.answered(sequence);
                    self.answer_as_leader(Ask::KeepAlive(id, lease, caller), now_ms, out);
                }
                Pending::TimeLeft(id, lease, keys, caller) if !self.may_not_know(lease) => {
                    let _answered = self.outbox.answered(sequence);
                    let ask = Ask::TimeLeft(id, lease, keys, caller);
                    self.answer_as_leader(ask, now_ms, out);
                }
                Pending::KeepAlive(..) | Pending::TimeLeft(..) => self.outbox.later(sequence),
            }
        }
    }
}

fn travelling(left: Option<TimeLeft>) -> TimeLeftAnswer {
    left.map_or_else(TimeLeftAnswer::default, |left| TimeLeftAnswer {
        known: true,
        remaining_s: left.remaining_s,
        granted_s: left.granted_s,
        keys: left.keys.into_iter().map(|k| Vec::from(k).into()).collect(),
    })
}

fn arrived(left: TimeLeftAnswer) -> Option<TimeLeft> {
    left.known.then(|| TimeLeft {
        remaining_s: left.remaining_s,
        granted_s: left.granted_s,
        keys: left.keys.iter().map(|k| k.as_ref().into()).collect(),
    })
}
