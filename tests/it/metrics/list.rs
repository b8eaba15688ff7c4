//! The metrics of etcd 3.6: names, types, labels, buckets. A mark M stands where the alerts and dashboards of etcd-mixin
//! read it, E where etcd's end-to-end suites ask for an exact value.

use super::text::{Family, Kind};

/// `name type labels buckets marks`; buckets are the first and how many, each twice the one before.
const TABLE: &str = "\
etcd_cluster_version gauge cluster_version - E
etcd_debugging_auth_revision gauge - - -
etcd_debugging_disk_backend_commit_rebalance_duration_seconds histogram - 0.001*2^14 -
etcd_debugging_disk_backend_commit_spill_duration_seconds histogram - 0.001*2^14 -
etcd_debugging_disk_backend_commit_write_duration_seconds histogram - 0.001*2^14 -
etcd_debugging_lease_granted_total counter - - -
etcd_debugging_lease_renewed_total counter - - -
etcd_debugging_lease_revoked_total counter - - -
etcd_debugging_lease_ttl_total histogram - 1*2^24 -
etcd_debugging_mvcc_compact_revision gauge - - -
etcd_debugging_mvcc_current_revision gauge - - -
etcd_debugging_mvcc_db_compaction_keys_total counter - - -
etcd_debugging_mvcc_db_compaction_last gauge - - -
etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds histogram - 1*2^13 -
etcd_debugging_mvcc_db_compaction_total_duration_milliseconds histogram - 100*2^14 -
etcd_debugging_mvcc_events_total counter - - -
etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds histogram - 0.5*2^14 -
etcd_debugging_mvcc_keys_total gauge - - E
etcd_debugging_mvcc_pending_events_total gauge - - -
etcd_debugging_mvcc_slow_watcher_total gauge - - -
etcd_debugging_mvcc_total_put_size_in_bytes gauge - - -
etcd_debugging_mvcc_watch_stream_total gauge - - -
etcd_debugging_mvcc_watcher_total gauge - - -
etcd_debugging_server_alarms gauge alarm_type,server_id - -
etcd_debugging_server_lease_expired_total counter - - -
etcd_debugging_snap_save_marshalling_duration_seconds histogram - 0.001*2^14 -
etcd_debugging_snap_save_total_duration_seconds histogram - 0.001*2^14 -
etcd_disk_backend_commit_duration_seconds histogram - 0.001*2^14 M
etcd_disk_backend_defrag_duration_seconds histogram - 0.1*2^13 -
etcd_disk_backend_snapshot_duration_seconds histogram - 0.01*2^17 -
etcd_disk_defrag_inflight gauge - - -
etcd_disk_wal_fsync_duration_seconds histogram - 0.001*2^14 M
etcd_disk_wal_write_bytes_total gauge - - -
etcd_disk_wal_write_duration_seconds histogram - 0.001*2^14 -
etcd_mvcc_db_open_read_transactions gauge - - -
etcd_mvcc_db_total_size_in_bytes gauge - - M
etcd_mvcc_db_total_size_in_use_in_bytes gauge - - M
etcd_mvcc_delete_total counter - - E
etcd_mvcc_hash_duration_seconds histogram - 0.01*2^15 -
etcd_mvcc_hash_rev_duration_seconds histogram - 0.01*2^15 -
etcd_mvcc_put_total counter - - E
etcd_mvcc_range_total counter - - -
etcd_mvcc_txn_total counter - - -
etcd_network_active_peers gauge Local,Remote - -
etcd_network_client_grpc_received_bytes_total counter - - M
etcd_network_client_grpc_sent_bytes_total counter - - M
etcd_network_disconnected_peers_total counter Local,Remote - -
etcd_network_known_peers gauge Local,Remote - -
etcd_network_peer_received_bytes_total counter From - M
etcd_network_peer_received_failures_total counter From - -
etcd_network_peer_round_trip_time_seconds histogram To 0.0001*2^16 M
etcd_network_peer_sent_bytes_total counter To - M
etcd_network_peer_sent_failures_total counter To - M
etcd_network_server_stream_failures_total counter API,Type - -
etcd_network_snapshot_receive_failures counter From - -
etcd_network_snapshot_receive_inflights_total gauge From - -
etcd_network_snapshot_receive_success counter From - -
etcd_network_snapshot_receive_total_duration_seconds histogram From 0.1*2^10 -
etcd_network_snapshot_send_failures counter To - -
etcd_network_snapshot_send_inflights_total gauge To - -
etcd_network_snapshot_send_success counter To - -
etcd_network_snapshot_send_total_duration_seconds histogram To 0.1*2^10 -
etcd_server_apply_duration_seconds histogram op,success,version 0.0001*2^20 -
etcd_server_client_requests_total counter client_api_version,type - -
etcd_server_feature_enabled gauge name,stage - -
etcd_server_go_version gauge server_go_version - -
etcd_server_has_leader gauge - - M
etcd_server_health_failures counter - - -
etcd_server_health_success counter - - -
etcd_server_healthcheck gauge name,type - -
etcd_server_healthchecks_total counter name,status,type - -
etcd_server_heartbeat_send_failures_total counter - - -
etcd_server_id gauge server_id - -
etcd_server_is_leader gauge - - -
etcd_server_is_learner gauge - - E
etcd_server_leader_changes_seen_total counter - - M
etcd_server_learner_promote_failures counter Reason - -
etcd_server_learner_promote_successes counter - - -
etcd_server_proposals_applied_total gauge - - M
etcd_server_proposals_committed_total gauge - - M
etcd_server_proposals_failed_total counter - - M
etcd_server_proposals_pending gauge - - M
etcd_server_quota_backend_bytes gauge - - M
etcd_server_range_duration_seconds histogram success 0.0001*2^20 -
etcd_server_read_indexes_failed_total counter - - -
etcd_server_slow_apply_total counter - - -
etcd_server_slow_read_indexes_total counter - - -
etcd_server_snapshot_apply_in_progress_total gauge - - -
etcd_server_version gauge server_version - E
etcd_snap_db_fsync_duration_seconds histogram - 0.001*2^14 -
etcd_snap_db_save_total_duration_seconds histogram - 0.1*2^10 -
etcd_snap_fsync_duration_seconds histogram - 0.001*2^14 -
os_fd_limit gauge - - -
os_fd_used gauge - - -
grpc_server_started_total counter grpc_method,grpc_service,grpc_type - M
grpc_server_handled_total counter grpc_code,grpc_method,grpc_service,grpc_type - ME
grpc_server_msg_received_total counter grpc_method,grpc_service,grpc_type - -
grpc_server_msg_sent_total counter grpc_method,grpc_service,grpc_type - -
grpc_server_handling_seconds histogram grpc_method,grpc_service,grpc_type default M
process_cpu_seconds_total counter - - -
process_max_fds gauge - - -
process_network_receive_bytes_total counter - - -
process_network_transmit_bytes_total counter - - -
process_open_fds gauge - - -
process_resident_memory_bytes gauge - - M
process_start_time_seconds gauge - - -
process_virtual_memory_bytes gauge - - -
process_virtual_memory_max_bytes gauge - - -
promhttp_metric_handler_requests_in_flight gauge - - -
promhttp_metric_handler_requests_total counter code - -
";

/// One line of the table.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) marks: &'static str,
}

/// The buckets that Prometheus' library takes if it is told none.
const DEFAULT_BUCKETS: &str = "0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10";

/// All lines of the table.
pub(super) fn listed() -> Vec<Listed> {
    TABLE.lines().map(line).collect()
}

fn line(line: &'static str) -> Listed {
    let columns: Vec<_> = line.split(' ').collect();
    let [name, kind, labels, buckets, marks] = columns[..] else {
        panic!("{line:?} has not five columns");
    };
    let labels = labels.split(',').filter(|label| *label != "-");
    Listed {
        name,
        family: Family {
            kind: Kind::named(kind),
            labels: labels.map(str::to_owned).collect(),
            bounds: bounds(buckets),
        },
        marks,
    }
}

fn bounds(text: &str) -> Vec<f64> {
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let mut bounds: Vec<f64> = match text.split_once("*2^") {
        Some((first, count)) => {
            let count = count.parse::<i32>().expect("a count");
            let first = number(first);
            (0..count).map(|power| first * 2_f64.powi(power)).collect()
        }
        None if text == "default" => DEFAULT_BUCKETS.split(',').map(number).collect(),
        None => return Vec::new(),
    };
    bounds.push(f64::INFINITY);
    bounds
}
