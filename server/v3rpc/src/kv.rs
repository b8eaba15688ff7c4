//! The KV service.

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::reply::RangeReply;
use kvorum_member::{Caller, Handle};
use kvorum_proto::etcdserverpb::ResponseHeader;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    error::Status,
    frame::{decode, frame, open},
    unary::complete,
};

pub(crate) async fn range(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let reply = handle.range(caller, decode(message)?).await?;
    range_frame(&handle.header(reply.revision), &reply)
}

pub(crate) async fn put(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Bytes, Status> {
    let mut response = handle.put(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn delete_range(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.delete_range(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

/// Headers inside the transaction's responses stay as the machine made them.
pub(crate) async fn txn(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Bytes, Status> {
    let mut response = handle.txn(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

pub(crate) async fn compact(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.compact(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

/// A `RangeResponse` around pairs that stay encoded as they are stored.
pub(crate) fn range_frame(header: &ResponseHeader, reply: &RangeReply) -> Result<Bytes, Status> {
    let parts = RangeParts {
        header: Some(*header),
        kvs: &reply.kvs,
        more: reply.more,
        count: reply.count,
    };
    let mut buffer = open(parts.encoded_len())?;
    parts.encode(&mut buffer);
    Ok(buffer.freeze())
}

/// The fields of a `RangeResponse`.
pub(crate) struct RangeParts<'a> {
    pub(crate) header: Option<ResponseHeader>,
    pub(crate) kvs: &'a [Bytes],
    pub(crate) more: bool,
    pub(crate) count: i64,
}

impl RangeParts<'_> {
    pub(crate) fn encoded_len(&self) -> usize {
        let header = self.header.as_ref();
        let mut bytes = header.map_or(0, |header| field_bytes(1, header.encoded_len()));
        for pair in self.kvs {
            bytes += field_bytes(2, pair.len());
        }
        if self.more {
            bytes += key_len(3) + 1;
        }
        if self.count != 0 {
            bytes += key_len(4) + encoded_len_varint(self.count.cast_unsigned());
        }
        bytes
    }

    pub(crate) fn encode(&self, buffer: &mut BytesMut) {
        if let Some(header) = &self.header {
            put_length(buffer, 1, header.encoded_len());
            header.encode_raw(buffer);
        }
        for pair in self.kvs {
            put_length(buffer, 2, pair.len());
            buffer.put_slice(pair);
        }
        if self.more {
            encode_key(3, WireType::Varint, buffer);
            encode_varint(1, buffer);
        }
        if self.count != 0 {
            encode_key(4, WireType::Varint, buffer);
            encode_varint(self.count.cast_unsigned(), buffer);
        }
    }
}

pub(crate) const fn field_bytes(tag: u32, content_bytes: usize) -> usize {
    key_len(tag) + encoded_len_varint(content_bytes as u64) + content_bytes
}

pub(crate) fn put_length(buffer: &mut BytesMut, tag: u32, content_bytes: usize) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(content_bytes as u64, buffer);
}

#[cfg(test)]
mod tests {
    use kvorum_proto::{etcdserverpb::RangeResponse, mvccpb::KeyValue};

    use super::*;
    use crate::frame::PREFIX_BYTES;

    fn pair(size: usize) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"key"),
            value: Bytes::from(vec![7; size]),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            lease: 0,
        }
    }

    #[test]
    fn spliced_pairs_are_the_bytes_prost_would_write() {
        for (sizes, more, count) in [
            (&[][..], false, 0),
            (&[0][..], false, 1),
            (&[1, 200, 70_000][..], true, 1 << 40),
        ] {
            let kvs: Vec<KeyValue> = sizes.iter().map(|size| pair(*size)).collect();
            let header = ResponseHeader {
                cluster_id: u64::MAX,
                member_id: 1,
                revision: 9,
                raft_term: 2,
            };
            let reply = RangeReply {
                revision: 9,
                kvs: kvs
                    .iter()
                    .map(|pair| Bytes::from(pair.encode_to_vec()))
                    .collect(),
                more,
                count,
            };
            let framed = range_frame(&header, &reply).expect("small");
            let response = RangeResponse {
                header: Some(header),
                kvs,
                more,
                count,
            };
            assert_eq!(&framed[PREFIX_BYTES..], response.encode_to_vec());
            assert_eq!(
                framed[..PREFIX_BYTES],
                frame(&response).expect("small")[..PREFIX_BYTES]
            );
        }
    }
}
