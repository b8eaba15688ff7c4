//! A data directory that its peers refused stays refused: what the leader knew of this member's log is gone with the
//! next leader, but what this member has forgotten is not. (RELIABILITY.md D11)

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use kvorum_pki::shell_word;

use crate::options::MemberOptions;
use crate::start::StartError;

/// Holds the reason.
const MARK: &str = "refused";

/// The reason with what to do about it.
pub(crate) fn advice(id: u64, options: &MemberOptions, reason: &str) -> String {
    format!(
        "{reason}. What this member has acknowledged is lost, so it must not go on under that identity. Put the newest \
         data directory of this member back, or on a member that runs: `kvorum member replace {id:x} --name {} \
         --peer-urls {}`; then start here with an empty directory and --initial-cluster-state existing",
        shell_word(&options.name),
        shell_word(&options.peer_urls.join(","))
    )
}

/// Remembers the refusal in the directory.
pub(crate) fn note(dir: &Path, reason: &str) {
    let write = || -> io::Result<()> {
        let mut file = File::create(dir.join(MARK))?;
        file.write_all(reason.as_bytes())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    if let Err(error) = write() {
        tracing::error!(%error, "the refusal cannot be remembered in the data directory");
    }
}

/// Refuses a directory that was refused before.
///
/// # Errors
/// It was.
pub(crate) fn check(dir: &Path) -> Result<(), StartError> {
    match fs::read_to_string(dir.join(MARK)) {
        Ok(reason) => Err(StartError::Recovery(reason)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StartError::Recovery(format!(
            "{}: {e}",
            dir.join(MARK).display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered() {
        let dir = std::env::temp_dir().join(format!("kvorum-refused-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        assert!(check(&dir).is_ok());
        note(&dir, "an older copy");
        let refused = check(&dir).expect_err("it was refused");
        assert_eq!(refused.to_string(), "an older copy");
        fs::remove_dir_all(&dir).expect("it is ours");
    }
}
