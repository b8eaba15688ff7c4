//! The servers the bench starts itself: a real etcd and kvorum, each durable, on loopback.

use std::{
    fmt,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    measure::{self, Target},
    usage::{Pid, Usage},
};

/// Neither side shall run into its quota.
const QUOTA_BYTES: &str = "8589934592";
/// Far above what any start takes; who gets here hangs.
const START_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);
/// Processes count as idle when they use less than this share of a core between two looks.
const IDLE_CORES: f64 = 0.15;
const LOOK: Duration = Duration::from_millis(100);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Etcd,
    Kvorum,
}

impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::Kvorum => "kvorum",
        })
    }
}

/// A program found on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) brand: Brand,
    program: PathBuf,
    pub(crate) version: String,
}

impl Installed {
    /// Asks the program for its version.
    pub(crate) fn find(brand: Brand, program: PathBuf) -> Result<Self> {
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| {
                let hint = match brand {
                    Brand::Etcd => "install etcd, or name one with --etcd PATH",
                    Brand::Kvorum => "build kvorum with --release, or name one with --kvorum PATH",
                };
                format!("run {} --version ({hint})", program.display())
            })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{} --version failed: {text}",
            program.display()
        );
        let version = text.lines().next().unwrap_or_default().trim();
        let version = version
            .rsplit_once(' ')
            .map_or(version, |(_, number)| number)
            .to_owned();
        Ok(Self {
            brand,
            program,
            version,
        })
    }

    fn arguments(&self, data_dir: &Path, client_port: u16, peer_port: u16) -> Vec<String> {
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let data_dir = data_dir.display().to_string();
        let cluster = format!("bench={peer}");
        let mut pairs = vec![
            ("--data-dir", data_dir.as_str()),
            ("--name", "bench"),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--quota-backend-bytes", QUOTA_BYTES),
        ];
        match self.brand {
            Brand::Etcd => pairs.extend([
                ("--listen-peer-urls", peer.as_str()),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster),
                ("--log-level", "warn"),
            ]),
            Brand::Kvorum => {
                pairs.extend([
                    ("--listen-console-url", "none"),
                    ("--listen-metrics-urls", "none"),
                ]);
            }
        }
        let command = match self.brand {
            Brand::Etcd => None,
            Brand::Kvorum => Some("serve".to_owned()),
        };
        let flags = pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        command.into_iter().chain(flags).collect()
    }
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    pub(crate) installed: Installed,
    child: Child,
    address: SocketAddr,
    peer_port: u16,
    folder: PathBuf,
}

impl Server {
    /// Starts `installed` on free ports with its data in `folder`, and waits until it answers a read.
    pub(crate) fn start(installed: Installed, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let [client, peer] = free_ports()?;
        let child = spawn(&installed, folder, client, peer)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
        let folder = folder.to_path_buf();
        let mut server = Self {
            installed,
            child,
            address,
            peer_port: peer,
            folder,
        };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.address,
            pid: Some(self.pid()),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Kills the server with SIGKILL and starts it on the same data and port. Tells how long it took
    /// from the start of the new process until it answered a linearizable read.
    pub(crate) fn kill_and_restart(&mut self) -> Result<Duration> {
        self.child.kill().context("kill the server")?;
        self.child.wait().context("wait for the killed server")?;
        let start = Instant::now();
        self.child = spawn(
            &self.installed,
            &self.folder,
            self.address.port(),
            self.peer_port,
        )?;
        self.wait_until_it_answers()?;
        Ok(start.elapsed())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status}: {}",
                    self.installed.brand,
                    self.last_words()
                );
            }
            match measure::read_one(self.address) {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > START_MAX => {
                    let words = self.last_words();
                    return Err(error).with_context(|| format!("no answer after start: {words}"));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Fails when the process has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!(
                    "{} ended with {status}: {}",
                    self.installed.brand,
                    self.last_words()
                )
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(log_path(&self.folder)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn spawn(installed: &Installed, folder: &Path, client: u16, peer: u16) -> Result<Child> {
    let path = log_path(folder);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let arguments = installed.arguments(&folder.join("data"), client, peer);
    leashed(&installed.program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", installed.program.display()))
}

/// The program's command, so that the kernel ends it if the bench is killed, where `setpriv` is present.
fn leashed(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2]> {
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?,
    ];
    let [client, peer] = &listeners;
    Ok([client.local_addr()?.port(), peer.local_addr()?.port()])
}

/// Waits until all of `pids` do next to nothing, at most for `limit`. Tells whether they came to rest.
pub(crate) fn wait_until_idle(pids: &[Pid], limit: Duration) -> Result<bool> {
    let used = || -> Result<f64> {
        pids.iter()
            .try_fold(0.0, |sum, pid| Ok(sum + Usage::of(*pid)?.cpu_us))
    };
    let start = Instant::now();
    let mut before = used()?;
    while start.elapsed() < limit {
        std::thread::sleep(LOOK);
        let now = used()?;
        if (now - before) / 1e6 <= IDLE_CORES * LOOK.as_secs_f64() {
            return Ok(true);
        }
        before = now;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(brand: Brand) -> Installed {
        Installed {
            brand,
            program: PathBuf::from("x"),
            version: String::new(),
        }
    }

    #[test]
    fn both_get_the_same_durable_settings_and_loopback_addresses() {
        let data = Path::new("d");
        let etcd = installed(Brand::Etcd).arguments(data, 1, 2).join(" ");
        let kvorum = installed(Brand::Kvorum).arguments(data, 1, 2).join(" ");
        for line in [&etcd, &kvorum] {
            assert!(
                line.contains("--data-dir d --name bench --listen-client-urls http://127.0.0.1:1")
            );
            assert!(line.contains("--quota-backend-bytes 8589934592"), "{line}");
            assert!(!line.contains("no-fsync"), "{line}");
        }
        assert!(kvorum.starts_with("serve "));
        assert!(etcd.contains("--initial-cluster bench=http://127.0.0.1:2"));
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_status() {
        let folder = std::env::temp_dir().join(format!("kvorum-bench-{}", std::process::id()));
        let program = PathBuf::from("/bin/false");
        let installed = Installed {
            brand: Brand::Etcd,
            program,
            version: String::new(),
        };
        let error = Server::start(installed, &folder)
            .err()
            .expect("false never answers");
        assert!(
            format!("{error:#}").contains("ended with exit status: 1"),
            "{error:#}"
        );
        fs::remove_dir_all(&folder).expect("own folder");
    }

    #[test]
    fn an_idle_process_is_found_idle() {
        let mut child = Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep is installed");
        let idle = wait_until_idle(&[Pid(child.id())], Duration::from_secs(30)).expect("readable");
        child.kill().expect("own child");
        child.wait().expect("own child");
        assert!(idle);
    }
}
