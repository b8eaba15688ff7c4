//! Where TLS may be left out.

use super::{good, problems, with};

#[test]
fn plain_listeners_are_refused_where_nobody_allowed_them() {
    let https = ("listen-client-urls", "https://127.0.0.1:0");
    let none = ("listen-console-url", "none");
    for (key, url, part) in [
        (
            "listen-client-urls",
            "http://127.0.0.1:0",
            "reads every key and every password: use https://, or say --client-allow-plain=true",
        ),
        (
            "listen-metrics-urls",
            "http://192.0.2.1:2381",
            "http:// is for loopback",
        ),
        (
            "listen-console-url",
            "http://127.0.0.1:0",
            "use https://, or say --console-allow-plain=true",
        ),
    ] {
        let mut flags = vec![
            ("client-allow-plain", "false"),
            ("console-allow-plain", "false"),
            (key, url),
        ];
        flags.extend([https, none].into_iter().filter(|(name, _)| *name != key));
        let lines = problems(with(&flags, &[]));
        let line = lines.iter().find(|line| line.starts_with(key));
        let line = line.unwrap_or_else(|| panic!("no line about {key} in {lines:?}"));
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

#[test]
fn plain_listeners_are_served_where_they_are_allowed() {
    let settings = good(&[
        ("listen-client-urls", "http://127.0.0.1:0"),
        ("client-allow-plain", "true"),
        ("console-allow-plain", "true"),
        ("listen-console-url", "http://127.0.0.1:0"),
    ]);
    assert!(settings.listen.clients[0].plain);
    assert!(settings.listen.console.is_some());
}
