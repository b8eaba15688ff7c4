//! Bugs that etcd has had, as scripts over the real machine and its real storage. Each passes here, and is shown to
//! notice the bug when that is built in.

mod scripted;

use kvorum_core::mutants::{self, Mutant};
use kvorum_core::replica::Answer;
use kvorum_core::{Error, RequestId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::command::Op;
use scripted::alone::Alone;
use scripted::trio::Trio;
use scripted::watched::{Past, Watched, revisions};
use scripted::{Found, passes_but_not_with, put};

fn must(holds: bool, what: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(what()) }
}

/// "Inconsistent revision caused by crash during high load": a commit of the state that fell between noting an entry as
/// applied and applying it made the member leave that entry out after a crash.
#[test]
fn issue_13766_a_crash_amid_an_entry_loses_none_of_it() {
    passes_but_not_with(Mutant::AppliedAhead, || {
        let mut amid = 0;
        for holds in 0..6 {
            let mut member = Alone::found()?;
            let puts = (0..80).map(|n| put(&format!("k{n}"), "v")).collect();
            member.propose(puts, holds)?;
            must(member.answered() == 80, || "not all were answered".into())?;
            amid += u32::from(member.flushed_on_the_way());
            let before = member.state();
            let after = member.lose_power(u64::from(holds))?.state();
            must(before == after, || {
                format!("revision and keys were {before:?}, and are {after:?} after the crash")
            })?;
        }
        must(amid >= 3, || "no flush fell amid an entry".into())
    });
}

/// "Watch progress notification not synced with stream": a progress response told of a revision whose events the stream
/// had not sent yet, so that a client which trusted it missed them.
#[test]
fn issue_15220_progress_never_overtakes_events() {
    passes_but_not_with(Mutant::EventAfterProgress, || {
        let mut member = Watched::new();
        for n in 0..500 {
            member.put("k", &n.to_string());
        }
        member.watch("k", 2);
        member.ask_progress();
        member.catch_up();
        member.ask_progress();
        let told = member.told();
        let mut promised = None;
        for response in &told {
            let header = response.header.as_ref().ok_or("no header")?;
            if response.watch_id == -1 {
                promised = Some(header.revision);
            }
            let late = revisions(std::slice::from_ref(response));
            let late = late.into_iter().find(|r| promised.is_some_and(|p| *r <= p));
            must(late.is_none(), || {
                format!("an event at {late:?} after progress at {promised:?}")
            })?;
        }
        must(promised == Some(501), || {
            format!("progress was {promised:?}")
        })
    });
}

/// "Watch traveling back in time after network partition": a member that was cut off and caught up by a snapshot sent
/// its watchers events again that they had had, because their place in history was not kept while they were up to date.
#[test]
fn issue_15271_a_snapshot_sends_no_watcher_back_in_time() {
    passes_but_not_with(Mutant::OldMinimum, || {
        let mut ahead = Past::new();
        let mut member = Watched::new();
        member.watch("k", 0);
        for n in 0..4 {
            let _events = ahead.apply(put("k", &n.to_string()));
            member.put("k", &n.to_string());
        }
        let mut told = member.told();
        for n in 4..8 {
            let _events = ahead.apply(put("k", &n.to_string()));
        }
        member.install(ahead);
        member.put("k", "last");
        member.catch_up();
        told.extend(member.told());
        let seen = revisions(&told);
        must(seen == (2..=10).collect::<Vec<_>>(), || {
            format!("the watcher got {seen:?}")
        })
    });
}

/// "Watch events lost during stream starvation": a watcher whose client did not read, and which a compaction overtook
/// meanwhile, was moved on to the newest revision without being told that events were gone.
#[test]
fn issue_17529_a_starved_watcher_hears_of_the_compaction() {
    passes_but_not_with(Mutant::SilentCompaction, || {
        let mut member = Watched::new();
        member.watch("k", 0);
        for n in 0..1_200 {
            member.put("k", &n.to_string());
        }
        member.catch_up();
        member.past.compact(1_190);
        member.catch_up();
        let mut told = member.told();
        member.catch_up();
        member.put("k", "last");
        told.extend(member.told());
        let seen = revisions(&told);
        let gap = seen.windows(2).find(|w| w[1] != w[0] + 1);
        must(gap.is_none(), || {
            format!("nothing was said of what is between {gap:?}")
        })?;
        let last = told.last().ok_or("nothing was told")?;
        must(last.canceled && last.compact_revision == 1_190, || {
            format!("the watcher ends with {last:?}")
        })
    });
}

/// "Watch dropping an event when compacting on delete": a compaction at the revision of a deletion removed the deletion
/// itself, although a watch may begin at the compact revision.
#[test]
fn issue_18089_a_compaction_at_a_deletion_keeps_its_event() {
    passes_but_not_with(Mutant::CompactedDelete, || {
        let mut member = Watched::new();
        member.put("k", "v");
        member.delete("k");
        member.put("other", "v");
        member.past.compact(3);
        let left = member.past.records().len();
        must(left <= 2, || format!("{left} records are left"))?;
        member.watch("k", 3);
        member.catch_up();
        let told = member.told();
        let events: Vec<_> = told.iter().flat_map(|r| &r.events).collect();
        must(revisions(&told) == [3], || format!("got {events:?}"))?;
        let kind = events.first().map(|e| e.r#type());
        let delete = kvorum_proto::mvccpb::event::EventType::Delete;
        must(kind == Some(delete), || format!("got {events:?}"))
    });
}

/// "Inconsistency when reading compacted revision in TXN": a transaction with a range at a compacted revision failed on
/// the member that had to answer it, and was applied on those that did not look at ranges.
#[test]
fn issue_18667_all_members_judge_a_transaction_alike() {
    let bug = Mutant::UncheckedRange;
    passes_but_not_with(bug, || {
        let chosen = mutants::chosen();
        // The bug is in members that answer nobody.
        mutants::set(None);
        let mut answers = Past::new();
        let first = read_compacted(&mut answers);
        mutants::set(chosen);
        let mut follows = Past::new();
        let _unheard = read_compacted(&mut follows);
        must(first == Some(Error::Compacted), || {
            format!("the transaction came to {first:?}")
        })?;
        let state = |p: &Past| (p.store.current(), p.store.keys(), p.store.digest());
        let (one, other) = (state(&answers), state(&follows));
        must(one == other, || {
            format!("the members differ: {one:?}, {other:?}")
        })
    });
}

/// Three puts, a compaction, a transaction that writes and reads below it, and one put more.
fn read_compacted(past: &mut Past) -> Option<Error> {
    use pb::request_op::Request;
    for n in 0..3 {
        let _events = past.apply(put("k", &n.to_string()));
    }
    past.compact(4);
    let write = pb::PutRequest {
        key: "x".into(),
        value: "v".into(),
        ..Default::default()
    };
    let read = pb::RangeRequest {
        key: "k".into(),
        revision: 2,
        ..Default::default()
    };
    let ops = [Request::RequestPut(write), Request::RequestRange(read)];
    let success = ops.map(|op| pb::RequestOp { request: Some(op) }).into();
    let (answer, _) = past.apply(Op::Txn(pb::TxnRequest {
        success,
        ..Default::default()
    }));
    let _events = past.apply(put("k", "last"));
    answer.err()
}

/// "Stale reads caused by process pausing": a leader that stood still asked again under the same context when it went on,
/// and took acknowledgements from before its pause for proof that it still led.
#[test]
fn issue_20418_a_leader_that_stood_still_serves_no_old_read() {
    passes_but_not_with(Mutant::ReusedReadContext, || {
        let mut trio = Trio::new();
        trio.ticks(40);
        let old = trio.leader().ok_or("nobody leads")?;
        trio.propose(old, put("k", "before"));
        let _early = trio.read(old);
        trio.turn_and_pause(old);
        trio.ticks(40);
        let new = trio.leader().ok_or("nobody leads after the pause began")?;
        let write: RequestId = trio.propose(new, put("k", "after"));
        let (written, _) = trio.answer(new, write).ok_or("the write hangs")?;
        must(matches!(written, Answer::Applied(Ok(_))), || {
            format!("the write came to {written:?}")
        })?;
        let acknowledged = trio.revision(new);
        let read = trio.resume_reading(old);
        trio.ticks(30);
        let (answer, seen) = trio.answer(old, read).ok_or("the read hangs")?;
        must(matches!(answer, Answer::Readable), || {
            format!("the read came to {answer:?}")
        })?;
        must(seen >= acknowledged, || {
            format!("a read at {seen}, when {acknowledged} was acknowledged before")
        })
    });
}
