//! Replies of any size: their pieces, the memory they hold, and sending them to callers who may be slow.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{Reason, SendStream, server::SendResponse};
use kvorum_member::{Caller, EncodedRange, Handle, Hold, REPLY_FREE_BYTES, RangeAnswer};
use kvorum_proto::etcdserverpb::ResponseHeader;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use tokio::{sync::SemaphorePermit, time::timeout};

use crate::{
    context::IoContext,
    error::Status,
    frame::{self, PREFIX_BYTES, Payload, decode, frame, put_prefix},
    kv::range_frame,
    route::Unary,
    shares::Share,
    stream::wait_for_window,
    unary::{Who, call, complete},
    unread::{Charge, Unread},
};

/// A large reply whose caller takes nothing for so long is given up if others wait for its memory.
const STALL: Duration = Duration::from_secs(5);

/// An encoded reply with its prefix, in one or more pieces, and the memory that it takes.
pub(crate) struct Reply {
    pieces: VecDeque<Bytes>,
    hold: Option<Hold>,
}

impl From<Bytes> for Reply {
    fn from(whole: Bytes) -> Self {
        Self {
            pieces: VecDeque::from([whole]),
            hold: None,
        }
    }
}

impl Reply {
    /// One piece, and no more memory than it has itself.
    pub(crate) fn held(whole: Bytes, mut hold: Hold) -> Self {
        hold.shrink(hold.bytes().saturating_sub(whole.len()));
        Self {
            pieces: VecDeque::from([whole]),
            hold: Some(hold),
        }
    }

    /// Size of the message without its prefix.
    pub(crate) fn message_bytes(&self) -> usize {
        self.bytes().saturating_sub(PREFIX_BYTES)
    }

    /// Size with the prefix.
    fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// True if all of it may go to HTTP/2 at once.
    fn is_small(&self) -> bool {
        self.message_bytes() <= REPLY_FREE_BYTES
    }

    /// The message without its prefix, in one piece.
    #[cfg(test)]
    fn into_message(self) -> Bytes {
        let whole: Vec<u8> = self.pieces.into_iter().flatten().collect();
        Bytes::from(whole).slice(PREFIX_BYTES..)
    }
}

/// Answers one call. Range, DeleteRange and Txn have replies that can be large; these come with the memory they hold.
pub(crate) async fn answer(
    cx: &IoContext,
    who: &Who,
    rpc: Unary,
    message: Bytes,
) -> Result<Reply, Status> {
    match rpc {
        Unary::Range => range(&cx.handle, &who.caller, message).await,
        Unary::DeleteRange => delete_range(&cx.handle, &who.caller, message).await,
        Unary::Txn => txn(&cx.handle, &who.caller, message).await,
        other => call(cx, who, other, message).await.map(Reply::from),
    }
}

async fn range(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Reply, Status> {
    match handle.range_answer(caller, decode(message)?).await? {
        RangeAnswer::Small(reply) => {
            range_frame(&handle.header(reply.revision), &reply).map(Reply::from)
        }
        RangeAnswer::Large(range) => large_range(&handle.header(range.revision), range),
    }
}

/// With `prev_kv` its response is as large as all that was deleted.
async fn delete_range(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Reply, Status> {
    let mut response = handle.delete_range(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    let hold = handle.hold_applied(response.encoded_len()).await;
    held(response, hold)
}

/// Headers inside the transaction's responses stay as the machine made them.
async fn txn(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Reply, Status> {
    let (mut response, hold) = handle.txn_answer(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    held(response, hold)
}

/// Encodes a response; from then on only the encoding takes memory.
fn held(response: impl Message, hold: Hold) -> Result<Reply, Status> {
    let whole = frame(&response)?;
    drop(response);
    Ok(Reply::held(whole, hold))
}

/// A `RangeResponse` around pairs that are encoded already.
fn large_range(header: &ResponseHeader, range: EncodedRange) -> Result<Reply, Status> {
    let mut tail = BytesMut::new();
    if range.more {
        encode_key(3, WireType::Varint, &mut tail);
        encode_varint(1, &mut tail);
    }
    if range.count != 0 {
        encode_key(4, WireType::Varint, &mut tail);
        encode_varint(range.count.cast_unsigned(), &mut tail);
    }
    let header_bytes = header.encoded_len();
    let pairs_bytes: usize = range.pieces.iter().map(Bytes::len).sum();
    let message_bytes = key_len(1)
        + encoded_len_varint(header_bytes as u64)
        + header_bytes
        + pairs_bytes
        + tail.len();
    let small = message_bytes <= REPLY_FREE_BYTES;
    let mut head = BytesMut::with_capacity(if small {
        message_bytes + PREFIX_BYTES
    } else {
        128
    });
    put_prefix(&mut head, message_bytes)?;
    encode_key(1, WireType::LengthDelimited, &mut head);
    encode_varint(header_bytes as u64, &mut head);
    header.encode_raw(&mut head);
    let mut pieces = VecDeque::from(range.pieces);
    if small {
        pieces.drain(..).for_each(|piece| head.put_slice(&piece));
        head.put_slice(&tail);
        return Ok(head.freeze().into());
    }
    pieces.push_front(head.freeze());
    pieces.push_back(tail.freeze());
    Ok(Reply {
        pieces,
        hold: Some(range.hold),
    })
}

/// Sends head, message and trailers. Where the client takes none of the small answers that are there already, its place
/// in the share is kept until it takes this one: it can have more calls carried out once it reads.
pub(crate) async fn send(
    respond: &mut SendResponse<Payload>,
    (share, connection): (&Share, &Arc<Unread>),
    place: Option<SemaphorePermit<'_>>,
    mut reply: Reply,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(frame::response_head(), false)?;
    // Boxed: most replies need no such thing.
    if !reply.is_small() {
        drop(place);
        Box::pin(send_slowly(&mut stream, reply)).await?;
    } else {
        let charge = match share.unread().charge(connection, reply.bytes()) {
            Some(charge) => charge,
            None => {
                let unread = (share.unread(), connection);
                Box::pin(charge_soon(&mut stream, unread, reply.bytes())).await?
            }
        };
        drop(place);
        send_whole(&mut stream, &mut reply, charge)?;
    }
    stream.send_trailers(frame::ok_trailers())
}

/// Waits for those before it to leave; a client that takes nothing at all for long is given up.
async fn charge_soon(
    stream: &mut SendStream<Payload>,
    (client, connection): (&Arc<Unread>, &Arc<Unread>),
    reply_bytes: usize,
) -> Result<Charge, h2::Error> {
    let charge = client.charge_soon(connection, reply_bytes, STALL).await;
    charge.ok_or_else(|| {
        tracing::debug!("a reply was given up: its caller takes nothing");
        stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        Reason::ENHANCE_YOUR_CALM.into()
    })
}

/// A small reply is in one piece, but for those of a few parts of a read.
fn send_whole(
    stream: &mut SendStream<Payload>,
    reply: &mut Reply,
    charge: Charge,
) -> Result<(), h2::Error> {
    let last = reply.pieces.pop_back();
    for piece in reply.pieces.drain(..) {
        stream.send_data(Payload::One(piece), false)?;
    }
    match last {
        Some(last) => stream.send_data(
            Payload::Counted {
                message: last,
                _charge: charge,
            },
            false,
        ),
        None => Ok(()),
    }
}

/// Hands over what the caller's window takes. What is not sent yet is in nobody's hands but ours.
pub(crate) async fn send_slowly(
    stream: &mut SendStream<Payload>,
    mut reply: Reply,
) -> Result<(), h2::Error> {
    while let Some(mut piece) = reply.pieces.pop_front() {
        while !piece.is_empty() {
            let hold = reply.hold.as_ref();
            let window = room(stream, piece.len(), hold).await?;
            let part = piece.split_to(window.min(piece.len()));
            if let Some(hold) = &mut reply.hold {
                hold.shrink(part.len());
            }
            stream.send_data(Payload::One(part), false)?;
        }
    }
    Ok(())
}

/// Waits for the caller's window, but not for ever if others wait for the memory.
async fn room(
    stream: &mut SendStream<Payload>,
    wanted: usize,
    hold: Option<&Hold>,
) -> Result<usize, h2::Error> {
    loop {
        match timeout(STALL, wait_for_window(stream, wanted)).await {
            Ok(window) => return window,
            Err(_) if hold.is_some_and(Hold::is_in_the_way) => {
                tracing::debug!("a large reply was given up: its caller takes nothing");
                stream.send_reset(Reason::ENHANCE_YOUR_CALM);
                return Err(Reason::ENHANCE_YOUR_CALM.into());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kvorum_member::Budget;
    use kvorum_proto::{etcdserverpb::RangeResponse, mvccpb::KeyValue};

    use super::*;

    fn header() -> ResponseHeader {
        ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 1,
            revision: 9,
            raft_term: 2,
        }
    }

    #[test]
    fn a_reply_in_pieces_is_the_message_prost_would_write() {
        for (value_bytes, more, count) in [(10, false, 0), (200_000, true, 1 << 40)] {
            let pair = KeyValue {
                key: Bytes::from_static(b"key"),
                value: Bytes::from(vec![7; value_bytes]),
                ..KeyValue::default()
            };
            let pairs = RangeResponse {
                kvs: vec![pair.clone(), pair],
                ..RangeResponse::default()
            };
            let encoded = Bytes::from(pairs.encode_to_vec());
            let range = EncodedRange {
                revision: 9,
                more,
                count,
                pieces: vec![encoded.slice(..7), encoded.slice(7..)],
                hold: Budget::new(1 << 20, 0, Duration::ZERO).hold(),
            };
            let expected = RangeResponse {
                header: Some(header()),
                more,
                count,
                ..pairs
            };
            let reply = large_range(&header(), range).expect("below the limit");
            assert_eq!(reply.message_bytes(), expected.encoded_len());
            assert_eq!(reply.into_message(), expected.encode_to_vec());
        }
    }
}
