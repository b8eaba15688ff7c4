//! The console's server side: admin JSON API, live event stream, embedded single-page app.
//!
//! # Who may use it
//! There is no login yet and nothing here asks who calls. What stands between the console and the world is: the binary
//! binds its listener to loopback unless told otherwise, requests must name a host this console answers for (a page of
//! another site cannot reach it by rebinding its name), requests that a browser marks as coming from another site are
//! refused, and every route only reads. Whoever can connect can read every key.

mod browse;
mod error;
mod feed;
mod guard;
mod member_source;
mod query;
mod routes;
mod serve;
mod site;
mod source;
mod wire;

pub use serve::{Bounds, serve};

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use kvorum_member::Handle;
use tokio::sync::watch;

use feed::Feed;
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
    /// Turns true when the process stops: ends the event streams, which would otherwise keep their connections open.
    pub stopping: Option<watch::Receiver<bool>>,
}

/// The console of a running member. Call it inside a tokio runtime: it starts the task that samples once a second and
/// ends when the router is dropped or `stopping` turns true.
pub fn router(handle: Handle, options: AdminOptions) -> Router {
    let source = member_source::MemberSource::new(handle, options.cluster_name.clone());
    router_over(Arc::new(source), options)
}

/// The console over anything that can answer for a store.
fn router_over(source: Arc<dyn Source>, options: AdminOptions) -> Router {
    let feed = Feed::start(Arc::clone(&source), options.stopping.clone());
    let console = Arc::new(routes::Console { source, feed });
    guard::protect(routes::router(console), guard::Hosts::new(&options))
}

#[cfg(test)]
mod tests;
