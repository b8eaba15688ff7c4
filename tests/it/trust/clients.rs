//! Clients as they are in use: etcdctl with passwords and with certificates, and what a kube-apiserver does with its files.

use std::path::Path;
use std::process::{Command, Output};

use kvorum_tests::process::{TestDir, find_program};

use super::{Member, Place, text};
use crate::clients;

/// A certificate for a user, made by the tool.
struct Files<'a> {
    dir: &'a Path,
    user: &'a str,
}

impl<'a> Files<'a> {
    fn make(member: &Member, dir: &'a Path, user: &'a str) -> Self {
        let out = dir.to_string_lossy();
        member.told(&["cert", "client", user, "--out-dir", &out]);
        Self { dir, user }
    }

    fn etcdctl(&self, member: &Member, words: &[&str]) -> Output {
        let cert = self.dir.join(format!("{}.crt", self.user));
        let key = self.dir.join(format!("{}.key", self.user));
        let done = member.etcdctl(&cert, &key, words);
        done.expect("was found before")
    }
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

fn users(member: &Member) {
    let (cert, key) = (member.pki("admin.crt"), member.pki("admin.key"));
    for words in [
        &["user", "add", "root:secret of root"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "apps"],
        &[
            "role",
            "grant-permission",
            "apps",
            "readwrite",
            "/app/",
            "--prefix",
        ],
        &["user", "add", "app:secret of app"],
        &["user", "grant-role", "app", "apps"],
        &["auth", "enable"],
    ] {
        let done = member.etcdctl(&cert, &key, words).expect("is installed");
        assert!(done.status.success(), "{words:?}: {}", text(&done));
    }
}

#[test]
fn etcdctl_is_known_by_its_certificate_or_by_its_password() {
    if find_program("etcdctl").is_none() {
        println!("SKIP etcdctl: not installed");
        return;
    }
    let dir = TestDir::new("users");
    let member = Place::new(&dir, "a").start();
    let app = Files::make(&member, dir.path(), "app");
    let stranger = Files::make(&member, dir.path(), "stranger");
    users(&member);
    good(&app.etcdctl(&member, &["put", "/app/a", "1"]));
    let refused = text(&app.etcdctl(&member, &["put", "/other", "1"]));
    assert!(refused.contains("permission denied"), "{refused}");
    // A certificate of the cluster for whom there is no such user.
    let nobody = stranger.etcdctl(&member, &["get", "/app/a"]);
    assert!(!nobody.status.success(), "{}", text(&nobody));
    // A password says more than the certificate beside it.
    let password = ["--user", "app:secret of app"];
    let got = stranger.etcdctl(&member, &[&password[..], &["get", "/app/a"]].concat());
    assert_eq!(good(&got), "/app/a\n1\n");
    let wrong = stranger.etcdctl(&member, &["--user", "app:guess", "get", "/app/a"]);
    assert!(
        text(&wrong).contains("invalid user ID or password"),
        "{}",
        text(&wrong)
    );
    // The tools go on with the administrator's certificate.
    member.told(&["token", "list"]);
}

#[test]
fn etcdctl_with_a_password_needs_no_certificate_where_the_settings_say_so() {
    let Some(etcdctl) = find_program("etcdctl") else {
        println!("SKIP etcdctl: not installed");
        return;
    };
    let dir = TestDir::new("passwords");
    let member = Place::new(&dir, "a").start_with(&["--client-cert-auth=false"]);
    users(&member);
    let ask = |words: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", member.client_url))
            .arg(format!("--cacert={}", member.pki("ca.pem").display()))
            .args(words);
        command.output().expect("etcdctl starts")
    };
    good(&ask(&["--user", "root:secret of root", "put", "k", "v"]));
    let nobody = ask(&["get", "k"]);
    assert!(
        text(&nobody).contains("user name is empty"),
        "{}",
        text(&nobody)
    );
}

/// --etcd-cafile, --etcd-certfile, --etcd-keyfile, by the code that a kube-apiserver reads them with.
#[test]
fn the_files_of_a_kube_apiserver_serve_the_go_client() {
    let program = match clients::go_client() {
        Ok(program) => program,
        Err(why) => return clients::skip("kube-apiserver's files", &why),
    };
    let dir = TestDir::new("apiserver");
    let member = Place::new(&dir, "a").start();
    let out = dir.path().to_string_lossy().into_owned();
    let told = member.told(&["cert", "client", "apiserver", "--out-dir", &out]);
    // What is to be pasted names the files.
    let flag = |name: &str| {
        let mut words = told.split_whitespace();
        let flag = words.find_map(|word| word.strip_prefix(&format!("--{name}=")));
        flag.unwrap_or_else(|| panic!("no --{name} in {told}"))
            .to_owned()
    };
    let mut command = Command::new(program);
    command
        .env("GO_CLIENT_CAFILE", flag("etcd-cafile"))
        .env("GO_CLIENT_CERTFILE", flag("etcd-certfile"))
        .env("GO_CLIENT_KEYFILE", flag("etcd-keyfile"))
        // Contests start processes that take an address only; the member of those checks has another name.
        .args([&flag("etcd-servers"), "auth", "contest", "maintenance"]);
    clients::passes("kube-apiserver's files", "kvorum", &mut command);
}
