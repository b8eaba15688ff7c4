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
    certified::Certified,
    http2::Dial,
    measure::{self, Target},
    usage::{Pid, Usage},
    workload::Through,
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

    fn arguments(&self, seat: &Seat) -> Vec<String> {
        let scheme = if seat.certified.is_some() {
            "https"
        } else {
            "http"
        };
        let client = format!("{scheme}://{}", seat.client);
        let listen = format!("http://{}", seat.peer);
        let data_dir = seat.data_dir().display().to_string();
        let mut pairs = vec![
            ("--data-dir", data_dir.as_str()),
            ("--name", &seat.name),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--quota-backend-bytes", QUOTA_BYTES),
        ];
        let peers = [
            ("--listen-peer-urls", listen.as_str()),
            ("--initial-advertise-peer-urls", &listen),
            ("--initial-cluster", &seat.cluster),
        ];
        match self.brand {
            Brand::Etcd => {
                pairs.extend(peers);
                pairs.push(("--log-level", "warn"));
            }
            Brand::Kvorum => {
                pairs.extend([
                    (
                        "--client-allow-plain",
                        if seat.certified.is_some() {
                            "false"
                        } else {
                            "true"
                        },
                    ),
                    ("--listen-console-url", "none"),
                    ("--listen-metrics-urls", "none"),
                ]);
                if seat.has_peers() {
                    pairs.extend(peers);
                    pairs.push(("--peer-allow-plain", "true"));
                }
            }
        }
        let files = seat.certified.iter().flat_map(Certified::flags);
        let files = files.flat_map(|(flag, value)| [flag.to_owned(), value]);
        let command = match self.brand {
            Brand::Etcd => None,
            Brand::Kvorum => Some("serve".to_owned()),
        };
        let flags = pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        command.into_iter().chain(flags).chain(files).collect()
    }
}

/// A member's place: its name, addresses and folder, the same for every process that takes it.
#[derive(Clone, Debug)]
struct Seat {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    folder: PathBuf,
    /// All members with their peer URLs, as `--initial-cluster` takes them.
    cluster: String,
    /// How clients are served; in plain without it.
    certified: Option<Certified>,
}

impl Seat {
    /// So many of one cluster, on free ports.
    fn free(count: usize, folder: &Path, certified: Option<&Certified>) -> Result<Vec<Self>> {
        let ports = free_ports(count * 2)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut seats: Vec<_> = (0..count)
            .map(|number| Self {
                name: format!("bench{number}"),
                client: at(ports[number * 2]),
                peer: at(ports[number * 2 + 1]),
                folder: match count {
                    1 => folder.to_path_buf(),
                    _ => folder.join(number.to_string()),
                },
                cluster: String::new(),
                certified: certified.cloned(),
            })
            .collect();
        let all: Vec<_> = seats
            .iter()
            .map(|seat| format!("{}=http://{}", seat.name, seat.peer))
            .collect();
        for seat in &mut seats {
            seat.cluster = all.join(",");
        }
        Ok(seats)
    }

    fn dial(&self) -> Dial {
        Dial {
            address: self.client,
            tls: self.certified.as_ref().map(|made| made.client.clone()),
        }
    }

    fn has_peers(&self) -> bool {
        self.cluster.contains(',')
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(log_path(&self.folder)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A running process; it ends with this value.
struct Process {
    seat: Seat,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running server of one or several members; it ends with this value.
pub(crate) struct Server {
    pub(crate) installed: Installed,
    members: Vec<Process>,
}

impl Server {
    /// Starts `installed` on free ports with its data in `folder`, and waits until every member answers a read.
    pub(crate) fn start(
        installed: Installed,
        folder: &Path,
        count: usize,
        is_secure: bool,
    ) -> Result<Self> {
        let make = || Certified::make(&folder.join("certificates"));
        let certified = is_secure.then(make).transpose()?;
        let mut members = Vec::new();
        for seat in Seat::free(count, folder, certified.as_ref())? {
            let folder = &seat.folder;
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
            let child = spawn(&installed, &seat)?;
            members.push(Process { seat, child });
        }
        let mut server = Self { installed, members };
        for number in 0..count {
            server.wait_until_it_answers(number)?;
        }
        Ok(server)
    }

    /// Whom the clients of a row dial, and who does the work.
    pub(crate) fn target(&self, through: Through) -> Result<Target> {
        let dials = match through {
            Through::Alone => vec![self.dial()],
            Through::Leader => vec![self.leader()?],
            Through::All => self
                .members
                .iter()
                .map(|member| member.seat.dial())
                .collect(),
        };
        Ok(Target {
            dials,
            pids: self.pids(),
        })
    }

    /// Where the member listens that leads now.
    pub(crate) fn leader(&self) -> Result<Dial> {
        let start = Instant::now();
        loop {
            for member in &self.members {
                let dial = member.seat.dial();
                if measure::is_leader(&dial).unwrap_or(false) {
                    return Ok(dial);
                }
            }
            ensure!(start.elapsed() < START_MAX, "no member leads");
            std::thread::sleep(POLL);
        }
    }

    /// Where the first member listens.
    pub(crate) fn dial(&self) -> Dial {
        self.members[0].seat.dial()
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        let children = self.members.iter().map(|member| &member.child);
        children.map(|child| Pid(child.id())).collect()
    }

    pub(crate) fn first_pid(&self) -> Pid {
        Pid(self.members[0].child.id())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.members[0].seat.data_dir()
    }

    /// Kills the first member with SIGKILL and starts it on the same data and port. Tells how long it took
    /// from the start of the new process until it answered a linearizable read.
    pub(crate) fn kill_and_restart(&mut self) -> Result<Duration> {
        let member = &mut self.members[0];
        member.child.kill().context("kill the server")?;
        member.child.wait().context("wait for the killed server")?;
        let start = Instant::now();
        member.child = spawn(&self.installed, &member.seat)?;
        self.wait_until_it_answers(0)?;
        Ok(start.elapsed())
    }

    fn wait_until_it_answers(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        let start = Instant::now();
        loop {
            if let Some(status) = member.child.try_wait()? {
                let words = member.seat.last_words();
                bail!("{} ended with {status}: {words}", self.installed.brand);
            }
            match measure::read_one(&member.seat.dial()) {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > START_MAX => {
                    let words = member.seat.last_words();
                    return Err(error).with_context(|| format!("no answer after start: {words}"));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Fails when a process has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.child.try_wait()? {
                let words = member.seat.last_words();
                bail!("{} ended with {status}: {words}", self.installed.brand);
            }
        }
        Ok(())
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn spawn(installed: &Installed, seat: &Seat) -> Result<Child> {
    let path = log_path(&seat.folder);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    leashed(&installed.program)
        .args(installed.arguments(seat))
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

/// Ports that were free a moment ago, each another one.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port"))
        .collect::<Result<_>>()?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
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

    fn line(brand: Brand, count: usize) -> String {
        let seats = Seat::free(count, Path::new("d"), None).expect("free ports");
        installed(brand).arguments(&seats[0]).join(" ")
    }

    #[test]
    fn both_get_the_same_durable_settings_and_loopback_addresses() {
        for brand in [Brand::Etcd, Brand::Kvorum] {
            let line = line(brand, 1);
            let begins = "--data-dir d/data --name bench0 --listen-client-urls http://127.0.0.1:";
            assert!(line.contains(begins), "{line}");
            assert!(line.contains("--quota-backend-bytes 8589934592"), "{line}");
            assert!(!line.contains("no-fsync"), "{line}");
            assert_eq!(line.starts_with("serve "), brand == Brand::Kvorum);
            let cluster = "--initial-cluster bench0=http://127.0.0.1:";
            assert_eq!(line.contains(cluster), brand == Brand::Etcd, "{line}");
        }
    }

    #[test]
    fn members_of_one_cluster_know_each_other_and_keep_apart_on_disk() {
        for brand in [Brand::Etcd, Brand::Kvorum] {
            let line = line(brand, 3);
            assert!(line.contains("--data-dir d/0/data"), "{line}");
            let (_, cluster) = line.split_once("--initial-cluster ").expect("it is there");
            let cluster = cluster.split(' ').next().unwrap_or_default();
            assert_eq!(cluster.matches("=http://127.0.0.1:").count(), 3, "{line}");
        }
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
        let error = Server::start(installed, &folder, 1, false)
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
