//! The JSON gateway: etcd's RPCs for whoever speaks HTTP and JSON (ETCD.md §1.4).
//!
//! A request is turned into a call of our own gRPC service over a connection inside the process ([`inner`]), so that it
//! passes the same checks and counters as any other; what is here is a transcoder and a small gRPC client. gRPC itself
//! never comes by. All calls of one client through the gateway count as one connection against `max-concurrent-streams`,
//! and each against its client's share, like any other ([`callers`]).

mod access;
mod callers;
mod http2;
mod incoming;
mod inner;
mod metadata;
mod reply;
mod routes;
mod stream;
pub mod transcode;
mod unary;
mod websocket;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use kvorum_member::{Budget, REPLY_FREE_BYTES};
use tokio::{sync::Semaphore, time::timeout};

pub use access::Access;
pub(crate) use http2::respond_http2;
pub(crate) use incoming::{RequestBody, value_bytes_max};
pub(crate) use reply::ReplyBody;

use crate::{
    connection::Entry,
    context::IoContext,
    error::{Code, Status},
    options::Scope,
    peer::Peer,
    shares::{Client, Load, Share},
};
use callers::Callers;
use incoming::Incoming;
use metadata::{Call, Origin};
use routes::{Kind, Route};

/// The page that costs most.
const METRICS: &str = "/metrics";

/// What a large answer takes for each byte of its message: the message, and the JSON while its buffer grows.
const ANSWER_SHARE: usize = 4;

/// How long a large answer waits for its turn.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of request bodies that may wait for their end, of all gateway calls together. One client has a quarter.
pub(crate) const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The path that a name and a password are sent to.
const AUTHENTICATE: &str = "/v3/auth/authenticate";

/// What is read of a request that is refused, and for how long.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What the gateways of all I/O threads share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Bytes of bodies that may wait.
    waiting: Arc<Semaphore>,
    /// For large answers, whole in memory as messages and as JSON. Apart from what the calls inside take for the same
    /// answers: these wait for their readers, which are here, so one must not wait for the other.
    answers: Arc<Budget>,
}

impl Shared {
    /// Large answers may take `answer_bytes`.
    pub(crate) fn new(answer_bytes: usize) -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            answers: Budget::new(answer_bytes, REPLY_FREE_BYTES, ANSWER_PATIENCE),
        }
    }
}

/// The gateway of one I/O thread.
pub(crate) struct Gateway {
    shared: Shared,
    /// The connection to our own gRPC service, made when it is first needed.
    connection: RefCell<Option<SendRequest<Bytes>>>,
    callers: Callers,
}

impl Gateway {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            connection: RefCell::new(None),
            callers: Callers::default(),
        }
    }

    /// What a call counts against that has come through here.
    pub(crate) fn share_of(&self, headers: &HeaderMap) -> Result<Arc<Share>, Status> {
        self.callers.share_of(headers)
    }
}

/// Answers any HTTP request that is not gRPC: checks where it comes from, then the gateway or the plain endpoints.
pub(crate) async fn respond(
    cx: &Rc<IoContext>,
    entry: &Entry,
    mut request: Request<()>,
    body: RequestBody,
) -> Response<ReplyBody> {
    if entry.scope == Scope::Metrics {
        return plain(cx, entry, &request).await;
    }
    if let Err(refused) = cx.guests.accept(&entry.peer) {
        return reply::error(&refused);
    }
    let access = &cx.options.access;
    if let (false, Some(refusal)) = (entry.secure, access.refuse_host(&request)) {
        return refusal;
    }
    if is_mistaken(cx, entry, &request) {
        drain(body).await;
        return access::refuse_common_name();
    }
    let cors = access.cors(request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(ReplyBody::empty())
    } else {
        match gateway_path(request.uri()).filter(|_| access.gateway) {
            None => plain(cx, entry, &request).await,
            Some(Place::Moved(to)) => moved(to),
            Some(Place::Inside(path)) => {
                call(cx, &Origin::of(entry), path, &mut request, body).await
            }
        }
    };
    if let Some(cors) = cors {
        response.headers_mut().extend(cors);
    }
    response
}

/// A client whose certificate names a user may think that it is known by that here. (etcd: accessController in
/// server/embed/serve.go) Whoever shows a token, or is about to say a password, does not: the certificate only opens the
/// connection then, as certificates of the cluster's own all name somebody.
fn is_mistaken(cx: &IoContext, entry: &Entry, request: &Request<()>) -> bool {
    cx.options.certificate_users
        && cx.options.access.gateway
        && entry.peer.user().is_some()
        && !request.headers().contains_key(header::AUTHORIZATION)
        && matches!(gateway_path(request.uri()), Some(Place::Inside(path)) if path != AUTHENTICATE)
        && cx.handle.is_auth_enabled()
}

/// Reads what belongs to a request that is refused: over HTTP/2 a caller who still sends it may otherwise hear of a broken
/// stream, and not why.
async fn drain(mut body: RequestBody) {
    let mut left = DRAINED_BYTES_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(length);
            if left == 0 {
                return;
            }
        }
    };
    // Who goes on for longer has heard enough.
    let _ = timeout(DRAIN_TIME, reading).await;
}

/// Answers what is no call, each address in its turn: what these pages cost is not nothing, and who looks at them is not
/// known.
async fn plain(cx: &IoContext, entry: &Entry, request: &Request<()>) -> Response<ReplyBody> {
    let shares = match request.uri().path() {
        METRICS => &cx.crowd.scrapers,
        _ => &cx.crowd.probes,
    };
    let share = entry
        .from
        .map(|from| shares.of(Client::of(&Peer::Unknown, from)));
    let load = Load {
        budget: &cx.receiving.budget,
        bytes: 0,
        hold: None,
    };
    let place = match &share {
        None => None,
        Some(share) => match share.enter_own(load).await {
            Ok(place) => Some(place),
            Err(_) => return crowded(),
        },
    };
    let answer = cx.endpoints.respond(entry, request, place).await;
    answer.map(ReplyBody::whole)
}

fn crowded() -> Response<ReplyBody> {
    let text =
        "kvorum: too many requests from this address wait for this page already: ask less often\n";
    let mut response = Response::new(ReplyBody::whole(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// Where a path of the gateway leads.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Inside(String),
    Moved(&'static str),
}

/// `/v3beta/` is an old name of `/v3/`.
fn gateway_path(uri: &Uri) -> Option<Place> {
    let path = uri.path();
    if path == "/v3" {
        return Some(Place::Moved("/v3/"));
    }
    let rest = path
        .strip_prefix("/v3/")
        .or_else(|| path.strip_prefix("/v3beta/"))?;
    Some(Place::Inside(format!("/v3/{rest}")))
}

fn moved(to: &'static str) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

/// Serves a request for a path under `/v3/`.
async fn call(
    cx: &Rc<IoContext>,
    origin: &Origin,
    path: String,
    request: &mut Request<()>,
    body: RequestBody,
) -> Response<ReplyBody> {
    if websocket::is_wanted(request.headers()) {
        return websocket::upgrade(cx, origin, path, request);
    }
    if request.method() != Method::POST && routes::find(&path).is_some() {
        return reply::error(&Status::unimplemented("Method Not Allowed"));
    }
    route(cx, origin, &path, request.headers(), body).await
}

/// Makes the call that a path stands for.
async fn route(
    cx: &Rc<IoContext>,
    origin: &Origin,
    path: &str,
    headers: &HeaderMap,
    body: RequestBody,
) -> Response<ReplyBody> {
    let Some(route) = routes::find(path) else {
        return reply::error(&Status::new(Code::NotFound, "Not Found"));
    };
    match Call::read(origin, headers) {
        Ok(call) => forward(cx, route, call, body).await,
        Err(status) => reply::error(&status),
    }
}

/// Calls the RPC behind a route and answers with what it says.
async fn forward(
    cx: &Rc<IoContext>,
    route: &'static Route,
    call: Call,
    body: RequestBody,
) -> Response<ReplyBody> {
    let incoming = Incoming::new(body, cx, &call.share);
    match route.kind {
        Kind::Unary => unary::serve(cx, route, call, incoming).await,
        Kind::ServerStream => stream::serve_one_request(cx, route, call, incoming).await,
        Kind::BothStreams => stream::serve(cx, route, call, incoming).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_is_not_wanted_is_read_for_a_while_only() {
        use http_body_util::{Full, StreamBody};
        use hyper::body::Frame;
        let whole = Full::new(Bytes::from_static(b"{}"));
        drain(Box::pin(whole.map_err(|never| match never {}))).await;
        let piece = || Ok(Frame::data(Bytes::from_static(&[b' '; 4096])));
        let endless = futures_util::stream::repeat_with(piece);
        drain(Box::pin(StreamBody::new(endless))).await;
        let silent = futures_util::stream::pending();
        let begin = tokio::time::Instant::now();
        drain(Box::pin(StreamBody::new(silent))).await;
        assert!(begin.elapsed() >= DRAIN_TIME);
    }

    #[test]
    fn the_old_name_of_a_path_still_leads_there() {
        let place = |path| gateway_path(&Uri::from_static(path));
        let range = Some(Place::Inside("/v3/kv/range".to_owned()));
        assert_eq!(place("/v3/kv/range"), range);
        assert_eq!(place("/v3beta/kv/range"), range);
        assert_eq!(place("/v3/"), Some(Place::Inside("/v3/".to_owned())));
        assert_eq!(place("/v3"), Some(Place::Moved("/v3/")));
        assert_eq!(place("/v3alpha/kv/range"), None);
        assert_eq!(place("/health"), None);
    }
}
