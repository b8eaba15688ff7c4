//! The tours through the console in a real browser, against real members with data of their own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::product::Repo;
use crate::suite::{Outcome, Suite, explain};
use crate::tally::Tally;

/// Without these there is no tour.
const PROGRAMS: [&str; 4] = ["node", "npm", "chromium", "etcdctl"];

/// Everything in plain text.
const PLAIN: &[&str] = &[
    "--listen-client-urls",
    "http://127.0.0.1:0",
    "--client-allow-plain",
    "true",
    "--listen-console-url",
    "http://127.0.0.1:0",
    "--console-allow-plain",
    "true",
];
/// Everything by TLS, with certificates of the cluster's own.
const SECURE: &[&str] = &[
    "--listen-client-urls",
    "https://127.0.0.1:0",
    "--listen-peer-urls",
    "https://127.0.0.1:0",
    "--listen-console-url",
    "https://127.0.0.1:0",
];
const LOGIN: &[&str] = &["--console-login", "required"];

/// Starts a member, fills it, and walks through its console.
pub(crate) fn tour(suite: &Suite<'_>) -> Result<Outcome> {
    let scripts = match scripts(suite)? {
        Ok(scripts) => scripts,
        Err(skipped) => return Ok(skipped),
    };
    let flags = [PLAIN, &["--console-login", "off"]].concat();
    let member = Member::start(suite.repo, "browser-member", &flags)?;
    let mut seed = Command::new("sh");
    seed.current_dir(&scripts).args(["seed.sh", &member.client]);
    let ran = suite.execute("browser-seed", seed)?;
    if !ran.status.success() {
        bail!("the member could not be filled:\n{}", explain(&ran));
    }
    let mut node = Command::new("node");
    node.current_dir(&scripts)
        .args(["tour.mjs", &member.console])
        .arg(suite.repo.target("browser"))
        .args(["--key", "app/config/checkout"]);
    finish(suite, "browser", node)
}

/// Starts a member that nobody has signed in to, and goes from its first link on.
pub(crate) fn login(suite: &Suite<'_>) -> Result<Outcome> {
    let scripts = match scripts(suite)? {
        Ok(scripts) => scripts,
        Err(skipped) => return Ok(skipped),
    };
    let flags = [PLAIN, LOGIN].concat();
    let member = Member::start(suite.repo, "login-member", &flags)?;
    let link = member.invitation()?;
    let mut node = Command::new("node");
    node.current_dir(&scripts)
        .args(["login.mjs", &link])
        .arg(suite.repo.target("browser"));
    finish(suite, "login", node)
}

/// Starts a member that makes its own certificates, and moves its authority.
pub(crate) fn authority(suite: &Suite<'_>) -> Result<Outcome> {
    let scripts = match scripts(suite)? {
        Ok(scripts) => scripts,
        Err(skipped) => return Ok(skipped),
    };
    let flags = [SECURE, LOGIN].concat();
    let member = Member::start(suite.repo, "authority-member", &flags)?;
    let link = member.invitation()?;
    let mut node = Command::new("node");
    node.current_dir(&scripts)
        .args(["authority.mjs", &link])
        .arg(member.data_dir.join("pki"))
        .arg(suite.repo.target("browser"));
    finish(suite, "authority", node)
}

/// Runs the scripts and counts what they print.
fn finish(suite: &Suite<'_>, name: &str, mut node: Command) -> Result<Outcome> {
    if let Some(chromium) = packages::find("chromium") {
        node.env("CHROMIUM", chromium);
    }
    let ran = suite.execute(name, node)?;
    let mut tally = count(&ran.output);
    if ran.status.success() && tally.failed == 0 && tally.passed > 0 {
        return Ok(Outcome::Counted(tally));
    }
    tally.failed = tally.failed.max(1);
    Ok(Outcome::Failed(tally, explain(&ran)))
}

/// The tour prints one line per check.
fn count(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines() {
        if line.starts_with("ok ") {
            tally += Tally::PASSED;
        } else if line.starts_with("FAIL ") {
            tally += Tally::FAILED;
        }
    }
    tally
}

/// Where the scripts are, with their packages; or that this machine lacks a program that they need.
fn scripts(suite: &Suite<'_>) -> Result<Result<PathBuf, Outcome>> {
    let mut programs = PROGRAMS.iter();
    let missing = programs.find(|program| packages::find(program).is_none());
    match missing {
        Some(program) => Ok(Err(Outcome::Skipped(format!("{program} is not installed")))),
        None => install(suite).map(Ok),
    }
}

/// Copies the scripts below `target/` and installs what their lock file names beside them; the tree stays as it is.
fn install(suite: &Suite<'_>) -> Result<PathBuf> {
    let from = suite.repo.path().join("tests/browser");
    let place = suite.repo.target("browser-scripts");
    fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    for entry in fs::read_dir(&from).with_context(|| format!("read {}", from.display()))? {
        let path = entry.context("read a directory")?.path();
        let name = path.file_name().context("an entry has a name")?;
        if path.is_file() {
            fs::copy(&path, place.join(name))
                .with_context(|| format!("copy {}", path.display()))?;
        }
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&place)
        .args(["ci", "--no-audit", "--no-fund"]);
    let ran = suite.execute("browser-npm", npm)?;
    if !ran.status.success() {
        bail!(
            "the packages of the tour could not be installed:\n{}",
            explain(&ran)
        );
    }
    Ok(place)
}

/// A member on free ports; ended when dropped.
struct Member {
    child: Child,
    data_dir: PathBuf,
    /// `HOST:PORT` for clients.
    client: String,
    /// URL of the console.
    console: String,
    /// What it logs once it serves.
    lines: Receiver<String>,
}

impl Member {
    fn start(repo: &Repo, name: &str, flags: &[&str]) -> Result<Self> {
        let data_dir = repo.target(name);
        clear(&data_dir)?;
        let mut child = Command::new(repo.program("kvorum")?)
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["--listen-metrics-urls", "none"])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the member")?;
        let log = child.stderr.take().context("standard error is a pipe")?;
        let (line, later) = mpsc::channel();
        let mut member = Self {
            child,
            data_dir,
            client: String::new(),
            console: String::new(),
            lines: later,
        };
        let mut lines = BufReader::new(log).lines();
        let mut seen = String::new();
        let ready = loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("ready to serve client requests") => break line,
                Some(Ok(line)) => seen.push_str(&line),
                _ => bail!("the member did not become ready: {seen}"),
            }
        };
        let named = |field: &str| {
            let at = ready.find(&format!("\"{field}\":"))?;
            let mut quoted = ready.get(at..)?.split('"');
            quoted.find(|word| word.contains("://")).map(str::to_owned)
        };
        let client = named("client_urls").context("the member names its client URL")?;
        let authority = client.split("://").nth(1);
        authority.context("a URL")?.clone_into(&mut member.client);
        member.console = named("console_url").context("the member names its console")?;
        // The pipe must be emptied, or the member waits for it.
        thread::spawn(move || {
            for told in lines.map_while(Result::ok) {
                // Nobody listens once the member is dropped.
                let _ = line.send(told);
            }
        });
        Ok(member)
    }

    /// The link for the first administrator.
    fn invitation(&self) -> Result<String> {
        let told = self.lines.iter().find(|line| line.contains("/setup#"));
        let told = told.context("the member has logged no link")?;
        let link = told.split('"').find(|word| word.contains("/setup#"));
        Ok(link.context("the link stands in quotes")?.to_owned())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Its data is thrown away, so there is nothing to close in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Err(error) = clear(&self.data_dir) {
            eprintln!("{error:#}");
        }
    }
}

fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("clear {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_the_tour_are_counted_by_line() {
        let output = "ok    the shell\nFAIL  keys: no row\n      ok in a note\nbrowser: 1 passed\n";
        assert_eq!(
            count(output),
            Tally {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
    }
}
