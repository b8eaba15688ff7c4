//! A member whose files are lost takes another place in its cluster without a human, where certificates are the cluster's
//! own: it keeps its keys, and gets new certificates for who it is then.

use std::fs;
use std::time::{Duration, Instant};

use kvorum_pki::Serial;
use kvorum_tests::process::TestDir;

use super::text;
use super::three::Three;
use super::tls_client::{Files, address, certificates};
use crate::both::{get, put};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// The line of the member of that name.
fn line_of(three: &Three, name: &str) -> String {
    let list = text(&three.members[0].tool(&["member", "list"]));
    let found = list
        .lines()
        .find(|line| line.contains(&format!(", {name}, ")));
    found.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_built_anew_has_certificates_for_its_new_place() {
    let dir = TestDir::new("healed-tls");
    let mut three = Three::start(&dir, &[]).await;
    let good = Files::admin(&three.members[0]);
    let root = good.connect(address(&three.members[0])).await;
    let root = root.expect("accepted");
    root.call(put("k", "before")).await.expect("served");
    let before = line_of(&three, "c");
    let id = before.split(',').next().expect("an id").to_owned();
    let own = Files::admin(&three.members[2]);
    let old_admin = own.state();
    let copy = Files {
        cert: dir.path().join("old.crt"),
        key: dir.path().join("old.key"),
        roots: own.roots.clone(),
    };
    fs::copy(&own.cert, &copy.cert).expect("copied");
    fs::copy(&own.key, &copy.key).expect("copied");
    let serial = Serial::of(&certificates(&copy.cert)[0]).expect("a certificate");
    three.lists(&serial.to_string()).await;
    assert!(three.members[2].server.terminate().success());
    // As a process leaves it that has found its state damaged.
    let data_dir = &three.places[2].data_dir;
    fs::write(data_dir.join("rebuild"), "5eed5eed5eed5eed 0 0\na test\n").expect("written");
    let begin = Instant::now();
    three.members[2] = three.places[2].start();
    loop {
        let now = line_of(&three, "c");
        let is_new = !now.is_empty() && !now.starts_with(&id);
        if is_new && now.ends_with("false") && own.state() != old_admin {
            break;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{before}\n{now}\n{}",
            three.logs()
        );
        tokio::time::sleep(LOOK).await;
    }
    println!(
        "healed after {:?}: {}",
        begin.elapsed(),
        line_of(&three, "c")
    );
    // What it made for itself as who it was is worth nothing, and the new one is.
    let begin = Instant::now();
    loop {
        let new = own.connect(address(&three.members[0])).await;
        let new = match new {
            Ok(rpc) => rpc.call(put("k", "after")).await.is_ok(),
            Err(_) => false,
        };
        let old = match copy.connect(address(&three.members[0])).await {
            Ok(rpc) => rpc.call(get("k")).await.is_ok(),
            Err(_) => false,
        };
        if new && !old {
            break;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "new {new}, old {old}\n{}",
            three.logs()
        );
        tokio::time::sleep(LOOK).await;
    }
    let itself = own.connect(address(&three.members[2])).await;
    let found = itself.expect("accepted").call(get("k")).await;
    assert_eq!(found.expect("served").kvs[0].value, "after");
}
