//! A history as two clients would see it, right and then wrong in each way.

use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::Event;

use super::{Call, Reply, Request, Violation, check, check_with_leases, written};
use crate::harness::model::Model;

/// Calls made one after the other on a model, and its log.
#[derive(Default)]
struct Recorder {
    model: Model,
    calls: Vec<Call>,
    log: Vec<(i64, Vec<Event>)>,
}

impl Recorder {
    fn call(&mut self, request: Request) -> &mut Call {
        let before = self.model.revision();
        let reply = request.run(&mut self.model).ok();
        let after = self.model.revision();
        if after > before {
            self.log.push((after, written(&self.model, after)));
        }
        let called = self.calls.len() as u64 * 10;
        self.calls.push(Call {
            called,
            returned: called + 5,
            request,
            reply,
        });
        self.calls.last_mut().expect("just pushed")
    }

    fn verdict(&self) -> Result<(), Violation> {
        check(&self.calls, &self.log)
    }
}

fn put(key: &str, value: &str) -> Request {
    Request::Put(pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    })
}

fn get(key: &str) -> Request {
    Request::Range(pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

fn delete(key: &str) -> Request {
    Request::DeleteRange(pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    })
}

/// Puts of a and b, a read, a delete of a, a read of nothing.
fn right() -> Recorder {
    let mut recorder = Recorder::default();
    for request in [
        put("a", "1"),
        put("b", "2"),
        get("a"),
        delete("a"),
        get("a"),
        delete("a"),
    ] {
        recorder.call(request);
    }
    recorder
}

#[test]
fn what_etcd_does_passes() {
    assert_eq!(right().verdict(), Ok(()));
}

#[test]
fn a_write_without_an_answer_may_or_may_not_have_happened() {
    let mut done = right();
    done.call(put("c", "3")).reply = None;
    assert_eq!(done.verdict(), Ok(()));
    let mut undone = right();
    undone.call(put("c", "3")).reply = None;
    undone.log.pop();
    assert_eq!(undone.verdict(), Ok(()));
}

#[test]
fn an_acknowledged_write_that_is_gone_is_found() {
    let mut recorder = right();
    recorder.log.pop();
    assert!(matches!(
        recorder.verdict(),
        Err(Violation::WriteLost { revision: 4, .. })
    ));
}

#[test]
fn a_write_that_nobody_made_is_found() {
    let mut recorder = right();
    recorder.call(put("c", "3"));
    recorder.calls.pop();
    assert_eq!(recorder.verdict(), Err(Violation::Ghost(5)));
}

#[test]
fn a_write_done_twice_is_found() {
    let mut recorder = right();
    recorder.call(put("c", "3"));
    recorder.call(put("c", "3"));
    recorder.calls.pop();
    assert_eq!(recorder.verdict(), Err(Violation::Ghost(6)));
}

#[test]
fn a_revision_given_out_twice_is_found() {
    let mut recorder = right();
    let again = recorder.calls[1].clone();
    recorder.calls.push(Call {
        called: 0,
        returned: 100,
        ..again
    });
    assert_eq!(recorder.verdict(), Err(Violation::RevisionTwice(3)));
}

#[test]
fn a_wrong_value_is_found() {
    let mut recorder = right();
    let Some(Reply::Range(reply)) = &mut recorder.calls[2].reply else {
        panic!("a read")
    };
    reply.kvs[0].value = "9".into();
    assert!(matches!(
        recorder.verdict(),
        Err(Violation::WrongReply { revision: 3, .. })
    ));
}

#[test]
fn a_stale_read_is_found_unless_it_may_be_stale() {
    let mut recorder = right();
    let stale = recorder.calls[2].reply.clone();
    recorder.calls[4].reply = stale;
    assert!(matches!(
        recorder.verdict(),
        Err(Violation::Stale {
            revision: 3,
            seen: 4,
            ..
        })
    ));
    if let Request::Range(range) = &mut recorder.calls[4].request {
        range.serializable = true;
    }
    assert_eq!(recorder.verdict(), Ok(()));
}

#[test]
fn the_end_of_a_lease_takes_all_its_keys_and_no_others() {
    let leased = |key: &str| {
        let Request::Put(mut put) = put(key, key) else {
            unreachable!("made as a put")
        };
        put.lease = 7;
        Request::Put(put)
    };
    let mut recorder = Recorder::default();
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 1 };
    recorder.model.lease_grant(&grant).expect("a new lease");
    for request in [leased("a"), leased("b"), put("c", "1")] {
        recorder.call(request);
    }
    let revoke = pb::LeaseRevokeRequest { id: 7 };
    recorder.model.lease_revoke(&revoke).expect("it is there");
    let end = recorder.model.revision();
    recorder.log.push((end, written(&recorder.model, end)));
    recorder.call(get("c"));
    let verdict = |recorder: &Recorder| {
        check_with_leases(&recorder.calls, &recorder.log, &[7]).map(|model| model.revision())
    };
    assert_eq!(verdict(&recorder), Ok(end));
    let without = check(&recorder.calls, &recorder.log);
    assert!(
        matches!(without, Err(Violation::WriteLost { revision: 2, .. })),
        "{without:?}"
    );
    recorder.log[3].1.pop();
    assert_eq!(verdict(&recorder), Err(Violation::Ghost(end)));
}
