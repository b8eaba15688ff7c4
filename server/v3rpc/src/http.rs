//! The HTTP endpoints beside gRPC: health, version, metrics and variables, in etcd's formats (ETCD.md §5.1, 5.2).

mod health;
mod scrape;
mod vars;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use kvorum_member::Handle;

use crate::{
    metrics::EdgeMetrics,
    options::Scope,
    version::{CLUSTER_VERSION, SERVER_VERSION, STORAGE_VERSION},
};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

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

    /// Answers one request. Request bodies are not looked at.
    pub(crate) async fn respond<B>(&self, scope: Scope, request: &Request<B>) -> Response<Bytes> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let reads = request.method() == Method::GET;
        // A metrics listener shows nothing that is not for probes and scrapers.
        let all = scope != Scope::Metrics;
        match path {
            // As Prometheus' library does it: with any method.
            "/metrics" => self.scrape(request.headers()).await,
            "/health" if reads => self.health(query).await,
            "/version" if all && reads => self.version(),
            "/debug/vars" if all && reads => self.vars(),
            "/health" => method_not_allowed(),
            "/version" | "/debug/vars" if all => method_not_allowed(),
            _ => match health::select(path, query) {
                Some(wanted) if reads => self.probe(wanted, query).await,
                Some(_) => method_not_allowed(),
                None => go_error(StatusCode::NOT_FOUND, "404 page not found"),
            },
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
    fn errors_look_like_gos() {
        let response = method_not_allowed();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");
        assert_eq!(response.body(), "Method Not Allowed\n");
    }
}
