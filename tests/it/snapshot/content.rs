//! What the stores under test are filled with, and how two of them are compared.

use kvorum_proto::{etcdserverpb as pb, mvccpb::KeyValue};

use crate::both::{delete, op, put, txn};
use crate::rpc::Rpc;

/// Keys in one transaction, the most that a server takes by default.
const KEYS_PER_TXN: usize = 128;
/// Pairs in one page of a listing.
const PAGE: i64 = 10_000;

pub(crate) fn put_bytes(key: &[u8], value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_vec().into(),
        value: value.into(),
        ..Default::default()
    }
}

/// Writes `count` keys, many at a time.
pub(crate) async fn many(rpc: &Rpc, count: usize, value_bytes: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(KEYS_PER_TXN) {
        let puts = chunk.iter().map(|n| {
            let value = vec![u8::try_from(n % 251).expect("small"); value_bytes];
            op(put_bytes(format!("many/{n:08}").as_bytes(), value))
        });
        rpc.call(txn(puts.collect())).await.expect("txn");
    }
}

/// A bit of everything: any bytes in keys, values larger than a page and larger than a mebibyte, leases, deletions,
/// several changes in one revision, and a compaction in the middle.
pub(crate) async fn mixed(rpc: &Rpc) {
    for id in [77, i64::MAX] {
        let grant = pb::LeaseGrantRequest { id, ttl: 5000 };
        rpc.call(grant).await.expect("grant");
    }
    for byte in 0..=255u8 {
        let key = [byte, 0, 255, byte];
        rpc.call(put_bytes(&key, vec![byte; usize::from(byte) * 40]))
            .await
            .expect("put");
    }
    for byte in (0..=255u8).step_by(3) {
        let gone = pb::DeleteRangeRequest {
            key: vec![byte, 0, 255, byte].into(),
            ..Default::default()
        };
        rpc.call(gone).await.expect("delete");
    }
    let leased = pb::PutRequest {
        lease: 77,
        ..put("leased", "1")
    };
    let header = rpc
        .call(leased.clone())
        .await
        .expect("put")
        .header
        .expect("header");
    let compact = pb::CompactionRequest {
        revision: header.revision,
        physical: true,
    };
    rpc.call(compact).await.expect("compaction");
    rpc.call(put("leased", "2")).await.expect("put");
    rpc.call(leased).await.expect("put");
    rpc.call(put_bytes(b"large", vec![b'x'; 1_400_000]))
        .await
        .expect("put");
    let several = (0..100)
        .map(|n| op(put(&format!("several/{n}"), "1")))
        .collect();
    rpc.call(txn(several)).await.expect("txn");
    rpc.call(delete("several/7")).await.expect("delete");
    rpc.call(put("several/7", "again")).await.expect("put");
    rpc.call(delete("several/8")).await.expect("delete");
}

/// Every pair at a revision, 0 for the newest, and the revision of the store.
pub(crate) async fn everything(rpc: &Rpc, revision: i64) -> (i64, Vec<KeyValue>) {
    let mut all: Vec<KeyValue> = Vec::new();
    loop {
        // The key behind the last one.
        let from = all
            .last()
            .map_or(vec![0], |kv| [&kv.key[..], &[0]].concat());
        let page = pb::RangeRequest {
            key: from.into(),
            range_end: vec![0].into(),
            limit: PAGE,
            revision,
            ..Default::default()
        };
        let mut page = rpc.call(page).await.expect("range");
        all.append(&mut page.kvs);
        if !page.more {
            return (page.header.expect("header").revision, all);
        }
    }
}

/// All leases with their TTLs.
pub(crate) async fn leases(rpc: &Rpc) -> Vec<(i64, i64, usize)> {
    let list = rpc.call(pb::LeaseLeasesRequest {}).await.expect("leases");
    let mut all = Vec::new();
    for id in list.leases.iter().map(|lease| lease.id) {
        let ask = pb::LeaseTimeToLiveRequest { id, keys: true };
        let left = rpc.call(ask).await.expect("time to live");
        all.push((id, left.granted_ttl, left.keys.len()));
    }
    all.sort_unstable();
    all
}

pub(crate) async fn hash_kv(rpc: &Rpc, revision: i64) -> u32 {
    rpc.call(pb::HashKvRequest { revision })
        .await
        .expect("hash")
        .hash
}
