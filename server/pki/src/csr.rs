//! Certificate requests: proof that somebody holds the key of a public key, and nothing else.
//!
//! What a request says about names, usages or authority is never looked at. Who the certificate is for is decided by
//! who signs it.

use rcgen::{CertificateParams, DistinguishedName};
use ring::digest::{SHA256, digest as hash};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::{KeyPair, PkiError, SubjectPublicKey};

/// Larger than any request with a key that we take.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A request of the holder of this key, in DER.
///
/// # Errors
///
/// The key cannot sign.
pub fn create(key: &KeyPair) -> Result<Vec<u8>, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key.signing())?;
    Ok(request.der().to_vec())
}

/// Verifies the signature and gives the key.
///
/// # Errors
///
/// It is no request, or its signature is not the key's, or the key is of a kind that is not taken: P-256, P-384,
/// Ed25519 and RSA of at least 2048 bits are.
pub fn verify(der: &[u8]) -> Result<SubjectPublicKey, PkiError> {
    let refused = |why: &str| PkiError::Request(why.to_owned());
    if der.len() > REQUEST_BYTES_MAX {
        return Err(refused("it is too long"));
    }
    let (rest, request) = X509CertificationRequest::from_der(der)
        .map_err(|_| refused("it is not a PKCS#10 request in DER"))?;
    if !rest.is_empty() {
        return Err(refused("something follows it"));
    }
    request.verify_signature().map_err(|_| {
        refused("its signature was not made with the key that it asks a certificate for")
    })?;
    let key = request.certification_request_info.subject_pki.raw;
    SubjectPublicKey::from_der(key).map_err(|_| {
        refused("its key is of a kind that is not taken: use P-256, P-384, Ed25519, or RSA of 2048 bits")
    })
}

/// The digest that a join proof covers.
#[must_use]
pub fn digest(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash(&SHA256, der).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use rcgen::{IsCa, SanType};

    use super::*;

    #[test]
    fn a_request_gives_the_key_and_nothing_else() {
        let key = KeyPair::generate().expect("random");
        let request = create(&key).expect("a request");
        assert_eq!(
            verify(&request).expect("verified"),
            key.public().expect("public")
        );
    }

    #[test]
    fn a_request_that_asks_for_more_still_gives_only_its_key() {
        let key = KeyPair::generate().expect("random");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI(
            "kvorum://x/admin/root".try_into().expect("ascii"),
        )];
        let request = params.serialize_request(key.signing()).expect("a request");
        assert_eq!(
            verify(request.der()).expect("verified"),
            key.public().expect("public")
        );
    }

    #[test]
    fn a_changed_request_is_refused() {
        let key = KeyPair::generate().expect("random");
        let request = create(&key).expect("a request");
        let (_, read) = X509CertificationRequest::from_der(&request).expect("a request");
        let signed = read.certification_request_info.raw.len();
        for position in 0..request.len() {
            let mut changed = request.clone();
            changed[position] ^= 1;
            // Around the signature the library forgives a little, and then the key is still the signed one.
            if let Ok(same) = verify(&changed) {
                assert_eq!(same, key.public().expect("public"));
                assert!(position > signed, "{position}");
            }
        }
        for length in 0..request.len() {
            verify(&request[..length]).expect_err("cut off");
        }
        let mut longer = request.clone();
        longer.push(0);
        verify(&longer).expect_err("something follows");
        verify(&vec![0x30; REQUEST_BYTES_MAX + 1]).expect_err("too long");
    }

    #[test]
    fn the_key_of_another_cannot_be_asked_for() {
        let (mine, other) = (
            KeyPair::generate().expect("random"),
            KeyPair::generate().expect("random"),
        );
        let (mine, other) = (
            create(&mine).expect("a request"),
            create(&other).expect("a request"),
        );
        // The same length of signature is needed to swap the bodies without touching the framing.
        if mine.len() == other.len() {
            let cut = mine.len() - 72;
            let mut forged = other[..cut].to_vec();
            forged.extend_from_slice(&mine[cut..]);
            verify(&forged).expect_err("signed by somebody else");
        }
    }
}
