//! A thousand watchers under five thousand puts a second: every event once, in order, whole revisions, right
//! previous values.
//!
//! Watchers of single keys, of prefixes and of the whole store share several streams on several connections; some
//! come late and read the history first. The acknowledged writes, put in the order of their revisions, say what each
//! of them must have seen. The rate is what the writers aim at; a slow machine makes the test longer, not red.
//!
//! `KVORUM_TEST_FANOUT_SECONDS` (30) chooses how long.

mod collect;
mod expect;
mod write;

use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};
use tokio::sync::oneshot;

use crate::rpc::Rpc;
use collect::Collected;
use expect::{History, Watcher};

const WATCHERS: usize = 1000;
const CONNECTIONS: usize = 5;
const STREAMS: usize = 40;
const PUTS_PER_SECOND: u64 = 5000;

/// Keys are `group/number`, so that there are prefixes to watch.
const GROUPS: usize = 24;
const KEYS_PER_GROUP: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_see_every_event_once_in_order() {
    let seconds = crate::number_from_env("KVORUM_TEST_FANOUT_SECONDS", 30);
    let dir = TestDir::new("watch-fanout");
    let server = Options::new(&dir).start();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(
            Rpc::connect(&server.url())
                .await
                .expect("the server accepts connections"),
        );
    }
    let watchers: Vec<Watcher> = (0..WATCHERS).map(Watcher::draw).collect();
    let (early, late): (Vec<usize>, Vec<usize>) = (0..STREAMS).partition(|stream| stream % 8 != 7);
    let mut collectors = Vec::new();
    for stream in early {
        collectors.push(start(&connections, &watchers, stream).await);
    }
    let started = Instant::now();
    let writing = tokio::spawn(write::load(
        connections[0].clone(),
        Duration::from_secs(seconds),
    ));
    // The last streams begin when half of the history exists, and want all of it.
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    for stream in late {
        collectors.push(start(&connections, &watchers, stream).await);
    }
    let history = writing
        .await
        .expect("writers do not panic")
        .expect("every write succeeds");
    let written = started.elapsed();
    let history = History::new(history).expect("revisions are issued once and without gaps");
    let delivered = judge(collectors, &watchers, &history).await;
    println!(
        "watch fan-out: {WATCHERS} watchers, {} changes at {:.0} per second, {delivered} events, the last {} ms \
         after the last write",
        history.changes(),
        history.changes() as f64 / written.as_secs_f64(),
        (started.elapsed() - written).as_millis(),
    );
}

/// A stream under way: how to tell it the end, and what it collects.
struct Running {
    finish: oneshot::Sender<(usize, i64)>,
    collected: tokio::task::JoinHandle<Result<Collected, String>>,
    members: Vec<usize>,
}

/// Opens one stream with its share of the watchers, and returns when they are all created.
async fn start(connections: &[Rpc], watchers: &[Watcher], stream: usize) -> Running {
    let mut duplex = connections[stream % CONNECTIONS].open::<pb::WatchRequest>();
    let members: Vec<usize> = (0..watchers.len())
        .filter(|index| index % STREAMS == stream)
        .collect();
    let late = stream % 8 == 7;
    for index in &members {
        let mut create = watchers[*index].request();
        create.start_revision = if late { 2 } else { 0 };
        create.watch_id = *index as i64 + 1;
        duplex.create(create).await;
        // Late watchers may get events between two answers to creates, so these are awaited by the collector.
        if !late {
            let answer = duplex.next().await.expect("the stream is open");
            assert!(answer.created && !answer.canceled, "{answer:?}");
        }
    }
    let (finish, finished) = oneshot::channel();
    let collected = tokio::spawn(collect::run(duplex, members.clone(), finished));
    Running {
        finish,
        collected,
        members,
    }
}

/// Tells every stream how much it should have seen, and compares what it has.
async fn judge(collectors: Vec<Running>, watchers: &[Watcher], history: &History) -> usize {
    let mut waiting = Vec::new();
    for running in collectors {
        let expected: Vec<_> = running
            .members
            .iter()
            .map(|index| history.seen_by(&watchers[*index]))
            .collect();
        let count = expected.iter().map(Vec::len).sum();
        running.finish.send((count, history.last_revision())).ok();
        waiting.push((running.members, expected, running.collected));
    }
    let mut delivered = 0;
    for (members, expected, collected) in waiting {
        let collected = collected.await.expect("a collector does not panic");
        let collected = collected.unwrap_or_else(|wrong| panic!("{wrong}"));
        for (index, expected) in members.into_iter().zip(expected) {
            let seen = &collected[&(index as i64 + 1)];
            delivered += seen.len();
            if let Some(wrong) = expect::difference(seen, &expected) {
                panic!("watcher {index} {:?}: {wrong}", watchers[index]);
            }
        }
    }
    delivered
}
