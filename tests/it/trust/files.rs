//! Keys that others could read or have put there: a start refuses, and says what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use kvorum_tests::process::TestDir;

use super::Place;

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("is ours");
}

#[test]
fn loose_keys_are_refused_with_the_command_that_mends_them() {
    let dir = TestDir::new("loose-keys");
    let place = Place::new(&dir, "a");
    let mut member = place.start();
    assert!(member.server.terminate().success());
    let pki = place.data_dir.join("pki");
    let key = pki.join("node.pem");
    for (path, loose, tight) in [(&key, 0o644, 0o600), (&pki, 0o755, 0o700)] {
        set(path, loose);
        let (code, said) = place.refused();
        assert_eq!(code, Some(3), "{said}");
        let command = format!("chmod {tight:o} {}", path.display());
        assert!(said.contains(&command), "{command:?} is not in {said}");
        set(path, tight);
    }
    let moved = dir.path().join("node.pem");
    fs::rename(&key, &moved).expect("is ours");
    symlink(&moved, &key).expect("links");
    let (code, said) = place.refused();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("symbolic link"), "{said}");
    fs::rename(&moved, &key).expect("is ours");
    if chown(&key, Some(65_534), Some(65_534)).is_ok() {
        let (code, said) = place.refused();
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("chown "), "{said}");
        chown(&key, Some(0), Some(0)).expect("is root's");
    } else {
        println!("SKIP foreign owners: only root may give files away");
    }
    let member = place.start();
    drop(member);
}
