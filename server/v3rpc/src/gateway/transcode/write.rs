//! Encoded messages to JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Buf;
use kvorum_proto::shape::{FieldShape, Kind, MessageShape};
use prost::encoding::{WireType, decode_key, decode_varint};

use super::{MESSAGE_DEPTH_MAX, Malformed, text};

pub(super) fn message(
    wire: &[u8],
    shape: &MessageShape,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    object(wire, shape, MESSAGE_DEPTH_MAX, out)
}

/// A field's value as it was received.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn object(
    wire: &[u8],
    shape: &MessageShape,
    depth_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let depth_left = depth_left
        .checked_sub(1)
        .ok_or_else(|| broken("exceeded max recursion depth"))?;
    let mut values = fields(wire, shape)?;
    values.sort_by_key(|(place, _)| *place);
    out.push(b'{');
    let mut first = true;
    let mut rest = values.as_slice();
    while let Some((place, _)) = rest.first() {
        let count = rest.iter().take_while(|(other, _)| other == place).count();
        let (group, after) = rest.split_at(count);
        rest = after;
        let Some(field) = shape.fields.get(*place) else {
            continue;
        };
        if !is_shown(field, group) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        text::write(field.name, out);
        out.push(b':');
        member(field, group, depth_left, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// The values of the known fields, each with the place of its field.
fn fields<'a>(wire: &'a [u8], shape: &MessageShape) -> Result<Vec<(usize, Value<'a>)>, Malformed> {
    let mut values = Vec::new();
    let mut rest = wire;
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).map_err(broken)?;
        let place = shape.fields.iter().position(|field| field.number == number);
        match wire_type {
            WireType::Varint => {
                let value = decode_varint(&mut rest).map_err(broken)?;
                values.extend(place.map(|place| (place, Value::Varint(value))));
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(broken)?;
                let length = usize::try_from(length).map_err(broken)?;
                let (inside, after) = rest
                    .split_at_checked(length)
                    .ok_or_else(|| broken("unexpected EOF"))?;
                rest = after;
                if let (Some(place), Some(field)) =
                    (place, place.and_then(|at| shape.fields.get(at)))
                {
                    push(field, place, inside, &mut values)?;
                }
            }
            other => {
                let length = match other {
                    WireType::SixtyFourBit => 8,
                    WireType::ThirtyTwoBit => 4,
                    _ => return Err(broken("groups are not supported")),
                };
                if rest.len() < length {
                    return Err(broken("unexpected EOF"));
                }
                rest.advance(length);
            }
        }
    }
    Ok(values)
}

/// Numbers of a list may come in one piece.
fn push<'a>(
    field: &FieldShape,
    place: usize,
    inside: &'a [u8],
    values: &mut Vec<(usize, Value<'a>)>,
) -> Result<(), Malformed> {
    if matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_)) {
        values.push((place, Value::Bytes(inside)));
        return Ok(());
    }
    let mut rest = inside;
    while !rest.is_empty() {
        let value = decode_varint(&mut rest).map_err(broken)?;
        values.push((place, Value::Varint(value)));
    }
    Ok(())
}

/// Zeros are not, unless they tell which of several fields was chosen.
fn is_shown(field: &FieldShape, group: &[(usize, Value<'_>)]) -> bool {
    if field.repeated || field.oneof.is_some() || matches!(field.kind, Kind::Message(_)) {
        return true;
    }
    match group.last() {
        None => false,
        Some((_, Value::Varint(value))) => *value != 0,
        Some((_, Value::Bytes(bytes))) => !bytes.is_empty(),
    }
}

fn member(
    field: &FieldShape,
    group: &[(usize, Value<'_>)],
    depth_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    if !field.repeated {
        return match group.last() {
            Some((_, last)) => one(field, *last, depth_left, out),
            None => Ok(()),
        };
    }
    out.push(b'[');
    for (number, (_, value)) in group.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        one(field, *value, depth_left, out)?;
    }
    out.push(b']');
    Ok(())
}

fn one(
    field: &FieldShape,
    value: Value<'_>,
    depth_left: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match (field.kind, value) {
        (Kind::Bool, Value::Varint(value)) => {
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
        }
        (Kind::Int32, Value::Varint(value)) => decimal(&low_half(value).to_string(), out),
        (Kind::Uint32, Value::Varint(value)) => {
            decimal(&low_half(value).cast_unsigned().to_string(), out);
        }
        (Kind::Int64, Value::Varint(value)) => quoted(&value.cast_signed().to_string(), out),
        (Kind::Uint64, Value::Varint(value)) => quoted(&value.to_string(), out),
        (Kind::Enum(_), Value::Varint(value)) => {
            let number = low_half(value);
            match field
                .kind
                .enumeration()
                .and_then(|shape| shape.name(number))
            {
                Some(name) => quoted(name, out),
                None => decimal(&number.to_string(), out),
            }
        }
        (Kind::String, Value::Bytes(bytes)) => {
            let held = std::str::from_utf8(bytes)
                .map_err(|_| broken(format_args!("field {} contains invalid UTF-8", field.name)))?;
            text::write(held, out);
        }
        (Kind::Bytes, Value::Bytes(bytes)) => base64(bytes, out),
        (Kind::Message(_), Value::Bytes(bytes)) => {
            let shape = field
                .kind
                .message()
                .ok_or_else(|| broken("no such message"))?;
            object(bytes, shape, depth_left, out)?;
        }
        _ => return Err(broken("cannot parse invalid wire-format data")),
    }
    Ok(())
}

/// Numbers of 32 bits travel with their sign extended to 64.
const fn low_half(value: u64) -> i32 {
    #[allow(clippy::cast_possible_truncation, reason = "that is what is wanted")]
    let low = value as i32;
    low
}

fn decimal(digits: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(digits.as_bytes());
}

/// For texts that need no escaping.
fn quoted(plain: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = bytes.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    // The room is exactly what padded base64 takes.
    let written = STANDARD.encode_slice(bytes, room).unwrap_or(length);
    out.truncate(start + written);
    out.push(b'"');
}

fn broken(reason: impl std::fmt::Display) -> Malformed {
    Malformed::proto(reason)
}
