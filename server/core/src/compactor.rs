//! When history is compacted without anybody asking: by age or by count of revisions, at the moments at which etcd does.
//! (etcd: server/etcdserver/api/v3compactor; ETCD.md 2.8)
//!
//! Every member looks at its revision, so that one that becomes leader knows the past; only the leader compacts.

use std::collections::VecDeque;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// The history of this long, milliseconds.
    Period(u64),
    /// This many revisions before the newest.
    Revisions(i64),
}

const HOUR_MS: u64 = 3_600_000;
/// Looks in one period, or in an hour of a longer one.
const LOOKS_PER_INTERVAL: u64 = 10;
/// Between two looks at the count of revisions.
const REVISIONS_INTERVAL_MS: u64 = 300_000;

/// Decides when to compact, and at which revision.
#[derive(Clone, Debug)]
pub struct Compactor {
    retention: Retention,
    /// Revisions at the looks of one period, the oldest first.
    seen: VecDeque<i64>,
    next_look_ms: u64,
    /// The start, then the last compaction.
    last_done_ms: u64,
    last_revision: i64,
    /// One period must pass before the first compaction; then one is due every `interval_ms`.
    begun: bool,
}

impl Compactor {
    /// Begins now, with the store at `revision`.
    #[must_use]
    pub fn new(retention: Retention, now_ms: u64, revision: i64) -> Self {
        let mut compactor = Self {
            retention,
            seen: VecDeque::new(),
            next_look_ms: 0,
            last_done_ms: now_ms,
            last_revision: 0,
            begun: false,
        };
        compactor.next_look_ms = now_ms + compactor.look_interval_ms();
        compactor.seen.push_back(revision);
        compactor
    }

    /// When `look` has to be called next.
    #[must_use]
    pub fn next_look_ms(&self) -> u64 {
        self.next_look_ms
    }

    /// Looks, if it is time: the revision to compact at, if that is due and this member leads. Report a compaction that
    /// succeeded, or was not needed any more, with `done`; one that failed is asked for again at the next look.
    pub fn look(&mut self, now_ms: u64, revision: i64, leads: bool) -> Option<i64> {
        if now_ms < self.next_look_ms {
            return None;
        }
        self.next_look_ms = now_ms + self.look_interval_ms();
        match self.retention {
            Retention::Period(period_ms) => {
                let due = leads.then(|| self.due(now_ms, period_ms)).flatten();
                self.seen.push_back(revision);
                if self.seen.len() > self.seen_max(period_ms) {
                    self.seen.pop_front();
                }
                due
            }
            Retention::Revisions(kept) => {
                let at = revision.saturating_sub(kept);
                (leads && at > 0 && at != self.last_revision).then_some(at)
            }
        }
    }

    /// History is compacted at `revision`.
    pub fn done(&mut self, now_ms: u64, revision: i64) {
        self.last_done_ms = now_ms;
        self.last_revision = revision;
    }

    /// The revision of one period ago, if enough time has passed and it is another than last time.
    fn due(&mut self, now_ms: u64, period_ms: u64) -> Option<i64> {
        let wait_ms = if self.begun {
            interval_ms(period_ms)
        } else {
            period_ms
        };
        let oldest = *self.seen.front()?;
        let waited_ms = now_ms.saturating_sub(self.last_done_ms);
        if waited_ms < wait_ms || oldest == self.last_revision {
            return None;
        }
        self.begun = true;
        Some(oldest)
    }

    fn look_interval_ms(&self) -> u64 {
        match self.retention {
            Retention::Period(period_ms) => (interval_ms(period_ms) / LOOKS_PER_INTERVAL).max(1),
            Retention::Revisions(_) => REVISIONS_INTERVAL_MS,
        }
    }

    /// Looks whose revisions are kept: the first of so many is one period old.
    fn seen_max(&self, period_ms: u64) -> usize {
        let looks = period_ms / self.look_interval_ms();
        usize::try_from(looks)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
    }
}

/// Between two compactions: the period, an hour at most.
fn interval_ms(period_ms: u64) -> u64 {
    period_ms.min(HOUR_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    /// A store that gains one revision between two looks, and what was compacted.
    struct Story {
        compactor: Compactor,
        now_ms: u64,
        revision: i64,
        leads: bool,
        works: bool,
    }

    impl Story {
        fn new(retention: Retention) -> Self {
            Self {
                compactor: Compactor::new(retention, 0, 1),
                now_ms: 0,
                revision: 1,
                leads: true,
                works: true,
            }
        }

        /// Lets `looks` looks pass and tells the compactions: time in minutes, revision.
        fn looks(&mut self, looks: usize, step: i64) -> Vec<(u64, i64)> {
            let mut compacted = Vec::new();
            for _ in 0..looks {
                self.now_ms = self.compactor.next_look_ms();
                self.revision += step;
                let due = self.compactor.look(self.now_ms, self.revision, self.leads);
                if let Some(at) = due {
                    compacted.push((self.now_ms / MINUTE_MS, at));
                    if self.works {
                        self.compactor.done(self.now_ms, at);
                    }
                }
            }
            compacted
        }
    }

    #[test]
    fn two_hours_are_kept_and_compacted_every_hour() {
        let mut story = Story::new(Retention::Period(2 * HOUR_MS));
        assert_eq!(story.looks(19, 1), []);
        assert_eq!(story.looks(1, 1), [(120, 1)]);
        // Then every hour, with the revision of two hours and one look before.
        assert_eq!(story.looks(30, 1), [(180, 10), (240, 20), (300, 30)]);
    }

    #[test]
    fn five_minutes_are_kept_and_compacted_every_five_minutes() {
        let mut story = Story::new(Retention::Period(5 * MINUTE_MS));
        assert_eq!(story.looks(9, 1), []);
        assert_eq!(story.looks(1, 1), [(5, 1)]);
        assert_eq!(story.looks(30, 1), [(10, 10), (15, 20), (20, 30)]);
    }

    #[test]
    fn a_day_is_kept_in_looks_of_six_minutes() {
        let mut story = Story::new(Retention::Period(24 * HOUR_MS));
        assert_eq!(story.looks(239, 1), []);
        assert_eq!(story.looks(11, 1), [(1440, 1), (1500, 10)]);
        assert_eq!(story.compactor.seen.len(), 241);
    }

    #[test]
    fn a_member_that_does_not_lead_remembers_and_compacts_once_it_leads() {
        let mut story = Story::new(Retention::Period(HOUR_MS));
        story.leads = false;
        assert_eq!(story.looks(33, 1), []);
        story.leads = true;
        // At 3 h 24 min, what was there one hour and one look before.
        assert_eq!(story.looks(1, 1), [(204, 24)]);
    }

    #[test]
    fn a_store_that_stands_still_is_compacted_once() {
        let mut story = Story::new(Retention::Period(5 * MINUTE_MS));
        assert_eq!(story.looks(10, 0), [(5, 1)]);
        assert_eq!(story.looks(50, 0), []);
        // Once it moves, the first other revision must grow old first.
        assert_eq!(story.looks(12, 1), [(36, 2)]);
    }

    #[test]
    fn a_compaction_that_failed_is_tried_at_each_look() {
        let mut story = Story::new(Retention::Period(10 * MINUTE_MS));
        story.works = false;
        assert_eq!(story.looks(12, 1), [(10, 1), (11, 1), (12, 2)]);
        story.works = true;
        assert_eq!(story.looks(11, 1), [(13, 3), (23, 13)]);
    }

    #[test]
    fn so_many_revisions_are_kept_looked_at_every_five_minutes() {
        let mut story = Story::new(Retention::Revisions(10));
        assert_eq!(story.looks(8, 1), []);
        assert_eq!(story.looks(2, 1), [(50, 1)]);
        assert_eq!(story.looks(2, 100), [(55, 101), (60, 201)]);
        // Nothing new, nothing to do.
        assert_eq!(story.looks(3, 0), []);
        story.leads = false;
        assert_eq!(story.looks(3, 7), []);
        story.leads = true;
        assert_eq!(story.looks(1, 0), [(95, 222)]);
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut compactor = Compactor::new(Retention::Period(HOUR_MS), 1000, 5);
        assert_eq!(compactor.next_look_ms(), 361_000);
        assert_eq!(compactor.look(360_999, 9, true), None);
        assert_eq!(compactor.next_look_ms(), 361_000);
    }
}
