//! Clients that ping too often are sent away, as grpc-go does it. (ETCD.md §1.3)
//!
//! The h2 crate answers pings by itself and tells nobody. So the frame heads that pass through the connection's socket
//! are read along the way, payloads being skipped unseen.

use std::time::{Duration, Instant};

/// Length (three bytes), type, flags, stream (four bytes).
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
/// What grpc clients look for, to ping more rarely from then on.
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

/// Bad pings that are forgiven.
const STRIKES_MAX: u32 = 2;
/// Least time between pings while no call is open.
const IDLE_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);

/// Finds the heads of frames in a stream of bytes.
#[derive(Debug, Default)]
struct Heads {
    head: [u8; HEAD_BYTES],
    known: usize,
    payload_bytes: usize,
}

/// What matters of a frame's head.
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Heads {
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.payload_bytes.min(bytes.len());
            self.payload_bytes -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (HEAD_BYTES - self.known).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            if let Some(room) = self.head.get_mut(self.known..self.known + taken) {
                room.copy_from_slice(head);
            }
            self.known += taken;
            bytes = rest;
            if self.known == HEAD_BYTES {
                self.known = 0;
                let [a, b, c, kind, flags, s0, s1, s2, s3] = self.head;
                self.payload_bytes = u32::from_be_bytes([0, a, b, c]) as usize;
                let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
                found(Head {
                    kind,
                    flags,
                    stream,
                });
            }
        }
    }
}

/// Watches one connection's frames, both ways.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    received: Heads,
    sent: Heads,
    /// Pings that were not judged yet.
    waiting: u32,
    /// An answer went out since the last ping.
    answered: bool,
    last_stream: u32,
    last_at: Option<Instant>,
    strikes: u32,
}

impl Pings {
    /// Looks at what the client sent.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let (waiting, last_stream) = (&mut self.waiting, &mut self.last_stream);
        self.received.feed(bytes, |head| match head.kind {
            PING if head.flags & ACK == 0 => *waiting += 1,
            HEADERS => *last_stream = head.stream.max(*last_stream),
            _ => {}
        });
    }

    /// Looks at what goes to the client.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let answered = &mut self.answered;
        self.sent.feed(bytes, |head| {
            *answered |= matches!(head.kind, DATA | HEADERS);
        });
    }

    /// Judges the pings since the last time; true if there were too many.
    pub(crate) fn too_many(&mut self, open_calls: usize, interval_min: Duration) -> bool {
        if self.waiting == 0 {
            return false;
        }
        let now = Instant::now();
        (0..std::mem::take(&mut self.waiting)).any(|_| self.judge(now, open_calls, interval_min))
    }

    /// Whoever gets answers may ping: only idle pings are judged by their distance.
    fn judge(&mut self, now: Instant, open_calls: usize, interval_min: Duration) -> bool {
        let before = self.last_at.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return false;
        }
        let interval = if open_calls == 0 {
            IDLE_INTERVAL
        } else {
            interval_min
        };
        if before.is_some_and(|before| now.duration_since(before) < interval) {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }

    /// The frame that says goodbye, with its reason in words, which the h2 crate cannot send.
    pub(crate) fn go_away(&self) -> Vec<u8> {
        let payload_bytes = (4 + 4 + TOO_MANY_PINGS.len()) as u32;
        let mut frame = payload_bytes
            .to_be_bytes()
            .get(1..)
            .unwrap_or_default()
            .to_vec();
        frame.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.last_stream.to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend_from_slice(TOO_MANY_PINGS);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    }

    const MIN: Duration = Duration::from_secs(5);

    #[test]
    fn pings_are_counted_in_any_pieces() {
        let mut wire = frame(4, 0, 0, &[0; 6]);
        wire.extend(frame(PING, 0, 0, &[7; 8]));
        wire.extend(frame(HEADERS, 4, 3, &[6; 40]));
        wire.extend(frame(PING, ACK, 0, &[6; 8]));
        wire.extend(frame(DATA, 1, 3, &[]));
        wire.extend(frame(PING, 0, 0, &[6; 8]));
        for size in 1..=wire.len() {
            let mut pings = Pings::default();
            wire.chunks(size).for_each(|piece| pings.receive(piece));
            assert_eq!(
                (pings.waiting, pings.last_stream),
                (2, 3),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn the_third_hasty_ping_after_a_first_is_one_too_many() {
        for (open_calls, pause, judged) in [
            (0, Duration::from_secs(7199), [false, false, false, true]),
            (0, Duration::from_secs(7200), [false; 4]),
            (1, Duration::from_millis(4999), [false, false, false, true]),
            (1, MIN, [false; 4]),
        ] {
            let mut pings = Pings::default();
            let mut now = Instant::now();
            let seen = judged.map(|_| {
                now += pause;
                pings.judge(now, open_calls, MIN)
            });
            assert_eq!(seen, judged, "{open_calls} {pause:?}");
        }
    }

    #[test]
    fn an_answer_forgives_what_was_before() {
        let mut pings = Pings::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(!pings.judge(now, 1, MIN));
            assert!(!pings.judge(now, 1, MIN));
            pings.send(&frame(PING, ACK, 0, &[0; 8]));
            assert!(!pings.answered);
            pings.send(&frame(DATA, 0, 1, b"reply"));
            assert!(pings.answered);
        }
    }

    #[test]
    fn the_goodbye_names_its_reason() {
        let mut pings = Pings::default();
        pings.receive(&frame(HEADERS, 4, 9, b""));
        let frame = pings.go_away();
        assert_eq!(frame[..9], [0, 0, 22, GOAWAY, 0, 0, 0, 0, 0]);
        assert_eq!(frame[9..17], [0, 0, 0, 9, 0, 0, 0, 11]);
        assert_eq!(&frame[17..], b"too_many_pings");
    }
}
