//! JSON web tokens: a user and an auth revision, signed. (RFC 7515, 7519; ETCD.md 2.11)
//!
//! Written out on ring, which is in the binary anyway: what the known crates sign RSA with leaks the key by its timing
//! (RUSTSEC-2023-0071) or does not build everywhere, and what is left of them without that is this envelope.
//! An error never repeats a word of the token.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::keys::{self, KeyError, Signer, Verifier};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are their meaning")]
pub enum SignMethod {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl SignMethod {
    /// All of them, as they are named in a token.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Hs256, "HS256"),
        (Self::Hs384, "HS384"),
        (Self::Hs512, "HS512"),
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// Finds a method by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(method, _)| *method)
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(known, _)| *known == self);
        found.map_or("", |(_, name)| *name)
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it has not the form of a token")]
    Form,
    #[error("it is signed in another way than this cluster's")]
    Method,
    #[error("its signature is not of this cluster's key")]
    Signature,
    #[error("its time is over")]
    Expired,
    #[error("its time has not come yet")]
    Early,
    #[error("it names no user")]
    User,
    #[error("it names no auth revision")]
    Revision,
}

/// A token cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("this member has no private key")]
    VerifyOnly,
    #[error("the key does not sign")]
    Key,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) user: String,
    pub(crate) revision: u64,
}

/// Makes and takes tokens.
pub struct Jwt {
    method: SignMethod,
    ttl: Duration,
    signer: Option<Signer>,
    verifier: Verifier,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Jwt {
    /// From keys in PEM form; for the HS methods `private_pem` is the secret as it is.
    ///
    /// # Errors
    ///
    /// The keys are missing, not of the method, or no pair.
    pub fn new(
        method: SignMethod,
        public_pem: Option<&[u8]>,
        private_pem: Option<&[u8]>,
        ttl: Duration,
    ) -> Result<Self, KeyError> {
        let (signer, verifier) = keys::load(method, public_pem, private_pem)?;
        Ok(Self {
            method,
            ttl,
            signer,
            verifier,
        })
    }

    /// A token for a user as of an auth revision.
    pub(crate) fn sign(&self, claims: &Claims, now_unix: i64) -> Result<String, Unsigned> {
        let signer = self.signer.as_ref().ok_or(Unsigned::VerifyOnly)?;
        let ttl_s = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let header = json!({"alg": self.method.name(), "typ": "JWT"});
        let body = json!({
            "username": claims.user,
            "revision": claims.revision,
            "exp": now_unix.saturating_add(ttl_s),
        });
        let mut token = encode(&header);
        token.push('.');
        token.push_str(&encode(&body));
        let signature = signer.sign(token.as_bytes()).map_err(|_| Unsigned::Key)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// What a token says, once it is clear that it may be believed.
    pub(crate) fn verify(&self, token: &str, now_unix: i64) -> Result<Claims, Refused> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Form)?;
        let (header, body) = signed.split_once('.').ok_or(Refused::Form)?;
        let header = decode(header)?;
        // Whoever demands that something is understood is not: nothing is.
        if header.contains_key("crit") {
            return Err(Refused::Method);
        }
        if header.get("alg").and_then(Value::as_str) != Some(self.method.name()) {
            return Err(Refused::Method);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| Refused::Form)?;
        if !self.verifier.verify(signed.as_bytes(), &signature) {
            return Err(Refused::Signature);
        }
        read(&decode(body)?, now_unix)
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(part: &str) -> Result<Map<String, Value>, Refused> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Form)?;
    serde_json::from_slice(&json).map_err(|_| Refused::Form)
}

fn read(claims: &Map<String, Value>, now_unix: i64) -> Result<Claims, Refused> {
    if let Some(end) = claims.get("exp")
        && seconds(end)? <= now_unix
    {
        return Err(Refused::Expired);
    }
    if let Some(begin) = claims.get("nbf")
        && seconds(begin)? > now_unix
    {
        return Err(Refused::Early);
    }
    let user = claims.get("username").and_then(Value::as_str);
    let revision = claims.get("revision").and_then(Value::as_f64);
    let revision = revision.ok_or(Refused::Revision)?;
    Ok(Claims {
        user: user.ok_or(Refused::User)?.to_owned(),
        // Saturates: a revision that is none is older than any.
        revision: revision as u64,
    })
}

/// A point in time as JWTs have it: a number, with a fraction if they like.
fn seconds(value: &Value) -> Result<i64, Refused> {
    value
        .as_f64()
        .map(|seconds| seconds as i64)
        .ok_or(Refused::Form)
}

#[cfg(test)]
mod tests;
