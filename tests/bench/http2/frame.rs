//! Frames of HTTP/2 (RFC 9113 §4, §6): the nine-byte head and the few frames a client sends.

use anyhow::{Result, ensure};

pub(crate) const HEAD_BYTES: usize = 9;
/// The default limit of a payload; this client never announces a larger one.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16_384;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream_id: u32,
}

impl Head {
    /// The head at the start of `bytes`; `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = bytes.first_chunk::<HEAD_BYTES>()
        else {
            return Ok(None);
        };
        let length = (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c);
        ensure!(
            length <= PAYLOAD_BYTES_MAX,
            "frame of {length} bytes is above the limit of 16384"
        );
        let stream_id = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        Ok(Some(Self {
            length,
            kind,
            flags,
            stream_id,
        }))
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.kind, self.flags]);
        out.extend_from_slice(&self.stream_id.to_be_bytes());
    }
}

/// Where the content of a DATA or HEADERS payload lies once padding and priority are taken off.
pub(crate) fn content(head: &Head, payload: &[u8]) -> Result<std::ops::Range<usize>> {
    let (mut start, mut end) = (0, payload.len());
    if head.has(flag::PADDED) {
        let padding = payload.first().copied().map_or(usize::MAX, usize::from);
        start = 1;
        ensure!(padding < payload.len(), "padding is longer than its frame");
        end -= padding;
    }
    if head.kind == kind::HEADERS && head.has(flag::PRIORITY) {
        start += 5;
    }
    ensure!(
        start <= end,
        "padding and priority are longer than their frame"
    );
    Ok(start..end)
}

pub(crate) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    Head {
        length: settings.len() * 6,
        kind: kind::SETTINGS,
        flags: 0,
        stream_id: 0,
    }
    .write(out);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(crate) fn write_settings_ack(out: &mut Vec<u8>) {
    Head {
        length: 0,
        kind: kind::SETTINGS,
        flags: flag::ACK,
        stream_id: 0,
    }
    .write(out);
}

pub(crate) fn write_ping_ack(out: &mut Vec<u8>, payload: &[u8]) {
    Head {
        length: payload.len(),
        kind: kind::PING,
        flags: flag::ACK,
        stream_id: 0,
    }
    .write(out);
    out.extend_from_slice(payload);
}

pub(crate) fn write_window_update(out: &mut Vec<u8>, stream_id: u32, bytes: u32) {
    Head {
        length: 4,
        kind: kind::WINDOW_UPDATE,
        flags: 0,
        stream_id,
    }
    .write(out);
    out.extend_from_slice(&bytes.to_be_bytes());
}

/// The name and value pairs of a SETTINGS payload.
pub(crate) fn settings(payload: &[u8]) -> Result<impl Iterator<Item = (u16, u32)> + '_> {
    ensure!(
        payload.len().is_multiple_of(6),
        "SETTINGS of {} bytes",
        payload.len()
    );
    Ok(payload.chunks_exact(6).filter_map(|pair| match pair {
        &[n0, n1, v0, v1, v2, v3] => Some((
            u16::from_be_bytes([n0, n1]),
            u32::from_be_bytes([v0, v1, v2, v3]),
        )),
        _ => None,
    }))
}

/// The big-endian number at the start of a payload (an error code, a window increment).
pub(crate) fn number(payload: &[u8]) -> Result<u32> {
    match payload.first_chunk::<4>() {
        Some(bytes) => Ok(u32::from_be_bytes(*bytes)),
        None => anyhow::bail!("frame payload of {} bytes is too short", payload.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_waits_for_all_of_its_bytes() {
        let head = Head {
            length: 16_384,
            kind: kind::DATA,
            flags: 1,
            stream_id: 0x7fff_ffff,
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        assert_eq!(Head::parse(&bytes).expect("valid"), Some(head));
        assert_eq!(Head::parse(&bytes[..8]).expect("incomplete"), None);
        bytes[5] |= 0x80;
        assert_eq!(
            Head::parse(&bytes).expect("valid"),
            Some(head),
            "the reserved bit is ignored"
        );
    }

    #[test]
    fn a_frame_above_the_announced_size_is_refused() {
        assert!(Head::parse(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let flags = flag::PADDED | flag::PRIORITY;
        let head = Head {
            length: 10,
            kind: kind::HEADERS,
            flags,
            stream_id: 1,
        };
        let payload = [2, 0, 0, 0, 0, 0, b'x', b'y', 0, 0];
        assert_eq!(content(&head, &payload).expect("valid"), 6..8);
        let data = Head {
            kind: kind::DATA,
            flags: flag::PADDED,
            ..head
        };
        assert_eq!(content(&data, &[1, b'z', 0]).expect("valid"), 1..2);
        assert_eq!(content(&data, &[0]).expect("only the pad length"), 1..1);
        assert!(
            content(&data, &[3, 0, 0]).is_err(),
            "padding fills the whole frame"
        );
        assert!(content(&data, &[]).is_err(), "no pad length");
        assert!(content(&head, &[0, 0, 0, 0, 0]).is_err(), "priority is cut");
    }

    #[test]
    fn settings_read_back() {
        let pairs = [
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::INITIAL_WINDOW_SIZE, 1 << 24),
        ];
        let mut bytes = Vec::new();
        write_settings(&mut bytes, &pairs);
        assert_eq!(
            settings(&bytes[HEAD_BYTES..])
                .expect("valid")
                .collect::<Vec<_>>(),
            pairs
        );
        assert!(settings(&bytes[HEAD_BYTES + 1..]).is_err());
    }
}
