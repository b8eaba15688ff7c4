//! Who watches what, and what each must have seen.

use std::collections::HashMap;

use kvorum_proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};

use super::{GROUPS, KEYS_PER_GROUP, write::Acknowledged};

/// One key's change inside a revision; without a name it is a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: u16,
    pub(super) name: Option<u64>,
}

/// One event, as small as it can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) revision: i64,
    pub(super) key: u16,
    pub(super) name: Option<u64>,
    /// Revision and name of what the key held before.
    pub(super) previous: Option<(i64, u64)>,
}

pub(super) fn key_name(key: u16) -> String {
    let (group, number) = (
        usize::from(key) / KEYS_PER_GROUP,
        usize::from(key) % KEYS_PER_GROUP,
    );
    format!("{group:02}/{number:02}")
}

pub(super) fn key_number(name: &[u8]) -> Option<u16> {
    let (group, number) = std::str::from_utf8(name).ok()?.split_once('/')?;
    let (group, number): (usize, usize) = (group.parse().ok()?, number.parse().ok()?);
    u16::try_from(group * KEYS_PER_GROUP + number).ok()
}

#[derive(Clone, Copy, Debug)]
enum Watched {
    Everything,
    Group(usize),
    Key(u16),
}

/// One watcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watcher {
    watched: Watched,
    previous: bool,
    fragment: bool,
    without: Option<FilterType>,
}

impl Watcher {
    /// 4 of everything, 4 of each group, the rest of single keys: about eight for every change.
    pub(super) fn draw(index: usize) -> Self {
        let watched = match index {
            0..4 => Watched::Everything,
            4..100 => Watched::Group((index - 4) / 4 % GROUPS),
            _ => Watched::Key((index * 31 % (GROUPS * KEYS_PER_GROUP)) as u16),
        };
        let without = match index % 4 {
            2 => Some(FilterType::Nodelete),
            3 => Some(FilterType::Noput),
            _ => None,
        };
        let without = if index < 100 { without } else { None };
        Self {
            watched,
            previous: index % 2 == 1,
            fragment: index.is_multiple_of(5),
            without,
        }
    }

    pub(super) fn request(&self) -> WatchCreateRequest {
        let (key, range_end) = match self.watched {
            Watched::Everything => ("\0".to_owned(), "\0".to_owned()),
            Watched::Group(group) => (format!("{group:02}/"), format!("{group:02}0")),
            Watched::Key(key) => (key_name(key), String::new()),
        };
        WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            prev_kv: self.previous,
            fragment: self.fragment,
            filters: self.without.into_iter().map(i32::from).collect(),
            ..Default::default()
        }
    }

    fn wants(&self, change: &Change) -> bool {
        let watched = match self.watched {
            Watched::Everything => true,
            Watched::Group(group) => usize::from(change.key) / KEYS_PER_GROUP == group,
            Watched::Key(key) => key == change.key,
        };
        let filtered = match self.without {
            Some(FilterType::Noput) => change.name.is_some(),
            Some(FilterType::Nodelete) => change.name.is_none(),
            None => false,
        };
        watched && !filtered
    }
}

/// All changes in the order of their revisions.
pub(super) struct History(Vec<Seen>);

impl History {
    /// Puts the acknowledged writes in order; an error if a revision is missing or was issued twice.
    pub(super) fn new(mut acknowledged: Acknowledged) -> Result<Self, String> {
        acknowledged.sort_by_key(|(revision, _)| *revision);
        let mut held: HashMap<u16, (i64, u64)> = HashMap::new();
        let mut history = Vec::new();
        for (expected, (revision, changes)) in (2..).zip(acknowledged) {
            if revision != expected {
                return Err(format!("expected revision {expected}, found {revision}"));
            }
            for Change { key, name } in changes {
                let previous = match name {
                    Some(name) => held.insert(key, (revision, name)),
                    None => held.remove(&key),
                };
                history.push(Seen {
                    revision,
                    key,
                    name,
                    previous,
                });
            }
        }
        Ok(Self(history))
    }

    pub(super) fn changes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn last_revision(&self) -> i64 {
        self.0.last().map_or(1, |seen| seen.revision)
    }

    /// What the watcher must have been told, from the first change on.
    pub(super) fn seen_by(&self, watcher: &Watcher) -> Vec<Seen> {
        let wanted = self.0.iter().filter(|seen| {
            watcher.wants(&Change {
                key: seen.key,
                name: seen.name,
            })
        });
        wanted
            .map(|seen| Seen {
                previous: seen.previous.filter(|_| watcher.previous),
                ..*seen
            })
            .collect()
    }
}

/// Where the two differ first.
pub(super) fn difference(seen: &[Seen], expected: &[Seen]) -> Option<String> {
    let same = seen
        .iter()
        .zip(expected)
        .take_while(|(seen, expected)| seen == expected)
        .count();
    if same == seen.len() && same == expected.len() {
        return None;
    }
    Some(format!(
        "{} events, {} expected; after {same}: {:?}, expected {:?}",
        seen.len(),
        expected.len(),
        seen.get(same),
        expected.get(same)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: u16, name: Option<u64>) -> Vec<Change> {
        vec![Change { key, name }]
    }

    fn history() -> History {
        let acknowledged = vec![
            (3, change(5, Some(2))),
            (2, change(5, Some(1))),
            (4, change(5, None)),
            (5, change(700, Some(3))),
        ];
        History::new(acknowledged).expect("no gap")
    }

    #[test]
    fn a_gap_or_a_repeated_revision_is_found() {
        assert!(History::new(vec![(2, change(1, Some(1))), (4, change(1, Some(2)))]).is_err());
        assert!(History::new(vec![(2, change(1, Some(1))), (2, change(1, Some(2)))]).is_err());
    }

    #[test]
    fn each_watcher_expects_its_keys_with_or_without_what_was_before() {
        let watcher = |watched, previous, without| Watcher {
            watched,
            previous,
            fragment: false,
            without,
        };
        let all = history().seen_by(&watcher(Watched::Everything, true, None));
        let before: Vec<_> = all.iter().map(|seen| seen.previous).collect();
        assert_eq!(before, [None, Some((2, 1)), Some((3, 2)), None]);
        let key = history().seen_by(&watcher(Watched::Key(5), false, Some(FilterType::Nodelete)));
        assert_eq!(key.len(), 2);
        assert!(key.iter().all(|seen| seen.previous.is_none()));
        assert_eq!(
            history()
                .seen_by(&watcher(Watched::Group(7), false, None))
                .len(),
            1
        );
    }

    #[test]
    fn a_lost_a_repeated_and_a_swapped_event_are_found() {
        let expected = history().0;
        assert_eq!(difference(&expected, &expected), None);
        assert!(difference(&expected[1..], &expected).is_some());
        assert!(difference(&[&expected[..1], &expected].concat(), &expected).is_some());
        let mut swapped = expected.clone();
        swapped.swap(1, 2);
        assert!(difference(&swapped, &expected).is_some());
    }

    #[test]
    fn keys_have_names_and_back() {
        for key in [0, 99, 100, 2399] {
            assert_eq!(key_number(key_name(key).as_bytes()), Some(key));
        }
    }
}
