//! Calls that end before they begin: what their headers say cannot be a gRPC call. Texts and HTTP statuses are
//! grpc-go's, which are shown to people by its clients.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};

use crate::{
    error::{Code, Status},
    frame::error_response,
};

/// What `application/grpc` is followed by if the call is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The whole answer to a request whose head is no gRPC call's.
pub(crate) fn refusal<B>(request: &Request<B>) -> Option<Response<()>> {
    let headers = request.headers();
    if !is_grpc(headers) {
        let kind = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let kind = String::from_utf8_lossy(kind);
        let text = format!("invalid gRPC request content-type {kind:?}");
        let status = Status::new(Code::InvalidArgument, text);
        return Some(with(StatusCode::UNSUPPORTED_MEDIA_TYPE, &status));
    }
    let broken = headers
        .iter()
        .find_map(|(name, value)| match name.as_str() {
            "grpc-timeout" => timeout(value).err(),
            name if name.ends_with("-bin") => binary(name, value).err(),
            _ => None,
        });
    if let Some(text) = broken {
        return Some(with(StatusCode::BAD_REQUEST, &Status::internal(text)));
    }
    if request.method() != Method::POST {
        let text = format!(
            "Received a HEADERS frame with :method {:?} which should be POST",
            request.method().as_str()
        );
        return Some(with(
            StatusCode::METHOD_NOT_ALLOWED,
            &Status::internal(text),
        ));
    }
    None
}

fn with(http: StatusCode, status: &Status) -> Response<()> {
    let mut response = error_response(status);
    *response.status_mut() = http;
    response
}

/// Up to eight digits and a unit.
pub(crate) fn timeout(value: &HeaderValue) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    parse_timeout(&text).map_err(|problem| format!("malformed grpc-timeout: {problem}"))
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text.len() {
        0 | 1 => return Err(format!("transport: timeout string is too short: {text:?}")),
        2..=9 => {}
        _ => return Err(format!("transport: timeout string is too long: {text:?}")),
    }
    let unrecognized = || format!("transport: timeout unit is not recognized: {text:?}");
    let unit = text.chars().last().ok_or_else(unrecognized)?;
    let unit_of: fn(u64) -> Duration = match unit {
        'H' => |count| Duration::from_secs(count * 3600),
        'M' => |count| Duration::from_secs(count * 60),
        'S' => Duration::from_secs,
        'm' => Duration::from_millis,
        'u' => Duration::from_micros,
        'n' => Duration::from_nanos,
        _ => return Err(unrecognized()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let count = plain.then(|| digits.parse().ok()).flatten();
    count
        .map(unit_of)
        .ok_or_else(|| format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"))
}

/// Nothing here has a use for binary metadata, but what is not base64 is refused.
fn binary(name: &str, value: &HeaderValue) -> Result<(), String> {
    let Some(at) = not_base64(value.as_bytes()) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    Err(format!(
        "malformed binary metadata {text:?} in header {name:?}: illegal base64 data at input byte {at}"
    ))
}

/// Where a value stops being base64. Padded if its length is a multiple of four, else without padding.
fn not_base64(value: &[u8]) -> Option<usize> {
    let padded = value.len().is_multiple_of(4);
    let digits = match value {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] if padded => digits,
        whole => whole,
    };
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let bad = digits.iter().position(|byte| !digit(byte));
    // A last group of one digit holds no byte.
    bad.or_else(|| (digits.len() % 4 == 1).then(|| digits.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: Method, headers: &[(&'static str, &'static str)]) -> Option<(u16, String)> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_static(value));
        }
        refusal(&request).map(|response| {
            let text = response.headers()["grpc-message"].to_str().expect("ASCII");
            (response.status().as_u16(), text.to_owned())
        })
    }

    #[test]
    fn only_grpcs_content_type_is_grpc() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf8",
        ] {
            assert_eq!(answer(Method::POST, &[("content-type", kind)]), None);
        }
        for kind in [
            "application/grpcx",
            "application/grpc-web",
            "APPLICATION/GRPC",
        ] {
            let text = format!("invalid gRPC request content-type \"{kind}\"");
            assert_eq!(
                answer(Method::POST, &[("content-type", kind)]),
                Some((415, text))
            );
        }
        assert_eq!(
            answer(Method::POST, &[]),
            Some((415, "invalid gRPC request content-type \"\"".to_owned()))
        );
        assert_eq!(
            answer(Method::PUT, &[("content-type", "application/grpc")]),
            Some((
                405,
                "Received a HEADERS frame with :method \"PUT\" which should be POST".to_owned()
            ))
        );
    }

    #[test]
    fn timeouts_have_a_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(parse_timeout(text), Ok(expected));
        }
        for (text, problem) in [
            ("", "transport: timeout string is too short: \"\""),
            ("S", "transport: timeout string is too short: \"S\""),
            (
                "123456789S",
                "transport: timeout string is too long: \"123456789S\"",
            ),
            ("1x", "transport: timeout unit is not recognized: \"1x\""),
            ("12", "transport: timeout unit is not recognized: \"12\""),
            ("-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
            ("1 S", "strconv.ParseUint: parsing \"1 \": invalid syntax"),
        ] {
            assert_eq!(parse_timeout(text), Err(problem.to_owned()));
        }
    }

    #[test]
    fn binary_metadata_is_base64_with_or_without_padding() {
        for (value, bad) in [
            ("", None),
            ("AAE", None),
            ("AA==", None),
            ("AAA=", None),
            ("AAAA", None),
            ("!!!", Some(0)),
            ("AA,AA", Some(2)),
            ("A", Some(0)),
            ("AAAAA", Some(4)),
            ("AA=", Some(2)),
        ] {
            assert_eq!(not_base64(value.as_bytes()), bad, "{value}");
        }
    }
}
