//! Who a certificate is for, and the URI that says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{DnType, ExtendedKeyUsagePurpose as Usage, SanType};
use rustls_pki_types::DnsName;

use crate::{PkiError, TrustDomain};

pub(crate) const SCHEME: &str = "kvorum://";
/// etcd sets no limit; a certificate with a longer one would be a nuisance for every tool.
const USER_BYTES_MAX: usize = 255;
/// More would not fit a handshake comfortably.
const NAMES_MAX: usize = 100;

/// Who a certificate is for. What it may be used for follows from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A member: serves clients, dials and is dialled by other members.
    Node {
        /// Its id, which is what counts.
        member_id: u64,
        /// Its name, for people.
        member_name: String,
        /// The DNS names and addresses under which clients know it.
        names: Vec<String>,
    },
    /// The console's listener, for browsers.
    Console {
        /// The DNS names and addresses under which browsers know it.
        names: Vec<String>,
    },
    /// The listener for machines that join.
    Join,
    /// A client.
    Client {
        /// The user that it acts as.
        user: String,
    },
    /// A client that may administer the cluster.
    Admin {
        /// The user that it acts as.
        user: String,
    },
}

impl Subject {
    pub(crate) fn common_name(&self, domain: &TrustDomain) -> String {
        match self {
            Self::Node {
                member_name,
                member_id,
                ..
            } if member_name.is_empty() => {
                format!("{member_id:x}")
            }
            Self::Node { member_name, .. } => member_name.clone(),
            Self::Console { names } => match names.first() {
                Some(name) => name.clone(),
                None => "kvorum console".to_owned(),
            },
            Self::Join => domain.join_name(),
            Self::Client { user } | Self::Admin { user } => user.clone(),
        }
    }

    pub(crate) fn distinguished_name(&self, domain: &TrustDomain) -> rcgen::DistinguishedName {
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, self.common_name(domain));
        name
    }

    pub(crate) fn alternative_names(&self, domain: &TrustDomain) -> Result<Vec<SanType>, PkiError> {
        match self {
            Self::Node {
                member_id, names, ..
            } => {
                let mut all = vec![uri(&node_uri(domain, *member_id))?];
                all.extend(hosts(names)?);
                Ok(all)
            }
            Self::Console { names } => hosts(names),
            Self::Join => hosts(&[domain.join_name()]),
            Self::Client { user } => Ok(vec![uri(&user_uri(domain, "client", user)?)?]),
            Self::Admin { user } => Ok(vec![uri(&user_uri(domain, "admin", user)?)?]),
        }
    }

    pub(crate) fn usages(&self) -> Vec<Usage> {
        match self {
            Self::Node { .. } => vec![Usage::ServerAuth, Usage::ClientAuth],
            Self::Console { .. } | Self::Join => vec![Usage::ServerAuth],
            Self::Client { .. } | Self::Admin { .. } => vec![Usage::ClientAuth],
        }
    }

    /// Whether others verify it with the chain that it shows, so that it must not outlive the issuing CA.
    pub(crate) fn serves(&self) -> bool {
        self.usages().contains(&Usage::ServerAuth)
    }
}

pub(crate) fn node_uri(domain: &TrustDomain, member_id: u64) -> String {
    format!("{SCHEME}{domain}/node/{member_id:x}")
}

fn user_uri(domain: &TrustDomain, kind: &str, user: &str) -> Result<String, PkiError> {
    check_name(user)?;
    Ok(format!("{SCHEME}{domain}/{kind}/{}", escape(user)))
}

fn uri(text: &str) -> Result<SanType, PkiError> {
    Ok(SanType::URI(text.try_into()?))
}

/// Whether a certificate can carry the name of this user or member.
///
/// # Errors
/// It cannot; the text says why, without the name.
pub fn check_name(name: &str) -> Result<(), PkiError> {
    if name.is_empty() {
        return Err(PkiError::User("it is empty: give one"));
    }
    if name.len() > USER_BYTES_MAX {
        return Err(PkiError::User(
            "it is longer than 255 bytes: give a shorter one",
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(PkiError::User(
            "it has a control character in it: give one without",
        ));
    }
    Ok(())
}

/// Each once, in the order given.
fn hosts(names: &[String]) -> Result<Vec<SanType>, PkiError> {
    if names.len() > NAMES_MAX {
        return Err(PkiError::Name(format!("{} names", names.len())));
    }
    let mut seen = BTreeSet::new();
    let mut hosts = Vec::new();
    for name in names {
        let host = match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => {
                let name = name.to_ascii_lowercase();
                DnsName::try_from(name.as_str()).map_err(|_| PkiError::Name(name.clone()))?;
                SanType::DnsName(name.as_str().try_into()?)
            }
        };
        if seen.insert(format!("{host:?}")) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Back, and only from the one form that [`escape`] gives.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            let pair = std::str::from_utf8(&pair).ok()?;
            bytes.extend(crate::hex::decode(pair)?);
        } else {
            bytes.push(byte);
        }
    }
    let user = String::from_utf8(bytes).ok()?;
    (escape(&user) == text && check_name(&user).is_ok()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_uri_and_a_uri_one_user() {
        for user in [
            "root",
            "a b",
            "Ünïcode",
            "a/b",
            "100%",
            "x@y.z",
            "~._-",
            &"u".repeat(255),
        ] {
            let escaped = escape(user);
            assert!(escaped.is_ascii());
            assert!(!escaped.contains('/'));
            assert_eq!(unescape(&escaped).as_deref(), Some(user));
        }
        for other in [
            "", "a%2fb", "%72oot", "a b", "%", "%4", "%zz", "%FF", "a%00b", "a+b",
        ] {
            assert_eq!(unescape(other), None, "{other}");
        }
    }

    #[test]
    fn users_that_no_certificate_can_carry_are_refused() {
        let domain = TrustDomain::from_bytes([1; 16]);
        for user in [
            String::new(),
            "a\nb".to_owned(),
            "a\0b".to_owned(),
            "u".repeat(256),
        ] {
            let subject = Subject::Client { user };
            subject.alternative_names(&domain).expect_err("refused");
        }
    }

    #[test]
    fn names_are_dns_names_or_addresses_each_once() {
        let names =
            |names: &[&str]| hosts(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let made = names(&[
            "a.example",
            "A.example",
            "::1",
            "0:0::1",
            "10.0.0.1",
            "localhost",
        ]);
        assert_eq!(made.expect("names").len(), 4);
        for wrong in [
            "",
            "a b",
            "http://a",
            "a:1",
            "[::1]",
            "*",
            "a..b",
            "ä.example",
            "10.0.0.1/8",
        ] {
            names(&[wrong]).expect_err(wrong);
        }
    }
}
