//! What is written is read back as it was, whatever the sizes; what is damaged is refused, and nothing panics.

mod damage;
mod shape;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::types::{LeaseId, Revision};
use kvorum_proto::authpb::{Permission, Role, User, UserAddOptions};
use kvorum_proto::leasepb::Lease;
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use super::{
    BoltFile, BoltWriter, ConfState, EtcdMember, Item, Sha256Digest, SnapshotSummary,
    SnapshotTables, SnapshotWriter, Trailer, read_snapshot,
};
use crate::disk::{Disk, DiskFile, MemDisk, OpenMode};
use crate::error::StorageError;

type Pair = (Vec<u8>, Vec<u8>);

fn file() -> Arc<dyn DiskFile> {
    MemDisk::new().open("f", OpenMode::New).expect("a file")
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let length = file.len().expect("a length");
    let mut bytes = vec![0; usize::try_from(length).expect("small")];
    file.read_at(0, &mut bytes).expect("readable");
    bytes
}

/// A file with these buckets.
fn written(buckets: &[(&str, Vec<Pair>)]) -> Vec<u8> {
    let file = file();
    let mut writer = BoltWriter::new(file.clone(), PathBuf::from("f"));
    for (name, pairs) in buckets {
        let mut bucket = writer.bucket(name.as_bytes());
        for (key, value) in pairs {
            bucket.put(key, value).expect("in order");
        }
        bucket.finish().expect("written");
    }
    let length = writer.finish().expect("written");
    let bytes = content(&*file);
    assert_eq!(bytes.len() as u64, length);
    bytes
}

/// All buckets of a file.
fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<Pair>)>, StorageError> {
    let mut file = BoltFile::open(bytes, "f", Trailer::Optional)?;
    let buckets = file.buckets().to_vec();
    let mut all = Vec::new();
    for bucket in &buckets {
        let mut pairs = Vec::new();
        file.walk(bucket, |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        all.push((String::from_utf8_lossy(&bucket.name).into_owned(), pairs));
    }
    Ok(all)
}

fn numbered(count: u32, value_bytes: impl Fn(u32) -> usize) -> Vec<Pair> {
    let pair = |n: u32| {
        (
            n.to_be_bytes().to_vec(),
            vec![n.to_be_bytes()[3]; value_bytes(n)],
        )
    };
    (1..=count).map(pair).collect()
}

fn with_digest(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut digest = Sha256Digest::default();
    digest.feed(&bytes);
    bytes.extend_from_slice(&digest.finish());
    bytes
}

fn kv(key: &str, revision: i64, value: &[u8]) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: Bytes::copy_from_slice(value),
        lease: 0,
    }
}

fn tables() -> SnapshotTables {
    SnapshotTables {
        consistent_index: 12,
        term: 3,
        conf_state: Some(ConfState {
            voters: vec![10_221_683_743_416_816_908],
            ..ConfState::default()
        }),
        scheduled_compact: Some(3),
        finished_compact: Some(2),
        storage_version: Some("3.6.0".into()),
        cluster_version: Some("3.6.0".into()),
        members: vec![EtcdMember {
            id: 10_221_683_743_416_816_908,
            peer_urls: vec!["http://127.0.0.1:2380".into()],
            name: "a<b>&c".into(),
            ..EtcdMember::default()
        }],
        members_removed: vec![7],
        alarms: vec![(5, 1)],
        auth_revision: 1,
        auth_enabled: false,
        users: Vec::new(),
        roles: Vec::new(),
        trust: Vec::new(),
    }
}

/// A snapshot with a put, a deletion and a lease.
fn snapshot() -> Vec<u8> {
    let file = file();
    let mut writer = SnapshotWriter::new(file.clone(), PathBuf::from("f"));
    let written = writer.records(|out| {
        let put = kv("a", 2, b"1").encode_to_vec();
        out.record(Revision::first_of(2), false, &put)?;
        // As kvorum keeps a deletion: with its revision, which etcd leaves out.
        let gone = KeyValue {
            key: Bytes::from_static(b"a"),
            mod_revision: 4,
            ..KeyValue::default()
        };
        out.record(Revision { main: 4, sub: 1 }, true, &gone.encode_to_vec())
    });
    written.expect("written");
    let lease = Lease {
        id: 77,
        ttl: 100,
        remaining_ttl: 0,
    };
    let leases = [(LeaseId(77), lease.encode_to_vec().into())];
    writer.leases(&leases).expect("written");
    writer.finish(&tables()).expect("written");
    with_digest(content(&*file))
}

fn walk(bytes: &[u8], trailer: Trailer) -> Result<(SnapshotSummary, Vec<Item>), StorageError> {
    let mut items = Vec::new();
    let summary = read_snapshot(bytes, "f", trailer, |item| {
        items.push(item);
        Ok(())
    })?;
    Ok((summary, items))
}

#[test]
fn users_and_roles_come_back_as_they_were() {
    let user = User {
        name: Bytes::from_static(b"u"),
        password: Bytes::from_static(b"$2a$10$hash"),
        roles: vec!["r".into()],
        options: Some(UserAddOptions::default()),
    };
    let role = Role {
        name: Bytes::from_static(b"r"),
        key_permission: vec![Permission {
            perm_type: 2,
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
        }],
    };
    let with_users = SnapshotTables {
        auth_revision: 9,
        auth_enabled: true,
        users: vec![user.clone()],
        roles: vec![role.clone()],
        ..tables()
    };
    let file = file();
    let mut writer = SnapshotWriter::new(file.clone(), PathBuf::from("f"));
    writer.records(|_| Ok(())).expect("written");
    writer.leases(&[]).expect("written");
    writer.finish(&with_users).expect("written");
    let bytes = with_digest(content(&*file));
    let (summary, mut items) = walk(&bytes, Trailer::Required).expect("readable");
    assert_eq!(summary.tables.auth_revision, 9);
    assert!(summary.tables.auth_enabled);
    items.sort_by_key(|item| matches!(item, Item::User(_)));
    assert_eq!(items, [Item::Role(role), Item::User(user)]);
}

#[test]
fn an_authority_is_one_bucket_more_and_comes_back() {
    let rows = [("trust/head", "h"), ("trust/root/1", "r")];
    let rows = rows.map(|(name, row)| (name.to_owned(), Bytes::from(row)));
    let with_authority = SnapshotTables {
        trust: rows.to_vec(),
        ..tables()
    };
    let file = file();
    let mut writer = SnapshotWriter::new(file.clone(), PathBuf::from("f"));
    writer.records(|_| Ok(())).expect("written");
    writer.leases(&[]).expect("written");
    writer.finish(&with_authority).expect("written");
    let bytes = with_digest(content(&*file));
    assert_eq!(read(&bytes).expect("sound").len(), 11);
    let (summary, _) = walk(&bytes, Trailer::Required).expect("readable");
    assert_eq!(summary.tables, with_authority);
}
