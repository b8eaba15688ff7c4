//! Strings of JSON: what stands between the quotes, in both directions.

use super::{Malformed, quote};

/// What a string holds, and where the text goes on. `rest` starts behind the opening quote.
///
/// # Errors
///
/// The kind of fault; the caller knows the place.
pub(super) fn read(rest: &[u8]) -> Result<(String, usize), Fault> {
    let mut held = String::new();
    let mut at = 0;
    loop {
        let plain = rest.get(at..).unwrap_or_default();
        let end = plain
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        let (plain, _) = plain.split_at(end.ok_or(Fault::End)?);
        held.push_str(std::str::from_utf8(plain).map_err(|_| Fault::Utf8)?);
        at += plain.len();
        match rest.get(at) {
            Some(b'"') => return Ok((held, at + 1)),
            Some(b'\\') => {
                let (letter, length) = escape(rest.get(at..).unwrap_or_default())?;
                held.push(letter);
                at += length;
            }
            Some(control) => return Err(Fault::Control(*control)),
            None => return Err(Fault::End),
        }
    }
}

/// What is wrong with a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    End,
    Utf8,
    Control(u8),
    Escape(String),
}

impl Fault {
    /// The text, for a string that starts at `line` and `column`.
    pub(super) fn at(self, (line, column): (usize, usize)) -> Malformed {
        let what = match self {
            Self::End => return Malformed::proto("unexpected EOF"),
            Self::Utf8 => "invalid UTF-8 in string".to_owned(),
            Self::Control(byte) => {
                format!("invalid character {} in string", quote::character(byte))
            }
            Self::Escape(code) => format!("invalid escape code {code} in string"),
        };
        Malformed::proto(format_args!("syntax error (line {line}:{column}): {what}"))
    }
}

fn escape(rest: &[u8]) -> Result<(char, usize), Fault> {
    let letter = match rest.get(1).ok_or(Fault::End)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        _ => return Err(Fault::Escape(quote::string(rest.get(..2).unwrap_or(rest)))),
    };
    Ok((letter, 2))
}

fn unicode(rest: &[u8]) -> Result<(char, usize), Fault> {
    let (first, rest) = rest.split_at_checked(6).ok_or(Fault::End)?;
    let high = hex(first).ok_or_else(|| Fault::Escape(quote::string(first)))?;
    if let Some(letter) = char::from_u32(high) {
        return Ok((letter, 6));
    }
    let (second, _) = rest.split_at_checked(6).ok_or(Fault::End)?;
    let low =
        hex(second).filter(|low| second.starts_with(b"\\u") && (0xdc00..0xe000).contains(low));
    let pair = low
        .filter(|_| high < 0xdc00)
        .and_then(|low| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
    match pair {
        Some(letter) => Ok((letter, 12)),
        None => Err(Fault::Escape(quote::string(second))),
    }
}

fn hex(code: &[u8]) -> Option<u32> {
    let digits = code.get(2..6)?;
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Writes a JSON string, escaping what must be and nothing else.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control @ '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
