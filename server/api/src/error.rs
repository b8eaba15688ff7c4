//! What every refused request gets: a code for programs, a sentence for people, an id for the log.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A parameter does not parse or is out of bounds.
    InvalidArgument,
    /// No such route, or no such key at this revision.
    NotFound,
    /// The method is not offered on this route.
    MethodNotAllowed,
    /// The Host header names a machine this console does not answer for.
    HostNotAllowed,
    /// The request could come from another site's page: the console's own header or origin is missing.
    Forbidden,
    /// Nobody is signed in, or the session has ended.
    SignInRequired,
    /// Name and password do not go together.
    WrongCredentials,
    /// Too many wrong passwords; the Retry-After header tells when to try again.
    TooManyAttempts,
    /// The set-up link was used, has expired, or is not needed any more.
    LinkUnusable,
    /// The body is larger than anything this route takes.
    TooLarge,
    /// The body is not declared as JSON.
    NotJson,
    /// The revision asked for has been compacted.
    Compacted,
    /// The revision asked for is in the future.
    FutureRevision,
    /// The member cannot answer now: no leader, too busy, or stopping.
    Unavailable,
    /// Something broke on the server; its log has the request id.
    Internal,
}

/// The body of every response that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// Finds the request in the server's log; also in the `x-request-id` header.
    pub request_id: String,
}
