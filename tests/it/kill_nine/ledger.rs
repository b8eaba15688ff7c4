//! Everything that was acknowledged and everything that the history shows, and whether they agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kvorum_proto::{etcdserverpb as pb, mvccpb};

use super::client::{Change, Outcome, Write, prefix};
use crate::{both::range, rpc::Rpc};

/// The state of one key: who wrote it last, and what.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    mod_revision: i64,
    value: String,
}

/// The history so far, as read back from the server.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Every revision's changes, in order.
    history: BTreeMap<i64, Write>,
    /// What the history adds up to.
    state: BTreeMap<String, Held>,
    acknowledged: usize,
    leases: Vec<i64>,
}

impl Ledger {
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub(super) fn changes(&self) -> usize {
        self.history.values().map(Vec::len).sum()
    }

    /// The keys that client `number` would find.
    pub(super) fn existing_keys(&self, number: usize) -> Vec<String> {
        let prefix = prefix(number);
        let keys = self.state.range(prefix.clone()..).map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// Notes the keys that were put before the first kill.
    pub(super) fn first_keys(&mut self, revision: i64, keys: &[String]) {
        let value = "x".repeat(100);
        let write = keys
            .iter()
            .map(|key| (key.clone(), Some(value.clone())))
            .collect();
        self.acknowledged += 1;
        self.apply(revision, write);
    }

    fn apply(&mut self, revision: i64, write: Write) {
        for (key, value) in &write {
            match value.clone() {
                Some(value) => {
                    let held = Held {
                        mod_revision: revision,
                        value,
                    };
                    self.state.insert(key.clone(), held);
                }
                None => {
                    self.state.remove(key);
                }
            }
        }
        self.history.insert(revision, write);
    }

    fn last_revision(&self) -> i64 {
        self.history
            .last_key_value()
            .map_or(1, |(revision, _)| *revision)
    }

    /// Compares what the server holds now with what it acknowledged before it was killed.
    pub(super) async fn check(&mut self, rpc: &Rpc, outcome: Outcome) -> Result<(), String> {
        let before = self.last_revision();
        let added = read_history(rpc, before + 1).await?;
        added_is_explained(&added, &outcome, before)?;
        self.acknowledged += outcome.acknowledged.len();
        self.leases.extend(outcome.leases);
        for (revision, write) in added {
            self.apply(revision, write);
        }
        self.check_state(rpc).await?;
        self.check_leases(rpc).await
    }

    /// Reads the whole history again: it must not have changed since it was first read.
    pub(super) async fn check_from_the_start(&self, rpc: &Rpc) -> Result<(), String> {
        let history = read_history(rpc, 1).await?;
        if history == self.history {
            return Ok(());
        }
        let changed = self
            .history
            .iter()
            .find(|(revision, write)| history.get(revision) != Some(write));
        Err(format!(
            "the history has {} revisions and had {}; first difference: had {changed:?}",
            history.len(),
            self.history.len()
        ))
    }

    /// All keys with their values and revisions are what the history says.
    async fn check_state(&self, rpc: &Rpc) -> Result<(), String> {
        let answer = rpc
            .call(range("\0", "\0"))
            .await
            .map_err(|status| status.to_string())?;
        let mut held = BTreeMap::new();
        for kv in answer.kvs {
            let (key, value) = (text(&kv.key), text(&kv.value));
            held.insert(
                key,
                Held {
                    mod_revision: kv.mod_revision,
                    value,
                },
            );
        }
        if held == self.state {
            return Ok(());
        }
        let wrong = self
            .state
            .iter()
            .find(|(key, state)| held.get(*key) != Some(state));
        let extra = held.iter().find(|(key, _)| !self.state.contains_key(*key));
        Err(format!(
            "state and history disagree: lost {wrong:?}, not in the history {extra:?}"
        ))
    }

    /// Every lease that was granted still lives: their time is far from up.
    async fn check_leases(&self, rpc: &Rpc) -> Result<(), String> {
        let answer = rpc
            .call(pb::LeaseLeasesRequest {})
            .await
            .map_err(|status| status.to_string())?;
        let held: BTreeSet<i64> = answer.leases.iter().map(|lease| lease.id).collect();
        match self.leases.iter().find(|id| !held.contains(id)) {
            Some(id) => Err(format!("lease {id:x} was granted and is gone")),
            None => Ok(()),
        }
    }
}

/// Every acknowledged write is there at its revision, the rest was asked for, and there is no gap.
fn added_is_explained(
    added: &BTreeMap<i64, Write>,
    outcome: &Outcome,
    before: i64,
) -> Result<(), String> {
    let mut answered: HashMap<i64, &Write> = HashMap::new();
    for (revision, write) in &outcome.acknowledged {
        if let Some(other) = answered.insert(*revision, write) {
            return Err(format!(
                "revision {revision} was issued twice: {other:?} and {write:?}"
            ));
        }
        if *revision <= before {
            return Err(format!(
                "revision {revision} was issued again, to {write:?}"
            ));
        }
        match added.get(revision) {
            Some(found) if sorted(found) == sorted(write) => {}
            found => {
                return Err(format!(
                    "lost: {write:?} was acknowledged at {revision}, found {found:?}"
                ));
            }
        }
    }
    let mut expected = before;
    for (revision, found) in added {
        expected += 1;
        if *revision != expected {
            return Err(format!("revision {expected} is missing from the history"));
        }
        let known = answered.contains_key(revision)
            || outcome
                .unknown
                .iter()
                .any(|write| sorted(write) == sorted(found));
        if !known {
            return Err(format!("nobody asked for {found:?} at {revision}"));
        }
    }
    Ok(())
}

/// A write's changes in the order of their keys.
fn sorted(write: &Write) -> Vec<&Change> {
    let mut changes: Vec<&Change> = write.iter().collect();
    changes.sort();
    changes
}

/// Reads the history from `start` up to now through one watcher.
async fn read_history(rpc: &Rpc, start: i64) -> Result<BTreeMap<i64, Write>, String> {
    let now = rpc
        .call(range("\0", ""))
        .await
        .map_err(|status| status.to_string())?;
    let now = now.header.expect("header").revision;
    let mut history = BTreeMap::<i64, Write>::new();
    if start > now {
        return Ok(history);
    }
    let mut stream = rpc.open::<pb::WatchRequest>();
    let whole_store = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: start,
        ..Default::default()
    };
    stream.create(whole_store).await;
    while history
        .last_key_value()
        .is_none_or(|(revision, _)| *revision < now)
    {
        let answer = stream.next().await.map_err(|status| status.to_string())?;
        if answer.canceled {
            return Err(format!("the history cannot be watched: {answer:?}"));
        }
        for event in answer.events {
            let (revision, change) = change(event);
            history.entry(revision).or_default().push(change);
        }
    }
    Ok(history)
}

fn change(event: mvccpb::Event) -> (i64, Change) {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    let kv = event.kv.expect("every event has its key");
    (
        kv.mod_revision,
        (text(&kv.key), (!deleted).then(|| text(&kv.value))),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: &str) -> Write {
        vec![("k".to_owned(), Some(value.to_owned()))]
    }

    fn verdict(added: &[(i64, &str)], acknowledged: &[(i64, &str)], unknown: &[&str]) -> String {
        let added = added
            .iter()
            .map(|(revision, value)| (*revision, write(value)))
            .collect();
        let outcome = Outcome {
            acknowledged: acknowledged
                .iter()
                .map(|(at, value)| (*at, write(value)))
                .collect(),
            unknown: unknown.iter().map(|value| write(value)).collect(),
            leases: Vec::new(),
        };
        added_is_explained(&added, &outcome, 4)
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn what_was_acknowledged_or_may_have_happened_is_explained() {
        assert_eq!(verdict(&[(5, "a"), (6, "b")], &[(5, "a")], &["b", "c"]), "");
    }

    #[test]
    fn losses_repeats_gaps_and_inventions_are_found() {
        assert!(verdict(&[], &[(5, "a")], &[]).contains("lost"));
        assert!(verdict(&[(5, "b")], &[(5, "a")], &["b"]).contains("lost"));
        assert!(verdict(&[(5, "a")], &[(5, "a"), (5, "b")], &[]).contains("twice"));
        assert!(verdict(&[], &[(4, "a")], &[]).contains("again"));
        assert!(verdict(&[(6, "a")], &[(6, "a")], &[]).contains("missing"));
        assert!(verdict(&[(5, "x")], &[], &["a"]).contains("nobody"));
    }
}
