//! The log on the real file system, with every way of syncing it offers.

use std::sync::Arc;

use super::{SEGMENT, append_one, entry, indices};
use crate::disk::RealDisk;
use crate::log::{Log, LogOptions};
use crate::tests::TempDir;

#[test]
fn a_log_on_disk_survives_being_dropped() {
    for direct in [true, false] {
        let dir = TempDir::new("log");
        let open = || {
            let disk = RealDisk::new(dir.path());
            let disk = if direct { disk } else { disk.with_fdatasync() };
            let options = LogOptions {
                segment_bytes: SEGMENT,
                ..LogOptions::default()
            };
            Log::open(Arc::new(disk), options).expect("open")
        };
        let (mut log, recovered) = open();
        assert!(recovered.entries.is_empty());
        (1..=40).for_each(|i| append_one(&mut log, i, 3000));
        log.release(20);
        log.prepare_next().expect("prepare");
        drop(log);
        let (mut log, recovered) = open();
        assert_eq!(recovered.entries.last(), Some(&entry(40, 1, 3000)));
        assert!(recovered.entries[0].index > 10);
        (41..=80).for_each(|i| append_one(&mut log, i, 3000));
        drop(log);
        let (_, recovered) = open();
        assert_eq!(indices(&recovered).last(), Some(&80));
    }
}
