//! `kvorum token`: leave for one machine to join the cluster.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use kvorum_pki::TokenId;
use kvorum_proto::kvorumpb::{
    JoinToken, TokenCreateRequest, TokenCreateResponse, TokenListRequest, TokenListResponse,
    TokenRevokeRequest, TokenRevokeResponse, TokenRole,
};

use super::access::{call, with_access};
use super::cert::names_files;
use super::legible::legible;
use super::moment::{self, life};
use super::{failed, print, text, text_of, wait_for};
use crate::exit::Exit;

const CREATE: &str = "/kvorumpb.Trust/TokenCreate";
const LIST: &str = "/kvorumpb.Trust/TokenList";
const REVOKE: &str = "/kvorumpb.Trust/TokenRevoke";

/// The words for roles, and what the line to paste begins with.
const ROLES: [(&str, TokenRole, &str); 5] = [
    ("member", TokenRole::Voter, "kvorum join"),
    ("learner", TokenRole::Learner, "kvorum join"),
    ("rejoin", TokenRole::Rejoin, "kvorum rejoin"),
    ("client", TokenRole::Client, CLIENT),
    ("admin", TokenRole::Admin, CLIENT),
];

/// Writes three files into the directory where it runs.
const CLIENT: &str = "kvorum join --out-dir .";

/// How it is typed.
pub(super) fn command() -> Command {
    let role = Arg::new("role")
        .long("role")
        .value_name("ROLE")
        .value_parser(PossibleValuesParser::new(ROLES.map(|role| role.0)))
        .default_value("member")
        .help(
            "member: votes once it has caught up; learner: never votes; rejoin: another certificate for a member whose own \
             has expired; client: a certificate for the user --name; admin: the same, and it may administer the cluster's \
             authority",
        );
    let create = Command::new("create")
        .about("Make a token, and print the one command to run with it: it works once")
        .arg(role)
        .arg(
            text(
                "name",
                "NAME",
                "Only for the member of this name; for client and admin: the user",
            )
            .required_if_eq_any([("role", "client"), ("role", "admin")]),
        )
        .arg(
            text("member", "ID", "For --role rejoin: whose certificate it is")
                .value_parser(super::member::parse_id)
                .required_if_eq("role", "rejoin"),
        )
        .arg(
            text(
                "ttl",
                "DURATION",
                "How long it may be used, up to 24h [default: 30m, and 10m for an administrator]",
            )
            .value_parser(life)
            .allow_hyphen_values(true),
        );
    let revoke = Command::new("revoke")
        .about("Take a token back that was not used yet")
        .arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .help("As `kvorum token list` shows it; the first part of a token behind kv1."),
        );
    Command::new("token")
        .about("Let machines join the cluster, each by a token that works once")
        .subcommand_required(true)
        .subcommand(with_access(create))
        .subcommand(with_access(
            Command::new("list").about("Show all tokens: id, role, name, state, end, who made it"),
        ))
        .subcommand(with_access(revoke))
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let done = match matches.subcommand() {
        Some(("create", matches)) => wait_for(create(matches)),
        Some(("revoke", matches)) => wait_for(revoke(matches)),
        Some((_, matches)) => wait_for(list(matches)),
        None => Err("say create, list or revoke".to_owned()),
    };
    match done {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

async fn create(matches: &ArgMatches) -> Result<String, String> {
    let word = text_of(matches, "role");
    let (_, role, begin) = ROLES
        .into_iter()
        .find(|role| role.0 == word)
        .ok_or_else(|| format!("--role {word}: there is no such role"))?;
    let name = text_of(matches, "name");
    if begin == CLIENT {
        names_files(&name)?;
    }
    let request = TokenCreateRequest {
        role: role.into(),
        name,
        ttl_s: matches.get_one("ttl").copied().unwrap_or_default(),
        member_id: matches.get_one("member").copied().unwrap_or_default(),
    };
    let made: TokenCreateResponse = call(matches, CREATE, &request).await?;
    Ok(format!("{begin} {}\n", made.token))
}

async fn list(matches: &ArgMatches) -> Result<String, String> {
    let told: TokenListResponse = call(matches, LIST, &TokenListRequest {}).await?;
    let now = moment::now();
    Ok(told.tokens.iter().map(|token| line(token, now)).collect())
}

fn line(token: &JoinToken, now: i64) -> String {
    let role = ROLES.iter().find(|role| token.role() == role.1);
    let state = match (token.used_unix_s > 0, token.expires_unix_s <= now) {
        (true, _) => format!("used {}", moment::shown(token.used_unix_s)),
        (_, true) => "expired".to_owned(),
        _ => "open".to_owned(),
    };
    let came_of_it = match token.member_id {
        0 => String::new(),
        id => format!(", member {id:x}"),
    };
    format!(
        "{}, {}, {}, {state}, {}, {}{came_of_it}\n",
        shown(&token.id),
        role.map_or("unknown", |role| role.0),
        legible(&token.name),
        moment::shown(token.expires_unix_s),
        legible(&token.created_by),
    )
}

fn shown(id: &[u8]) -> String {
    let id = <[u8; 10]>::try_from(id).map(|id| TokenId::from_bytes(id).to_string());
    id.unwrap_or_else(|_| "unreadable".to_owned())
}

async fn revoke(matches: &ArgMatches) -> Result<String, String> {
    let text = text_of(matches, "id");
    let id: TokenId = text
        .parse()
        .map_err(|_| format!("{text:?} is no token id: `kvorum token list` shows them"))?;
    let request = TokenRevokeRequest {
        id: id.as_bytes().to_vec().into(),
    };
    let _: TokenRevokeResponse = call(matches, REVOKE, &request).await?;
    Ok(format!("token {id} lets nobody in any more\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_without_its_secret() {
        let token = JoinToken {
            id: vec![0; 10].into(),
            role: TokenRole::Voter.into(),
            name: "b".into(),
            expires_unix_s: 100,
            created_by: "root".into(),
            ..Default::default()
        };
        let id = TokenId::from_bytes([0; 10]);
        let until = "1970-01-01T00:01:40Z";
        assert_eq!(
            line(&token, 99),
            format!("{id}, member, b, open, {until}, root\n")
        );
        assert!(line(&token, 100).contains(", expired, "));
        let used = JoinToken {
            used_unix_s: 50,
            member_id: 255,
            ..token
        };
        let shown = line(&used, 100);
        assert!(shown.contains("used 1970-01-01T00:00:50Z"), "{shown}");
        assert!(shown.ends_with(", member ff\n"), "{shown}");
    }

    #[test]
    fn what_cannot_be_made_is_refused_while_it_is_typed() {
        for (words, part) in [
            (vec!["create", "--role", "king"], "possible values: member"),
            (vec!["create", "--ttl", "5"], "a unit is missing"),
            (vec!["create", "--role", "rejoin"], "--member"),
            (vec!["create", "--role", "client"], "--name"),
            (vec!["create", "--role", "admin"], "--name"),
            (vec!["revoke"], "<ID>"),
        ] {
            let words = ["token"].into_iter().chain(words);
            let error = command().try_get_matches_from(words).expect_err("refused");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
