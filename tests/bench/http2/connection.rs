//! One HTTP/2 connection of the client: streams in slots, flow control both ways, messages in order.
//!
//! A *slot* is a place for one call; the caller numbers them from zero and uses each for one call at a
//! time. Bytes come in with [`Connection::fill`], are taken apart by [`Connection::next_event`], and go
//! out with [`Connection::flush`].

use std::{collections::VecDeque, io::ErrorKind, net::TcpStream, ops::Range};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    frame::{self, HEAD_BYTES, Head, flag, kind, setting},
    replies::{Outcome, Replies},
    request::{Path, SharedHeaders},
    wire::{Dial, Wire},
};

const INPUT_BYTES: usize = 256 << 10;
/// What the peer may send on one stream, and on the connection, before it is told to go on.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;
const DEFAULT_WINDOW_BYTES: u32 = 65_535;
/// Compression flag and length before each gRPC message.
const MESSAGE_HEAD_BYTES: usize = 5;
const STREAM_ID_MAX: u32 = 0x7fff_fff0;

/// A call's place on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(pub(crate) u32);

impl SlotId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What happened on a slot.
#[derive(Debug)]
pub(crate) enum Event {
    /// One whole message; read it with [`Connection::bytes`] before the next event.
    Message { slot: SlotId, span: Span },
    /// The call is over and its slot free.
    End { slot: SlotId, outcome: Outcome },
}

/// Where a message lies.
#[derive(Debug)]
pub(crate) enum Span {
    Input(Range<usize>),
    Assembled(SlotId),
}

#[derive(Default)]
struct Stream {
    id: u32,
    open: bool,
    send_window: i64,
    /// Received and not yet credited to the peer.
    uncredited_bytes: u32,
    head_seen: bool,
    /// A message that came in several frames.
    assembled: Vec<u8>,
}

/// What is left of a DATA frame.
struct Cursor {
    slot: SlotId,
    at: usize,
    end: usize,
}

/// Something to send that had to wait for window or for a free stream.
struct Waiting {
    slot: SlotId,
    path: Option<Path>,
    body: Vec<u8>,
    last: bool,
}

/// A header block that is still missing its continuation.
struct OpenBlock {
    stream_id: u32,
    end_stream: bool,
    bytes: Vec<u8>,
}

pub(crate) struct Connection {
    wire: Wire,
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    sent: usize,
    streams: Vec<Stream>,
    /// Slot + 1 of each stream in flight, by the low bits of its number; zero where there is none.
    slots: Vec<u32>,
    open_streams: u32,
    next_id: u32,
    peer: Peer,
    send_window: i64,
    uncredited_bytes: u32,
    cursor: Option<Cursor>,
    block: Option<OpenBlock>,
    delivered: Option<SlotId>,
    replies: Replies,
    waiting: VecDeque<Waiting>,
    shared_headers: SharedHeaders,
}

/// What the peer announced.
struct Peer {
    settings_seen: bool,
    settings_acked: bool,
    initial_window: i64,
    streams_max: u32,
    header_table_bytes: u32,
}

impl Connection {
    /// Connects and queues the preface; `slots` is the most calls it will carry at once.
    pub(crate) fn open(dial: &Dial, slots: u32) -> Result<Self> {
        let wire = Wire::open(dial)?;
        let mut output = frame::PREFACE.to_vec();
        let settings = [
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (setting::MAX_FRAME_SIZE, frame::PAYLOAD_BYTES_MAX as u32),
        ];
        frame::write_settings(&mut output, &settings);
        let more = CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES;
        frame::write_window_update(&mut output, 0, more);
        Ok(Self {
            wire,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            output,
            sent: 0,
            streams: (0..slots).map(|_| Stream::default()).collect(),
            slots: vec![0; (slots as usize * 4).next_power_of_two()],
            open_streams: 0,
            next_id: 1,
            peer: Peer {
                settings_seen: false,
                settings_acked: false,
                initial_window: i64::from(DEFAULT_WINDOW_BYTES),
                streams_max: u32::MAX,
                header_table_bytes: 4096,
            },
            send_window: i64::from(DEFAULT_WINDOW_BYTES),
            uncredited_bytes: 0,
            cursor: None,
            block: None,
            delivered: None,
            replies: Replies::default(),
            waiting: VecDeque::new(),
            shared_headers: SharedHeaders::new(&dial.address.to_string()),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.wire.socket()
    }

    /// Both sides have announced and accepted their settings.
    pub(crate) fn is_ready(&self) -> bool {
        self.peer.settings_seen && self.peer.settings_acked
    }

    /// Starts a call on a free slot. `message` carries its five-byte head; `last` ends the client's side.
    pub(crate) fn call(&mut self, slot: SlotId, path: &Path, message: &[u8], last: bool) {
        let fits = self.waiting.is_empty()
            && self.open_streams < self.peer.streams_max
            && message.len() as i64 <= self.send_window.min(self.peer.initial_window);
        if fits {
            self.write_call(slot, path, message, last);
        } else {
            let (path, body) = (Some(path.clone()), message.to_vec());
            self.waiting.push_back(Waiting {
                slot,
                path,
                body,
                last,
            });
        }
    }

    /// Sends one more message on an open stream.
    pub(crate) fn send(&mut self, slot: SlotId, message: &[u8]) {
        let stream_window = self.streams[slot.index()].send_window;
        if self.waiting.is_empty() && message.len() as i64 <= self.send_window.min(stream_window) {
            self.write_data(slot, message, false);
        } else {
            let body = message.to_vec();
            self.waiting.push_back(Waiting {
                slot,
                path: None,
                body,
                last: false,
            });
        }
    }

    fn write_call(&mut self, slot: SlotId, path: &Path, message: &[u8], last: bool) {
        let id = self.take_stream_id(slot);
        self.streams[slot.index()] = Stream {
            id,
            open: true,
            send_window: self.peer.initial_window,
            assembled: std::mem::take(&mut self.streams[slot.index()].assembled),
            ..Stream::default()
        };
        self.open_streams += 1;
        let at = self.output.len();
        Head {
            length: 0,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream_id: id,
        }
        .write(&mut self.output);
        path.write(&mut self.output, self.wire.is_secure());
        self.shared_headers
            .write(&mut self.output, self.peer.header_table_bytes);
        let length = (self.output.len() - at - HEAD_BYTES) as u16;
        self.output[at + 1..at + 3].copy_from_slice(&length.to_be_bytes());
        self.write_data(slot, message, last);
    }

    fn write_data(&mut self, slot: SlotId, message: &[u8], last: bool) {
        let stream = &mut self.streams[slot.index()];
        let count = message.len().div_ceil(frame::PAYLOAD_BYTES_MAX);
        for (at, chunk) in message.chunks(frame::PAYLOAD_BYTES_MAX).enumerate() {
            let flags = if last && at + 1 == count {
                flag::END_STREAM
            } else {
                0
            };
            Head {
                length: chunk.len(),
                kind: kind::DATA,
                flags,
                stream_id: stream.id,
            }
            .write(&mut self.output);
            self.output.extend_from_slice(chunk);
        }
        stream.send_window -= message.len() as i64;
        self.send_window -= message.len() as i64;
    }

    /// The next number whose place among the streams in flight is free.
    fn take_stream_id(&mut self, slot: SlotId) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id += 2;
            let place = self.place(id);
            if self.slots[place] == 0 {
                self.slots[place] = slot.0 + 1;
                return id;
            }
        }
    }

    fn place(&self, stream_id: u32) -> usize {
        (stream_id >> 1) as usize & (self.slots.len() - 1)
    }

    /// The slot of a stream in flight; `None` for one that is over.
    fn slot(&self, stream_id: u32) -> Option<SlotId> {
        let slot = SlotId(self.slots[self.place(stream_id)].checked_sub(1)?);
        (self.streams[slot.index()].id == stream_id).then_some(slot)
    }

    /// Reads what has arrived, once. False when the socket had nothing.
    pub(crate) fn fill(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.wire.read(&mut self.input[self.end..]) {
            Ok(0) => bail!("server closed the connection"),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context("read from the server"),
        }
    }

    /// Writes what is queued. True when nothing is left.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        ensure!(
            self.next_id < STREAM_ID_MAX,
            "stream numbers of this connection are used up"
        );
        while self.sent < self.output.len() {
            match self.wire.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write to the server"),
            }
        }
        self.output.clear();
        self.sent = 0;
        self.wire.flush().context("write to the server")
    }

    /// A message's bytes, valid until the next call of [`Self::next_event`].
    pub(crate) fn bytes(&self, span: &Span) -> &[u8] {
        match span {
            Span::Input(range) => &self.input[range.clone()],
            Span::Assembled(slot) => &self.streams[slot.index()].assembled[MESSAGE_HEAD_BYTES..],
        }
    }

    /// The next event in what was read; `None` when more bytes are needed.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>> {
        if let Some(slot) = self.delivered.take() {
            self.streams[slot.index()].assembled.clear();
        }
        loop {
            if let Some(event) = self.next_message()? {
                return Ok(Some(event));
            }
            let Some(head) = Head::parse(&self.input[self.start..self.end])? else {
                return Ok(None);
            };
            let at = self.start + HEAD_BYTES;
            if self.end < at + head.length {
                return Ok(None);
            }
            self.start = at + head.length;
            if let Some(event) = self.take_frame(head, at)? {
                return Ok(Some(event));
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Event>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let slot = cursor.slot;
        let assembled = &mut self.streams[slot.index()].assembled;
        let chunk = &self.input[cursor.at..cursor.end];
        if assembled.is_empty()
            && let Some(whole) = message_bytes(chunk)?
            && whole <= chunk.len()
        {
            let span = Span::Input(cursor.at + MESSAGE_HEAD_BYTES..cursor.at + whole);
            cursor.at += whole;
            return Ok(Some(Event::Message { slot, span }));
        }
        while cursor.at < cursor.end {
            let wanted = message_bytes(assembled)?.unwrap_or(MESSAGE_HEAD_BYTES);
            let taken = (wanted - assembled.len()).min(cursor.end - cursor.at);
            assembled.extend_from_slice(&self.input[cursor.at..cursor.at + taken]);
            cursor.at += taken;
            if message_bytes(assembled)? == Some(assembled.len()) {
                self.delivered = Some(slot);
                return Ok(Some(Event::Message {
                    slot,
                    span: Span::Assembled(slot),
                }));
            }
        }
        self.cursor = None;
        Ok(None)
    }

    fn take_frame(&mut self, head: Head, at: usize) -> Result<Option<Event>> {
        let payload = at..at + head.length;
        ensure!(
            self.block.is_none() || head.kind == kind::CONTINUATION,
            "frame of kind {} inside a header block",
            head.kind
        );
        match head.kind {
            kind::DATA => self.take_data(head, payload)?,
            kind::HEADERS => {
                let content = frame::content(&head, &self.input[payload.clone()])?;
                let block = at + content.start..at + content.end;
                return self.take_headers(head, block);
            }
            kind::CONTINUATION => return self.take_continuation(head, payload),
            kind::RST_STREAM => {
                let code = frame::number(&self.input[payload])?;
                return Ok(self.reset(head.stream_id, code));
            }
            kind::SETTINGS => self.take_settings(head, payload)?,
            kind::PING if !head.has(flag::ACK) => {
                frame::write_ping_ack(&mut self.output, &self.input[payload]);
            }
            kind::GOAWAY => {
                let text =
                    String::from_utf8_lossy(self.input[payload].get(8..).unwrap_or_default());
                bail!("server is closing the connection (GOAWAY): {text}");
            }
            kind::WINDOW_UPDATE => self.take_window_update(head, payload)?,
            kind::PUSH_PROMISE => bail!("server pushed a stream although that is switched off"),
            // PING acknowledgements, PRIORITY and kinds this client does not know.
            _ => {}
        }
        Ok(None)
    }

    fn take_data(&mut self, head: Head, payload: Range<usize>) -> Result<()> {
        self.uncredited_bytes += head.length as u32;
        if self.uncredited_bytes > CONNECTION_WINDOW_BYTES / 4 {
            frame::write_window_update(&mut self.output, 0, self.uncredited_bytes);
            self.uncredited_bytes = 0;
        }
        let content = frame::content(&head, &self.input[payload.clone()])?;
        let Some(slot) = self.slot(head.stream_id) else {
            return Ok(());
        };
        let stream = &mut self.streams[slot.index()];
        ensure!(stream.head_seen, "DATA before the reply's headers");
        ensure!(!head.has(flag::END_STREAM), "reply ended without trailers");
        stream.uncredited_bytes += head.length as u32;
        if stream.uncredited_bytes > STREAM_WINDOW_BYTES / 4 {
            frame::write_window_update(&mut self.output, stream.id, stream.uncredited_bytes);
            stream.uncredited_bytes = 0;
        }
        let (at, end) = (payload.start + content.start, payload.start + content.end);
        self.cursor = Some(Cursor { slot, at, end });
        Ok(())
    }

    fn take_headers(&mut self, head: Head, block: Range<usize>) -> Result<Option<Event>> {
        let end_stream = head.has(flag::END_STREAM);
        if !head.has(flag::END_HEADERS) {
            let bytes = self.input[block].to_vec();
            self.block = Some(OpenBlock {
                stream_id: head.stream_id,
                end_stream,
                bytes,
            });
            return Ok(None);
        }
        let Some(slot) = self.slot(head.stream_id) else {
            return Ok(None);
        };
        if end_stream {
            let outcome = self.replies.end(&self.input[block])?;
            return Ok(Some(self.end_call(slot, outcome)));
        }
        self.replies.head(&self.input[block])?;
        self.streams[slot.index()].head_seen = true;
        Ok(None)
    }

    fn take_continuation(&mut self, head: Head, payload: Range<usize>) -> Result<Option<Event>> {
        let Some(mut open) = self.block.take_if(|open| open.stream_id == head.stream_id) else {
            bail!("CONTINUATION without a header block before it");
        };
        open.bytes.extend_from_slice(&self.input[payload]);
        if !head.has(flag::END_HEADERS) {
            self.block = Some(open);
            return Ok(None);
        }
        let Some(slot) = self.slot(head.stream_id) else {
            return Ok(None);
        };
        if open.end_stream {
            let outcome = self.replies.end(&open.bytes)?;
            return Ok(Some(self.end_call(slot, outcome)));
        }
        self.replies.head(&open.bytes)?;
        self.streams[slot.index()].head_seen = true;
        Ok(None)
    }

    fn end_call(&mut self, slot: SlotId, outcome: Outcome) -> Event {
        let cut = !self.streams[slot.index()].assembled.is_empty();
        let outcome = match outcome {
            Ok(()) if cut => Err("reply ended inside a message".to_owned()),
            outcome => outcome,
        };
        self.release(slot);
        Event::End { slot, outcome }
    }

    fn reset(&mut self, stream_id: u32, code: u32) -> Option<Event> {
        let slot = self.slot(stream_id)?;
        self.release(slot);
        let outcome = Err(format!("server reset the stream, HTTP/2 error code {code}"));
        Some(Event::End { slot, outcome })
    }

    fn release(&mut self, slot: SlotId) {
        let stream = &mut self.streams[slot.index()];
        stream.open = false;
        stream.assembled.clear();
        let place = (stream.id >> 1) as usize & (self.slots.len() - 1);
        self.slots[place] = 0;
        self.open_streams -= 1;
        self.send_waiting();
    }

    fn take_settings(&mut self, head: Head, payload: Range<usize>) -> Result<()> {
        if head.has(flag::ACK) {
            self.peer.settings_acked = true;
            return Ok(());
        }
        for (name, value) in frame::settings(&self.input[payload])? {
            match name {
                setting::HEADER_TABLE_SIZE => {
                    ensure!(
                        !self.shared_headers.are_indexed(),
                        "server resized its header table in use"
                    );
                    self.peer.header_table_bytes = value;
                }
                setting::MAX_CONCURRENT_STREAMS => self.peer.streams_max = value,
                setting::INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.peer.initial_window;
                    self.peer.initial_window = i64::from(value);
                    for stream in self.streams.iter_mut().filter(|stream| stream.open) {
                        stream.send_window += change;
                    }
                }
                _ => {}
            }
        }
        self.peer.settings_seen = true;
        frame::write_settings_ack(&mut self.output);
        self.send_waiting();
        Ok(())
    }

    fn take_window_update(&mut self, head: Head, payload: Range<usize>) -> Result<()> {
        let bytes = i64::from(frame::number(&self.input[payload])? & 0x7fff_ffff);
        if head.stream_id == 0 {
            self.send_window += bytes;
        } else if let Some(slot) = self.slot(head.stream_id) {
            self.streams[slot.index()].send_window += bytes;
        }
        self.send_waiting();
        Ok(())
    }

    /// Sends what now fits, in order.
    fn send_waiting(&mut self) {
        while let Some(next) = self.waiting.front() {
            let stream_window = match next.path {
                Some(_) if self.open_streams >= self.peer.streams_max => return,
                Some(_) => self.peer.initial_window,
                None => self.streams[next.slot.index()].send_window,
            };
            if next.body.len() as i64 > self.send_window.min(stream_window) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            match next.path {
                Some(path) => self.write_call(next.slot, &path, &next.body, next.last),
                None => self.write_data(next.slot, &next.body, next.last),
            }
        }
    }
}

/// The length of the message that starts here, head included; `None` while its head is incomplete.
fn message_bytes(start: &[u8]) -> Result<Option<usize>> {
    let Some(&[compressed, a, b, c, d]) = start.first_chunk::<MESSAGE_HEAD_BYTES>() else {
        return Ok(None);
    };
    ensure!(
        compressed == 0,
        "compressed message, although no compression was offered"
    );
    Ok(Some(
        MESSAGE_HEAD_BYTES + u32::from_be_bytes([a, b, c, d]) as usize,
    ))
}

#[cfg(test)]
mod tests;
