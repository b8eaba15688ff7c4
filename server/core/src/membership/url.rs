//! The URLs at which members reach each other. (etcd: client/pkg/types/urls.go)

use crate::error::Error;

/// Where a member can be reached by the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerUrl {
    /// The connection is encrypted.
    pub is_https: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl PeerUrl {
    /// Reads `https://host:port`: no path, no user, and the port written out.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(Error::MemberBadUrls)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Error::MemberBadUrls),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(Error::MemberBadUrls)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => {
                let known: Result<std::net::Ipv6Addr, _> = address.parse();
                known.map_err(|_| Error::MemberBadUrls)?;
                address
            }
            None if is_name(host) => host,
            None => return Err(Error::MemberBadUrls),
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0);
        Ok(Self {
            is_https,
            host: host.to_owned(),
            port: port.ok_or(Error::MemberBadUrls)?,
        })
    }

    /// True if it leads back to the machine that dials it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        address.map_or_else(
            |_| name == "localhost" || name.ends_with(".localhost"),
            |address| address.is_loopback(),
        )
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
}

/// Peer URLs as they are kept: each in its plain form, sorted.
///
/// # Errors
/// There are none, or one of them is no URL for peers.
pub fn peer_urls(given: &[String]) -> Result<Vec<String>, Error> {
    let parsed: Result<Vec<PeerUrl>, Error> = given.iter().map(|url| PeerUrl::parse(url)).collect();
    let mut urls: Vec<String> = parsed?.iter().map(PeerUrl::to_string).collect();
    if urls.is_empty() {
        return Err(Error::MemberBadUrls);
    }
    urls.sort_unstable();
    Ok(urls)
}
