//! A member whose files are damaged does not wait for a human: it sets them aside, asks the others for a new member in
//! its own place, and joins as that one. (RELIABILITY.md D6, D8)
//!
//! It must not come back under its old id: what it has acknowledged may be in what was lost. The marker in the data
//! directory is the memory of it all, so that a crash at any point leads back here; it goes when the new identity is
//! durable. A member that knows no others has nobody to ask and refuses to start, as ever.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvorum_core::membership::peer_urls;
use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    PeerMembersReply, PeerMembersRequest, PeerReplaceReply, PeerReplaceRequest, PeerRequest,
    peer_reply::Told, peer_request::Ask,
};
use kvorum_storage::{DataDir, DirError, Identity, Origin, StorageError};

use crate::bootstrap::known_member;
use crate::options::MemberOptions;
use crate::peer::{AskError, PeerIdentity, Peers, SnapshotIntake, SnapshotStaging};
use crate::start::{StartError, random};
use crate::trust::{NewPlace, is_at};

/// What says that the files are not to be trusted, and why.
const MARKER: &str = "rebuild";
const MARKER_NEW: &str = "rebuild.new";
/// Where damaged files go; those of the time before make room.
const ASIDE: &str = "damaged";
const IDENTITY: &str = "member.json";
/// The log and the state.
const FILES: [&str; 2] = ["log", "state.redb"];
/// For one round of questions.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// This process runs a member that others can heal. For panic hooks, which can ask nobody.
static HAS_OTHERS: AtomicBool = AtomicBool::new(false);

/// True if the others can give this member its state back.
#[must_use]
pub fn can_heal() -> bool {
    HAS_OTHERS.load(Ordering::SeqCst)
}

/// Notes who votes in the cluster.
pub(crate) fn note_members(own: MemberId, members: &[pb::Member]) {
    let mut others = members.iter().filter(|m| m.id != own.0);
    HAS_OTHERS.store(others.any(|m| !m.is_learner), Ordering::SeqCst);
}

/// True if a line of the storage tells of damage, and not of a disk that fails: all such lines advise to restore.
pub(crate) fn tells_damage(line: &str) -> bool {
    line.contains("restore this member")
}

/// What the marker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Marker {
    /// The same for every question, so that it is fulfilled once.
    attempt: u64,
    /// Who this member was, if that could be read.
    old: Option<(ClusterId, MemberId)>,
    reason: String,
}

impl Marker {
    fn text(&self) -> String {
        let (cluster, member) = self.old.map_or((0, 0), |(c, m)| (c.0, m.0));
        let Self {
            attempt, reason, ..
        } = self;
        format!("{attempt:x} {cluster:x} {member:x}\n{reason}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let (numbers, reason) = text.split_once('\n')?;
        let mut numbers = numbers.split(' ').map(|n| u64::from_str_radix(n, 16));
        let (attempt, cluster, member) = (
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        );
        let old = (ClusterId(cluster), MemberId(member));
        Some(Self {
            attempt,
            old: (member != 0).then_some(old),
            reason: reason.trim_end().to_owned(),
        })
    }

    /// The marker of a directory; one that cannot be read is a marker all the same.
    fn load(data_dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(data_dir.join(MARKER)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let marker = Self::parse(&String::from_utf8_lossy(&text));
        Ok(Some(marker.unwrap_or(Self {
            attempt: 0,
            old: None,
            reason: "its marker cannot be read".into(),
        })))
    }

    fn save(&self, data_dir: &Path) -> io::Result<()> {
        let new = data_dir.join(MARKER_NEW);
        let mut file = File::create(&new)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, data_dir.join(MARKER))?;
        sync(data_dir)
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(path: &Path, error: io::Error) -> StartError {
    StartError::System {
        what: "the data directory cannot be prepared for a new state",
        source: io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    }
}

/// Notes that the files in a directory are not to be trusted: the next start builds them anew.
///
/// # Errors
/// The disk's.
pub fn mark(data_dir: &Path, reason: &str) -> io::Result<()> {
    if data_dir.join(MARKER).exists() {
        return Ok(());
    }
    let marker = Marker {
        attempt: random()
            .map_err(|e| io::Error::other(e.to_string()))?
            .max(1),
        old: None,
        reason: reason.replace('\n', " "),
    };
    marker.save(data_dir)
}

/// True if this failure of a start is one that the others can mend.
pub(crate) fn helps(options: &MemberOptions, peers: Option<&Peers>, error: &StartError) -> bool {
    let damage = match error {
        StartError::Storage(e) | StartError::Directory(DirError::Storage(e)) => {
            matches!(e, StorageError::Corrupt { .. })
        }
        StartError::Recovery(line) => tells_damage(line),
        _ => false,
    };
    damage && peers.is_some() && !others(options, known(&options.data_dir).as_ref()).is_empty()
}

/// Who lived here, if that can be read. The lock is given back at once.
fn known(data_dir: &Path) -> Option<Identity> {
    DataDir::open(data_dir).ok()?.identity().cloned()
}

/// The peer URLs of all others that the directory or the settings know.
fn others(options: &MemberOptions, known: Option<&Identity>) -> Vec<String> {
    let own: BTreeSet<String> = peer_urls(&options.peer_urls)
        .unwrap_or_default()
        .into_iter()
        .collect();
    let told = known.iter().flat_map(|identity| &identity.members);
    let told = told.flat_map(|member| &member.peer_urls);
    let set = options.initial_cluster.iter().flat_map(|m| &m.peer_urls);
    let all: BTreeSet<String> = told.chain(set).cloned().collect();
    all.difference(&own).cloned().collect()
}

/// Builds this member anew if its directory is marked: after this, it is empty and belongs to a member that joins.
///
/// # Errors
/// The disk's, or the others have removed this member.
pub(crate) fn go_on(options: &MemberOptions, peers: Option<&Peers>) -> Result<(), StartError> {
    let dir = &options.data_dir;
    let marker = Marker::load(dir).map_err(|e| failed(dir, e))?;
    let (Some(mut marker), Some(peers)) = (marker, peers) else {
        return Ok(());
    };
    let mut data_dir = open_without_files(dir)?;
    let dir = data_dir.path().to_path_buf();
    let known = data_dir.identity().cloned();
    let urls = others(options, known.as_ref());
    if urls.is_empty() {
        // Nobody to ask: the files are as they are, and what is wrong with them is told by opening them.
        return fs::remove_file(dir.join(MARKER)).map_err(|e| failed(&dir, e));
    }
    set_aside(&dir, &FILES).map_err(|e| failed(&dir, e))?;
    tracing::warn!(
        reason = marker.reason,
        set_aside = %dir.join(ASIDE).display(),
        "the files of this member are damaged: it asks the others for a new place"
    );
    if is_done(&dir, peers, &marker, known.as_ref())? {
        return fs::remove_file(dir.join(MARKER))
            .and_then(|()| sync(&dir))
            .map_err(|e| failed(&dir, e));
    }
    if marker.old.is_none() {
        let own = known.map(|identity| (identity.cluster_id, identity.member_id));
        marker.old = Some(own.map_or_else(|| who_was_here(options, peers, &urls), Ok)?);
        if marker.attempt == 0 {
            // The marker was damaged, too: its question cannot be repeated, so this is another one.
            marker.attempt = random()?.max(1);
        }
        marker.save(&dir).map_err(|e| failed(&dir, e))?;
    }
    let (cluster_id, old) = marker.old.unwrap_or_default();
    let (place, question) = question(options, peers, &dir, (old, marker.attempt))?;
    let told = replaced(peers, &urls, (cluster_id, old), &question)?;
    let member_id = MemberId(told.member.map_or(0, |member| member.id));
    data_dir.replace_identity(Identity {
        cluster_id,
        member_id,
        name: options.name.clone(),
        origin: Origin::Joined,
        members: told.members.iter().map(known_member).collect(),
    })?;
    let has_certificate = place.is_some();
    if let Some(place) = place {
        place.take(&told.chain_der)?;
    }
    fs::remove_file(dir.join(MARKER))
        .and_then(|()| sync(&dir))
        .map_err(|e| failed(&dir, e))?;
    tracing::info!(
        old = format!("{:x}", old.0),
        member_id = format!("{:x}", member_id.0),
        "this member has a new place in its cluster and gets its state from the others"
    );
    match has_certificate {
        true => Err(StartError::AnotherPlace),
        false => Ok(()),
    }
}

/// True if all but the removal of the marker was done before this start: it shows the certificate of its new place, and
/// could not ask as who it was.
fn is_done(
    dir: &Path,
    peers: &Peers,
    marker: &Marker,
    known: Option<&Identity>,
) -> Result<bool, StartError> {
    let (Some(known), Some((_, old))) = (known, marker.old) else {
        return Ok(false);
    };
    Ok(known.member_id != old && peers.has_own_tls() && is_at(dir, known.member_id)?)
}

/// Opens the directory, and sets its identity aside if that is what is damaged.
fn open_without_files(path: &Path) -> Result<DataDir, StartError> {
    match DataDir::open(path) {
        Err(DirError::Storage(StorageError::Corrupt { .. })) => {
            let all = [FILES[0], FILES[1], IDENTITY];
            set_aside(path, &all).map_err(|e| failed(path, e))?;
            Ok(DataDir::open(path)?)
        }
        opened => Ok(opened?),
    }
}

/// Moves files out of the way; what stood there since the last time goes.
fn set_aside(dir: &Path, names: &[&str]) -> io::Result<()> {
    let aside = dir.join(ASIDE);
    for name in names {
        let (from, to) = (dir.join(name), aside.join(name));
        if is_nothing(&from)? {
            continue;
        }
        fs::create_dir_all(&aside)?;
        match fs::symlink_metadata(&to) {
            Err(_) => {}
            Ok(found) if found.is_dir() => fs::remove_dir_all(&to)?,
            Ok(_) => fs::remove_file(&to)?,
        }
        fs::rename(&from, &to)?;
    }
    if aside.exists() {
        sync(&aside)?;
    }
    sync(dir)
}

/// True if there is no such file, or an empty directory.
fn is_nothing(path: &PathBuf) -> io::Result<bool> {
    if !path.exists() {
        return Ok(true);
    }
    Ok(path.is_dir() && fs::read_dir(path)?.next().is_none())
}

/// Asks until somebody answers. Each new reason for which nobody does is told once.
fn ask<T>(
    peers: &Peers,
    urls: &[String],
    ask: &Ask,
    mut take: impl FnMut(Told) -> Result<T, String>,
) -> Result<T, StartError> {
    let request = || PeerRequest {
        ask: Some(ask.clone()),
    };
    let mut told = String::new();
    loop {
        let answer = match peers.ask(urls, request(), PATIENCE) {
            Ok(answer) => take(answer),
            Err(AskError::Refused(reason)) if reason.contains("member not found") => {
                return Err(StartError::Recovery(format!(
                    "the cluster does not know this member any more ({reason}): empty the data directory, add the member \
                     anew, and start it with --initial-cluster-state existing"
                )));
            }
            Err(error) => Err(error.to_string()),
        };
        match answer {
            Ok(answer) => return Ok(answer),
            Err(reason) if reason != told => {
                tracing::warn!(
                    reason,
                    "not healed yet; asking again until the others agree"
                );
                told = reason;
            }
            Err(_) => {}
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whom the others know at this member's addresses.
fn who_was_here(
    options: &MemberOptions,
    peers: &Peers,
    urls: &[String],
) -> Result<(ClusterId, MemberId), StartError> {
    let own = peer_urls(&options.peer_urls).unwrap_or_default();
    let question = Ask::Members(PeerMembersRequest::default());
    ask(peers, urls, &question, |told| match told {
        Told::Members(PeerMembersReply {
            cluster_id,
            members,
            ..
        }) => {
            let at_own = |m: &&pb::Member| peer_urls(&m.peer_ur_ls).as_ref() == Ok(&own);
            let known = members.iter().find(at_own);
            known
                .map(|m| (ClusterId(cluster_id), MemberId(m.id)))
                .ok_or_else(|| format!("nobody in the cluster is at {}", own.join(",")))
        }
        _ => Err("a peer answers something else".to_owned()),
    })
}

/// What to ask for, and the keys for it where the cluster signs for its members.
fn question(
    options: &MemberOptions,
    peers: &Peers,
    dir: &Path,
    (old, attempt): (MemberId, u64),
) -> Result<(Option<NewPlace>, Ask), StartError> {
    let signs = peers.has_own_tls();
    let place = signs.then(|| NewPlace::of(dir)).transpose()?;
    let csr_der = place.as_ref().map(|place| place.csr_der.clone());
    let request = PeerReplaceRequest {
        old_member: old.0,
        name: options.name.clone(),
        peer_urls: options.peer_urls.clone(),
        attempt,
        csr_der: csr_der.unwrap_or_default().into(),
    };
    Ok((place, Ask::Replace(request)))
}

/// Has the old member replaced by a new one.
fn replaced(
    peers: &Peers,
    urls: &[String],
    (cluster_id, old): (ClusterId, MemberId),
    question: &Ask,
) -> Result<PeerReplaceReply, StartError> {
    // Only a member may ask for that. It serves nothing meanwhile.
    let identity = PeerIdentity {
        cluster_id,
        member_id: old,
        boot: random()?,
    };
    peers.begin(identity, Arc::new(|_| {}), Arc::new(drop), Arc::new(Closed));
    let lacks = |reply: &PeerReplaceReply| peers.has_own_tls() && reply.chain_der.is_empty();
    ask(peers, urls, question, |told| match told {
        Told::Replace(reply) if lacks(&reply) => {
            Err("a peer of an older version gives no certificate for the new place".to_owned())
        }
        Told::Replace(reply) if reply.member.is_some() => Ok(reply),
        _ => Err("a peer answers something else".to_owned()),
    })
}

/// Takes no snapshots: nobody would keep them.
struct Closed;

impl SnapshotStaging for Closed {
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String> {
        Err("this member is being rebuilt".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kvorum-heal-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    #[test]
    fn a_marker_says_what_it_was_told_and_stays_the_first() {
        let dir = scratch("marker");
        assert_eq!(Marker::load(&dir).expect("reads"), None);
        mark(&dir, "state.redb:\nthe checksum is wrong").expect("writes");
        let first = Marker::load(&dir).expect("reads").expect("is there");
        assert_eq!(first.reason, "state.redb: the checksum is wrong");
        assert!(first.attempt > 0 && first.old.is_none());
        mark(&dir, "something else").expect("writes");
        assert_eq!(Marker::load(&dir).expect("reads"), Some(first.clone()));
        let known = Marker {
            old: Some((ClusterId(7), MemberId(u64::MAX))),
            ..first
        };
        known.save(&dir).expect("writes");
        assert_eq!(Marker::load(&dir).expect("reads"), Some(known));
        fs::write(dir.join(MARKER), [0xff, 0, 7]).expect("writes");
        let torn = Marker::load(&dir)
            .expect("reads")
            .expect("is a marker all the same");
        assert_eq!((torn.attempt, torn.old), (0, None));
        fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn damaged_files_are_set_aside_and_the_last_ones_kept() {
        let dir = scratch("aside");
        for content in ["first", "second"] {
            fs::create_dir_all(dir.join("log")).expect("makes");
            fs::write(dir.join("log/1.seg"), content).expect("writes");
            fs::write(dir.join("state.redb"), content).expect("writes");
            set_aside(&dir, &FILES).expect("moves");
            assert!(!dir.join("log").exists() && !dir.join("state.redb").exists());
            for name in ["log/1.seg", "state.redb"] {
                let kept = fs::read_to_string(dir.join(ASIDE).join(name)).expect("is kept");
                assert_eq!(kept, content);
            }
        }
        // An empty log is not worth the one that was kept.
        fs::create_dir(dir.join("log")).expect("makes");
        set_aside(&dir, &FILES).expect("moves");
        assert!(dir.join(ASIDE).join("log/1.seg").exists());
        fs::remove_dir_all(&dir).expect("removes");
    }
}
