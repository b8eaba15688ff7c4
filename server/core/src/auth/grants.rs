//! The keys that a user may read, or write: the union of what all roles grant.

use crate::mvcc::interval::Interval;

/// From a key on, up to but without another; without end where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    begin: Box<[u8]>,
    end: Option<Box<[u8]>>,
}

impl Span {
    fn of(interval: Interval<'_>) -> Option<Self> {
        let (begin, end) = match interval {
            Interval::Key(key) => {
                let mut after = key.to_vec();
                after.push(0);
                (key, Some(after.into_boxed_slice()))
            }
            Interval::From(begin) => (begin, None),
            Interval::Span(begin, end) if begin < end => (begin, Some(end.into())),
            Interval::Span(..) => return None,
        };
        Some(Self {
            begin: begin.into(),
            end,
        })
    }

    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key <= end)
    }
}

/// A set of keys, as spans in order that neither meet nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants(Vec<Span>);

impl Grants {
    /// The union of intervals.
    pub(super) fn union<'a>(intervals: impl IntoIterator<Item = Interval<'a>>) -> Self {
        let mut spans: Vec<Span> = intervals.into_iter().filter_map(Span::of).collect();
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if last.reaches(&span.begin) => {
                    // No end is the farthest end.
                    let farther = match (&last.end, &span.end) {
                        (Some(known), Some(new)) => new > known,
                        (Some(_), None) => true,
                        (None, _) => false,
                    };
                    if farther {
                        last.end = span.end;
                    }
                }
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// True if every key of the interval is in the set. One that names no key counts as its first.
    pub(super) fn cover(&self, interval: Interval<'_>) -> bool {
        let (Interval::Key(begin) | Interval::From(begin) | Interval::Span(begin, _)) = interval;
        let after = self.0.partition_point(|span| &*span.begin <= begin);
        let Some(span) = after.checked_sub(1).and_then(|at| self.0.get(at)) else {
            return false;
        };
        let end = span.end.as_deref();
        match interval {
            Interval::From(_) => end.is_none(),
            Interval::Span(_, wanted) if begin < wanted => end.is_none_or(|end| wanted <= end),
            _ => end.is_none_or(|end| begin < end),
        }
    }
}
