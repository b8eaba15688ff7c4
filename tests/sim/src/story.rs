//! What happened, for a reader; and a hash of it, to tell whether two runs were the same.

use std::fmt::Display;

/// The story of a run.
#[derive(Debug)]
pub(crate) struct Story {
    told: bool,
    hash: u64,
}

impl Story {
    /// `told` prints every line as it happens.
    pub(crate) fn new(told: bool) -> Self {
        Self {
            told,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Adds numbers to the hash. (FNV-1a, a word at a time)
    pub(crate) fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.hash = (self.hash ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(23);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// A line; the closure runs only if somebody reads it.
    pub(crate) fn line<T: Display>(
        &mut self,
        now_us: u64,
        who: impl Display,
        what: impl FnOnce() -> T,
    ) {
        if !self.told {
            return;
        }
        let line = format!(
            "{:>10}.{:03} ms  {who:<10} {}",
            now_us / 1000,
            now_us % 1000,
            what()
        );
        print(&line);
    }
}

#[expect(clippy::print_stdout, reason = "the story is what this was asked for")]
fn print(line: &str) {
    println!("{line}");
}
