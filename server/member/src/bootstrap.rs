//! How a member comes to be one: it founds a cluster, joins one, or goes on where it was. (ETCD.md 2.12; etcd:
//! server/etcdserver/bootstrap.go)
//!
//! A member that lost its files must never come back under its old identity: it would have forgotten votes that it cast
//! and entries that it acknowledged. So whoever begins with an empty directory asks the others whether they know it.

pub(crate) mod first;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use kvorum_core::membership::peer_urls;
use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    PeerMembersReply, PeerMembersRequest, PeerRequest, peer_reply::Told, peer_request::Ask,
};
use kvorum_storage::{Identity, KnownMember, Origin};

use crate::identity::{cluster_id, member_id};
use crate::options::{ClusterState, InitialMember, MemberOptions};
use crate::peer::{AskError, Peers};

/// Founders look for each other for so long: whoever is there answers at once. (etcd: bootstrap timeout)
const FOUNDING_PATIENCE: Duration = Duration::from_secs(1);
/// A member that joins waits for so long until somebody knows it: members learn of an addition one after another.
const JOINING_PATIENCE: Duration = Duration::from_secs(5);

/// Why a member does not begin, or does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The settings do not fit together, or not the cluster; in etcd's words where etcd has some.
    #[error("{0}")]
    Settings(String),
    /// The cluster knows this member as one that has run already, or the files are another member's. What can be done
    /// stands in the text.
    #[error("{0}")]
    Refused(String),
    /// The cluster has removed this member.
    #[error("{0}")]
    Removed(String),
}

/// Asks members what they know of the cluster.
pub(crate) trait Elders {
    /// The answers of those that are there, asked all at once. Each member is one list of URLs.
    fn members(
        &self,
        urls: &[Vec<String>],
        patience: Duration,
    ) -> Vec<Result<PeerMembersReply, String>>;
}

/// A member without a way to the others.
pub(crate) struct Nobody;

impl Elders for Nobody {
    fn members(&self, urls: &[Vec<String>], _: Duration) -> Vec<Result<PeerMembersReply, String>> {
        let alone = || Err("this member has no way to its peers".to_owned());
        urls.iter().map(|_| alone()).collect()
    }
}

impl Elders for Peers {
    fn members(
        &self,
        urls: &[Vec<String>],
        patience: Duration,
    ) -> Vec<Result<PeerMembersReply, String>> {
        let request = || PeerRequest {
            ask: Some(Ask::Members(PeerMembersRequest {})),
        };
        let ask = |urls: &Vec<String>| self.ask_later(urls, request(), patience);
        let asked: Vec<_> = urls.iter().map(ask).collect();
        let answer = |told| match told {
            Ok(Ok(Told::Members(reply))) => Ok(reply),
            Ok(Ok(_)) => Err("the answer is to another question".to_owned()),
            Ok(Err(error)) => Err(AskError::to_string(&error)),
            Err(_) => Err("the member is stopping".to_owned()),
        };
        asked
            .into_iter()
            .map(|asked| answer(asked.blocking_recv()))
            .collect()
    }
}

fn list(urls: &[String]) -> String {
    urls.join(",")
}

/// How the members are written in settings: `a=http://x:1,a=http://x:2,b=…`.
fn shown(members: &[InitialMember]) -> String {
    let entries = members.iter().flat_map(|m| {
        m.peer_urls
            .iter()
            .map(move |url| format!("{}={url}", m.name))
    });
    entries.collect::<Vec<_>>().join(",")
}

/// Who this member becomes in an empty directory.
///
/// # Errors
/// The settings are wrong, or the members that run know something that speaks against it.
pub(crate) fn begin(
    options: &MemberOptions,
    elders: &dyn Elders,
) -> Result<Identity, BootstrapError> {
    let own_urls = peer_urls(&options.peer_urls)
        .map_err(|_| settings(format!("{:?} is no list of peer URLs", options.peer_urls)))?;
    let initial = initial_members(options, &own_urls)?;
    let Some(own) = initial.iter().find(|m| m.name == options.name) else {
        return Err(settings(format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            options.name
        )));
    };
    let mut seen = BTreeSet::new();
    if !initial
        .iter()
        .flat_map(|m| &m.peer_urls)
        .all(|url| seen.insert(url))
    {
        let shown = shown(&initial);
        return Err(settings(format!(
            "initial cluster {shown} has duplicate url"
        )));
    }
    match options.cluster_state {
        ClusterState::New => {
            check_advertised(own, &own_urls)?;
            found(options, &initial, own, elders)
        }
        ClusterState::Existing => join(options, &initial, own, elders),
    }
}

fn settings(text: String) -> BootstrapError {
    BootstrapError::Settings(text)
}

/// What `initial-cluster` says, by name; a member alone needs none.
fn initial_members(
    options: &MemberOptions,
    own_urls: &[String],
) -> Result<Vec<InitialMember>, BootstrapError> {
    if options.initial_cluster.is_empty() {
        return Ok(vec![InitialMember {
            name: options.name.clone(),
            peer_urls: own_urls.to_vec(),
        }]);
    }
    let plain = |m: &InitialMember| {
        let urls = peer_urls(&m.peer_urls);
        let peer_urls = urls.map_err(|_| {
            settings(format!(
                "initial-cluster: {:?} are no peer URLs",
                m.peer_urls
            ))
        })?;
        Ok(InitialMember {
            name: m.name.clone(),
            peer_urls,
        })
    };
    options.initial_cluster.iter().map(plain).collect()
}

fn check_advertised(own: &InitialMember, advertised: &[String]) -> Result<(), BootstrapError> {
    let lacks = |there: &[String], url: &&String| !there.contains(url);
    let name = &own.name;
    let row = |url: &String| format!("{name}={url}");
    let not_advertised: Vec<_> = own
        .peer_urls
        .iter()
        .filter(|url| lacks(advertised, url))
        .map(row)
        .collect();
    if !not_advertised.is_empty() {
        return Err(settings(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            list(&not_advertised),
            list(advertised)
        )));
    }
    let not_listed: Vec<_> = advertised
        .iter()
        .filter(|url| lacks(&own.peer_urls, url))
        .cloned()
        .collect();
    if !not_listed.is_empty() {
        return Err(settings(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            list(&not_listed),
            shown(std::slice::from_ref(own))
        )));
    }
    Ok(())
}

fn found(
    options: &MemberOptions,
    initial: &[InitialMember],
    own: &InitialMember,
    elders: &dyn Elders,
) -> Result<Identity, BootstrapError> {
    let founder = |m: &InitialMember| KnownMember {
        id: member_id(&m.peer_urls, &options.cluster_token),
        name: m.name.clone(),
        peer_urls: m.peer_urls.clone(),
    };
    let members: Vec<KnownMember> = initial.iter().map(founder).collect();
    let ids: Vec<MemberId> = members.iter().map(|m| m.id).collect();
    let identity = Identity {
        cluster_id: cluster_id(&ids),
        member_id: founder(own).id,
        name: own.name.clone(),
        origin: Origin::Founding,
        members,
    };
    let others = others(initial, own);
    if !others.is_empty() {
        for reply in elders
            .members(&others, FOUNDING_PATIENCE)
            .into_iter()
            .flatten()
        {
            check_founding(&identity, own, &reply)?;
        }
    }
    Ok(identity)
}

fn others(initial: &[InitialMember], own: &InitialMember) -> Vec<Vec<String>> {
    let others = initial.iter().filter(|m| m.name != own.name);
    others.map(|m| m.peer_urls.clone()).collect()
}

/// A member that runs already knows whether this one may still be founded.
fn check_founding(
    identity: &Identity,
    own: &InitialMember,
    reply: &PeerMembersReply,
) -> Result<(), BootstrapError> {
    let id = identity.member_id;
    if reply.cluster_id != identity.cluster_id.0 {
        return Err(BootstrapError::Refused(format!(
            "the member {:x} in initial-cluster belongs to cluster {:x}, and these settings make cluster {:x}: to join \
             that cluster, add this member with `kvorum member add {} --peer-urls {}` and start with \
             --initial-cluster-state existing",
            reply.member_id,
            reply.cluster_id,
            identity.cluster_id.0,
            kvorum_pki::shell_word(&own.name),
            kvorum_pki::shell_word(&list(&own.peer_urls))
        )));
    }
    if reply.removed.contains(&id.0) {
        return Err(removed(id));
    }
    match reply.members.iter().find(|m| m.id == id.0) {
        Some(known) if !has_run(known) => Ok(()),
        _ => Err(already_bootstrapped(id, own)),
    }
}

/// A member tells its client URLs once it runs.
fn has_run(member: &pb::Member) -> bool {
    !member.client_ur_ls.is_empty()
}

fn removed(id: MemberId) -> BootstrapError {
    BootstrapError::Removed(format!(
        "member {:x} was removed from its cluster and never comes back: empty the data directory, add the member anew \
         with `kvorum member add`, and start it with --initial-cluster-state existing",
        id.0
    ))
}

fn already_bootstrapped(id: MemberId, own: &InitialMember) -> BootstrapError {
    BootstrapError::Refused(format!(
        "member {id:x} has already been bootstrapped: the cluster knows it, and its data directory is empty. What it has \
         acknowledged is lost, so it must not come back under that identity. On a member that runs: `kvorum member \
         replace {id:x} --name {} --peer-urls {}`; then start here with --initial-cluster-state existing",
        own.name,
        list(&own.peer_urls),
        id = id.0,
    ))
}

fn join(
    options: &MemberOptions,
    initial: &[InitialMember],
    own: &InitialMember,
    elders: &dyn Elders,
) -> Result<Identity, BootstrapError> {
    let others = others(initial, own);
    let begin = std::time::Instant::now();
    loop {
        let left = JOINING_PATIENCE.saturating_sub(begin.elapsed());
        let joined = join_once(initial, own, &others, elders, left.max(FOUNDING_PATIENCE));
        match joined {
            Ok(identity) => return Ok(identity),
            // Members learn of an addition one after another: the one that answered may be late.
            Err(BootstrapError::Settings(text)) if left.is_zero() => {
                return Err(BootstrapError::Settings(text));
            }
            Err(BootstrapError::Settings(text)) => {
                tracing::info!(
                    name = options.name,
                    reason = text,
                    "not a member yet; asking again"
                );
                std::thread::sleep(options.heartbeat_interval.max(Duration::from_millis(100)));
            }
            Err(refused) => return Err(refused),
        }
    }
}

fn join_once(
    initial: &[InitialMember],
    own: &InitialMember,
    others: &[Vec<String>],
    elders: &dyn Elders,
    patience: Duration,
) -> Result<Identity, BootstrapError> {
    let replies: Vec<_> = elders
        .members(others, patience)
        .into_iter()
        .flatten()
        .collect();
    // The one that knows most.
    let reply = replies
        .iter()
        .max_by_key(|r| (r.members.len(), r.removed.len()));
    let Some(reply) = reply else {
        return Err(settings(
            "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
                .into(),
        ));
    };
    let of_other = replies.iter().find(|r| r.cluster_id != reply.cluster_id);
    if let Some(other) = of_other {
        return Err(BootstrapError::Refused(format!(
            "initial-cluster names members of two clusters: {:x} is in {:x}, {:x} in {:x}",
            reply.member_id, reply.cluster_id, other.member_id, other.cluster_id
        )));
    }
    let validating = |text: String| {
        settings(format!(
            "error validating peerURLs {}: {text}",
            shown(initial)
        ))
    };
    if reply.members.len() != initial.len() {
        return Err(validating("member count is unequal".into()));
    }
    for member in &reply.members {
        let urls = peer_urls(&member.peer_ur_ls).unwrap_or_default();
        if !initial.iter().any(|m| m.peer_urls == urls) {
            return Err(validating(format!(
                "PeerURLs: no match found for existing member ({:x}, {:?})",
                member.id, member.peer_ur_ls
            )));
        }
    }
    let is_own = |m: &&pb::Member| peer_urls(&m.peer_ur_ls).as_deref() == Ok(&own.peer_urls[..]);
    let Some(known) = reply.members.iter().find(is_own) else {
        return Err(validating("member count is unequal".into()));
    };
    if has_run(known) {
        return Err(already_bootstrapped(MemberId(known.id), own));
    }
    check_version(reply)?;
    Ok(Identity {
        cluster_id: ClusterId(reply.cluster_id),
        member_id: MemberId(known.id),
        name: own.name.clone(),
        origin: Origin::Joined,
        members: reply.members.iter().map(known_member).collect(),
    })
}

/// A cluster that speaks a later version than this build would send what it cannot read.
fn check_version(reply: &PeerMembersReply) -> Result<(), BootstrapError> {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let own = numbers(crate::core_thread::CLUSTER_VERSION);
    if reply.cluster_version.is_empty() || numbers(&reply.cluster_version) <= own {
        return Ok(());
    }
    Err(BootstrapError::Refused(format!(
        "incompatible with current running cluster: it speaks {}, this build {}; install the newer version here",
        reply.cluster_version,
        crate::core_thread::CLUSTER_VERSION
    )))
}

/// A member as the data directory keeps it.
pub(crate) fn known_member(member: &pb::Member) -> KnownMember {
    KnownMember {
        id: MemberId(member.id),
        name: member.name.clone(),
        peer_urls: member.peer_ur_ls.clone(),
    }
}

/// The other way round.
pub(crate) fn member_of(known: &KnownMember) -> pb::Member {
    pb::Member {
        id: known.id.0,
        name: known.name.clone(),
        peer_ur_ls: known.peer_urls.clone(),
        ..Default::default()
    }
}

/// A directory that exists must be this member's. Its own settings tell, where the directory knows that another member has
/// this name or these addresses.
///
/// # Errors
/// They are another member's.
pub(crate) fn check_own(
    identity: &Identity,
    options: &MemberOptions,
) -> Result<(), BootstrapError> {
    let urls = peer_urls(&options.peer_urls).unwrap_or_default();
    let shares = |m: &&KnownMember| m.peer_urls.iter().any(|url| urls.contains(url));
    let own = identity.members.iter().find(|m| m.id == identity.member_id);
    let is_own = own.is_some_and(|m| shares(&m));
    let mut rest = identity
        .members
        .iter()
        .filter(|m| m.id != identity.member_id);
    if is_own {
        return Ok(());
    }
    let Some(other) = rest.find(shares) else {
        return Ok(());
    };
    let dir = options.data_dir.display();
    Err(BootstrapError::Refused(format!(
        "{dir} holds the files of member {:x} ({}), but this process is configured as {} at {}, which is member {:x}: a \
         member's files cannot be those of another. Put its own back. If they are lost: empty {dir}, on a member that \
         runs `kvorum member replace {:x} --name {} --peer-urls {}`, then start here with --initial-cluster-state existing",
        identity.member_id.0,
        identity.name,
        options.name,
        list(&urls),
        other.id.0,
        other.id.0,
        kvorum_pki::shell_word(&options.name),
        kvorum_pki::shell_word(&list(&urls)),
    )))
}
