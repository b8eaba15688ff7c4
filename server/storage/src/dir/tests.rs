//! Tests of the data directory, on the real file system.
