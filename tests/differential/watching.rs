//! A watch stream on both sides, and the comparison of what came over it.
//!
//! The contract fixes the order of answers to requests, of events for each watcher, and that a revision is not split
//! unless the client allowed it. It does not fix how many revisions travel in one response, nor when: so events are
//! compared as one list for each watcher, and each side is asked apart whether its grouping is a lawful one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvorum_proto::{etcdserverpb as pb, mvccpb::Event};
use kvorum_tests::harness::model::{Model, WatchStream};
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    pair::{Pair, Side},
    wire::{Duplex, Head, Reply},
};

const PATH: &str = "/etcdserverpb.Watch/Watch";

/// What is due by the model and does not come within this, will not come.
const DUE_WITHIN: Duration = Duration::from_secs(3);

/// What one side has sent since the last comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Log {
    /// Responses without events, in their order.
    pub(crate) control: Vec<pb::WatchResponse>,
    /// Events by watcher, in their order.
    pub(crate) events: BTreeMap<i64, Vec<Event>>,
    pub(crate) end: Option<Reply>,
}

/// One side of a stream.
struct Half {
    duplex: Duplex,
    log: Log,
    term: u64,
    /// Progress requests that were repeated and may still be answered.
    repeated: usize,
    /// By watcher: the newest revision that came, and whether more of it may follow.
    newest: BTreeMap<i64, (i64, bool)>,
}

impl Half {
    async fn open(side: &Side) -> Self {
        Self {
            duplex: side.connection.stream(&Head::grpc(PATH)).await,
            log: Log::default(),
            term: side.term,
            repeated: 0,
            newest: BTreeMap::new(),
        }
    }

    /// Takes in what has come.
    fn drain(&mut self) -> Result<(), String> {
        let (messages, end) = self.duplex.inbox.take();
        for message in messages {
            let response = pb::WatchResponse::decode(message.clone())
                .map_err(|error| format!("no watch response: {error}"))?;
            if response.encoded_len() != message.len() {
                return Err(format!("a field of its own: {message:?}"));
            }
            self.note(response)?;
        }
        self.log.end = end;
        Ok(())
    }

    fn note(&mut self, mut response: pb::WatchResponse) -> Result<(), String> {
        let header = response.header.as_mut().ok_or("no header")?;
        if header.raft_term != self.term {
            return Err(format!("term {} where {} is", header.raft_term, self.term));
        }
        header.raft_term = 1;
        if response.created || response.canceled || response.events.is_empty() {
            if response.created {
                self.newest.remove(&response.watch_id);
            }
            self.log.control.push(response);
            return Ok(());
        }
        self.check_grouping(&response)?;
        let events = self.log.events.entry(response.watch_id).or_default();
        events.extend(response.events);
        Ok(())
    }

    fn check_grouping(&mut self, response: &pb::WatchResponse) -> Result<(), String> {
        let mains = response.events.iter().map(main_of);
        let (first, last) = (mains.clone().next(), mains.max().unwrap_or(0));
        let at = response.header.as_ref().map_or(0, |header| header.revision);
        if at < last {
            return Err(format!("header at {at}, events up to {last}"));
        }
        let before = self
            .newest
            .insert(response.watch_id, (last, response.fragment));
        match (before, first) {
            (Some((newest, false)), Some(first)) if first <= newest => Err(format!(
                "watcher {}: revision {first} after {newest}",
                response.watch_id
            )),
            _ => Ok(()),
        }
    }

    /// Leaves out late answers to progress requests that were asked again.
    fn forget_repeated(&mut self, due: usize) {
        let is_progress = |response: &pb::WatchResponse| {
            response.watch_id == -1 && !response.created && !response.canceled
        };
        while self.repeated > 0 && self.log.control.len() > due {
            let Some(late) = self.log.control.iter().position(is_progress) else {
                return;
            };
            self.log.control.remove(late);
            self.repeated -= 1;
        }
    }

    fn has(&self, control: usize, events: &BTreeMap<i64, usize>) -> bool {
        let came = |id| self.log.events.get(id).map_or(0, Vec::len);
        let all = events.iter().all(|(id, due)| came(id) >= *due);
        self.log.end.is_some() || (all && self.log.control.len() >= control)
    }

    async fn wait(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        loop {
            self.drain()?;
            if done(self) {
                return Ok(true);
            }
            if timeout_at(until, self.duplex.inbox.changed())
                .await
                .is_err()
            {
                return Ok(false);
            }
        }
    }
}

fn main_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// One stream, on both sides.
pub(crate) struct Watching {
    halves: [Half; 2],
    /// As etcd has it: a watcher that compaction ended stays until its client cancels it.
    pub(crate) model: WatchStream,
    control_due: [usize; 2],
    events_due: BTreeMap<i64, usize>,
    pub(crate) half_closed: bool,
    /// When the last watcher was created that starts in the past.
    behind_since: Option<Instant>,
}

impl Watching {
    pub(crate) async fn open(pair: &Pair) -> Self {
        Self {
            halves: [Half::open(&pair.kvorum).await, Half::open(&pair.etcd).await],
            model: WatchStream::new(false),
            control_due: [0; 2],
            events_due: BTreeMap::new(),
            half_closed: false,
            behind_since: None,
        }
    }

    /// Sends the same bytes on both sides.
    pub(crate) fn send(&mut self, bytes: &Bytes) {
        for half in &mut self.halves {
            half.duplex.send(bytes);
        }
    }

    pub(crate) fn half_close(&mut self) {
        self.half_closed = true;
        for half in &mut self.halves {
            half.duplex.half_close();
        }
    }

    /// etcd brings a watcher that starts in the past in step with the others at its next round, of which no client
    /// hears if there was nothing to tell. A compaction must not come before that.
    pub(crate) async fn in_step(&self) {
        const ROUND: Duration = Duration::from_millis(100);
        if let Some(since) = self.behind_since {
            sleep_until(since + 3 * ROUND).await;
        }
    }

    pub(crate) fn starts_behind(&mut self) {
        self.behind_since = Some(Instant::now());
    }

    /// So many responses without events are to come now, on kvorum's side and on etcd's.
    pub(crate) fn expect(&mut self, responses: [usize; 2]) {
        self.control_due[0] += responses[0];
        self.control_due[1] += responses[1];
    }

    /// Waits for the answers to requests that are due, events aside.
    ///
    /// # Errors
    /// A side said what no side may say.
    pub(crate) async fn answered(&mut self) -> Result<(), String> {
        let until = Instant::now() + DUE_WITHIN;
        let none = BTreeMap::new();
        for (half, due) in self.halves.iter_mut().zip(self.control_due) {
            half.wait(until, |half| half.has(due, &none)).await?;
        }
        Ok(())
    }

    /// A progress request goes unanswered while a watcher is not in step, which no client can see: it is asked again,
    /// on each side until it has answered.
    ///
    /// # Errors
    /// A side said what no side may say.
    pub(crate) async fn progress(&mut self, bytes: &Bytes) -> Result<(), String> {
        for (half, due) in self.halves.iter_mut().zip(self.control_due) {
            for round in 0..30 {
                half.repeated += usize::from(round > 0);
                half.duplex.send(bytes);
                let until = Instant::now() + Duration::from_millis(100);
                if half
                    .wait(until, |half| half.log.control.len() >= due)
                    .await?
                {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for everything due and hands it over, kvorum's first; true if it all came.
    ///
    /// # Errors
    /// A side said what no side may say.
    pub(crate) async fn collect(&mut self, model: &Model) -> Result<([Log; 2], bool), String> {
        for (id, watcher) in &mut self.model.watchers {
            if !watcher.compacted {
                let from = watcher.next_revision;
                let due = model.events(&watcher.selection, from, model.revision());
                let count: usize = due.iter().map(|(_, events)| events.len()).sum();
                *self.events_due.entry(*id).or_default() += count;
                watcher.next_revision = from.max(model.revision() + 1);
            }
        }
        let until = Instant::now() + DUE_WITHIN;
        let events_due = std::mem::take(&mut self.events_due);
        let mut all = true;
        for (half, due) in self.halves.iter_mut().zip(self.control_due) {
            let came = half.wait(until, |half| half.has(due, &events_due)).await;
            all &= came.map_err(|error| format!("watch stream: {error}"))?;
        }
        for (half, due) in self.halves.iter_mut().zip(self.control_due) {
            half.forget_repeated(due);
        }
        self.control_due = [0; 2];
        let [kvorum, etcd] = &mut self.halves;
        let logs = [
            std::mem::take(&mut kvorum.log),
            std::mem::take(&mut etcd.log),
        ];
        Ok((logs, all))
    }

    /// Waits until both sides have ended the stream.
    ///
    /// # Errors
    /// A side said what no side may say.
    pub(crate) async fn ended(&mut self) -> Result<[Option<Reply>; 2], String> {
        let until = Instant::now() + DUE_WITHIN;
        for half in &mut self.halves {
            half.wait(until, |half| half.log.end.is_some()).await?;
        }
        let [kvorum, etcd] = &self.halves;
        Ok([kvorum.log.end.clone(), etcd.log.end.clone()])
    }
}
