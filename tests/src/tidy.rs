//! The house rules as a test: who may depend on whom, how long things are, what they may be called.
//!
//! `cargo xtask tidy` and the test of the same name call [`run`]. A rule is kept by everybody or changed for
//! everybody: the list of exceptions is empty, and a test keeps it so.

mod arrows;
mod bans;
mod source;
mod tree;

use std::{path::Path, process::Command};

/// Findings that are let through. Empty.
pub const EXCEPTIONS: &[&str] = &[];

/// Checks the repository at `root`; the error is one line per finding, each naming the place and what to do.
///
/// # Errors
/// Every finding, or the reason why the repository could not be read.
pub fn run(root: &Path) -> Result<(), Vec<String>> {
    let findings = findings(root).map_err(|reason| vec![reason])?;
    let findings: Vec<String> = findings
        .into_iter()
        .filter(|finding| {
            !EXCEPTIONS
                .iter()
                .any(|exception| finding.contains(exception))
        })
        .collect();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

fn findings(root: &Path) -> Result<Vec<String>, String> {
    let mut findings = arrows::check(&metadata(root)?)?;
    let files = files(root)?;
    findings.extend(tree::check(root, &files));
    findings.extend(bans::check(root));
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = std::fs::read_to_string(root.join(path))
            .map_err(|error| format!("{path}: cannot be read: {error}"))?;
        findings.extend(source::check(path, &text));
    }
    Ok(findings)
}

/// What `cargo metadata` says about the workspace and everything it resolves to.
fn metadata(root: &Path) -> Result<serde_json::Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = output(Command::new(cargo).current_dir(root).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]))?;
    serde_json::from_slice(&output).map_err(|error| format!("cargo metadata is not JSON: {error}"))
}

/// Files of the repository that exist: tracked ones, and new ones that git does not ignore.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let output = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let names = String::from_utf8(output).map_err(|error| format!("a file name: {error}"))?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && root.join(name).symlink_metadata().is_ok())
        .map(str::to_owned)
        .collect())
}

fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("tests/ has a parent");
        if let Err(findings) = run(root) {
            panic!("{} findings:\n{}", findings.len(), findings.join("\n"));
        }
    }

    #[test]
    fn the_exception_list_is_empty() {
        assert_eq!(EXCEPTIONS, &[] as &[&str]);
    }
}
