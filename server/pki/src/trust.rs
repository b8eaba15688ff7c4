//! Whom to accept: the roots, what is denied, and the one check that decides, at the handshake and ever after.

use std::collections::BTreeSet;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use crate::chain::sha256;
use crate::identity::Leaf;
use crate::tls::provider;
use crate::{Identity, IdentityKind, Refused, Serial, TrustDomain, Validity};

/// A chain has a leaf, an issuing CA and, while roots change, another of it. Foreign ones may be a little longer.
const CHAIN_MAX: usize = 10;

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// By a client of the client listener.
    Client,
    /// By a member, on either side of a connection between members.
    Peer,
    /// By a server that a client of ours dials.
    Server,
}

/// Whom to accept. Plain values: what members agreed on, copied out of the replicated state or out of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The cluster; none if it has no authority of its own.
    pub domain: Option<TrustDomain>,
    /// Its roots: more than one while they change.
    pub roots: Vec<CertificateDer<'static>>,
    /// Issuing CAs known here, for those who show an older certificate of one, or none.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// Authorities of the operator's, for clients. What they sign is [`IdentityKind::Foreign`], whatever URI it has.
    pub foreign_roots: Vec<CertificateDer<'static>>,
    /// Revoked certificates.
    pub denied_serials: BTreeSet<Serial>,
    /// Those of them that nobody can take back: a member made them for itself, and was removed.
    pub evicted_serials: BTreeSet<Serial>,
    /// Users whose certificates were all revoked.
    pub denied_users: BTreeSet<String>,
}

impl Trust {
    /// Trust in an operator's own authorities and nobody else.
    #[must_use]
    pub fn foreign(roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            foreign_roots: roots,
            ..Self::default()
        }
    }

    /// Whether there is anybody to trust.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.foreign_roots.is_empty()
    }

    /// A digest of the roots, by which members tell each other which bundle they have. Their order does not matter.
    #[must_use]
    pub fn bundle_hash(&self) -> [u8; 32] {
        let prints: BTreeSet<[u8; 32]> = self.roots.iter().map(|root| sha256(root)).collect();
        sha256(&prints.into_iter().flatten().collect::<Vec<u8>>())
    }

    /// Verifies a chain, leaf first, and says who it is. The same call decides about a connection that is open
    /// already, after what is trusted has changed.
    ///
    /// # Errors
    ///
    /// Says which of the many reasons it is, and what helps.
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        now_unix: i64,
    ) -> Result<Identity, Refused> {
        let (first, rest) = chain.split_first().ok_or(Refused::NoCertificate)?;
        if chain.len() > CHAIN_MAX {
            return Err(Refused::BrokenChain(format!(
                "it has more than {CHAIN_MAX} certificates"
            )));
        }
        let leaf = Leaf::read(first)?;
        if let (Some(theirs), Some(ours)) = (leaf.domain(), self.domain)
            && theirs != ours
        {
            return Err(Refused::OtherDomain { theirs, ours });
        }
        check_dates(leaf.validity, now_unix)?;
        let usages = leaf.usages;
        let way = self.way(first, rest, purpose, now_unix)?;
        let mut identity = match (&self.domain, way.own) {
            (Some(domain), true) => leaf.own(domain)?,
            _ => leaf.foreign(),
        };
        identity.issuer_spki_sha256 = way.issuer_spki_sha256;
        identity.root_spki_sha256 = way.root_spki_sha256;
        identity.not_after_unix = identity.not_after_unix.min(way.not_after_unix);
        if self.evicted_serials.contains(&identity.serial) {
            return Err(Refused::Evicted {
                serial: identity.serial,
            });
        }
        if self.denied_serials.contains(&identity.serial) {
            return Err(Refused::Revoked {
                serial: identity.serial,
            });
        }
        if let Some(user) = identity.user()
            && self.denied_users.contains(user)
        {
            return Err(Refused::UserDenied {
                user: user.to_owned(),
            });
        }
        check_purpose(&identity, usages.server && usages.client, purpose)?;
        Ok(identity)
    }

    /// From the leaf to a root.
    fn way(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        purpose: Purpose,
        now_unix: i64,
    ) -> Result<Way, Refused> {
        let roots: Vec<&CertificateDer<'static>> =
            self.roots.iter().chain(&self.foreign_roots).collect();
        let anchors = anchors(&roots)?;
        let between: Vec<CertificateDer<'_>> =
            rest.iter().chain(&self.intermediates).cloned().collect();
        let end = EndEntityCert::try_from(leaf).map_err(|error| in_words(&error, purpose))?;
        let usage = match purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client | Purpose::Peer => KeyUsage::client_auth(),
        };
        let seconds = u64::try_from(now_unix).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let denied = |path: &VerifiedPath<'_>| match self.denied_above(path) {
            Some(_) => Err(webpki::Error::CertRevoked),
            None => Ok(()),
        };
        let algorithms = provider().signature_verification_algorithms.all;
        let path = end
            .verify_for_usage(
                algorithms,
                &anchors,
                &between,
                now,
                usage,
                None,
                Some(&denied),
            )
            .map_err(|error| in_words(&error, purpose))?;
        let index = anchors
            .iter()
            .position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let root = index
            .and_then(|index| roots.get(index))
            .ok_or(Refused::UnknownAuthority)?;
        Way::along(&path, root, index < Some(self.roots.len()), now_unix)
    }

    /// The serial of an authority on the way that was revoked.
    fn denied_above(&self, path: &VerifiedPath<'_>) -> Option<Serial> {
        path.intermediate_certificates()
            .map(|authority| Serial::from_bytes(authority.serial()))
            .find(|serial| self.denied_serials.contains(serial))
    }
}

/// What was found between the leaf and the root.
struct Way {
    own: bool,
    issuer_spki_sha256: [u8; 32],
    root_spki_sha256: [u8; 32],
    not_after_unix: i64,
}

impl Way {
    fn along(
        path: &VerifiedPath<'_>,
        root: &CertificateDer<'_>,
        own: bool,
        now_unix: i64,
    ) -> Result<Self, Refused> {
        let unreadable = |error: crate::PkiError| Refused::Unreadable(error.to_string());
        // The library takes a root at its name and key; that it is over is for us to see.
        let root_validity = Validity::of(root).map_err(unreadable)?;
        if now_unix > root_validity.not_after_unix {
            let not_after_unix = root_validity.not_after_unix;
            return Err(Refused::AuthorityExpired { not_after_unix });
        }
        let root_spki_sha256 = crate::spki_sha256(root).map_err(unreadable)?;
        let mut way = Self {
            own,
            issuer_spki_sha256: root_spki_sha256,
            root_spki_sha256,
            not_after_unix: root_validity.not_after_unix,
        };
        for (depth, authority) in path.intermediate_certificates().enumerate() {
            let der = authority.der();
            let validity = Validity::of(&der).map_err(unreadable)?;
            way.not_after_unix = way.not_after_unix.min(validity.not_after_unix);
            if depth == 0 {
                way.issuer_spki_sha256 = crate::spki_sha256(&der).map_err(unreadable)?;
            }
        }
        Ok(way)
    }
}

fn anchors<'a>(roots: &[&'a CertificateDer<'static>]) -> Result<Vec<TrustAnchor<'a>>, Refused> {
    roots
        .iter()
        .map(|root| anchor_from_trusted_cert(root))
        .collect::<Result<_, _>>()
        .map_err(|error| Refused::Unreadable(format!("a root that is trusted here: {error}")))
}

fn check_dates(validity: Validity, now_unix: i64) -> Result<(), Refused> {
    let Validity {
        not_before_unix,
        not_after_unix,
    } = validity;
    if now_unix > not_after_unix {
        return Err(Refused::Expired {
            not_after_unix,
            now_unix,
        });
    }
    if now_unix < not_before_unix {
        return Err(Refused::NotYetValid {
            not_before_unix,
            now_unix,
        });
    }
    Ok(())
}

fn check_purpose(identity: &Identity, both_usages: bool, purpose: Purpose) -> Result<(), Refused> {
    match (purpose, &identity.kind) {
        (Purpose::Peer, IdentityKind::Node(_)) if both_usages => Ok(()),
        (Purpose::Peer, _) => Err(Refused::NotAPeer {
            what: identity.describe(),
        }),
        (Purpose::Client, IdentityKind::Server)
        | (Purpose::Server, IdentityKind::Client(_) | IdentityKind::Admin(_)) => {
            let used_as = used_as(purpose);
            Err(Refused::WrongUse {
                used_as,
                what: format!("it is {}", identity.describe()),
            })
        }
        _ => Ok(()),
    }
}

fn used_as(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Client => "clients",
        Purpose::Peer => "members",
        Purpose::Server => "servers",
    }
}

fn in_words(error: &webpki::Error, purpose: Purpose) -> Refused {
    use webpki::Error as Wrong;
    let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match error {
        Wrong::UnknownIssuer | Wrong::InvalidSignatureForPublicKey => Refused::UnknownAuthority,
        // The leaf's own dates were looked at before.
        Wrong::CertExpired { not_after, .. } => Refused::AuthorityExpired {
            not_after_unix: seconds(not_after),
        },
        Wrong::CertNotValidYet { time, not_before } => Refused::NotYetValid {
            not_before_unix: seconds(not_before),
            now_unix: seconds(time),
        },
        Wrong::CertRevoked => Refused::BrokenChain("the authority above it was revoked".to_owned()),
        Wrong::RequiredEkuNotFoundContext(_) => Refused::WrongUse {
            used_as: used_as(purpose),
            what: "its extended key usage does not say so".to_owned(),
        },
        Wrong::CaUsedAsEndEntity => Refused::BrokenChain("it is an authority's own".to_owned()),
        Wrong::BadDer | Wrong::BadDerTime | Wrong::TrailingData(_) => {
            Refused::Unreadable(error.to_string())
        }
        other => Refused::BrokenChain(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
