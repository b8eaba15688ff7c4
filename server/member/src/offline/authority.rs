//! Whether the cluster of a member that is not running has a certificate authority.

use std::path::Path;

use kvorum_core::log::{Entry, EntryKind};
use kvorum_core::trust::Trust;
use kvorum_proto::kvorumpb::{EntryBatch, command::Op};
use prost::Message as _;

use super::OfflineError;
use super::survivor::OpenFiles;

/// True if the replicated state holds an authority, or the log may bring one. Files of a member that never took part in
/// its cluster hold none.
///
/// # Errors
/// There is no member, it runs, or its files are damaged.
pub fn has_authority(data_dir: &Path) -> Result<bool, OfflineError> {
    let files = match OpenFiles::open(data_dir) {
        Ok(files) => files,
        Err(OfflineError::NeverTookPart) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut trust = Trust::default();
    for (key, row) in &files.restored.meta {
        trust.restore(key, row);
    }
    Ok(trust.is_ready() || files.entries.iter().any(brings_one))
}

/// What else changes an authority has one already.
fn brings_one(entry: &Entry) -> bool {
    let batch = EntryBatch::decode(entry.data.clone());
    entry.kind == EntryKind::Normal
        && batch.is_ok_and(|batch| {
            let mut commands = batch.commands.iter();
            commands.any(|command| matches!(command.op, Some(Op::Trust(_))))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_tells_nothing_is_not_one_without_an_authority() {
        let dir = std::env::temp_dir().join(format!("kvorum-authority-{}", std::process::id()));
        let told = has_authority(&dir);
        assert!(matches!(told, Err(OfflineError::Refused(_))), "{told:?}");
    }
}
