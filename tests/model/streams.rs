//! Watch streams on both sides. Stream 0 is published to and read after every operation, so each response is known in
//! advance. The others hang on a hub that is told late, in batches, sometimes not at all, and are read now and then:
//! of them the order of answers and the nine promises are checked.

use std::collections::{BTreeMap, VecDeque};

use kvorum_core::mvcc::{Event, Store};
use kvorum_core::watch::{EventBatch, Header, Hub, StreamId};
use kvorum_core::{Applied, Term};
use kvorum_proto::etcdserverpb::watch_request::RequestUnion;
use kvorum_proto::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use kvorum_tests::harness::generate::STREAMS;
use kvorum_tests::harness::model::{Model, WatchStream};
use kvorum_tests::harness::watch_check::{self, Received};
use prost::Message as _;

use crate::run::difference;

/// One client.
struct Client {
    hub: usize,
    stream: StreamId,
    /// Answers to create and cancel requests that have to come, in this order.
    answers: VecDeque<WatchResponse>,
    /// Create requests in the order of their answers.
    creating: VecDeque<kvorum_proto::etcdserverpb::WatchCreateRequest>,
    received: BTreeMap<i64, Received>,
}

/// All clients, and the hubs that serve them.
pub(crate) struct Streams {
    hubs: [Hub; 2],
    /// What the late hub has not been told.
    backlog: Vec<Event>,
    first: i64,
    clients: Vec<Client>,
    pub(crate) model: Vec<WatchStream>,
    /// Spoils one response, to see that it is noticed.
    pub(crate) tamper: Option<fn(&mut WatchResponse) -> bool>,
}

const PROMPT: usize = 0;
const LATE: usize = 1;
/// The late hub's clients allow small responses only, so that fragments occur.
const FRAGMENT_BYTES: [usize; 2] = [1 << 20, 60];

type Verdict = Result<(), String>;

impl Streams {
    pub(crate) fn new() -> Self {
        let mut streams = Self {
            hubs: [Hub::new(Header::default()), Hub::new(Header::default())],
            backlog: Vec::new(),
            first: 0,
            clients: Vec::new(),
            model: vec![WatchStream::new(true); STREAMS],
            tamper: None,
        };
        for at in 0..STREAMS {
            let hub = if at == 0 { PROMPT } else { LATE };
            let stream = streams.hubs[hub].open(FRAGMENT_BYTES[hub]);
            streams.clients.push(Client::new(hub, stream));
        }
        streams
    }

    /// The server is gone, and every stream with it.
    pub(crate) fn restart(&mut self, model: &Model) -> Verdict {
        for client in &self.clients {
            client.check(model)?;
        }
        let tamper = self.tamper;
        *self = Self {
            tamper,
            ..Self::new()
        };
        Ok(())
    }

    /// One client drops its stream.
    pub(crate) fn reconnect(&mut self, at: usize, model: &Model) -> Verdict {
        let client = &self.clients[at];
        client.check(model)?;
        let hub = client.hub;
        self.hubs[hub].close(client.stream);
        self.clients[at] = Client::new(hub, self.hubs[hub].open(FRAGMENT_BYTES[hub]));
        self.model[at] = WatchStream::new(true);
        Ok(())
    }

    /// One client asks for something.
    pub(crate) fn request(
        &mut self,
        at: usize,
        request: &WatchRequest,
        store: &Store,
        model: &Model,
    ) -> Verdict {
        let client = &mut self.clients[at];
        self.hubs[client.hub].request(client.stream, request.clone(), store.current());
        let expected = match &request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                client.creating.push_back(create.clone());
                Some(self.model[at].create(model, create))
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.model[at].cancel(model, cancel.watch_id)
            }
            Some(RequestUnion::ProgressRequest(_)) if client.hub == PROMPT => {
                return self.prompt(
                    self.model[at].progress(model).into_iter().collect(),
                    store,
                    model,
                );
            }
            _ => None,
        };
        let Some(expected) = expected else {
            return Ok(());
        };
        client.answers.push_back(expected.clone());
        if client.hub == PROMPT {
            let mut all = vec![expected];
            all.extend(self.due(model));
            return self.prompt(all, store, model);
        }
        Ok(())
    }

    /// A command was applied: the prompt hub is told at once, the late one later; stream 0 is read.
    pub(crate) fn publish(&mut self, applied: &Applied, store: &Store, model: &Model) -> Verdict {
        if !applied.events.is_empty() {
            let (revision, events) = (applied.revision, applied.events.clone());
            if self.backlog.is_empty() {
                self.first = revision;
            }
            self.backlog.extend(events.clone());
            let batch = EventBatch {
                first: revision,
                last: revision,
                term: Term(0),
                events,
            };
            self.hubs[PROMPT]
                .publish(&batch, store)
                .map_err(|error| error.to_string())?;
        }
        let due = self.due(model);
        self.prompt(due, store, model)
    }

    /// What the watchers of stream 0 have to get now.
    fn due(&mut self, model: &Model) -> Vec<WatchResponse> {
        let stream = &mut self.model[0];
        let mut due = stream.end_compacted(model);
        for (id, watcher) in &mut stream.watchers {
            let from = watcher.next_revision;
            let revisions = model.events(&watcher.selection, from, model.revision());
            watcher.next_revision = from.max(model.revision() + 1);
            let events: Vec<_> = revisions
                .into_iter()
                .flat_map(|(_, events)| events)
                .collect();
            if !events.is_empty() {
                let header = Some(ResponseHeader {
                    revision: model.revision(),
                    ..Default::default()
                });
                due.push(WatchResponse {
                    header,
                    watch_id: *id,
                    events,
                    ..Default::default()
                });
            }
        }
        due
    }

    /// Reads stream 0 and compares it with what is due; answers come in order, events of different watchers in any.
    fn prompt(&mut self, mut due: Vec<WatchResponse>, store: &Store, model: &Model) -> Verdict {
        self.catch_up(PROMPT, store)?;
        let mut got = self.read(0);
        let order = |response: &WatchResponse| (!response.created, response.watch_id);
        due.sort_by_key(order);
        got.sort_by_key(order);
        let whole = coalesced(&got);
        if whole != due {
            return Err(format!("stream 0: {}", difference(&whole, &due)));
        }
        self.clients[0].take(got, model)
    }

    /// The late hub hears of the backlog, or the backlog gets lost on the way; its clients read what there is.
    pub(crate) fn deliver(&mut self, told: bool, store: &Store, model: &Model) -> Verdict {
        if let Some(last) = self.backlog.last() {
            let last = last.record.revision.main;
            let events = std::mem::take(&mut self.backlog);
            let batch = EventBatch {
                first: self.first,
                last,
                term: Term(0),
                events,
            };
            if told {
                self.hubs[LATE]
                    .publish(&batch, store)
                    .map_err(|error| error.to_string())?;
            }
        }
        self.catch_up(LATE, store)?;
        for at in 0..self.clients.len() {
            if self.clients[at].hub == LATE {
                let got = self.read(at);
                for ended in got.iter().filter(|response| response.compact_revision != 0) {
                    self.model[at].watchers.remove(&ended.watch_id);
                }
                self.clients[at]
                    .take(got, model)
                    .map_err(|error| format!("stream {at}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Everything is delivered: each watcher must have all that was for it.
    pub(crate) fn finish(&mut self, store: &Store, model: &Model) -> Verdict {
        self.deliver(true, store, model)?;
        for (at, client) in self.clients.iter_mut().enumerate() {
            if let Some(answer) = client.answers.front() {
                return Err(format!("stream {at}: never answered {answer:?}"));
            }
            for received in client.received.values_mut() {
                received.responses.push(up_to(model.revision()));
            }
            client
                .check(model)
                .map_err(|error| format!("stream {at} at the end: {error}"))?;
        }
        Ok(())
    }

    fn catch_up(&mut self, hub: usize, store: &Store) -> Verdict {
        while self.hubs[hub]
            .catch_up(store)
            .map_err(|error| error.to_string())?
        {}
        Ok(())
    }

    fn read(&mut self, at: usize) -> Vec<WatchResponse> {
        let Client { hub, stream, .. } = self.clients[at];
        let mut responses = Vec::new();
        while let Some(frame) = self.hubs[hub].take(stream) {
            let whole = [frame.head.as_ref(), frame.body.as_ref()].concat();
            let mut response = WatchResponse::decode(whole.as_slice()).expect("the core wrote it");
            let spoilt = self.tamper.is_some_and(|tamper| tamper(&mut response));
            if spoilt {
                self.tamper = None;
            }
            responses.push(response);
        }
        responses
    }
}

/// History may come in several responses to one watcher, each of whole revisions; here as one.
fn coalesced(responses: &[WatchResponse]) -> Vec<WatchResponse> {
    let mut whole: Vec<WatchResponse> = Vec::new();
    for response in responses {
        match whole.last_mut() {
            Some(last)
                if last.watch_id == response.watch_id
                    && last.header == response.header
                    && !last.events.is_empty()
                    && !response.events.is_empty() =>
            {
                last.events.extend(response.events.clone());
            }
            _ => whole.push(response.clone()),
        }
    }
    whole
}

/// A response that says "everything up to here".
fn up_to(revision: i64) -> WatchResponse {
    let header = Some(ResponseHeader {
        revision,
        ..Default::default()
    });
    WatchResponse {
        header,
        watch_id: NO_WATCHER,
        ..Default::default()
    }
}

const NO_WATCHER: i64 = -1;

impl Client {
    fn new(hub: usize, stream: StreamId) -> Self {
        Self {
            hub,
            stream,
            answers: VecDeque::new(),
            creating: VecDeque::new(),
            received: BTreeMap::new(),
        }
    }

    /// The nine promises, of every watcher there is.
    fn check(&self, model: &Model) -> Verdict {
        self.received
            .values()
            .try_for_each(|received| check_one(received, model))
    }

    /// Sorts responses by watcher, and checks that they are ones that may come.
    fn take(&mut self, responses: Vec<WatchResponse>, model: &Model) -> Verdict {
        for response in responses {
            if response.compact_revision != 0 {
                self.end_compacted(&response, model)?;
            } else if response.created || response.canceled {
                self.answer(response, model)?;
            } else if response.watch_id == NO_WATCHER {
                self.received
                    .values_mut()
                    .for_each(|received| received.responses.push(response.clone()));
            } else {
                let unknown = format!("for no watcher: {response:?}");
                self.received
                    .get_mut(&response.watch_id)
                    .ok_or(unknown)?
                    .responses
                    .push(response);
            }
        }
        Ok(())
    }

    fn answer(&mut self, response: WatchResponse, model: &Model) -> Verdict {
        let expected = self.answers.pop_front();
        if expected.as_ref() != Some(&response) {
            return Err(difference(&Some(response), &expected));
        }
        if response.created {
            let request = self
                .creating
                .pop_front()
                .ok_or("created without a request")?;
            if !response.canceled {
                let created_revision = response.header.map_or(0, |header| header.revision);
                let received = Received {
                    request,
                    created_revision,
                    responses: Vec::new(),
                };
                self.received.insert(response.watch_id, received);
            }
            return Ok(());
        }
        let received = self
            .received
            .remove(&response.watch_id)
            .ok_or("cancelled, but not there")?;
        check_one(&received, model)
    }

    /// Compaction may end a watcher only if something that it may still need is gone.
    fn end_compacted(&mut self, response: &WatchResponse, model: &Model) -> Verdict {
        let received = self
            .received
            .remove(&response.watch_id)
            .ok_or("ended, but not there")?;
        check_one(&received, model)?;
        let next = received.first_revision().max(received.last_revision() + 1);
        let due = next < response.compact_revision
            && response.compact_revision <= model.compact_revision();
        let plain = WatchResponse {
            header: Some(ResponseHeader::default()),
            watch_id: response.watch_id,
            canceled: true,
            compact_revision: response.compact_revision,
            ..WatchResponse::default()
        };
        if due && *response == plain {
            return Ok(());
        }
        Err(format!(
            "ended by compaction with {response:?}, though it has all before {next}"
        ))
    }
}

fn check_one(received: &Received, model: &Model) -> Verdict {
    watch_check::check(received, model)
        .map_err(|broken| format!("{broken}\n  {:?}", received.request))
}
