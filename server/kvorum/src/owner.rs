//! Whose a data directory is: one user's, with all in it, and the member runs as that user.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::pki::PKI;
use crate::tools::user;

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn owner_of(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|found| found.uid())
}

/// As `sudo -u` takes it.
fn for_sudo(uid: u32) -> String {
    let name = user(uid);
    match name.parse::<u32>() {
        Ok(_) => format!("'#{name}'"),
        Err(_) => name,
    }
}

/// Refuses to work in the directory of another user: its member could not read what is written there. `words` are those
/// of the command.
///
/// # Errors
/// It is another user's; the command for that one stands in the text.
pub(crate) fn check(data_dir: &Path, words: &str) -> Result<(), String> {
    let (own, shown) = (own_uid(), data_dir.display());
    match owner_of(data_dir) {
        Some(owner) if owner != own => Err(format!(
            "{shown} belongs to user {}, who could not read what user {} writes there; nothing was sent or changed. Run \
             this as that user:\n  sudo -u {} kvorum {words}",
            user(owner),
            user(own),
            for_sudo(owner)
        )),
        _ => Ok(()),
    }
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
            "{shown} or something in it belongs to another user, and this process is user {}: chown -R {own} {shown}",
            user(own)
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
