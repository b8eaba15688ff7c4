//! What every request passes and every response carries: host check, request id, security headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use kvorum_api::ErrorCode;

use crate::AdminOptions;
use crate::error::ApiError;

/// Own scripts, styles and connections only; the one concession is compiling the console's WebAssembly.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";
const REQUEST_ID: &str = "x-request-id";

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

/// Puts the guard around all routes.
pub(crate) fn protect(router: Router, hosts: Hosts) -> Router {
    router.layer(from_fn_with_state(Arc::new(hosts), pass))
}

async fn pass(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let id = format!(
        "{:016x}",
        hosts.next_request.fetch_add(1, Ordering::Relaxed)
    );
    let path = request.uri().path().to_owned();
    let mut response = match admit(&hosts, &request) {
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

/// Refuses what another site's page could send.
fn admit(hosts: &Hosts, request: &Request) -> Result<(), ApiError> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (first, second) = (named.next(), named.next());
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| first?.to_str().ok())
        .unwrap_or_default();
    if second.is_some() || !hosts.allow(authority) {
        let host = host_of(authority).unwrap_or(authority);
        return Err(ApiError::new(
            ErrorCode::HostNotAllowed,
            format!(
                "this console does not answer for host {host:?}; add it to the console's host names"
            ),
        ));
    }
    let site = request
        .headers()
        .get("sec-fetch-site")
        .map(HeaderValue::as_bytes);
    let foreign = matches!(site, Some(b"cross-site" | b"same-site"))
        || request
            .headers()
            .get_all(header::ORIGIN)
            .iter()
            .any(|origin| !is_own(hosts, origin));
    if foreign && request.uri().path().starts_with("/admin/") {
        return Err(ApiError::new(
            ErrorCode::HostNotAllowed,
            "requests from other sites are refused",
        ));
    }
    Ok(())
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
fn is_own(hosts: &Hosts, origin: &HeaderValue) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://"));
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
