//! Snapshots: on their way from one member to another, and into the place of a state.

use std::sync::Arc;

use kvorum_core::MemberId;
use kvorum_core::node::SnapshotMark;
use kvorum_proto::kvorumpb::RaftMessage;
use kvorum_storage::{SnapshotRefused, SnapshotSink, SnapshotSource, Staged, StorageError};

use crate::ledger::{Checked, wrong};
use crate::member::{LogItem, Refusal, Running, interrupted, rebuild};
use crate::plan::Plan;
use crate::world::{Event, World};

/// A snapshot on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) from: u64,
    pub(crate) to: u64,
    lives: (u64, u64),
    raft: RaftMessage,
    source: SnapshotSource,
    sink: SnapshotSink,
}

/// What a piece brought.
enum Progress {
    More,
    Done(Box<Staged>),
    Failed,
}

impl World {
    /// A member begins to send its state.
    pub(crate) fn begin_transfer(&mut self, from: u64, to: u64, raft: RaftMessage) {
        self.figures.snapshots += 1;
        self.tell(from, || format!("sends its state to {to}"));
        let id = self.next_transfer;
        self.next_transfer += 1;
        if let Some(transfer) = self.connect_transfer(id, from, to, raft) {
            self.transfers.insert(id, transfer);
            let way = self.net.way_us();
            self.queue.after(way, Event::Snapshot(id));
        } else {
            self.transfer_ends(from, to, false);
        }
    }

    fn connect_transfer(
        &mut self,
        id: u64,
        from: u64,
        to: u64,
        raft: RaftMessage,
    ) -> Option<Transfer> {
        if !self.net.passes(from, to) || !self.net.passes(to, from) {
            return None;
        }
        let sender = self.members.get(&from)?;
        let source = SnapshotSource::new(sender.running.as_ref()?.state.clone(), id).ok()?;
        let receiver = self.members.get(&to)?;
        receiver.running.as_ref()?;
        let sink = SnapshotSink::new(Arc::new(receiver.disks.state.clone())).ok()?;
        Some(Transfer {
            from,
            to,
            lives: (sender.life, receiver.life),
            raft,
            source,
            sink,
        })
    }

    fn transfer_ends(&mut self, from: u64, to: u64, complete: bool) {
        let now_us = self.now_us();
        if let Some((running, _)) = self.running(from, now_us) {
            running.replica.snapshot_sent(MemberId(to), complete);
            self.turn_soon(from);
        }
    }

    /// The next piece of a snapshot.
    pub(crate) fn transfer_goes_on(&mut self, id: u64) -> Checked {
        let Some(mut transfer) = self.transfers.remove(&id) else {
            return Ok(());
        };
        let (from, to) = (transfer.from, transfer.to);
        let life = |id: u64| {
            self.members
                .get(&id)
                .filter(|m| m.running.is_some())
                .map(|m| m.life)
        };
        if (life(from), life(to)) != (Some(transfer.lives.0), Some(transfer.lives.1)) {
            if life(from) == Some(transfer.lives.0) {
                self.transfer_ends(from, to, false);
            }
            return Ok(());
        }
        let still = |id: u64| self.members.get(&id).is_some_and(|m| m.paused || m.hung);
        if still(from) || still(to) {
            self.transfers.insert(id, transfer);
            self.queue.after(20_000, Event::Snapshot(id));
            return Ok(());
        }
        if !self.net.passes(from, to) {
            self.transfer_ends(from, to, false);
            return Ok(());
        }
        let spoilt = self.dice.one_in(20) && !self.healing;
        match piece(&mut transfer, spoilt) {
            Ok(Progress::More) => {
                self.transfers.insert(id, transfer);
                let way = self.net.way_us();
                self.queue.after(way, Event::Snapshot(id));
                Ok(())
            }
            Ok(Progress::Failed) => {
                self.transfer_ends(from, to, false);
                Ok(())
            }
            Ok(Progress::Done(staged)) => self.transfer_arrived(from, to, transfer.raft, *staged),
            Err(error) => self.transfer_broke(from, to, &error),
        }
    }

    /// A disk failed under it: whose it was, that member ends.
    fn transfer_broke(&mut self, from: u64, to: u64, error: &TransferError) -> Checked {
        self.transfer_ends(from, to, false);
        match error {
            TransferError::Source(e) => self.failed(from, &e.to_string()),
            TransferError::Sink(e) if e.is_out_of_space() => Ok(()),
            TransferError::Sink(e) => self.failed(to, &e.to_string()),
        }
    }

    fn transfer_arrived(
        &mut self,
        from: u64,
        to: u64,
        mut raft: RaftMessage,
        staged: Staged,
    ) -> Checked {
        let now_us = self.now_us();
        let mark = staged.head().map(|head| SnapshotMark {
            index: head.index,
            term: head.term,
            conf_state: head.conf_state.clone(),
        });
        raft.snapshot = mark.and_then(|mark| mark.to_message().ok());
        if let Some((running, _)) = self.running(to, now_us) {
            match running.replica.snapshot_arrived(MemberId(from), raft) {
                Ok(()) => running.staged = Some(Box::new(staged)),
                Err(_) => self.figures.refused += 1,
            }
            self.turn_soon(to);
        }
        self.transfer_ends(from, to, true);
        Ok(())
    }

    /// The store thread puts a snapshot in the place of the state.
    pub(crate) fn install(&mut self, id: u64) -> Checked {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = member.running.as_mut() else {
            return Ok(());
        };
        let Some(staged) = running.staged.take() else {
            return wrong(format!(
                "member {id} is to install a snapshot that it has not got"
            ));
        };
        match swap(running, *staged, &self.plan) {
            Ok(index) => {
                self.figures.installs += 1;
                self.tell(id, || {
                    format!("has the state of another member, at entry {index}")
                });
                self.begin_write(id);
                self.turn(id)
            }
            Err(Refusal::Disk(reason) | Refusal::Damaged(reason)) => self.failed(id, &reason),
        }
    }
}

enum TransferError {
    Source(StorageError),
    Sink(StorageError),
}

/// Carries one chunk; a spoilt one is refused and asked for again.
fn piece(transfer: &mut Transfer, spoilt: bool) -> Result<Progress, TransferError> {
    let chunk = transfer
        .source
        .next_chunk()
        .map_err(TransferError::Source)?;
    let Some(chunk) = chunk else {
        return Ok(Progress::Failed);
    };
    let mut bytes = chunk.to_vec();
    if spoilt && let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    match transfer.sink.take(&bytes) {
        Ok(false) => Ok(Progress::More),
        Ok(true) => {
            let disk = Arc::new(kvorum_storage::MemDisk::new());
            let next = SnapshotSink::new(disk).map_err(TransferError::Sink)?;
            let sink = std::mem::replace(&mut transfer.sink, next);
            match sink.finish() {
                Ok(staged) => Ok(Progress::Done(Box::new(staged))),
                Err(refused) => refusal(refused),
            }
        }
        Err(SnapshotRefused::Chunk { .. }) if spoilt => {
            let due = transfer.sink.due();
            Ok(if transfer.source.resume(due) {
                Progress::More
            } else {
                Progress::Failed
            })
        }
        Err(refused) => refusal(refused),
    }
}

fn refusal(refused: SnapshotRefused) -> Result<Progress, TransferError> {
    match refused {
        SnapshotRefused::Storage(e) => Err(TransferError::Sink(e)),
        _ => Ok(Progress::Failed),
    }
}

fn swap(running: &mut Running, staged: Staged, plan: &Plan) -> Result<u64, Refusal> {
    let restored = running.state.install(staged)?;
    let (store, machine) = rebuild(&running.state, &restored, plan)?;
    let (index, term) = (restored.applied, restored.term);
    running.compacting = None;
    running.decided = interrupted(&restored);
    *running.store.0.borrow_mut() = store;
    running.flushed = index;
    running.told_applied = index.0;
    let mut hard_state = running.replica.node().hard_state();
    hard_state.commit = hard_state.commit.min(index.0);
    running
        .log_queue
        .push(LogItem::Reset(index, term, hard_state));
    running.replica.installed(machine, index, &mut running.out);
    let revision = running.store.0.borrow().current();
    running.out.events.first = revision + 1;
    running.out.events.last = revision;
    Ok(index.0)
}
