//! The place in the cluster of somebody who joins by a token: one request for a certificate, one member.

use kvorum_core::auth::Caller;
use kvorum_core::membership::peer_urls;
use kvorum_core::{Error, MemberId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{MemberOp, MemberUpdate, NewMember, command, member_op};
use sha2::{Digest as _, Sha256};

use crate::handle::Handle;
use crate::member_calls::MemberCallError;

/// Who is to be added.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) id: MemberId,
    pub(crate) peer_urls: Vec<String>,
    /// As soon as it has caught up.
    pub(crate) votes: bool,
}

/// The member that a request for a certificate becomes: whoever repeats it is the same one.
pub(crate) fn id_of(csr_sha256: &[u8]) -> MemberId {
    let digest = Sha256::new()
        .chain_update(b"kvorum member ")
        .chain_update(csr_sha256)
        .finalize();
    let first = digest.iter().take(8);
    // 0 means no member.
    MemberId(first.fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1))
}

impl Handle {
    /// Adds a member that asks for it itself, or finds the one that it has become already. All members, after it.
    ///
    /// # Errors
    /// It was removed since, its URLs are none or taken, or the cluster could lose its quorum.
    pub(crate) async fn member_join(
        &self,
        wish: &Joining,
    ) -> Result<Vec<pb::Member>, MemberCallError> {
        self.read_barrier().await?;
        let urls = self.checked_urls(&wish.peer_urls, Some(wish.id))?;
        let known = self.members();
        let Some(own) = known.iter().find(|m| m.id == wish.id.0) else {
            let new = NewMember {
                id: wish.id.0,
                peer_urls: urls,
                promote: wish.votes,
            };
            let add = MemberOp {
                op: Some(member_op::Op::AddLearner(new)),
            };
            return Ok(self.change(&Caller::own(), vec![add]).await?);
        };
        if peer_urls(&own.peer_ur_ls).as_deref() == Ok(&urls[..]) {
            return Ok(known);
        }
        // The first attempt named addresses at which it is not reached.
        let update = command::Op::MemberUpdate(MemberUpdate {
            member_id: wish.id.0,
            peer_urls: urls,
        });
        match self.propose(&Caller::own(), update).await? {
            kvorum_core::reply::Reply::Members(members) => Ok(members),
            _ => Err(Error::Stopped.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_member_and_another_request_another() {
        assert_eq!(id_of(&[1; 32]), id_of(&[1; 32]));
        assert_ne!(id_of(&[1; 32]), id_of(&[2; 32]));
        assert_ne!(id_of(&[1; 32]).0, 0);
    }
}
