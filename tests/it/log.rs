//! The log of a process whose log nobody reads: that is no reason to stand still.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{READY, TestDir, free_port, kvorum_bin};
use serde_json::Value;

use crate::rpc::Rpc;

/// Far above what a start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing more fits into it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = io::pipe().expect("a pipe can be made");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
    let mut filled = 0;
    for piece in [4096, 1] {
        while let Ok(count) = writer.write(&vec![b'.'; piece]) {
            filled += count;
        }
    }
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe");
    (reader, writer, filled)
}

/// Killed when the test is over, however it ends.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until it serves.
async fn connect(url: &str, member: &mut Member) -> Rpc {
    let begin = Instant::now();
    loop {
        let ready = match Rpc::connect(url).await {
            Ok(rpc) => rpc.call(put()).await.map(|_| rpc).ok(),
            Err(_) => None,
        };
        if let Some(rpc) = ready {
            return rpc;
        }
        let ended = member.0.try_wait().expect("an own child");
        assert!(ended.is_none(), "{ended:?}");
        assert!(begin.elapsed() < PATIENCE, "it does not serve");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn put() -> pb::PutRequest {
    pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn issue_22214_a_member_serves_while_nobody_reads_its_log() {
    let dir = TestDir::new("log");
    let url = format!("http://127.0.0.1:{}", free_port());
    let (mut reader, writer, filled) = full_pipe();
    let mut command = Command::new(kvorum_bin());
    command
        .args([
            "serve",
            "--log-format",
            "json",
            "--client-allow-plain",
            "true",
        ])
        .args(["--listen-client-urls", &url, "--data-dir"])
        .arg(dir.path().join("member"))
        .args(["--listen-metrics-urls=none", "--listen-console-url=none"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer);
    let mut member = Member(command.spawn().expect("the binary starts"));
    drop(command); // Its end of the pipe must close, or the log never ends.
    let rpc = connect(&url, &mut member).await;
    for _ in 0..100 {
        rpc.call(put()).await.expect("is served");
        let range = pb::RangeRequest {
            key: "k".into(),
            ..Default::default()
        };
        let found = rpc.call(range).await.expect("is served");
        assert_eq!(found.count, 1);
    }
    // Whoever reads again misses nothing, up to the last line before the end.
    let pid = member.0.id().to_string();
    let told = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(told.is_ok_and(|status| status.success()));
    let mut log = Vec::new();
    reader.read_to_end(&mut log).expect("readable");
    let status = member.0.wait().expect("an own child");
    assert!(status.success(), "{status}");
    let log = String::from_utf8(log.split_off(filled)).expect("is text");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("is JSON"))
        .collect();
    let place = |part: &str| {
        let says = |line: &Value| line["msg"].as_str().is_some_and(|msg| msg.contains(part));
        lines.iter().position(says)
    };
    assert_eq!(place("starting"), Some(0), "{log}");
    assert!(place(READY) > Some(0), "{log}");
    assert_eq!(place("stopped"), Some(lines.len() - 1), "{log}");
    assert_eq!(place("are lost"), None, "{log}");
    let times: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["ts"].as_str())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}
