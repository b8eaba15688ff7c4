//! What a member's threads do, one event at a time: the core, the log and the store.

use kvorum_core::backend::Record;
use kvorum_core::log::Append;
use kvorum_core::mvcc::{CompactCursor, FlushPlan};
use kvorum_core::replica::{Answer, Send, SnapshotWanted};
use kvorum_core::watch::EventBatch;
use kvorum_core::{RequestId, Revision};
use kvorum_proto::kvorumpb::PeerMessage;
use kvorum_storage::StorageError;

use crate::client::Outcome;
use crate::ledger::{Checked, wrong};
use crate::member::{LogItem, Running, VERSION};
use crate::plan::within;
use crate::world::{Event, Happening, World};

/// A full disk is tried again after this long, µs; so is one that hangs.
const TRY_AGAIN_US: u64 = 50_000;
/// Turns in a row that are work; beyond, something spins.
const TURNS_MAX: usize = 10_000;

impl World {
    pub(crate) fn member_event(&mut self, id: u64, happening: Happening) -> Checked {
        match happening {
            Happening::Tick => {
                self.next_tick(id);
                let now_us = self.now_us();
                if let Some((member, now_ms)) = self.running(id, now_us) {
                    member.replica.tick(now_ms);
                }
                // What has come in meanwhile is taken before the turn, as the core thread does.
                self.turn_soon(id);
                Ok(())
            }
            Happening::Turn => self.turn(id),
            Happening::Written => self.written(id),
            Happening::Store => self.store_looks(id),
            Happening::Install => self.install(id),
            Happening::Leave => {
                if self.may_leave(id) {
                    self.leaves(id);
                } else {
                    self.later(id, 200_000, Happening::Leave);
                }
                Ok(())
            }
        }
    }

    /// The machine lets a removed member go once the others know; where all others lose power before one of them has
    /// written it down, somebody has to start the removed one once more, which no operator of these clusters does.
    fn may_leave(&self, id: u64) -> bool {
        let Some(running) = self.members.get(&id).and_then(|m| m.running.as_deref()) else {
            return false;
        };
        // The others write down that this one is committed, and nothing that comes after it.
        let left = running.replica.node().left_at().map_or(0, |at| at.0);
        let voters = running.replica.node().voters();
        // A state on disk that has it says the same: who started from one, or got one, need not apply it again.
        let wrote = |id: &kvorum_core::MemberId| {
            self.members.get(&id.0).is_some_and(|m| {
                let flushed = m.running.as_deref().map_or(0, |r| r.flushed.0);
                m.wrote_commit.max(flushed) >= left
            })
        };
        running.replica.node().may_leave()
            && voters.iter().filter(|v| wrote(v)).count() * 2 > voters.len()
    }

    /// A running member and its clock.
    pub(crate) fn running(&mut self, id: u64, now_us: u64) -> Option<(&mut Running, u64)> {
        let member = self.members.get_mut(&id)?;
        let now_ms = member.now_ms(now_us);
        Some((member.running.as_deref_mut()?, now_ms))
    }

    /// Something came in: a turn is due.
    pub(crate) fn turn_soon(&mut self, id: u64) {
        let Some(running) = self.members.get_mut(&id).and_then(|m| m.running.as_mut()) else {
            return;
        };
        if !std::mem::replace(&mut running.turn_due, true) {
            let us = self.plan.turn_us;
            self.later(id, us, Happening::Turn);
        }
    }

    pub(crate) fn arrives(
        &mut self,
        from: u64,
        to: u64,
        life: u64,
        message: PeerMessage,
    ) -> Checked {
        let now_us = self.now_us();
        if self.members.get(&to).is_none_or(|m| m.life != life) {
            return Ok(());
        }
        let Some((running, now_ms)) = self.running(to, now_us) else {
            return Ok(());
        };
        let from = kvorum_core::MemberId(from);
        if running.connected.insert(from.0) {
            running.replica.connected(from, VERSION, now_ms);
        }
        let refused = running
            .replica
            .receive(from, message, now_ms, &mut running.out)
            .err();
        if let Some(refused) = refused {
            self.refused(to, from.0, &refused)?;
        }
        self.turn_soon(to);
        Ok(())
    }

    /// A message that a guard refused. Correct peers with whole disks send none that tells of a loss.
    fn refused(&mut self, to: u64, from: u64, refused: &kvorum_core::node::Refused) -> Checked {
        use kvorum_core::node::Refused;
        self.figures.refused += 1;
        self.tell(to, || format!("refuses a message of {from}: {refused}"));
        let rotten = self.members.values().any(|m| m.rotten);
        match refused {
            Refused::LostEntries { .. } | Refused::Conflict { .. } if !rotten => wrong(format!(
                "member {to} refuses a message of {from}: {refused}"
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn unreachable(&mut self, from: u64, to: u64) {
        let now_us = self.now_us();
        if let Some((running, _)) = self.running(from, now_us) {
            running.replica.unreachable(kvorum_core::MemberId(to));
            self.turn_soon(from);
        }
    }

    /// Works off what came in.
    pub(crate) fn turn(&mut self, id: u64) -> Checked {
        let now_us = self.now_us();
        for _ in 0..TURNS_MAX {
            let Some((running, now_ms)) = self.running(id, now_us) else {
                return Ok(());
            };
            running.turn_due = false;
            let holding = running.store.0.borrow().unflushed_bytes() > 64 << 10;
            running.replica.hold(holding);
            let store = running.store.clone();
            let more = running
                .replica
                .turn(&store, &mut (), now_ms, &mut running.out);
            let out = std::mem::take(&mut running.out);
            match more {
                Ok(more) => {
                    self.drain(id, out)?;
                    if !more {
                        return Ok(());
                    }
                }
                Err(reason) => return self.failed(id, &reason),
            }
        }
        wrong(format!("member {id} turns without end"))
    }

    /// Does what a turn asks for.
    fn drain(&mut self, id: u64, out: kvorum_core::replica::Output) -> Checked {
        if let Some(mark) = out.install {
            self.ledger.installed(id, mark.index.0);
            let us = within(&mut self.dice, (100, 20_000));
            self.later(id, us, Happening::Install);
        }
        self.hand_to_log(id, out.appends)?;
        self.note_applied(id)?;
        if let Some(leadership) = out.leadership {
            self.tell(id, || format!("{leadership:?}"));
            if leadership.is_leader {
                self.ledger.leads(id, leadership.term.0)?;
            }
        }
        for Send { to, lane, message } in out.sends {
            self.send(id, to.0, lane, message)?;
        }
        for SnapshotWanted { to, raft } in out.snapshots {
            self.begin_transfer(id, to.0, raft);
        }
        self.publish(id, out.events)?;
        for (request, answer) in out.answers {
            self.answered(id, request, answer);
        }
        if let (Some(at), Some((running, _))) = (out.compacted, self.running(id, self.now_us())) {
            running.decided = Some(at);
        }
        if let Some(divergence) = out.divergence {
            self.divergence(id, &format!("{divergence:?}"))?;
        }
        if out.removed {
            self.figures.removed += 1;
            self.later(id, 1_000_000, Happening::Leave);
        }
        Ok(())
    }

    fn divergence(&mut self, id: u64, what: &str) -> Checked {
        if self.members.get(&id).is_some_and(|m| m.rotten) {
            return self.damaged(id, what);
        }
        wrong(format!("member {id} finds {what}"))
    }

    fn note_applied(&mut self, id: u64) -> Checked {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return Ok(());
        };
        let store = running.store.0.borrow();
        let (applied, digest) = (store.applied().0.0, store.digest());
        drop(store);
        if applied <= running.told_applied {
            return Ok(());
        }
        running.told_applied = applied;
        self.story.mix(&[id, applied, digest]);
        self.ledger.applied(id, applied, now_us)?;
        self.ledger.digest(id, applied, digest)
    }

    fn answered(&mut self, id: u64, request: RequestId, answer: Answer) {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return;
        };
        let Some(call) = running.waiters.remove(&request.0) else {
            return;
        };
        let outcome = self.outcome(id, call, answer);
        let way = self.net.way_us();
        self.queue.after(way, Event::Reply(call, outcome));
    }

    /// A thread that is busy gets a batch late; where another one comes before, the first is dropped, and the thread
    /// sees the gap and reads it from history.
    fn publish(&mut self, id: u64, batch: EventBatch) -> Checked {
        if batch.last == 0 {
            return Ok(());
        }
        let busy = self.dice.one_in(30);
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return Ok(());
        };
        running.unpublished = Some(batch);
        if busy { Ok(()) } else { self.publish_now(id) }
    }

    /// What waits is published.
    pub(crate) fn publish_now(&mut self, id: u64) -> Checked {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return Ok(());
        };
        let Some(batch) = running.unpublished.take() else {
            return Ok(());
        };
        if running.hub.watchers() == 0 {
            return Ok(());
        }
        let store = running.store.0.borrow();
        let published = running.hub.publish(&batch, &*store);
        drop(store);
        match published {
            Ok(()) => Ok(()),
            Err(e) => self.failed(id, &e.to_string()),
        }
    }

    fn hand_to_log(&mut self, id: u64, groups: Vec<Append>) -> Checked {
        for group in &groups {
            self.ledger.appended(id, &group.entries)?;
            for entry in &group.entries {
                self.story.mix(&[entry.index, entry.term]);
            }
        }
        let now_us = self.now_us();
        if let Some((running, _)) = self.running(id, now_us) {
            running
                .log_queue
                .extend(groups.into_iter().map(LogItem::Append));
        }
        self.begin_write(id);
        Ok(())
    }

    pub(crate) fn begin_write(&mut self, id: u64) {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return;
        };
        if !running.writing.is_empty() || running.log_queue.is_empty() {
            return;
        }
        // A log that begins anew is a step of its own.
        let is_append = |item: &LogItem| matches!(item, LogItem::Append(_));
        let groups = running
            .log_queue
            .iter()
            .take_while(|item| is_append(item))
            .count();
        running.writing = running.log_queue.drain(..groups.max(1)).collect();
        let mut us = within(&mut self.dice, self.plan.sync_us);
        if self.dice.below(1_000_000) < self.plan.sync_late_ppm && !self.healing {
            us += self.dice.below(60_000);
        }
        us += self.members.get(&id).map_or(0, |m| m.slow_us);
        self.later(id, us, Happening::Written);
    }

    /// The log's disk answers.
    fn written(&mut self, id: u64) -> Checked {
        if self.members.get(&id).is_some_and(|m| m.hung) {
            self.later(id, TRY_AGAIN_US, Happening::Written);
            return Ok(());
        }
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return Ok(());
        };
        let groups = running.writing.clone();
        match write(running) {
            Ok(()) => {
                for item in &groups {
                    if let LogItem::Append(group) = item {
                        let commit = group.hard_state.map_or(0, |hs| hs.commit);
                        if let Some(member) = self.members.get_mut(&id) {
                            member.wrote_commit = member.wrote_commit.max(commit);
                        }
                        let entries = group.entries.iter();
                        self.ledger
                            .known(id, entries.map(|e| (e.index, e.term, &e.data)))?;
                    }
                }
                self.begin_write(id);
                self.turn(id)
            }
            Err(e) if e.is_out_of_space() => {
                self.later(id, TRY_AGAIN_US, Happening::Written);
                Ok(())
            }
            Err(e) => self.failed(id, &e.to_string()),
        }
    }

    /// The store thread's work: a flush, a slice of a compaction, segments.
    fn store_looks(&mut self, id: u64) -> Checked {
        self.later(id, self.plan.flush_every_us, Happening::Store);
        if self.members.get(&id).is_some_and(|m| m.hung || m.full) {
            return Ok(());
        }
        let slice = self.plan.compact_slice;
        let now_us = self.now_us();
        let Some((running, _)) = self.running(id, now_us) else {
            return Ok(());
        };
        if running.replica.node().is_installing() {
            return Ok(());
        }
        match store_turn(running, slice) {
            Ok(()) => self.turn(id),
            Err(e) => self.failed(id, &e.to_string()),
        }
    }

    /// A member's storage failed: its process ends with one line, and is started again by and by.
    pub(crate) fn failed(&mut self, id: u64, reason: &str) -> Checked {
        self.tell(id, || format!("ends: {reason}"));
        let Some(member) = self.members.get(&id) else {
            return Ok(());
        };
        let expected = reason.contains("os error 5")
            || reason.contains("failed earlier")
            || reason.contains("previous")
            || reason.contains("no storage space");
        if member.rotten {
            return self.damaged(id, reason);
        }
        if !expected {
            return wrong(format!("member {id} ends: {reason}"));
        }
        self.stop(id, false);
        let after = 50_000 + self.dice.below(1_450_000);
        self.queue.after(after, Event::Start(id));
        Ok(())
    }

    /// Ends the calls that a member has not answered.
    pub(crate) fn hang_up(&mut self, running: &Running) {
        for call in running.waiters.values() {
            let way = self.net.way_us();
            self.queue.after(way, Event::Reply(*call, Outcome::Unknown));
        }
    }
}

/// The log's thread does what it has taken.
pub(crate) fn write(running: &mut Running) -> Result<(), StorageError> {
    if let Some(LogItem::Reset(index, term, hard_state)) = running.writing.first() {
        running.log.reset(index.0, term.0, *hard_state)?;
        let begins = *index;
        running.writing.clear();
        return running.state.settle_base(begins);
    }
    let groups: Vec<Append> = running
        .writing
        .iter()
        .filter_map(|item| match item {
            LogItem::Append(group) => Some(group.clone()),
            LogItem::Reset(..) => None,
        })
        .collect();
    running.log.append(&groups)?;
    running.writing.clear();
    if let Some(last) = groups.last() {
        running.replica.persisted(last.number);
    }
    Ok(())
}

/// A look of the store thread.
fn store_turn(running: &mut Running, slice: usize) -> Result<(), StorageError> {
    flush(running)?;
    if running.log.needs_next() {
        running.log.recycler().run()?;
    }
    if running.writing.is_empty() {
        running.log.settle()?;
    }
    compact(running, slice)
}

fn flush(running: &mut Running) -> Result<(), StorageError> {
    let plan = running.store.0.borrow_mut().begin_flush(running.flushed);
    let Some(plan) = plan else {
        return Ok(());
    };
    let records = records_of(running, &plan);
    running.state.flush(records.into_iter(), &plan.mark)?;
    while running.store.0.borrow_mut().flushed(plan.to) {}
    running.flushed = plan.mark.applied;
    running.log.release(running.flushed.0);
    running.replica.flushed(running.flushed);
    if running.compacting.is_none() {
        running.compacting = running.decided.take().map(CompactCursor::new);
    }
    Ok(())
}

fn records_of(running: &Running, plan: &FlushPlan) -> Vec<Record> {
    let store = running.store.0.borrow();
    let mut records: Vec<Record> = Vec::new();
    let mut after = plan.after;
    loop {
        let page = store.unflushed(after, plan.to, 64);
        let Some(last) = page.last() else {
            return records;
        };
        after = last.revision;
        records.extend(page);
    }
}

fn compact(running: &mut Running, slice: usize) -> Result<(), StorageError> {
    let Some(cursor) = running.compacting.as_mut() else {
        return Ok(());
    };
    let mut removed: Vec<Revision> = Vec::new();
    let more = running
        .store
        .0
        .borrow_mut()
        .compact_slice(cursor, slice, &mut removed);
    let freed = if removed.is_empty() {
        Vec::new()
    } else {
        running.state.remove(&removed)?
    };
    let mut store = running.store.0.borrow_mut();
    store.freed(freed.into_iter());
    if !more && let Some(done) = running.compacting.take() {
        store.finish_compaction(done.at);
    }
    Ok(())
}

/// A flush begun as the power goes: its remains are on the disk.
pub(crate) fn interrupted_flush(running: &mut Running) {
    // It fails, as it is meant to.
    let _failed = flush(running);
}
