//! What is built: the console, then the server that embeds it; and where the results are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ui;

/// The working tree.
#[derive(Debug)]
pub(crate) struct Repo(PathBuf);

impl Repo {
    /// The tree that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own
            .ancestors()
            .nth(2)
            .context("packaging/xtask lies two levels down")?;
        if !root.join("Cargo.toml").exists() {
            bail!(
                "{} is no longer there: run this from the working tree",
                root.display()
            );
        }
        Ok(Self(root.to_owned()))
    }

    /// Its root.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path below `target/`.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.0.join("target").join(name)
    }

    /// Cargo in this tree.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(&self.0).args(arguments);
        cargo
    }

    /// A program that cargo built, optimised, for this machine.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let own = std::env::current_exe().context("the path of this program")?;
        let dir = own.parent().context("a program lies in a directory")?;
        // `cargo xtask` runs from the same directory that the server is built into.
        let path = dir.join(name);
        if !path.exists() {
            bail!("{} was built, but is not there", path.display());
        }
        Ok(path)
    }
}

/// Console and server, optimised.
pub(crate) fn build(repo: &Repo) -> Result<()> {
    ui::build(repo.path())?;
    build_server(repo)?;
    let path = repo.program("kvorum")?;
    let size = fs::metadata(&path)
        .with_context(|| path.display().to_string())?
        .len();
    eprintln!(
        "server: {} ({} KiB), {}",
        path.display(),
        size >> 10,
        linkage(&path)?
    );
    Ok(())
}

/// The server alone; cargo shows its progress.
pub(crate) fn build_server(repo: &Repo) -> Result<()> {
    eprintln!("server: building; the first time takes some minutes");
    let status = repo
        .cargo(&["build", "--release", "-p", "kvorum"])
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("the server does not build ({status})");
    }
    Ok(())
}

/// Says how a program is linked; fails if it is not static, because it then needs libraries beside it.
pub(crate) fn linkage(program: &Path) -> Result<&'static str> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("start ldd")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if said.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok("statically linked");
    }
    bail!("{} is linked dynamically:\n{said}", program.display())
}
