//! Answers in HTTP: bodies, the status of each gRPC code, errors as JSON.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::LocalBoxFuture,
    stream::{self, LocalBoxStream},
};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use kvorum_member::Hold;

use super::transcode;
use crate::error::{Code, Status};

/// What HTTP gets at once of a large answer.
const PIECE_BYTES: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// Piece by piece. To drop it is to cancel the call behind it.
    Pieces(LocalBoxStream<'static, Bytes>),
    /// Nothing more in HTTP: what is to be run on the connection once it has changed its protocol.
    Upgrade(LocalBoxFuture<'static, ()>),
}

impl ReplyBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) const fn empty() -> Self {
        Self::Whole(None)
    }

    /// Takes out what is to be run after HTTP.
    pub(crate) fn take_upgrade(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        match std::mem::replace(self, Self::empty()) {
            Self::Upgrade(run) => Some(run),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Pieces(pieces) => pieces.as_mut().poll_next(task),
            Self::Upgrade(_) => Poll::Ready(None),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pieces(_) | Self::Upgrade(_) => SizeHint::default(),
        }
    }
}

/// The HTTP status of a gRPC code.
pub(super) fn http_status(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        // Nobody is there to read it; logs name it so.
        Code::Canceled => 499,
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer of a call with one message. What a large one holds is given back as it leaves.
pub(super) fn message(json: Bytes, hold: Hold) -> Response<ReplyBody> {
    let body = if hold.is_large() {
        let rest = stream::unfold((json, hold), |(mut json, hold)| async {
            let piece = json.split_to(json.len().min(PIECE_BYTES));
            (!piece.is_empty()).then_some((piece, (json, hold)))
        });
        ReplyBody::Pieces(rest.boxed_local())
    } else {
        ReplyBody::whole(json)
    };
    let mut response = json_response(StatusCode::OK, body);
    mark_answered(&mut response);
    response
}

/// The answer of a call that failed.
pub(super) fn error(status: &Status) -> Response<ReplyBody> {
    let body = ReplyBody::whole(error_json(status).into());
    let mut response = json_response(http_status(status.code), body);
    if status.code == Code::Unauthenticated
        && let Ok(text) = HeaderValue::from_str(&status.message)
    {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, text);
    }
    response
}

/// The answer of a call whose first message, or failure, is here and more may follow.
pub(super) fn pieces(
    status: StatusCode,
    pieces: LocalBoxStream<'static, Bytes>,
) -> Response<ReplyBody> {
    json_response(status, ReplyBody::Pieces(pieces))
}

/// The answer of a stream that ends without a word.
pub(super) fn silence() -> Response<ReplyBody> {
    Response::new(ReplyBody::Pieces(Box::pin(futures_util::stream::empty())))
}

/// What the gateway passes on of the head of a gRPC answer.
pub(super) fn mark_answered(response: &mut Response<ReplyBody>) {
    response.headers_mut().insert(
        "grpc-metadata-content-type",
        HeaderValue::from_static("application/grpc"),
    );
}

fn json_response(status: StatusCode, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A refusal as JSON.
pub(super) fn error_json(status: &Status) -> Vec<u8> {
    let mut json = format!("{{\"code\":{}", status.code.digits()).into_bytes();
    if !status.message.is_empty() {
        json.extend_from_slice(b",\"message\":");
        transcode::quote(&status.message, &mut json);
    }
    json.push(b'}');
    json
}

/// One line of a stream: `{"result":…}` or `{"error":…}`. Go escapes there what could be read as HTML.
pub(super) fn line(name: &str, json: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(json.len() + name.len() + 8);
    line.extend_from_slice(format!("{{\"{name}\":").as_bytes());
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| {
        // 0xe2 starts the two separators of lines and paragraphs, among others.
        matches!(byte, b'<' | b'>' | b'&' | 0xe2)
    }) {
        let (plain, special) = rest.split_at(at);
        line.extend_from_slice(plain);
        let (escaped, length): (&[u8], usize) = match special {
            [b'<', ..] => (b"\\u003c", 1),
            [b'>', ..] => (b"\\u003e", 1),
            [b'&', ..] => (b"\\u0026", 1),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => (special.get(..1).unwrap_or_default(), 1),
        };
        line.extend_from_slice(escaped);
        rest = special.get(length..).unwrap_or_default();
    }
    line.extend_from_slice(rest);
    line.extend_from_slice(b"}\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_etcds_http_statuses() {
        let statuses: Vec<u16> = Code::ALL
            .into_iter()
            .map(|code| http_status(code).as_u16())
            .collect();
        assert_eq!(
            statuses,
            [
                200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401
            ]
        );
    }

    #[test]
    fn errors_are_compact_json() {
        let json = |status: &Status| String::from_utf8(error_json(status)).expect("text");
        let status = Status::new(Code::NotFound, "no \"such\" <thing>\n");
        assert_eq!(
            json(&status),
            r#"{"code":5,"message":"no \"such\" <thing>\n"}"#
        );
        assert_eq!(json(&Status::new(Code::Aborted, "")), r#"{"code":10}"#);
    }

    #[test]
    fn lines_are_safe_inside_html() {
        let text = "{\"a\":\"<&>\u{2028}\u{2029}\u{20ac}\"}";
        assert_eq!(
            line("result", text.as_bytes()),
            "{\"result\":{\"a\":\"\\u003c\\u0026\\u003e\\u2028\\u2029\u{20ac}\"}}\n"
        );
    }

    #[test]
    fn who_is_not_known_is_told_how_to_be() {
        let response = error(&Status::new(Code::Unauthenticated, "who"));
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "who");
    }
}
