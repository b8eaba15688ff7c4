//! Cuts a body that arrives in pieces into JSON values, and refuses what is none in the words of Go's `encoding/json`.

use bytes::{Buf, Bytes, BytesMut};

use super::{Malformed, quote};

/// Objects and arrays inside each other.
const DEPTH_MAX: usize = 10_000;

/// One value, without blanks around it, known to be well-formed JSON but for the inside of its strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// The text.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What stands for a body without a value: a message without fields.
    #[must_use]
    pub const fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }
}

/// A body on its way in.
#[derive(Debug, Default)]
pub struct Values {
    held: BytesMut,
    scanned: usize,
    scanner: Scanner,
    failed: Option<Malformed>,
}

impl Values {
    /// Takes what arrived.
    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// How many bytes wait for the rest of their value.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// The next value, or nothing if it is not there yet.
    ///
    /// # Errors
    ///
    /// At the first byte that cannot be right, and from then on.
    #[allow(
        clippy::should_implement_trait,
        reason = "nothing now may be something after the next piece"
    )]
    pub fn next(&mut self) -> Result<Option<Json>, Malformed> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        while let Some(byte) = self.held.get(self.scanned).copied() {
            match self.scanner.step(byte) {
                Ok(Step::Blank) if self.scanned == 0 => self.held.advance(1),
                Ok(Step::Blank | Step::More) => self.scanned += 1,
                Ok(Step::Last) => {
                    self.scanned += 1;
                    return Ok(Some(self.cut()));
                }
                Ok(Step::Past) => return Ok(Some(self.cut())),
                Err(text) => {
                    let failed = Malformed(text);
                    self.failed = Some(failed.clone());
                    return Err(failed);
                }
            }
        }
        Ok(None)
    }

    /// The last value, when no more will arrive: a number ends only here.
    ///
    /// # Errors
    ///
    /// If it ends in the middle of a value.
    pub fn finish(&mut self) -> Result<Option<Json>, Malformed> {
        if let Some(json) = self.next()? {
            return Ok(Some(json));
        }
        if self.held.is_empty() {
            return Ok(None);
        }
        match self.scanner.step(b' ') {
            Ok(Step::Past) => Ok(Some(self.cut())),
            _ => Err(Malformed::end()),
        }
    }

    fn cut(&mut self) -> Json {
        let value = self.held.split_to(self.scanned).freeze();
        self.scanned = 0;
        self.scanner = Scanner::default();
        Json(value)
    }
}

/// What a byte was.
enum Step {
    /// A blank outside of any value.
    Blank,
    /// A part of the value.
    More,
    /// The last byte of the value.
    Last,
    /// The first byte behind the value.
    Past,
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Value,
    /// Behind `[`.
    ElementOrEnd,
    /// Behind `{`.
    KeyOrEnd,
    Key,
    Text,
    Escape,
    Hex(u8),
    /// Behind a minus sign.
    Digit,
    /// Behind a leading zero.
    DotOrExponent,
    Integer,
    FirstDecimal,
    Decimals,
    SignOrExponent,
    FirstExponent,
    Exponent,
    /// The rest of a word.
    Word(&'static str, usize),
    /// Behind a value, or behind the name of one.
    Separator,
}

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// An object whose next name, or the colon behind it, is awaited.
    Key,
    /// An object of which a value is being read.
    Member,
    Array,
}

#[derive(Debug)]
struct Scanner {
    expect: Expect,
    open: Vec<Open>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            expect: Expect::Value,
            open: Vec::new(),
        }
    }
}

type Stepped = Result<Step, String>;

impl Scanner {
    fn step(&mut self, byte: u8) -> Stepped {
        match self.expect {
            Expect::Text => self.in_text(byte),
            Expect::Value
            | Expect::ElementOrEnd
            | Expect::KeyOrEnd
            | Expect::Key
            | Expect::Separator
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') =>
            {
                Ok(Step::Blank)
            }
            Expect::ElementOrEnd if byte == b']' => self.close(),
            Expect::Value | Expect::ElementOrEnd => self.begin(byte),
            Expect::KeyOrEnd if byte == b'}' => self.close(),
            Expect::KeyOrEnd | Expect::Key if byte == b'"' => self.go_on(Expect::Text),
            Expect::KeyOrEnd | Expect::Key => {
                refuse(byte, "looking for beginning of object key string")
            }
            Expect::Separator => self.separator(byte),
            Expect::Escape => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.go_on(Expect::Text),
                b'u' => self.go_on(Expect::Hex(4)),
                _ => refuse(byte, "in string escape code"),
            },
            Expect::Hex(left) => match (byte.is_ascii_hexdigit(), left) {
                (false, _) => refuse(byte, "in \\u hexadecimal character escape"),
                (true, 2..) => self.go_on(Expect::Hex(left - 1)),
                (true, _) => self.go_on(Expect::Text),
            },
            Expect::Word(word, at) => self.in_word(word, at, byte),
            number => self.in_number(number, byte),
        }
    }

    fn go_on(&mut self, expect: Expect) -> Stepped {
        self.expect = expect;
        Ok(Step::More)
    }

    fn begin(&mut self, byte: u8) -> Stepped {
        match byte {
            b'{' => self.open(byte, Open::Key, Expect::KeyOrEnd),
            b'[' => self.open(byte, Open::Array, Expect::ElementOrEnd),
            b'"' => self.go_on(Expect::Text),
            b'-' => self.go_on(Expect::Digit),
            b'0' => self.go_on(Expect::DotOrExponent),
            b'1'..=b'9' => self.go_on(Expect::Integer),
            b't' => self.go_on(Expect::Word("true", 1)),
            b'f' => self.go_on(Expect::Word("false", 1)),
            b'n' => self.go_on(Expect::Word("null", 1)),
            _ => refuse(byte, "looking for beginning of value"),
        }
    }

    fn open(&mut self, byte: u8, what: Open, expect: Expect) -> Stepped {
        self.open.push(what);
        if self.open.len() > DEPTH_MAX {
            return refuse(byte, "exceeded max depth");
        }
        self.go_on(expect)
    }

    fn close(&mut self) -> Stepped {
        self.open.pop();
        Ok(self.end_value())
    }

    fn end_value(&mut self) -> Step {
        self.expect = Expect::Separator;
        match self.open.is_empty() {
            true => Step::Last,
            false => Step::More,
        }
    }

    fn in_text(&mut self, byte: u8) -> Stepped {
        match byte {
            b'"' => Ok(self.end_value()),
            b'\\' => self.go_on(Expect::Escape),
            0..=0x1f => refuse(byte, "in string literal"),
            _ => Ok(Step::More),
        }
    }

    fn in_word(&mut self, word: &'static str, at: usize, byte: u8) -> Stepped {
        let expected = word.as_bytes().get(at).copied().unwrap_or_default();
        if byte != expected {
            let context = format!("in literal {word} (expecting '{}')", char::from(expected));
            return refuse(byte, &context);
        }
        if at + 1 == word.len() {
            return Ok(self.end_value());
        }
        self.go_on(Expect::Word(word, at + 1))
    }

    fn in_number(&mut self, place: Expect, byte: u8) -> Stepped {
        let digit = byte.is_ascii_digit();
        match place {
            Expect::Digit => match byte {
                b'0' => self.go_on(Expect::DotOrExponent),
                b'1'..=b'9' => self.go_on(Expect::Integer),
                _ => refuse(byte, "in numeric literal"),
            },
            Expect::Integer if digit => Ok(Step::More),
            Expect::Integer | Expect::DotOrExponent if byte == b'.' => {
                self.go_on(Expect::FirstDecimal)
            }
            Expect::FirstDecimal if digit => self.go_on(Expect::Decimals),
            Expect::FirstDecimal => refuse(byte, "after decimal point in numeric literal"),
            Expect::Decimals if digit => Ok(Step::More),
            Expect::Integer | Expect::DotOrExponent | Expect::Decimals
                if matches!(byte, b'e' | b'E') =>
            {
                self.go_on(Expect::SignOrExponent)
            }
            Expect::SignOrExponent if matches!(byte, b'+' | b'-') => {
                self.go_on(Expect::FirstExponent)
            }
            Expect::SignOrExponent | Expect::FirstExponent if digit => self.go_on(Expect::Exponent),
            Expect::SignOrExponent | Expect::FirstExponent => {
                refuse(byte, "in exponent of numeric literal")
            }
            Expect::Exponent if digit => Ok(Step::More),
            // The number has ended with the byte before this one.
            _ if self.open.is_empty() => Ok(Step::Past),
            _ => {
                self.expect = Expect::Separator;
                self.step(byte)
            }
        }
    }

    fn separator(&mut self, byte: u8) -> Stepped {
        let Some(open) = self.open.last_mut() else {
            return Ok(Step::Past);
        };
        match (*open, byte) {
            (Open::Key, b':') => {
                *open = Open::Member;
                self.go_on(Expect::Value)
            }
            (Open::Member, b',') => {
                *open = Open::Key;
                self.go_on(Expect::Key)
            }
            (Open::Array, b',') => self.go_on(Expect::Value),
            (Open::Member, b'}') | (Open::Array, b']') => self.close(),
            (Open::Key, _) => refuse(byte, "after object key"),
            (Open::Member, _) => refuse(byte, "after object key:value pair"),
            (Open::Array, _) => refuse(byte, "after array element"),
        }
    }
}

fn refuse(byte: u8, context: &str) -> Stepped {
    Err(format!(
        "invalid character {} {context}",
        quote::character(byte)
    ))
}
