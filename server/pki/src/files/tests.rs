//! What a secret's file must be, and what helps when it is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kvorum-pki-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        create_dir(&path).expect("a new directory");
        Self(path)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.0.join(name))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).expect("ours");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate whose key cannot be written must not take the place of the one whose key is there.
#[test]
fn files_that_belong_together_change_together_or_not_at_all() {
    let place = Place::new();
    let pair = |bytes: &'static [u8]| [(ADMIN_CRT, bytes), (ADMIN_KEY, bytes)];
    write_secrets(&place.0, &pair(b"old")).expect("written");
    let in_the_way = place.0.join(beside(ADMIN_KEY));
    fs::create_dir(&in_the_way).expect("made");
    let refused = write_secrets(&place.0, &pair(b"new")).expect_err("no place for the second");
    assert!(refused.to_string().contains(ADMIN_KEY), "{refused}");
    fs::remove_dir(&in_the_way).expect("removed");
    let read = |name| read_secret(&place.0, name).expect("ours").expect("there");
    for name in [ADMIN_CRT, ADMIN_KEY] {
        assert_eq!(read(name).as_slice(), b"old");
    }
    assert_eq!(fs::read_dir(&place.0).expect("ours").count(), 2);
    write_secrets(&place.0, &pair(b"new")).expect("written");
    for name in [ADMIN_CRT, ADMIN_KEY] {
        assert_eq!(read(name).as_slice(), b"new");
    }
    assert_eq!(fs::read_dir(&place.0).expect("ours").count(), 2);
}

#[test]
fn what_is_written_is_read_back_and_closed_to_others() {
    let place = Place::new();
    for bytes in [&b"one"[..], b"", b"another"] {
        write_secret(&place.0, SEAL_KEY, bytes).expect("written");
        let read = read_secret(&place.0, SEAL_KEY)
            .expect("ours")
            .expect("there");
        assert_eq!(read.as_slice(), bytes);
        assert_eq!(place.mode(SEAL_KEY), 0o600);
    }
    assert_eq!(place.mode(""), 0o700);
    assert_eq!(
        fs::read_dir(&place.0).expect("ours").count(),
        1,
        "nothing is left beside it"
    );
    check_file(&place.0.join(SEAL_KEY)).expect("as it should be");
    assert!(read_secret(&place.0, "absent").expect("no fault").is_none());
    check_file(&place.0.join("absent")).expect("no fault");
    remove(&place.0, SEAL_KEY).expect("ours");
    remove(&place.0, SEAL_KEY).expect("gone already");
    assert!(read_secret(&place.0, SEAL_KEY).expect("no fault").is_none());
}

#[test]
fn nothing_is_written_or_removed_through_a_link_to_a_directory() {
    let (place, outside) = (Place::new(), Place::new());
    write_secret(&outside.0, SEAL_KEY, b"theirs").expect("written");
    let link = place.0.join("linked");
    symlink(&outside.0, &link).expect("ours");
    let written = write_secret(&link, NODE_PEM, b"secret");
    assert!(
        matches!(written, Err(FileRefused::Link { .. })),
        "{written:?}"
    );
    let removed = remove(&link, SEAL_KEY);
    assert!(
        matches!(removed, Err(FileRefused::Link { .. })),
        "{removed:?}"
    );
    assert_eq!(fs::read_dir(&outside.0).expect("ours").count(), 1);
    let file = place.0.join("file");
    fs::write(&file, "no directory").expect("ours");
    let written = write_secret(&file, NODE_PEM, b"secret");
    assert!(
        matches!(written, Err(FileRefused::Kind { .. })),
        "{written:?}"
    );
}

#[test]
fn what_a_dead_process_left_behind_is_no_obstacle_and_no_trap() {
    let place = Place::new();
    let outside = place.0.join("outside");
    fs::write(&outside, "untouched").expect("ours");
    symlink(&outside, place.0.join(".node.pem.new")).expect("ours");
    write_secret(&place.0, NODE_PEM, b"new").expect("written");
    assert_eq!(fs::read(&outside).expect("ours"), b"untouched");
    // A link in the file's own place is replaced and not followed.
    symlink(&outside, place.0.join("linked")).expect("ours");
    write_secret(&place.0, "linked", b"new").expect("written");
    assert_eq!(fs::read(&outside).expect("ours"), b"untouched");
    assert_eq!(
        read_secret(&place.0, "linked")
            .expect("ours")
            .expect("there")
            .as_slice(),
        b"new"
    );
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_command_that_helps() {
    let place = Place::new();
    write_secret(&place.0, NODE_PEM, b"key").expect("written");
    for mode in [0o644, 0o640, 0o604, 0o660, 0o601, 0o620] {
        place.set_mode(NODE_PEM, mode);
        let wrong = read_secret(&place.0, NODE_PEM)
            .expect_err("open to others")
            .to_string();
        let path = place.0.join(NODE_PEM);
        assert!(
            wrong.ends_with(&format!("chmod 600 {}", path.display())),
            "{wrong}"
        );
        check_file(&path).expect_err("open to others");
    }
    for mode in [0o600, 0o400] {
        place.set_mode(NODE_PEM, mode);
        read_secret(&place.0, NODE_PEM).expect("closed to others");
    }
}

#[test]
fn a_directory_that_others_may_use_is_refused_with_the_command_that_helps() {
    let place = Place::new();
    check_dir(&place.0).expect("as it was made");
    for mode in [0o755, 0o750, 0o701, 0o1777] {
        place.set_mode("", mode);
        let wrong = check_dir(&place.0).expect_err("open to others").to_string();
        assert!(
            wrong.ends_with(&format!("chmod 700 {}", place.0.display())),
            "{wrong}"
        );
        create_dir(&place.0).expect_err("one that was there is checked");
    }
    place.set_mode("", 0o700);
    let absent = place.0.join("absent");
    let wrong = check_dir(&absent).expect_err("not there").to_string();
    assert!(
        wrong.contains(&format!("mkdir -m 700 {}", absent.display())),
        "{wrong}"
    );
    let wrong = write_secret(&absent, "x", b"").expect_err("not there");
    assert!(matches!(wrong, FileRefused::Missing { .. }), "{wrong}");
}

#[test]
fn links_and_other_things_are_refused() {
    let place = Place::new();
    write_secret(&place.0, "real", b"key").expect("written");
    symlink(place.0.join("real"), place.0.join("link")).expect("ours");
    let wrong = read_secret(&place.0, "link").expect_err("a link");
    assert!(matches!(wrong, FileRefused::Link { .. }), "{wrong}");
    check_file(&place.0.join("link")).expect_err("a link");
    let dir_link = place.0.join("dir-link");
    symlink(&place.0, &dir_link).expect("ours");
    let wrong = check_dir(&dir_link).expect_err("a link");
    assert!(matches!(wrong, FileRefused::Link { .. }), "{wrong}");
    let wrong = check_dir(&place.0.join("real")).expect_err("a file");
    assert!(matches!(wrong, FileRefused::Kind { .. }), "{wrong}");
    fs::create_dir(place.0.join("dir")).expect("ours");
    let wrong = read_secret(&place.0, "dir").expect_err("a directory");
    assert!(matches!(wrong, FileRefused::Kind { .. }), "{wrong}");
    // A pipe would keep its reader waiting.
    let pipe = place.0.join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg("-m")
        .arg("600")
        .arg(&pipe)
        .status();
    assert!(made.expect("mkfifo is everywhere").success());
    let wrong = read_secret(&place.0, "pipe").expect_err("a pipe");
    assert!(matches!(wrong, FileRefused::Kind { .. }), "{wrong}");
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: only root can give a file away");
        return;
    }
    let place = Place::new();
    write_secret(&place.0, SEAL_KEY, b"key").expect("written");
    chown(place.0.join(SEAL_KEY), Some(65_534), None).expect("root may");
    let wrong = read_secret(&place.0, SEAL_KEY)
        .expect_err("somebody else's")
        .to_string();
    assert!(wrong.contains("chown 0 "), "{wrong}");
    chown(&place.0, Some(65_534), None).expect("root may");
    let wrong = check_dir(&place.0).expect_err("somebody else's");
    assert!(
        matches!(
            wrong,
            FileRefused::Owner {
                owner: 65_534,
                wanted: 0,
                ..
            }
        ),
        "{wrong}"
    );
}

#[test]
fn a_file_that_is_no_key_is_not_read_to_its_end() {
    let place = Place::new();
    let long = vec![b'x'; usize::try_from(FILE_BYTES_MAX).expect("small") + 1];
    write_secret(&place.0, "long", &long).expect("written");
    let wrong = read_secret(&place.0, "long").expect_err("too long");
    assert!(matches!(wrong, FileRefused::TooLong { .. }), "{wrong}");
}

#[test]
fn commands_are_quoted_for_a_shell() {
    assert_eq!(
        quoted(Path::new("/var/lib/kvorum/pki")),
        "/var/lib/kvorum/pki"
    );
    assert_eq!(quoted(Path::new("/a b/$(x)")), "'/a b/$(x)'");
    assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    assert_eq!(quoted(Path::new("")), "''");
}
