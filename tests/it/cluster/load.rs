//! The load: clients on all members that write, read and compare, each noting when it asked and what it was told.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::{
    history::{Call, Reply, Request},
    watch_check::Received,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    draw::Draw,
    leases::{self, LeaseStory},
    watchers,
};
use crate::{rpc::Rpc, seed::Seed};

/// How long a client waits for an answer before it goes elsewhere.
const ANSWER_MAX: Duration = Duration::from_secs(4);
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// After a failure, before the next try.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    /// Between two calls of one client, on average.
    pub(crate) pause: Duration,
    pub(crate) watchers: usize,
    pub(crate) lease_holders: usize,
    pub(crate) seed: u64,
}

impl Size {
    /// Enough to have something in flight at any moment, little enough for two cores.
    pub(crate) fn usual(seed: u64) -> Self {
        Self {
            clients: 12,
            pause: Duration::from_millis(20),
            watchers: 3,
            lease_holders: 3,
            seed,
        }
    }
}

/// One clock for all who record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a test ends within centuries")
    }
}

/// What all parts of the load know: where to go, when to stop, and who has been answered.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    urls: watch::Receiver<Vec<String>>,
    stop: watch::Receiver<bool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
}

impl Shared {
    pub(super) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, or ends early when the load is to stop.
    pub(super) async fn rest(&self, for_so_long: Duration) {
        let mut stop = self.stop.clone();
        // Late or stopped, the caller looks anyway.
        let _ = timeout(for_so_long, stop.wait_for(|stop| *stop)).await;
    }

    /// Connects to one of the members; nothing if that one is not there.
    pub(super) async fn connect(&self, random: &mut Seed) -> Option<Rpc> {
        let url = {
            let urls = self.urls.borrow();
            urls[random.below(urls.len() as u64) as usize].clone()
        };
        let connected = timeout(CONNECT_MAX, Rpc::connect(&url)).await;
        match connected {
            Ok(Ok(rpc)) => Some(rpc),
            _ => {
                self.rest(PAUSE_AFTER_FAILURE).await;
                None
            }
        }
    }
}

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Shared,
    urls: watch::Sender<Vec<String>>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Vec<Call>>>,
    watchers: Vec<JoinHandle<Vec<Received>>>,
    leases: Vec<JoinHandle<Vec<LeaseStory>>>,
}

/// What a load has seen.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) calls: Vec<Call>,
    pub(crate) watches: Vec<Received>,
    pub(crate) leases: Vec<LeaseStory>,
}

impl Load {
    /// Starts everything against these members.
    pub(crate) fn start(urls: Vec<String>, size: Size) -> Self {
        let urls = watch::Sender::new(urls);
        let stop = watch::Sender::new(false);
        let shared = Shared {
            clock: Clock(Instant::now()),
            urls: urls.subscribe(),
            stop: stop.subscribe(),
            acknowledged: Arc::default(),
        };
        let seed = Seed::new(size.seed);
        let own = |kind: u64, number: usize| seed.split(kind * 1000 + number as u64);
        let clients = (0..size.clients)
            .map(|number| tokio::spawn(client(shared.clone(), number, size.pause, own(1, number))));
        let watchers = (0..size.watchers)
            .map(|number| tokio::spawn(watchers::watch(shared.clone(), number, own(2, number))));
        let leases = (0..size.lease_holders)
            .map(|number| tokio::spawn(leases::hold(shared.clone(), number, own(3, number))));
        Self {
            clients: clients.collect(),
            watchers: watchers.collect(),
            leases: leases.collect(),
            shared,
            urls,
            stop,
        }
    }

    /// Names the members that there are now.
    pub(crate) fn set_urls(&self, urls: Vec<String>) {
        self.urls.send_replace(urls);
    }

    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// When writes were acknowledged so far, in order.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        let mut all = self
            .shared
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        all.sort_unstable();
        all
    }

    /// Waits until so many more writes have been acknowledged than now.
    pub(crate) async fn progress(&self, writes: usize) {
        let goal = self.count() + writes;
        let begun = Instant::now();
        while self.count() < goal {
            let waited = begun.elapsed();
            assert!(
                waited < Duration::from_secs(60),
                "{} of {goal} writes were acknowledged within {waited:?}",
                self.count()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn count(&self) -> usize {
        let acknowledged = self.shared.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The longest time without an acknowledged write that began or ended in this span.
    pub(crate) fn longest_gap(&self, from: u64, to: u64) -> Duration {
        let all = self.acknowledged();
        let gaps = all
            .windows(2)
            .filter(|pair| pair[1] >= from && pair[0] <= to);
        let longest = gaps.map(|pair| pair[1] - pair[0]).max();
        Duration::from_nanos(longest.unwrap_or(u64::MAX))
    }

    /// Ends the load and returns what it has seen.
    pub(crate) async fn stop(self) -> History {
        self.stop.send_replace(true);
        let mut history = History::default();
        for client in self.clients {
            let calls = client.await.expect("a client does not panic");
            history.calls.extend(calls);
        }
        for watcher in self.watchers {
            let watches = watcher.await.expect("a watcher does not panic");
            history.watches.extend(watches);
        }
        for holder in self.leases {
            let stories = holder.await.expect("a lease holder does not panic");
            for mut story in stories {
                history.calls.append(&mut story.calls);
                history.leases.push(story);
            }
        }
        history
    }
}

async fn client(shared: Shared, number: usize, pause: Duration, mut random: Seed) -> Vec<Call> {
    let mut draw = Draw::new(number, random.split(7));
    let mut calls = Vec::new();
    let mut rpc = None;
    while !shared.stopped() {
        let Some(connected) = &rpc else {
            rpc = shared.connect(&mut random).await;
            continue;
        };
        let request = draw.next();
        match record(&shared, connected, request, &mut calls).await {
            Ok(reply) => draw.learn(&reply),
            Err(_) => {
                rpc = None;
                shared.rest(PAUSE_AFTER_FAILURE).await;
            }
        }
        let most = 2 * u64::try_from(pause.as_micros()).unwrap_or(0) + 1;
        shared.rest(Duration::from_micros(random.below(most))).await;
    }
    calls
}

/// Sends one request and notes it with its times; a write without an answer is noted as one that may have been done.
pub(super) async fn record(
    shared: &Shared,
    rpc: &Rpc,
    request: Request,
    calls: &mut Vec<Call>,
) -> Result<Reply, Status> {
    let called = shared.clock.nanos();
    let answer = timeout(ANSWER_MAX, send(rpc, &request)).await;
    let returned = shared.clock.nanos();
    let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
    if answer.is_ok() && may_write(&request) {
        let acknowledged = shared.acknowledged.lock();
        acknowledged
            .unwrap_or_else(PoisonError::into_inner)
            .push(returned);
    }
    if answer.is_ok() || may_write(&request) {
        calls.push(Call {
            called,
            returned,
            request,
            reply: answer.clone().ok(),
        });
    }
    answer
}

fn may_write(request: &Request) -> bool {
    !matches!(request, Request::Range(_))
}

/// Sends it; the reply's header keeps what the model knows: the revision.
async fn send(rpc: &Rpc, request: &Request) -> Result<Reply, Status> {
    let bare = |header: Option<pb::ResponseHeader>| {
        header.map(|header| pb::ResponseHeader {
            revision: header.revision,
            ..Default::default()
        })
    };
    Ok(match request.clone() {
        Request::Range(request) => {
            let mut reply = rpc.call(request).await?;
            reply.header = bare(reply.header);
            Reply::Range(reply)
        }
        Request::Put(request) => {
            let mut reply = rpc.call(request).await?;
            reply.header = bare(reply.header);
            Reply::Put(reply)
        }
        Request::DeleteRange(request) => {
            let mut reply = rpc.call(request).await?;
            reply.header = bare(reply.header);
            Reply::DeleteRange(reply)
        }
        Request::Txn(request) => {
            let mut reply = rpc.call(request).await?;
            reply.header = bare(reply.header);
            Reply::Txn(reply)
        }
    })
}
