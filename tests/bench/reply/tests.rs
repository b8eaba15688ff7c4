//! Tests of the quick readers, on messages encoded by `kvorum-proto`.

use kvorum_proto::{etcdserverpb as pb, mvccpb};
use prost::Message as _;

use super::*;
use crate::check;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: u64::MAX,
        member_id: 2,
        revision,
        raft_term: 3,
    })
}

fn kv(number: u64, mod_revision: i64) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: KeyNumber(number).key().to_vec().into(),
        create_revision: 2,
        mod_revision,
        version: 1,
        value: vec![7; 256].into(),
        lease: 0,
    }
}

fn range_reply(numbers: impl Iterator<Item = u64>) -> pb::RangeResponse {
    let kvs: Vec<_> = numbers.map(|number| kv(number, 5)).collect();
    pb::RangeResponse {
        header: header(9),
        count: kvs.len() as i64,
        more: false,
        kvs,
    }
}

const ASKED: Asked = Asked {
    first: KeyNumber(10),
    keys: 3,
    value_bytes: 256,
};

#[test]
fn a_good_range_reply_is_read_as_full_decoding_reads_it() {
    let bytes = range_reply(10..13).encode_to_vec();
    assert_eq!(range(&bytes, ASKED).expect("good reply"), Revision(9));
    assert_eq!(
        check::range(&bytes, ASKED).expect("good reply"),
        Revision(9)
    );
}

#[test]
fn a_wrong_range_reply_is_refused_by_both_readers() {
    let good = range_reply(10..13);
    let wrong_value = {
        let mut reply = good.clone();
        reply.kvs[1].value = vec![0; 255].into();
        reply
    };
    let wrong = [
        range_reply(10..12),
        range_reply(10..14),
        range_reply(11..14),
        pb::RangeResponse {
            count: 4,
            ..good.clone()
        },
        pb::RangeResponse {
            more: true,
            ..good.clone()
        },
        pb::RangeResponse {
            header: None,
            ..good.clone()
        },
        wrong_value,
        pb::RangeResponse::default(),
    ];
    for reply in wrong {
        let bytes = reply.encode_to_vec();
        assert!(range(&bytes, ASKED).is_err(), "{reply:?}");
        assert!(check::range(&bytes, ASKED).is_err(), "{reply:?}");
    }
}

#[test]
fn a_cut_reply_is_an_error_wherever_it_is_cut() {
    let bytes = range_reply(10..13).encode_to_vec();
    for end in 0..bytes.len() {
        assert!(range(&bytes[..end], ASKED).is_err(), "cut at {end}");
    }
}

#[test]
fn a_txn_counts_only_when_its_put_happened() {
    let put = pb::response_op::Response::ResponsePut(pb::PutResponse::default());
    let good = pb::TxnResponse {
        header: header(4),
        succeeded: true,
        responses: vec![pb::ResponseOp {
            response: Some(put),
        }],
    };
    assert_eq!(txn(&good.encode_to_vec()).expect("good reply"), Revision(4));
    let get = pb::response_op::Response::ResponseRange(pb::RangeResponse::default());
    let wrong = [
        pb::TxnResponse {
            succeeded: false,
            ..good.clone()
        },
        pb::TxnResponse {
            responses: Vec::new(),
            ..good.clone()
        },
        pb::TxnResponse {
            responses: vec![pb::ResponseOp {
                response: Some(get),
            }],
            ..good.clone()
        },
        pb::TxnResponse {
            header: None,
            ..good.clone()
        },
    ];
    for reply in wrong {
        assert!(txn(&reply.encode_to_vec()).is_err(), "{reply:?}");
        assert!(check::txn(&reply.encode_to_vec()).is_err(), "{reply:?}");
    }
}

#[test]
fn a_keep_alive_of_a_lost_lease_is_no_success() {
    let reply = |id, ttl| {
        pb::LeaseKeepAliveResponse {
            header: header(1),
            id,
            ttl,
        }
        .encode_to_vec()
    };
    assert!(lease_keep_alive(&reply(-8, 60), LeaseId(-8)).is_ok());
    assert!(lease_keep_alive(&reply(-8, 0), LeaseId(-8)).is_err());
    assert!(lease_keep_alive(&reply(7, 60), LeaseId(8)).is_err());
}

#[test]
fn changes_arrive_with_value_and_revision() {
    let event = |number, revision| mvccpb::Event {
        r#type: 0,
        kv: Some(kv(number, revision)),
        prev_kv: None,
    };
    let mut reply = pb::WatchResponse {
        header: header(9),
        events: vec![event(1, 8), event(2, 9)],
        ..Default::default()
    };
    let mut seen = Vec::new();
    let read = watch(&reply.encode_to_vec(), |change| {
        seen.push((change.value.len(), change.mod_revision));
        Ok(())
    });
    assert!(matches!(read, Ok(WatchReply::Changes(2))));
    assert_eq!(seen, [(256, Revision(8)), (256, Revision(9))]);
    reply.events[0].r#type = 1;
    assert!(
        watch(&reply.encode_to_vec(), |_| Ok(())).is_err(),
        "a delete was never made"
    );
    let canceled = pb::WatchResponse {
        canceled: true,
        ..Default::default()
    };
    assert!(watch(&canceled.encode_to_vec(), |_| Ok(())).is_err());
    let created = pb::WatchResponse {
        created: true,
        ..Default::default()
    };
    assert!(matches!(
        watch(&created.encode_to_vec(), |_| Ok(())),
        Ok(WatchReply::Created)
    ));
}

#[test]
fn both_readers_must_agree() {
    let differ = check::compare(Ok(Revision(1)), Ok(Revision(2))).expect_err("different");
    assert!(differ.to_string().contains("self-check"), "{differ}");
    assert!(check::compare::<Revision>(Ok(Revision(1)), Err(anyhow::anyhow!("no"))).is_err());
    assert!(check::compare::<Revision>(Err(anyhow::anyhow!("no")), Ok(Revision(1))).is_err());
    assert!(check::compare(Ok(Revision(1)), Ok(Revision(1))).is_ok());
}
