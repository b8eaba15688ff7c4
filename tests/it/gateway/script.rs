//! One script over every route, played against kvorum and a real etcd; answers are compared byte by byte but for ids,
//! sizes and hashes, and differ only where a list says why.

use std::collections::BTreeSet;

use super::{
    Asked,
    curl::{Answer, Curl},
};

/// How many paths the gateway of etcd 3.6 has.
const PATHS: usize = 51;

/// One request.
struct Step {
    path: &'static str,
    body: &'static str,
    /// Lines to read of a stream; all others are read to their end.
    lines: Option<usize>,
}

const fn step(path: &'static str, body: &'static str) -> Step {
    Step {
        path,
        body,
        lines: None,
    }
}

const fn stream(path: &'static str, body: &'static str, lines: usize) -> Step {
    Step {
        path,
        body,
        lines: Some(lines),
    }
}

#[rustfmt::skip]
const SCRIPT: &[Step] = &[
    step("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    step("/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#),
    step("/v3/kv/range", r#"{"key":"Zm9v"}"#),
    step("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","limit":"1","sort_order":"DESCEND","sortTarget":2,"keys_only":true}"#),
    step("/v3/kv/range", r#"{"key":"AA==","rangeEnd":"AA==","count_only":true,"serializable":true}"#),
    step("/v3/kv/range", r#"{"key":"Zm9v","revision":"99"}"#),
    step("/v3/kv/range", r#"{"key":"Zm9v","nobody":{"knows":["this"]}}"#),
    step("/v3/kv/range", "{}"),
    step("/v3/kv/range", ""),
    step("/v3beta/kv/range", r#"{"key":"Zm9v"}"#),
    step("/v3/kv/txn", r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6"}],"success":[{"request_put":{"key":"eA==","value":"eQ=="}},{"request_range":{"key":"Zm9v"}}],"failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#),
    step("/v3/kv/txn", r#"{"compare":[{"result":"GREATER","target":"VERSION","key":"Zm9v","version":"9"}],"success":[],"failure":[{"requestTxn":{"success":[{"requestDeleteRange":{"key":"eA==","prevKv":true}}]}}]}"#),
    step("/v3/kv/txn", r#"{"success":[{}]}"#),
    step("/v3/kv/compaction", r#"{"revision":10000}"#),
    step("/v3/kv/compaction", r#"{"revision":"2","physical":true}"#),
    step("/v3/kv/compaction", r#"{"revision":"2"}"#),
    stream("/v3/watch", r#"{"create_request":{"key":"Zm9v"}}"#, 1),
    stream("/v3/watch", r#"{"create_request":{"key":"Zm9v","start_revision":"3","prev_kv":true}}"#, 2),
    stream("/v3/watch", r#"{"create_request":{"key":"Zm9v","startRevision":1}}"#, 2),
    stream("/v3/watch", r#"{"create_request":{"key":"Zm9v","watch_id":"7"}}{"cancel_request":{"watch_id":7}}"#, 2),
    step("/v3/kv/deleterange", r#"{"key":"Zm9v","prev_kv":true}"#),
    step("/v3/kv/deleterange", r#"{"key":"AA==","range_end":"AA=="}"#),
    step("/v3/lease/grant", r#"{"ID":"7","TTL":1000}"#),
    step("/v3/lease/grant", r#"{"ID":7,"TTL":"1000"}"#),
    step("/v3/lease/keepalive", r#"{"ID":"7"}{"ID":7} {"ID":"8"}"#),
    step("/v3/lease/keepalive", ""),
    step("/v3/lease/timetolive", r#"{"ID":"8"}"#),
    step("/v3/kv/lease/timetolive", r#"{"ID":"8","keys":true}"#),
    step("/v3/lease/leases", "{}"),
    step("/v3/kv/lease/leases", "{}"),
    step("/v3/lease/revoke", r#"{"ID":"9"}"#),
    step("/v3/kv/lease/revoke", r#"{"ID":"7"}"#),
    step("/v3/cluster/member/list", "{}"),
    step("/v3/cluster/member/add", r#"{"peerURLs":["x"]}"#),
    step("/v3/cluster/member/remove", r#"{"ID":"1"}"#),
    step("/v3/cluster/member/update", r#"{"ID":"1","peerURLs":["http://localhost:1"]}"#),
    step("/v3/cluster/member/promote", r#"{"ID":"1"}"#),
    step("/v3/maintenance/alarm", r#"{"action":"GET"}"#),
    step("/v3/maintenance/alarm", r#"{"action":"ACTIVATE"}"#),
    step("/v3/maintenance/status", "{}"),
    step("/v3/maintenance/defragment", "{}"),
    step("/v3/maintenance/hash", "{}"),
    step("/v3/maintenance/hashkv", "{}"),
    step("/v3/maintenance/hashkv", r#"{"revision":"99"}"#),
    step("/v3/maintenance/transfer-leadership", r#"{"targetID":"123"}"#),
    step("/v3/maintenance/downgrade", r#"{"action":"ENABLE","version":"3.0"}"#),
    step("/v3/maintenance/snapshot", "{}"),
    step("/v3/lease/grant", r#"{"ID":"77","TTL":"1000"}"#),
    step("/v3/lock/lock", r#"{"name":"bG9jaw==","lease":"77"}"#),
    step("/v3/lock/unlock", r#"{"key":"bG9jay80ZA=="}"#),
    step("/v3/election/leader", r#"{"name":"dm90ZQ=="}"#),
    step("/v3/election/proclaim", "{}"),
    step("/v3/election/resign", "{}"),
    step("/v3/election/campaign", r#"{"name":"dm90ZQ==","lease":"77","value":"bWU="}"#),
    step("/v3/election/leader", r#"{"name":"dm90ZQ=="}"#),
    stream("/v3/election/observe", r#"{"name":"dm90ZQ=="}"#, 1),
    step("/v3/auth/status", "{}"),
    step("/v3/auth/enable", "{}"),
    step("/v3/auth/authenticate", r#"{"name":"a","password":"b"}"#),
    step("/v3/auth/user/add", r#"{"name":"root","password":"secret"}"#),
    step("/v3/auth/user/get", r#"{"name":"nobody"}"#),
    step("/v3/auth/user/list", "{}"),
    step("/v3/auth/user/changepw", r#"{"name":"nobody","password":"x"}"#),
    step("/v3/auth/user/grant", r#"{"user":"nobody","role":"root"}"#),
    step("/v3/auth/user/revoke", r#"{"name":"nobody","role":"root"}"#),
    step("/v3/auth/user/delete", r#"{"name":"nobody"}"#),
    step("/v3/auth/role/add", r#"{"name":"reader"}"#),
    step("/v3/auth/role/get", r#"{"role":"nobody"}"#),
    step("/v3/auth/role/list", "{}"),
    step("/v3/auth/role/grant", r#"{"name":"reader","perm":{"permType":"READ","key":"Zm9v"}}"#),
    step("/v3/auth/role/revoke", r#"{"role":"nobody","key":"Zm9v"}"#),
    step("/v3/auth/role/delete", r#"{"role":"nobody"}"#),
    step("/v3/auth/disable", "{}"),
];

/// Paths whose calls kvorum refuses as not available yet; once one of them is served, it is compared like all others.
const NOT_YET: &[&str] = &["/v3/auth/", "/v3/cluster/member/"];
const NOT_AVAILABLE: &str = "is not available in this version of kvorum";

/// Where an answer differs from that of etcd 3.6, and why.
const FROM_3_6: &[(&str, &str)] = &[];

/// Where an answer differs from that of etcd 3.4 beyond what `as_in_3_6` turns into the newer form, and why.
const FROM_3_4: &[(&str, &str)] = &[
    ("/v3/maintenance/status", "3.4 has fewer fields"),
    ("/v3/maintenance/hashkv", "3.4 has no such path"),
    ("/v3/maintenance/downgrade", "3.4 has no such path"),
    ("/v3/auth/status", "3.4 has no such path"),
    (
        "/v3/maintenance/alarm",
        "3.4 leaves out the header when it only lists",
    ),
    (
        "/v3/lease/keepalive",
        "3.4 names a content type for an answer without content",
    ),
    (
        "/v3/kv/compaction",
        "3.4 has another code for a revision that is compacted already",
    ),
];

/// What ends the process of etcd 3.4, so that nothing could be compared after it: it keeps an alarm without a type
/// under an empty key, which its store refuses.
const ENDS_3_4: (&str, &str) = ("/v3/maintenance/alarm", r#"{"action":"ACTIVATE"}"#);

/// Values that are nobody's contract.
const VOLATILE: &[&str] = &[
    "cluster_id",
    "member_id",
    "leader",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "version",
    "hash",
    "peerURLs",
    "clientURLs",
];

/// Without the blanks that Go puts in at random, and without what differs from run to run.
fn normal(text: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    let mut escaped = false;
    for letter in text.chars() {
        inside ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        if inside || letter != ' ' {
            // Which of the two blanks protojson uses is random as well.
            plain.push(if letter == '\u{a0}' { ' ' } else { letter });
        }
    }
    for name in VOLATILE {
        let key = format!("\"{name}\":");
        let pieces: Vec<&str> = plain.split(&key).collect();
        let mut joined = pieces.first().copied().unwrap_or_default().to_owned();
        for piece in pieces.iter().skip(1) {
            let ends: &[char] = if piece.starts_with('[') {
                &[']']
            } else {
                &[',', '}']
            };
            let value = piece.find(ends).unwrap_or(piece.len());
            joined += &format!("{key}_{}", &piece[value..]);
        }
        plain = joined;
    }
    // A member's own id; those that a test has chosen are short.
    let long_id = |piece: &str| {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 9 {
            format!("_{}", &piece[digits..])
        } else {
            piece.to_owned()
        }
    };
    let pieces: Vec<String> = plain.split("\"ID\":\"").map(long_id).collect();
    pieces.join("\"ID\":\"")
}

fn play(asked: &Asked, step: &Step) -> Answer {
    let mut answer = match step.lines {
        None => Curl::post(&asked.server, step.path, step.body),
        Some(lines) => {
            let mut stream = Curl::stream(&asked.server, step.path, step.body);
            let mut answer = stream.head();
            for _ in 0..lines {
                answer.body += &stream.line().unwrap_or_default();
                answer.body += "\n";
            }
            answer
        }
    };
    if step.path.ends_with("/snapshot") && answer.status == 200 {
        // The file itself is compared elsewhere.
        assert!(answer.body.contains(r#""result":{"#), "{}", step.path);
        answer.body.clear();
    }
    answer.body = normal(&answer.body);
    answer
}

/// What grpc-gateway 2 makes of an error that grpc-gateway 1, in etcd 3.4, tells in its own way.
fn as_in_3_6(mut answer: Answer) -> Answer {
    // Trailers that curl prints behind the body.
    if let Some((body, _)) = answer.body.split_once("Grpc-Trailer-") {
        answer.body = body.to_owned();
        answer
            .headers
            .retain(|line| !line.starts_with("trailer") && !line.starts_with("transfer"));
    }
    if let Some(rest) = answer.body.strip_prefix(r#"{"error":""#)
        && let Some((_, told)) = rest.split_once(r#"","message":"#)
        && let Some((message, code)) = told.rsplit_once(r#","code":"#)
    {
        answer.body = format!(
            r#"{{"code":{},"message":{message}}}"#,
            code.trim_end_matches('}')
        );
    }
    if answer.status == 412 {
        answer.status = 400;
    }
    answer
}

fn compare(step: &Step, ours: &Answer, theirs: &Answer, line: &str) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let listed = if line == "3.6" { FROM_3_6 } else { FROM_3_4 };
    if listed.iter().any(|(path, _)| *path == step.path) {
        return Ok(());
    }
    Err(format!(
        "{} {}\n  kvorum {ours:?}\n  etcd   {theirs:?}",
        step.path, step.body
    ))
}

#[test]
fn every_route_answers_as_a_real_etcd_does() {
    let ours = Asked::kvorum("gateway-script", &[]);
    let etcd = Asked::etcd("gateway-script", &[]);
    if etcd.is_none() {
        println!("SKIP gateway script beside etcd: no etcd to compare with");
    }
    let mut findings = Vec::new();
    let mut not_yet = BTreeSet::new();
    for step in SCRIPT {
        let our_answer = play(&ours, step);
        let bears = |etcd: &&Asked| etcd.line == "3.6" || (step.path, step.body) != ENDS_3_4;
        let theirs = etcd
            .as_ref()
            .filter(bears)
            .map(|etcd| (play(etcd, step), &etcd.line));
        assert!(
            !our_answer.body.contains(r#""message":"Not Found""#),
            "{} is no path of ours",
            step.path
        );
        if our_answer.body.contains(NOT_AVAILABLE) {
            let listed = NOT_YET.iter().any(|path| step.path.starts_with(path));
            assert!(listed, "{} is not served: {our_answer:?}", step.path);
            assert_eq!(our_answer.status, 501, "{}", step.path);
            not_yet.insert(step.path);
            continue;
        }
        let Some((theirs, line)) = theirs else {
            continue;
        };
        let theirs = if line == "3.6" {
            theirs
        } else {
            as_in_3_6(theirs)
        };
        findings.extend(compare(step, &our_answer, &theirs, line).err());
    }
    println!("not served yet: {not_yet:?}");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_script_knows_every_route() {
    let paths: BTreeSet<_> = SCRIPT
        .iter()
        .map(|step| step.path)
        .filter(|path| path.starts_with("/v3/"))
        .collect();
    assert_eq!(paths.len(), PATHS);
}
