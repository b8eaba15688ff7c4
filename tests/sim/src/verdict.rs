//! The judgement of a whole run: the log is replayed through the model, and every answer and every watch held against
//! it.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_core::Error;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{Command, EntryBatch, Stamp, command::Op};
use kvorum_tests::harness::history::{Call, Reply, Request};
use kvorum_tests::harness::linearizable::{self, Verdict};
use kvorum_tests::harness::model::{Limits, Model};
use kvorum_tests::harness::watch_check;
use prost::Message as _;

use crate::client::{Calls, Made, Outcome, What};
use crate::ledger::{Checked, Ledger, Violation, wrong};
use crate::member::LEASE_TTL_MIN_S;
use crate::report::{brief, brief_outcome};
use crate::watcher::Watcher;

/// Steps of the search for an order, for each key.
const STEPS_MAX: usize = 200_000;
/// The fastest clock gains a tenth; a deadline may be looked at a little early in ms.
const FASTEST_PERMILLE: u64 = 1_100;

/// Which stamped commands count, in the words of the rule: of a session each sequence once, and none below its floor.
#[derive(Default)]
struct Sessions(BTreeMap<u64, (u64, BTreeSet<u64>)>);

impl Sessions {
    fn admits(&mut self, stamp: &Stamp) -> bool {
        let (floor, seen) = self.0.entry(stamp.session).or_default();
        *floor = stamp.floor.max(*floor);
        stamp.sequence >= *floor && seen.insert(stamp.sequence)
    }
}

/// What one command came to in the model.
struct Effect {
    outcome: Result<Option<Reply>, Error>,
}

/// The replay of a log.
pub(crate) struct Replay<'a> {
    calls: &'a Calls,
    by_request: BTreeMap<u64, usize>,
    model: Model,
    sessions: Sessions,
    done: BTreeSet<u64>,
    /// Calls about keys by the revision of their reply, if they only read.
    reads: BTreeMap<i64, Vec<usize>>,
    /// Since when a lease must not have ended: the latest call that renewed it, µs, and its length, s.
    alive: BTreeMap<i64, Vec<(u64, u64, i64)>>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(calls: &'a Calls) -> Self {
        let mut replay = Self {
            calls,
            by_request: BTreeMap::new(),
            model: Model::new(Limits {
                max_txn_ops: 128,
                min_lease_ttl_s: LEASE_TTL_MIN_S,
            }),
            sessions: Sessions::default(),
            done: BTreeSet::new(),
            reads: BTreeMap::new(),
            alive: BTreeMap::new(),
        };
        for (at, made) in calls.made.iter().enumerate() {
            if made.request != 0 {
                replay.by_request.insert(made.request, at);
            }
            replay.note(at, made);
        }
        replay
    }

    fn note(&mut self, at: usize, made: &Made) {
        match (&made.what, &made.outcome) {
            (What::Keys(request), Some(Outcome::Keys(reply))) if reads_only(request) => {
                self.reads.entry(reply.revision()).or_default().push(at);
            }
            (What::Grant(r), Some(Outcome::Done(ttl))) => {
                let renewed = (made.called_us, made.returned_us, *ttl);
                self.alive.entry(r.id).or_default().push(renewed);
            }
            (What::KeepAlive(id), Some(Outcome::Done(ttl))) if *ttl > 0 => {
                let renewed = (made.called_us, made.returned_us, *ttl);
                self.alive.entry(*id).or_default().push(renewed);
            }
            _ => {}
        }
    }

    /// Replays everything, and gives back the model as it is in the end.
    pub(crate) fn run(mut self, ledger: &Ledger) -> Result<Model, Violation> {
        self.check_reads()?;
        for (index, applied) in &ledger.applied {
            if !applied.is_normal {
                continue;
            }
            let batch = EntryBatch::decode(applied.data.clone())
                .map_err(|e| Violation(format!("entry {index} cannot be read: {e}")))?;
            for command in &batch.commands {
                self.command(*index, applied.term, applied.at_us, command)?;
            }
        }
        self.nothing_is_lost()?;
        Ok(self.model)
    }

    fn command(&mut self, index: u64, term: u64, at_us: u64, command: &Command) -> Checked {
        if command
            .stamp
            .as_ref()
            .is_some_and(|s| !self.sessions.admits(s))
        {
            return Ok(());
        }
        let id = command.request_id;
        if id != 0 && self.by_request.contains_key(&id) && !self.done.insert(id) {
            return wrong(format!(
                "entry {index} does a call once more: {}",
                self.describe(id)
            ));
        }
        let Some(op) = &command.op else { return Ok(()) };
        if let Op::LeaseExpire(r) = op {
            self.not_early(r.id, term == r.term, at_us)?;
        }
        let before = self.model.revision();
        let effect = self.perform(term, op);
        if id != 0 {
            self.compare(id, index, &effect)?;
        }
        if self.model.revision() > before {
            self.check_reads()?;
        }
        Ok(())
    }

    fn perform(&mut self, term: u64, op: &Op) -> Effect {
        let model = &mut self.model;
        let outcome = match op {
            Op::Put(r) => model.put(r).map(|r| Some(Reply::Put(r))),
            Op::DeleteRange(r) => model.delete_range(r).map(|r| Some(Reply::DeleteRange(r))),
            Op::Txn(r) => model.txn(r).map(|r| Some(Reply::Txn(r))),
            Op::Compaction(r) => model.compact(r).map(|_| None),
            Op::LeaseGrant(r) => model.lease_grant(r).map(|_| None),
            Op::LeaseRevoke(r) => model.lease_revoke(r).map(|_| None),
            Op::LeaseExpire(r) if r.term == term => model
                .lease_revoke(&pb::LeaseRevokeRequest { id: r.id })
                .map(|_| None),
            _ => Ok(None),
        };
        Effect { outcome }
    }

    /// The client must have got what the model says, if it got anything.
    fn compare(&self, id: u64, index: u64, effect: &Effect) -> Checked {
        let Some(made) = self
            .by_request
            .get(&id)
            .and_then(|at| self.calls.made.get(*at))
        else {
            return Ok(());
        };
        let fits = match (&made.outcome, &effect.outcome) {
            (Some(Outcome::Keys(got)), Ok(Some(expected))) => got == expected,
            (Some(Outcome::Done(_)), Ok(None)) => true,
            (Some(Outcome::Declined(got)), Err(expected)) => got == expected,
            (None | Some(Outcome::Unknown | Outcome::Refused(_)), _) => true,
            // A renewal may have to clear a checkpoint first; a change is none of the model's business.
            _ => !matches!(
                made.what,
                What::Keys(_) | What::Grant(_) | What::Revoke(_) | What::Compact(_)
            ),
        };
        if fits {
            return Ok(());
        }
        wrong(format!(
            "entry {index}: {}, but the model says {:?}",
            self.describe(id),
            effect.outcome
        ))
    }

    fn describe(&self, id: u64) -> String {
        match self.by_request.get(&id) {
            Some(at) => describe(*at, &self.calls.made[*at]),
            None => format!("request {id:x}"),
        }
    }

    /// Reads whose reply names the present revision.
    fn check_reads(&mut self) -> Checked {
        let revision = self.model.revision();
        for at in self.reads.remove(&revision).unwrap_or_default() {
            let made = &self.calls.made[at];
            let (What::Keys(request), Some(Outcome::Keys(got))) = (&made.what, &made.outcome)
            else {
                continue;
            };
            let expected = match request {
                Request::Range(r) => self.model.range(r).map(Reply::Range),
                Request::Txn(r) => self.model.txn(r).map(Reply::Txn),
                _ => continue,
            };
            if expected.as_ref() != Ok(got) {
                return wrong(format!(
                    "{}, but the model says {expected:?}",
                    describe(at, made)
                ));
            }
        }
        Ok(())
    }

    /// A lease ends no sooner than its time after the last call that renewed it, whoever counted.
    fn not_early(&self, id: i64, counts: bool, at_us: u64) -> Checked {
        if !counts {
            return Ok(());
        }
        for (called, returned, ttl) in self.alive.get(&id).into_iter().flatten() {
            let span = ttl.unsigned_abs() * 1_000_000 * 1_000 / FASTEST_PERMILLE;
            if *returned <= at_us && at_us + 2_000 < called + span {
                return wrong(format!(
                    "lease {id} ends at {} ms, but was renewed for {ttl} s by a call made at {} ms",
                    at_us / 1000,
                    called / 1000
                ));
            }
        }
        Ok(())
    }

    fn nothing_is_lost(&self) -> Checked {
        for (id, at) in &self.by_request {
            let made = &self.calls.made[*at];
            let Some(outcome) = &made.outcome else {
                continue;
            };
            let through_the_log = match &made.what {
                What::Keys(request) => !reads_only(request),
                What::Grant(_) | What::Revoke(_) | What::Compact(_) => true,
                _ => false,
            };
            let answered = matches!(
                outcome,
                Outcome::Keys(_) | Outcome::Done(_) | Outcome::Declined(_)
            );
            if through_the_log && answered && !self.done.contains(id) {
                return wrong(format!("lost: {}", describe(*at, made)));
            }
        }
        match self.reads.first_key_value() {
            Some((_, at)) => match at.first() {
                Some(at) => wrong(format!(
                    "a revision that never was: {}",
                    describe(*at, &self.calls.made[*at])
                )),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

fn reads_only(request: &Request) -> bool {
    match request {
        Request::Range(_) => true,
        Request::Txn(r) => kvorum_core::mvcc::txn::is_read_only(r),
        _ => false,
    }
}

fn describe(at: usize, made: &Made) -> String {
    let outcome = made
        .outcome
        .as_ref()
        .map_or_else(|| "nothing".into(), brief_outcome);
    format!(
        "#{at} of client {} to member {}, {}..{} ms: {} got {outcome}",
        made.client,
        made.member,
        made.called_us / 1000,
        if made.returned_us == u64::MAX {
            0
        } else {
            made.returned_us / 1000
        },
        brief(&made.what)
    )
}

/// A write comes after every revision seen before it was called; a linearizable read shows at least that.
pub(crate) fn real_time(calls: &Calls) -> Checked {
    let about_keys = |made: &&Made| matches!(made.outcome, Some(Outcome::Keys(_)));
    let mut by_call: Vec<(usize, &Made)> = calls
        .made
        .iter()
        .enumerate()
        .filter(|(_, m)| about_keys(m))
        .collect();
    let mut by_return = by_call.clone();
    by_call.sort_by_key(|(_, made)| made.called_us);
    by_return.sort_by_key(|(_, made)| made.returned_us);
    let mut returned = by_return.into_iter().peekable();
    let (mut seen, mut by) = (0, 0);
    for (at, made) in by_call {
        while let Some((who, earlier)) = returned.next_if(|(_, e)| e.returned_us < made.called_us) {
            let revision = revision(earlier);
            if revision > seen {
                (seen, by) = (revision, who);
            }
        }
        let (What::Keys(request), Some(Outcome::Keys(reply))) = (&made.what, &made.outcome) else {
            continue;
        };
        let serializable = matches!(request, Request::Range(r) if r.serializable);
        let stale = if wrote(reply) {
            reply.revision() <= seen
        } else {
            reply.revision() < seen
        };
        if stale && !serializable {
            return wrong(format!(
                "stale: {} after {}",
                describe(at, made),
                describe(by, &calls.made[by])
            ));
        }
    }
    Ok(())
}

fn revision(made: &Made) -> i64 {
    match &made.outcome {
        Some(Outcome::Keys(reply)) => reply.revision(),
        _ => 0,
    }
}

/// True if the revision is the reply's own.
fn wrote(reply: &Reply) -> bool {
    use pb::response_op::Response;
    match reply {
        Reply::Put(_) => true,
        Reply::Range(_) => false,
        Reply::DeleteRange(r) => r.deleted > 0,
        Reply::Txn(r) => r.responses.iter().any(|op| match &op.response {
            Some(Response::ResponsePut(_)) => true,
            Some(Response::ResponseDeleteRange(r)) => r.deleted > 0,
            _ => false,
        }),
    }
}

/// The same calls, without a log. Gives how many keys took too long.
pub(crate) fn registers(calls: &Calls) -> Result<u64, Violation> {
    let list: Vec<Call> = calls.made.iter().filter_map(as_call).collect();
    match linearizable::check(&list, STEPS_MAX) {
        Ok(Verdict::Linearizable) => Ok(0),
        Ok(Verdict::Unknown(keys)) => Ok(keys.len() as u64),
        Err(broken) => wrong(broken.to_string()),
    }
}

fn as_call(made: &Made) -> Option<Call> {
    let What::Keys(request) = &made.what else {
        return None;
    };
    // Their keys end with a lease, of which a register knows nothing.
    if matches!(request, Request::Put(put) if put.lease != 0) {
        return None;
    }
    let reply = match &made.outcome {
        Some(Outcome::Keys(reply)) => Some(reply.clone()),
        Some(Outcome::Declined(_)) => return None,
        _ => None,
    };
    if reply.is_none() && reads_only(request) {
        return None;
    }
    Some(Call {
        called: made.called_us,
        returned: made.returned_us,
        request: request.clone(),
        reply,
    })
}

/// Every watch kept its promises.
pub(crate) fn watches(watchers: &[Watcher], model: &Model) -> Checked {
    for (at, watcher) in watchers.iter().enumerate() {
        for received in watcher.all() {
            if let Err(broken) = watch_check::check(received, model) {
                let text: String = broken.to_string().chars().take(600).collect();
                return wrong(format!("watcher {at}, {:?}: {text}", received.request));
            }
        }
    }
    Ok(())
}
