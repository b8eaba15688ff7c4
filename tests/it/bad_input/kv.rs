//! Range, Put, DeleteRange, Compact.

use kvorum_proto::etcdserverpb as pb;
use tonic::Code;

use crate::both::{Side, delete, get, on_both, put, range, refused};

const KEY_MISSING: &str = "etcdserver: key is not provided";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

#[tokio::test]
async fn an_empty_key_is_refused() {
    on_both("empty-key", async |rpc, _| {
        refused(rpc.call(get("")).await, Code::InvalidArgument, KEY_MISSING);
        refused(
            rpc.call(range("", "b")).await,
            Code::InvalidArgument,
            KEY_MISSING,
        );
        refused(
            rpc.call(put("", "v")).await,
            Code::InvalidArgument,
            KEY_MISSING,
        );
        refused(
            rpc.call(delete("")).await,
            Code::InvalidArgument,
            KEY_MISSING,
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    on_both("too-large", async |rpc, side| {
        let large = "x".repeat(1_600_000);
        let text = "etcdserver: request is too large";
        refused(
            rpc.call(put("k", &large)).await,
            Code::InvalidArgument,
            text,
        );
        refused(
            rpc.call(put(&large, "v")).await,
            Code::InvalidArgument,
            text,
        );
        let fits = "x".repeat(1_500_000);
        rpc.call(put("k", &fits))
            .await
            .expect("1.5 MB are below the limit");

        // Above what the transport takes, gRPC itself refuses.
        let huge = "x".repeat(3_000_000);
        let status = rpc
            .call(put("k", &huge))
            .await
            .expect_err("3 MB are refused");
        assert_eq!(
            status.code(),
            Code::ResourceExhausted,
            "{side:?}: {status:?}"
        );
        let text = "grpc: received message larger than max (3000008 vs. 2097152)";
        assert_eq!(status.message(), text, "{side:?}");
    })
    .await;
}

#[tokio::test]
async fn a_value_given_to_ignore_value_is_refused() {
    on_both("ignore-value", async |rpc, _| {
        let request = pb::PutRequest {
            ignore_value: true,
            ..put("k", "v")
        };
        let text = "etcdserver: value is provided";
        refused(rpc.call(request).await, Code::InvalidArgument, text);
        let request = pb::PutRequest {
            ignore_value: true,
            ..put("missing", "")
        };
        let text = "etcdserver: key not found";
        refused(rpc.call(request).await, Code::InvalidArgument, text);
    })
    .await;
}

#[tokio::test]
async fn a_lease_given_to_ignore_lease_is_refused() {
    on_both("ignore-lease", async |rpc, _| {
        let request = pb::PutRequest {
            ignore_lease: true,
            lease: 5,
            ..put("k", "v")
        };
        let text = "etcdserver: lease is provided";
        refused(rpc.call(request).await, Code::InvalidArgument, text);
        let request = pb::PutRequest {
            ignore_lease: true,
            ..put("missing", "v")
        };
        let text = "etcdserver: key not found";
        refused(rpc.call(request).await, Code::InvalidArgument, text);
    })
    .await;
}

#[tokio::test]
async fn a_range_end_before_the_key_is_an_empty_range() {
    on_both("reversed-range", async |rpc, _| {
        rpc.call(put("b", "1")).await.expect("put");
        let answer = rpc
            .call(range("c", "a"))
            .await
            .expect("an empty range is no error");
        assert_eq!((answer.kvs.len(), answer.count, answer.more), (0, 0, false));
        let answer = rpc
            .call(range("b", "b"))
            .await
            .expect("an empty range is no error");
        assert_eq!((answer.kvs.len(), answer.count), (0, 0));
        let request = pb::DeleteRangeRequest {
            range_end: "a".into(),
            ..delete("c")
        };
        let answer = rpc.call(request).await.expect("an empty range is no error");
        assert_eq!(answer.deleted, 0);
        let revision = answer.header.expect("header").revision;
        assert_eq!(revision, 2, "deleting nothing is no change");
    })
    .await;
}

#[tokio::test]
async fn a_zero_byte_as_range_end_means_everything_from_the_key_on() {
    on_both("open-range", async |rpc, _| {
        for key in ["a", "b", "c"] {
            rpc.call(put(key, key)).await.expect("put");
        }
        let count = async |key, end| rpc.call(range(key, end)).await.expect("range").count;
        assert_eq!(count("b", "\0").await, 2);
        assert_eq!(count("\0", "\0").await, 3);
        assert_eq!(count("\0", "").await, 0, "a single key of one zero byte");
        assert_eq!(count("a", "").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_negative_limit_is_no_limit() {
    on_both("negative-limit", async |rpc, _| {
        for key in ["a", "b", "c"] {
            rpc.call(put(key, key)).await.expect("put");
        }
        for limit in [-1, i64::MIN, 0, i64::MAX] {
            let request = pb::RangeRequest {
                limit,
                ..range("a", "z")
            };
            let answer = rpc.call(request).await.expect("range");
            assert_eq!(
                (answer.kvs.len(), answer.count, answer.more),
                (3, 3, false),
                "{limit}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_sort_order_or_target_is_refused() {
    on_both("sort-option", async |rpc, _| {
        let text = "etcdserver: invalid sort option";
        for value in [3, -1, i32::MAX] {
            let request = pb::RangeRequest {
                sort_order: value,
                ..get("k")
            };
            refused(rpc.call(request).await, Code::InvalidArgument, text);
        }
        for value in [5, -1, i32::MIN] {
            let request = pb::RangeRequest {
                sort_target: value,
                ..get("k")
            };
            refused(rpc.call(request).await, Code::InvalidArgument, text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_future_or_compacted_revision_is_refused_and_a_negative_one_is_now() {
    on_both("revisions", async |rpc, _| {
        for value in ["1", "2", "3"] {
            rpc.call(put("k", value)).await.expect("put");
        }
        let at = async |revision| {
            rpc.call(pb::RangeRequest {
                revision,
                ..get("k")
            })
            .await
        };
        refused(at(5).await, Code::OutOfRange, FUTURE);
        refused(at(i64::MAX).await, Code::OutOfRange, FUTURE);
        for revision in [-1, i64::MIN, 0] {
            let answer = at(revision)
                .await
                .expect("a negative revision is the current one");
            assert_eq!(answer.kvs[0].value, "3");
        }
        let compact = pb::CompactionRequest {
            revision: 3,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction");
        refused(at(2).await, Code::OutOfRange, COMPACTED);
        assert_eq!(
            at(3).await.expect("the compact revision can be read").kvs[0].value,
            "2"
        );
    })
    .await;
}

#[tokio::test]
async fn a_compaction_of_the_past_or_future_is_refused() {
    on_both("compact", async |rpc, _| {
        for value in ["1", "2", "3"] {
            rpc.call(put("k", value)).await.expect("put");
        }
        let compact = async |revision| {
            rpc.call(pb::CompactionRequest {
                revision,
                physical: false,
            })
            .await
        };
        refused(compact(5).await, Code::OutOfRange, FUTURE);
        compact(3).await.expect("a revision of the history");
        refused(compact(3).await, Code::OutOfRange, COMPACTED);
        refused(compact(2).await, Code::OutOfRange, COMPACTED);
        refused(compact(-7).await, Code::OutOfRange, COMPACTED);
        compact(4)
            .await
            .expect("the current revision can be compacted");
    })
    .await;
}

#[tokio::test]
async fn revision_filters_that_exclude_everything_leave_the_count() {
    on_both("filters", async |rpc, _| {
        for key in ["a", "b", "c"] {
            rpc.call(put(key, key)).await.expect("put");
        }
        let request = pb::RangeRequest {
            min_mod_revision: 4,
            max_mod_revision: 2,
            min_create_revision: 9,
            max_create_revision: 1,
            ..range("a", "z")
        };
        let answer = rpc
            .call(request)
            .await
            .expect("contradicting filters are no error");
        assert_eq!((answer.kvs.len(), answer.count, answer.more), (0, 3, false));
    })
    .await;
}

#[tokio::test]
async fn a_put_with_an_unknown_lease_is_refused() {
    on_both("unknown-lease", async |rpc, _| {
        let text = "etcdserver: requested lease not found";
        for lease in [12345, -1, i64::MAX] {
            let request = pb::PutRequest {
                lease,
                ..put("k", "v")
            };
            refused(rpc.call(request).await, Code::NotFound, text);
        }
        assert_eq!(rpc.call(get("k")).await.expect("range").count, 0);
    })
    .await;
}

#[tokio::test]
async fn a_hash_of_the_future_is_refused() {
    on_both("hash", async |rpc, side| {
        let answer = rpc.call(pb::HashKvRequest { revision: 100 }).await;
        refused(answer, Code::OutOfRange, FUTURE);
        rpc.call(pb::HashKvRequest { revision: 0 })
            .await
            .expect("the current hash");
        assert!(side == Side::Etcd || rpc.call(pb::HashRequest {}).await.is_ok());
    })
    .await;
}
