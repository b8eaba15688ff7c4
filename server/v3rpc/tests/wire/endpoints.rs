//! HTTP endpoints, TLS beside plain, and peers that say nothing.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use kvorum_proto::etcdserverpb::RangeResponse;
use kvorum_v3rpc::{SERVER_VERSION, Scope};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::Client,
    served::{Served, Shape, served},
    unary::{RANGE, get},
};

/// One HTTP/1 request; the whole answer as text.
async fn http1(served: &Served, request: &str) -> String {
    String::from_utf8(http1_bytes(served, request, "").await).expect("text")
}

/// The same, with more headers and an answer that is no text.
async fn http1_bytes(served: &Served, request: &str, headers: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(served.address).await.expect("listening");
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.expect("open");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    answer
}

async fn tls(served: &Served, protocol: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = served.certificate.clone().expect("TLS is on");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    let socket = TcpStream::connect(served.address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

#[tokio::test]
async fn endpoints_answer_over_both_versions_of_http() {
    let served = served().await;
    let client = Client::connect(&served).await;
    let version =
        format!(r#"{{"etcdserver":"{SERVER_VERSION}","etcdcluster":"3.6.0","storage":"3.6.0"}}"#);
    let verbose = "[+]data_corruption ok\n[+]serializable_read ok\n\
                   [+]linearizable_read ok\n[+]non_learner ok\nok\n";
    for (path, status, body) in [
        ("/health", 200, r#"{"health":"true","reason":""}"#),
        (
            "/health?serializable=true&exclude=NOSPACE",
            200,
            r#"{"health":"true","reason":""}"#,
        ),
        ("/livez", 200, "ok\n"),
        ("/readyz", 200, "ok\n"),
        ("/readyz?verbose", 200, verbose),
        (
            "/readyz/serializable_read?verbose",
            200,
            "[+]serializable_read ok\nok\n",
        ),
        ("/version", 200, &version),
        (
            "/v3/kv/range",
            501,
            r#"{"code":12,"message":"Method Not Allowed"}"#,
        ),
        ("/", 404, "404 page not found\n"),
    ] {
        assert_eq!(client.get(path).await, (status, body.to_owned()), "{path}");
        let answer = http1(&served, &format!("GET {path}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(
            answer.ends_with(&format!("\r\n\r\n{body}")),
            "{path}: {answer}"
        );
    }
    for path in [
        "/version",
        "/health",
        "/livez",
        "/readyz/non_learner",
        "/debug/vars",
    ] {
        let answer = http1(&served, &format!("POST {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nallow: GET\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn metrics_are_what_was_counted_also_when_compressed() {
    let served = served().await;
    let client = Client::connect(&served).await;
    for _ in 0..3 {
        client
            .unary::<RangeResponse>(RANGE, &get("k"))
            .await
            .expect("answered");
    }
    let (status, text) = client.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE etcd_disk_wal_fsync_duration_seconds histogram",
        "etcd_mvcc_range_total 3",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 3",
        "etcd_server_has_leader 1",
        "promhttp_metric_handler_requests_in_flight 1",
        "promhttp_metric_handler_requests_total{code=\"200\"} 0",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    // Prometheus' library answers any method, and so do we.
    let answer = http1(&served, "POST /metrics").await;
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n";
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains(kind),
        "{answer}"
    );
    let bytes = http1_bytes(
        &served,
        "GET /metrics",
        "accept-encoding: deflate, gzip;q=0.5\r\n",
    )
    .await;
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let (head, body) = bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(body)
        .read_to_string(&mut unpacked)
        .expect("gzip of text");
    let line = "promhttp_metric_handler_requests_total{code=\"200\"} 2\n";
    assert!(unpacked.contains(line), "{unpacked}");
}

#[tokio::test]
async fn variables_are_json_and_name_what_runs() {
    let served = served().await;
    let answer = http1(&served, "GET /debug/vars").await;
    let kind = "content-type: application/json; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
    for part in [
        "{\n\"cmdline\": [\"",
        "\"file_descriptor_limit\": ",
        "\"memstats\": {\"Sys\":",
        "\"raft.status\": {\"id\":\"",
        "\"raftState\":\"StateLeader\"",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

#[tokio::test]
async fn a_metrics_listener_serves_scrapers_and_probes_only() {
    let served = Served::start(Shape {
        scope: Scope::Metrics,
        ..Shape::default()
    })
    .await;
    let client = Client::connect(&served).await;
    for path in ["/metrics", "/health", "/livez", "/readyz/data_corruption"] {
        assert_eq!(client.get(path).await.0, 200, "{path}");
    }
    // It is on loopback.
    assert_eq!(client.get("/debug/vars").await.0, 200);
    for path in ["/version", RANGE, "/v3/kv/range", "/"] {
        let (status, body) = client.get(path).await;
        assert_eq!(
            (status, body.as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_http_listener_serves_no_grpc() {
    let served = Served::start(Shape {
        scope: Scope::Http,
        ..Shape::default()
    })
    .await;
    let client = Client::connect(&served).await;
    assert_eq!(client.get("/livez").await.0, 200);
    assert_eq!(client.get(RANGE).await.0, 404);
}

#[tokio::test]
async fn tls_and_plain_share_a_listener() {
    let served = Served::start(Shape {
        tls: true,
        ..Shape::default()
    })
    .await;
    let plain = Client::connect(&served).await;
    plain
        .unary::<RangeResponse>(RANGE, &get("k"))
        .await
        .expect("plain");
    let socket = tls(&served, b"h2").await.expect("a handshake");
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let secure = Client::over(socket).await;
    secure
        .unary::<RangeResponse>(RANGE, &get("k"))
        .await
        .expect("over TLS");
    let mut socket = tls(&served, b"http/1.1").await.expect("a handshake");
    let request = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).await.expect("open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("text");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn what_a_listener_does_not_speak_is_reset() {
    let only_tls = Served::start(Shape {
        tls: true,
        plain: false,
        ..Shape::default()
    })
    .await;
    tls(&only_tls, b"h2").await.expect("a handshake");
    let only_plain = served().await;
    for (served, first) in [
        (&only_tls, &b"PRI * HTTP"[..]),
        (&only_plain, b"\x16\x03\x01"),
    ] {
        let mut socket = TcpStream::connect(served.address).await.expect("listening");
        socket.write_all(first).await.expect("open");
        let error = socket.read(&mut [0]).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let shape = Shape {
        header_timeout: Duration::from_millis(50),
        ..Shape::default()
    };
    let served = Served::start(shape).await;
    for said in [&b"PRI * HT"[..], b"GET / HTTP/1.1\r\nhost"] {
        let mut socket = TcpStream::connect(served.address).await.expect("listening");
        socket.write_all(said).await.expect("open");
        let mut rest = Vec::new();
        // Either an orderly end or a reset; what matters is that it ends.
        let _ = socket.read_to_end(&mut rest).await;
    }
}
