//! The JSON gateway, as `curl` sees it: every route, beside a real etcd.

mod access;
mod bad_input;
mod broken;
mod curl;
mod limits;
mod script;
mod streams;
mod websocket;

use kvorum_tests::{
    process::{Options, Server, TestDir, start_etcd},
    reference,
};

use crate::both::Side;
use curl::Curl;

/// A server of either kind, fresh.
struct Asked {
    side: Side,
    server: Server,
    /// `3.6`, of an etcd.
    line: String,
    _dir: TestDir,
}

impl Asked {
    fn kvorum(name: &str, flags: &[&str]) -> Self {
        let dir = TestDir::new(name);
        let options = flags
            .iter()
            .fold(Options::new(&dir), |options, flag| options.flag(*flag));
        Self {
            side: Side::Kvorum,
            server: options.start(),
            line: String::new(),
            _dir: dir,
        }
    }

    /// Nothing if no etcd is installed.
    fn etcd(name: &str, flags: &[&str]) -> Option<Self> {
        let dir = TestDir::new(name);
        let flags = [&["--unsafe-no-fsync"], flags].concat();
        let server = start_etcd(&reference::etcd()?, &dir, &flags);
        let version = Curl::get(&server, "/version").body;
        let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
        let version = version["etcdserver"].as_str().expect("a version");
        let line = version.rsplit_once('.').expect("three numbers").0;
        Some(Self {
            side: Side::Etcd,
            line: line.to_owned(),
            server,
            _dir: dir,
        })
    }

    /// Both where there is an etcd 3.6, else only ours: texts changed between etcd's lines.
    fn both(name: &str, flags: &[&str]) -> Vec<Self> {
        let etcd = Self::etcd(name, flags).filter(|etcd| etcd.line == "3.6");
        let ours = Self::kvorum(name, flags);
        std::iter::once(ours).chain(etcd).collect()
    }

    fn post(&self, path: &str, body: &str) -> curl::Answer {
        Curl::post(&self.server, path, body)
    }
}
