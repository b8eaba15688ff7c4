//! What the console is made of: a hash over everything that can change its bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders whose every file counts.
const FOLDERS: [&str; 4] = ["ui", "server/api", "assets", "packaging/xtask/src/ui"];
/// Parts of the root manifest that reach the browser.
const SECTIONS: [&str; 3] = [
    "[workspace.package]",
    "[profile.release]",
    "[profile.wasm-release]",
];

/// Hexadecimal BLAKE3 over names and contents of all inputs.
pub(super) fn fingerprint(repo_root: &Path) -> Result<String> {
    let mut hash = blake3::Hasher::new();
    for folder in FOLDERS {
        let mut files = Vec::new();
        collect(&repo_root.join(folder), &mut files)?;
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let name = file.strip_prefix(repo_root).unwrap_or(&file);
            feed(&mut hash, name.to_string_lossy().as_bytes());
            feed(&mut hash, &bytes);
        }
    }
    let manifest = std::fs::read_to_string(repo_root.join("Cargo.toml")).context("Cargo.toml")?;
    feed(&mut hash, sections(&manifest).as_bytes());
    let lock = std::fs::read_to_string(repo_root.join("Cargo.lock")).unwrap_or_default();
    feed(&mut hash, locked(&lock, "kvorum-ui").as_bytes());
    Ok(hash.finalize().to_hex().to_string())
}

/// Length first, so that no two lists of inputs run together into the same bytes.
fn feed(hash: &mut blake3::Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of the sections that matter, in file order.
fn sections(manifest: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in manifest
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        if line.starts_with('[') {
            inside = SECTIONS.contains(&line.trim());
        }
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The lock file's blocks of `root` and of everything it depends on, in the order of their names.
fn locked(lock: &str, root: &str) -> String {
    let mut blocks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        if let Some(name) = quoted(block.lines().find(|line| line.starts_with("name = "))) {
            blocks.entry(name).or_default().push(block);
        }
    }
    let mut seen = BTreeSet::new();
    let mut waiting = vec![root];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        for block in blocks.get(name).into_iter().flatten() {
            let dependencies = block.lines().filter(|line| line.starts_with(" \""));
            // A dependency is written "name" or, where two versions exist, "name version".
            waiting.extend(
                dependencies.filter_map(|line| quoted(Some(line))?.split_whitespace().next()),
            );
        }
    }
    seen.iter()
        .filter_map(|name| blocks.get(name))
        .flatten()
        .copied()
        .collect()
}

fn quoted(line: Option<&str>) -> Option<&str> {
    line?.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::{locked, sections};

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\n \"b 2\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"2\"\n\n[[package]]\nname = \"c\"\nversion = \"3\"\n";

    #[test]
    fn only_what_the_console_depends_on_counts() {
        let kept = locked(LOCK, "a");
        assert!(kept.contains("\"a\"") && kept.contains("\"b\""));
        assert!(!kept.contains("\"c\""));
        assert_eq!(
            kept,
            locked(&LOCK.replace("version = \"3\"", "version = \"4\""), "a")
        );
        assert_ne!(
            kept,
            locked(&LOCK.replace("version = \"2\"", "version = \"5\""), "a")
        );
    }

    #[test]
    fn a_server_dependency_in_the_root_manifest_does_not_count() {
        let manifest = "[workspace.package]\nedition = \"2024\"\n[workspace.dependencies]\nredb = \"4\"\n\
            [profile.wasm-release]\nlto = true\n";
        let kept = sections(manifest);
        assert!(kept.contains("edition") && kept.contains("lto"));
        assert!(!kept.contains("redb"));
    }
}
