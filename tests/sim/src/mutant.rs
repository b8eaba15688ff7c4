//! The bugs that are built in to see whether they are found: a checker that has never failed proves nothing.

pub use kvorum_core::mutants::Mutant;
