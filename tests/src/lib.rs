//! What the test suites share, and the house rules.

pub mod tidy;
