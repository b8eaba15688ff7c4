//! From what was typed to what is run: sources, merged values, checked settings. No side effects but reading files.

use std::ffi::OsString;

mod access;
mod acme;
mod advertise;
mod auth;
mod cluster;
mod compaction;
mod keys;
mod logging;
mod peers;
mod plain;
mod private;
mod problem;
mod reader;
mod remembered;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod units;
mod url;

pub(crate) use keys::{ADVERTISE, CONFIG, DATA_DIR_DEFAULT, KEYS};
pub(crate) use logging::{LogFormat, Logging};
pub(crate) use problem::Problem;
pub(crate) use remembered::REMEMBERED;
pub(crate) use settings::{ClientAddress, Settings};
pub(crate) use tls::{Named, check_leaf, names_in};
pub(crate) use trust::Lives;
pub(crate) use units::days;
pub(crate) use url::{ListenUrl, Scheme};

/// Reads all sources and checks them; every problem is reported, not only the first.
pub(crate) fn read(
    flags: Vec<(&'static str, String)>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Settings, Vec<Problem>> {
    let mut merged = sources::merge(flags, environment)?;
    remembered::add(&mut merged);
    settings::check(reader::Reader::new(merged))
}
