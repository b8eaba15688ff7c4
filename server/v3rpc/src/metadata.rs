//! What a caller says beside its message: how long it waits, whether it needs a leader, which client it is.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::error::Status;

/// The request's metadata that the edge acts on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) require_leader: bool,
    pub(crate) client_api_version: &'a str,
}

impl<'a> Metadata<'a> {
    /// Reads the headers of a gRPC request.
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, Status> {
        uncompressed(headers)?;
        let client_api_version = match headers.get("client-api-version") {
            None => "unknown",
            Some(value) => std::str::from_utf8(value.as_bytes())
                .map_err(|_| Status::invalid_client_api_version())?,
        };
        Ok(Self {
            timeout: headers.get("grpc-timeout").map(timeout).transpose()?,
            require_leader: headers
                .get("hasleader")
                .is_some_and(|value| value == "true"),
            client_api_version,
        })
    }
}

/// Nothing is compressed here, as in etcd; a caller that will compress is told before it does.
fn uncompressed(headers: &HeaderMap) -> Result<(), Status> {
    let Some(encoding) = headers.get("grpc-encoding") else {
        return Ok(());
    };
    if encoding.is_empty() || encoding == "identity" {
        return Ok(());
    }
    let name = String::from_utf8_lossy(encoding.as_bytes());
    Err(Status::unimplemented(format!(
        "grpc: Decompressor is not installed for grpc-encoding {name:?}"
    )))
}

/// Up to eight digits and a unit.
fn timeout(value: &HeaderValue) -> Result<Duration, Status> {
    let text = value.to_str().unwrap_or_default();
    parse_timeout(text).ok_or_else(|| Status::internal(format!("malformed grpc-timeout: {text:?}")))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last().filter(char::is_ascii)?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value).expect("a header value");
                (http::HeaderName::from_static(name), value)
            })
            .collect()
    }

    #[test]
    fn timeouts_have_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("1x", None),
            ("1\u{e9}", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn metadata_is_read() {
        let headers = headers(&[
            ("hasleader", b"true"),
            ("client-api-version", b"3.6.1"),
            ("grpc-timeout", b"7S"),
        ]);
        let metadata = Metadata::read(&headers).expect("valid");
        assert_eq!(
            metadata,
            Metadata {
                timeout: Some(Duration::from_secs(7)),
                require_leader: true,
                client_api_version: "3.6.1",
            }
        );
        let none = HeaderMap::new();
        assert_eq!(
            Metadata::read(&none).expect("valid").client_api_version,
            "unknown"
        );
    }

    #[test]
    fn a_compression_is_refused_by_name() {
        for name in [&b""[..], b"identity"] {
            assert!(Metadata::read(&headers(&[("grpc-encoding", name)])).is_ok());
        }
        let headers = headers(&[("grpc-encoding", b"gzip")]);
        let status = Metadata::read(&headers).expect_err("not installed");
        assert_eq!(status.code, Code::Unimplemented);
        assert_eq!(
            status.message,
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\""
        );
    }

    #[test]
    fn a_client_version_that_is_not_utf8_is_refused() {
        let headers = headers(&[("client-api-version", b"\xff\xfe")]);
        let status = Metadata::read(&headers).expect_err("not UTF-8");
        assert_eq!(status.code, Code::InvalidArgument);
        assert_eq!(status.message, "etcdserver: invalid client api version");
    }
}
