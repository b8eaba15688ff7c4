//! Each bad input and the line it earns; each good one and what it becomes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Problem, Settings, read};

mod console;
mod peers;
mod plain;
mod shipped;
mod trust;

/// A directory of its own for each test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("kvorum-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("makes a scratch directory");
        Self(path)
    }

    fn set(&self, name: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.0.join(name), mode).expect("a file of ours");
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("writes a scratch file");
        self.set(name, 0o600);
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with(
    flags: &[(&'static str, &str)],
    environment: &[(&str, &str)],
) -> Result<Settings, Vec<Problem>> {
    let mut flags: Vec<_> = flags
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    // Most of what is tested here has nothing to do with TLS.
    for (name, value) in [
        ("data-dir", "here"),
        ("client-allow-plain", "true"),
        ("console-allow-plain", "true"),
    ] {
        if !flags.iter().any(|(given, _)| *given == name) {
            flags.push((name, value.to_owned()));
        }
    }
    let environment = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    read(flags, environment)
}

fn good(flags: &[(&'static str, &str)]) -> Settings {
    with(flags, &[]).expect("is accepted")
}

fn problems(result: Result<Settings, Vec<Problem>>) -> Vec<String> {
    result
        .expect_err("is refused")
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// One flag, and a part of the one line that must come back.
fn refused(key: &'static str, value: &str, part: &str) {
    let lines = problems(with(&[(key, value)], &[]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(key), "{lines:?}");
    assert!(lines[0].contains(&format!("flag --{key}")), "{lines:?}");
    assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
}

#[test]
fn defaults_are_what_the_help_says() {
    let settings = good(&[]);
    assert_eq!(settings.name, "default");
    assert_eq!(settings.cluster.token, "etcd-cluster");
    assert_eq!(
        settings.listen.clients[0].address.to_string(),
        "127.0.0.1:2379"
    );
    assert!(!settings.listen.clients[0].plain && settings.listen.clients[0].tls);
    assert_eq!(
        settings.listen.metrics[0].to_string(),
        "http://127.0.0.1:2381"
    );
    assert_eq!(
        settings.listen.console.expect("is on").to_string(),
        "https://127.0.0.1:2382"
    );
    assert_eq!(settings.limits.quota_backend_bytes, 2 << 30);
    assert_eq!(settings.limits.max_request_bytes, 1_572_864);
    assert_eq!(settings.limits.max_txn_ops, 128);
    assert_eq!(settings.limits.max_concurrent_streams, u32::MAX);
    assert_eq!(settings.limits.max_client_calls, 1024);
    assert_eq!(settings.limits.max_client_streams, 65_536);
    assert_eq!(
        settings.timing.heartbeat_interval,
        Duration::from_millis(100)
    );
    assert_eq!(settings.timing.election_timeout, Duration::from_secs(1));
    assert_eq!(
        settings.timing.watch_progress_notify_interval,
        Duration::from_secs(600)
    );
    let timing = settings.timing;
    assert_eq!(timing.grpc_keepalive_min_time, Duration::from_secs(5));
    assert_eq!(timing.grpc_keepalive_interval, Duration::from_secs(7200));
    assert_eq!(timing.grpc_keepalive_timeout, Duration::from_secs(20));
    assert!(settings.advertise_client_urls.is_empty());
    assert!(settings.tls.is_none());
    assert!((1..=128).contains(&settings.io_threads));
}

const URLS: &str = "listen-client-urls";

/// Setting, bad value, and what the line about it must say.
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("data-dir", "", "must not be empty"),
    ("name", "", "must not be empty"),
    (
        "name",
        "a\nb",
        r#""a\nb" (flag --name): has a control character"#,
    ),
    ("initial-cluster-token", "", "must not be empty"),
    ("initial-cluster", "http://x:1", "is no member"),
    ("initial-cluster", "=http://x:1", "a member without a name"),
    ("initial-cluster-state", "old", "use new or existing"),
    (
        "initial-cluster-state",
        "existing",
        "add --initial-cluster with all members",
    ),
    ("strict-reconfig-check", "yes", "use true or false"),
    ("max-learners", "0", "must be a whole number from 1 to 64"),
    (
        URLS,
        "127.0.0.1:2379",
        "the scheme is missing: write http://127.0.0.1:2379",
    ),
    (
        URLS,
        "ftp://127.0.0.1:1",
        "unknown scheme \"ftp\": use http or https",
    ),
    (
        URLS,
        "http://127.0.0.1",
        "the port is missing: write http://127.0.0.1:2379",
    ),
    (
        URLS,
        "http://[::1]",
        "the port is missing: write http://[::1]:2379",
    ),
    (
        URLS,
        "http://127.0.0.1:65536",
        "port \"65536\" is not a number from 0 to 65535",
    ),
    (
        URLS,
        "http://127.0.0.1:-1",
        "port \"-1\" is not a number from 0 to 65535",
    ),
    (
        URLS,
        "http://127.0.0.1:http",
        "port \"http\" is not a number",
    ),
    (
        URLS,
        "http://127.0.0.1:1/v3",
        "\"/v3\" after the port must go: write http://127.0.0.1:1",
    ),
    (
        URLS,
        "http://127.0.0.1:1?a",
        "\"?a\" after the port must go",
    ),
    (
        URLS,
        "http://me@127.0.0.1:1",
        "a user or password has no place here",
    ),
    (URLS, "http://:2379", "the host is missing"),
    (
        URLS,
        "http://::1:2379",
        "an IPv6 address stands in brackets: [::1]:2379",
    ),
    (URLS, "http://example.com:1", "\"example.com\" is a name"),
    (
        URLS,
        "http://a b:1",
        "has a character that no host name has",
    ),
    (URLS, "http://0.0.0.0:1", "add --advertise-client-urls"),
    (URLS, "", "no URL"),
    ("advertise", "https://a", "an address or a name alone"),
    ("advertise", "0.0.0.0", "nobody can dial"),
    ("client-cert-auth", "maybe", "use true or false"),
    ("node-cert-life", "30", "a unit is missing: write 30d"),
    ("node-cert-life", "1s", "must be from 30s to 90d"),
    ("console-cert-life", "398d", "must be from 30s to 397d"),
    (
        "advertise-client-urls",
        "http://a:0",
        "port 0 cannot be dialled",
    ),
    (
        "advertise-client-urls",
        "http://0.0.0.0:1",
        "nobody can dial \"all addresses\"",
    ),
    ("listen-metrics-urls", "", "write `none` to turn it off"),
    ("quota-backend-bytes", "-1", "must not be negative"),
    ("quota-backend-bytes", "1GB", "unknown unit \"GB\": use KiB"),
    ("quota-backend-bytes", "1.5GiB", "not a whole number"),
    ("quota-backend-bytes", "5", "must be from 16KiB to 1024TiB"),
    (
        "quota-backend-bytes",
        "99999999999999999999",
        "larger than can be counted",
    ),
    (
        "quota-backend-bytes",
        "99999999999TiB",
        "larger than can be counted",
    ),
    ("max-request-bytes", "65MiB", "must be from 1KiB to 64MiB"),
    (
        "max-txn-ops",
        "0",
        "must be a whole number from 1 to 100000",
    ),
    (
        "max-txn-ops",
        "many",
        "must be a whole number from 1 to 100000",
    ),
    (
        "max-concurrent-streams",
        "4294967296",
        "from 1 to 4294967295",
    ),
    ("max-client-calls", "0", "from 1 to 1000000"),
    ("max-client-streams", "0", "from 1 to 4294967295"),
    ("io-threads", "0", "must be a whole number from 1 to 128"),
    (
        "heartbeat-interval",
        "100",
        "a unit is missing: write 100ms or 100s",
    ),
    ("heartbeat-interval", "0ms", "must be from 1ms to 10s"),
    ("heartbeat-interval", "ms", "not a whole number"),
    (
        "election-timeout",
        "500ms",
        "more than five times heartbeat-interval (100ms)",
    ),
    ("election-timeout", "2m", "must be from 10ms to 50s"),
    (
        "watch-progress-notify-interval",
        "5d",
        "unknown unit \"d\": use ms, s, m or h",
    ),
    ("grpc-keepalive-min-time", "0s", "must be from 1ms to 24h"),
    ("log-level", "verbose", "use debug, info, warn or error"),
    ("log-format", "xml", "use json or text"),
];

#[test]
fn each_bad_value_earns_its_line() {
    for (key, value, part) in BAD_VALUES {
        refused(key, value, part);
    }
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let lines = problems(with(&[("log-level", &"x".repeat(1000))], &[]));
    assert!(lines[0].len() < 200, "{lines:?}");
    assert!(lines[0].contains('…'), "{lines:?}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let lines = problems(with(&[("max-txn-ops", "0"), ("log-level", "loud")], &[]));
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn listeners_that_need_the_same_port_are_refused_by_name() {
    for (client, console) in [
        ("http://127.0.0.1:7000", "http://127.0.0.1:7000"),
        ("http://0.0.0.0:7000", "http://127.0.0.1:7000"),
        ("http://127.0.0.1:7000,http://127.0.0.1:7000", "none"),
    ] {
        let lines = problems(with(
            &[
                ("listen-client-urls", client),
                ("listen-console-url", console),
                ("advertise-client-urls", "http://node:7000"),
            ],
            &[],
        ));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("need the same port"), "{lines:?}");
        assert!(lines[0].contains("listen-client-urls"), "{lines:?}");
        assert!(
            !lines[0].contains("listen-client-urls and listen-client-urls"),
            "{lines:?}"
        );
    }
}

#[test]
fn port_zero_is_never_a_collision() {
    let settings = good(&[
        ("listen-client-urls", "http://127.0.0.1:0"),
        ("listen-metrics-urls", "http://127.0.0.1:0"),
        ("listen-console-url", "none"),
    ]);
    assert_eq!(settings.listen.clients.len(), 1);
    assert!(settings.listen.console.is_none());
}

#[test]
fn sources_that_disagree_are_named_both() {
    let lines = problems(with(&[("name", "a")], &[("KVORUM_NAME", "b")]));
    assert_eq!(
        lines,
        ["name: flag --name says \"a\" and variable KVORUM_NAME says \"b\": give it in one place"]
    );
    assert_eq!(
        with(&[("name", "a")], &[("KVORUM_NAME", "a")])
            .expect("they agree")
            .name,
        "a"
    );
    assert_eq!(
        with(&[("name", "a")], &[("KVORUM_NAME", "")])
            .expect("empty is unset")
            .name,
        "a"
    );
}

#[test]
fn every_key_is_a_variable_too() {
    let settings = with(&[], &[("KVORUM_MAX_TXN_OPS", "7"), ("HOME", "x")]).expect("is accepted");
    assert_eq!(settings.limits.max_txn_ops, 7);
}

#[test]
fn an_unknown_variable_is_refused_but_not_what_kubernetes_adds() {
    let lines = problems(with(&[], &[("KVORUM_DATADIR", "x")]));
    assert_eq!(
        lines,
        ["unknown variable KVORUM_DATADIR; did you mean KVORUM_DATA_DIR?"]
    );
    let kubernetes = [
        ("KVORUM_SERVICE_HOST", "10.0.0.1"),
        ("KVORUM_PORT", "tcp://10.0.0.1:2379"),
        ("KVORUM_PORT_2379_TCP_ADDR", "10.0.0.1"),
    ];
    with(&[], &kubernetes).expect("is accepted");
}

#[test]
fn a_file_gives_any_key_and_its_mistakes_are_shown_by_line() {
    let scratch = Scratch::new("file");
    let file = scratch.write(
        "good.toml",
        "# comment\nname = \"filed\"\nmax-txn-ops = 9\n\
         listen-client-urls = [\"http://127.0.0.1:0\", \"http://[::1]:0\"]\n",
    );
    let settings = good(&[("config", &file)]);
    assert_eq!(settings.name, "filed");
    assert_eq!(settings.limits.max_txn_ops, 9);
    assert_eq!(settings.listen.clients.len(), 2);

    let conflict = problems(with(&[("config", &file), ("name", "flagged")], &[]));
    let want = format!("flag --name says \"flagged\" and file {file} line 2 says \"filed\"");
    assert!(conflict[0].contains(&want), "{conflict:?}");

    for (name, text, part) in [
        ("key.toml", "\nnmae = \"x\"\n", "unknown key \"nmae\" (file"),
        (
            "key.toml",
            "\nnmae = \"x\"\n",
            "line 2); did you mean name?",
        ),
        (
            "kind.toml",
            "name = 1.5\n",
            "a fraction stands where a string",
        ),
        (
            "table.toml",
            "[name]\nx = 1\n",
            "a table stands where a string",
        ),
        ("syntax.toml", "name = \"a\"\nmax-txn-ops = = 3\n", "line 2"),
        (
            "value.toml",
            "heartbeat-interval = 100\n",
            "a unit is missing",
        ),
        (
            "twice.toml",
            "name = \"a\"\nname = \"b\"\n",
            "duplicate key",
        ),
    ] {
        let file = scratch.write(name, text);
        let lines = problems(with(&[("config", &file)], &[]));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
    }
    let lines = problems(with(&[("config", "no/such/file")], &[]));
    assert!(
        lines[0].contains("\"no/such/file\" (flag --config): No such file"),
        "{lines:?}"
    );
}

#[test]
fn one_listener_serves_both_schemes_that_share_its_address() {
    let scratch = Scratch::new("both");
    let pair = Pair::good(&scratch);
    let settings = good(&[
        (
            "listen-client-urls",
            "http://127.0.0.1:0,https://127.0.0.1:0,https://[::1]:0",
        ),
        ("cert-file", &pair.cert),
        ("key-file", &pair.key),
    ]);
    let clients: Vec<_> = settings
        .listen
        .clients
        .iter()
        .map(|c| (c.plain, c.tls))
        .collect();
    assert_eq!(clients, [(true, true), (false, true)]);
    assert!(settings.tls.is_some());
}

/// A certificate and its key, as files.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn good(scratch: &Scratch) -> Self {
        Self::of(scratch, "good", |_| {})
    }

    fn of(scratch: &Scratch, name: &str, edit: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("params");
        edit(&mut params);
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Self {
            cert: scratch.write(&format!("{name}.crt"), &cert.pem()),
            key: scratch.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }
}

fn tls_refused(cert: &str, key: &str, part: &str) {
    let lines = problems(with(
        &[
            ("listen-client-urls", "https://127.0.0.1:0"),
            ("cert-file", cert),
            ("key-file", key),
        ],
        &[],
    ));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
}

#[test]
fn certificate_files_are_checked_at_the_start() {
    let scratch = Scratch::new("tls");
    let good = Pair::good(&scratch);
    let other = Pair::of(&scratch, "other", |_| {});
    let expired = Pair::of(&scratch, "expired", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let early = Pair::of(&scratch, "early", |params| {
        params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    });
    let nameless = Pair::of(&scratch, "nameless", |params| {
        params.subject_alt_names.clear()
    });
    let client = Pair::of(&scratch, "client", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let encrypted = scratch.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let text = scratch.write("text", "hello\n");
    let missing = scratch.0.join("missing").to_string_lossy().into_owned();

    tls_refused(&missing, &good.key, "cert-file: ");
    tls_refused(&missing, &good.key, "(flag --cert-file): No such file");
    tls_refused(&good.cert, &missing, "(flag --key-file): No such file");
    tls_refused(&text, &good.key, "holds no certificate");
    tls_refused(&good.cert, &text, "holds no private key");
    tls_refused(&good.cert, &other.key, "does not belong to the certificate");
    tls_refused(&expired.cert, &expired.key, "expired on");
    tls_refused(&early.cert, &early.key, "check the clock");
    tls_refused(&nameless.cert, &nameless.key, "no subject alternative name");
    tls_refused(&client.cert, &client.key, "lacks serverAuth");
    tls_refused(&good.cert, &encrypted, "is encrypted");
    // Others could read it, or change it; a group may read.
    for mode in [0o644, 0o604, 0o660, 0o602] {
        scratch.set("good.key", mode);
        let told =
            format!("(mode {mode:04o}), and whoever has it can pass for this member: chmod 600 ");
        tls_refused(&good.cert, &good.key, &told);
    }
    scratch.set("good.key", 0o640);
    tls_refused(
        &nameless.cert,
        &good.key,
        "does not belong to the certificate",
    );
}

#[test]
fn tls_needs_the_whole_pair() {
    let https = ("listen-client-urls", "https://127.0.0.1:0");
    for (flags, part) in [
        (vec![https, ("cert-file", "x")], "key-file: missing"),
        (vec![https, ("key-file", "x")], "cert-file: missing"),
        (
            vec![("trusted-ca-file", "x")],
            "trusted-ca-file is of use only with both",
        ),
    ] {
        let lines = problems(with(&flags, &[]));
        assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
    }
}

#[test]
fn a_data_directory_that_nobody_named_must_be_writable() {
    let result = read(Vec::new(), std::iter::empty());
    let writable = rustix::fs::access("/var/lib", rustix::fs::Access::WRITE_OK).is_ok();
    match result {
        Ok(settings) => assert_eq!(settings.data_dir, Path::new("/var/lib/kvorum")),
        Err(lines) => {
            assert!(!writable, "{lines:?}");
            assert!(lines[0].to_string().contains("--data-dir"), "{lines:?}");
        }
    }
}
