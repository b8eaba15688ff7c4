//! How Go shows characters and strings in its errors.

/// One byte of a text as `encoding/json` names it: `'x'`.
pub(super) fn character(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let mut shown = String::from("'");
            escape(char::from(byte), &mut shown);
            shown.push('\'');
            shown
        }
    }
}

/// Bytes as `%q` shows them.
pub(super) fn string(bytes: &[u8]) -> String {
    let mut shown = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            escape(letter, &mut shown);
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown.push('"');
    shown
}

fn escape(letter: char, shown: &mut String) {
    match letter {
        '"' => shown.push_str("\\\""),
        '\\' => shown.push_str("\\\\"),
        '\u{7}' => shown.push_str("\\a"),
        '\u{8}' => shown.push_str("\\b"),
        '\u{c}' => shown.push_str("\\f"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        '\u{b}' => shown.push_str("\\v"),
        '\0'..='\u{1f}' | '\u{7f}' => shown.push_str(&format!("\\x{:02x}", u32::from(letter))),
        '\u{80}'..='\u{a0}' | '\u{ad}' => {
            shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
        }
        _ => shown.push(letter),
    }
}
