//! Base64 as RFC 4648 defines it: the standard alphabet in bodies, the URL-safe one in addresses.
//!
//! Some forty lines of our own, so that the browser bundle and the server agree without a dependency.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Standard alphabet, padded.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = digits(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// URL-safe alphabet, without padding: needs no escaping in a query.
#[must_use]
pub fn encode_url(bytes: &[u8]) -> String {
    digits(bytes, URL_SAFE)
}

/// Reads either alphabet, padded or not; `None` if the text is neither.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            bits = bits << 6 | u32::from(sextet(digit)?);
        }
        match group.len() {
            4 => bytes.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]),
            3 if bits.trailing_zeros() >= 2 => {
                bytes.extend([(bits >> 10) as u8, (bits >> 2) as u8])
            }
            2 if bits.trailing_zeros() >= 4 => bytes.push((bits >> 4) as u8),
            _ => return None,
        }
    }
    Some(bytes)
}

fn digits(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(
                alphabet[(bits >> (18 - 6 * place)) as usize & 63],
            ));
        }
    }
    text
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
