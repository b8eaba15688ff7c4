//! The address at which a member was started last: one that is started without any goes on there.

use std::path::Path;

use kvorum_pki::files;

use super::keys::{self, DATA_DIR_DEFAULT};
use super::reader::Reader;
use super::sources::{Given, Merged, Source};

/// Among the keys of a member, that address.
pub(crate) const REMEMBERED: &str = "advertise";

/// Whoever gives one of them says where the member is.
const URLS: [&str; 4] = [
    keys::LISTEN_CLIENT_URLS,
    keys::ADVERTISE_CLIENT_URLS,
    keys::LISTEN_PEER_URLS,
    keys::INITIAL_ADVERTISE_PEER_URLS,
];

/// What a start says of the address of its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The value of `advertise`.
    pub(crate) host: String,
    /// It was not given, but at an earlier start.
    pub(crate) is_remembered: bool,
}

impl Place {
    /// None unless `advertise` alone says it: with URLs beside it, the address does not tell all.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        if !reader.is_given(keys::ADVERTISE) || URLS.iter().any(|key| reader.is_given(key)) {
            return None;
        }
        Some(Self {
            is_remembered: reader.is_remembered(keys::ADVERTISE),
            host: reader.word(keys::ADVERTISE)?,
        })
    }
}

/// Adds the address, where no source says anything of where the member is.
pub(super) fn add(merged: &mut Merged) {
    let is_given = |key: &&str| merged.contains_key(*key);
    if URLS
        .iter()
        .chain(&[keys::ADVERTISE])
        .any(|key| is_given(&key))
    {
        return;
    }
    let data_dir = merged.get(keys::DATA_DIR);
    let data_dir = data_dir.map_or(DATA_DIR_DEFAULT, |given| given.value.as_str());
    let pki = Path::new(data_dir).join(crate::pki::PKI);
    // What cannot be read is told, with what to do, when the keys of the member are opened.
    let Ok(Some(read)) = files::read_secret(&pki, REMEMBERED) else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&read) else {
        return;
    };
    let given = Given {
        value: text.trim().to_owned(),
        source: Source::Remembered(pki.join(REMEMBERED)),
    };
    merged.insert(keys::ADVERTISE, given);
}
