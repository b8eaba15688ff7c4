//! Learners that asked for it vote as soon as they have caught up.

use kvorum_proto::kvorumpb::{MemberChange, MemberOp, member_op::Op};

use super::check::{Reconfiguration, check};
use super::table::Members;
use crate::types::Index;

/// Entries that a learner may still lack. Under load the newest ones are always on their way.
const LAG_ENTRIES: u64 = 1000;

/// The next promotion that the leader should propose: of a learner that wants it, runs, is in touch, and has all but the
/// newest entries.
#[must_use]
pub fn due(members: &Members, known: &Reconfiguration, committed: Index) -> Option<MemberChange> {
    let fit = |id: &_| {
        let runs = members.get(*id).is_some_and(|m| !m.name.is_empty());
        let matched = known.matched.get(id).copied().unwrap_or_default();
        runs && known.reached.contains(id) && matched.0 + LAG_ENTRIES >= committed.0
    };
    let promotion = |id: crate::types::MemberId| MemberChange {
        request_id: 0,
        ops: vec![MemberOp {
            op: Some(Op::Promote(id.0)),
        }],
        caller: None,
    };
    let mut promotions = members.to_promote().filter(fit).map(promotion);
    promotions.find(|change| check(members, change, known).is_ok())
}
