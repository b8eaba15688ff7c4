//! Counts what passed, failed and was skipped, from what the test programs print.

use std::fmt;
use std::ops::AddAssign;

/// Three counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Held.
    pub(crate) passed: u32,
    /// Did not hold.
    pub(crate) failed: u32,
    /// Could not be tried, for a printed reason.
    pub(crate) skipped: u32,
}

impl Tally {
    /// One thing that passed.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    /// One thing that failed.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };
    /// One thing that was skipped.
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };

    /// What a run of `cargo test` printed: its result lines, and `SKIP` lines of tests that found a tool missing.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(counts) = line.trim_start().strip_prefix("test result: ") {
                tally += Self::of_result_line(counts);
            }
        }
        // Such a test returned early, which the harness takes for a pass.
        let skips = skip_lines(output).count();
        let skips = u32::try_from(skips).unwrap_or(u32::MAX).min(tally.passed);
        tally.passed -= skips;
        tally.skipped += skips;
        tally
    }

    fn of_result_line(counts: &str) -> Self {
        let count = |name: &str| -> u32 {
            let mut words = counts
                .split([' ', ';', '.'])
                .filter(|word| !word.is_empty());
            let mut earlier = "0";
            words
                .find_map(|word| {
                    let found = (word == name).then(|| earlier.parse().unwrap_or(0));
                    earlier = word;
                    found
                })
                .unwrap_or(0)
        };
        Self {
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("ignored"),
        }
    }
}

/// The lines by which a test says that it could not run, each once.
pub(crate) fn skip_lines(output: &str) -> impl Iterator<Item = &str> {
    let mut seen = std::collections::BTreeSet::new();
    output
        .lines()
        .filter_map(|line| line.find("SKIP ").map(|at| line.split_at(at).1))
        .filter(move |line| seen.insert(*line))
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_programs_are_summed() {
        let output = "\
running 3 tests
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s

test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s
";
        assert_eq!(
            Tally::of_cargo_test(output),
            Tally {
                passed: 7,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(
            Tally::of_cargo_test(output).to_string(),
            "7 passed, 2 failed, 1 skipped"
        );
    }

    #[test]
    fn a_test_that_says_skip_did_not_pass() {
        let output = "\
SKIP go client: no Go toolchain
---- clients::go stdout ----
SKIP go client: no Go toolchain
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
        assert_eq!(
            Tally::of_cargo_test(output),
            Tally {
                passed: 1,
                failed: 0,
                skipped: 1
            }
        );
    }

    #[test]
    fn nothing_printed_is_nothing_passed() {
        assert_eq!(
            Tally::of_cargo_test("error: could not compile"),
            Tally::default()
        );
    }
}
