//! Committed entries go through the machine, in order: answers and events come out.

use std::collections::VecDeque;

use kvorum_proto::kvorumpb::{Command, EntryBatch, command::Op};
use prost::Message as _;

use super::Replica;
use super::ask::Answer;
use super::membership::Changed;
use super::output::{Observer, Output, StoreAccess};
use crate::backend::SideChange;
use crate::log::{Entry, EntryKind};
use crate::machine::{Applied, Context};
use crate::mutants::{self, Mutant};
use crate::mvcc::Store;
use crate::types::{Index, RequestId, Term};

/// Commands applied while readers wait.
const COMMANDS_PER_LOCK: usize = 32;
/// Events collected before watchers hear of them.
const EVENTS_PER_TURN: usize = 4096;
/// Meta key of the raft configuration.
pub const META_CONF_STATE: &str = "conf_state";

impl Replica {
    pub(super) fn apply(
        &mut self,
        store: &impl StoreAccess,
        observer: &mut impl Observer,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), String> {
        let mut entries: VecDeque<Entry> = std::mem::take(&mut self.committed);
        while out.events.events.len() < EVENTS_PER_TURN {
            let Some(entry) = entries.pop_front() else {
                break;
            };
            if mutants::on(Mutant::AppliedAhead) {
                store.with(|store| store.set_applied(Index(entry.index), Term(entry.term)));
            }
            match entry.kind {
                EntryKind::Normal => self.apply_batch(store, observer, &entry, now_ms, out)?,
                _ => self.apply_change(store, &entry, out)?,
            }
            let index = Index(entry.index);
            let changes = self.machine.take_sessions();
            store.with(|store| {
                changes.into_iter().for_each(|c| store.note(c));
                store.set_applied(index, Term(entry.term));
            });
            self.applied = index;
            self.node.applied(index);
        }
        self.committed = entries;
        Ok(())
    }

    fn apply_batch(
        &mut self,
        store: &impl StoreAccess,
        observer: &mut impl Observer,
        entry: &Entry,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), String> {
        let batch = EntryBatch::decode(entry.data.clone())
            .map_err(|e| format!("entry {} cannot be read: {e}", entry.index))?;
        let context = Context {
            index: entry.index,
            term: entry.term,
            now_ms,
        };
        observer.begin();
        for chunk in batch.commands.chunks(COMMANDS_PER_LOCK) {
            store.with(|store| self.apply_chunk(store, observer, context, chunk, out))?;
        }
        Ok(())
    }

    fn apply_chunk(
        &mut self,
        store: &mut Store,
        observer: &mut impl Observer,
        context: Context,
        commands: &[Command],
        out: &mut Output,
    ) -> Result<(), String> {
        for command in commands {
            if let Some(Op::DigestCheck(_)) = &command.op {
                let digest = store.digest();
                self.note_digest(context.index, digest, out);
            }
            let before = store.current();
            let mut applied = self
                .machine
                .apply(store, context, command)
                .map_err(|e| e.to_string())?;
            observer.applied(command, &applied);
            if applied.auth.tables {
                observer.auth_changed(self.machine.auth());
            }
            if let Some(event) = &applied.auth.event {
                observer.auth_event(event);
            }
            self.leases.applied(command, &applied);
            collect(&mut applied, before, context.term, out);
            out.compacted = applied.compacted.or(out.compacted);
            out.view_changed |= changes_view(command);
            self.answer_applied(command, applied, context.now_ms, out);
        }
        Ok(())
    }

    /// A command that was applied before answers nobody: its first application did, or its answer was lost with a
    /// snapshot, and then whoever waits may only be told that the outcome is unknown.
    fn answer_applied(
        &mut self,
        command: &Command,
        applied: Applied,
        now_ms: u64,
        out: &mut Output,
    ) {
        let own = command
            .stamp
            .as_ref()
            .filter(|s| s.session == self.outbox.session());
        let waited = own.map(|s| self.outbox.answered(s.sequence).is_some());
        let id = RequestId(command.request_id);
        match waited {
            Some(false) => {}
            _ if id.0 == 0 => {}
            _ => self.answer(id, Answer::Applied(applied.result), now_ms, out),
        }
    }

    fn apply_change(
        &mut self,
        store: &impl StoreAccess,
        entry: &Entry,
        out: &mut Output,
    ) -> Result<(), String> {
        let changed = store.with(|store| self.change_members(store, entry))?;
        // A change that the members' rules refuse is none to raft either.
        if changed.as_ref().is_none_or(|c| c.result.is_ok()) {
            let conf_state = self.node.apply_conf_change(entry)?;
            store.with(|store| {
                store.note(SideChange::MetaPut(META_CONF_STATE.into(), conf_state));
            });
        }
        if let Some(Changed { id, result }) = changed {
            self.outbox.change_applied(id);
            out.answers.push((id, Answer::Applied(result)));
        }
        out.view_changed = true;
        if !self.is_member() {
            out.removed = true;
            self.end_of_leading();
        }
        Ok(())
    }
}

fn changes_view(command: &Command) -> bool {
    matches!(
        command.op,
        Some(
            Op::Alarm(_)
                | Op::Publish(_)
                | Op::ClusterVersion(_)
                | Op::MemberUpdate(_)
                | Op::Trust(_)
                | Op::Console(_)
        )
    )
}

fn collect(applied: &mut Applied, before: i64, term: u64, out: &mut Output) {
    if applied.events.is_empty() {
        return;
    }
    let batch = &mut out.events;
    if batch.events.is_empty() {
        batch.first = before + 1;
    }
    batch.last = applied.revision;
    batch.term = Term(term);
    batch.events.append(&mut applied.events);
}
