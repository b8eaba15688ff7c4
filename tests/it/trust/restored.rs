//! A cluster restored from a snapshot with its authority: clients go on with the certificates that they have.

use std::path::Path;

use kvorum_tests::process::TestDir;

use super::tls_client::{Files, address};
use super::{Member, Place, text, tool};
use crate::both::{get, put};

async fn is_served(member: &Member, files: &Files) -> bool {
    match files.connect(address(member)).await {
        Ok(rpc) => rpc.call(get("k")).await.is_ok(),
        Err(_) => false,
    }
}

fn restore(from: &Path, place: &Place, pki: Option<&Path>) -> String {
    let url = format!("https://127.0.0.1:{}", place.peer_port);
    let mut words = vec!["snapshot", "restore", from.to_str().expect("UTF-8")];
    words.extend(["--name", &place.name, "--initial-advertise-peer-urls", &url]);
    if let Some(pki) = pki {
        words.extend(["--pki-dir", pki.to_str().expect("UTF-8")]);
    }
    let output = tool(&place.data_dir, &words);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[tokio::test]
async fn clients_of_a_restored_cluster_keep_their_certificates() {
    let dir = TestDir::new("restored-authority");
    let mut old = Place::new(&dir, "a").start();
    let out = dir.path().join("clients");
    let app = Files::make(&old, &out, "app", &[]);
    let gone = Files::make(&old, &out, "gone", &[]);
    old.told(&["cert", "revoke", "--user", "gone"]);
    let rpc = app.connect(address(&old)).await.expect("accepted");
    rpc.call(put("k", "before")).await.expect("served");
    let file = dir.path().join("saved.db");
    let admin = Files::admin(&old);
    let shown = [&admin.roots, &admin.cert, &admin.key].map(|p| p.to_string_lossy().into_owned());
    let saved = std::process::Command::new(kvorum_tests::process::kvorum_bin())
        .args(["snapshot", "save"])
        .arg(&file)
        .args(["--endpoints", &old.client_url, "--cacert", &shown[0]])
        .args(["--cert", &shown[1], "--key", &shown[2]])
        .output()
        .expect("starts");
    assert!(saved.status.success(), "{}", text(&saved));
    assert!(old.server.terminate().success());

    let place = Place::new(&dir, "again");
    let said = restore(&file, &place, Some(&old.data_dir.join("pki")));
    assert!(!said.contains("note:"), "{said}");
    let member = place.start();
    let rpc = app
        .connect(address(&member))
        .await
        .expect("the same authority");
    let found = rpc.call(get("k")).await.expect("served");
    assert_eq!(found.kvs[0].value, "before");
    assert!(
        !is_served(&member, &gone).await,
        "what was revoked stays so"
    );
    // The tools of this machine have a certificate as soon as the member has made it.
    member
        .server
        .wait_log(|line| line.contains("renewed certificates of this member"));
    let begin = std::time::Instant::now();
    while !tool(&member.data_dir, &["token", "create"])
        .status
        .success()
    {
        assert!(begin.elapsed().as_secs() < 60, "{}", member.server.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // Without the files of the old one it is another authority, and says so.
    let place = Place::new(&dir, "stranger");
    let said = restore(&file, &place, None);
    assert!(said.contains("--pki-dir"), "{said}");
    let member = place.start();
    assert!(!is_served(&member, &app).await, "another authority's");
    let own = Files::admin(&member).connect(address(&member)).await;
    let found = own.expect("accepted").call(get("k")).await.expect("served");
    assert_eq!(found.kvs[0].value, "before");
}
