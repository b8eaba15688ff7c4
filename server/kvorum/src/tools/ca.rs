//! `kvorum ca`: the cluster's own certificate authority.

mod create;
mod rotation;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_pki::{TrustDomain, Validity, bundle_pem};
use kvorum_proto::kvorumpb::{
    RevocationListRequest, RevocationListResponse, RotateAction, RotateCaRequest, RotateStage,
    TrustStatusRequest, TrustStatusResponse,
};

use super::access::{call, with_access};
use super::cert::{certificates, write_public};
use super::moment::{self, life};
use super::{failed, path, print, text, wait_for};
use crate::exit::Exit;

pub(super) const STATUS: &str = "/kvorumpb.Trust/TrustStatus";
const REVOCATION_LIST: &str = "/kvorumpb.Trust/RevocationList";
const ROTATE: &str = "/kvorumpb.Trust/RotateCa";

/// How it is typed.
pub(super) fn command() -> Command {
    let rotate = Command::new("rotate")
        .about("Put a new root in the place of the old one, while everything goes on")
        .after_help(
            "Members learn to trust the new root, then the authority signs by it, then they get new certificates, then \
             clients do within the grace period, then the old root is trusted no more. Each step goes on after a crash. \
             `kvorum ca status` tells where it stands.",
        )
        .arg(
            text("grace", "DURATION", "How long clients may show certificates of the old root")
                .default_value("90d")
                .value_parser(life).allow_hyphen_values(true),
        )
        .arg(
            Arg::new("without-members")
                .long("without-members")
                .action(ArgAction::SetTrue)
                .help(
                    "Of a rotation under way: go on without the members that the leader cannot reach now; they need \
                     `kvorum rejoin` when they are back",
                ),
        )
        .arg(
            Arg::new("end-grace")
                .long("end-grace")
                .action(ArgAction::SetTrue)
                .help(
                    "Of a rotation in step 4: wait no longer for clients; whoever still shows a certificate of the old \
                     root is refused",
                ),
        );
    let revocation_list = Command::new("crl")
        .about("Print the list of revoked certificates (X.509 CRL), as PEM, for verifiers outside of the cluster")
        .after_help(
            "Members need no such list: a revocation reaches all of them at once. It names serial numbers, those of a \
             revoked user's certificates among them, and is signed by the issuing certificate of now.",
        )
        .arg(path("out", "FILE", "Where it goes, instead of standard output; replaced as a whole"))
        .arg(
            text("ttl", "DURATION", "When the next list is due")
                .default_value("7d")
                .value_parser(life).allow_hyphen_values(true),
        );
    Command::new("ca")
        .about("Show, hand out and rotate the cluster's own certificate authority")
        .subcommand_required(true)
        .subcommand(with_access(Command::new("status").about(
            "Show the authority, the certificates of the members, and where a rotation stands",
        )))
        .subcommand(with_access(rotate))
        .subcommand(with_access(
            Command::new("export")
                .about("Print the certificates that clients are to trust, as PEM"),
        ))
        .subcommand(with_access(revocation_list))
        .subcommand(create::command())
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    if let Some((create::CREATE, matches)) = matches.subcommand() {
        return create::run(matches).map_or_else(|failed| failed, |told| print(&told));
    }
    let done = match matches.subcommand() {
        Some(("rotate", matches)) => wait_for(rotate(matches)),
        Some(("export", matches)) => wait_for(export(matches)),
        Some(("crl", matches)) => wait_for(revocation_list(matches)),
        Some((_, matches)) => wait_for(show(matches)),
        None => Err("say status, rotate, export, crl or create".to_owned()),
    };
    match done {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

async fn status(matches: &ArgMatches) -> Result<TrustStatusResponse, String> {
    call(matches, STATUS, &TrustStatusRequest {}).await
}

async fn export(matches: &ArgMatches) -> Result<String, String> {
    Ok(bundle_pem(&certificates(status(matches).await?.bundle_der)))
}

async fn revocation_list(matches: &ArgMatches) -> Result<String, String> {
    let life_s = matches.get_one("ttl").copied().unwrap_or_default();
    let request = RevocationListRequest { life_s };
    let told: RevocationListResponse = call(matches, REVOCATION_LIST, &request).await?;
    match matches.get_one::<PathBuf>("out") {
        None => Ok(told.pem),
        Some(out) => {
            write_public(out, told.pem.as_bytes())?;
            Ok(String::new())
        }
    }
}

async fn show(matches: &ArgMatches) -> Result<String, String> {
    let told = status(matches).await?;
    let look = RotateCaRequest {
        action: RotateAction::Status.into(),
        ..RotateCaRequest::default()
    };
    let mut lines = status_lines(&told);
    lines.push_str(&rotation::lines(&call(matches, ROTATE, &look).await?));
    Ok(lines)
}

async fn rotate(matches: &ArgMatches) -> Result<String, String> {
    let (without_members, end_grace) = (
        matches.get_flag("without-members"),
        matches.get_flag("end-grace"),
    );
    if end_grace {
        rotation::may_end_grace(status(matches).await?.stage())?;
    }
    let action = match without_members || end_grace {
        true => RotateAction::Force,
        false => RotateAction::Start,
    };
    let request = RotateCaRequest {
        action: action.into(),
        grace_s: matches.get_one("grace").copied().unwrap_or_default(),
        without_members,
        end_grace,
    };
    let told = call(matches, ROTATE, &request).await?;
    Ok(rotation::lines(&told))
}

fn status_lines(told: &TrustStatusResponse) -> String {
    let domain = <[u8; 16]>::try_from(&told.domain[..]).map(TrustDomain::from_bytes);
    let domain = domain.map_or_else(|_| "unreadable".to_owned(), |domain| domain.to_string());
    let mut lines = format!("trust domain {domain}\n");
    for root in certificates(told.bundle_der.clone()) {
        let until = Validity::of(&root).map(|validity| moment::shown(validity.not_after_unix));
        let until = until.unwrap_or_else(|error| error.to_string());
        lines.push_str(&format!("root, until {until}\n"));
    }
    lines.push_str(&format!(
        "issuing authority, until {}\n",
        moment::shown(told.issuer_not_after_unix_s)
    ));
    for member in &told.members {
        lines.push_str(&format!(
            "member {:x}, until {}{}\n",
            member.member_id,
            moment::shown(member.not_after_unix_s),
            match (member.bundle == told.bundle, told.stage()) {
                (true, _) => String::new(),
                // Nothing is on its way to it, and without the new root it cannot ask.
                (false, RotateStage::None) => format!(
                    ", does not know all roots: if it has been up for a minute, `kvorum token create --role rejoin \
                     --member {:x}` makes what `kvorum rejoin` takes there",
                    member.member_id
                ),
                (false, _) => ", does not know all roots yet".to_owned(),
            }
        ));
    }
    lines
}
