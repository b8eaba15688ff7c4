//! The console: its listener and what browsers are shown there, and the way in for people who have the machine.

mod public;
mod shown;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use kvorum_admin::{AdminOptions, Bounds, Login};
use kvorum_member::{Handle, Member};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::config::{Scheme, Settings};
use crate::exit::Exit;
use crate::listeners::Urls;
use crate::serve::refuses;
use public::Public;

pub(crate) use shown::Shown;

/// What a browser may take to hang up once it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// The console's listener and the switch that ends it.
pub(crate) struct Console {
    stopping: watch::Sender<bool>,
    served: Option<JoinHandle<()>>,
    /// Whom to ask for the first administrator's link, and where it leads.
    inviting: Option<(Handle, String)>,
}

impl Console {
    /// Begins to serve, where that is wanted. `shown` is what an `https://` console needs.
    pub(crate) fn start(
        socket: Option<TcpListener>,
        member: &Member,
        settings: &Settings,
        urls: &Urls,
        shown: Option<Shown>,
    ) -> Result<Self, Exit> {
        let (stopping, stop) = watch::channel(false);
        let Some(socket) = socket else {
            return Ok(Self {
                stopping,
                served: None,
                inviting: None,
            });
        };
        let socket = tokio::net::TcpListener::from_std(socket)
            .map_err(|error| refuses("the console's socket", &error))?;
        let handle = member
            .handle()
            .map_err(|error| refuses("a thread", &error))?;
        tokio::spawn(handle.run());
        let names = shown.as_ref().map(|shown| shown.names().to_vec());
        let names = names.unwrap_or_default();
        let inviting = invitation(settings, urls, &names).map(|url| (handle.clone(), url));
        if let Some((handle, url)) = inviting.clone() {
            listen_locally(&settings.data_dir, handle, url, stop.clone());
        }
        let public = Public::start(settings, shown.as_ref());
        let options = AdminOptions {
            cluster_name: settings.cluster.token.clone(),
            host_names: names,
            listen_addresses: addresses(settings),
            login: settings.console_login,
            https: shown.is_some(),
            public: public.as_ref().map(Public::status),
            stopping: Some(stop.clone()),
        };
        let router = kvorum_admin::router(handle, options);
        let bounds = Bounds::default();
        let served = match shown {
            Some(shown) => {
                let tls = shown.tls(public);
                tokio::spawn(kvorum_admin::serve_tls(socket, router, bounds, tls, stop))
            }
            None => tokio::spawn(kvorum_admin::serve(socket, router, bounds, stop)),
        };
        Ok(Self {
            stopping,
            served: Some(served),
            inviting,
        })
    }

    /// The first administrator's link, where one is wanted.
    pub(crate) fn invite(&mut self) {
        if let Some((handle, url)) = self.inviting.take() {
            tokio::spawn(async move { kvorum_admin::local::invite(&handle, &url).await });
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        if let Some(served) = self.served {
            // A browser that keeps its connection does not keep the member.
            let _ = tokio::time::timeout(GRACE, served).await;
        }
    }
}

/// Where links lead, if there is a login that they are for.
fn invitation(settings: &Settings, urls: &Urls, names: &[String]) -> Option<String> {
    if settings.console_login == Login::Off {
        return None;
    }
    urls.console.as_ref().map(|url| reachable(url, names))
}

/// A URL that a browser can open: "all addresses" is none of them.
fn reachable(url: &str, names: &[String]) -> String {
    let split = url.split_once("://").and_then(|(scheme, authority)| {
        let address: SocketAddr = authority.parse().ok()?;
        Some((scheme, address))
    });
    let Some((scheme, address)) = split.filter(|(_, address)| address.ip().is_unspecified()) else {
        return url.to_owned();
    };
    let is_of_others = |name: &&String| {
        let ip = name.parse::<std::net::IpAddr>();
        let is_local = ip.is_ok_and(|ip| ip.is_loopback()) || *name == "localhost";
        !is_local && !name.starts_with('*')
    };
    let host = names.iter().find(is_of_others);
    let host = host.map_or("localhost", String::as_str);
    let port = address.port();
    match host.contains(':') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

fn addresses(settings: &Settings) -> Vec<std::net::IpAddr> {
    let bound = settings.listen.console.map(|url| url.address.ip());
    bound
        .filter(|address| !address.is_unspecified())
        .into_iter()
        .collect()
}

/// True if browsers come by TLS.
fn is_secure(settings: &Settings) -> bool {
    settings
        .listen
        .console
        .is_some_and(|url| url.scheme == Scheme::Https)
}

/// Links for people who have the machine. A member without this way in serves all the same.
fn listen_locally(data_dir: &Path, handle: Handle, url: String, stop: watch::Receiver<bool>) {
    match kvorum_admin::local::listen(data_dir) {
        Ok(listener) => {
            tokio::spawn(kvorum_admin::local::serve(listener, handle, url, stop));
        }
        Err(error) => warn!(
            %error,
            data_dir = %data_dir.display(),
            "no socket for `kvorum admin`: links for the console's accounts cannot be made here"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_a_name_that_browsers_reach() {
        let names = ["127.0.0.1", "localhost", "*.wild.example", "node1.example"];
        let names = names.map(str::to_owned);
        for (url, names, expected) in [
            ("https://10.0.0.1:2382", &names[..], "https://10.0.0.1:2382"),
            (
                "https://0.0.0.0:2382",
                &names[..],
                "https://node1.example:2382",
            ),
            ("https://[::]:2382", &names[..2], "https://localhost:2382"),
            (
                "https://[::]:1",
                &["fd00::1".to_owned()],
                "https://[fd00::1]:1",
            ),
        ] {
            assert_eq!(reachable(url, names), expected);
        }
    }
}
