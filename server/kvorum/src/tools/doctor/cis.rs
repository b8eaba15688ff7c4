//! The lines of the CIS Kubernetes benchmark that are about etcd, and what each means here.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kvorum_pki::shell_word as word;
use x509_parser::pem::Pem;

use super::fits::stray;
use super::owner::{OTHERS, group, mode, user};
use crate::config::{ListenUrl, Named, Scheme, Settings, check_leaf};

/// Where a member keeps the certificates that it makes for itself.
const PKI: &str = "pki";

/// What is looked at.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// What the member runs with.
    pub(super) settings: &'a Settings,
    /// The file that part of it stands in.
    pub(super) config: Option<PathBuf>,
    /// The authority that must not be etcd's, too.
    pub(super) kubernetes_ca: PathBuf,
}

/// One line: why it passes, or why it does not and what to do.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number in the benchmark.
    pub(super) number: &'static str,
    /// What it asks for.
    pub(super) asks: &'static str,
    /// The answer.
    pub(super) verdict: Verdict,
}

type Verdict = Result<String, String>;

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reason) = match &self.verdict {
            Ok(reason) => ("PASS", reason),
            Err(reason) => ("FAIL", reason),
        };
        write!(f, "{word} {:<6} {}: {reason}", self.number, self.asks)
    }
}

/// All lines, in the order of the benchmark.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Line> {
    let line = |number, asks, verdict| Line {
        number,
        asks,
        verdict,
    };
    let no_leaves = "there is no such setting: automatic certificates come from an authority of the cluster's own, \
                     never from themselves";
    vec![
        line(
            "1.1.7",
            "the file that configures the store has mode 600 or stricter",
            config_mode(subject),
        ),
        line(
            "1.1.8",
            "that file is root's, or the member's",
            config_owner(subject),
        ),
        line(
            "1.1.11",
            "the data directory has mode 700 or stricter",
            data_mode(subject),
        ),
        line(
            "1.1.12",
            "the data directory is a service user's",
            data_owner(subject),
        ),
        line(
            "2.1",
            "clients are served with a certificate and a key",
            client_certificate(subject),
        ),
        line("2.2", "clients show a certificate", client_auth(subject)),
        line(
            "2.3",
            "no self-signed certificates for clients",
            Ok(no_leaves.to_owned()),
        ),
        line(
            "2.4",
            "members are served with a certificate and a key",
            peer_certificate(subject),
        ),
        line("2.5", "members show a certificate", peer_auth(subject)),
        line(
            "2.6",
            "no self-signed certificates for members",
            Ok(no_leaves.to_owned()),
        ),
        line(
            "2.7",
            "the store has an authority of its own",
            own_authority(subject),
        ),
    ]
}

fn look(path: &Path) -> Result<Metadata, String> {
    fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// As a command to paste takes it.
fn quoted(path: &Path) -> String {
    word(&path.to_string_lossy())
}

fn config_mode(subject: &Subject<'_>) -> Verdict {
    let Some(path) = &subject.config else {
        return Ok("there is no such file".into());
    };
    let (shown, mode) = (path.display(), mode(&look(path)?));
    match mode & (OTHERS | 0o111) {
        0 => Ok(format!("{shown} has mode {mode:o}")),
        _ => Err(format!(
            "{shown} has mode {mode:o}: chmod 600 {}",
            quoted(path)
        )),
    }
}

fn config_owner(subject: &Subject<'_>) -> Verdict {
    let Some(path) = &subject.config else {
        return Ok("there is no such file".into());
    };
    let (shown, found) = (path.display(), look(path)?);
    let member = fs::metadata(&subject.settings.data_dir).map(|dir| (dir.uid(), dir.gid()));
    let (uid, gid) = (found.uid(), found.gid());
    let owner = format!("{}:{}", user(uid), group(gid));
    let members = member.is_ok_and(|member| member == (uid, gid));
    match (uid, gid) == (0, 0) || members {
        true => Ok(format!("{shown} is {owner}")),
        false => Err(format!(
            "{shown} is {owner}: chown root:root {}",
            quoted(path)
        )),
    }
}

fn data_mode(subject: &Subject<'_>) -> Verdict {
    let dir = &subject.settings.data_dir;
    for path in [dir.clone(), dir.join(PKI)] {
        let found = match look(&path) {
            // A member with files of its operator has none of its own.
            Err(_) if path.ends_with(PKI) && !path.exists() => continue,
            found => found?,
        };
        let (shown, mode) = (path.display(), mode(&found));
        if mode & OTHERS != 0 {
            return Err(format!(
                "{shown} has mode {mode:o}: chmod 700 {}",
                quoted(&path)
            ));
        }
    }
    let mode = mode(&look(dir)?);
    Ok(format!("{} has mode {mode:o}", dir.display()))
}

fn data_owner(subject: &Subject<'_>) -> Verdict {
    let dir = &subject.settings.data_dir;
    let found = look(dir)?;
    let (shown, owner) = (dir.display(), user(found.uid()));
    if found.uid() == 0 {
        return Err(format!(
            "{shown} is root's: run the member as a user of its own, and chown -R that user {}",
            quoted(dir)
        ));
    }
    let foreign = foreign(dir, found.uid()).map_err(|error| format!("{shown}: {error}"))?;
    match foreign {
        Some(path) => Err(format!(
            "{shown} is {owner}'s, but not {}: chown -R {owner} {}",
            path.display(),
            quoted(dir)
        )),
        None => Ok(format!("{shown} and all in it is {owner}'s")),
    }
}

/// Something below a directory that is another user's.
fn foreign(dir: &Path, uid: u32) -> std::io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.uid() != uid {
            return Ok(Some(entry.path()));
        }
        if metadata.is_dir()
            && let Some(path) = foreign(&entry.path(), uid)?
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn client_certificate(subject: &Subject<'_>) -> Verdict {
    let settings = subject.settings;
    if let Some(reason) = stray(settings) {
        return Err(reason);
    }
    let plain = settings.listen.clients.iter().find(|client| client.plain);
    if let Some(client) = plain {
        return Err(format!(
            "clients are served without TLS at {}: make it an https:// URL in listen-client-urls",
            client.address
        ));
    }
    certificate(subject, settings.tls_files.as_ref(), false)
}

fn certificate(subject: &Subject<'_>, named: Option<&Named>, dials: bool) -> Verdict {
    let own = subject.settings.data_dir.join(PKI).join("node.pem");
    let (cert, key) = match named {
        Some(named) => (&named.cert, &named.key),
        None => (&own, &own),
    };
    let pem = fs::read(cert).map_err(|error| format!("{}: {error}", cert.display()))?;
    check_leaf(&pem, dials).map_err(|reason| format!("{} {reason}", cert.display()))?;
    let (shown, mode) = (key.display(), mode(&look(key)?));
    match mode & OTHERS {
        0 => Ok(format!("{} and its key {shown}", cert.display())),
        _ => Err(format!(
            "the key {shown} has mode {mode:o}: chmod 600 {}",
            quoted(key)
        )),
    }
}

fn client_auth(subject: &Subject<'_>) -> Verdict {
    let settings = subject.settings;
    client_certificate(subject)?;
    match &settings.tls_files {
        None if !settings.trust.client_cert_auth => {
            Err("clients need not show a certificate: leave --client-cert-auth=false out".into())
        }
        None => Ok("of the authority that the cluster made".into()),
        Some(Named {
            trusted_ca: Some(ca),
            ..
        }) => Ok(format!("of the authority in {}", ca.display())),
        Some(_) => Err(
            "clients need not show a certificate: give --trusted-ca-file, the authority that signs them"
                .into(),
        ),
    }
}

fn no_peers(settings: &Settings) -> Verdict {
    match stray(settings) {
        Some(reason) => Err(reason),
        None => Ok("these settings have no listener for members".into()),
    }
}

fn peer_certificate(subject: &Subject<'_>) -> Verdict {
    let settings = subject.settings;
    if settings.listen.peers.is_empty() {
        return no_peers(settings);
    }
    let plain = |url: &&ListenUrl| url.scheme == Scheme::Http;
    if let Some(url) = settings.listen.peers.iter().find(plain) {
        return Err(format!(
            "members are served without TLS at {}: make it an https:// URL in listen-peer-urls",
            url.address
        ));
    }
    certificate(subject, settings.peers.tls_files.as_ref(), true)
}

fn peer_auth(subject: &Subject<'_>) -> Verdict {
    if subject.settings.listen.peers.is_empty() {
        return no_peers(subject.settings);
    }
    peer_certificate(subject)?;
    match subject.settings.peers.allow_plain {
        true => Err("members may be dialled without TLS: leave --peer-allow-plain out".into()),
        false => Ok("always".into()),
    }
}

fn own_authority(subject: &Subject<'_>) -> Verdict {
    let settings = subject.settings;
    let own = settings.data_dir.join(PKI).join("ca.pem");
    let of = |named: &Option<Named>| match named {
        Some(named) => named.trusted_ca.clone(),
        None => Some(own.clone()),
    };
    let mut authorities = Vec::new();
    if settings.listen.clients.iter().any(|client| client.tls) {
        authorities.push(of(&settings.tls_files).ok_or("clients need not show a certificate")?);
    }
    let secure = |url: &ListenUrl| url.scheme == Scheme::Https;
    if settings.listen.peers.iter().any(secure) {
        authorities.extend(of(&settings.peers.tls_files));
    }
    let Some(first) = authorities.first() else {
        return Err("there is no TLS, so there is no authority".into());
    };
    // One that is not there is none, whatever Kubernetes has.
    let read = |path: &PathBuf| Ok::<_, String>((path.clone(), public_keys(path)?));
    let ours: Vec<_> = authorities.iter().map(read).collect::<Result<_, _>>()?;
    let kubernetes = &subject.kubernetes_ca;
    if !kubernetes.exists() {
        return Ok(format!(
            "{}; there is no {} here that could be the same",
            first.display(),
            kubernetes.display()
        ));
    }
    let theirs = public_keys(kubernetes)?;
    if let Some((same, _)) = ours.iter().find(|(_, keys)| !keys.is_disjoint(&theirs)) {
        return Err(format!(
            "{} and {} hold the same authority, so every certificate of Kubernetes opens the store: give the store one of \
             its own",
            same.display(),
            kubernetes.display()
        ));
    }
    Ok(format!(
        "{} is another one than {}",
        first.display(),
        kubernetes.display()
    ))
}

/// The public keys of all certificates in a file: the same authority may be certified anew.
fn public_keys(path: &Path) -> Result<BTreeSet<Vec<u8>>, String> {
    let told = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let pem = fs::read(path).map_err(|error| told(&error))?;
    let mut keys = BTreeSet::new();
    for block in Pem::iter_from_buffer(&pem) {
        let block = block.map_err(|error| told(&error))?;
        let certificate = block.parse_x509().map_err(|error| told(&error))?;
        keys.insert(certificate.public_key().raw.to_vec());
    }
    match keys.is_empty() {
        true => Err(told(&"holds no certificate")),
        false => Ok(keys),
    }
}
