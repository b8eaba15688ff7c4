//! How often somebody may try a password: five times at once, then after pauses that double.
//!
//! A try is counted before the password is looked at, in the log, so that many tries at once, also at many members, are
//! no more than the same tries one after the other. Each counts for where it comes from and for the account. Whoever
//! comes from where the account was signed in before is measured by the place alone: strangers who guess cannot keep
//! the owner out.

use kvorum_proto::kvorumpb::{ConsoleAttempt, ConsoleAttempts};

use super::rows::Writing;
use super::{Answer, Console};

/// Tries without a pause.
pub const ATTEMPTS_FREE: u32 = 5;
/// The longest pause.
pub const DELAY_MAX_MS: i64 = 15 * 60 * 1000;
const DELAY_FIRST_MS: i64 = 1000;
/// After so long without a try all is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// Places and names that are remembered; what is free again soonest makes way.
const ATTEMPTS_MAX: usize = 2048;

/// How long to wait after so many tries that failed.
pub(super) fn delay_ms(failures: u32) -> i64 {
    let Some(beyond) = failures.checked_sub(ATTEMPTS_FREE + 1) else {
        return 0;
    };
    let doubled = DELAY_FIRST_MS.checked_shl(beyond.min(20));
    doubled.map_or(DELAY_MAX_MS, |ms| ms.min(DELAY_MAX_MS))
}

fn is_forgotten(attempts: &ConsoleAttempts, now_ms: i64) -> bool {
    now_ms.saturating_sub(attempts.last_unix_ms) > FORGOTTEN_AFTER_MS
}

pub(super) fn of_source(source: &str) -> String {
    format!("source {source}")
}

pub(super) fn of_account(account: &str) -> String {
    format!("account {account}")
}

impl Console {
    /// Who is measured when `source` tries to sign in as `account`; the account may be empty.
    fn subjects(&self, account: &str, source: &str) -> Vec<String> {
        let mut subjects = vec![of_source(source)];
        if !account.is_empty() && !self.knows(account, source) {
            subjects.push(of_account(account));
        }
        subjects
    }

    fn knows(&self, account: &str, source: &str) -> bool {
        let account = self.account(account);
        account.is_some_and(|account| account.known_sources.iter().any(|known| known == source))
    }

    /// How long `source` must wait before it may try to sign in as `account`, milliseconds.
    #[must_use]
    pub fn wait_ms(&self, account: &str, source: &str, now_ms: i64) -> i64 {
        let subjects = self.subjects(account, source);
        let waits = subjects.iter().filter_map(|subject| {
            let free = self.attempts.get(subject)?.free_unix_ms;
            // A clock that was far ahead when it was written must not hold anybody up for longer than the rules do.
            Some(free.saturating_sub(now_ms).min(DELAY_MAX_MS))
        });
        waits.max().unwrap_or_default().max(0)
    }
}

impl Writing<'_> {
    /// Counts a try, or tells how long to wait.
    pub(super) fn attempt(&mut self, attempt: &ConsoleAttempt) -> Answer {
        let (account, source) = (attempt.account.as_str(), attempt.source.as_str());
        let wait_ms = self.console.wait_ms(account, source, self.now_ms);
        if wait_ms > 0 {
            return Answer::Wait(wait_ms);
        }
        for subject in self.console.subjects(account, source) {
            let failures = self.failures(&subject).saturating_add(1);
            self.put_attempts(ConsoleAttempts {
                subject,
                failures,
                last_unix_ms: self.now_ms,
                free_unix_ms: self.now_ms.saturating_add(delay_ms(failures)),
            });
        }
        self.make_room();
        Answer::Done
    }

    fn failures(&self, subject: &str) -> u32 {
        let attempts = self.console.attempts.get(subject);
        let attempts = attempts.filter(|row| !is_forgotten(row, self.now_ms));
        attempts.map_or(0, |attempts| attempts.failures)
    }

    /// A try succeeded: the place is free, and the account has one failure less, namely this try. What others tried
    /// stays counted.
    pub(super) fn succeeded(&mut self, account: &str, source: &str) {
        self.remove_attempts(&of_source(source));
        if self.console.knows(account, source) {
            return;
        }
        let subject = of_account(account);
        match self.failures(&subject) {
            0 | 1 => self.remove_attempts(&subject),
            failures => {
                let failures = failures - 1;
                self.put_attempts(ConsoleAttempts {
                    subject,
                    failures,
                    last_unix_ms: self.now_ms,
                    free_unix_ms: self.now_ms.saturating_add(delay_ms(failures)),
                });
            }
        }
    }

    /// Accounts that exist are never forgotten for the sake of names and places that somebody makes up.
    fn make_room(&mut self) {
        while self.console.attempts.len() > ATTEMPTS_MAX {
            let is_real = |subject: &str| {
                let name = subject.strip_prefix("account ");
                name.is_some_and(|name| self.console.accounts.contains_key(name))
            };
            let least = self
                .console
                .attempts
                .values()
                .filter(|row| !is_real(&row.subject))
                .min_by_key(|row| (row.free_unix_ms, row.last_unix_ms, &row.subject));
            let Some(subject) = least.map(|row| row.subject.clone()) else {
                break;
            };
            self.remove_attempts(&subject);
        }
    }

    pub(super) fn sweep_attempts(&mut self, now_ms: i64) {
        let rows = self.console.attempts.values();
        let rows = rows.filter(|row| is_forgotten(row, now_ms));
        let subjects: Vec<String> = rows.map(|row| row.subject.clone()).collect();
        for subject in subjects {
            self.remove_attempts(&subject);
        }
    }
}
