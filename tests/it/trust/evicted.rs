//! A member is removed whose administrator's certificate somebody has copied: it is worth nothing anywhere, from then on
//! and on connections that are open; and a change of the root does not wait for it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_pki::Serial;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{TestDir, free_ports};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::three::Three;
use super::tls_client::{Files, Seen, address, certificates};
use super::{Member, Place, text};
use crate::both::{get, put};
use crate::rpc::{Duplex, Rpc};

/// Far above the promised five seconds: what takes as long never ends.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Starts it with a console and figures, both over TLS; where they are.
fn start_with_all(place: &Place) -> (Member, SocketAddr, SocketAddr) {
    let [console, figures] = free_ports();
    let listeners = [
        ("--listen-console-url", console),
        ("--listen-metrics-urls", figures),
    ];
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    (place.start_listening(&listeners), at(console), at(figures))
}

/// A sign-in to the console by a certificate.
const SIGN_IN: &str = "POST /admin/v1/login/certificate";
const FIGURES: &str = "GET /metrics";

/// The first line of the answer to one request; none where there is no answer.
async fn status(at: SocketAddr, files: &Files, what: &str) -> Option<String> {
    let config = files.config_soon(&Seen::default()).await;
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(at).await.ok()?;
    let stream = connector.connect(ServerName::from(at.ip()), socket).await;
    let mut stream = stream.ok()?;
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {at}\r\nOrigin: https://{at}\r\nX-Kvorum: 1\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // An end without TLS's goodbye is an end as well.
    let _ended = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().map(str::to_owned)
}

async fn is_served(at: SocketAddr, files: &Files, what: &str) -> bool {
    let status = status(at, files, what).await;
    status.is_some_and(|line| line.contains(" 200"))
}

/// A copy of the administrator's files of a member.
fn stolen(member: &Member, to: &Path) -> Files {
    fs::create_dir_all(to).expect("a directory");
    let own = Files::admin(member);
    let copy = Files {
        cert: to.join("admin.crt"),
        key: to.join("admin.key"),
        roots: to.join("ca.pem"),
    };
    for (from, to) in [
        (&own.cert, &copy.cert),
        (&own.key, &copy.key),
        (&own.roots, &copy.roots),
    ] {
        fs::copy(from, to).expect("copied");
    }
    copy
}

/// A watch that is open; when it ended.
async fn watch(rpc: &Rpc) -> tokio::task::JoinHandle<Instant> {
    let mut stream: Duplex<pb::WatchRequest> = rpc.open();
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        ..Default::default()
    };
    stream.create(create).await;
    assert!(stream.next().await.expect("a watch").created);
    tokio::spawn(async move {
        while let Ok(response) = stream.next().await {
            if response.canceled {
                break;
            }
        }
        Instant::now()
    })
}

/// Until a new connection is worth nothing.
async fn refused(at: SocketAddr, files: &Files) {
    let begin = Instant::now();
    loop {
        let served = match files.connect(at).await {
            Ok(rpc) => rpc.call(get("k")).await.is_ok(),
            Err(_) => false,
        };
        if !served {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "it is served for ever");
        tokio::time::sleep(LOOK).await;
    }
}

async fn status_with(member: &Member, part: &str) -> String {
    let begin = Instant::now();
    loop {
        let told = text(&member.tool(&["ca", "status"]));
        if told.contains(part) {
            return told;
        }
        assert!(begin.elapsed() < PATIENCE, "{part:?} is not in {told}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Its id.
async fn remove_third(three: &Three) -> String {
    let own = three.members[2].tool(&["member", "list"]);
    let own = text(&own);
    let line = own.lines().find(|line| line.contains(", c, "));
    let id = line.and_then(|line| line.split(',').next());
    let id = id.unwrap_or_else(|| panic!("{own}")).to_owned();
    let begin = Instant::now();
    // One that has just started is not counted on at once.
    loop {
        let said = three.members[0].tool(&["member", "remove", &id]);
        if said.status.success() {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{}", text(&said));
        tokio::time::sleep(LOOK).await;
    }
    id
}

/// And nobody takes that back.
fn is_listed_as_refused(three: &Three, serial: &str, id: &str) {
    let list = three.members[1].told(&["cert", "list"]);
    let line = list.lines().find(|line| line.starts_with(serial));
    let line = line.unwrap_or_else(|| panic!("{list}"));
    assert!(line.contains("its member was removed"), "{line}");
    assert!(list.contains(&format!("member {id}")), "{list}");
    let back = three.members[0].tool(&["cert", "unrevoke", serial]);
    assert!(
        text(&back).contains("its member was removed"),
        "{}",
        text(&back)
    );
}

/// A change of the root waits for what may be shown, and not for this certificate.
async fn changes_the_root_without(three: &Three, serial: &str) {
    three.members[0].told(&["ca", "rotate", "--grace", "1h"]);
    // Once the members have made others for themselves.
    let told = status_with(&three.members[0], "copy pki/admin.* of member").await;
    assert!(told.contains("step 4 of 5"), "{told}");
    assert!(!told.contains(serial), "{told}");
    assert!(told.contains("--end-grace"), "{told}");
    three.members[1].told(&["ca", "rotate", "--end-grace"]);
    status_with(&three.members[0], "no rotation is under way").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_removed_member_made_for_itself_is_worth_nothing() {
    let dir = TestDir::new("evicted");
    let mut three = Three::start(&dir, &[]).await;
    assert!(three.members[0].server.terminate().success());
    let (member, console, figures) = start_with_all(&three.places[0]);
    three.members[0] = member;
    let copy = stolen(&three.members[2], &dir.path().join("stolen"));
    let serial = Serial::of(&certificates(&copy.cert)[0]).expect("a certificate");
    let serial = serial.to_string();
    three.lists(&serial).await;
    let good = Files::admin(&three.members[1]);
    let root = good.connect(address(&three.members[1])).await;
    let root = root.expect("accepted");
    root.call(put("k", "before")).await.expect("served");
    let mut open = Vec::new();
    for member in &three.members[..2] {
        let rpc = copy.connect(address(member)).await.expect("accepted");
        rpc.call(get("k")).await.expect("served");
        open.push((watch(&rpc).await, rpc));
    }
    for (at, what) in [(console, SIGN_IN), (figures, FIGURES)] {
        assert!(
            is_served(at, &copy, what).await,
            "{what}: {:?}",
            status(at, &copy, what).await
        );
    }

    let id = remove_third(&three).await;
    let removed = Instant::now();
    let mut ended = Vec::new();
    for (watched, rpc) in open {
        let at = tokio::time::timeout(PATIENCE, watched).await;
        ended.push(at.expect("the watch ends").expect("no panic"));
        let call = rpc.call(get("k")).await.expect_err("an open connection");
        println!("on an open connection: {call}");
    }
    for member in &three.members[..2] {
        refused(address(member), &copy).await;
    }
    let begin = Instant::now();
    for (at, what) in [(console, SIGN_IN), (figures, FIGURES)] {
        while is_served(at, &copy, what).await {
            assert!(begin.elapsed() < PATIENCE, "{what} is served for ever");
            tokio::time::sleep(LOOK).await;
        }
        assert!(is_served(at, &good, what).await, "another member's: {what}");
    }
    println!(
        "a member removed: its administrator's watches ended after {:?}, everything after {:?}",
        ended
            .iter()
            .map(|at| at.saturating_duration_since(removed))
            .max(),
        removed.elapsed()
    );
    root.call(put("k", "after"))
        .await
        .expect("others are served");
    let part = "made by a member for itself";
    three.members[0].server.wait_log(|line| line.contains(part));
    // And of those that did not get in at all.
    let part = "rejected connection on client endpoint";
    three.members[1].server.wait_log(|line| line.contains(part));

    is_listed_as_refused(&three, &serial, &id);
    changes_the_root_without(&three, &serial).await;
}

/// A copy of an administrator's files works for as long as was promised where it is used, and is not waited for where it
/// is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_used_lives_through_a_change_of_the_root() {
    let dir = TestDir::new("copied-admin");
    let member = Place::new(&dir, "a").start();
    let copy = stolen(&member, &dir.path().join("laptop"));
    let own = Files::admin(&member);
    let at = address(&member);
    // A tenth of it is ten seconds.
    member.told(&["ca", "rotate", "--grace", "100s"]);
    let begun = Instant::now();
    status_with(&member, "step 4 of 5").await;
    let laptop = Files {
        // Whom to trust it has from the cluster.
        roots: own.roots.clone(),
        ..copy
    };
    let used = Instant::now();
    let mut calls = 0;
    // Twice as long as one that is not used is waited for.
    while used.elapsed() < Duration::from_secs(20) {
        let rpc = laptop.connect(at).await.expect("accepted to the end");
        rpc.call(get("k")).await.expect("served to the end");
        calls += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let told = status_with(&member, "step 4 of 5").await;
    assert!(told.contains("was shown at"), "{told}");
    // From here on nobody uses it.
    status_with(&member, "no rotation is under way").await;
    println!(
        "a copy was used {calls} times for 20 s of a grace period of 100 s; the rotation ended after {:?}",
        begun.elapsed()
    );
    refused(at, &laptop).await;
    let rpc = own.connect(at).await.expect("the member's own is new");
    rpc.call(get("k")).await.expect("served");
}
