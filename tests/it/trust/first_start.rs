//! What a first start makes, and what can be done with it at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use kvorum_tests::process::{Server, TestDir, kvorum_bin};

use super::{Place, text};

#[test]
fn a_first_start_serves_etcdctl_with_the_certificates_that_it_made() {
    let dir = TestDir::new("first-start");
    let member = Place::new(&dir, "a").start();
    let (cert, key) = (member.pki("admin.crt"), member.pki("admin.key"));
    let Some(put) = member.etcdctl(&cert, &key, &["put", "hello", "world"]) else {
        println!("SKIP etcdctl: not installed");
        return;
    };
    assert!(put.status.success(), "{}", text(&put));
    let got = member
        .etcdctl(&cert, &key, &["get", "hello"])
        .expect("is installed");
    assert_eq!(text(&got), "hello\nworld\n");
    // A file must not go while they are looked at.
    member.founded();
    let modes: BTreeMap<String, u32> = fs::read_dir(member.data_dir.join("pki"))
        .expect("is there")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            let mode = entry.metadata().expect("readable").permissions().mode();
            (
                entry.file_name().to_string_lossy().into_owned(),
                mode & 0o777,
            )
        })
        .collect();
    for name in [
        "domain",
        "ca.pem",
        "seal.key",
        "node.pem",
        "console.pem",
        "admin.pem",
    ] {
        assert!(modes.contains_key(name), "{name} is not in {modes:?}");
    }
    assert!(modes.values().all(|mode| *mode == 0o600), "{modes:?}");
    let of_dir = fs::metadata(member.data_dir.join("pki")).expect("is there");
    assert_eq!(of_dir.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_certificate_of_the_cluster_is_what_lets_a_client_in() {
    let dir = TestDir::new("client-cert");
    let member = Place::new(&dir, "a").start();
    let out = dir.path().join("out");
    let out_dir = out.to_string_lossy().into_owned();
    let told = member.told(&["cert", "client", "app", "--out-dir", &out_dir]);
    for part in [
        format!("--endpoints={}", member.client_url),
        format!("--etcd-certfile={}", out.join("app.crt").display()),
        format!("--etcd-servers={}", member.client_url),
    ] {
        assert!(told.contains(&part), "{part:?} is not in {told}");
    }
    let mode = |name: &str| {
        let metadata = fs::metadata(out.join(name)).expect("is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(
        [mode("app.key"), mode("app.crt"), mode("ca.crt")],
        [0o600, 0o644, 0o644]
    );
    let (cert, key) = (out.join("app.crt"), out.join("app.key"));
    if let Some(put) = member.etcdctl(&cert, &key, &["put", "k", "v"]) {
        assert!(put.status.success(), "{}", text(&put));
    }
    let again = member.tool(&["cert", "client", "app", "--out-dir", &out_dir]);
    assert!(
        text(&again).contains("is there already"),
        "{}",
        text(&again)
    );
    // A renewal keeps the key: whoever reads the files at any moment has a pair. A lost one is replaced when asked for.
    let read = |path| fs::read(path).expect("is there");
    for (words, is_kept) in [(&[][..], true), (&["--new-key"], false)] {
        let (old_key, old_cert) = (read(&key), read(&cert));
        let renew = ["cert", "renew", "app", "--out-dir", &out_dir];
        member.told(&[&renew, words].concat());
        assert_eq!(read(&key) == old_key, is_kept);
        assert_ne!(read(&cert), old_cert);
    }
    let list = member.told(&["cert", "list"]);
    assert!(list.contains(", client, app, valid, "), "{list}");
    // The certificate of a client is no administrator's.
    let member_flags = ["token", "create", "--endpoints", &member.client_url];
    let ca = member.pki("ca.pem");
    let files = [("--cacert", &ca), ("--cert", &cert), ("--key", &key)];
    let mut words: Vec<String> = member_flags.map(str::to_owned).into();
    for (flag, path) in files {
        words.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = member.tool(&words);
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(
        text(&refused).contains("only administrators may do this"),
        "{}",
        text(&refused)
    );
}

#[test]
fn the_authority_is_shown_and_handed_out() {
    let dir = TestDir::new("ca");
    let member = Place::new(&dir, "a").start();
    let status = member.told(&["ca", "status"]);
    assert!(status.contains("trust domain "), "{status}");
    assert!(status.contains("no rotation is under way"), "{status}");
    let exported = member.told(&["ca", "export"]);
    let kept = fs::read_to_string(member.pki("ca.pem")).expect("is there");
    assert_eq!(exported.trim(), kept.trim());
}

#[test]
fn a_member_that_nobody_could_reach_makes_no_token() {
    let dir = TestDir::new("unreachable");
    let place = Place::new(&dir, "a");
    let url = format!("https://127.0.0.1:{}", place.client_port);
    let mut command = Command::new(kvorum_bin());
    command
        .args(["serve", "--log-format", "json", "--data-dir"])
        .arg(&place.data_dir)
        .args(["--listen-client-urls", &url, "--listen-metrics-urls=none"])
        .arg("--listen-console-url=none");
    let server = Server::spawn_on(command, "kvorum", place.client_port);
    assert!(server.wait_ready_or_end(), "{}", server.log());
    let refused = super::tool(&place.data_dir, &["token", "create"]);
    assert_eq!(refused.status.code(), Some(7));
    assert!(
        text(&refused).contains("start this one with --advertise"),
        "{}",
        text(&refused)
    );
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let dir = TestDir::new("tokens");
    let place = Place::new(&dir, "a");
    let member = place.start();
    let line = member.told(&["token", "create", "--name", "b", "--ttl", "10m"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    let token = super::token_of(&line);
    let id = token.split('.').nth(1).expect("kv1.ID.…");
    let list = member.told(&["token", "list"]);
    assert!(list.contains(&format!("{id}, member, b, open, ")), "{list}");
    member.told(&["token", "revoke", id]);
    let other = Place::new(&dir, "b");
    let refused = super::join(token, &other);
    assert_eq!(refused.status.code(), Some(7));
    assert!(
        text(&refused).contains("unknown token"),
        "{}",
        text(&refused)
    );
    let typo = token.replacen(id, &id.chars().rev().collect::<String>(), 1);
    let typo = super::join(&typo, &other);
    assert_eq!(typo.status.code(), Some(7));
    assert!(!text(&typo).contains("unknown token"), "{}", text(&typo));
    assert_ne!(text(&typo), text(&refused));
}
