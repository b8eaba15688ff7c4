//! The HTTP endpoints beside gRPC: health, version and metrics, in etcd's formats (ETCD.md §5.1, 5.2).

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use kvorum_member::Handle;
use kvorum_proto::etcdserverpb::{AlarmMember, AlarmType, RangeRequest};
use metrics::{counter, gauge};

use crate::{
    error::Status,
    version::{CLUSTER_VERSION, SERVER_VERSION, STORAGE_VERSION},
};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers GET requests of probes, scrapers and people. Cheap to clone.
#[derive(Clone)]
pub struct HttpEndpoints {
    handle: Handle,
    render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for HttpEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoints").finish_non_exhaustive()
    }
}

/// A probe of the Kubernetes kind and the checks it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    name: &'static str,
    checks: &'static [Check],
}

/// One thing a probe looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

const LIVEZ: Probe = Probe {
    name: "livez",
    checks: &[Check::SerializableRead],
};
const READYZ: Probe = Probe {
    name: "readyz",
    checks: &[
        Check::DataCorruption,
        Check::SerializableRead,
        Check::LinearizableRead,
        Check::NonLearner,
    ],
};

impl HttpEndpoints {
    /// Endpoints of one member.
    pub fn new(handle: Handle, render_metrics: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        Self {
            handle,
            render_metrics,
        }
    }

    /// Answers one request. Request bodies are not looked at.
    pub async fn respond(&self, method: &Method, uri: &Uri) -> Response<Bytes> {
        let path = uri.path();
        let query = uri.query().unwrap_or_default();
        let probe = [LIVEZ, READYZ]
            .into_iter()
            .find_map(|probe| select(probe, path, query));
        let known = probe.is_some() || matches!(path, "/health" | "/version" | "/metrics");
        if !known {
            return go_error(StatusCode::NOT_FOUND, "404 page not found");
        }
        if method != Method::GET {
            return method_not_allowed();
        }
        match (probe, path) {
            (Some((probe, checks)), _) => {
                let verbose = params(query).any(|(name, _)| name == "verbose");
                self.probe(probe, &checks, verbose).await
            }
            (None, "/health") => self.health(query).await,
            (None, "/version") => self.version(),
            (None, _) => text(StatusCode::OK, PROMETHEUS_TEXT, (self.render_metrics)()),
        }
    }

    async fn probe(&self, probe: Probe, checks: &[Check], verbose: bool) -> Response<Bytes> {
        let mut details = String::new();
        let mut healthy = true;
        for check in checks {
            let name = check.name();
            let outcome = self.check(*check).await;
            count_check(probe.name, name, outcome.is_ok());
            match outcome {
                Ok(()) => details.push_str(&format!("[+]{name} ok\n")),
                Err(reason) => {
                    healthy = false;
                    details.push_str(&format!("[-]{name} failed: {reason}\n"));
                }
            }
        }
        if !healthy {
            tracing::error!(probe = probe.name, details, "health check failed");
            return go_error(StatusCode::SERVICE_UNAVAILABLE, &details);
        }
        let body = if verbose {
            details + "ok\n"
        } else {
            "ok\n".to_owned()
        };
        let mut response = text(StatusCode::OK, PLAIN_TEXT, body);
        response
            .headers_mut()
            .insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        response
    }

    async fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::DataCorruption => {
                let alarms = self.handle.status().alarms;
                match alarms
                    .iter()
                    .any(|alarm| alarm.alarm() == AlarmType::Corrupt)
                {
                    true => Err("alarm activated: CORRUPT".to_owned()),
                    false => Ok(()),
                }
            }
            Check::SerializableRead => self.read(true).await,
            Check::LinearizableRead => self.read(false).await,
            // Every member votes until learners exist.
            Check::NonLearner => Ok(()),
        }
    }

    /// Looks for one key; that there is none does not matter.
    async fn read(&self, serializable: bool) -> Result<(), String> {
        let request = RangeRequest {
            key: Bytes::from_static(&[0]),
            limit: 1,
            keys_only: true,
            serializable,
            ..Default::default()
        };
        match self.handle.range(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Status::from(error).message.into_owned()),
        }
    }

    async fn health(&self, query: &str) -> Response<Bytes> {
        let reason = self.sickness(query).await;
        if reason.is_empty() {
            counter!("etcd_server_health_success").increment(1);
            return text(StatusCode::OK, PLAIN_TEXT, health_json(true, ""));
        }
        counter!("etcd_server_health_failures").increment(1);
        go_error(
            StatusCode::SERVICE_UNAVAILABLE,
            &health_json(false, &reason),
        )
    }

    /// Why /health fails; empty if it does not.
    async fn sickness(&self, query: &str) -> String {
        let status = self.handle.status();
        let excluded = |alarm: &AlarmMember| {
            params(query).any(|(name, value)| name == "exclude" && value == alarm_name(alarm))
        };
        if let Some(alarm) = status.alarms.iter().find(|alarm| !excluded(alarm)) {
            return format!("ALARM {}", alarm_name(alarm));
        }
        let serializable = params(query).any(|pair| pair == ("serializable", "true"));
        if !serializable && status.leader == 0 {
            return "RAFT NO LEADER".to_owned();
        }
        match self.read(serializable).await {
            Ok(()) => String::new(),
            Err(error) => format!("RANGE ERROR:{error}"),
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

fn alarm_name(alarm: &AlarmMember) -> &'static str {
    match alarm.alarm() {
        AlarmType::Nospace => "NOSPACE",
        AlarmType::Corrupt => "CORRUPT",
        AlarmType::None => "UNKNOWN",
    }
}

/// The checks that `path` asks of `probe`: all but the excluded ones, or one by its own path.
fn select(probe: Probe, path: &str, query: &str) -> Option<(Probe, Vec<Check>)> {
    let rest = path.strip_prefix('/')?.strip_prefix(probe.name)?;
    if rest.is_empty() {
        let excluded = |check: &Check| params(query).any(|pair| pair == ("exclude", check.name()));
        let checks = probe
            .checks
            .iter()
            .copied()
            .filter(|check| !excluded(check));
        return Some((probe, checks.collect()));
    }
    let name = rest.strip_prefix('/')?;
    let check = probe
        .checks
        .iter()
        .copied()
        .find(|check| check.name() == name)?;
    Some((probe, vec![check]))
}

fn params(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn count_check(probe: &'static str, name: &'static str, ok: bool) {
    gauge!("etcd_server_healthcheck", "name" => name, "type" => probe).set(f64::from(u8::from(ok)));
    let status = if ok { "success" } else { "error" };
    counter!(
        "etcd_server_healthchecks_total",
        "name" => name, "status" => status, "type" => probe
    )
    .increment(1);
}

fn health_json(healthy: bool, reason: &str) -> String {
    let mut escaped = String::with_capacity(reason.len());
    for letter in reason.chars() {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            control if control.is_control() => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => escaped.push(other),
        }
    }
    format!(r#"{{"health":"{healthy}","reason":"{escaped}"}}"#)
}

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

fn text(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
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

    fn checks(probe: Probe, target: &'static str) -> Option<Vec<&'static str>> {
        let uri = Uri::from_static(target);
        let (_, checks) = select(probe, uri.path(), uri.query().unwrap_or_default())?;
        Some(checks.into_iter().map(Check::name).collect())
    }

    #[test]
    fn probes_run_what_the_path_and_query_ask() {
        let all = [
            "data_corruption",
            "serializable_read",
            "linearizable_read",
            "non_learner",
        ];
        assert_eq!(checks(READYZ, "/readyz").expect("known"), all);
        assert_eq!(checks(READYZ, "/readyz?verbose").expect("known"), all);
        assert_eq!(
            checks(
                READYZ,
                "/readyz?exclude=non_learner&exclude=data_corruption&exclude=x"
            )
            .expect("known"),
            ["serializable_read", "linearizable_read"]
        );
        assert_eq!(
            checks(READYZ, "/readyz/linearizable_read").expect("known"),
            ["linearizable_read"]
        );
        assert_eq!(
            checks(LIVEZ, "/livez").expect("known"),
            ["serializable_read"]
        );
        assert_eq!(checks(LIVEZ, "/livez/linearizable_read"), None);
        assert_eq!(checks(READYZ, "/readyzz"), None);
        assert_eq!(checks(READYZ, "/health"), None);
    }

    #[test]
    fn health_is_etcds_json() {
        assert_eq!(health_json(true, ""), r#"{"health":"true","reason":""}"#);
        assert_eq!(
            health_json(false, "RANGE ERROR:\"x\"\n"),
            r#"{"health":"false","reason":"RANGE ERROR:\"x\"\u000a"}"#
        );
    }

    #[test]
    fn errors_look_like_gos() {
        let response = method_not_allowed();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");
        assert_eq!(response.body(), "Method Not Allowed\n");
    }
}
