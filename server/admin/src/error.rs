//! The only place with HTTP statuses: what callers are told when a request is refused.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kvorum_api::{ErrorBody, ErrorCode};

use crate::source::Refusal;

/// A refused request. The request id is added on the way out, where it is known.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// When to try again, where that is known.
    pub(crate) retry_after_s: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// The finished response.
    pub(crate) fn with_request_id(self, request_id: &str) -> Response {
        let retry_after_s = self.retry_after_s;
        let body = ErrorBody {
            code: self.code,
            message: self.message,
            request_id: request_id.to_owned(),
        };
        let mut response = (status(body.code), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            header::HeaderValue::from_static("no-store"),
        );
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let code = match refusal {
            Refusal::Compacted => ErrorCode::Compacted,
            Refusal::FutureRevision => ErrorCode::FutureRevision,
            Refusal::Nobody => ErrorCode::Forbidden,
            Refusal::Invalid(_) => ErrorCode::InvalidArgument,
            Refusal::Unavailable(_) => ErrorCode::Unavailable,
        };
        Self::new(code, message)
    }
}

/// Carries the error to `guard::protect`, which knows the request id and writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = status(self.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        // As etcd answers a host that is not on its list.
        ErrorCode::HostNotAllowed => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::SignInRequired | ErrorCode::WrongCredentials => StatusCode::UNAUTHORIZED,
        ErrorCode::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Compacted | ErrorCode::LinkUnusable => StatusCode::GONE,
        ErrorCode::FutureRevision => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
