//! A member whose files are lost asks its peers for another one in its place: itself, under a new id.

use std::sync::{Arc, OnceLock};

use kvorum_core::auth::Caller;
use kvorum_core::{Error, MemberId};
use kvorum_proto::kvorumpb::{
    PeerRedirect, PeerReplaceReply, PeerReplaceRequest, peer_reply::Told, peer_request::Ask,
};

use crate::handle::Handle;
use crate::member_calls::{MemberCallError, Replacement};
use crate::peer::PeerAsk;
use crate::port::Port;
use crate::shared::Shared;
use crate::start::new_port;
use crate::watch::Watching;

/// A way to the machine for what peers ask, opened when the first one does. No `Handle`: that would keep the member.
#[derive(Debug, Default)]
pub(crate) struct Door(OnceLock<(Arc<Port>, Arc<Watching>)>);

impl Door {
    /// Called on a runtime, on which the way is carried.
    fn handle(&self, shared: &Arc<Shared>) -> Option<Handle> {
        if self.0.get().is_none() {
            let handle = Handle::new(shared.clone(), new_port(shared).ok()?);
            let ends = (handle.port.clone(), handle.watching.clone());
            // All who ask are on the same thread.
            if self.0.set(ends).is_ok() {
                tokio::spawn(handle.run());
            }
        }
        let (port, watching) = self.0.get()?;
        Some(Handle {
            shared: shared.clone(),
            port: port.clone(),
            watching: watching.clone(),
        })
    }
}

/// Answers such a question.
pub(crate) fn answer(shared: &Arc<Shared>, ask: PeerAsk) {
    let (Some(Ask::Replace(request)), Some(handle)) =
        (ask.request.ask.clone(), shared.cluster.door.handle(shared))
    else {
        return ask.answer(Told::Refused("the member cannot take it".into()));
    };
    // Everybody may give away his own place, and nobody another's: the one who asks may have been removed since.
    if ask.from != Some(MemberId(request.old_member)) {
        return ask.answer(Told::Refused("a member asks for itself only".into()));
    }
    tokio::spawn(async move {
        let told = replace(&handle, request).await;
        ask.answer(told);
    });
}

async fn replace(handle: &Handle, request: PeerReplaceRequest) -> Told {
    let old = MemberId(request.old_member);
    tracing::info!(
        old = format!("{:x}", old.0),
        name = request.name,
        "a member asks for another one in its place"
    );
    let wish = Replacement {
        old,
        peer_urls: request.peer_urls,
        attempt: request.attempt,
    };
    match handle.member_replace(&Caller::own(), wish).await {
        Ok(added) => Told::Replace(PeerReplaceReply {
            cluster_id: handle.identity().cluster_id.0,
            member: Some(added.member),
            members: added.members,
        }),
        // It goes away by itself: whoever asks asks again.
        Err(MemberCallError::Refused(
            Error::Timeout
            | Error::NoLeader
            | Error::LeaderChanged
            | Error::NotLeader
            | Error::Unhealthy,
        )) => Told::Redirect(PeerRedirect::default()),
        Err(refused) => Told::Refused(refused.to_string()),
    }
}
