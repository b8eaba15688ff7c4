//! The part of the list that concerns watch streams.

use kvorum_proto::mvccpb::event::EventType;
use kvorum_tests::harness::model::Model;

use crate::watching::Log;

/// Makes both logs equal where an entry applies, and names it.
pub(crate) type Mend = fn(&mut [Log; 2], &Model) -> Option<&'static str>;

pub(crate) const NEGATIVE_START: &str = "watch from a negative revision";
pub(crate) const PROGRESS_AT_ONCE: &str = "progress answered at once";
pub(crate) const ENDED_WATCHER: &str = "cancel of a watcher that compaction ended";
pub(crate) const SUPERSEDED: &str = "change superseded at the compact revision";

pub(crate) const TOMBSTONE: &str = "deletion at the compact revision";

/// Names with their reasons.
pub(crate) const LIST: &[(&str, &str)] = &[
    (
        NEGATIVE_START,
        "before 3.6: created, then cancelled as compacted or told everything; since 3.6.6 refused at once, as here",
    ),
    (
        PROGRESS_AT_ONCE,
        "before 3.5.8: answered even without watchers or with one that is behind, so that it proved nothing",
    ),
    (
        ENDED_WATCHER,
        "etcd keeps a watcher that compaction ended until its client cancels it, and confirms the cancel; \
         here it is gone at once, so there is nothing to confirm",
    ),
    (
        SUPERSEDED,
        "etcd's compaction drops a change of the compact revision itself that the same transaction superseded; \
         here a watch from there sees every change",
    ),
    (
        TOMBSTONE,
        "dropped by the compaction before 3.5.16, kept since",
    ),
];

/// etcd alone confirms that a watcher is gone which it had already ended.
pub(crate) fn ended_watcher_is_gone(logs: &mut [Log; 2], _: &Model) -> Option<&'static str> {
    let [kvorum, etcd] = logs;
    let confirmed = etcd.control.last()?;
    let only = kvorum.control.is_empty() && etcd.control.len() == 1;
    if !(only && confirmed.canceled && confirmed.compact_revision == 0) {
        return None;
    }
    etcd.control.clear();
    Some(ENDED_WATCHER)
}

/// An old etcd's answer to a progress request comes always, with nothing behind it.
pub(crate) fn progress_at_once(logs: &mut [Log; 2], _: &Model) -> Option<&'static str> {
    let [kvorum, etcd] = logs;
    let answer = etcd.control.last()?;
    let is_progress = answer.watch_id == -1 && !answer.created && !answer.canceled;
    if !(is_progress && kvorum.control.is_empty() && etcd.control.len() == 1) {
        return None;
    }
    etcd.control.clear();
    Some(PROGRESS_AT_ONCE)
}

/// A progress request that was asked again may be answered more than once; each answer says the same.
pub(crate) fn progress_repeated(logs: &mut [Log; 2], _: &Model) -> Option<&'static str> {
    for log in logs {
        log.control.dedup();
    }
    None
}

/// Leaves out of kvorum's events those that the same transaction superseded at a compact revision.
pub(crate) fn superseded(logs: &mut [Log; 2], model: &Model) -> Option<&'static str> {
    let compacted = model.compact_revision();
    let [kvorum, etcd] = logs;
    let mut left_out = false;
    for (id, events) in &mut kvorum.events {
        let Some(theirs) = etcd.events.get(id) else {
            continue;
        };
        let mut mended = events.clone();
        let later = events.clone();
        let mut place = 0;
        mended.retain(|event| {
            place += 1;
            let (Some(kv), rest) = (&event.kv, &later[place..]) else {
                return true;
            };
            let again = |other: &kvorum_proto::mvccpb::Event| {
                other.kv.as_ref().is_some_and(|other| {
                    other.key == kv.key && other.mod_revision == kv.mod_revision
                })
            };
            !(kv.mod_revision == compacted && rest.iter().any(again))
        });
        if mended.len() < events.len() && mended == *theirs {
            *events = mended;
            left_out = true;
        }
    }
    left_out.then_some(SUPERSEDED)
}

/// Leaves out of kvorum's events the deletions at the compact revision.
pub(crate) fn tombstone(logs: &mut [Log; 2], model: &Model) -> Option<&'static str> {
    let [kvorum, etcd] = logs;
    let mut left_out = false;
    for (id, events) in &mut kvorum.events {
        let theirs = etcd.events.get(id).map_or(&[][..], Vec::as_slice);
        let gone = |event: &kvorum_proto::mvccpb::Event| {
            let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            event.r#type == EventType::Delete as i32 && at == model.compact_revision()
        };
        let mended: Vec<_> = events
            .iter()
            .filter(|event| !gone(event))
            .cloned()
            .collect();
        if mended.len() < events.len() && mended == theirs {
            *events = mended;
            left_out = true;
        }
    }
    kvorum.events.retain(|_, events| !events.is_empty());
    left_out.then_some(TOMBSTONE)
}
