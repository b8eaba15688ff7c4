//! HashKV is etcd's own number, so that etcd's tools can compare members.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir, start_etcd};
use kvorum_tests::reference;
use tonic::Code;

use crate::both::{delete, on_both, op, put, refused, txn};
use crate::number_from_env;
use crate::rpc::Rpc;

#[tokio::test]
async fn the_hash_of_a_history_is_the_number_etcd_gives() {
    on_both("hash-kv", async |rpc, side| {
        for (key, value) in [("a", "1"), ("a", "2"), ("b/1", "x")] {
            rpc.call(put(key, value)).await.expect("put");
        }
        rpc.call(delete("b/1")).await.expect("delete");
        rpc.call(put("b/1", "y")).await.expect("put");
        rpc.call(put("c", "z")).await.expect("put");
        let compact = pb::CompactionRequest {
            revision: 4,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction");
        rpc.call(put("d", "3")).await.expect("put");
        rpc.call(delete("a")).await.expect("delete");
        let hash = async |revision| {
            let answer = rpc
                .call(pb::HashKvRequest { revision })
                .await
                .expect("hash");
            (answer.hash, answer.compact_revision, answer.hash_revision)
        };
        assert_eq!(hash(0).await, (3_294_298_418, 4, 9), "{side:?}");
        assert_eq!(hash(6).await, (1_479_949_269, 4, 6), "{side:?}");
    })
    .await;
}

#[tokio::test]
async fn revisions_out_of_bounds_are_answered_as_etcd_does() {
    on_both("hash-bounds", async |rpc, side| {
        for value in ["1", "2", "3"] {
            rpc.call(put("a", value)).await.expect("put");
        }
        let hash = async |revision| rpc.call(pb::HashKvRequest { revision }).await;
        let never = hash(0).await.expect("hash");
        assert_eq!(
            (never.compact_revision, never.hash_revision),
            (-1, 4),
            "{side:?}"
        );
        let compact = pb::CompactionRequest {
            revision: 3,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction");
        // Below zero nothing is refused and nothing is hashed but the name of the bucket.
        for revision in [-1, -7, i64::MIN] {
            let answer = hash(revision).await.expect("hash");
            let told = (answer.hash, answer.compact_revision, answer.hash_revision);
            assert_eq!(told, (1_084_519_789, 3, revision), "{side:?}");
            assert_eq!(answer.header.expect("header").revision, 4);
        }
        let text = "etcdserver: mvcc: required revision has been compacted";
        refused(hash(2).await, Code::OutOfRange, text);
        let text = "etcdserver: mvcc: required revision is a future revision";
        refused(hash(5).await, Code::OutOfRange, text);
        refused(hash(i64::MAX).await, Code::OutOfRange, text);
    })
    .await;
}

/// Xorshift: what matters is that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn key(&mut self) -> Bytes {
        let number = u8::try_from(self.below(12)).expect("small");
        Bytes::from(vec![number, 0, 0xff - number])
    }
}

/// One step of a history, the same on both sides.
enum Step {
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Grant(i64),
    Revoke(i64),
    Compact(i64),
}

/// What both sides are at.
struct History {
    dice: Dice,
    revision: i64,
    compacted: i64,
    leases: Vec<i64>,
}

impl History {
    fn put(&mut self, key: Bytes) -> pb::PutRequest {
        let lease = self.dice.below(2 * self.leases.len() as u64 + 1) as usize;
        pb::PutRequest {
            key,
            value: vec![b'v'; self.dice.below(40) as usize].into(),
            lease: self.leases.get(lease).copied().unwrap_or(0),
            ..Default::default()
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let key = self.dice.key();
        let to_the_end = self.dice.below(12) == 0;
        pb::DeleteRangeRequest {
            key,
            range_end: if to_the_end {
                Bytes::from_static(b"\0")
            } else {
                Bytes::new()
            },
            ..Default::default()
        }
    }

    fn step(&mut self) -> Step {
        match self.dice.below(20) {
            0..9 => {
                let key = self.dice.key();
                Step::Put(self.put(key))
            }
            9..13 => Step::Delete(self.delete()),
            13..16 => {
                let mut keys: Vec<Bytes> = (0..4).map(|_| self.dice.key()).collect();
                keys.sort();
                keys.dedup();
                let deleted = keys.pop().expect("one at least");
                let mut ops: Vec<_> = keys.into_iter().map(|key| op(self.put(key))).collect();
                ops.push(op(pb::DeleteRangeRequest {
                    key: deleted,
                    ..Default::default()
                }));
                Step::Txn(txn(ops))
            }
            16 => Step::Grant(1 + self.dice.below(1 << 40) as i64),
            17 if !self.leases.is_empty() => {
                let which = self.dice.below(self.leases.len() as u64) as usize;
                Step::Revoke(self.leases.remove(which))
            }
            18 if self.revision > self.compacted + 1 => {
                let span = (self.revision - self.compacted) as u64;
                self.compacted += 1 + self.dice.below(span) as i64;
                Step::Compact(self.compacted)
            }
            _ => Step::Delete(self.delete()),
        }
    }
}

/// Carries a step out and gives the revision after it.
async fn carry_out(rpc: &Rpc, step: &Step) -> i64 {
    let header = match step {
        Step::Put(r) => rpc.call(r.clone()).await.expect("put").header,
        Step::Delete(r) => rpc.call(r.clone()).await.expect("delete").header,
        Step::Txn(r) => rpc.call(r.clone()).await.expect("txn").header,
        Step::Grant(id) => {
            let grant = pb::LeaseGrantRequest { id: *id, ttl: 9999 };
            rpc.call(grant).await.expect("grant").header
        }
        Step::Revoke(id) => {
            let revoke = pb::LeaseRevokeRequest { id: *id };
            rpc.call(revoke).await.expect("revoke").header
        }
        Step::Compact(revision) => {
            let compact = pb::CompactionRequest {
                revision: *revision,
                physical: true,
            };
            rpc.call(compact).await.expect("compaction").header
        }
    };
    header.expect("header").revision
}

/// etcd 3.6 answers at the revision of one of its last compactions with the hash of that compaction, and 3.4 refuses
/// there; everywhere above, all agree.
#[tokio::test]
async fn equal_histories_have_equal_hashes_at_every_revision() {
    let Some(binary) = reference::etcd() else {
        println!("SKIP equal histories: no etcd to compare with");
        return;
    };
    let seed = number_from_env("KVORUM_TEST_HASH_SEED", 7);
    let steps = number_from_env("KVORUM_TEST_HASH_STEPS", 600);
    let dir = TestDir::new("hash-histories");
    let (ours, etcd) = (
        Options::new(&dir).start(),
        start_etcd(&binary, &dir, &["--unsafe-no-fsync"]),
    );
    let ours = Rpc::connect(&ours.url()).await.expect("connects");
    let etcd = Rpc::connect(&etcd.url()).await.expect("connects");
    let mut history = History {
        dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1)),
        revision: 1,
        compacted: 1,
        leases: Vec::new(),
    };
    let mut compared = 0;
    for number in 0..steps {
        let step = history.step();
        let revision = carry_out(&ours, &step).await;
        assert_eq!(
            revision,
            carry_out(&etcd, &step).await,
            "seed {seed}, step {number}"
        );
        history.revision = revision;
        if let Step::Grant(id) = step {
            history.leases.push(id);
        }
        let span = (revision - history.compacted).max(1) as u64;
        let some = [
            0,
            revision,
            history.compacted + 1 + history.dice.below(span) as i64,
        ];
        for revision in some
            .into_iter()
            .filter(|at| *at == 0 || (history.compacted < *at && *at <= revision))
        {
            if revision == 0 && history.compacted == history.revision {
                continue;
            }
            let ask = pb::HashKvRequest { revision };
            let (left, right) = (
                ours.call(ask).await.expect("hash"),
                etcd.call(ask).await.expect("hash"),
            );
            let told = |answer: &pb::HashKvResponse| (answer.hash, answer.compact_revision);
            assert_eq!(
                told(&left),
                told(&right),
                "seed {seed}, step {number}, revision {revision}"
            );
            compared += 1;
        }
    }
    println!("HashKV: {compared} hashes are equal on both, seed {seed}");
    assert!(compared > steps);
}
