//! KV.RangeStream (etcd 3.7): a range in pieces, all of one revision.

use crate::{
    context::IoContext,
    error::Status,
    frame::{decode_streamed, open},
    identity::Credentials,
    incoming::Messages,
    kv::{RangeParts, field_bytes, put_length},
    large::Reply,
    shares::{Load, Share},
    stream::{Ending, Outgoing},
};
use bytes::Bytes;
use kvorum_member::RangePiece;
use kvorum_proto::etcdserverpb::{
    RangeRequest, ResponseHeader,
    range_request::{SortOrder, SortTarget},
};

/// Answers a range piece by piece. The next piece is read when the caller has taken the one before, so a slow caller
/// costs the memory of two, of which one is on the budget of replies. Each piece is read in its client's turn.
pub(crate) async fn range_stream(
    cx: &IoContext,
    share: &Share,
    credentials: &Credentials,
    messages: &mut Messages,
    out: &mut Outgoing<'_>,
) -> Result<(), Ending> {
    let (message, hold) = messages.only().await?;
    out.count_received(message.len());
    let load = Load {
        budget: &cx.receiving.budget,
        bytes: message.len(),
        hold,
    };
    let place = share.enter(load).await.map_err(Status::from)?;
    let request: RangeRequest = decode_streamed(message)?;
    refuse_what_does_not_stream(&request)?;
    let caller = credentials.caller(&cx.handle).await.map_err(Status::from)?;
    let piece_bytes = cx.options.max_request_bytes;
    let mut pieces = cx
        .handle
        .range_pieces(&caller, request, piece_bytes)
        .await
        .map_err(Status::from)?;
    drop(place);
    loop {
        out.room().await?;
        let place = share.turn().await;
        let mut hold = cx.handle.reply_budget().hold();
        hold.grow(piece_bytes).await.map_err(Status::from)?;
        let piece = pieces.next().await.map_err(Status::from)?;
        drop(place);
        let last = piece.last.is_some();
        let header = piece.last.map(|last| cx.handle.header(last.revision));
        let message = piece_frame(&piece, header)?;
        drop(piece);
        // Pairs may be larger than a piece is meant to be.
        let missing = message.len().saturating_sub(hold.bytes());
        hold.grow(missing).await.map_err(Status::from)?;
        out.send_held(Reply::held(message, hold)).await?;
        if last {
            return Ok(());
        }
    }
}

/// In etcd's order: what a range refuses comes first.
fn refuse_what_does_not_stream(request: &RangeRequest) -> Result<(), Status> {
    kvorum_core::mvcc::check::range(request)?;
    let by_key = request.sort_target == SortTarget::Key as i32
        && request.sort_order == SortOrder::Ascend as i32;
    if request.sort_order != SortOrder::None as i32 && !by_key {
        return Err(Status::unimplemented(
            "RangeStream does not support custom sort orders",
        ));
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters.iter().any(|filter| *filter != 0) {
        return Err(Status::unimplemented(
            "RangeStream does not support revision filters",
        ));
    }
    Ok(())
}

/// A piece as a `RangeStreamResponse` around pairs that stay encoded as they are stored.
fn piece_frame(piece: &RangePiece, header: Option<ResponseHeader>) -> Result<Bytes, Status> {
    let parts = RangeParts {
        header,
        kvs: &piece.kvs,
        more: piece.last.is_some_and(|last| last.more),
        count: piece.last.map_or(0, |last| last.count),
    };
    let inner_bytes = parts.encoded_len();
    let mut buffer = open(field_bytes(1, inner_bytes))?;
    put_length(&mut buffer, 1, inner_bytes);
    parts.encode(&mut buffer);
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use kvorum_member::RangeEnd;
    use kvorum_proto::{
        etcdserverpb::{RangeResponse, RangeStreamResponse},
        mvccpb::KeyValue,
    };

    use prost::Message;

    use super::*;
    use crate::{error::Code, frame::PREFIX_BYTES};

    #[test]
    fn pieces_are_the_bytes_prost_would_write() {
        let pair = KeyValue {
            key: Bytes::from_static(b"k"),
            value: Bytes::from(vec![1; 300]),
            ..Default::default()
        };
        let header = ResponseHeader {
            cluster_id: 1,
            revision: 7,
            ..Default::default()
        };
        let last = RangeEnd {
            revision: 7,
            more: true,
            count: 300,
        };
        for (header, last) in [(None, None), (Some(header), Some(last))] {
            let piece = RangePiece {
                kvs: vec![Bytes::from(pair.encode_to_vec()); 3],
                last,
            };
            let response = RangeStreamResponse {
                range_response: Some(RangeResponse {
                    header,
                    kvs: vec![pair.clone(); 3],
                    more: last.is_some(),
                    count: last.map_or(0, |last| last.count),
                }),
            };
            let framed = piece_frame(&piece, header).expect("small");
            assert_eq!(&framed[PREFIX_BYTES..], response.encode_to_vec());
        }
    }

    #[test]
    fn only_key_order_streams() {
        let request = |sort_order: SortOrder, sort_target: SortTarget, min_mod_revision| {
            let request = RangeRequest {
                key: Bytes::from_static(b"k"),
                sort_order: sort_order.into(),
                sort_target: sort_target.into(),
                min_mod_revision,
                ..Default::default()
            };
            refuse_what_does_not_stream(&request)
        };
        assert_eq!(request(SortOrder::None, SortTarget::Value, 0), Ok(()));
        assert_eq!(request(SortOrder::Ascend, SortTarget::Key, 0), Ok(()));
        for (order, target, filter, text) in [
            (SortOrder::Descend, SortTarget::Key, 0, "custom sort orders"),
            (SortOrder::Ascend, SortTarget::Mod, 1, "custom sort orders"),
            (SortOrder::None, SortTarget::Key, 1, "revision filters"),
        ] {
            let status = request(order, target, filter).expect_err("not streamed");
            assert_eq!(status.code, Code::Unimplemented);
            assert_eq!(
                status.message,
                format!("RangeStream does not support {text}")
            );
        }
    }
}
