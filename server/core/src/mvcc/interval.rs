//! Key intervals as etcd's requests spell them.

use std::ops::Bound;

/// Where a walk over an ordered map begins and ends.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys that a `key`/`range_end` pair names. (ETCD.md 2.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval<'a> {
    /// One key.
    Key(&'a [u8]),
    /// Every key from this one on.
    From(&'a [u8]),
    /// From the first, up to but without the second.
    Span(&'a [u8], &'a [u8]),
}

impl<'a> Interval<'a> {
    /// Reads a request: an empty `range_end` is one key, one zero byte is an open end.
    #[must_use]
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::Key(key),
            [0] => Self::From(key),
            end => Self::Span(key, end),
        }
    }

    /// True if `key` lies in the interval.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match *self {
            Self::Key(k) => k == key,
            Self::From(start) => start <= key,
            Self::Span(start, end) => start <= key && key < end,
        }
    }

    /// Bounds for an ordered map, `None` if no key can lie inside (such bounds would panic there).
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds<'a>> {
        match *self {
            Self::Key(k) => Some((Bound::Included(k), Bound::Included(k))),
            Self::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
            Self::Span(start, end) if start < end => {
                Some((Bound::Included(start), Bound::Excluded(end)))
            }
            Self::Span(..) => None,
        }
    }

    /// The same interval with its start moved to just after `key`; used to go on with a long read.
    #[must_use]
    pub fn bounds_after<'b>(&self, key: &'b [u8]) -> Option<Bounds<'b>>
    where
        'a: 'b,
    {
        match *self {
            Self::Key(_) => None,
            Self::From(_) => Some((Bound::Excluded(key), Bound::Unbounded)),
            Self::Span(_, end) if key < end => Some((Bound::Excluded(key), Bound::Excluded(end))),
            Self::Span(..) => None,
        }
    }
}
