//! Who a member is. (ETCD.md 2.12; etcd: server/etcdserver/api/membership/member.go)

use kvorum_core::{ClusterId, MemberId};
use sha1::{Digest, Sha1};

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberIdentity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// Its name, as configured.
    pub name: String,
}

fn first_eight(digest: &[u8]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// The id of a member of a new cluster: from its peer URLs and the cluster's token.
pub(crate) fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut hash = Sha1::new();
    urls.iter().for_each(|u| hash.update(u));
    hash.update(token);
    MemberId(first_eight(&hash.finalize()))
}

/// The id of a member that is added to a cluster that runs: from its peer URLs and the time, seconds. (etcd leaves the
/// token out there)
pub(crate) fn added_member_id(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    member_id(peer_urls, &unix_seconds.to_string())
}

/// The id of a cluster: from its first members.
pub(crate) fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut ids: Vec<u64> = members.iter().map(|m| m.0).collect();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    ids.iter().for_each(|id| hash.update(id.to_be_bytes()));
    ClusterId(first_eight(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_makes() {
        // A default `etcd` process reports these two.
        let id = member_id(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(format!("{id:x}", id = id.0), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&[id]).0), "cdf818194e3a8c32");
    }
}
