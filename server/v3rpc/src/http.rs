//! The HTTP endpoints beside gRPC: health, version, metrics and variables, in etcd's formats (ETCD.md §5.1, 5.2).

mod guarded;
mod health;
mod scrape;
mod vars;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use kvorum_member::Handle;

use crate::{
    connection::Entry,
    metrics::EdgeMetrics,
    options::Scope,
    rule::Rule,
    shares::OwnPlace,
    version::{CLUSTER_VERSION, SERVER_VERSION, STORAGE_VERSION},
};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// What is asked for by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Metrics,
    Health,
    Version,
    Vars,
    /// Of the Kubernetes kind; a check of its own may follow the name.
    Probe,
}

/// One endpoint.
struct Row {
    path: &'static str,
    endpoint: Endpoint,
    rule: Rule,
    /// A metrics listener has it, too: it shows nothing that is not for probes and scrapers.
    for_probes: bool,
}

const fn row(path: &'static str, endpoint: Endpoint, rule: Rule, for_probes: bool) -> Row {
    Row {
        path,
        endpoint,
        rule,
        for_probes,
    }
}

/// All endpoints. What is not here does not exist, and what is not for everybody is for nobody: but for one they do not
/// know their callers. There is nothing to debug with, such as a profile of the memory, which would show passwords.
const ROWS: &[Row] = &[
    row("/metrics", Endpoint::Metrics, Rule::Open, true),
    row("/health", Endpoint::Health, Rule::Open, true),
    row("/livez", Endpoint::Probe, Rule::Open, true),
    row("/readyz", Endpoint::Probe, Rule::Open, true),
    row("/version", Endpoint::Version, Rule::Open, false),
    // Who may see them is decided by the connection, see `guarded`.
    row("/debug/vars", Endpoint::Vars, Rule::Open, false),
];

/// The endpoint behind a path. What a metrics listener tells on loopback is for whoever has the machine.
fn find(scope: Scope, is_loopback: bool, path: &str) -> Option<Endpoint> {
    let row = ROWS.iter().find(|row| match path.strip_prefix(row.path) {
        Some("") => true,
        Some(below) => row.endpoint == Endpoint::Probe && below.starts_with('/'),
        None => false,
    })?;
    let is_machine = is_loopback && row.endpoint == Endpoint::Vars;
    let here = row.for_probes || is_machine || scope != Scope::Metrics;
    (here && row.rule == Rule::Open).then_some(row.endpoint)
}

/// Answers requests of probes, scrapers and people. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpEndpoints {
    handle: Handle,
    metrics: Arc<EdgeMetrics>,
}

impl fmt::Debug for HttpEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoints").finish_non_exhaustive()
    }
}

impl HttpEndpoints {
    /// Endpoints of one member.
    pub(crate) fn new(handle: Handle, metrics: Arc<EdgeMetrics>) -> Self {
        Self { handle, metrics }
    }

    /// Answers one request, in a place that is given back once the work is done. Request bodies are not looked at.
    pub(crate) async fn respond<B>(
        &self,
        entry: &Entry,
        request: &Request<B>,
        place: Option<OwnPlace>,
    ) -> Response<Bytes> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let reads = request.method() == Method::GET;
        let missing = || go_error(StatusCode::NOT_FOUND, "404 page not found");
        let Some(endpoint) = find(entry.scope, entry.is_loopback, path) else {
            return missing();
        };
        match endpoint {
            // As Prometheus' library does it: with any method.
            Endpoint::Metrics => self.scrape(request.headers(), place).await,
            Endpoint::Probe => match health::select(path, query) {
                Some(wanted) if reads => self.probe(wanted, query).await,
                Some(_) => method_not_allowed(),
                None => missing(),
            },
            _ if !reads => method_not_allowed(),
            Endpoint::Health => self.health(query).await,
            Endpoint::Version => self.version(),
            Endpoint::Vars if guarded::may_look(&self.handle, entry) => self.vars(),
            Endpoint::Vars => go_error(StatusCode::FORBIDDEN, guarded::REFUSED),
        }
    }

    fn version(&self) -> Response<Bytes> {
        let (cluster, storage) = if self.handle.is_capable() {
            (CLUSTER_VERSION, STORAGE_VERSION)
        } else {
            ("not_decided", "unknown")
        };
        let body = format!(
            r#"{{"etcdserver":"{SERVER_VERSION}","etcdcluster":"{cluster}","storage":"{storage}"}}"#
        );
        text(StatusCode::OK, JSON, body)
    }
}

/// The names and values of a query, decoded.
fn params(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

fn text(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// What Go's `http.Error` sends.
fn go_error(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = text(status, PLAIN_TEXT, format!("{message}\n"));
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    response
}

fn method_not_allowed() -> Response<Bytes> {
    let mut response = go_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_does_not_exist() {
        for row in ROWS {
            assert_eq!(find(Scope::Client, false, row.path), Some(row.endpoint));
            assert_eq!(find(Scope::Http, false, row.path), Some(row.endpoint));
            let scraped = find(Scope::Metrics, false, row.path);
            assert_eq!(scraped.is_some(), row.for_probes);
            let here = find(Scope::Metrics, true, row.path);
            assert_eq!(here.is_some(), row.for_probes || row.path == "/debug/vars");
        }
        assert_eq!(
            find(Scope::Metrics, false, "/readyz/serializable_read"),
            Some(Endpoint::Probe)
        );
        for path in [
            "",
            "/",
            "/health/",
            "/metrics/x",
            "/livezz",
            "/debug",
            "/debug/pprof/heap",
        ] {
            assert_eq!(find(Scope::Client, true, path), None, "{path}");
        }
    }

    #[test]
    fn errors_look_like_gos() {
        let response = method_not_allowed();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");
        assert_eq!(response.body(), "Method Not Allowed\n");
    }
}
