//! The address of the Keys page: all of its state, so that reload, back and a shared link show the same.

use std::fmt::Write;

use kvorum_api::base64;

use crate::bytes;
use crate::document::Form;

/// Folders end with this.
pub(crate) const DELIMITER: u8 = b'/';
const PATH: &str = "/keys";

/// What the Keys page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeysAddress {
    /// Only keys that begin so.
    pub(crate) prefix: Vec<u8>,
    /// All keys in one list instead of folders.
    pub(crate) flat: bool,
    /// Read at this revision; `None` for the newest.
    pub(crate) revision: Option<i64>,
    /// Where the page starts, as the server gave it.
    pub(crate) cursor: Option<String>,
    /// Lines on the pages before.
    pub(crate) skipped: u64,
    /// The opened key.
    pub(crate) key: Option<Vec<u8>>,
    /// The form its value is shown in; `None` lets the value decide.
    pub(crate) form: Option<Form>,
    /// An old version of the opened key.
    pub(crate) at: Option<i64>,
}

impl KeysAddress {
    /// Reads the query; what does not parse counts as absent.
    pub(crate) fn parse(get: impl Fn(&str) -> Option<String>) -> Self {
        let octets = |name: &str| {
            let coded = get(&format!("{name}64")).and_then(|coded| base64::decode(&coded));
            coded
                .or_else(|| get(name).map(String::into_bytes))
                .filter(|bytes| !bytes.is_empty())
        };
        let revision = |name: &str| get(name)?.parse().ok().filter(|revision| *revision > 0);
        Self {
            prefix: octets("prefix").unwrap_or_default(),
            flat: get("view").as_deref() == Some("flat"),
            revision: revision("rev"),
            cursor: get("cursor").filter(|cursor| !cursor.is_empty()),
            skipped: get("skip")
                .and_then(|skip| skip.parse().ok())
                .unwrap_or_default(),
            key: octets("key"),
            form: get("as").and_then(|name| Form::named(&name)),
            at: revision("at"),
        }
    }

    /// The address, to be put into a link.
    pub(crate) fn href(&self) -> String {
        let mut query = Vec::new();
        octets_into("prefix", &self.prefix, &mut query);
        if self.flat {
            query.push("view=flat".to_owned());
        }
        query.extend(self.revision.map(|revision| format!("rev={revision}")));
        query.extend(
            self.cursor
                .as_deref()
                .map(|cursor| format!("cursor={}", escape(cursor))),
        );
        if self.skipped > 0 {
            query.push(format!("skip={}", self.skipped));
        }
        octets_into("key", self.key.as_deref().unwrap_or_default(), &mut query);
        query.extend(self.form.map(|form| format!("as={}", form.name())));
        query.extend(self.at.map(|at| format!("at={at}")));
        if query.is_empty() {
            PATH.to_owned()
        } else {
            format!("{PATH}?{}", query.join("&"))
        }
    }

    /// Another prefix: first page, no key opened.
    pub(crate) fn under(&self, prefix: &[u8]) -> Self {
        Self {
            prefix: prefix.to_vec(),
            flat: self.flat,
            revision: self.revision,
            ..Self::default()
        }
    }

    /// The same listing with a key opened at its newest version.
    pub(crate) fn open(&self, key: &[u8]) -> Self {
        Self {
            key: Some(key.to_vec()),
            form: None,
            at: None,
            ..self.clone()
        }
    }

    /// The same listing with no key opened.
    pub(crate) fn closed(&self) -> Self {
        Self {
            key: None,
            form: None,
            at: None,
            ..self.clone()
        }
    }

    /// The page after this one, pinned to the revision this one was read at.
    pub(crate) fn next_page(&self, cursor: &str, lines: u64, revision: i64) -> Self {
        Self {
            cursor: Some(cursor.to_owned()),
            skipped: self.skipped + lines,
            revision: Some(revision),
            ..self.clone()
        }
    }

    /// The first page of the same listing.
    pub(crate) fn first_page(&self) -> Self {
        Self {
            cursor: None,
            skipped: 0,
            ..self.clone()
        }
    }

    /// The same at the newest revision; a cursor of an older one would be out of place.
    pub(crate) fn newest(&self) -> Self {
        Self {
            revision: None,
            ..self.first_page()
        }
    }

    /// The revision the opened key is read at.
    pub(crate) fn key_revision(&self) -> Option<i64> {
        self.at.or(self.revision)
    }
}

/// The folders above a prefix: their names and whole prefixes, outermost first.
pub(crate) fn ancestors(prefix: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (place, byte) in prefix.iter().enumerate() {
        let last = place + 1 == prefix.len();
        if *byte == DELIMITER || last {
            found.push((
                bytes::escaped(&prefix[start..=place]),
                prefix[..=place].to_vec(),
            ));
            start = place + 1;
        }
    }
    found
}

/// A query parameter's value.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Text stays legible in the address; other bytes go as base64.
fn octets_into(name: &str, octets: &[u8], query: &mut Vec<String>) {
    if octets.is_empty() {
        return;
    }
    query.push(match bytes::readable(octets) {
        Some(text) => format!("{name}={}", escape(text)),
        None => format!("{name}64={}", base64::encode_url(octets)),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an address back as a browser would.
    fn reparse(href: &str) -> KeysAddress {
        let query = href.split_once('?').map_or("", |(_, query)| query);
        KeysAddress::parse(|name| {
            query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then(|| unescape(value))
            })
        })
    }

    fn unescape(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let hex = [
                    rest.next().expect("two digits"),
                    rest.next().expect("two digits"),
                ];
                let hex = std::str::from_utf8(&hex).expect("ASCII");
                bytes.push(u8::from_str_radix(hex, 16).expect("hexadecimal"));
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).expect("text was escaped")
    }

    #[test]
    fn an_address_reads_back_as_written() {
        let whole = KeysAddress {
            prefix: b"app/a b&c=d/".to_vec(),
            flat: true,
            revision: Some(7),
            cursor: Some("YXBw".into()),
            skipped: 100,
            key: Some(b"app/\xff\x00".to_vec()),
            form: Some(Form::Hex),
            at: Some(5),
        };
        for address in [
            KeysAddress::default(),
            whole.clone(),
            whole.closed(),
            whole.newest(),
        ] {
            assert_eq!(reparse(&address.href()), address, "{}", address.href());
        }
    }

    #[test]
    fn text_stays_legible_in_the_address() {
        let address = KeysAddress {
            prefix: b"app/config/".to_vec(),
            ..KeysAddress::default()
        };
        assert_eq!(address.href(), "/keys?prefix=app/config/");
    }

    #[test]
    fn the_next_page_stays_on_the_revision() {
        let next = KeysAddress::default().next_page("abc", 100, 42);
        assert_eq!((next.revision, next.skipped), (Some(42), 100));
        assert_eq!(next.newest(), KeysAddress::default());
    }

    #[test]
    fn nonsense_in_the_address_counts_as_absent() {
        let parsed = KeysAddress::parse(|name| {
            Some(format!("??{name}")).filter(|_| name != "prefix" && name != "key")
        });
        assert_eq!(
            (parsed.revision, parsed.at, parsed.form, parsed.key),
            (None, None, None, None)
        );
    }

    #[test]
    fn every_folder_above_is_offered() {
        let names = |prefix: &[u8]| -> Vec<String> {
            ancestors(prefix)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(names(b"app/config/w"), ["app/", "config/", "w"]);
        assert_eq!(names(b"/registry/"), ["/", "registry/"]);
        assert!(names(b"").is_empty());
    }
}
