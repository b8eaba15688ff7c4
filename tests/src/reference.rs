//! A real etcd to compare with: the same script must get the same answers from both.

use std::{path::PathBuf, sync::OnceLock};

use crate::process::find_program;

/// A real etcd: `$KVORUM_TEST_ETCD`, else the installed one (Debian 12 has 3.4).
#[must_use]
pub fn etcd() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let named = std::env::var_os("KVORUM_TEST_ETCD").map(PathBuf::from);
            named.or_else(installed)
        })
        .clone()
}

/// Debian's etcd.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    find_program("etcd")
}
