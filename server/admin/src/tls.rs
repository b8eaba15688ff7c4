//! TLS of the console's listener: a certificate that can change between two connections, and a deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kvorum_member::trust::ClientTrust;
use kvorum_pki::Serial;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer::AdminIdentity;

/// The protocol of a certificate authority that looks whether a name is ours; it ends with the handshake.
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// At the latest after so long an open connection is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Choose = dyn Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>> + Send + Sync;
/// A chain as a client has shown it, leaf first.
pub(crate) type Chain = Vec<CertificateDer<'static>>;

/// Judges the certificates that clients show.
pub trait Admins: Send + Sync + 'static {
    /// The administrator whom a chain stands for, if it stands for one and is accepted now.
    fn recognise(&self, chain: &[CertificateDer<'static>]) -> Option<AdminIdentity>;

    /// Ends when the chain is not accepted any more, with the reason.
    fn distrusted<'a>(&'a self, chain: &'a [CertificateDer<'static>]) -> BoxFuture<'a, String>;
}

impl Admins for ClientTrust {
    fn recognise(&self, chain: &[CertificateDer<'static>]) -> Option<AdminIdentity> {
        let identity = self.identify(chain).ok()?;
        let user = identity.user.filter(|_| identity.is_admin)?;
        Some(AdminIdentity {
            user,
            serial: Serial::from_bytes(&identity.serial).to_string(),
        })
    }

    fn distrusted<'a>(&'a self, chain: &'a [CertificateDer<'static>]) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let mut trust = self.clone();
            loop {
                if let Err(refused) = trust.identify(chain) {
                    return refused;
                }
                // Nothing tells of a certificate that ends.
                match tokio::time::timeout(LOOK_EVERY, trust.changed()).await {
                    Ok(true) | Err(_) => {}
                    Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        })
    }
}

/// Nobody is known by a certificate.
struct Nobody;

impl Admins for Nobody {
    fn recognise(&self, _: &[CertificateDer<'static>]) -> Option<AdminIdentity> {
        None
    }

    fn distrusted<'a>(&'a self, _: &'a [CertificateDer<'static>]) -> BoxFuture<'a, String> {
        Box::pin(std::future::pending())
    }
}

/// A connection after its handshake.
pub(crate) struct Shaken {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) admin: Option<AdminIdentity>,
    /// What the client has shown.
    pub(crate) chain: Option<Chain>,
}

/// What the listener needs to speak TLS.
#[derive(Clone)]
pub struct ConsoleTls {
    choose: Arc<Choose>,
    admins: Arc<dyn Admins>,
}

impl fmt::Debug for ConsoleTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleTls").finish_non_exhaustive()
    }
}

impl ConsoleTls {
    /// `choose` gives the configuration for each new connection, so that a renewed certificate is used from the next one
    /// on; none refuses it.
    pub fn new(
        choose: impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            choose: Arc::new(choose),
            admins: Arc::new(Nobody),
        }
    }

    /// `admins` judges what clients show, at the handshake and for as long as the connection is open.
    #[must_use]
    pub fn with_admins(self, admins: impl Admins) -> Self {
        Self {
            admins: Arc::new(admins),
            ..self
        }
    }

    /// Ends when a chain is not accepted any more; never if none was shown.
    pub(crate) async fn distrusted(&self, chain: Option<Chain>) -> String {
        match chain {
            Some(chain) => self.admins.distrusted(&chain).await,
            None => std::future::pending().await,
        }
    }

    /// Shakes hands; who takes longer than `patience` is let go. `None` if there is nothing to serve on this connection.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
        patience: Duration,
    ) -> std::io::Result<Option<Shaken>> {
        let shaken = tokio::time::timeout(patience, self.shake(socket)).await;
        shaken.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    async fn shake(&self, socket: TcpStream) -> std::io::Result<Option<Shaken>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let hello = start.client_hello();
        let Some(config) = (self.choose)(&hello) else {
            return Ok(None);
        };
        let stream = start.into_stream(config).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() == Some(ACME_PROTOCOL) {
            return Ok(None);
        }
        let chain = session.peer_certificates();
        let chain: Option<Chain> =
            chain.map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect());
        let admin = chain
            .as_deref()
            .and_then(|chain| self.admins.recognise(chain));
        Ok(Some(Shaken {
            stream,
            admin,
            chain,
        }))
    }
}
