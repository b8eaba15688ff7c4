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
use crate::PublicCertificate;
use crate::error::ApiError;
use crate::login::{Gate, is_json};
use crate::peer::Peer;
use crate::rules::{self, Verdict};

/// Own scripts, styles and connections only; the one concession is compiling the console's WebAssembly.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";
/// For names with a public certificate only: elsewhere it would keep people out who have not installed the cluster's
/// authority, and it binds every port of the host.
const STRICT_TRANSPORT: &str = "max-age=2592000";
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
        let public = options.public.iter().flat_map(|public| &public.names);
        let names = options.host_names.iter().chain(public);
        Self {
            names: names.map(|name| name.to_ascii_lowercase()).collect(),
            addresses: options.listen_addresses.clone(),
            // Ids of two lives of the process do not meet: a life starts fewer requests than it has nanoseconds.
            next_request: AtomicU64::new(now.as_nanos() as u64),
        }
    }

    /// True if `authority` (`host` or `host:port`) names this console. Who came to an address may name it: no other site
    /// can make a browser believe that an address is its own.
    pub(crate) fn allow(&self, authority: &str, reached: Option<IpAddr>) -> bool {
        let Some(host) = host_of(authority) else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            let reached = reached.map(|reached| reached.to_canonical());
            return address.is_loopback()
                || self.addresses.contains(&address)
                || reached == Some(address.to_canonical());
        }
        let host = host.strip_suffix('.').unwrap_or(&host);
        host == "localhost" || self.names.iter().any(|name| covers(name, host))
    }
}

/// True if a name of a certificate, which may begin with `*.`, is for this host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

/// What stands before all routes.
struct Guard {
    hosts: Hosts,
    gate: Arc<Gate>,
    https: bool,
    public: Option<PublicCertificate>,
}

/// Puts the guard around all routes.
pub(crate) fn protect(router: Router, gate: Arc<Gate>, options: AdminOptions) -> Router {
    let guard = Guard {
        hosts: Hosts::new(&options),
        gate,
        https: options.https,
        public: options.public,
    };
    router.layer(from_fn_with_state(Arc::new(guard), pass))
}

async fn pass(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let id = format!(
        "{:016x}",
        guard.hosts.next_request.fetch_add(1, Ordering::Relaxed)
    );
    let path = request.uri().path().to_owned();
    let strict = guard.is_public(request.headers());
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
    if strict {
        let strict = HeaderValue::from_static(STRICT_TRANSPORT);
        response
            .headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, strict);
    }
    response
}

impl Guard {
    /// Refuses what another site's page could send, and whoever must sign in first. What is let in says who calls.
    fn admit(&self, request: &mut Request) -> Result<(), ApiError> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.unwrap_or_default();
        let authority = self.host(request, &peer)?;
        let path = request.uri().path();
        if path != "/admin" && !path.starts_with("/admin/") {
            return of_the_page(request.method());
        }
        if self.is_foreign(request.headers(), &peer) {
            return Err(ApiError::new(
                ErrorCode::HostNotAllowed,
                "requests from other sites are refused",
            ));
        }
        let caller = self.gate.caller(request.headers(), &peer);
        match rules::judge(request.method(), path, &caller) {
            Verdict::Pass => {}
            Verdict::SignInFirst => {
                return Err(ApiError::new(ErrorCode::SignInRequired, "sign in first"));
            }
            Verdict::LoginIsOff => {
                return Err(ApiError::new(
                    ErrorCode::Forbidden,
                    "this console has no login, and only somebody with a name may change the authority: turn the login \
                     on (--console-login required), or use the kvorum command on the member's machine",
                ));
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

    /// True where a browser may be told to come back by HTTPS only.
    fn is_public(&self, headers: &HeaderMap) -> bool {
        let Some(public) = self.public.as_ref().filter(|_| self.https) else {
            return false;
        };
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.and_then(host_of).unwrap_or_default();
        let mut names = public.names.iter();
        names.any(|name| name.eq_ignore_ascii_case(host)) && public.is_shown()
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https://" } else { "http://" }
    }

    /// The host that a request names; it must be this console.
    fn host(&self, request: &Request, peer: &Peer) -> Result<String, ApiError> {
        let mut named = request.headers().get_all(header::HOST).iter();
        let (first, second) = (named.next(), named.next());
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| first?.to_str().ok())
            .unwrap_or_default();
        if second.is_some() || !self.hosts.allow(authority, peer.reached) {
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

    /// True if a browser marks the request as another site's.
    fn is_foreign(&self, headers: &HeaderMap, peer: &Peer) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let is_own = |origin: &HeaderValue| {
            let origin = origin.to_str().ok();
            let authority = origin.and_then(|origin| origin.strip_prefix(self.scheme()));
            authority.is_some_and(|authority| self.hosts.allow(authority, peer.reached))
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        matches!(site, Some(b"cross-site" | b"same-site")) || origins.any(|origin| !is_own(origin))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_certificate_and_the_address_that_was_reached_are_this_console() {
        let options = AdminOptions {
            host_names: vec!["Node1.example".into(), "*.wild.example".into()],
            ..AdminOptions::default()
        };
        let hosts = Hosts::new(&options);
        let reached = Some("::ffff:192.0.2.7".parse().expect("an address"));
        for (host, allowed) in [
            ("node1.example", true),
            ("NODE1.EXAMPLE.:2382", true),
            ("a.wild.example", true),
            ("wild.example", false),
            ("a.b.wild.example", false),
            (".wild.example", false),
            ("192.0.2.7:2382", true),
            ("192.0.2.8", false),
            ("[::ffff:192.0.2.7]", true),
            ("127.0.0.1", true),
        ] {
            assert_eq!(hosts.allow(host, reached), allowed, "{host}");
        }
        assert!(!hosts.allow("192.0.2.7", None));
    }
}
