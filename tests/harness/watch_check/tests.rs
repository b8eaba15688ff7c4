//! Each promise, kept and broken: a checker that never fails proves nothing.

use kvorum_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, ResponseHeader, WatchCreateRequest, WatchResponse,
};

use super::{Guarantee, Received, check};
use crate::harness::model::{Model, Selection};

/// Puts of a (2), b (3), a (4); a deleted (5); a put again (6).
fn history() -> Model {
    let mut model = Model::default();
    for key in ["a", "b", "a"] {
        let put = PutRequest {
            key: key.into(),
            value: key.into(),
            ..PutRequest::default()
        };
        model.put(&put).expect("a put");
    }
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    model.delete_range(&delete).expect("a delete");
    model
        .put(&PutRequest {
            key: "a".into(),
            ..PutRequest::default()
        })
        .expect("a put");
    model
}

/// A right answer: one response per revision, then progress.
fn received(model: &Model, request: WatchCreateRequest) -> Received {
    let events = model.events(
        &Selection::of(&request),
        request.start_revision,
        model.revision(),
    );
    let mut responses: Vec<WatchResponse> = events
        .into_iter()
        .map(|(revision, events)| WatchResponse {
            events,
            ..progress(revision)
        })
        .collect();
    responses.push(progress(model.revision()));
    Received {
        request,
        created_revision: model.revision(),
        responses,
    }
}

fn progress(revision: i64) -> WatchResponse {
    let header = Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    });
    WatchResponse {
        header,
        ..WatchResponse::default()
    }
}

fn everything() -> WatchCreateRequest {
    WatchCreateRequest {
        range_end: "\0".into(),
        start_revision: 2,
        prev_kv: true,
        ..WatchCreateRequest::default()
    }
}

/// What the check says once `spoil` has been at a right answer.
fn verdict(spoil: impl FnOnce(&mut Received)) -> Option<Guarantee> {
    let model = history();
    let mut received = received(&model, everything());
    spoil(&mut received);
    check(&received, &model)
        .err()
        .map(|broken| broken.guarantee)
}

fn first_pair(response: &mut WatchResponse) -> &mut kvorum_proto::mvccpb::KeyValue {
    response.events[0]
        .kv
        .as_mut()
        .expect("every event has a pair")
}

#[test]
fn a_right_answer_keeps_all_promises() {
    assert_eq!(verdict(|_| ()), None);
    let model = history();
    let narrow = WatchCreateRequest {
        key: "a".into(),
        filters: vec![1],
        start_revision: 3,
        ..Default::default()
    };
    check(&received(&model, narrow), &model).expect("all promises kept");
}

#[test]
fn an_event_that_was_not_asked_for_breaks_filter() {
    let only_b = |received: &mut Received| received.request.key = "b".into();
    assert_eq!(verdict(only_b), Some(Guarantee::Filter));
    let later = |received: &mut Received| received.request.start_revision = 3;
    assert_eq!(verdict(later), Some(Guarantee::Filter));
}

#[test]
fn an_older_event_after_a_newer_one_breaks_ordered() {
    assert_eq!(
        verdict(|received| received.responses.swap(0, 1)),
        Some(Guarantee::Ordered)
    );
}

#[test]
fn an_event_again_breaks_unique() {
    let again = |received: &mut Received| {
        let event = received.responses[0].events[0].clone();
        received.responses[0].events.push(event);
    };
    assert_eq!(verdict(again), Some(Guarantee::Unique));
}

#[test]
fn a_revision_in_two_responses_breaks_atomic_unless_they_are_fragments() {
    let split = |fragment: bool| {
        move |received: &mut Received| {
            // Two puts made into one transaction's by giving the second the first one's revision.
            let mut second = received.responses.remove(1);
            first_pair(&mut second).mod_revision = 2;
            received.responses[0].fragment = fragment;
            received.responses.insert(1, second);
        }
    };
    assert_eq!(verdict(split(false)), Some(Guarantee::Atomic));
    assert_eq!(
        verdict(split(true)),
        Some(Guarantee::Reliable),
        "another promise, as history has it otherwise"
    );
}

#[test]
fn a_missing_event_breaks_reliable() {
    let missing = |at: usize| move |received: &mut Received| drop(received.responses.remove(at));
    assert_eq!(verdict(missing(1)), Some(Guarantee::Reliable));
    assert_eq!(
        verdict(missing(4)),
        Some(Guarantee::Reliable),
        "the last one, which progress has promised"
    );
}

#[test]
fn a_watch_that_begins_too_late_breaks_resumable() {
    assert_eq!(
        verdict(|received| drop(received.responses.remove(0))),
        Some(Guarantee::Resumable)
    );
}

#[test]
fn progress_ahead_of_an_event_breaks_bookmarkable() {
    let early = |received: &mut Received| received.responses.insert(1, progress(3));
    assert_eq!(verdict(early), Some(Guarantee::Bookmarkable));
    let back = |received: &mut Received| received.responses.push(progress(5));
    assert_eq!(verdict(back), Some(Guarantee::Bookmarkable));
}

#[test]
fn a_wrong_or_absent_pair_before_breaks_prev_kv() {
    let absent = |received: &mut Received| received.responses[2].events[0].prev_kv = None;
    assert_eq!(verdict(absent), Some(Guarantee::PrevKv));
    let wrong = |received: &mut Received| {
        received.responses[2].events[0]
            .prev_kv
            .as_mut()
            .expect("there")
            .version += 1;
    };
    assert_eq!(verdict(wrong), Some(Guarantee::PrevKv));
    assert_eq!(
        verdict(|received| received.request.prev_kv = false),
        Some(Guarantee::PrevKv),
        "unasked"
    );
}

#[test]
fn a_compacted_pair_before_may_be_absent() {
    let mut model = history();
    let mut received = received(&model, everything());
    received.responses[2].events[0].prev_kv = None;
    model
        .compact(&kvorum_proto::etcdserverpb::CompactionRequest {
            revision: 5,
            physical: false,
        })
        .expect("5 of 6");
    check(&received, &model).expect("revision 3 can not be read any more");
}

#[test]
fn a_creation_that_history_does_not_know_breaks_is_create() {
    let mut model = history();
    let mut received = received(&model, everything());
    // The same history, but with a first version where the second was.
    let second = first_pair(&mut received.responses[2]);
    (second.create_revision, second.version) = (4, 1);
    let forged = second.clone();
    model.forge(forged);
    for response in &mut received.responses[2..4] {
        response.events[0].prev_kv = None;
    }
    model
        .compact(&kvorum_proto::etcdserverpb::CompactionRequest {
            revision: 5,
            physical: false,
        })
        .expect("5 of 6");
    let broken = check(&received, &model).expect_err("it existed before");
    assert_eq!(broken.guarantee, Guarantee::IsCreate);
}
