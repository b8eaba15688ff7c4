//! Who is at the other end of a connection, as far as the connection itself can tell.

use std::{cell::OnceCell, future::pending, rc::Rc, sync::Arc};

use kvorum_member::trust::{ClientIdentity, ClientTrust};
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Code, Status};

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) enum Peer {
    /// Somebody who has shown nothing.
    #[default]
    Unknown,
    /// A client whose certificate the listener has verified.
    Certified(Rc<Certificate>),
    /// This member's own gateway. It speaks for others, so nothing it could show would speak for them: who they are,
    /// their tokens say.
    Gateway,
}

/// A verified client certificate, for as long as its connection is open.
#[derive(Debug, Default)]
pub(crate) struct Certificate {
    user: Option<Arc<str>>,
    /// Where the cluster has an authority of its own.
    own: Option<Own>,
    /// Why it is not accepted any more.
    refused: OnceCell<Arc<str>>,
    news: Notify,
}

/// What the cluster's own authority says of a certificate.
#[derive(Debug)]
pub(crate) struct Own {
    chain: Vec<CertificateDer<'static>>,
    pub(crate) identity: ClientIdentity,
}

impl Certificate {
    /// One of the cluster's own authority.
    pub(crate) fn own(chain: &[CertificateDer<'static>], identity: ClientIdentity) -> Self {
        Self {
            user: identity.user.as_deref().map(Arc::from),
            own: Some(Own {
                chain: chain.to_vec(),
                identity,
            }),
            ..Self::default()
        }
    }

    /// What is known of it, if it is of the cluster's own authority.
    pub(crate) const fn identity(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// From now on its connection serves nothing.
    pub(crate) fn refuse(&self, reason: &str) {
        if self.refused.set(reason.into()).is_ok() {
            let user = self.user.as_deref().unwrap_or_default();
            tracing::info!(user, reason, "a client's connection is ended");
            self.news.notify_waiters();
        }
    }

    /// True if it may administer the trust in this cluster.
    pub(crate) fn is_administrator(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.identity.is_admin)
    }
}

impl Own {
    /// Refuses what is not accepted any more.
    pub(crate) fn check(&self, trust: &ClientTrust) -> Result<(), String> {
        trust.identify(&self.chain).map(drop)
    }
}

impl Peer {
    /// What a TLS handshake has shown, where an authority of the operator's has signed it. rustls gives a chain only
    /// after the listener's verifier has taken it; a listener that asks for none gets none.
    pub(crate) fn of(verified: Option<&[CertificateDer<'static>]>) -> Self {
        let Some([leaf, ..]) = verified else {
            return Self::Unknown;
        };
        Self::Certified(Rc::new(Certificate {
            user: common_name(leaf),
            ..Certificate::default()
        }))
    }

    /// The user that a certificate names: by the common name, as etcd has it, or by what the cluster's own authority
    /// wrote into it.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        match self {
            Self::Certified(certificate) => certificate.user.as_ref(),
            Self::Unknown | Self::Gateway => None,
        }
    }

    /// Why it is not accepted any more, if so.
    pub(crate) fn refused(&self) -> Option<Status> {
        match self {
            Self::Certified(certificate) => certificate.refused.get().map(|why| revoked(why)),
            Self::Unknown | Self::Gateway => None,
        }
    }

    /// Returns once it is not accepted any more.
    pub(crate) async fn distrusted(&self) -> Status {
        let Self::Certified(certificate) = self else {
            return pending().await;
        };
        loop {
            let news = certificate.news.notified();
            if let Some(why) = certificate.refused.get() {
                return revoked(why);
            }
            news.await;
        }
    }
}

fn revoked(why: &str) -> Status {
    Status::new(Code::PermissionDenied, format!("kvorum: {why}"))
}

/// Where a name has several, Go takes the last.
fn common_name(leaf: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject().iter_common_name();
    let last = names.last()?.as_str().ok()?;
    (!last.is_empty()).then(|| last.into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signs").der().clone()
    }

    #[test]
    fn the_leaf_names_the_user() {
        let chain = [certificate(&["alice"]), certificate(&["the CA"])];
        let peer = Peer::of(Some(&chain));
        assert_eq!(peer.user().map(|name| &**name), Some("alice"));
    }

    #[test]
    fn without_a_name_there_is_no_user() {
        assert_eq!(Peer::of(None).user(), None);
        assert_eq!(Peer::of(Some(&[])).user(), None);
        assert_eq!(Peer::of(Some(&[certificate(&[])])).user(), None);
        assert_eq!(Peer::of(Some(&[certificate(&[""])])).user(), None);
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(Peer::of(Some(&[garbage])).user(), None);
    }

    /// Advisory class: CVE-2018-16886.
    #[test]
    fn the_gateway_is_nobody() {
        assert_eq!(Peer::Gateway.user(), None);
    }

    #[tokio::test]
    async fn all_who_wait_hear_that_a_certificate_is_not_accepted_any_more() {
        let peer = Peer::of(Some(&[certificate(&["alice"])]));
        let Peer::Certified(certificate) = &peer else {
            panic!("not certified")
        };
        assert_eq!(peer.refused(), None);
        let (first, second) = (peer.distrusted(), peer.distrusted());
        tokio::pin!(first, second);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        certificate.refuse("gone");
        certificate.refuse("gone again");
        assert_eq!(first.await.message, "kvorum: gone");
        assert_eq!(second.await.message, "kvorum: gone");
        assert_eq!(peer.distrusted().await.message, "kvorum: gone");
    }
}
