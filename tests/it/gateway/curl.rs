//! `curl` as a client: whole answers, and streams read line by line.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use kvorum_tests::process::Server;

/// Far above what anything here takes: who gets here has found a hang.
const SECONDS_MAX: &str = "30";

/// An answer in HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case, sorted; without dates and lengths.
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.iter();
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Ways to ask.
pub(super) struct Curl;

impl Curl {
    pub(super) fn post(server: &Server, path: &str, body: &str) -> Answer {
        Self::ask(server, path, &["--data-binary", body])
    }

    pub(super) fn get(server: &Server, path: &str) -> Answer {
        Self::ask(server, path, &[])
    }

    /// With further options.
    pub(super) fn ask(server: &Server, path: &str, options: &[&str]) -> Answer {
        let output = command(server, path)
            .args(options)
            .output()
            .expect("curl is installed");
        parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// With a body that does not fit into an argument.
    pub(super) fn post_large(server: &Server, path: &str, body: &[u8]) -> Answer {
        let mut child = command(server, path)
            .args(["--data-binary", "@-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed");
        let mut input = child.stdin.take().expect("piped");
        // The server may refuse before it has read everything.
        let _ = input.write_all(body);
        drop(input);
        let output = child.wait_with_output().expect("curl ends");
        parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Opens a stream whose request has no more than `body`.
    pub(super) fn stream(server: &Server, path: &str, body: &str) -> Stream {
        Self::stream_with(server, path, &["--data-binary", body])
    }

    pub(super) fn stream_with(server: &Server, path: &str, options: &[&str]) -> Stream {
        let mut child = command(server, path)
            .arg("-N")
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Stream { child, lines }
    }
}

fn command(server: &Server, path: &str) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-s", "-i", "--max-time", SECONDS_MAX])
        .arg(format!("{}{path}", server.url()));
    command
}

/// Splits what `curl -i` prints.
fn parse(printed: &str) -> Answer {
    let mut rest = printed;
    loop {
        let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).unwrap_or(0);
        if status == 100 {
            rest = body;
            continue;
        }
        return Answer {
            status,
            headers: headers(lines),
            body: body.to_owned(),
        };
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = lines.filter_map(|line| line.split_once(": "));
    let mut headers: Vec<String> = lines
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .filter(|line| !line.starts_with("date:") && !line.starts_with("content-length:"))
        .collect();
    headers.sort();
    headers
}

/// An open stream; dropping it kills curl.
pub(super) struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    /// Status and headers, which come with the first line of the body.
    pub(super) fn head(&mut self) -> Answer {
        let mut head = String::new();
        while let Some(line) = self.line() {
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
            head.push_str("\r\n");
        }
        parse(&(head + "\r\n"))
    }

    /// The next line, or nothing at the end.
    pub(super) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).expect("curl writes text");
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// What is left, after which curl has ended by itself.
    pub(super) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        self.child.wait().expect("an own child can be waited for");
    }
}
