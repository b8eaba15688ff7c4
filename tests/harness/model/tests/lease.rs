//! Leases. (ETCD 2.10)

use kvorum_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest,
};

use super::super::Selection;
use super::{Model, ModelError, delete, grant, model_with, pair, put, revision_of, text};

fn leased(model: &mut Model, key: &str, lease: i64) {
    model
        .put(&PutRequest {
            lease,
            ..put(key, "x")
        })
        .expect("a put");
}

fn revoke(model: &mut Model, id: i64) -> i64 {
    revision_of(
        &model
            .lease_revoke(&LeaseRevokeRequest { id })
            .expect("a lease")
            .header,
    )
}

#[test]
fn a_grant_raises_small_ttls_and_refuses_huge_ones_and_taken_ids() {
    let mut model = Model::default();
    let mut ask = |id, ttl| {
        model
            .lease_grant(&LeaseGrantRequest { id, ttl })
            .map(|reply| reply.ttl)
    };
    assert_eq!(ask(1, 60), Ok(60));
    assert_eq!(ask(2, -5), Ok(2));
    assert_eq!(ask(3, 9_000_000_000), Ok(9_000_000_000));
    assert_eq!(ask(4, 9_000_000_001), Err(ModelError::LeaseTtlTooLarge));
    assert_eq!(ask(1, 60), Err(ModelError::LeaseExists));
    assert_eq!(
        ask(1, 9_000_000_001),
        Err(ModelError::LeaseTtlTooLarge),
        "the TTL is looked at first"
    );
}

#[test]
fn a_revoke_deletes_its_keys_in_one_revision() {
    let mut model = Model::default();
    grant(&mut model, 1, 60);
    leased(&mut model, "b", 1);
    leased(&mut model, "a", 1);
    leased(&mut model, "c", 0);
    assert_eq!(revoke(&mut model, 1), 5);
    let all = Selection::of(&kvorum_proto::etcdserverpb::WatchCreateRequest {
        range_end: text("\0"),
        ..Default::default()
    });
    let events = model.events(&all, 5, 5);
    let keys: Vec<_> = events[0]
        .1
        .iter()
        .map(|event| event.kv.clone().expect("a pair").key)
        .collect();
    assert_eq!((events.len(), keys), (1, vec![text("a"), text("b")]));
    assert!(pair(&model, "c").is_some());
}

#[test]
fn a_revoke_without_keys_makes_no_revision_and_of_nothing_is_an_error() {
    let mut model = Model::default();
    grant(&mut model, 1, 60);
    assert_eq!(revoke(&mut model, 1), 1);
    assert_eq!(
        model.lease_revoke(&LeaseRevokeRequest { id: 1 }),
        Err(ModelError::LeaseNotFound)
    );
}

#[test]
fn a_key_belongs_to_the_lease_of_its_last_put() {
    let mut model = Model::default();
    grant(&mut model, 1, 60);
    grant(&mut model, 2, 60);
    leased(&mut model, "a", 1);
    leased(&mut model, "a", 2);
    leased(&mut model, "b", 1);
    leased(&mut model, "b", 0);
    leased(&mut model, "c", 1);
    model.delete_range(&delete("c", "")).expect("a delete");
    let keys = |id| {
        let reply = model.lease_time_to_live(&LeaseTimeToLiveRequest { id, keys: true });
        reply.keys
    };
    assert_eq!((keys(1), keys(2)), (vec![], vec![text("a")]));
}

#[test]
fn time_to_live_counts_down_and_a_keep_alive_starts_it_again() {
    let mut model = model_with(&[]);
    grant(&mut model, 1, 10);
    model.advance_ms(3_500);
    let ask = |model: &Model, id| {
        let reply = model.lease_time_to_live(&LeaseTimeToLiveRequest { id, keys: false });
        (reply.id, reply.ttl, reply.granted_ttl)
    };
    assert_eq!(ask(&model, 1), (1, 6, 10));
    assert_eq!(
        model.lease_keep_alive(&LeaseKeepAliveRequest { id: 1 }).ttl,
        10
    );
    assert_eq!(ask(&model, 1), (1, 10, 10));
    assert_eq!(ask(&model, 2), (2, -1, 0), "unknown");
    assert_eq!(
        model.lease_keep_alive(&LeaseKeepAliveRequest { id: 2 }).ttl,
        0,
        "unknown"
    );
    model.advance_ms(10_000);
    assert_eq!((ask(&model, 1), model.expired()), ((1, -1, 0), vec![1]));
}
