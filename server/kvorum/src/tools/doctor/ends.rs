//! Certificates that end soon. Renewal begins at two thirds of a life; with less than a sixth left it has failed for long.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use kvorum_pki::Validity;
use rustls::pki_types::CertificateDer;
use x509_parser::pem::Pem;

use crate::config::{Named, Settings};
use crate::pki::PKI;
use crate::tools::moment;

/// What a member makes for itself; each only where it is in use.
const OWN: [&str; 4] = ["ca.pem", "node.pem", "console.pem", "admin.pem"];

/// One certificate: until when, or what is wrong and what to do.
#[derive(Debug)]
pub(super) struct Line {
    /// The file, and which one in it.
    pub(super) place: String,
    /// The answer.
    pub(super) verdict: Result<String, String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reason) = match &self.verdict {
            Ok(reason) => ("PASS", reason),
            Err(reason) => ("FAIL", reason),
        };
        write!(f, "{word} {}: {reason}", self.place)
    }
}

/// All certificates that the member uses with these settings.
pub(super) fn check(settings: &Settings, now_unix_s: i64) -> Vec<Line> {
    let pki = settings.data_dir.join(PKI);
    let own = OWN.map(|name| pki.join(name));
    let own = own.into_iter().filter(|path| path.exists());
    let named = [&settings.tls_files, &settings.peers.tls_files];
    let named = named.into_iter().flatten().flat_map(files);
    // Clients and members may be served with the same files.
    let all: BTreeSet<PathBuf> = own.chain(named).collect();
    let lines = all.iter().flat_map(|path| {
        let is_own = path.starts_with(&pki);
        file(path, is_own, now_unix_s)
    });
    lines.collect()
}

fn files(named: &Named) -> impl Iterator<Item = PathBuf> + use<> {
    let all = [Some(named.cert.clone()), named.trusted_ca.clone()];
    all.into_iter().flatten()
}

fn file(path: &Path, is_own: bool, now_unix_s: i64) -> Vec<Line> {
    let place = |number: usize| match number {
        0 => path.display().to_string(),
        more => format!("{}, number {}", path.display(), more + 1),
    };
    let failed = |error: &dyn fmt::Display| Line {
        place: place(0),
        verdict: Err(error.to_string()),
    };
    let pem = match fs::read(path) {
        Ok(pem) => pem,
        Err(error) => return vec![failed(&error)],
    };
    let mut lines = Vec::new();
    for block in Pem::iter_from_buffer(&pem) {
        match block {
            Ok(block) if block.label == "CERTIFICATE" => lines.push(Line {
                place: place(lines.len()),
                verdict: judge(&CertificateDer::from(block.contents), is_own, now_unix_s),
            }),
            Ok(_) => {}
            Err(error) => return vec![failed(&error)],
        }
    }
    match lines.is_empty() {
        true => vec![failed(&"holds no certificate")],
        false => lines,
    }
}

fn judge(
    certificate: &CertificateDer<'_>,
    is_own: bool,
    now_unix_s: i64,
) -> Result<String, String> {
    let validity = Validity::of(certificate).map_err(|error| error.to_string())?;
    let until = moment::shown(validity.not_after_unix);
    let help = match is_own {
        true => {
            "the member renews it while it runs and reaches the others: its log says why it did not"
        }
        false => "put another one in its place",
    };
    if now_unix_s < validity.not_before_unix {
        let from = moment::shown(validity.not_before_unix);
        return Err(format!(
            "valid from {from} only: is the clock of this machine right?"
        ));
    }
    if now_unix_s > validity.not_after_unix {
        return Err(format!("ended {until}: {help}"));
    }
    match validity.is_nearly_over(now_unix_s) {
        true => Err(format!(
            "ends {until}, less than a sixth of its life is left: {help}"
        )),
        false => Ok(format!("until {until}")),
    }
}
