//! Clients that came with a certificate of the cluster's own authority, while their connections are open. Each is
//! looked at again when the trust changes, and is sent away when it is not accepted any more.
//!
//! What is revoked is known from the replicated state as soon as that is applied here, so no request comes by after
//! it. What that leads to elsewhere, such as a root that goes, follows when the member has put it into effect.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use kvorum_core::trust::Trust;
use kvorum_member::{Handle, trust::ClientTrust};
use rustls_pki_types::CertificateDer;
use tokio::{sync::watch, time::interval};

use crate::{
    error::Status,
    peer::{Certificate, Peer},
};

/// Between two looks at the clock.
const CLOCK: Duration = Duration::from_secs(1);

/// The guests of one I/O thread.
pub(crate) struct Guests {
    /// None where an authority of the operator's signs for clients, or nobody does.
    trust: Option<ClientTrust>,
    /// What was seen of the replicated state.
    replicated: RefCell<watch::Receiver<Arc<Trust>>>,
    open: RefCell<Vec<Weak<Certificate>>>,
}

impl Guests {
    pub(crate) fn new(handle: &Handle, trust: Option<ClientTrust>) -> Self {
        let replicated = handle.trust_changes();
        Self {
            trust,
            replicated: RefCell::new(replicated),
            open: RefCell::default(),
        }
    }

    /// True where administrators show certificates of the cluster's own authority.
    pub(crate) fn knows_administrators(&self) -> bool {
        self.trust.is_some()
    }

    /// Who has shown this in a handshake. One that was resumed is judged as a new one.
    ///
    /// # Errors
    /// The certificate is not accepted, or not any more.
    pub(crate) fn admit(
        &self,
        verified: Option<&[CertificateDer<'static>]>,
    ) -> Result<Peer, String> {
        let (Some(trust), Some(chain @ [_, ..])) = (&self.trust, verified) else {
            return Ok(Peer::of(verified));
        };
        let identity = trust.identify(chain)?;
        self.look();
        if let Some(reason) = identity.denied(&self.replicated.borrow().borrow()) {
            return Err(reason.to_owned());
        }
        let certificate = Rc::new(Certificate::own(chain, identity));
        self.open.borrow_mut().push(Rc::downgrade(&certificate));
        Ok(Peer::Certified(certificate))
    }

    /// Whether the other end of a connection is still accepted.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn accept(&self, peer: &Peer) -> Result<(), Status> {
        if !matches!(peer, Peer::Certified(_)) {
            return Ok(());
        }
        self.look();
        peer.refused().map_or(Ok(()), Err)
    }

    /// Sends away who was revoked since the last look; if nothing was, this is one load of a number.
    fn look(&self) {
        let mut replicated = self.replicated.borrow_mut();
        // An error means that the member is gone, and nothing changes any more.
        if !replicated.has_changed().unwrap_or(false) {
            return;
        }
        let trust = Arc::clone(&replicated.borrow_and_update());
        for guest in self.open() {
            let identity = guest.identity().map(|own| &own.identity);
            if let Some(reason) = identity.and_then(|identity| identity.denied(&trust)) {
                guest.refuse(reason);
            }
        }
    }

    /// All who are here now.
    fn open(&self) -> Vec<Rc<Certificate>> {
        let mut open = self.open.borrow_mut();
        open.retain(|guest| guest.strong_count() > 0);
        open.iter().filter_map(Weak::upgrade).collect()
    }

    /// Looks after them until the member stops.
    pub(crate) async fn look_after(self: Rc<Self>) {
        let Some(mut trust) = self.trust.clone() else {
            return;
        };
        let mut replicated = self.replicated.borrow().clone();
        let mut clock = interval(CLOCK);
        loop {
            tokio::select! {
                changed = replicated.changed() => match changed {
                    Ok(()) => self.look(),
                    Err(_) => return,
                },
                changed = trust.changed() => match changed {
                    true => self.look_closely(&trust).await,
                    false => return,
                },
                _ = clock.tick() => self.look_at_the_clock(&trust),
            }
        }
    }

    /// Verifies every chain anew. That takes a while for each, so others come in between.
    async fn look_closely(&self, trust: &ClientTrust) {
        for guest in self.open() {
            if let Some(Err(reason)) = guest.identity().map(|own| own.check(trust)) {
                guest.refuse(&reason);
            }
            tokio::task::yield_now().await;
        }
    }

    fn look_at_the_clock(&self, trust: &ClientTrust) {
        for guest in self.open() {
            let Some(own) = guest.identity() else {
                continue;
            };
            match own.identity.expired() {
                Some(reason) => guest.refuse(reason),
                None => trust.note(&own.identity),
            }
        }
    }
}
