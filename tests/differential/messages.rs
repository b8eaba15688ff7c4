//! The calls with one message each way, by name: their paths, what they are asked and what they answer.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use prost::Message;

use crate::wire::Reply;

macro_rules! calls {
    ($($name:ident $path:literal $request:ident $answer:ident;)*) => {
        /// A call with one message each way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rpc { $($name,)* }

        /// What such a call answers.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Answer { $($name(pb::$answer),)* }

        impl Rpc {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) const fn path(self) -> &'static str {
                match self { $(Self::$name => concat!("/etcdserverpb.", $path),)* }
            }

            /// The request in words; `None` if the bytes are none.
            pub(crate) fn shown(self, request: &Bytes) -> Option<String> {
                match self {
                    $(Self::$name => {
                        let message = pb::$request::decode(request.clone()).ok()?;
                        if message.encode_to_vec() == *request {
                            return Some(format!("{message:?}"));
                        }
                        Some(format!("{message:?}, as b\"{}\"", request.escape_ascii()))
                    })*
                }
            }

            /// True for bytes as a client's library writes them.
            pub(crate) fn is_plain(self, request: &Bytes) -> bool {
                match self {
                    $(Self::$name => {
                        let message = pb::$request::decode(request.clone());
                        message.is_ok_and(|message| message.encode_to_vec() == *request)
                    })*
                }
            }

            fn answer(self, bytes: &Bytes) -> Option<Answer> {
                match self {
                    $(Self::$name => {
                        let answer = pb::$answer::decode(bytes.clone()).ok()?;
                        // A field that is unknown here would be lost: told by the length.
                        (answer.encoded_len() == bytes.len()).then_some(Answer::$name(answer))
                    })*
                }
            }
        }

        impl Answer {
            pub(crate) fn header(&mut self) -> Option<&mut pb::ResponseHeader> {
                match self { $(Self::$name(answer) => answer.header.as_mut(),)* }
            }
        }
    };
}

calls! {
    Range "KV/Range" RangeRequest RangeResponse;
    Put "KV/Put" PutRequest PutResponse;
    DeleteRange "KV/DeleteRange" DeleteRangeRequest DeleteRangeResponse;
    Txn "KV/Txn" TxnRequest TxnResponse;
    Compact "KV/Compact" CompactionRequest CompactionResponse;
    LeaseGrant "Lease/LeaseGrant" LeaseGrantRequest LeaseGrantResponse;
    LeaseRevoke "Lease/LeaseRevoke" LeaseRevokeRequest LeaseRevokeResponse;
    LeaseTimeToLive "Lease/LeaseTimeToLive" LeaseTimeToLiveRequest LeaseTimeToLiveResponse;
    LeaseLeases "Lease/LeaseLeases" LeaseLeasesRequest LeaseLeasesResponse;
    MemberList "Cluster/MemberList" MemberListRequest MemberListResponse;
    Alarm "Maintenance/Alarm" AlarmRequest AlarmResponse;
    Status "Maintenance/Status" StatusRequest StatusResponse;
    Defragment "Maintenance/Defragment" DefragmentRequest DefragmentResponse;
    Hash "Maintenance/Hash" HashRequest HashResponse;
    HashKv "Maintenance/HashKV" HashKvRequest HashKvResponse;
}

/// What one side said to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// One message and code 0.
    Answer(Answer),
    /// No message and another code.
    Refused { code: i32, text: String },
    /// Anything else, as it came.
    Odd(Reply),
}

impl Outcome {
    pub(crate) fn of(rpc: Rpc, reply: Reply) -> Self {
        let proper = reply.http_status == 200
            && reply.content_type == "application/grpc"
            && reply.broken.is_none();
        match (reply.code, reply.messages.as_slice()) {
            (Some(0), [message]) if proper => rpc
                .answer(message)
                .map_or_else(|| Self::Odd(reply.clone()), Self::Answer),
            (Some(code), []) if proper && code != 0 => Self::Refused {
                code,
                text: reply.text,
            },
            _ => Self::Odd(reply),
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Refused { .. } | Self::Odd(_) => None,
        }
    }

    /// True if the call was refused in exactly these words.
    pub(crate) fn is_refused(&self, wanted: i32, words: &str) -> bool {
        matches!(self, Self::Refused { code, text } if *code == wanted && text == words)
    }

    /// True if the server is no more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Odd(reply) if reply.http_status == 0 && reply.broken.is_some())
    }
}
