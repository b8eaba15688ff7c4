//! Many clients list everything at once.
//!
//! `KVORUM_TEST_LIST_KEYS` (50,000) and `KVORUM_TEST_LIST_CLIENTS` (64) choose how much, `KVORUM_TEST_LIST_MIB` (512)
//! the address space that the member gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, Server, TestDir};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::sizes::status_bytes;
use crate::both::{get, op, put, range, txn};
use crate::number_from_env;
use crate::rpc::Rpc;

const VALUE_BYTES: usize = 128;

/// A range's answer of which only the number of pairs is kept.
#[derive(Clone, Debug, Default)]
struct Counted {
    pairs: usize,
}

impl Message for Counted {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        number: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        self.pairs += usize::from(number == 2);
        skip_field(wire_type, number, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        self.pairs = 0;
    }
}

fn start(dir: &TestDir, mib: u64) -> Server {
    let mut options = Options::new(dir);
    options.wrapper = vec!["prlimit".into(), format!("--as={}", mib << 20)];
    options.start()
}

async fn connect(server: &Server) -> Rpc {
    Rpc::connect(&server.url())
        .await
        .expect("the server accepts connections")
}

async fn fill(rpc: &Rpc, keys: usize) {
    let value = "v".repeat(VALUE_BYTES);
    let numbers: Vec<usize> = (0..keys).collect();
    for some in numbers.chunks(128) {
        let puts = some
            .iter()
            .map(|n| op(put(&format!("list/{n:07}"), &value)));
        rpc.call(txn(puts.collect())).await.expect("writes succeed");
    }
}

async fn list(rpc: &Rpc, request: pb::RangeRequest) -> Result<Counted, Status> {
    rpc.call_with("/etcdserverpb.KV/Range", request, MetadataMap::new())
        .await
}

/// Lists until it is answered, as etcd's clients do; returns the pairs and how often it was refused.
async fn list_stubbornly(rpc: Rpc, request: pb::RangeRequest) -> (usize, usize) {
    let mut refused = 0;
    loop {
        match list(&rpc, request.clone()).await {
            Ok(counted) => return (counted.pairs, refused),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert!(
                    status.message().contains("too many large requests"),
                    "{status:?}"
                );
                refused += 1;
            }
        }
    }
}

/// Small requests of another client, one after the other, until told to stop: how long each took.
async fn others(rpc: Rpc, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        rpc.call(put("other", "v")).await.expect("others may write");
        rpc.call(get("list/0000000"))
            .await
            .expect("others may read");
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_all_list_everything_at_once_are_all_served_in_little_memory() {
    let keys = number_from_env("KVORUM_TEST_LIST_KEYS", 50_000) as usize;
    let clients = number_from_env("KVORUM_TEST_LIST_CLIENTS", 64) as usize;
    let mib = number_from_env("KVORUM_TEST_LIST_MIB", 512);
    let dir = TestDir::new("lists");
    let server = start(&dir, mib);
    let rpc = connect(&server).await;
    fill(&rpc, keys).await;
    let before = status_bytes(server.pid(), "VmRSS");
    let stop = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn(others(rpc.clone(), stop.clone()));
    let refused = AtomicUsize::new(0);
    let begun = Instant::now();
    let mut lists = Vec::new();
    for number in 0..clients {
        let mut request = range("list/", "list0");
        // Some want it sorted, which takes more memory than to pass it on.
        if number % 8 == 7 {
            request.sort_order = pb::range_request::SortOrder::Descend.into();
        }
        lists.push(tokio::spawn(list_stubbornly(
            connect(&server).await,
            request,
        )));
    }
    for listed in lists {
        let (pairs, often) = listed.await.expect("no panic");
        assert_eq!(pairs, keys);
        refused.fetch_add(often, Ordering::Relaxed);
    }
    let elapsed = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let took = others.await.expect("others are served");
    let most = status_bytes(server.pid(), "VmHWM");
    println!(
        "lists: {clients} clients, {keys} keys each, in {elapsed:.1?}, refused {refused:?}; resident {} MiB before, \
         {} MiB at most, {} MiB of addresses; others: {} put and get, p50 {:?}, p99 {:?}",
        before >> 20,
        most >> 20,
        status_bytes(server.pid(), "VmPeak") >> 20,
        took.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
    );
    assert!(most < mib << 20, "{most} bytes were resident");
}
