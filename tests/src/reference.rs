//! A real etcd to compare with: the same script must get the same answers from both.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::process::{build_dir, find_program};

/// The release that the contract is written against.
pub const ETCD_VERSION: &str = "3.6.16";

/// A real etcd, the newest that can be had: `$KVORUM_ETCD`, else 3.6 built with Go, else the installed one.
#[must_use]
pub fn etcd() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let named = std::env::var_os("KVORUM_ETCD").map(PathBuf::from);
            named
                .or_else(|| built("etcd", "go.etcd.io/etcd/server/v3"))
                .or_else(installed)
        })
        .clone()
}

/// Debian's etcd.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    find_program("etcd")
}

/// Builds one of etcd's programs from the pinned module, once.
fn built(name: &str, package: &str) -> Option<PathBuf> {
    let program = build_dir()
        .join("reference")
        .join(format!("{name}-{ETCD_VERSION}"));
    if program.exists() {
        return Some(program);
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/etcd");
    let go = find_program("go")?;
    eprintln!("building etcd {ETCD_VERSION} to compare with");
    let status = Command::new(go)
        .current_dir(module)
        .args(["build", "-o"])
        .arg(&program)
        .arg(package)
        .status();
    status
        .is_ok_and(|status| status.success())
        .then_some(program)
}
