//! The store thread: writes the state behind the log, carries out compactions, makes log segments ahead of need, and
//! takes the figures of every second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvorum_core::backend::Record;
use kvorum_core::mvcc::{CompactCursor, FlushPlan};
use kvorum_core::{Index, Revision};
use kvorum_storage::{DataDir, DirError, Identity, KnownMember, Recycler, StorageError};
use parking_lot::Mutex;

use crate::room::{self, SoftLimit};
use crate::scrub::Scrubbing;
use crate::shared::{CoreInput, LogInput, Shared, StoreInput};
use crate::shrink::Shrinking;

/// Between two flushes under a light load: each costs a sync that a single client's next write may meet.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks at what there is to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Records read from the store per lock.
const PAGE_RECORDS: usize = 4096;
/// Room that a flush finds beside four times its records: what redb moves when it grows or copies pages.
const FLUSH_ROOM_BYTES: u64 = 4 << 20;
/// Keys that a compaction visits per lock.
const COMPACT_KEYS: usize = 1000;
/// A compaction lets others run for this long between two slices.
const COMPACT_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct StoreThread {
    shared: Arc<Shared>,
    /// Remembers the members, for the day when nothing else is left.
    dir: Arc<Mutex<DataDir>>,
    recycler: Recycler,
    flushed: Index,
    compacting: Option<(CompactCursor, Instant)>,
    /// A compaction whose decision is flushed and that waits for the one under way.
    decided: Option<i64>,
    /// There is no room for a flush.
    full: bool,
    /// There is no room for the next segment of the log.
    log_full: bool,
    soft_limit: SoftLimit,
    scrubbing: Scrubbing,
    shrinking: Shrinking,
}

impl StoreThread {
    pub(crate) fn new(
        shared: Arc<Shared>,
        recycler: Recycler,
        flushed: Index,
        dir: Arc<Mutex<DataDir>>,
    ) -> Self {
        Self {
            scrubbing: Scrubbing::new(shared.options.scrub_interval),
            shrinking: Shrinking::new(),
            shared,
            dir,
            recycler,
            flushed,
            compacting: None,
            decided: None,
            full: false,
            log_full: false,
            soft_limit: SoftLimit::default(),
        }
    }

    /// Runs until the member stops; the last act is a flush of everything.
    pub(crate) fn run(mut self) {
        let mut sampled = Instant::now();
        let mut flushed = Instant::now();
        let mut woken = Vec::new();
        loop {
            let stopping = self.shared.is_stopping();
            let woken_up = match self.take(&mut woken) {
                Ok(woken_up) => woken_up,
                Err(reason) => return self.shared.fail(reason),
            };
            let flush = woken_up || stopping || flushed.elapsed() >= FLUSH_INTERVAL;
            if flush {
                flushed = Instant::now();
            }
            if let Err(e) = self.turn(flush) {
                return self.shared.fail_of(&e);
            }
            if sampled.elapsed() >= SAMPLE_INTERVAL {
                sampled = Instant::now();
                crate::stats::sample(&self.shared);
                self.soft_limit.look(&self.shared);
            }
            if stopping {
                return;
            }
            let pause = if self.compacting.is_some() {
                COMPACT_PAUSE
            } else {
                self.shrinking.pause().unwrap_or(LOOK_INTERVAL)
            };
            self.shared.store_thread.wait(&mut woken, pause);
        }
    }

    /// Does what was asked; true if a flush was.
    fn take(&mut self, woken: &mut Vec<StoreInput>) -> Result<bool, String> {
        let mut wake = false;
        for input in woken.drain(..) {
            match input {
                StoreInput::Wake => wake = true,
                StoreInput::LogBegins(index) => {
                    let settled = self.shared.state.settle_base(index);
                    settled.map_err(|e| e.to_string())?;
                }
                StoreInput::Remember(members) => self.remember(members)?,
                StoreInput::SendSnapshot(wanted) => {
                    // The newer the state, the less of the log goes after it.
                    self.flush().map_err(|e| e.to_string())?;
                    self.shared.cluster.send_snapshot(&self.shared, *wanted);
                }
                StoreInput::Install(staged) => {
                    self.compacting = None;
                    self.decided = None;
                    self.flushed = crate::install::install(&self.shared, *staged)?;
                }
            }
        }
        Ok(wake)
    }

    fn remember(&self, members: Vec<KnownMember>) -> Result<(), String> {
        let mut dir = self.dir.lock();
        let known = dir.identity().cloned().unwrap_or_default();
        if known.members == members {
            return Ok(());
        }
        let own = members.iter().find(|m| m.id == known.member_id);
        let name = own.map_or(known.name.clone(), |m| m.name.clone());
        let told = dir.set_identity(Identity {
            members,
            name,
            ..known
        });
        match told {
            // It is for emergencies; the next change writes it again.
            Err(DirError::Storage(e)) if e.is_out_of_space() => Ok(()),
            told => told.map_err(|e| e.to_string()),
        }
    }

    fn turn(&mut self, flush: bool) -> Result<(), StorageError> {
        let decided = self.shared.published.compaction.swap(0, Ordering::SeqCst);
        if flush || decided > 0 {
            self.flush()?;
        }
        if decided > 0 {
            self.decided = Some(decided);
        }
        self.recycle()?;
        if self.full && !flush {
            // Nobody else looks while nothing is written.
            self.has_room();
        }
        room::tell_disk_full(&self.shared, self.full || self.log_full);
        self.scrubbing.turn(&self.shared)?;
        // Removals write too, and a compaction begins with a flush that holds its decision.
        if self.full {
            self.shrinking.give_up();
            return Ok(());
        }
        self.compact()?;
        if self.compacting.is_none() && !self.shared.is_stopping() {
            self.shrinking.turn(&self.shared)?;
        }
        Ok(())
    }

    /// A full disk here only means that the next segment is made later: the log tells if it cannot go on.
    fn recycle(&mut self) -> Result<(), StorageError> {
        if !crate::log_thread::needs_next(&self.shared) {
            self.log_full = false;
            return Ok(());
        }
        match self.recycler.run() {
            Err(e) if !e.is_out_of_space() => Err(e),
            made => {
                self.log_full = made.is_err();
                Ok(())
            }
        }
    }

    /// redb ends for good at the first write that does not fit, so it is not asked for one that may not: the log
    /// keeps what is not flushed, and once memory is full of it, writes wait until there is room.
    fn has_room(&mut self) -> bool {
        let path = &self.shared.options.data_dir;
        let mut needed = FLUSH_ROOM_BYTES + 4 * self.shared.store.read().fresh_bytes() as u64;
        if self.full {
            // A little more than what was missing, or it would come and go.
            needed += FLUSH_ROOM_BYTES;
        }
        let room = DataDir::free_bytes(path).is_none_or(|free| free >= needed);
        if room && self.full {
            tracing::info!("the disk has room again; the state is flushed");
        } else if !room && !self.full {
            tracing::error!(
                needed,
                "the disk is almost full: the state is not flushed until there is room"
            );
        }
        self.full = !room;
        room
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        if !self.has_room() {
            return Ok(());
        }
        let Some(plan) = self.shared.store.write().begin_flush(self.flushed) else {
            return Ok(());
        };
        let begin = Instant::now();
        let pages = Pages {
            shared: &self.shared,
            plan: &plan,
            after: plan.after,
            page: VecDeque::new(),
        };
        let stats = self.shared.state.flush(pages, &plan.mark)?;
        self.shared.meters.flushed(begin.elapsed(), &stats);
        while self.shared.store.write().flushed(plan.to) {}
        self.flushed = plan.mark.applied;
        self.shared.flushed.send_replace(self.flushed.0);
        self.shared.log.push(LogInput::Release(self.flushed));
        self.shared.core.push(CoreInput::Flushed(self.flushed));
        Ok(())
    }

    /// One slice of a compaction. It begins after a flush that holds its decision and every record it may remove.
    fn compact(&mut self) -> Result<(), StorageError> {
        if self.compacting.is_none() {
            self.compacting = self
                .decided
                .take()
                .map(|at| (CompactCursor::new(at), Instant::now()));
        }
        let Some((cursor, _)) = self.compacting.as_mut() else {
            return Ok(());
        };
        let meter = &self.shared.meters.compaction;
        let mut removed = Vec::new();
        let begin = Instant::now();
        let more = self
            .shared
            .store
            .write()
            .compact_slice(cursor, COMPACT_KEYS, &mut removed);
        meter.index_pause.observe(milliseconds(begin));
        let begin = Instant::now();
        let freed = self.remove(&removed)?;
        meter.db_pause.observe(milliseconds(begin));
        meter.keys.inc_by(freed.len() as u64);
        let mut store = self.shared.store.write();
        store.freed(freed.into_iter());
        if !more && let Some((done, begun)) = self.compacting.take() {
            store.finish_compaction(done.at);
            drop(store);
            meter.total.observe(milliseconds(begun));
            meter.last.set(now_s());
            self.shared.compacted.send_replace(done.at);
            tracing::info!(compact_revision = done.at, "finished scheduled compaction");
        }
        Ok(())
    }

    fn remove(&self, revisions: &[Revision]) -> Result<Vec<usize>, StorageError> {
        if revisions.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.state.remove(revisions)
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// The records of a flush, read a page at a time, so that no writer waits for a whole flush.
struct Pages<'a> {
    shared: &'a Shared,
    plan: &'a FlushPlan,
    after: Revision,
    page: VecDeque<Record>,
}

impl Iterator for Pages<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.page.is_empty() {
            let store = self.shared.store.read();
            self.page = store
                .unflushed(self.after, self.plan.to, PAGE_RECORDS)
                .into();
            drop(store);
            self.after = self.page.back()?.revision;
        }
        self.page.pop_front()
    }
}
