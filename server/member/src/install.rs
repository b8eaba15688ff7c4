//! A snapshot from a peer takes the place of the state of this member, on the thread that flushes.

use std::sync::atomic::Ordering;

use kvorum_core::Index;
use kvorum_core::auth::AuthEvent;
use kvorum_core::node::SnapshotMark;
use kvorum_proto::kvorumpb;
use kvorum_storage::{SnapshotHead, Staged};

use crate::rebuild;
use crate::shared::{CoreInput, Shared};

/// Replaces the state store and the store in memory, and tells the core thread. Gives the entry it stands at.
///
/// # Errors
/// The disk failed, or what came is none of ours: the member must end.
pub(crate) fn install(shared: &Shared, staged: Staged) -> Result<Index, String> {
    let p = &shared.published;
    let note_now = || {
        let now_ms = shared.clock.now_ms().max(1);
        p.installed_ms.store(now_ms, Ordering::SeqCst);
    };
    // Before, since reads meet the new file from here on; and once more when the store in memory follows.
    note_now();
    let restored = shared.state.install(staged).map_err(|e| e.to_string())?;
    let store = rebuild::store(&shared.state, &restored, &shared.options);
    let store = store.map_err(|e| e.to_string())?;
    let machine = rebuild::machine(&store, &restored, &shared.options);
    let interrupted = rebuild::interrupted_compaction(&restored).unwrap_or(0);
    note_now();
    p.compaction.store(interrupted, Ordering::SeqCst);
    let revision = store.current();
    {
        let mut held = shared.store.write();
        *held = store;
        shared.auth.publish(machine.auth().clone());
    }
    // What was said of tokens in the entries that were skipped is lost.
    let forgotten = AuthEvent::AllForgotten;
    shared
        .authentication
        .heard(&forgotten, shared.clock.now_ms());
    shared.auth.tell(&forgotten);
    shared.flushed.send_replace(restored.applied.0);
    tracing::info!(
        applied = restored.applied.0,
        revision,
        "the snapshot of a peer took the place of the state"
    );
    let installed = CoreInput::Installed(Box::new(machine), restored.applied);
    shared.core.push(installed);
    Ok(restored.applied)
}

/// What raft is told of a snapshot; none if its configuration cannot be read.
pub(crate) fn mark_of(head: &SnapshotHead) -> Option<kvorumpb::SnapshotMark> {
    let mark = SnapshotMark {
        index: head.index,
        term: head.term,
        conf_state: head.conf_state.clone(),
    };
    mark.to_message().ok()
}
