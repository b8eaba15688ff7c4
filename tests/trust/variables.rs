//! The variables of a member show its command line: they are for administrators, and for whoever has the machine.

use std::net::SocketAddr;

use kvorum_proto::kvorumpb::CertificateKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{Badge, Cluster};

async fn ask(cluster: &Cluster, at: SocketAddr, badge: Option<&Badge>) -> String {
    let tls = cluster.tls(badge, b"http/1.1");
    let mut socket = Cluster::raw_at(at, tls).await.expect("let in");
    let request = b"GET /debug/vars HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    // How the end is told does not matter.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_command_line_is_for_administrators_and_for_a_metrics_listener_on_loopback() {
    let cluster = Cluster::start().await;
    let client = cluster.client("root").await;
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let [http, metrics] = cluster.others;
    for at in [cluster.address, http] {
        for badge in [None, Some(&client)] {
            let answer = ask(&cluster, at, badge).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            assert!(answer.contains("kvorum: only administrators"), "{answer}");
            assert!(!answer.contains("cmdline"), "{answer}");
        }
        let answer = ask(&cluster, at, Some(&admin)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"cmdline\": ["), "{answer}");
    }
    let answer = ask(&cluster, metrics, None).await;
    assert!(answer.contains("\"cmdline\": ["), "{answer}");
}
