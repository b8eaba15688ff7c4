//! RangeStream: pieces that are together what a range would be.

use bytes::Bytes;
use kvorum_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, PutResponse, RangeRequest, RangeResponse,
    RangeStreamResponse,
};

use crate::{
    client::{Client, Refused},
    served::served,
    unary::{PUT, RANGE, put},
};

const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";

fn all(limit: i64) -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        limit,
        ..Default::default()
    }
}

/// 200 keys of 2 KiB: some pieces of 64 KiB, which is what requests may have here.
async fn filled(client: &Client) {
    for number in 0..200 {
        let request = put(&format!("k{number:03}"), vec![b'x'; 2048]);
        client
            .unary::<PutResponse>(PUT, &request)
            .await
            .expect("stored");
    }
}

async fn pieces(client: &Client, request: &RangeRequest) -> Result<Vec<RangeResponse>, Refused> {
    let mut call = client.open(RANGE_STREAM, &[]).await;
    call.requests
        .send_data(crate::client::framed(request), true)
        .expect("open");
    let mut pieces = Vec::new();
    while let Some(piece) = call.next::<RangeStreamResponse>().await? {
        pieces.push(piece.range_response.expect("a piece"));
    }
    Ok(pieces)
}

fn merged(pieces: Vec<RangeResponse>) -> RangeResponse {
    let mut whole = RangeResponse::default();
    for piece in pieces {
        assert!(whole.header.is_none(), "nothing comes after the header");
        whole.kvs.extend(piece.kvs);
        whole.header = piece.header;
        whole.more = piece.more;
        whole.count = piece.count;
    }
    whole
}

#[tokio::test]
async fn the_pieces_are_together_what_a_range_answers() {
    let served = served().await;
    let client = Client::connect(&served).await;
    assert_eq!(
        merged(pieces(&client, &all(0)).await.expect("empty"))
            .header
            .expect("a header")
            .revision,
        1
    );
    filled(&client).await;
    let counted = RangeRequest {
        count_only: true,
        ..all(0)
    };
    let keys = RangeRequest {
        keys_only: true,
        ..all(0)
    };
    let past = RangeRequest {
        revision: 50,
        ..all(20)
    };
    let one = RangeRequest {
        key: "k007".into(),
        ..Default::default()
    };
    let none = RangeRequest {
        key: "none".into(),
        ..Default::default()
    };
    for request in [
        all(0),
        all(1),
        all(10),
        all(11),
        all(150),
        all(200),
        all(201),
        all(-1),
        counted,
        keys,
        past,
        one,
        none,
    ] {
        let streamed = pieces(&client, &request).await.expect("streamed");
        let bytes = |piece: &RangeResponse| -> usize {
            piece.kvs.iter().map(|pair| pair.value.len()).sum()
        };
        assert!(
            streamed.iter().all(|piece| bytes(piece) <= 100 * 1024),
            "pieces are bounded"
        );
        let whole: RangeResponse = client.unary(RANGE, &request).await.expect("read");
        assert_eq!(merged(streamed), whole, "{request:?}");
    }
}

#[tokio::test]
async fn a_stream_reads_one_revision_however_slow_its_reader() {
    let served = served().await;
    let client = Client::connect(&served).await;
    filled(&client).await;
    let mut call = client.open(RANGE_STREAM, &[]).await;
    call.send(&all(0));
    let first: RangeStreamResponse = call.next().await.expect("open").expect("a piece");
    assert_eq!(first.range_response.expect("a piece").kvs.len(), 10);
    // More than the reader's window is still to come; all of it must be older than these.
    for number in 0..200 {
        let request = put(&format!("k{number:03}"), "new");
        client
            .unary::<PutResponse>(PUT, &request)
            .await
            .expect("stored");
    }
    let mut seen = 10;
    let mut end = None;
    while let Some(piece) = call.next::<RangeStreamResponse>().await.expect("open") {
        let piece = piece.range_response.expect("a piece");
        assert!(piece.kvs.iter().all(|pair| pair.value.len() == 2048));
        seen += piece.kvs.len();
        end = piece.header.map(|header| (header.revision, piece.count));
    }
    assert_eq!((seen, end), (200, Some((201, 200))));
}

#[tokio::test]
async fn a_compaction_ends_a_stream_that_reads_below_it() {
    let served = served().await;
    let client = Client::connect(&served).await;
    filled(&client).await;
    let mut call = client.open(RANGE_STREAM, &[]).await;
    call.send(&all(0));
    assert!(
        call.next::<RangeStreamResponse>()
            .await
            .expect("open")
            .is_some()
    );
    for _ in 0..2 {
        client
            .unary::<PutResponse>(PUT, &put("k", "v"))
            .await
            .expect("stored");
    }
    let compact = CompactionRequest {
        revision: 203,
        physical: true,
    };
    client
        .unary::<CompactionResponse>("/etcdserverpb.KV/Compact", &compact)
        .await
        .expect("compacted");
    let ended = loop {
        match call.next::<RangeStreamResponse>().await {
            Ok(piece) => assert!(piece.is_some(), "the end came too soon"),
            Err(ended) => break ended,
        }
    };
    assert_eq!(
        (ended.code, &*ended.message),
        (11, "etcdserver: mvcc: required revision has been compacted")
    );
}

#[tokio::test]
async fn what_does_not_stream_is_refused() {
    let served = served().await;
    let client = Client::connect(&served).await;
    for (request, code, text) in [
        (
            RangeRequest::default(),
            3,
            "etcdserver: key is not provided",
        ),
        (
            RangeRequest {
                sort_order: 9,
                ..all(0)
            },
            3,
            "etcdserver: invalid sort option",
        ),
        (
            RangeRequest {
                sort_order: 2,
                ..all(0)
            },
            12,
            "RangeStream does not support custom sort orders",
        ),
        (
            RangeRequest {
                min_create_revision: 1,
                ..all(0)
            },
            12,
            "RangeStream does not support revision filters",
        ),
        (
            RangeRequest {
                revision: 99,
                ..all(0)
            },
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
    ] {
        let refused = pieces(&client, &request).await.expect_err("refused");
        assert_eq!((refused.code, &*refused.message), (code, text));
    }
}
