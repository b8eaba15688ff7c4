//! `kvorum member`: the members of a cluster that runs, and changes of them.

use clap::{Arg, ArgAction, ArgMatches, Command};
use kvorum_pki::shell_word as word;
use kvorum_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use kvorum_proto::kvorumpb::{ReplaceMemberRequest, ReplaceMemberResponse};
use prost::Message;

use super::access::{call, with_access};
use super::{failed, print, text, text_of, wait_for};
use crate::exit::Exit;

const CLUSTER: &str = "/etcdserverpb.Cluster/";
const REPLACE: &str = "/kvorumpb.Membership/Replace";

/// How it is typed.
pub(super) fn command() -> Command {
    Command::new("member")
        .about("Show the members of a cluster, add, replace and remove them")
        .subcommand_required(true)
        .subcommand(with_access(
            Command::new("list").about("Show all members: id, state, name, peer URLs, client URLs, learner"),
        ))
        .subcommand(with_access(
            Command::new("add")
                .about("Add a member; start it afterwards with what this prints")
                .arg(Arg::new("name").value_name("NAME").required(true))
                .arg(peer_urls())
                .arg(
                    Arg::new("learner")
                        .long("learner")
                        .action(ArgAction::SetTrue)
                        .help("It does not vote until it is promoted"),
                ),
        ))
        .subcommand(with_access(
            Command::new("replace")
                .about("Put a new member in the place of one whose files are lost, in one change")
                .after_help(
                    "The lost one never comes back under its id. The new one learns, and becomes a voter by itself once \
                     it has caught up. It may have the address of the lost one.",
                )
                .arg(id())
                .arg(text("name", "NAME", "Name of the new member").required(true))
                .arg(peer_urls()),
        ))
        .subcommand(with_access(
            Command::new("remove")
                .about("Remove a member for good")
                .arg(id()),
        ))
        .subcommand(with_access(
            Command::new("promote")
                .about("Let a learner vote that has caught up")
                .arg(id()),
        ))
        .subcommand(with_access(
            Command::new("update")
                .about("Give a member other peer URLs")
                .arg(id())
                .arg(peer_urls()),
        ))
}

fn id() -> Arg {
    Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("As `kvorum member list` shows it")
        .value_parser(parse_id)
}

/// A member's id as it is shown.
pub(super) fn parse_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "a member id is hexadecimal".to_owned())
}

fn peer_urls() -> Arg {
    text("peer-urls", "URLS", "Where the other members reach it").required(true)
}

/// Does it.
pub(super) fn run(matches: &ArgMatches) -> Exit {
    let Some((name, matches)) = matches.subcommand() else {
        return failed(&"say list, add, replace, remove, promote or update");
    };
    let done = wait_for(carry_out(name, matches));
    match done {
        Ok(told) => print(&told),
        Err(e) => failed(&e),
    }
}

async fn carry_out(name: &str, matches: &ArgMatches) -> Result<String, String> {
    let id = matches.try_get_one::<u64>("id").ok().flatten().copied();
    let id = id.unwrap_or_default();
    match name {
        "add" => add(matches).await,
        "replace" => replace(matches, id).await,
        "remove" => {
            let request = MemberRemoveRequest { id };
            let _: MemberRemoveResponse = ask(matches, "MemberRemove", &request).await?;
            Ok(format!(
                "member {id:x} is removed for good; it ends by itself\n"
            ))
        }
        "promote" => {
            let request = MemberPromoteRequest { id };
            let _: MemberPromoteResponse = ask(matches, "MemberPromote", &request).await?;
            Ok(format!("member {id:x} votes\n"))
        }
        "update" => {
            let request = MemberUpdateRequest {
                id,
                peer_ur_ls: urls(matches),
            };
            let _: MemberUpdateResponse = ask(matches, "MemberUpdate", &request).await?;
            Ok(format!(
                "member {id:x} is reached at {}\n",
                urls(matches).join(",")
            ))
        }
        _ => {
            let request = MemberListRequest { linearizable: true };
            let list: MemberListResponse = ask(matches, "MemberList", &request).await?;
            Ok(list.members.iter().map(line).collect())
        }
    }
}

/// Where clients reach all members that vote, as those tell.
///
/// # Errors
/// Nobody answers.
pub(super) async fn client_urls(matches: &ArgMatches) -> Result<Vec<String>, String> {
    let request = MemberListRequest { linearizable: true };
    let list: MemberListResponse = ask(matches, "MemberList", &request).await?;
    let voters = list.members.into_iter().filter(|member| !member.is_learner);
    Ok(voters.flat_map(|member| member.client_ur_ls).collect())
}

async fn add(matches: &ArgMatches) -> Result<String, String> {
    let request = MemberAddRequest {
        peer_ur_ls: urls(matches),
        is_learner: matches.get_flag("learner"),
    };
    let added: MemberAddResponse = ask(matches, "MemberAdd", &request).await?;
    let id = added.member.map(|m| m.id).unwrap_or_default();
    let how_to = how_to_start(&text_of(matches, "name"), id, &added.members);
    Ok(format!("member {id:x} is added\n{how_to}"))
}

async fn replace(matches: &ArgMatches, old: u64) -> Result<String, String> {
    let request = ReplaceMemberRequest {
        old_member: old,
        peer_urls: urls(matches),
    };
    let told: ReplaceMemberResponse = call(matches, REPLACE, &request).await?;
    let id = told.member.map(|m| m.id).unwrap_or_default();
    let how_to = how_to_start(&text_of(matches, "name"), id, &told.members);
    Ok(format!(
        "member {id:x} takes the place of {old:x}; it becomes a voter by itself once it has caught up\n{how_to}"
    ))
}

async fn ask<A: Message + Default>(
    matches: &ArgMatches,
    method: &str,
    request: &impl Message,
) -> Result<A, String> {
    call(matches, &format!("{CLUSTER}{method}"), request).await
}

fn urls(matches: &ArgMatches) -> Vec<String> {
    let urls = text_of(matches, "peer-urls");
    let urls = urls.split(',').map(|url| url.trim().to_owned());
    urls.filter(|url| !url.is_empty()).collect()
}

/// As etcdctl shows a member.
fn line(member: &Member) -> String {
    let state = match member.name.is_empty() {
        true => "unstarted",
        false => "started",
    };
    format!(
        "{:x}, {state}, {}, {}, {}, {}\n",
        member.id,
        member.name,
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner
    )
}

fn how_to_start(name: &str, id: u64, members: &[Member]) -> String {
    let own = members.iter().find(|m| m.id == id);
    let own_urls = own.map(|m| m.peer_ur_ls.join(",")).unwrap_or_default();
    let name_of = |m: &Member| match (m.id == id, m.name.is_empty()) {
        (true, _) => name.to_owned(),
        // It has not started yet: any name will do, as it is found by its URLs.
        (_, true) => format!("{:x}", m.id),
        _ => m.name.clone(),
    };
    let entries = members.iter().flat_map(|m| {
        let name = name_of(m);
        m.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
    });
    let cluster = word(&entries.collect::<Vec<_>>().join(","));
    let (name, own_urls) = (word(name), word(&own_urls));
    format!(
        "start it, with an empty data directory, with these settings beside its own:\n  --name {name}\n  \
         --initial-advertise-peer-urls {own_urls}\n  --initial-cluster {cluster}\n  --initial-cluster-state existing\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_member_is_told_all_it_needs() {
        let member = |id, name: &str, url: &str| Member {
            id,
            name: name.into(),
            peer_ur_ls: vec![url.into()],
            ..Default::default()
        };
        let members = [
            member(10, "a", "https://a:2380"),
            member(11, "", "https://b:2380"),
            member(12, "", "https://c:2380"),
        ];
        let told = how_to_start("b", 11, &members);
        let expected = "--initial-cluster a=https://a:2380,b=https://b:2380,c=https://c:2380\n";
        assert!(told.contains(expected), "{told}");
        assert!(told.contains("--initial-advertise-peer-urls https://b:2380\n"));
        assert_eq!(
            line(&members[0]),
            "a, started, a, https://a:2380, , false\n"
        );
    }

    #[test]
    fn a_member_id_is_hexadecimal() {
        let words = ["member", "remove", "xyz"];
        let error = command().try_get_matches_from(words).expect_err("no id");
        assert!(error.to_string().contains("hexadecimal"), "{error}");
    }
}
