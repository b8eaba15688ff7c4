//! Whether the settings given can be those of the member in the data directory: else nothing is said of that member.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::config::Settings;
use crate::listeners::Urls;
use crate::pki::{ENDPOINTS, PKI, endpoints};

/// Why they are not its settings, and what to do.
pub(super) fn stray(settings: &Settings) -> Option<String> {
    let dir = &settings.data_dir;
    let is_there = match dir.try_exists() {
        Ok(is_there) => is_there,
        Err(error) => return Some(unseen(dir, &error)),
    };
    if !is_there {
        return Some(format!(
            "{} is not there, so these are not the settings of a member of this machine: give --data-dir, or --config, \
             as the member has it",
            dir.display()
        ));
    }
    if settings
        .listen
        .clients
        .iter()
        .any(|c| c.address.port() == 0)
    {
        // The system chose another port.
        return None;
    }
    let told = dir.join(PKI).join(ENDPOINTS);
    let text = match fs::read_to_string(&told) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Some(unseen(&told, &error));
        }
        // It has not served yet, or has no certificates of its own.
        Err(_) => return None,
    };
    // What a start with these settings writes there.
    let given = endpoints(settings, &Urls::unbound(settings));
    let mut served = text.lines().filter(|url| !url.is_empty());
    let other = served.find(|url| !given.iter().any(|given| given == url))?;
    Some(format!(
        "the member of {} serves clients at {other}, as {} tells, and these settings say {}: give those that it runs with",
        dir.display(),
        told.display(),
        given.join(", ")
    ))
}

/// What this user may not see is not judged.
fn unseen(path: &Path, error: &Error) -> String {
    format!(
        "{} cannot be looked at ({error}): run this as root or as the user of the member",
        path.display()
    )
}
