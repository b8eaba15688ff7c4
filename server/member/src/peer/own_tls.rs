//! TLS between members by certificates of the cluster's own authority: they change while connections stand, and a
//! connection whose certificate is accepted no longer ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_pki::tls::Route;
use kvorum_pki::{Refused, Trust};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::tls::{dial_words, words};
use super::wire::AnyStream;
use crate::clock::unix_s;

/// At the latest after so long a standing connection is looked at again.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// Certificates and whom to trust, as one: parts of it never change alone.
#[derive(Clone)]
pub(crate) struct OwnConfig {
    /// Grows with each certificate of this member.
    pub(crate) number: u64,
    /// For members that dial.
    pub(crate) server: Arc<ServerConfig>,
    /// For those who want to become one; none as long as nothing can be signed here.
    pub(crate) join: Option<Arc<ServerConfig>>,
    /// To dial members.
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) trust: Arc<Trust>,
}

/// Which certificate each member showed last, as it told the cluster: number and end.
pub(crate) type Newest = BTreeMap<MemberId, (Vec<u8>, i64)>;

/// The TLS of a member of a cluster with its own authority; until it has a certificate, nobody comes through.
#[derive(Clone)]
pub(crate) struct OwnTls {
    config: Arc<watch::Sender<Option<Arc<OwnConfig>>>>,
    newest: Arc<watch::Sender<Newest>>,
}

/// What the other end of a connection has shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Whose certificate it is.
    pub(crate) member: MemberId,
    chain: Arc<[CertificateDer<'static>]>,
    /// Our own certificate of that time.
    number: u64,
    serial: Vec<u8>,
    not_after_unix_s: i64,
}

/// Who has come in.
pub(crate) enum Came {
    /// With what it showed, where its certificate says who it is.
    Member(AnyStream, Option<Shown>),
    Joiner(Box<TlsStream<TcpStream>>),
}

const NOT_YET: &str = "this member has no certificate yet";

impl Default for OwnTls {
    fn default() -> Self {
        Self {
            config: Arc::new(watch::channel(None).0),
            newest: Arc::new(watch::channel(Newest::new()).0),
        }
    }
}

impl OwnTls {
    /// From now on these are shown and trusted.
    pub(crate) fn set(&self, config: OwnConfig) {
        self.config.send_replace(Some(Arc::new(config)));
    }

    /// What members have told of their certificates.
    pub(crate) fn note_newest(&self, newest: Newest) {
        self.newest.send_if_modified(|known| {
            let is_news = *known != newest;
            *known = newest;
            is_news
        });
    }

    pub(crate) fn now(&self) -> Option<Arc<OwnConfig>> {
        self.config.borrow().clone()
    }

    /// The side that was dialled.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<Came, String> {
        let config = self.now().ok_or(NOT_YET)?;
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await;
        let begun = begun.map_err(|error| words(&error))?;
        let route = Route::of(begun.client_hello().alpn());
        let joins = route == Route::Join;
        let chosen = match joins {
            true => config.join.clone().ok_or(NOT_YET)?,
            false => config.server.clone(),
        };
        let stream = begun.into_stream(chosen).await;
        let stream = stream.map_err(|error| words(&error))?;
        if joins {
            return Ok(Came::Joiner(Box::new(stream)));
        }
        let shown = shown(&config, stream.get_ref().1.peer_certificates())?;
        Ok(Came::Member(Box::new(stream), Some(shown)))
    }

    /// The side that dials. Who answers is told by the certificate, whatever the address.
    pub(crate) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<(AnyStream, Shown), String> {
        let config = self.now().ok_or(NOT_YET)?;
        let name = match host.parse::<std::net::IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(host.to_owned())
                .map_err(|_| format!("{host:?} is no name that a certificate can have"))?,
        };
        let connector = TlsConnector::from(config.client.clone());
        let stream = connector.connect(name, socket).await;
        let stream = stream.map_err(|error| dial_words(&error))?;
        let shown = shown(&config, stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), shown))
    }

    /// Ends when the certificate that was shown is not accepted any more, with the reason.
    pub(crate) async fn distrusted(&self, shown: &Shown) -> String {
        let mut changes = self.config.subscribe();
        loop {
            let config = changes.borrow_and_update().clone();
            let now = unix_s();
            let checked = config.map(|config| check(&config.trust, &shown.chain, now));
            if let Some(Err(refused)) = checked {
                return refused.to_string();
            }
            let left_s = u64::try_from(shown.not_after_unix_s - now).unwrap_or(0) + 1;
            let look = Duration::from_secs(left_s).min(LOOK_MAX);
            // A sender that is gone changes nothing any more.
            let _looked = timeout(look, changes.changed()).await;
        }
    }

    /// Ends when the connection had better be made anew: one of both ends has another certificate by now.
    pub(crate) async fn outdated(&self, shown: &Shown) {
        let (mut changes, mut newest) = (self.config.subscribe(), self.newest.subscribe());
        let ours = async {
            let is_other = |config: &Option<Arc<OwnConfig>>| {
                config.as_ref().is_some_and(|c| c.number != shown.number)
            };
            if changes.wait_for(is_other).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let theirs = async {
            // Only a later one: what is shown may be news that was not told yet.
            let is_later = |newest: &Newest| {
                newest.get(&shown.member).is_some_and(|(serial, ends)| {
                    *serial != shown.serial && *ends > shown.not_after_unix_s
                })
            };
            if newest.wait_for(is_later).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = ours => {}
            () = theirs => {}
        }
    }
}

fn check(
    trust: &Trust,
    chain: &[CertificateDer<'static>],
    now_unix_s: i64,
) -> Result<kvorum_pki::Identity, Refused> {
    trust.check(chain, kvorum_pki::Purpose::Peer, now_unix_s)
}

fn shown(config: &OwnConfig, chain: Option<&[CertificateDer<'static>]>) -> Result<Shown, String> {
    let chain = chain.ok_or("it shows no certificate")?;
    let now = unix_s();
    let identity = check(&config.trust, chain, now).map_err(|refused| refused.to_string())?;
    let kvorum_pki::IdentityKind::Node(member) = identity.kind else {
        return Err("its certificate is not a member's".into());
    };
    let validity = chain.first().map(kvorum_pki::Validity::of);
    let ends = validity.and_then(Result::ok).map(|v| v.not_after_unix);
    Ok(Shown {
        member: MemberId(member),
        chain: chain.into(),
        number: config.number,
        serial: identity.serial.as_bytes().to_vec(),
        not_after_unix_s: ends.unwrap_or(identity.not_after_unix),
    })
}
