//! Where an answer of kvorum may differ from the reference's: the whole list, each entry as narrow as it can be, each
//! with its reason. Whatever is not here, or in `stream_differences.rs`, fails the run.
//!
//! An entry *mends*: it looks at one exchange, and where it applies it makes both answers equal in the place that it
//! is about and nowhere else. What is then still different is unexplained.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::model::{Interval, Model, Selection};
use prost::Message;

use crate::{
    messages::{Answer, Outcome, Rpc},
    odd_differences as odd, old_differences as old,
    pair::Reference,
    wire::Head,
};

pub(crate) const OUT_OF_RANGE: i32 = 11;
pub(crate) const INTERNAL: i32 = 13;
pub(crate) const INVALID_ARGUMENT: i32 = 3;
pub(crate) const NOT_FOUND: i32 = 5;

pub(crate) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// One request with both answers, after the rules of `rules.rs`.
pub(crate) struct Exchange<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) kvorum: Outcome,
    pub(crate) etcd: Outcome,
    /// The state before the request.
    pub(crate) model: &'a Model,
}

/// What was asked.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Call(Rpc, &'a Bytes),
    KeepAlive(&'a Bytes),
    Watch(&'a Bytes),
    Odd(&'a Head),
}

/// What an entry came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    No,
    Yes,
    /// Yes, and the two stores are in different states now: the story ends.
    Parted,
}

/// One entry of the list.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    /// True for the references at which it may be seen.
    pub(crate) at: fn(Reference) -> bool,
    pub(crate) mend: fn(&mut Exchange<'_>) -> Mended,
}

fn every(_: Reference) -> bool {
    true
}

fn older(reference: Reference) -> bool {
    reference < Reference::V3_6
}

/// The entry for what is not asked at all.
pub(crate) const NOT_ASKED: &str = "empty range end spelled out";

/// The list.
pub(crate) const LIST: &[Difference] = &[
    Difference {
        name: "words about a broken message",
        reason: "each protobuf library has its own; the code and the words before them are gRPC's and equal",
        at: every,
        mend: broken_message,
    },
    Difference {
        name: "alarm that cannot be",
        reason: "etcd takes any number as alarm type or member and keeps it, and an unknown action ends its process; here \
                 such a request is refused",
        at: every,
        mend: impossible_alarm,
    },
    Difference {
        name: "unknown sort target",
        reason: "ends the process of an etcd before 3.6: it calls a sorter that it does not have",
        at: older,
        mend: old::sort_target,
    },
    Difference {
        name: "unknown sort option",
        reason: "taken as some order before 3.6, refused since",
        at: older,
        mend: old::sort_option,
    },
    Difference {
        name: "fields of Status",
        reason: "version and storage version are the line's own; quota and downgrade came with 3.6",
        at: older,
        mend: old::status_fields,
    },
    Difference {
        name: "hash revision",
        reason: "HashKV tells the revision that it hashed since 3.6",
        at: older,
        mend: old::hash_revision,
    },
    Difference {
        name: "storage version after a start",
        reason: "etcd 3.6 raises it from 3.5 to 3.6 some seconds after the store was made; here it is 3.6 at once",
        at: |reference| reference == Reference::V3_6,
        mend: storage_version,
    },
    Difference {
        name: "malformed timeout",
        reason: "grpc-go adds HTTP status 400 and its number parser's words; code and first words are equal",
        at: every,
        mend: odd::malformed_timeout,
    },
    Difference {
        name: "HTTP/2 without gRPC",
        reason: "an etcd without TLS gives every HTTP/2 request to its gRPC server; here the HTTP pages answer, as \
                 they do for HTTP/1",
        at: every,
        mend: odd::plain_http2,
    },
    Difference {
        name: "hash at a compaction",
        reason: "etcd keeps the hashes that its last ten compactions made, and answers from them at these revisions, \
                 as of before the compaction, until it is restarted; here the hash is made from what is stored",
        at: every,
        mend: hash_at_compaction,
    },
    Difference {
        name: "headers over 64 KiB",
        reason: "grpc-go takes 16 MiB of headers from anybody; here a connection may not hold so much memory",
        at: every,
        mend: odd::large_headers,
    },
    Difference {
        name: "gzip",
        reason: "etcd 3.6 links grpc-go's gzip and answers in kind, 3.4 refuses it; here it is unpacked and answers leave as they are",
        at: every,
        mend: odd::gzip,
    },
    Difference {
        name: "content type with parameters",
        reason: "grpc-go echoes them as a subtype; here the plain type is answered",
        at: every,
        mend: odd::content_type,
    },
    Difference {
        name: "header of Alarm",
        reason: "set since 3.5",
        at: older,
        mend: old::alarm_header,
    },
    Difference {
        name: "method other than POST",
        reason: "not looked at before 3.6, refused since",
        at: older,
        mend: odd::other_method,
    },
    Difference {
        name: "refused by a reset",
        reason: "before 3.6 a broken content type or timeout ends the stream with PROTOCOL_ERROR, since then with a status",
        at: older,
        mend: odd::refused_by_reset,
    },
    Difference {
        name: "puts of a nested txn on a full store",
        reason: "not seen as writes before 3.6, so they get through; refused since",
        at: older,
        mend: old::nested_puts,
    },
    Difference {
        name: "token without authentication",
        reason: "looked up all the same before 3.6, ignored since",
        at: older,
        mend: odd::token,
    },
    Difference {
        name: "hash of the compact revision",
        reason: "refused as compacted before 3.6, as it is readable answered since",
        at: older,
        mend: old::hash_of_compact_revision,
    },
    Difference {
        name: "fields of MemberListRequest",
        reason: "it had none before 3.5, so their bytes could not be wrong",
        at: older,
        mend: old::member_list_fields,
    },
    Difference {
        name: "piece of a prefix",
        reason: "an unexpected end before 3.6, the end since",
        at: older,
        mend: odd::piece_of_prefix,
    },
    Difference {
        name: "path without a method",
        reason: "RESOURCE_EXHAUSTED before 3.6, UNIMPLEMENTED since; the words are equal",
        at: older,
        mend: odd::malformed_path,
    },
    Difference {
        name: "client version that is not UTF-8",
        reason: "ends the process of an etcd before 3.6: its metrics take no such label",
        at: older,
        mend: odd::client_version,
    },
    Difference {
        name: "timeout with a sign",
        reason: "read as a number before 3.6, refused since",
        at: older,
        mend: odd::signed_timeout,
    },
    Difference {
        name: "alarm of no type",
        reason: "raised before 3.6, not since",
        at: older,
        mend: old::alarm_none,
    },
    Difference {
        name: NOT_ASKED,
        reason: "a range_end that is spelled out as empty means \"from the key on\" to etcd's decoder and nothing here, as the \
                 format has it; such bytes, which no library writes, are not sent",
        at: every,
        mend: |_| Mended::No,
    },
    Difference {
        name: "groups that do not match",
        reason: "etcd's decoder skips a group to any end mark, whatever is in it; here, as the format has it, only to its own",
        at: every,
        mend: loose_groups,
    },
    Difference {
        name: "order of checks in a txn",
        reason: "leases and keys of puts before revisions of ranges until 3.6, in the order of operations since",
        at: older,
        mend: old::txn_order,
    },
    Difference {
        name: "ignored value of a deleted key",
        reason: "etcd's process ends at a put with ignore_value or ignore_lease behind an open-ended delete of its key in \
                 one transaction; here nothing is kept",
        at: every,
        mend: deleted_before,
    },
    Difference {
        name: "overlong numbers",
        reason: "etcd's decoder cuts a field number or a value to its width; here bytes that no encoder writes are no message",
        at: every,
        mend: overlong,
    },
    Difference {
        name: "hash after a compaction",
        reason: "older lines keep and hash other records at the compact revision; the numbers of 3.6 are equal",
        at: older,
        mend: old::hash_after_compaction,
    },
    Difference {
        name: "hash where all was deleted and put again",
        reason: "etcd overlooks keys that the hashed revision itself deleted and put again; if there are no others it takes the \
                 store for empty, and hashes what the compaction is about to remove",
        at: every,
        mend: hash_of_renewed,
    },
    Difference {
        name: "both alarms at once",
        reason: "the one raised last decides before 3.6, CORRUPT since",
        at: older,
        mend: old::both_alarms,
    },
    Difference {
        name: "patch release",
        reason: "Status tells the version of the program",
        at: |reference| reference == Reference::V3_6,
        mend: patch_release,
    },
];

fn broken_message(exchange: &mut Exchange<'_>) -> Mended {
    const UNARY: &str = "grpc: error unmarshalling request: ";
    const STREAM: &str = "grpc: failed to unmarshal the received message";
    let common = |ours: &str, theirs: &str| {
        [UNARY, STREAM]
            .iter()
            .any(|words| ours.starts_with(words) && theirs.starts_with(words))
    };
    match (&mut exchange.kvorum, &exchange.etcd) {
        (
            Outcome::Refused {
                code: INTERNAL,
                text: ours,
            },
            Outcome::Refused {
                code: INTERNAL,
                text: theirs,
            },
        ) if common(ours, theirs) => {
            ours.clone_from(theirs);
            Mended::Yes
        }
        _ => Mended::No,
    }
}

fn impossible_alarm(exchange: &mut Exchange<'_>) -> Mended {
    const WORDS: &str =
        "kvorum: alarm types are NONE, NOSPACE and CORRUPT, actions GET, ACTIVATE and DEACTIVATE";
    let Asked::Call(Rpc::Alarm, request) = exchange.asked else {
        return Mended::No;
    };
    let Ok(request) = pb::AlarmRequest::decode(request.clone()) else {
        return Mended::No;
    };
    let numbers = !(0..=2).contains(&request.alarm) || !(0..=2).contains(&request.action);
    let refused = exchange.kvorum.is_refused(INVALID_ARGUMENT, WORDS) && numbers
        || exchange
            .kvorum
            .is_refused(NOT_FOUND, "etcdserver: member not found");
    // An action that it does not know ends etcd's process.
    let parts = match &exchange.etcd {
        Outcome::Answer(Answer::Alarm(taken)) => !taken.alarms.is_empty(),
        etcd => etcd.is_gone(),
    };
    if !refused || !(parts || exchange.etcd.answer().is_some()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    if parts { Mended::Parted } else { Mended::Yes }
}

fn patch_release(exchange: &mut Exchange<'_>) -> Mended {
    let (Outcome::Answer(Answer::Status(ours)), Outcome::Answer(Answer::Status(theirs))) =
        (&mut exchange.kvorum, &exchange.etcd)
    else {
        return Mended::No;
    };
    if ours.version == theirs.version || !ours.version.starts_with("3.6.") {
        return Mended::No;
    }
    ours.version.clone_from(&theirs.version);
    Mended::Yes
}

fn storage_version(exchange: &mut Exchange<'_>) -> Mended {
    match (&mut exchange.kvorum, &exchange.etcd) {
        (Outcome::Answer(Answer::Status(ours)), Outcome::Answer(Answer::Status(theirs)))
            if ours.storage_version == "3.6.0"
                && ["", "3.5.0"].contains(&&*theirs.storage_version) =>
        {
            ours.storage_version.clone_from(&theirs.storage_version);
            Mended::Yes
        }
        _ => Mended::No,
    }
}

fn hash_at_compaction(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Call(Rpc::HashKv, request) = exchange.asked else {
        return Mended::No;
    };
    let Ok(request) = pb::HashKvRequest::decode(request.clone()) else {
        return Mended::No;
    };
    let Some(Answer::HashKv(theirs)) = exchange.etcd.answer() else {
        return Mended::No;
    };
    // A compaction at 0, which an empty history allows, leaves such a hash for revision 0 too.
    let cached = request.revision >= 0
        && theirs.hash_revision == request.revision
        && theirs.compact_revision < request.revision;
    let ours_is_later = match &exchange.kvorum {
        Outcome::Answer(Answer::HashKv(ours)) => {
            let same = ours.hash_revision == request.revision;
            request.revision == 0 || same && ours.compact_revision == request.revision
        }
        ours => ours.is_refused(OUT_OF_RANGE, COMPACTED),
    };
    if !(cached && ours_is_later) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

fn deleted_before(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Call(Rpc::Txn, _) = exchange.asked else {
        return Mended::No;
    };
    let deletes = exchange
        .kvorum
        .answer()
        .is_some_and(|answer| format!("{answer:?}").contains("DeleteRange"));
    if !(deletes && exchange.etcd.is_gone()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

fn loose_groups(exchange: &mut Exchange<'_>) -> Mended {
    let ours = matches!(&exchange.kvorum, Outcome::Refused { code: INTERNAL, text }
        if ["unexpected end group tag", "invalid tag value: 0"].iter().any(|end| text.ends_with(end)));
    if !(ours && was_taken(&exchange.etcd)) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

fn overlong(exchange: &mut Exchange<'_>) -> Mended {
    let (Asked::Call(_, sent) | Asked::KeepAlive(sent) | Asked::Watch(sent)) = exchange.asked
    else {
        return Mended::No;
    };
    // The words for a number that is too long are those for one that is cut off.
    let ours = matches!(&exchange.kvorum, Outcome::Refused { code: INTERNAL, text }
        if text.contains("invalid key value")
            || text.ends_with("unexpected EOF") && holds_overlong(sent));
    if !(ours && was_taken(&exchange.etcd)) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

/// True if the tenth byte of a number holds more than the one bit that is left for it.
fn holds_overlong(sent: &[u8]) -> bool {
    sent.windows(10).any(|ten| {
        let (last, more) = (ten[9], &ten[..9]);
        more.iter().all(|byte| byte & 0x80 != 0) && (2..0x80).contains(&last)
    })
}

/// True if etcd took for a message what kvorum does not.
fn was_taken(etcd: &Outcome) -> bool {
    match etcd {
        Outcome::Answer(_) => true,
        Outcome::Refused { code, .. } => *code != INTERNAL,
        // Nothing has come yet, or an answer on a stream.
        Outcome::Odd(reply) => reply.broken.is_none() && reply.code.is_none(),
    }
}

fn hash_of_renewed(exchange: &mut Exchange<'_>) -> Mended {
    let (Outcome::Answer(Answer::HashKv(ours)), Outcome::Answer(Answer::HashKv(theirs))) =
        (&mut exchange.kvorum, &exchange.etcd)
    else {
        return Mended::No;
    };
    let all = Selection {
        interval: Interval::all(),
        no_put: true,
        no_delete: false,
        prev_kv: false,
    };
    let at = exchange.model.revision();
    let deleted = exchange.model.recorded(&all, at, at);
    let renewed = exchange.model.current().iter().all(|kv| {
        let of_key = |event: &kvorum_proto::mvccpb::Event| {
            event.kv.as_ref().is_some_and(|other| other.key == kv.key)
        };
        deleted.iter().any(|recorded| of_key(&recorded.event))
    });
    if !(renewed && ours.hash_revision == at && ours.compact_revision > 0) {
        return Mended::No;
    }
    ours.hash = theirs.hash;
    Mended::Yes
}
