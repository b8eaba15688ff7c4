//! Broken messages, headers and methods.

use kvorum_proto::etcdserverpb as pb;
use prost::Message;
use tonic::Code;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::{
    both::{Side, get, on_both, put},
    rpc::{Call, Raw},
};

const PUT: &str = pb::PutRequest::PATH;

#[tokio::test]
async fn an_unknown_method_or_service_is_unimplemented() {
    on_both("unknown-method", async |rpc, _| {
        for path in [
            "/etcdserverpb.KV/Steal",
            "/etcdserverpb.Nothing/Range",
            "/x/y",
        ] {
            let answer: Result<Raw, _> = rpc
                .call_with(path, Raw::default(), MetadataMap::new())
                .await;
            assert_eq!(
                answer.expect_err("no such method").code(),
                Code::Unimplemented,
                "{path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    on_both("malformed", async |rpc, side| {
        let broken: [&[u8]; 4] = [
            b"\x0a\xff\xff\xff\xff\x0f",                     // a key of 4 GiB
            b"\x0a\x05ab",                                   // a key that ends too early
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", // no field number
            b"\x08\x01",                                     // a key of the wrong type
        ];
        for bytes in broken {
            let raw = Raw(bytes.into());
            let answer: Result<pb::PutResponse, _> =
                rpc.call_with(PUT, raw, MetadataMap::new()).await;
            let status = answer.expect_err("not a PutRequest");
            assert_eq!(
                status.code(),
                Code::Internal,
                "{side:?} {bytes:?}: {status:?}"
            );
        }
        assert_eq!(rpc.call(get("ab")).await.expect("range").count, 0);
    })
    .await;
}

#[tokio::test]
async fn unknown_fields_are_kept_out() {
    on_both("unknown-fields", async |rpc, _| {
        let mut bytes = put("k", "v").encode_to_vec();
        bytes.extend_from_slice(b"\xfa\x3f\x02hi"); // field 1023
        let answer: pb::PutResponse = rpc
            .call_with(PUT, Raw(bytes.into()), MetadataMap::new())
            .await
            .expect("unknown fields are skipped");
        assert_eq!(answer.header.expect("header").revision, 2);
        let kv = rpc.call(get("k")).await.expect("range").kvs.remove(0);
        assert_eq!(kv.value, "v");
    })
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused() {
    on_both("not-utf8", async |rpc, _| {
        let raw = Raw((&b"\x0a\x02\xff\xfe"[..]).into()); // MemberAdd with a peer URL of ff fe
        let path = "/etcdserverpb.Cluster/MemberAdd";
        let answer: Result<pb::MemberAddResponse, _> =
            rpc.call_with(path, raw, MetadataMap::new()).await;
        answer.expect_err("a URL is text");
    })
    .await;
}

#[tokio::test]
async fn a_token_is_ignored_while_authentication_is_off() {
    on_both("token", async |rpc, _| {
        for token in [String::new(), "abc.123".to_owned(), "x".repeat(4096)] {
            let mut metadata = MetadataMap::new();
            metadata.insert("token", token.parse().expect("ASCII"));
            let answer: Result<pb::PutResponse, _> =
                rpc.call_with(PUT, put("k", "v"), metadata).await;
            answer.expect("authentication is off");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_of_one_mebibyte_does_not_hurt() {
    on_both("token-large", async |rpc, side| {
        for (bytes, words) in [(100_000, "431"), (1 << 20, "")] {
            let mut metadata = MetadataMap::new();
            metadata.insert("token", "x".repeat(bytes).parse().expect("ASCII"));
            let answer: Result<pb::PutResponse, _> =
                rpc.call_with(PUT, put("k", "v"), metadata).await;
            // etcd takes as much. Here headers end at 64 KiB: clients show the HTTP status for that, and a connection
            // that goes on sending them is closed.
            if side == Side::Kvorum {
                let status = answer.expect_err("more than headers may be");
                assert!(status.message().contains(words), "{bytes}: {status:?}");
            }
        }
        rpc.call(put("k", "v"))
            .await
            .expect("the connection or the next one works");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_requires_a_leader_gets_one() {
    on_both("hasleader", async |rpc, _| {
        let mut metadata = MetadataMap::new();
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        let answer: Result<pb::PutResponse, _> = rpc.call_with(PUT, put("k", "v"), metadata).await;
        answer.expect("a single member leads");
    })
    .await;
}

#[tokio::test]
async fn a_client_version_that_is_not_utf_8_is_refused() {
    on_both("client-version", async |rpc, _| {
        let mut metadata = MetadataMap::new();
        let value = tonic::codegen::http::HeaderValue::from_bytes(b"\xff\xfe").expect("opaque");
        let mut headers = tonic::codegen::http::HeaderMap::new();
        headers.insert("client-api-version", value);
        for (name, value) in MetadataMap::from_headers(headers).into_headers() {
            metadata.as_mut().insert(name.expect("a name"), value);
        }
        let answer: Result<pb::PutResponse, _> = rpc.call_with(PUT, put("k", "v"), metadata).await;
        let status = answer.expect_err("not text");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "etcdserver: invalid client api version");
    })
    .await;
}
