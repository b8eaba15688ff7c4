//! Keys and values as people see them: text where it is text, escapes where it is not, never markup.

use std::fmt::Write;

/// Bytes shown on one line of a hex dump.
const HEX_LINE_BYTES: usize = 16;

/// One line that stands for exactly these bytes: control, direction-changing and non-UTF-8 bytes are escaped.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|c| escape_into(c, &mut line));
        for byte in chunk.invalid() {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}

fn escape_into(c: char, line: &mut String) {
    match c {
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        '\\' => line.push_str("\\\\"),
        c if c.is_ascii_control() => {
            let _ = write!(line, "\\x{:02x}", c as u32);
        }
        c if c.is_control() || misleads(c) => {
            let _ = write!(line, "\\u{{{:x}}}", c as u32);
        }
        c => line.push(c),
    }
}

/// Characters that change the order of others or take no room: two different keys could look alike.
fn misleads(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text, if the bytes are UTF-8 without control characters other than line ends and tabs.
pub(crate) fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(plain).then_some(text)
}

/// Offset, hexadecimal and ASCII, sixteen bytes a line.
pub(crate) fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (line, chunk) in bytes.chunks(HEX_LINE_BYTES).enumerate() {
        let _ = write!(dump, "{:08x}  ", line * HEX_LINE_BYTES);
        for place in 0..HEX_LINE_BYTES {
            match chunk.get(place) {
                Some(byte) => {
                    let _ = write!(dump, "{byte:02x} ");
                }
                None => dump.push_str("   "),
            }
            if place == HEX_LINE_BYTES / 2 - 1 {
                dump.push(' ');
            }
        }
        dump.push(' ');
        let visible = |byte: &u8| matches!(byte, 0x20..=0x7e);
        dump.extend(chunk.iter().map(|byte| {
            if visible(byte) {
                char::from(*byte)
            } else {
                '·'
            }
        }));
        dump.push('\n');
    }
    dump
}

/// What a key adds to the prefix it is listed under.
pub(crate) fn last_segment<'a>(key: &'a [u8], parent: &[u8]) -> &'a [u8] {
    key.strip_prefix(parent).unwrap_or(key)
}

/// A word as a POSIX shell reads it back: for commands to copy.
pub(crate) fn shell_word(bytes: &[u8]) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-:,=@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(safe) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match readable(bytes) {
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
        None => {
            let mut word = String::from("$'");
            for byte in bytes {
                let _ = write!(word, "\\x{byte:02x}");
            }
            word.push('\'');
            word
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_keys_are_shown_as_they_are() {
        assert_eq!(escaped("app/straße/東京".as_bytes()), "app/straße/東京");
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped_one_by_one() {
        assert_eq!(escaped(b"a\xff\x00\xc3b"), "a\\xff\\x00\\xc3b");
    }

    #[test]
    fn a_key_cannot_pose_as_another_by_direction_marks() {
        assert_eq!(escaped("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(escaped(b"a\\xff"), "a\\\\xff");
    }

    #[test]
    fn a_hex_dump_aligns_its_last_line() {
        let dump = hex_dump(b"0123456789abcdefG");
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(
            lines[0],
            "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef"
        );
        assert!(lines[1].starts_with("00000010  47 "));
        assert_eq!(lines[1].find('G'), lines[0].rfind("0123"));
    }

    #[test]
    fn commands_quote_what_a_shell_would_split() {
        assert_eq!(shell_word(b"app/x"), "app/x");
        assert_eq!(shell_word(b"it's"), "'it'\\''s'");
        assert_eq!(shell_word(b""), "''");
        assert_eq!(shell_word(b"\xff"), "$'\\xff'");
    }

    #[test]
    fn binary_values_are_not_offered_as_text() {
        assert!(readable(b"k8s\0").is_none());
        assert!(readable(b"line\nline").is_some());
    }
}
