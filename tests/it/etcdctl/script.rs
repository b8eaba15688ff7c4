//! The script. Revisions are part of what is compared, so the steps depend on each other.

/// One call of etcdctl; words are separated by single spaces.
#[derive(Debug)]
pub(super) enum Step {
    /// Everything that it prints.
    Run(&'static str),
    /// The same, with this on standard input.
    Input(&'static str, &'static str),
    /// Only some of the fields that ", " separates: the others are sizes and counts of the implementation.
    Fields(&'static str, &'static [usize]),
    /// A watch, the changes to make while it runs, and how many lines it must print.
    Watch(&'static str, &'static [&'static str], usize),
}

use Step::{Fields, Input, Run, Watch};

/// `LEASE` stands for the lease that was granted last.
pub(super) const SCRIPT: &[Step] = &[
    // Keys and values: revisions 2 to 8.
    Run("get none"),
    Run("put a 1"),
    Run("put a 2"),
    Run("put --prev-kv a 3"),
    Run("get a"),
    Run("get a -w json"),
    Run("get a -w fields"),
    Run("get a --rev=2"),
    Run("get a --rev=3 -w json"),
    Run("get a --print-value-only"),
    Run("get a --hex"),
    Run("get a --consistency=s"),
    Run("put b/1 x"),
    Run("put b/2 w"),
    Run("put b/3 y"),
    Run("put b/4 v -w json"),
    // Ranges.
    Run("get b/ --prefix"),
    Run("get b/ --prefix --keys-only"),
    Run("get b/ --prefix --limit=2 -w json"),
    Run("get b/ --prefix --count-only -w fields"),
    Run("get b/ --prefix --order=DESCEND"),
    Run("get b/ --prefix --sort-by=VALUE --order=ASCEND"),
    Run("get b/ --prefix --sort-by=MODIFY --order=DESCEND --limit=1"),
    Run("get b/2 b/4"),
    Run("get b/3 --from-key"),
    Run("get a b/3 -w json"),
    Run("get z a"),
    // Refusals of reads and writes.
    Run("get a --rev=1000"),
    Run("put --ignore-value nothing"),
    Run("put --lease=123 a 4"),
    Run("compaction 1000"),
    // Deletes: revisions 9 and 10.
    Run("del none"),
    Run("del b/1 --prev-kv"),
    Run("del b/2 b/4 --prev-kv -w json"),
    Run("get b/ --prefix -w json"),
    // Transactions.
    Input(
        "txn",
        "value(\"a\") = \"3\"\n\nput a yes\nget a\n\nput a no\n\n",
    ),
    Input(
        "txn",
        "value(\"a\") = \"3\"\n\nput a yes\n\nget a\ndel none\n\n",
    ),
    Input(
        "txn -w json",
        "mod(\"a\") > \"5\"\nversion(\"none\") = \"0\"\n\nput c 1\nput d 2\n\n\n",
    ),
    Input(
        "txn",
        "create(\"none\") = \"0\"\nlease(\"a\") = \"0\"\n\nget c\n\n\n",
    ),
    Input("txn", "\n\nput e 1\nput e 2\n\n\n"),
    Run("get c d -w json"),
    // Watches of the history and of what comes.
    Watch("watch a --rev=2", &[], 12),
    Watch("watch b/ --prefix --rev=5 --prev-kv", &[], 27),
    Watch("watch w --rev=1", &["put w 1", "put w 2", "del w"], 9),
    Watch("watch --prefix w/ --rev=1 -w json", &["put w/1 1"], 1),
    // Leases.
    Run("lease grant 100"),
    Run("lease timetolive LEASE"),
    Run("put --lease=LEASE leased/a 1"),
    // With two keys their order is not defined.
    Run("lease timetolive LEASE --keys"),
    Run("put --lease=LEASE leased/b 1"),
    Run("lease keep-alive --once LEASE"),
    Run("lease list"),
    Run("get leased/a -w json"),
    Run("put --ignore-lease leased/a 2"),
    Run("lease revoke LEASE"),
    Run("get leased/ --prefix --count-only -w fields"),
    Run("lease timetolive LEASE"),
    Run("lease revoke LEASE"),
    Run("lease keep-alive --once LEASE"),
    Run("lease list"),
    Run("lease grant 9000000001"),
    // Compaction.
    Run("compaction 8"),
    Run("compaction 8"),
    Run("get a --rev=7"),
    Run("get a --rev=8"),
    Run("compaction --physical 10"),
    Watch("watch a --rev=2", &[], 1),
    // The member itself.
    Run("member list"),
    Run("member list -w json"),
    Run("endpoint health"),
    Fields("endpoint status", &[1, 4, 5, 9]),
    Run("alarm list"),
    Run("alarm disarm"),
    Run("defrag"),
    // Recipes that etcdctl itself builds from the above.
    Run("lock a-lock echo locked"),
    Run("get a-lock --prefix --count-only -w fields"),
    Run("del --prefix leased"),
    Run("del --from-key \\x00"),
    Run("get --from-key \\x00 --count-only -w json"),
];
