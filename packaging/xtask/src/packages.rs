//! Installs what Debian has and a task needs. Says what it does; starts no service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// While this script says 101, Debian's packages start none of the services they bring.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed {
    /// The program.
    pub(crate) program: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

/// The official command line client.
pub(crate) const ETCDCTL: Needed = Needed {
    program: "etcdctl",
    package: "etcd-client",
};

/// What the tests use, each for steps that are skipped without it.
pub(crate) const FOR_TESTS: &[Needed] = &[
    ETCDCTL,
    Needed {
        program: "etcd",
        package: "etcd-server",
    },
    Needed {
        program: "strace",
        package: "strace",
    },
    Needed {
        program: "python3",
        package: "python3",
    },
    Needed {
        program: "node",
        package: "nodejs",
    },
    Needed {
        program: "npm",
        package: "npm",
    },
    Needed {
        program: "chromium",
        package: "chromium",
    },
    Needed {
        program: "curl",
        package: "curl",
    },
    Needed {
        program: "openssl",
        package: "openssl",
    },
    Needed {
        program: "pebble",
        package: "pebble",
    },
];

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Installs the missing ones where that is possible. What stays missing is told, not fatal.
pub(crate) fn provide(needed: &[Needed]) {
    let missing: Vec<Needed> = needed
        .iter()
        .copied()
        .filter(|needed| find(needed.program).is_none())
        .collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    let packages = packages.join(" ");
    let can_install = find("apt-get").is_some() && is_root();
    if !can_install {
        eprintln!(
            "packages: not installed: {packages} (as root on Debian: apt-get install {packages})"
        );
        return;
    }
    eprintln!("packages: installing {packages}");
    if let Err(error) = install(&missing) {
        eprintln!("packages: {error:#}");
    }
    for needed in missing
        .iter()
        .filter(|needed| find(needed.program).is_none())
    {
        eprintln!(
            "packages: {} could not be installed: no {}",
            needed.package, needed.program
        );
    }
}

fn install(missing: &[Needed]) -> Result<()> {
    let _quiet = NoServices::enforce()?;
    if !apt_get(&["update", "-qq"])? {
        eprintln!("packages: apt-get update failed; trying with the lists that are here");
    }
    // One by one, so that one that is not to be had does not keep the others away.
    for needed in missing {
        apt_get(&[
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            needed.package,
        ])?;
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .context("start apt-get")?;
    Ok(status.success())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

/// Keeps packages from starting services until dropped.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn enforce() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY} executable"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("packages: {POLICY} could not be removed, remove it by hand: {error}");
        }
    }
}
