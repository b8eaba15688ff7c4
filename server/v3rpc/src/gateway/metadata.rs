//! What of an HTTP request's head goes along with the call: the token, the deadline, and what is marked as metadata.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::callers;
use crate::{
    connection::Entry,
    error::{Code, Status},
    identity,
    shares::Share,
};

/// What marks a header as metadata of the call.
const METADATA: &str = "grpc-metadata-";
/// Headers of the transport; metadata of these names would break the inner request.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    callers::CALLER,
    identity::SOURCE,
];

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// What its calls count against.
    pub(super) share: Arc<Share>,
    pub(super) from: Option<IpAddr>,
}

impl Origin {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            share: Arc::clone(&entry.share),
            from: entry.from,
        }
    }
}

/// What a caller says beside the message.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) metadata: HeaderMap,
    pub(super) deadline: Option<Instant>,
    /// Where it comes from.
    pub(super) from: Option<IpAddr>,
    /// What it counts against.
    pub(super) share: Arc<Share>,
}

impl Call {
    /// Reads the head of a request.
    pub(super) fn read(origin: &Origin, headers: &HeaderMap) -> Result<Self, Status> {
        let timeout = match headers.get("grpc-timeout") {
            None => None,
            Some(value) => timeout(value)?,
        };
        let mut metadata = HeaderMap::new();
        for (name, value) in headers {
            if let Some(name) = forwarded(name)
                && value
                    .as_bytes()
                    .iter()
                    .all(|byte| (b' '..=b'~').contains(byte))
            {
                metadata.append(name, value.clone());
            }
        }
        // Tells that the call came this way: no client certificate speaks for it.
        let accept = HeaderValue::from_static("*/*");
        metadata.insert("grpcgateway-accept", accept);
        Ok(Self {
            metadata,
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            from: origin.from,
            share: Arc::clone(&origin.share),
        })
    }
}

fn forwarded(name: &HeaderName) -> Option<HeaderName> {
    if name == header::AUTHORIZATION {
        return Some(header::AUTHORIZATION);
    }
    let key = name.as_str().strip_prefix(METADATA)?;
    if RESERVED.contains(&key) {
        return None;
    }
    HeaderName::from_bytes(key.as_bytes()).ok()
}

/// A number and a unit; zero is no deadline at all.
fn timeout(value: &HeaderValue) -> Result<Option<Duration>, Status> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let parsed = || {
        let unit = text.chars().last().filter(char::is_ascii)?;
        let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
        // Less than nothing is over at once.
        let count = count.max(i64::from(count != 0)).cast_unsigned();
        // More than a century is no deadline either.
        let seconds = |count: u64| Duration::from_secs(count.min(100 * 365 * 24 * 3600));
        Some(match unit {
            'H' => seconds(count.saturating_mul(3600)),
            'M' => seconds(count.saturating_mul(60)),
            'S' => seconds(count),
            'm' => Duration::from_millis(count).min(seconds(u64::MAX)),
            'u' => Duration::from_micros(count),
            'n' => Duration::from_nanos(count),
            _ => return None,
        })
    };
    match parsed() {
        Some(timeout) => Ok(Some(timeout).filter(|timeout| !timeout.is_zero())),
        None => Err(Status::new(
            Code::InvalidArgument,
            format!("invalid grpc-timeout: {text}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Call, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let origin = Origin {
            share: Share::endless(),
            from: None,
        };
        Call::read(&origin, &headers)
    }

    #[test]
    fn the_token_and_marked_headers_go_along_and_nothing_else() {
        let call = read("authorization", "Bearer t").expect("valid");
        assert_eq!(call.metadata["authorization"], "Bearer t");
        let call = read("grpc-metadata-hasleader", "true").expect("valid");
        assert_eq!(call.metadata["hasleader"], "true");
        for name in [
            "cookie",
            "grpc-metadata-te",
            "grpc-metadata-content-type",
            "grpc-metadata-kvorum-source",
            "grpc-metadata-kvorum-caller",
            "range",
        ] {
            let call = read(name, "x").expect("valid");
            assert_eq!(call.metadata.len(), 1, "{name}");
            assert!(call.metadata.contains_key("grpcgateway-accept"));
        }
    }

    #[test]
    fn a_deadline_is_a_number_and_a_unit() {
        for good in [
            "1H",
            "2M",
            "3S",
            "4m",
            "5u",
            "6n",
            "-1S",
            "9223372036854775807H",
        ] {
            let call = read("grpc-timeout", good).expect("valid");
            assert!(call.deadline.is_some(), "{good}");
        }
        assert!(
            read("grpc-timeout", "0S")
                .expect("valid")
                .deadline
                .is_none()
        );
        for bad in ["S", "1", "x", "1x", "1.5S"] {
            let status = read("grpc-timeout", bad).expect_err("invalid");
            assert_eq!(status.code, Code::InvalidArgument);
            assert_eq!(status.message, format!("invalid grpc-timeout: {bad}"));
        }
    }
}
