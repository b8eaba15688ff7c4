//! Revocation lists, for those outside: members look at the replicated list of what is denied.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use crate::validity::moment;
use crate::{Issuer, PkiError, Serial, pem};

/// One that is no longer valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Which.
    pub serial: Serial,
    /// Since when.
    pub revoked_at_unix: i64,
}

impl Issuer {
    /// The list as PEM. `number` must grow from list to list.
    ///
    /// # Errors
    ///
    /// The next list is due before this one, or a date is absurd.
    pub fn crl_pem(
        &self,
        revoked: &[RevokedCertificate],
        number: u64,
        now_unix: i64,
        next_unix: i64,
    ) -> Result<String, PkiError> {
        let revoked_certs = revoked
            .iter()
            .map(|certificate| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(certificate.serial.as_bytes()),
                    revocation_time: moment(certificate.revoked_at_unix)?,
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<Result<Vec<_>, PkiError>>()?;
        let params = CertificateRevocationListParams {
            this_update: moment(now_unix)?,
            next_update: moment(next_unix)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(pem::encode(
            "X509 CRL",
            params.signed_by(&self.signer()?)?.der(),
        ))
    }
}
