//! The settings of the console.

use super::{Pair, Scratch, good, problems, refused, with};

/// Setting, bad value, and what the line about it must say.
const BAD_VALUES: &[(&str, &str, &str)] = &[
    (
        "listen-console-url",
        "http://0.0.0.0:2382",
        "http:// is for loopback: use https://0.0.0.0:2382",
    ),
    (
        "listen-console-url",
        "http://127.0.0.1:1,http://127.0.0.1:3",
        "one URL only",
    ),
    ("console-login", "on", "use required or off"),
    (
        "console-acme-email",
        "a@example.com",
        "only with console-acme-names",
    ),
    (
        "console-acme-directory",
        "https://ca.example/dir",
        "only with console-acme-names",
    ),
    (
        "console-acme-ca-file",
        "/ca.crt",
        "only with console-acme-names",
    ),
];

#[test]
fn each_bad_value_of_the_console_earns_its_line() {
    for (key, value, part) in BAD_VALUES {
        refused(key, value, part);
    }
}

#[test]
fn a_public_certificate_is_for_a_console_by_tls() {
    let flags = [
        ("listen-console-url", "http://127.0.0.1:1"),
        ("console-allow-plain", "true"),
        ("console-acme-names", "a.example.com"),
    ];
    let lines = problems(with(&flags, &[]));
    assert!(lines[0].contains("is for TLS"), "{lines:?}");
}

/// A console by TLS, with these flags beyond.
fn secure(
    scratch: &Scratch,
    url: &str,
    more: &[(&'static str, &str)],
) -> Vec<(&'static str, String)> {
    let pair = Pair::good(scratch);
    let usual = [
        ("listen-console-url", url),
        ("cert-file", &pair.cert),
        ("key-file", &pair.key),
    ];
    let all = usual.iter().chain(more);
    all.map(|(key, value)| (*key, (*value).to_owned()))
        .collect()
}

fn lent<'a>(flags: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    flags.iter().map(|(key, value)| (*key, &**value)).collect()
}

#[test]
fn other_machines_reach_a_console_with_tls_and_a_login_only() {
    let scratch = Scratch::new("console-reach");
    let everywhere = "https://0.0.0.0:2382";
    let login = [("console-login", "required")];
    let flags = secure(&scratch, everywhere, &login);
    assert!(good(&lent(&flags)).listen.console.is_some());
    let flags = secure(&scratch, everywhere, &[("console-login", "off")]);
    let lines = problems(with(&lent(&flags), &[]));
    assert!(
        lines[0].contains("add --console-login required"),
        "{lines:?}"
    );
}

#[test]
fn a_public_certificate_is_for_names_that_a_public_authority_knows() {
    let scratch = Scratch::new("console-acme");
    let url = "https://127.0.0.1:2382";
    let names = [
        ("console-acme-names", "a.example.com, b.example.com"),
        ("console-acme-email", "ops@example.com"),
    ];
    let flags = secure(&scratch, url, &names);
    let acme = good(&lent(&flags)).console_acme.expect("is wanted");
    assert_eq!(acme.names, ["a.example.com", "b.example.com"]);
    assert_eq!(acme.contacts, ["mailto:ops@example.com"]);
    assert_eq!(acme.directory_url, kvorum_pki::acme::LETS_ENCRYPT);
    assert!(acme.cache_dir.ends_with("acme") && acme.directory_ca_pem.is_none());
    let no_pem = scratch.write("no.pem", "nothing");
    for (key, value, part) in [
        ("console-acme-names", "localhost", "is not a DNS name"),
        ("console-acme-names", "10.0.0.1", "is not a DNS name"),
        ("console-acme-names", ",", "1 to 100 names"),
        (
            "console-acme-directory",
            "http://ca.example",
            "must be an https:// URL",
        ),
        ("console-acme-email", "nobody", "is no address"),
        (
            "console-acme-ca-file",
            &*no_pem,
            "no certificate in PEM form",
        ),
        ("console-acme-ca-file", "/no/such/file", "No such file"),
    ] {
        let more = match key {
            "console-acme-names" => vec![(key, value)],
            _ => vec![("console-acme-names", "a.example.com"), (key, value)],
        };
        let flags = secure(&scratch, url, &more);
        let lines = problems(with(&lent(&flags), &[]));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
    }
}
