//! The simulator: whole clusters of the real machine over the real storage, in one thread, from one seed, in virtual
//! time. (FoundationDB and TigerBeetle test themselves like this.)
//!
//! `plan` draws what a seed is like, `world` lets things happen, `fault` lets them go wrong, `ledger` watches raft's
//! promises at every step, and `verdict` judges what clients saw. The same seed gives the same run.

mod changes;
mod client;
mod fault;
mod ledger;
mod life;
mod member;
mod mutant;
mod net;
mod panics;
mod plan;
mod queue;
mod report;
mod run;
mod shell;
mod story;
mod transfer;
mod verdict;
mod watcher;
mod world;

pub use ledger::Violation;
pub use mutant::Mutant;
pub use panics::on_lost;
pub use plan::{Order, Profile};
pub use report::Figures;
pub use run::{Ended, run};
