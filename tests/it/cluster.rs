//! Clusters of real processes under load, while members die, links fail and disks break.
//!
//! Every test runs a load whose calls are recorded with their times, does its damage, and lets the history be judged:
//! [`verdict`] reads what every member has, and asks the shared checkers. One cluster runs at a time, since several
//! would take each other's processor and elections with it.
//!
//! | variable | usual | what it chooses |
//! |---|---|---|
//! | `KVORUM_TEST_CLUSTER_OF` | `kvorum` | `etcd` runs the same tests on clusters of the reference |
//! | `KVORUM_TEST_CLUSTER_SEED` | 1 | who is hit, and when |
//! | `KVORUM_TEST_CLUSTER_KILLS` | 12 | kills of random members |
//! | `KVORUM_TEST_CLUSTER_CYCLES` | 1 | rounds of 3, 5, 3, 1, 3 members |
//! | `KVORUM_TEST_CLUSTER_EIO` | 3 | syncs that fail; other numbers than 3 try each from the first on |
//! | `KVORUM_TEST_CLUSTER_FREEZES` | 2 | disks that hang under a leader |
//! | `KVORUM_TEST_CLUSTER_FLIPS` | 40 | bits flipped in one member's files |
//! | `KVORUM_TEST_CLUSTER_PARTITIONS` | 8 | partitions, of eight kinds in turn |
//! | `KVORUM_TEST_CLUSTER_ROLLS` | 1 | rolling restarts |
//! | `KVORUM_TEST_CLUSTER_BEHIND_MIB` | 96 | what an absent member misses |
//! | `KVORUM_TEST_CLUSTER_KEYS` | 20000 | keys for restart and catch-up |
//! | `KVORUM_TEST_CLUSTER_FLOOD_CALLS` | 4000 | calls that a flooding client has open at once |
//! | `KVORUM_TEST_CLUSTER_CHURN_SECONDS` | 30 | churn at quota |

mod caller;
mod catch_up;
mod churn;
mod crowd;
mod disks;
mod draw;
mod flips;
mod flood;
mod handover;
mod honesty;
mod kills;
mod leases;
mod load;
pub(crate) mod members;
mod membership;
mod net;
mod partitions;
mod roles;
mod spread;
mod strace;
mod suites;
mod verdict;
mod watchers;

use tokio::sync::{Mutex, MutexGuard};

use crate::seed::Seed;

/// Held by the test whose cluster runs.
pub(crate) async fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::const_new(());
    RUNNING.lock().await
}

/// The choices of a test.
fn seed() -> Seed {
    Seed::new(crate::number_from_env("KVORUM_TEST_CLUSTER_SEED", 1))
}
