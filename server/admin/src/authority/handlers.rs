//! The routes of the authority. Every attempt to move it is an event.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use kvorum_api::{Authority, Denied, Nothing, Rotate, TokenFor, TokenMade, TokenRevoke, TokenWish};
use kvorum_proto::kvorumpb::{ConsoleEvent, console_op::Op};

use super::Change;
use crate::error::ApiError;
use crate::login::{Caller, Posted};
use crate::peer::Peer;
use crate::routes::{Console, Shared, answer};

type From = Extension<Peer>;
type By = Extension<Caller>;

/// How it stands.
pub(crate) async fn authority(State(console): Shared) -> Response {
    answer(&Authority {
        own: console.authority.report(),
        public: console.public.as_ref().map(|public| public.report()),
    })
}

pub(crate) async fn create_token(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(wish): Posted<TokenWish>,
) -> Result<Response, ApiError> {
    let made = change(&console, &caller, &peer, Change::CreateToken(wish)).await?;
    Ok(answer(&made.unwrap_or_default()))
}

pub(crate) async fn revoke_token(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(TokenRevoke { id }): Posted<TokenRevoke>,
) -> Result<Response, ApiError> {
    change(&console, &caller, &peer, Change::RevokeToken(id)).await?;
    Ok(answer(&Nothing {}))
}

pub(crate) async fn revoke(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(denied): Posted<Denied>,
) -> Result<Response, ApiError> {
    change(&console, &caller, &peer, Change::Revoke(denied)).await?;
    Ok(answer(&Nothing {}))
}

pub(crate) async fn allow(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(denied): Posted<Denied>,
) -> Result<Response, ApiError> {
    change(&console, &caller, &peer, Change::Allow(denied)).await?;
    Ok(answer(&Nothing {}))
}

pub(crate) async fn rotate(
    State(console): Shared,
    Extension(peer): From,
    Extension(caller): By,
    Posted(wish): Posted<Rotate>,
) -> Result<Response, ApiError> {
    let own = console.authority.report();
    let own = own
        .ok_or_else(|| ApiError::invalid("this cluster has no certificate authority of its own"))?;
    if wish.confirm != own.domain {
        return Err(ApiError::invalid(
            "confirm must be the cluster's trust domain, so that nobody changes the root of another one",
        ));
    }
    let wanted = match wish.force {
        true => Change::ForceRotation,
        false => Change::Rotate,
    };
    change(&console, &caller, &peer, wanted).await?;
    Ok(answer(&Nothing {}))
}

/// Moves the authority for whoever is signed in, and writes down what came of it.
async fn change(
    console: &Arc<Console>,
    caller: &Caller,
    peer: &Peer,
    change: Change,
) -> Result<Option<TokenMade>, ApiError> {
    // The table lets nobody else in; a name is needed all the same.
    let session = caller
        .session()
        .ok_or_else(|| ApiError::invalid("this console has no login"))?;
    let (what, detail) = change.told();
    let by = format!("{} (console)", session.account);
    let changed = console.authority.change(by, change).await;
    let event = ConsoleEvent {
        who: session.account.clone(),
        from: peer.source(),
        what: what.to_owned(),
        result: match &changed {
            Ok(_) => "ok".to_owned(),
            Err(refused) => refused.to_string(),
        },
        detail,
        ..ConsoleEvent::default()
    };
    if let Err(error) = console.gate.note(Op::Audit(event)).await {
        tracing::warn!(%error, what, who = session.account, "an event could not be written down");
    }
    Ok(changed?)
}

pub(super) fn role_word(role: TokenFor) -> &'static str {
    match role {
        TokenFor::Voter => "voter",
        TokenFor::Learner => "learner",
        TokenFor::Client => "client",
        TokenFor::Rejoin => "member that is back",
        TokenFor::Admin => "administrator",
    }
}
