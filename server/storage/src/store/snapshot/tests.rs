//! Snapshots between members: everything arrives, nothing that is damaged does, and no crash leaves half of one.

mod crash;
mod damage;

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, Record, Restored, SideChange};
use kvorum_core::types::{Index, LeaseId, Revision, Term};

use super::{CHUNK_BYTES, SnapshotSink, SnapshotSource, Staged};
use crate::disk::{Disk, MemDisk};
use crate::store::{StateStore, StoreOptions};

const OPTIONS: StoreOptions = StoreOptions {
    cache_bytes: 4 << 20,
};

fn open(disk: &MemDisk) -> (Arc<StateStore>, Restored) {
    let (store, restored) = StateStore::open(Arc::new(disk.clone()), OPTIONS).expect("open");
    (Arc::new(store), restored)
}

fn record(main: i64, len: usize) -> Record {
    Record {
        revision: Revision { main, sub: 1 },
        tombstone: main % 5 == 0,
        kv: Bytes::from(vec![(main % 251) as u8; len]),
    }
}

fn mark(applied: u64, side: Vec<SideChange>) -> FlushMark {
    FlushMark {
        applied: Index(applied),
        term: Term(3),
        side,
    }
}

/// A store with records, leases and small entries, applied up to 50.
fn store_with(records: i64, len: usize) -> (MemDisk, Arc<StateStore>) {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let mut side: Vec<SideChange> = (-3..20)
        .map(|id| SideChange::LeasePut(LeaseId(id), Bytes::from(vec![id as u8; 30])))
        .collect();
    side.push(SideChange::MetaPut(
        "conf_state".into(),
        Bytes::from_static(b"voters"),
    ));
    side.push(SideChange::MetaPut("session/7".into(), Bytes::new()));
    let records = (2..2 + records).map(|main| record(main, len));
    store.flush(records, &mark(50, side)).expect("flush");
    (disk, store)
}

fn chunks(source: &mut SnapshotSource) -> Vec<Bytes> {
    std::iter::from_fn(|| source.next_chunk().expect("read")).collect()
}

fn stage(disk: &MemDisk, chunks: &[Bytes]) -> Staged {
    let mut sink = SnapshotSink::new(Arc::new(disk.clone())).expect("sink");
    let (last, before) = chunks.split_last().expect("chunks");
    for chunk in before {
        assert!(!sink.take(chunk).expect("take"));
    }
    assert!(sink.take(last).expect("take"));
    sink.finish().expect("finish")
}

/// Everything in a store.
fn content(store: &StateStore) -> (Restored, Vec<Record>) {
    let view = store.view().expect("view");
    let mut records = Vec::new();
    view.records(|revision, tombstone, kv| {
        records.push(Record {
            revision,
            tombstone,
            kv: Bytes::copy_from_slice(kv),
        });
        Ok(())
    })
    .expect("scan");
    (view.tables().expect("tables"), records)
}

fn same(a: &(Restored, Vec<Record>), b: &(Restored, Vec<Record>)) -> bool {
    a.1 == b.1
        && (a.0.applied, a.0.term, &a.0.leases, &a.0.meta)
            == (b.0.applied, b.0.term, &b.0.leases, &b.0.meta)
}

fn incoming(disk: &MemDisk) -> Vec<String> {
    let mut names = disk.list().expect("list");
    names.retain(|name| crate::store::is_incoming(name));
    names
}

#[test]
fn everything_arrives_as_it_was_when_the_snapshot_began() {
    let (_, sender) = store_with(3000, 700);
    let mut source = SnapshotSource::new(sender.clone(), 9).expect("source");
    let wanted = content(&sender);
    assert_eq!(source.head().conf_state, Bytes::from_static(b"voters"));
    let mut sent = vec![source.next_chunk().expect("read").expect("the head")];
    // Writes and compactions go on.
    let more = (5000..5400).map(|main| record(main, 900));
    let side = vec![SideChange::LeaseDelete(LeaseId(3))];
    sender.flush(more, &mark(60, side)).expect("flush");
    let gone: Vec<Revision> = (2..2000).map(|main| record(main, 0).revision).collect();
    sender.remove(&gone).expect("remove");
    sender
        .flush(std::iter::empty(), &mark(61, Vec::new()))
        .expect("flush");
    sent.extend(chunks(&mut source));
    assert!(sent.len() > 8, "{} chunks", sent.len());
    assert!(sent.iter().all(|c| c.len() < CHUNK_BYTES + 1000));

    let disk = MemDisk::new();
    let (receiver, _) = open(&disk);
    receiver
        .flush((2..9).map(|m| record(m, 3)), &mark(7, Vec::new()))
        .expect("flush");
    let old = receiver.view().expect("view");
    let restored = receiver.install(stage(&disk, &sent)).expect("install");
    assert_eq!(restored.applied, Index(50));
    assert_eq!(receiver.base().expect("base"), Some((Index(50), Term(3))));
    assert!(same(&content(&receiver), &wanted));
    // Whoever was reading ends in the old state.
    assert_eq!(old.record_count().expect("count"), 7);
    let ops = disk.ops();
    drop(old);
    assert_eq!(
        disk.ops(),
        ops,
        "nothing more is written to a file that was replaced"
    );
    receiver.settle_base(Index(50)).expect("settle");
    receiver
        .flush([record(9000, 5)].into_iter(), &mark(51, Vec::new()))
        .expect("the store goes on");
    let (again, _) = open(&disk.crash(3));
    assert_eq!(content(&again).1.len(), wanted.1.len() + 1);
    assert!(incoming(&disk).is_empty());
}

#[test]
fn an_empty_state_travels_too() {
    let (sender, _) = open(&MemDisk::new());
    let sent = chunks(&mut SnapshotSource::new(sender, 1).expect("source"));
    assert_eq!(sent.len(), 2);
    let disk = MemDisk::new();
    let (receiver, _) = open(&disk);
    receiver.install(stage(&disk, &sent)).expect("install");
    assert!(content(&receiver).1.is_empty());
}

#[test]
fn a_lost_connection_goes_on_at_any_chunk() {
    let (_, sender) = store_with(2000, 700);
    let mut source = SnapshotSource::new(sender.clone(), 9).expect("source");
    let whole = chunks(&mut source);
    for at in 0..whole.len() {
        assert!(source.resume(at as u64));
        assert_eq!(source.number(), at as u64);
        assert_eq!(chunks(&mut source), whole[at..], "from {at}");
    }
    assert!(!source.resume(whole.len() as u64 + 1));
    let mut again = SnapshotSource::new(sender, 9).expect("source");
    assert!(!again.resume(1), "chunks that were never made");
    assert!(again.resume(0));
}

#[test]
fn a_snapshot_that_is_given_up_leaves_nothing() {
    let (_, sender) = store_with(100, 700);
    let sent = chunks(&mut SnapshotSource::new(sender, 9).expect("source"));
    let disk = MemDisk::new();
    let mut sink = SnapshotSink::new(Arc::new(disk.clone())).expect("sink");
    sink.take(&sent[0]).expect("take");
    assert_eq!(incoming(&disk).len(), 1);
    drop(sink);
    assert!(incoming(&disk).is_empty());
    let mut sink = SnapshotSink::new(Arc::new(disk.clone())).expect("sink");
    sink.take(&sent[0]).expect("take");
    sink.finish().map(drop).expect_err("it is not complete");
    drop(stage(&disk, &sent));
    assert!(incoming(&disk).is_empty());
}

#[test]
fn a_snapshot_older_than_what_is_applied_is_refused() {
    let (_, sender) = store_with(100, 700);
    let sent = chunks(&mut SnapshotSource::new(sender, 9).expect("source"));
    let disk = MemDisk::new();
    let (receiver, _) = open(&disk);
    receiver
        .flush((2..9).map(|m| record(m, 3)), &mark(51, Vec::new()))
        .expect("flush");
    receiver
        .install(stage(&disk, &sent))
        .expect_err("51 is applied");
    assert_eq!(content(&receiver).1.len(), 7);
    assert!(incoming(&disk).is_empty());
}

#[test]
fn all_parts_may_move_to_other_threads() {
    fn moves<T: Send + 'static>() {}
    moves::<SnapshotSource>();
    moves::<SnapshotSink>();
    moves::<Staged>();
}
