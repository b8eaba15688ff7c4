//! Metrics: etcd's names, types, labels and buckets, and values that move as the server works.

mod list;
mod text;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::{
    process::{Options, TestDir, start_etcd},
    reference,
};

use crate::{
    both::{delete, get, op, put, txn},
    rpc::Rpc,
};
use list::listed;
use text::{Scrape, ask, fetch};

/// What the list has and a member without peers does not show, and why. etcd shows none of the first either: it makes
/// these series when the first peer is there.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("etcd_network_active_peers", "no peers"),
    ("etcd_network_disconnected_peers_total", "no peers"),
    ("etcd_network_peer_received_bytes_total", "no peers"),
    ("etcd_network_peer_received_failures_total", "no peers"),
    ("etcd_network_peer_round_trip_time_seconds", "no peers"),
    ("etcd_network_peer_sent_bytes_total", "no peers"),
    ("etcd_network_peer_sent_failures_total", "no peers"),
    ("etcd_network_snapshot_receive_failures", "no peers"),
    ("etcd_network_snapshot_receive_inflights_total", "no peers"),
    ("etcd_network_snapshot_receive_success", "no peers"),
    (
        "etcd_network_snapshot_receive_total_duration_seconds",
        "no peers",
    ),
    ("etcd_network_snapshot_send_failures", "no peers"),
    ("etcd_network_snapshot_send_inflights_total", "no peers"),
    ("etcd_network_snapshot_send_success", "no peers"),
    (
        "etcd_network_snapshot_send_total_duration_seconds",
        "no peers",
    ),
    (
        "etcd_network_server_stream_failures_total",
        "no stream has failed",
    ),
    ("etcd_server_learner_promote_failures", "no learners"),
    ("etcd_server_go_version", "it is not written in Go"),
];

/// What the reference shows and kvorum does not, and why.
const ONLY_ETCD: &[(&str, &str)] = &[
    ("go_", "it is not written in Go"),
    ("etcd_server_go_version", "it is not written in Go"),
    ("etcd_debugging_store_", "the store of etcd 2"),
    ("etcd_grpc_proxy_", "the proxy, which shares etcd's program"),
    // In 3.4 and no more in 3.6.
    ("etcd_debugging_mvcc_db_total_size_in_bytes", "gone in 3.6"),
    ("etcd_debugging_mvcc_delete_total", "gone in 3.6"),
    ("etcd_debugging_mvcc_put_total", "gone in 3.6"),
    ("etcd_debugging_mvcc_range_total", "gone in 3.6"),
    ("etcd_debugging_mvcc_txn_total", "gone in 3.6"),
];

/// Something of everything that is measured.
async fn work(rpc: &Rpc) {
    for key in ["a", "b"] {
        rpc.call(put(key, "1")).await.expect("put");
    }
    rpc.call(get("a")).await.expect("range");
    let group = txn(vec![op(put("a", "2")), op(put("c", "3")), op(get("a"))]);
    rpc.call(group).await.expect("txn");
    rpc.call(delete("b")).await.expect("delete");
    let lease = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    rpc.call(lease).await.expect("grant");
    let compact = pb::CompactionRequest {
        revision: 3,
        physical: true,
    };
    rpc.call(compact).await.expect("compaction");
    let hash = pb::HashKvRequest { revision: 0 };
    rpc.call(hash).await.expect("hash");
    watched(rpc).await;
}

/// One watch that its client ends.
async fn watched(rpc: &Rpc) {
    let mut watch = rpc.open::<pb::WatchRequest>();
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        ..Default::default()
    };
    watch.create(create).await;
    assert!(watch.next().await.expect("created").created);
}

fn find<'a>(rows: &'a [(&str, &str)], name: &str) -> Option<&'a str> {
    let row = rows.iter().find(|(start, _)| name.starts_with(start));
    row.map(|(_, reason)| *reason)
}

#[tokio::test]
async fn every_metric_is_listed_and_every_listed_one_is_there() {
    let dir = TestDir::new("metrics-list");
    let server = Options::new(&dir).flag("--metrics=extensive").start();
    let rpc = Rpc::connect(&server.url()).await.expect("connects");
    work(&rpc).await;
    fetch(&server.address(), "/readyz");
    let raise = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Activate.into(),
        member_id: 0,
        alarm: pb::AlarmType::Nospace.into(),
    };
    rpc.call(raise).await.expect("raised");
    let scrape = Scrape::of(&server.address());
    let listed = listed();
    let mut wrong = Vec::new();
    for row in &listed {
        match (scrape.families.get(row.name), find(NOT_SHOWN, row.name)) {
            (Some(shown), None) if *shown == row.family => {}
            (None, Some(_)) => {}
            (shown, reason) => wrong.push(format!(
                "{}: shown {shown:?}, listed {:?}, {reason:?}",
                row.name, row.family
            )),
        }
    }
    let unlisted = scrape
        .families
        .keys()
        .filter(|name| !name.starts_with("kvorum_"))
        .filter(|name| !listed.iter().any(|row| row.name == *name));
    wrong.extend(unlisted.map(|name| format!("{name}: not in the list")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let read_by_mixin = listed.iter().filter(|row| row.marks.contains('M')).count();
    println!(
        "{} metrics of etcd 3.6, {} of them without a series here; {read_by_mixin} are read by etcd-mixin",
        listed.len(),
        NOT_SHOWN.len()
    );
}

#[tokio::test]
async fn what_a_real_etcd_shows_has_the_same_shape_here() {
    let Some(etcd) = reference::etcd() else {
        println!("SKIP metrics beside etcd: no etcd to compare with");
        return;
    };
    let dir = TestDir::new("metrics-etcd");
    let flags = ["--metrics=extensive", "--unsafe-no-fsync"];
    let (theirs, ours) = (
        start_etcd(&etcd, &dir, &flags),
        Options::new(&dir).flag("--metrics=extensive").start(),
    );
    let mut scrapes = Vec::new();
    for server in [&theirs, &ours] {
        let rpc = Rpc::connect(&server.url()).await.expect("connects");
        work(&rpc).await;
        scrapes.push(Scrape::of(&server.address()));
    }
    let [theirs, ours] = &scrapes[..] else {
        unreachable!("two servers")
    };
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, family) in &theirs.families {
        match (ours.families.get(name), find(ONLY_ETCD, name)) {
            (Some(shown), None) if shown == family => compared += 1,
            (None, Some(_)) => {}
            (shown, reason) => {
                wrong.push(format!("{name}: {shown:?}, etcd {family:?}, {reason:?}"));
            }
        }
    }
    // The same work must have been counted alike.
    for series in [
        "etcd_mvcc_put_total",
        "etcd_mvcc_delete_total",
        "etcd_mvcc_txn_total",
        "etcd_debugging_mvcc_keys_total",
        "etcd_debugging_mvcc_current_revision",
        "etcd_debugging_mvcc_compact_revision",
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "etcd_debugging_lease_granted_total",
        "etcd_debugging_lease_ttl_total_sum",
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count",
    ] {
        let (theirs, ours) = (theirs.value(series), ours.value(series));
        if theirs.total_cmp(&ours).is_ne() {
            wrong.push(format!("{series}: {ours}, etcd {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{compared} metrics are shaped like etcd's");
}

/// The series that alerts and dashboards of etcd-mixin compute with, those between peers apart.
const MIXIN: &[&str] = &[
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "grpc_server_handled_total{grpc_code=\"Unknown\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"FailedPrecondition\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"ResourceExhausted\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"Internal\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"Unavailable\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"DataLoss\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"DeadlineExceeded\",grpc_method=\"Put\",",
    "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Watch\",\
     grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}",
    "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"LeaseKeepAlive\",\
     grpc_service=\"etcdserverpb.Lease\",grpc_type=\"bidi_stream\"}",
    "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",\
     grpc_type=\"bidi_stream\"}",
    "grpc_server_started_total{grpc_method=\"LeaseKeepAlive\",grpc_service=\"etcdserverpb.Lease\",\
     grpc_type=\"bidi_stream\"}",
    "grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
    "grpc_server_handling_seconds_bucket{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
     grpc_type=\"unary\",le=\"0.1\"}",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.512\"}",
    "etcd_disk_backend_commit_duration_seconds_bucket{le=\"0.256\"}",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_server_quota_backend_bytes",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "process_resident_memory_bytes",
];

#[tokio::test]
async fn alerts_and_dashboards_find_their_series_before_anything_happened() {
    let dir = TestDir::new("metrics-mixin");
    let server = Options::new(&dir).flag("--metrics=extensive").start();
    let scrape = Scrape::of(&server.address());
    let missing: Vec<_> = MIXIN
        .iter()
        .filter(|series| {
            !scrape
                .samples
                .keys()
                .any(|shown| shown.starts_with(*series))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn values_move_by_what_was_done_and_are_written_as_etcds_suites_expect() {
    let dir = TestDir::new("metrics-values");
    let server = Options::new(&dir).start();
    let rpc = Rpc::connect(&server.url()).await.expect("connects");
    let before = Scrape::of(&server.address());
    for key in ["a", "b"] {
        rpc.call(put(key, "1")).await.expect("put");
    }
    for key in ["a", "nothing", "nothing"] {
        rpc.call(delete(key)).await.expect("delete");
    }
    for _ in 0..6 {
        watched(&rpc).await;
    }
    let id = before
        .samples
        .keys()
        .find_map(|series| series.strip_prefix("etcd_server_id"));
    let id = id.expect("an id").to_owned();
    let text = until(&server.address(), |text| text.contains(CANCELED)).await;
    for line in [
        "etcd_mvcc_put_total 2",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_mvcc_delete_total 3",
        "etcd_debugging_mvcc_total_put_size_in_bytes 4",
        "etcd_debugging_mvcc_events_total 0",
        "etcd_server_version{server_version=\"3.6.14\"} 1",
        "etcd_cluster_version{cluster_version=\"3.6\"} 1",
        "etcd_server_is_learner 0",
        "etcd_server_proposals_pending 0",
        "etcd_debugging_mvcc_watcher_total 0",
        "etcd_debugging_mvcc_watch_stream_total 0",
        "etcd_server_apply_duration_seconds_count{op=\"DeleteRange\",success=\"true\",version=\"v3\"} 3",
        &format!("etcd_server_id{id} 1"),
        CANCELED,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    assert!(!text.contains("grpc_server_handling_seconds"));
    let after = Scrape::of(&server.address());
    let syncs = "etcd_disk_wal_fsync_duration_seconds_count";
    assert!(after.value(syncs) >= before.value(syncs) + 4.0);
    let bytes = "etcd_disk_wal_write_bytes_total";
    assert!(after.value(bytes) > before.value(bytes));
    let applied = "etcd_server_proposals_applied_total";
    assert!(after.value(applied) >= before.value(applied) + 4.0);
}

const CANCELED: &str = "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Watch\",\
                        grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 6";

/// Scrapes until what was cancelled has arrived at the server.
async fn until(address: &str, arrived: impl Fn(&str) -> bool) -> String {
    loop {
        let text = fetch(address, "/metrics");
        if arrived(&text) {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_refused_write_and_an_alarm_are_seen() {
    let dir = TestDir::new("metrics-refused");
    let server = Options::new(&dir)
        .flag("--quota-backend-bytes=53248")
        .start();
    let rpc = Rpc::connect(&server.url()).await.expect("connects");
    let value = "x".repeat(60_000);
    rpc.call(put("k", &value)).await.expect_err("too much");
    let keep = pb::PutRequest {
        ignore_value: true,
        ..put("no such key", "")
    };
    rpc.call(keep).await.expect_err("nothing to keep");
    let scrape = Scrape::of(&server.address());
    let alarm = scrape
        .samples
        .keys()
        .find(|series| series.starts_with("etcd_debugging_server_alarms{alarm_type=\"NOSPACE\""));
    assert!(alarm.is_some(), "{:?}", scrape.samples.keys());
    assert_eq!(
        scrape.value("etcd_mvcc_put_total").to_bits(),
        0.0_f64.to_bits()
    );
    let health = "etcd_server_health_failures";
    assert_eq!(
        ask(&server.address(), "/health"),
        (
            "503".to_owned(),
            "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".to_owned()
        )
    );
    fetch(&server.address(), "/health?exclude=NOSPACE");
    let scrape = Scrape::of(&server.address());
    assert_eq!(
        [
            scrape.value(health),
            scrape.value("etcd_server_health_success")
        ],
        [1.0, 1.0]
    );
}
