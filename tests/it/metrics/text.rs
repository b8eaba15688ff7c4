//! Reads what a server shows under /metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
};

/// The body of one GET; the server must answer 200.
pub(super) fn fetch(address: &str, path: &str) -> String {
    let (status, body) = ask(address, path);
    assert_eq!(status, "200", "{path}: {body}");
    body
}

/// Status and body of one GET.
pub(super) fn ask(address: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).expect("the server accepts connections");
    // HTTP/1.0, so that the body comes in one piece.
    write!(socket, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").expect("open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status line");
    (status.to_owned(), body.to_owned())
}

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            other => panic!("unknown type {other}"),
        }
    }
}

/// The shape of all series of one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) kind: Kind,
    /// Names of labels, without `le`.
    pub(super) labels: BTreeSet<String>,
    /// Upper ends of the buckets, the last of them infinite; empty if it is no histogram.
    pub(super) bounds: Vec<f64>,
}

/// A scrape.
#[derive(Debug, Default)]
pub(super) struct Scrape {
    pub(super) families: BTreeMap<String, Family>,
    pub(super) samples: BTreeMap<String, f64>,
    helped: BTreeSet<String>,
}

impl Scrape {
    pub(super) fn of(address: &str) -> Self {
        let text = fetch(address, "/metrics");
        let mut scrape = Self::default();
        for line in text.lines() {
            scrape.line(line);
        }
        for name in scrape.families.keys() {
            assert!(scrape.helped.contains(name), "{name} has no help");
        }
        scrape
    }

    fn line(&mut self, line: &str) {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a name and a type");
            let family = Family {
                kind: Kind::named(kind),
                labels: BTreeSet::new(),
                bounds: Vec::new(),
            };
            let before = self.families.insert(name.to_owned(), family);
            assert!(before.is_none(), "{name} comes twice");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').expect("a name and a help");
            self.helped.insert(name.to_owned());
        } else {
            self.sample(line);
        }
    }

    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        self.samples.insert(series.to_owned(), value);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = self.family(name);
        let mut names = Vec::new();
        for pair in labels.trim_end_matches('}').split("\",") {
            match pair.split_once('=') {
                Some(("le", end)) => {
                    let end = end.trim_matches('"').parse().expect("a number");
                    if !family.bounds.contains(&end) {
                        family.bounds.push(end);
                    }
                }
                Some((label, _)) => names.push(label.to_owned()),
                None => assert!(pair.is_empty(), "{line}"),
            }
        }
        assert!(
            names.is_sorted(),
            "labels are in alphabetical order: {line}"
        );
        if family.kind != Kind::Summary {
            family.labels.extend(names);
        }
    }

    /// The family that a sample's name belongs to.
    fn family(&mut self, name: &str) -> &mut Family {
        let ends = ["_bucket", "_sum", "_count"];
        let stem = ends.iter().find_map(|end| name.strip_suffix(end));
        let stem = stem.filter(|stem| self.families.contains_key(*stem));
        let name = stem.unwrap_or(name);
        self.families
            .get_mut(name)
            .unwrap_or_else(|| panic!("{name} has no type"))
    }

    /// The value of a series, written as the server writes it; 0 if there is none.
    pub(super) fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or(0.0)
    }
}
