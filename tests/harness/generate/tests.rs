//! That the generator reaches what it is for.

use std::collections::BTreeMap;

use kvorum_proto::etcdserverpb::watch_request::RequestUnion;

use super::requests::prefix_end;
use super::{Generator, Operation, STREAMS};
use crate::harness::model::{Limits, Model, ModelError, WatchStream};

/// The model alone, driven as a server would be; counts how often each kind of operation came to each outcome.
struct Census {
    model: Model,
    streams: Vec<WatchStream>,
    seen: BTreeMap<String, u64>,
}

impl Census {
    fn count<T>(&mut self, kind: &str, outcome: Result<T, ModelError>) {
        let outcome = outcome.map_or_else(|error| format!("{error:?}"), |_| "Ok".to_owned());
        *self.seen.entry(format!("{kind} {outcome}")).or_default() += 1;
    }

    fn apply(&mut self, operation: Operation) {
        let model = &mut self.model;
        match operation {
            Operation::Range(r) => {
                let reply = model.range(&r);
                self.count("range", reply)
            }
            Operation::Put(r) => {
                let reply = model.put(&r);
                self.count("put", reply)
            }
            Operation::DeleteRange(r) => {
                let reply = model.delete_range(&r);
                self.count("delete", reply)
            }
            Operation::Txn(r) => {
                let reply = model.txn(&r);
                self.count("txn", reply)
            }
            Operation::Compact(r) => {
                let reply = model.compact(&r);
                self.count("compact", reply)
            }
            Operation::LeaseGrant(r) => {
                let reply = model.lease_grant(&r);
                self.count("grant", reply)
            }
            Operation::LeaseRevoke(r) => {
                let reply = model.lease_revoke(&r);
                self.count("revoke", reply)
            }
            Operation::HashKv(r) => {
                let reply = model.hash_kv(&r);
                self.count("hash", reply)
            }
            Operation::Alarm(r) => {
                model.alarm(&r);
            }
            Operation::Pass(ms) => model.advance_ms(ms),
            Operation::Reconnect(stream) => self.streams[stream] = WatchStream::default(),
            Operation::Watch(stream, request) => self.watch(stream, request.request_union),
            _ => {}
        }
    }

    fn watch(&mut self, stream: usize, request: Option<RequestUnion>) {
        let Some(RequestUnion::CreateRequest(create)) = request else {
            return;
        };
        let refused = self.streams[stream]
            .create(&self.model, &create)
            .cancel_reason;
        let outcome = if refused.is_empty() {
            "watch created".to_owned()
        } else {
            refused
        };
        *self.seen.entry(outcome).or_default() += 1;
    }
}

fn census(seeds: u64, steps: u64) -> BTreeMap<String, u64> {
    let mut all = Census {
        model: Model::default(),
        streams: vec![],
        seen: BTreeMap::new(),
    };
    for seed in 0..seeds {
        all.model = Model::new(Limits {
            max_txn_ops: 8,
            ..Limits::default()
        });
        all.streams = vec![WatchStream::default(); STREAMS];
        let mut generator = Generator::new(seed, 8);
        for _ in 0..steps {
            if let Some(compaction) = generator.compaction(&all.model) {
                all.apply(compaction);
            }
            let operation = generator.next(&all.model, &all.streams);
            all.apply(operation);
        }
    }
    all.seen
}

#[test]
fn every_outcome_of_every_request_is_reached() {
    let seen = census(60, 1_000);
    let expected = [
        "range Ok",
        "range EmptyKey",
        "range InvalidSortOption",
        "range Compacted",
        "range FutureRevision",
        "put Ok",
        "put EmptyKey",
        "put ValueProvided",
        "put LeaseProvided",
        "put KeyNotFound",
        "put LeaseNotFound",
        "put NoSpace",
        "put Corrupt",
        "delete Ok",
        "delete EmptyKey",
        "delete Corrupt",
        "txn Ok",
        "txn EmptyKey",
        "txn InvalidSortOption",
        "txn TooManyOps",
        "txn DuplicateKey",
        "txn KeyNotFound",
        "txn LeaseNotFound",
        "txn ValueProvided",
        "txn Compacted",
        "txn FutureRevision",
        "txn NoSpace",
        "txn Corrupt",
        "compact Ok",
        "compact Compacted",
        "compact FutureRevision",
        "grant Ok",
        "grant LeaseExists",
        "grant LeaseTtlTooLarge",
        "grant NoSpace",
        "revoke Ok",
        "revoke LeaseNotFound",
        "hash Ok",
        "hash Compacted",
        "hash FutureRevision",
        "watch created",
        "mvcc: watcher range is empty",
        "mvcc: duplicate watch ID provided on the WatchStream",
        "etcdserver: mvcc: required revision has been compacted",
    ];
    let missing: Vec<_> = expected
        .iter()
        .filter(|outcome| !seen.contains_key(**outcome))
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:?} of {seen:#?}");
    let share = |outcome: &str| seen[&format!("txn {outcome}")];
    let refused: u64 = seen
        .iter()
        .filter(|(k, _)| k.starts_with("txn "))
        .map(|(_, n)| n)
        .sum::<u64>()
        - share("Ok");
    assert!(
        share("Ok") > refused,
        "most transactions are to get through: {seen:#?}"
    );
}

#[test]
fn equal_seeds_give_equal_stories() {
    let story = |seed| {
        let mut generator = Generator::new(seed, 8);
        let model = Model::default();
        let streams = vec![WatchStream::default(); STREAMS];
        (0..200)
            .map(|_| generator.next(&model, &streams).to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn a_prefix_ends_after_its_last_key() {
    assert_eq!(prefix_end(b"ab").as_ref(), b"ac");
    assert_eq!(prefix_end(b"a\xff\xff").as_ref(), b"b");
    assert_eq!(prefix_end(b"\xff").as_ref(), b"\0");
}
