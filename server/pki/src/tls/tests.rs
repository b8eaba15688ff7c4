//! Real handshakes, in memory.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::authority::tests::{Cluster, DAY, admin, client as user, cluster_at, node};
use crate::{
    Bundle, IdentityKind, LiveTls, Purpose, RootPin, Serial, Subject, Trust, Validity, proof,
};

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the sun ends")
}

fn cluster() -> Cluster {
    cluster_at(now())
}

fn bundle(cluster: &Cluster, subject: &Subject) -> Bundle {
    cluster.bundle(subject, Validity::from_now(now(), DAY))
}

/// A client as etcdctl is one: it knows the roots and looks at the name.
fn dialler(cluster: &Cluster, own: Option<&Bundle>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(cluster.root.certificate().clone())
        .expect("a root");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(own.chain().certificates().to_vec(), own.key().private_der())
            .expect("a pair"),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

type Ends = (
    client::TlsStream<DuplexStream>,
    server::TlsStream<DuplexStream>,
);

/// Both sides of a handshake, and one byte each way, so that what a TLS 1.3 server refuses late is seen, too.
async fn meet(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<Ends, (String, String)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"s").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(stream)
    };
    let connect = async {
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_all(b"c").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(stream)
    };
    match tokio::join!(accept, connect) {
        (Ok(server), Ok(client)) => Ok((client, server)),
        (server, client) => {
            let words = |error: Option<std::io::Error>| {
                error.map(|error| explain_io(&error)).unwrap_or_default()
            };
            Err((words(server.err()), words(client.err())))
        }
    }
}

fn identity_at_server(ends: &Ends, trust: &Trust, purpose: Purpose) -> IdentityKind {
    let shown = ends.1.get_ref().1.peer_certificates().unwrap_or_default();
    trust
        .check(shown, purpose, now())
        .expect("it was let in")
        .kind
}

#[tokio::test]
async fn clients_come_in_as_the_listener_demands() {
    let cluster = cluster();
    let (own, trust) = (bundle(&cluster, &node(1)), Arc::new(cluster.trust()));
    let alice = bundle(&cluster, &user("alice"));
    let listen = |certs| {
        Arc::new(
            client_listener(&own, trust.clone(), certs, &[b"h2", b"http/1.1"]).expect("a config"),
        )
    };
    let with = Arc::new(dialler(&cluster, Some(&alice)));
    let without = Arc::new(dialler(&cluster, None));
    for certs in [ClientCerts::Required, ClientCerts::Optional] {
        let ends = meet(listen(certs), with.clone(), "node.example")
            .await
            .expect("let in");
        assert_eq!(
            identity_at_server(&ends, &trust, Purpose::Client),
            IdentityKind::Client("alice".to_owned())
        );
        assert_eq!(ends.1.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
    for certs in [ClientCerts::Off, ClientCerts::Optional] {
        let ends = meet(listen(certs), without.clone(), "127.0.0.1")
            .await
            .expect("let in");
        assert!(ends.1.get_ref().1.peer_certificates().is_none());
    }
    let (server, client) = meet(listen(ClientCerts::Required), without.clone(), "::1")
        .await
        .expect_err("refused");
    assert!(server.contains("no certificate was shown"), "{server}");
    assert!(client.contains("demands a certificate"), "{client}");
    let (_, client) = meet(listen(ClientCerts::Off), without, "other.example")
        .await
        .expect_err("not its name");
    assert!(client.contains("other.example"), "{client}");
    client_listener(&own, Arc::new(Trust::default()), ClientCerts::Optional, &[])
        .expect_err("nobody to trust");
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_to_clients() {
    let cluster = cluster();
    let own = bundle(&cluster, &node(1));
    let listener = client_listener(
        &own,
        Arc::new(cluster.trust()),
        ClientCerts::Required,
        &[b"h2"],
    );
    let listener = Arc::new(listener.expect("a config"));
    let alice = bundle(&cluster, &user("alice"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        roots
            .add(cluster.root.certificate().clone())
            .expect("a root");
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                alice.chain().certificates().to_vec(),
                alice.key().private_der(),
            )
            .expect("a pair");
        let ends = meet(listener.clone(), Arc::new(client), "node.example")
            .await
            .expect("let in");
        assert_eq!(ends.0.get_ref().1.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
async fn clients_are_refused_with_words_on_both_sides() {
    let (ours, theirs) = (cluster(), cluster());
    let own = bundle(&ours, &node(1));
    let alice = bundle(&ours, &user("alice"));
    let refused = async |trust: Trust, shown: &Bundle| {
        let listener = client_listener(&own, Arc::new(trust), ClientCerts::Required, &[b"h2"]);
        let client = Arc::new(dialler(&ours, Some(shown)));
        meet(
            Arc::new(listener.expect("a config")),
            client,
            "node.example",
        )
        .await
        .expect_err("refused")
    };
    let mut trust = ours.trust();
    trust
        .denied_serials
        .insert(alice.chain().serial().expect("a serial"));
    let (server, client) = refused(trust, &alice).await;
    assert!(
        server.contains("was revoked") && client.contains("was revoked"),
        "{server} / {client}"
    );
    let mut trust = ours.trust();
    trust.denied_users.insert("alice".to_owned());
    let (server, _) = refused(trust, &alice).await;
    assert!(
        server.contains("certificates of user \"alice\" were revoked"),
        "{server}"
    );
    let (server, _) = refused(ours.trust(), &bundle(&theirs, &user("alice"))).await;
    assert!(server.contains("another cluster"), "{server}");
    let over = ours.bundle(&user("alice"), Validity::from_now(now() - DAY, DAY / 2));
    let (server, client) = refused(ours.trust(), &over).await;
    assert!(
        server.contains("expired at") && server.contains("kvorum cert client"),
        "{server}"
    );
    assert!(client.contains("expired"), "{client}");
    let early = ours.bundle(&user("alice"), Validity::from_now(now() + 2 * 3600, DAY));
    let (server, _) = refused(ours.trust(), &early).await;
    assert!(server.contains("holds only from"), "{server}");
    let stranger = Cluster {
        domain: ours.domain,
        root: theirs.root,
        issuer: theirs.issuer,
    };
    let (server, client) = refused(ours.trust(), &bundle(&stranger, &user("alice"))).await;
    assert!(server.contains("does not trust"), "{server}");
    assert!(client.contains("does not trust the authority"), "{client}");
}

#[tokio::test]
async fn a_session_resumes_until_the_configuration_is_swapped() {
    let cluster = cluster();
    let (own, alice) = (bundle(&cluster, &node(1)), bundle(&cluster, &user("alice")));
    let make = |trust| {
        client_listener(&own, Arc::new(trust), ClientCerts::Required, &[b"h2"]).expect("a config")
    };
    let live = LiveTls::new(make(cluster.trust()));
    let client = Arc::new(dialler(&cluster, Some(&alice)));
    let kind = async || {
        let ends = meet(live.current(), client.clone(), "node.example").await?;
        let shown = ends
            .1
            .get_ref()
            .1
            .peer_certificates()
            .expect("also in a resumed session");
        assert_eq!(
            Serial::of(&shown[0]).expect("a serial"),
            alice.chain().serial().expect("a serial")
        );
        Ok::<_, (String, String)>(ends.1.get_ref().1.handshake_kind())
    };
    assert_eq!(kind().await, Ok(Some(HandshakeKind::Full)));
    assert_eq!(
        kind().await,
        Ok(Some(HandshakeKind::Resumed)),
        "else the rest proves nothing"
    );
    live.swap(make(cluster.trust()));
    assert_eq!(
        kind().await,
        Ok(Some(HandshakeKind::Full)),
        "what came before the swap is not taken"
    );
    assert_eq!(kind().await, Ok(Some(HandshakeKind::Resumed)));
    let mut denying = cluster.trust();
    denying
        .denied_serials
        .insert(alice.chain().serial().expect("a serial"));
    assert_eq!(live.swap(make(denying)), 2);
    let (server, _) = kind()
        .await
        .expect_err("revoked, and a session is no way round it");
    assert!(server.contains("was revoked"), "{server}");
}

#[tokio::test]
async fn members_meet_members_only_and_never_resume() {
    let cluster = cluster();
    let trust = Arc::new(cluster.trust());
    let (one, two) = (bundle(&cluster, &node(1)), bundle(&cluster, &node(2)));
    let at = |own: &Bundle| peer(own, trust.clone()).expect("configs");
    let (one, two) = (at(&one), at(&two));
    for _ in 0..2 {
        let ends = meet(one.server.clone(), two.client.clone(), "any.name")
            .await
            .expect("members");
        assert_eq!(
            identity_at_server(&ends, &trust, Purpose::Peer),
            IdentityKind::Node(2)
        );
        let shown = ends
            .0
            .get_ref()
            .1
            .peer_certificates()
            .expect("both show one");
        let server = trust.check(shown, Purpose::Peer, now()).expect("a member");
        assert_eq!(server.member_id(), Some(1));
        assert_eq!(
            ends.1.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        assert_eq!(
            ends.1.get_ref().1.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        assert_eq!(ends.1.get_ref().1.alpn_protocol(), Some(PEER_PROTOCOL));
    }
    for subject in [user("alice"), admin("root"), Subject::Join] {
        let stranger = at(&bundle(&cluster, &subject));
        let (server, _) = meet(one.server.clone(), stranger.client, "any.name")
            .await
            .expect_err("no member");
        assert!(server.contains("member"), "{server}");
        let (_, client) = meet(stranger.server, one.client.clone(), "any.name")
            .await
            .expect_err("no member");
        assert!(
            client.contains("not a member's") || client.contains("not meant for members"),
            "{client}"
        );
    }
    let other = cluster_at(now());
    let other = peer(&bundle(&other, &node(2)), Arc::new(other.trust())).expect("configs");
    let (server, client) = meet(one.server.clone(), other.client, "any.name")
        .await
        .expect_err("another cluster");
    assert!(
        server.contains("another cluster") || client.contains("another cluster"),
        "{server} / {client}"
    );
}

#[tokio::test]
async fn a_client_that_is_no_member_does_not_reach_members_by_any_protocol() {
    let cluster = cluster();
    let own = peer(&bundle(&cluster, &node(1)), Arc::new(cluster.trust())).expect("configs");
    let mut client = dialler(&cluster, None);
    client.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    let (server, _) = meet(own.server.clone(), Arc::new(client.clone()), "node.example")
        .await
        .expect_err("nobody");
    assert!(server.contains("no certificate"), "{server}");
    client.alpn_protocols = vec![b"h2".to_vec()];
    let (server, client) = meet(own.server, Arc::new(client), "node.example")
        .await
        .expect_err("another protocol");
    assert!(server.contains("no protocol in common") && client.contains("no protocol in common"));
}

#[tokio::test]
async fn who_joins_meets_the_pinned_cluster_and_nobody_else() {
    let (ours, theirs) = (cluster(), cluster());
    let door = |cluster: &Cluster, subject: &Subject, roots: &[CertificateDer<'static>]| {
        Arc::new(join_listener(&bundle(cluster, subject), roots).expect("a config"))
    };
    let pinned = PinnedRoot::new(RootPin::of(ours.root.certificate()).expect("a root"));
    let client = Arc::new(pinned.client_config().expect("a config"));
    let roots = [ours.root.certificate().clone()];
    let ends = meet(
        door(&ours, &Subject::Join, &roots),
        client.clone(),
        "10.0.0.1",
    )
    .await
    .expect("pinned");
    let shown = ends.0.get_ref().1.peer_certificates().expect("a chain");
    let met = pinned.verify(shown, now()).expect("verified already");
    assert_eq!(
        (met.domain, &met.root),
        (ours.domain, ours.root.certificate())
    );
    // Somebody in between, with an authority of its own; and then with our root, which is public, added to the chain.
    let their_root = [theirs.root.certificate().clone()];
    let both = [
        theirs.root.certificate().clone(),
        ours.root.certificate().clone(),
    ];
    let (_, words) = meet(
        door(&theirs, &Subject::Join, &their_root),
        client.clone(),
        "a.b",
    )
    .await
    .expect_err("not pinned");
    assert!(words.contains("not the one that the token pins"), "{words}");
    meet(door(&theirs, &Subject::Join, &both), client.clone(), "a.b")
        .await
        .expect_err("not signed by it");
    meet(door(&ours, &Subject::Join, &[]), client.clone(), "a.b")
        .await
        .expect_err("no root to see");
    // A client or a member of the cluster that plays the join listener.
    for subject in [
        node(1),
        user("alice"),
        Subject::Console {
            names: vec!["a.b".to_owned()],
        },
    ] {
        meet(door(&ours, &subject, &roots), client.clone(), "a.b")
            .await
            .expect_err("no join listener");
    }
}

#[tokio::test]
async fn a_stolen_proof_is_worth_nothing_on_another_connection() {
    let cluster = cluster();
    let roots = [cluster.root.certificate().clone()];
    let door =
        Arc::new(join_listener(&bundle(&cluster, &Subject::Join), &roots).expect("a config"));
    let pin = RootPin::of(cluster.root.certificate()).expect("a root");
    let client = Arc::new(PinnedRoot::new(pin).client_config().expect("a config"));
    let (secret, request) = ([7; 32], [8; 32]);
    let mut proofs = Vec::new();
    let mut values = Vec::new();
    for _ in 0..2 {
        let (client, server) = meet(door.clone(), client.clone(), "a.b")
            .await
            .expect("pinned");
        let near = proof::exporter(client.get_ref().1).expect("after the handshake");
        assert_eq!(
            near,
            proof::exporter(server.get_ref().1).expect("after the handshake")
        );
        proofs.push(proof::mac(&secret, &near, &request));
        values.push(near);
    }
    assert!(proof::verify(&secret, &values[0], &request, &proofs[0]));
    assert!(proof::verify(&secret, &values[1], &request, &proofs[1]));
    assert!(!proof::verify(&secret, &values[1], &request, &proofs[0]));
}

#[tokio::test]
async fn the_console_asks_no_browser_for_a_certificate() {
    let cluster = cluster();
    let names = vec!["console.example".to_owned(), "10.0.0.7".to_owned()];
    let own = bundle(&cluster, &Subject::Console { names });
    let listener =
        console_listener(fixed(&own).expect("a pair"), &[b"h2", b"http/1.1"]).expect("a config");
    let listener = Arc::new(listener);
    let admin = bundle(&cluster, &admin("root"));
    for (name, own) in [("console.example", None), ("10.0.0.7", Some(&admin))] {
        let ends = meet(listener.clone(), Arc::new(dialler(&cluster, own)), name)
            .await
            .expect("let in");
        assert!(ends.1.get_ref().1.peer_certificates().is_none());
    }
}

#[test]
fn the_peer_port_knows_members_from_machines_that_join() {
    let of = |names: &[&'static [u8]]| Route::of(Some(names.iter().copied()));
    assert_eq!(of(&[PEER_PROTOCOL]), Route::Peer);
    assert_eq!(of(&[JOIN_PROTOCOL]), Route::Join);
    assert_eq!(of(&[b"h2", JOIN_PROTOCOL]), Route::Join);
    assert_eq!(of(&[b"h2"]), Route::Other);
    assert_eq!(of(&[]), Route::Other);
    assert_eq!(Route::of(None::<std::iter::Empty<&[u8]>>), Route::Other);
}
