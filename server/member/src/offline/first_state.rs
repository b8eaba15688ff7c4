//! The small tables of a cluster that begins: who its members are, who votes, who may never come back.

use bytes::Bytes;
use kvorum_core::MemberId;
use kvorum_core::backend::SideChange;
use kvorum_core::membership::Members;
use kvorum_core::node::encode_conf_state;
use kvorum_core::replica::META_CONF_STATE;
use kvorum_proto::etcdserverpb as pb;

/// The entries of the meta table that make `members` the whole cluster, each that is no learner with a vote, and keep
/// the removed ones out for good.
#[must_use]
pub fn first_state(members: &[pb::Member], removed: &[MemberId]) -> Vec<SideChange> {
    let mut table = Members::founders(members.iter().cloned());
    for id in removed {
        table.restore(&format!("removed/{:016x}", id.0), &Bytes::new());
    }
    let mut voters: Vec<u64> = table.voters().map(|member| member.id).collect();
    voters.sort_unstable();
    let conf_state = SideChange::MetaPut(META_CONF_STATE.into(), encode_conf_state(&voters));
    let mut side = table.rows();
    side.push(conf_state);
    side
}
