//! What is wrong with a setting, in one line: the field, where it was given, the value, and what to do.

use std::fmt;

/// Characters of a refused value that are shown.
const VALUE_CHARS_MAX: usize = 64;

/// One thing that keeps the server from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    /// A problem that is not about the value of one key.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A key whose value cannot be used.
    pub(crate) fn of(key: &str, source: &impl fmt::Display, value: &str, reason: &str) -> Self {
        Self(format!("{key}: {} ({source}): {reason}", shown(value)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value as it may appear in a message: quoted, escaped and cut.
pub(crate) fn shown(value: &str) -> String {
    let mut cut: String = value.chars().take(VALUE_CHARS_MAX).collect();
    if cut.len() < value.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
