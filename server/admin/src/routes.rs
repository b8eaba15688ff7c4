//! The router, made from the table of rules, and handlers of a few lines each.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use kvorum_api::ErrorCode;
use serde::Serialize;

use crate::authority::Authority;
use crate::error::ApiError;
use crate::feed::Feed;
use crate::login::{Caller, Gate};
use crate::peer::Peer;
use crate::public::PublicCertificate;
use crate::query::{KeyQuery, KeysQuery};
use crate::rules::RULES;
use crate::source::Source;
use crate::{site, wire};

/// Retained changes shown of one key.
const HISTORY_LIMIT: usize = 500;

/// What the handlers share.
pub(crate) struct Console {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) public: Option<PublicCertificate>,
}

pub(crate) type Shared = State<Arc<Console>>;

pub(crate) fn router(console: Arc<Console>) -> Router {
    let mut api = Router::new();
    for rule in RULES {
        api = api.route(rule.path, (rule.handler)());
    }
    api.fallback_service(get(site::serve)).with_state(console)
}

pub(crate) async fn overview(State(console): Shared) -> Response {
    answer(&console.feed.overview())
}

/// The figures of each second, for as long as whoever asked may see them.
pub(crate) async fn events(
    State(console): Shared,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let stream = console.feed.subscribe().ok_or_else(|| {
        ApiError::new(
            ErrorCode::Unavailable,
            "too many consoles are open; close one and try again",
        )
    })?;
    let gate = Arc::clone(&console.gate);
    let stream = stream.take_while(move |_| std::future::ready(gate.may_go_on(&caller, &peer)));
    let mut response = Sse::new(stream)
        .keep_alive(KeepAlive::default())
        .into_response();
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    Ok(response)
}

pub(crate) async fn keys(
    State(console): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let request = parameters(query)?.parse()?;
    let page = console
        .source
        .list(caller.reader(), request.clone())
        .await?;
    Ok(answer(&wire::listing(&request, page)))
}

pub(crate) async fn key(
    State(console): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (key, revision) = parameters(query)?.parse()?;
    let at = console.source.get(caller.reader(), key, revision).await?;
    let revision = at.revision;
    let view = wire::view(at).ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("the key does not exist at revision {revision}"),
        )
    })?;
    Ok(answer(&view))
}

pub(crate) async fn history(
    State(console): Shared,
    Extension(caller): Extension<Caller>,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (key, _) = parameters(query)?.parse()?;
    let past = console
        .source
        .history(caller.reader(), key.clone(), HISTORY_LIMIT)
        .await?;
    Ok(answer(&wire::history(&key, past)))
}

fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| ApiError::invalid(rejection.body_text()))
}

pub(crate) fn answer(body: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
