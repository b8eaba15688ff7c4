//! Who may do what, as the threads of a member share it: a copy of the replicated tables, swapped when they change.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvorum_core::Error;
use kvorum_core::auth::{AuthEvent, AuthStore, Caller, Need};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::handle::Handle;

/// Hears of tokens that were issued or count no more, in the order of the log. Called on the core thread.
pub type AuthListener = Box<dyn Fn(&AuthEvent) + Send + Sync>;

/// Users and roles as all threads see them.
pub(crate) struct PublishedAuth {
    /// Asked by every request, so it costs no lock.
    on: AtomicBool,
    tables: RwLock<Arc<AuthStore>>,
    number: AtomicU64,
    changed: watch::Sender<u64>,
    listeners: RwLock<Vec<AuthListener>>,
}

impl fmt::Debug for PublishedAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The tables hold hashes of passwords.
        f.debug_struct("PublishedAuth")
            .field("on", &self.on)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl PublishedAuth {
    pub(crate) fn new(tables: Arc<AuthStore>) -> Self {
        Self {
            on: AtomicBool::new(tables.is_enabled()),
            tables: RwLock::new(tables),
            number: AtomicU64::new(0),
            changed: watch::channel(0).0,
            listeners: RwLock::default(),
        }
    }

    /// The tables are these now. Called while the store is held, so that nobody reads what was written under new rights
    /// by the old ones.
    pub(crate) fn publish(&self, tables: Arc<AuthStore>) {
        let on = tables.is_enabled();
        *self.tables.write() = tables;
        self.on.store(on, Ordering::SeqCst);
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        self.changed.send_replace(number);
    }

    pub(crate) fn tell(&self, event: &AuthEvent) {
        self.listeners.read().iter().for_each(|l| l(event));
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    pub(crate) fn tables(&self) -> Arc<AuthStore> {
        self.tables.read().clone()
    }

    /// Grows whenever the tables change.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }
}

/// What let a read begin: the revision of users and roles, none where nobody was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass(Option<u64>);

impl Handle {
    /// True while users and roles count.
    #[must_use]
    pub fn is_auth_enabled(&self) -> bool {
        self.shared.auth.is_on()
    }

    /// Users and roles, as this member has applied them.
    #[must_use]
    pub fn auth(&self) -> Arc<AuthStore> {
        self.shared.auth.tables()
    }

    /// A number that grows with every change of users and roles.
    #[must_use]
    pub fn auth_changed(&self) -> watch::Receiver<u64> {
        self.shared.auth.changed.subscribe()
    }

    /// From now on `listener` hears of tokens that were issued or count no more.
    pub fn on_auth_event(&self, listener: AuthListener) {
        self.shared.auth.listeners.write().push(listener);
    }

    /// Whether a caller may have what no other method here gives.
    ///
    /// # Errors
    /// As `AuthStore::authorise`; and whoever claims to be root is refused by a proof from before the last change.
    pub fn permit(&self, caller: &Caller, needs: &[Need<'_>]) -> Result<(), Error> {
        if caller.is_own() || !self.is_auth_enabled() {
            return Ok(());
        }
        let keyless =
            |need: &Need<'_>| matches!(need, Need::Admin | Need::OwnUser(_) | Need::OwnRole(_));
        if needs.iter().any(keyless) {
            self.check_fresh(caller)?;
        }
        self.auth().authorise(caller, needs)
    }

    /// Refuses a user whose proof is from before a change that this member has applied.
    pub(crate) fn check_fresh(&self, caller: &Caller) -> Result<(), Error> {
        let stale = |user: &Caller| {
            user.user_name().is_some()
                && self.is_auth_enabled()
                && user.auth_revision() < self.auth().revision()
        };
        match stale(caller) {
            true => Err(Error::AuthOldRevision),
            false => Ok(()),
        }
    }

    /// Refuses who is nobody without a word in the log, once it is sure that authentication is on.
    pub(crate) async fn refuse_nobody(&self, caller: &Caller) -> Result<(), Error> {
        if !caller.is_nobody() || !self.is_auth_enabled() {
            return Ok(());
        }
        // It may have been switched off elsewhere, and whoever did so relies on it.
        self.read_barrier().await?;
        match self.is_auth_enabled() {
            true => Err(Error::UserEmpty),
            false => Ok(()),
        }
    }

    /// A read begins: its caller may have it by the tables of now.
    pub(crate) fn enter<'n>(
        &self,
        caller: &Caller,
        needs: impl FnOnce() -> Vec<Need<'n>>,
    ) -> Result<Pass, Error> {
        if caller.is_own() || !self.is_auth_enabled() {
            return Ok(Pass(None));
        }
        let tables = self.auth();
        tables.authorise(caller, &needs())?;
        Ok(Pass(Some(tables.revision())))
    }

    /// A read is done: nothing may have changed since it began, for it may show what was written afterwards.
    /// (etcd: doSerialize)
    pub(crate) fn leave<'n>(
        &self,
        caller: &Caller,
        pass: Pass,
        needs: impl FnOnce() -> Vec<Need<'n>>,
    ) -> Result<(), Error> {
        match pass.0 {
            Some(revision) if revision == self.auth().revision() => Ok(()),
            Some(_) => Err(Error::AuthOldRevision),
            // It was switched on meanwhile.
            None => self.enter(caller, needs).map(drop),
        }
    }
}
