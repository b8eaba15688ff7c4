//! `kvorum cert`: certificates of clients, made on the machine that will use them; and the list of all.

mod by_token;
mod listed;
mod paste;
mod place;
mod state;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_pki::{Bundle, Chain, KeyPair, Serial, bundle_pem, csr};
use kvorum_proto::kvorumpb::{
    CertificateIssueRequest, CertificateIssueResponse, CertificateKind, CertificateListRequest,
    CertificateListResponse, RevokeCertificateRequest, RevokeCertificateResponse, TrustCertificate,
    TrustStatusRequest, TrustStatusResponse, revoke_certificate_request, trust_denial,
};
use rustls::pki_types::CertificateDer;

use super::access::{self, call, with_access};
use super::legible::legible;
use super::member::client_urls;
use super::moment::{self, life};
use super::{failed, path, print, text, text_of, wait_for};
use crate::exit::Exit;
pub(super) use by_token::get as by_token;
pub(super) use paste::operand;
use place::{Made, Place};
pub(super) use place::{names_files, write_public};
use state::States;

const ISSUE: &str = "/kvorumpb.Trust/CertificateIssue";
const LIST: &str = "/kvorumpb.Trust/CertificateList";
const REVOKE: &str = "/kvorumpb.Trust/Revoke";
const UNREVOKE: &str = "/kvorumpb.Trust/Unrevoke";
/// The flag that denies what is on no list.
const UNLISTED: &str = "unlisted";

/// How it is typed.
pub(super) fn command() -> Command {
    let name = || {
        Arg::new("name")
            .value_name("NAME")
            .required(true)
            .help("The user that the certificate speaks for")
    };
    let client = Command::new("client")
        .about("Make a certificate for a client, and print the flags of etcdctl and kube-apiserver for it")
        .after_help("The key is made here and never leaves this machine.")
        .arg(name())
        .arg(
            text(
                "token",
                "TOKEN",
                "Of `kvorum token create --role client --name NAME`, in the place of an administrator's certificate; - to \
                 read it from standard input",
            )
            .conflicts_with_all(["admin", "ttl"]),
        );
    let renew = Command::new("renew")
        .about("Make another certificate in the place of one that `cert client` has made")
        .after_help("The chain is replaced by renaming; clients that read their files anew need no restart.")
        .arg(name())
        .arg(
            Arg::new("new-key")
                .long("new-key")
                .action(ArgAction::SetTrue)
                .help("Replace the key too; between the two files a client finds no pair"),
        );
    let serial = Arg::new("serial")
        .value_name("SERIAL")
        .help("Of one certificate, as `kvorum cert list` shows it");
    let user = text("user", "NAME", "All certificates of this user").conflicts_with("serial");
    let revoke = |name: &'static str, about: &'static str| {
        let command = Command::new(name).about(about);
        with_access(command.arg(serial.clone()).arg(user.clone()))
    };
    Command::new("cert")
        .about("Make, list and revoke certificates")
        .subcommand_required(true)
        .subcommand(with_access(made(client)))
        .subcommand(with_access(made(renew)))
        .subcommand(with_access(Command::new("list").about(
            "Show all certificates: serial, kind, whom it speaks for, state, end, who made it",
        )))
        .subcommand(
            revoke(
                "revoke",
                "Accept a certificate, or any of a user, no more; open connections end",
            )
            .arg(
                Arg::new(UNLISTED)
                    .long(UNLISTED)
                    .action(ArgAction::SetTrue)
                    .help("Also what `kvorum cert list` does not show, as a user who has only a password"),
            ),
        )
        .subcommand(revoke("unrevoke", "Accept it again"))
}

fn made(command: Command) -> Command {
    command
        .arg(path("out-dir", "DIR", "Where NAME.key, NAME.crt and ca.crt go").default_value("."))
        .arg(
            Arg::new("admin")
                .long("admin")
                .action(ArgAction::SetTrue)
                .help(
                    "It may administer the cluster's authority: make tokens and certificates, revoke, change the root",
                ),
        )
        .arg(
            text(
                "ttl",
                "DURATION",
                "How long it lives; as the cluster has it if not given",
            )
            .value_parser(life).allow_hyphen_values(true),
        )
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let done = match matches.subcommand() {
        Some(("client", matches)) if matches.contains_id("token") => {
            return super::join::run_for_client(matches);
        }
        Some(("client", matches)) => wait_for(client(matches, false)),
        Some(("renew", matches)) => wait_for(client(matches, true)),
        Some(("revoke", matches)) => wait_for(revoke(matches, REVOKE)),
        Some(("unrevoke", matches)) => wait_for(revoke(matches, UNREVOKE)),
        Some((_, matches)) => wait_for(list(matches)),
        None => Err("say client, renew, list, revoke or unrevoke".to_owned()),
    };
    match done {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

async fn client(matches: &ArgMatches, again: bool) -> Result<String, String> {
    let user = text_of(matches, "name");
    let typed = operand(&user);
    let out_dir: PathBuf = super::path_of(matches, "out-dir");
    let _empty = Made::before(&out_dir);
    let place = Place::of(&out_dir, &user)?;
    match (again, place.is_taken()) {
        (false, true) => {
            return Err(format!(
                "{} is there already: `kvorum cert renew {typed}` replaces it, or name another --out-dir",
                place.key.display()
            ));
        }
        (true, false) => {
            return Err(format!(
                "{} is not there: `kvorum cert client {typed}` makes it",
                place.key.display()
            ));
        }
        _ => {}
    }
    // The same key again: a client that reads the two files between two writes of ours still gets a pair.
    let key = match again && !matches.get_flag("new-key") {
        true => place.key()?,
        false => KeyPair::generate().map_err(shown)?,
    };
    let replaces = match again {
        true => place.serial(),
        false => Vec::new(),
    };
    let kind = match (matches.get_flag("admin"), again) {
        (true, _) => CertificateKind::Admin,
        // What it was, as the cluster has it on its list.
        (false, true) => CertificateKind::Unspecified,
        (false, false) => CertificateKind::Client,
    };
    let request = CertificateIssueRequest {
        csr_der: csr::create(&key).map_err(shown)?.into(),
        kind: kind.into(),
        user: user.clone(),
        ttl_s: matches.get_one("ttl").copied().unwrap_or_default(),
        replaces: replaces.into(),
    };
    let issued = call(matches, ISSUE, &request).await;
    let issued: CertificateIssueResponse = issued.map_err(|error| match again {
        true => format!("{error}; is it on the list of `kvorum cert list`? If not, `kvorum cert client {typed}` makes another"),
        false => error,
    })?;
    let chain = Chain::new(certificates(issued.chain_der)).map_err(shown)?;
    let bundle = Bundle::new(key, chain).map_err(shown)?;
    place.write(&bundle, &bundle_pem(&certificates(issued.bundle_der)))?;
    let until = moment::shown(issued.not_after_unix_s);
    Ok(paste::told(
        &place,
        &user,
        &until,
        &addresses(matches).await?,
    ))
}

/// Where clients are sent: whom the flags name, else all members.
async fn addresses(matches: &ArgMatches) -> Result<Vec<String>, String> {
    let given = access::addresses(matches)?;
    if !text_of(matches, "endpoints").is_empty() {
        return Ok(given);
    }
    // The certificate is made: a list that cannot be had is no failure.
    let told = client_urls(matches).await.unwrap_or_default();
    Ok(paste::from_elsewhere(match told.is_empty() {
        true => given,
        false => told,
    }))
}

pub(super) fn certificates(der: Vec<impl Into<Vec<u8>>>) -> Vec<CertificateDer<'static>> {
    der.into_iter()
        .map(|der| CertificateDer::from(der.into()))
        .collect()
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn list(matches: &ArgMatches) -> Result<String, String> {
    let told: CertificateListResponse = call(matches, LIST, &CertificateListRequest {}).await?;
    let status: TrustStatusResponse =
        call(matches, super::ca::STATUS, &TrustStatusRequest {}).await?;
    let states = States::of(&told, status.stage(), moment::now());
    let all = told.certificates.iter();
    let mut lines: String = all.map(|c| line(c, states.shown(c))).collect();
    for denial in &told.denied {
        if let Some(trust_denial::Subject::User(user)) = &denial.subject {
            lines.push_str(&format!(
                "user {}: nothing accepted since {}, by {}\n",
                legible(user),
                moment::shown(denial.since_unix_s),
                legible(&denial.denied_by)
            ));
        }
    }
    Ok(lines)
}

fn line(certificate: &TrustCertificate, state: &str) -> String {
    let kind = match certificate.kind() {
        CertificateKind::Node => "member",
        CertificateKind::Client => "client",
        CertificateKind::Admin => "admin",
        CertificateKind::Unspecified => "unknown",
    };
    format!(
        "{}, {kind}, {}, {state}, {}, {}\n",
        Serial::from_bytes(&certificate.serial),
        legible(&certificate.subject),
        moment::shown(certificate.not_after_unix_s),
        legible(&certificate.issued_by)
    )
}

async fn revoke(matches: &ArgMatches, call_path: &str) -> Result<String, String> {
    use revoke_certificate_request::Subject;
    let (user, text) = (text_of(matches, "user"), text_of(matches, "serial"));
    let (subject, what) = match (user.is_empty(), text.is_empty()) {
        (true, true) => return Err("name a serial number, or a --user".into()),
        (false, _) => (Subject::User(user.clone()), format!("user {user}")),
        _ => {
            let serial: Serial = text.parse().map_err(shown)?;
            let what = format!("certificate {serial}");
            (Subject::Serial(serial.as_bytes().to_vec().into()), what)
        }
    };
    if call_path == REVOKE && !matches.get_flag(UNLISTED) {
        let told: CertificateListResponse = call(matches, LIST, &CertificateListRequest {}).await?;
        listed::check(&subject, &told.certificates)?;
    }
    let request = RevokeCertificateRequest {
        subject: Some(subject),
    };
    let _: RevokeCertificateResponse = call(matches, call_path, &request).await?;
    let outcome = match call_path == REVOKE {
        true => "is accepted no more, on any member",
        false => "is accepted again",
    };
    Ok(format!("{what} {outcome}\n"))
}
