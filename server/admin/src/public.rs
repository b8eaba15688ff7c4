//! How it stands with the console's public certificate.

use kvorum_pki::acme::AcmeStatus;
use tokio::sync::watch;

/// A certificate of an authority that browsers know, as it is kept.
#[derive(Clone, Debug)]
pub struct PublicCertificate {
    /// What it is for.
    pub names: Vec<String>,
    /// Where it comes from.
    pub directory_url: String,
    /// News of it.
    pub status: watch::Receiver<AcmeStatus>,
}

impl PublicCertificate {
    /// True while browsers get it.
    pub(crate) fn is_shown(&self) -> bool {
        let now_unix_s = i64::try_from(crate::member_source::unix_ms() / 1000).unwrap_or(i64::MAX);
        let ends = self.status.borrow().not_after_unix;
        ends.is_some_and(|ends| ends > now_unix_s)
    }

    pub(crate) fn report(&self) -> kvorum_api::PublicCertificate {
        let status = self.status.borrow().clone();
        kvorum_api::PublicCertificate {
            names: self.names.clone(),
            directory_url: self.directory_url.clone(),
            ordering: status.ordering,
            not_after_unix_s: status.not_after_unix,
            next_attempt_unix_s: status.next_attempt_unix,
            failures: status.failures,
            last_error: status.last_error,
        }
    }
}
