//! Linearizable reads: one round of heartbeats confirms the leader for all reads that wait. (Raft thesis 6.4)
//!
//! The context of a round is (member, start, counter) and is never used twice: raft 0.7 can confirm a read by answers
//! to an older one with the same context (etcd #20418).

use std::collections::VecDeque;

use crate::mutants::{self, Mutant};
use crate::types::{Index, RequestId};

/// A round without an answer is given up after this long, and its reads join the next. (etcd: 500 ms)
const RETRY_MS: u64 = 500;
/// Rounds under way at once.
const ROUNDS_MAX: usize = 2;
/// Length of a context, bytes.
const CONTEXT_LEN: usize = 24;

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    since_ms: u64,
}

#[derive(Debug)]
struct Round {
    counter: u64,
    begun_ms: u64,
    reads: Vec<Waiting>,
}

/// The reads of one member.
#[derive(Debug)]
pub(super) struct Reads {
    member: u64,
    session: u64,
    counter: u64,
    /// Some of those that wait were asked before.
    again: bool,
    waiting: Vec<Waiting>,
    rounds: VecDeque<Round>,
    /// Confirmed, and waiting until this much is applied.
    confirmed: VecDeque<(Index, Vec<Waiting>)>,
}

impl Reads {
    pub(super) fn new(member: u64, session: u64) -> Self {
        Self {
            member,
            session,
            counter: 0,
            again: false,
            waiting: Vec::new(),
            rounds: VecDeque::new(),
            confirmed: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, id: RequestId, now_ms: u64) {
        self.waiting.push(Waiting {
            id,
            since_ms: now_ms,
        });
    }

    /// The context of a new round for all reads that wait, if one may begin.
    pub(super) fn begin(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        if self.waiting.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return None;
        }
        if !(self.again && mutants::on(Mutant::ReusedReadContext)) {
            self.counter += 1;
        }
        self.again = false;
        self.rounds.push_back(Round {
            counter: self.counter,
            begun_ms: now_ms,
            reads: std::mem::take(&mut self.waiting),
        });
        Some(self.context(self.counter))
    }

    fn context(&self, counter: u64) -> Vec<u8> {
        let mut context = Vec::with_capacity(CONTEXT_LEN);
        for part in [self.member, self.session, counter] {
            context.extend_from_slice(&part.to_be_bytes());
        }
        context
    }

    /// The leader was confirmed for a context: its reads, and those of all rounds before it, wait for `index` now.
    pub(super) fn confirm(&mut self, context: &[u8], index: Index) {
        let Some(place) = self
            .rounds
            .iter()
            .position(|r| self.context(r.counter) == context)
        else {
            return;
        };
        let reads = self.rounds.drain(..=place).flat_map(|r| r.reads).collect();
        self.confirmed.push_back((index, reads));
    }

    /// Reads for which everything they must see is applied.
    pub(super) fn readable(&mut self, applied: Index) -> Vec<RequestId> {
        let mut ready = Vec::new();
        self.confirmed.retain_mut(|(index, reads)| {
            let done = *index <= applied;
            if done {
                ready.extend(reads.drain(..).map(|r| r.id));
            }
            !done
        });
        ready
    }

    /// All reads that wait; what this member has applied is all there is.
    pub(super) fn take_all(&mut self) -> Vec<RequestId> {
        let rounds = self.rounds.drain(..).flat_map(|r| r.reads);
        let all = rounds.chain(self.waiting.drain(..));
        all.map(|r| r.id).collect()
    }

    /// Rounds that nobody answers begin anew, under a new context; reads that nobody waits for any more go.
    pub(super) fn tick(&mut self, now_ms: u64, timeout_ms: u64) {
        let late = |r: &Round| now_ms.saturating_sub(r.begun_ms) >= RETRY_MS;
        if self.rounds.iter().any(late) {
            self.restart();
        }
        self.waiting
            .retain(|r| now_ms.saturating_sub(r.since_ms) < timeout_ms);
    }

    /// The leader changed: nobody will answer the rounds under way.
    pub(super) fn restart(&mut self) {
        self.again |= !self.rounds.is_empty();
        let mut reads: Vec<Waiting> = self.rounds.drain(..).flat_map(|r| r.reads).collect();
        reads.append(&mut self.waiting);
        self.waiting = reads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_answers_itself_and_those_before_it() {
        let mut reads = Reads::new(1, 2);
        reads.add(RequestId(1), 0);
        let first = reads.begin(0).expect("a read waits");
        reads.add(RequestId(2), 0);
        let second = reads.begin(0).expect("another waits");
        assert_ne!(first, second);
        reads.confirm(&second, Index(5));
        assert_eq!(reads.readable(Index(4)), []);
        assert_eq!(reads.readable(Index(5)), [RequestId(1), RequestId(2)]);
    }

    #[test]
    fn a_round_that_began_anew_ignores_the_old_answer() {
        let mut reads = Reads::new(1, 2);
        reads.add(RequestId(1), 0);
        let old = reads.begin(0).expect("a read waits");
        reads.tick(RETRY_MS, 7000);
        let new = reads.begin(RETRY_MS).expect("it waits again");
        assert_ne!(old, new);
        reads.confirm(&old, Index(1));
        assert_eq!(reads.readable(Index(9)), []);
        reads.confirm(&new, Index(1));
        assert_eq!(reads.readable(Index(9)), [RequestId(1)]);
    }
}
