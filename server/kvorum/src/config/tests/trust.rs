//! What is left to the cluster's own authority.

use std::time::Duration;

use super::{Pair, Scratch, good, problems, with};

const HTTPS: (&str, &str) = ("listen-client-urls", "https://127.0.0.1:0");

#[test]
fn what_has_no_files_gets_certificates_of_the_clusters_own() {
    let plain = good(&[("listen-client-urls", "http://127.0.0.1:0")]);
    assert!(!plain.trust.clients && !plain.trust.peers);
    let own = good(&[HTTPS, ("listen-peer-urls", "https://127.0.0.1:0")]);
    assert!(own.trust.clients && own.trust.peers && own.trust.client_cert_auth);
    assert_eq!(own.trust.lives.node, Duration::from_secs(30 * 24 * 3600));
    let scratch = Scratch::new("trust");
    let pair = Pair::good(&scratch);
    let files = [
        HTTPS,
        ("cert-file", &pair.cert),
        ("key-file", &pair.key),
        ("node-cert-life", "90s"),
    ];
    let files = good(&files);
    assert!(!files.trust.clients && !files.trust.client_cert_auth);
    assert_eq!(files.trust.lives.node, Duration::from_secs(90));
}

#[test]
fn whether_clients_show_a_certificate_must_agree_with_the_files() {
    let scratch = Scratch::new("cert-auth");
    let pair = Pair::good(&scratch);
    let pair_flags = [HTTPS, ("cert-file", &pair.cert), ("key-file", &pair.key)];
    let refused = |more: &[(&'static str, &str)]| {
        let flags: Vec<_> = pair_flags.iter().chain(more).copied().collect();
        problems(with(&flags, &[]))[0].clone()
    };
    let missing = refused(&[("client-cert-auth", "true")]);
    assert!(missing.contains("needs trusted-ca-file"), "{missing}");
    let both = refused(&[
        ("client-cert-auth", "false"),
        ("trusted-ca-file", &pair.cert),
    ]);
    assert!(both.contains("leave one of the two out"), "{both}");
    let optional = good(&[HTTPS, ("client-cert-auth", "false")]);
    assert!(!optional.trust.client_cert_auth);
}

#[test]
fn members_that_begin_together_cannot_each_make_an_authority() {
    let cluster = ("initial-cluster", "a=https://x:1,b=https://y:1");
    let flags = [
        HTTPS,
        ("listen-peer-urls", "https://127.0.0.1:0"),
        ("name", "a"),
        cluster,
    ];
    let lines = problems(with(&flags, &[]));
    assert!(lines[0].starts_with("initial-cluster"), "{lines:?}");
    assert!(lines[0].contains("`kvorum join`"), "{lines:?}");
}

#[test]
fn a_console_alone_is_told_apart() {
    let flags = [
        ("listen-client-urls", "http://127.0.0.1:0"),
        ("listen-peer-urls", "http://127.0.0.1:0"),
        ("peer-allow-plain", "true"),
        ("name", "a"),
        ("initial-cluster", "a=http://x:1,b=http://y:1"),
        ("initial-advertise-peer-urls", "http://x:1"),
    ];
    let lines = problems(with(&flags, &[]));
    assert!(lines[0].starts_with("listen-console-url"), "{lines:?}");
    let none = [&flags[..], &[("listen-console-url", "none")]].concat();
    assert!(!good(&none).trust.is_wanted());
}

#[test]
fn a_console_without_a_login_stays_on_this_machine() {
    let everywhere = ("listen-console-url", "https://0.0.0.0:2382");
    let lines = problems(with(&[HTTPS, everywhere, ("console-login", "off")], &[]));
    assert!(lines[0].starts_with("listen-console-url"), "{lines:?}");
    let mend = "add --console-login required";
    assert!(lines[0].contains(mend), "{lines:?}");
    good(&[HTTPS, everywhere]);
}

#[test]
fn one_address_of_this_machine_is_enough() {
    let settings = good(&[("advertise", "10.0.0.1")]);
    let clients: Vec<_> = settings
        .listen
        .clients
        .iter()
        .map(|client| (client.address.to_string(), client.tls, client.plain))
        .collect();
    let secure = |address: &str| (address.to_owned(), true, false);
    assert_eq!(clients, [secure("10.0.0.1:2379"), secure("127.0.0.1:2379")]);
    assert_eq!(settings.advertise_client_urls, ["https://10.0.0.1:2379"]);
    assert_eq!(settings.peers.advertise, ["https://10.0.0.1:2380"]);
    let named = good(&[
        ("advertise", "node1.example"),
        ("listen-client-urls", "https://127.0.0.1:1"),
    ]);
    assert_eq!(named.listen.clients.len(), 1);
    assert_eq!(named.listen.peers[0].to_string(), "https://0.0.0.0:2380");
}
