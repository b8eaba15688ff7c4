//! Whose a file is, and who may do what with it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What others than the owner may do with a file.
pub(super) const OTHERS: u32 = 0o077;

/// The permission bits.
pub(super) fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// The name of a user, or its number where the system knows none.
pub(crate) fn user(uid: u32) -> String {
    name("/etc/passwd", uid)
}

/// The name of a group, or its number where the system knows none.
pub(super) fn group(gid: u32) -> String {
    name("/etc/group", gid)
}

/// In both tables the name is the first field and the number the third.
fn name(table: impl AsRef<Path>, id: u32) -> String {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| id.to_string())
}
