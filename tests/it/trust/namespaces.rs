//! Three machines, as network namespaces: from nothing to a cluster that speaks nothing but TLS, by two commands each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use kvorum_tests::process::{Server, TestDir, find_program, kvorum_bin};

use super::{text, token_of, voters};

const MACHINES: usize = 3;
/// What the whole may take; far more than it does, so that only a hang fails here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bridge and a namespace per machine, gone when dropped.
struct Network {
    tag: String,
}

fn ip(words: &str) -> bool {
    let done = Command::new("ip")
        .args(words.split(' '))
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

impl Network {
    /// None where this is not allowed.
    fn new() -> Option<Self> {
        let network = Self {
            tag: format!("kv{}", std::process::id() % 100_000),
        };
        let tag = &network.tag;
        let mut steps = vec![format!("netns add {tag}-hub")];
        let hub = |words: String| format!("-n {tag}-hub {words}");
        steps.push(hub("link add hub0 type bridge".into()));
        steps.push(hub("link set hub0 up".into()));
        for machine in 1..=MACHINES {
            let namespace = format!("{tag}-{machine}");
            steps.push(format!("netns add {namespace}"));
            steps.push(hub(format!(
                "link add p{machine} type veth peer name eth0 netns {namespace}"
            )));
            steps.push(hub(format!("link set p{machine} master hub0 up")));
            steps.push(format!(
                "-n {namespace} addr add {}/24 dev eth0",
                address(machine)
            ));
            steps.push(format!("-n {namespace} link set eth0 up"));
            steps.push(format!("-n {namespace} link set lo up"));
        }
        steps.iter().all(|step| ip(step)).then_some(network)
    }

    /// A program on a machine.
    fn on(&self, machine: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        let namespace = format!("{}-{machine}", self.tag);
        command.args(["netns", "exec", &namespace, program]);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in ["1", "2", "3", "hub"] {
            ip(&format!("netns del {}-{name}", self.tag));
        }
    }
}

fn address(machine: usize) -> String {
    format!("10.77.0.{machine}")
}

fn settings(dir: &TestDir, machine: usize) -> [String; 6] {
    let data_dir: PathBuf = dir.path().join(machine.to_string());
    [
        "--data-dir".to_owned(),
        data_dir.to_string_lossy().into_owned(),
        "--name".to_owned(),
        format!("m{machine}"),
        "--advertise".to_owned(),
        address(machine),
    ]
}

fn start(network: &Network, dir: &TestDir, machine: usize) -> Server {
    let mut command = network.on(machine, &kvorum_bin().to_string_lossy());
    command
        .args(settings(dir, machine))
        .args(["--log-format", "json"]);
    let server = Server::spawn_on(command, "kvorum", 2379);
    assert!(server.wait_ready_or_end(), "{}", server.log());
    server
}

fn run(mut command: Command) -> Output {
    command.output().expect("starts")
}

/// From the last machine: all members vote, and each answers a read that all must agree on.
fn is_whole(network: &Network, etcdctl: &Path, pki: &Path) -> Result<(), String> {
    let ask = |words: &[&str]| {
        let mut command = network.on(MACHINES, &etcdctl.to_string_lossy());
        let urls: Vec<_> = (1..=MACHINES)
            .map(|m| format!("https://{}:2379", address(m)))
            .collect();
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", urls.join(",")));
        for (flag, name) in [
            ("cacert", "ca.pem"),
            ("cert", "admin.crt"),
            ("key", "admin.key"),
        ] {
            command.arg(format!("--{flag}={}", pki.join(name).display()));
        }
        command.args(words);
        run(command)
    };
    // The last member has its administrator's certificate as soon as it knows the authority.
    if !pki.join("admin.key").exists() {
        return Err("no administrator's certificate yet".to_owned());
    }
    let list = ask(&["member", "list", "-w", "json"]);
    let health = ask(&["endpoint", "health"]);
    match voters(&list) == MACHINES && health.status.success() {
        true => Ok(()),
        false => Err(text(&list) + &text(&health)),
    }
}

/// Makes a token on the first machine and joins with it: one command, and the start another.
fn add(network: &Network, dir: &TestDir, machine: usize, first: &Server) -> Server {
    let kvorum = kvorum_bin().to_string_lossy().into_owned();
    let mut create = network.on(1, &kvorum);
    create
        .args(["token", "create", "--data-dir"])
        .arg(dir.path().join("1"));
    let created = run(create);
    assert!(created.status.success(), "{}", text(&created));
    let line = String::from_utf8_lossy(&created.stdout).into_owned();
    let mut join = network.on(machine, &kvorum);
    // Where a machine has one address, it need not be told: the last words of the settings.
    let words = settings(dir, machine);
    join.args(["join", token_of(&line)]).args(&words[..4]);
    let joined = run(join);
    let start_line = format!(" --advertise {}", address(machine));
    assert!(text(&joined).contains(&start_line), "{}", text(&joined));
    assert!(
        joined.status.success(),
        "{}\n{}",
        text(&joined),
        first.log()
    );
    start(network, dir, machine)
}

#[test]
fn three_machines_become_a_cluster_by_two_commands_each() {
    let programs = [
        find_program("etcdctl"),
        find_program("ip"),
        find_program("ss"),
    ];
    let [Some(etcdctl), Some(_), Some(_)] = programs else {
        println!("SKIP three machines: etcdctl, ip or ss is not installed");
        return;
    };
    let Some(network) = Network::new() else {
        println!("SKIP three machines: this user may not make network namespaces");
        return;
    };
    let dir = TestDir::new("machines");
    let begin = Instant::now();
    let mut servers = vec![start(&network, &dir, 1)];
    for machine in 2..=MACHINES {
        let next = add(&network, &dir, machine, &servers[0]);
        servers.push(next);
    }
    let pki = dir.path().join(MACHINES.to_string()).join("pki");
    while let Err(why) = is_whole(&network, &etcdctl, &pki) {
        let log = servers[MACHINES - 1].log();
        assert!(begin.elapsed() < PATIENCE, "{why}\n{log}");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "three machines: {:.1} s from nothing to {MACHINES} voters that answer over mTLS, 2 commands each",
        begin.elapsed().as_secs_f64()
    );
    for machine in 1..=MACHINES {
        let plain = plaintext_listeners(&network, machine);
        let probe = ["127.0.0.1:2381"];
        assert_eq!(
            plain, probe,
            "listeners of machine {machine} that answer in plain text"
        );
    }
}

/// Every listener of a machine that answers a request in plain text.
fn plaintext_listeners(network: &Network, machine: usize) -> Vec<String> {
    let mut command = network.on(machine, "ss");
    command.args(["-ltnH"]);
    let listed = run(command);
    assert!(listed.status.success(), "{}", text(&listed));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let addresses = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    let addresses: Vec<&str> = addresses.collect();
    // Clients on two addresses, members, metrics, the console.
    assert!(addresses.len() >= 5, "{listed}");
    let answers = |address: &&&str| {
        let (host, port) = address.rsplit_once(':').expect("host and port");
        let mut script = String::new();
        let _ = write!(
            script,
            "exec 3<>/dev/tcp/{host}/{port}; printf 'GET /health HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' >&3; \
             timeout 30 cat <&3"
        );
        let mut command = network.on(machine, "bash");
        command.args(["-c", &script]);
        String::from_utf8_lossy(&run(command).stdout).contains("HTTP/1.")
    };
    let mut plain: Vec<String> = addresses
        .iter()
        .filter(answers)
        .map(|address| (*address).to_owned())
        .collect();
    plain.sort();
    plain
}
