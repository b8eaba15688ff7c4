//! What the test suites share, and the house rules.

#[path = "../harness/mod.rs"]
pub mod harness;
pub mod process;
pub mod reference;
pub mod tidy;
