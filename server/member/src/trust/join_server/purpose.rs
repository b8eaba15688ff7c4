//! What a token was made for, told to whoever uses it for something else: with the command that it is good for, and before
//! it is used up.

use kvorum_core::trust::Trust;
use kvorum_proto::kvorumpb::{JoinRefusal, JoinRequest, TokenRole};

use super::super::asked;
use super::Refusal;

/// Refuses what the token does not serve. Only a holder of its secret gets this far.
pub(super) fn check(trust: &Trust, request: &JoinRequest) -> Result<(), Refusal> {
    let Some(token) = trust.token(&request.token_id) else {
        // The log says what became of it.
        return Ok(());
    };
    let wrong = |text: String| Err(Refusal::new(JoinRefusal::TokenRole, text));
    match (token.role(), request.role()) {
        (TokenRole::Client | TokenRole::Admin, TokenRole::Client | TokenRole::Admin) => {
            asked::user(trust, &token.name)?;
            match request.name.is_empty() || request.name == token.name {
                true => Ok(()),
                false => wrong(format!(
                    "wrong role: this token is for the user {:?}, not for {:?}",
                    token.name, request.name
                )),
            }
        }
        (TokenRole::Client | TokenRole::Admin, _) => wrong(format!(
            "wrong role: this token makes a certificate for the client {:?} and no member: use it with `kvorum join TOKEN \
             --out-dir DIR`, or make one with `kvorum token create --role member`",
            token.name
        )),
        (TokenRole::Voter | TokenRole::Learner, TokenRole::Client | TokenRole::Admin) => wrong(
            "wrong role: this token makes a machine a member and no client: use it with `kvorum join TOKEN` and the \
             settings of the member, or make one with `kvorum token create --role client --name USER`"
                .into(),
        ),
        (TokenRole::Rejoin, TokenRole::Client | TokenRole::Admin) => wrong(
            "wrong role: this token is for a member that is back: use it with `kvorum rejoin TOKEN` there".into(),
        ),
        (TokenRole::Rejoin, TokenRole::Voter | TokenRole::Learner) => wrong(
            "wrong role: this token is for a member that is back: use it with `kvorum rejoin TOKEN` on its machine, or make \
             one with `kvorum token create` for a machine that joins"
                .into(),
        ),
        (TokenRole::Voter | TokenRole::Learner, TokenRole::Rejoin) => wrong(
            "wrong role: this token lets a machine join: use it with `kvorum join TOKEN`, or make one with `kvorum token \
             create --role rejoin --member ID` for a member that is back"
                .into(),
        ),
        _ => Ok(()),
    }
}
