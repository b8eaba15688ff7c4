//! Tests of the data directory, on the real file system.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use kvorum_core::types::{ClusterId, MemberId};

use super::{DataDir, DirError, Identity, KnownMember, Origin};
use crate::error::StorageError;
use crate::tests::TempDir;

fn identity() -> Identity {
    Identity {
        cluster_id: ClusterId(0xcdf8_1818_e323_9d3b),
        member_id: MemberId(u64::MAX),
        name: "näme \"quoted\"\n".to_owned(),
        origin: Origin::Founding,
        members: vec![KnownMember {
            id: MemberId(7),
            name: "other".into(),
            peer_urls: vec!["https://b:2380".into()],
        }],
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

fn refused(path: &Path) -> String {
    DataDir::open(path)
        .map(|_| ())
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_new_directory_is_private_and_has_its_layout() {
    let temp = TempDir::new("dir");
    let path = temp.path().join("a/b/data");
    let dir = DataDir::open(&path).expect("open");
    assert_eq!((mode(&path), mode(&path.join("log"))), (0o700, 0o700));
    assert_eq!(mode(&path.join("lock")), 0o600);
    assert!(dir.identity().is_none() && dir.warnings().is_empty());
    assert!(dir.log_disk().list().expect("list").is_empty());
}

#[test]
fn the_identity_is_kept_and_cannot_become_another() {
    let temp = TempDir::new("dir");
    let mut dir = DataDir::open(temp.path()).expect("open");
    dir.set_identity(identity()).expect("write");
    drop(dir);
    let mut dir = DataDir::open(temp.path()).expect("reopen");
    assert_eq!(dir.identity(), Some(&identity()));
    assert_eq!(mode(&temp.path().join("member.json")), 0o600);
    let renamed = Identity {
        name: "other".into(),
        ..identity()
    };
    dir.set_identity(renamed).expect("a new name is fine");
    let other = Identity {
        member_id: MemberId(1),
        ..identity()
    };
    let error = dir
        .set_identity(other)
        .expect_err("another member")
        .to_string();
    assert!(
        error.contains("member ffffffffffffffff of cluster cdf81818e3239d3b"),
        "{error}"
    );
}

#[test]
fn a_second_open_is_refused_with_the_pid_until_the_first_is_gone() {
    let temp = TempDir::new("dir");
    let first = DataDir::open(temp.path()).expect("open");
    let error = refused(temp.path());
    let expected = format!("another kvorum (pid {}) is using", std::process::id());
    assert!(
        error.contains(&expected) && error.contains("--data-dir"),
        "{error}"
    );
    drop(first);
    DataDir::open(temp.path()).expect("the lock is free");
}

#[test]
fn the_lock_of_another_process_is_free_once_it_is_killed() {
    let temp = TempDir::new("dir");
    drop(DataDir::open(temp.path()).expect("open"));
    let lock = temp.path().join("lock");
    fs::write(&lock, "4711\n").expect("write");
    let script = format!(
        "exec 9<>{}; flock 9; echo locked; sleep 60 9>&- & wait",
        lock.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("read");
    assert_eq!(line, "locked\n");
    assert!(refused(temp.path()).contains("(pid 4711)"));
    child.kill().expect("kill -9");
    child.wait().expect("wait");
    // The shell's own child closes its copy of the descriptor only once it runs.
    let freed = (0..2_000_000).any(|_| DataDir::open(temp.path()).is_ok());
    assert!(freed, "the kernel freed the lock");
}

#[test]
fn directories_of_others_are_refused_and_left_as_they_were() {
    let temp = TempDir::new("dir");
    fs::write(temp.path().join("lock"), "theirs").expect("write");
    fs::write(temp.path().join("available"), "").expect("write");
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let error = refused(temp.path());
    assert!(
        error.contains("\"available\"") && error.contains("empty directory"),
        "{error}"
    );
    assert_eq!(mode(temp.path()), 0o755);
    assert_eq!(
        fs::read_to_string(temp.path().join("lock")).expect("read"),
        "theirs"
    );

    let etcd = TempDir::new("dir");
    fs::create_dir_all(etcd.path().join("member/snap")).expect("mkdir");
    let error = refused(etcd.path());
    assert!(
        error.contains("etcd member") && error.contains("snapshot save"),
        "{error}"
    );
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let temp = TempDir::new("dir");
    let file = temp.path().join("file");
    fs::write(&file, "").expect("write");
    for path in [file.clone(), file.join("below")] {
        let error = DataDir::open(&path).map(|_| ()).expect_err("refused");
        assert!(matches!(error, DirError::NotADirectory(_)), "{error}");
    }
}

#[test]
fn a_directory_open_to_others_is_tightened_and_said_so() {
    let temp = TempDir::new("dir");
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let dir = DataDir::open(temp.path()).expect("open");
    assert_eq!(mode(temp.path()), 0o700);
    assert!(
        dir.warnings()[0].contains("mode 0755"),
        "{:?}",
        dir.warnings()
    );
}

#[test]
fn the_directory_may_be_a_link_but_nothing_in_it() {
    let temp = TempDir::new("dir");
    let (real, link) = (temp.path().join("real"), temp.path().join("link"));
    fs::create_dir(&real).expect("mkdir");
    symlink(&real, &link).expect("link");
    let dir = DataDir::open(&link).expect("open");
    assert_eq!(dir.path(), fs::canonicalize(&real).expect("resolve"));
    drop(dir);
    for name in ["lock", "log", "state.redb", "member.json"] {
        let path = real.join(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        symlink("/dev/null", &path).expect("link");
        let error = refused(&real);
        assert!(
            error.contains(name) && error.contains("a symbolic link"),
            "{error}"
        );
        fs::remove_file(&path).expect("remove");
    }
    fs::create_dir(real.join("state.redb")).expect("mkdir");
    assert!(refused(&real).contains("\"state.redb\", which is a directory"));
}

#[test]
fn a_damaged_newer_or_missing_identity_is_refused() {
    let temp = TempDir::new("dir");
    drop(DataDir::open(temp.path()).expect("open"));
    let file = temp.path().join("member.json");
    let whole = r#"{"format":9,"anything":"else"}"#;
    for text in [
        "",
        "{",
        "null",
        "[]",
        r#"{"format":1}"#,
        r#"{"format":-1}"#,
        r#"{"format":1,"cluster_id":"xyz","member_id":"1","name":""}"#,
    ] {
        fs::write(&file, text).expect("write");
        let error = DataDir::open(temp.path()).map(|_| ()).expect_err(text);
        assert!(
            matches!(error, DirError::Storage(StorageError::Corrupt { .. })),
            "{error}"
        );
    }
    fs::write(&file, whole).expect("write");
    let error = refused(temp.path());
    assert!(
        error.contains("made by a newer kvorum (format 9, this build knows 1)"),
        "{error}"
    );
    fs::remove_file(&file).expect("remove");
    fs::write(temp.path().join("state.redb"), "x").expect("write");
    assert!(refused(temp.path()).contains("the file is missing, but state.redb is there"));
}

#[test]
fn an_identity_without_members_is_that_of_a_founder() {
    let temp = TempDir::new("dir");
    let text = r#"{"format":1,"cluster_id":"1","member_id":"2","name":"old"}"#;
    fs::create_dir_all(temp.path()).expect("a directory");
    fs::write(temp.path().join("member.json"), text).expect("write");
    let dir = DataDir::open(temp.path()).expect("open");
    let identity = dir.identity().expect("it is there");
    assert_eq!(identity.origin, Origin::Founder);
    assert!(identity.members.is_empty());
}
