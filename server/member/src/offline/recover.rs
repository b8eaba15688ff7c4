//! Going on with one survivor after a majority was lost.
//!
//! All that its log holds counts as committed: an entry that the lost leader acknowledged may be known to be committed
//! to nobody who is left. What it does not hold is lost, and its revisions may have been seen: so the revision is raised
//! beyond all of them. The cluster gets a new id, which no member of the old one speaks to.
//!
//! The new identity is written first, the state in one transaction after it. After a crash in between, the member starts
//! as one of a cluster without the others, waits, and is recovered again.

use std::path::PathBuf;

use kvorum_core::alarm::META_PREFIX as META_ALARM;
use kvorum_core::backend::{FlushMark, Record, SideChange};
use kvorum_core::log::{Entry, EntryKind};
use kvorum_core::mvcc::Store;
use kvorum_core::node::change_of;
use kvorum_core::{ClusterId, Context, Index, Machine, MemberId, Term};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::EntryBatch;
use kvorum_storage::{Identity, Origin};
use prost::Message;

use super::first_state::first_state;
use super::survivor::{LogPosition, OpenFiles};
use super::{OfflineError, random, refused};
use crate::bootstrap::known_member;
use crate::options::MemberOptions;

/// Records read from memory at a time.
const PAGE_RECORDS: usize = 4096;

/// How to go on.
#[derive(Clone, Debug)]
pub struct ForceSingle {
    /// The files of the survivor.
    pub data_dir: PathBuf,
    /// How far the other survivors are.
    pub known_last: Vec<LogPosition>,
    /// There are no other survivors.
    pub sole_survivor: bool,
    /// Added to the newest revision; all history before is marked as compacted.
    pub bump_revision: i64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The member, who votes alone now.
    pub member_id: MemberId,
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The one before.
    pub old_cluster_id: ClusterId,
    /// Ids that may never come back.
    pub removed: Vec<MemberId>,
    /// Entries of the log that were applied although they were not known to be committed.
    pub entries_kept: u64,
    /// The newest revision of what was kept.
    pub revision: i64,
    /// The revision from which the member goes on.
    pub next_revision: i64,
}

/// Makes the survivor in a directory the only member of a new cluster with all its data.
///
/// # Errors
/// Another survivor is further, nothing is known of the others, there is a quorum, or the files are damaged.
pub fn force_single(options: &ForceSingle) -> Result<Recovered, OfflineError> {
    let mut files = OpenFiles::open(&options.data_dir)?;
    check(options, &files)?;
    let old_cluster_id = files.identity.cluster_id;
    let member_id = files.identity.member_id;
    let (mut store, mut machine) = rebuild(&files)?;
    let entries = std::mem::take(&mut files.entries);
    let commit = files.hard_state.commit.max(files.restored.applied.0);
    let entries_kept = entries.iter().filter(|entry| entry.index > commit).count();
    replay(&mut store, &mut machine, &entries)?;
    let revision = store.current();
    let next_revision = revision
        .checked_add(options.bump_revision)
        .ok_or_else(|| refused("--bump-revision: too large for this member"))?;
    let removed = others(&files, &machine);
    let cluster_id = ClusterId(random()?.max(1));
    let own = machine.members().get(member_id).map(known_member);
    files.dir.replace_identity(Identity {
        cluster_id,
        origin: Origin::Founder,
        members: own.into_iter().collect(),
        ..files.identity.clone()
    })?;
    if next_revision > revision {
        store.schedule_compaction(next_revision);
        // Notes belong to the entry that was applied last.
        let (index, term) = store.applied();
        store.set_applied(index, term);
    }
    let alone = sole_member(&files, &machine, &removed);
    keep(&files, &mut store, alone)?;
    Ok(Recovered {
        member_id,
        cluster_id,
        old_cluster_id,
        removed,
        entries_kept: entries_kept as u64,
        revision,
        next_revision,
    })
}

/// Refuses where data would be lost without need.
fn check(options: &ForceSingle, files: &OpenFiles) -> Result<(), OfflineError> {
    let own = files.last();
    if let Some(further) = options.known_last.iter().max().filter(|last| **last > own) {
        return Err(refused(format!(
            "another survivor is further: its log ends at {further}, this one's at {own} (INDEX.TERM); recover that one, \
             or what it holds more is lost"
        )));
    }
    if files.voters == [files.identity.member_id] {
        return Err(refused(
            "this member is the only voter of its cluster: there is nothing to recover, start it",
        ));
    }
    if options.known_last.is_empty() && !options.sole_survivor {
        return Err(refused(format!(
            "{} members vote in this cluster. Run `kvorum recover inspect --data-dir …` on every other one whose disk can \
             still be read, and give what it prints with --known-last; if there is none, say --sole-survivor",
            files.voters.len()
        )));
    }
    if options.bump_revision < 0 {
        return Err(refused("--bump-revision: must not be negative"));
    }
    Ok(())
}

/// The state as the state store holds it. The quota never refuses what was acknowledged.
fn rebuild(files: &OpenFiles) -> Result<(Store, Machine), OfflineError> {
    let options = MemberOptions {
        quota_backend_bytes: -1,
        value_cache_bytes: usize::MAX / 4,
        ..MemberOptions::default()
    };
    let store = crate::rebuild::store(&files.state, &files.restored, &options);
    let store = store.map_err(|e| refused(e.to_string()))?;
    let machine = crate::rebuild::machine(&store, &files.restored, &options);
    Ok((store, machine))
}

/// Applies what the log holds behind the state.
fn replay(store: &mut Store, machine: &mut Machine, entries: &[Entry]) -> Result<(), OfflineError> {
    for entry in entries {
        if entry.kind == EntryKind::Normal {
            let batch = EntryBatch::decode(entry.data.clone())
                .map_err(|e| refused(format!("entry {} cannot be read: {e}", entry.index)))?;
            let context = Context {
                index: entry.index,
                term: entry.term,
                now_ms: 0,
            };
            for command in &batch.commands {
                let applied = machine.apply(store, context, command);
                applied.map_err(|e| refused(e.to_string()))?;
            }
        } else if let Some(change) = change_of(entry).map_err(refused)? {
            // Only so that nobody it names is forgotten among the removed; who votes is decided below.
            let _ = machine.change_members(store, &change);
        }
        for change in machine.take_sessions() {
            store.note(change);
        }
        store.set_applied(Index(entry.index), Term(entry.term));
    }
    Ok(())
}

/// Everybody in the cluster but the survivor.
fn others(files: &OpenFiles, machine: &Machine) -> Vec<MemberId> {
    let members = machine.members();
    let mut ids: Vec<MemberId> = members.iter().map(|m| MemberId(m.id)).collect();
    ids.extend(members.removed());
    ids.extend(files.voters.iter().chain(&files.learners));
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| *id != files.identity.member_id);
    ids
}

/// The changes of the small tables that leave the survivor alone.
fn sole_member(files: &OpenFiles, machine: &Machine, removed: &[MemberId]) -> Vec<SideChange> {
    let own = files.identity.member_id.0;
    let known = machine.members().get(files.identity.member_id).cloned();
    let member = pb::Member {
        id: own,
        is_learner: false,
        ..known.unwrap_or_default()
    };
    let members = machine.members().rows().into_iter();
    let members = members.filter_map(|row| match row {
        SideChange::MetaPut(key, _) => Some(key),
        _ => None,
    });
    let alarms = machine.alarms().list(0).into_iter();
    let alarms = alarms
        .filter(|alarm| alarm.member_id != own)
        .map(|alarm| format!("{META_ALARM}{:016x}/{}", alarm.member_id, alarm.alarm));
    let mut side: Vec<SideChange> = members.chain(alarms).map(SideChange::MetaDelete).collect();
    side.extend(first_state(&[member], removed));
    side
}

/// Makes everything durable at once.
fn keep(files: &OpenFiles, store: &mut Store, alone: Vec<SideChange>) -> Result<(), OfflineError> {
    // One less than what is applied, so that notes alone are flushed as well.
    let before = Index(store.applied().0.0.saturating_sub(1));
    let plan = store.begin_flush(before);
    let (mut mark, mut records) = (FlushMark::default(), Vec::new());
    if let Some(plan) = plan {
        let mut after = plan.after;
        loop {
            let page = store.unflushed(after, plan.to, PAGE_RECORDS);
            let Some(last) = page.last() else { break };
            after = last.revision;
            records.extend::<Vec<Record>>(page);
        }
        mark = plan.mark;
    }
    mark.side.extend(alone);
    files.state.flush(records.into_iter(), &mark)?;
    Ok(())
}
