//! A machine whose address is a member's already: its directory was emptied after it had joined, or two have one address.

use kvorum_core::Error;
use kvorum_proto::etcdserverpb::Member;
use kvorum_proto::kvorumpb::JoinRefusal;

use super::Refusal;
use crate::handle::Handle;
use crate::member_calls::MemberCallError;

/// The refusal with whose address it is and what to do, where that is what speaks against it.
pub(super) fn told(handle: &Handle, peer_urls: &[String], error: MemberCallError) -> Refusal {
    let owner = match error {
        MemberCallError::Refused(Error::PeerUrlExists) => owner(&handle.members(), peer_urls),
        _ => None,
    };
    match owner {
        Some(text) => Refusal::new(JoinRefusal::Member, text),
        None => error.into(),
    }
}

fn owner(members: &[Member], peer_urls: &[String]) -> Option<String> {
    let of = |url: &String| {
        members
            .iter()
            .find(|member| member.peer_ur_ls.contains(url))
    };
    let (url, member) = peer_urls.iter().find_map(|url| Some((url, of(url)?)))?;
    let id = member.id;
    Some(format!(
        "{url} is the address of member {id:x}, which is listed already: if that is what this machine was before its \
         directory was emptied, run `kvorum member remove {id:x}` on a member, then repeat this very command: its token stays \
         good for this directory until its time is up"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_an_address_is_named_with_the_way_out() {
        let member = |id, url: &str| Member {
            id,
            peer_ur_ls: vec!["https://x:1".to_owned(), url.to_owned()],
            ..Member::default()
        };
        let members = [member(10, "https://a:2380"), member(255, "https://b:2380")];
        let asked = |url: &str| owner(&members, &["https://c:1".to_owned(), url.to_owned()]);
        let text = asked("https://b:2380").expect("is taken");
        for part in [
            "https://b:2380",
            "`kvorum member remove ff`",
            "repeat",
            "token stays good",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(asked("https://d:2380"), None);
    }
}
