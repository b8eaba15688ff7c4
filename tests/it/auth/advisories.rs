//! Classes of mistakes that etcd's advisories tell of and that live at the edge, each by its number.

use std::{fs, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kvorum_proto::{Method, etcdserverpb as pb};
use kvorum_tests::process::TestDir;
use ring::hmac;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{Code, metadata::MetadataMap};

use super::{Guarded, ROOT, certificates::Authority, log_in, switch_on, with_token};
use crate::rpc::{Raw, Rpc};

/// Sends a request of HTTP/1.1 and gives the whole answer.
async fn http(member: &Guarded, config: Arc<ClientConfig>, head: &str, body: &str) -> String {
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let socket = TcpStream::connect(member.address).await.expect("listening");
    let tls = TlsConnector::from(Arc::new(config));
    let name = ServerName::from(member.address.ip());
    let mut socket = tls.connect(name, socket).await.expect("a good certificate");
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let sent = socket.write_all(request.as_bytes()).await;
    sent.expect("the member reads");
    let mut answer = Vec::new();
    // A server may close without TLS's farewell.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const STATUS: &str = "POST /v3/auth/status HTTP/1.1";

/// CVE-2018-16886: through the gateway, a certificate's common name became the caller.
#[tokio::test]
async fn cve_2018_16886_a_common_name_is_nobody_through_a_gateway() {
    let member = Guarded::start("cve-2018-16886", &[]);
    let root = member.certified(ROOT).await;
    switch_on(&root).await;
    let nobody = MetadataMap::new();
    let status = root.with(&nobody, pb::AuthStatusRequest {}).await;
    assert!(status.expect("the certificate names root").enabled);

    // A gateway elsewhere, which has a certificate of its own, says that it is one.
    let mut marked = MetadataMap::new();
    marked.insert("grpcgateway-accept", "*/*".parse().expect("a value"));
    let refused = root.with(&marked, pb::AuthStatusRequest {}).await;
    let refused = refused.expect_err("nobody has said who it is");
    assert_eq!(refused.message(), "etcdserver: user name is empty");

    // Our own: a name that would be ignored is told so, as in etcd.
    let config = member.authority.client(ROOT);
    let answer = http(&member, Arc::clone(&config), STATUS, "{}").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let text = "CommonName of client sending a request against gateway will be ignored and not \
                used as expected";
    assert!(answer.contains(text), "{answer}");
    let old_name = "POST /v3beta/auth/status HTTP/1.1";
    let answer = http(&member, config, old_name, "{}").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    // Without a name nobody is known, and by a token root is.
    let nameless = member.authority.client("");
    let answer = http(&member, Arc::clone(&nameless), STATUS, "{}").await;
    assert!(
        answer.contains("etcdserver: user name is empty"),
        "{answer}"
    );
    let token = log_in(&root, ROOT).await;
    for value in [token.clone(), format!("Bearer {token}")] {
        let head = format!("{STATUS}\r\nAuthorization: {value}");
        let answer = http(&member, Arc::clone(&nameless), &head, "{}").await;
        assert!(answer.contains("\"enabled\":true"), "{answer}");
    }
}

/// The class of CVE-2018-16886 once more: a certificate that names root opens the connection for whoever logs in through
/// the gateway, and adds nothing to what the token may.
#[tokio::test]
async fn cve_2018_16886_beside_a_token_a_common_name_adds_nothing() {
    let member = Guarded::start("gateway-token", &[]);
    let root = member.certified(ROOT).await;
    switch_on(&root).await;
    let config = member.authority.client(ROOT);
    let post = async |head: &str, body: &str| http(&member, Arc::clone(&config), head, body).await;
    let log_in = "POST /v3/auth/authenticate HTTP/1.1";
    let answer = post(log_in, r#"{"name":"user","password":"guess"}"#).await;
    assert!(answer.contains("authentication failed"), "{answer}");
    let answer = post(log_in, r#"{"name":"user","password":"user"}"#).await;
    let token = answer
        .split("\"token\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let token = token.unwrap_or_else(|| panic!("no token: {answer}"));
    let range = |token: &str| format!("POST /v3/kv/range HTTP/1.1\r\nAuthorization: {token}");
    // `k`, which the user may read, and `z`, which only root may.
    let answer = post(&range(token), r#"{"key":"aw=="}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = post(&range(token), r#"{"key":"eg=="}"#).await;
    assert!(answer.contains("etcdserver: permission denied"), "{answer}");
    for bad in ["aaaaaaaaaaaaaaaa.1", ""] {
        let answer = post(&range(bad), r#"{"key":"aw=="}"#).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{bad:?}: {answer}");
        assert!(answer.contains("etcdserver: "), "{bad:?}: {answer}");
    }
}

/// A body that is still on its way when its request is refused must not cost the caller the answer.
#[tokio::test]
async fn a_refusal_by_http_2_arrives_also_while_the_body_is_on_its_way() {
    let member = Guarded::start("gateway-refusal", &[]);
    let root = member.certified(ROOT).await;
    switch_on(&root).await;
    let socket = TcpStream::connect(member.address).await.expect("listening");
    let tls = TlsConnector::from(member.authority.client(ROOT));
    let name = ServerName::from(member.address.ip());
    let socket = tls.connect(name, socket).await.expect("a good certificate");
    let (mut sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for round in 0..50 {
        sender = sender.ready().await.expect("open");
        let uri = format!("https://{}/v3/kv/range", member.address);
        let request = http::Request::post(uri).body(()).expect("a request");
        let (answer, mut body) = sender.send_request(request, false).expect("sent");
        for part in [&b"{\"key\":"[..], b"\"aw==\"}"] {
            tokio::task::yield_now().await;
            let last = part.ends_with(b"}");
            body.send_data(part.into(), last).expect("not reset");
        }
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 400, "{round}");
        let mut answer = answer.into_body();
        let mut text = Vec::new();
        while let Some(piece) = answer.data().await {
            text.extend_from_slice(&piece.expect("not reset"));
        }
        assert!(text.starts_with(b"CommonName of client"), "{round}");
    }
    connection.abort();
}

/// The same from the other side: a certificate that nobody has verified is none.
#[tokio::test]
async fn a_certificate_of_another_authority_does_not_come_in() {
    let member = Guarded::start("auth-foreign", &[]);
    let dir = TestDir::new("auth-foreign-authority");
    let foreign = Authority::new(dir.path()).client_of(ROOT, &member.authority);
    let rpc = Rpc::connect_tls(member.address, foreign).await;
    // In TLS 1.3 the client hears of it with its first call only.
    if let Ok(rpc) = rpc {
        let answer = rpc.with(&MetadataMap::new(), pb::StatusRequest {}).await;
        let refused = answer.expect_err("not let in");
        // The connection ended; nothing of the server was heard.
        assert!(!refused.message().contains("etcdserver"), "{refused}");
    }
}

/// A token of arbitrary claims, signed with the secret that the member has.
fn jwt(secret: &[u8], claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn with_secret(name: &str, secret: &[u8]) -> (Guarded, TestDir) {
    let dir = TestDir::new(&format!("{name}-secret"));
    let file = dir.path().join("secret");
    kvorum_tests::process::write_private(&file, secret);
    let setting = format!("jwt,sign-method=HS256,ttl=10m,priv-key={}", file.display());
    let member = Guarded::start(name, &["--auth-token", &setting]);
    (member, dir)
}

/// etcd issue 15676: a JWT without user or revision was a panic.
#[tokio::test]
async fn issue_15676_a_jwt_without_user_or_revision_is_only_refused() {
    let secret = b"a secret of this test";
    let (member, _secret) = with_secret("issue-15676", secret);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    let own = log_in(&rpc, ROOT).await;
    assert_eq!(own.split('.').count(), 3, "a JWT");
    let ask = async |token: &str| rpc.with(&with_token(token), pb::AuthStatusRequest {}).await;
    let revision = ask(&own).await.expect("its own token").auth_revision;
    for claims in [
        json!({}),
        json!({"username": "root"}),
        json!({"revision": revision}),
        json!({"username": 7, "revision": revision}),
        json!({"username": "root", "revision": "1"}),
        json!({"username": "root", "revision": revision, "exp": 1}),
        json!({"username": "root", "revision": revision, "exp": "never"}),
        json!([]),
    ] {
        let refused = ask(&jwt(secret, &claims)).await.expect_err("no token");
        assert_eq!(refused.code(), Code::Unauthenticated, "{claims}");
        assert_eq!(refused.message(), "etcdserver: invalid auth token");
    }
    let good = jwt(secret, &json!({"username": "root", "revision": revision}));
    assert!(ask(&good).await.expect("well made").enabled);
    let forged = jwt(
        b"another",
        &json!({"username": "root", "revision": revision}),
    );
    ask(&forged).await.expect_err("signed by somebody else");

    // Made before users changed: clients get another one when they hear this.
    let range = pb::RangeRequest {
        key: b"k".as_slice().into(),
        ..Default::default()
    };
    let user = log_in(&rpc, "user").await;
    rpc.with(&with_token(&user), range.clone())
        .await
        .expect("user may");
    let add = pb::AuthRoleAddRequest {
        name: "another".to_owned(),
    };
    rpc.with(&with_token(&own), add).await.expect("root may");
    let old = rpc.with(&with_token(&user), range).await.expect_err("old");
    assert_eq!(old.code(), Code::InvalidArgument);
    assert_eq!(old.message(), "etcdserver: revision of auth store is old");
}

/// What nobody must read anywhere.
struct Canaries(Vec<String>);

impl Canaries {
    fn are_not_in(&self, place: &str, text: &[u8]) {
        for canary in &self.0 {
            let found = text
                .windows(canary.len())
                .any(|part| part == canary.as_bytes());
            assert!(!found, "{canary} is in {place}");
        }
    }

    fn are_not_under(&self, dir: &Path) {
        let mut files = 0;
        for entry in fs::read_dir(dir).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.are_not_under(&path);
            } else {
                let bytes = fs::read(&path).expect("readable");
                self.are_not_in(&path.display().to_string(), &bytes);
                files += 1;
            }
        }
        assert!(files > 0 || dir.read_dir().is_ok());
    }
}

const PASSWORD: &str = "canary-password-of-mallory";

/// CVE-2021-28235 (passwords to be read back), issues 20942 (tokens in the log) and 21993 (a token in the error about
/// it): secrets go through all flows, and are looked for in all that can be read.
#[tokio::test]
async fn cve_2021_28235_and_issues_20942_and_21993_no_secret_is_ever_shown() {
    for jwt in [false, true] {
        let name = format!("secrets-{jwt}");
        let (mut member, _secret) = match jwt {
            true => with_secret(&name, b"canary-of-the-key"),
            false => (Guarded::start(&name, &[]), TestDir::new(&name)),
        };
        let rpc = member.certified("").await;
        switch_on(&rpc).await;
        let canaries = use_secrets(&rpc).await;
        let nameless = member.authority.client("");
        for path in ["/metrics", "/health", "/readyz?verbose", "/version"] {
            let head = format!("GET {path} HTTP/1.1");
            let answer = http(&member, Arc::clone(&nameless), &head, "").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            canaries.are_not_in(path, answer.as_bytes());
        }
        let head = "GET /debug/vars HTTP/1.1";
        let answer = http(&member, Arc::clone(&nameless), head, "").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        canaries.are_not_in("/debug/vars", answer.as_bytes());
        for path in ["/debug/pprof/heap", "/debug/pprof/", "/debug/requests"] {
            let head = format!("GET {path} HTTP/1.1");
            let answer = http(&member, Arc::clone(&nameless), &head, "").await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        }
        member.server.terminate();
        let log = member.server.log();
        assert!(log.contains("token_fingerprint"), "{log}");
        canaries.are_not_in("the log", log.as_bytes());
        canaries.are_not_under(member.dir.path());
    }
}

/// Passwords right and wrong, tokens good and bad; what must not be seen of them.
async fn use_secrets(rpc: &Rpc) -> Canaries {
    let root = log_in(rpc, ROOT).await;
    let metadata = with_token(&root);
    let add = pb::AuthUserAddRequest {
        name: "mallory".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    rpc.with(&metadata, add).await.expect("root may");
    let mut canaries = vec![PASSWORD.to_owned(), letters(&root)];
    let nobody = MetadataMap::new();
    for password in [PASSWORD, "canary-wrong-password"] {
        let request = pb::AuthenticateRequest {
            name: "mallory".to_owned(),
            password: password.to_owned(),
        };
        match rpc.with(&nobody, request).await {
            Ok(answer) => canaries.push(letters(&answer.token)),
            Err(status) => assert!(!status.message().contains("canary"), "{status}"),
        }
    }
    canaries.push("canary-wrong-password".to_owned());
    for token in [
        "canary-token",
        "canarytokencanar.7",
        "canary.to.ken",
        "e30.canary-body.e30",
    ] {
        let refused = rpc.with(&with_token(token), pb::AuthStatusRequest {}).await;
        let refused = refused.expect_err("no token");
        assert_eq!(refused.message(), "etcdserver: invalid auth token");
        canaries.push(token.to_owned());
    }
    Canaries(canaries)
}

/// What is secret of a token: the index behind the letters is not, nor what a JWT's header says.
fn letters(token: &str) -> String {
    let mut parts: Vec<_> = token.split('.').collect();
    let secret = if parts.len() == 3 {
        parts.pop()
    } else {
        parts.first().copied()
    };
    secret.unwrap_or_default().to_owned()
}

/// CVE-2026-33413: these calls looked at nobody. The whole table is in `matrix`.
#[tokio::test]
async fn cve_2026_33413_alarms_members_leases_and_compaction_ask_who_calls() {
    let member = Guarded::start("cve-2026-33413", &[]);
    let rpc = member.certified("").await;
    switch_on(&rpc).await;
    for (service, name) in [
        ("Maintenance", "Alarm"),
        ("Maintenance", "Status"),
        ("Cluster", "MemberList"),
        ("KV", "Compact"),
        ("Lease", "LeaseGrant"),
        ("Lease", "LeaseRevoke"),
        ("Lease", "LeaseLeases"),
        ("Lease", "LeaseTimeToLive"),
        ("Lease", "LeaseKeepAlive"),
    ] {
        let service = format!("etcdserverpb.{service}");
        let method = kvorum_proto::METHODS
            .iter()
            .find(|method: &&Method| method.service == service && method.name == name)
            .expect("one of etcd's");
        let answer: Result<Raw, _> = rpc.first(method, Raw::default(), MetadataMap::new()).await;
        let refused = answer.expect_err(name);
        assert_eq!(
            refused.message(),
            "etcdserver: user name is empty",
            "{name}"
        );
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
}
