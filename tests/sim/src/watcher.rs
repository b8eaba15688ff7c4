//! Clients that watch: they resume elsewhere when their member is gone, and keep all that they got.

use kvorum_core::watch::{Frame, StreamId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::generate::Dice;
use kvorum_tests::harness::watch_check::Received;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use prost::Message as _;

use crate::ledger::{Checked, wrong};
use crate::world::{Event, World};

/// Watches on one stream.
const WATCHES_MAX: usize = 3;
/// Pages of history that one look may bring.
const PAGES: usize = 4;

/// A watch of a client.
#[derive(Debug)]
struct Watch {
    id: i64,
    created: bool,
    received: Received,
}

/// A client's stream, and what it got on earlier ones.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Member, its life, and the stream there.
    stream: Option<(u64, u64, StreamId)>,
    watches: Vec<Watch>,
    /// What to ask for on the next stream.
    wanted: Vec<pb::WatchCreateRequest>,
    next_id: i64,
    /// What was got by watches that have ended.
    pub(crate) ended: Vec<Received>,
    /// Up to here everything was told, on a quiet cluster.
    pub(crate) complete_to: i64,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self {
            stream: None,
            watches: Vec::new(),
            wanted: Vec::new(),
            next_id: 1,
            ended: Vec::new(),
            complete_to: 0,
        }
    }

    /// Everything that any watch got.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Received> {
        let open = self
            .watches
            .iter()
            .filter(|w| w.created)
            .map(|w| &w.received);
        self.ended.iter().chain(open)
    }

    /// The stream is gone: its watches go on elsewhere.
    fn disconnect(&mut self) {
        self.stream = None;
        for watch in std::mem::take(&mut self.watches) {
            self.wanted.push(resumed(&watch));
            self.end(watch);
        }
    }

    fn end(&mut self, mut watch: Watch) {
        // Half of a revision is of no use to a client that resumes.
        while watch.received.responses.last().is_some_and(|r| r.fragment) {
            watch.received.responses.pop();
        }
        if watch.created {
            self.ended.push(watch.received);
        }
    }

    fn take(&mut self, response: pb::WatchResponse) -> Checked {
        let revision = response.header.as_ref().map_or(0, |h| h.revision);
        if response.watch_id == -1 && !response.created {
            for watch in self.watches.iter_mut().filter(|w| w.created) {
                watch.received.responses.push(response.clone());
            }
            return Ok(());
        }
        let place = self.watches.iter().position(|w| w.id == response.watch_id);
        let Some(place) = place else {
            return wrong(format!("a response to no watch: {response:?}"));
        };
        let watch = &mut self.watches[place];
        if response.created {
            watch.created = true;
            watch.received.created_revision = revision;
            return Ok(());
        }
        if response.canceled {
            let watch = self.watches.remove(place);
            if response.compact_revision > 0 {
                let mut again = resumed(&watch);
                again.start_revision = again.start_revision.max(response.compact_revision);
                self.wanted.push(again);
            }
            self.end(watch);
            return Ok(());
        }
        watch.received.responses.push(response);
        Ok(())
    }
}

/// The same watch from where this one stands.
fn resumed(watch: &Watch) -> pb::WatchCreateRequest {
    let mut request = watch.received.request.clone();
    let mut trimmed = watch.received.clone();
    while trimmed.responses.last().is_some_and(|r| r.fragment) {
        trimmed.responses.pop();
    }
    let told = trimmed.last_revision();
    if watch.created {
        request.start_revision = watch.received.first_revision().max(told + 1);
    }
    request
}

fn draw(dice: &mut Dice, revision: i64) -> pb::WatchCreateRequest {
    let mut request = pb::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        prev_kv: dice.one_in(2),
        fragment: dice.one_in(3),
        progress_notify: dice.one_in(2),
        ..Default::default()
    };
    if dice.one_in(3) {
        request.key = format!("k{}", dice.below(5)).into();
        request.range_end = bytes::Bytes::new();
    }
    match dice.below(6) {
        0 => request.filters.push(FilterType::Noput as i32),
        1 => request.filters.push(FilterType::Nodelete as i32),
        _ => {}
    }
    request.start_revision = match dice.below(6) {
        0 | 1 => 0,
        2 => 1,
        3 | 4 => (revision - dice.up_to(200)).max(1),
        _ => revision + dice.up_to(20),
    };
    request
}

impl World {
    /// A watching client looks at its stream.
    pub(crate) fn watch(&mut self, at: usize) -> Checked {
        let pause = if self.quiet {
            20_000
        } else {
            1_000 + self.dice.below(100_000)
        };
        self.queue.after(pause, Event::Watch(at));
        let Some((member, life, stream)) = self.watchers[at].stream else {
            self.connect(at);
            return Ok(());
        };
        if self.healing && self.dice.one_in(10) {
            self.start_newcomers();
            // A member that was removed and has not heard of it knows nothing new any more.
            if !self.listed(false).contains(&member) {
                self.hang_up_watcher(at, member, stream);
                return Ok(());
            }
        }
        let alive = self
            .members
            .get(&member)
            .is_some_and(|m| m.life == life && m.running.is_some());
        if !alive {
            self.watchers[at].disconnect();
            return Ok(());
        }
        if self.members.get(&member).is_some_and(|m| m.paused) {
            // A client whose member stands still goes elsewhere after a while.
            if self.dice.one_in(10) || self.quiet {
                self.watchers[at].disconnect();
            }
            return Ok(());
        }
        if !self.quiet && self.dice.one_in(4) {
            return Ok(());
        }
        self.look(at, member, stream)?;
        if self.watchers[at].stream.is_some() {
            self.fidget(at, member, stream);
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) {
        let mut up = self.up();
        if self.healing {
            let listed = self.listed(false);
            up.retain(|id| listed.contains(id));
        }
        let revision = self.clients.iter().map(|c| c.revision).max().unwrap_or(1);
        if up.is_empty() {
            return;
        }
        let member = self.dice.pick(&up);
        let fragment_bytes = self.dice.pick(&[60, 1 << 20]);
        let mut wanted = std::mem::take(&mut self.watchers[at].wanted);
        if wanted.is_empty() && !self.quiet {
            wanted.push(draw(&mut self.dice, revision));
        }
        let life = self.members.get(&member).map_or(0, |m| m.life);
        let now_us = self.now_us();
        let Some((running, _)) = self.running(member, now_us) else {
            return;
        };
        let stream = running.hub.open(fragment_bytes);
        self.watchers[at].stream = Some((member, life, stream));
        self.tell(format!("watcher {at}"), || format!("connects to {member}"));
        for request in wanted {
            self.create(at, member, stream, request);
        }
    }

    fn create(
        &mut self,
        at: usize,
        member: u64,
        stream: StreamId,
        mut request: pb::WatchCreateRequest,
    ) {
        let watcher = &mut self.watchers[at];
        let id = watcher.next_id;
        watcher.next_id += 1;
        request.watch_id = id;
        watcher.watches.push(Watch {
            id,
            created: false,
            received: Received {
                request: request.clone(),
                ..Received::default()
            },
        });
        self.ask_hub(member, stream, RequestUnion::CreateRequest(request));
    }

    fn ask_hub(&mut self, member: u64, stream: StreamId, request: RequestUnion) {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(member, now_us) else {
            return;
        };
        let current = running.store.0.borrow().current();
        let request = pb::WatchRequest {
            request_union: Some(request),
        };
        running.hub.request(stream, request, current);
    }

    /// Lets the hub go on, and takes what there is.
    fn look(&mut self, at: usize, member: u64, stream: StreamId) -> Checked {
        let now_us = self.now_us();
        let ticks = self.dice.one_in(20);
        self.publish_now(member)?;
        let Some((running, _)) = self.running(member, now_us) else {
            return Ok(());
        };
        if ticks {
            running.hub.tick_progress();
        }
        let mut frames: Vec<Frame> = Vec::new();
        let mut broken = None;
        for _ in 0..PAGES {
            let store = running.store.0.borrow();
            match running.hub.catch_up(&*store) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    broken = Some(e.to_string());
                    break;
                }
            }
        }
        while let Some(frame) = running.hub.take(stream) {
            frames.push(frame);
        }
        if let Some(reason) = broken {
            return self.failed(member, &reason);
        }
        for frame in frames {
            let bytes = [frame.head.as_ref(), frame.body.as_ref()].concat();
            let response = match pb::WatchResponse::decode(bytes.as_slice()) {
                Ok(response) => response,
                Err(e) => return wrong(format!("a watch response cannot be read: {e}")),
            };
            self.figures.watched += response.events.len() as u64;
            self.watchers[at].take(response)?;
        }
        Ok(())
    }

    /// Clients ask for progress, end watches, begin others, go elsewhere; at the end they only wait for the last word.
    fn fidget(&mut self, at: usize, member: u64, stream: StreamId) {
        if self.quiet {
            return self.conclude(at, member, stream);
        }
        let revision = self.clients.iter().map(|c| c.revision).max().unwrap_or(1);
        let wanted = std::mem::take(&mut self.watchers[at].wanted);
        for request in wanted {
            self.create(at, member, stream, request);
        }
        match self.dice.below(40) {
            0..4 => self.ask_hub(
                member,
                stream,
                RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
            ),
            4 => {
                let ids: Vec<i64> = self.watchers[at].watches.iter().map(|w| w.id).collect();
                if !ids.is_empty() {
                    let watch_id = self.dice.pick(&ids);
                    self.ask_hub(
                        member,
                        stream,
                        RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }),
                    );
                }
            }
            5 | 6 if self.watchers[at].watches.len() < WATCHES_MAX => {
                let request = draw(&mut self.dice, revision);
                self.create(at, member, stream, request);
            }
            7 => self.hang_up_watcher(at, member, stream),
            _ => {}
        }
    }

    fn hang_up_watcher(&mut self, at: usize, member: u64, stream: StreamId) {
        if let Some((running, _)) = self.running(member, self.now_us()) {
            running.hub.close(stream);
        }
        self.watchers[at].disconnect();
    }

    fn conclude(&mut self, at: usize, member: u64, stream: StreamId) {
        let now_us = self.now_us();
        let Some((running, _)) = self.running(member, now_us) else {
            return;
        };
        let current = running.store.0.borrow().current();
        let watcher = &mut self.watchers[at];
        let wanted = std::mem::take(&mut watcher.wanted);
        watcher.wanted = wanted
            .into_iter()
            .filter(|w| w.start_revision <= current)
            .collect();
        let wanted = std::mem::take(&mut watcher.wanted);
        let future: Vec<i64> = watcher
            .watches
            .iter()
            .filter(|w| w.created && w.received.first_revision() > current)
            .map(|w| w.id)
            .collect();
        // A watch that stands at the end is told so; one that begins later has nothing to be told.
        let waits = |w: &Watch| {
            w.received.last_revision() < current && w.received.first_revision() <= current
        };
        let waiting = !wanted.is_empty() || watcher.watches.iter().any(|w| !w.created || waits(w));
        watcher.complete_to = if waiting { 0 } else { current };
        for request in wanted {
            self.create(at, member, stream, request);
        }
        for watch_id in future {
            self.ask_hub(
                member,
                stream,
                RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }),
            );
        }
        if waiting {
            self.ask_hub(
                member,
                stream,
                RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
            );
        }
    }
}
