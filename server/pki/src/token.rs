//! Join tokens: one line that lets one machine in once, and tells it which cluster it is that it joins.
//!
//! `kv1.<id>.<secret>.<pin>.<crc>@host:port,host:port`, base 32, about 90 characters before the addresses, and nothing
//! that a shell would touch. An IPv6 address has no brackets in it: what follows the last colon is the port.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, DnsName};
use zeroize::{Zeroize, Zeroizing};

use crate::chain::{sha256, spki_sha256};
use crate::{PkiError, base32};

const VERSION: &str = "kv1";
const ADDRESSES_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 4096;

/// What a token is called: to list it, to revoke it, to say which one was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 10]);

/// The first 20 bytes of the digest of the root's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPin([u8; 20]);

/// A token. Wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: TokenId,
    secret: [u8; 16],
    pin: RootPin,
    /// As they stand in the text: without brackets.
    addresses: Vec<String>,
}

/// What is wrong with a token as it was typed. It never quotes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenTypo {
    /// It does not look like one.
    #[error(
        "this is not a join token: it should begin with kv1. and end with the addresses after @. Copy the whole line \
             again, or make a new token with `kvorum token create`"
    )]
    Shape,
    /// It looks like one of a newer kind.
    #[error(
        "this join token is of a kind that this version does not know: it should begin with kv1. If it was not \
             mistyped, install the same version of kvorum as the cluster has"
    )]
    Version,
    /// A part has the wrong length or characters.
    #[error(
        "the join token has a typo in its {0}: copy the whole line again, or make a new token with `kvorum token \
             create`"
    )]
    Part(&'static str),
    /// The checksum does not fit.
    #[error(
        "the join token has a typo: its checksum does not fit. Copy the whole line again, addresses included, or \
             make a new token with `kvorum token create`"
    )]
    Checksum,
}

impl TokenId {
    /// From what [`TokenId::as_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        base32::encode(&self.0, &mut text);
        f.write_str(&text)
    }
}

impl FromStr for TokenId {
    type Err = TokenTypo;

    fn from_str(text: &str) -> Result<Self, TokenTypo> {
        base32::decode(text).map(Self).ok_or(TokenTypo::Part("id"))
    }
}

impl RootPin {
    /// The pin of this root. It stays when the root is made again for the same key.
    ///
    /// # Errors
    ///
    /// The certificate cannot be read.
    pub fn of(root: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let mut pin = [0; 20];
        pin.copy_from_slice(&spki_sha256(root)?[..20]);
        Ok(Self(pin))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl JoinToken {
    /// A new one.
    ///
    /// # Errors
    ///
    /// An address is not host:port, or there are none or too many, or the system gives no random numbers.
    pub fn generate(pin: RootPin, addresses: &[String]) -> Result<Self, PkiError> {
        let mut random = Zeroizing::new([0; 26]);
        getrandom::fill(&mut *random).map_err(PkiError::Random)?;
        let (id, secret) = random.split_at(10);
        let mut token = Self {
            id: TokenId([0; 10]),
            secret: [0; 16],
            pin,
            addresses: addresses
                .iter()
                .map(|address| plain(address).ok_or_else(|| PkiError::Address(address.clone())))
                .collect::<Result<_, _>>()?,
        };
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(PkiError::Address(format!("{} addresses", addresses.len())));
        }
        token.id.0.copy_from_slice(id);
        token.secret.copy_from_slice(secret);
        Ok(token)
    }

    /// Reads it. White space around it, and where a terminal broke the line, is passed over.
    ///
    /// # Errors
    ///
    /// Any slip is found; the message says what to do and does not quote the token.
    pub fn parse(text: &str) -> Result<Self, TokenTypo> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenTypo::Shape);
        }
        let mut joined = Zeroizing::new(String::with_capacity(text.len()));
        joined.extend(text.chars().filter(|c| !c.is_ascii_whitespace()));
        let (secrets, addresses) = joined.split_once('@').ok_or(TokenTypo::Shape)?;
        let parts: Vec<&str> = secrets.split('.').collect();
        let [version, id, secret, pin, crc] = parts.as_slice() else {
            return Err(TokenTypo::Shape);
        };
        if *version != VERSION {
            return Err(match version.strip_prefix("kv") {
                Some(number) if number.parse::<u32>().is_ok() => TokenTypo::Version,
                _ => TokenTypo::Shape,
            });
        }
        let crc = base32::decode(crc).ok_or(TokenTypo::Part("checksum"))?;
        let token = Self {
            id: id.parse()?,
            secret: base32::decode(secret).ok_or(TokenTypo::Part("secret"))?,
            pin: RootPin(base32::decode(pin).ok_or(TokenTypo::Part("pin"))?),
            addresses: addresses.split(',').map(str::to_owned).collect(),
        };
        if token.crc() != crc {
            return Err(TokenTypo::Checksum);
        }
        let known = |address: &String| standard(address).is_some();
        if token.addresses.len() > ADDRESSES_MAX || !token.addresses.iter().all(known) {
            return Err(TokenTypo::Part("addresses"));
        }
        Ok(token)
    }

    /// The line to hand over, secret included.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX));
        self.begin(&mut text);
        text.push('.');
        base32::encode(&self.crc(), &mut text);
        self.end(&mut text);
        text
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Which root to expect.
    #[must_use]
    pub fn pin(&self) -> RootPin {
        self.pin
    }

    /// Where to knock, host:port, IPv6 in brackets.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses
            .iter()
            .filter_map(|address| standard(address))
            .collect()
    }

    /// What the cluster keeps of the secret, and the key of the proof.
    #[must_use]
    pub fn secret_digest(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(sha256(&self.secret))
    }

    fn begin(&self, text: &mut String) {
        text.push_str(VERSION);
        for part in [&self.id.0[..], &self.secret, &self.pin.0] {
            text.push('.');
            base32::encode(part, text);
        }
    }

    fn end(&self, text: &mut String) {
        for (position, address) in self.addresses.iter().enumerate() {
            text.push(if position == 0 { '@' } else { ',' });
            text.push_str(address);
        }
    }

    /// Over everything else.
    fn crc(&self) -> [u8; 4] {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX));
        self.begin(&mut text);
        self.end(&mut text);
        crc32c::crc32c(text.as_bytes()).to_be_bytes()
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id.to_string())
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// An address as a token writes it: brackets would be a shell's.
fn plain(address: &str) -> Option<String> {
    let (host, port) = split(address)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(ip) => ip.parse::<Ipv6Addr>().ok()?.to_string(),
        None => host.to_ascii_lowercase(),
    };
    let text = format!("{host}:{port}");
    standard(&text).is_some().then_some(text)
}

/// An address as everybody else writes it; none if a token cannot have it.
fn standard(address: &str) -> Option<String> {
    let (host, port) = split(address)?;
    if let Ok(ip) = host.parse::<Ipv6Addr>() {
        return Some(format!("[{ip}]:{port}"));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let known = host.parse::<std::net::Ipv4Addr>().is_ok() || DnsName::try_from(host).is_ok();
    known.then(|| format!("{host}:{port}"))
}

fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let number = port.parse::<u16>().ok().filter(|number| *number != 0)?;
    // One text for one port.
    (number.to_string() == port).then_some((host, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let addresses = [
            "node-1.example.net:2380",
            "10.1.2.3:2380",
            "[2001:db8::1]:2380",
        ];
        let addresses: Vec<String> = addresses.map(str::to_owned).to_vec();
        JoinToken::generate(RootPin([0x5a; 20]), &addresses).expect("a token")
    }

    #[test]
    fn a_token_survives_its_text() {
        let token = token();
        let text = token.text();
        let again = JoinToken::parse(&text).expect("its own text");
        assert!(again == token);
        assert_eq!(
            again.addresses(),
            [
                "node-1.example.net:2380",
                "10.1.2.3:2380",
                "[2001:db8::1]:2380"
            ]
        );
        assert_eq!(again.secret_digest(), token.secret_digest());
        let (secrets, _) = text.split_once('@').expect("addresses");
        assert_eq!(secrets.len(), 3 + 4 + 16 + 26 + 32 + 7);
        let harmless = |c: char| c.is_ascii_alphanumeric() || "-._:,@".contains(c);
        assert!(text.chars().all(harmless), "a shell would touch it");
    }

    #[test]
    fn white_space_of_a_copied_line_does_not_matter() {
        let token = token();
        let text = token.text();
        let (left, right) = text.split_at(60);
        let broken = format!("  {left}\n{right}\r\n");
        assert!(JoinToken::parse(&broken).expect("the same token") == token);
    }

    #[test]
    fn every_change_of_one_character_is_refused() {
        let text = token().text();
        for position in 0..text.len() {
            for other in (b'!'..=b'~').chain([b' ', b'\n']) {
                let mut changed = text.as_bytes().to_vec();
                if std::mem::replace(&mut changed[position], other) == other {
                    continue;
                }
                let changed = String::from_utf8(changed).expect("ascii");
                assert!(JoinToken::parse(&changed).is_err(), "{position}: {changed}");
            }
        }
    }

    #[test]
    fn characters_lost_doubled_or_swapped_are_refused() {
        let text = token().text();
        for position in 0..text.len() {
            let mut lost = text.to_string();
            let character = lost.remove(position);
            assert!(JoinToken::parse(&lost).is_err(), "{lost}");
            let mut doubled = text.to_string();
            doubled.insert(position, character);
            assert!(JoinToken::parse(&doubled).is_err(), "{doubled}");
            let mut swapped = text.as_bytes().to_vec();
            if position > 0 && swapped[position] != swapped[position - 1] {
                swapped.swap(position, position - 1);
                let swapped = String::from_utf8(swapped).expect("ascii");
                assert!(JoinToken::parse(&swapped).is_err(), "{swapped}");
            }
            assert!(JoinToken::parse(&text[..position]).is_err());
        }
    }

    #[test]
    fn a_typo_is_told_from_something_else_and_never_quoted() {
        let text = token().text();
        let typo = |text: &str| JoinToken::parse(text).expect_err("refused");
        assert_eq!(typo(""), TokenTypo::Shape);
        assert_eq!(typo("K10abc::server:def"), TokenTypo::Shape);
        assert_eq!(typo(&text.replacen("kv1", "kv2", 1)), TokenTypo::Version);
        assert_eq!(
            typo(&text.replacen(":2380", ":2381", 1)),
            TokenTypo::Checksum
        );
        assert_eq!(typo(&text.to_uppercase()), TokenTypo::Shape);
        assert_eq!(typo(&"a".repeat(TEXT_BYTES_MAX + 1)), TokenTypo::Shape);
        let secret = text.split('.').nth(2).expect("a secret").to_owned();
        let broken = text.replacen(&secret, &secret[1..], 1);
        assert_eq!(typo(&broken), TokenTypo::Part("secret"));
        assert!(!typo(&broken).to_string().contains(&secret[1..]));
        assert!(!format!("{:?}", token()).contains("secret"));
    }

    #[test]
    fn only_host_and_port_is_an_address() {
        for address in [
            "",
            "host",
            "host:",
            ":2380",
            "host:0",
            "host:65536",
            "host:02380",
            "a b:1",
            "a,b:1",
            "http://a:1",
            "a@b:1",
            "[::1:1",
            "[::1]",
            "host:+1",
            "fe80::1%eth0:1",
        ] {
            let made = JoinToken::generate(RootPin([0; 20]), &[address.to_owned()]);
            made.expect_err(address);
        }
        let none = JoinToken::generate(RootPin([0; 20]), &[]);
        none.expect_err("no address");
        let many = vec!["a:1".to_owned(); ADDRESSES_MAX + 1];
        JoinToken::generate(RootPin([0; 20]), &many).expect_err("too many");
    }
}
