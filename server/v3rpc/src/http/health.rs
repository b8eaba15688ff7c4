//! Probes: `/health` as etcd has always had it, and `/livez` and `/readyz` of the Kubernetes kind.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use kvorum_member::Caller;
use kvorum_proto::etcdserverpb::{AlarmMember, AlarmType, RangeRequest};

use super::{HttpEndpoints, NO_SNIFF, PLAIN_TEXT, go_error, params, text, vars::quoted};
use crate::error::Status;

/// A probe of the Kubernetes kind and the checks it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    name: &'static str,
    checks: &'static [Check],
}

/// One thing a probe looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
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
    pub(super) async fn probe(
        &self,
        (probe, checks): (Probe, Vec<Check>),
        query: &str,
    ) -> Response<Bytes> {
        let mut details = String::new();
        let mut healthy = true;
        // etcd knows no such check, so it shows only when it fails; a check that is asked for alone stands alone.
        // What waits for that disk is not asked for then: a probe must learn the reason before it gives up.
        let mut checks = checks;
        if probe == READYZ
            && checks.len() > 1
            && let Some(reason) = self.handle.disk_trouble()
        {
            healthy = false;
            details.push_str(&format!("[-]disk failed: {reason}\n"));
            checks.retain(|check| *check != Check::LinearizableRead);
        }
        for check in checks {
            let name = check.name();
            let outcome = self.check(check).await;
            self.metrics
                .health
                .checked(probe.name, name, outcome.is_ok());
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
        let verbose = params(query).any(|(name, _)| name == "verbose");
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
            Check::NonLearner => match self.handle.is_learner() {
                true => Err("not supported for learner".to_owned()),
                false => Ok(()),
            },
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
        match self.handle.range(&Caller::own(), request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Status::from(error).message.into_owned()),
        }
    }

    pub(super) async fn health(&self, query: &str) -> Response<Bytes> {
        let reason = self.sickness(query).await;
        if reason.is_empty() {
            self.metrics.health.successes.inc();
            return text(StatusCode::OK, PLAIN_TEXT, health_json(true, ""));
        }
        self.metrics.health.failures.inc();
        tracing::warn!(reason, "/health is false");
        go_error(
            StatusCode::SERVICE_UNAVAILABLE,
            &health_json(false, &reason),
        )
    }

    /// Why /health fails; empty if it does not.
    async fn sickness(&self, query: &str) -> String {
        let status = self.handle.status();
        let excluded = |alarm: &AlarmMember| {
            let name = alarm.alarm().as_str_name();
            params(query).any(|pair| pair.0 == "exclude" && pair.1 == name)
        };
        if let Some(alarm) = status.alarms.iter().find(|alarm| !excluded(alarm)) {
            return format!("ALARM {}", alarm_name(alarm));
        }
        // The first of several counts.
        let serializable = params(query)
            .find(|pair| pair.0 == "serializable")
            .is_some_and(|pair| pair.1 == "true");
        if !serializable && status.leader == 0 {
            return "RAFT NO LEADER".to_owned();
        }
        match self.read(serializable).await {
            Ok(()) => String::new(),
            Err(error) => format!("RANGE ERROR:{error}"),
        }
    }
}

fn alarm_name(alarm: &AlarmMember) -> &'static str {
    match alarm.alarm() {
        AlarmType::Nospace => "NOSPACE",
        AlarmType::Corrupt => "CORRUPT",
        AlarmType::None => "UNKNOWN",
    }
}

/// The probe that `path` names, and the checks that it asks for: all but the excluded ones, or one by its own path.
pub(super) fn select(path: &str, query: &str) -> Option<(Probe, Vec<Check>)> {
    let path = path.strip_prefix('/')?;
    let (name, only) = match path.split_once('/') {
        Some((name, check)) => (name, Some(check)),
        None => (path, None),
    };
    let probe = [LIVEZ, READYZ]
        .into_iter()
        .find(|probe| probe.name == name)?;
    let checks = probe.checks.iter().copied();
    if let Some(only) = only {
        let check = checks.into_iter().find(|check| check.name() == only)?;
        return Some((probe, vec![check]));
    }
    let excluded: Vec<_> = params(query)
        .filter(|pair| pair.0 == "exclude" && !pair.1.is_empty())
        .map(|pair| pair.1)
        .collect();
    let known = |name: &str| probe.checks.iter().any(|check| check.name() == name);
    let missing: Vec<_> = excluded.iter().filter(|name| !known(name)).collect();
    if !missing.is_empty() {
        tracing::warn!(
            probe = probe.name,
            ?missing,
            "some health checks cannot be excluded"
        );
    }
    let checks = checks.filter(|check| !excluded.iter().any(|name| name == check.name()));
    Some((probe, checks.collect()))
}

fn health_json(healthy: bool, reason: &str) -> String {
    let reason = quoted(reason);
    format!(r#"{{"health":"{healthy}","reason":{reason}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(target: &'static str) -> Option<Vec<&'static str>> {
        let uri = http::Uri::from_static(target);
        let (_, checks) = select(uri.path(), uri.query().unwrap_or_default())?;
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
        assert_eq!(checks("/readyz").expect("known"), all);
        assert_eq!(checks("/readyz?verbose").expect("known"), all);
        assert_eq!(
            checks("/readyz?exclude=non_learner&exclude=data%5fcorruption&exclude=x")
                .expect("known"),
            ["serializable_read", "linearizable_read"]
        );
        assert_eq!(
            checks("/readyz/linearizable_read").expect("known"),
            ["linearizable_read"]
        );
        assert_eq!(checks("/livez").expect("known"), ["serializable_read"]);
        assert_eq!(checks("/livez/linearizable_read"), None);
        assert_eq!(checks("/readyzz"), None);
        assert_eq!(checks("/readyz/"), None);
        assert_eq!(checks("/health"), None);
        assert_eq!(checks("/"), None);
    }

    #[test]
    fn health_is_etcds_json() {
        assert_eq!(health_json(true, ""), r#"{"health":"true","reason":""}"#);
        assert_eq!(
            health_json(false, "RANGE ERROR:\"x\"\n"),
            r#"{"health":"false","reason":"RANGE ERROR:\"x\"\n"}"#
        );
    }
}
