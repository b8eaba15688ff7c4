//! Websockets on the paths of the gateway: each message is one JSON message, in both directions, and the method is
//! taken for POST.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use futures_util::{
    sink::SinkExt as _,
    stream::{self, StreamExt as _},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::Frame,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{incoming, metadata::Origin, reply::ReplyBody};
use crate::context::IoContext;

/// The only version there is.
const VERSION: &str = "13";
/// What a token stands behind in the list of protocols, the one header that a browser's script can set.
const BEARER: &str = "Bearer";

/// The caller wants to change to the websocket protocol.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    names(headers, header::CONNECTION.as_str(), "upgrade")
        && names(headers, header::UPGRADE.as_str(), "websocket")
}

fn names(headers: &HeaderMap, name: &str, wanted: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    })
}

/// Agrees to it, or says why not.
pub(super) fn upgrade(
    cx: &Rc<IoContext>,
    origin: &Origin,
    path: String,
    request: &mut Request<()>,
) -> Response<ReplyBody> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.and_then(|accept| HeaderValue::try_from(accept).ok());
    let (Some(accept), true) = (
        accept,
        names(headers, header::SEC_WEBSOCKET_VERSION.as_str(), VERSION),
    ) else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
    let token = token(headers);
    let upgraded = hyper::upgrade::on(request);
    let conversation = converse(Rc::clone(cx), origin.clone(), path, token, upgraded);
    let mut response = Response::new(ReplyBody::Upgrade(Box::pin(conversation)));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if protocols.is_some_and(|protocols| protocols.as_bytes().starts_with(BEARER.as_bytes())) {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(BEARER),
        );
    }
    response
}

fn refuse(status: StatusCode) -> Response<ReplyBody> {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(ReplyBody::whole(format!("{text}\n").into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static(VERSION),
    );
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// What stands for `Authorization`: the cookie named `token`, else what follows `Bearer,` in the list of protocols.
fn token(headers: &HeaderMap) -> Option<HeaderValue> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let cookies = text(header::COOKIE).unwrap_or_default();
    let cookie = cookies
        .split(';')
        .find_map(|cookie| cookie.trim().strip_prefix("token="));
    let protocols = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let listed = protocols
        .split_once("Bearer,")
        .map(|(_, token)| token.trim());
    HeaderValue::try_from(format!("Bearer {}", cookie.or(listed)?)).ok()
}

/// Runs the call for as long as both sides like.
async fn converse(
    cx: Rc<IoContext>,
    origin: Origin,
    path: String,
    token: Option<HeaderValue>,
    upgraded: OnUpgrade,
) {
    let socket = match upgraded.await {
        Ok(socket) => TokioIo::new(socket),
        Err(error) => {
            tracing::debug!(%error, "a websocket did not come about");
            return;
        }
    };
    let message_bytes_max = incoming::value_bytes_max(cx.options.message_bytes_max());
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let mut headers = HeaderMap::new();
    headers.extend(token.map(|token| (header::AUTHORIZATION, token)));
    let (mut sink, mut source) = socket.split();
    let (said, hear) = mpsc::channel(1);
    let hearing = async {
        while let Some(Ok(message)) = source.next().await {
            let mut text = BytesMut::from(
                &match message {
                    Message::Text(text) => text.into(),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => break,
                    _ => continue,
                }[..],
            );
            text.extend_from_slice(b"\n");
            // Once the call takes nothing more, what is said goes nowhere; that it ends is still of interest.
            let _ = said.send(text.freeze()).await;
        }
    };
    let answering = answer(&cx, &origin, &path, &headers, hear, &mut sink);
    tokio::select! {
        () = hearing => {}
        () = answering => {}
    }
    // The caller may be gone already.
    let _ = sink.close().await;
}

type Sink = stream::SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>;

/// Makes the call and sends each line of its answer.
async fn answer(
    cx: &Rc<IoContext>,
    origin: &Origin,
    path: &str,
    headers: &HeaderMap,
    hear: mpsc::Receiver<Bytes>,
    sink: &mut Sink,
) {
    let pieces = stream::unfold(hear, |mut hear| async {
        let text = hear.recv().await?;
        Some((Ok(Frame::data(text)), hear))
    });
    let body = Box::pin(StreamBody::new(pieces));
    let mut answer = super::route(cx, origin, path, headers, body)
        .await
        .into_body();
    while let Some(Ok(frame)) = answer.frame().await {
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        // Each piece is whole lines, in UTF-8.
        for line in piece.split(|byte| *byte == b'\n') {
            let Ok(text) = Utf8Bytes::try_from(piece.slice_ref(line)) else {
                return;
            };
            if !text.is_empty() && sink.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_who_asks_for_both_wants_a_websocket() {
        let both = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ];
        assert!(is_wanted(&headers(&both)));
        assert!(!is_wanted(&headers(&both[..1])));
        assert!(!is_wanted(&headers(&both[1..])));
        assert!(!is_wanted(&headers(&[
            ("connection", "upgrade"),
            ("upgrade", "h2c")
        ])));
    }

    #[test]
    fn a_token_comes_in_a_cookie_or_as_a_protocol() {
        let listed = ("sec-websocket-protocol", "Bearer, abc");
        let cookie = ("cookie", "a=b; token=xyz");
        assert_eq!(token(&headers(&[listed])).expect("listed"), "Bearer abc");
        assert_eq!(
            token(&headers(&[cookie, listed])).expect("a cookie"),
            "Bearer xyz"
        );
        assert_eq!(token(&headers(&[("sec-websocket-protocol", "chat")])), None);
    }
}
