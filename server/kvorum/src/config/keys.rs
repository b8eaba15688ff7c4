//! The table of settings: each row is at once a flag, a `KVORUM_…` variable and a key of the configuration file.

/// One setting, known by one name everywhere.
#[derive(Debug)]
pub(crate) struct Key {
    /// The name, as flag and as key of the file.
    pub(crate) name: &'static str,
    /// What stands for the value in the help text.
    pub(crate) value: &'static str,
    /// What it does, one sentence.
    pub(crate) help: &'static str,
    /// What holds when no source gives it; `None` where nothing can be assumed.
    pub(crate) default: Option<&'static str>,
}

impl Key {
    /// The environment variable of this key.
    pub(crate) fn variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}",
            self.name.to_uppercase().replace('-', "_")
        )
    }

    /// It is true or false.
    pub(crate) fn is_switch(&self) -> bool {
        self.value == "BOOL"
    }
}

/// What every variable of ours starts with.
pub(crate) const VARIABLE_PREFIX: &str = "KVORUM_";

/// The flag that names the configuration file; the only setting that the file itself cannot hold.
pub(crate) const CONFIG: Key = Key {
    name: "config",
    value: "FILE",
    help: "TOML file with any of the settings below, under the same names",
    default: None,
};

macro_rules! keys {
    ($($constant:ident $name:literal $value:literal $default:expr, $help:literal;)*) => {
        $(pub(crate) const $constant: &str = $name;)*

        /// Every setting, in the order of the help text.
        pub(crate) const KEYS: &[Key] =
            &[$(Key { name: $name, value: $value, help: $help, default: $default }),*];
    };
}

keys! {
    DATA_DIR "data-dir" "DIR" Some(DATA_DIR_DEFAULT),
        "Directory that holds everything this member stores";
    NAME "name" "NAME" Some("default"),
        "Name of this member, as shown in the member list";
    ADVERTISE "advertise" "HOST" None,
        "Address or name of this machine for clients and members: both are served there, with TLS, where no URLs are given";
    LISTEN_CLIENT_URLS "listen-client-urls" "URLS" Some("https://127.0.0.1:2379"),
        "Where clients are served: gRPC, /health, /livez, /readyz, /version, /metrics";
    ADVERTISE_CLIENT_URLS "advertise-client-urls" "URLS" None,
        "What the member list tells clients to dial; the bound client addresses if not given";
    LISTEN_METRICS_URLS "listen-metrics-urls" "URLS" Some("http://127.0.0.1:2381"),
        "Where /metrics and the health pages are served apart from clients, or `none`";
    METRICS "metrics" "DETAIL" Some("basic"),
        "basic, or extensive: with the time that each call took";
    LISTEN_CONSOLE_URL "listen-console-url" "URL" Some("https://127.0.0.1:2382"),
        "Where the console is served, or `none`";
    CONSOLE_LOGIN "console-login" "WHEN" Some("required"),
        "required, or off: whether people must sign in to the console";
    CONSOLE_ACME_NAMES "console-acme-names" "NAMES" None,
        "Public names of the console, for which it gets a certificate by ACME; the authority connects to their port 443";
    CONSOLE_ACME_DIRECTORY "console-acme-directory" "URL" Some(kvorum_pki::acme::LETS_ENCRYPT),
        "The directory of the authority that the console's public certificate comes from";
    CONSOLE_ACME_EMAIL "console-acme-email" "ADDRESSES" None,
        "Whom that authority may write to";
    CONSOLE_ACME_CA_FILE "console-acme-ca-file" "FILE" None,
        "PEM certificates that the directory's own certificate ends in; the system's if not given";
    CERT_FILE "cert-file" "FILE" None,
        "PEM certificate chain for https:// client, metrics and console URLs; the cluster makes its own if not given";
    KEY_FILE "key-file" "FILE" None,
        "PEM private key that belongs to the certificate";
    TRUSTED_CA_FILE "trusted-ca-file" "FILE" None,
        "PEM certificates; https:// clients must then show a certificate signed by one of them";
    CLIENT_CERT_AUTH "client-cert-auth" "BOOL" None,
        "Whether clients must show a certificate; true with trusted-ca-file, or without cert-file, if not given";
    CLIENT_ALLOW_PLAIN "client-allow-plain" "BOOL" Some("false"),
        "Whether clients may be served without TLS, over http:// client URLs, and metrics beyond loopback";
    CONSOLE_ALLOW_PLAIN "console-allow-plain" "BOOL" Some("false"),
        "Whether the console may be served without TLS, over an http:// URL on loopback";
    AUTH_TOKEN "auth-token" "KIND" Some("simple"),
        "simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m: what users get for their password";
    AUTH_TOKEN_TTL "auth-token-ttl" "SECONDS" Some("300"),
        "How long a simple token lives that nobody uses";
    BCRYPT_COST "bcrypt-cost" "N" Some("10"),
        "Work that a guess of a password costs, as a power of two";
    WRONG_PASSWORDS_PER_MINUTE "wrong-passwords-per-minute" "N" Some("20"),
        "So many wrong passwords from one address are looked at; further attempts are refused for a while";
    LISTEN_PEER_URLS "listen-peer-urls" "URLS" None,
        "Where other members are served; nowhere if not given, which fits a cluster of one";
    INITIAL_ADVERTISE_PEER_URLS "initial-advertise-peer-urls" "URLS" None,
        "Where other members reach this one; the bound peer addresses if not given. Later starts ignore it";
    PEER_CERT_FILE "peer-cert-file" "FILE" None,
        "PEM certificate chain that members show each other; the cluster makes its own if not given";
    PEER_KEY_FILE "peer-key-file" "FILE" None,
        "PEM private key that belongs to the peer certificate";
    PEER_TRUSTED_CA_FILE "peer-trusted-ca-file" "FILE" None,
        "PEM certificates; members must show a certificate signed by one of them";
    PEER_CLIENT_CERT_AUTH "peer-client-cert-auth" "BOOL" Some("true"),
        "Whether members that dial this one must show a certificate, too: always";
    PEER_CERT_ALLOWED_CN "peer-cert-allowed-cn" "NAMES" None,
        "Common names that certificates of members may have; any if not given";
    PEER_CERT_ALLOWED_HOSTNAME "peer-cert-allowed-hostname" "NAMES" None,
        "Names or addresses one of which certificates of members must have; any if not given";
    PEER_ALLOW_PLAIN "peer-allow-plain" "BOOL" Some("false"),
        "Whether members may speak without TLS, over http:// peer URLs";
    NODE_CERT_LIFE "node-cert-life" "DURATION" Some("30d"),
        "How long a certificate lives that this member makes for itself; it makes another one after two thirds of it";
    CLIENT_CERT_LIFE "client-cert-life" "DURATION" Some("90d"),
        "How long a certificate lives that this member makes for a client, if the request names no time";
    CONSOLE_CERT_LIFE "console-cert-life" "DURATION" Some("90d"),
        "How long a certificate lives that this member makes for its console";
    INITIAL_CLUSTER_TOKEN "initial-cluster-token" "TOKEN" Some("etcd-cluster"),
        "Goes into the cluster and member ids when the data directory is made";
    INITIAL_CLUSTER "initial-cluster" "MEMBERS" None,
        "All members at the first start as NAME=URL,…; this one alone if not given. Later starts ignore it";
    INITIAL_CLUSTER_STATE "initial-cluster-state" "STATE" Some("new"),
        "new: an empty data directory founds the cluster; existing: this member was added to one that runs";
    STRICT_RECONFIG_CHECK "strict-reconfig-check" "BOOL" Some("true"),
        "Whether changes of the members that could cost the quorum are refused";
    MAX_LEARNERS "max-learners" "N" Some("1"),
        "Learners that the cluster may have at once";
    AUTO_PROMOTE "auto-promote" "BOOL" Some("false"),
        "Whether this member, as a learner, becomes a voter by itself once it has caught up";
    QUOTA_BACKEND_BYTES "quota-backend-bytes" "BYTES" Some("2GiB"),
        "Size of the store from which writes are refused";
    AUTO_COMPACTION_MODE "auto-compaction-mode" "MODE" Some("periodic"),
        "periodic or revision: whether auto-compaction-retention is a time or a number of revisions";
    AUTO_COMPACTION_RETENTION "auto-compaction-retention" "RETENTION" Some("0"),
        "History that is kept: 30m, 1h, a bare number of hours, or a number of revisions; 0 keeps all of it";
    MAX_TXN_OPS "max-txn-ops" "N" Some("128"),
        "Operations that one transaction may hold";
    MAX_REQUEST_BYTES "max-request-bytes" "BYTES" Some("1536KiB"),
        "Size of the largest request";
    MAX_CONCURRENT_STREAMS "max-concurrent-streams" "N" Some("4294967295"),
        "Requests and streams that one connection may have open";
    MAX_CLIENT_CALLS "max-client-calls" "N" Some("1024"),
        "Requests of one client, by certificate or address, that are carried out at once; eight times as many wait, more are refused";
    MAX_CLIENT_STREAMS "max-client-streams" "N" Some("65536"),
        "Streams, locks and campaigns that one client may have open, on all its connections together";
    LARGE_REQUEST_MEMORY "large-request-memory" "BYTES" None,
        "Memory that large reads and writes share; an eighth of the memory limit, 1GiB at most, if not given";
    ENABLE_GRPC_GATEWAY "enable-grpc-gateway" "BOOL" Some("true"),
        "Whether clients may also use JSON over HTTP, under /v3/";
    CORS "cors" "ORIGINS" Some("*"),
        "Origins of the web pages that may read answers over HTTP, or `*` for all";
    HOST_WHITELIST "host-whitelist" "HOSTS" Some("*"),
        "Names by which HTTP requests without TLS may call this member, or `*` for all";
    HEARTBEAT_INTERVAL "heartbeat-interval" "DURATION" Some("100ms"),
        "Time between two heartbeats of a leader";
    ELECTION_TIMEOUT "election-timeout" "DURATION" Some("1000ms"),
        "Silence of the leader after which a member campaigns";
    WATCH_PROGRESS_NOTIFY_INTERVAL "watch-progress-notify-interval" "DURATION" Some("10m"),
        "Time between two progress notices of an idle watch";
    GRPC_KEEPALIVE_MIN_TIME "grpc-keepalive-min-time" "DURATION" Some("5s"),
        "Clients with open requests that ping more often are disconnected";
    GRPC_KEEPALIVE_INTERVAL "grpc-keepalive-interval" "DURATION" Some("2h"),
        "Time between two pings to a silent client";
    GRPC_KEEPALIVE_TIMEOUT "grpc-keepalive-timeout" "DURATION" Some("20s"),
        "Time in which a client must answer such a ping";
    IO_THREADS "io-threads" "N" None,
        "Threads that serve clients; from the number of processors if not given";
    LOG_LEVEL "log-level" "LEVEL" Some("info"),
        "debug, info, warn or error";
    LOG_FORMAT "log-format" "FORMAT" Some("json"),
        "json or text";
}

/// Where a packaged service keeps its data.
pub(crate) const DATA_DIR_DEFAULT: &str = "/var/lib/kvorum";

/// The row of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The candidate that a mistyped name most resembles, if any does.
pub(crate) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
