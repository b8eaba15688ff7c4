//! The keys behind JWTs: read from PEM, and used by ring.

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair, RsaEncoding, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwt::SignMethod;

/// Why a key cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither a private nor a public key.
    #[error("there is no key: name one with priv-key, or with pub-key to only verify")]
    Missing,
    /// The file holds no private key that goes with the sign-method.
    #[error("the file holds no private key in PEM form that goes with the sign-method")]
    Private,
    /// The file holds no public key that goes with the sign-method.
    #[error("the file holds no public key in PEM form that goes with the sign-method")]
    Public,
    /// The two keys are not a pair.
    #[error("public and private key do not belong together")]
    Mismatch,
}

/// What signs.
pub(super) enum Signer {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// What verifies.
pub(super) enum Verifier {
    Hmac(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Signer {
    /// The signature, as a JWT has it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)?;
                Ok(signature)
            }
            Self::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::Hmac(_) => &[],
            Self::Rsa(pair, _) => pair.public_key().as_ref(),
            Self::Ec(pair) => pair.public_key().as_ref(),
            Self::Ed(pair) => pair.public_key().as_ref(),
        }
    }
}

impl Verifier {
    /// True if the signature is of this key.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// Reads the keys of a sign-method. A private key is enough; a public key alone verifies.
pub(super) fn load(
    method: SignMethod,
    public_pem: Option<&[u8]>,
    private_pem: Option<&[u8]>,
) -> Result<(Option<Signer>, Verifier), KeyError> {
    let algorithm = match method.family() {
        Family::Hmac(algorithm) => {
            let secret = private_pem.ok_or(KeyError::Missing)?;
            let key = hmac::Key::new(algorithm, secret);
            return Ok((Some(Signer::Hmac(key.clone())), Verifier::Hmac(key)));
        }
        Family::Public(algorithm) => algorithm,
    };
    let signer = private_pem
        .map(|pem| signer(method, pem).ok_or(KeyError::Private))
        .transpose()?;
    let public = public_pem
        .map(|pem| public(method, pem).ok_or(KeyError::Public))
        .transpose()?;
    let key = match (&signer, public) {
        (None, None) => return Err(KeyError::Missing),
        (None, Some(public)) => public,
        (Some(signer), Some(public)) if signer.public() != public => {
            return Err(KeyError::Mismatch);
        }
        (Some(signer), _) => signer.public().to_vec(),
    };
    let verifier = Verifier::Public(UnparsedPublicKey::new(algorithm, key));
    Ok((signer, verifier))
}

/// What a sign-method is made of.
pub(super) enum Family {
    Hmac(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

impl SignMethod {
    fn family(self) -> Family {
        Family::Public(match self {
            Self::Hs256 => return Family::Hmac(hmac::HMAC_SHA256),
            Self::Hs384 => return Family::Hmac(hmac::HMAC_SHA384),
            Self::Hs512 => return Family::Hmac(hmac::HMAC_SHA512),
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
            Self::EdDsa => &ED25519,
        })
    }

    fn rsa(self) -> Option<&'static dyn RsaEncoding> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_SHA512,
            Self::Ps256 => &signature::RSA_PSS_SHA256,
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            _ => return None,
        })
    }

    fn curve(self) -> Option<Curve> {
        match self {
            Self::Es256 => Some(P256),
            Self::Es384 => Some(P384),
            _ => None,
        }
    }
}

/// A curve as ring and as its files name it.
struct Curve {
    algorithm: &'static EcdsaSigningAlgorithm,
    /// id-ecPublicKey and the curve, as PKCS #8 has them before the key.
    prefix: &'static [u8],
    point_bytes: usize,
}

const P256: Curve = Curve {
    algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
    prefix: b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
    point_bytes: 65,
};
const P384: Curve = Curve {
    algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
    prefix: b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
    point_bytes: 97,
};

fn signer(method: SignMethod, pem: &[u8]) -> Option<Signer> {
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    if let Some(encoding) = method.rsa() {
        let pair = match &key {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return None,
        };
        return Some(Signer::Rsa(pair.ok()?, encoding));
    }
    if let Some(curve) = method.curve() {
        let random = SystemRandom::new();
        let pair = match &key {
            PrivateKeyDer::Sec1(key) => {
                let wrapped = wrap_sec1(&curve, key.secret_sec1_der());
                EcdsaKeyPair::from_pkcs8(curve.algorithm, &wrapped, &random)
            }
            PrivateKeyDer::Pkcs8(key) => {
                EcdsaKeyPair::from_pkcs8(curve.algorithm, key.secret_pkcs8_der(), &random)
            }
            _ => return None,
        };
        return Some(Signer::Ec(pair.ok()?));
    }
    match &key {
        PrivateKeyDer::Pkcs8(key) => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der());
            Some(Signer::Ed(pair.ok()?))
        }
        _ => None,
    }
}

/// `EC PRIVATE KEY`, which openssl writes, inside the PKCS #8 that ring reads.
fn wrap_sec1(curve: &Curve, sec1: &[u8]) -> Vec<u8> {
    let mut inner = curve.prefix.to_vec();
    put_der(&mut inner, 0x04, sec1);
    let mut outer = Vec::new();
    put_der(&mut outer, 0x30, &inner);
    outer
}

fn put_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.push(0),
        [short @ ..=0x7f] => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
}

/// The key of a `PUBLIC KEY`, a `CERTIFICATE` or an `RSA PUBLIC KEY`, in the form that ring takes.
fn public(method: SignMethod, pem: &[u8]) -> Option<Vec<u8>> {
    let pem = Pem::iter_from_buffer(pem).next()?.ok()?;
    let key = match pem.label.as_str() {
        "CERTIFICATE" => {
            let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
            certificate.public_key().subject_public_key.data.to_vec()
        }
        "PUBLIC KEY" => {
            let (_, info) = SubjectPublicKeyInfo::from_der(&pem.contents).ok()?;
            info.subject_public_key.data.to_vec()
        }
        "RSA PUBLIC KEY" if method.rsa().is_some() => pem.contents,
        _ => return None,
    };
    let fits = match method.curve() {
        Some(curve) => key.len() == curve.point_bytes,
        // A sequence of two numbers; what is in it shows with the first signature.
        None if method.rsa().is_some() => key.first() == Some(&0x30),
        None => key.len() == 32,
    };
    fits.then_some(key)
}
