//! A certificate that is taken back is worth nothing anywhere within seconds: new connections, open ones, resumed TLS
//! sessions, watches, the gateway; and a member's, to the other members.
//!
//! Times are measured and printed; what gates is only the order, and that it happens at all.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kvorum_pki::Serial;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::TestDir;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::task::JoinHandle;

use super::three::Three;
use super::tls_client::{Files, Seen, address, certificates};
use crate::both::{get, put};
use crate::rpc::{Duplex, Rpc};

/// Far above the promised five seconds: what takes as long never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a watch got until it ended, and when that was.
struct Watched {
    newest: i64,
    ended: Instant,
}

/// A watch of the whole prefix, open now.
async fn watch(rpc: &Rpc) -> JoinHandle<Watched> {
    let mut stream: Duplex<pb::WatchRequest> = rpc.open();
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        ..Default::default()
    };
    stream.create(create).await;
    let created = stream.next().await.expect("a watch");
    assert!(created.created && !created.canceled, "{created:?}");
    let rpc = rpc.clone();
    tokio::spawn(async move {
        let mut newest = 0;
        while let Ok(response) = stream.next().await {
            let of =
                |event: &kvorum_proto::mvccpb::Event| event.kv.as_ref().map(|kv| kv.mod_revision);
            newest = response.events.iter().filter_map(of).fold(newest, i64::max);
            if response.canceled {
                break;
            }
        }
        // The connection lives as long as this does.
        drop(rpc);
        Watched {
            newest,
            ended: Instant::now(),
        }
    })
}

/// HTTP/1 by TLS: one request after the other on one connection.
struct Http {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Http {
    fn open(at: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let name = ServerName::from(at.ip());
        let connection = ClientConnection::new(config.clone(), name).expect("TLS");
        let socket = TcpStream::connect(at)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: StreamOwned::new(connection, socket),
        })
    }

    /// The key `k`, through the gateway: the head of the answer.
    fn read(&mut self) -> std::io::Result<String> {
        let body = r#"{"key":"aw=="}"#;
        let request = format!(
            "POST /v3/kv/range HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        let mut answer = vec![0; 4096];
        let count = self.stream.read(&mut answer)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
    }
}

/// The same certificate for HTTP/1, with memory for sessions.
async fn http_config(files: &Files) -> Arc<ClientConfig> {
    let config = files.config_soon(&Seen::default()).await;
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Reads again and again over one connection; when that ended.
fn reads_until_the_end(mut http: Http) -> thread::JoinHandle<Instant> {
    thread::spawn(move || {
        let begin = Instant::now();
        while http.read().is_ok() {
            assert!(
                begin.elapsed() < PATIENCE,
                "an open connection is served for ever"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Instant::now()
    })
}

/// An idle connection: when the other side ends it.
fn idles_until_the_end(mut http: Http) -> thread::JoinHandle<Instant> {
    thread::spawn(move || {
        let mut byte = [0];
        let ended = http.stream.read(&mut byte);
        assert!(!matches!(ended, Ok(1..)), "nobody asked anything");
        if let Err(error) = ended {
            let kinds = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            assert!(
                !kinds.contains(&error.kind()),
                "an idle connection stays for ever"
            );
        }
        Instant::now()
    })
}

/// Tries anew until it is refused; when the first attempt began that was.
async fn refused_at(at: SocketAddr, files: &Files) -> Instant {
    let begin = Instant::now();
    loop {
        let attempt = Instant::now();
        let served = match files.connect(at).await {
            Ok(rpc) => rpc.call(get("k")).await.is_ok(),
            Err(_) => false,
        };
        if !served {
            return attempt;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "a new connection is served for ever"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Open {
    watches: Vec<JoinHandle<Watched>>,
    busy: Vec<thread::JoinHandle<Instant>>,
    idle: Vec<thread::JoinHandle<Instant>>,
}

async fn open_everything(three: &Three, files: &Files, config: &Arc<ClientConfig>) -> Open {
    let mut open = Open {
        watches: Vec::new(),
        busy: Vec::new(),
        idle: Vec::new(),
    };
    for member in &three.members {
        let rpc = files.connect(address(member)).await.expect("accepted");
        open.watches.push(watch(&rpc).await);
        let at = address(member);
        for idles in [false, true] {
            let mut http = Http::open(at, config).expect("accepted");
            let head = http.read().expect("served");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            match idles {
                true => open.idle.push(idles_until_the_end(http)),
                false => open.busy.push(reads_until_the_end(http)),
            }
        }
    }
    open
}

fn latest(of: impl Iterator<Item = Instant>, since: Instant) -> f64 {
    let times = of.map(|at| at.saturating_duration_since(since).as_secs_f64());
    times.fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revoked_certificate_is_worth_nothing_anywhere() {
    let dir = TestDir::new("revocation");
    let three = Three::start(&dir, &[]).await;
    let out = dir.path().join("clients");
    let app = Files::make(&three.members[0], &out, "app", &[]);
    let other = Files::make(&three.members[0], &out, "other", &[]);
    let admin = Files::admin(&three.members[0]);
    let root = admin
        .connect(address(&three.members[0]))
        .await
        .expect("accepted");
    root.call(put("k", "before")).await.expect("served");
    let (config, of_other) = (http_config(&app).await, http_config(&other).await);
    let open = open_everything(&three, &app, &config).await;
    let mut kept = Http::open(address(&three.members[1]), &of_other).expect("accepted");
    kept.read().expect("served");

    three.members[0].told(&["cert", "revoke", "--user", "app"]);
    let revoked = Instant::now();
    let written = root.call(put("k", "after")).await.expect("served");
    let after = written.header.expect("a header").revision;

    let mut fresh = Vec::new();
    for member in &three.members {
        fresh.push(refused_at(address(member), &app).await);
    }
    let mut watched = Vec::new();
    for task in open.watches {
        let ended = tokio::time::timeout(PATIENCE, task).await;
        watched.push(ended.expect("a watch goes on for ever").expect("no panic"));
    }
    let join = |threads: Vec<thread::JoinHandle<Instant>>| -> Vec<Instant> {
        threads
            .into_iter()
            .map(|t| t.join().expect("it ends"))
            .collect()
    };
    let (busy, idle) = (join(open.busy), join(open.idle));
    // What was agreed on before is not taken up again.
    for member in &three.members {
        let again = Http::open(address(member), &config).and_then(|mut http| http.read());
        again.expect_err("a session of before is worth nothing");
    }
    println!(
        "revoked, seconds until the last of three members knew it: new connections {:.3}, open watches {:.3}, busy HTTP \
         {:.3}, idle HTTP {:.3}",
        latest(fresh.into_iter(), revoked),
        latest(watched.iter().map(|w| w.ended), revoked),
        latest(busy.into_iter(), revoked),
        latest(idle.into_iter(), revoked),
    );
    for watched in &watched {
        assert!(
            watched.newest < after,
            "a watch got revision {}, written at {after} when its owner was not trusted any more",
            watched.newest
        );
    }
    kept.read().expect("others are not disturbed");
    let word = three.members[2].told(&["cert", "unrevoke", "--user", "app"]);
    assert!(word.contains("accepted again"), "{word}");
    let begin = Instant::now();
    while Http::open(address(&three.members[0]), &config)
        .and_then(|mut http| http.read())
        .is_err()
    {
        assert!(begin.elapsed() < PATIENCE, "it is not let in again");
        thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_certificate_is_revoked_and_another_of_the_same_user_is_not() {
    let dir = TestDir::new("revoke-serial");
    let member = super::Place::new(&dir, "a").start();
    let stolen = Files::make(&member, &dir.path().join("1"), "app", &[]);
    let good = Files::make(&member, &dir.path().join("2"), "app", &[]);
    let serial = Serial::of(&certificates(&stolen.cert)[0]).expect("a certificate");
    let rpc = stolen.connect(address(&member)).await.expect("accepted");
    let watched = watch(&rpc).await;
    member.told(&["cert", "revoke", &serial.to_string()]);
    let revoked = Instant::now();
    let ended = tokio::time::timeout(PATIENCE, watched).await;
    let ended = ended.expect("it ends").expect("no panic").ended;
    refused_at(address(&member), &stolen).await;
    println!(
        "revoked by its serial: the watch ended after {:.3} s",
        ended.saturating_duration_since(revoked).as_secs_f64()
    );
    let rpc = good.connect(address(&member)).await.expect("accepted");
    rpc.call(get("k")).await.expect("served");
}

/// The certificate of the last member, once that has told the others of it.
fn listed_node(three: &Three) -> String {
    let begin = Instant::now();
    loop {
        let chain = certificates(&three.members[2].pki("node.pem"));
        let serial = Serial::of(&chain[0]).expect("a certificate").to_string();
        if three.members[0].told(&["cert", "list"]).contains(&serial) {
            return serial;
        }
        assert!(begin.elapsed() < PATIENCE, "{}", three.logs());
        thread::sleep(Duration::from_millis(20));
    }
}

/// A member whose key was stolen: the others hear nobody who shows that certificate, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_certificate_is_revoked_is_cut_off_from_the_others() {
    let dir = TestDir::new("revoke-member");
    let three = Three::start(&dir, &[]).await;
    let serial = listed_node(&three);
    let admins: Vec<Files> = three.members.iter().map(Files::admin).collect();
    let cut = admins[2]
        .connect(address(&three.members[2]))
        .await
        .expect("accepted");
    cut.call(put("k", "1")).await.expect("served");
    three.members[0].told(&["cert", "revoke", &serial]);
    let revoked = Instant::now();
    let alone = loop {
        let asked = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(2), cut.call(put("k", "2"))).await;
        if !matches!(answer, Ok(Ok(_))) {
            break asked;
        }
        assert!(revoked.elapsed() < PATIENCE, "{}", three.logs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    println!(
        "a member's certificate revoked: it could do nothing any more after {:.3} s",
        alone.saturating_duration_since(revoked).as_secs_f64()
    );
    let rpc = admins[0]
        .connect(address(&three.members[0]))
        .await
        .expect("accepted");
    // The one that was cut off may have led.
    let begin = Instant::now();
    while let Err(status) = rpc.call(put("k", "3")).await {
        assert!(begin.elapsed() < PATIENCE, "two of three go on: {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
