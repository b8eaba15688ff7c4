//! One seed from its beginning to its judgement.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvorum_core::backend::BackendError;
use kvorum_core::mvcc::Store;
use kvorum_core::mvcc::hash::KvHasher;
use kvorum_core::watch::History as _;
use kvorum_proto::etcdserverpb as pb;

use crate::ledger::{Checked, Violation, wrong};
use crate::panics;
use crate::plan::{Fault, Order, Plan};
use crate::report::Figures;
use crate::verdict::{self, Replay};
use crate::world::World;

/// The calls of a seed take no longer than this, however few get through, µs of virtual time.
const CALLS_US: u64 = 900_000_000;
/// After the faults the cluster is whole again, and quiet, within this time each, µs.
const HEAL_US: u64 = 60_000_000;
/// The longest lease that the end of a run waits for has ended by then, µs.
const LEASES_US: u64 = 60_000_000;
/// Each client makes so many calls after the faults.
const PROBES: u64 = 3;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Figures, whatever came of it.
    pub figures: Figures,
    /// Equal for equal runs.
    pub hash: u64,
    /// What must never happen, if it did.
    pub violation: Option<Violation>,
}

/// Plays a seed.
#[must_use]
pub fn run(order: Order, told: bool) -> Ended {
    panics::listen(order.seed);
    kvorum_core::mutants::set(order.mutant);
    let plan = Plan::draw(order);
    let mut world = World::new(plan, told);
    if told {
        let plan = format!("{:?}", world.plan);
        world.tell("plan", || plan);
    }
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    let violation = match played {
        Ok(result) => result.err(),
        Err(panic) => Some(Violation(format!("panic: {}", panics::text(&*panic)))),
    };
    let broken = violation.is_some();
    let flipped = world.figures.faults.contains_key(&Fault::BitFlip);
    let violation = violation.filter(|v| !is_rot(flipped, v));
    kvorum_core::mutants::set(None);
    let mut figures = world.figures.clone();
    figures.seeds = 1;
    figures.elections = world.ledger.elections() as u64;
    figures.entries = world.ledger.applied.len() as u64;
    figures.virtual_ms = world.now_us() / 1000;
    let hash = world.story.hash();
    let closed = if broken {
        // What a panic left behind may panic once more.
        std::mem::forget(world);
        None
    } else {
        let closed = catch_unwind(AssertUnwindSafe(|| drop(world)));
        closed
            .err()
            .map(|panic| Violation(format!("panic: {}", panics::text(&*panic))))
    };
    let closed = closed.filter(|v| !is_rot(flipped, v));
    Ended {
        figures,
        hash,
        violation: violation.or(closed),
    }
}

/// True for a panic of redb in a seed that flipped bits, where no member could be blamed: as the judge reads the files,
/// or as they are closed. A process of the product ends there with one line. Such a seed is over without a judgement,
/// and says so.
fn is_rot(flipped: bool, violation: &Violation) -> bool {
    let rot = flipped && violation.0.starts_with("panic: ") && violation.0.contains("/redb-");
    if rot {
        eprintln!("without a judgement: redb in a file with flipped bits: {violation}");
    }
    rot
}

fn play(world: &mut World) -> Checked {
    world.begin()?;
    let ops = world.plan.order.ops;
    let all_made =
        |w: &World| w.calls.made.len() as u64 >= ops && w.clients.iter().all(|c| c.call.is_none());
    world.run_until(CALLS_US, all_made)?;
    // What clients saw is judged before anything else: a cluster that went wrong may not come right.
    verdict::real_time(&world.calls)?;
    let made = world.calls.made.len() as u64;
    world.heal()?;
    let probes = PROBES * world.clients.len() as u64;
    let probed = move |w: &World| {
        let answered = w
            .calls
            .made
            .iter()
            .skip(usize::try_from(made).unwrap_or(usize::MAX));
        answered
            .filter(|m| matches!(m.outcome, Some(crate::client::Outcome::Keys(_))))
            .count() as u64
            >= probes
    };
    let until = world.now_us() + HEAL_US;
    if !world.run_until(until, probed)? {
        if world.damage_took_the_quorum() {
            let seed = world.plan.order.seed;
            eprintln!("seed {seed}: progress without a judgement: damaged files took the quorum");
            return Ok(());
        }
        return wrong(format!(
            "no progress within {} s after the faults; {}",
            HEAL_US / 1_000_000,
            world.standing()
        ));
    }
    world.quiet = true;
    let until = world.now_us() + LEASES_US;
    if !world.run_until(until, World::is_settled)? {
        return wrong(world.unsettled());
    }
    judge(world)
}

fn judge(world: &mut World) -> Checked {
    verdict::real_time(&world.calls)?;
    let model = Replay::new(&world.calls).run(&world.ledger)?;
    world.equal(&model)?;
    verdict::watches(&world.watchers, &model)?;
    world.figures.gave_up = verdict::registers(&world.calls)?;
    Ok(())
}

impl World {
    /// True once all members have applied the same, watchers were told everything, and short leases have ended.
    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    fn unsettled(&self) -> String {
        let listed = self.listed(false);
        let last = self.ledger.last();
        let mut revision = 0;
        for id in &listed {
            let Some(member) = self.members.get(id) else {
                return format!("member {id} is nobody");
            };
            if member.gone {
                continue;
            }
            let Some(running) = member.running.as_ref() else {
                return format!("member {id} does not run");
            };
            let applied = running.replica.applied().0;
            if applied < last {
                return format!("member {id} has applied {applied} of {last}");
            }
            revision = running.store.0.borrow().current();
            let short = running.replica.machine().lessor().ids().len();
            if short > 0 && self.has_short_lease(running) {
                return format!("member {id} still has leases that are over");
            }
        }
        let told = |w: &crate::watcher::Watcher| w.complete_to >= revision;
        match self.watchers.iter().position(|w| !told(w)) {
            Some(at) => format!("watcher {at} was not told everything up to {revision}"),
            None => String::new(),
        }
    }

    /// Where each member stands that the furthest one knows of.
    fn standing(&self) -> String {
        let describe = |id: u64| {
            let Some(running) = self.members.get(&id).and_then(|m| m.running.as_deref()) else {
                return format!("{id} does not run");
            };
            let node = running.replica.node();
            format!(
                "{id}: {node:?}, applied {}, {} and {} to write, installing {}, listed {}, pending {}, holding {}, \
                 settled {}",
                running.replica.applied(),
                running.log_queue.len(),
                running.writing.len(),
                node.is_installing(),
                node.is_listed(),
                running.replica.pending(),
                running.replica.is_holding(),
                running.replica.is_settled()
            )
        };
        let mut ids = self.listed(false);
        let others = self.members.iter().filter(|(_, m)| m.running.is_some());
        let others: Vec<u64> = others
            .map(|(id, _)| *id)
            .filter(|id| !ids.contains(id))
            .collect();
        ids.extend(others);
        let all: Vec<String> = ids.into_iter().map(describe).collect();
        format!("furthest {:?}; {}", self.furthest(), all.join("; "))
    }

    fn has_short_lease(&self, running: &crate::member::Running) -> bool {
        let lessor = running.replica.machine().lessor();
        let short = |id: &kvorum_core::LeaseId| {
            let left = lessor.time_left(*id, false, 0);
            left.is_some_and(|l| l.granted_s < 20)
        };
        lessor.ids().iter().any(short)
    }

    /// All members hold what the model holds.
    fn equal(&mut self, model: &kvorum_tests::harness::model::Model) -> Checked {
        let expected = model
            .hash_kv(&pb::HashKvRequest { revision: 0 })
            .map_err(|e| Violation(e.to_string()))?;
        for id in self.listed(false) {
            let Some(running) = self.members.get(&id).and_then(|m| m.running.as_ref()) else {
                continue;
            };
            let store = running.store.0.borrow();
            let hash = match hash(&store) {
                Ok(hash) => hash,
                // A member that reads this asks the others for all of it.
                Err(_) if self.members.get(&id).is_some_and(|m| m.rotten) => continue,
                Err(e) => return wrong(format!("member {id}: {e}")),
            };
            let (current, compacted) = (store.current(), store.compacted());
            let got = (current, compacted, hash);
            let wanted = (model.revision(), expected.compact_revision, expected.hash);
            if got != wanted {
                return wrong(format!(
                    "member {id} holds {got:?} (revision, compacted, hash), but the model {wanted:?}"
                ));
            }
            let leases: Vec<i64> = running
                .replica
                .machine()
                .lessor()
                .ids()
                .iter()
                .map(|l| l.0)
                .collect();
            let mut leases = leases;
            leases.sort_unstable();
            let known: Vec<i64> = model.leases().map(|(id, _)| id).collect();
            if leases != known {
                return wrong(format!(
                    "member {id} has leases {leases:?}, the model {known:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Hash over everything a store holds, as `HashKV` counts it.
fn hash(store: &Store) -> Result<u32, BackendError> {
    let (current, compacted) = (store.current(), store.compacted());
    let mut hasher = KvHasher::new(compacted, current);
    let any_key = store.any_key_at(current);
    let mut from = 1;
    while from <= current {
        let page = store.page(from, current, 1000)?;
        for record in &page.records {
            hasher.record(record, store.hashes(record, current, any_key));
        }
        from = page.complete_to + 1;
    }
    Ok(hasher.finish())
}
