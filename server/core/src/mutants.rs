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
        pub const ALL: [Self; 6] = [
            Self::ReplyBeforeSync,
            Self::LocalRead,
            Self::DuplicatedProposal,
            Self::ReusedReadContext,
            Self::LostHardState,
            Self::EventAfterProgress,
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
            }
        }
    }

    /// Chooses a bug for this thread, or none.
    pub fn set(mutant: Option<Mutant>) {
        CHOSEN.with(|chosen| chosen.set(mutant));
    }

    pub(crate) fn on(mutant: Mutant) -> bool {
        CHOSEN.with(Cell::get) == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use chosen::on;
#[cfg(feature = "mutants")]
pub use chosen::set;

#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}
