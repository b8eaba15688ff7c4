//! The nine promises of a watch, each checked against history on its own.
//! (etcd: tests/robustness/validate/watch.go and the API guarantees of its documentation)

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kvorum_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use kvorum_proto::mvccpb::Event;
use kvorum_proto::mvccpb::event::EventType;

use super::model::{Model, Recorded, Selection};

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Only events that were asked for.
    Filter,
    /// Never an event older than one seen before.
    Ordered,
    /// No event twice.
    Unique,
    /// All events of one revision in one response.
    Atomic,
    /// No event left out.
    Reliable,
    /// A watch from a past revision begins with the first event from there on.
    Resumable,
    /// After progress to a revision, no event up to that revision.
    Bookmarkable,
    /// The pair before is the right one.
    PrevKv,
    /// A creation says so, and nothing else does.
    IsCreate,
}

/// A promise that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("watch broke {guarantee:?}: {detail}")]
pub struct Broken {
    /// Which one.
    pub guarantee: Guarantee,
    /// What was seen.
    pub detail: String,
}

/// What one watcher asked for and got.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The create request.
    pub request: WatchCreateRequest,
    /// The revision in the header of the created response.
    pub created_revision: i64,
    /// The responses to this watcher in order, and the progress responses to its whole stream among them.
    pub responses: Vec<WatchResponse>,
}

impl Received {
    /// The first revision that is for this watcher.
    #[must_use]
    pub fn first_revision(&self) -> i64 {
        match self.request.start_revision {
            0 => self.created_revision + 1,
            start => start,
        }
    }

    fn events(&self) -> impl Iterator<Item = &Event> + '_ {
        self.responses.iter().flat_map(|response| &response.events)
    }

    /// The revision up to which the watcher has been told everything.
    #[must_use]
    pub fn last_revision(&self) -> i64 {
        let told = |response: &WatchResponse| match response.events.last() {
            Some(event) => Some(revision_of(event)),
            None if is_progress(response) => Some(header_revision(response)),
            None => None,
        };
        self.responses.iter().filter_map(told).max().unwrap_or(0)
    }

    /// The events in lists as the client sees them: fragments put together again.
    fn batches(&self) -> Vec<Vec<&Event>> {
        let mut batches: Vec<Vec<&Event>> = Vec::new();
        let mut unfinished = false;
        for response in self
            .responses
            .iter()
            .filter(|response| !response.events.is_empty())
        {
            match batches.last_mut() {
                Some(batch) if unfinished => batch.extend(&response.events),
                _ => batches.push(response.events.iter().collect()),
            }
            unfinished = response.fragment;
        }
        batches
    }
}

/// Checks all promises; `model` must hold at least the history that the watcher has seen.
///
/// # Errors
/// The first promise that was broken.
pub fn check(received: &Received, model: &Model) -> Result<(), Broken> {
    let selection = Selection::of(&received.request);
    let expected = model.recorded(
        &selection,
        received.first_revision(),
        received.last_revision(),
    );
    filter(received, &selection)?;
    ordered(received)?;
    unique(received, &expected)?;
    atomic(received)?;
    bookmarkable(received)?;
    resumable(received, &expected)?;
    let matched = reliable(received, &expected)?;
    prev_kv(received, &matched, model.compact_revision())?;
    is_create(&matched)
}

fn filter(received: &Received, selection: &Selection) -> Result<(), Broken> {
    for event in received.events() {
        let wanted = selection.wants(key_of(event), is_put(event));
        let early = revision_of(event) < received.first_revision();
        ensure(wanted && !early, Guarantee::Filter, event)?;
    }
    Ok(())
}

fn ordered(received: &Received) -> Result<(), Broken> {
    let mut last = 0;
    for event in received.events() {
        ensure(revision_of(event) >= last, Guarantee::Ordered, event)?;
        last = revision_of(event);
    }
    Ok(())
}

/// No event more often than history has it: one transaction may delete a key, put it and delete it again.
fn unique(received: &Received, expected: &[Recorded]) -> Result<(), Broken> {
    let of = |event: &Event| (revision_of(event), key_of(event).to_vec(), is_put(event));
    let mut left: BTreeMap<_, usize> = BTreeMap::new();
    for recorded in expected {
        *left.entry(of(&recorded.event)).or_default() += 1;
    }
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for event in received.events() {
        let times = seen.entry(of(event)).or_default();
        *times += 1;
        let allowed = left.get(&of(event)).copied().unwrap_or(0).max(1);
        ensure(*times <= allowed, Guarantee::Unique, event)?;
    }
    Ok(())
}

fn atomic(received: &Received) -> Result<(), Broken> {
    let mut last = 0;
    for batch in received.batches() {
        if let (Some(first), Some(end)) = (batch.first(), batch.last()) {
            ensure(revision_of(first) != last, Guarantee::Atomic, first)?;
            last = revision_of(end);
        }
    }
    Ok(())
}

fn bookmarkable(received: &Received) -> Result<(), Broken> {
    let mut progress = 0;
    let mut delivered = 0;
    for response in &received.responses {
        for event in &response.events {
            ensure(
                revision_of(event) > progress,
                Guarantee::Bookmarkable,
                event,
            )?;
            delivered = revision_of(event);
        }
        if is_progress(response) {
            let told = header_revision(response);
            ensure(
                told >= progress && told >= delivered,
                Guarantee::Bookmarkable,
                response,
            )?;
            progress = told;
        }
    }
    Ok(())
}

fn resumable(received: &Received, expected: &[Recorded]) -> Result<(), Broken> {
    let must = expected.iter().find(|recorded| !recorded.superseded);
    match (received.events().next(), must) {
        (Some(event), Some(first)) if received.request.start_revision != 0 => ensure(
            revision_of(event) <= first.place.0,
            Guarantee::Resumable,
            (event, first),
        ),
        _ => Ok(()),
    }
}

/// Every event is the next one of history. Only one that its own transaction superseded may be missing.
fn reliable<'a>(
    received: &'a Received,
    expected: &'a [Recorded],
) -> Result<Vec<(&'a Event, &'a Recorded)>, Broken> {
    let mut expected = expected.iter();
    let mut matched = Vec::new();
    for event in received.events() {
        let same = |recorded: &&Recorded| {
            recorded.event.kv == event.kv && recorded.event.r#type == event.r#type
        };
        let next = expected
            .by_ref()
            .find(|recorded| !recorded.superseded || same(recorded));
        let next = next
            .filter(same)
            .ok_or_else(|| broken(Guarantee::Reliable, (event, next)))?;
        matched.push((event, next));
    }
    match expected.find(|recorded| !recorded.superseded) {
        Some(missing) => Err(broken(Guarantee::Reliable, missing)),
        None => Ok(matched),
    }
}

/// Right if it is there; there if it was asked for, existed, and its revision is not compacted.
fn prev_kv(
    received: &Received,
    matched: &[(&Event, &Recorded)],
    compact_revision: i64,
) -> Result<(), Broken> {
    for (event, recorded) in matched {
        let before = if recorded.creates {
            None
        } else {
            recorded.before.as_ref()
        };
        let right = match &event.prev_kv {
            Some(prev_kv) => received.request.prev_kv && Some(prev_kv) == before,
            None => {
                let compacted = recorded.place.0 - 1 < compact_revision;
                !received.request.prev_kv || before.is_none() || compacted
            }
        };
        ensure(right, Guarantee::PrevKv, (event, before))?;
    }
    Ok(())
}

fn is_create(matched: &[(&Event, &Recorded)]) -> Result<(), Broken> {
    for (event, recorded) in matched {
        let kv = event.kv.clone().unwrap_or_default();
        let says_so = is_put(event) && kv.create_revision == kv.mod_revision;
        let first_version = is_put(event) && kv.version == 1;
        let right = says_so == recorded.creates && first_version == recorded.creates;
        ensure(right, Guarantee::IsCreate, event)?;
    }
    Ok(())
}

fn ensure(holds: bool, guarantee: Guarantee, seen: impl std::fmt::Debug) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(broken(guarantee, seen))
    }
}

fn broken(guarantee: Guarantee, seen: impl std::fmt::Debug) -> Broken {
    Broken {
        guarantee,
        detail: format!("{seen:?}"),
    }
}

fn is_put(event: &Event) -> bool {
    event.r#type == EventType::Put as i32
}

fn key_of(event: &Event) -> &[u8] {
    event.kv.as_ref().map_or(&[], |kv| &kv.key)
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn header_revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}

fn is_progress(response: &WatchResponse) -> bool {
    response.events.is_empty() && !response.created && !response.canceled
}
