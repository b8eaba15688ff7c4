//! Lease calls on the leader: renewals that have to wait, ends that fall due, remainders worth keeping.

use std::collections::BTreeMap;

use kvorum_proto::etcdserverpb::{LeaseCheckpoint, LeaseCheckpointRequest};
use kvorum_proto::kvorumpb::{Command, LeaseExpire, command::Op};

use super::ask::Answer;
use super::leader::internal;
use crate::error::Error;
use crate::lease::{Lessor, Renewal};
use crate::machine::Applied;
use crate::types::{LeaseId, RequestId, Term};

/// Expired leases are looked for this often, and so many are ended at a time. (etcd: 500 ms, 1000 leases a second)
const EXPIRE_INTERVAL_MS: u64 = 500;
const EXPIRE_MAX: usize = 500;
/// Remainders go through the log this often, so that a new leader does not start long leases anew.
const CHECKPOINT_INTERVAL_S: i64 = 60;
const CHECKPOINT_MAX: usize = 1000;

/// Renewals under way.
#[derive(Debug, Default)]
pub(super) struct LeaseCalls {
    /// Renewals of leases whose end is on its way through the log.
    ending: BTreeMap<LeaseId, Vec<RequestId>>,
    answers: Vec<(RequestId, Answer)>,
    expire_at_ms: u64,
    checkpoint_at_ms: u64,
}

impl LeaseCalls {
    /// Renews a lease: an answer, a command that must be applied first (its answer is the caller's sign to ask
    /// again), or nothing yet.
    pub(super) fn keep_alive(
        &mut self,
        lessor: &mut Lessor,
        request: RequestId,
        id: LeaseId,
        now_ms: u64,
    ) -> Option<Result<Answer, Command>> {
        match lessor.renew(id, now_ms) {
            Renewal::Renewed {
                ttl_s,
                clear_checkpoint: false,
            } => Some(Ok(Answer::Renewed(ttl_s))),
            Renewal::Renewed {
                clear_checkpoint: true,
                ..
            } => {
                let cleared = LeaseCheckpoint {
                    id: id.0,
                    remaining_ttl: 0,
                };
                let op = Op::LeaseCheckpoint(LeaseCheckpointRequest {
                    checkpoints: vec![cleared],
                });
                Some(Err(Command {
                    request_id: request.0,
                    op: Some(op),
                    ..Command::default()
                }))
            }
            Renewal::Unknown => Some(Ok(Answer::Renewed(0))),
            Renewal::Ending => {
                self.ending.entry(id).or_default().push(request);
                None
            }
            Renewal::NotPrimary => Some(Ok(Answer::Refused(Error::NotLeader))),
        }
    }

    /// Commands that the time asks for.
    pub(super) fn due(&mut self, lessor: &mut Lessor, term: Term, now_ms: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        if now_ms >= self.expire_at_ms {
            self.expire_at_ms = now_ms + EXPIRE_INTERVAL_MS;
            for id in lessor.take_expired(now_ms, EXPIRE_MAX) {
                let op = Op::LeaseExpire(LeaseExpire {
                    id: id.0,
                    term: term.0,
                });
                commands.push(internal(op));
            }
        }
        if now_ms >= self.checkpoint_at_ms {
            let interval_ms = u64::try_from(CHECKPOINT_INTERVAL_S).unwrap_or(60) * 1000;
            self.checkpoint_at_ms = now_ms + interval_ms;
            let due = lessor.checkpoints(now_ms, CHECKPOINT_INTERVAL_S, CHECKPOINT_MAX);
            if !due.is_empty() {
                let checkpoint = |(id, s): (LeaseId, i64)| LeaseCheckpoint {
                    id: id.0,
                    remaining_ttl: s,
                };
                let checkpoints = due.into_iter().map(checkpoint).collect();
                let op = Op::LeaseCheckpoint(LeaseCheckpointRequest { checkpoints });
                commands.push(internal(op));
            }
        }
        commands
    }

    /// A command was applied: those who waited for the end of a lease hear of it.
    pub(super) fn applied(&mut self, command: &Command, applied: &Applied) {
        let ended = match &command.op {
            Some(Op::LeaseRevoke(r)) if applied.result.is_ok() => LeaseId(r.id),
            Some(Op::LeaseExpire(r)) => LeaseId(r.id),
            _ => return,
        };
        for request in self.ending.remove(&ended).unwrap_or_default() {
            self.answers.push((request, Answer::Renewed(0)));
        }
    }

    pub(super) fn take_answers(&mut self) -> Vec<(RequestId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// This member leads no more: whoever waits has to ask the next leader.
    pub(super) fn demoted(&mut self) {
        for request in std::mem::take(&mut self.ending).into_values().flatten() {
            self.answers
                .push((request, Answer::Refused(Error::NotLeader)));
        }
    }
}
