//! What was typed wrongly is not carried out as something else, and what would be of no use is not made.

use kvorum_tests::process::TestDir;

use super::{Member, Place, join, text, token_of, tool};

/// What is said to a tool that must not succeed.
fn refused(member: &Member, words: &[&str]) -> String {
    let output = member.tool(words);
    assert!(!output.status.success(), "{words:?}: {}", text(&output));
    text(&output)
}

#[test]
fn revoking_what_is_on_no_list_is_an_error_unless_it_is_meant() {
    let dir = TestDir::new("mistyped");
    let member = Place::new(&dir, "a").start();
    let serial = "1".repeat(32);
    for words in [
        &["cert", "revoke", &serial][..],
        &["cert", "revoke", "--user", "nosuchuser"],
    ] {
        let said = refused(&member, words);
        assert!(said.contains("nothing was revoked"), "{said}");
        assert!(said.contains("--unlisted"), "{said}");
    }
    assert!(!member.told(&["cert", "list"]).contains("nosuchuser"));
    member.told(&["cert", "revoke", "--user", "nosuchuser", "--unlisted"]);
    let list = member.told(&["cert", "list"]);
    assert!(list.contains("user nosuchuser: nothing accepted"), "{list}");
}

#[test]
fn nothing_is_made_for_a_user_who_is_revoked() {
    let dir = TestDir::new("made-in-vain");
    let member = Place::new(&dir, "a").start();
    let out = dir.path().join("clients");
    let out = out.to_string_lossy();
    member.told(&["cert", "client", "app", "--out-dir", &out]);
    let line = member.told(&["token", "create", "--role", "client", "--name", "app"]);
    let token = line.split_whitespace().last().expect("a token");
    member.told(&["cert", "revoke", "--user", "app"]);
    let elsewhere = dir.path().join("elsewhere");
    let elsewhere = elsewhere.to_string_lossy();
    for words in [
        &["cert", "renew", "app", "--out-dir", &out][..],
        &["cert", "client", "app", "--out-dir", &elsewhere],
        &["token", "create", "--role", "client", "--name", "app"],
        &["join", token, "--out-dir", &elsewhere],
    ] {
        let said = refused(&member, words);
        assert!(
            said.contains("kvorum cert unrevoke --user=app"),
            "{words:?}: {said}"
        );
    }
    member.told(&["cert", "unrevoke", "--user", "app"]);
    member.told(&["cert", "renew", "app", "--out-dir", &out]);
}

#[test]
fn a_token_with_a_name_that_steers_terminals_is_not_made() {
    let dir = TestDir::new("steering-names");
    let member = Place::new(&dir, "a").start();
    for words in [
        &["--role", "client", "--name", "a\nb"][..],
        &["--role", "client", "--name", "a\u{1b}[2Jb"],
        &["--name", "mem\nber"],
    ] {
        let said = refused(&member, &[&["token", "create"][..], words].concat());
        assert!(said.contains("control character"), "{said}");
    }
    let said = refused(&member, &["token", "create", "--ttl", "25h"]);
    assert!(said.contains("ttl: ") && said.contains("24h"), "{said}");
    assert_eq!(member.told(&["token", "list"]), "");
}

#[test]
fn a_machine_whose_directory_was_emptied_is_told_how_to_join_again() {
    let dir = TestDir::new("emptied");
    let member = Place::new(&dir, "a").start();
    let second = Place::new(&dir, "b");
    let joined = join(token_of(&member.told(&["token", "create"])), &second);
    assert!(joined.status.success(), "{}", text(&joined));
    std::fs::remove_dir_all(&second.data_dir).expect("is there");
    let line = member.told(&["token", "create"]);
    let token = token_of(&line);
    let refused = join(token, &second);
    assert!(!refused.status.success(), "{}", text(&refused));
    let said = text(&refused);
    let id = said.split("`kvorum member remove ").nth(1);
    let id = id.and_then(|rest| rest.split('`').next());
    let id = id.unwrap_or_else(|| panic!("no way out is named: {said}"));
    member.told(&["member", "remove", id]);
    // The same token, from the same directory.
    let again = join(token, &second);
    assert!(again.status.success(), "{}", text(&again));
    let started = second.start();
    drop(started);
}

#[test]
fn a_directory_that_is_not_there_is_no_member_without_certificates() {
    let dir = TestDir::new("no-directory");
    let nowhere = dir.path().join("nowhere");
    for words in [&["token", "list"][..], &["cert", "list"]] {
        let output = tool(&nowhere, words);
        let said = text(&output);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("no such directory"), "{said}");
        assert!(!said.contains("127.0.0.1"), "{said}");
    }
}
