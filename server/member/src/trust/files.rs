//! The files of `pki/`: read at the start, written when something changes, each as a whole.

use std::path::{Path, PathBuf};

use kvorum_pki::files as on_disk;
use kvorum_pki::seal::SealKey;
use kvorum_pki::{Bundle, PkiError, TrustDomain, bundle_pem, parse_bundle_pem};
use rustls_pki_types::CertificateDer;

use super::TrustError;

/// What a founder proposes as the cluster's authority; an encoded `kvorumpb.TrustInit`.
pub(crate) const FOUNDING: &str = "founding";

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Files(PathBuf);

fn refused(error: impl std::fmt::Display) -> TrustError {
    TrustError::Files(error.to_string())
}

/// What helps where a file is lost or damaged.
fn help(name: &str) -> &'static str {
    match name {
        on_disk::NODE_PEM => {
            "`kvorum token create --role rejoin --member ID` on another member and `kvorum rejoin TOKEN` here make \
             another one; a member without others needs its backup"
        }
        on_disk::CONSOLE_PEM | on_disk::ADMIN_PEM => "remove it, and the member makes another one",
        _ => {
            "it is the same on all members of the cluster: copy it from another one (mode 600), or put it back from a \
             backup"
        }
    }
}

impl Files {
    /// A directory that is there and safe.
    pub(crate) fn open(dir: &Path) -> Result<Self, TrustError> {
        on_disk::check_dir(dir).map_err(refused)?;
        Ok(Self(dir.to_path_buf()))
    }

    /// Makes the directory if need be.
    pub(crate) fn create(dir: &Path) -> Result<Self, TrustError> {
        on_disk::create_dir(dir).map_err(refused)?;
        Self::open(dir)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        let read = on_disk::read_secret(&self.0, name).map_err(refused)?;
        Ok(read.map(|bytes| bytes.to_vec()))
    }

    fn must(&self, name: &str) -> Result<Vec<u8>, TrustError> {
        let found = self.read(name)?;
        let help = help(name);
        found.ok_or_else(|| {
            TrustError::Files(format!(
                "{} is missing: {help}",
                self.0.join(name).display()
            ))
        })
    }

    /// What is read must be what it was written as.
    fn damaged(&self, name: &str) -> impl FnOnce(kvorum_pki::PkiError) -> TrustError {
        let (path, help) = (self.0.join(name), help(name));
        move |error| TrustError::Files(format!("{} is damaged ({error}): {help}", path.display()))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrustError> {
        on_disk::write_secret(&self.0, name, bytes).map_err(refused)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), TrustError> {
        on_disk::remove(&self.0, name).map_err(refused)
    }

    pub(crate) fn domain(&self) -> Result<TrustDomain, TrustError> {
        let text = self.must(on_disk::DOMAIN)?;
        let text = String::from_utf8_lossy(&text);
        let domain = text.trim().parse();
        domain.map_err(self.damaged(on_disk::DOMAIN))
    }

    pub(crate) fn seal_key(&self) -> Result<SealKey, TrustError> {
        let path = self.0.join(on_disk::SEAL_KEY);
        let help = help(on_disk::SEAL_KEY);
        SealKey::from_text(&self.must(on_disk::SEAL_KEY)?).map_err(|error| {
            TrustError::Files(format!("{} is damaged ({error}): {help}", path.display()))
        })
    }

    /// The roots that this member accepts.
    pub(crate) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let pem = self.must(on_disk::CA_PEM)?;
        let roots = parse_bundle_pem(&pem).map_err(self.damaged(on_disk::CA_PEM))?;
        match roots.is_empty() {
            true => Err(self.damaged(on_disk::CA_PEM)(PkiError::Pem(
                "there is no certificate in it".to_owned(),
            ))),
            false => Ok(roots),
        }
    }

    pub(crate) fn node(&self) -> Result<Bundle, TrustError> {
        let pem = self.must(on_disk::NODE_PEM)?;
        Bundle::from_pem(&pem).map_err(self.damaged(on_disk::NODE_PEM))
    }

    pub(crate) fn console(&self) -> Result<Option<Bundle>, TrustError> {
        let pem = self.read(on_disk::CONSOLE_PEM)?;
        let read = pem.map(|pem| Bundle::from_pem(&pem));
        read.transpose().map_err(self.damaged(on_disk::CONSOLE_PEM))
    }

    pub(crate) fn admin(&self) -> Result<Option<Bundle>, TrustError> {
        let pem = self.read(on_disk::ADMIN_PEM)?;
        let read = pem.map(|pem| Bundle::from_pem(&pem));
        read.transpose().map_err(self.damaged(on_disk::ADMIN_PEM))
    }

    pub(crate) fn write_roots(&self, roots: &[CertificateDer<'static>]) -> Result<(), TrustError> {
        self.write(on_disk::CA_PEM, bundle_pem(roots).as_bytes())
    }

    pub(crate) fn write_bundle(&self, name: &str, bundle: &Bundle) -> Result<(), TrustError> {
        self.write(name, bundle.to_pem().as_bytes())
    }

    /// What etcdctl reads is what kvorum reads: a crash may have come between the writes.
    pub(crate) fn mend_admin(&self, bundle: &Bundle) -> Result<(), TrustError> {
        let holds = |name: &str, text: &[u8]| Ok(self.read(name)?.as_deref() == Some(text));
        let is_whole = holds(on_disk::ADMIN_CRT, bundle.chain().to_pem().as_bytes())?
            && holds(on_disk::ADMIN_KEY, bundle.key().to_pem().as_bytes())?;
        match is_whole {
            true => Ok(()),
            false => self.write_admin(bundle),
        }
    }

    /// The administrator's certificate, once as kvorum and once as etcdctl reads it.
    pub(crate) fn write_admin(&self, bundle: &Bundle) -> Result<(), TrustError> {
        let (both, chain, key) = (
            bundle.to_pem(),
            bundle.chain().to_pem(),
            bundle.key().to_pem(),
        );
        let files: [(&str, &[u8]); 3] = [
            (on_disk::ADMIN_PEM, both.as_bytes()),
            (on_disk::ADMIN_CRT, chain.as_bytes()),
            (on_disk::ADMIN_KEY, key.as_bytes()),
        ];
        on_disk::write_secrets(&self.0, &files).map_err(refused)
    }
}
