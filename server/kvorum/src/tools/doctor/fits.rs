//! Whether the settings given can be those of the member in the data directory: else nothing is said of that member.

use std::fs;

use crate::config::Settings;
use crate::listeners::Urls;
use crate::pki::{ENDPOINTS, PKI};

/// Why they are not its settings, and what to do.
pub(super) fn stray(settings: &Settings) -> Option<String> {
    let dir = &settings.data_dir;
    if !dir.exists() {
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
    let text = fs::read_to_string(&told).ok()?;
    let given = Urls::unbound(settings).clients;
    let mut served = text.lines().filter(|url| !url.is_empty());
    let other = served.find(|url| !given.iter().any(|given| given == url))?;
    Some(format!(
        "the member of {} serves clients at {other}, as {} tells, and these settings say {}: give those that it runs with",
        dir.display(),
        told.display(),
        given.join(", ")
    ))
}
