//! TLS of the console's listener: a certificate that can change between two connections, and a deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer::AdminIdentity;

/// The protocol of a certificate authority that looks whether a name is ours; it ends with the handshake.
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

type Choose = dyn Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>> + Send + Sync;
type Recognise = dyn Fn(&[CertificateDer<'_>]) -> Option<AdminIdentity> + Send + Sync;

/// What the listener needs to speak TLS.
#[derive(Clone)]
pub struct ConsoleTls {
    choose: Arc<Choose>,
    recognise: Arc<Recognise>,
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
            recognise: Arc::new(|_| None),
        }
    }

    /// `recognise` gives the administrator whom a client's chain stands for. The chain was verified in the handshake.
    #[must_use]
    pub fn with_admins(
        self,
        recognise: impl Fn(&[CertificateDer<'_>]) -> Option<AdminIdentity> + Send + Sync + 'static,
    ) -> Self {
        Self {
            recognise: Arc::new(recognise),
            ..self
        }
    }

    /// Shakes hands; who takes longer than `patience` is let go. `None` if there is nothing to serve on this connection.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
        patience: Duration,
    ) -> std::io::Result<Option<(TlsStream<TcpStream>, Option<AdminIdentity>)>> {
        let shaken = tokio::time::timeout(patience, self.shake(socket)).await;
        shaken.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    async fn shake(
        &self,
        socket: TcpStream,
    ) -> std::io::Result<Option<(TlsStream<TcpStream>, Option<AdminIdentity>)>> {
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
        let admin = chain.and_then(|chain| (self.recognise)(chain));
        Ok(Some((stream, admin)))
    }
}
