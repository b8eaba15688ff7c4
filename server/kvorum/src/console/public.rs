//! A certificate for the console's public names. Nothing waits for it, and nothing but the console shows it.

use std::sync::Arc;

use kvorum_admin::PublicCertificate;
use kvorum_pki::acme::{Acme, AcmeResolver, AcmeStatus, LocalOnly};
use rustls::server::ResolvesServerCert;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::Shown;
use crate::config::Settings;

/// What keeps it; ends when dropped.
pub(super) struct Public {
    resolver: Arc<AcmeResolver>,
    status: PublicCertificate,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Public {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Public {
    /// Begins to keep one, where names were given for it.
    pub(super) fn start(settings: &Settings, shown: Option<&Shown>) -> Option<Self> {
        let (options, shown) = (settings.console_acme.clone()?, shown?);
        let (names, directory_url) = (options.names.clone(), options.directory_url.clone());
        let acme = match Acme::new(options, shown.own(), Arc::new(LocalOnly)) {
            Ok(acme) => acme,
            Err(error) => {
                // The settings were checked, so this does not happen; and if it does, the console has its own.
                warn!(%error, "no public certificate is asked for");
                return None;
            }
        };
        let news = acme.status();
        let status = PublicCertificate {
            names,
            directory_url,
            status: acme.status(),
        };
        Some(Self {
            resolver: acme.resolver(),
            status,
            tasks: [tokio::spawn(acme.run()), tokio::spawn(tell(news))],
        })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.resolver) as Arc<dyn ResolvesServerCert>
    }

    pub(super) fn status(&self) -> PublicCertificate {
        self.status.clone()
    }
}

/// Says what comes of it.
async fn tell(mut news: watch::Receiver<AcmeStatus>) {
    let mut known = news.borrow_and_update().clone();
    if let Some(error) = &known.last_error {
        warn!(%error, "the stored public certificate of the console cannot be used");
    }
    while news.changed().await.is_ok() {
        let now = news.borrow_and_update().clone();
        if now.failures > known.failures {
            let error = now.last_error.as_deref().unwrap_or_default();
            let next_attempt_unix_s = now.next_attempt_unix;
            warn!(
                error,
                next_attempt_unix_s,
                "the console has no new public certificate; it goes on with what it has"
            );
        } else if now.not_after_unix != known.not_after_unix {
            let ends_unix_s = now.not_after_unix.unwrap_or_default();
            info!(ends_unix_s, "the console has a new public certificate");
        }
        known = now;
    }
}
