//! The bodies that routes take: JSON, small, and soon there.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use kvorum_api::ErrorCode;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Larger than anything a form of the console sends.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A body that is not there by then does not come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body that was read.
pub(crate) struct Posted<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Posted<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::new(ErrorCode::TooLarge, "the body is larger than 16 KiB");
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX);
        let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
        let body = body.map_err(|_| ApiError::invalid("the body did not come in time"))?;
        let body = body.map_err(|_| too_large())?;
        // What serde says may quote what was sent, and that may be a password.
        let parsed = serde_json::from_slice(&body);
        let parsed = parsed
            .map_err(|_| ApiError::invalid("the body is not the JSON that this route takes"))?;
        Ok(Self(parsed))
    }
}

/// True if the body is declared as JSON, which no form of another site can do without asking first.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (declared.next(), declared.next());
    let kind = first.and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    second.is_none() && kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}
