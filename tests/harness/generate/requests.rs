//! Single requests and their parts.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;

use super::{Dice, Generator, Operation, WATCHERS_PER_STREAM};
use crate::harness::model::{Model, WatchStream};

const NOSPACE: i32 = 1;
const CORRUPT: i32 = 2;

/// A few short keys that share prefixes, with the bytes at both ends of the alphabet among them.
pub(super) fn key_space(dice: &mut Dice) -> Vec<Bytes> {
    const ALPHABET: [u8; 4] = [0x00, b'a', b'b', 0xff];
    let count = dice.pick(&[2, 5, 10, 20]);
    let mut keys: Vec<Bytes> = (0..count)
        .map(|_| {
            let len = dice.pick(&[1, 2, 2, 3]);
            (0..len)
                .map(|_| dice.pick(&ALPHABET))
                .collect::<Vec<u8>>()
                .into()
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

impl Generator {
    pub(super) fn key(&mut self) -> Bytes {
        if self.dice.one_in(150) {
            Bytes::new()
        } else {
            self.dice.pick(&self.habits.keys)
        }
    }

    /// Every form of `(key, range_end)`; points more often than the rest.
    pub(super) fn interval(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        match self.dice.below(10) {
            0..4 => (key, Bytes::new()),
            4 => (key, Bytes::from_static(b"\0")),
            5 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            6 => {
                let end = prefix_end(&key);
                (key, end)
            }
            7 => (key.clone(), key),
            8 => {
                let end = [key.as_ref(), b"\0"].concat().into();
                (key, end)
            }
            // As often as not reversed.
            _ => (key, self.dice.pick(&self.habits.keys)),
        }
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        match self.dice.below(12) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"same"),
            2 => Bytes::from_static(b"\0\xff\0"),
            3 => vec![b'x'; self.dice.index(600)].into(),
            _ => format!("v{}", self.values).into(),
        }
    }

    /// 0 most often; else somewhere in the past, at the compact revision and beside it, in the future, or nonsense.
    pub(super) fn revision(&mut self, model: &Model) -> i64 {
        let (now, compacted) = (model.revision(), model.compact_revision());
        match self.dice.below(20) {
            0..10 => 0,
            10..15 => compacted.max(1) + self.dice.up_to((now - compacted.max(1)).max(0)),
            15 => now,
            16 => compacted,
            17 => compacted - 1,
            18 => now + 1,
            _ => self.dice.pick(&[now + 5, -1, -2, i64::MIN, i64::MAX, 1]),
        }
    }

    /// A revision for a filter: off most often.
    fn bound(&mut self, model: &Model) -> i64 {
        if self.dice.one_in(6) {
            self.dice.up_to(model.revision() + 1)
        } else {
            0
        }
    }

    pub(super) fn range(&mut self, model: &Model) -> pb::RangeRequest {
        let (key, range_end) = self.interval();
        let nonsense = [-1, 3, 5, 77];
        pb::RangeRequest {
            key,
            range_end,
            limit: match self.dice.below(12) {
                0..6 => 0,
                6..11 => 1 + self.dice.up_to(4),
                _ => self.dice.pick(&[-1, i64::MIN, i64::MAX]),
            },
            revision: self.revision(model),
            sort_order: match self.dice.below(60) {
                0 => self.dice.pick(&nonsense),
                roll => [0, 0, 0, 1, 2]
                    .get(usize::try_from(roll % 5).unwrap_or(0))
                    .copied()
                    .unwrap_or(0),
            },
            sort_target: match self.dice.below(60) {
                0 => self.dice.pick(&nonsense),
                1..30 => 0,
                _ => self.dice.pick(&[0, 1, 2, 3, 4]),
            },
            serializable: self.dice.one_in(4),
            keys_only: self.dice.one_in(5),
            count_only: self.dice.one_in(8),
            min_mod_revision: self.bound(model),
            max_mod_revision: self.bound(model),
            min_create_revision: self.bound(model),
            max_create_revision: self.bound(model),
        }
    }

    pub(super) fn put(&mut self, model: &Model) -> pb::PutRequest {
        let ignore_value = self.dice.one_in(12);
        let ignore_lease = self.dice.one_in(12);
        // What is ignored is now and then given all the same.
        let give_value = !ignore_value || self.dice.one_in(6);
        let give_lease = !ignore_lease || self.dice.one_in(6);
        pb::PutRequest {
            key: self.key(),
            value: if give_value {
                self.value()
            } else {
                Bytes::new()
            },
            lease: if give_lease && self.dice.one_in(3) {
                self.lease_id(model)
            } else {
                0
            },
            prev_kv: self.dice.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    pub(super) fn delete_range(&mut self) -> pb::DeleteRangeRequest {
        let (key, mut range_end) = self.interval();
        // Wide deletes would leave nothing to read.
        if self.dice.below(100) >= self.habits.deletes {
            range_end = Bytes::new();
        }
        pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.dice.one_in(2),
        }
    }

    /// A lease that exists, mostly.
    fn lease_id(&mut self, model: &Model) -> i64 {
        let ids: Vec<i64> = model.leases().map(|(id, _)| id).collect();
        if ids.is_empty() || self.dice.one_in(15) {
            return self.dice.pick(&[self.next_lease, 1, -3, i64::MAX]);
        }
        self.dice.pick(&ids)
    }

    pub(super) fn lease(&mut self, model: &Model) -> Operation {
        let id = self.lease_id(model);
        let few = model.leases().count() < 4;
        match self.dice.below(10) {
            0..3 if few => Operation::LeaseGrant(self.grant(id)),
            0..5 => Operation::LeaseRevoke(pb::LeaseRevokeRequest { id }),
            5..7 => Operation::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id }),
            7..9 => {
                let keys = self.dice.one_in(2);
                Operation::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
            _ => Operation::LeaseLeases,
        }
    }

    fn grant(&mut self, taken: i64) -> pb::LeaseGrantRequest {
        self.next_lease += 1;
        pb::LeaseGrantRequest {
            ttl: self.dice.pick(&[
                0,
                -1,
                1,
                3,
                5,
                20,
                600,
                9_000_000_000,
                9_000_000_001,
                i64::MAX,
            ]),
            id: if self.dice.one_in(10) {
                taken
            } else {
                self.next_lease
            },
        }
    }

    pub(super) fn alarm(&mut self) -> pb::AlarmRequest {
        pb::AlarmRequest {
            action: self.dice.pick(&[0, 1, 1, 2]),
            member_id: self.dice.pick(&[1, 2, u64::MAX]),
            alarm: self.dice.pick(&[0, NOSPACE, NOSPACE, CORRUPT]),
        }
    }

    pub(super) fn disarm(&mut self, model: &Model) -> Operation {
        let raised: Vec<_> = model.alarms().collect();
        let (alarm, member_id) = self.dice.pick(&raised);
        Operation::Alarm(pb::AlarmRequest {
            action: 2,
            member_id,
            alarm,
        })
    }

    pub(super) fn watch(&mut self, model: &Model, streams: &[WatchStream]) -> Operation {
        let stream = self.stream();
        let ids: Vec<i64> = streams[stream].watchers.keys().copied().collect();
        let full = ids.len() >= WATCHERS_PER_STREAM;
        let request = match self.dice.below(20) {
            0..8 if !full => RequestUnion::CreateRequest(self.watcher(model)),
            0..13 => {
                let some = if ids.is_empty() {
                    0
                } else {
                    self.dice.pick(&ids)
                };
                let watch_id = if self.dice.one_in(10) { 99 } else { some };
                RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })
            }
            13..18 => RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
            18 => return Operation::Reconnect(stream),
            _ => {
                return Operation::Watch(
                    stream,
                    pb::WatchRequest {
                        request_union: None,
                    },
                );
            }
        };
        Operation::Watch(
            stream,
            pb::WatchRequest {
                request_union: Some(request),
            },
        )
    }

    fn watcher(&mut self, model: &Model) -> pb::WatchCreateRequest {
        let (key, range_end) = self.interval();
        let filters: [&[i32]; 8] = [&[], &[], &[], &[], &[0], &[1], &[0, 1], &[7]];
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.revision(model),
            progress_notify: self.dice.one_in(3),
            filters: self.dice.pick(&filters).to_vec(),
            prev_kv: self.dice.one_in(2),
            watch_id: self.dice.pick(&[0, 0, 0, 0, 1, 2, 3, -5, i64::MAX]),
            fragment: self.dice.one_in(4),
        }
    }
}

/// The end of the interval of keys that begin with `prefix`, as clients compute it.
#[must_use]
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff);
    match kept {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(b"\0"),
    }
}
