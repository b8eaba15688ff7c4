//! The routes: a table of them, and handlers of a few lines each.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use kvorum_api::ErrorCode;
use serde::Serialize;

use crate::error::ApiError;
use crate::feed::Feed;
use crate::query::{KeyQuery, KeysQuery};
use crate::source::Source;
use crate::{site, wire};

/// Retained changes shown of one key.
const HISTORY_LIMIT: usize = 500;

/// What the handlers share.
pub(crate) struct Console {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) feed: Arc<Feed>,
}

type Shared = State<Arc<Console>>;

pub(crate) fn router(console: Arc<Console>) -> Router {
    let api = Router::new()
        .route("/v1/overview", get(overview))
        .route("/v1/events", get(events))
        .route("/v1/keys", get(keys))
        .route("/v1/key", get(key))
        .route("/v1/key/history", get(history))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(console);
    Router::new()
        .nest("/admin", api)
        .route("/admin/", get(no_such_route))
        .fallback_service(get(site::serve).fallback(method_not_allowed))
}

async fn overview(State(console): Shared) -> Response {
    answer(&console.feed.overview())
}

async fn events(State(console): Shared) -> Result<Response, ApiError> {
    let stream = console.feed.subscribe().ok_or_else(|| {
        ApiError::new(
            ErrorCode::Unavailable,
            "too many consoles are open; close one and try again",
        )
    })?;
    let mut response = Sse::new(stream)
        .keep_alive(KeepAlive::default())
        .into_response();
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    Ok(response)
}

async fn keys(
    State(console): Shared,
    query: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let request = parameters(query)?.parse()?;
    let page = console.source.list(request.clone()).await?;
    Ok(answer(&wire::listing(&request, page)))
}

async fn key(
    State(console): Shared,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (key, revision) = parameters(query)?.parse()?;
    let at = console.source.get(key, revision).await?;
    let revision = at.revision;
    let view = wire::view(at).ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("the key does not exist at revision {revision}"),
        )
    })?;
    Ok(answer(&view))
}

async fn history(
    State(console): Shared,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (key, _) = parameters(query)?.parse()?;
    let past = console.source.history(key.clone(), HISTORY_LIMIT).await?;
    Ok(answer(&wire::history(&key, past)))
}

async fn no_such_route() -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        "no such route; the API is under /admin/v1",
    )
}

async fn method_not_allowed() -> Response {
    let error = ApiError::new(
        ErrorCode::MethodNotAllowed,
        "the console only reads; use GET",
    );
    (StatusCode::METHOD_NOT_ALLOWED, error).into_response()
}

fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| ApiError::invalid(rejection.body_text()))
}

fn answer(body: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
