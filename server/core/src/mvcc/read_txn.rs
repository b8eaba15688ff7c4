//! A transaction that only reads, in steps: everything it reads is as it was at one revision, but the store is not
//! held from its beginning to its end.

use kvorum_proto::etcdserverpb as pb;
use pb::request_op::Request as Op;

use super::compare;
use super::ops::OpCounts;
use super::range::{ReadError, Reading};
use super::store::Store;
use super::txn::check_range_revision;

/// What a transaction that only reads has to do once its compares are decided.
#[derive(Debug)]
pub struct ReadTxn<'r> {
    /// The branch.
    pub succeeded: bool,
    /// The revision of everything.
    pub at: i64,
    /// What it comes to.
    pub ops: OpCounts,
    ranges: Vec<&'r pb::RangeRequest>,
}

impl<'r> ReadTxn<'r> {
    /// Decides the compares and checks the ranges.
    ///
    /// # Errors
    /// A range's revision is compacted or in the future, or the state store failed.
    pub fn new(store: &Store, request: &'r pb::TxnRequest) -> Result<Self, ReadError> {
        let mut path = Vec::new();
        let compared = compare::path(store, request, &mut path)?;
        let succeeded = path.first().copied().unwrap_or_default();
        let ops = compare::branch(request, succeeded).iter();
        let ranges: Vec<_> = ops
            .filter_map(|op| match &op.request {
                Some(Op::RequestRange(range)) => Some(range),
                _ => None,
            })
            .collect();
        for range in &ranges {
            check_range_revision(store, range)?;
        }
        let ops = OpCounts {
            ranges: compared + ranges.len() as u64,
            ..OpCounts::default()
        };
        Ok(Self {
            succeeded,
            ops: ops.grouped(),
            at: store.current(),
            ranges,
        })
    }

    /// The ranges, to be read one after the other.
    pub fn readings(&self) -> impl Iterator<Item = (&'r pb::RangeRequest, Reading<'r>)> {
        let ranges = self.ranges.iter();
        ranges.map(|range| (*range, Reading::in_txn(range, self.at)))
    }
}
