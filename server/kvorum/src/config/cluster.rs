//! The first members of the cluster, and what may be done to its members.

use kvorum_member::{ClusterState, InitialMember};

use super::keys;
use super::reader::{Reader, split};
use super::url;

/// More learners than this have no use.
const LEARNERS_MAX: u64 = 64;

/// How this member comes to its cluster, and the rules for changes of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterSettings {
    /// Goes into the ids.
    pub(crate) token: String,
    /// All members at the first start; empty for this one alone.
    pub(crate) initial: Vec<InitialMember>,
    /// Whether an empty directory founds or joins.
    pub(crate) state: ClusterState,
    /// Changes that could cost the quorum are refused.
    pub(crate) strict: bool,
    /// Learners that may be there at once.
    pub(crate) learners_max: usize,
    /// As a learner, this member asks to be promoted.
    pub(crate) auto_promote: bool,
}

impl ClusterSettings {
    /// The members of the list begin together.
    pub(super) fn founds(&self) -> bool {
        self.state == ClusterState::New
    }
}

/// Reads the keys.
pub(super) fn read(reader: &mut Reader) -> Option<ClusterSettings> {
    let token = reader.word(keys::INITIAL_CLUSTER_TOKEN);
    let initial = match reader.is_given(keys::INITIAL_CLUSTER) {
        true => reader.read(keys::INITIAL_CLUSTER, initial_cluster),
        false => Some(Vec::new()),
    };
    let state = reader.read(keys::INITIAL_CLUSTER_STATE, |text| match text {
        "new" => Ok(ClusterState::New),
        "existing" => Ok(ClusterState::Existing),
        _ => Err("use new or existing".to_owned()),
    });
    let strict = reader.flag(keys::STRICT_RECONFIG_CHECK);
    let learners = reader.count(keys::MAX_LEARNERS, 1, LEARNERS_MAX);
    let auto_promote = reader.flag(keys::AUTO_PROMOTE);
    let (initial, state) = (initial?, state?);
    if state == ClusterState::Existing && initial.is_empty() {
        reader.refuse(
            keys::INITIAL_CLUSTER_STATE,
            "whoever joins must know whom to ask: add --initial-cluster with all members, this one among them",
        );
    }
    if state == ClusterState::New && initial.iter().any(|m| m.name.is_empty()) {
        reader.refuse(
            keys::INITIAL_CLUSTER,
            "a member without a name: write NAME=https://HOST:2380",
        );
    }
    Some(ClusterSettings {
        token: token?,
        initial,
        state,
        strict: strict?,
        learners_max: usize::try_from(learners?).ok()?,
        auto_promote: auto_promote?,
    })
}

/// `a=https://x:2380,b=https://y:2380`; a name may come again with another URL. Of members that have not started yet
/// nobody knows the name: etcdctl prints an empty one.
fn initial_cluster(text: &str) -> Result<Vec<InitialMember>, String> {
    let mut members: Vec<InitialMember> = Vec::new();
    for part in split(text) {
        let (name, url) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is no member: write NAME=https://HOST:2380"))?;
        let (name, url) = (name.trim(), url::advertise(url.trim())?);
        match members.iter_mut().find(|m| m.name == name) {
            Some(known) => known.peer_urls.push(url),
            None => members.push(InitialMember {
                name: name.to_owned(),
                peer_urls: vec![url],
            }),
        }
    }
    match members.is_empty() {
        true => Err("must not be empty: leave it out for a cluster of one".to_owned()),
        false => Ok(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_have_several_urls() {
        let read =
            initial_cluster("a=http://x:1, b=http://y:1 ,a=http://x:2,").expect("well formed");
        let shown: Vec<_> = read
            .iter()
            .map(|m| (m.name.as_str(), m.peer_urls.join(" ")))
            .collect();
        assert_eq!(
            shown,
            [
                ("a", "http://x:1 http://x:2".to_owned()),
                ("b", "http://y:1".to_owned())
            ]
        );
        let unnamed = initial_cluster("a=http://x:1,=http://y:1").expect("as etcdctl prints it");
        assert_eq!(unnamed[1].name, "");
        for (bad, part) in [
            ("", "leave it out"),
            ("http://x:1", "is no member"),
            ("a=x:1", "scheme is missing"),
            ("a=http://x", "port is missing"),
        ] {
            let refused = initial_cluster(bad).expect_err("must be refused");
            assert!(refused.contains(part), "{bad:?}: {refused}");
        }
    }
}
