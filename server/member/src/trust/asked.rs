//! What is asked of the authority, looked at before anything is made of it: a refusal names the field and what to do.

use kvorum_core::trust::{TOKEN_LIFE_MAX_S, Trust};
use kvorum_pki::check_name;
use kvorum_proto::kvorumpb::{JoinToken, TokenRole};

use super::admin::TrustCallError;

/// Whether there can be such a token.
///
/// # Errors
/// There cannot.
pub(super) fn token(trust: &Trust, wanted: &JoinToken, life_s: i64) -> Result<(), TrustCallError> {
    let role = wanted.role();
    let refused = |text: String| Err(TrustCallError::Field(text));
    let speaks_for_a_user = matches!(role, TokenRole::Client | TokenRole::Admin);
    if speaks_for_a_user {
        user(trust, &wanted.name)?;
    }
    if speaks_for_a_user || !wanted.name.is_empty() {
        check_name(&wanted.name).map_err(TrustCallError::Request)?;
    }
    if !(1..=TOKEN_LIFE_MAX_S).contains(&life_s) {
        return refused(format!(
            "ttl: a token lives for {TOKEN_LIFE_MAX_S} s (24h) at most, and {life_s} s were asked for: give 1s to 24h"
        ));
    }
    match (role == TokenRole::Rejoin, wanted.member_id) {
        (true, 0) => refused(
            "member: a token to rejoin is for one member: give its ID, as `kvorum member list` shows it".into(),
        ),
        (false, id @ 1..) => refused(format!(
            "member: {id:x} is named, and only a token with --role rejoin is for a member that there is: leave it out, or \
             use that role"
        )),
        _ => Ok(()),
    }
}

/// Whether something can be made for this user.
///
/// # Errors
/// The user was revoked: nothing that is made for it would be accepted.
pub(super) fn user(trust: &Trust, user: &str) -> Result<(), TrustCallError> {
    match trust.denies_user(user) {
        true => Err(TrustCallError::UserRevoked(user.to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(role: TokenRole, name: &str, member_id: u64) -> JoinToken {
        JoinToken {
            role: role.into(),
            name: name.to_owned(),
            member_id,
            ..JoinToken::default()
        }
    }

    #[test]
    fn a_token_that_cannot_be_is_refused_with_its_field_and_what_helps() {
        let long = "n".repeat(256);
        for (role, name, member_id, life_s, parts) in [
            (TokenRole::Voter, "", 0, 90_000, ["ttl: ", "90000 s", "24h"]),
            (TokenRole::Voter, "", 0, -1, ["ttl: ", "-1 s", "1s to 24h"]),
            (
                TokenRole::Voter,
                &long,
                0,
                60,
                ["name", "255 bytes", "shorter"],
            ),
            (
                TokenRole::Voter,
                "mem\nber",
                0,
                60,
                ["name", "control", "without"],
            ),
            (
                TokenRole::Client,
                "a\x1b[2J",
                0,
                60,
                ["name", "control", "without"],
            ),
            (TokenRole::Admin, "", 0, 60, ["name", "empty", "one"]),
            (
                TokenRole::Voter,
                "",
                255,
                60,
                ["member: ff", "--role rejoin", "leave it out"],
            ),
            (
                TokenRole::Rejoin,
                "",
                0,
                60,
                ["member: ", "ID", "kvorum member list"],
            ),
        ] {
            let refused = token(&Trust::default(), &wanted(role, name, member_id), life_s);
            let text = refused.expect_err("refused").to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_token_that_can_be_is_not_refused() {
        let longest = "n".repeat(255);
        for (role, name, member_id, life_s) in [
            (TokenRole::Voter, "", 0, 1),
            (TokenRole::Learner, &longest[..], 0, TOKEN_LIFE_MAX_S),
            (TokenRole::Client, "Ünïcode", 0, 60),
            (TokenRole::Rejoin, "", 7, 60),
        ] {
            token(&Trust::default(), &wanted(role, name, member_id), life_s).expect("can be");
        }
    }

    #[test]
    fn a_revoked_user_gets_nothing_and_the_text_says_how_to_take_it_back() {
        let text = TrustCallError::UserRevoked("app".into()).to_string();
        assert!(text.contains("`kvorum cert unrevoke --user=app`"), "{text}");
        user(&Trust::default(), "app").expect("nobody was revoked");
    }
}
