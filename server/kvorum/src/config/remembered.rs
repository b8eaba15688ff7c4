//! The address at which a member was started last: one that is started without any goes on there.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::keys::{self, DATA_DIR_DEFAULT};
use super::reader::Reader;
use super::sources::{Given, Merged, Source};

/// Among the keys of a member, that address.
pub(crate) const REMEMBERED: &str = "advertise";

/// Longer than any name or address.
const BYTES_MAX: u64 = 1024;

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
    let mut keys_of_place = URLS.iter().chain(&[keys::ADVERTISE]);
    if keys_of_place.any(|key| merged.contains_key(key)) {
        return;
    }
    let data_dir = merged.get(keys::DATA_DIR);
    let data_dir = data_dir.map_or(DATA_DIR_DEFAULT, |given| given.value.as_str());
    let pki = Path::new(data_dir).join(crate::pki::PKI);
    // What cannot be read is told, with what to do, when the keys of the member are opened.
    let Some(text) = read(&pki.join(REMEMBERED)) else {
        return;
    };
    let given = Given {
        value: text.trim().to_owned(),
        source: Source::Remembered(pki.join(REMEMBERED)),
    };
    merged.insert(keys::ADVERTISE, given);
}

/// The text of the file. It is no secret, so that it may be another user's: root asks `kvorum doctor` about the member of
/// a service.
fn read(path: &Path) -> Option<String> {
    // Neither a link nor a pipe must keep or lead root elsewhere.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use kvorum_pki::files;

    use super::*;
    use crate::config;

    #[test]
    fn an_address_is_remembered_until_another_is_given() {
        let dir = std::env::temp_dir().join(format!("kvorum-remembered-{}", std::process::id()));
        let pki = dir.join(crate::pki::PKI);
        std::fs::create_dir_all(&dir).expect("writes");
        files::create_dir(&pki).expect("writes");
        files::write_secret(&pki, REMEMBERED, b"10.9.0.3").expect("writes");
        let read = |more: &[(&'static str, &str)]| {
            let data_dir = (keys::DATA_DIR, dir.display().to_string());
            let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
            let flags = [data_dir].into_iter().chain(more).collect();
            let settings = config::read(flags, std::iter::empty()).expect("is good");
            let peers = settings.listen.peers.first().map(ToString::to_string);
            let place = settings.place;
            (peers, place.map(|place| (place.host, place.is_remembered)))
        };
        let at = |host: &str, is_remembered| {
            let peers = format!("https://{host}:2380");
            (Some(peers), Some((host.to_owned(), is_remembered)))
        };
        assert_eq!(read(&[]), at("10.9.0.3", true));
        // Only root may give files away; it still reads them then.
        if std::os::unix::fs::chown(pki.join(REMEMBERED), Some(65_534), None).is_ok() {
            assert_eq!(read(&[]), at("10.9.0.3", true));
        }
        assert_eq!(
            read(&[(keys::ADVERTISE, "10.9.0.4")]),
            at("10.9.0.4", false)
        );
        let clients = (keys::LISTEN_CLIENT_URLS, "https://127.0.0.1:2379");
        assert_eq!(read(&[clients]), (None, None));
        files::remove(&pki, REMEMBERED).expect("is ours");
        assert_eq!(read(&[]), (None, None));
        let _ = std::fs::remove_dir_all(&dir);
    }
}
