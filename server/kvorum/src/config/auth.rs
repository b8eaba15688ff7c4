//! How users prove who they are: their tokens and their passwords.

use std::path::Path;
use std::time::Duration;

use kvorum_member::tokens::{AuthOptions, TokenKind};

use super::reader::Reader;
use super::{keys, private};

/// A year: who wants tokens that never end wants JWTs.
const TTL_MAX_S: u64 = 365 * 24 * 3600;
/// What bcrypt knows. The last of them takes a day for each password.
const COSTS: (u64, u64) = (4, 31);

/// The bucket counts in milliseconds.
const WRONG: (u64, u64) = (1, 60_000);

/// Reads the keys, and the files behind `auth-token`.
pub(super) fn read(reader: &mut Reader) -> Option<AuthOptions> {
    let token = reader.read(keys::AUTH_TOKEN, |text| {
        check_key(text)?;
        TokenKind::from_setting(text).map_err(|refused| refused.to_string())
    });
    let token_ttl_s = reader.count(keys::AUTH_TOKEN_TTL, 1, TTL_MAX_S);
    let bcrypt_cost = reader.count(keys::BCRYPT_COST, COSTS.0, COSTS.1);
    let wrong = reader.count(keys::WRONG_PASSWORDS_PER_MINUTE, WRONG.0, WRONG.1);
    Some(AuthOptions {
        token: token?,
        token_ttl: Duration::from_secs(token_ttl_s?),
        bcrypt_cost: u32::try_from(bcrypt_cost?).ok()?,
        wrong_passwords_per_minute: wrong?,
    })
}

/// Whoever reads the key that signs tokens makes tokens for every user.
fn check_key(setting: &str) -> Result<(), String> {
    let parts = setting.split(',');
    let mut keys = parts.filter_map(|part| part.trim().strip_prefix("priv-key="));
    keys.try_for_each(|file| {
        private::check(Path::new(file)).map_err(|reason| format!("priv-key {file}: {reason}"))
    })
}
