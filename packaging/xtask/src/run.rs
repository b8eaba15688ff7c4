//! `cargo xtask run`: from a clean clone to a running member and its console.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::packages;
use crate::product::{self, Repo};
use crate::ui;

/// etcd's client port; metrics and console follow as in the server's defaults.
const PORT_DEFAULT: u16 = 2379;

/// What the server logs once it serves.
const READY: &str = "ready to serve client requests";

/// What only the link for the console's first account has in it.
const SET_UP: &str = "/setup#";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    port: u16,
    fresh: bool,
}

impl Options {
    /// Reads the words after `run`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            port: PORT_DEFAULT,
            fresh: false,
        };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (flag, inline) = word
                .split_once('=')
                .map_or((word, None), |(f, v)| (f, Some(v)));
            match flag {
                "--port" => {
                    let text = inline
                        .or_else(|| words.next())
                        .context("--port needs a number")?;
                    options.port = port(text)?;
                }
                "--fresh" if inline.is_none() => options.fresh = true,
                _ => bail!("unknown argument {word:?}: use --port N or --fresh"),
            }
        }
        Ok(options)
    }

    fn metrics_port(&self) -> u16 {
        self.port + 2
    }

    fn console_port(&self) -> u16 {
        self.port + 3
    }
}

fn port(text: &str) -> Result<u16> {
    let port: Option<u16> = text.parse().ok().filter(|port| (1..=65_532).contains(port));
    port.with_context(|| format!("--port {text:?}: must be a number from 1 to 65532"))
}

/// Builds, starts, and stays until the member ends.
pub(crate) fn run(repo: &Repo, options: Options) -> Result<ExitCode> {
    check_ports(&options)?;
    if packages::find("cc").is_none() {
        let cc = packages::Needed {
            program: "cc",
            package: "gcc",
        };
        packages::provide(&[cc]);
    }
    packages::provide(&[packages::ETCDCTL]);
    ui::build(repo.path())?;
    product::build_server(repo)?;
    let data_dir = repo.target("run");
    if options.fresh && data_dir.exists() {
        fs::remove_dir_all(&data_dir).with_context(|| format!("clear {}", data_dir.display()))?;
    }
    serve(&repo.program("kvorum")?, &data_dir, &options)
}

/// Found out before minutes of building rather than after.
fn check_ports(options: &Options) -> Result<()> {
    let wanted = [
        (options.port, "clients"),
        (options.metrics_port(), "metrics"),
        (options.console_port(), "the console"),
    ];
    for (port, purpose) in wanted {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            bail!(
                "port {port} for {purpose} cannot be had on 127.0.0.1 ({error}): stop what uses it \
                 (`ss -ltnp sport = :{port}` shows it), or run `cargo xtask run --port {}`",
                if options.port < 12_379 {
                    12_379
                } else {
                    PORT_DEFAULT
                }
            );
        }
    }
    Ok(())
}

fn serve(program: &Path, data_dir: &Path, options: &Options) -> Result<ExitCode> {
    let url = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let found = data_dir.exists();
    // Signals come to this program first; the member gets exactly one.
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&asked)).context("watch for signals")?;
    }
    let mut member = Command::new(program)
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen-client-urls", &url("https", options.port)])
        .args([
            "--listen-metrics-urls",
            &url("http", options.metrics_port()),
        ])
        .args([
            "--listen-console-url",
            &url("https", options.console_port()),
        ])
        .args(["--log-format", "text"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let log = member.stderr.take().context("standard error is a pipe")?;
    let invitation = invitation(options, program, data_dir, found);
    let shown = thread::spawn(move || show(log, &invitation));
    let status = wait(&mut member, &asked)?;
    // The thread ends with the pipe.
    let _ = shown.join();
    let stopped = asked.load(Ordering::Relaxed) && status.success();
    eprintln!(
        "member {}",
        if stopped {
            "stopped".to_owned()
        } else {
            format!("ended: {status}")
        }
    );
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn invitation(options: &Options, program: &Path, data_dir: &Path, found: bool) -> String {
    let Options { port, .. } = options;
    let console = options.console_port();
    let origin = if found { "found again" } else { "new" };
    let etcdctl = match packages::find("etcdctl") {
        Some(_) => "",
        None => "   (etcdctl is in Debian's package etcd-client)",
    };
    let pki = data_dir.join("pki");
    let file = |name: &str| pki.join(name).display().to_string();
    format!(
        "\n  console   https://127.0.0.1:{console}   (let the browser trust {ca}, or go past its warning)\n  \
           login     {program} admin login-link --data-dir {data}\n  \
           try       ETCDCTL_API=3 etcdctl --endpoints=https://127.0.0.1:{port} --cacert={ca} --cert={cert} --key={key} \
           put hello world{etcdctl}\n  \
           data      {data} ({origin})\n  \
           stop      Ctrl-C\n",
        ca = file("ca.pem"),
        cert = file("admin.crt"),
        key = file("admin.key"),
        program = program.display(),
        data = data_dir.display(),
    )
}

/// Passes the member's log on, and the invitation once it serves.
fn show(log: ChildStderr, invitation: &str) {
    for line in BufReader::new(log).lines() {
        let Ok(line) = line else { break };
        eprintln!("{line}");
        if line.contains(READY) {
            eprintln!("{invitation}");
        }
        if let Some(url) = set_up_url(&line) {
            eprintln!(
                "\n  set up    {url}\n            (makes the console's first account; once, within 15 minutes)\n"
            );
        }
    }
}

/// The link for the console's first account, where the member has logged one.
fn set_up_url(line: &str) -> Option<&str> {
    let words = line.split(|c: char| c.is_whitespace() || c == '"' || c == '=');
    words.into_iter().find(|word| word.contains(SET_UP))
}

/// Waits for the end of the member; hands a signal on, once.
fn wait(member: &mut Child, asked: &AtomicBool) -> Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = member.try_wait().context("wait for the member")? {
            return Ok(status);
        }
        if asked.load(Ordering::Relaxed) && !told {
            told = true;
            kill_process(Pid::from_child(member), Signal::TERM).context("stop the member")?;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn ports_follow_the_client_port() {
        let options = parse(&["--port", "12379"]).expect("is fine");
        assert_eq!(
            (options.port, options.metrics_port(), options.console_port()),
            (12379, 12381, 12382)
        );
        assert_eq!(parse(&["--port=1", "--fresh"]).expect("is fine").port, 1);
        assert_eq!(parse(&[]).expect("is fine").port, 2379);
    }

    #[test]
    fn the_link_for_the_first_account_is_found_in_the_log() {
        let url = "https://127.0.0.1:2382/setup#abc-DEF_1";
        for line in [
            format!("INFO the console has no administrator yet: this link makes it url=\"{url}\""),
            format!("INFO url={url} the console has no administrator yet"),
        ] {
            assert_eq!(set_up_url(&line), Some(url));
        }
        assert_eq!(set_up_url("INFO ready to serve client requests"), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (words, part) in [
            (vec!["--port", "0"], "from 1 to 65532"),
            (vec!["--port", "65535"], "from 1 to 65532"),
            (vec!["--port"], "needs a number"),
            (vec!["--prot", "1"], "unknown argument \"--prot\""),
        ] {
            let error = parse(&words).expect_err("is refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
