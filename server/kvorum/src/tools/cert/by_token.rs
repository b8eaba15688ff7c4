//! A client's certificate for one token: on a machine that shows nobody a certificate yet.

use std::fs;
use std::path::{Path, PathBuf};

use kvorum_member::trust::{self, Enrolment};
use kvorum_pki::{JoinToken, KeyPair, bundle_pem};

use super::place::{self, Place};
use super::{paste, shown};
use crate::tools::join::PATIENCE;
use crate::tools::moment;

/// Gets it; `user` may be empty, else the token must be for this one. Tells what to paste: with these addresses, or where
/// none are given with those that the members tell clients.
pub(in crate::tools) fn get(
    token: &JoinToken,
    out_dir: &Path,
    user: &str,
    endpoints: &[String],
) -> Result<String, String> {
    let pending = Pending::of(out_dir, token)?;
    if !user.is_empty() && !pending.is_begun() {
        free(&Place::of(out_dir, user)?, user, None)?;
    }
    let enrolment = pending.enrolment()?;
    let enrolled = trust::enrol(token, enrolment, user, PATIENCE).map_err(shown)?;
    let user = &enrolled.user;
    let place = Place::of(out_dir, user)?;
    free(&place, user, Some(enrolled.bundle.key()))?;
    place.write(&enrolled.bundle, &bundle_pem(&enrolled.roots))?;
    pending.over()?;
    let validity = enrolled.bundle.chain().validity().map_err(shown)?;
    let until = moment::shown(validity.not_after_unix);
    let addresses = match endpoints.is_empty() {
        true => paste::from_elsewhere(enrolled.client_urls),
        false => endpoints.to_vec(),
    };
    Ok(paste::told(&place, user, &until, &addresses))
}

/// No key of somebody else is replaced.
fn free(place: &Place, user: &str, own: Option<&KeyPair>) -> Result<(), String> {
    if !place.is_taken() {
        return Ok(());
    }
    let is_own = own.is_some_and(|own| {
        let there = place.key();
        there.is_ok_and(|there| *there.to_pem() == *own.to_pem())
    });
    match is_own {
        true => Ok(()),
        false => Err(format!(
            "{} is there already: move it away and repeat this command, or `kvorum cert renew {}` with the \
             certificate of an administrator",
            place.key.display(),
            paste::operand(user)
        )),
    }
}

/// What was asked with, from before anybody hears of it until the answer is written: so that the same command, repeated,
/// asks the same.
struct Pending {
    key: PathBuf,
    csr: PathBuf,
}

impl Pending {
    fn of(dir: &Path, token: &JoinToken) -> Result<Self, String> {
        let told = |error| format!("{}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(told)?;
        let dir = dir.canonicalize().map_err(told)?;
        let name = |ending: &str| dir.join(format!(".join-{}.{ending}", token.id()));
        Ok(Self {
            key: name("key"),
            csr: name("csr"),
        })
    }

    /// An attempt before this one may have been heard.
    fn is_begun(&self) -> bool {
        self.csr.exists()
    }

    fn enrolment(&self) -> Result<Enrolment, String> {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        if self.is_begun() {
            let key = KeyPair::from_pem(&read(&self.key)?);
            let key = key.map_err(|error| format!("{}: {error}", self.key.display()))?;
            let csr_der = read(&self.csr)?;
            return Ok(Enrolment { key, csr_der });
        }
        let new = Enrolment::new().map_err(shown)?;
        place::replace(&self.key, new.key.to_pem().as_bytes(), place::SECRET)?;
        place::replace(&self.csr, &new.csr_der, place::SECRET)?;
        Ok(new)
    }

    /// The key first: without the request nothing is begun.
    fn over(&self) -> Result<(), String> {
        for path in [&self.csr, &self.key] {
            fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}
