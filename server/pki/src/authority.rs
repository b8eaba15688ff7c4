//! The root CA and the issuing CA.
//!
//! There are no name constraints: which DNS names and addresses members will have is not known when a root is made,
//! and the one constraint that would be known, on the URI's host, is one that rustls refuses whatever it says.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose,
    PublicKeyData as _, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::chain::{parsed, spki_sha256};
use crate::validity::{ISSUING_LIFE_S, ROOT_LIFE_S};
use crate::{
    Chain, KeyPair, PkiError, Serial, Subject, SubjectPublicKey, TrustDomain, Validity, hex,
};

/// How many bytes of a key's digest tell two authorities apart in their names.
const NAME_DIGEST_BYTES: usize = 4;

/// The authority that everybody trusts. It signs issuing CAs.
pub struct Root {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// The authority that signs everything else.
pub struct Issuer {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    /// Its certificates by other roots.
    cross: Vec<CertificateDer<'static>>,
}

impl Root {
    /// A new one, for ten years.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers, or the clock is absurd.
    pub fn generate(domain: &TrustDomain, now_unix: i64) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let params = authority(
            name("root CA", domain, &key.public()?),
            BasicConstraints::Constrained(1),
            Validity::from_now(now_unix, ROOT_LIFE_S),
        )?;
        let certificate = params.self_signed(key.signing())?.der().clone();
        Ok(Self { certificate, key })
    }

    /// From what was stored.
    ///
    /// # Errors
    ///
    /// It is not an authority's certificate, or the key is another one's.
    pub fn from_parts(
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, PkiError> {
        check_pair(&certificate, &key)?;
        Ok(Self { certificate, key })
    }

    /// What everybody trusts.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key, to be sealed.
    #[must_use]
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// A new issuing CA with a key of its own.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers, or the root is over.
    pub fn issuing_ca(&self, domain: &TrustDomain, now_unix: i64) -> Result<Issuer, PkiError> {
        let key = KeyPair::generate()?;
        let public = key.public()?;
        let certificate = self.sign(&public, name("issuing CA", domain, &public), now_unix)?;
        Ok(Issuer {
            certificate,
            key,
            cross: Vec::new(),
        })
    }

    /// The same issuing CA for another while: same key, same name. What it signed before stays valid wherever the new
    /// certificate is known.
    ///
    /// # Errors
    ///
    /// The root is over.
    pub fn renew_issuing(&self, issuer: &Issuer, now_unix: i64) -> Result<Issuer, PkiError> {
        Ok(Issuer {
            certificate: self.cross_sign(issuer, now_unix)?,
            key: issuer.key.duplicate()?,
            cross: Vec::new(),
        })
    }

    /// Another root's issuing CA, signed by this one: those who know only this root accept what it signs.
    ///
    /// # Errors
    ///
    /// The root is over.
    pub fn cross_sign(
        &self,
        issuer: &Issuer,
        now_unix: i64,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let read = parsed(&issuer.certificate)?;
        let (organization, common_name) = (
            read.subject().iter_organization().next(),
            read.subject().iter_common_name().next(),
        );
        let mut subject = DistinguishedName::new();
        for (kind, value) in [
            (DnType::OrganizationName, organization),
            (DnType::CommonName, common_name),
        ] {
            let value = value.and_then(|value| value.as_str().ok());
            subject.push(kind, value.ok_or(PkiError::NotAnAuthority)?);
        }
        self.sign(&issuer.key.public()?, subject, now_unix)
    }

    fn sign(
        &self,
        public: &SubjectPublicKey,
        subject: DistinguishedName,
        now_unix: i64,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let validity =
            Validity::from_now(now_unix, ISSUING_LIFE_S).within(Validity::of(&self.certificate)?);
        let mut params = authority(subject, BasicConstraints::Constrained(0), validity)?;
        params.use_authority_key_identifier_extension = true;
        let signer = rcgen::Issuer::from_ca_cert_der(&self.certificate, self.key.signing())?;
        Ok(params.signed_by(public.spki(), &signer)?.der().clone())
    }
}

impl Issuer {
    /// From what was stored.
    ///
    /// # Errors
    ///
    /// It is not an authority's certificate, or the key is another one's.
    pub fn from_parts(
        certificate: CertificateDer<'static>,
        key: KeyPair,
        cross: Vec<CertificateDer<'static>>,
    ) -> Result<Self, PkiError> {
        check_pair(&certificate, &key)?;
        for other in &cross {
            check_pair(other, &key)?;
        }
        Ok(Self {
            certificate,
            key,
            cross,
        })
    }

    /// Its certificate by its root.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key, to be sealed.
    #[must_use]
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Its certificates by other roots.
    #[must_use]
    pub fn cross(&self) -> &[CertificateDer<'static>] {
        &self.cross
    }

    /// The same with other cross-signed certificates, from [`Root::cross_sign`]: they become part of every chain.
    ///
    /// # Errors
    ///
    /// One of them is for another key.
    pub fn with_cross(self, cross: Vec<CertificateDer<'static>>) -> Result<Self, PkiError> {
        Self::from_parts(self.certificate, self.key, cross)
    }

    /// Signs a certificate for whoever holds the key. One that serves never outlives the issuing CA, whose certificate
    /// those who verify it see. A client's may: the members that verify it know the renewed issuing CA.
    ///
    /// # Errors
    ///
    /// A name cannot be part of a certificate, or nothing is left of the period.
    pub fn sign(
        &self,
        public: &SubjectPublicKey,
        subject: &Subject,
        domain: &TrustDomain,
        validity: Validity,
    ) -> Result<Chain, PkiError> {
        let own = Validity::of(&self.certificate)?;
        let validity = match subject.serves() {
            true => validity.within(own),
            false => validity,
        };
        let (not_before, not_after) = validity.dates()?;
        let mut params = CertificateParams::default();
        params.not_before = not_before;
        params.not_after = not_after;
        params.serial_number = Some(serial()?);
        params.distinguished_name = subject.distinguished_name(domain);
        params.subject_alt_names = subject.alternative_names(domain)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = subject.usages();
        params.use_authority_key_identifier_extension = true;
        let leaf = params
            .signed_by(public.spki(), &self.signer()?)?
            .der()
            .clone();
        let mut certificates = vec![leaf];
        certificates.extend(self.cross.iter().cloned());
        certificates.push(self.certificate.clone());
        Chain::new(certificates)
    }

    pub(crate) fn signer(&self) -> Result<rcgen::Issuer<'static, &rcgen::KeyPair>, PkiError> {
        Ok(rcgen::Issuer::from_ca_cert_der(
            &self.certificate,
            self.key.signing(),
        )?)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// What an authority is called: for people, and so that two of them never have the same name.
fn name(what: &str, domain: &TrustDomain, public: &SubjectPublicKey) -> DistinguishedName {
    let digest = crate::chain::sha256(&public.spki().subject_public_key_info());
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, domain.to_string());
    name.push(
        DnType::CommonName,
        format!(
            "kvorum {what} {}",
            hex::encode(&digest[..NAME_DIGEST_BYTES])
        ),
    );
    name
}

fn authority(
    name: DistinguishedName,
    depth: BasicConstraints,
    validity: Validity,
) -> Result<CertificateParams, PkiError> {
    let (not_before, not_after) = validity.dates()?;
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    params.serial_number = Some(serial()?);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(depth);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn serial() -> Result<SerialNumber, PkiError> {
    Ok(SerialNumber::from_slice(Serial::generate()?.as_bytes()))
}

fn check_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), PkiError> {
    let read = parsed(certificate)?;
    if !read.is_ca() {
        return Err(PkiError::NotAnAuthority);
    }
    let own = crate::chain::sha256(&key.public()?.spki().subject_public_key_info());
    if spki_sha256(certificate)? != own {
        return Err(PkiError::Unrelated);
    }
    Ok(())
}

/// The trust domain that a root names.
pub(crate) fn domain_of_root(root: &CertificateDer<'_>) -> Option<TrustDomain> {
    let root = parsed(root).ok()?;
    let mut organizations = root.subject().iter_organization();
    organizations.next()?.as_str().ok()?.parse().ok()
}

#[cfg(test)]
mod openssl;
#[cfg(test)]
pub(crate) mod tests;
