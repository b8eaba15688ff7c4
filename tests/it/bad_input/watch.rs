//! Watch streams used wrongly.

use kvorum_proto::etcdserverpb as pb;

use crate::{
    both::{on_both, put},
    rpc::{Duplex, Rpc},
};

type WatchStream = Duplex<pb::WatchRequest>;

fn key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn stream(rpc: &Rpc) -> WatchStream {
    rpc.open()
}

async fn next(stream: &mut WatchStream) -> pb::WatchResponse {
    stream.next().await.expect("the stream goes on")
}

/// The answer is a refusal: created and canceled at once, under no id.
fn assert_refused(answer: &pb::WatchResponse, reason: &str) {
    assert!(answer.created && answer.canceled, "{answer:?}");
    assert_eq!(
        (answer.watch_id, answer.cancel_reason.as_str()),
        (-1, reason)
    );
}

#[tokio::test]
async fn a_watch_id_in_use_is_refused() {
    on_both("watch-id", async |rpc, _| {
        let mut stream = stream(rpc);
        for _ in 0..2 {
            stream
                .create(pb::WatchCreateRequest {
                    watch_id: 9,
                    ..key("k")
                })
                .await;
        }
        let first = next(&mut stream).await;
        assert_eq!(
            (first.watch_id, first.created, first.canceled),
            (9, true, false)
        );
        let reason = "mvcc: duplicate watch ID provided on the WatchStream";
        assert_refused(&next(&mut stream).await, reason);
    })
    .await;
}

#[tokio::test]
async fn an_empty_range_is_refused() {
    on_both("watch-range", async |rpc, _| {
        let mut stream = stream(rpc);
        for end in ["a", "b"] {
            stream
                .create(pb::WatchCreateRequest {
                    range_end: end.into(),
                    ..key("b")
                })
                .await;
            assert_refused(&next(&mut stream).await, "mvcc: watcher range is empty");
        }
    })
    .await;
}

#[tokio::test]
async fn a_negative_start_revision_is_refused() {
    on_both("watch-negative", async |rpc, _| {
        let mut stream = stream(rpc);
        stream
            .create(pb::WatchCreateRequest {
                start_revision: -3,
                ..key("k")
            })
            .await;
        let reason = "etcdserver: mvcc: required revision has been compacted";
        assert_refused(&next(&mut stream).await, reason);
    })
    .await;
}

#[tokio::test]
async fn cancelling_an_unknown_id_is_not_answered() {
    on_both("watch-cancel", async |rpc, _| {
        let mut stream = stream(rpc);
        stream.create(key("k")).await;
        assert!(next(&mut stream).await.created);
        for id in [5, -1, i64::MAX] {
            stream.cancel(id).await;
        }
        // Answers come in order: the next one belongs to the put, so none belonged to the cancels.
        rpc.call(put("k", "v")).await.expect("put");
        assert_eq!(next(&mut stream).await.events.len(), 1);
        stream.cancel(0).await;
        let answer = next(&mut stream).await;
        assert!(answer.canceled && answer.cancel_reason.is_empty() && answer.watch_id == 0);
    })
    .await;
}

#[tokio::test]
async fn progress_before_any_watcher_is_not_answered() {
    on_both("watch-progress", async |rpc, _| {
        let mut stream = stream(rpc);
        stream.progress().await;
        stream.create(key("k")).await;
        let answer = next(&mut stream).await;
        assert!(answer.created && answer.watch_id == 0, "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_none_is_ignored() {
    on_both("watch-none", async |rpc, _| {
        let mut stream = stream(rpc);
        stream
            .send(pb::WatchRequest {
                request_union: None,
            })
            .await;
        stream.create(key("k")).await;
        assert!(next(&mut stream).await.created);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_filter_is_ignored() {
    on_both("watch-filter", async |rpc, _| {
        let mut stream = stream(rpc);
        stream
            .create(pb::WatchCreateRequest {
                filters: vec![7, -1],
                ..key("k")
            })
            .await;
        assert!(next(&mut stream).await.created);
        rpc.call(put("k", "v")).await.expect("put");
        assert_eq!(next(&mut stream).await.events.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_start_in_the_compacted_past_is_cancelled_with_its_revision() {
    on_both("watch-compacted", async |rpc, _| {
        for value in ["1", "2", "3", "4"] {
            rpc.call(put("k", value)).await.expect("put");
        }
        let compact = pb::CompactionRequest {
            revision: 4,
            physical: true,
        };
        rpc.call(compact).await.expect("compaction");
        let mut stream = stream(rpc);
        stream
            .create(pb::WatchCreateRequest {
                start_revision: 2,
                ..key("k")
            })
            .await;
        let answer = next(&mut stream).await;
        assert!(answer.created && !answer.canceled, "{answer:?}");
        let answer = next(&mut stream).await;
        assert!(
            answer.canceled && answer.compact_revision == 4,
            "{answer:?}"
        );
        assert_eq!(answer.cancel_reason, "");
        assert_eq!(answer.header.expect("header").revision, 0);
    })
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_watchers_on_one_stream_are_served() {
    const COUNT: usize = 100_000;
    on_both("watch-many", async |rpc, _| {
        let mut stream = stream(rpc);
        let requests = stream.requests.clone();
        let sender = tokio::spawn(async move {
            for number in 0..COUNT {
                let create = key(&format!("k{number}"));
                let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
                let request = pb::WatchRequest {
                    request_union: union,
                };
                requests.send(request).await.expect("the stream is open");
            }
        });
        for number in 0..COUNT {
            let answer = next(&mut stream).await;
            assert!(answer.created, "{answer:?}");
            assert_eq!(usize::try_from(answer.watch_id), Ok(number));
        }
        sender.await.expect("the sender ends");
        rpc.call(put("k99999", "v")).await.expect("put");
        let answer = next(&mut stream).await;
        assert_eq!((answer.watch_id, answer.events.len()), (99_999, 1));
    })
    .await;
}
