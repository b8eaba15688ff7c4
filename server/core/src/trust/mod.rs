//! What the members trust: the roots, the issuing certificate, the tokens to join with, who is not accepted any more, and
//! where the change of the root stands. (SECURITY.md 3.2, 3.3)
//!
//! All of it is replicated. Nothing here reads a certificate or makes a key: whoever proposes a change brings them, sealed
//! where they are secret, and the clock that it is judged by.

mod apply;
mod evicted;
mod forget;
mod in_use;
mod kept;
mod refused;
mod rotation;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    JoinToken, TrustAck, TrustCertificate, TrustDenial, TrustHead, TrustIssuer, TrustRoot,
};

use crate::types::MemberId;

pub use evicted::{EVICTED_BY, made_by_member};
pub use in_use::{OldCertificate, SEEN_MAX};
pub use refused::TrustRefused;
pub use rotation::{Progress, Stage};
pub use tokens::TOKEN_LIFE_MAX_S;

/// What the sealing of a root's key is bound to.
pub const ROOT_KEY_AAD: &[u8] = b"kvorum root key";
/// What the sealing of an issuing key is bound to.
pub const ISSUING_KEY_AAD: &[u8] = b"kvorum issuing key";
/// What the sealing of a token's digest is bound to, before the token's id.
pub const TOKEN_AAD: &[u8] = b"kvorum join token ";

/// The replicated trust state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    head: TrustHead,
    roots: BTreeMap<u64, TrustRoot>,
    tokens: BTreeMap<Bytes, JoinToken>,
    denied_serials: BTreeMap<Bytes, TrustDenial>,
    denied_users: BTreeMap<String, TrustDenial>,
    certificates: BTreeMap<Bytes, TrustCertificate>,
    acks: BTreeMap<MemberId, TrustAck>,
    /// As the table of members has it; not among the rows.
    removed: BTreeSet<MemberId>,
    /// What follows from it.
    evicted: BTreeMap<Bytes, TrustDenial>,
}

impl Trust {
    /// True once there is an authority.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.head.domain.is_empty()
    }

    /// The trust domain, 16 bytes; empty before there is an authority.
    #[must_use]
    pub fn domain(&self) -> &Bytes {
        &self.head.domain
    }

    /// Grows with every change of roots, issuer and rotation: such changes name the one they follow.
    #[must_use]
    pub fn authority(&self) -> u64 {
        self.head.authority
    }

    /// The number of the bundle: which roots are trusted.
    #[must_use]
    pub fn bundle(&self) -> u64 {
        self.head.bundle
    }

    /// The roots that are trusted, oldest first.
    pub fn roots(&self) -> impl Iterator<Item = &TrustRoot> {
        self.roots.values()
    }

    /// One root.
    #[must_use]
    pub fn root(&self, id: u64) -> Option<&TrustRoot> {
        self.roots.get(&id)
    }

    /// What certificates are signed with now.
    #[must_use]
    pub fn issuer(&self) -> Option<&TrustIssuer> {
        self.head.issuer.as_ref()
    }

    /// The tokens, used and expired ones among them for a while.
    pub fn tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.tokens.values()
    }

    /// One token.
    #[must_use]
    pub fn token(&self, id: &[u8]) -> Option<&JoinToken> {
        self.tokens.get(id)
    }

    /// Serial numbers that are not accepted.
    pub fn denied_serials(&self) -> impl Iterator<Item = &TrustDenial> {
        let written = self.denied_serials.values();
        let evicted = self.evicted.iter();
        let evicted = evicted.filter(|(serial, _)| !self.denied_serials.contains_key(*serial));
        written.chain(evicted.map(|(_, denial)| denial))
    }

    /// Users of whom nothing is accepted.
    pub fn denied_users(&self) -> impl Iterator<Item = &TrustDenial> {
        self.denied_users.values()
    }

    /// True if a certificate of this serial number is not accepted.
    #[must_use]
    pub fn denies_serial(&self, serial: &[u8]) -> bool {
        self.denied_serials.contains_key(serial) || self.is_evicted(serial)
    }

    /// True if nothing of this user is accepted.
    #[must_use]
    pub fn denies_user(&self, user: &str) -> bool {
        self.denied_users.contains_key(user)
    }

    /// Certificates that were signed for clients; those that have expired stay for a while.
    pub fn certificates(&self) -> impl Iterator<Item = &TrustCertificate> {
        self.certificates.values()
    }

    /// What each member told of itself last.
    pub fn acks(&self) -> impl Iterator<Item = &TrustAck> {
        self.acks.values()
    }

    /// What one member told of itself last.
    #[must_use]
    pub fn ack(&self, id: MemberId) -> Option<&TrustAck> {
        self.acks.get(&id)
    }
}
