//! What the test suites share, and the house rules.

#[cfg(test)]
mod advisories;
#[path = "../harness/mod.rs"]
pub mod harness;
pub mod process;
pub mod reference;
pub mod tidy;
