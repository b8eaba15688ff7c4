//! A certificate for the console from an authority that browsers know.

use std::path::Path;

use kvorum_pki::acme::{AcmeOptions, AcmeRefused, ChallengeKind, Pace};

use super::keys;
use super::reader::{Reader, split};
use super::url::{ListenUrl, Scheme};

/// Where account and certificate are kept, in the data directory.
const DIR: &str = "acme";

/// Reads the four keys.
pub(super) fn read(
    reader: &mut Reader,
    data_dir: Option<&Path>,
    console: Option<ListenUrl>,
) -> Option<Option<AcmeOptions>> {
    if !reader.is_given(keys::CONSOLE_ACME_NAMES) {
        for key in [
            keys::CONSOLE_ACME_DIRECTORY,
            keys::CONSOLE_ACME_EMAIL,
            keys::CONSOLE_ACME_CA_FILE,
        ] {
            if reader.is_given(key) {
                reader.refuse(key, "is of use only with console-acme-names");
            }
        }
        return Some(None);
    }
    let names = reader.read(keys::CONSOLE_ACME_NAMES, |text| {
        Ok(split(text).map(str::to_owned).collect())
    });
    let directory_url = reader.word(keys::CONSOLE_ACME_DIRECTORY);
    let contacts = match reader.is_given(keys::CONSOLE_ACME_EMAIL) {
        true => reader.read(keys::CONSOLE_ACME_EMAIL, |text| {
            split(text).map(contact).collect()
        }),
        false => Some(Vec::new()),
    };
    let directory_ca_pem = ca(reader);
    if console.is_none_or(|url| url.scheme != Scheme::Https) {
        reader.refuse(
            keys::CONSOLE_ACME_NAMES,
            "a certificate is for TLS: give the console an https:// URL with --listen-console-url. The authority \
             connects to port 443 of these names, so serve the console there or forward that port to it",
        );
        return None;
    }
    let options = AcmeOptions {
        directory_url: directory_url?,
        names: names?,
        contacts: contacts?,
        cache_dir: data_dir?.join(DIR),
        directory_ca_pem: directory_ca_pem?,
        challenge: ChallengeKind::TlsAlpn,
        pace: Pace::default(),
    };
    if let Err(refused) = options.check() {
        let key = match refused {
            AcmeRefused::Directory(_) => keys::CONSOLE_ACME_DIRECTORY,
            AcmeRefused::Contact(_) => keys::CONSOLE_ACME_EMAIL,
            AcmeRefused::Count(_) | AcmeRefused::Name(_) => keys::CONSOLE_ACME_NAMES,
        };
        reader.refuse(key, &refused.to_string());
        return None;
    }
    Some(Some(options))
}

fn contact(text: &str) -> Result<String, String> {
    let (local, host) = text.split_once('@').unwrap_or_default();
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    match !local.is_empty() && host.contains('.') && is_printable {
        true => Ok(format!("mailto:{text}")),
        false => Err(format!("{text:?} is no address of e-mail")),
    }
}

/// The authorities of the directory's own HTTPS; the system's if no file is named.
fn ca(reader: &mut Reader) -> Option<Option<Vec<u8>>> {
    let key = keys::CONSOLE_ACME_CA_FILE;
    if !reader.is_given(key) {
        return Some(None);
    }
    let path = reader.path(key)?;
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let read = read.and_then(|pem| match kvorum_pki::parse_bundle_pem(&pem) {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM form".to_owned()),
        Ok(_) => Ok(pem),
        Err(error) => Err(error.to_string()),
    });
    match read {
        Ok(pem) => Some(Some(pem)),
        Err(reason) => {
            reader.refuse(key, &reason);
            None
        }
    }
}
