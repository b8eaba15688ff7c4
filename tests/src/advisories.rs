//! The table of advisories in server/ARCHITECTURE.md: what it names must exist, and what was published must be in it.

use std::{collections::BTreeSet, path::Path};

const PAGE: &str = "server/ARCHITECTURE.md";
const BEGIN: &str = "| Advisory | Class | Tests |";

/// From 2023 on; a fix without an advisory of its own by its number.
const PUBLISHED: [&str; 20] = [
    "CVE-2023-32082",
    "CVE-2023-44487",
    "CVE-2023-45288",
    "CVE-2023-47108",
    "CVE-2024-24786",
    "CVE-2025-30204",
    "CVE-2026-33186",
    "CVE-2026-33343",
    "CVE-2026-33413",
    "CVE-2026-44283",
    "GHSA-3wh4-j44w-pg92",
    "GHSA-6vch-q96h-7gc3",
    "GHSA-hrxh-6v49-42gf",
    "GHSA-xg4h-6gfc-h4m8",
    "etcd #14571",
    "etcd #15676",
    "etcd #20942",
    "etcd #21993",
    "etcd #22147",
    "etcd #22214",
];

/// What is wrong with the table.
fn findings(page: &str, has_test: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    let rows = page.lines().skip_while(|line| *line != BEGIN).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (id, tests) = (cells.next().unwrap_or_default(), cells.nth(1));
        known.insert(id);
        let names: Vec<&str> = tests
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        if names.is_empty() {
            findings.push(format!("{id}: no test is named"));
        }
        for name in names {
            match name.split_once(": ") {
                Some((file, test)) if has_test(file, test) => {}
                _ => findings.push(format!("{id}: there is no test {name}")),
            }
        }
    }
    let missing = PUBLISHED.iter().filter(|id| !known.contains(*id));
    findings.extend(missing.map(|id| format!("{id}: has no row")));
    findings
}

/// True if a file has a test of this name: a function behind a line that makes it one.
fn has_test(text: &str, test: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let mut is_test = false;
    lines.any(|line| {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
            return false;
        }
        if line.starts_with("#[") || line.starts_with("//") {
            return false;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        let found = is_test && name.is_some_and(|name| name.starts_with(&format!("{test}(")));
        is_test = false;
        found
    })
}

#[test]
fn each_advisory_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let findings = findings(&read(PAGE), |file, test| has_test(&read(file), test));
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn a_test_that_is_gone_is_found() {
    let page = format!(
        "{BEGIN}\n|---|---|---|\n| CVE-2023-32082 | x | `a.rs: gone`, `a.rs: here` |\n| X | x | |\n"
    );
    let found = findings(&page, |_, test| test == "here");
    assert!(found.contains(&"CVE-2023-32082: there is no test a.rs: gone".to_owned()));
    assert!(found.contains(&"X: no test is named".to_owned()));
    assert!(found.contains(&"CVE-2026-33413: has no row".to_owned()));
    assert_eq!(found.len(), 2 + PUBLISHED.len() - 1, "{found:?}");
    let text =
        "#[test]\n#[ignore]\nfn here() {}\nfn helper() {}\n#[tokio::test]\nasync fn also() {}\n";
    assert!(has_test(text, "here") && has_test(text, "also"));
    assert!(!has_test(text, "helper") && !has_test(text, "her"));
}
