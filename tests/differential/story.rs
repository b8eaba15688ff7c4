//! What a seed's story is made of: the common generator's operations, and what only a wire can carry.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::{
    generate::{Dice, Generator, Operation},
    model::{Model, WatchStream},
};
use prost::Message;

use crate::{
    messages::Rpc,
    mutate::mutate,
    odd::odd,
    pair::{MAX_TXN_OPS, TIGHT_QUOTA_BYTES},
    step::Step,
};

/// The id that kvorum's and etcd's defaults give to the first member.
pub(crate) const FIRST_MEMBER: u64 = 0x8e9e_05c5_2164_694d;

/// The story of one seed.
pub(crate) struct Story {
    generator: Generator,
    dice: Dice,
    habits: Habits,
    next_lease: i64,
}

/// Of 1,000 steps.
struct Habits {
    mutations: u64,
    odd: u64,
    expiries: u64,
    foreign_alarms: bool,
    /// The store is small, and some requests are larger than it.
    tight: bool,
}

impl Story {
    pub(crate) fn new(seed: u64, tight: bool) -> Self {
        let mut dice = Dice::new(!seed);
        let habits = Habits {
            mutations: dice.pick(&[0, 40, 120, 250]),
            odd: dice.pick(&[0, 15, 40, 100]),
            expiries: dice.pick(&[0, 0, 1, 2]),
            // With another member's alarm up, kvorum does not raise its own: not asked where a store runs full.
            foreign_alarms: dice.one_in(8) && !tight,
            tight,
        };
        Self {
            generator: Generator::new(seed, MAX_TXN_OPS),
            dice,
            habits,
            next_lease: 1_000_000,
        }
    }

    /// The next step for two servers that should be in the state of `model`.
    pub(crate) fn next(&mut self, model: &Model, streams: &[WatchStream]) -> Step {
        if let Some(compaction) = self.generator.compaction(model) {
            return Step::of(compaction).expect("a compaction is a request");
        }
        let roll = self.dice.below(1_000);
        let habits = &self.habits;
        let (odd_until, expire_until) = (habits.odd, habits.odd + habits.expiries);
        if roll < odd_until {
            return odd(&mut self.dice);
        }
        if roll < expire_until {
            return self.expiry(model);
        }
        if habits.tight && self.dice.one_in(25) {
            return self.too_much();
        }
        if roll >= 970 {
            return self.rare();
        }
        let step = self.operation(model, streams);
        if roll < expire_until + self.habits.mutations {
            self.mutated(step)
        } else {
            step
        }
    }

    fn operation(&mut self, model: &Model, streams: &[WatchStream]) -> Step {
        loop {
            let mut operation = self.generator.next(model, streams);
            if let Operation::Alarm(request) = &mut operation
                && request.action != 2
                && !(self.habits.foreign_alarms && self.dice.one_in(3))
            {
                request.member_id = FIRST_MEMBER;
            }
            if let Some(step) = Step::of(operation) {
                return step;
            }
        }
    }

    fn mutated(&mut self, step: Step) -> Step {
        let dice = &mut self.dice;
        match step {
            Step::Call(rpc, bytes) => {
                // Now and then to somebody else's door.
                let rpc = if dice.one_in(12) {
                    dice.pick(Rpc::ALL)
                } else {
                    rpc
                };
                Step::Call(rpc, mutate(dice, &bytes))
            }
            Step::KeepAlive(bytes) => Step::KeepAlive(mutate(dice, &bytes)),
            Step::Watch(stream, bytes) => Step::Watch(stream, mutate(dice, &bytes)),
            other => other,
        }
    }

    fn rare(&mut self) -> Step {
        let call = |rpc, message: Vec<u8>| Step::Call(rpc, message.into());
        match self.dice.below(12) {
            0..3 => call(Rpc::Status, Vec::new()),
            3..5 => call(
                Rpc::MemberList,
                pb::MemberListRequest {
                    linearizable: self.dice.one_in(2),
                }
                .encode_to_vec(),
            ),
            5 => call(Rpc::Defragment, Vec::new()),
            6 => call(Rpc::Hash, Vec::new()),
            7..9 => Step::HalfClose(self.dice.index(3)),
            9 => Step::HalfCloseKeepAlive,
            10 => call(Rpc::Alarm, Vec::new()),
            _ if !self.habits.tight => self.large(),
            _ => Step::Settle,
        }
    }

    /// Around the largest request that is taken, and around the largest message.
    fn large(&mut self) -> Step {
        let size = self.dice.pick(&[
            100_000, 1_000_000, 1_572_800, 1_572_864, 1_700_000, 2_097_000, 2_097_140, 2_097_152,
            2_500_000,
        ]);
        let put = pb::PutRequest {
            key: "large".into(),
            value: vec![b'x'; size].into(),
            ..Default::default()
        };
        Step::Call(Rpc::Put, put.encode_to_vec().into())
    }

    /// More than a tight store takes, whatever is in it.
    fn too_much(&mut self) -> Step {
        let put = pb::PutRequest {
            key: "a".into(),
            value: vec![b'x'; TIGHT_QUOTA_BYTES + 1_000].into(),
            ..Default::default()
        };
        if self.dice.one_in(2) {
            return Step::Call(Rpc::Put, put.encode_to_vec().into());
        }
        let txn = pb::TxnRequest {
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put)),
            }],
            ..Default::default()
        };
        Step::Call(Rpc::Txn, txn.encode_to_vec().into())
    }

    fn expiry(&mut self, model: &Model) -> Step {
        self.next_lease += 1;
        let mut keys: Vec<Bytes> = model.current().into_iter().map(|kv| kv.key).collect();
        keys.truncate(self.dice.index(4));
        Step::Expire {
            lease: self.next_lease,
            keys,
        }
    }

    /// Everything that is there, at the end.
    pub(crate) fn last_look(model: &Model) -> Vec<Step> {
        let call = |rpc, message: Vec<u8>| Step::Call(rpc, message.into());
        let all = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            ..Default::default()
        };
        let mut steps = vec![
            Step::Settle,
            call(Rpc::Range, all.encode_to_vec()),
            call(Rpc::HashKv, Vec::new()),
            call(Rpc::Alarm, Vec::new()),
            call(Rpc::LeaseLeases, Vec::new()),
        ];
        for (id, _) in model.leases() {
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            steps.push(call(Rpc::LeaseTimeToLive, request.encode_to_vec()));
        }
        steps
    }
}
