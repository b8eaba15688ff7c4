//! What somebody who gets hold of a token can try, with real processes: each is refused with words of its own, and the
//! words never hold the secret.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvorum_pki::tls::{self, PinnedRoot};
use kvorum_pki::{Bundle, JoinToken, KeyPair, Subject, Validity, csr, proof};
use kvorum_proto::kvorumpb::{
    JoinRefusal, JoinRequest, JoinResponse, TokenRole, join_response::Result as Answer,
};
use kvorum_tests::process::{TestDir, free_ports, kvorum_bin};
use prost::Message as _;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::authority::{DAY_S, Known, now};
use super::{Member, Place, join, text};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands between the machine that joins and the member.
#[derive(Clone)]
enum Way {
    /// Bytes as they are, to this peer port; the first connection's are kept.
    Relay(SocketAddr),
    /// Somebody with an authority of his own, who takes the name that is asked for.
    Impostor(Arc<Bundle>, Arc<Known>),
}

/// A proxy at the address that tokens name.
struct Middle {
    way: Arc<Mutex<Way>>,
    /// What joiners sent through it.
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Bytes that an impostor could read.
    told: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Middle {
    fn listen(port: u16, way: Way) -> Self {
        let middle = Self {
            way: Arc::new(Mutex::new(way)),
            heard: Arc::default(),
            told: Arc::default(),
            connections: Arc::default(),
        };
        let socket = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let (way, heard) = (middle.way.clone(), middle.heard.clone());
        let (told, connections) = (middle.told.clone(), middle.connections.clone());
        thread::spawn(move || {
            for joiner in socket.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let way = lock(&way).clone();
                let (heard, told) = (heard.clone(), told.clone());
                thread::spawn(move || match way {
                    Way::Relay(to) => relay(&joiner, to, &heard),
                    Way::Impostor(bundle, known) => impostor(joiner, &bundle, &known, &told),
                });
            }
        });
        middle
    }

    fn go(&self, way: Way) {
        *lock(&self.way) = way;
    }
}

fn relay(joiner: &TcpStream, to: SocketAddr, heard: &Mutex<Vec<Vec<u8>>>) {
    let Ok(member) = TcpStream::connect(to) else {
        return;
    };
    let (Ok(mut up), Ok(mut down)) = (joiner.try_clone(), member.try_clone()) else {
        return;
    };
    let back = thread::spawn({
        let (Ok(mut joiner), Ok(mut member)) = (joiner.try_clone(), member.try_clone()) else {
            return;
        };
        move || {
            let _ended = std::io::copy(&mut member, &mut joiner);
            let _gone = joiner.shutdown(Shutdown::Write);
        }
    });
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = up.read(&mut piece) {
        said.extend_from_slice(&piece[..count]);
        if down.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _gone = down.shutdown(Shutdown::Write);
    lock(heard).push(said);
    let _ended = back.join();
}

/// Answers the handshake as a member would, and hopes to hear a request.
fn impostor(joiner: TcpStream, bundle: &Bundle, known: &Known, told: &AtomicUsize) {
    let roots = [known.root.certificate().clone()];
    let config = tls::join_listener(bundle, &roots).expect("TLS");
    let connection = ServerConnection::new(Arc::new(config)).expect("TLS");
    let mut stream = StreamOwned::new(connection, joiner);
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        told.fetch_add(count, Ordering::SeqCst);
    }
}

/// A founder that tells others to come through a proxy.
struct Scene {
    dir: TestDir,
    member: Member,
    peer: SocketAddr,
    middle: Middle,
}

impl Scene {
    fn new(name: &str) -> Self {
        let dir = TestDir::new(name);
        let [port] = free_ports();
        let mut place = Place::new(&dir, "a");
        place.flags = vec![
            "--initial-advertise-peer-urls".to_owned(),
            format!("https://127.0.0.1:{port}"),
        ];
        let peer = SocketAddr::from(([127, 0, 0, 1], place.peer_port));
        let middle = Middle::listen(port, Way::Relay(peer));
        let member = place.start();
        // From then on somebody who does not ask twice is heard.
        member.founded();
        Self {
            member,
            dir,
            peer,
            middle,
        }
    }

    fn token(&self, words: &[&str]) -> String {
        let line = self.member.told(&[&["token", "create"], words].concat());
        let token = line.split_whitespace().last().expect("a token");
        token.to_owned()
    }

    /// An empty machine.
    fn machine(&self, name: &str) -> Place {
        Place::new(&self.dir, name)
    }

    fn members(&self) -> usize {
        let list = self.member.told(&["member", "list"]);
        list.lines().count()
    }
}

fn secret_of(token: &str) -> String {
    token.split('.').nth(2).expect("kv1.ID.SECRET.…").to_owned()
}

const IMPOSTOR: &str = "somebody in between";
const OTHER_CLUSTER: &str = "the address of another cluster";

/// Refusals by what was tried.
#[derive(Default)]
struct Told(BTreeMap<&'static str, String>);

impl Told {
    /// A join that must not have worked: what it says, for people.
    fn refused(&mut self, what: &'static str, token: &str, joined: &Output) {
        let said = text(joined);
        assert_eq!(joined.status.code(), Some(7), "{what}: {said}");
        assert!(
            !said.contains(&secret_of(token)),
            "{what} shows the secret: {said}"
        );
        assert!(!said.contains(token), "{what} shows the token: {said}");
        self.0.insert(what, said);
    }

    fn are_distinct_and_helpful(&self, wanted: &[(&str, &str)]) {
        for (what, part) in wanted {
            let said = &self.0[what];
            assert!(said.contains(part), "{what}: {part:?} is not in {said}");
        }
        let mut texts: Vec<&String> = self.0.values().collect();
        texts.sort();
        texts.dedup();
        // Whoever is not the cluster that the pin names is the same stranger, and the words name both possibilities.
        assert_eq!(self.0[IMPOSTOR], self.0[OTHER_CLUSTER]);
        assert_eq!(texts.len() + 1, self.0.len(), "{:#?}", self.0);
        for (what, said) in &self.0 {
            println!("{what}: {}", said.trim());
        }
    }
}

fn impostor_way() -> Way {
    let known = Known::made_at(now() - DAY_S);
    let bundle = known.sign(&Subject::Join, Validity::from_now(now(), DAY_S));
    Way::Impostor(Arc::new(bundle), Arc::new(known))
}

#[test]
fn a_token_is_good_for_one_machine_of_its_cluster_and_for_nothing_else() {
    let scene = Scene::new("attacks");
    let mut told = Told::default();

    // Somebody in between, with an authority of his own: he gets nothing to read, and the token stays good.
    let token = scene.token(&[]);
    scene.middle.go(impostor_way());
    let joined = join(&token, &scene.machine("b"));
    told.refused(IMPOSTOR, &token, &joined);
    assert_eq!(
        scene.middle.told.load(Ordering::SeqCst),
        0,
        "bytes were told"
    );

    // The address leads to another cluster's member.
    let stranger_place = Place::new(&scene.dir, "x");
    let stranger = stranger_place.start();
    let port = stranger_place.peer_port;
    scene
        .middle
        .go(Way::Relay(SocketAddr::from(([127, 0, 0, 1], port))));
    let joined = join(&token, &scene.machine("b"));
    told.refused(OTHER_CLUSTER, &token, &joined);
    drop(stranger);

    // Relayed as it is, it works; what was overheard is worth nothing.
    scene.middle.go(Way::Relay(scene.peer));
    lock(&scene.middle.heard).clear();
    let joined = join(&token, &scene.machine("b"));
    assert!(joined.status.success(), "{}", text(&joined));
    assert_eq!(scene.members(), 2);
    replay(&scene);

    let joined = join(&token, &scene.machine("c"));
    told.refused("used", &token, &joined);

    let token = expired(&scene);
    told.refused("expired", &token, &join(&token, &scene.machine("c")));

    let token = scene.token(&[]);
    let id = token.split('.').nth(1).expect("kv1.ID.…");
    scene.member.told(&["token", "revoke", id]);
    told.refused("revoked", &token, &join(&token, &scene.machine("c")));

    let list = scene.member.told(&["member", "list"]);
    let id = list.split(',').next().expect("an id").trim().to_owned();
    let token = scene.token(&["--role", "rejoin", "--member", &id]);
    told.refused(
        "another purpose",
        &token,
        &join(&token, &scene.machine("c")),
    );

    assert_eq!(scene.members(), 2, "nobody else came in");
    told.are_distinct_and_helpful(&[
        (IMPOSTOR, "somebody stands in between"),
        (OTHER_CLUSTER, "another cluster has this address"),
        ("used", "used token"),
        ("expired", "expired token"),
        ("revoked", "unknown token"),
        ("another purpose", "wrong role"),
    ]);
    // The log of the member tells of each by its id, and never the secret. The line of the last one may be late.
    scene.member.server.wait_log(|line| {
        line.contains("refused somebody who wants to join") && line.contains("wrong role")
    });
    let log = scene.member.server.log();
    assert!(!log.contains(&secret_of(&token)), "{log}");
}

/// A token whose time is up.
fn expired(scene: &Scene) -> String {
    // One that is over before it is written down would not be made.
    let token = scene.token(&["--ttl", "5s"]);
    let begin = Instant::now();
    let list = || scene.member.told(&["token", "list"]);
    while !list().contains(", expired, ") {
        assert!(begin.elapsed() < PATIENCE, "a token lives for ever");
        thread::sleep(Duration::from_millis(100));
    }
    token
}

/// Sends again what a machine has sent, byte for byte.
fn replay(scene: &Scene) {
    // What passed is kept once the connection has ended, which may be after the machine was let in.
    let begin = Instant::now();
    let heard = loop {
        let heard = lock(&scene.middle.heard).clone();
        if heard.iter().any(|said| said.len() > 200) {
            break heard;
        }
        assert!(begin.elapsed() < PATIENCE, "no request was overheard");
        thread::sleep(Duration::from_millis(20));
    };
    let before = scene.members();
    for said in heard {
        let mut stream = TcpStream::connect(scene.peer).expect("the member listens");
        let _refused = stream.write_all(&said);
        let _gone = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _cut = stream.read_to_end(&mut answer);
    }
    assert_eq!(scene.members(), before, "a replay let somebody in");
}

#[test]
fn of_two_machines_with_one_token_one_comes_in() {
    let scene = Scene::new("two-machines");
    for round in 0..3 {
        let token = scene.token(&["--role", "learner"]);
        let start = |name: String| {
            let place = scene.machine(&name);
            let mut command = Command::new(kvorum_bin());
            command.arg("join").arg(&token).args(place.settings());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("starts")
        };
        let both = ["left", "right"].map(|side| start(format!("{side}-{round}")));
        let both = both.map(|child| child.wait_with_output().expect("ends"));
        let good = both.iter().filter(|output| output.status.success()).count();
        let said: Vec<String> = both.iter().map(text).collect();
        assert_eq!(good, 1, "{said:#?}");
        assert!(
            said.iter().any(|said| said.contains("used token")),
            "{said:#?}"
        );
        assert!(
            said.iter().all(|said| !said.contains(&secret_of(&token))),
            "{said:#?}"
        );
        // Room for the next learner.
        let list = scene.member.told(&["member", "list"]);
        let learner = list.lines().find(|line| line.trim_end().ends_with("true"));
        let id = learner
            .and_then(|line| line.split(',').next())
            .expect("one came in");
        scene.member.told(&["member", "remove", id.trim()]);
    }
}

/// Somebody who can make connections of his own and has overheard everything inside one: the proof is good on no other.
#[test]
fn a_request_is_worth_nothing_on_another_connection() {
    let scene = Scene::new("other-connection");
    let text = scene.token(&[]);
    let token = JoinToken::parse(&text).expect("its own text");
    let key = KeyPair::generate().expect("a key");
    let csr_der = csr::create(&key).expect("a request");
    let dial = || {
        let config = PinnedRoot::new(token.pin()).client_config().expect("TLS");
        let name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        let connection = ClientConnection::new(Arc::new(config), name).expect("TLS");
        let socket = TcpStream::connect(scene.peer).expect("the member listens");
        let mut stream = StreamOwned::new(connection, socket);
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
        stream
    };
    let request = |stream: &StreamOwned<ClientConnection, TcpStream>| {
        let exporter = proof::exporter(&stream.conn).expect("after the handshake");
        let mac = proof::mac(&token.secret_digest(), &exporter, &csr::digest(&csr_der));
        JoinRequest {
            token_id: token.id().as_bytes().to_vec().into(),
            csr_der: csr_der.clone().into(),
            proof: mac.to_vec().into(),
            role: TokenRole::Voter.into(),
            name: "b".into(),
            peer_urls: vec!["https://127.0.0.1:1".into()],
            ..JoinRequest::default()
        }
    };
    let ask = |mut stream: StreamOwned<ClientConnection, TcpStream>, request: &JoinRequest| {
        let body = request.encode_to_vec();
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        stream
            .write_all(&[&length[..], &body].concat())
            .expect("sent");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("an answer");
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("short")];
        stream.read_exact(&mut body).expect("an answer");
        JoinResponse::decode(&body[..]).expect("a message").result
    };
    let (overheard, other) = (dial(), dial());
    let stolen = request(&overheard);
    let Some(Answer::Refused(refused)) = ask(other, &stolen) else {
        panic!("it was taken");
    };
    assert_eq!(refused.reason(), JoinRefusal::Proof, "{refused:?}");
    assert!(!refused.text.contains(&secret_of(&text)), "{refused:?}");
    println!("on another connection: {}", refused.text);
    // A guess burns nothing: its owner still comes in.
    assert!(matches!(ask(overheard, &stolen), Some(Answer::Granted(_))));
}

#[test]
fn every_slip_of_a_key_is_found_without_asking_anybody() {
    let scene = Scene::new("slips");
    let token = scene.token(&[]);
    let whole = JoinToken::parse(&token).expect("its own text");
    let letters: Vec<char> = (' '..='~').collect();
    let all: Vec<char> = token.chars().collect();
    let (mut slips, mut same) = (0, 0);
    let mut reasons = std::collections::BTreeSet::new();
    let mut look = |changed: String| {
        if changed == token {
            return;
        }
        slips += 1;
        match JoinToken::parse(&changed) {
            Ok(read) => {
                assert!(read == whole, "{changed} is read as another token");
                assert_eq!(changed.replace(' ', ""), token, "only blanks do not matter");
                same += 1;
            }
            Err(slip) => {
                let said = slip.to_string();
                assert!(!said.contains(&secret_of(&token)), "{said}");
                reasons.insert(said);
            }
        }
    };
    for place in 0..all.len() {
        for letter in &letters {
            let mut changed = all.clone();
            changed[place] = *letter;
            look(changed.iter().collect());
            let mut longer = all.clone();
            longer.insert(place, *letter);
            look(longer.iter().collect());
        }
        let mut shorter = all.clone();
        shorter.remove(place);
        look(shorter.iter().collect());
        if place > 0 {
            let mut swapped = all.clone();
            swapped.swap(place - 1, place);
            look(swapped.iter().collect());
        }
    }
    println!(
        "slips: {slips} tried, {same} of them are the same token with a blank in it, the others are refused as: {reasons:#?}"
    );
    // The binary says the same, and asks nobody.
    let before = scene.middle.connections.load(Ordering::SeqCst);
    for place in (0..all.len()).step_by(7) {
        let mut changed = all.clone();
        changed[place] = if changed[place] == '7' { '8' } else { '7' };
        let changed: String = changed.into_iter().collect();
        let refused = join(&changed, &scene.machine("b"));
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(7), "{place}: {said}");
        assert!(!said.contains(&secret_of(&changed)), "{place}: {said}");
    }
    assert_eq!(scene.middle.connections.load(Ordering::SeqCst), before);
    let begin = Instant::now();
    let joined = join(&token, &scene.machine("b"));
    assert!(
        joined.status.success(),
        "after {:?}: {}",
        begin.elapsed(),
        text(&joined)
    );
}
