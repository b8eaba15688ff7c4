//! What the clients ask for: few keys that everybody touches, values that nobody else writes.

use std::collections::BTreeMap;

use kvorum_proto::{etcdserverpb as pb, mvccpb::KeyValue};
use kvorum_tests::harness::history::{Reply, Request};

use crate::{
    both::{delete, get, op, put, range, txn},
    seed::Seed,
};

/// So few that clients meet.
const KEYS: u64 = 12;

/// One client's choices.
#[derive(Debug)]
pub(super) struct Draw {
    number: usize,
    serial: u64,
    random: Seed,
    /// The revision at which this client last saw a key change, to compare with.
    seen: BTreeMap<Vec<u8>, i64>,
}

impl Draw {
    pub(super) fn new(number: usize, random: Seed) -> Self {
        Self {
            number,
            serial: 0,
            random,
            seen: BTreeMap::new(),
        }
    }

    fn key(&mut self) -> String {
        format!("k/{:02}", self.random.below(KEYS))
    }

    /// Says who wrote it and when, so that the history can tell all writes apart.
    fn value(&mut self) -> String {
        self.serial += 1;
        let more = "v".repeat(self.random.below(60) as usize);
        format!("{}.{}.{more}", self.number, self.serial)
    }

    pub(super) fn next(&mut self) -> Request {
        let key = self.key();
        match self.random.below(100) {
            0..30 => Request::Put(self.put(&key)),
            30..52 => Request::Range(get(&key)),
            52..57 => Request::Range(pb::RangeRequest {
                serializable: true,
                ..get(&key)
            }),
            57..62 => Request::Range(range("k/", "k0")),
            62..80 => Request::Txn(self.compare_and_put(&key)),
            80..86 => Request::DeleteRange(pb::DeleteRangeRequest {
                prev_kv: self.random.below(2) == 0,
                ..delete(&key)
            }),
            86..88 => Request::DeleteRange(pb::DeleteRangeRequest {
                range_end: format!("{key}\u{7f}").into(),
                prev_kv: true,
                ..delete(&key)
            }),
            88..97 => Request::Txn(self.several()),
            _ => Request::Txn(txn(vec![op(get(&key)), op(range("k/", "k0"))])),
        }
    }

    fn put(&mut self, key: &str) -> pb::PutRequest {
        let value = self.value();
        pb::PutRequest {
            prev_kv: self.random.below(3) == 0,
            ..put(key, &value)
        }
    }

    /// Puts if the key is still what this client saw last.
    fn compare_and_put(&mut self, key: &str) -> pb::TxnRequest {
        use pb::compare::{CompareResult, CompareTarget, TargetUnion};
        let revision = self.seen.get(key.as_bytes()).copied().unwrap_or(0);
        let compare = pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.to_owned().into(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Default::default()
        };
        pb::TxnRequest {
            compare: vec![compare],
            failure: vec![op(get(key))],
            ..txn(vec![op(self.put(key)), op(get(key))])
        }
    }

    /// Two keys and a deletion at one revision, and a read among them.
    fn several(&mut self) -> pb::TxnRequest {
        let mut keys: Vec<String> = (0..3).map(|_| self.key()).collect();
        // A transaction must not write a key twice.
        keys.dedup();
        keys.sort();
        keys.dedup();
        let mut ops = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            ops.push(match place {
                2 => op(delete(key)),
                _ => op(self.put(key)),
            });
        }
        ops.push(op(get(&keys[0])));
        txn(ops)
    }

    /// Remembers what a reply says of keys.
    pub(super) fn learn(&mut self, reply: &Reply) {
        match reply {
            Reply::Range(reply) => self.see(&reply.kvs),
            Reply::Txn(reply) => {
                for part in &reply.responses {
                    if let Some(pb::response_op::Response::ResponseRange(reply)) = &part.response {
                        self.see(&reply.kvs);
                    }
                }
            }
            Reply::Put(_) | Reply::DeleteRange(_) => {}
        }
    }

    fn see(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            self.seen.insert(kv.key.to_vec(), kv.mod_revision);
        }
    }
}
