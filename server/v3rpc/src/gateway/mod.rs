//! The JSON gateway: etcd's RPCs for whoever speaks HTTP and JSON (ETCD.md §1.4).
//!
//! A request is turned into a call of our own gRPC service over a connection inside the process ([`inner`]), so that it
//! passes the same checks and counters as any other; what is here is a transcoder and a small gRPC client. gRPC itself
//! never comes by. All calls of the gateway together count as one connection against `max-concurrent-streams`.

mod access;
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
use kvorum_member::{Budget, REPLY_FREE_BYTES};
use tokio::sync::Semaphore;

pub use access::Access;
pub(crate) use http2::respond_http2;
pub(crate) use incoming::RequestBody;
pub(crate) use reply::ReplyBody;

use crate::{
    connection::Entry,
    context::IoContext,
    error::{Code, Status},
    options::{Options, Scope},
};
use incoming::Incoming;
use metadata::{Call, Origin};
use routes::{Kind, Route};

/// What a large answer takes for each byte of its message: the message, and the JSON while its buffer grows.
const ANSWER_SHARE: usize = 4;

/// How long a large answer waits for its turn.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of request bodies that may wait for their end, of all gateway calls together.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the gateways of all I/O threads share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Calls that may be open at once.
    places: Arc<Semaphore>,
    /// Bytes of bodies that may wait.
    waiting: Arc<Semaphore>,
    /// For large answers, whole in memory as messages and as JSON. Apart from what the calls inside take for the same
    /// answers: these wait for their readers, which are here, so one must not wait for the other.
    answers: Arc<Budget>,
}

impl Shared {
    /// Large answers may take `answer_bytes`.
    pub(crate) fn new(options: &Options, answer_bytes: usize) -> Self {
        let places = usize::try_from(options.max_concurrent_streams).unwrap_or(usize::MAX);
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
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
}

impl Gateway {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            connection: RefCell::new(None),
        }
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
/// server/embed/serve.go)
fn is_mistaken(cx: &IoContext, entry: &Entry, request: &Request<()>) -> bool {
    cx.options.certificate_users
        && cx.options.access.gateway
        && entry.peer.user().is_some()
        && matches!(gateway_path(request.uri()), Some(Place::Inside(_)))
        && cx.handle.is_auth_enabled()
}

async fn plain(cx: &IoContext, entry: &Entry, request: &Request<()>) -> Response<ReplyBody> {
    let answer = cx.endpoints.respond(entry.scope, request).await;
    answer.map(ReplyBody::whole)
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
    match Call::read(headers) {
        Ok(call) => {
            let Origin { share, from } = origin.clone();
            let share = Some(share);
            forward(
                cx,
                route,
                Call {
                    share,
                    from,
                    ..call
                },
                body,
            )
            .await
        }
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
    let incoming = Incoming::new(body, cx);
    match route.kind {
        Kind::Unary => unary::serve(cx, route, call, incoming).await,
        Kind::ServerStream => stream::serve_one_request(cx, route, call, incoming).await,
        Kind::BothStreams => stream::serve(cx, route, call, incoming).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
