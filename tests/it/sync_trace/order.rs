//! Write, sync, reply: in this order, for every put.

use std::collections::HashMap;

use super::strace::Call;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA_FRAME: u8 = 0;

/// Checks that each name's bytes were written below `folder`, then synced, and only then answered.
pub(super) fn check(calls: &[Call], folder: &str, names: &[String]) -> Result<(), String> {
    let replies = replies(calls, names)?;
    // Most of what is written is room for later; only what holds any name is searched for each.
    let common = common_start(names);
    let named: Vec<&Call> = calls
        .iter()
        .filter(|call| call.file.starts_with(folder) && contains(&call.bytes, common))
        .collect();
    for name in names {
        let replied = replies
            .get(name.as_str())
            .ok_or_else(|| format!("{name}: no reply in the trace"))?;
        let holds_name = |call: &&&Call| contains(&call.bytes, name.as_bytes());
        let written: Vec<&Call> = named.iter().filter(holds_name).copied().collect();
        if written.is_empty() {
            return Err(format!("{name}: never written below {folder}"));
        }
        if !written
            .iter()
            .any(|write| synced_before(calls, write, *replied))
        {
            let writes: Vec<_> = written
                .iter()
                .map(|call| (call.file.as_str(), call.began, call.ended))
                .collect();
            return Err(format!(
                "{name}: replied at line {replied} before a sync had covered it; written at {writes:?}"
            ));
        }
    }
    Ok(())
}

/// Whether the write itself was durable and had ended when the reply began, or a sync of its file began after the
/// write and had ended by then.
fn synced_before(calls: &[Call], write: &Call, replied: usize) -> bool {
    if write.synchronous {
        return write.ended < replied;
    }
    calls.iter().any(|call| {
        (call.name == "fdatasync" || call.name == "fsync")
            && call.result == 0
            && call.file == write.file
            && call.began > write.ended
            && call.ended < replied
    })
}

/// Where the reply to each name's request began to leave.
fn replies<'a>(calls: &[Call], names: &'a [String]) -> Result<HashMap<&'a str, usize>, String> {
    let mut connections: HashMap<&str, Connection> = HashMap::new();
    for call in calls
        .iter()
        .filter(|call| call.file.starts_with("TCP") && !call.bytes.is_empty())
    {
        let connection = connections.entry(&call.file).or_default();
        match call.name.as_str() {
            "read" | "readv" | "recvfrom" | "recvmsg" => connection.requests.take(call),
            _ => connection.replies.take(call),
        }
    }
    let mut replies = HashMap::new();
    for connection in connections.values() {
        let asked = connection.requests.frames();
        let answered = connection.replies.frames();
        for (stream, body, _) in &asked {
            let Some(name) = names.iter().find(|name| contains(body, name.as_bytes())) else {
                continue;
            };
            let reply = answered.iter().find(|(other, ..)| other == stream);
            let (_, _, place) =
                reply.ok_or_else(|| format!("{name}: stream {stream} has no reply"))?;
            replies.insert(name.as_str(), *place);
        }
    }
    Ok(replies)
}

/// The bytes of one TCP connection.
#[derive(Default)]
struct Connection {
    requests: Direction,
    replies: Direction,
}

/// The bytes of one direction, and which call moved which of them.
#[derive(Default)]
struct Direction {
    bytes: Vec<u8>,
    /// Number of bytes before a call, and where that call began.
    calls: Vec<(usize, usize)>,
}

impl Direction {
    fn take(&mut self, call: &Call) {
        self.calls.push((self.bytes.len(), call.began));
        self.bytes.extend_from_slice(&call.bytes);
    }

    /// The HTTP/2 frames that carry a body: stream, body, and where the call with their first byte began.
    fn frames(&self) -> Vec<(u32, &[u8], usize)> {
        let mut frames = Vec::new();
        let mut at = if self.bytes.starts_with(PREFACE) {
            PREFACE.len()
        } else {
            0
        };
        while let Some(header) = self.bytes.get(at..at + HEADER_BYTES) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let start = at + HEADER_BYTES;
            let Some(body) = self.bytes.get(start..start + length) else {
                break;
            };
            if header[3] == DATA_FRAME && length > 0 {
                frames.push((stream, body, self.place_of(at)));
            }
            at = start + length;
        }
        frames
    }

    fn place_of(&self, byte: usize) -> usize {
        let before = self.calls.partition_point(|(bytes, _)| *bytes <= byte);
        self.calls[before - 1].1
    }
}

/// The bytes that all names begin with.
fn common_start(names: &[String]) -> &[u8] {
    let first = names.first().map_or(&b""[..], |name| name.as_bytes());
    let common = |length: &usize| {
        names
            .iter()
            .all(|name| name.as_bytes().starts_with(&first[..*length]))
    };
    let length = (0..=first.len()).take_while(common).last();
    &first[..length.unwrap_or(0)]
}

fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes
        .windows(name.len().max(1))
        .any(|window| window.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "/data/log/1";
    const SOCKET: &str = "TCP:[127.0.0.1:1->127.0.0.1:2]";

    fn frame(stream: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, body.len() as u8, DATA_FRAME, 0, 0, 0, 0, stream];
        frame.extend_from_slice(body);
        frame
    }

    fn call(name: &str, file: &str, bytes: &[u8], place: usize) -> Call {
        Call {
            name: name.to_owned(),
            file: file.to_owned(),
            bytes: bytes.to_vec(),
            began: place,
            ended: place,
            result: bytes.len() as i64,
            synchronous: false,
        }
    }

    /// The story of one put of `k`, each step at its place; `None` leaves it out.
    fn verdict(write: Option<usize>, sync: Option<(usize, usize)>, reply: Option<usize>) -> String {
        let mut request = PREFACE.to_vec();
        request.extend(frame(1, b"..k.."));
        let mut calls = vec![call("recvfrom", SOCKET, &request, 0)];
        calls.extend(write.map(|place| call("pwrite64", LOG, b"..k..", place)));
        calls.extend(sync.map(|(began, ended)| Call {
            ended,
            ..call("fdatasync", LOG, b"", began)
        }));
        calls.extend(reply.map(|place| call("writev", SOCKET, &frame(1, b"reply"), place)));
        calls.sort_by_key(|call| call.ended);
        check(&calls, "/data", &["k".to_owned()])
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn write_sync_reply_is_the_order() {
        assert_eq!(verdict(Some(1), Some((2, 3)), Some(4)), "");
    }

    #[test]
    fn a_reply_before_the_sync_ended_is_found() {
        assert!(verdict(Some(1), Some((2, 4)), Some(3)).contains("before a sync"));
        assert!(verdict(Some(1), Some((3, 4)), Some(2)).contains("before a sync"));
    }

    #[test]
    fn a_sync_that_began_before_the_write_covers_nothing() {
        assert!(verdict(Some(2), Some((1, 3)), Some(4)).contains("before a sync"));
    }

    #[test]
    fn a_missing_step_is_found() {
        assert!(verdict(Some(1), None, Some(4)).contains("before a sync"));
        assert!(verdict(None, Some((2, 3)), Some(4)).contains("never written"));
        assert!(verdict(Some(1), Some((2, 3)), None).contains("no reply"));
    }

    #[test]
    fn a_sync_of_another_file_or_a_failed_one_covers_nothing() {
        let calls = |sync: Call| {
            let mut request = PREFACE.to_vec();
            request.extend(frame(1, b"k"));
            let calls = [
                call("read", SOCKET, &request, 0),
                call("write", LOG, b"k", 1),
                sync,
                call("write", SOCKET, &frame(1, b"reply"), 3),
            ];
            check(&calls, "/data", &["k".to_owned()])
        };
        assert!(calls(call("fsync", "/data/log/2", b"", 2)).is_err());
        assert!(
            calls(Call {
                result: -1,
                ..call("fsync", LOG, b"", 2)
            })
            .is_err()
        );
        assert!(calls(call("fsync", LOG, b"", 2)).is_ok());
    }

    #[test]
    fn a_durable_write_needs_no_sync_but_must_have_ended() {
        let verdict = |ended| {
            let mut request = PREFACE.to_vec();
            request.extend(frame(1, b"k"));
            let write = Call {
                synchronous: true,
                ended,
                ..call("pwrite64", LOG, b"k", 1)
            };
            let reply = call("write", SOCKET, &frame(1, b"reply"), 3);
            check(
                &[call("read", SOCKET, &request, 0), write, reply],
                "/data",
                &["k".to_owned()],
            )
        };
        assert!(verdict(2).is_ok());
        assert!(verdict(4).is_err());
    }

    #[test]
    fn names_share_a_start() {
        let names = ["ab-1", "ab-2", "ab-12"].map(str::to_owned);
        assert_eq!(common_start(&names), b"ab-");
        assert!(contains(b"..ab-2..", b"ab-2") && !contains(b"..ab-2..", b"ab-1"));
    }

    #[test]
    fn frames_split_over_calls_are_put_together() {
        let bytes = [frame(1, b"one"), frame(3, b"two")].concat();
        let mut direction = Direction::default();
        for (place, piece) in bytes.chunks(5).enumerate() {
            direction.take(&call("write", SOCKET, piece, place));
        }
        assert_eq!(
            direction.frames(),
            [(1, &b"one"[..], 0), (3, &b"two"[..], 2)]
        );
    }
}
