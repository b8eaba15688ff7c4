//! The trust domain: which cluster's certificates these are.

use std::fmt;
use std::str::FromStr;

use crate::{PkiError, hex};

/// Made once, when a cluster begins, and kept through every rotation and restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain([u8; 16]);

impl TrustDomain {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(PkiError::Random)?;
        Ok(Self(bytes))
    }

    /// From what [`TrustDomain::as_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The DNS name that only the join listener's certificate carries.
    #[must_use]
    pub fn join_name(&self) -> String {
        format!("join.{self}.kvorum")
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for TrustDomain {
    type Err = PkiError;

    /// Lower case only, so that one domain has one text.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        hex::decode(text)
            .filter(|_| !text.contains(|c: char| c.is_ascii_uppercase()))
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| PkiError::Text {
                text: text.to_owned(),
                expected: "a trust domain: 32 hex digits",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_text() {
        let domain = TrustDomain::from_bytes([0xab; 16]);
        let text = domain.to_string();
        assert_eq!(text, "ab".repeat(16));
        assert_eq!(text.parse::<TrustDomain>().expect("its own text"), domain);
        for wrong in [
            "",
            "ab",
            &text.to_uppercase(),
            &format!("{text}ab"),
            &format!(" {text}"),
        ] {
            wrong.parse::<TrustDomain>().expect_err("not that text");
        }
    }

    #[test]
    fn no_two_are_alike() {
        let one = TrustDomain::generate().expect("random");
        let other = TrustDomain::generate().expect("random");
        assert_ne!(one, other);
    }
}
