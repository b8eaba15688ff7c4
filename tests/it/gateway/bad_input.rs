//! What a caller of the gateway may send by mistake: the text that comes back, the same from etcd 3.6.

use super::{Asked, curl::Curl};
use crate::both::Side;

const RANGE: &str = "/v3/kv/range";

/// Each body must be refused with this status and text by both.
fn refused(name: &str, path: &str, cases: &[(&str, u16, &str)]) {
    for asked in Asked::both(name, &[]) {
        for (body, status, text) in cases {
            let answer = Curl::post_large(&asked.server, path, body.as_bytes());
            // Go chooses between two kinds of blank.
            let told = answer.body.replace('\u{a0}', " ").replace(", \"", ",\"");
            assert_eq!(
                (answer.status, told.as_str()),
                (*status, *text),
                "{:?} {body}",
                asked.side
            );
        }
        let alive = asked.post("/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#);
        assert_eq!(alive.status, 200, "{alive:?}");
    }
}

#[test]
fn text_that_is_not_json_is_refused() {
    refused(
        "gateway-json",
        RANGE,
        &[
            ("{", 400, r#"{"code":3,"message":"unexpected EOF"}"#),
            (
                "key=foo",
                400,
                r#"{"code":3,"message":"invalid character 'k' looking for beginning of value"}"#,
            ),
            (
                r#"{"key" "Zm9v"}"#,
                400,
                r#"{"code":3,"message":"invalid character '\"' after object key"}"#,
            ),
            (
                "[]",
                400,
                r#"{"code":3,"message":"proto: syntax error (line 1:1): unexpected token ["}"#,
            ),
        ],
    );
}

#[test]
fn a_key_given_twice_is_refused() {
    refused(
        "gateway-twice",
        RANGE,
        &[
            (
                r#"{"key":"Zm9v","key":"Zm9v"}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:15): duplicate field \"key\""}"#,
            ),
            (
                r#"{"range_end":"Zm9v","rangeEnd":"Zm9v"}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:21): duplicate field \"rangeEnd\""}"#,
            ),
        ],
    );
}

#[test]
fn bad_base64_is_refused() {
    refused(
        "gateway-base64",
        RANGE,
        &[
            (
                r#"{"key":"***"}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:8): invalid value for bytes field key: \"***\""}"#,
            ),
            (
                r#"{"key":"foo=="}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:8): invalid value for bytes field key: \"foo==\""}"#,
            ),
        ],
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    refused(
        "gateway-numbers",
        RANGE,
        &[
            (
                r#"{"key":"Zm9v","revision":9223372036854775808}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:26): invalid value for int64 field revision: 9223372036854775808"}"#,
            ),
            (
                r#"{"key":"Zm9v","revision":1.5}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:26): invalid value for int64 field revision: 1.5"}"#,
            ),
            (
                r#"{"key":"Zm9v","sort_order":1e10}"#,
                400,
                r#"{"code":3,"message":"proto: (line 1:28): invalid value for enum field sortOrder: 1e10"}"#,
            ),
        ],
    );
}

#[test]
fn numbers_beyond_2_to_the_53_keep_their_last_digit() {
    for asked in Asked::both("gateway-big-numbers", &[]) {
        for (sent, id) in [
            ("9007199254740993", "9007199254740993"),
            ("\"9223372036854775807\"", "9223372036854775807"),
        ] {
            let answer = asked.post("/v3/lease/grant", &format!(r#"{{"ID":{sent},"TTL":60}}"#));
            let body = answer.body.replace(", \"", ",\"");
            assert!(body.contains(&format!(r#""ID":"{id}""#)), "{answer:?}");
        }
    }
}

#[test]
fn depth_without_end_is_refused() {
    let deep = format!(r#"{{"x":{}"#, "[".repeat(20_000));
    refused(
        "gateway-depth",
        RANGE,
        &[(
            &deep,
            400,
            r#"{"code":3,"message":"invalid character '[' exceeded max depth"}"#,
        )],
    );
    // Transactions within transactions stop where prost, which reads them, stops; etcd goes on to 10,000.
    let asked = Asked::kvorum("gateway-nested", &[]);
    let nested = |levels: usize| {
        let open = r#"{"success":[{"request_txn":"#.repeat(levels);
        format!("{open}{{}}{}", "}]}".repeat(levels))
    };
    let answer = asked.post("/v3/kv/txn", &nested(65));
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            400,
            r#"{"code":3,"message":"proto: exceeded max recursion depth"}"#
        )
    );
}

#[test]
fn any_content_type_is_taken_for_json() {
    for asked in Asked::both("gateway-content-type", &[]) {
        for kind in [
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "",
        ] {
            let kind = format!("Content-Type: {kind}");
            let options = ["-H", &kind, "--data-binary", r#"{"key":"Zm9v"}"#];
            let answer = Curl::ask(&asked.server, RANGE, &options);
            assert_eq!(answer.status, 200, "{kind} {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[test]
fn a_path_nobody_knows_is_not_found() {
    refused(
        "gateway-paths",
        "/v3/kv/steal",
        &[("{}", 404, r#"{"code":5,"message":"Not Found"}"#)],
    );
    for asked in Asked::both("gateway-no-paths", &[]) {
        for path in ["/v2/keys", "/v3alpha/kv/range", "/"] {
            let answer = asked.post(path, "{}");
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (404, "404 page not found\n"),
                "{path}"
            );
        }
        let answer = asked.post("/v3", "{}");
        assert_eq!(
            (answer.status, answer.header("location")),
            (307, Some("/v3/"))
        );
    }
}

#[test]
fn a_wrong_method_is_not_implemented() {
    for asked in Asked::both("gateway-methods", &[]) {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let answer = Curl::ask(&asked.server, RANGE, &["-X", method]);
            let body = answer.body.replace(", \"", ",\"");
            assert_eq!(
                (answer.status, body.as_str()),
                (501, r#"{"code":12,"message":"Method Not Allowed"}"#),
                "{method}"
            );
        }
        let answer = Curl::ask(&asked.server, RANGE, &["-I"]);
        assert_eq!((answer.status, answer.body.as_str()), (501, ""));
    }
}

#[test]
fn ranges_and_compression_change_nothing() {
    for asked in Asked::both("gateway-tricks", &[]) {
        asked.post("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
        let body = ["--data-binary", r#"{"key":"Zm9v"}"#];
        let plain = Curl::ask(&asked.server, RANGE, &body);
        assert!(plain.body.contains(r#""value":"YmFy""#), "{plain:?}");
        for trick in [
            "Range: bytes=0-1",
            "Accept-Encoding: gzip, br",
            "If-None-Match: *",
            "Content-Encoding: gzip",
        ] {
            let options = [&["-H", trick], &body[..]].concat();
            assert_eq!(Curl::ask(&asked.server, RANGE, &options), plain, "{trick}");
        }
        // What is really compressed is no JSON.
        let answer = Curl::post_large(&asked.server, RANGE, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.body.contains("looking for beginning of value"),
            "{answer:?}"
        );
    }
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    for asked in Asked::both("gateway-timeout", &[]) {
        let options = ["-H", "Grpc-Timeout: soon", "--data-binary", "{}"];
        let answer = Curl::ask(&asked.server, RANGE, &options);
        let body = answer.body.replace(", \"", ",\"");
        let text = r#"{"code":3,"message":"invalid grpc-timeout: soon"}"#;
        assert_eq!(
            (answer.status, body.as_str()),
            (400, text),
            "{:?}",
            asked.side
        );
        assert!(matches!(asked.side, Side::Kvorum | Side::Etcd));
    }
}
