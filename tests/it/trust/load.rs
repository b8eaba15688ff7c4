//! A load on all members at once, whose every request is accounted for.
//!
//! Each worker talks to one member, over a connection of its own, which it makes anew every second and whenever the
//! files of its certificate change, and puts a key and reads it back. A request that fails is judged by what was done to
//! the cluster at that time (`Damage`):
//!
//! * asked of a member that was being killed or started: the client asks another member, and only if none answers the
//!   request has failed;
//! * asked of another member within so long of the kill of a leader, and refused in etcd's words for that: the client
//!   asks again, likewise;
//! * anything else has failed: in particular every refusal of a certificate, by either side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::tls_client::{Files, Seen};
use crate::both::{get, put};
use crate::rpc::Rpc;

/// As etcd's clients wait for one call.
const CALL: Duration = Duration::from_secs(20);
/// How long a client goes on asking others.
const PATIENCE: Duration = Duration::from_secs(60);
/// A connection lives so long: each new one shows the certificate of now.
const CONNECTION: Duration = Duration::from_secs(1);
/// After the kill of a leader, what was on its way through it may be lost for so long.
const LEADER_LOST: Duration = Duration::from_secs(20);
/// What an etcd says then.
const LEADER_TEXTS: [&str; 4] = [
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: request timed out",
];

/// What is being done to the cluster.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Members that were killed, and when they served again; nothing yet where they do not.
    down: Mutex<BTreeMap<SocketAddr, Option<Instant>>>,
    /// When a leader was killed last.
    leader_killed: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Damage {
    /// Told before the kill.
    pub(crate) fn goes_down(&self, member: SocketAddr) {
        lock(&self.down).insert(member, None);
    }

    /// Told once it serves again.
    pub(crate) fn is_back(&self, member: SocketAddr) {
        lock(&self.down).insert(member, Some(Instant::now()));
    }

    pub(crate) fn leader_killed(&self) {
        *lock(&self.leader_killed) = Some(Instant::now());
    }

    /// Whether a request that was begun then may have met it while it was down.
    fn was_down(&self, member: SocketAddr, begun: Instant) -> bool {
        let down = lock(&self.down).get(&member).copied();
        down.is_some_and(|back| back.is_none_or(|back| begun < back))
    }

    fn leader_lost(&self) -> bool {
        lock(&self.leader_killed).is_some_and(|at| at.elapsed() < LEADER_LOST)
    }
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: AtomicU64,
    /// Answered by another member, because the one that was asked was killed.
    pub(crate) retried_elsewhere: AtomicU64,
    /// Asked again after a leader was killed.
    pub(crate) retried_later: AtomicU64,
    /// All others, in words.
    pub(crate) failed: Mutex<Vec<String>>,
}

/// A load that runs until it is stopped.
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    pub(crate) damage: Arc<Damage>,
    /// For each member, what it has shown.
    pub(crate) seen: Vec<Seen>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many workers for each member.
    pub(crate) fn start(members: &[SocketAddr], files: &Files, workers_each: usize) -> Self {
        let mut load = Self {
            tally: Arc::default(),
            damage: Arc::default(),
            seen: members.iter().map(|_| Seen::default()).collect(),
            stop: Arc::default(),
            workers: Vec::new(),
        };
        for (place, number) in
            (0..members.len()).flat_map(|p| (0..workers_each).map(move |n| (p, n)))
        {
            let worker = Worker {
                name: format!("{place}-{number}"),
                place,
                members: members.to_vec(),
                files: files.clone(),
                seen: load.seen.clone(),
                tally: load.tally.clone(),
                damage: load.damage.clone(),
                stop: load.stop.clone(),
            };
            load.workers.push(tokio::spawn(worker.run()));
        }
        load
    }

    /// Ends it; the tally is complete then.
    pub(crate) async fn stop(self) -> (Arc<Tally>, Vec<Seen>) {
        self.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.await.expect("no panic");
        }
        (self.tally, self.seen)
    }
}

struct Worker {
    name: String,
    place: usize,
    members: Vec<SocketAddr>,
    files: Files,
    seen: Vec<Seen>,
    tally: Arc<Tally>,
    damage: Arc<Damage>,
    stop: Arc<AtomicBool>,
}

/// A connection and what it was made with.
struct Line {
    rpc: Rpc,
    since: Instant,
    files: Vec<u8>,
}

/// Why a request was not answered, as the judge sees it.
enum Verdict {
    Elsewhere,
    Later,
    Failed,
}

impl Worker {
    async fn run(self) {
        let mut line = None;
        let mut number = 0u64;
        while !self.stop.load(Ordering::SeqCst) {
            number += 1;
            let value = number.to_string();
            let begun = Instant::now();
            if let Err(text) = self.request(self.place, &mut line, &value).await {
                self.again(&value, begun, text).await;
            }
            self.tally.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn judge(&self, place: usize, begun: Instant, text: &str) -> Verdict {
        if self.damage.was_down(self.members[place], begun) {
            Verdict::Elsewhere
        } else if self.damage.leader_lost() && LEADER_TEXTS.iter().any(|t| text.contains(t)) {
            Verdict::Later
        } else {
            Verdict::Failed
        }
    }

    /// What a client does that knows all members.
    async fn again(&self, value: &str, first_begun: Instant, first: String) {
        let (mut place, mut begun, mut text) = (self.place, first_begun, first);
        loop {
            match self.judge(place, begun, &text) {
                Verdict::Elsewhere => {
                    self.tally.retried_elsewhere.fetch_add(1, Ordering::Relaxed);
                    place = (place + 1) % self.members.len();
                }
                Verdict::Later => {
                    self.tally.retried_later.fetch_add(1, Ordering::Relaxed);
                }
                Verdict::Failed => return self.failed(place, &text),
            }
            if first_begun.elapsed() > PATIENCE {
                return self.failed(place, &format!("nobody answered: {text}"));
            }
            sleep(Duration::from_millis(50)).await;
            begun = Instant::now();
            match self.request(place, &mut None, value).await {
                Ok(()) => return,
                Err(next) => text = next,
            }
        }
    }

    fn failed(&self, place: usize, text: &str) {
        let told = format!("{} of {} at member {place}: {text}", self.name, self.place);
        lock(&self.tally.failed).push(told);
    }

    /// Puts, and reads back.
    async fn request(
        &self,
        place: usize,
        line: &mut Option<Line>,
        value: &str,
    ) -> Result<(), String> {
        let asked = async {
            let rpc = self.connection(place, line).await?;
            let key = format!("load/{}", self.name);
            let told = |status: tonic::Status| format!("{:?} {}", status.code(), status.message());
            rpc.call(put(&key, value)).await.map_err(told)?;
            let found = rpc.call(get(&key)).await.map_err(told)?;
            match found.kvs.first() {
                Some(pair) if pair.value == value => Ok(()),
                found => Err(format!("{key} is {found:?}, not {value}")),
            }
        };
        let answer = timeout(CALL, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {CALL:?}")));
        if answer.is_err() {
            *line = None;
        }
        answer
    }

    async fn connection(&self, place: usize, line: &mut Option<Line>) -> Result<Rpc, String> {
        let files = self.files.state();
        if let Some(line) = line.as_ref()
            && line.since.elapsed() < CONNECTION
            && line.files == files
        {
            return Ok(line.rpc.clone());
        }
        let config = self.files.config_soon(&self.seen[place]).await;
        let rpc = Rpc::connect_tls(self.members[place], config).await;
        let rpc = rpc.map_err(|error| words(&error))?;
        *line = Some(Line {
            rpc: rpc.clone(),
            since: Instant::now(),
            files,
        });
        Ok(rpc)
    }
}

/// An error with all that is behind it.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
