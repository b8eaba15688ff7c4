//! One address of this machine for clients and for members, where no URLs are given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::keys;
use super::reader::Reader;
use super::url::{self, ListenUrl, Scheme};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// What `advertise` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    /// As it stands in URLs: an IPv6 address has brackets.
    host: String,
    /// If it is an address: a listener binds it. A name is served on all addresses.
    ip: Option<IpAddr>,
}

impl Advertised {
    /// Reads the key; none if it is not given.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        if !reader.is_given(keys::ADVERTISE) {
            return None;
        }
        reader.read(keys::ADVERTISE, parse)
    }

    /// Where clients are served: there, and on loopback.
    pub(super) fn clients(&self) -> Vec<ListenUrl> {
        let mut all = vec![self.listen(CLIENT_PORT)];
        if self
            .ip
            .is_some_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
        {
            all.push(https(Ipv4Addr::LOCALHOST.into(), CLIENT_PORT));
        }
        all
    }

    /// Where members are served.
    pub(super) fn peers(&self) -> Vec<ListenUrl> {
        vec![self.listen(PEER_PORT)]
    }

    /// What clients are told.
    pub(super) fn client_url(&self) -> String {
        format!("https://{}:{CLIENT_PORT}", self.host)
    }

    /// What members are told.
    pub(super) fn peer_url(&self) -> String {
        format!("https://{}:{PEER_PORT}", self.host)
    }

    fn listen(&self, port: u16) -> ListenUrl {
        https(self.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port)
    }
}

fn https(ip: IpAddr, port: u16) -> ListenUrl {
    ListenUrl {
        scheme: Scheme::Https,
        address: SocketAddr::new(ip, port),
    }
}

fn parse(text: &str) -> Result<Advertised, String> {
    if text.contains("://") || text.contains('/') {
        return Err("must be an address or a name alone, as in 10.0.0.1 or node1.example".into());
    }
    let ip: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
    let host = match ip {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        None if text.contains('%') => {
            return Err(
                "has a zone (%), which means nothing on other machines: give an address without one, or a name".into(),
            );
        }
        None if text.contains(':') => {
            return Err("has a port: leave it out, or give the URLs one by one".into());
        }
        None => text.to_owned(),
    };
    url::advertise(&format!("https://{host}:{CLIENT_PORT}"))?;
    Ok(Advertised { host, ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bound_and_a_name_is_served_everywhere() {
        let shown = |text: &str| {
            let read = parse(text).expect("well formed");
            let clients: Vec<_> = read.clients().iter().map(ToString::to_string).collect();
            let peers: Vec<_> = read.peers().iter().map(ToString::to_string).collect();
            (clients.join(" "), peers.join(" "), read.peer_url())
        };
        let own = "https://10.0.0.1:2379 https://127.0.0.1:2379".to_owned();
        let peer = "https://10.0.0.1:2380".to_owned();
        assert_eq!(shown("10.0.0.1"), (own, peer.clone(), peer));
        let everywhere = |port| format!("https://0.0.0.0:{port}");
        let named = "https://n1.example:2380".to_owned();
        assert_eq!(
            shown("n1.example"),
            (everywhere(2379), everywhere(2380), named)
        );
        assert_eq!(shown("fd00::1").2, "https://[fd00::1]:2380");
        for (bad, part) in [
            ("https://a", "alone"),
            ("a:1", "has a port"),
            ("fe80::1%lo", "has a zone"),
            ("0.0.0.0", "nobody can dial"),
            ("a b", "no host name has"),
        ] {
            let refused = parse(bad).expect_err(bad);
            assert!(refused.contains(part), "{bad:?}: {refused}");
        }
    }
}
