//! Finds, or fetches, a compiler for wasm32 and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's own compiler, the sources of its standard library, its cargo and its wasm linker.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "cargo-web", "lld-19"];
const DEBIAN_PATHS: [&str; 4] = [
    "/usr/bin/rustc",
    "/usr/lib/rustlib/src/rust/library",
    "/usr/bin/cargo",
    "/usr/bin/wasm-ld-19",
];

/// A way to compile for wasm32.
pub(super) enum Toolchain {
    /// The toolchain that runs this task, with the target installed.
    Rustup,
    /// Debian's packages; they carry no wasm32 library, so the standard library is built too.
    Debian,
}

impl Toolchain {
    /// The first that is there; failing that, the first that can be installed.
    pub(super) fn find() -> Result<Self> {
        if rustup_has_target() {
            return Ok(Self::Rustup);
        }
        if debian_is_there() {
            return Ok(Self::Debian);
        }
        eprintln!("console: installing the Rust target {TARGET} (rustup target add)");
        if quietly("rustup", &["target", "add", TARGET]) && rustup_has_target() {
            return Ok(Self::Rustup);
        }
        eprintln!("console: rustup cannot provide {TARGET}");
        install_debian_packages()?;
        Ok(Self::Debian)
    }

    /// Compiles `kvorum-ui`; gives the path of the module.
    pub(super) fn compile(&self, repo_root: &Path) -> Result<PathBuf> {
        let target_dir = repo_root.join("target/wasm");
        eprintln!("console: compiling to WebAssembly; the first time takes some minutes");
        let mut cargo = self.cargo();
        cargo
            .current_dir(repo_root)
            .env("CARGO_TARGET_DIR", &target_dir)
            // Flags meant for the server would reach the browser's code.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args([
                "build",
                "--profile",
                "wasm-release",
                "--target",
                TARGET,
                "-p",
                "kvorum-ui",
            ]);
        if matches!(self, Self::Debian) {
            cargo.args(["-Z", "build-std=std,panic_abort"]);
            cargo.args(["-Z", "build-std-features=optimize_for_size"]);
        }
        let status = cargo.status().context("start cargo")?;
        if !status.success() {
            bail!("the console does not compile for {TARGET} ({status})");
        }
        Ok(target_dir.join(TARGET).join("wasm-release/kvorum-ui.wasm"))
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Rustup => Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into())),
            Self::Debian => {
                let mut cargo = Command::new("/usr/bin/cargo");
                let path = std::env::var("PATH").unwrap_or_default();
                cargo
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")
                    .env("PATH", format!("/usr/lib/llvm-19/bin:/usr/bin:{path}"))
                    .env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
        }
    }
}

/// True if the compiler in use has a standard library for the target.
fn rustup_has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::null())
        .output();
    printed.is_ok_and(|printed| {
        printed.status.success()
            && Path::new(String::from_utf8_lossy(&printed.stdout).trim()).is_dir()
    })
}

fn debian_is_there() -> bool {
    DEBIAN_PATHS.iter().all(|path| Path::new(path).exists())
}

fn install_debian_packages() -> Result<()> {
    let packages = DEBIAN_PACKAGES.join(" ");
    let advice = format!("install them as root (apt-get install {packages}) and run this again");
    if !is_root() {
        bail!("building the console needs the packages {packages}; {advice}");
    }
    eprintln!("console: installing Debian's {packages}");
    quietly("apt-get", &["update", "-qq"]);
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(DEBIAN_PACKAGES);
    if !quietly("apt-get", &arguments) || !debian_is_there() {
        bail!("apt-get could not install {packages}; {advice}");
    }
    Ok(())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

/// Runs a command without its standard output; true if it succeeded.
fn quietly(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
