//! One client that floods, and another one that wants to be served.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kvorum_proto::etcdserverpb as pb;

use super::{members::Cluster, one_at_a_time, spread::Spread};
use crate::{number_from_env, rpc::Rpc};

/// Connections of the client that floods.
const CONNECTIONS: u64 = 4;
/// Pairs of a write and a read of the other one.
const PAIRS: usize = 50;

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: vec![b'v'; 128].into(),
        ..Default::default()
    }
}

/// Writes, each read back, one after the other; how long each call took.
async fn serve_me(rpc: &Rpc) -> Spread {
    let mut took = Spread::default();
    for number in 0..PAIRS {
        let key = format!("quiet/{}", number % 10);
        let begin = Instant::now();
        rpc.call(put(&key)).await.expect("written");
        took.add(begin.elapsed());
        let get = pb::RangeRequest {
            key: key.into_bytes().into(),
            ..Default::default()
        };
        let begin = Instant::now();
        let read = rpc.call(get).await.expect("read");
        took.add(begin.elapsed());
        assert_eq!(read.kvs.len(), 1);
    }
    took
}

/// Open calls, each followed by the next, until it is told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    calls: Vec<tokio::task::JoinHandle<()>>,
}

impl Flood {
    async fn start(url: &str, calls: u64) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut flood = Self {
            stop,
            served,
            calls: Vec::new(),
        };
        for connection in 0..CONNECTIONS {
            let rpc = Rpc::connect(url).await.expect("up");
            for call in 0..calls / CONNECTIONS {
                let (rpc, stop) = (rpc.clone(), Arc::clone(&flood.stop));
                let served = Arc::clone(&flood.served);
                let key = format!("flood/{connection}/{call}");
                flood.calls.push(tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        match rpc.call(put(&key)).await {
                            Ok(_) => served.fetch_add(1, Ordering::Relaxed),
                            // Too many at once: to say so is an answer as well.
                            Err(_) => {
                                tokio::time::sleep(Duration::from_millis(10)).await;
                                continue;
                            }
                        };
                    }
                }));
            }
        }
        flood
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for call in self.calls {
            call.await.expect("no panic");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// SECURITY.md 3.8 (anonymous flooder); RELIABILITY.md N4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_floods_keeps_nobody_else_from_being_served() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("flood", 3);
    let leader = cluster.agreed().await;
    let before = cluster.told(leader).await;
    let url = cluster.server(leader).url();
    let to: SocketAddr = cluster
        .server(leader)
        .address()
        .parse()
        .expect("an address");
    let from = SocketAddr::from(([127, 0, 0, 2], 0));
    let quiet = Rpc::connect_from(from, to).await.expect("up");
    let alone = serve_me(&quiet).await;
    let calls = number_from_env("KVORUM_TEST_CLUSTER_FLOOD_CALLS", 4000);
    let flood = Flood::start(&url, calls).await;
    let begin = Instant::now();
    while flood.served.load(Ordering::Relaxed) < 2000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let beside = serve_me(&quiet).await;
    let took = begin.elapsed();
    let served = flood.stop().await;
    println!("flood of {calls} open calls, {served} served in {took:?}");
    println!("the other client alone: {alone}; beside it: {beside}");
    let after = cluster.told(leader).await;
    assert_eq!((after.leader, after.term), (before.leader, before.term));
}
