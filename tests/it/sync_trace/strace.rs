//! Reads what `strace -f -yy -xx` prints.

use std::collections::{HashMap, HashSet};

/// One finished system call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// `fdatasync`, `sendto`, …
    pub(super) name: String,
    /// What the descriptor stands for: a path, or both ends of a connection.
    pub(super) file: String,
    /// The bytes that were read or written, as far as the result says that they were.
    pub(super) bytes: Vec<u8>,
    /// Places in the trace: the call began and had ended.
    pub(super) began: usize,
    pub(super) ended: usize,
    /// What it returned.
    pub(super) result: i64,
    /// A write that is durable when it returns: the file was opened so, or the call says so.
    pub(super) synchronous: bool,
}

/// All calls of the trace, in the order in which they ended.
pub(super) fn parse(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut files = OpenFiles::default();
    for (text, began, ended) in whole_lines(trace) {
        files.opened(&text);
        let call = call(&text, began, ended);
        calls.extend(call.map(|call| Call {
            synchronous: files.synchronous(&text),
            ..call
        }));
    }
    calls
}

/// Descriptors of files whose writes are durable when they return.
#[derive(Default)]
struct OpenFiles(HashSet<String>);

impl OpenFiles {
    /// Notes `openat(…, FLAGS, …) = DESCRIPTOR<path>`; a number is used again after its file was closed.
    fn opened(&mut self, text: &str) {
        if !text.starts_with("open") {
            return;
        }
        let Some((arguments, result)) = text.rsplit_once(" = ") else {
            return;
        };
        let descriptor = result.split('<').next().unwrap_or_default().to_owned();
        if arguments.contains("O_DSYNC") || arguments.contains("O_SYNC") {
            self.0.insert(descriptor);
        } else {
            self.0.remove(&descriptor);
        }
    }

    fn synchronous(&self, text: &str) -> bool {
        let descriptor = text
            .split_once('(')
            .and_then(|(_, rest)| rest.split('<').next());
        let asked = text.contains("RWF_DSYNC") || text.contains("RWF_SYNC");
        asked || descriptor.is_some_and(|descriptor| self.0.contains(descriptor))
    }
}

/// Puts the two halves of interrupted calls together; with each text, where it began and ended.
fn whole_lines(trace: &str) -> Vec<(String, usize, usize)> {
    let mut calls = Vec::new();
    // A thread has at most one call under way; strace splits it when another thread comes between.
    let mut open: HashMap<&str, (usize, String)> = HashMap::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.trim_start().split_once(char::is_whitespace) else {
            continue;
        };
        let text = text.trim_start();
        if let Some(first) = text.strip_suffix("<unfinished ...>") {
            open.insert(thread, (place, first.trim_end().to_owned()));
        } else if text.starts_with("<... ") {
            let Some((began, first)) = open.remove(thread) else {
                continue;
            };
            let rest = text.split_once("resumed>").map_or("", |(_, rest)| rest);
            calls.push((format!("{first}{rest}"), began, place));
        } else {
            calls.push((text.to_owned(), place, place));
        }
    }
    calls
}

/// Reads `name(descriptor<what it is>, arguments) = result`.
fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end();
    let result: i64 = result.split_whitespace().next()?.parse().ok()?;
    let (descriptor, data) = match arguments.split_once(">,") {
        Some(parts) => parts,
        None => (arguments, ""),
    };
    let file = descriptor
        .split_once('<')
        .map_or("", |(_, file)| file)
        .trim_end_matches([')', '>']);
    let mut bytes = Vec::new();
    // Every other piece between quotes is a string: the first argument has none of its own.
    for piece in data.split('"').skip(1).step_by(2) {
        bytes.extend(unescape(piece));
    }
    // What was only looked at will be read again.
    let moved = if data.contains("MSG_PEEK") { 0 } else { result };
    bytes.truncate(usize::try_from(moved).unwrap_or(0));
    let file = String::from_utf8_lossy(&unescape(file)).into_owned();
    Some(Call {
        name: name.to_owned(),
        file,
        bytes,
        began,
        ended,
        result,
        synchronous: false,
    })
}

/// Turns `\x6b\x65\x79` into bytes and leaves anything else as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.strip_prefix(b"x").and_then(|tail| tail.get(..2));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_a_file_is_read() {
        let calls = parse(r#"12 pwrite64(7</data/log/1>, "\x6b\x31", 2, 4096) = 2"#);
        assert_eq!(calls.len(), 1);
        assert_eq!(
            (calls[0].name.as_str(), calls[0].file.as_str()),
            ("pwrite64", "/data/log/1")
        );
        assert_eq!(
            (calls[0].bytes.as_slice(), calls[0].result),
            (&b"k1"[..], 2)
        );
    }

    #[test]
    fn a_vectored_write_to_a_connection_is_read_whole() {
        let line = concat!(
            r#"12    writev(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, "#,
            r#"[{iov_base="\x61\x62", iov_len=2}, {iov_base="\x63", iov_len=1}], 2) = 3"#,
        );
        let calls = parse(line);
        assert_eq!(calls[0].file, "TCP:[127.0.0.1:1->127.0.0.1:2]");
        assert_eq!(calls[0].bytes, b"abc");
    }

    #[test]
    fn a_call_that_was_interrupted_spans_its_lines() {
        let trace = "12 fdatasync(7</log/1> <unfinished ...>\n\
                     13 write(8</other>, \"\\x61\", 1) = 1\n\
                     12 <... fdatasync resumed>)          = 0\n\
                     12 read(9<pipe:[5]>, <unfinished ...>\n\
                     13 <... write resumed>) = 1\n\
                     12 <... read resumed>\"\\x62\", 8) = 1\n";
        let calls = parse(trace);
        let places: Vec<_> = calls
            .iter()
            .map(|call| (call.name.as_str(), call.began, call.ended))
            .collect();
        assert_eq!(
            places,
            [("write", 1, 1), ("fdatasync", 0, 2), ("read", 3, 5)]
        );
        assert_eq!(calls[1].file, "/log/1");
        assert_eq!(calls[2].bytes, b"b");
    }

    #[test]
    fn a_file_opened_for_durable_writes_is_known_until_its_number_is_used_again() {
        let trace = "1 openat(AT_FDCWD</>, \"\\x2f\", O_WRONLY|O_DIRECT|O_DSYNC) = 7</log/1>\n\
                     1 pwrite64(7</log/1>, \"\\x61\", 1, 0) = 1\n\
                     1 pwrite64(8</log/2>, \"\\x61\", 1, 0) = 1\n\
                     1 openat(AT_FDCWD</>, \"\\x2f\", O_WRONLY) = 7</log/3>\n\
                     1 pwrite64(7</log/3>, \"\\x61\", 1, 0) = 1\n\
                     1 pwritev2(7</log/3>, [{iov_base=\"\\x61\", iov_len=1}], 1, 0, RWF_DSYNC) = 1\n";
        let writes: Vec<bool> = parse(trace)
            .iter()
            .filter(|call| call.name.starts_with("pwrite"))
            .map(|call| call.synchronous)
            .collect();
        assert_eq!(writes, [true, false, false, true]);
    }

    #[test]
    fn bytes_beyond_the_result_do_not_count_and_failed_calls_moved_none() {
        assert_eq!(parse(r#"1 write(7</f>, "\x61\x62", 2) = 1"#)[0].bytes, b"a");
        let failed =
            parse(r#"1 write(7</f>, "\x61", 1) = -1 EAGAIN (Resource temporarily unavailable)"#);
        assert_eq!((failed[0].bytes.len(), failed[0].result), (0, -1));
        let peeked = r#"1 recvfrom(7<TCP:[a->b]>, "\x50", 1, MSG_PEEK, NULL, NULL) = 1"#;
        assert_eq!(parse(peeked)[0].bytes, b"");
        assert_eq!(parse("1 +++ exited with 0 +++"), []);
    }
}
