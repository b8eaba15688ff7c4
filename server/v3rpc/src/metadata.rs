//! What a caller says beside its message: how long it waits, whether it needs a leader, which client it is.

use std::time::Duration;

use http::HeaderMap;

use crate::{compression::Encoding, early, error::Status};

/// The request's metadata that the edge acts on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) require_leader: bool,
    pub(crate) client_api_version: &'a str,
    pub(crate) encoding: Encoding,
}

impl<'a> Metadata<'a> {
    /// Reads the headers of a gRPC request.
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, Status> {
        let client_api_version = match headers.get("client-api-version") {
            None => "unknown",
            Some(value) => std::str::from_utf8(value.as_bytes())
                .map_err(|_| Status::invalid_client_api_version())?,
        };
        let timeout = headers
            .get("grpc-timeout")
            .map(early::timeout)
            .transpose()
            .map_err(Status::internal)?;
        if timeout == Some(Duration::ZERO) {
            return Err(Status::deadline_exceeded());
        }
        Ok(Self {
            timeout,
            require_leader: headers
                .get("hasleader")
                .is_some_and(|value| value == "true"),
            client_api_version,
            encoding: Encoding::of(headers)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
                encoding: Encoding::Identity,
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
        let headers = headers(&[("grpc-encoding", b"snappy")]);
        let status = Metadata::read(&headers).expect_err("not installed");
        assert_eq!(status.code, Code::Unimplemented);
        assert_eq!(
            status.message,
            "grpc: Decompressor is not installed for grpc-encoding \"snappy\""
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
