//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An administrator, as a verified client certificate names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminIdentity {
    /// Name of the account that the certificate stands for.
    pub user: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
}

/// The other end of a connection; every request carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: IpAddr,
    /// The address of this machine that it came to.
    pub reached: Option<IpAddr>,
    /// Whom its certificate stands for, if it has shown one.
    pub admin: Option<AdminIdentity>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            reached: None,
            admin: None,
        }
    }
}

impl Peer {
    /// Whose tries are counted together: an IPv4 address, or a /64, of which one host has as many addresses as it likes.
    pub(crate) fn source(&self) -> String {
        match self.address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) if address.is_loopback() => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_many_addresses_is_one_source() {
        let source = |address: &str| {
            let address = address.parse().expect("an address");
            Peer {
                address,
                ..Peer::default()
            }
            .source()
        };
        assert_eq!(source("192.0.2.7"), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(source("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(source("::1"), "::1");
    }
}
