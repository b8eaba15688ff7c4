//! The first things on the disk of a member: who it is, and the state that its cluster begins with.

use bytes::Bytes;
use kvorum_core::backend::{FlushMark, Restored, SideChange};
use kvorum_core::membership::Members;
use kvorum_core::node::encode_conf_state;
use kvorum_core::replica::META_CONF_STATE;
use kvorum_core::{Index, Term};
use kvorum_storage::{DataDir, Identity, KnownMember, Origin, StateStore, StorageError};

use super::{BootstrapError, Elders, begin, check_own, member_of};
use crate::options::MemberOptions;
use crate::start::StartError;

/// A new cluster begins with its members in the state, so that whoever joins later starts with a snapshot.
const FIRST: (Index, Term) = (Index(1), Term(1));

/// Who lives in the directory; whoever finds an empty one founds or joins.
pub(crate) fn identify(
    dir: &mut DataDir,
    options: &MemberOptions,
    elders: &dyn Elders,
) -> Result<Identity, StartError> {
    if let Some(known) = dir.identity() {
        check_own(known, options)?;
        return Ok(known.clone());
    }
    let identity = begin(options, elders)?;
    tracing::info!(
        member_id = format!("{:x}", identity.member_id.0),
        cluster_id = format!("{:x}", identity.cluster_id.0),
        members = identity.members.len(),
        joins = identity.origin == Origin::Joined,
        "this member begins"
    );
    dir.set_identity(identity.clone())?;
    Ok(identity)
}

/// Who votes, as the state store knows it. A founder's first state is made durable here, before anything else happens; a
/// member that joins waits for the state of the others.
pub(crate) fn conf_state(
    dir: &mut DataDir,
    state: &StateStore,
    restored: &mut Restored,
) -> Result<Bytes, StartError> {
    let identity = dir.identity().cloned().unwrap_or_default();
    let known = restored.meta.iter().find(|(k, _)| k == META_CONF_STATE);
    if let Some((_, known)) = known {
        let known = known.clone();
        founded(dir, identity)?;
        return Ok(known);
    }
    if restored.applied != Index(0) {
        return Err(StartError::Recovery(
            "the state store does not say who votes; restore it from a backup".into(),
        ));
    }
    match identity.origin {
        Origin::Joined => Ok(encode_conf_state(&[])),
        Origin::Founder if identity.members.len() > 1 => Err(lost(&identity).into()),
        Origin::Founder | Origin::Founding => {
            let voters = write_first(state, restored, &identity)?;
            founded(dir, identity)?;
            Ok(voters)
        }
    }
}

/// From now on an empty state store is one that was lost.
fn founded(dir: &mut DataDir, identity: Identity) -> Result<(), StartError> {
    if identity.origin == Origin::Founding {
        dir.set_identity(Identity {
            origin: Origin::Founder,
            ..identity
        })?;
    }
    Ok(())
}

fn lost(identity: &Identity) -> BootstrapError {
    let own = identity.members.iter().find(|m| m.id == identity.member_id);
    let urls = own.map(|m| m.peer_urls.join(",")).unwrap_or_default();
    BootstrapError::Refused(format!(
        "the state of member {id:x} is gone, though it has run: what it has acknowledged is lost, so it must not go on under \
         that identity. Empty the data directory; on a member that runs: `kvorum member replace {id:x} --name {} \
         --peer-urls {urls}`; then start here with --initial-cluster-state existing",
        kvorum_pki::shell_word(&identity.name),
        id = identity.member_id.0,
    ))
}

fn write_first(
    state: &StateStore,
    restored: &mut Restored,
    identity: &Identity,
) -> Result<Bytes, StorageError> {
    let mut founders = identity.members.clone();
    // A directory from before members were kept there.
    if founders.is_empty() {
        founders.push(KnownMember {
            id: identity.member_id,
            name: identity.name.clone(),
            peer_urls: Vec::new(),
        });
    }
    let mut ids: Vec<u64> = founders.iter().map(|m| m.id.0).collect();
    ids.sort_unstable();
    let voters = encode_conf_state(&ids);
    let mut side = vec![SideChange::MetaPut(META_CONF_STATE.into(), voters.clone())];
    side.extend(Members::founders(founders.iter().map(member_of)).rows());
    let mark = FlushMark {
        applied: FIRST.0,
        term: FIRST.1,
        side,
    };
    state.flush_base(std::iter::empty(), &mark)?;
    (restored.applied, restored.term) = FIRST;
    let rows = mark.side.into_iter().filter_map(|change| match change {
        SideChange::MetaPut(key, value) => Some((key, value)),
        _ => None,
    });
    restored.meta.extend(rows);
    Ok(voters)
}
