//! The numbers of the machine, each with a type of its own.

/// Position of one change in the history of the store.
///
/// `main` counts write transactions from 2 on (an empty store is at revision 1); `sub` counts the changes inside one
/// transaction from 0. Ordered by `main`, then `sub`. (etcd: server/storage/mvcc/revision.go)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The transaction.
    pub main: i64,
    /// The change inside the transaction.
    pub sub: u32,
}

impl Revision {
    /// The first change of transaction `main`.
    #[must_use]
    pub const fn first_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }

    /// A position after every change of transaction `main`.
    #[must_use]
    pub const fn last_of(main: i64) -> Self {
        Self {
            main,
            sub: u32::MAX,
        }
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A raft term.
    Term, u64
);
number!(
    /// A position in the raft log; the first entry has index 1.
    Index, u64
);
number!(
    /// A member of the cluster: the first 8 bytes of a SHA-1 (ETCD.md 2.12).
    MemberId, u64
);
number!(
    /// The cluster: the first 8 bytes of a SHA-1 over its first members.
    ClusterId, u64
);
number!(
    /// A lease, as clients name it; 0 means "none".
    LeaseId, i64
);
number!(
    /// A watcher inside one watch stream.
    WatchId, i64
);
number!(
    /// One proposal of one member's life: never used twice, so that a forwarded duplicate applies once.
    RequestId, u64
);
