//! Who the members of a cluster are, as an operator says it: `a=http://…,b=http://…`.

use std::collections::BTreeMap;

use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::etcdserverpb as pb;

use super::{OfflineError, refused};
use crate::identity::{cluster_id, member_id};

/// Names and their peer URLs.
pub type InitialCluster = BTreeMap<String, Vec<String>>;

/// Reads `name=url` pairs; a name may come more than once.
///
/// # Errors
/// A part is not such a pair, or a URL is given twice.
pub fn parse_initial_cluster(text: &str) -> Result<InitialCluster, OfflineError> {
    let mut cluster = InitialCluster::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let pair = part
            .split_once('=')
            .filter(|(name, url)| !name.is_empty() && is_peer_url(url));
        let Some((name, url)) = pair else {
            return Err(refused(format!(
                "--initial-cluster: {part:?} is not name=url: write a=http://10.0.0.1:2380,b=http://10.0.0.2:2380"
            )));
        };
        if cluster.values().flatten().any(|known| known == url) {
            return Err(refused(format!(
                "--initial-cluster: {url} is given twice: each member has its own"
            )));
        }
        cluster
            .entry(name.to_owned())
            .or_default()
            .push(url.to_owned());
    }
    if cluster.is_empty() {
        return Err(refused("--initial-cluster names no member"));
    }
    Ok(cluster)
}

/// True for what peers can dial: a scheme, a host and a port, nothing behind.
fn is_peer_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let port = rest.and_then(|rest| rest.rsplit_once(':'));
    port.is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    })
}

/// The members of a cluster and their ids.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) cluster_id: ClusterId,
    pub(super) list: Vec<pb::Member>,
}

impl Members {
    /// Gives ids to everybody. `salt` keeps them apart from those of any other cluster with the same URLs and token.
    pub(super) fn new(cluster: &InitialCluster, token: &str, salt: &str) -> Self {
        let token = format!("{token}{salt}");
        let mut list: Vec<pb::Member> = cluster
            .iter()
            .map(|(name, urls)| {
                let mut urls = urls.clone();
                urls.sort();
                pb::Member {
                    id: member_id(&urls, &token).0,
                    name: name.clone(),
                    peer_ur_ls: urls,
                    ..Default::default()
                }
            })
            .collect();
        list.sort_by_key(|member| member.id);
        let ids: Vec<MemberId> = list.iter().map(|member| MemberId(member.id)).collect();
        Self {
            cluster_id: cluster_id(&ids),
            list,
        }
    }

    /// The member called `name`, which must have exactly these peer URLs.
    ///
    /// # Errors
    /// There is none, or it has others.
    pub(super) fn own(&self, name: &str, peer_urls: &[String]) -> Result<MemberId, OfflineError> {
        let member = self.list.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| {
            let names: Vec<&str> = self.list.iter().map(|m| m.name.as_str()).collect();
            refused(format!(
                "--initial-cluster has no member called {name:?}, only {}: give this member's --name",
                names.join(", ")
            ))
        })?;
        let mut peer_urls = peer_urls.to_vec();
        peer_urls.sort();
        if member.peer_ur_ls != peer_urls {
            return Err(refused(format!(
                "--initial-cluster has {name}={}, and --initial-advertise-peer-urls is {}: they must be the same",
                member.peer_ur_ls.join(","),
                peer_urls.join(",")
            )));
        }
        Ok(MemberId(member.id))
    }
}
