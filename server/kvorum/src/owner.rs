//! Whose a data directory is: one user's, with all in it, and the member runs as that user.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kvorum_pki::shell_word;

use crate::pki::PKI;
use crate::tools::user;

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn owner_of(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|found| found.uid())
}

/// The owner of a directory, or of the nearest one above it that is there: who makes it makes it in that one.
fn owner_of_nearest(dir: &Path) -> Option<u32> {
    let whole = std::path::absolute(dir).ok()?;
    whole.ancestors().find_map(owner_of)
}

/// The name of a user that the system knows.
fn known(uid: u32) -> Option<String> {
    let name = user(uid);
    name.parse::<u32>().is_err().then_some(name)
}

/// As `sudo -u` takes it.
fn for_sudo(uid: u32) -> String {
    shell_word(&known(uid).unwrap_or_else(|| format!("#{uid}")))
}

/// Refuses root in the directory of another user: its member could not read what is written there. `words` are those of
/// the command. Whoever is not root can write only where that is meant, as in a volume of a group, and in a container the
/// image need not know the user of a volume: root is the member there.
///
/// # Errors
/// It is another user's; the command for that one stands in the text.
pub(crate) fn check(data_dir: &Path, words: &str) -> Result<(), String> {
    let owner = match (own_uid(), owner_of_nearest(data_dir)) {
        (0, Some(owner)) if owner != 0 => owner,
        _ => return Ok(()),
    };
    let Some(name) = known(owner) else {
        return Ok(());
    };
    let shown = match data_dir.exists() {
        true => data_dir.display().to_string(),
        false => format!(
            "the directory in which {} would be made",
            data_dir.display()
        ),
    };
    Err(format!(
        "{shown} belongs to user {name}, who could not read what root writes there; nothing was sent or changed. Run this \
         as that user:\n  sudo -u {} kvorum {words}",
        for_sudo(owner)
    ))
}

/// What mends a directory that this process may not use because of whose it is, or something in it; none if that is in
/// order.
pub(crate) fn advice(data_dir: &Path) -> Option<String> {
    let (own, shown) = (own_uid(), data_dir.display());
    let owner = owner_of(data_dir)?;
    if owner != own && owner != 0 {
        return Some(format!(
            "{shown} belongs to user {}, and this process is user {}: run it as that user, with sudo -u {} or User= in its \
             unit",
            user(owner),
            user(own),
            for_sudo(owner)
        ));
    }
    // Root reads everything, so that one command per file is enough for it.
    let foreign = own != 0 && (owner != own || is_mixed(data_dir, own));
    foreign.then(|| {
        format!(
            "{shown} or something in it belongs to another user, and this process is user {}: chown -R {own} {}",
            user(own),
            shell_word(&data_dir.to_string_lossy())
        )
    })
}

/// Something in the directory, or among its keys, is not that user's.
fn is_mixed(data_dir: &Path, uid: u32) -> bool {
    [data_dir.to_owned(), data_dir.join(PKI)].iter().any(|dir| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut owners = entries.filter_map(|entry| entry.metadata().ok());
        owners.any(|found| found.uid() != uid)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn only_root_is_kept_from_the_directory_of_a_known_user() {
        let dir = std::env::temp_dir().join(format!("kvorum-owner-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("writes");
        let inner = dir.join("a/b");
        assert_eq!(check(&inner, "join"), Ok(()));
        // Nobody has a name on every system, and the other number has none.
        let (nobody, unknown) = (65_534, 54_321);
        if own_uid() == 0 && known(nobody).is_some() {
            chown(&dir, Some(nobody), None).expect("is root");
            for path in [&dir, &inner] {
                let refused = check(path, "join T").expect_err("is another's");
                assert!(
                    refused.contains("sudo -u nobody kvorum join T"),
                    "{refused}"
                );
            }
            chown(&dir, Some(unknown), None).expect("is root");
            assert_eq!(check(&inner, "join"), Ok(()));
        }
        let _ = std::fs::remove_dir_all(&dir);
    }
}
