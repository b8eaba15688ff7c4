//! Watch: what each watcher must get, and what a stream answers to its requests.
//!
//! The model says which events are due, not when they come: grouping several revisions into one response is the
//! server's choice, and `watch_check` says what every grouping has to keep.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_proto::etcdserverpb::watch_create_request::FilterType;
use kvorum_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use kvorum_proto::mvccpb::event::EventType;
use kvorum_proto::mvccpb::{Event, KeyValue};

use super::{Interval, Model, Record, header};

/// The watch id of an answer that belongs to no watcher, or to all.
const NO_WATCHER: i64 = -1;

/// Which events a watcher wants, and with what in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The keys.
    pub interval: Interval,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletions.
    pub no_delete: bool,
    /// Add what the key was before.
    pub prev_kv: bool,
}

impl Selection {
    /// Reads a create request. An empty key is the first possible one.
    #[must_use]
    pub fn of(request: &WatchCreateRequest) -> Self {
        let key = if request.key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            request.key.clone()
        };
        Self {
            interval: Interval::new(&key, &request.range_end),
            no_put: request.filters.contains(&(FilterType::Noput as i32)),
            no_delete: request.filters.contains(&(FilterType::Nodelete as i32)),
            prev_kv: request.prev_kv,
        }
    }

    /// True if an event of this kind on this key is wanted.
    #[must_use]
    pub fn wants(&self, key: &[u8], is_put: bool) -> bool {
        let filtered = if is_put { self.no_put } else { self.no_delete };
        self.interval.contains(key) && !filtered
    }

    fn is_empty(&self) -> bool {
        matches!(&self.interval, Interval::Between(start, end) if start >= end)
    }
}

/// One event as history has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its main and sub revision.
    pub place: (i64, u32),
    /// The event, without `prev_kv`.
    pub event: Event,
    /// The key's state at the revision before.
    pub before: Option<KeyValue>,
    /// True for a put of a key that did not exist.
    pub creates: bool,
    /// True if the same transaction changed the key once more. Compaction exactly at that revision drops it.
    pub superseded: bool,
}

impl Model {
    /// The events that `selection` wants from the revisions `from..=to`, one list per revision that has any.
    #[must_use]
    pub fn events(&self, selection: &Selection, from: i64, to: i64) -> Vec<(i64, Vec<Event>)> {
        let mut records: Vec<(&Bytes, &Record)> = Vec::new();
        for (key, history) in &self.history {
            let recent = history
                .iter()
                .rev()
                .take_while(|record| record.main >= from);
            let due = recent
                .filter(|record| record.main <= to && selection.wants(key, record.kv.is_some()));
            records.extend(
                due.filter(|record| self.survives(key, record))
                    .map(|record| (key, record)),
            );
        }
        records.sort_by_key(|(_, record)| (record.main, record.sub));
        let mut revisions: Vec<(i64, Vec<Event>)> = Vec::new();
        for (key, record) in records {
            let event = self.event(key, record, selection.prev_kv);
            match revisions.last_mut() {
                Some((main, events)) if *main == record.main => events.push(event),
                _ => revisions.push((record.main, vec![event])),
            }
        }
        revisions
    }

    /// The events that `selection` wants from the revisions `from..=to`, as they were when they happened: compaction
    /// takes nothing away, and each event comes with what the key was before, asked for or not.
    #[must_use]
    pub fn recorded(&self, selection: &Selection, from: i64, to: i64) -> Vec<Recorded> {
        let mut recorded = Vec::new();
        for (key, history) in &self.history {
            for (place, record) in history.iter().enumerate() {
                let due =
                    (from..=to).contains(&record.main) && selection.wants(key, record.kv.is_some());
                if !due {
                    continue;
                }
                let before = place.checked_sub(1).and_then(|place| history.get(place));
                let next = history.get(place + 1);
                recorded.push(Recorded {
                    place: (record.main, record.sub),
                    event: self.event(key, record, false),
                    before: self.at(key, record.main - 1).cloned(),
                    creates: record.kv.is_some() && before.is_none_or(|before| before.kv.is_none()),
                    superseded: next.is_some_and(|next| next.main == record.main),
                });
            }
        }
        recorded.sort_by_key(|recorded| recorded.place);
        recorded
    }

    fn event(&self, key: &Bytes, record: &Record, prev_kv: bool) -> Event {
        let deleted = KeyValue {
            key: key.clone(),
            mod_revision: record.main,
            ..KeyValue::default()
        };
        let kind = if record.kv.is_some() {
            EventType::Put
        } else {
            EventType::Delete
        };
        let kv = record.kv.clone().unwrap_or(deleted);
        let is_create = kv.create_revision == kv.mod_revision;
        // Asked for with a plain range at the revision before: gone once that is compacted.
        let readable = record.main > self.compact_revision;
        let prev_kv = (prev_kv && !is_create && readable).then(|| self.at(key, record.main - 1));
        Event {
            r#type: kind as i32,
            kv: Some(kv),
            prev_kv: prev_kv.flatten().cloned(),
        }
    }
}

/// One watcher of a stream.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// What it wants.
    pub selection: Selection,
    /// No event below this revision is for it.
    pub start_revision: i64,
    /// The first revision that it has not been given.
    pub next_revision: i64,
    /// True once compaction has ended it. Its id stays taken until the client cancels.
    pub compacted: bool,
}

/// The watchers of one client stream.
#[derive(Clone, Debug, Default)]
pub struct WatchStream {
    ended_leave: bool,
    next_id: i64,
    /// By watch id.
    pub watchers: BTreeMap<i64, Watcher>,
}

impl WatchStream {
    /// A stream without watchers. `ended_leave` says whether a watcher that compaction has ended leaves at once; in
    /// etcd it stays until the client cancels, keeps its id and holds back the stream's progress.
    #[must_use]
    pub fn new(ended_leave: bool) -> Self {
        Self {
            ended_leave,
            ..Self::default()
        }
    }

    /// Answers a create request. A watcher exists afterwards unless the answer is also a cancellation.
    pub fn create(&mut self, model: &Model, request: &WatchCreateRequest) -> WatchResponse {
        let mut response = WatchResponse {
            header: header(model.revision),
            watch_id: NO_WATCHER,
            created: true,
            ..WatchResponse::default()
        };
        let selection = Selection::of(request);
        let refusal = if request.start_revision < 0 {
            Some("etcdserver: mvcc: required revision has been compacted")
        } else if selection.is_empty() {
            Some("mvcc: watcher range is empty")
        } else if request.watch_id != 0 && self.watchers.contains_key(&request.watch_id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        };
        if let Some(reason) = refusal {
            response.canceled = true;
            response.cancel_reason = reason.to_owned();
            return response;
        }
        response.watch_id = self.take_id(request.watch_id);
        let next = if request.start_revision == 0 {
            model.revision + 1
        } else {
            request.start_revision
        };
        let watcher = Watcher {
            selection,
            start_revision: request.start_revision,
            next_revision: next,
            compacted: false,
        };
        self.watchers.insert(response.watch_id, watcher);
        response
    }

    /// 0 asks for the next free id, counted from 0.
    fn take_id(&mut self, wanted: i64) -> i64 {
        if wanted != 0 {
            return wanted;
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Answers a cancel request; an unknown id gets no answer.
    pub fn cancel(&mut self, model: &Model, watch_id: i64) -> Option<WatchResponse> {
        self.watchers.remove(&watch_id).map(|_| WatchResponse {
            header: header(model.revision),
            watch_id,
            canceled: true,
            ..WatchResponse::default()
        })
    }

    /// Answers a progress request, given that every event due has been delivered: one answer for the whole stream, or
    /// none while it has no watcher, an ended one, or one that starts in the future.
    #[must_use]
    pub fn progress(&self, model: &Model) -> Option<WatchResponse> {
        let holds_back =
            |watcher: &Watcher| watcher.compacted || watcher.start_revision > model.revision;
        if self.watchers.is_empty() || self.watchers.values().any(holds_back) {
            return None;
        }
        Some(WatchResponse {
            header: header(model.revision),
            watch_id: NO_WATCHER,
            ..WatchResponse::default()
        })
    }

    /// The cancellations that compaction causes among watchers that are behind it.
    pub fn end_compacted(&mut self, model: &Model) -> Vec<WatchResponse> {
        let compact_revision = model.compact_revision;
        let mut ended = Vec::new();
        for (id, watcher) in &mut self.watchers {
            if !watcher.compacted && watcher.next_revision < compact_revision {
                watcher.compacted = true;
                ended.push(WatchResponse {
                    header: header(0),
                    watch_id: *id,
                    canceled: true,
                    compact_revision,
                    ..WatchResponse::default()
                });
            }
        }
        self.watchers
            .retain(|_, watcher| !(watcher.compacted && self.ended_leave));
        ended
    }
}
