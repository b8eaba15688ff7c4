//! History that is compacted without anybody asking.

use std::time::Duration;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, TestDir};

use crate::both::{get, put};
use crate::rpc::Rpc;

#[tokio::test]
async fn history_older_than_the_period_goes_by_itself_and_newer_one_stays() {
    let dir = TestDir::new("auto-compaction");
    let member = Options::new(&dir)
        .flag("--auto-compaction-retention=2s")
        .start();
    let rpc = Rpc::connect(&member.url()).await.expect("connects");
    let old = rpc.call(put("k", "old")).await.expect("put").header;
    let old = old.expect("header").revision;
    let mut newest = old;
    // The clock decides, and it is only waited for.
    loop {
        let header = rpc.call(put("k", "new")).await.expect("put").header;
        newest = newest.max(header.expect("header").revision);
        let at_old = pb::RangeRequest {
            revision: old,
            ..get("k")
        };
        if let Err(status) = rpc.call(at_old).await {
            assert_eq!(
                status.message(),
                "etcdserver: mvcc: required revision has been compacted"
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let recent = pb::RangeRequest {
        revision: newest - 1,
        ..get("k")
    };
    assert_eq!(rpc.call(recent).await.expect("is kept").count, 1);
    member.wait_log(|line| line.contains("finished scheduled compaction"));
}
