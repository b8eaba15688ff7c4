//! The shape of the repository: fixed top level, no large files, names that say something.

use std::path::Path;

const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "assets",
    "clippy.toml",
    "packaging",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "server",
    "tests",
    "ui",
];

const SIZE_MAX_BYTES: u64 = 1 << 20;

/// Words that say nothing about what a thing is. A name must not end in one.
const EMPTY_WORDS: &[&str] = &[
    "base", "common", "data", "helper", "helpers", "info", "manager", "misc", "stuff", "util",
    "utils",
];

/// Findings about the files as such, `files` being their paths below `root`.
pub(super) fn check(root: &Path, files: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for path in files {
        findings.extend(check_path(path));
        // A symbolic link counts by itself, not by what it points to.
        match root.join(path).symlink_metadata() {
            Ok(metadata) => findings.extend(check_size(path, metadata.len())),
            Err(error) => findings.push(format!("{path}: cannot be read: {error}")),
        }
    }
    findings.dedup();
    findings
}

fn check_path(path: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let top = path.split('/').next().unwrap_or(path);
    if !TOP_LEVEL.contains(&top) {
        findings.push(format!(
            "{top}: not part of the top level; move it below one of its folders"
        ));
    }
    if path.ends_with(".rs") {
        for part in path.trim_end_matches(".rs").split('/') {
            if let Some(word) = empty_word(part) {
                findings.push(format!("{path}: `{word}` says nothing; name what it holds"));
            }
        }
    }
    findings
}

fn check_size(path: &str, size_bytes: u64) -> Option<String> {
    (size_bytes > SIZE_MAX_BYTES)
        .then(|| format!("{path}: {size_bytes} bytes, over the limit of {SIZE_MAX_BYTES}"))
}

/// The last word of a snake_case or CamelCase name, if it is one that says nothing.
pub(super) fn empty_word(name: &str) -> Option<&'static str> {
    let mut last = String::new();
    for letter in name.chars() {
        if letter == '_'
            || letter == '-'
            || (letter.is_uppercase() && !last.ends_with(char::is_uppercase))
        {
            last.clear();
        }
        if letter != '_' && letter != '-' {
            last.push(letter);
        }
    }
    EMPTY_WORDS
        .iter()
        .find(|word| last.eq_ignore_ascii_case(word))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_end_in_an_empty_word_are_found() {
        for name in [
            "util",
            "string_utils",
            "LeaseManager",
            "KeyInfo",
            "data",
            "Base",
            "test-helpers",
        ] {
            assert!(empty_word(name).is_some(), "{name}");
        }
        for name in [
            "DataDir",
            "base64",
            "Lessor",
            "information",
            "data_dir",
            "Database",
            "KV",
        ] {
            assert_eq!(empty_word(name), None, "{name}");
        }
    }

    #[test]
    fn a_stray_entry_is_found() {
        assert_eq!(check_path("notes.txt").len(), 1);
        assert_eq!(check_path("docs/a.md").len(), 1);
        assert_eq!(check_path("server/core/src/utils.rs").len(), 1);
        assert_eq!(check_path("server/core/src/common/x.rs").len(), 1);
        assert!(check_path("server/core/src/lib.rs").is_empty());
    }

    #[test]
    fn a_file_over_one_mebibyte_is_found() {
        assert_eq!(check_size("assets/x.png", SIZE_MAX_BYTES), None);
        assert!(check_size("assets/x.png", SIZE_MAX_BYTES + 1).is_some());
    }
}
