//! Who comes in with a token, and who does not.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use kvorum_member::trust::JoinError;
use kvorum_pki::tls::PinnedRoot;
use kvorum_pki::{JoinToken, KeyPair, csr, proof};
use kvorum_proto::kvorumpb::{
    ConsoleEvent, JoinRefusal, JoinRequest, JoinResponse, TokenRole,
    join_response::Result as Answer,
};
use prost::Message as _;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::host::{Host, three, until};

const LIFE: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_machine_joins_with_one_token_and_votes() {
    let founder = Host::found("a", LIFE).await;
    founder.put("before").await.expect("served");
    let token = founder.token(TokenRole::Voter, 0).await;
    let mut joiner = Host::new("b", LIFE);
    let joined = joiner.join(&token).await.expect("it joins");
    assert_eq!(joined.members.len(), 2);
    let left: Vec<_> = std::fs::read_dir(joiner.pki_dir())
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .filter(|name| name.starts_with("joining"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    joiner.start().await;
    let handle = joiner.handle().clone();
    until("it is promoted by itself", || {
        handle.members().iter().filter(|m| !m.is_learner).count() == 2
    })
    .await;
    joiner.put("after").await.expect("served by the new member");
    // It holds the seal key: it can do all that the founder can.
    until("it knows the authority", || handle.trust().is_ready()).await;
    joiner.token(TokenRole::Voter, 0).await;
}

#[tokio::test]
async fn every_wrong_token_is_refused_in_words_of_its_own() {
    let founder = Host::found("a", LIFE).await;
    let stranger = Host::found("x", LIFE).await;
    let mut texts = BTreeSet::new();
    let mut told = |error: JoinError| assert!(texts.insert(error.to_string()), "{error}");
    let joining = |name: &'static str| Host::new(name, LIFE);

    let good = founder.token(TokenRole::Voter, 0).await;
    let text = good.text();
    let typo = text.replacen("kv1.", "kv1.0", 1);
    JoinToken::parse(&typo).expect_err("a typing error is found without asking anybody");

    let revoked = founder.token(TokenRole::Voter, 0).await;
    let id = *revoked.id().as_bytes();
    let revoke = founder.handle().trust_token_revoke(&id).await;
    revoke.expect("revoked");
    let error = joining("b").join(&revoked).await.expect_err("revoked");
    assert!(matches!(error, JoinError::Unknown(_)), "{error:?}");
    told(error);

    let client = founder.token(TokenRole::Client, 0).await;
    let error = joining("b").join(&client).await.expect_err("a client's");
    assert!(matches!(error, JoinError::WrongRole(_)), "{error:?}");
    told(error);

    // The addresses of one cluster, the pin of another.
    let pin = good.pin();
    let address = format!("127.0.0.1:{}", stranger.port);
    let misled = JoinToken::generate(pin, &[address]).expect("a token");
    let error = joining("b")
        .join(&misled)
        .await
        .expect_err("another cluster");
    assert!(matches!(error, JoinError::OtherCluster { .. }), "{error:?}");
    told(error);

    joining("b").join(&good).await.expect("the first one");
    let error = joining("c").join(&good).await.expect_err("the second one");
    assert!(matches!(error, JoinError::Used(_)), "{error:?}");
    told(error);

    // One that is over before it is written down would not be made.
    let short = founder.token(TokenRole::Voter, 5).await;
    let (trust, id) = (founder.handle().trust(), *short.id().as_bytes());
    let expires = trust.token(&id).expect("kept").expires_unix_s;
    until("its time is up", || crate::host::now() >= expires).await;
    let error = joining("c").join(&short).await.expect_err("late");
    assert!(matches!(error, JoinError::Expired(_)), "{error:?}");
    told(error);
}

fn told(founder: &Host, what: &str) -> Vec<ConsoleEvent> {
    let console = founder.handle().console();
    let events = console.events(u64::MAX).filter(|event| event.what == what);
    events.cloned().collect()
}

/// "Token stolen and used first": whoever it was meant for hears of it, and so do the events.
#[tokio::test]
async fn joins_and_second_uses_of_a_token_are_written_down_once() {
    let founder = Host::found("a", LIFE).await;
    let token = founder.token(TokenRole::Voter, 0).await;
    let first = Host::new("b", LIFE).join(&token).await.expect("it joins");
    for _ in 0..3 {
        let error = Host::new("c", LIFE).join(&token).await;
        let error = error.expect_err("the second one");
        assert!(matches!(error, JoinError::Used(_)), "{error:?}");
    }
    let used = "join token used a second time";
    until("it is written down", || !told(&founder, used).is_empty()).await;
    let who = format!("token {}", token.id());
    let joined = told(&founder, "member let in by a token");
    let [joined] = &joined[..] else {
        panic!("{joined:?}");
    };
    assert_eq!((&*joined.who, &*joined.result), (&*who, "ok"));
    assert_eq!(joined.from, "127.0.0.1");
    let id = format!("{:x}", first.member_id.0);
    assert!(joined.detail.contains(&id), "{joined:?}");
    let stolen = told(&founder, used);
    let [stolen] = &stolen[..] else {
        panic!("{stolen:?}");
    };
    assert_eq!((&*stolen.who, &*stolen.result), (&*who, "refused"));
    assert!(stolen.detail.contains(&id), "{stolen:?}");
    let text = format!(
        "{:?}",
        founder
            .handle()
            .console()
            .events(u64::MAX)
            .collect::<Vec<_>>()
    );
    assert!(!text.contains(&*token.text()), "a secret is in it");
}

/// A connection of somebody who joins, and what only its two ends know.
async fn knock(token: &JoinToken, port: u16) -> (TlsStream<TcpStream>, [u8; 32]) {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("reached");
    let config = PinnedRoot::new(token.pin())
        .client_config()
        .expect("a configuration");
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await;
    let stream = stream.expect("the pinned cluster");
    let exporter = proof::exporter(stream.get_ref().1).expect("an exporter");
    (stream, exporter)
}

fn request(token: &JoinToken, csr_der: &[u8], exporter: &[u8; 32], url: String) -> JoinRequest {
    let digest = csr::digest(csr_der);
    let proof = proof::mac(&token.secret_digest(), exporter, &digest);
    JoinRequest {
        token_id: token.id().as_bytes().to_vec().into(),
        csr_der: csr_der.to_vec().into(),
        proof: proof.to_vec().into(),
        role: TokenRole::Voter.into(),
        name: "raw".into(),
        peer_urls: vec![url],
        ..JoinRequest::default()
    }
}

async fn exchange(mut stream: TlsStream<TcpStream>, request: &JoinRequest) -> Answer {
    let body = request.encode_to_vec();
    let length = u32::try_from(body.len()).expect("short");
    stream.write_u32(length).await.expect("written");
    stream.write_all(&body).await.expect("written");
    let length = stream.read_u32().await.expect("an answer");
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.expect("an answer");
    let response = JoinResponse::decode(&body[..]).expect("an answer");
    response.result.expect("not empty")
}

fn reason(answer: Answer) -> JoinRefusal {
    match answer {
        Answer::Refused(refused) => refused.reason(),
        Answer::Granted(_) => panic!("it was let in"),
    }
}

fn fresh_csr() -> Vec<u8> {
    let key = KeyPair::generate().expect("a key");
    csr::create(&key).expect("a request")
}

#[tokio::test]
async fn a_request_that_was_stolen_is_of_no_use_on_another_connection() {
    let founder = Host::found("a", LIFE).await;
    let token = founder.token(TokenRole::Voter, 0).await;
    let csr_der = fresh_csr();
    let (_, exporter) = knock(&token, founder.port).await;
    let stolen = request(&token, &csr_der, &exporter, "https://127.0.0.1:9".into());
    let (stream, _) = knock(&token, founder.port).await;
    assert_eq!(reason(exchange(stream, &stolen).await), JoinRefusal::Proof);
    // Another key in the stolen request does not help.
    let (stream, exporter) = knock(&token, founder.port).await;
    let mut changed = request(&token, &csr_der, &exporter, "https://127.0.0.1:9".into());
    changed.csr_der = fresh_csr().into();
    assert_eq!(reason(exchange(stream, &changed).await), JoinRefusal::Proof);
    let untouched = founder.handle().trust();
    let kept = untouched.token(token.id().as_bytes()).expect("kept");
    assert!(kept.csr_sha256.is_empty(), "the token is as good as before");
}

#[tokio::test]
async fn an_answer_that_was_lost_comes_again_for_the_same_request() {
    let founder = Host::found("a", LIFE).await;
    let token = founder.token(TokenRole::Voter, 0).await;
    let csr_der = fresh_csr();
    let mut ids = BTreeSet::new();
    let mut certificates = BTreeSet::new();
    for _ in 0..3 {
        let (stream, exporter) = knock(&token, founder.port).await;
        let url = "https://127.0.0.1:9".into();
        match exchange(stream, &request(&token, &csr_der, &exporter, url)).await {
            Answer::Granted(granted) => {
                ids.insert(granted.member_id);
                certificates.insert(granted.chain_der[0].clone());
            }
            Answer::Refused(refused) => panic!("{}", refused.text),
        }
    }
    assert_eq!(ids.len(), 1, "one member");
    assert_eq!(certificates.len(), 3);
    assert_eq!(founder.handle().members().len(), 2);
    let (stream, exporter) = knock(&token, founder.port).await;
    let other = request(
        &token,
        &fresh_csr(),
        &exporter,
        "https://127.0.0.1:8".into(),
    );
    assert_eq!(
        reason(exchange(stream, &other).await),
        JoinRefusal::TokenUsed
    );
    assert_eq!(founder.handle().members().len(), 2);
}

#[tokio::test]
async fn one_token_on_two_members_at_once_lets_one_in() {
    let hosts = three(LIFE).await;
    for round in 0..5 {
        let token = hosts[0].token(TokenRole::Learner, 0).await;
        let (one, other) = (fresh_csr(), fresh_csr());
        let play = async |csr_der: &[u8], host: &Host, url: u16| {
            // Members count for a change once they have been connected for some seconds.
            loop {
                let (stream, exporter) = knock(&token, host.port).await;
                let url = format!("https://127.0.0.1:{url}");
                let answer = exchange(stream, &request(&token, csr_der, &exporter, url)).await;
                match answer {
                    Answer::Refused(r) if r.reason() == JoinRefusal::Later => {}
                    answer => return answer,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let (a, b) = tokio::join!(play(&one, &hosts[0], 7), play(&other, &hosts[1], 8));
        let granted = [&a, &b]
            .into_iter()
            .filter(|a| matches!(a, Answer::Granted(_)));
        assert_eq!(granted.count(), 1, "round {round}: {a:?} {b:?}");
        let lost = if matches!(a, Answer::Granted(_)) {
            b
        } else {
            a
        };
        assert_eq!(reason(lost), JoinRefusal::TokenUsed);
        // The other one may have let it in, and hears of it first.
        let handle = hosts[0].handle();
        let mut learner = None;
        until("it was added", || {
            learner = handle.members().into_iter().find(|m| m.is_learner);
            learner.is_some()
        })
        .await;
        let id = learner.expect("it was added").id;
        let nobody = kvorum_member::Caller::nobody();
        let removed = hosts[0]
            .handle()
            .member_remove(&nobody, kvorum_core::MemberId(id));
        removed.await.expect("removed");
    }
}

#[tokio::test]
async fn what_is_no_request_is_hung_up_on() {
    let founder = Host::found("a", LIFE).await;
    let token = founder.token(TokenRole::Voter, 0).await;
    for (length, body) in [(u32::MAX, &b""[..]), (4, b"\xff\xff\xff\xff")] {
        let (mut stream, _) = knock(&token, founder.port).await;
        stream.write_u32(length).await.expect("written");
        stream.write_all(body).await.expect("written");
        let mut rest = Vec::new();
        // Closed with or without a farewell, but nothing is said.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    // It goes on.
    Host::new("b", LIFE).join(&token).await.expect("it joins");
}
