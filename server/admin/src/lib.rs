//! The console's server side: admin JSON API, live event stream, embedded single-page app.
//!
//! # Who may use it
//! With [`Login::Required`] every route but those of the login itself wants a session: opened by password, by a one-time
//! link, or by a client certificate of an administrator. `rules` is the one table of who may call what, and what is not
//! in it is refused. Changes must come from the console's own page (`guard`), and requests must name a host that this
//! console answers for, so that a page of another site cannot reach it by rebinding its name.
//!
//! With [`Login::Off`] nothing asks who calls: whoever can connect can read every key, so the binary binds such a
//! console to loopback.

mod accounts;
mod authority;
mod browse;
mod error;
mod feed;
mod guard;
pub mod local;
mod login;
mod member_source;
mod peer;
mod public;
mod query;
mod routes;
mod rules;
mod serve;
mod site;
mod source;
mod tls;
mod wire;

pub use login::Login;
pub use peer::{AdminIdentity, Peer};
pub use public::PublicCertificate;
pub use serve::{Bounds, serve, serve_tls};
pub use tls::{Admins, ConsoleTls};

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use kvorum_member::Handle;
use tokio::sync::watch;

use accounts::Accounts;
use authority::{Authority, MemberAuthority};
use feed::Feed;
use login::Gate;
use source::Source;

/// What the binary decides about the console.
#[derive(Clone, Debug, Default)]
pub struct AdminOptions {
    /// Name shown for the cluster.
    pub cluster_name: String,
    /// Host names that requests may carry besides `localhost` and loopback addresses.
    pub host_names: Vec<String>,
    /// Addresses the listener is bound to, beyond loopback; requests may name them.
    pub listen_addresses: Vec<IpAddr>,
    /// Whether callers must sign in.
    pub login: Login,
    /// True if browsers reach the console over TLS, here or at a proxy that names itself in `host_names`.
    pub https: bool,
    /// A certificate of an authority that browsers know, where one is wanted. Its names are host names, too.
    pub public: Option<PublicCertificate>,
    /// Turns true when the process stops: ends the event streams, which would otherwise keep their connections open.
    pub stopping: Option<watch::Receiver<bool>>,
}

/// The console of a running member. Call it inside a tokio runtime: it starts the task that samples once a second and
/// ends when the router is dropped or `stopping` turns true.
pub fn router(handle: Handle, options: AdminOptions) -> Router {
    let accounts = Arc::new(accounts::MemberAccounts(handle.clone()));
    let authority = Arc::new(MemberAuthority(handle.clone()));
    let source = member_source::MemberSource::new(handle, options.cluster_name.clone());
    router_over(Arc::new(source), accounts, authority, options)
}

/// The console over anything that can answer for a store and keep accounts.
fn router_over(
    source: Arc<dyn Source>,
    accounts: Arc<dyn Accounts>,
    authority: Arc<dyn Authority>,
    options: AdminOptions,
) -> Router {
    let feed = Feed::start(Arc::clone(&source), options.stopping.clone());
    let gate = Arc::new(Gate::new(options.login, options.https, accounts));
    let console = Arc::new(routes::Console {
        source,
        feed,
        gate: Arc::clone(&gate),
        authority,
        public: options.public.clone(),
    });
    guard::protect(routes::router(console), gate, options)
}

#[cfg(test)]
mod tests;
