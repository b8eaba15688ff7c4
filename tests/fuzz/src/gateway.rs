//! Bodies of the JSON gateway: read as the message of their path, written again, and read once more.

use kvorum_v3rpc::gateway::transcode::round_trip;

use crate::input::{Input, put_piece};

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let path = input.piece();
    let body = input.rest();
    let Ok(written) = round_trip(path, body) else {
        return;
    };
    // What we write is what we read: the same message, in the same words.
    let together = written.concat();
    let again = round_trip(path, &together).unwrap_or_else(|error| {
        panic!(
            "{:?} is refused: {error}",
            String::from_utf8_lossy(&together)
        )
    });
    assert_eq!(
        again.concat(),
        together,
        "written again, it is another text"
    );
}

/// Bodies by path: with every kind of field, and with what must be refused.
const BODIES: &[(&str, &[&str])] = &[
    (
        "/v3/kv/range",
        &[
            r#"{"key":"Zm9v","range_end":"AA==","limit":"10","revision":-1,"sort_order":"DESCEND","sort_target":3}"#,
            r#"{"key":"_-8","serializable":true,"keysOnly":false,"count_only":null,"min_mod_revision":"9223372036854775807"}"#,
            r#"{"key":1e2,"limit":1.5e3,"sort_order":77}"#,
        ],
    ),
    (
        "/v3/kv/put",
        &[
            r#"{"key":"Zm9v","value":"YmFy","lease":"7","prev_kv":true}"#,
            r#"{ "key" : "\u005am9v", "value":"", "unknown":[1,{"a":[]}]}"#,
            "{} {\"key\":\"YQ==\"}\n[]",
        ],
    ),
    (
        "/v3/kv/txn",
        &[
            r#"{"compare":[{"result":"EQUAL","target":"VERSION","key":"YQ==","version":"1"}],"success":[{"requestPut":{"key":"YQ=="}}],"failure":[{"request_range":{"key":"YQ=="}}]}"#,
            r#"{"success":[{"request_txn":{"success":[{"request_txn":{"failure":[{"request_delete_range":{"key":"YQ==","range_end":"Yg=="}}]}}]}}]}"#,
            r#"{"compare":[{"mod_revision":"1","value":"YQ=="}]}"#,
        ],
    ),
    (
        "/v3/watch",
        &[
            r#"{"create_request":{"key":"YQ==","filters":["NOPUT",1],"watch_id":"-5","fragment":true}}"#,
            r#"{"cancelRequest":{"watchId":7}}{"progress_request":{}}"#,
        ],
    ),
    (
        "/v3/lease/grant",
        &[r#"{"TTL":"60","ID":0}"#, r#"{"TTL":60.0}"#],
    ),
    ("/v3/lease/keepalive", &[r#"{"ID":"1"}{"ID":2}"#]),
    (
        "/v3/cluster/member/add",
        &[r#"{"peerURLs":["http://a","\ud83d\ude00"],"isLearner":true}"#],
    ),
    (
        "/v3/maintenance/alarm",
        &[r#"{"action":"ACTIVATE","memberID":"18446744073709551615","alarm":"NOSPACE"}"#],
    ),
    (
        "/v3/auth/role/grant",
        &[r#"{"name":"r","perm":{"permType":"READWRITE","key":"YQ==","range_end":"Yg=="}}"#],
    ),
    (
        "/v3/auth/user/add",
        &[r#"{"name":"u","options":{"no_password":true}}"#],
    ),
    ("/v3/lock/lock", &[r#"{"name":"bG9jaw==","lease":"1"}"#]),
    (
        "/v3/election/proclaim",
        &[r#"{"leader":{"name":"YQ==","key":"Yg==","rev":"1"},"value":"dg=="}"#],
    ),
    ("/v3/election/observe", &[r#"{"name":"YQ=="}"#]),
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (path, bodies) in BODIES {
        for body in bodies.iter().chain(&["{}", "null", "[", "\"a\"", ""]) {
            let mut seed = Vec::new();
            put_piece(&mut seed, path.as_bytes());
            seed.extend(body.as_bytes());
            seeds.push(seed);
        }
        let deep = "{\"success\":[{\"request_txn\":".repeat(120);
        let mut seed = Vec::new();
        put_piece(&mut seed, path.as_bytes());
        seed.extend(deep.as_bytes());
        seeds.push(seed);
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_body_that_is_read() {
        for (path, bodies) in BODIES {
            let read = round_trip(path.as_bytes(), bodies[0].as_bytes());
            let written = read.unwrap_or_else(|error| panic!("{path} {}: {error}", bodies[0]));
            assert!(written.iter().any(|text| text.len() > 2), "{path}: empty");
        }
    }
}
