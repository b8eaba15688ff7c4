//! Reaching a member at one of its addresses, within a time.

use std::net::IpAddr;
use std::time::Duration;

use kvorum_proto::kvorumpb::{Hello, PeerRefusal, Welcome};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::hello::explain;
use super::hub::Hub;
use super::own_tls::Shown;
use super::tls::dial_words;
use super::wire::{AnyStream, Broken, Wire};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A peer URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerUrl {
    pub(crate) tls: bool,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    text: String,
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl PeerUrl {
    /// Scheme, host and port, and nothing else but a slash.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is no peer URL: {what}");
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("the scheme is missing"))?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("the scheme must be http or https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| wrong("the port is missing"))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| wrong("the port must be a number from 1 to 65535"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let valid = bare.parse::<IpAddr>().is_ok()
            || (!bare.is_empty()
                && bare
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)));
        if !valid {
            return Err(wrong("the host is neither a name nor an address"));
        }
        Ok(Self {
            tls,
            host: bare.to_owned(),
            port,
            text: text.to_owned(),
        })
    }
}

/// Why nobody could be reached there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReached {
    /// Somebody answered, and refused.
    #[error("{}", explain(.refusal, .hello))]
    Refused {
        refusal: PeerRefusal,
        hello: Box<Hello>,
    },
    #[error("{0}")]
    Failed(String),
}

/// Connects, secures, and introduces us.
pub(crate) async fn dial(
    hub: &Hub,
    url: &PeerUrl,
    hello: &Hello,
) -> Result<(Wire, Welcome), NotReached> {
    let patience = hub.timing.handshake;
    let reached = timeout(patience, reach(hub, url, hello)).await;
    reached.unwrap_or_else(|_| {
        let ms = patience.as_millis();
        Err(NotReached::Failed(format!("no answer within {ms} ms")))
    })
}

async fn reach(hub: &Hub, url: &PeerUrl, hello: &Hello) -> Result<(Wire, Welcome), NotReached> {
    let (stream, shown) = secure(hub, url).await.map_err(NotReached::Failed)?;
    let mut wire = Wire::new(stream, shown);
    match wire.greet(hello, hub.timing.handshake).await {
        Ok(welcome) => {
            let shown = wire.shown.as_ref().map(|shown| shown.member.0);
            if shown.is_some_and(|id| welcome.member_id != 0 && id != welcome.member_id) {
                let text = "its certificate is another member's";
                return Err(NotReached::Failed(text.into()));
            }
            let wrong = hello.to != 0
                && (welcome.member_id, welcome.cluster_id) != (hello.to, hello.cluster_id);
            if wrong {
                let text = "somebody else answers than was asked for";
                return Err(NotReached::Failed(text.into()));
            }
            Ok((wire, welcome))
        }
        Err(Broken::Refused(refusal)) => Err(NotReached::Refused {
            refusal,
            hello: Box::new(hello.clone()),
        }),
        Err(Broken::Closed) => Err(NotReached::Failed(
            "it hung up at once; its log says why, unless it is no kvorum or expects TLS".into(),
        )),
        // With TLS 1.3 this side hears only now what the other thinks of its certificate.
        Err(Broken::Io(error)) => Err(NotReached::Failed(dial_words(&error))),
        Err(broken) => Err(NotReached::Failed(broken.to_string())),
    }
}

async fn secure(hub: &Hub, url: &PeerUrl) -> Result<(AnyStream, Option<Shown>), String> {
    let refused = "plain HTTP to peers is not allowed: use https:// peer URLs, or set \
                   peer-allow-plain on every member";
    if !url.tls && !hub.allow_plain {
        return Err(refused.into());
    }
    let socket = connect(hub, url).await?;
    if !url.tls {
        return Ok((Box::new(socket), None));
    }
    let tls = hub
        .tls
        .as_ref()
        .ok_or("an https:// peer, and this member has no peer-cert-file")?;
    tls.connect(&url.host, socket).await
}

async fn connect(hub: &Hub, url: &PeerUrl) -> Result<TcpStream, String> {
    let found = lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(|error| format!("{:?} has no address: {error}", url.host))?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    // One that swallows everything must not keep us from the next.
    let share = hub.timing.handshake / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut failure = format!("{:?} has no address", url.host);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                tune(&socket, hub.timing.patience);
                return Ok(socket);
            }
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = format!("no answer within {} ms", share.as_millis()),
        }
    }
    Err(failure)
}

/// Small writes leave at once, and a peer that acknowledges nothing is noticed by the kernel, too. Neither is vital.
pub(crate) fn tune(socket: &TcpStream, patience: Duration) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a peer connection stays with delayed writes");
    }
    let ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, ms) {
        tracing::debug!(%error, "a peer connection has no TCP_USER_TIMEOUT");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let good = |text| PeerUrl::parse(text).expect("valid");
        let url = good("https://node-1.example:2380");
        assert_eq!(
            (url.tls, url.host.as_str(), url.port),
            (true, "node-1.example", 2380)
        );
        let url = good("http://[::1]:2380/");
        assert_eq!((url.tls, url.host.as_str()), (false, "::1"));
        for (text, part) in [
            ("node:2380", "the scheme is missing"),
            ("ftp://a:1", "must be http or https"),
            ("http://a", "the port is missing"),
            ("http://a:0", "a number from 1"),
            ("http://a:70000", "a number from 1"),
            ("http://:1", "neither a name"),
            ("http://a b:1", "neither a name"),
            ("http://me@a:1", "neither a name"),
            ("http://a/x:1", "neither a name"),
        ] {
            let error = PeerUrl::parse(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
