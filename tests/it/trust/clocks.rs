//! Clocks that are wrong, and members that were off for longer than their certificates lived.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use kvorum_pki::{Bundle, JoinToken, RootPin, Subject, Validity, tls};
use kvorum_proto::kvorumpb::{JoinRefusal, JoinRefused, JoinResponse, join_response};
use kvorum_tests::process::{Server, TestDir};
use prost::Message as _;
use rustls::{ServerConnection, StreamOwned};

use super::authority::{DAY_S, HOUR_S, Known, now, replace_node};
use super::{Member, Place, join, text, token_of, tool, voters};

/// A member that has served without TLS, and its authority, which the test knows.
fn with_known_authority(place: &Place, node: impl Fn(&Known) -> Validity) -> Known {
    let client = format!("http://127.0.0.1:{}", place.client_port);
    let peer = format!("127.0.0.1:{}", place.peer_port);
    let mut command = std::process::Command::new(kvorum_tests::process::kvorum_bin());
    command
        .args(["serve", "--log-format", "json", "--name", &place.name])
        .arg("--data-dir")
        .arg(&place.data_dir)
        .args(["--listen-client-urls", &client, "--client-allow-plain=true"])
        .args(["--listen-peer-urls", &format!("http://{peer}")])
        .args(["--initial-advertise-peer-urls", &format!("https://{peer}")])
        .args(["--peer-allow-plain=true", "--listen-metrics-urls=none"])
        .args(["--listen-console-url=none"]);
    let mut server = Server::spawn_on(command, "kvorum", place.client_port);
    assert!(server.wait_ready_or_end(), "{}", server.log());
    assert!(server.terminate().success());
    let known = Known::made_at(now() - 40 * DAY_S);
    let bundle = known.node(&place.data_dir, node(&known));
    known.found(&place.data_dir, &bundle);
    known
}

/// Over since so long.
fn over(ago_s: i64) -> Validity {
    Validity {
        not_before_unix: now() - ago_s - DAY_S,
        not_after_unix: now() - ago_s,
    }
}

fn says(member: &Member, part: &str) {
    member.server.wait_log(|line| line.contains(part));
}

#[test]
fn a_lone_member_renews_its_certificate_however_long_it_was_off() {
    let dir = TestDir::new("long-off");
    let place = Place::new(&dir, "a");
    with_known_authority(&place, |_| over(39 * DAY_S));
    let member = place.start();
    says(&member, "this member's certificate has expired");
    says(&member, "renewed certificates of this member");
    let status = member.told(&["ca", "status"]);
    assert!(status.contains("trust domain "), "{status}");
}

#[test]
fn a_certificate_from_the_future_is_told_and_replaced() {
    let dir = TestDir::new("future");
    let place = Place::new(&dir, "a");
    with_known_authority(&place, |_| Validity::from_now(now() + 2 * HOUR_S, DAY_S));
    let member = place.start();
    says(&member, "does not hold yet");
    says(&member, "renewed certificates of this member");
    member.told(&["ca", "status"]);
}

#[test]
fn a_member_comes_back_after_its_certificate_by_itself_within_a_month_and_by_a_token_later() {
    let dir = TestDir::new("expired");
    let first_place = Place::new(&dir, "a");
    let known = with_known_authority(&first_place, |_| Validity::from_now(now(), DAY_S));
    let first = first_place.start();
    until_it_administers(&first);
    // Two are a majority while one is away.
    let (place, third_place) = (Place::new(&dir, "b"), Place::new(&dir, "c"));
    let mut second = added(&first, &place);
    let _third = added(&first, &third_place);
    until_voters(&first, 3);
    for ago_s in [DAY_S, 31 * DAY_S] {
        assert!(second.server.terminate().success());
        let bundle = known.node(&place.data_dir, over(ago_s));
        replace_node(&place.data_dir, &bundle);
        if ago_s > 30 * DAY_S {
            rejoin(&first, &place);
        }
        second = place.start();
        until_served(&second);
    }
}

/// Another member, that has joined by a token.
fn added(first: &Member, place: &Place) -> Member {
    let token = token_of(&first.told(&["token", "create"])).to_owned();
    let joined = join(&token, place);
    assert!(joined.status.success(), "{}", text(&joined));
    place.start()
}

/// By the way that the log of a member names which was off for more than 30 days.
fn rejoin(first: &Member, place: &Place) {
    let server = Server::spawn_on(place.command(), "kvorum", place.client_port);
    server.wait_log(|line| {
        line.contains("expired more than 30 days ago; `kvorum rejoin TOKEN` gets another one")
    });
    drop(server);
    let id = format!("{:x}", member_id(&place.data_dir));
    let line = first.told(&["token", "create", "--role", "rejoin", "--member", &id]);
    let token = line.trim().strip_prefix("kvorum rejoin ");
    let token = token.unwrap_or_else(|| panic!("no line to paste: {line:?}"));
    let rejoined = tool(&place.data_dir, &["rejoin", token]);
    assert!(rejoined.status.success(), "{}", text(&rejoined));
}

fn member_id(data_dir: &Path) -> u64 {
    let member = std::fs::read(data_dir.join("member.json")).expect("a member lives here");
    let member: serde_json::Value = serde_json::from_slice(&member).expect("is JSON");
    let id = member["member_id"].as_str().expect("in hexadecimal digits");
    u64::from_str_radix(id, 16).expect("in hexadecimal digits")
}

fn until_it_administers(member: &Member) {
    says(member, "renewed certificates of this member");
}

fn until_voters(member: &Member, count: usize) {
    let (cert, key) = (member.pki("admin.crt"), member.pki("admin.key"));
    for _ in 0..300 {
        match member.etcdctl(&cert, &key, &["member", "list", "-w", "json"]) {
            Some(list) if voters(&list) == count => return,
            None => return println!("SKIP the count of voters: etcdctl is not installed"),
            Some(_) => thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
    panic!("not {count} voters: {}", member.server.log());
}

/// A linearizable read needs the other member.
fn until_served(member: &Member) {
    let (cert, key) = (member.pki("admin.crt"), member.pki("admin.key"));
    let mut last = String::new();
    for _ in 0..300 {
        match member.etcdctl(&cert, &key, &["endpoint", "health"]) {
            None => return println!("SKIP a read: etcdctl is not installed"),
            Some(done) if done.status.success() => return,
            Some(done) => last = text(&done),
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{last}\n{}", member.server.log());
}

/// A cluster by whose clock it is so much later; it refuses whoever gets through to it. Gives its token.
fn cluster_with_clock(ahead_s: i64) -> (JoinToken, thread::JoinHandle<()>) {
    let then = now() + ahead_s;
    let known = Known::made_at(then);
    let validity = Validity::from_now(then, DAY_S);
    let bundle: Bundle = known.sign(&Subject::Join, validity);
    let roots = [known.root.certificate().clone()];
    let config = Arc::new(tls::join_listener(&bundle, &roots).expect("fits together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("is bound").to_string();
    let pin = RootPin::of(known.root.certificate()).expect("a root");
    let token = JoinToken::generate(pin, &[address]).expect("random");
    let serving = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("somebody comes");
        refuse(socket, config);
    });
    (token, serving)
}

fn refuse(socket: TcpStream, config: Arc<rustls::ServerConfig>) {
    let connection = ServerConnection::new(config).expect("fits together");
    let mut stream = StreamOwned::new(connection, socket);
    let mut length = [0; 4];
    // Who does not trust the certificate hangs up.
    if stream.read_exact(&mut length).is_err() {
        return;
    }
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).expect("a whole request");
    let refused = JoinRefused {
        reason: JoinRefusal::TokenUsed.into(),
        text: "somebody was heard".into(),
    };
    let body = JoinResponse {
        result: Some(join_response::Result::Refused(refused)),
    }
    .encode_to_vec();
    let length = u32::try_from(body.len()).expect("is short").to_be_bytes();
    let answer = [&length[..], &body].concat();
    std::io::Write::write_all(&mut stream, &answer).expect("somebody listens");
}

#[test]
fn a_machine_joins_with_an_hour_between_the_clocks_and_is_told_about_two() {
    for (ahead_s, heard) in [
        (59 * 60, true),
        (-59 * 60, true),
        (2 * HOUR_S, false),
        (-26 * HOUR_S, false),
    ] {
        let dir = TestDir::new("join-clock");
        let (token, serving) = cluster_with_clock(ahead_s);
        let said = text(&join(&token.text(), &Place::new(&dir, "b")));
        serving.join().expect("no panic");
        assert_eq!(said.contains("somebody was heard"), heard, "{said}");
        if !heard {
            for part in [
                "clocks of this machine and of 127.0.0.1",
                "do not agree",
                "(now it is ",
            ] {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
    }
}
