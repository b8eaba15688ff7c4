//! What the test suites share: the house rules as a test.
