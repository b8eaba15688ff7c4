//! What etcd's gateway makes of a text, case by case; the texts were told by etcd 3.6.14.

use kvorum_proto::{
    etcdserverpb::{self as pb, compare, request_op::Request},
    mvccpb,
    shape::{self, MessageShape},
};
use prost::Message;

use super::*;

fn shape_of(name: &str) -> &'static MessageShape {
    shape::find(&format!("etcdserverpb.{name}")).expect("known")
}

fn values(body: &[u8]) -> Result<Vec<Json>, Malformed> {
    let mut values = Values::default();
    values.push(body);
    let mut cut = Vec::new();
    while let Some(json) = values.next()? {
        cut.push(json);
    }
    while let Some(json) = values.finish()? {
        cut.push(json);
    }
    Ok(cut)
}

fn read<M: Message + Default>(name: &str, body: &str) -> Result<M, String> {
    let values = values(body.as_bytes()).map_err(|malformed| malformed.to_string())?;
    let json = values.first().expect("a value");
    let wire = to_wire(json, shape_of(name)).map_err(|malformed| malformed.to_string())?;
    Ok(M::decode(&wire[..]).expect("own encoding"))
}

fn range(body: &str) -> Result<pb::RangeRequest, String> {
    read("RangeRequest", body)
}

fn json(message: &impl Message, name: &str) -> String {
    let mut out = Vec::new();
    to_json(&message.encode_to_vec(), shape_of(name), &mut out).expect("own encoding");
    String::from_utf8(out).expect("text")
}

#[test]
fn names_are_taken_in_both_spellings_and_unknown_ones_dropped() {
    let expected = pb::RangeRequest {
        key: "foo".into(),
        range_end: "fop".into(),
        limit: 7,
        ..Default::default()
    };
    for body in [
        r#"{"key":"Zm9v","range_end":"Zm9w","limit":7}"#,
        r#" { "key" : "Zm9v" , "rangeEnd":"Zm9w", "limit":"7" } "#,
        r#"{"key":"Zm9v","rangeEnd":"Zm9w","limit":7.0,"nobody":{"knows":[1,{"x":null}]},"[a.b]":1}"#,
        "{\"key\":\"\\u005am9v\",\"range_end\":\"Zm9w\",\n\"limit\":70e-1,\"revision\":null}",
    ] {
        assert_eq!(range(body), Ok(expected.clone()), "{body}");
    }
}

#[test]
fn bytes_are_base64_of_either_alphabet_padded_or_not() {
    for (text, bytes) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zg", b"f"),
        ("+/8=", b"\xfb\xff"),
        ("-_8=", b"\xfb\xff"),
        ("-_8", b"\xfb\xff"),
        // Bits that stand for nothing are not looked at, and neither are the ends of lines.
        ("Zh==", b"f"),
        ("Zm9v\\nZm9v", b"foofoo"),
    ] {
        let read = range(&format!(r#"{{"key":"{text}"}}"#)).expect(text);
        assert_eq!(read.key, bytes, "{text}");
    }
    for text in ["***", "Z", "Zg=", "Z===", "+_8=", "Zg==Zg=="] {
        let refused = range(&format!(r#"{{"key":"{text}"}}"#)).expect_err(text);
        let expected = format!("proto: (line 1:8): invalid value for bytes field key: \"{text}\"");
        assert_eq!(refused, expected);
    }
}

#[test]
fn numbers_keep_all_their_64_bits() {
    for (text, number) in [
        ("9007199254740993", 9_007_199_254_740_993),
        ("\"9223372036854775807\"", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("\"1e3\"", 1000),
        ("\"12 34\"", 12),
        ("-0", 0),
    ] {
        let read = range(&format!(r#"{{"revision":{text}}}"#)).expect(text);
        assert_eq!(read.revision, number, "{text}");
    }
    for text in [
        "9223372036854775808",
        "1.5",
        "\" 1\"",
        "\"\"",
        "\"x\"",
        "true",
        "1e400",
    ] {
        let refused = range(&format!(r#"{{"revision":{text}}}"#)).expect_err(text);
        let expected =
            format!("proto: (line 1:13): invalid value for int64 field revision: {text}");
        assert_eq!(refused, expected);
    }
    let status: pb::HashKvResponse =
        read("HashKVResponse", r#"{"hash":4294967295}"#).expect("fits");
    assert_eq!(status.hash, u32::MAX);
    let refused = read::<pb::HashKvResponse>("HashKVResponse", r#"{"hash":-1}"#);
    assert_eq!(
        refused.expect_err("below zero"),
        "proto: (line 1:9): invalid value for uint32 field hash: -1"
    );
}

#[test]
fn enumerations_are_names_or_numbers_and_unknown_names_count_for_nothing() {
    for (text, number) in [("\"VALUE\"", 3), ("3", 3), ("\"FALSE\"", 0), ("77", 77)] {
        let compare: pb::Compare = read("Compare", &format!(r#"{{"target":{text}}}"#)).expect(text);
        assert_eq!(compare.target, number, "{text}");
    }
    let refused = read::<pb::Compare>("Compare", r#"{"target":[]}"#).expect_err("a list");
    assert_eq!(
        refused,
        "proto: (line 1:11): invalid value for enum field target: ["
    );
}

#[test]
fn a_union_takes_one_member_and_null_is_none() {
    let op: pb::RequestOp = read(
        "RequestOp",
        r#"{"request_range":null,"requestPut":{"key":"YQ==","value":"Yg=="}}"#,
    )
    .expect("one member");
    let Some(Request::RequestPut(put)) = op.request else {
        panic!("not a put: {op:?}")
    };
    assert_eq!((&put.key[..], &put.value[..]), (&b"a"[..], &b"b"[..]));
    let refused = read::<pb::RequestOp>("RequestOp", r#"{"request_range":{},"request_put":{}}"#);
    assert_eq!(
        refused.expect_err("two members"),
        "proto: (line 1:21): error parsing \"request_put\", oneof \
         etcdserverpb.RequestOp.request is already set"
    );
    let compare: pb::Compare = read("Compare", r#"{"version":"0"}"#).expect("a zero is a choice");
    assert_eq!(compare.target_union, Some(compare::TargetUnion::Version(0)));
}

#[test]
fn what_does_not_fit_is_named_with_line_and_column() {
    for (body, text) in [
        (
            r#"{"key":1}"#,
            "proto: (line 1:8): invalid value for bytes field key: 1",
        ),
        (
            "{\"key\":\"\",\n \"key\":\"\"}",
            "proto: (line 2:2): duplicate field \"key\"",
        ),
        (
            r#"{"range_end":"","rangeEnd":null}"#,
            "proto: (line 1:17): duplicate field \"rangeEnd\"",
        ),
        ("[]", "proto: syntax error (line 1:1): unexpected token ["),
        (
            "null",
            "proto: syntax error (line 1:1): unexpected token null",
        ),
        ("12", "proto: syntax error (line 1:1): unexpected token 12"),
        (
            "\"x\"",
            "proto: syntax error (line 1:1): unexpected token \"x\"",
        ),
        (
            r#"{"\u00e9\u00e9":"\ud800x\u0041"}"#,
            "proto: syntax error (line 1:17): invalid escape code \"x\\\\u004\" in string",
        ),
        (r#"{"x":"\ud800"}"#, "proto: unexpected EOF"),
        (
            r#"{"serializable":"true"}"#,
            "proto: (line 1:17): invalid value for bool field serializable: \"true\"",
        ),
    ] {
        assert_eq!(range(body).expect_err(body), text, "{body}");
    }
    let lists = [
        (
            r#"{"compare":{}}"#,
            "proto: syntax error (line 1:12): unexpected token {",
        ),
        (
            r#"{"compare":[null]}"#,
            "proto: syntax error (line 1:13): unexpected token null",
        ),
    ];
    for (body, text) in lists {
        let refused = read::<pb::TxnRequest>("TxnRequest", body).expect_err(body);
        assert_eq!(refused, text);
    }
    let mut values = Values::default();
    values.push(b"{\"\xc3\xa9\":\"\xff\"}");
    let json = values.next().expect("JSON for Go").expect("complete");
    let refused = to_wire(&json, shape_of("RangeRequest")).expect_err("not UTF-8");
    assert_eq!(
        refused.to_string(),
        "proto: syntax error (line 1:6): invalid UTF-8 in string"
    );
}

#[test]
fn what_is_not_json_is_refused_in_gos_words() {
    for (body, text) in [
        ("{", "unexpected EOF"),
        ("{\"key\":\"", "unexpected EOF"),
        ("tru", "unexpected EOF"),
        ("x", "invalid character 'x' looking for beginning of value"),
        (
            "{x",
            "invalid character 'x' looking for beginning of object key string",
        ),
        ("{\"a\" 1", "invalid character '1' after object key"),
        (
            "{\"a\":1 2",
            "invalid character '2' after object key:value pair",
        ),
        ("[1 2", "invalid character '2' after array element"),
        (
            "[1,]",
            "invalid character ']' looking for beginning of value",
        ),
        (
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        ("\"\n\"", "invalid character '\\n' in string literal"),
        ("\"\\x", "invalid character 'x' in string escape code"),
        (
            "\"\\u00g",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        ("-x", "invalid character 'x' in numeric literal"),
        ("[01]", "invalid character '1' after array element"),
        (
            "[1.]",
            "invalid character ']' after decimal point in numeric literal",
        ),
        (
            "[1e]",
            "invalid character ']' in exponent of numeric literal",
        ),
        (
            "nul1",
            "invalid character '1' in literal null (expecting 'l')",
        ),
        (
            "'",
            "invalid character '\\'' looking for beginning of value",
        ),
        (
            "\u{fc}",
            "invalid character '\u{c3}' looking for beginning of value",
        ),
    ] {
        let refused = values(body.as_bytes()).expect_err(body);
        assert_eq!(refused.to_string(), text, "{body}");
    }
}

#[test]
fn values_survive_any_cut() {
    let body = b" {\"a\":[1,-2.5e3,true,null,\"\\\"}\"]}{} \n[]12 \"x\"";
    let whole = values(body).expect("valid");
    assert_eq!(whole.len(), 5);
    for size in 1..body.len() {
        let mut values = Values::default();
        let mut cut = Vec::new();
        for piece in body.chunks(size) {
            values.push(piece);
            while let Some(json) = values.next().expect("valid") {
                cut.push(json);
            }
        }
        cut.extend(values.finish().expect("valid"));
        assert_eq!(cut, whole, "pieces of {size}");
        assert_eq!(values.waiting(), 0);
    }
    assert_eq!(values(b" \n").expect("nothing"), []);
}

#[test]
fn an_error_stays() {
    let mut values = Values::default();
    values.push(b"{}x{}");
    assert!(values.next().expect("valid").is_some());
    assert!(values.next().is_err());
    assert!(values.next().is_err());
}

#[test]
fn depth_is_limited_twice() {
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    let deepest = values(&nested(10_000)).expect("as deep as Go reads");
    assert_eq!(deepest.len(), 1);
    let refused = values(&nested(10_001)).expect_err("too deep");
    assert_eq!(
        refused.to_string(),
        "invalid character '[' exceeded max depth"
    );
    let ignored = format!("{{\"x\":{}}}", String::from_utf8_lossy(&nested(9_999)));
    range(&ignored).expect("what is not kept may be deep");

    let transactions = |levels: usize| {
        let open = r#"{"success":[{"request_txn":"#.repeat(levels);
        format!("{open}{{}}{}", "}]}".repeat(levels))
    };
    let shape = shape_of("TxnRequest");
    let wire = |levels| {
        let values = values(transactions(levels).as_bytes()).expect("valid");
        to_wire(values.first().expect("one"), shape)
    };
    let deepest = wire(49).expect("as deep as a gRPC client may send");
    pb::TxnRequest::decode(&deepest[..]).expect("readable");
    let refused = wire(50).expect_err("too deep");
    assert_eq!(refused.to_string(), "proto: exceeded max recursion depth");
}

#[test]
fn messages_are_written_in_declaration_order_without_zeros() {
    let response = pb::WatchResponse {
        header: Some(pb::ResponseHeader {
            cluster_id: u64::MAX,
            member_id: 1,
            revision: -5,
            raft_term: 2,
        }),
        created: true,
        cancel_reason: "a \"b\"\n\u{1}<\u{e9}>".into(),
        events: vec![
            mvccpb::Event::default(),
            mvccpb::Event {
                r#type: mvccpb::event::EventType::Delete.into(),
                kv: Some(mvccpb::KeyValue {
                    key: "foo".into(),
                    lease: 9,
                    ..Default::default()
                }),
                prev_kv: None,
            },
        ],
        ..Default::default()
    };
    assert_eq!(
        json(&response, "WatchResponse"),
        "{\"header\":{\"cluster_id\":\"18446744073709551615\",\"member_id\":\"1\",\"revision\":\"-5\",\
         \"raft_term\":\"2\"},\"created\":true,\"cancel_reason\":\"a \\\"b\\\"\\n\\u0001<\u{e9}>\",\
         \"events\":[{},{\"type\":\"DELETE\",\"kv\":{\"key\":\"Zm9v\",\"lease\":\"9\"}}]}"
    );
    assert_eq!(
        json(&pb::DefragmentResponse::default(), "DefragmentResponse"),
        "{}"
    );
    let hash = pb::HashKvResponse {
        hash: u32::MAX,
        compact_revision: -1,
        ..Default::default()
    };
    assert_eq!(
        json(&hash, "HashKVResponse"),
        r#"{"hash":4294967295,"compact_revision":"-1"}"#
    );
}

#[test]
fn a_chosen_zero_and_an_unknown_number_are_written() {
    let compare = pb::Compare {
        result: 9,
        target_union: Some(compare::TargetUnion::Lease(0)),
        ..Default::default()
    };
    assert_eq!(json(&compare, "Compare"), r#"{"result":9,"lease":"0"}"#);
}

#[test]
fn lists_of_numbers_are_read_in_one_piece_and_one_by_one() {
    let create = pb::WatchCreateRequest {
        filters: vec![0, 1],
        ..Default::default()
    };
    let text = json(&create, "WatchCreateRequest");
    assert_eq!(text, r#"{"filters":["NOPUT","NODELETE"]}"#);
    let read: pb::WatchCreateRequest =
        read("WatchCreateRequest", r#"{"filters":["NOPUT",1,"NOBODY"]}"#).expect("valid");
    assert_eq!(read, create);
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let shape = shape_of("RangeResponse");
    for wire in [
        &b"\x0a"[..],
        b"\x0a\x05ab",
        b"\x08\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0b",
        b"\xf9\x3f\x00",
        b"\x12\x03\x0a\xff\xff",
    ] {
        assert!(to_json(wire, shape, &mut Vec::new()).is_err(), "{wire:?}");
    }
    let utf8 = shape_of("StatusResponse");
    let refused = to_json(b"\x12\x01\xff", utf8, &mut Vec::new());
    assert!(refused.is_err());
    let mut out = Vec::new();
    to_json(
        b"\xf8\x3f\x07\xf9\x3f12345678\xfd\x3f1234\xfa\x3f\x01x",
        shape,
        &mut out,
    )
    .expect("unknown fields are skipped");
    assert_eq!(out, b"{}");
}

#[test]
fn a_round_trip_ends_where_it_started() {
    let body = br#"{"key":"Zm9v","limit":"3"}{"sortOrder":2}"#;
    let written = round_trip(b"/v3/kv/range", body).expect("valid");
    assert_eq!(
        written,
        [
            &br#"{"key":"Zm9v","limit":"3"}"#[..],
            br#"{"sort_order":"DESCEND"}"#
        ]
    );
    assert!(round_trip(b"/v3/nowhere", b"{}").is_err());
    assert!(round_trip(b"/v3/kv/put", b"{\"key\":").is_err());
}

/// A body made of pieces that mean something, in random order.
fn noise(seed: u64) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "true",
        "12",
        "-",
        "e",
        ".",
        "\"key\"",
        "\"Zm9v\"",
        "\"success\"",
        "\"compare\"",
        "\"request_put\"",
        "\"requestTxn\"",
        " ",
        "\\ud800",
        "\u{e9}",
        "\"lease\"",
        "\n",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = Vec::new();
    for _ in 0..40 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let pick = usize::try_from(state >> 40).expect("24 bits");
        body.extend_from_slice(PIECES[pick % PIECES.len()].as_bytes());
    }
    body
}

#[test]
fn no_body_panics() {
    for seed in 0..20_000 {
        let body = noise(seed);
        if let Ok(written) = round_trip(b"/v3/kv/txn", &body) {
            for text in written {
                let again = round_trip(b"/v3/kv/txn", &text).expect("own text");
                assert_eq!(again, [text]);
            }
        }
        // Any bytes may also be taken for a message.
        let _ = to_json(&body, shape_of("TxnResponse"), &mut Vec::new());
    }
}
