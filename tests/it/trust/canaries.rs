//! Every secret there is goes through every flow there is, failures among them, on members that log all they can; then
//! all that anybody can read is searched for them.

use std::fs;
use std::path::Path;
use std::process::Output;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::TestDir;
use tonic::metadata::MetadataMap;

use super::tls_client::{Files, address};
use super::{Member, Place, join, text, tool};
use crate::auth::with_token;
use crate::both::put;
use crate::rpc::Rpc;

const PASSWORD: &str = "canary-password-of-mallory";
const WRONG: &str = "canary-password-that-is-wrong";
const JWT_SECRET: &[u8] = b"canary-key-of-all-tokens-0123456789";

/// What must be nowhere, by what it is.
#[derive(Default)]
struct Canaries(Vec<(String, String)>);

impl Canaries {
    fn add(&mut self, what: &str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(
            secret.len() >= 12,
            "{what} is too short to be told from chance"
        );
        self.0.push((what.to_owned(), secret));
    }

    /// Each line of each private key in a PEM file.
    fn add_keys(&mut self, path: &Path) {
        let pem = fs::read_to_string(path).unwrap_or_default();
        let mut inside = false;
        for line in pem.lines() {
            inside = (inside || line.contains("PRIVATE KEY")) && !line.contains("END ");
            if inside && !line.contains("BEGIN ") && line.len() > 20 {
                self.add(&path.display().to_string(), line);
            }
        }
    }

    fn search(&self, place: &str, bytes: &[u8], hits: &mut Vec<String>) {
        for (what, secret) in &self.0 {
            let mut windows = bytes.windows(secret.len());
            if windows.any(|window| window == secret.as_bytes()) {
                hits.push(format!("{what} is in {place}"));
            }
        }
    }
}

/// What was read, by where.
#[derive(Default)]
struct Places(Vec<(String, Vec<u8>)>);

impl Places {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.into(), bytes.into()));
    }

    fn add_output(&mut self, name: &str, output: &Output) {
        self.add(name, text(output));
    }

    /// All files of a data directory but those that hold keys by design.
    fn add_files(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                if !path.ends_with("pki") {
                    self.add_files(&path);
                }
            } else if path.is_file() {
                self.add(
                    path.display().to_string(),
                    fs::read(&path).expect("readable"),
                );
            }
        }
    }
}

fn loud(place: &mut Place, more: &[&str]) {
    let flags = ["--log-level", "debug", "--bcrypt-cost", "4"];
    place
        .flags
        .extend(flags.iter().chain(more).map(|flag| (*flag).to_owned()));
}

/// The secret part of a token of a user: the index behind it is none, nor what stands in the head of a JWT.
fn secret_of(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    match parts.as_slice() {
        [_, _, signature] => (*signature).to_owned(),
        [letters, ..] => (*letters).to_owned(),
        [] => String::new(),
    }
}

async fn log_in(rpc: &Rpc, name: &str, password: &str) -> Result<String, tonic::Status> {
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    rpc.call(request).await.map(|answer| answer.token)
}

/// Users, tokens good and bad, refusals of every kind.
async fn use_passwords(rpc: &Rpc, canaries: &mut Canaries, places: &mut Places) {
    let nobody = MetadataMap::new();
    for (name, password) in [("root", PASSWORD), ("mallory", PASSWORD)] {
        let add = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        rpc.with(&nobody, add).await.expect("a new user");
    }
    let role = |role: &str| pb::AuthUserGrantRoleRequest {
        user: role.to_owned(),
        role: role.to_owned(),
    };
    rpc.with(&nobody, role("root")).await.expect("both exist");
    rpc.with(&nobody, pb::AuthEnableRequest {})
        .await
        .expect("root is there");
    canaries.add("a password", PASSWORD);
    canaries.add("a wrong password", WRONG);
    let root = log_in(rpc, "root", PASSWORD).await.expect("it is right");
    canaries.add("a token", secret_of(&root));
    let refused = log_in(rpc, "mallory", WRONG)
        .await
        .expect_err("it is wrong");
    places.add("a wrong password", refused.to_string());
    let long = format!("{WRONG}{}", "x".repeat(100));
    let change = pb::AuthUserChangePasswordRequest {
        name: "mallory".to_owned(),
        password: long,
        ..Default::default()
    };
    let refused = rpc.with(&with_token(&root), change).await;
    places.add("a password that is too long", format!("{refused:?}"));
    for bad in [
        "canary-token-of-nobody",
        "canarycanarycana.77",
        "e30.canary-body-of-a-jwt.e30",
    ] {
        canaries.add("a bad token", bad);
        let refused = rpc.with(&with_token(bad), put("k", "")).await;
        places.add(
            "a bad token",
            format!("{:?}", refused.expect_err("nobody's")),
        );
    }
    let mallory = log_in(rpc, "mallory", PASSWORD).await.expect("it is right");
    canaries.add("another token", secret_of(&mallory));
    let denied = rpc.with(&with_token(&mallory), put("k", "")).await;
    places.add("a denial", format!("{:?}", denied.expect_err("no role")));
    rpc.with(&with_token(&root), pb::AuthDisableRequest {})
        .await
        .expect("root may");
}

/// Everything that a member tells by HTTP, and what it does not.
async fn use_pages(member: &Member, places: &mut Places) {
    let files = Files::admin(member);
    for path in [
        "/metrics",
        "/health",
        "/readyz?verbose",
        "/livez?verbose",
        "/version",
        "/debug/vars",
        "/debug/pprof/",
        "/debug/requests",
        "/nothing",
    ] {
        let answer = super::tls_client::http_get(address(member), &files, path).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
        places.add(path, answer);
    }
}

/// Tokens to join with: made, mistyped, used, used again; certificates made, renewed and revoked; the root changed.
fn use_tools(
    member: &Member,
    dir: &TestDir,
    second: &Place,
    canaries: &mut Canaries,
    places: &mut Places,
) {
    let line = member.told(&["token", "create"]);
    let token = line.split_whitespace().last().expect("a token").to_owned();
    let secret = token.split('.').nth(2).expect("kv1.ID.SECRET.…").to_owned();
    canaries.add("the secret of a token to join with", secret.clone());
    let turned: String = secret.chars().rev().collect();
    let typo = token.replacen(&secret, &turned, 1);
    canaries.add("a mistyped secret", turned);
    places.add_output("a mistyped token", &join(&typo, &Place::new(dir, "c")));
    let joined = join(&token, second);
    assert!(joined.status.success(), "{}", text(&joined));
    places.add_output("a join", &joined);
    places.add_output("a used token", &join(&token, &Place::new(dir, "c")));
    let out = dir.path().join("client");
    let out_text = out.to_string_lossy().into_owned();
    for words in [
        &["cert", "client", "app", "--out-dir", &out_text][..],
        &["cert", "client", "app", "--out-dir", &out_text],
        &["cert", "renew", "app", "--out-dir", &out_text],
        &["cert", "list"],
        &["cert", "revoke", "--user", "app"],
        &["token", "list"],
        &["ca", "status"],
        &["ca", "export"],
        &["token", "revoke", "nonsense"],
        &["member", "list"],
    ] {
        let output = tool(&member.data_dir, words);
        places.add_output(&words[..2].join(" "), &output);
        canaries.add_keys(&out.join("app.key"));
    }
}

/// The keys that a member keeps, what everybody sees of its process, and that its memory goes to no file.
fn use_process(member: &Member, canaries: &mut Canaries, places: &mut Places) {
    for name in ["node.pem", "console.pem", "admin.key", "admin.pem"] {
        canaries.add_keys(&member.pki(name));
    }
    let seal = fs::read_to_string(member.pki("seal.key")).expect("is text");
    let lines = seal.lines().filter(|line| line.len() >= 32);
    lines.for_each(|line| canaries.add("a seal key", line));
    let proc = format!("/proc/{}", member.server.pid());
    places.add(
        "the command line",
        fs::read(format!("{proc}/cmdline")).expect("it runs"),
    );
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("it runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "no memory goes to files: {limits}");
}

fn search(canaries: &Canaries, places: &Places, kind: &str) {
    let mut hits = Vec::new();
    let mut bytes = 0;
    for (name, content) in &places.0 {
        bytes += content.len();
        canaries.search(name, content, &mut hits);
    }
    println!(
        "canaries ({}): {} secrets looked for in {} places, {bytes} bytes: {} hits",
        kind,
        canaries.0.len(),
        places.0.len(),
        hits.len()
    );
    assert!(canaries.0.len() > 20, "{}", canaries.0.len());
    assert!(hits.is_empty(), "{hits:#?}");
}

async fn nothing_is_seen(jwt: bool) {
    let dir = TestDir::new(&format!("canaries-{jwt}"));
    let mut places = Places::default();
    let mut canaries = Canaries::default();
    let key = dir.path().join("jwt.key");
    kvorum_tests::process::write_private(&key, JWT_SECRET);
    let signs = format!("jwt,priv-key={},sign-method=HS256", key.display());
    let more = if jwt {
        vec!["--auth-token", &*signs]
    } else {
        Vec::new()
    };
    let mut first_place = Place::new(&dir, "a");
    loud(&mut first_place, &more);
    let mut first = first_place.start();
    let mut second_place = Place::new(&dir, "b");
    loud(&mut second_place, &more);
    use_tools(&first, &dir, &second_place, &mut canaries, &mut places);
    let mut second = second_place.start();
    let admin = Files::admin(&first).connect(address(&first)).await;
    use_passwords(&admin.expect("accepted"), &mut canaries, &mut places).await;
    if jwt {
        canaries.add("the key of tokens", String::from_utf8_lossy(JWT_SECRET));
    }
    use_pages(&first, &mut places).await;
    for member in [&first, &second] {
        use_process(member, &mut canaries, &mut places);
    }
    for member in [&mut first, &mut second] {
        assert!(
            member.server.terminate().success(),
            "{}",
            member.server.log()
        );
        let log = member.server.log();
        assert!(
            log.contains(r#""level":"debug""#),
            "it logs all it can: {log}"
        );
        places.add("a log", log);
        places.add_files(&member.data_dir);
    }
    search(
        &canaries,
        &places,
        if jwt { "JWT" } else { "simple tokens" },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_where_tokens_are_simple() {
    nothing_is_seen(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_seen_where_tokens_are_signed() {
    nothing_is_seen(true).await;
}
