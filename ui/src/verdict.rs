//! One sentence about the member's health, and why.
//!
//! Thresholds are those of etcd's own alert rules, so that the console and Prometheus agree.

use kvorum_api::{Overview, Sample};

use crate::format;

/// Share of the quota from which space is worth a warning.
const QUOTA_WARN: f64 = 0.95;
const SYNC_WARN_MS: f64 = 500.0;
const SYNC_CRITICAL_MS: f64 = 1000.0;
/// Samples looked at for latency: one slow second is no verdict.
const RECENT: usize = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Good,
    Warning,
    Critical,
}

impl Level {
    /// The word for `data-level`, and for those who do not see colours.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What the Overview says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    /// One or two words.
    pub(crate) title: &'static str,
    /// A full sentence.
    pub(crate) reason: String,
}

/// Judges; the worst finding wins.
pub(crate) fn judge(overview: &Overview, samples: &[Sample]) -> Verdict {
    alarm(overview)
        .or_else(|| leaderless(overview))
        .or_else(|| slow_sync(samples))
        .or_else(|| full(overview))
        .unwrap_or_else(|| healthy(overview))
}

/// How much of the quota is used; `None` without a quota.
pub(crate) fn quota_used(overview: &Overview) -> Option<f64> {
    let store = overview.now.store;
    (store.quota > 0).then(|| store.db_size as f64 / store.quota as f64)
}

fn alarm(overview: &Overview) -> Option<Verdict> {
    let kinds: Vec<&str> = overview
        .alarms
        .iter()
        .map(|alarm| alarm.kind.as_str())
        .collect();
    let (title, reason) = if kinds.contains(&"CORRUPT") {
        (
            "Corrupt",
            "A member found data that differs from the others; it serves no requests until it is rebuilt.",
        )
    } else if kinds.contains(&"NOSPACE") {
        (
            "Out of space",
            "Writes are refused. Compact old revisions, then disarm the alarm.",
        )
    } else {
        return None;
    };
    Some(Verdict {
        level: Level::Critical,
        title,
        reason: reason.to_owned(),
    })
}

fn leaderless(overview: &Overview) -> Option<Verdict> {
    overview.raft.leader_id.is_empty().then(|| Verdict {
        level: Level::Critical,
        title: "No leader",
        reason: "Writes and linearizable reads wait until a majority of the voters can talk to each other."
            .to_owned(),
    })
}

fn slow_sync(samples: &[Sample]) -> Option<Verdict> {
    let recent = &samples[samples.len().saturating_sub(RECENT)..];
    let mut p99: Vec<f64> = recent
        .iter()
        .filter_map(|sample| Some(sample.sync?.p99_ms))
        .collect();
    p99.sort_by(f64::total_cmp);
    let typical = *p99.get(p99.len() / 2)?;
    let level = match typical {
        ms if ms > SYNC_CRITICAL_MS => Level::Critical,
        ms if ms > SYNC_WARN_MS => Level::Warning,
        _ => return None,
    };
    Some(Verdict {
        level,
        title: "Slow disk",
        reason: format!(
            "The slowest percent of log syncs took {} or more during the last minute; every write waits for one.",
            format::millis(typical)
        ),
    })
}

fn full(overview: &Overview) -> Option<Verdict> {
    let used = quota_used(overview).filter(|used| *used > QUOTA_WARN)?;
    Some(Verdict {
        level: Level::Warning,
        title: "Nearly full",
        reason: format!(
            "The database uses {} of its quota; at 100 % writes are refused. Compact, or raise the quota.",
            format::percent(used)
        ),
    })
}

fn healthy(overview: &Overview) -> Verdict {
    let raft = &overview.raft;
    let tolerated = u64::from(raft.voters.saturating_sub(1) / 2);
    let leads = if raft.leader_name.is_empty() {
        "This member"
    } else {
        raft.leader_name.as_str()
    };
    let reason = match raft.voters {
        0 | 1 => format!("{leads} is the only voter and leads; no failure is tolerated."),
        voters => format!(
            "{leads} leads {voters} voters; {} tolerated.",
            if tolerated == 1 {
                "one failure is".to_owned()
            } else {
                format!("{tolerated} failures are")
            }
        ),
    };
    Verdict {
        level: Level::Good,
        title: "Healthy",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use kvorum_api::{Alarm, Quantiles, Raft, Store};

    use super::*;

    fn sound() -> Overview {
        Overview {
            raft: Raft {
                leader_id: "1".into(),
                leader_name: "edge-1".into(),
                voters: 3,
                ..Raft::default()
            },
            now: Sample {
                store: Store {
                    db_size: 10,
                    quota: 100,
                    ..Store::default()
                },
                ..Sample::default()
            },
            ..Overview::default()
        }
    }

    fn synced_in(p99_ms: f64) -> Vec<Sample> {
        vec![
            Sample {
                sync: Some(Quantiles {
                    p50_ms: 1.0,
                    p99_ms
                }),
                ..Sample::default()
            };
            10
        ]
    }

    #[test]
    fn a_sound_cluster_is_told_how_much_it_tolerates() {
        let verdict = judge(&sound(), &[]);
        assert_eq!(verdict.level, Level::Good);
        assert_eq!(
            verdict.reason,
            "edge-1 leads 3 voters; one failure is tolerated."
        );
    }

    #[test]
    fn an_alarm_outweighs_everything() {
        let mut overview = sound();
        overview.raft.leader_id.clear();
        overview.alarms.push(Alarm {
            kind: "NOSPACE".into(),
            member_id: "1".into(),
        });
        assert_eq!(judge(&overview, &synced_in(2000.0)).title, "Out of space");
    }

    #[test]
    fn no_leader_is_critical() {
        let mut overview = sound();
        overview.raft.leader_id.clear();
        assert_eq!(judge(&overview, &[]).level, Level::Critical);
    }

    #[test]
    fn sync_thresholds_are_etcds() {
        assert_eq!(judge(&sound(), &synced_in(400.0)).level, Level::Good);
        assert_eq!(judge(&sound(), &synced_in(600.0)).level, Level::Warning);
        assert_eq!(judge(&sound(), &synced_in(1100.0)).level, Level::Critical);
    }

    #[test]
    fn one_slow_second_is_no_verdict() {
        let mut samples = synced_in(2.0);
        samples.push(synced_in(5000.0)[0]);
        assert_eq!(judge(&sound(), &samples).level, Level::Good);
    }

    #[test]
    fn a_nearly_full_quota_warns() {
        let mut overview = sound();
        overview.now.store.db_size = 96;
        assert_eq!(judge(&overview, &[]).title, "Nearly full");
    }
}
