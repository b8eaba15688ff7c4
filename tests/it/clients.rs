//! Published clients in Go, Python and Rust, each with its own script over KV, txn, watch and lease.
//!
//! Every script runs against kvorum and against a real etcd with the same expectations, so that a wrong expectation
//! shows as well as a wrong server.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

use kvorum_tests::{
    process::{Options, TestDir, build_dir, find_program, start_etcd},
    reference,
};

#[test]
fn go() {
    match go_client() {
        Ok(program) => on_both("go-client", || Command::new(&program)),
        Err(why) => skip("Go client", &why),
    }
}

/// Users whose tokens nobody remembers: every change of users makes them old, and the client gets new ones.
#[test]
fn go_with_jwts() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/member/src/tokens/jwt");
    let key = |name| keys.join(name).display().to_string();
    let dir = TestDir::new("go-client-jwt-key");
    let (public, private) = (key("rsa_test_public.pem"), dir.path().join("key.pem"));
    // A member takes no key that others can read, as this one in a clone is.
    let secret = std::fs::read(key("rsa_test_key.pem")).expect("it is in the repository");
    kvorum_tests::process::write_private(&private, &secret);
    let private = private.display();
    let token = format!("jwt,pub-key={public},priv-key={private},sign-method=RS256");
    match go_client() {
        Ok(program) => on_both_with("go-client-jwt", &["--auth-token", &token], || {
            let mut command = Command::new(&program);
            command.args(["only", "auth"]);
            command
        }),
        Err(why) => skip("Go client with JWTs", &why),
    }
}

/// Builds the script for the official Go client, or says why it cannot be built here.
pub(crate) fn go_client() -> Result<PathBuf, String> {
    // Two tests must not write one file at a time.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock();
    let Some(go) = find_program("go") else {
        return Err("no Go toolchain".to_owned());
    };
    let program = build_dir().join("reference").join("go-client");
    let built = output(
        Command::new(go)
            .current_dir(clients("go"))
            .args(["build", "-o"])
            .arg(&program)
            .arg("."),
    );
    let version = built.1.contains("requires go >=") || built.1.contains("invalid go version");
    if !built.0 && version {
        return Err("the Go toolchain is older than the client needs".to_owned());
    }
    assert!(built.0, "go build: {}", built.1);
    Ok(program)
}

/// What the README tells people to do is what the Go client does.
#[test]
fn the_readme_shows_the_fencing_that_is_tested() {
    let read = |path: &Path| {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let tested = read(&clients("go").join("fencing.go"));
    let from = tested.find("func putAsOwner").expect("it is there");
    let end = from + tested[from..].find("\n}\n").expect("a function ends");
    let readme = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    assert!(
        readme.contains(&tested[from..end]),
        "README.md shows another:\n{}",
        &tested[from..end]
    );
}

#[test]
fn python() {
    match python_client() {
        Ok((python, script)) => on_both("python-client", || {
            let mut command = Command::new(&python);
            command.arg(&script);
            command
        }),
        Err(why) => skip("Python client", &why),
    }
}

/// The Python that has the client installed, and the script; or why there is none.
pub(crate) fn python_client() -> Result<(PathBuf, PathBuf), String> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock();
    let Some(python) = find_program("python3") else {
        return Err("no python3".to_owned());
    };
    let venv = build_dir().join("reference").join("python");
    let inside = venv.join("bin").join("python");
    let installed = venv.join("installed");
    if !installed.exists() {
        let made = output(
            Command::new(python)
                .args(["-m", "venv", "--clear"])
                .arg(&venv),
        );
        if !made.0 {
            return Err(format!("python3 -m venv: {}", last_line(&made.1)));
        }
        let requirements = clients("python").join("requirements.txt");
        let pip = output(
            Command::new(&inside)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(requirements),
        );
        if !pip.0 {
            return Err(format!("pip: {}", last_line(&pip.1)));
        }
        std::fs::write(installed, "").expect("the build folder is writable");
    }
    Ok((inside, clients("python").join("client.py")))
}

#[test]
fn rust() {
    on_both("rust-client", rust_client());
}

/// Builds the script for the Rust client and returns what runs it.
pub(crate) fn rust_client() -> impl Fn() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = build_dir().join("reference").join("rust");
    // The client's build insists on a protoc; ours is written in Rust.
    let cargo = move |verb: &str| {
        let mut command = Command::new(&cargo);
        command
            .current_dir(clients("rust"))
            .env("CARGO_TARGET_DIR", &target)
            .env("PROTOC", env!("CARGO_BIN_EXE_protoc"))
            .args([verb, "--quiet", "--locked"]);
        command
    };
    let built = output(&mut cargo("build"));
    assert!(built.0, "cargo build of the Rust client: {}", built.1);
    move || {
        let mut command = cargo("run");
        command.arg("--");
        command
    }
}

fn clients(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(language)
}

pub(crate) fn skip(what: &str, why: &str) {
    println!("SKIP {what}: {why}");
}

/// Runs the client against a fresh kvorum and, where there is one, a fresh etcd.
fn on_both(name: &str, client: impl Fn() -> Command) {
    on_both_with(name, &[], client);
}

/// The same, with flags that both know.
fn on_both_with(name: &str, flags: &[&str], client: impl Fn() -> Command) {
    let dir = TestDir::new(name);
    let options = flags
        .iter()
        .fold(Options::new(&dir), |options, flag| options.flag(*flag));
    let member = options.start();
    passes(name, "kvorum", client().arg(member.address()));
    drop(member);
    match reference::etcd() {
        Some(program) => {
            let etcd = start_etcd(&program, &dir, &[&["--unsafe-no-fsync"], flags].concat());
            passes(name, "etcd", client().arg(etcd.address()));
        }
        None => println!("{name}: no etcd here, so only kvorum was asked"),
    }
}

pub(crate) fn passes(name: &str, server: &str, client: &mut Command) {
    let (success, printed) = output(client);
    assert!(success, "{name} on {server}:\n{printed}");
    let passed = printed
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert!(passed > 0, "{name} on {server} checked nothing:\n{printed}");
    println!("{name}: {passed} checks pass on {server}");
}

/// Whether the command succeeded, and all that it printed.
fn output(command: &mut Command) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = [stdout, stderr].concat();
    (
        status.success(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or("failed")
}
