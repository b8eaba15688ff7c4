//! A member whose files are lost asks its peers for another one in its place: itself, under a new id.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
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

/// Numbers of attempts up to here may be times.
const ATTEMPT_GUESSED_MAX: u64 = 1 << 36;

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
    // Who is not known for sure gets no certificate.
    let request = PeerReplaceRequest {
        csr_der: match ask.certified {
            true => request.csr_der,
            false => Bytes::new(),
        },
        ..request
    };
    tokio::spawn(async move {
        let told = replace(&handle, request).await;
        ask.answer(told);
    });
}

async fn replace(handle: &Handle, request: PeerReplaceRequest) -> Told {
    let old = MemberId(request.old_member);
    // The number is one that nobody guesses. Where people replace a member, it is the time, and known to those who look.
    if !request.csr_der.is_empty() && request.attempt <= ATTEMPT_GUESSED_MAX {
        return Told::Refused(
            "a member that asks for a certificate chooses a number at random".into(),
        );
    }
    tracing::info!(
        old = format!("{:x}", old.0),
        name = request.name,
        "a member asks for another one in its place"
    );
    let wish = Replacement {
        old,
        peer_urls: request.peer_urls.clone(),
        attempt: request.attempt,
    };
    match handle.member_replace(&Caller::own(), wish).await {
        // Once it has run in its new place it has its certificate, and who asks now is somebody else.
        Ok(added) if !request.csr_der.is_empty() && !added.member.name.is_empty() => {
            Told::Refused("the member in its place has started already".into())
        }
        Ok(added) => {
            let signed = handle.trust_place(&request.csr_der, &added.member, &request.name);
            let chain_der = match signed.await {
                Ok(chain_der) => chain_der,
                Err(error) => return Told::Refused(error.to_string()),
            };
            Told::Replace(PeerReplaceReply {
                cluster_id: handle.identity().cluster_id.0,
                member: Some(added.member),
                members: added.members,
                chain_der,
            })
        }
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
