//! The part of the list that concerns etcd before 3.6 alone: what that line has mended since.

use kvorum_proto::etcdserverpb as pb;
use pb::request_op::Request;
use prost::Message;

use crate::{
    differences::{
        Asked, COMPACTED, Exchange, INTERNAL, INVALID_ARGUMENT, Mended, NOT_FOUND, OUT_OF_RANGE,
    },
    messages::{Answer, Outcome, Rpc},
};

const RESOURCE_EXHAUSTED: i32 = 8;
const DATA_LOSS: i32 = 15;
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

pub(crate) fn sort_option(exchange: &mut Exchange<'_>) -> Mended {
    let refused = exchange
        .kvorum
        .is_refused(INVALID_ARGUMENT, "etcdserver: invalid sort option");
    let taken = exchange.etcd.answer().is_some();
    match exchange.asked {
        Asked::Call(Rpc::Range, _) if refused && taken => {
            exchange.kvorum = exchange.etcd.clone();
            Mended::Yes
        }
        // Refused for something else, later in the same request.
        Asked::Call(Rpc::Range | Rpc::Txn, _)
            if refused && !matches!(exchange.etcd, Outcome::Odd(_)) =>
        {
            exchange.kvorum = exchange.etcd.clone();
            if taken { Mended::Parted } else { Mended::Yes }
        }
        _ => Mended::No,
    }
}

pub(crate) fn sort_target(exchange: &mut Exchange<'_>) -> Mended {
    let refused = exchange
        .kvorum
        .is_refused(INVALID_ARGUMENT, "etcdserver: invalid sort option");
    let gone = matches!(&exchange.etcd, Outcome::Odd(reply) if reply.http_status == 0);
    if !(refused && gone) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

pub(crate) fn status_fields(exchange: &mut Exchange<'_>) -> Mended {
    let (Outcome::Answer(Answer::Status(ours)), Outcome::Answer(Answer::Status(theirs))) =
        (&mut exchange.kvorum, &exchange.etcd)
    else {
        return Mended::No;
    };
    ours.version.clone_from(&theirs.version);
    ours.storage_version.clone_from(&theirs.storage_version);
    ours.db_size_quota = theirs.db_size_quota;
    ours.downgrade_info.clone_from(&theirs.downgrade_info);
    Mended::Yes
}

pub(crate) fn hash_revision(exchange: &mut Exchange<'_>) -> Mended {
    match (&mut exchange.kvorum, &exchange.etcd) {
        (Outcome::Answer(Answer::HashKv(ours)), Outcome::Answer(Answer::HashKv(theirs)))
            if theirs.hash_revision == 0 && ours.hash_revision != 0 =>
        {
            ours.hash_revision = 0;
            Mended::Yes
        }
        _ => Mended::No,
    }
}

pub(crate) fn alarm_header(exchange: &mut Exchange<'_>) -> Mended {
    match (&mut exchange.kvorum, &exchange.etcd) {
        (Outcome::Answer(Answer::Alarm(ours)), Outcome::Answer(Answer::Alarm(theirs)))
            if theirs.header.is_none() =>
        {
            ours.header = None;
            Mended::Yes
        }
        _ => Mended::No,
    }
}

pub(crate) fn nested_puts(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Call(Rpc::Txn, request) = exchange.asked else {
        return Mended::No;
    };
    let Ok(request) = pb::TxnRequest::decode(request.clone()) else {
        return Mended::No;
    };
    let mut ops = request.success.iter().chain(&request.failure);
    let flat = ops.any(|op| matches!(op.request, Some(Request::RequestPut(_))));
    let refused = exchange.kvorum.is_refused(RESOURCE_EXHAUSTED, NO_SPACE);
    if flat || !refused || matches!(exchange.etcd, Outcome::Odd(_)) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

pub(crate) fn hash_of_compact_revision(exchange: &mut Exchange<'_>) -> Mended {
    let Some(Answer::HashKv(ours)) = exchange.kvorum.answer() else {
        return Mended::No;
    };
    let readable = ours.hash_revision == ours.compact_revision;
    if !(readable && exchange.etcd.is_refused(OUT_OF_RANGE, COMPACTED)) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn member_list_fields(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Call(Rpc::MemberList, request) = exchange.asked else {
        return Mended::No;
    };
    let broken = matches!(exchange.kvorum, Outcome::Refused { code: INTERNAL, .. });
    let ours = pb::MemberListRequest::decode(request.clone()).is_err();
    if !(broken && ours && exchange.etcd.answer().is_some()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn alarm_none(exchange: &mut Exchange<'_>) -> Mended {
    let (Some(Answer::Alarm(ours)), Some(Answer::Alarm(theirs))) =
        (exchange.kvorum.answer(), exchange.etcd.answer())
    else {
        return Mended::No;
    };
    let none = i32::from(pb::AlarmType::None);
    if !(ours.alarms.is_empty() && theirs.alarms.iter().any(|alarm| alarm.alarm == none)) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

pub(crate) fn txn_order(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Call(Rpc::Txn, _) = exchange.asked else {
        return Mended::No;
    };
    let ours = matches!(
        exchange.kvorum,
        Outcome::Refused {
            code: OUT_OF_RANGE,
            ..
        }
    );
    let theirs = exchange
        .etcd
        .is_refused(NOT_FOUND, "etcdserver: requested lease not found")
        || exchange
            .etcd
            .is_refused(INVALID_ARGUMENT, "etcdserver: key not found");
    if !(ours && theirs) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn hash_after_compaction(exchange: &mut Exchange<'_>) -> Mended {
    match (&mut exchange.kvorum, &exchange.etcd) {
        (Outcome::Answer(Answer::HashKv(ours)), Outcome::Answer(Answer::HashKv(theirs)))
            if ours.compact_revision > 0
                && ours.compact_revision == theirs.compact_revision
                && ours.hash != theirs.hash =>
        {
            ours.hash = theirs.hash;
            Mended::Yes
        }
        _ => Mended::No,
    }
}

pub(crate) fn both_alarms(exchange: &mut Exchange<'_>) -> Mended {
    let raised = |wanted: i32| exchange.model.alarms().any(|(alarm, _)| alarm == wanted);
    let both = raised(pb::AlarmType::Nospace.into()) && raised(pb::AlarmType::Corrupt.into());
    let ours = exchange
        .kvorum
        .is_refused(DATA_LOSS, "etcdserver: corrupt cluster");
    if !both || !ours || matches!(exchange.etcd, Outcome::Odd(_)) {
        return Mended::No;
    }
    let taken = exchange.etcd.answer().is_some();
    exchange.kvorum = exchange.etcd.clone();
    if taken { Mended::Parted } else { Mended::Yes }
}
