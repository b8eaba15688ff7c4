//! What the deterministic core may not call: its clippy.toml must name every ban, so that none gets lost.

use std::path::Path;

const FILE: &str = "server/core/clippy.toml";

const BANS: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map::RandomState",
    "std::env::var",
    "std::env::vars",
    "std::fs::File",
    "std::fs::read",
    "std::fs::write",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// A finding for each ban that the core's clippy.toml does not name.
pub(super) fn check(root: &Path) -> Vec<String> {
    match std::fs::read_to_string(root.join(FILE)) {
        Ok(text) => missing(&text),
        Err(error) => vec![format!("{FILE}: cannot be read: {error}")],
    }
}

fn missing(text: &str) -> Vec<String> {
    BANS.iter()
        .filter(|ban| !text.contains(&format!("path = \"{ban}\"")))
        .map(|ban| format!("{FILE}: does not ban {ban}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_ban_is_found() {
        let all: String = BANS
            .iter()
            .map(|ban| format!("path = \"{ban}\"\n"))
            .collect();
        assert!(missing(&all).is_empty());
        let findings = missing(&all.replace("std::time::Instant", "std::time::Duration"));
        assert_eq!(
            findings,
            ["server/core/clippy.toml: does not ban std::time::Instant"]
        );
    }
}
