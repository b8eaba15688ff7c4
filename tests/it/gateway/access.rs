//! Origins, hosts, and a gateway that is off.

use super::{Asked, curl::Curl};
use crate::both::Side;

const RANGE: &str = "/v3/kv/range";
const BODY: &[&str] = &["--data-binary", r#"{"key":"Zm9v"}"#];
const ALLOWED: &str = "access-control-allow-origin";

fn with(header: &str) -> Vec<&str> {
    [&["-H", header], BODY].concat()
}

#[test]
fn any_page_may_read_unless_origins_are_named() {
    for asked in Asked::both("gateway-cors", &[]) {
        for path in [RANGE, "/health", "/version"] {
            let answer = Curl::ask(&asked.server, path, &[]);
            assert_eq!(answer.header(ALLOWED), Some("*"), "{path}");
        }
    }
    for asked in Asked::both(
        "gateway-cors-named",
        &["--cors=https://a.example:8443,https://b.example:8443"],
    ) {
        let answer = Curl::ask(
            &asked.server,
            RANGE,
            &with("Origin: https://b.example:8443"),
        );
        assert_eq!(answer.header(ALLOWED), Some("https://b.example:8443"));
        assert_eq!(answer.status, 200);
        for header in ["Origin: https://evil.example", "X: y"] {
            let answer = Curl::ask(&asked.server, RANGE, &with(header));
            assert_eq!(
                (answer.status, answer.header(ALLOWED)),
                (200, None),
                "{header}"
            );
        }
    }
}

#[test]
fn a_browser_that_asks_first_is_answered() {
    for asked in Asked::both("gateway-options", &[]) {
        let answer = Curl::ask(&asked.server, RANGE, &["-X", "OPTIONS"]);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        assert_eq!(
            answer.headers,
            [
                "access-control-allow-headers: accept, content-type, authorization",
                "access-control-allow-methods: POST, GET, OPTIONS, PUT, DELETE",
                "access-control-allow-origin: *",
            ]
        );
    }
}

#[test]
fn a_name_that_is_not_listed_is_misdirected() {
    for asked in Asked::both("gateway-hosts", &["--host-whitelist=127.0.0.1,localhost"]) {
        assert_eq!(Curl::ask(&asked.server, RANGE, BODY).status, 200);
        assert_eq!(
            Curl::ask(&asked.server, RANGE, &with("Host: localhost:1")).status,
            200
        );
        for path in [RANGE, "/health"] {
            let answer = Curl::ask(&asked.server, path, &with("Host: evil.example"));
            assert_eq!(answer.status, 421, "{answer:?}");
            let ours = answer
                .body
                .replace("etcd received", "kvorum received")
                .replace("etcd --host", "kvorum --host");
            assert_eq!(
                ours,
                "\nkvorum received your request, but the Host header was unrecognized.\n\n\
                 To fix this, choose one of the following options:\n\
                 - Enable TLS, then any HTTPS request will be allowed.\n\
                 - Add the hostname you want to use to the whitelist in settings.\n  \
                 - e.g. kvorum --host-whitelist \"evil.example\"\n\n\
                 This requirement has been added to help prevent \"DNS Rebinding\" attacks \
                 (CVE-2018-5702).\n\n",
                "{:?}",
                asked.side
            );
        }
    }
}

#[test]
fn a_gateway_that_is_off_is_not_there() {
    for asked in Asked::both("gateway-off", &["--enable-grpc-gateway=false"]) {
        for path in [RANGE, "/v3/watch", "/v3", "/v3beta/kv/range"] {
            let answer = asked.post(path, "{}");
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (404, "404 page not found\n"),
                "{:?} {path}",
                asked.side
            );
        }
        assert_eq!(Curl::get(&asked.server, "/health").status, 200);
        assert!(matches!(asked.side, Side::Kvorum | Side::Etcd));
    }
}
