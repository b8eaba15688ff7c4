//! What is known of the truth: every entry that any log ever held, which of them were applied, and when.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::log::Entry;

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) type Checked = Result<(), Violation>;

/// Makes a violation.
pub(crate) fn wrong<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

/// An entry that was applied by somebody.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) term: u64,
    pub(crate) data: Bytes,
    pub(crate) is_normal: bool,
    /// When the first member applied it, µs.
    pub(crate) at_us: u64,
}

/// An entry of a member's log.
#[derive(Clone, Debug)]
struct Own {
    term: u64,
    data: Bytes,
    is_normal: bool,
}

/// One member's log as it was handed out to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    /// Everything up to here is in the state.
    base: u64,
    entries: BTreeMap<u64, Own>,
}

impl Shadow {
    pub(crate) fn begin(base: u64) -> Self {
        Self {
            base,
            entries: BTreeMap::new(),
        }
    }

    fn last(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.base)
    }
}

/// All members' truth.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Hash of the payload of each entry that somebody may know of, by index and term.
    entries: BTreeMap<(u64, u64), u64>,
    pub(crate) applied: BTreeMap<u64, Applied>,
    leaders: BTreeMap<u64, u64>,
    shadows: BTreeMap<u64, Shadow>,
    digests: BTreeMap<u64, (u64, u64)>,
    /// State of a member before the first entry was applied: the first of the cluster.
    pub(crate) first: u64,
}

impl Ledger {
    /// A member has this in its log after a start.
    pub(crate) fn recovered(&mut self, member: u64, base: u64, entries: &[Entry]) -> Checked {
        self.shadows.insert(member, Shadow::begin(base));
        self.appended(member, entries)?;
        self.known(member, entries.iter().map(|e| (e.index, e.term, &e.data)))
    }

    /// A member's state was replaced.
    pub(crate) fn installed(&mut self, member: u64, index: u64) {
        self.shadows.insert(member, Shadow::begin(index));
    }

    /// A member hands out entries to be written.
    pub(crate) fn appended(&mut self, member: u64, entries: &[Entry]) -> Checked {
        let shadow = self.shadows.entry(member).or_default();
        for entry in entries {
            if entry.index <= shadow.base {
                continue;
            }
            if entry.index > shadow.last() + 1 {
                return wrong(format!(
                    "member {member} has entry {} after {}",
                    entry.index,
                    shadow.last()
                ));
            }
            drop(shadow.entries.split_off(&entry.index));
            let own = Own {
                term: entry.term,
                data: entry.data.clone(),
                is_normal: entry.kind == kvorum_core::log::EntryKind::Normal,
            };
            shadow.entries.insert(entry.index, own);
        }
        Ok(())
    }

    /// Entries are durable at a member, or on their way to another one: from now on there is only one of that index
    /// and term. (Raft paper 5.3: Log Matching)
    pub(crate) fn known<'a>(
        &mut self,
        member: u64,
        entries: impl Iterator<Item = (u64, u64, &'a Bytes)>,
    ) -> Checked {
        for (index, term, data) in entries {
            let hash = hash_of(data);
            if *self.entries.entry((index, term)).or_insert(hash) != hash {
                return wrong(format!(
                    "log matching: member {member} has another entry {index} of term {term}"
                ));
            }
        }
        Ok(())
    }

    /// A member has applied everything up to `to`. (State Machine Safety)
    pub(crate) fn applied(&mut self, member: u64, to: u64, at_us: u64) -> Checked {
        let shadow = self.shadows.entry(member).or_default();
        for (index, own) in shadow
            .entries
            .range(self.first + 1..=to.max(self.first + 1))
        {
            if *index > to {
                break;
            }
            if let Some(applied) = self.applied.get(index) {
                if applied.term != own.term || applied.data != own.data {
                    return wrong(format!(
                        "state machine safety: member {member} applied entry {index} of term {}, another one of term {}",
                        own.term, applied.term
                    ));
                }
                continue;
            }
            let last = self
                .applied
                .keys()
                .next_back()
                .copied()
                .unwrap_or(self.first);
            if *index != last + 1 {
                return wrong(format!(
                    "member {member} applied entry {index}, and nobody entry {}",
                    last + 1
                ));
            }
            let applied = Applied {
                term: own.term,
                data: own.data.clone(),
                is_normal: own.is_normal,
                at_us,
            };
            self.applied.insert(*index, applied);
        }
        // What is applied by this member needs no second look.
        let rest = shadow.entries.split_off(&to.max(1));
        shadow.base = shadow.base.max(to.saturating_sub(1));
        shadow.entries = rest;
        Ok(())
    }

    /// A member leads. (Election Safety, Leader Completeness)
    pub(crate) fn leads(&mut self, member: u64, term: u64) -> Checked {
        if let Some(other) = self.leaders.insert(term, member)
            && other != member
        {
            return wrong(format!(
                "members {other} and {member} both lead term {term}"
            ));
        }
        let Some((index, applied)) = self.applied.last_key_value() else {
            return Ok(());
        };
        let shadow = self.shadows.entry(member).or_default();
        let own = shadow.entries.get(index).map(|own| own.term);
        let has = *index <= shadow.base || own == Some(applied.term);
        if !has && applied.term < term {
            return wrong(format!(
                "leader completeness: member {member} leads term {term} without entry {index} of term {}; its log ends \
                 at {}",
                applied.term,
                shadow.last()
            ));
        }
        Ok(())
    }

    /// The whole state of a member at an applied index.
    pub(crate) fn digest(&mut self, member: u64, index: u64, digest: u64) -> Checked {
        let (first, by) = *self.digests.entry(index).or_insert((digest, member));
        if first != digest {
            return wrong(format!(
                "members {by} and {member} have different states at entry {index}"
            ));
        }
        Ok(())
    }

    /// Terms that had a leader.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// Last applied entry.
    pub(crate) fn last(&self) -> u64 {
        self.applied
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.first)
    }
}

/// FNV-1a.
fn hash_of(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
