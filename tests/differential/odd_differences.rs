//! The part of the list that concerns odd headers, paths and frames.

use bytes::Bytes;

use crate::{
    differences::{Asked, Exchange, Mended},
    messages::Outcome,
    wire::Head,
};

const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAUTHENTICATED: i32 = 16;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

fn header<'a>(head: &'a Head, wanted: &str) -> Option<&'a Bytes> {
    let found = head.headers.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value)
}

/// True for the type itself, with a subtype or parameters or without.
fn is_grpc(head: &Head) -> bool {
    let kind = header(head, "content-type");
    let rest = kind.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}

pub(crate) fn malformed_timeout(exchange: &mut Exchange<'_>) -> Mended {
    const WORDS: &str = "malformed grpc-timeout: ";
    match (&exchange.kvorum, &exchange.etcd) {
        (
            Outcome::Refused {
                code: INTERNAL,
                text: ours,
            },
            Outcome::Odd(theirs),
        ) if theirs.code == Some(INTERNAL)
            && theirs.http_status == 400
            && ours.starts_with(WORDS)
            && theirs.text.starts_with(WORDS) =>
        {
            exchange.kvorum = exchange.etcd.clone();
            Mended::Yes
        }
        _ => Mended::No,
    }
}

pub(crate) fn plain_http2(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let refused = matches!(&exchange.etcd, Outcome::Odd(reply) if reply.http_status == 415);
    let page = matches!(&exchange.kvorum, Outcome::Odd(reply) if reply.http_status == 404);
    if is_grpc(head) || !refused || !page {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn large_headers(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let large = head
        .headers
        .iter()
        .any(|(_, value)| value.len() >= 64 * 1024);
    let refused = matches!(&exchange.kvorum, Outcome::Odd(reply) if reply.http_status == 431);
    if !(large && refused) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn gzip(exchange: &mut Exchange<'_>) -> Mended {
    const WORDS: &str = "grpc: Decompressor is not installed for grpc-encoding \"gzip\"";
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let refused = exchange.etcd.is_refused(UNIMPLEMENTED, WORDS);
    let asked = header(head, "grpc-encoding").is_some_and(|value| value == "gzip");
    let compressed = matches!(&exchange.etcd, Outcome::Odd(reply) if reply.code == Some(0));
    if !(asked && (compressed || refused) && exchange.kvorum.answer().is_some()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn content_type(exchange: &mut Exchange<'_>) -> Mended {
    let (Asked::Odd(head), Outcome::Odd(theirs)) = (exchange.asked, &exchange.etcd) else {
        return Mended::No;
    };
    let echoed = theirs.content_type.starts_with("application/grpc+") && theirs.code == Some(0);
    if !(is_grpc(head) && echoed && exchange.kvorum.answer().is_some()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn other_method(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let refused = matches!(&exchange.kvorum, Outcome::Odd(reply) if reply.http_status == 405);
    if !(head.method != "POST" && refused && exchange.etcd.answer().is_some()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn refused_by_reset(exchange: &mut Exchange<'_>) -> Mended {
    const RESET: &str = "stream error received: unspecific protocol error detected";
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let reset =
        matches!(&exchange.etcd, Outcome::Odd(reply) if reply.broken.as_deref() == Some(RESET));
    let ours = match &exchange.kvorum {
        Outcome::Refused {
            code: INTERNAL,
            text,
        } => header(head, "grpc-timeout").is_some() && text.starts_with("malformed grpc-timeout: "),
        Outcome::Odd(reply) => match reply.http_status {
            400 => header(head, "grpc-timeout").is_some(),
            404 | 415 => !is_grpc(head),
            _ => false,
        },
        Outcome::Refused { .. } | Outcome::Answer(_) => false,
    };
    if !(reset && ours) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn token(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let given = header(head, "token").or_else(|| header(head, "authorization"));
    let refused = exchange
        .etcd
        .is_refused(UNAUTHENTICATED, "etcdserver: invalid auth token");
    if given.is_none() || !refused {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn piece_of_prefix(exchange: &mut Exchange<'_>) -> Mended {
    let ours = exchange.kvorum.is_refused(UNKNOWN, "EOF");
    if !(ours && exchange.etcd.is_refused(UNKNOWN, "unexpected EOF")) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}

pub(crate) fn malformed_path(exchange: &mut Exchange<'_>) -> Mended {
    match (&mut exchange.kvorum, &exchange.etcd) {
        (Outcome::Odd(ours), Outcome::Odd(theirs))
            if ours.code == Some(UNIMPLEMENTED)
                && theirs.code == Some(RESOURCE_EXHAUSTED)
                && ours.text.starts_with("malformed method name: ") =>
        {
            ours.code = theirs.code;
            Mended::Yes
        }
        _ => Mended::No,
    }
}

pub(crate) fn client_version(exchange: &mut Exchange<'_>) -> Mended {
    let words = "etcdserver: invalid client api version";
    if !(exchange.kvorum.is_refused(INVALID_ARGUMENT, words) && exchange.etcd.is_gone()) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Parted
}

pub(crate) fn signed_timeout(exchange: &mut Exchange<'_>) -> Mended {
    let Asked::Odd(head) = exchange.asked else {
        return Mended::No;
    };
    let signed = header(head, "grpc-timeout")
        .is_some_and(|value| value.starts_with(b"+") || value.starts_with(b"-"));
    let refused = matches!(&exchange.kvorum, Outcome::Odd(reply)
        if reply.http_status == 400 && reply.code == Some(INTERNAL));
    if !(signed && refused) {
        return Mended::No;
    }
    exchange.kvorum = exchange.etcd.clone();
    Mended::Yes
}
