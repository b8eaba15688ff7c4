//! `/debug/vars`: what Go programs show of themselves, as far as it has a meaning here.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use kvorum_member::Status;

use super::{HttpEndpoints, text};
use crate::process;

const JSON_TEXT: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

impl HttpEndpoints {
    pub(super) fn vars(&self) -> Response<Bytes> {
        let arguments: Vec<String> = std::env::args_os()
            .map(|argument| quoted(&argument.to_string_lossy()))
            .collect();
        // There is no garbage collector to tell of; what the process holds is the one figure with an equal here.
        let memory = process::resident_bytes()
            .map(|bytes| format!(r#""Sys":{bytes}"#))
            .unwrap_or_default();
        let id = self.handle.identity().member_id.0;
        let body = format!(
            "{{\n\"cmdline\": [{}],\n\"file_descriptor_limit\": {},\n\"memstats\": {{{memory}}},\n\
             \"raft.status\": {}\n}}\n",
            arguments.join(","),
            process::file_limit(),
            raft_status(id, &self.handle.status()),
        );
        text(StatusCode::OK, JSON_TEXT, body)
    }
}

/// The state of raft as its Go library prints it. A sole voter votes for itself and knows its own progress only.
fn raft_status(id: u64, status: &Status) -> String {
    let Status {
        leader,
        term,
        committed,
        applied,
        ..
    } = status;
    let leads = *leader == id;
    let (vote, state) = if leads {
        (id, "StateLeader")
    } else {
        (0, "StateFollower")
    };
    let progress = if leads {
        let next = committed + 1;
        format!(r#""{id:x}":{{"match":{committed},"next":{next},"state":"StateReplicate"}}"#)
    } else {
        String::new()
    };
    format!(
        r#"{{"id":"{id:x}","term":{term},"vote":"{vote:x}","commit":{committed},"lead":"{leader:x}","raftState":"{state}","applied":{applied},"progress":{{{progress}}},"leadtransferee":"0"}}"#
    )
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // As Go does it, for pages that contain JSON.
            control if control.is_control() || matches!(control, '<' | '>' | '&') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_reads_like_etcds() {
        let status = Status {
            leader: 0x6733,
            term: 2,
            committed: 4,
            applied: 4,
            ..Status::default()
        };
        assert_eq!(
            raft_status(0x6733, &status),
            r#"{"id":"6733","term":2,"vote":"6733","commit":4,"lead":"6733","raftState":"StateLeader","applied":4,"progress":{"6733":{"match":4,"next":5,"state":"StateReplicate"}},"leadtransferee":"0"}"#
        );
        let alone = raft_status(1, &Status::default());
        assert!(alone.contains(r#""raftState":"StateFollower","applied":0,"progress":{},"#));
    }

    #[test]
    fn strings_are_json() {
        assert_eq!(quoted("a\"b\\c\n\x01<"), r#""a\"b\\c\n\u0001\u003c""#);
    }
}
