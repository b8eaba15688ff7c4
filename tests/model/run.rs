//! One run: one seed, one story, and the core held against the model at every step of it.

use std::collections::VecDeque;
use std::fmt::Write as _;

use kvorum_core::Error;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::etcdserverpb::WatchResponse;
use kvorum_tests::harness::generate::{Dice, Generator, Operation};
use kvorum_tests::harness::model::{Limits, Model};

use crate::answer::{self, Answer};
use crate::streams::Streams;
use crate::subject::{Setup, Subject};

/// A change made to one answer of the core on purpose.
#[derive(Clone, Copy)]
pub(crate) enum Tamper {
    Answer(fn(&mut Answer) -> bool),
    Watch(fn(&mut WatchResponse) -> bool),
}

/// How a run ended.
pub(crate) type Verdict = Result<(), String>;

const REMEMBERED: usize = 40;

pub(crate) struct Run {
    model: Model,
    subject: Subject,
    streams: Streams,
    generator: Generator,
    dice: Dice,
    tamper: Option<fn(&mut Answer) -> bool>,
    story: VecDeque<String>,
}

impl Run {
    pub(crate) fn new(seed: u64, tamper: Option<Tamper>) -> Self {
        let limits = Limits {
            max_txn_ops: 8,
            ..Limits::default()
        };
        let mut dice = Dice::new(!seed);
        let setup = Setup {
            limits,
            recent_bytes: dice.pick(&[0, 400, 3_000, 1 << 20]),
            slice: dice.pick(&[1, 3, 1_000]),
        };
        let mut run = Self {
            model: Model::new(limits),
            subject: Subject::new(setup),
            streams: Streams::new(),
            generator: Generator::new(seed, limits.max_txn_ops),
            dice,
            tamper: None,
            story: VecDeque::new(),
        };
        match tamper {
            Some(Tamper::Answer(tamper)) => run.tamper = Some(tamper),
            Some(Tamper::Watch(tamper)) => run.streams.tamper = Some(tamper),
            None => {}
        }
        run
    }

    /// Plays `steps` operations and looks at everything once more.
    pub(crate) fn play(&mut self, steps: u64) -> Verdict {
        let mut done = 0;
        while done < steps {
            if let Some(compaction) = self.generator.compaction(&self.model) {
                self.step(&compaction)?;
                done += 1;
            }
            let operation = self.generator.next(&self.model, &self.streams.model);
            self.step(&operation)?;
            done += 1;
        }
        self.finish()
    }

    fn step(&mut self, operation: &Operation) -> Verdict {
        self.remember(operation);
        self.subject.compact_some();
        let verdict = match operation {
            Operation::Restart => self.restart(),
            Operation::Pass(ms) => self.pass(*ms),
            Operation::Reconnect(at) => self.streams.reconnect(*at, &self.model),
            Operation::Deliver(_) => {
                let told = !self.dice.one_in(5);
                self.streams.deliver(told, &self.subject.store, &self.model)
            }
            Operation::Watch(at, request) => {
                self.streams
                    .request(*at, request, &self.subject.store, &self.model)
            }
            _ => self.ask(operation),
        };
        verdict.map_err(|error| self.report(&error))
    }

    /// The last operations, then what went wrong.
    fn report(&self, error: &str) -> String {
        let mut text = String::new();
        for line in &self.story {
            let _infallible = writeln!(text, "{line}");
        }
        text + error
    }

    fn remember(&mut self, operation: &Operation) {
        if self.story.len() == REMEMBERED {
            self.story.pop_front();
        }
        let (at, compacted) = (self.model.revision(), self.model.compact_revision());
        self.story
            .push_back(format!("@{at} (compacted {compacted}) {operation}"));
    }

    /// Both sides do the operation; the answers must be equal in every field.
    fn ask(&mut self, operation: &Operation) -> Verdict {
        let expected = answer::of_model(&mut self.model, operation);
        let (mut got, applied) = self.subject.run(operation);
        if let (Some(tamper), Ok(answer)) = (self.tamper, &mut got)
            && tamper(answer)
        {
            self.tamper = None;
        }
        same(&got, &expected)?;
        match applied {
            Some(applied) => self
                .streams
                .publish(&applied, &self.subject.store, &self.model),
            None => Ok(()),
        }
    }

    /// Time passes: both sides end the same leases, in the core's order, and watchers hear of each.
    fn pass(&mut self, by_ms: i64) -> Verdict {
        self.model.advance_ms(by_ms);
        let expected = self.model.expired();
        let mut got = self.subject.pass(by_ms);
        for id in got.clone() {
            self.end_lease(id)?;
        }
        got.sort_unstable();
        if got != expected {
            return Err(format!("leases ended: got {got:?}, expected {expected:?}"));
        }
        Ok(())
    }

    fn end_lease(&mut self, id: i64) -> Verdict {
        let expected = self.model.lease_revoke(&pb::LeaseRevokeRequest { id });
        let (got, applied) = self.subject.expire(id);
        same(&got, &expected.map(Answer::LeaseRevoke))?;
        self.streams
            .publish(&applied, &self.subject.store, &self.model)
    }

    /// The core comes back with what it had; its leases start anew, its clients have to connect again.
    fn restart(&mut self) -> Verdict {
        self.streams.restart(&self.model)?;
        self.subject.restart();
        self.model.restart_leases();
        self.look_at_everything()
    }

    fn finish(&mut self) -> Verdict {
        let last = Operation::Put(pb::PutRequest {
            key: "end".into(),
            ..Default::default()
        });
        for alarm in self.model.alarms().collect::<Vec<_>>() {
            let (alarm, member_id) = alarm;
            self.step(&Operation::Alarm(pb::AlarmRequest {
                action: 2,
                member_id,
                alarm,
            }))?;
        }
        self.step(&last)?;
        let watched = self.streams.finish(&self.subject.store, &self.model);
        watched.map_err(|error| self.report(&error))?;
        self.step(&Operation::Flush)?;
        self.step(&Operation::Restart)
    }

    /// Reads at every revision that can still be read, hashes, leases and alarms.
    fn look_at_everything(&mut self) -> Verdict {
        let (first, last) = (self.model.compact_revision().max(1), self.model.revision());
        let stride = usize::try_from((last - first) / 8 + 1).unwrap_or(1);
        for revision in (first..=last).rev().step_by(stride) {
            let all = pb::RangeRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                revision,
                ..Default::default()
            };
            self.ask(&Operation::Range(all))?;
            self.ask(&Operation::HashKv(pb::HashKvRequest { revision }))?;
        }
        for (id, _) in self.model.leases().collect::<Vec<_>>() {
            self.ask(&Operation::LeaseTimeToLive(pb::LeaseTimeToLiveRequest {
                id,
                keys: true,
            }))?;
        }
        self.ask(&Operation::LeaseLeases)?;
        self.ask(&Operation::Alarm(pb::AlarmRequest::default()))?;
        let live = u64::try_from(self.model.current().len()).unwrap_or(0);
        if self.subject.store.keys() != live {
            return Err(format!(
                "keys: got {}, expected {live}",
                self.subject.store.keys()
            ));
        }
        Ok(())
    }
}

fn same(got: &Result<Answer, Error>, expected: &Result<Answer, Error>) -> Verdict {
    if got == expected {
        Ok(())
    } else {
        Err(difference(got, expected))
    }
}

/// Both sides from shortly before the place where they part.
pub(crate) fn difference(got: &impl std::fmt::Debug, expected: &impl std::fmt::Debug) -> String {
    const BEFORE: usize = 300;
    const LENGTH: usize = 900;
    let (got, expected): (Vec<char>, Vec<char>) = (
        format!("{got:?}").chars().collect(),
        format!("{expected:?}").chars().collect(),
    );
    let common = got
        .iter()
        .zip(&expected)
        .take_while(|(a, b)| a == b)
        .count();
    let from = common.saturating_sub(BEFORE);
    let cut = |text: &[char]| text.iter().skip(from).take(LENGTH).collect::<String>();
    format!(
        "from character {from} on\n  got      {}\n  expected {}",
        cut(&got),
        cut(&expected)
    )
}
