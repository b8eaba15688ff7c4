//! The URLs that a member listens on or tells its clients: scheme, host and port, nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Plain or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
}

impl Scheme {
    /// The word before `://`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An address to bind, and whether it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenUrl {
    /// Plain or TLS.
    pub(crate) scheme: Scheme,
    /// Where; port 0 lets the system choose.
    pub(crate) address: SocketAddr,
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

impl ListenUrl {
    /// True if both cannot be bound at the same time.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        let (a, b) = (self.address, other.address);
        a.port() != 0
            && a.port() == b.port()
            && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    }
}

/// Parts of a URL that has nothing but scheme, host and port.
struct Parts<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
}

/// A URL to listen on: the host is an address or `localhost`.
pub(crate) fn listen(text: &str) -> Result<ListenUrl, String> {
    let parts = parts(text)?;
    let ip = match parts.host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => address(host).ok_or_else(|| {
            format!(
                "{host:?} is a name, and a listener binds an address: write the address of this \
                 machine, 0.0.0.0 for all, or localhost"
            )
        })?,
    };
    Ok(ListenUrl {
        scheme: parts.scheme,
        address: SocketAddr::new(ip, parts.port),
    })
}

/// A URL for others to dial; names are fine, port 0 and "all addresses" are not.
pub(crate) fn advertise(text: &str) -> Result<String, String> {
    let parts = parts(text)?;
    if parts.port == 0 {
        return Err("port 0 cannot be dialled: write the port that others reach".to_owned());
    }
    if address(parts.host).is_some_and(|ip| ip.is_unspecified()) {
        return Err("nobody can dial \"all addresses\": write one of this machine".to_owned());
    }
    Ok(text.to_owned())
}

fn parts(text: &str) -> Result<Parts<'_>, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "the scheme is missing: write http://{text} or https://{text}"
        ));
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(format!("unknown scheme {other:?}: use http or https")),
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        let (authority, tail) = rest.split_at(at);
        let fixed = format!("{}://{authority}", scheme.name());
        return Err(format!("{tail:?} after the port must go: write {fixed}"));
    }
    if rest.contains('@') {
        return Err("a user or password has no place here".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':') {
        // An IPv6 address ends with a bracket; what follows its last colon is no port.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => return Err(format!("the port is missing: write {text}:2379")),
    };
    if host.is_empty() {
        return Err("the host is missing: write 127.0.0.1, 0.0.0.0 or a name".to_owned());
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!(
            "an IPv6 address stands in brackets: [{host}]:{port}"
        ));
    }
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    {
        return Err("the host has a character that no host name has".to_owned());
    }
    let port = port
        .parse()
        .map_err(|_| format!("port {port:?} is not a number from 0 to 65535"))?;
    Ok(Parts { scheme, host, port })
}

fn address(host: &str) -> Option<IpAddr> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}
