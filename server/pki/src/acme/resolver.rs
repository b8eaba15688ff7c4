//! Which certificate the console shows: the answer to a CA, the public one, or the cluster's own.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::answers::Answers;
use super::now_unix;

/// What a CA speaks when it asks (RFC 8737). The listener must offer it; a connection that ends up with it is to be
/// closed after the handshake.
pub const ACME_TLS_PROTOCOL: &[u8] = b"acme-tls/1";

/// Chooses by the name and the protocol that a client asks for.
pub struct AcmeResolver {
    answers: Arc<Answers>,
    shown: RwLock<Shown>,
}

struct Shown {
    own: Arc<dyn ResolvesServerCert>,
    public: Option<Public>,
}

pub(super) struct Public {
    pub(super) names: Vec<String>,
    pub(super) not_after_unix: i64,
    pub(super) certified: Arc<CertifiedKey>,
}

impl AcmeResolver {
    pub(super) fn new(answers: Arc<Answers>, own: Arc<dyn ResolvesServerCert>) -> Self {
        Self {
            answers,
            shown: RwLock::new(Shown { own, public: None }),
        }
    }

    /// Replaces the cluster's own certificate, when it was renewed.
    pub fn set_own(&self, own: Arc<dyn ResolvesServerCert>) {
        self.shown
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .own = own;
    }

    pub(super) fn set_public(&self, public: Public) {
        self.shown
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .public = Some(public);
    }
}

impl ResolvesServerCert for AcmeResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        if offered.next() == Some(ACME_TLS_PROTOCOL) && offered.next().is_none() {
            return self.answers.tls(hello.server_name()?);
        }
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let public = shown.public.as_ref().filter(|public| {
            let asked = hello.server_name().unwrap_or_default();
            // One that is over is of less use than our own, which a browser may have been told to trust.
            now_unix() <= public.not_after_unix
                && public
                    .names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(asked))
        });
        match public {
            Some(public) => Some(Arc::clone(&public.certified)),
            None => shown.own.resolve(hello),
        }
    }
}

impl fmt::Debug for AcmeResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeResolver").finish_non_exhaustive()
    }
}
