//! Private keys, which are wiped when they are dropped, and the public halves that certificates carry.
//!
//! What is wiped is what is ours: ring and rustls keep working copies of their own, which are not. The process allows no
//! core dumps for that reason.

use std::fmt;

use rcgen::{PKCS_ECDSA_P256_SHA256, SubjectPublicKeyInfo};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::{Zeroize, Zeroizing};

use crate::{PkiError, pem};

const PEM_LABEL: &str = "PRIVATE KEY";

/// A P-256 key.
pub struct KeyPair(rcgen::KeyPair);

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self(rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// From what [`KeyPair::pkcs8`] gave.
    ///
    /// # Errors
    ///
    /// It is damaged, or a key of another kind.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        let der = PrivatePkcs8KeyDer::from(der);
        // What the library says about a damaged key is not for people, and a key is not for a message.
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| PkiError::Key("it is damaged, or not a P-256 key in PKCS#8".to_owned()))
    }

    /// The first private key of a PEM text.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged, or of another kind.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        let mut key = PrivateKeyDer::from_pem_slice(text)
            .map_err(|_| PkiError::Pem("there is no private key in it".to_owned()))?;
        let read = match &key {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der()),
            _ => Err(PkiError::Key("it is not in PKCS#8".to_owned())),
        };
        key.zeroize();
        read
    }

    /// The key itself, to be stored or sealed.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// The key itself as PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode_secret(PEM_LABEL, self.pkcs8())
    }

    /// The public half.
    ///
    /// # Errors
    ///
    /// None that is known; the encoder's word is not taken for it.
    pub fn public(&self) -> Result<SubjectPublicKey, PkiError> {
        use rcgen::PublicKeyData as _;
        SubjectPublicKey::from_der(&self.0.subject_public_key_info())
    }

    pub(crate) fn signing(&self) -> &rcgen::KeyPair {
        &self.0
    }

    pub(crate) fn private_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8().to_vec()))
    }

    /// A second handle on the same key.
    pub(crate) fn duplicate(&self) -> Result<Self, PkiError> {
        Self::from_pkcs8(self.pkcs8())
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}

/// A public key as a certificate carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPublicKey(SubjectPublicKeyInfo);

impl SubjectPublicKey {
    /// From a SubjectPublicKeyInfo.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        SubjectPublicKeyInfo::from_der(der)
            .map(Self)
            .map_err(|error| PkiError::Key(error.to_string()))
    }

    pub(crate) fn spki(&self) -> &SubjectPublicKeyInfo {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_both_of_its_forms() {
        let key = KeyPair::generate().expect("random");
        let again = KeyPair::from_pkcs8(key.pkcs8()).expect("its own form");
        assert_eq!(
            again.public().expect("public"),
            key.public().expect("public")
        );
        let again = KeyPair::from_pem(key.to_pem().as_bytes()).expect("its own text");
        assert_eq!(again.pkcs8(), key.pkcs8());
    }

    #[test]
    fn nothing_shows_a_key() {
        let key = KeyPair::generate().expect("random");
        assert_eq!(format!("{key:?}"), "KeyPair(…)");
        let mut damaged = key.pkcs8().to_vec();
        damaged.pop();
        let refused = KeyPair::from_pkcs8(&damaged)
            .expect_err("cut off")
            .to_string();
        assert!(refused.contains("damaged"), "{refused}");
        KeyPair::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n").expect_err("cut off");
        KeyPair::from_pem(b"").expect_err("empty");
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("random");
        KeyPair::from_pkcs8(other.serialized_der()).expect_err("P-384");
    }
}
