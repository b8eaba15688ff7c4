//! Which keys a `(key, range_end)` pair names.

use bytes::Bytes;

/// The keys that a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interval {
    /// One key: `range_end` is empty.
    One(Bytes),
    /// All keys from this one on: `range_end` is one zero byte.
    From(Bytes),
    /// From the first on, before the second; empty if they are in the wrong order.
    Between(Bytes, Bytes),
}

impl Interval {
    /// Reads etcd's convention.
    #[must_use]
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        match range_end.as_ref() {
            b"" => Self::One(key.clone()),
            b"\0" => Self::From(key.clone()),
            _ => Self::Between(key.clone(), range_end.clone()),
        }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::From(Bytes::new())
    }

    /// True if `key` is one of them.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(only) => key == only,
            Self::From(start) => key >= start.as_ref(),
            Self::Between(start, end) => key >= start.as_ref() && key < end.as_ref(),
        }
    }
}
