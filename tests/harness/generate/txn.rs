//! Transactions, nested and not, right and wrong.

use kvorum_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;

use super::Generator;
use crate::harness::model::Model;

impl Generator {
    pub(super) fn txn(&mut self, model: &Model, depth: usize, budget: usize) -> pb::TxnRequest {
        if self.dice.one_in(200) {
            return self.oversized(model, budget);
        }
        let compares = self.dice.pick(&[0, 0, 1, 1, 2]);
        let compare = (0..compares).map(|_| self.compare(model)).collect();
        pb::TxnRequest {
            compare,
            success: self.ops(model, depth),
            failure: self.ops(model, depth),
        }
    }

    /// One list that is just within the budget or just beyond it.
    fn oversized(&mut self, model: &Model, budget: usize) -> pb::TxnRequest {
        let get = pb::RequestOp {
            request: Some(Request::RequestRange(self.range(model))),
        };
        let ops = vec![get; budget + self.dice.index(2)];
        match self.dice.below(3) {
            0 => pb::TxnRequest {
                compare: vec![self.compare(model); ops.len()],
                ..Default::default()
            },
            1 => pb::TxnRequest {
                success: ops,
                ..Default::default()
            },
            _ => pb::TxnRequest {
                failure: ops,
                ..Default::default()
            },
        }
    }

    fn ops(&mut self, model: &Model, depth: usize) -> Vec<pb::RequestOp> {
        let count = self.dice.pick(&[0, 1, 1, 2, 3, 4]);
        let reads_only = self.dice.one_in(4);
        (0..count)
            .map(|_| self.op(model, depth, reads_only))
            .collect()
    }

    fn op(&mut self, model: &Model, depth: usize, reads_only: bool) -> pb::RequestOp {
        if self.dice.one_in(400) {
            return pb::RequestOp { request: None };
        }
        let roll = if reads_only { 0 } else { self.dice.below(10) };
        let request = match roll {
            0..3 => {
                let mut range = self.range(model);
                // One bad revision fails the whole transaction, so they are rarer here.
                if self.dice.below(4) != 0 {
                    range.revision = 0;
                }
                Request::RequestRange(range)
            }
            3..7 => {
                let mut put = self.put(model);
                if self.dice.below(4) != 0 {
                    (put.ignore_value, put.ignore_lease) = (false, false);
                }
                Request::RequestPut(put)
            }
            7..8 => Request::RequestDeleteRange(self.delete_range()),
            _ if depth > 1 => Request::RequestTxn(self.txn(model, depth - 1, self.max_txn_ops)),
            _ => Request::RequestDeleteRange(self.delete_range()),
        };
        pb::RequestOp {
            request: Some(request),
        }
    }

    /// Every target and result, a tenth of them unknown; operands near the truth, absent, or of another target.
    fn compare(&mut self, model: &Model) -> pb::Compare {
        let (key, range_end) = self.interval();
        let target = match self.dice.below(12) {
            0 => self.dice.pick(&[-1, 5, 77]),
            _ => self.dice.pick(&[0, 1, 2, 3, 4]),
        };
        let result = match self.dice.below(12) {
            0 => self.dice.pick(&[-1, 4, 77]),
            _ => self.dice.pick(&[0, 1, 2, 3]),
        };
        let operand = if self.dice.one_in(10) {
            self.dice.pick(&[0, 1, 2, 3, 4])
        } else {
            target
        };
        pb::Compare {
            result,
            target,
            target_union: if self.dice.one_in(20) {
                None
            } else {
                self.operand(model, operand, &key)
            },
            range_end: if self.dice.one_in(4) {
                range_end
            } else {
                bytes::Bytes::new()
            },
            key,
        }
    }

    fn operand(&mut self, model: &Model, target: i32, key: &[u8]) -> Option<TargetUnion> {
        let pairs = model.current();
        let kv = pairs
            .into_iter()
            .find(|kv| kv.key == key)
            .unwrap_or_default();
        let near = self.dice.pick(&[-1, 0, 0, 0, 1]);
        match target {
            0 => Some(TargetUnion::Version(kv.version + near)),
            1 => Some(TargetUnion::CreateRevision(kv.create_revision + near)),
            2 => Some(TargetUnion::ModRevision(kv.mod_revision + near)),
            3 => Some(TargetUnion::Value(if near == 0 {
                kv.value
            } else {
                "v5".into()
            })),
            4 => Some(TargetUnion::Lease(kv.lease.wrapping_add(near))),
            _ => None,
        }
    }
}
