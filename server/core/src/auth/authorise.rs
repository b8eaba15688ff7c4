//! The one place that says yes or no.

use super::caller::Caller;
use super::needs::Need;
use super::store::{AuthStore, Rights};
use crate::error::Error;
use crate::lease::Lessor;
use crate::mvcc::interval::Interval;

impl AuthStore {
    /// Whether a caller may have all of this, as far as it concerns no lease: those are refused to all but root here.
    ///
    /// # Errors
    /// `UserEmpty` for nobody, `AuthOldRevision` for one whose proof is older than the tables, `UserNotFound` for an
    /// unknown one where root is needed, else `PermissionDenied`.
    pub fn authorise(&self, caller: &Caller, needs: &[Need<'_>]) -> Result<(), Error> {
        self.authorise_with(caller, needs, None)
    }

    /// As `authorise`; the keys of leases are looked up in `lessor`.
    ///
    /// # Errors
    /// As `authorise`.
    pub fn authorise_with(
        &self,
        caller: &Caller,
        needs: &[Need<'_>],
        lessor: Option<&Lessor>,
    ) -> Result<(), Error> {
        if !self.is_enabled() || caller.is_own() {
            return Ok(());
        }
        let user = caller.user_name().ok_or(Error::UserEmpty)?;
        let judge = Judge {
            store: self,
            user,
            auth_revision: caller.auth_revision(),
            rights: self.rights(user),
        };
        needs.iter().try_for_each(|need| judge.allows(need, lessor))
    }

    /// What is left of the right to an interval that a caller had proved: the revision counts no more, for a watch goes
    /// on while others come and go.
    ///
    /// # Errors
    /// As `authorise`.
    pub fn still_reads(&self, caller: &Caller, interval: Interval<'_>) -> Result<(), Error> {
        let now = match caller.user_name() {
            Some(user) => &Caller::user(user, self.revision()),
            None => caller,
        };
        self.authorise(now, &[Need::Read(interval)])
    }
}

struct Judge<'a> {
    store: &'a AuthStore,
    user: &'a str,
    auth_revision: u64,
    rights: Option<&'a Rights>,
}

impl Judge<'_> {
    fn allows(&self, need: &Need<'_>, lessor: Option<&Lessor>) -> Result<(), Error> {
        match *need {
            Need::Authenticated => Ok(()),
            Need::Admin => self.is_admin(),
            Need::OwnUser(name) if name == self.user => Ok(()),
            Need::OwnUser(_) => self.is_admin(),
            Need::OwnRole(role) if self.has_role(role) => Ok(()),
            Need::OwnRole(_) => self.is_admin(),
            Need::Read(interval) => self.keys(|r| r.read.cover(interval)),
            Need::Write(interval) => self.keys(|r| r.write.cover(interval)),
            // Whoever has the role root may do that whatever happened since it was proved. (etcd: checkLeasePutsKeys)
            Need::LeaseRead(_) | Need::LeaseWrite(_) | Need::LeasesRead
                if self.is_admin().is_ok() =>
            {
                Ok(())
            }
            Need::LeaseRead(id) => {
                let lessor = lessor.ok_or(Error::PermissionDenied)?;
                self.each(lessor.keys(id), |rights, key| rights.read.cover(key))
            }
            Need::LeaseWrite(id) => {
                let lessor = lessor.ok_or(Error::PermissionDenied)?;
                self.each(lessor.keys(id), |rights, key| rights.write.cover(key))
            }
            Need::LeasesRead => {
                let lessor = lessor.ok_or(Error::PermissionDenied)?;
                self.each(lessor.all_keys(), |rights, key| rights.read.cover(key))
            }
        }
    }

    fn is_admin(&self) -> Result<(), Error> {
        match self.rights {
            None => Err(Error::UserNotFound),
            Some(rights) if rights.root => Ok(()),
            Some(_) => Err(Error::PermissionDenied),
        }
    }

    fn has_role(&self, role: &str) -> bool {
        let user = self.store.user(self.user);
        user.is_some_and(|user| user.roles.iter().any(|known| known == role))
    }

    /// What concerns keys is decided by the tables that the caller's proof is good for, or not at all.
    fn keys(&self, covered: impl FnOnce(&Rights) -> bool) -> Result<(), Error> {
        if self.auth_revision < self.store.revision() {
            return Err(Error::AuthOldRevision);
        }
        match self.rights {
            Some(rights) if rights.root || covered(rights) => Ok(()),
            _ => Err(Error::PermissionDenied),
        }
    }

    fn each<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        covered: impl Fn(&Rights, Interval<'k>) -> bool,
    ) -> Result<(), Error> {
        for key in keys {
            self.keys(|rights| covered(rights, Interval::Key(key)))?;
        }
        Ok(())
    }
}
