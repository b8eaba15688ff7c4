//! A client's certificate by a token: one command on a machine that has nothing but that line.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{TestDir, kvorum_bin};

use super::tls_client::{Files, address};
use super::{Member, Place, join, text, token_of};

/// The token of the line that `token create` prints for a client.
fn client_token(member: &Member, role: &str, user: &str) -> String {
    let line = member.told(&["token", "create", "--role", role, "--name", user]);
    assert_eq!(line.lines().count(), 1, "{line}");
    let token = line.trim().strip_prefix("kvorum join --out-dir . ");
    let token = token.unwrap_or_else(|| panic!("no line to paste: {line:?}"));
    assert!(token.starts_with("kv1."), "{token}");
    token.to_owned()
}

/// No certificate of anybody is at hand.
fn kvorum(words: &[&str]) -> Output {
    let mut command = Command::new(kvorum_bin());
    let nowhere = "/nonexistent/kvorum";
    command.args(words).env("KVORUM_DATA_DIR", nowhere);
    command.output().expect("the binary starts")
}

fn enrol(token: &str, out: &Path) -> Output {
    kvorum(&["join", token, "--out-dir", &out.to_string_lossy()])
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

fn refused(output: &Output, part: &str) -> String {
    assert_eq!(output.status.code(), Some(7), "{}", text(output));
    let said = text(output);
    assert!(said.contains(part), "{part:?} is not in {said}");
    said
}

async fn put(at: SocketAddr, files: &Files) {
    let rpc = files.connect(at).await.expect("is let in");
    let request = pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    };
    rpc.call(request).await.expect("is a client");
}

#[tokio::test]
async fn one_line_gives_a_client_all_that_it_needs() {
    let dir = TestDir::new("enrol");
    let member = Place::new(&dir, "a").start();
    let token = client_token(&member, "client", "app");
    let out = dir.path().join("out");
    let told = good(&enrol(&token, &out));
    for part in [
        format!("--endpoints={}", member.client_url),
        format!("--etcd-certfile={}", out.join("app.crt").display()),
        format!("--etcd-servers={}", member.client_url),
    ] {
        assert!(told.contains(&part), "{part:?} is not in {told}");
    }
    let mut found: Vec<(String, u32)> = fs::read_dir(&out)
        .expect("is there")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            let mode = entry.metadata().expect("readable").permissions().mode();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, mode & 0o777)
        })
        .collect();
    found.sort();
    let wanted = [("app.crt", 0o644), ("app.key", 0o600), ("ca.crt", 0o644)];
    assert_eq!(found, wanted.map(|(name, mode)| (name.to_owned(), mode)));
    put(address(&member), &Files::of(&out, "app")).await;
    let (cert, key) = (out.join("app.crt"), out.join("app.key"));
    match member.etcdctl(&cert, &key, &["get", "k"]) {
        Some(got) => assert_eq!(good(&got), "k\nv\n"),
        None => println!("SKIP etcdctl: not installed"),
    }
    let list = member.told(&["cert", "list"]);
    let id = token.split('.').nth(1).expect("kv1.ID.…");
    let line = list.lines().find(|line| line.contains(", client, app, "));
    let line = line.unwrap_or_else(|| panic!("not on the list: {list}"));
    assert!(line.ends_with(&format!("token {id}")), "{line}");

    let other = dir.path().join("other");
    let used = refused(&enrol(&token, &other), "used token");
    let slip = token.replacen(id, &id.chars().rev().collect::<String>(), 1);
    let typo = refused(&enrol(&slip, &other), "typo");
    assert_ne!(used, typo);
    assert!(!other.join("app.key").exists());
}

#[test]
fn a_command_that_was_interrupted_goes_on_with_the_same_key() {
    let dir = TestDir::new("enrol-again");
    let member = Place::new(&dir, "a").start();
    let token = client_token(&member, "client", "app");
    let out = dir.path().join("out");
    fs::create_dir(&out).expect("is ours");
    fs::write(out.join("app.key"), "somebody's").expect("is ours");
    // The token is used by now, and the answer goes nowhere.
    refused(&enrol(&token, &out), "is there already");
    let kept = fs::read(out.join("app.key")).expect("is there");
    assert_eq!(kept, b"somebody's");
    refused(&enrol(&token, &dir.path().join("other")), "used token");
    fs::remove_file(out.join("app.key")).expect("is ours");
    good(&enrol(&token, &out));
    let key = fs::read_to_string(out.join("app.key")).expect("is there");
    assert!(key.contains("PRIVATE KEY"));
    let left = fs::read_dir(&out).expect("is there").count();
    assert_eq!(left, 3, "nothing but the three files");
}

#[test]
fn a_token_for_clients_makes_no_member_and_the_other_way_round() {
    let dir = TestDir::new("enrol-roles");
    let member = Place::new(&dir, "a").start();
    let token = client_token(&member, "client", "app");
    let b = Place::new(&dir, "b");
    refused(
        &join(&token, &b),
        "no member: use it with `kvorum join TOKEN --out-dir DIR`",
    );
    let line = member.told(&["token", "create"]);
    let out = dir.path().join("out");
    let for_members = token_of(&line);
    refused(
        &enrol(for_members, &out),
        "makes a machine a member and no client",
    );
    // For whom it is, is not the holder's to choose.
    let out_text = out.to_string_lossy();
    let as_user = |user| {
        kvorum(&[
            "cert",
            "client",
            user,
            "--token",
            &token,
            "--out-dir",
            &out_text,
        ])
    };
    refused(
        &as_user("root"),
        "is for the user \"app\", not for \"root\"",
    );
    // None of them was used up by that.
    good(&as_user("app"));
    refused(&as_user("app"), "is there already");
    good(&join(for_members, &b));
    let nameless = member.tool(&["token", "create", "--role", "client"]);
    assert!(text(&nameless).contains("--name"), "{}", text(&nameless));
}

#[test]
fn an_administrator_made_by_a_token_administers() {
    let dir = TestDir::new("enrol-admin");
    let member = Place::new(&dir, "a").start();
    let token = client_token(&member, "admin", "boss");
    let out = dir.path().join("out");
    good(&enrol(&token, &out));
    let files = ["ca.crt", "boss.crt", "boss.key"].map(|name| out.join(name));
    let [ca, cert, key] = files.each_ref().map(|path| path.to_string_lossy());
    let access = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let with = |words: &[&str]| {
        let endpoints = ["--endpoints", &*member.client_url];
        good(&kvorum(&[words, &endpoints[..], &access[..]].concat()))
    };
    let list = with(&["token", "list"]);
    assert!(list.contains(", admin, boss, used "), "{list}");
    let list = with(&["cert", "list"]);
    assert!(list.contains(", admin, boss, valid, "), "{list}");
    // A client's may not make one: it would be more than its owner is.
    let app = client_token(&member, "client", "app");
    good(&enrol(&app, &out));
    let [cert, key] = ["app.crt", "app.key"].map(|name| out.join(name));
    let [cert, key] = [&cert, &key].map(|path| path.to_string_lossy());
    let words = ["token", "create", "--role", "admin", "--name", "app"];
    let access = ["--cacert", &*ca, "--cert", &cert, "--key", &key];
    let endpoints = ["--endpoints", &*member.client_url];
    let asked = kvorum(&[&words[..], &endpoints[..], &access[..]].concat());
    refused(&asked, "only administrators may do this");
}
