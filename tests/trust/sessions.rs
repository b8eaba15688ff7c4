//! TLS sessions do not outlive what they were made under.

use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{Cluster, until};

/// One connection, one request; whether the handshake was a whole one. None if it was refused.
async fn visit(cluster: &Cluster, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut socket = cluster.raw(Arc::clone(config)).await.ok()?;
    let request = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    // To the end: what makes a session comes with the answer. How the end is told does not matter.
    let _ = socket.read_to_end(&mut answer).await;
    let served = String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200");
    served
        .then(|| socket.get_ref().1.handshake_kind())
        .flatten()
}

#[tokio::test]
async fn a_session_is_no_way_back_in() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (cluster.client("ann").await, cluster.client("bob").await);
    let (ann_tls, bob_tls) = (
        cluster.tls(Some(&ann), b"http/1.1"),
        cluster.tls(Some(&bob), b"http/1.1"),
    );
    for tls in [&ann_tls, &bob_tls] {
        assert_eq!(visit(&cluster, tls).await, Some(HandshakeKind::Full));
        assert_eq!(visit(&cluster, tls).await, Some(HandshakeKind::Resumed));
    }
    let known = cluster.handle.clone();
    cluster.deny_badge(&ann).await;
    // At once: the session of the configuration before is judged like a certificate.
    assert_eq!(visit(&cluster, &ann_tls).await, None);
    until("it is on the list", || {
        known.trust().denied_serials().count() == 1
    })
    .await;
    // As soon as the member has swapped its configuration no session of before is resumed at all.
    loop {
        match visit(&cluster, &bob_tls).await {
            Some(HandshakeKind::Resumed) => tokio::task::yield_now().await,
            other => {
                assert_eq!(other, Some(HandshakeKind::Full), "bob is still let in");
                break;
            }
        }
    }
    for _ in 0..3 {
        assert_eq!(visit(&cluster, &ann_tls).await, None);
    }
}
