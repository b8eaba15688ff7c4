//! The settings of the transport between members.

use super::{Pair, Scratch, good, problems, refused, with};

/// Setting, bad value, and what the line about it must say.
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("listen-peer-urls", "", "leave it out to listen nowhere"),
    (
        "listen-peer-urls",
        "http://127.0.0.1:2380",
        "can read and change everything: use https:// with --peer-cert-file",
    ),
    (
        "listen-peer-urls",
        "node1:2380",
        "the scheme is missing: write http://node1:2380",
    ),
    (
        "initial-advertise-peer-urls",
        "https://a:0",
        "port 0 cannot be dialled",
    ),
    (
        "initial-advertise-peer-urls",
        "https://a:1/x",
        "\"/x\" after the port must go",
    ),
    ("peer-allow-plain", "yes", "use true or false"),
    (
        "peer-client-cert-auth",
        "false",
        "members always show each other certificates",
    ),
    ("peer-cert-allowed-cn", "", "leave it out to allow all"),
    (
        "peer-cert-allowed-hostname",
        ",",
        "leave it out to allow all",
    ),
];

#[test]
fn each_bad_value_earns_its_line() {
    for (key, value, part) in BAD_VALUES {
        refused(key, value, part);
    }
}

#[test]
fn members_may_speak_without_tls_only_if_that_is_said() {
    let plain = [
        ("listen-peer-urls", "http://127.0.0.1:2380"),
        ("peer-allow-plain", "true"),
    ];
    let settings = good(&plain);
    assert!(settings.peers.allow_plain && settings.peers.tls.is_none());
    assert_eq!(
        settings.listen.peers[0].to_string(),
        "http://127.0.0.1:2380"
    );
    let none = good(&[]);
    assert!(none.listen.peers.is_empty() && none.peers.advertise.is_empty());
    let alone = [("initial-cluster", "a=https://x:1,b=https://y:1")];
    let lines = problems(with(&alone, &[]));
    assert!(lines[0].contains("which must reach this one"), "{lines:?}");
    let lines = problems(with(
        &[
            ("listen-peer-urls", "http://0.0.0.0:2380"),
            ("peer-allow-plain", "true"),
        ],
        &[],
    ));
    assert!(
        lines[0].contains("add --initial-advertise-peer-urls"),
        "{lines:?}"
    );
}

#[test]
fn tls_between_members_needs_all_three_files_and_both_usages() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let scratch = Scratch::new("peer-tls");
    let member = Pair::of(&scratch, "member", |params| {
        params.extended_key_usages = vec![ClientAuth, ServerAuth];
    });
    let server = Pair::of(&scratch, "server", |params| {
        params.extended_key_usages = vec![ServerAuth];
    });
    let other = Pair::of(&scratch, "other", |_| {});
    let https = ("listen-peer-urls", "https://127.0.0.1:0");
    let files = |pair: &Pair| {
        [
            ("peer-cert-file", pair.cert.clone()),
            ("peer-key-file", pair.key.clone()),
            ("peer-trusted-ca-file", pair.cert.clone()),
        ]
    };
    let lines = |files: &[(&'static str, String)]| {
        let mut flags = vec![https];
        flags.extend(files.iter().map(|(name, path)| (*name, path.as_str())));
        problems(with(&flags, &[]))[0].clone()
    };
    let all = files(&member);
    let flags: Vec<_> = [https]
        .into_iter()
        .chain(all.iter().map(|(name, path)| (*name, path.as_str())))
        .collect();
    assert!(good(&flags).peers.tls.is_some());
    assert!(good(&[https]).trust.peers && !good(&flags).trust.peers);
    let two = lines(&all[..2]);
    assert!(two.starts_with("peer-trusted-ca-file: missing"), "{two}");
    let usage = lines(&files(&server));
    assert!(usage.contains("lacks clientAuth"), "{usage}");
    let mut mixed = files(&member);
    mixed[1].1.clone_from(&other.key);
    let mixed = lines(&mixed);
    assert!(
        mixed.starts_with("peer-key-file") && mixed.contains("does not belong"),
        "{mixed}"
    );
    let text = scratch.write("text", "hello\n");
    let mut no_ca = files(&member);
    no_ca[2].1 = text;
    let no_ca = lines(&no_ca);
    assert!(
        no_ca.starts_with("peer-trusted-ca-file") && no_ca.contains("holds no certificate"),
        "{no_ca}"
    );
}
