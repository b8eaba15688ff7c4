//! A thousand watch streams, a hundred of which are not read: the others do not notice, the member's memory is bounded,
//! and those who read again get every event once and in order.
//!
//! `KVORUM_TEST_SLOW_SECONDS` (4) is the length of each of the two runs, without the hundred and with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::sizes::status_bytes;
use crate::both::put;
use crate::number_from_env;
use crate::rpc::{Duplex, Rpc};

const READERS: usize = 900;
const SLEEPERS: usize = 100;
const STREAMS_PER_CONNECTION: usize = 50;
const PUTS_PER_SECOND: u64 = 5000;
const WRITERS: u64 = 50;
/// Each reader watches one of so many prefixes, a sleeper a quarter of them.
const GROUPS: u64 = 100;
/// Far above what the slowest machine needs between two answers.
const SILENCE: Duration = Duration::from_secs(60);

/// Sixteen digits of the time in µs, and some weight.
fn value(begun: Instant) -> String {
    format!("{:016}{:0240}", begun.elapsed().as_micros(), 0)
}

fn key(group: u64, number: u64) -> String {
    format!("{group:02}/{number:04}")
}

async fn watch(rpc: &Rpc, from: &str, to: &str) -> Duplex<pb::WatchRequest> {
    let mut duplex = rpc.open::<pb::WatchRequest>();
    duplex
        .create(pb::WatchCreateRequest {
            key: from.to_owned().into(),
            range_end: to.to_owned().into(),
            ..Default::default()
        })
        .await;
    let created = duplex.next().await.expect("the stream is open");
    assert!(created.created && !created.canceled, "{created:?}");
    duplex
}

/// Puts at a steady rate from many writers for so long; returns what each group got.
async fn write(rpc: &Rpc, begun: Instant, seconds: u64, last: &Arc<AtomicI64>) -> Vec<u64> {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (rpc, last) = (rpc.clone(), last.clone());
        writers.push(tokio::spawn(async move {
            let mut written = vec![0; GROUPS as usize];
            let gap = Duration::from_micros(1_000_000 * WRITERS / PUTS_PER_SECOND);
            let mut pace = tokio::time::interval(gap);
            for number in 0..seconds * PUTS_PER_SECOND / WRITERS {
                pace.tick().await;
                let group = (number + writer * 2) % GROUPS;
                let request = put(&key(group, writer), &value(begun));
                let answer = rpc.call(request).await.expect("every write succeeds");
                let revision = answer.header.expect("header").revision;
                last.fetch_max(revision, Ordering::Relaxed);
                written[group as usize] += 1;
            }
            written
        }));
    }
    let mut all = vec![0; GROUPS as usize];
    for writer in writers {
        let written = writer.await.expect("writers do not panic");
        all.iter_mut()
            .zip(written)
            .for_each(|(sum, one)| *sum += one);
    }
    all
}

/// Events on one stream: how many, and how late each was; revisions must rise.
#[derive(Default)]
struct Seen {
    count: u64,
    revision: i64,
    delays_us: Vec<u64>,
}

impl Seen {
    fn take(&mut self, answer: pb::WatchResponse, now_us: u128) {
        assert!(!answer.canceled, "{answer:?}");
        for event in answer.events {
            let kv = event.kv.expect("an event has a pair");
            assert!(kv.mod_revision > self.revision, "out of order, or twice");
            self.revision = kv.mod_revision;
            self.count += 1;
            let sent_us: u64 = std::str::from_utf8(&kv.value[..16])
                .expect("digits")
                .parse()
                .expect("digits");
            self.delays_us.push((now_us as u64).saturating_sub(sent_us));
        }
    }
}

async fn read(
    mut stream: Duplex<pb::WatchRequest>,
    begun: Instant,
    mut wanted: tokio::sync::watch::Receiver<Option<Arc<Vec<u64>>>>,
    groups: std::ops::Range<usize>,
) -> Seen {
    let mut seen = Seen::default();
    loop {
        let enough = wanted
            .borrow_and_update()
            .as_ref()
            .map(|all| all[groups.clone()].iter().sum::<u64>());
        if enough.is_some_and(|enough| seen.count >= enough) {
            return seen;
        }
        tokio::select! {
            told = wanted.changed(), if enough.is_none() => told.expect("told before the end"),
            answer = timeout(SILENCE, stream.next()) => {
                let answer = answer.unwrap_or_else(|_| panic!(
                    "nothing for a minute; {} of {enough:?} in {groups:?}, up to revision {}",
                    seen.count, seen.revision,
                ));
                seen.take(answer.expect("the stream is open"), begun.elapsed().as_micros());
            }
        }
    }
}

struct Figures {
    p50: Duration,
    p99: Duration,
    events: usize,
    puts_per_second: f64,
}

/// One run: the readers' delays. `sleepers` are streams that nobody reads until the writing is over.
async fn run(url: &str, seconds: u64, sleepers: usize, pid: u32) -> (Figures, Duration) {
    let begun = Instant::now();
    let (tell, wanted) = tokio::sync::watch::channel(None);
    let mut readers: Vec<JoinHandle<Seen>> = Vec::new();
    let mut rpc = Rpc::connect(url).await.expect("accepts");
    for number in 0..READERS {
        if number % STREAMS_PER_CONNECTION == 0 {
            rpc = Rpc::connect(url).await.expect("accepts");
        }
        let group = number as u64 % GROUPS;
        let stream = watch(&rpc, &format!("{group:02}/"), &format!("{group:02}0")).await;
        let groups = group as usize..group as usize + 1;
        readers.push(tokio::spawn(read(stream, begun, wanted.clone(), groups)));
    }
    let mut asleep = Vec::new();
    for number in 0..sleepers {
        // Connections of their own: what is not read fills the window that all streams of a connection share.
        if number % 10 == 0 {
            rpc = Rpc::connect(url).await.expect("accepts");
        }
        let first = number % 4 * 25;
        let stream = watch(
            &rpc,
            &format!("{first:02}/"),
            &format!("{:02}0", first + 24),
        )
        .await;
        asleep.push((stream, first..first + 25));
    }
    let writer = Rpc::connect(url).await.expect("accepts");
    let last = Arc::new(AtomicI64::new(0));
    let started = Instant::now();
    let written = Arc::new(write(&writer, begun, seconds, &last).await);
    let puts_per_second = written.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64();
    tell.send_replace(Some(written.clone()));
    let mut delays = Vec::new();
    for reader in readers {
        delays.extend(reader.await.expect("every event once, in order").delays_us);
    }
    let grown = status_bytes(pid, "VmRSS") >> 20;
    println!("slow watchers: {sleepers} asleep, resident {grown} MiB at the end of the writing");
    let woken = Instant::now();
    let waking: Vec<_> = asleep
        .into_iter()
        .map(|(stream, groups)| tokio::spawn(read(stream, begun, wanted.clone(), groups)))
        .collect();
    for sleeper in waking {
        sleeper.await.expect("every event once, in order");
    }
    delays.sort_unstable();
    let at = |share: usize| Duration::from_micros(delays[(delays.len() - 1) * share / 100]);
    let figures = Figures {
        p50: at(50),
        p99: at(99),
        events: delays.len(),
        puts_per_second,
    };
    (figures, woken.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_read_harm_nobody_and_lose_nothing() {
    let seconds = number_from_env("KVORUM_TEST_SLOW_SECONDS", 4);
    let dir = TestDir::new("slow-watchers");
    let server = Options::new(&dir).start();
    for sleepers in [0, SLEEPERS] {
        let (figures, catching_up) = run(&server.url(), seconds, sleepers, server.pid()).await;
        println!(
            "slow watchers: {READERS} read, {sleepers} do not: {:.0} puts/s, {} events, delay p50 {:?} p99 {:?}; \
             the sleepers had everything {catching_up:.1?} after they woke; resident {} MiB at most",
            figures.puts_per_second,
            figures.events,
            figures.p50,
            figures.p99,
            status_bytes(server.pid(), "VmHWM") >> 20,
        );
    }
    let most = status_bytes(server.pid(), "VmHWM");
    assert!(most < 512 << 20, "{most} bytes were resident");
}
