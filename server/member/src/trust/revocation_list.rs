//! The X.509 list of what was revoked, for verifiers outside of the cluster; members look at what is replicated.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use kvorum_core::trust::{Trust, TrustRefused};
use kvorum_pki::{RevokedCertificate, Serial};
use kvorum_proto::kvorumpb::trust_denial::Subject;

use super::admin::TrustCallError;
use crate::clock::unix_s;
use crate::handle::Handle;

/// Until the next list is due if nobody says otherwise.
const LIFE_S: i64 = 7 * 24 * 3600;
const LIFE_MAX_S: i64 = 366 * 24 * 3600;

impl Handle {
    /// The list of now as PEM, signed by the issuing certificate of now; `life_s` until the next one is due, 0 for a
    /// week.
    ///
    /// # Errors
    /// There is no authority, or the time makes no sense.
    pub async fn trust_revocation_list(&self, life_s: i64) -> Result<String, TrustCallError> {
        let clerk = self.clerk().await?;
        let life_s = if life_s == 0 { LIFE_S } else { life_s };
        if !(1..=LIFE_MAX_S).contains(&life_s) {
            return Err(TrustRefused::Malformed.into());
        }
        let trust = self.trust();
        let (issuer, _) = clerk.authority.issuer(&trust)?;
        let now = unix_s();
        // Grows from list to list without anybody counting them.
        let number = SystemTime::now().duration_since(UNIX_EPOCH);
        let number = number.map_or(0, |since| since.as_micros());
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let list = issuer.crl_pem(&revoked(&trust), number, now, now + life_s);
        list.map_err(TrustCallError::Request)
    }
}

/// All serials that are denied: by themselves, or as certificates of a user who is.
fn revoked(trust: &Trust) -> Vec<RevokedCertificate> {
    let since_of_users: BTreeMap<&str, i64> = trust
        .denied_users()
        .filter_map(|denial| match &denial.subject {
            Some(Subject::User(user)) => Some((user.as_str(), denial.since_unix_s)),
            _ => None,
        })
        .collect();
    let of_users = trust.certificates().filter_map(|certificate| {
        let since = since_of_users.get(certificate.subject.as_str())?;
        Some((certificate.serial.clone(), *since))
    });
    let by_themselves = trust
        .denied_serials()
        .filter_map(|denial| match &denial.subject {
            Some(Subject::Serial(serial)) => Some((serial.clone(), denial.since_unix_s)),
            _ => None,
        });
    let all: BTreeMap<_, _> = of_users.chain(by_themselves).collect();
    all.into_iter()
        .map(|(serial, revoked_at_unix)| RevokedCertificate {
            serial: Serial::from_bytes(&serial),
            revoked_at_unix,
        })
        .collect()
}
