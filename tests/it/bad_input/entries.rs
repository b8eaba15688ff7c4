//! Every mistake that a gRPC client can make with keys, watches and leases, and the test that makes it.

/// The mistake, the file, the test.
const ENTRIES: &[(&str, &str, &str)] = &[
    ("an empty key", "kv", "an_empty_key_is_refused"),
    (
        "a key or value over the limit, a request over 1.5 MiB",
        "kv",
        "a_request_over_the_limit_is_refused",
    ),
    (
        "a transaction of more than 128 operations",
        "txn",
        "more_than_128_operations_are_refused",
    ),
    (
        "a key put twice in a transaction",
        "txn",
        "two_puts_of_one_key_are_refused",
    ),
    (
        "a key put twice across nested branches",
        "txn",
        "a_key_put_in_two_nested_transactions_is_refused",
    ),
    (
        "a transaction nested deeper than 16",
        "txn",
        "nesting_without_end_is_refused_and_survived",
    ),
    (
        "range_end before key",
        "kv",
        "a_range_end_before_the_key_is_an_empty_range",
    ),
    (
        "range_end of one zero byte and an empty one",
        "kv",
        "a_zero_byte_as_range_end_means_everything_from_the_key_on",
    ),
    ("a negative limit", "kv", "a_negative_limit_is_no_limit"),
    (
        "an unknown sort order or target",
        "kv",
        "an_unknown_sort_order_or_target_is_refused",
    ),
    (
        "an unknown compare",
        "txn",
        "an_unknown_compare_is_answered_as_etcd_does",
    ),
    ("an unknown filter", "watch", "an_unknown_filter_is_ignored"),
    (
        "a revision that is negative, in the future or compacted",
        "kv",
        "a_future_or_compacted_revision_is_refused_and_a_negative_one_is_now",
    ),
    (
        "a compaction of such a revision",
        "kv",
        "a_compaction_of_the_past_or_future_is_refused",
    ),
    (
        "a watch from a negative revision",
        "watch",
        "a_negative_start_revision_is_refused",
    ),
    (
        "a watch from a compacted revision",
        "watch",
        "a_start_in_the_compacted_past_is_cancelled_with_its_revision",
    ),
    (
        "min revisions above max revisions",
        "kv",
        "revision_filters_that_exclude_everything_leave_the_count",
    ),
    (
        "lease id 0",
        "lease",
        "lease_0_lets_the_server_choose_an_id",
    ),
    (
        "a lease id that is taken",
        "lease",
        "a_lease_id_in_use_is_refused",
    ),
    (
        "an unknown lease in a put",
        "kv",
        "a_put_with_an_unknown_lease_is_refused",
    ),
    (
        "an unknown lease revoked",
        "lease",
        "revoking_an_unknown_lease_is_refused",
    ),
    (
        "an unknown lease asked for",
        "lease",
        "an_unknown_lease_has_ttl_minus_1",
    ),
    (
        "an unknown lease renewed",
        "lease",
        "keeping_an_unknown_lease_alive_answers_ttl_0",
    ),
    (
        "a TTL of 0 or less",
        "lease",
        "a_ttl_of_nothing_is_raised_to_the_least",
    ),
    (
        "a TTL over 9,000,000,000",
        "lease",
        "a_ttl_over_9_000_000_000_is_refused",
    ),
    (
        "a put with ignore_value and a value",
        "kv",
        "a_value_given_to_ignore_value_is_refused",
    ),
    (
        "a put with ignore_lease and a lease",
        "kv",
        "a_lease_given_to_ignore_lease_is_refused",
    ),
    ("a watch id in use", "watch", "a_watch_id_in_use_is_refused"),
    (
        "a cancel of an unknown watch id",
        "watch",
        "cancelling_an_unknown_id_is_not_answered",
    ),
    (
        "a progress request before any watcher",
        "watch",
        "progress_before_any_watcher_is_not_answered",
    ),
    (
        "100,000 watchers on a stream",
        "watch",
        "a_hundred_thousand_watchers_on_one_stream_are_served",
    ),
    ("unknown fields", "transport", "unknown_fields_are_kept_out"),
    (
        "text that is not UTF-8",
        "transport",
        "text_that_is_not_utf_8_is_refused",
    ),
    (
        "a token that is empty, long or of another cluster",
        "transport",
        "a_token_is_ignored_while_authentication_is_off",
    ),
    (
        "a token of 1 MiB",
        "transport",
        "a_token_of_one_mebibyte_does_not_hurt",
    ),
    (
        "a call that requires a leader",
        "transport",
        "a_client_that_requires_a_leader_gets_one",
    ),
    (
        "bytes that are no message",
        "transport",
        "bytes_that_are_no_message_are_refused",
    ),
    (
        "an unknown method or service",
        "transport",
        "an_unknown_method_or_service_is_unimplemented",
    ),
    (
        "a client version that is not UTF-8",
        "transport",
        "a_client_version_that_is_not_utf_8_is_refused",
    ),
    (
        "an operation without content",
        "txn",
        "an_operation_that_is_none_is_refused",
    ),
    (
        "an empty key inside a transaction",
        "txn",
        "an_empty_key_inside_a_transaction_is_refused",
    ),
    (
        "a compare without its value",
        "txn",
        "a_compare_without_its_value_compares_with_zero",
    ),
    (
        "a watch of an empty range",
        "watch",
        "an_empty_range_is_refused",
    ),
    (
        "a watch request without content",
        "watch",
        "a_request_that_is_none_is_ignored",
    ),
    (
        "a hash of the future",
        "kv",
        "a_hash_of_the_future_is_refused",
    ),
];

const FILES: [(&str, &str); 5] = [
    ("kv", include_str!("kv.rs")),
    ("lease", include_str!("lease.rs")),
    ("transport", include_str!("transport.rs")),
    ("txn", include_str!("txn.rs")),
    ("watch", include_str!("watch.rs")),
];

#[test]
fn every_mistake_has_its_test() {
    for (mistake, file, test) in ENTRIES {
        let (_, source) = FILES
            .iter()
            .find(|(name, _)| name == file)
            .expect("one of the files");
        let made = source.contains(&format!("#[tokio::test]\nasync fn {test}()"));
        assert!(made, "{mistake}: no {test} in {file}.rs");
    }
}

#[test]
fn every_test_is_for_a_mistake_of_the_list_or_for_what_follows_from_one() {
    const FURTHER: [&str; 1] = ["a_refused_operation_leaves_nothing_of_its_transaction"];
    for (_, source) in FILES {
        for line in source
            .lines()
            .filter(|line| line.starts_with("async fn ") && line.contains("()"))
        {
            let name = line
                .trim_start_matches("async fn ")
                .split('(')
                .next()
                .unwrap_or_default();
            let listed = ENTRIES.iter().any(|(_, _, test)| *test == name);
            assert!(listed || FURTHER.contains(&name), "{name} is in no entry");
        }
    }
}
