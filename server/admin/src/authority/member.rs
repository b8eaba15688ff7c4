//! The authority of a running member's cluster.

use std::str::FromStr;

use futures_util::future::BoxFuture;
use kvorum_api::{Denied, OwnAuthority, Secret, TokenFor, TokenMade, TokenWish};
use kvorum_member::trust::{TrustCallError, Without};
use kvorum_member::{Error, Handle};
use kvorum_pki::{Serial, TokenId};
use kvorum_proto::kvorumpb::{JoinToken, TokenRole, TrustDenial, trust_denial::Subject};

use super::{Authority, Change, report};
use crate::source::Refusal;

/// Through a member's handle.
pub(crate) struct MemberAuthority(pub(crate) Handle);

impl Authority for MemberAuthority {
    fn report(&self) -> Option<OwnAuthority> {
        let trust = self.0.trust();
        trust.is_ready().then(|| report::of(&self.0, &trust))
    }

    fn change(
        &self,
        by: String,
        change: Change,
    ) -> BoxFuture<'_, Result<Option<TokenMade>, Refusal>> {
        Box::pin(async move {
            let handle = &self.0;
            match change {
                Change::CreateToken(wish) => return self.make(&by, wish).await.map(Some),
                Change::RevokeToken(id) => handle.trust_token_revoke(&token_id(&id)?).await,
                Change::Revoke(denied) => handle.trust_deny(denial(denied, &by)?).await,
                Change::Allow(denied) => handle.trust_allow(denial(denied, &by)?).await,
                Change::Rotate => handle.trust_rotate(&by, 0).await,
                Change::ForceRotation => {
                    let without = Without {
                        members: true,
                        grace: true,
                    };
                    handle.trust_rotate_force(without).await
                }
            }
            .map(|()| None)
            .map_err(refusal)
        })
    }
}

impl MemberAuthority {
    async fn make(&self, by: &str, wish: TokenWish) -> Result<TokenMade, Refusal> {
        let role = match wish.role {
            TokenFor::Voter => TokenRole::Voter,
            TokenFor::Learner => TokenRole::Learner,
            TokenFor::Client => TokenRole::Client,
            TokenFor::Admin => TokenRole::Admin,
            TokenFor::Rejoin => {
                return Err(Refusal::Invalid(
                    "a token for a member that is back is made on a member's machine: kvorum token create --role rejoin"
                        .into(),
                ));
            }
        };
        if wish.role.is_for_a_user() && wish.name.is_empty() {
            return Err(Refusal::Invalid(
                "a token for a client or an administrator needs the name of its user".into(),
            ));
        }
        let wanted = JoinToken {
            role: role.into(),
            name: wish.name,
            ..JoinToken::default()
        };
        let made = self.0.trust_token_create(by, &wanted, wish.life_s).await;
        let made = made.map_err(refusal)?;
        Ok(TokenMade {
            id: report::token_id(&made.id),
            token: Secret(made.text),
            expires_unix_s: made.expires_unix_s,
        })
    }
}

fn token_id(text: &str) -> Result<Vec<u8>, Refusal> {
    let id = TokenId::from_str(text);
    let id = id.map_err(|_| Refusal::Invalid("id is no public part of a token".into()))?;
    Ok(id.as_bytes().to_vec())
}

fn denial(denied: Denied, by: &str) -> Result<TrustDenial, Refusal> {
    let subject = match denied {
        Denied::Serial(serial) => {
            let serial = Serial::from_str(&serial);
            let serial =
                serial.map_err(|_| Refusal::Invalid("serial must be hexadecimal".into()))?;
            Subject::Serial(serial.as_bytes().to_vec().into())
        }
        Denied::User(user) => Subject::User(user),
    };
    Ok(TrustDenial {
        subject: Some(subject),
        denied_by: by.to_owned(),
        ..TrustDenial::default()
    })
}

/// What the caller can mend is told apart from what passes.
fn refusal(error: TrustCallError) -> Refusal {
    let text = error.to_string();
    match error {
        TrustCallError::Refused(Error::Trust(_) | Error::MemberNotFound)
        | TrustCallError::Request(_)
        | TrustCallError::Field(_)
        | TrustCallError::UserRevoked(_)
        | TrustCallError::NoAddress
        | TrustCallError::RootAsUser => Refusal::Invalid(text),
        TrustCallError::Refused(_) | TrustCallError::Own(_) => Refusal::Unavailable(text),
    }
}
