//! Bugs that the simulator must find, built in only with the feature `mutants`, and then only where one is chosen.
//!
//! Without the feature `on` is a constant, and nothing of this reaches the machine code.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Entries count as durable as soon as they are handed out.
    ReplyBeforeSync,
    /// A linearizable read is answered by what this member has applied.
    LocalRead,
    /// A command that reached the log twice is applied twice.
    DuplicatedProposal,
    /// A read that is asked again goes under its old context.
    ReusedReadContext,
    /// A changed term or vote is not written.
    LostHardState,
    /// A progress response does not wait for events.
    EventAfterProgress,
    /// An entry counts as applied before its effects are there. (etcd #13766)
    AppliedAhead,
    /// A watcher that falls back to history begins where it first stood. (etcd #15271)
    OldMinimum,
    /// A watcher that compaction overtakes goes on with what is left. (etcd #17529)
    SilentCompaction,
    /// A compaction at a deletion removes it. (etcd #18089)
    CompactedDelete,
    /// A member that answers nobody skips the ranges of a transaction, and their checks. (etcd #18667)
    UncheckedRange,
    /// What a transaction inside a transaction needs is not looked at. (etcd CVE-2026-33343)
    NestedTxnUnchecked,
    /// The old pair is given to whoever may write. (etcd CVE-2026-44283)
    PrevKvUnchecked,
    /// A key is tied to any lease. (etcd CVE-2026-44283)
    LeaseAttachUnchecked,
}

#[cfg(feature = "mutants")]
mod chosen {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// All of them.
        pub const ALL: [Self; 14] = [
            Self::ReplyBeforeSync,
            Self::LocalRead,
            Self::DuplicatedProposal,
            Self::ReusedReadContext,
            Self::LostHardState,
            Self::EventAfterProgress,
            Self::AppliedAhead,
            Self::OldMinimum,
            Self::SilentCompaction,
            Self::CompactedDelete,
            Self::UncheckedRange,
            Self::NestedTxnUnchecked,
            Self::PrevKvUnchecked,
            Self::LeaseAttachUnchecked,
        ];

        /// How it is called on a command line.
        #[must_use]
        pub fn name(self) -> &'static str {
            match self {
                Self::ReplyBeforeSync => "reply-before-sync",
                Self::LocalRead => "local-read",
                Self::DuplicatedProposal => "duplicated-proposal",
                Self::ReusedReadContext => "reused-read-context",
                Self::LostHardState => "lost-hard-state",
                Self::EventAfterProgress => "event-after-progress",
                Self::AppliedAhead => "applied-ahead",
                Self::OldMinimum => "old-minimum",
                Self::SilentCompaction => "silent-compaction",
                Self::CompactedDelete => "compacted-delete",
                Self::UncheckedRange => "unchecked-range",
                Self::NestedTxnUnchecked => "nested-txn-unchecked",
                Self::PrevKvUnchecked => "prev-kv-unchecked",
                Self::LeaseAttachUnchecked => "lease-attach-unchecked",
            }
        }
    }

    /// Chooses a bug for this thread, or none.
    pub fn set(mutant: Option<Mutant>) {
        CHOSEN.with(|chosen| chosen.set(mutant));
    }

    /// The bug that is chosen for this thread.
    #[must_use]
    pub fn chosen() -> Option<Mutant> {
        CHOSEN.with(Cell::get)
    }

    pub(crate) fn on(mutant: Mutant) -> bool {
        CHOSEN.with(Cell::get) == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use chosen::on;
#[cfg(feature = "mutants")]
pub use chosen::{chosen, set};

#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}
