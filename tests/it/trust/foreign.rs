//! Files that are lost, cut short, another cluster's or another machine's; and directories that are no place to join from.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use kvorum_tests::process::{TestDir, find_program};

use super::{Member, Place, join, text, token_of, tool};

/// Starts, and stops again once its authority is the cluster's: before that a start would begin anew.
fn made(place: &Place) {
    let mut member = place.start();
    member.founded();
    assert!(member.server.terminate().success());
}

fn pki(place: &Place, name: &str) -> std::path::PathBuf {
    place.data_dir.join("pki").join(name)
}

#[test]
fn lost_and_half_written_files_are_named_with_the_way_out() {
    let dir = TestDir::new("lost-files");
    let place = Place::new(&dir, "a");
    made(&place);
    let kept = dir.path().join("kept");
    for (name, help) in [
        ("seal.key", "copy it from another one (mode 600)"),
        ("ca.pem", "copy it from another one (mode 600)"),
        ("node.pem", "`kvorum rejoin TOKEN`"),
    ] {
        let path = pki(&place, name);
        fs::copy(&path, &kept).expect("is ours");
        let length = fs::metadata(&path).expect("is there").len();
        let file = OpenOptions::new().write(true).open(&path);
        file.expect("is ours").set_len(length / 2).expect("is ours");
        let (code, said) = place.refused();
        assert_eq!(code, Some(3), "{said}");
        for part in [format!("{} is damaged", path.display()), help.to_owned()] {
            assert!(said.contains(&part), "{part:?} is not in {said}");
        }
        fs::remove_file(&path).expect("is ours");
        let (code, said) = place.refused();
        assert_eq!(code, Some(3), "{said}");
        for part in [format!("{} is missing", path.display()), help.to_owned()] {
            assert!(said.contains(&part), "{part:?} is not in {said}");
        }
        fs::copy(&kept, &path).expect("is ours");
    }
    // What a crash left of a file in the making is of no account.
    fs::write(pki(&place, ".node.pem.new"), "half of").expect("is ours");
    let loose = place.refused().1;
    assert!(loose.contains("chmod 600"), "{loose}");
    fs::remove_file(pki(&place, ".node.pem.new")).expect("is ours");
    drop(place.start());
}

#[test]
fn a_first_start_that_was_cut_short_begins_anew() {
    let dir = TestDir::new("cut-short");
    let place = Place::new(&dir, "a");
    made(&place);
    // The domain comes last: without it nothing was served yet.
    for name in ["domain", "node.pem", "admin.pem"] {
        fs::remove_file(pki(&place, name)).expect("is there");
    }
    for name in ["log", "state.redb", "member.json"] {
        let path = place.data_dir.join(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("is ours"),
            false => fs::remove_file(path).expect("is ours"),
        }
    }
    let member = place.start();
    member.told(&["token", "list"]);
}

/// The seal key alone opens the authority's keys: a member that lost its domain must not begin anew over it.
#[test]
fn a_member_that_lost_its_domain_keeps_its_keys_and_says_how_to_get_it_back() {
    let dir = TestDir::new("lost-domain");
    let place = Place::new(&dir, "a");
    made(&place);
    let names = ["seal.key", "ca.pem", "node.pem", "admin.key"];
    let keys = || names.map(|name| fs::read(pki(&place, name)).expect("is there"));
    let before = keys();
    // All of them: the authority is still in the cluster's own state.
    let (own, away) = (place.data_dir.join("pki"), dir.path().join("away"));
    fs::rename(&own, &away).expect("is ours");
    let (code, said) = place.refused();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("put it back from a backup"), "{said}");
    assert!(!own.exists(), "it has made other keys");
    fs::rename(&away, &own).expect("is ours");
    let domain = fs::read(pki(&place, "domain")).expect("is there");
    fs::remove_file(pki(&place, "domain")).expect("is ours");
    let (code, said) = place.refused();
    assert_eq!(code, Some(3), "{said}");
    for part in ["pki/domain is missing", "copy it from another member"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(keys() == before, "its keys are others now");
    fs::write(pki(&place, "domain"), domain).expect("is ours");
    fs::set_permissions(pki(&place, "domain"), fs::Permissions::from_mode(0o600)).expect("is ours");
    place.start().told(&["token", "list"]);
}

#[test]
fn the_seal_key_of_another_cluster_is_told_while_the_member_serves() {
    let dir = TestDir::new("foreign-seal");
    let (place, other) = (Place::new(&dir, "a"), Place::new(&dir, "b"));
    made(&place);
    made(&other);
    fs::copy(pki(&other, "seal.key"), pki(&place, "seal.key")).expect("is ours");
    let member = place.start();
    let part = "cannot be opened with pki/seal.key: is that file another cluster's?";
    member.server.wait_log(|line| line.contains(part));
    fs::copy(pki(&other, "domain"), pki(&place, "domain")).expect("is ours");
    drop(member);
    let member = place.start();
    let part = "it is another cluster's; see pki/domain";
    member.server.wait_log(|line| line.contains(part));
}

/// The words of a tool that shows these files to a member.
fn asked(member: &Member, ca: &Path, of: &Member) -> String {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let words = [
        "token".to_owned(),
        "list".to_owned(),
        "--endpoints".to_owned(),
        member.client_url.clone(),
        "--cacert".to_owned(),
        path(ca),
        "--cert".to_owned(),
        path(&of.pki("admin.crt")),
        "--key".to_owned(),
        path(&of.pki("admin.key")),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = member.tool(&words);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    text(&refused)
}

#[test]
fn files_of_another_cluster_are_refused_on_both_sides() {
    let dir = TestDir::new("foreign-ca");
    let member = Place::new(&dir, "a").start();
    let other = Place::new(&dir, "b").start();
    let said = asked(&member, &other.pki("ca.pem"), &member);
    for part in ["no authority in ", "another cluster's file?"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let said = asked(&member, &member.pki("ca.pem"), &other);
    assert!(
        said.contains("does not accept the certificate that was shown"),
        "{said}"
    );
    // The addresses are under the checksum, too.
    let token = token_of(&other.told(&["token", "create"])).to_owned();
    let (secrets, _) = token.split_once('@').expect("addresses come last");
    let forged = format!("{secrets}@127.0.0.1:1");
    let said = text(&join(&forged, &Place::new(&dir, "c")));
    assert!(said.contains("typo"), "{said}");
}

#[test]
fn a_directory_that_moved_to_another_machine_gets_certificates_for_its_new_names() {
    let dir = TestDir::new("moved");
    let place = Place::new(&dir, "a");
    made(&place);
    let moved = Place {
        data_dir: dir.path().join("moved"),
        ..Place::new(&dir, "a")
    };
    let copied = Command::new("cp")
        .arg("-a")
        .args([&place.data_dir, &moved.data_dir])
        .status();
    assert!(copied.expect("cp is there").success());
    // Another user of the new machine has it.
    let refused = match std::os::unix::fs::chown(pki(&moved, "seal.key"), Some(65_534), None) {
        Ok(()) => moved.refused().1,
        Err(_) => "chown 0 ".to_owned(),
    };
    assert!(refused.contains("chown 0 "), "{refused}");
    let _ = std::os::unix::fs::chown(pki(&moved, "seal.key"), Some(0), None);
    let url = format!("https://127.0.0.2:{}", moved.client_port);
    let member = moved.start_with(&["--advertise-client-urls", &url]);
    member
        .server
        .wait_log(|line| line.contains("renewed certificates of this member"));
    let list = member.told(&["ca", "status"]);
    assert!(list.contains("trust domain "), "{list}");
    let console = fs::read(member.pki("node.pem")).expect("is there");
    assert_ne!(
        console,
        fs::read(pki(&place, "node.pem")).expect("is there")
    );
    if find_program("etcdctl").is_none() {
        println!("SKIP etcdctl: not installed");
    }
}

#[test]
fn a_machine_joins_with_an_empty_directory_or_not_at_all() {
    let dir = TestDir::new("not-empty");
    let place = Place::new(&dir, "a");
    let member = place.start();
    let token = token_of(&member.told(&["token", "create"])).to_owned();
    let of_a_member = Place::new(&dir, "b");
    made(&of_a_member);
    let refused = join(&token, &of_a_member);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    for part in [
        "holds a member already",
        "`kvorum rejoin`",
        "another --data-dir",
    ] {
        assert!(
            text(&refused).contains(part),
            "{part:?} is not in {}",
            text(&refused)
        );
    }
    let of_somebody = Place::new(&dir, "c");
    fs::create_dir_all(&of_somebody.data_dir).expect("is ours");
    fs::write(of_somebody.data_dir.join("holiday.jpg"), "x").expect("is ours");
    let refused = join(&token, &of_somebody);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    assert!(text(&refused).contains("holiday.jpg"), "{}", text(&refused));
    fs::remove_file(of_somebody.data_dir.join("holiday.jpg")).expect("is ours");
    // The token is still good: nobody was asked.
    let joined = join(&token, &of_somebody);
    assert!(joined.status.success(), "{}", text(&joined));
    let again = join(&token, &of_somebody);
    assert!(
        text(&again).contains("holds a member already"),
        "{}",
        text(&again)
    );
    // One that was interrupted does not begin a cluster of its own.
    fs::write(pki(&of_somebody, "joining.key"), "x").expect("is ours");
    let key = pki(&of_somebody, "joining.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("is ours");
    fs::remove_file(of_somebody.data_dir.join("member.json")).expect("is there");
    let (code, said) = of_somebody.refused();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("repeat `kvorum join` with the same token"),
        "{said}"
    );
    let nowhere = tool(&of_somebody.data_dir, &["rejoin", &token]);
    assert!(!nowhere.status.success(), "{}", text(&nowhere));
}
