//! Watch. (ETCD 2.9)

use kvorum_proto::etcdserverpb::{RequestOp, WatchCreateRequest, WatchResponse};
use kvorum_proto::mvccpb::Event;

use super::super::{Selection, WatchStream};
use super::{Model, compact, delete, just, key_of, model_with, op, put, revision_of, text};

fn watch(key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: text(key),
        range_end: text(range_end),
        ..WatchCreateRequest::default()
    }
}

/// Events as "put a@2" or "delete a@3".
fn story(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| {
        let kv = event.kv.as_ref().expect("every event has a pair");
        let verb = if event.r#type == 0 { "put" } else { "delete" };
        format!("{verb} {}@{}", key_of(kv), kv.mod_revision)
    };
    events.iter().map(line).collect()
}

fn due(model: &Model, request: &WatchCreateRequest, from: i64) -> Vec<String> {
    let revisions = model.events(&Selection::of(request), from, model.revision());
    revisions
        .iter()
        .flat_map(|(_, events)| story(events))
        .collect()
}

fn refusal(response: &WatchResponse) -> (bool, bool, i64, &str) {
    (
        response.created,
        response.canceled,
        response.watch_id,
        &response.cancel_reason,
    )
}

#[test]
fn history_comes_in_revision_order_and_inside_one_in_the_order_of_its_operations() {
    let mut model = model_with(&["b", "a"]);
    let ops: Vec<RequestOp> = vec![op(put("c", "1")), op(delete("b", "")), op(put("a", "2"))];
    model.txn(&just(ops)).expect("a txn");
    let all = watch("a", "\0");
    assert_eq!(
        due(&model, &all, 2),
        ["put b@2", "put a@3", "put c@4", "delete b@4", "put a@4"]
    );
    assert_eq!(due(&model, &all, 4).len(), 3);
    assert_eq!(due(&model, &watch("a", ""), 2), ["put a@3", "put a@4"]);
}

#[test]
fn a_delete_event_holds_key_and_revision_only() {
    let mut model = model_with(&["a"]);
    model.delete_range(&delete("a", "")).expect("a delete");
    let events = model.events(&Selection::of(&watch("a", "")), 3, 3);
    let kv = events[0].1[0].kv.clone().expect("a pair");
    assert_eq!((kv.key.as_ref(), kv.mod_revision), (&b"a"[..], 3));
    assert_eq!(
        (kv.create_revision, kv.version, kv.lease, kv.value.len()),
        (0, 0, 0, 0)
    );
}

#[test]
fn filters_leave_out_puts_or_deletes_and_unknown_ones_nothing() {
    let mut model = model_with(&["a"]);
    model.delete_range(&delete("a", "")).expect("a delete");
    let with = |filters| {
        due(
            &model,
            &WatchCreateRequest {
                filters,
                ..watch("a", "")
            },
            2,
        )
    };
    assert_eq!(with(vec![0]), ["delete a@3"]);
    assert_eq!(with(vec![1]), ["put a@2"]);
    assert_eq!(with(vec![0, 1]), Vec::<String>::new());
    assert_eq!(with(vec![9]).len(), 2);
}

#[test]
fn an_empty_key_is_the_first_one() {
    let model = model_with(&["\0", "a"]);
    assert_eq!(due(&model, &watch("", ""), 2).len(), 1);
    assert_eq!(due(&model, &watch("", "\0"), 2).len(), 2);
}

#[test]
fn prev_kv_is_the_pair_before_unless_created_or_compacted() {
    let mut model = model_with(&["a", "a", "a"]);
    model.delete_range(&delete("a", "")).expect("a delete at 5");
    compact(&mut model, 4);
    let selection = Selection::of(&WatchCreateRequest {
        prev_kv: true,
        ..watch("a", "")
    });
    let events = model.events(&selection, 4, 5);
    let previous = |index: usize| {
        events[index].1[0]
            .prev_kv
            .as_ref()
            .map(|kv| kv.mod_revision)
    };
    assert_eq!(
        (previous(0), previous(1)),
        (None, Some(4)),
        "revision 3 is compacted"
    );
    let fresh = model_with(&["a"]);
    assert_eq!(
        fresh.events(&selection, 2, 2)[0].1[0].prev_kv,
        None,
        "created"
    );
}

#[test]
fn ids_are_the_clients_or_counted_from_zero_past_taken_ones() {
    let model = Model::default();
    let mut stream = WatchStream::default();
    let mut create = |watch_id| {
        stream
            .create(
                &model,
                &WatchCreateRequest {
                    watch_id,
                    ..watch("a", "")
                },
            )
            .watch_id
    };
    assert_eq!([create(0), create(2), create(0), create(0)], [0, 2, 1, 3]);
    assert_eq!(create(2), -1, "taken");
}

#[test]
fn a_watcher_that_cannot_be_is_created_and_cancelled_in_one_answer() {
    let model = model_with(&["a"]);
    let mut stream = WatchStream::default();
    let mut create = |request: WatchCreateRequest| stream.create(&model, &request);
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let reply = create(WatchCreateRequest {
        start_revision: -1,
        ..watch("a", "")
    });
    assert_eq!(
        (refusal(&reply), revision_of(&reply.header)),
        ((true, true, -1, compacted), 2)
    );
    assert_eq!(
        refusal(&create(watch("b", "a"))),
        (true, true, -1, "mvcc: watcher range is empty")
    );
    assert!(
        !create(WatchCreateRequest {
            watch_id: 5,
            ..watch("a", "")
        })
        .canceled
    );
    let twice = create(WatchCreateRequest {
        watch_id: 5,
        ..watch("a", "")
    });
    let duplicate = "mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!(refusal(&twice), (true, true, -1, duplicate));
}

#[test]
fn a_watcher_behind_the_compact_revision_is_ended_but_keeps_its_id() {
    let mut model = model_with(&["a", "a", "a"]);
    compact(&mut model, 3);
    let mut stream = WatchStream::default();
    for start_revision in [2, 3] {
        stream.create(
            &model,
            &WatchCreateRequest {
                start_revision,
                ..watch("a", "")
            },
        );
    }
    let ended = stream.end_compacted(&model);
    assert_eq!(ended.len(), 1, "equal is fine");
    assert_eq!(
        (
            ended[0].watch_id,
            ended[0].compact_revision,
            ended[0].canceled
        ),
        (0, 3, true)
    );
    assert_eq!(
        (
            revision_of(&ended[0].header),
            ended[0].cancel_reason.as_str()
        ),
        (0, "")
    );
    assert!(stream.end_compacted(&model).is_empty(), "once");
    assert!(stream.cancel(&model, 0).is_some_and(|reply| reply.canceled));
    assert!(stream.cancel(&model, 0).is_none(), "gone");
}

#[test]
fn progress_speaks_for_the_whole_stream_or_not_at_all() {
    let model = model_with(&["a"]);
    let mut stream = WatchStream::default();
    assert_eq!(stream.progress(&model), None, "no watcher");
    stream.create(&model, &watch("a", ""));
    let reply = stream.progress(&model).expect("all delivered");
    assert_eq!(
        (
            reply.watch_id,
            revision_of(&reply.header),
            reply.events.len()
        ),
        (-1, 2, 0)
    );
    stream.create(
        &model,
        &WatchCreateRequest {
            start_revision: 9,
            ..watch("a", "")
        },
    );
    assert_eq!(stream.progress(&model), None, "one waits for the future");
}
