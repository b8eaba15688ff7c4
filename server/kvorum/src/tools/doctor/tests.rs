//! Each line of the benchmark, passed and failed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::cis::{Subject, check};
use super::ends;
use crate::config;

/// A directory of its own for each test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("kvorum-doctor-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("data")).expect("makes a scratch directory");
        let scratch = Self(path);
        scratch.set("data", 0o700);
        scratch
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).expect("writes a scratch file");
        self.set(name, 0o600);
        self.at(name)
    }

    fn set(&self, name: &str, mode: u32) {
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(self.0.join(name), permissions).expect("is ours");
    }

    /// An authority and a certificate for members; the files are `NAME-ca.crt`, `NAME.crt` and `NAME.key`.
    fn certificates(&self, name: &str) {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("params");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let ca_cert = ca.self_signed(&ca_key).expect("an authority");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let mut leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("params");
        leaf.extended_key_usages = vec![ClientAuth, ServerAuth];
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        self.write(&format!("{name}-ca.crt"), &ca_cert.pem());
        self.write(&format!("{name}.crt"), &leaf.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The settings of a member that keeps every line.
    fn secure(&self) -> Vec<(&'static str, String)> {
        self.certificates("own");
        self.certificates("kubernetes");
        let https = || "https://127.0.0.1:0".to_owned();
        vec![
            ("data-dir", self.at("data")),
            ("listen-client-urls", https()),
            ("listen-peer-urls", https()),
            ("cert-file", self.at("own.crt")),
            ("key-file", self.at("own.key")),
            ("trusted-ca-file", self.at("own-ca.crt")),
            ("peer-cert-file", self.at("own.crt")),
            ("peer-key-file", self.at("own.key")),
            ("peer-trusted-ca-file", self.at("own-ca.crt")),
        ]
    }

    /// What fails with these settings: number and reason.
    fn failures(&self, flags: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let settings = config::read(flags.to_vec(), std::iter::empty()).expect("is accepted");
        let config = self.0.join("kvorum.toml");
        let subject = Subject {
            settings: &settings,
            config: config.exists().then_some(config),
            kubernetes_ca: self.0.join("kubernetes-ca.crt"),
        };
        let lines = check(&subject);
        assert_eq!(lines.len(), 11);
        let failed = lines.into_iter().filter_map(|line| {
            let number = line.number;
            line.verdict.err().map(|reason| (number, reason))
        });
        // Whoever runs this as root has a directory of root's.
        failed
            .filter(|(number, reason)| *number != "1.1.12" || !reason.contains("is root's"))
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn without(
    flags: &[(&'static str, String)],
    names: &[&str],
    more: &[(&'static str, &str)],
) -> Vec<(&'static str, String)> {
    let kept = flags.iter().filter(|(name, _)| !names.contains(name));
    let more = more
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    kept.cloned().chain(more).collect()
}

#[test]
fn a_member_with_certificates_and_tight_files_passes() {
    let scratch = Scratch::new("pass");
    let flags = scratch.secure();
    scratch.write("kvorum.toml", "");
    assert_eq!(scratch.failures(&flags), []);
}

#[test]
fn loose_files_fail_by_name_and_with_what_to_do() {
    let scratch = Scratch::new("loose");
    let flags = scratch.secure();
    scratch.write("kvorum.toml", "");
    scratch.set("kvorum.toml", 0o644);
    scratch.set("data", 0o755);
    scratch.set("own.key", 0o640);
    let failed = scratch.failures(&flags);
    let numbers: Vec<_> = failed.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ["1.1.7", "1.1.11", "2.1", "2.2", "2.4", "2.5"]);
    for ((_, reason), part) in failed.iter().zip(["chmod 600", "chmod 700", "chmod 600"]) {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_directory_in_the_hands_of_several_users_fails() {
    let scratch = Scratch::new("owner");
    let flags = scratch.secure();
    scratch.write("kvorum.toml", "");
    let file = scratch.write("data/state", "");
    let given = |path: &str, uid| chown(Path::new(path), Some(uid), Some(uid)).is_ok();
    if !given(&scratch.at("data"), 65_534) {
        eprintln!("SKIP foreign owners: only root may give files away");
        return;
    }
    let failed = scratch.failures(&flags);
    assert_eq!(failed[0].0, "1.1.12", "{failed:?}");
    assert!(failed[0].1.contains("chown -R"), "{failed:?}");
    assert!(given(&file, 65_534));
    assert_eq!(scratch.failures(&flags), []);
    assert!(given(&scratch.at("kvorum.toml"), 1));
    let failed = scratch.failures(&flags);
    assert_eq!(failed[0].0, "1.1.8", "{failed:?}");
}

#[test]
fn plain_listeners_and_anonymous_clients_fail() {
    let scratch = Scratch::new("plain");
    let flags = scratch.secure();
    let numbers = |flags: &[(&'static str, String)]| {
        let failed = scratch.failures(flags).into_iter();
        failed.map(|(number, _)| number).collect::<Vec<_>>()
    };
    let plain = without(
        &flags,
        &["listen-client-urls"],
        &[
            ("listen-client-urls", "http://127.0.0.1:0"),
            ("client-allow-plain", "true"),
        ],
    );
    assert_eq!(numbers(&plain), ["2.1", "2.2"]);
    let anonymous = without(&flags, &["trusted-ca-file"], &[]);
    assert_eq!(numbers(&anonymous), ["2.2", "2.7"]);
    let plain_peers = without(
        &flags,
        &["listen-peer-urls"],
        &[
            ("listen-peer-urls", "http://127.0.0.1:0"),
            ("peer-allow-plain", "true"),
        ],
    );
    assert_eq!(numbers(&plain_peers), ["2.4", "2.5"]);
    let both = without(&flags, &[], &[("peer-allow-plain", "true")]);
    assert_eq!(numbers(&both), ["2.5"]);
}

#[test]
fn what_is_not_there_does_not_pass() {
    let scratch = Scratch::new("absent");
    let numbers = |flags: &[(&'static str, String)]| {
        let failed = scratch.failures(flags).into_iter();
        failed.map(|(number, _)| number).collect::<Vec<_>>()
    };
    let elsewhere = [("data-dir", scratch.at("nonexistent"))];
    let all = ["1.1.11", "1.1.12", "2.1", "2.2", "2.4", "2.5", "2.7"];
    assert_eq!(numbers(&elsewhere), all);
    // The member serves clients at another address than these settings say.
    fs::create_dir(scratch.0.join("data/pki")).expect("makes a directory");
    scratch.set("data/pki", 0o700);
    let here = [("data-dir", scratch.at("data"))];
    scratch.write("data/pki/endpoints", "https://10.0.0.1:2379\n");
    let failed = scratch.failures(&here);
    let told = |number| failed.iter().find(|(of, _)| *of == number);
    for number in ["2.1", "2.4", "2.5"] {
        let (_, reason) = told(number).expect("fails");
        assert!(reason.contains("https://10.0.0.1:2379"), "{reason}");
    }
}

#[test]
fn the_authority_of_kubernetes_is_not_the_stores() {
    let scratch = Scratch::new("authority");
    let flags = scratch.secure();
    fs::copy(scratch.at("own-ca.crt"), scratch.at("kubernetes-ca.crt")).expect("copies");
    let failed = scratch.failures(&flags);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "2.7");
    assert!(failed[0].1.contains("the same authority"), "{failed:?}");
}

#[test]
fn a_certificate_in_its_last_sixth_fails_by_its_file() {
    use kvorum_pki::{Root, TrustDomain, bundle_pem};
    const DAY_S: i64 = 24 * 3600;
    let scratch = Scratch::new("ends");
    let flags = scratch.secure();
    let settings = config::read(flags, std::iter::empty()).expect("is accepted");
    fs::create_dir(scratch.0.join("data/pki")).expect("makes a directory");
    let domain = TrustDomain::generate().expect("random");
    let begin = crate::tools::moment::now();
    let root = Root::generate(&domain, begin).expect("a root");
    let ca = scratch.write(
        "data/pki/ca.pem",
        &bundle_pem(&[root.certificate().clone()]),
    );
    let failed_at = |now: i64| {
        let lines = ends::check(&settings, now);
        assert_eq!(lines.len(), 3, "{lines:?}");
        let failed = lines.into_iter().filter_map(|line| {
            let reason = line.verdict.err()?;
            Some((line.place, reason))
        });
        failed.collect::<Vec<_>>()
    };
    assert_eq!(failed_at(begin), []);
    let life_s = kvorum_pki::ROOT_LIFE_S;
    for (now, word) in [
        (begin + life_s * 5 / 6 + DAY_S, "a sixth of its life"),
        (begin + life_s + DAY_S, "ended "),
        (begin - DAY_S, "valid from "),
    ] {
        let failed = failed_at(now);
        // Those that the settings name live as long as their maker says: for ever.
        let [(place, reason)] = failed.as_slice() else {
            panic!("{failed:?}");
        };
        assert_eq!(*place, ca);
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn the_report_says_first_by_which_settings_it_judges() {
    let lines = [
        ("PASS 2.1".to_owned(), false),
        ("FAIL 2.2".to_owned(), true),
    ];
    let report = super::report(&lines);
    let mut told = report.lines();
    let first = told.next().expect("a first line");
    assert!(
        first.starts_with("judged by the settings given to this command"),
        "{first}"
    );
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["PASS 2.1", "FAIL 2.2", "1 of 2 lines fail"]
    );
    assert!(super::report(&lines[..1]).ends_with("\nall 1 lines pass\n"));
}

#[test]
fn a_member_on_all_addresses_or_with_a_name_has_the_endpoints_that_its_start_tells() {
    let scratch = Scratch::new("endpoints");
    fs::create_dir(scratch.0.join("data/pki")).expect("writes");
    scratch.set("data/pki", 0o700);
    scratch.write("data/pki/endpoints", "https://127.0.0.1:2379\n");
    let differs = |more: &[(&'static str, &str)]| {
        let data_dir = [("data-dir", scratch.at("data"))];
        let failed = scratch.failures(&without(&data_dir, &[], more));
        let mut reasons = failed.iter().map(|(_, reason)| reason);
        reasons.any(|reason| reason.contains("give those that it runs with"))
    };
    assert!(!differs(&[]));
    assert!(!differs(&[("advertise", "node1.example")]));
    let all = [
        ("listen-client-urls", "https://0.0.0.0:2379"),
        ("advertise-client-urls", "https://node1.example:2379"),
    ];
    assert!(!differs(&all));
    assert!(differs(&[("listen-client-urls", "https://127.0.0.1:2389")]));
}
