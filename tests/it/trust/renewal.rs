//! Certificates that live for seconds, under load: nobody who uses the cluster notices that they are renewed.
//!
//! `KVORUM_TEST_RENEWAL_SECONDS` says how long, `KVORUM_TEST_RENEWAL_LIFE` how many seconds each certificate lives. The
//! client's own is renewed beside it by `kvorum cert renew`, as a timer would.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::TestDir;

use super::load::Load;
use super::three::Three;
use super::tls_client::{Files, address};
use crate::number_from_env;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_load_and_no_request_fails() {
    // The shortest life that a member takes, and time for two renewals of it.
    let life_s = number_from_env("KVORUM_TEST_RENEWAL_LIFE", 30);
    let total_s = number_from_env("KVORUM_TEST_RENEWAL_SECONDS", 65);
    let dir = TestDir::new("renewal");
    let life = format!("{life_s}s");
    let flags = [
        "--node-cert-life",
        &life,
        "--client-cert-life",
        &life,
        "--console-cert-life",
        &life,
    ];
    let three = Three::start(&dir, &flags).await;
    let out = dir.path().join("client");
    let files = Files::make(&three.members[0], &out, "app", &[]);
    let addresses: Vec<_> = three.members.iter().map(address).collect();
    let before = term(&files, &three).await;
    let load = Load::start(&addresses, &files, 2);
    let begin = Instant::now();
    let mut renewals = 0u64;
    let out_text = out.to_string_lossy().into_owned();
    // Two thirds of its life, as the members do it for themselves.
    let pause = Duration::from_secs(life_s * 2 / 3);
    while begin.elapsed() + pause < Duration::from_secs(total_s) {
        tokio::time::sleep(pause).await;
        three.members[0].told(&["cert", "renew", "app", "--out-dir", &out_text]);
        renewals += 1;
    }
    let left = Duration::from_secs(total_s).saturating_sub(begin.elapsed());
    tokio::time::sleep(left).await;
    let elections = term(&files, &three).await - before;
    let (tally, seen) = load.stop().await;
    let failed = tally.failed.lock().expect("not poisoned").clone();
    let shown: Vec<usize> = seen.iter().map(super::tls_client::Seen::count).collect();
    println!(
        "renewal: {total_s} s, lives of {life_s} s: {} requests, {} failed; certificates that the members showed on the \
         wire: {shown:?}; the client's was renewed {renewals} times; {elections} elections",
        tally.done.load(Ordering::Relaxed),
        failed.len()
    );
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), three.logs());
    // A life and a third of it pass between the first sight of one and the last chance to see the next.
    let wanted = (total_s / life_s).max(2);
    for count in shown {
        assert!(
            count as u64 >= wanted,
            "{count} certificates, {wanted} are to be seen"
        );
    }
}

async fn term(files: &Files, three: &Three) -> u64 {
    let rpc = files.connect(address(&three.members[0])).await;
    let rpc = rpc.expect("a good certificate");
    let status = rpc.call(pb::StatusRequest {}).await;
    status.expect("it serves").raft_term
}
