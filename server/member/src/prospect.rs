//! Who a member will be, told before it starts: its certificate says so.

use std::path::Path;

use kvorum_core::MemberId;
use kvorum_core::membership::peer_urls as plain;
use kvorum_storage::DataDir;

use crate::bootstrap::BootstrapError;
use crate::identity::member_id;
use crate::start::StartError;

/// Who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// The member.
    pub member_id: MemberId,
    /// As far as its files tell, it has no others beside it.
    pub is_alone: bool,
    /// Where the others reach it, as its files tell.
    pub peer_urls: Vec<String>,
    /// Its files are there already.
    pub has_run: bool,
}

/// Looks into a data directory, which is made if it is not there.
///
/// # Errors
/// The directory cannot be used, or the URLs are none.
pub fn prospect(
    data_dir: &Path,
    peer_urls: &[String],
    token: &str,
) -> Result<Prospect, StartError> {
    let dir = DataDir::open(data_dir)?;
    if let Some(identity) = dir.identity() {
        let own = identity
            .members
            .iter()
            .find(|known| known.id == identity.member_id);
        return Ok(Prospect {
            member_id: identity.member_id,
            peer_urls: own.map_or_else(Vec::new, |own| own.peer_urls.clone()),
            is_alone: identity.members.len() <= 1,
            has_run: true,
        });
    }
    let urls = plain(peer_urls)
        .map_err(|_| BootstrapError::Settings(format!("{peer_urls:?} is no list of peer URLs")))?;
    Ok(Prospect {
        member_id: member_id(&urls, token),
        peer_urls: Vec::new(),
        is_alone: true,
        has_run: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_founder_is_known_before_it_begins() {
        let dir = std::env::temp_dir().join(format!("kvorum-prospect-{}", std::process::id()));
        let urls = ["http://localhost:2380".to_owned()];
        let told = prospect(&dir, &urls, "etcd-cluster").expect("a new directory");
        assert_eq!(told.member_id, MemberId(0x8e9e_05c5_2164_694d));
        assert!(told.is_alone && !told.has_run);
        let _ = std::fs::remove_dir_all(&dir);
    }
}
