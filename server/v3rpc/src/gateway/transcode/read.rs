//! JSON values to encoded messages, under protojson's rules: names in either spelling, unknown ones dropped, repeated
//! ones refused.

use base64::{
    Engine as _,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use kvorum_proto::shape::{FieldShape, Kind, MessageShape};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{Json, MESSAGE_DEPTH_MAX, Malformed, number, text};

pub(super) fn message(json: &Json, shape: &MessageShape) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader {
        text: json.bytes(),
        at: 0,
    };
    let mut out = Vec::new();
    reader.message(shape, MESSAGE_DEPTH_MAX, &mut out)?;
    Ok(out)
}

/// What a value, or a part of one, is.
#[derive(Debug)]
enum Content {
    Null,
    Bool(bool),
    Number,
    Text(String),
    ObjectOpen,
    ObjectClose,
    ArrayOpen,
    ArrayClose,
}

#[derive(Debug)]
struct Token<'a> {
    at: usize,
    /// As it stands in the text.
    raw: &'a [u8],
    content: Content,
}

/// Walks through a value whose brackets, commas and colons are known to be where they belong.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn message(
        &mut self,
        shape: &MessageShape,
        depth_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let depth_left = depth_left
            .checked_sub(1)
            .ok_or_else(|| Malformed::proto("exceeded max recursion depth"))?;
        let opening = self.token()?;
        if !matches!(opening.content, Content::ObjectOpen) {
            return Err(self.unexpected(&opening));
        }
        let mut seen: Vec<u32> = Vec::new();
        let mut set: Vec<&str> = Vec::new();
        loop {
            let token = self.token()?;
            let name = match &token.content {
                Content::ObjectClose => return Ok(()),
                Content::Text(name) => name,
                _ => return Err(self.unexpected(&token)),
            };
            let known = |field: &&FieldShape| field.json_name == name || field.name == name;
            let Some(field) = shape.fields.iter().find(known) else {
                self.skip()?;
                continue;
            };
            let raw = String::from_utf8_lossy(token.raw);
            if seen.contains(&field.number) {
                return Err(self.fault(token.at, format_args!("duplicate field {raw}")));
            }
            seen.push(field.number);
            if self.peek() == Some(b'n') {
                self.token()?;
                continue;
            }
            if let (Some(oneof), false) = (field.oneof, field.repeated) {
                if set.contains(&oneof) {
                    let text = format_args!("error parsing {raw}, oneof {oneof} is already set");
                    return Err(self.fault(token.at, text));
                }
                set.push(oneof);
            }
            match field.repeated {
                true => self.list(field, depth_left, out)?,
                false => self.value(field, depth_left, out)?,
            }
        }
    }

    fn list(
        &mut self,
        field: &FieldShape,
        depth_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let opening = self.token()?;
        if !matches!(opening.content, Content::ArrayOpen) {
            return Err(self.unexpected(&opening));
        }
        while self.peek() != Some(b']') {
            self.value(field, depth_left, out)?;
        }
        self.token().map(|_| ())
    }

    /// One value with its key. Numbers of a list are written one by one, which every reader takes.
    fn value(
        &mut self,
        field: &FieldShape,
        depth_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if let Some(shape) = field.kind.message() {
            let mut inner = Vec::new();
            self.message(shape, depth_left, &mut inner)?;
            put_bytes(field.number, &inner, out);
            return Ok(());
        }
        let token = self.token()?;
        match scalar(field.kind, &token) {
            Some(Scalar::Varint(value)) => {
                encode_key(field.number, WireType::Varint, out);
                encode_varint(value, out);
            }
            Some(Scalar::Bytes(bytes)) => put_bytes(field.number, &bytes, out),
            Some(Scalar::Nothing) => {}
            None => {
                let raw = String::from_utf8_lossy(token.raw);
                let (kind, name) = (kind_name(field.kind), field.json_name);
                let text = format_args!("invalid value for {kind} field {name}: {raw}");
                return Err(self.fault(token.at, text));
            }
        }
        Ok(())
    }

    /// Passes over the value of a name that nobody knows, however deep it is: what is not kept costs no stack.
    fn skip(&mut self) -> Result<(), Malformed> {
        let mut open = 0_usize;
        loop {
            match self.token()?.content {
                Content::ObjectOpen | Content::ArrayOpen => open += 1,
                Content::ObjectClose | Content::ArrayClose => open = open.saturating_sub(1),
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// The first byte of the next token.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let first = self.peek();
        let at = self.at;
        let rest = self.text.get(at..).unwrap_or_default();
        let (content, length) = match first {
            None => return Err(Malformed::proto("unexpected EOF")),
            Some(b'{') => (Content::ObjectOpen, 1),
            Some(b'}') => (Content::ObjectClose, 1),
            Some(b'[') => (Content::ArrayOpen, 1),
            Some(b']') => (Content::ArrayClose, 1),
            Some(b'n') => (Content::Null, 4),
            Some(b't') => (Content::Bool(true), 4),
            Some(b'f') => (Content::Bool(false), 5),
            Some(b'"') => {
                let inside = rest.get(1..).unwrap_or_default();
                let (text, length) =
                    text::read(inside).map_err(|fault| fault.at(self.position(at)))?;
                (Content::Text(text), 1 + length)
            }
            Some(_) => {
                let length = rest
                    .iter()
                    .take_while(|byte| number::is_word(**byte))
                    .count();
                (Content::Number, length.max(1))
            }
        };
        self.at = at + length;
        let raw = rest.get(..length).unwrap_or(rest);
        Ok(Token { at, raw, content })
    }

    /// Line and column, both from 1, the column in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last = before.rsplit(|byte| *byte == b'\n').next();
        let last = last.unwrap_or_default();
        let letters = last.utf8_chunks().map(|chunk| {
            // Each byte that is none counts as one.
            chunk.valid().chars().count() + chunk.invalid().len()
        });
        (line, letters.sum::<usize>() + 1)
    }

    fn fault(&self, at: usize, text: impl std::fmt::Display) -> Malformed {
        let (line, column) = self.position(at);
        Malformed::proto(format_args!("(line {line}:{column}): {text}"))
    }

    fn unexpected(&self, token: &Token<'_>) -> Malformed {
        let (line, column) = self.position(token.at);
        let raw = String::from_utf8_lossy(token.raw);
        Malformed::proto(format_args!(
            "syntax error (line {line}:{column}): unexpected token {raw}"
        ))
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A value as the wire has it.
enum Scalar {
    Varint(u64),
    Bytes(Vec<u8>),
    /// A name that the enumeration does not have, which counts as not given.
    Nothing,
}

fn scalar(kind: Kind, token: &Token<'_>) -> Option<Scalar> {
    match (kind, &token.content) {
        (Kind::Bool, Content::Bool(value)) => Some(Scalar::Varint(u64::from(*value))),
        (Kind::String, Content::Text(text)) => Some(Scalar::Bytes(text.clone().into_bytes())),
        (Kind::Bytes, Content::Text(text)) => Some(Scalar::Bytes(decode_base64(text)?)),
        (Kind::Enum(_), Content::Text(name)) => {
            let number = kind.enumeration()?.number(name);
            Some(number.map_or(Scalar::Nothing, |number| signed(number.into())))
        }
        (Kind::Enum(_), Content::Number) => {
            let value: i32 = number::whole(token.raw)?.parse().ok()?;
            Some(signed(value.into()))
        }
        (_, Content::Number) => numeric(kind, token.raw),
        (_, Content::Text(text)) if text.trim().len() == text.len() => {
            let text = text.as_bytes();
            numeric(kind, text.get(..number::prefix(text)?)?)
        }
        _ => None,
    }
}

fn numeric(kind: Kind, raw: &[u8]) -> Option<Scalar> {
    let digits = number::whole(raw)?;
    match kind {
        Kind::Int32 => digits.parse::<i32>().ok().map(i64::from).map(signed),
        Kind::Int64 => digits.parse().ok().map(signed),
        Kind::Uint32 => digits
            .parse::<u32>()
            .ok()
            .map(u64::from)
            .map(Scalar::Varint),
        Kind::Uint64 => digits.parse().ok().map(Scalar::Varint),
        _ => None,
    }
}

const fn signed(value: i64) -> Scalar {
    Scalar::Varint(value.cast_unsigned())
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "enum",
        Kind::Message(_) => "message",
    }
}

/// The alphabet is told by the letters, the padding by the length.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const fn engine(alphabet: &Alphabet, padding: DecodePaddingMode) -> GeneralPurpose {
        let config = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(padding);
        GeneralPurpose::new(alphabet, config)
    }
    const PADDED: DecodePaddingMode = DecodePaddingMode::RequireCanonical;
    const BARE: DecodePaddingMode = DecodePaddingMode::RequireNone;
    static STANDARD_PADDED: GeneralPurpose = engine(&STANDARD, PADDED);
    static STANDARD_BARE: GeneralPurpose = engine(&STANDARD, BARE);
    static URL_SAFE_PADDED: GeneralPurpose = engine(&URL_SAFE, PADDED);
    static URL_SAFE_BARE: GeneralPurpose = engine(&URL_SAFE, BARE);
    let engine = match (text.contains(['-', '_']), text.len().is_multiple_of(4)) {
        (false, true) => &STANDARD_PADDED,
        (false, false) => &STANDARD_BARE,
        (true, true) => &URL_SAFE_PADDED,
        (true, false) => &URL_SAFE_BARE,
    };
    if text.contains(['\r', '\n']) {
        let joined: String = text
            .chars()
            .filter(|letter| !"\r\n".contains(*letter))
            .collect();
        return engine.decode(joined).ok();
    }
    engine.decode(text).ok()
}
