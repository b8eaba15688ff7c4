//! A value as a document: which form fits it, and JSON laid out without changing a single token.

use serde::de::IgnoredAny;

use crate::bytes;

/// Bytes laid out as a hex dump; more than that nobody reads.
const HEX_BYTES_MAX: usize = 8 * 1024;
const INDENT: &str = "  ";

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Hex,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Hex];

    /// As in the address.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Hex => "hex",
        }
    }

    /// As on the button.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Json => "JSON",
            Self::Hex => "Hex",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// True if the value can be shown so.
    pub(crate) fn fits(self, value: &[u8]) -> bool {
        match self {
            Self::Text => bytes::readable(value).is_some(),
            Self::Json => is_json(value),
            Self::Hex => true,
        }
    }

    /// The form that shows most of the meaning.
    pub(crate) fn best(value: &[u8]) -> Self {
        let structured = matches!(value.first(), Some(b'{' | b'['));
        match () {
            () if structured && is_json(value) => Self::Json,
            () if bytes::readable(value).is_some() => Self::Text,
            () => Self::Hex,
        }
    }
}

fn is_json(value: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(value).is_ok()
}

/// What a piece of JSON is; decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Key,
    Text,
    Number,
    Word,
    Mark,
}

impl Token {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Key => "json-key",
            Self::Text => "json-text",
            Self::Number => "json-number",
            Self::Word => "json-word",
            Self::Mark => "json-mark",
        }
    }
}

/// The value as a hex dump; the flag says that it was cut.
pub(crate) fn hex(value: &[u8]) -> (String, bool) {
    match value.get(..HEX_BYTES_MAX) {
        Some(beginning) if value.len() > HEX_BYTES_MAX => (bytes::hex_dump(beginning), true),
        _ => (bytes::hex_dump(value), false),
    }
}

/// Valid JSON, laid out: numbers, order and escapes stay as they were written.
pub(crate) fn pretty(json: &str) -> Vec<(Token, String)> {
    let mut layout = Layout::default();
    let mut rest = json.trim();
    while let Some(first) = rest.chars().next() {
        let len = token_len(rest, first);
        let (token, behind) = rest.split_at(len);
        rest = behind.trim_start();
        layout.add(token, first, rest);
    }
    layout.pieces
}

#[derive(Default)]
struct Layout {
    pieces: Vec<(Token, String)>,
    depth: usize,
}

impl Layout {
    fn add(&mut self, token: &str, first: char, rest: &str) {
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => self.mark(token.to_owned()),
            '{' | '[' => {
                self.depth += 1;
                self.mark(format!("{token}{}", self.line_end()));
            }
            '}' | ']' if self.just_opened() => self.mark(token.to_owned()),
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.mark(format!("{}{token}", self.line_end()));
            }
            ',' => self.mark(format!(",{}", self.line_end())),
            ':' => self.mark(": ".to_owned()),
            '"' if rest.starts_with(':') => self.pieces.push((Token::Key, token.to_owned())),
            '"' => self.pieces.push((Token::Text, token.to_owned())),
            '-' | '0'..='9' => self.pieces.push((Token::Number, token.to_owned())),
            _ => self.pieces.push((Token::Word, token.to_owned())),
        }
    }

    fn mark(&mut self, text: String) {
        match self.pieces.last_mut() {
            Some((Token::Mark, last)) => last.push_str(&text),
            _ => self.pieces.push((Token::Mark, text)),
        }
    }

    /// True between `{` and `}` of an empty object: only then does no line end follow the opening.
    fn just_opened(&self) -> bool {
        matches!(self.pieces.last(), Some((Token::Mark, last)) if last.ends_with(['{', '[']))
    }

    fn line_end(&self) -> String {
        format!("\n{}", INDENT.repeat(self.depth))
    }
}

fn token_len(rest: &str, first: char) -> usize {
    match first {
        '"' => string_len(rest),
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        _ => {
            let ends =
                |c: char| matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"') || c.is_whitespace();
            rest.find(ends).unwrap_or(rest.len()).max(first.len_utf8())
        }
    }
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (place, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(json: &str) -> String {
        pretty(json).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn json_is_laid_out_in_its_own_order() {
        let json = r#"{"b":[1,2.50e+3],"a":{"x":null},"e":{},"f":[]}"#;
        let wanted = "{\n  \"b\": [\n    1,\n    2.50e+3\n  ],\n  \"a\": {\n    \"x\": null\n  },\n  \"e\": {},\n  \"f\": []\n}";
        assert_eq!(laid_out(json), wanted);
        assert_eq!(laid_out(wanted), wanted);
    }

    #[test]
    fn marks_inside_strings_are_text() {
        let json = r#"["a{,\"}:b\\",true]"#;
        assert_eq!(laid_out(json), "[\n  \"a{,\\\"}:b\\\\\",\n  true\n]");
    }

    #[test]
    fn names_and_values_are_told_apart() {
        let pieces = pretty(r#"{"k":"v"}"#);
        assert!(pieces.contains(&(Token::Key, "\"k\"".into())));
        assert!(pieces.contains(&(Token::Text, "\"v\"".into())));
    }

    #[test]
    fn the_form_follows_the_value() {
        assert_eq!(Form::best(b"{\"a\":1}"), Form::Json);
        assert_eq!(Form::best(b"{a:1}"), Form::Text);
        assert_eq!(Form::best(b"42"), Form::Text);
        assert_eq!(Form::best(b"k8s\0\x0a"), Form::Hex);
        assert_eq!(Form::best(b""), Form::Text);
    }

    #[test]
    fn nothing_broken_hangs_the_layout() {
        for json in ["", "\"open", "}}}]", "\\", "ü,", "[1 2", "\u{7f}"] {
            let _ = laid_out(json);
        }
    }

    #[test]
    fn a_long_dump_says_that_it_was_cut() {
        assert!(hex(&vec![0; HEX_BYTES_MAX + 1]).1);
        assert!(!hex(&vec![0; HEX_BYTES_MAX]).1);
    }
}
