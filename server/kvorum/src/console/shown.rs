//! The certificate that browsers are shown, and by whom theirs are judged.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use kvorum_admin::ConsoleTls;
use kvorum_member::trust::{ClientTrust, Keeper};
use kvorum_pki::acme::ACME_TLS_PROTOCOL;
use kvorum_pki::{LiveTls, tls};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::public::Public;
use crate::config::Settings;
use crate::exit::Exit;
use crate::listeners::Urls;
use crate::pki;
use crate::serve::refuses;

const PROTOCOL: &[u8] = b"http/1.1";

/// What an `https://` console shows.
pub(crate) struct Shown {
    live: LiveTls,
    names: Vec<String>,
    /// Administrators are known by their certificates, where the cluster makes them.
    trust: Option<ClientTrust>,
}

impl Shown {
    /// Files that were named come first, then what the cluster makes for itself. Nothing for a console in plain text.
    pub(crate) fn of(
        settings: &Settings,
        urls: &Urls,
        keeper: Option<&Keeper>,
    ) -> Result<Option<Self>, Exit> {
        if !super::is_secure(settings) {
            return Ok(None);
        }
        match (Self::of_files(settings)?, keeper) {
            (Some(files), _) => Ok(Some(files)),
            (None, Some(keeper)) => Ok(Some(Self {
                live: keeper.console_tls(),
                names: pki::names_of(settings, urls),
                trust: Some(keeper.client_trust()),
            })),
            (None, None) => Err(refuses("the console's TLS", &"it has no certificate")),
        }
    }

    /// The certificate in the files that were named.
    fn of_files(settings: &Settings) -> Result<Option<Self>, Exit> {
        let (Some(config), Some(files)) = (&settings.tls, &settings.tls_files) else {
            return Ok(None);
        };
        let shown = Arc::clone(&config.cert_resolver);
        let config = tls::console_listener(shown, &[PROTOCOL]);
        let config = config.map_err(|error| refuses("the console's TLS", &error))?;
        Ok(Some(Self {
            live: LiveTls::new(config),
            names: names_in(&files.cert),
            trust: None,
        }))
    }

    /// What it is for.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The certificate of the moment, for whoever asks for none of the public names.
    pub(super) fn own(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(OfTheMoment(self.live.clone()))
    }

    /// For the listener: as it is when a connection comes.
    pub(super) fn tls(self, public: Option<Public>) -> ConsoleTls {
        let live = self.live;
        let tls = ConsoleTls::new(move |_| {
            let own = live.current();
            Some(match &public {
                Some(public) => with_public(&own, public.resolver()),
                None => own,
            })
        });
        match self.trust {
            Some(trust) => tls.with_admins(trust),
            None => tls,
        }
    }
}

fn with_public(own: &ServerConfig, resolver: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let mut config = own.clone();
    config.cert_resolver = resolver;
    config.alpn_protocols.push(ACME_TLS_PROTOCOL.to_vec());
    Arc::new(config)
}

/// Whatever the listener's configuration shows when it is asked.
struct OfTheMoment(LiveTls);

impl ResolvesServerCert for OfTheMoment {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().cert_resolver.resolve(hello)
    }
}

impl fmt::Debug for OfTheMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfTheMoment")
    }
}

/// The names in a file that was checked a moment ago.
fn names_in(path: &Path) -> Vec<String> {
    let names = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|pem| crate::config::names_in(&pem));
    names.unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "the console answers for this machine's addresses only");
        Vec::new()
    })
}
