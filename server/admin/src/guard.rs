//! What every request passes and every response carries: host, origin, session and rule; request id and headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use kvorum_api::ErrorCode;

use crate::AdminOptions;
use crate::error::ApiError;
use crate::login::{Gate, is_json};
use crate::peer::Peer;
use crate::rules::{self, Verdict};

/// Own scripts, styles and connections only; the one concession is compiling the console's WebAssembly.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";
const REQUEST_ID: &str = "x-request-id";
/// No form can set it, and no other site may.
const OWN_HEADER: &str = "x-kvorum";

/// The hosts this console answers for.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    next_request: AtomicU64,
}

impl Hosts {
    pub(crate) fn new(options: &AdminOptions) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            names: options
                .host_names
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            addresses: options.listen_addresses.clone(),
            // Ids of two lives of the process do not meet: a life starts fewer requests than it has nanoseconds.
            next_request: AtomicU64::new(now.as_nanos() as u64),
        }
    }

    /// True if `authority` (`host` or `host:port`) names this console.
    pub(crate) fn allow(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.is_loopback() || self.addresses.contains(&address);
        }
        let host = host.strip_suffix('.').unwrap_or(&host);
        host == "localhost" || self.names.iter().any(|name| name == host)
    }
}

/// What stands before all routes.
struct Guard {
    hosts: Hosts,
    gate: Arc<Gate>,
    https: bool,
}

/// Puts the guard around all routes.
pub(crate) fn protect(router: Router, hosts: Hosts, gate: Arc<Gate>, https: bool) -> Router {
    let guard = Guard { hosts, gate, https };
    router.layer(from_fn_with_state(Arc::new(guard), pass))
}

async fn pass(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let id = format!(
        "{:016x}",
        guard.hosts.next_request.fetch_add(1, Ordering::Relaxed)
    );
    let path = request.uri().path().to_owned();
    let mut response = match guard.admit(&mut request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.with_request_id(&id),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if matches!(error.code, ErrorCode::Internal | ErrorCode::Unavailable) {
            tracing::warn!(request_id = %id, %path, error = %error.message, "admin request failed");
        }
        response = error.with_request_id(&id);
    }
    secure(response.headers_mut(), &id);
    response
}

impl Guard {
    /// Refuses what another site's page could send, and whoever must sign in first. What is let in says who calls.
    fn admit(&self, request: &mut Request) -> Result<(), ApiError> {
        let authority = self.host(request)?;
        let path = request.uri().path();
        if path != "/admin" && !path.starts_with("/admin/") {
            return of_the_page(request.method());
        }
        if is_foreign(&self.hosts, request.headers(), self.scheme()) {
            return Err(ApiError::new(
                ErrorCode::HostNotAllowed,
                "requests from other sites are refused",
            ));
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.unwrap_or_default();
        let caller = self.gate.caller(request.headers(), &peer);
        match rules::judge(request.method(), path, &caller) {
            Verdict::Pass => {}
            Verdict::SignInFirst => {
                return Err(ApiError::new(ErrorCode::SignInRequired, "sign in first"));
            }
            Verdict::NoRoute => {
                return Err(ApiError::new(
                    ErrorCode::NotFound,
                    "no such route; the API is under /admin/v1",
                ));
            }
            Verdict::OtherMethod(method) => return Err(takes(method)),
        }
        if !request.method().is_safe() {
            self.meant(request.headers(), &authority)?;
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(caller);
        Ok(())
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https://" } else { "http://" }
    }

    /// The host that a request names; it must be this console.
    fn host(&self, request: &Request) -> Result<String, ApiError> {
        let mut named = request.headers().get_all(header::HOST).iter();
        let (first, second) = (named.next(), named.next());
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| first?.to_str().ok())
            .unwrap_or_default();
        if second.is_some() || !self.hosts.allow(authority) {
            let host = host_of(authority).unwrap_or(authority);
            return Err(ApiError::new(
                ErrorCode::HostNotAllowed,
                format!(
                    "this console does not answer for host {host:?}; add it to the console's host names"
                ),
            ));
        }
        Ok(authority.to_owned())
    }

    /// A change must come from this console's own page: with its header, which no form can set and no other site may,
    /// with its origin, and as JSON.
    fn meant(&self, headers: &HeaderMap, authority: &str) -> Result<(), ApiError> {
        let forbidden = |what: &str| Err(ApiError::new(ErrorCode::Forbidden, what));
        if headers.get(OWN_HEADER).map(HeaderValue::as_bytes) != Some(b"1") {
            return forbidden("changes need the header X-Kvorum: 1");
        }
        let own = format!("{}{authority}", self.scheme());
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, second) = (origins.next(), origins.next());
        let origin = origin.and_then(|origin| origin.to_str().ok());
        if second.is_some() || !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&own)) {
            return forbidden("changes need the header Origin with this console's own address");
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin") {
            return forbidden("changes are taken from this console's own pages only");
        }
        if !is_json(headers) {
            return Err(ApiError::new(
                ErrorCode::NotJson,
                "changes are sent as content-type: application/json",
            ));
        }
        Ok(())
    }
}

/// The page and its files hold no data: anybody may load them, and only load.
fn of_the_page(method: &Method) -> Result<(), ApiError> {
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(takes("GET"))
    }
}

fn takes(method: &str) -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!("this route takes {method} only"),
    )
}

/// True if a browser marks the request as another site's.
fn is_foreign(hosts: &Hosts, headers: &HeaderMap, scheme: &str) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let mut origins = headers.get_all(header::ORIGIN).iter();
    matches!(site, Some(b"cross-site" | b"same-site"))
        || origins.any(|origin| !is_own(hosts, origin, scheme))
}

fn secure(headers: &mut HeaderMap, request_id: &str) {
    let fixed = [
        (
            header::CONTENT_SECURITY_POLICY.as_str(),
            CONTENT_SECURITY_POLICY,
        ),
        (header::X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff"),
        (header::REFERRER_POLICY.as_str(), "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// True if a page of this console was the origin.
fn is_own(hosts: &Hosts, origin: &HeaderValue, scheme: &str) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix(scheme));
    authority.is_some_and(|authority| hosts.allow(authority))
}

/// The host part of `host`, `host:port` or `[address]:port`; none if it is anything else.
fn host_of(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let of_addresses = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let fits = if authority.starts_with('[') {
        host.bytes().all(of_addresses)
    } else {
        host.bytes().all(of_names)
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let port_fits =
        (rest.is_empty() || rest.starts_with(':')) && port.bytes().all(|b| b.is_ascii_digit());
    (fits && port_fits && !host.is_empty()).then_some(host)
}
