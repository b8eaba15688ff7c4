//! Tokens to join with: each lets one request for a certificate in, as often as that comes, until its time is up.

use bytes::Bytes;
use kvorum_proto::kvorumpb::{JoinToken, JoinTokenIssued, TokenBurn, TokenRole};

use super::kept::Row;
use super::{Trust, TrustRefused};
use crate::backend::SideChange;

/// The longest life of a token, seconds.
pub const TOKEN_LIFE_MAX_S: i64 = 24 * 3600;
/// Tokens that are kept, expired ones among them.
const TOKENS_MAX: usize = 1024;
const ID_BYTES: usize = 10;
const DIGEST_BYTES: usize = 32;
/// Longest sealed digest.
const SEALED_BYTES: usize = 128;
/// Longest name of a member or a user, bytes.
pub(super) const NAME_BYTES: usize = 256;

fn is_well_formed(token: &JoinToken, now_unix_s: i64) -> bool {
    let life_s = token.expires_unix_s.saturating_sub(now_unix_s);
    let is_rejoin = token.role() == TokenRole::Rejoin;
    token.id.len() == ID_BYTES
        && has_digest(token)
        && token.role() != TokenRole::Unspecified
        && (1..=TOKEN_LIFE_MAX_S).contains(&life_s)
        && token.name.len() <= NAME_BYTES
        && token.created_by.len() <= NAME_BYTES
        && is_rejoin == (token.member_id != 0)
        && (!speaks_for_a_user(token.role()) || !token.name.is_empty())
}

/// Sealed, or as it was before: the log may still hold such tokens.
fn has_digest(token: &JoinToken) -> bool {
    match token.secret_sha256.len() {
        0 => (1..=SEALED_BYTES).contains(&token.sealed_digest.len()),
        bytes => bytes == DIGEST_BYTES && token.sealed_digest.is_empty(),
    }
}

/// Whoever holds such a token may not choose the user.
fn speaks_for_a_user(role: TokenRole) -> bool {
    matches!(role, TokenRole::Client | TokenRole::Admin)
}

impl Trust {
    pub(super) fn create_token(
        &mut self,
        wanted: &JoinToken,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        if !is_well_formed(wanted, now_unix_s) || self.tokens.contains_key(&wanted.id) {
            return Err(TrustRefused::Malformed);
        }
        if self.tokens.len() >= TOKENS_MAX {
            self.drop_useless_token(now_unix_s, notes);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(TrustRefused::TooMany);
        }
        let token = JoinToken {
            created_unix_s: now_unix_s,
            csr_sha256: Bytes::new(),
            used_unix_s: 0,
            ..wanted.clone()
        };
        notes.push(Row::Token(&token.id).put(&token));
        self.tokens.insert(token.id.clone(), token);
        Ok(())
    }

    pub(super) fn revoke_token(
        &mut self,
        id: &[u8],
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        let known = self.tokens.remove(id);
        known.ok_or(TrustRefused::TokenUnknown)?;
        notes.push(Row::Token(id).delete());
        Ok(())
    }

    /// What a use of a token would come to.
    ///
    /// # Errors
    /// It is unknown, expired, used by another request, or good for something else.
    pub fn check_burn(
        &self,
        burn: &TokenBurn,
        now_unix_s: i64,
    ) -> Result<&JoinToken, TrustRefused> {
        let token = self.tokens.get(&burn.id);
        let token = token.ok_or(TrustRefused::TokenUnknown)?;
        if burn.csr_sha256.len() != DIGEST_BYTES {
            return Err(TrustRefused::Malformed);
        }
        if now_unix_s >= token.expires_unix_s {
            return Err(TrustRefused::TokenExpired);
        }
        if !token.csr_sha256.is_empty() && token.csr_sha256 != burn.csr_sha256 {
            return Err(TrustRefused::TokenUsed);
        }
        let serves = |role: TokenRole| match role {
            // Who joins need not know whether it will vote.
            TokenRole::Learner => burn.role() == TokenRole::Voter || burn.role() == role,
            // Nor a client what it may.
            TokenRole::Admin => burn.role() == TokenRole::Client || burn.role() == role,
            role => burn.role() == role,
        };
        match serves(token.role()) {
            true => Ok(token),
            false => Err(TrustRefused::TokenRole),
        }
    }

    /// Binds a token to the first request that uses it.
    pub(super) fn burn_token(
        &mut self,
        burn: &TokenBurn,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<JoinToken, TrustRefused> {
        let mut token = self.check_burn(burn, now_unix_s)?.clone();
        if token.csr_sha256.is_empty() {
            token.csr_sha256 = burn.csr_sha256.clone();
            token.used_unix_s = now_unix_s;
            notes.push(Row::Token(&token.id).put(&token));
            self.tokens.insert(token.id.clone(), token.clone());
        }
        Ok(token)
    }

    pub(super) fn note_issued(
        &mut self,
        issued: &JoinTokenIssued,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        let token = self.tokens.get_mut(&issued.id);
        let token = token.ok_or(TrustRefused::TokenUnknown)?;
        token.member_id = issued.member_id;
        notes.push(Row::Token(&token.id).put(token));
        Ok(())
    }
}
