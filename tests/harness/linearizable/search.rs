//! The search for an order. (Wing, Gong: Testing and verifying concurrent objects, 1993; Lowe: Testing for
//! linearizability, 2017)

use std::collections::BTreeSet;

use super::{Step, numbered};

/// An action with its values as numbers; 0 is "does not exist".
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    pub(super) requires: Option<u32>,
    pub(super) forbids: Option<u32>,
    pub(super) sets: Option<u32>,
}

impl Numbered {
    fn apply(self, state: u32) -> Option<u32> {
        let allowed = self.requires.is_none_or(|value| value == state)
            && self.forbids.is_none_or(|value| value != state);
        allowed.then(|| self.sets.unwrap_or(state))
    }
}

pub(super) enum Found {
    Order,
    None(Option<Step>),
    GaveUp,
}

/// A call or a return, in a list from which both leave together once the call has its place in the order.
#[derive(Clone, Copy)]
struct Event {
    step: usize,
    returns: bool,
    before: usize,
    after: usize,
}

struct Timeline {
    /// Place 0 is the head; it is also what the last event points to.
    events: Vec<Event>,
    call_at: Vec<usize>,
    return_at: Vec<Option<usize>>,
}

impl Timeline {
    fn new(steps: &[Step]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            times.push((step.called, false, at));
            times.extend(step.returned.map(|returned| (returned, true, at)));
        }
        // Of what happens at one time calls come first: those calls are concurrent.
        times.sort_unstable();
        let last = times.len();
        let head = Event {
            step: usize::MAX,
            returns: false,
            before: last,
            after: usize::from(last > 0),
        };
        let mut timeline = Self {
            events: vec![head],
            call_at: vec![0; steps.len()],
            return_at: vec![None; steps.len()],
        };
        for (place, (_, returns, step)) in times.into_iter().enumerate() {
            let at = place + 1;
            let after = if at == last { 0 } else { at + 1 };
            timeline.events.push(Event {
                step,
                returns,
                before: place,
                after,
            });
            if returns {
                timeline.return_at[step] = Some(at);
            } else {
                timeline.call_at[step] = at;
            }
        }
        timeline
    }

    fn unlink(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        self.events[before].after = after;
        self.events[after].before = before;
    }

    fn link(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        self.events[before].after = at;
        self.events[after].before = at;
    }

    fn lift(&mut self, step: usize) {
        self.unlink(self.call_at[step]);
        if let Some(at) = self.return_at[step] {
            self.unlink(at);
        }
    }

    /// Undoes the newest `lift`.
    fn drop_back(&mut self, step: usize) {
        if let Some(at) = self.return_at[step] {
            self.link(at);
        }
        self.link(self.call_at[step]);
    }
}

/// Which steps have their place, as a set that can be remembered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed(Vec<u64>);

impl Placed {
    fn flip(&mut self, step: usize) {
        self.0[step / 64] ^= 1 << (step % 64);
    }
}

/// Looks for an order in which every call with an answer has a place between its call and its return.
pub(super) fn search(steps: &[Step], steps_max: usize) -> Found {
    let (actions, count) = numbered(steps);
    let mut timeline = Timeline::new(steps);
    let mut placed = Placed(vec![0; count.div_ceil(64)]);
    let mut seen: BTreeSet<(u32, Placed)> = BTreeSet::new();
    let mut taken: Vec<(usize, u32)> = Vec::new();
    let mut to_place = timeline.return_at.iter().flatten().count();
    let mut fewest_left = to_place;
    let mut furthest = None;
    let mut state = 0;
    let mut at = timeline.events[0].after;
    for _ in 0..steps_max {
        if to_place == 0 {
            return Found::Order;
        }
        let event = timeline.events[at];
        if at != 0 && !event.returns {
            let next = actions[event.step].apply(state).filter(|next| {
                placed.flip(event.step);
                let new = seen.insert((*next, placed.clone()));
                if !new {
                    placed.flip(event.step);
                }
                new
            });
            let Some(next) = next else {
                at = event.after;
                continue;
            };
            taken.push((event.step, state));
            state = next;
            timeline.lift(event.step);
            to_place -= usize::from(timeline.return_at[event.step].is_some());
            at = timeline.events[0].after;
            continue;
        }
        // A return of a call without a place: the order so far cannot be right.
        if to_place <= fewest_left {
            fewest_left = to_place;
            furthest = steps.get(event.step).cloned();
        }
        let Some((step, before)) = taken.pop() else {
            return Found::None(furthest);
        };
        state = before;
        placed.flip(step);
        timeline.drop_back(step);
        to_place += usize::from(timeline.return_at[step].is_some());
        at = timeline.events[timeline.call_at[step]].after;
    }
    Found::GaveUp
}
