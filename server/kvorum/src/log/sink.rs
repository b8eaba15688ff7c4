//! Between those who speak and standard error: a queue with a bound, and one thread that writes. Whoever reads the log may
//! stand still, and nobody who speaks waits for it; what has no room is counted, and the count is told in its place.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What waits at most: some ten thousand lines.
const BYTES_MAX: usize = 4 << 20;
/// How long the end of the process waits for a reader that may stand still.
const PATIENCE: Duration = Duration::from_secs(1);

static SINK: Sink = Sink::new(BYTES_MAX);

/// Where lines go; `None` if the system has no thread for it, and each writes for itself.
pub(super) fn start(lost: fn(u64) -> Vec<u8>) -> Option<&'static Sink> {
    let write = move || SINK.write_to(&mut io::stderr(), lost);
    let thread = std::thread::Builder::new().name("kvorum-log".into());
    thread.spawn(write).ok().map(|_| &SINK)
}

/// Waits until all that was said is written: before the process ends by itself.
pub(crate) fn flush() {
    SINK.flush(PATIENCE);
}

/// The queue.
pub(super) struct Sink {
    state: Mutex<State>,
    /// There is something to write.
    said: Condvar,
    /// All is written.
    idle: Condvar,
    bytes_max: usize,
}

struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that had no room behind those that wait.
    lost: u64,
    /// Some were taken out and are not written yet.
    busy: bool,
}

impl Sink {
    const fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                bytes: 0,
                lost: 0,
                busy: false,
            }),
            said: Condvar::new(),
            idle: Condvar::new(),
            bytes_max,
        }
    }

    /// Nothing panics while it is held, so that it is never poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &[u8]) {
        let mut state = self.lock();
        // Once one is lost, all are until the writer has told so: the order stays.
        if state.lost > 0 || state.bytes.saturating_add(line.len()) > self.bytes_max {
            state.lost += 1;
        } else {
            state.bytes += line.len();
            state.lines.push_back(line.to_vec());
        }
        drop(state);
        self.said.notify_one();
    }

    /// Writes as long as the process lives. A reader that is gone is no reason to end.
    fn write_to(&self, out: &mut impl Write, lost: impl Fn(u64) -> Vec<u8>) {
        loop {
            let (lines, lost_lines) = self.take();
            for line in lines {
                let _ = out.write_all(&line);
            }
            if lost_lines > 0 {
                let _ = out.write_all(&lost(lost_lines));
            }
        }
    }

    /// All that waits, as soon as there is something. What was taken before is written by now.
    fn take(&self) -> (VecDeque<Vec<u8>>, u64) {
        let mut state = self.lock();
        state.busy = false;
        while state.lines.is_empty() && state.lost == 0 {
            self.idle.notify_all();
            state = self
                .said
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.busy = true;
        state.bytes = 0;
        (
            std::mem::take(&mut state.lines),
            std::mem::take(&mut state.lost),
        )
    }

    fn flush(&self, patience: Duration) {
        let begin = Instant::now();
        let mut state = self.lock();
        while state.busy || !state.lines.is_empty() || state.lost > 0 {
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return;
            }
            let waited = self.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One who speaks: each write is one line.
#[derive(Clone, Copy)]
pub(super) enum Speaker {
    Queued(&'static Sink),
    Direct,
}

impl Write for Speaker {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Queued(sink) => sink.say(line),
            Self::Direct => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};

    use super::*;

    fn leaked(bytes_max: usize) -> &'static Sink {
        Box::leak(Box::new(Sink::new(bytes_max)))
    }

    /// Gives what reads the log of a sink that is written from now on.
    fn writer(sink: &'static Sink) -> io::PipeReader {
        let (reader, mut writer) = io::pipe().expect("a pipe can be made");
        std::thread::spawn(move || {
            sink.write_to(&mut writer, |lost| format!("lost {lost}\n").into_bytes());
        });
        reader
    }

    #[test]
    fn what_has_no_room_is_counted_in_its_place() {
        let sink = leaked(4);
        for line in ["1\n", "2\n", "3\n", "4\n"] {
            sink.say(line.as_bytes());
        }
        let mut lines = BufReader::new(writer(sink)).lines();
        let mut next = || lines.next().expect("not the end").expect("readable");
        assert_eq!([next(), next(), next()], ["1", "2", "lost 2"]);
        sink.say(b"5\n");
        assert_eq!(next(), "5");
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up() {
        let sink = leaked(1 << 20);
        let mut reader = writer(sink);
        // More than any pipe takes, and more than the queue does.
        let line = [b'x'; 1 << 12];
        for _ in 0..2000 {
            sink.say(&line);
        }
        sink.flush(Duration::from_millis(1));
        // Whoever reads again gets what was kept, and the count.
        let mut text = String::new();
        let mut piece = [0; 1 << 16];
        // Told once or more often: the writer may have begun in between.
        let accounted = |text: &str| {
            let kept = text.bytes().filter(|byte| *byte == b'x').count() / line.len();
            let told = text.split("lost ").skip(1);
            let told = told.filter_map(|rest| rest.split_once('\n'));
            let lost = told.map(|(count, _)| count.parse::<usize>().expect("a number"));
            kept + lost.sum::<usize>()
        };
        while accounted(&text) < 2000 {
            let count = reader.read(&mut piece).expect("readable");
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        assert_eq!(accounted(&text), 2000);
        assert!(text.contains("lost "), "it is told");
        sink.flush(PATIENCE);
        let state = sink.lock();
        assert!(!state.busy && state.lines.is_empty() && state.lost == 0);
    }

    #[test]
    fn the_last_words_before_an_abort_are_written() {
        use crate::config::{LogFormat, Logging};
        const CHILD: &str = "KVORUM_TEST_ABORT";
        const NAME: &str = "log::sink::tests::the_last_words_before_an_abort_are_written";
        if std::env::var_os(CHILD).is_some() {
            crate::log::start(Logging {
                level: tracing::Level::INFO,
                format: LogFormat::Json,
            });
            crate::process::abort_on_panic();
            for number in 0..1000 {
                tracing::info!(number, "spoken");
            }
            panic!("the last words");
        }
        let program = std::env::current_exe().expect("is known");
        let mut command = std::process::Command::new(program);
        command
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, "1");
        let ended = command.output().expect("starts");
        assert!(!ended.status.success());
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(lines.len(), 1001, "{log}");
        for (number, line) in lines[..1000].iter().enumerate() {
            assert!(line.ends_with(&format!("\"number\":{number}}}")), "{line}");
        }
        assert!(
            lines[1000].contains("this is a bug: the last words"),
            "{log}"
        );
    }
}
