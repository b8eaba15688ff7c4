//! The judgement of a history: what all members have, against what all clients were told.

use std::{collections::BTreeMap, fmt, time::Duration};

use kvorum_proto::{etcdserverpb as pb, mvccpb::Event};
use kvorum_tests::harness::{
    history::{self, Call},
    linearizable::{self, Verdict},
    watch_check,
};
use tokio::time::timeout;

use super::{
    load::History,
    members::{self, Cluster},
    net::Place,
};
use crate::{
    both::{Side, range},
    rpc::Rpc,
};

/// How long the second opinion on a key may search.
const STEPS_MAX: usize = 2_000_000;

/// Hashing reads everything.
const HASH_MAX: Duration = Duration::from_secs(60);

/// Every revision from the first on, with its events.
pub(crate) type Log = Vec<(i64, Vec<Event>)>;

/// What was judged.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    calls: usize,
    unanswered: usize,
    revisions: usize,
    watches: usize,
    events: usize,
    leases: usize,
    /// Keys whose second opinion would have taken too long.
    undecided: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls ({} writes unanswered), {} revisions, {} watches with {} events, {} leases: no violation",
            self.calls, self.unanswered, self.revisions, self.watches, self.events, self.leases
        )?;
        match self.undecided {
            0 => Ok(()),
            keys => write!(f, " (no second opinion on {keys} keys)"),
        }
    }
}

/// Waits until the cluster is level, and judges. Says what is wrong.
pub(crate) async fn judge(cluster: &Cluster, history: &History) -> Result<Figures, String> {
    let leader = cluster.settled().await;
    leases_end(cluster, leader).await;
    cluster.settled().await;
    let log = equal_logs(cluster).await?;
    equal_hashes(cluster).await?;
    match no_lease_ended_early(history, &log) {
        // There a leader that was replaced and does not know it renews leases.
        Err(early) if cluster.side == Side::Etcd => println!("etcd: {early}"),
        outcome => outcome?,
    }
    judge_log(history, &log)
}

/// Panics with what is wrong; `what` names the test and its figures.
pub(crate) async fn expect_sound(cluster: &Cluster, history: &History, what: &str) {
    match judge(cluster, history).await {
        Ok(figures) => println!("{what}: {figures}"),
        Err(wrong) => panic!("{what}: {wrong}\n{}", cluster.describe().await),
    }
}

/// What can be said without the cluster.
pub(crate) fn judge_log(history: &History, log: &Log) -> Result<Figures, String> {
    let ids: Vec<i64> = history.leases.iter().map(|lease| lease.id).collect();
    let model = history::check_with_leases(&history.calls, log, &ids)
        .map_err(|violation| violation.to_string())?;
    for received in &history.watches {
        watch_check::check(received, &model)
            .map_err(|broken| format!("{broken}; request {:?}", received.request))?;
    }
    let undecided = match linearizable::check(&history.calls, STEPS_MAX) {
        Ok(Verdict::Linearizable) => 0,
        Ok(Verdict::Unknown(keys)) => keys.len(),
        Err(wrong) => return Err(wrong.to_string()),
    };
    Ok(Figures {
        calls: history.calls.len(),
        unanswered: unanswered(&history.calls),
        revisions: log.len(),
        watches: history.watches.len(),
        events: events(history),
        leases: history.leases.len(),
        undecided,
    })
}

fn unanswered(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.reply.is_none()).count()
}

fn events(history: &History) -> usize {
    let responses = history.watches.iter().flat_map(|watch| &watch.responses);
    responses.map(|response| response.events.len()).sum()
}

/// Nobody renews the leases of a load that has stopped: all of them end.
async fn leases_end(cluster: &Cluster, leader: Place) {
    cluster
        .until("all leases end", async || {
            let left = cluster.ask(leader, pb::LeaseLeasesRequest {}).await.ok()?;
            left.leases.is_empty().then_some(())
        })
        .await;
}

/// Every voter gives the same history to a watcher from the first revision on.
async fn equal_logs(cluster: &Cluster) -> Result<Log, String> {
    let mut first: Option<(Place, Log)> = None;
    for place in cluster.running() {
        if cluster
            .view(place)
            .await
            .is_some_and(|view| view.is_learner)
        {
            continue;
        }
        let log = read_log(&cluster.rpc(place).await)
            .await
            .map_err(|wrong| format!("member {place}: {wrong}"))?;
        match &first {
            None => first = Some((place, log)),
            Some((_, other)) if *other == log => {}
            Some((other, before)) => {
                let differ = before.iter().zip(&log).find(|(one, two)| one != two);
                return Err(format!(
                    "members {other} and {place} have other histories ({} and {} revisions): {differ:?}",
                    before.len(),
                    log.len()
                ));
            }
        }
    }
    Ok(first.expect("some member runs").1)
}

/// Reads everything up to now by a watch.
pub(crate) async fn read_log(rpc: &Rpc) -> Result<Log, String> {
    let nothing = rpc.call(range("\0", "")).await;
    let now = nothing.map_err(|status| status.to_string())?;
    let now = now.header.map_or(0, |header| header.revision);
    let mut log = BTreeMap::<i64, Vec<Event>>::new();
    let mut stream = rpc.open::<pb::WatchRequest>();
    let everything = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: 1,
        ..Default::default()
    };
    stream.create(everything).await;
    while now > 1 && log.last_key_value().is_none_or(|(at, _)| *at < now) {
        let answer = timeout(Duration::from_secs(30), stream.next())
            .await
            .map_err(|_| format!("the watch stops short of revision {now}"))?
            .map_err(|status| status.to_string())?;
        if answer.canceled {
            return Err(format!("the history cannot be watched: {answer:?}"));
        }
        for event in answer.events {
            let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            log.entry(at).or_default().push(event);
        }
    }
    Ok(log.into_iter().collect())
}

/// All members have the same hash of the same revision.
pub(crate) async fn equal_hashes(cluster: &Cluster) -> Result<(), String> {
    let mut voters = Vec::new();
    let mut at = i64::MAX;
    for place in cluster.running() {
        let view = cluster.told(place).await;
        // A learner is not asked for hashes.
        if !view.is_learner {
            voters.push(place);
            at = at.min(view.revision);
        }
    }
    let mut hashes = Vec::new();
    for place in voters {
        let request = pb::HashKvRequest { revision: at };
        let url = cluster.members[place].client_url();
        let answer = members::ask(&url, request, HASH_MAX)
            .await
            .map_err(|status| status.to_string())?;
        hashes.push((place, answer.hash, answer.compact_revision));
    }
    let all_equal = hashes
        .windows(2)
        .all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    if all_equal {
        return Ok(());
    }
    Err(format!("hashes of revision {at} differ: {hashes:?}"))
}

/// No revision that ended a lease was seen before the lease's time.
fn no_lease_ended_early(history: &History, log: &Log) -> Result<(), String> {
    // When a revision is first known to have been there: the earliest answer that has it or a later one.
    let mut seen: BTreeMap<i64, u64> = BTreeMap::new();
    for call in &history.calls {
        if let Some(reply) = &call.reply {
            let first = seen.entry(reply.revision()).or_insert(u64::MAX);
            *first = call.returned.min(*first);
        }
    }
    let mut earliest = u64::MAX;
    for first in seen.values_mut().rev() {
        earliest = earliest.min(*first);
        *first = earliest;
    }
    let mut ends: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (revision, events) in log {
        for kv in events.iter().filter_map(|event| event.kv.as_ref()) {
            if kv.version == 0 {
                ends.insert(&kv.key, *revision);
            }
        }
    }
    for lease in &history.leases {
        if let Some(told) = lease.told_gone.filter(|told| *told < lease.alive_until) {
            let early = Duration::from_nanos(lease.alive_until - told);
            return Err(format!("lease {} was gone {early:?} too early", lease.id));
        }
        let Some(revision) = ends.get(lease.key.as_bytes()) else {
            continue;
        };
        let known = seen.range(revision..).next();
        let known = known.map_or(u64::MAX, |(_, first)| *first);
        if known < lease.alive_until {
            let early = Duration::from_nanos(lease.alive_until - known);
            return Err(format!(
                "lease {} ended {early:?} too early, at revision {revision}",
                lease.id
            ));
        }
    }
    Ok(())
}
