//! Key files of the operator: nobody else may read or change them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Reading by others, and writing by anybody but the owner. A group may read: packages share keys so (`ssl-cert`), and
/// orchestrators mount them so.
const LOOSE: u32 = 0o027;

/// Checks a file, or what a link leads to: mounted secrets are links. One that is not there is told by who reads it.
///
/// # Errors
/// Others can read or change it, or it is another user's; the text names the command that helps.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    let uid = found.uid();
    if uid != own && uid != 0 {
        return Err(format!(
            "belongs to uid {uid}, who can change it, and this process is uid {own}: chown {own} {shown}"
        ));
    }
    let mode = found.permissions().mode() & 0o7777;
    match mode & LOOSE {
        0 => Ok(()),
        _ => Err(format!(
            "others can read or change it (mode {mode:04o}), and whoever has it can pass for this member: chmod 600 {shown}"
        )),
    }
}
