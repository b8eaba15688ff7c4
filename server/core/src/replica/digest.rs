//! Comparing the members' states: the leader has a check put into the log, every member notes the digest of its state
//! there, and whoever differs from the majority learns it.

use std::collections::{BTreeMap, VecDeque};

use super::output::Divergence;
use crate::types::MemberId;

/// Checks that are remembered.
const CHECKS_MAX: usize = 8;

/// Digests at the last checks.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// Index of the check, and this member's digest there.
    own: VecDeque<(u64, u64)>,
    /// What the others say, on the leader.
    reports: BTreeMap<u64, BTreeMap<MemberId, u64>>,
}

/// What came out of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These members dissent from the digest that most have.
    Dissenters(u64, Vec<MemberId>),
    /// No digest has a majority.
    Split,
}

impl Digests {
    pub(super) fn note(&mut self, index: u64, digest: u64) {
        self.own.push_back((index, digest));
        if self.own.len() > CHECKS_MAX {
            self.own.pop_front();
        }
        while self.reports.len() > CHECKS_MAX {
            self.reports.pop_first();
        }
    }

    pub(super) fn own(&self, index: u64) -> Option<u64> {
        let found = self.own.iter().find(|(at, _)| *at == index);
        found.map(|(_, digest)| *digest)
    }

    /// Takes a report; a verdict once it is known what most voters have.
    pub(super) fn report(
        &mut self,
        index: u64,
        from: MemberId,
        digest: u64,
        voters: &[MemberId],
    ) -> Option<Verdict> {
        let reports = self.reports.entry(index).or_default();
        reports.insert(from, digest);
        let votes = |value: u64| {
            let agree = |v: &&MemberId| reports.get(v) == Some(&value);
            voters.iter().filter(agree).count()
        };
        let winner = reports
            .values()
            .copied()
            .find(|d| votes(*d) * 2 > voters.len());
        match winner {
            Some(winner) => {
                let differs = |(_, d): &(&MemberId, &u64)| **d != winner;
                let dissenters: Vec<MemberId> =
                    reports.iter().filter(differs).map(|(m, _)| *m).collect();
                (!dissenters.is_empty()).then_some(Verdict::Dissenters(winner, dissenters))
            }
            None => {
                let all = voters.iter().all(|v| reports.contains_key(v));
                all.then_some(Verdict::Split)
            }
        }
    }

    /// Another one leads: it asks anew.
    pub(super) fn forget_reports(&mut self) {
        self.reports.clear();
    }

    /// True if this member really had another digest there.
    pub(super) fn dissents(&self, index: u64, digest: u64) -> Option<Divergence> {
        let own = self.own(index)?;
        (own != digest).then_some(Divergence::Dissents { index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MemberId; 3] = [MemberId(1), MemberId(2), MemberId(3)];

    #[test]
    fn a_lone_dissenter_is_named_once_a_majority_agrees() {
        let mut digests = Digests::default();
        assert_eq!(digests.report(9, ALL[0], 7, &ALL), None);
        assert_eq!(digests.report(9, ALL[1], 8, &ALL), None);
        let verdict = digests.report(9, ALL[2], 7, &ALL);
        assert_eq!(verdict, Some(Verdict::Dissenters(7, vec![ALL[1]])));
    }

    #[test]
    fn without_a_majority_nobody_is_right() {
        let mut digests = Digests::default();
        for (member, digest) in ALL.into_iter().zip([1, 2]) {
            assert_eq!(digests.report(9, member, digest, &ALL), None);
        }
        assert_eq!(digests.report(9, ALL[2], 3, &ALL), Some(Verdict::Split));
    }
}
