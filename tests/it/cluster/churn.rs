//! Overwrites without end in a small quota, with automatic compaction: nobody has to do anything, ever.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

use super::{members::Cluster, one_at_a_time, spread::Spread, verdict};
use crate::both::put;

const MIB: u64 = 1 << 20;
const QUOTA: u64 = 32 * MIB;
/// Each writer's pace: together about 2 MiB a second, of which compaction keeps some seconds.
const WRITERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(16);
const VALUE_BYTES: usize = 4096;
const KEYS: u64 = 200;
/// A file holds dead pages until they are used again, and grows by more than it needs.
const FILE_MAX: u64 = 6 * QUOTA;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_at_quota_goes_on_without_a_command() {
    let _one = one_at_a_time().await;
    let seconds = crate::number_from_env("KVORUM_TEST_CLUSTER_CHURN_SECONDS", 30);
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let flags = [
        &quota,
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=4s",
    ];
    let cluster = Cluster::start_with("churn", 3, &flags);
    let span = Duration::from_secs(seconds);
    let begun = Instant::now();
    let written = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let written = Arc::clone(&written);
        let rpc = cluster.rpc(writer as usize % 3).await;
        let value: Arc<str> = "x".repeat(VALUE_BYTES).into();
        writers.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for number in 0.. {
                // A slow disk takes longer for as much.
                if begun.elapsed() >= span && written.load(Ordering::Relaxed) > QUOTA {
                    break;
                }
                let key = format!("churn/{:04}", (number * WRITERS + writer) % KEYS);
                let called = Instant::now();
                rpc.call(put(&key, &value))
                    .await
                    .unwrap_or_else(|status| panic!("after {:?}: {status}", begun.elapsed()));
                written.fetch_add(VALUE_BYTES as u64, Ordering::Relaxed);
                times.push((called - begun, called.elapsed()));
                sleep(PAUSE).await;
            }
            times
        }));
    }
    let is_over = || writers.iter().all(JoinHandle::is_finished);
    let largest = watch_files(&cluster, is_over).await;
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.expect("every write was taken"));
    }
    tell(&all, span, largest);
    let written = all.len() as u64 * VALUE_BYTES as u64;
    assert!(written > QUOTA, "only {} MiB written", written / MIB);
    assert!(largest < FILE_MAX, "a state of {} MiB", largest / MIB);
    cluster.settled().await;
    verdict::equal_hashes(&cluster)
        .await
        .unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// The most that any member's folder took meanwhile.
async fn watch_files(cluster: &Cluster, is_over: impl Fn() -> bool) -> u64 {
    let mut largest = 0;
    while !is_over() {
        for member in &cluster.members {
            largest = largest.max(bytes_in(&member.data_dir));
        }
        sleep(Duration::from_millis(250)).await;
    }
    largest
}

/// What the files of a folder take, holes not counted.
fn bytes_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // A file may go while we look.
        sum += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        };
    }
    sum
}

fn tell(all: &[(Duration, Duration)], span: Duration, largest: u64) {
    let mut parts = vec![Spread::default(); 3];
    for (called, took) in all {
        let part = called.as_secs_f64() / span.as_secs_f64() * 3.0;
        parts[(part as usize).min(2)].add(*took);
    }
    let p999: Vec<String> = parts
        .iter()
        .map(|part| format!("{:.1} ms", part.quantile(0.999).as_secs_f64() * 1e3))
        .collect();
    println!(
        "churn: {} writes of {VALUE_BYTES} B in {span:?}, quota {} MiB, largest folder {} MiB; \
         p99.9 in each third: {}",
        all.len(),
        QUOTA / MIB,
        largest / MIB,
        p999.join(", ")
    );
}
