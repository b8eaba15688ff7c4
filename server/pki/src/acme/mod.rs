//! Public certificates for the console's names, by ACME (RFC 8555), with TLS-ALPN-01 or HTTP-01.
//!
//! The console works without: until the first certificate is there, and whenever one cannot be had, it shows the
//! cluster's own. Nothing waits for a CA, and the public certificate is for browsers only.
//!
//! [`Acme::new`] reads what an earlier run stored and never fails for what a CA or a file does later; its
//! [`AcmeResolver`] goes into the console's listener, and [`Acme::run`] is for a task of its own.

mod answers;
mod http;
mod order;
mod pace;
mod resolver;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::ResolvesServerCert;
use rustls_pki_types::DnsName;
use tokio::sync::watch;

use crate::Validity;

pub use answers::{Answer, Answers, LocalOnly, Publish};
pub use pace::Pace;
pub use resolver::{ACME_TLS_PROTOCOL, AcmeResolver};

use order::Failed;
use store::Store;

/// A CA that everybody trusts and that costs nothing.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const NAMES_MAX: usize = 100;
/// A whole attempt, from the directory to the certificate.
const ATTEMPT_MAX: Duration = Duration::from_secs(600);
/// The clock may be set while we sleep.
const NAP_MAX: Duration = Duration::from_secs(600);

/// How a CA sees that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// It connects to port 443 of the name.
    TlsAlpn,
    /// It asks port 80 of the name.
    Http,
}

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct AcmeOptions {
    /// The CA.
    pub directory_url: String,
    /// The names, all in one certificate.
    pub names: Vec<String>,
    /// Whom the CA may write to, as `mailto:` addresses.
    pub contacts: Vec<String>,
    /// Where account, certificate and the time of the next attempt are kept; made for the owner only.
    pub cache_dir: PathBuf,
    /// The authorities of the CA's own HTTPS, as PEM; the system's if there is none.
    pub directory_ca_pem: Option<Vec<u8>>,
    /// How the CA looks.
    pub challenge: ChallengeKind,
    /// How often to try.
    pub pace: Pace,
}

/// What an operator decided and what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum AcmeRefused {
    /// No names, or too many.
    #[error("a public certificate is for 1 to {NAMES_MAX} names, not {0}")]
    Count(usize),
    /// Not a name that a public CA knows.
    #[error(
        "{0:?} is not a DNS name that a public CA could issue for: give full names, no addresses and no wildcards"
    )]
    Name(String),
    /// Not HTTPS.
    #[error("the CA's directory {0:?} must be an https:// URL")]
    Directory(String),
    /// Not an address.
    #[error("the contact {0:?} must be a mailto: address")]
    Contact(String),
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeStatus {
    /// Whether an attempt is under way.
    pub ordering: bool,
    /// The end of the certificate that is shown; none if there is none.
    pub not_after_unix: Option<i64>,
    /// When the next attempt begins.
    pub next_attempt_unix: i64,
    /// How many attempts have failed since one succeeded.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// Keeps a public certificate.
pub struct Acme {
    options: AcmeOptions,
    store: Store,
    answers: Arc<Answers>,
    publish: Arc<dyn Publish>,
    resolver: Arc<AcmeResolver>,
    status: watch::Sender<AcmeStatus>,
}

impl Acme {
    /// Reads what is stored. `own` is what is shown while there is no public certificate, and to whoever asks for
    /// another name; `publish` makes answers known to whoever else the CA may ask.
    ///
    /// # Errors
    ///
    /// What was decided cannot be. That nothing can be read or stored is no error here: it is in the status.
    pub fn new(
        options: AcmeOptions,
        own: Arc<dyn ResolvesServerCert>,
        publish: Arc<dyn Publish>,
    ) -> Result<Self, AcmeRefused> {
        options.check()?;
        let mut options = options;
        for name in &mut options.names {
            name.make_ascii_lowercase();
        }
        options.names.sort();
        options.names.dedup();
        let answers = Arc::new(Answers::default());
        let resolver = Arc::new(AcmeResolver::new(Arc::clone(&answers), own));
        let store = Store::new(&options);
        let (status, _) = watch::channel(AcmeStatus::default());
        let acme = Self {
            options,
            store,
            answers,
            publish,
            resolver,
            status,
        };
        acme.load();
        Ok(acme)
    }

    /// What goes into the console's listener, with [`ACME_TLS_PROTOCOL`] among its protocols.
    #[must_use]
    pub fn resolver(&self) -> Arc<AcmeResolver> {
        Arc::clone(&self.resolver)
    }

    /// The answers to what a CA asks: for the plain HTTP listener, and for what other members publish.
    #[must_use]
    pub fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }

    /// How it stands, and news of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<AcmeStatus> {
        self.status.subscribe()
    }

    /// Gets and renews certificates until it is dropped.
    pub async fn run(self) {
        loop {
            let due = self.status.borrow().next_attempt_unix;
            let now = now_unix();
            if now < due {
                let left = Duration::from_secs(u64::try_from(due - now).unwrap_or_default());
                tokio::time::sleep(left.min(NAP_MAX)).await;
                continue;
            }
            self.attempt().await;
        }
    }

    async fn attempt(&self) {
        let failures = self.status.borrow().failures;
        self.status.send_modify(|status| status.ordering = true);
        // Written down before it begins: a process that dies and is started again must not ask again and again.
        let next = self.options.pace.after(now_unix(), failures, None);
        let ended = match self
            .store
            .write_next(next, failures.saturating_add(1))
            .await
        {
            Ok(()) => match tokio::time::timeout(ATTEMPT_MAX, self.obtain()).await {
                Ok(ended) => ended,
                Err(_) => Err(Failed::new("the CA did not finish within ten minutes")),
            },
            Err(error) => Err(Failed::new(format!(
                "nothing is asked of the CA, since it could not be stored: {error}"
            ))),
        };
        match ended {
            Ok(validity) => self.succeeded(validity).await,
            Err(failed) => self.failed(failures.saturating_add(1), &failed).await,
        }
    }

    async fn succeeded(&self, validity: Validity) {
        let next = self.options.pace.renewal(validity, now_unix());
        // If this cannot be written, the next start asks a little earlier.
        let stored = self.store.write_next(next, 0).await;
        self.status.send_modify(|status| {
            *status = AcmeStatus {
                ordering: false,
                not_after_unix: Some(validity.not_after_unix),
                next_attempt_unix: next,
                failures: 0,
                last_error: stored.err().map(|error| error.to_string()),
            };
        });
    }

    async fn failed(&self, failures: u32, failed: &Failed) {
        let next = self
            .options
            .pace
            .after(now_unix(), failures - 1, failed.retry_after_unix);
        let stored = self.store.write_next(next, failures).await;
        let mut words = failed.words.clone();
        if let Err(error) = stored {
            words = format!("{words}; and: {error}");
        }
        self.status.send_modify(|status| {
            status.ordering = false;
            status.next_attempt_unix = next;
            status.failures = failures;
            status.last_error = Some(words);
        });
    }

    /// What an earlier run left.
    fn load(&self) {
        let now = now_unix();
        let (next, failures) = self.store.read_next().unwrap_or((0, 0));
        let mut status = AcmeStatus {
            failures,
            next_attempt_unix: next,
            ..AcmeStatus::default()
        };
        match self.store.read_certificate() {
            Ok(Some(bundle)) => match self.show(&bundle) {
                Ok(validity) => {
                    status.not_after_unix = Some(validity.not_after_unix);
                    let renewal = self.options.pace.renewal(validity, now);
                    // A certificate that is due and an attempt that failed: the later of the two.
                    status.next_attempt_unix = if failures == 0 {
                        renewal
                    } else {
                        next.max(renewal)
                    };
                }
                Err(words) => status.last_error = Some(words),
            },
            Ok(None) => {}
            Err(words) => status.last_error = Some(words),
        }
        // A clock that was wrong must not put it off for years.
        status.next_attempt_unix = status
            .next_attempt_unix
            .min(now.saturating_add(self.options.pace.longest_s(status.not_after_unix, now)));
        self.status.send_replace(status);
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme")
            .field("names", &self.options.names)
            .finish_non_exhaustive()
    }
}

impl AcmeOptions {
    /// Whether it can be.
    ///
    /// # Errors
    ///
    /// Says what cannot.
    pub fn check(&self) -> Result<(), AcmeRefused> {
        if self.names.is_empty() || self.names.len() > NAMES_MAX {
            return Err(AcmeRefused::Count(self.names.len()));
        }
        for name in &self.names {
            let known = DnsName::try_from(name.as_str()).is_ok()
                && name.parse::<std::net::IpAddr>().is_err()
                && name.contains('.')
                && !name.ends_with('.');
            if !known {
                return Err(AcmeRefused::Name(name.clone()));
            }
        }
        if !self.directory_url.starts_with("https://") {
            return Err(AcmeRefused::Directory(self.directory_url.clone()));
        }
        let mut contacts = self.contacts.iter();
        match contacts.find(|contact| !contact.starts_with("mailto:")) {
            Some(contact) => Err(AcmeRefused::Contact(contact.clone())),
            None => Ok(()),
        }
    }
}

fn now_unix() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod pebble;
#[cfg(test)]
mod tests;
