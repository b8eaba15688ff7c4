//! `kvorum ca`: the cluster's own certificate authority.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_pki::{TrustDomain, Validity, bundle_pem};
use kvorum_proto::kvorumpb::{
    RevocationListRequest, RevocationListResponse, RotateAction, RotateCaRequest, RotateCaResponse,
    RotateStage, TrustStatusRequest, TrustStatusResponse,
};

use super::access::{call, with_access};
use super::cert::{certificates, write_public};
use super::moment::{self, life};
use super::{failed, path, print, text, wait_for};
use crate::exit::Exit;

const STATUS: &str = "/kvorumpb.Trust/TrustStatus";
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
                .value_parser(life),
        )
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Of a rotation under way: wait neither for members that cannot be reached nor for clients"),
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
                .value_parser(life),
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
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let done = match matches.subcommand() {
        Some(("rotate", matches)) => wait_for(rotate(matches)),
        Some(("export", matches)) => wait_for(export(matches)),
        Some(("crl", matches)) => wait_for(revocation_list(matches)),
        Some((_, matches)) => wait_for(show(matches)),
        None => Err("say status, rotate, export or crl".to_owned()),
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
    let rotation = rotate_call(matches, RotateAction::Status, 0).await?;
    let mut lines = status_lines(&told);
    lines.push_str(&rotation_lines(&rotation));
    Ok(lines)
}

async fn rotate(matches: &ArgMatches) -> Result<String, String> {
    let action = match matches.get_flag("force") {
        true => RotateAction::Force,
        false => RotateAction::Start,
    };
    let grace_s = matches.get_one("grace").copied().unwrap_or_default();
    let told = rotate_call(matches, action, grace_s).await?;
    Ok(rotation_lines(&told))
}

async fn rotate_call(
    matches: &ArgMatches,
    action: RotateAction,
    grace_s: i64,
) -> Result<RotateCaResponse, String> {
    let request = RotateCaRequest {
        action: action.into(),
        grace_s,
    };
    call(matches, ROTATE, &request).await
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
            match member.bundle == told.bundle {
                true => "",
                false => ", does not know all roots yet",
            }
        ));
    }
    lines
}

fn rotation_lines(told: &RotateCaResponse) -> String {
    let stage = match told.stage() {
        RotateStage::None => return "no rotation is under way\n".to_owned(),
        RotateStage::Bundle => "1 of 5: members learn to trust the new root",
        RotateStage::Issuer => "2 of 5: the authority begins to sign by the new root",
        RotateStage::Reissue => "3 of 5: members get certificates of the new root",
        RotateStage::Grace => "4 of 5: clients get certificates of the new root",
        RotateStage::Drop => "5 of 5: the old root goes",
    };
    let mut lines = format!("rotation, step {stage}\n");
    for member in &told.waiting_members {
        lines.push_str(&format!("  waits for member {member:x}\n"));
    }
    if told.grace_until_unix_s > 0 {
        let until = moment::shown(told.grace_until_unix_s);
        lines.push_str(&format!("  the old root is trusted until {until}\n"));
    }
    for user in &told.old_users {
        lines.push_str(&format!(
            "  {user} has a certificate of the old root only: `kvorum cert renew {user}`\n"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_tells_what_it_waits_for() {
        let none = rotation_lines(&RotateCaResponse::default());
        assert_eq!(none, "no rotation is under way\n");
        let told = RotateCaResponse {
            stage: RotateStage::Grace.into(),
            waiting_members: vec![255],
            grace_until_unix_s: 60,
            old_users: vec!["app".into()],
            ..Default::default()
        };
        let lines = rotation_lines(&told);
        for part in [
            "step 4 of 5",
            "member ff",
            "until 1970-01-01T00:01:00Z",
            "`kvorum cert renew app`",
        ] {
            assert!(lines.contains(part), "{part:?} is not in {lines}");
        }
    }
}
