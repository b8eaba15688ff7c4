//! Serial numbers of certificates, which is what a revocation names.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{PkiError, hex};

/// The longest that RFC 5280 allows.
const BYTES_MAX: usize = 20;

/// A serial number: big-endian, without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A random one of 126 bits, always of the same length.
    pub(crate) fn generate() -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(PkiError::Random)?;
        // Positive in DER, and never shorter.
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self(bytes.to_vec()))
    }

    /// From the bytes of a certificate or of another list.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes.get(zeros..).unwrap_or_default().to_vec())
    }

    /// The certificate's.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|error| PkiError::Certificate(error.to_string()))?;
        Ok(Self::from_bytes(certificate.raw_serial()))
    }

    /// Big-endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Serial {
    type Err = PkiError;

    /// Hex digits in either case, also with the colons that openssl prints.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        let mut digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        if !digits.len().is_multiple_of(2) {
            digits.insert(0, '0');
        }
        hex::decode(&digits)
            .map(|bytes| Self::from_bytes(&bytes))
            .filter(|serial| !serial.0.is_empty() && serial.0.len() <= BYTES_MAX)
            .ok_or_else(|| PkiError::Text {
                text: text.to_owned(),
                expected: "a serial number: up to 40 hex digits",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_read_however_it_is_printed() {
        let serial = Serial::from_bytes(&[0, 0x4a, 0x0b]);
        assert_eq!(serial.to_string(), "4a0b");
        for text in ["4a0b", "4A0B", "4A:0B", " 004a0b "] {
            assert_eq!(text.parse::<Serial>().expect("a serial"), serial);
        }
        assert_eq!(
            "a0b".parse::<Serial>().expect("odd"),
            Serial::from_bytes(&[0x0a, 0x0b])
        );
        for wrong in ["", "0", "xyz", &"ab".repeat(21)] {
            wrong.parse::<Serial>().expect_err("no serial");
        }
    }

    #[test]
    fn ours_have_one_length() {
        for _ in 0..64 {
            assert_eq!(Serial::generate().expect("random").to_string().len(), 32);
        }
    }
}
