//! Secrets at rest: what the replicated state holds of a private key is sealed with a key that is not in it.
//!
//! A sealed text is a version byte, a random nonce of 12 bytes, and the ciphertext with its tag (ChaCha20-Poly1305).

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{PkiError, hex};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + NONCE_LEN;

/// The key of a cluster's seal. Wiped when it is dropped.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

/// Why something sealed cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was never sealed by us, or was cut.
    #[error("what should be sealed is damaged, or was sealed by a newer version")]
    Malformed,
    /// The key or the purpose is another one, or a byte has changed.
    #[error(
        "the seal key does not open it: pki/seal.key is another cluster's, or what was sealed is damaged. Restore the \
             file from a backup or from another member of this cluster"
    )]
    WrongKey,
}

impl SealKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, PkiError> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(PkiError::Random)?;
        Ok(key)
    }

    /// From what [`SealKey::as_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, for a member that joins.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// For its file: hex digits and an end of line.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(80));
        let digits = Zeroizing::new(hex::encode(&self.0));
        text.push_str(&digits);
        text.push('\n');
        text
    }

    /// From its file.
    ///
    /// # Errors
    ///
    /// It is not 64 hex digits. The message does not quote it.
    pub fn from_text(text: &[u8]) -> Result<Self, PkiError> {
        let digits = std::str::from_utf8(text).ok().map(str::trim_ascii);
        let bytes = digits.and_then(hex::decode).map(Zeroizing::new);
        let read = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        read.map(Self).ok_or_else(|| {
            PkiError::Key(
                "a seal key is 64 hex digits on one line: restore pki/seal.key".to_owned(),
            )
        })
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0);
        LessSafeKey::new(key.expect("the key has the length that the cipher wants"))
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// Seals. `purpose` must be given again to open it, so that one sealed thing cannot stand in for another.
///
/// # Errors
///
/// The system gives no random numbers.
pub fn seal(key: &SealKey, plain: &[u8], purpose: &[u8]) -> Result<Vec<u8>, PkiError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(PkiError::Random)?;
    let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + CHACHA20_POLY1305.tag_len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    let mut text = plain.to_vec();
    let tag = key.cipher().seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(purpose),
        &mut text,
    );
    let tag = tag.map_err(|_| PkiError::Key("too long to be sealed".to_owned()));
    if tag.is_err() {
        text.zeroize();
    }
    let tag = tag?;
    sealed.extend_from_slice(&text);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens.
///
/// # Errors
///
/// It is damaged, or sealed with another key or for another purpose.
pub fn open(key: &SealKey, sealed: &[u8], purpose: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (head, text) = sealed
        .split_at_checked(HEAD_BYTES)
        .ok_or(SealError::Malformed)?;
    let (version, nonce) = head.split_first().ok_or(SealError::Malformed)?;
    if *version != VERSION || text.len() < CHACHA20_POLY1305.tag_len() {
        return Err(SealError::Malformed);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
    let mut text = Zeroizing::new(text.to_vec());
    let opened = key
        .cipher()
        .open_in_place(nonce, Aad::from(purpose), &mut text);
    let length = opened.map_err(|_| SealError::WrongKey)?.len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_and_the_purpose_open_it() {
        let key = SealKey::generate().expect("random");
        for length in [0, 1, 138, 4096] {
            let plain = vec![7; length];
            let sealed = seal(&key, &plain, b"root").expect("sealed");
            assert_eq!(
                open(&key, &sealed, b"root").expect("opened").as_slice(),
                plain
            );
            assert_eq!(open(&key, &sealed, b"issuing"), Err(SealError::WrongKey));
            let other = SealKey::generate().expect("random");
            assert_eq!(open(&other, &sealed, b"root"), Err(SealError::WrongKey));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let key = SealKey::from_bytes([9; 32]);
        let sealed = seal(&key, b"secret", b"").expect("sealed");
        assert_ne!(
            sealed,
            seal(&key, b"secret", b"").expect("sealed"),
            "each has its nonce"
        );
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            open(&key, &changed, b"").expect_err("changed");
        }
        for length in 0..sealed.len() {
            open(&key, &sealed[..length], b"").expect_err("cut");
        }
    }

    #[test]
    fn a_key_survives_its_text_and_is_never_shown() {
        let key = SealKey::generate().expect("random");
        let text = key.to_text();
        assert_eq!(
            SealKey::from_text(text.as_bytes())
                .expect("its text")
                .as_bytes(),
            key.as_bytes()
        );
        assert_eq!(format!("{key:?}"), "SealKey(…)");
        for wrong in ["", "zz", &text[2..], &format!("{}00", text.trim())] {
            let refused = SealKey::from_text(wrong.as_bytes())
                .expect_err("no key")
                .to_string();
            assert!(wrong.is_empty() || !refused.contains(wrong.trim()));
        }
    }
}
