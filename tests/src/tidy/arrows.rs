//! The dependency arrows of the house, read from the resolved graph.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What one crate of the workspace may reach.
struct Rule {
    krate: &'static str,
    /// Crates of the workspace that it may name, for any purpose.
    workspace: &'static [&'static str],
    /// If given, the only external crates that it may name outside its tests.
    only: Option<&'static [&'static str]>,
    /// External crates that it must not name.
    direct: &'static [&'static str],
    /// External crates that must not be anywhere below it.
    reach: &'static [&'static str],
}

const SERVER: &[&str] = &[
    "kvorum-api",
    "kvorum-proto",
    "kvorum-core",
    "kvorum-storage",
    "kvorum-pki",
    "kvorum-member",
    "kvorum-v3rpc",
    "kvorum-admin",
];
const ASYNC: &[&str] = &[
    "async-std",
    "axum",
    "h2",
    "hyper",
    "mio",
    "smol",
    "tokio",
    "tonic",
];
const OBSERVERS: &[&str] = &["log", "metrics", "prometheus", "tracing"];

const RULES: &[Rule] = &[
    Rule {
        krate: "kvorum-api",
        workspace: &[],
        only: Some(&["serde"]),
        direct: &[],
        reach: &[],
    },
    Rule {
        krate: "kvorum-proto",
        workspace: &[],
        only: Some(&["bytes", "prost", "prost-build", "protox"]),
        direct: &[],
        reach: ASYNC,
    },
    Rule {
        krate: "kvorum-core",
        workspace: &["kvorum-proto"],
        only: Some(&["bytes", "prost", "raft", "slog", "thiserror"]),
        direct: OBSERVERS,
        reach: &[
            "async-std",
            "axum",
            "h2",
            "hyper",
            "metrics",
            "mio",
            "prometheus",
            "redb",
            "rustix",
            "smol",
            "socket2",
            "tokio",
            "tonic",
            "tracing",
        ],
    },
    Rule {
        krate: "kvorum-storage",
        workspace: &["kvorum-core", "kvorum-proto"],
        only: None,
        direct: &[],
        reach: &[
            "async-std",
            "axum",
            "h2",
            "hyper",
            "mio",
            "rustls",
            "smol",
            "socket2",
            "tokio",
            "tonic",
        ],
    },
    Rule {
        krate: "kvorum-pki",
        workspace: &[],
        only: None,
        direct: &["raft", "redb"],
        reach: &[],
    },
    Rule {
        krate: "kvorum-member",
        workspace: &[
            "kvorum-core",
            "kvorum-pki",
            "kvorum-proto",
            "kvorum-storage",
        ],
        only: None,
        direct: &["axum"],
        reach: &[],
    },
    Rule {
        krate: "kvorum-v3rpc",
        workspace: &["kvorum-core", "kvorum-member", "kvorum-proto"],
        only: None,
        direct: &["raft", "redb"],
        reach: &[],
    },
    Rule {
        krate: "kvorum-admin",
        workspace: &[
            "kvorum-api",
            "kvorum-core",
            "kvorum-member",
            "kvorum-pki",
            "kvorum-proto",
        ],
        only: None,
        direct: &["raft", "redb"],
        reach: &[],
    },
    Rule {
        krate: "kvorum",
        workspace: SERVER,
        only: None,
        direct: &["redb"],
        reach: &[],
    },
    Rule {
        krate: "kvorum-ui",
        workspace: &["kvorum-api"],
        only: None,
        direct: &[],
        reach: &["redb", "raft"],
    },
    Rule {
        krate: "kvorum-tests",
        workspace: SERVER,
        only: None,
        direct: &[],
        reach: &[],
    },
    Rule {
        krate: "kvorum-fuzz",
        workspace: &[
            "kvorum-api",
            "kvorum-core",
            "kvorum-member",
            "kvorum-pki",
            "kvorum-proto",
            "kvorum-storage",
            "kvorum-tests",
            "kvorum-v3rpc",
        ],
        only: None,
        direct: &[],
        reach: &[],
    },
    Rule {
        krate: "kvorum-sim",
        workspace: &[
            "kvorum-core",
            "kvorum-proto",
            "kvorum-storage",
            "kvorum-tests",
        ],
        only: None,
        direct: &[],
        reach: ASYNC,
    },
    Rule {
        krate: "xtask",
        workspace: &["kvorum-tests"],
        only: None,
        direct: &[],
        reach: &[],
    },
];

/// One package and what it names, by purpose.
struct Package {
    name: String,
    member: bool,
    /// Package ids, and what they are needed for.
    edges: Vec<(String, Purpose)>,
}

/// The strongest reason for a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Linked into what is shipped.
    Product,
    /// Runs on the builder's machine.
    Build,
    /// For tests only.
    Tests,
}

/// Every arrow of the graph that the rules do not allow.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>, String> {
    let packages = packages(metadata).ok_or("cargo metadata has an unknown shape")?;
    let mut findings = Vec::new();
    for (id, package) in packages.iter().filter(|(_, package)| package.member) {
        match RULES.iter().find(|rule| rule.krate == package.name) {
            Some(rule) => check_one(rule, id, package, &packages, &mut findings),
            None => findings.push(format!(
                "crate {}: no row in the table of dependency arrows; add one",
                package.name
            )),
        }
    }
    Ok(findings)
}

fn check_one(
    rule: &Rule,
    id: &str,
    package: &Package,
    packages: &BTreeMap<String, Package>,
    findings: &mut Vec<String>,
) {
    for (target, purpose) in &package.edges {
        let Some(named) = packages.get(target) else {
            continue;
        };
        let name = named.name.as_str();
        let refused = if named.member {
            !rule.workspace.contains(&name)
        } else {
            *purpose != Purpose::Tests
                && (rule.direct.contains(&name)
                    || rule.only.is_some_and(|only| !only.contains(&name)))
        };
        if refused {
            findings.push(format!("crate {}: must not depend on {name}", rule.krate));
        }
    }
    for name in below(id, packages) {
        if rule.reach.contains(&name) {
            findings.push(format!(
                "crate {}: {name} is somewhere below it",
                rule.krate
            ));
        }
    }
}

/// Names of all crates that are linked below `id`.
fn below<'a>(id: &str, packages: &'a BTreeMap<String, Package>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![id.to_owned()];
    let mut names = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let Some(package) = packages.get(&id) else {
            continue;
        };
        for (target, _) in package
            .edges
            .iter()
            .filter(|(_, purpose)| *purpose == Purpose::Product)
        {
            if seen.insert(target.clone()) {
                names.extend(packages.get(target).map(|package| package.name.as_str()));
                waiting.push(target.clone());
            }
        }
    }
    names
}

fn packages(metadata: &Value) -> Option<BTreeMap<String, Package>> {
    let members: BTreeSet<&str> = metadata
        .get("workspace_members")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut names = BTreeMap::new();
    for package in metadata.get("packages")?.as_array()? {
        names.insert(package.get("id")?.as_str()?, package.get("name")?.as_str()?);
    }
    let mut packages = BTreeMap::new();
    for node in metadata.get("resolve")?.get("nodes")?.as_array()? {
        let id = node.get("id")?.as_str()?;
        let mut edges = Vec::new();
        for edge in node.get("deps")?.as_array()? {
            let kinds = edge.get("dep_kinds")?.as_array()?;
            edges.push((edge.get("pkg")?.as_str()?.to_owned(), purpose(kinds)));
        }
        let name = (*names.get(id)?).to_owned();
        packages.insert(
            id.to_owned(),
            Package {
                name,
                member: members.contains(id),
                edges,
            },
        );
    }
    Some(packages)
}

fn purpose(kinds: &[Value]) -> Purpose {
    let has = |name: Option<&str>| {
        kinds
            .iter()
            .any(|kind| kind.get("kind").and_then(Value::as_str) == name)
    };
    match (has(None), has(Some("build"))) {
        (true, _) => Purpose::Product,
        (false, true) => Purpose::Build,
        (false, false) => Purpose::Tests,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of the crates `kvorum-*` and `kvorum`, with these edges; the third word is the purpose.
    fn findings(edges: &[(&str, &str, &str)]) -> Vec<String> {
        let names: BTreeSet<&str> = edges.iter().flat_map(|edge| [edge.0, edge.1]).collect();
        let packages: Vec<Value> = names
            .iter()
            .map(|name| json!({ "id": name, "name": name }))
            .collect();
        let members: Vec<&&str> = names
            .iter()
            .filter(|name| name.starts_with("kvorum"))
            .collect();
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                let deps: Vec<Value> = edges
                    .iter()
                    .filter(|edge| edge.0 == *name)
                    .map(|edge| json!({ "pkg": edge.1, "dep_kinds": [{ "kind": kind(edge.2) }] }))
                    .collect();
                json!({ "id": name, "deps": deps })
            })
            .collect();
        let metadata = json!({
            "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes },
        });
        check(&metadata).expect("valid metadata")
    }

    fn kind(word: &str) -> Option<&str> {
        (word != "normal").then_some(word)
    }

    #[test]
    fn arrows_of_the_design_pass() {
        assert!(
            findings(&[
                ("kvorum", "kvorum-v3rpc", "normal"),
                ("kvorum-v3rpc", "kvorum-member", "normal"),
                ("kvorum-member", "kvorum-storage", "normal"),
                ("kvorum-storage", "kvorum-core", "normal"),
                ("kvorum-core", "kvorum-proto", "normal"),
                ("kvorum-core", "raft", "normal"),
                ("kvorum-storage", "redb", "normal"),
            ])
            .is_empty()
        );
    }

    #[test]
    fn an_arrow_upwards_is_found_even_for_tests() {
        for purpose in ["normal", "dev", "build"] {
            let findings = findings(&[("kvorum-core", "kvorum-storage", purpose)]);
            assert_eq!(
                findings,
                ["crate kvorum-core: must not depend on kvorum-storage"]
            );
        }
    }

    #[test]
    fn nobody_depends_on_the_binary() {
        let findings = findings(&[("kvorum-tests", "kvorum", "dev")]);
        assert_eq!(findings, ["crate kvorum-tests: must not depend on kvorum"]);
    }

    #[test]
    fn a_runtime_below_core_is_found_through_others() {
        let findings = findings(&[
            ("kvorum-core", "raft", "normal"),
            ("raft", "innocent", "normal"),
            ("innocent", "tokio", "normal"),
        ]);
        assert_eq!(findings, ["crate kvorum-core: tokio is somewhere below it"]);
    }

    #[test]
    fn what_only_builds_a_crate_is_not_below_another() {
        let edges = [
            ("kvorum-core", "kvorum-proto", "normal"),
            ("kvorum-proto", "prost-build", "build"),
            ("prost-build", "tokio", "normal"),
        ];
        assert!(findings(&edges).is_empty());
        let findings = findings(&[("kvorum-proto", "cmake", "build")]);
        assert_eq!(findings, ["crate kvorum-proto: must not depend on cmake"]);
    }

    #[test]
    fn tests_may_use_crates_the_product_must_not_name() {
        assert!(findings(&[("kvorum-core", "proptest", "dev")]).is_empty());
        let findings = findings(&[("kvorum-core", "rand", "normal")]);
        assert_eq!(findings, ["crate kvorum-core: must not depend on rand"]);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let findings = findings(&[("kvorum-extra", "serde", "normal")]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("no row"));
    }
}
