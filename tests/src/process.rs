//! Real server processes on loopback: started, awaited, killed and started again, with their log kept.

use std::{
    fs,
    io::{BufRead, BufReader, PipeReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The line every etcd harness waits for.
pub const READY: &str = "ready to serve client requests";

/// Far above what a start takes on a loaded machine: a test that gets here has found a hang.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A folder of its own for one test, removed at the end unless the test fails.
#[derive(Debug)]
pub struct TestDir {
    path: PathBuf,
}

impl TestDir {
    /// A new empty folder on the disk that holds the build, so that its syncs are real ones.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("{name}-{}-{number}", std::process::id());
        let path = build_dir().join("test-data").join(folder);
        fs::create_dir_all(&path).expect("the build folder is writable");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for inspection: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The folder that Cargo put this build's programs in, as in `target/<triple>/release`.
///
/// # Panics
/// If the running program does not lie in a Cargo build folder.
#[must_use]
pub fn build_dir() -> PathBuf {
    let program = std::env::current_exe().expect("the program's own path is known");
    let dir = program.parent().expect("a program lies in a folder");
    let dir = if dir.ends_with("deps") {
        dir.parent().expect("deps has a parent")
    } else {
        dir
    };
    dir.to_path_buf()
}

/// The server under test: `$KVORUM_TEST_BIN`, or what `cargo build --release -p kvorum` made.
///
/// # Panics
/// If there is none: a suite that silently tests nothing would be worse.
#[must_use]
pub fn kvorum_bin() -> PathBuf {
    if let Some(path) = std::env::var_os("KVORUM_TEST_BIN") {
        return path.into();
    }
    let path = build_dir().join("kvorum");
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} is missing; run `cargo build --release -p kvorum` first"
    );
    path
}

/// Where a program is, if it is installed.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// A port that was free a moment ago, for servers that cannot be asked to choose one.
///
/// # Panics
/// If loopback has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Several such ports, each another one.
///
/// They lie below those that the kernel gives to connections, which could take one before its server does.
///
/// # Panics
/// If loopback has not so many free ports.
#[must_use]
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    [(); COUNT].map(|()| next_free_port())
}

fn next_free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // Each process begins somewhere else, and no port comes again soon.
    let begin = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let place = begin.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).expect("the range ends below 65,536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free")
}

/// How to start a kvorum member.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// A program and its arguments to run the server under, as in `strace -f -o FILE`.
    pub wrapper: Vec<String>,
    /// Flags beyond the usual ones.
    pub flags: Vec<String>,
    /// The client port; 0 lets the server choose.
    pub client_port: u16,
    /// Where the console is.
    pub console_url: String,
}

impl Options {
    /// The usual flags, with data under `dir`.
    #[must_use]
    pub fn new(dir: &TestDir) -> Self {
        let data_dir = dir.path().join("member");
        Self {
            data_dir,
            wrapper: Vec::new(),
            flags: Vec::new(),
            client_port: 0,
            console_url: "http://127.0.0.1:0".to_owned(),
        }
    }

    /// Adds one flag.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    fn command(&self) -> Command {
        let binary = kvorum_bin();
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let client = format!("http://127.0.0.1:{}", self.client_port);
        command
            .args(["serve", "--name", "default", "--log-format", "json"])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--listen-client-urls", &client])
            .args(["--client-allow-plain", "true"])
            .args(["--listen-console-url", &self.console_url])
            .args(["--console-allow-plain", "true"])
            .args(["--listen-metrics-urls", "http://127.0.0.1:0"])
            .args(&self.flags);
        command
    }

    /// Starts the member and waits until it serves clients.
    ///
    /// # Panics
    /// If it does not become ready; the message holds its log.
    #[must_use]
    pub fn start(&self) -> Server {
        let mut server = Server::spawn(self.command(), "kvorum");
        let line = server.wait_ready();
        let ready: Value = serde_json::from_str(&line).expect("every log line is JSON");
        let url = ready["client_urls"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        server.client_port = port.unwrap_or_else(|| panic!("no client URL in {line}"));
        server.ready = ready;
        server
    }

    /// Starts the member where it may refuse, asks it to stop if it does not, and waits for its end.
    ///
    /// # Panics
    /// If it cannot be started, or neither serves nor ends within a minute.
    #[must_use]
    pub fn start_and_stop(&self) -> (ExitStatus, String) {
        let mut server = Server::spawn(self.command(), "kvorum");
        let status = if server.wait_ready_or_end() {
            server.terminate()
        } else {
            server.wait_exit()
        };
        (status, server.log())
    }

    /// Starts the member where it is expected to refuse, and waits for its end.
    ///
    /// # Panics
    /// If it cannot be started, or still runs after a minute.
    #[must_use]
    pub fn start_refused(&self) -> (ExitStatus, String) {
        let mut server = Server::spawn(self.command(), "kvorum");
        let status = server.wait_exit();
        (status, server.log())
    }
}

/// Starts a real etcd at `binary`, alone, with data under `dir`.
///
/// # Panics
/// If it does not become ready; the message holds its log.
#[must_use]
pub fn start_etcd(binary: &Path, dir: &TestDir, flags: &[&str]) -> Server {
    let [client_port, peer_port] = free_ports();
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut command = Command::new(binary);
    command
        .args(["--name", "default", "--data-dir"])
        .arg(dir.path().join("etcd"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(flags);
    let mut server = Server::spawn(command, "etcd");
    server.client_port = client_port;
    server.wait_ready();
    server
}

/// What a process has printed so far.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    closed: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, pipe: PipeReader) {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            self.lock()
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            self.changed.notify_all();
        }
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Writes what only its owner may read, as members want their keys.
///
/// # Panics
/// If it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: Arc<Log>,
    name: &'static str,
    client_port: u16,
    /// The log line of readiness, `Null` for an etcd.
    pub ready: Value,
}

impl Server {
    /// Starts a server that will serve clients on `client_port`, and does not wait for it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn_on(command: Command, name: &'static str, client_port: u16) -> Self {
        let mut server = Self::spawn(command, name);
        server.client_port = client_port;
        server
    }

    fn spawn(mut command: Command, name: &'static str) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let second = writer.try_clone().expect("a pipe can be duplicated");
        for (variable, _) in std::env::vars_os() {
            let shown = variable.to_string_lossy();
            if shown.starts_with("ETCD") || (shown.starts_with("KVORUM_") && shown != "KVORUM_LOG")
            {
                command.env_remove(&variable);
            }
        }
        command.stdin(Stdio::null()).stdout(writer).stderr(second);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        drop(command); // Its ends of the pipe must close, or the log never ends.
        let log = Arc::new(Log::default());
        let reading = Arc::clone(&log);
        thread::spawn(move || reading.read(reader));
        Self {
            child,
            log,
            name,
            client_port: 0,
            ready: Value::Null,
        }
    }

    fn wait_ready(&self) -> String {
        self.wait_log(|line| line.contains(READY))
    }

    /// Waits until the process serves clients or has closed its log; true if it serves.
    ///
    /// # Panics
    /// If a minute passes first; the message holds the log.
    #[must_use]
    pub fn wait_ready_or_end(&self) -> bool {
        let mut state = self.log.lock();
        loop {
            let ready = state.lines.iter().any(|line| line.contains(READY));
            if ready || state.closed {
                return ready;
            }
            let (next, waited) = self
                .log
                .changed
                .wait_timeout(state, READY_TIMEOUT)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            assert!(
                !waited.timed_out(),
                "{} neither serves nor ends:\n{}",
                self.name,
                state.lines.join("\n")
            );
        }
    }

    /// Waits for a log line and returns it.
    ///
    /// # Panics
    /// If the process ends or a minute passes first; the message holds the log.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut state = self.log.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                let why = if state.closed {
                    "ended"
                } else {
                    "did not print the line"
                };
                panic!("{} {why}; its log:\n{}", self.name, state.lines.join("\n"));
            }
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// `http://127.0.0.1:PORT` for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `127.0.0.1:PORT` for clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// The client port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.client_port
    }

    /// The id of the process that was started (the wrapper's, if there is one).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Processes that a wrapper such as strace runs; without a wrapper there are none.
    fn wrapped(&self) -> Vec<String> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(&mut self) {
        // A killed tracer would let its server run on.
        for pid in self.wrapped() {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        // Already gone is as good.
        let _ = self.child.kill();
        self.child.wait().expect("an own child can be waited for");
    }

    /// Sends SIGTERM and returns how the process ended.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    /// The id of the server itself, wrapped or not.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        let wrapped = self.wrapped().into_iter().next();
        wrapped
            .and_then(|pid| pid.parse().ok())
            .unwrap_or(self.pid())
    }

    /// Sends a signal, named as `kill` names it, to the server itself.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: &str) {
        let pid = self.server_pid().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot signal {pid}"
        );
    }

    /// True once the process has closed its log, which a process does when it ends.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.log.lock().closed
    }

    /// Waits until the process has closed its log and ended.
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut state = self.log.lock();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} still runs:\n{}",
                self.name,
                state.lines.join("\n")
            );
            state = self
                .log
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(state);
        self.child.wait().expect("an own child can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("last log lines of {}:\n{last}", self.name);
        }
    }
}
