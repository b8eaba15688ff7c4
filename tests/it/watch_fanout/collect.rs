//! Reads one watch stream to its end and keeps what each watcher was told.

use std::{collections::HashMap, time::Duration};

use kvorum_proto::{etcdserverpb as pb, mvccpb};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::expect::{Seen, key_number};
use crate::rpc::Duplex;

/// By watch id, what was seen.
pub(super) type Collected = HashMap<i64, Vec<Seen>>;

/// Far above what the slowest machine needs between two answers.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads until `finished` tells how many events there are in all and they have come, then asks for progress: no event
/// may come after the answer, so one more would be found before it.
pub(super) async fn run(
    mut stream: Duplex<pb::WatchRequest>,
    members: Vec<usize>,
    mut finished: oneshot::Receiver<(usize, i64)>,
) -> Result<Collected, String> {
    let mut collected: Collected = members
        .iter()
        .map(|index| (*index as i64 + 1, Vec::new()))
        .collect();
    let mut total = 0;
    let mut end = None;
    while end.is_none_or(|(count, _)| total < count) {
        tokio::select! {
            told = &mut finished, if end.is_none() => {
                end = Some(told.map_err(|_| "the test was given up".to_owned())?);
            }
            answer = timeout(SILENCE, stream.next()) => {
                let answer = answer.map_err(|_| missing(total, end, &collected))?;
                total += take(&mut collected, answer.map_err(|status| status.to_string())?)?;
            }
        }
    }
    let last = end.map_or(0, |(_, last)| last);
    progress(&mut stream, &mut collected, last).await?;
    Ok(collected)
}

fn missing(total: usize, end: Option<(usize, i64)>, collected: &Collected) -> String {
    let mut ends: Vec<_> = collected
        .iter()
        .map(|(id, seen)| (*id, seen.len(), seen.last().map(|seen| seen.revision)))
        .collect();
    ends.sort_unstable();
    format!("no event for a minute; {total} came, (count, revision) {end:?}; watchers: {ends:?}")
}

/// Asks until the server says that everything was delivered. It may stay silent while watchers catch up.
async fn progress(
    stream: &mut Duplex<pb::WatchRequest>,
    collected: &mut Collected,
    last: i64,
) -> Result<(), String> {
    for _ in 0..100 {
        stream.progress().await;
        match timeout(Duration::from_millis(300), stream.next()).await {
            Err(_) => {}
            Ok(Err(status)) => return Err(status.to_string()),
            Ok(Ok(answer)) if answer.watch_id == -1 => {
                let revision = answer.header.map_or(0, |header| header.revision);
                if revision == last {
                    return Ok(());
                }
                return Err(format!(
                    "progress to revision {revision}, the last is {last}"
                ));
            }
            Ok(Ok(answer)) => {
                take(collected, answer)?;
            }
        }
    }
    Err("progress is never told".to_owned())
}

/// Keeps the events of one answer and returns how many they were.
fn take(collected: &mut Collected, answer: pb::WatchResponse) -> Result<usize, String> {
    if answer.canceled {
        return Err(format!("canceled: {answer:?}"));
    }
    let count = answer.events.len();
    if count == 0 {
        return Ok(0);
    }
    let seen = collected.get_mut(&answer.watch_id).ok_or_else(|| {
        format!(
            "events for watcher {}, which is not on this stream",
            answer.watch_id
        )
    })?;
    let before = seen.last().map_or(0, |seen| seen.revision);
    for event in answer.events {
        seen.push(read(event)?);
    }
    let first = seen[seen.len() - count].revision;
    if first <= before {
        let id = answer.watch_id;
        return Err(format!(
            "watcher {id}: revision {first} comes in an answer after revision {before}"
        ));
    }
    Ok(count)
}

fn read(event: mvccpb::Event) -> Result<Seen, String> {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    let kv = event.kv.ok_or("an event without a key")?;
    let previous = match event.prev_kv {
        Some(previous) => Some((previous.mod_revision, name(&previous.value)?)),
        None => None,
    };
    Ok(Seen {
        revision: kv.mod_revision,
        key: key_number(&kv.key)
            .ok_or_else(|| format!("an event for another key: {:?}", kv.key))?,
        name: if deleted {
            None
        } else {
            Some(name(&kv.value)?)
        },
        previous,
    })
}

fn name(value: &[u8]) -> Result<u64, String> {
    let digits = value
        .get(..16)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let name = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    name.ok_or_else(|| format!("a value that nobody wrote: {value:?}"))
}
