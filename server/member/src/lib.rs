//! The shell around the machine: threads, timers, proposals, reads and watch streams of one running member.
//!
//! ```text
//! I/O thread (a Handle) --commands--> core thread --groups--> log thread --durable--> core thread
//!        ^                                 |  apply
//!        +---------- replies, events ------+----> store thread: flush behind, compact
//! ```
//!
//! Reads never visit the core thread: they share the store's lock, a page at a time.

mod apply_meter;
mod auth;
mod auth_calls;
mod authenticate;
mod bootstrap;
mod budget;
mod clock;
mod cluster;
pub mod compactor;
pub mod console;
mod core_thread;
mod driver;
mod ended;
pub mod families;
pub mod fuzz;
mod gauges;
mod guesses;
mod handle;
mod hash;
pub mod heal;
mod history;
mod identity;
mod inbox;
mod install;
mod large;
pub mod listing;
mod log_thread;
mod member_calls;
mod meters;
pub mod offline;
mod options;
mod passwords;
pub mod peer;
mod port;
mod proposals;
mod prospect;
mod range_pieces;
mod reads;
mod rebuild;
mod refused;
mod replace;
mod room;
mod scrub;
mod shared;
mod shrink;
mod snapshot;
mod start;
mod stats;
mod store_thread;
pub mod tokens;
pub mod trust;
mod watch;

pub use auth::AuthListener;
pub use authenticate::AuthenticateError;
pub use bootstrap::BootstrapError;
pub use budget::{Budget, BudgetUse, Hold, REPLY_FREE_BYTES};
pub use ended::Ended;
pub use handle::{Handle, Status};
pub use history::KeyVersion;
pub use identity::MemberIdentity as Identity;
pub use kvorum_core::Error;
pub use kvorum_core::auth::{AuthEvent, AuthStore as AuthView, Caller, Need};
pub use kvorum_core::reply::AuthReply;
pub use kvorum_core::watch::Frame as WatchFrame;
pub use kvorum_storage::damage_under_work;
pub use large::{EncodedRange, RangeAnswer};
pub use member_calls::{AddedMember, MemberCallError, Replacement};
pub use options::{ClusterState, InitialMember, MemberOptions};
pub use passwords::PasswordError;
pub use prospect::{Prospect, prospect};
pub use range_pieces::{RangeEnd, RangePiece, RangePieces};
pub use snapshot::{SnapshotChunk, SnapshotError, SnapshotStream};
pub use start::{Member, StartError};
pub use stats::{Latency, Stats};
pub use watch::WatchStream;
