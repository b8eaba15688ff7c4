//! Changes of the members: checked for form, given ids, sent through the log. (etcd: api/v3rpc/member.go)

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvorum_core::auth::{Caller, Need};
use kvorum_core::membership::{PeerUrl, peer_urls};
use kvorum_core::reply::Reply;
use kvorum_core::{Error, MemberId};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    MemberChange, MemberOp, MemberUpdate, NewMember, command, member_op::Op,
};

use crate::handle::Handle;
use crate::identity::added_member_id;
use crate::port::{Answer, Ask};

/// Why the members are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberCallError {
    /// The rules refuse it, or the cluster cannot do it now.
    #[error(transparent)]
    Refused(#[from] Error),
    /// A URL that is well formed and cannot be right.
    #[error("peerURLs: {url:?} {reason}")]
    Url {
        /// What was given, cut to a length that fits a line.
        url: String,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
}

/// A member that was added, and all there are now.
#[derive(Clone, Debug, PartialEq)]
pub struct AddedMember {
    /// The new one.
    pub member: pb::Member,
    /// All.
    pub members: Vec<pb::Member>,
}

/// A member to put in the place of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacement {
    /// The one that is lost.
    pub old: MemberId,
    /// Where the new one is reached.
    pub peer_urls: Vec<String>,
    /// The same for every repetition of one wish, so that it is fulfilled once; 0 if it is not repeated.
    pub attempt: u64,
}

/// Between two looks at whether somebody else leads.
const HAND_OVER_LOOK: Duration = Duration::from_millis(10);
/// More of a URL is not shown.
const SHOWN_CHARS: usize = 64;

fn op(op: Op) -> MemberOp {
    MemberOp { op: Some(op) }
}

fn unix_seconds() -> u64 {
    // A clock before 1970 gives ids as well.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

impl Handle {
    /// True if this member learns and does not vote.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        self.shared.published.is_learner.load(Ordering::Relaxed)
    }

    /// Adds a voter or a learner.
    ///
    /// # Errors
    /// The URLs are none or taken, the cluster could lose its quorum, or the caller has
    /// not the role root.
    pub async fn member_add(
        &self,
        caller: &Caller,
        given: &[String],
        is_learner: bool,
    ) -> Result<AddedMember, MemberCallError> {
        self.permit(caller, &[Need::Admin])?;
        let urls = self.checked_urls(given, None)?;
        let new = NewMember {
            id: added_member_id(&urls, unix_seconds()).0,
            peer_urls: urls,
            promote: false,
        };
        let id = new.id;
        let add = match is_learner {
            true => Op::AddLearner(new),
            false => Op::Add(new),
        };
        let members = self.change(caller, vec![op(add)]).await?;
        added(id, members)
    }

    /// Removes a member for good.
    ///
    /// # Errors
    /// There is none, the cluster could lose its quorum, or the caller has
    /// not the role root.
    pub async fn member_remove(
        &self,
        caller: &Caller,
        id: MemberId,
    ) -> Result<Vec<pb::Member>, Error> {
        self.permit(caller, &[Need::Admin])?;
        self.change(caller, vec![op(Op::Remove(id.0))]).await
    }

    /// Lets a learner vote.
    ///
    /// # Errors
    /// There is none, it votes already, it has not caught up, or the caller has
    /// not the role root.
    pub async fn member_promote(
        &self,
        caller: &Caller,
        id: MemberId,
    ) -> Result<Vec<pb::Member>, Error> {
        self.permit(caller, &[Need::Admin])?;
        self.change(caller, vec![op(Op::Promote(id.0))]).await
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// There is no such member, the URLs are none or taken, or the caller has
    /// not the role root.
    pub async fn member_update(
        &self,
        caller: &Caller,
        id: MemberId,
        given: &[String],
    ) -> Result<Vec<pb::Member>, MemberCallError> {
        self.permit(caller, &[Need::Admin])?;
        if !self.members().iter().any(|m| m.id == id.0) {
            return Err(Error::MemberNotFound.into());
        }
        let urls = self.checked_urls(given, Some(id))?;
        let update = command::Op::MemberUpdate(MemberUpdate {
            member_id: id.0,
            peer_urls: urls,
        });
        match self.propose(caller, update).await? {
            Reply::Members(members) => Ok(members),
            _ => Err(Error::Stopped.into()),
        }
    }

    /// Puts a new learner in the place of a member that is lost, in one change; it is promoted by itself.
    ///
    /// # Errors
    /// There is no such member, the URLs are another one's, the cluster still needs the old one, or the caller has
    /// not the role root.
    pub async fn member_replace(
        &self,
        caller: &Caller,
        wish: Replacement,
    ) -> Result<AddedMember, MemberCallError> {
        self.permit(caller, &[Need::Admin])?;
        let urls = self.checked_urls(&wish.peer_urls, Some(wish.old))?;
        let number = match wish.attempt {
            0 => unix_seconds(),
            attempt => attempt,
        };
        let id = added_member_id(&urls, number);
        // The wish came before, and its answer was lost.
        if wish.attempt != 0 {
            self.read_barrier().await?;
            let known = self.members();
            // The number goes into the id right behind the URLs, so the id alone does not say that it was this wish.
            let is_it =
                |m: &pb::Member| m.id == id.0 && peer_urls(&m.peer_ur_ls).as_ref() == Ok(&urls);
            let is_replaced = known.iter().all(|m| m.id != wish.old.0);
            if is_replaced && known.iter().any(is_it) {
                return added(id.0, known);
            }
        }
        let new = NewMember {
            id: id.0,
            peer_urls: urls,
            promote: true,
        };
        let ops = vec![op(Op::Remove(wish.old.0)), op(Op::AddLearner(new))];
        let members = self.change(caller, ops).await?;
        added(id.0, members)
    }

    /// Hands the leadership to another member.
    ///
    /// # Errors
    /// This member does not lead, the other does not vote, it did not take over in time, or the caller has
    /// not the role root.
    pub async fn move_leader(&self, caller: &Caller, to: MemberId) -> Result<(), Error> {
        self.permit(caller, &[Need::Admin])?;
        match self.ask(|id| Ask::Transfer(id, to)).await {
            Ok(Answer::Transferred) => Ok(()),
            Ok(Answer::Refused(e)) => Err(e),
            Ok(_) => Err(Error::Stopped),
            Err(Error::Timeout) => Err(Error::TransferTimeout),
            Err(e) => Err(e),
        }
    }

    /// Before this member stops: somebody else leads when it is over, if there is somebody. True if that is so, or this
    /// member did not lead.
    pub async fn hand_over(&self) -> bool {
        let own = self.shared.identity.member_id.0;
        let options = &self.shared.options;
        let begin = Instant::now();
        let mut offered: Option<Instant> = None;
        loop {
            match self.leader() {
                // It has stepped down for the one that campaigns now.
                0 if offered.is_some_and(|at| at.elapsed() < 2 * options.election_timeout) => {
                    tokio::time::sleep(HAND_OVER_LOOK).await;
                    continue;
                }
                0 => return offered.is_none(),
                leader if leader != own => return true,
                _ => {}
            }
            let alone = self.members().iter().filter(|m| !m.is_learner).count() < 2;
            if alone || begin.elapsed() >= options.request_timeout() {
                return false;
            }
            // Whoever was offered it has an election timeout to take it; then the next one is.
            if offered.is_none_or(|at| at.elapsed() >= options.election_timeout) {
                offered = Some(Instant::now());
                if self.ask(Ask::HandOver).await.is_err() {
                    return false;
                }
            }
            tokio::time::sleep(HAND_OVER_LOOK).await;
        }
    }

    pub(crate) async fn change(
        &self,
        caller: &Caller,
        ops: Vec<MemberOp>,
    ) -> Result<Vec<pb::Member>, Error> {
        let change = |id: kvorum_core::RequestId| {
            Ask::Change(MemberChange {
                request_id: id.0,
                ops,
                caller: caller.to_wire(),
            })
        };
        match self.ask(change).await? {
            Answer::Applied(Ok(Reply::Members(members))) => Ok(members),
            Answer::Applied(Err(e)) | Answer::Refused(e) => Err(e),
            _ => Err(Error::Stopped),
        }
    }

    /// URLs in their plain form, if the other members can use them. `of` is whose they become, where it is one already.
    pub(crate) fn checked_urls(
        &self,
        given: &[String],
        of: Option<MemberId>,
    ) -> Result<Vec<String>, MemberCallError> {
        let urls = peer_urls(given)?;
        let members = self.members();
        let others = members.iter().filter(|m| Some(MemberId(m.id)) != of);
        let theirs: Vec<PeerUrl> = others
            .flat_map(|m| &m.peer_ur_ls)
            .filter_map(|url| PeerUrl::parse(url).ok())
            .collect();
        for url in &urls {
            let reason = PeerUrl::parse(url)
                .ok()
                .and_then(|url| misfit(&url, &theirs));
            if let Some(reason) = reason {
                let url = url.chars().take(SHOWN_CHARS).collect();
                return Err(MemberCallError::Url { url, reason });
            }
        }
        Ok(urls)
    }
}

/// Why a URL cannot work beside those of the other members.
fn misfit(url: &PeerUrl, theirs: &[PeerUrl]) -> Option<&'static str> {
    if !url.is_https && !theirs.is_empty() && theirs.iter().all(|u| u.is_https) {
        return Some("is not encrypted, and the members of this cluster speak TLS: use https://");
    }
    if url.is_loopback() && theirs.iter().any(|u| !u.is_loopback()) {
        return Some(
            "leads back to the machine that dials it, and there are members on others: use an address that all can reach",
        );
    }
    None
}

fn added(id: u64, members: Vec<pb::Member>) -> Result<AddedMember, MemberCallError> {
    let member = members.iter().find(|m| m.id == id).cloned();
    // It was removed again meanwhile.
    let member = member.ok_or(Error::MemberNotFound)?;
    Ok(AddedMember { member, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_the_others_cannot_use_are_refused_with_a_reason() {
        let all = |urls: &[&str]| -> Vec<PeerUrl> {
            urls.iter()
                .map(|u| PeerUrl::parse(u).expect("a URL"))
                .collect()
        };
        for (url, theirs, refused) in [
            ("http://10.0.0.2:2380", &["https://10.0.0.1:2380"][..], true),
            ("https://10.0.0.2:2380", &["https://10.0.0.1:2380"], false),
            ("http://10.0.0.2:2380", &["http://10.0.0.1:2380"], false),
            ("https://10.0.0.2:2380", &["http://10.0.0.1:2380"], false),
            ("http://10.0.0.2:2380", &[], false),
            ("https://localhost:2380", &["https://10.0.0.1:2380"], true),
            ("https://127.0.0.1:2380", &["https://a.example:2380"], true),
            ("http://localhost:3380", &["http://localhost:2380"], false),
        ] {
            let parsed = PeerUrl::parse(url).expect("a URL");
            let found = misfit(&parsed, &all(theirs));
            assert_eq!(
                found.is_some(),
                refused,
                "{url} beside {theirs:?}: {found:?}"
            );
        }
    }
}
