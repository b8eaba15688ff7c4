//! The wire, byte by byte, where etcd's field numbers are not what one would guess.

use bytes::Bytes;
use prost::Message;

use crate::{METHODS, authpb, etcdserverpb as pb, kvorumpb, mvccpb};

/// The field numbers on the wire, in order.
fn numbers(message: &impl Message) -> Vec<u32> {
    let mut buffer = Bytes::from(message.encode_to_vec());
    let mut numbers = Vec::new();
    while !buffer.is_empty() {
        let (number, wire_type) = prost::encoding::decode_key(&mut buffer).expect("valid key");
        numbers.push(number);
        prost::encoding::skip_field(wire_type, number, &mut buffer, Default::default())
            .expect("valid field");
    }
    numbers
}

#[test]
fn watch_events_are_field_11() {
    let response = pb::WatchResponse {
        watch_id: 1,
        created: true,
        canceled: true,
        compact_revision: 5,
        cancel_reason: "x".into(),
        fragment: true,
        events: vec![mvccpb::Event::default()],
        ..Default::default()
    };
    assert_eq!(numbers(&response), [2, 3, 4, 5, 6, 7, 11]);
}

#[test]
fn compare_range_end_is_field_64_after_the_union() {
    use pb::compare::TargetUnion;
    let unions = [
        (TargetUnion::Version(1), 4),
        (TargetUnion::CreateRevision(1), 5),
        (TargetUnion::ModRevision(1), 6),
        (TargetUnion::Value(Bytes::from_static(b"v")), 7),
        (TargetUnion::Lease(1), 8),
    ];
    for (union, number) in unions {
        let compare = pb::Compare {
            result: pb::compare::CompareResult::NotEqual.into(),
            target: pb::compare::CompareTarget::Lease.into(),
            key: Bytes::from_static(b"k"),
            target_union: Some(union),
            range_end: Bytes::from_static(b"l"),
        };
        assert_eq!(numbers(&compare), [1, 2, 3, number, 64]);
    }
}

#[test]
fn hashed_password_is_field_4_on_add_and_3_on_change() {
    let add = pb::AuthUserAddRequest {
        options: Some(authpb::UserAddOptions { no_password: true }),
        hashed_password: "h".into(),
        ..Default::default()
    };
    assert_eq!(numbers(&add), [3, 4]);
    let change = pb::AuthUserChangePasswordRequest {
        hashed_password: "h".into(),
        ..Default::default()
    };
    assert_eq!(numbers(&change), [3]);
}

#[test]
fn status_sends_the_fields_of_3_6() {
    let status = pb::StatusResponse {
        storage_version: "3.6.0".into(),
        db_size_quota: 1,
        db_size_in_use: 1,
        downgrade_info: Some(pb::DowngradeInfo::default()),
        is_learner: true,
        ..Default::default()
    };
    assert_eq!(numbers(&status), [9, 10, 11, 12, 13]);
}

#[test]
fn a_put_is_the_bytes_etcd_sends() {
    let put = pb::PutRequest {
        key: Bytes::from_static(b"foo"),
        value: Bytes::from_static(b"bar"),
        lease: 7,
        ..Default::default()
    };
    assert_eq!(put.encode_to_vec(), b"\x0a\x03foo\x12\x03bar\x18\x07");
    assert_eq!(
        pb::PutRequest::decode(&b"\x0a\x03foo\x12\x03bar\x18\x07"[..]),
        Ok(put)
    );
}

#[test]
fn fields_of_a_later_etcd_are_skipped() {
    let mut encoded = pb::RangeRequest {
        limit: 3,
        ..Default::default()
    }
    .encode_to_vec();
    encoded.extend_from_slice(b"\xfa\x3f\x02hi"); // field 1023, two bytes
    let decoded = pb::RangeRequest::decode(&encoded[..]).expect("unknown fields are skipped");
    assert_eq!(decoded.limit, 3);
}

#[test]
fn keys_are_slices_of_the_received_buffer() {
    let put = pb::PutRequest {
        key: Bytes::from_static(b"shared"),
        ..Default::default()
    };
    let received = Bytes::from(put.encode_to_vec());
    let decoded = pb::PutRequest::decode(received.clone()).expect("valid");
    assert_eq!(decoded.key.as_ptr(), received[2..].as_ptr());
}

#[test]
fn an_entry_batch_survives_the_log() {
    let command = kvorumpb::Command {
        request_id: 9,
        op: Some(kvorumpb::command::Op::LeaseExpire(kvorumpb::LeaseExpire {
            id: 1,
            term: 2,
        })),
        stamp: None,
        caller: None,
    };
    let batch = kvorumpb::EntryBatch {
        commands: vec![command],
    };
    assert_eq!(
        kvorumpb::EntryBatch::decode(&batch.encode_to_vec()[..]),
        Ok(batch)
    );
}

#[test]
fn every_rpc_is_listed_once() {
    let mut paths: Vec<String> = METHODS.iter().map(crate::Method::path).collect();
    assert_eq!(paths.len(), 63);
    assert!(paths.contains(&"/etcdserverpb.KV/Range".to_owned()));
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 63);
    let streams: Vec<&str> = METHODS
        .iter()
        .filter(|method| method.client_streaming)
        .map(|method| method.name)
        .collect();
    assert_eq!(streams, ["Watch", "LeaseKeepAlive"]);
}

#[test]
fn descriptors_name_every_file() {
    for file in ["rpc.proto", "kv.proto", "auth.proto", "kvorum.proto"] {
        let name = file.as_bytes();
        assert!(
            crate::FILE_DESCRIPTOR_SET
                .windows(name.len())
                .any(|window| window == name)
        );
    }
}
