//! What outlives a restart: the account, the certificate, and when to ask again. For the owner only, whole or not at
//! all.

use std::path::PathBuf;

use instant_acme::AccountCredentials;

use super::AcmeOptions;
use crate::chain::sha256;
use crate::files::{self, FileRefused};
use crate::{Bundle, hex};

/// How much of a digest tells two CAs, or two sets of names, apart.
const DIGEST_BYTES: usize = 8;

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    dir: PathBuf,
    account: String,
    certificate: String,
    next: String,
}

impl Store {
    pub(super) fn new(options: &AcmeOptions) -> Self {
        let short = |text: &str| hex::encode(&sha256(text.as_bytes())[..DIGEST_BYTES]);
        let ca = short(&options.directory_url);
        let order = short(&format!(
            "{}\n{}",
            options.directory_url,
            options.names.join("\n")
        ));
        Self {
            dir: options.cache_dir.clone(),
            account: format!("account-{ca}.json"),
            certificate: format!("certificate-{order}.pem"),
            next: format!("next-{order}"),
        }
    }

    /// Key and chain of the names' certificate. What cannot be read is said, and ordered anew.
    pub(super) fn read_certificate(&self) -> Result<Option<Bundle>, String> {
        let words =
            |reason: String| format!("{}: {reason}", self.dir.join(&self.certificate).display());
        match files::read_secret(&self.dir, &self.certificate).map_err(|error| error.to_string())? {
            None => Ok(None),
            Some(text) => Bundle::from_pem(&text)
                .map(Some)
                .map_err(|error| words(error.to_string())),
        }
    }

    pub(super) async fn write_certificate(&self, bundle: &Bundle) -> Result<(), FileRefused> {
        self.write(&self.certificate, bundle.to_pem().as_bytes().to_vec())
            .await
    }

    /// The account. What is there and cannot be read is never replaced: the account's limits, and orders, hang on it.
    pub(super) fn read_account(&self) -> Result<Option<AccountCredentials>, String> {
        match files::read_secret(&self.dir, &self.account).map_err(|error| error.to_string())? {
            None => Ok(None),
            Some(text) => serde_json::from_slice(&text).map(Some).map_err(|_| {
                let path = self.dir.join(&self.account);
                format!("the ACME account in {0} cannot be read: restore the file, or have a new account made with rm {0}",
                        path.display())
            }),
        }
    }

    pub(super) async fn write_account(&self, account: &AccountCredentials) -> Result<(), String> {
        let text = serde_json::to_vec(account).map_err(|error| error.to_string())?;
        self.write(&self.account, text)
            .await
            .map_err(|error| error.to_string())
    }

    /// When to ask next, and how many attempts have failed.
    pub(super) fn read_next(&self) -> Option<(i64, u32)> {
        let text = files::read_secret(&self.dir, &self.next).ok()??;
        let text = std::str::from_utf8(&text).ok()?;
        let (next, failures) = text.trim().split_once(' ')?;
        Some((next.parse().ok()?, failures.parse().ok()?))
    }

    pub(super) async fn write_next(
        &self,
        next_unix: i64,
        failures: u32,
    ) -> Result<(), FileRefused> {
        self.write(&self.next, format!("{next_unix} {failures}\n").into_bytes())
            .await
    }

    /// Off the reactor: a disk may take its time.
    async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), FileRefused> {
        let (dir, name) = (self.dir.clone(), name.to_owned());
        let bytes = zeroize::Zeroizing::new(bytes);
        let path = dir.join(&name);
        let written = tokio::task::spawn_blocking(move || {
            files::create_dir(&dir)?;
            files::write_secret(&dir, &name, &bytes)
        });
        match written.await {
            Ok(written) => written,
            Err(error) => Err(FileRefused::Io {
                path,
                source: std::io::Error::other(error),
            }),
        }
    }
}
