//! The cluster's authority as a member uses it: what is replicated, opened with the member's seal key.

use bytes::Bytes;
use kvorum_core::trust::{ISSUING_KEY_AAD, ROOT_KEY_AAD, TOKEN_AAD, Trust};
use kvorum_pki::seal::{self, SealKey};
use kvorum_pki::{Issuer, KeyPair, Root, Serial, TrustDomain};
use kvorum_proto::kvorumpb::{JoinToken, TrustIssuer, TrustRoot};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::TrustError;

pub(crate) fn der(bytes: &Bytes) -> CertificateDer<'static> {
    CertificateDer::from(bytes.to_vec())
}

/// What opens the authority's keys, and which cluster's it is.
pub(crate) struct Authority {
    pub(crate) domain: TrustDomain,
    pub(crate) seal_key: SealKey,
}

impl Authority {
    fn key(&self, sealed: &Bytes, aad: &[u8], what: &'static str) -> Result<KeyPair, TrustError> {
        let opened = seal::open(&self.seal_key, sealed, aad);
        let opened = opened.map_err(|_| TrustError::Sealed(what))?;
        KeyPair::from_pkcs8(&opened).map_err(TrustError::pki(what))
    }

    /// What certificates are signed with now, and the root it is of.
    pub(crate) fn issuer(&self, trust: &Trust) -> Result<(Issuer, u64), TrustError> {
        let kept = trust.issuer().ok_or(TrustError::State("no issuer"))?;
        let what = "the issuing key";
        let key = self.key(&kept.sealed_key, ISSUING_KEY_AAD, what)?;
        let cross = (!kept.cross_der.is_empty()).then(|| der(&kept.cross_der));
        let issuer = Issuer::from_parts(der(&kept.der), key, cross.into_iter().collect());
        Ok((issuer.map_err(TrustError::pki(what))?, kept.root))
    }

    /// A root with its key.
    pub(crate) fn root(&self, root: &TrustRoot) -> Result<Root, TrustError> {
        let what = "a root's key";
        let key = self.key(&root.sealed_key, ROOT_KEY_AAD, what)?;
        Root::from_parts(der(&root.der), key).map_err(TrustError::pki(what))
    }

    /// A root as it is kept: certificate and sealed key.
    pub(crate) fn sealed_root(&self, root: &Root) -> Result<(Bytes, Bytes), TrustError> {
        let sealed = self.sealed(root.key(), ROOT_KEY_AAD)?;
        Ok((root.certificate().to_vec().into(), sealed))
    }

    /// An issuing certificate as it is kept.
    pub(crate) fn kept_issuer(
        &self,
        issuer: &Issuer,
        root: u64,
        cross: Option<&CertificateDer<'static>>,
    ) -> Result<TrustIssuer, TrustError> {
        let validity = kvorum_pki::Validity::of(issuer.certificate());
        let validity = validity.map_err(TrustError::pki("the issuing certificate"))?;
        Ok(TrustIssuer {
            der: issuer.certificate().to_vec().into(),
            sealed_key: self.sealed(issuer.key(), ISSUING_KEY_AAD)?,
            root,
            cross_der: cross.map(|c| c.to_vec().into()).unwrap_or_default(),
            not_before_unix_s: validity.not_before_unix,
            not_after_unix_s: validity.not_after_unix,
            since_unix_s: 0,
        })
    }

    fn sealed(&self, key: &KeyPair, aad: &[u8]) -> Result<Bytes, TrustError> {
        let sealed = seal::seal(&self.seal_key, key.pkcs8(), aad);
        let sealed = sealed.map_err(|_| TrustError::State("a key cannot be sealed"))?;
        Ok(sealed.into())
    }

    /// The key of a token's proof, as it is kept.
    pub(crate) fn sealed_digest(&self, id: &[u8], digest: &[u8; 32]) -> Result<Bytes, TrustError> {
        let sealed = seal::seal(&self.seal_key, digest, &token_aad(id));
        let sealed = sealed.map_err(|_| TrustError::State("a token cannot be sealed"))?;
        Ok(sealed.into())
    }

    /// The key of a token's proof; none if the token has none that this member can read.
    pub(crate) fn digest(&self, token: &JoinToken) -> Option<Zeroizing<[u8; 32]>> {
        let opened = match token.sealed_digest.is_empty() {
            // Made before digests were sealed.
            true => Zeroizing::new(token.secret_sha256.to_vec()),
            false => {
                seal::open(&self.seal_key, &token.sealed_digest, &token_aad(&token.id)).ok()?
            }
        };
        <[u8; 32]>::try_from(&opened[..]).ok().map(Zeroizing::new)
    }

    /// Whom to accept.
    pub(crate) fn accepted(&self, trust: &Trust) -> kvorum_pki::Trust {
        use kvorum_proto::kvorumpb::trust_denial::Subject;
        let serials = trust.denied_serials().filter_map(|d| match &d.subject {
            Some(Subject::Serial(serial)) => Some(serial),
            _ => None,
        });
        let serials: Vec<_> = serials.collect();
        let evicted = serials.iter().filter(|serial| trust.is_evicted(serial));
        let users = trust.denied_users().filter_map(|d| match &d.subject {
            Some(Subject::User(user)) => Some(user.clone()),
            _ => None,
        });
        let issuer = trust.issuer().into_iter();
        let between = issuer.flat_map(|issuer| [&issuer.der, &issuer.cross_der]);
        kvorum_pki::Trust {
            domain: Some(self.domain),
            roots: trust.roots().map(|root| der(&root.der)).collect(),
            intermediates: between.filter(|d| !d.is_empty()).map(der).collect(),
            evicted_serials: evicted.map(|serial| Serial::from_bytes(serial)).collect(),
            denied_serials: serials
                .iter()
                .map(|serial| Serial::from_bytes(serial))
                .collect(),
            denied_users: users.collect(),
            ..kvorum_pki::Trust::default()
        }
    }
}

/// No other token's digest fits.
fn token_aad(id: &[u8]) -> Vec<u8> {
    [TOKEN_AAD, id].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_token_is_read_by_members_only_and_for_that_token_only() {
        let authority = |seal_key| Authority {
            domain: TrustDomain::generate().expect("random"),
            seal_key,
        };
        let own = authority(SealKey::generate().expect("random"));
        let other = authority(SealKey::generate().expect("random"));
        let digest = [7; 32];
        let token = |id: u8| JoinToken {
            id: vec![id; 10].into(),
            sealed_digest: own.sealed_digest(&[1; 10], &digest).expect("sealed"),
            ..JoinToken::default()
        };
        assert_eq!(own.digest(&token(1)).map(|d| *d), Some(digest));
        assert_eq!(own.digest(&token(2)), None);
        assert_eq!(other.digest(&token(1)), None);
        let sealed = token(1).sealed_digest;
        assert!(!sealed.windows(8).any(|part| part == &digest[..8]));
        let before = JoinToken {
            secret_sha256: digest.to_vec().into(),
            ..JoinToken::default()
        };
        assert_eq!(own.digest(&before).map(|d| *d), Some(digest));
        assert_eq!(own.digest(&JoinToken::default()), None);
    }
}
