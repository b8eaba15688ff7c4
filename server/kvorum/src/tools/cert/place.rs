//! The three files of a client: its key, its chain, and whom it trusts.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kvorum_pki::{Bundle, Chain, KeyPair};
use rustix::fs::OFlags;

pub(super) const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// The name of the file of those who are trusted, before its `.crt`.
const TRUSTED: &str = "ca";

/// Where they are, by paths that can be pasted anywhere.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) ca: PathBuf,
}

/// Whether the files of a user can be called like the user.
///
/// # Errors
/// They cannot.
pub(in crate::tools) fn names_files(user: &str) -> Result<(), String> {
    if user.is_empty() || user.starts_with('.') || user.contains(['/', '\0']) {
        return Err(format!(
            "{user:?} cannot be the name of a file: use one that is not empty, does not begin with a dot and has no slash, such \
             as letters, digits, - and _"
        ));
    }
    if user == TRUSTED {
        return Err(format!(
            "{user:?} would take the place of {user}.crt, whom a client trusts: use another name"
        ));
    }
    Ok(())
}

/// Directories that were not there: what is still empty when this goes was made for nothing.
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Looks before this one is made.
    pub(super) fn before(dir: &Path) -> Self {
        let missing = dir
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        Self(missing.map(Path::to_owned).collect())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in &self.0 {
            // The system removes none that holds anything.
            let _ = fs::remove_dir(dir);
        }
    }
}

impl Place {
    /// Under this directory, which is made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be had, or no file can be called like this.
    pub(super) fn of(dir: &Path, user: &str) -> Result<Self, String> {
        names_files(user)?;
        let told = |error| format!("{}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(told)?;
        let dir = dir.canonicalize().map_err(told)?;
        Ok(Self {
            key: dir.join(format!("{user}.key")),
            cert: dir.join(format!("{user}.crt")),
            ca: dir.join(format!("{TRUSTED}.crt")),
        })
    }

    /// There is a key already.
    pub(super) fn is_taken(&self) -> bool {
        self.key.symlink_metadata().is_ok()
    }

    /// The key that is there.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(super) fn key(&self) -> Result<KeyPair, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.key.display());
        let text = fs::read(&self.key).map_err(|error| told(&error))?;
        KeyPair::from_pem(&text).map_err(|error| told(&error))
    }

    /// The serial number of the certificate that is there; empty if there is none that can be read.
    pub(super) fn serial(&self) -> Vec<u8> {
        let chain = fs::read(&self.cert).ok();
        let chain = chain.and_then(|text| Chain::from_pem(&text).ok());
        let serial = chain.and_then(|chain| chain.serial().ok());
        serial.map_or_else(Vec::new, |serial| serial.as_bytes().to_vec())
    }

    /// Writes all that is new, each whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write(&self, bundle: &Bundle, trusted: &str) -> Result<(), String> {
        replace(&self.ca, trusted.as_bytes(), PUBLIC)?;
        let key = bundle.key().to_pem();
        if fs::read(&self.key).map_or(true, |there| there != key.as_bytes()) {
            replace(&self.key, key.as_bytes(), SECRET)?;
        }
        replace(&self.cert, bundle.chain().to_pem().as_bytes(), PUBLIC)
    }
}

/// Writes what everybody may read, whole or not at all.
///
/// # Errors
/// The disk refuses.
pub(in crate::tools) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), String> {
    replace(path, bytes, PUBLIC)
}

/// No moment shows half of it, and no link leads elsewhere.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // What a crash left is of no use.
    let _ = fs::remove_file(&new);
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .mode(mode)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(told)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_and_a_link_is_replaced_rather_than_followed() {
        let dir = std::env::temp_dir().join(format!("kvorum-place-{}", std::process::id()));
        let place = Place::of(&dir, "apiserver").expect("can be made");
        assert!(!place.is_taken());
        let elsewhere = dir.join("elsewhere");
        fs::write(&elsewhere, "kept").expect("writes");
        std::os::unix::fs::symlink(&elsewhere, &place.key).expect("links");
        assert!(place.is_taken());
        replace(&place.key, b"secret", SECRET).expect("writes");
        assert_eq!(fs::read(&elsewhere).expect("is there"), b"kept");
        let metadata = place.key.symlink_metadata().expect("is there");
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, SECRET);
        let _ = fs::remove_dir_all(&dir);
    }

    #[test]
    fn a_directory_that_was_made_for_nothing_goes_again() {
        let dir = std::env::temp_dir().join(format!("kvorum-made-{}", std::process::id()));
        let inner = dir.join("b");
        let made = Made::before(&inner);
        Place::of(&inner, "app").expect("can be made");
        drop(made);
        assert!(!dir.exists());
        let made = Made::before(&inner);
        let place = Place::of(&inner, "app").expect("can be made");
        replace(&place.ca, b"x", PUBLIC).expect("writes");
        drop(made);
        assert!(place.ca.exists());
        let _ = fs::remove_dir_all(&dir);
    }

    #[test]
    fn a_user_that_is_no_file_name_is_refused() {
        for bad in ["", ".", "../x", "a/b"] {
            let refused = Place::of(&std::env::temp_dir(), bad).expect_err("refused");
            assert!(refused.contains("cannot be the name of a file"));
        }
        let refused = Place::of(&std::env::temp_dir(), "ca").expect_err("refused");
        assert!(refused.contains("use another name"), "{refused}");
    }
}
