//! What the connections of one I/O thread share.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use http::HeaderMap;
use kvorum_core::Error;
use kvorum_member::Handle;

use crate::{
    accept::Stop,
    errands::Errands,
    error::Status,
    gateway::Gateway,
    guests::Guests,
    http::HttpEndpoints,
    incoming::Receiving,
    metadata::Metadata,
    metrics::{ByteMetrics, ClientVersions, EdgeMetrics},
    options::Options,
    route::Routes,
    shares::Crowd,
    turned_away::TurnedAway,
};

/// One per I/O thread; nothing in it is touched by another.
pub(crate) struct IoContext {
    pub(crate) handle: Handle,
    pub(crate) options: Arc<Options>,
    pub(crate) receiving: Receiving,
    pub(crate) routes: Routes,
    pub(crate) bytes: ByteMetrics,
    pub(crate) endpoints: HttpEndpoints,
    pub(crate) errands: Errands,
    /// For what must end when the listener stops.
    pub(crate) stop: Stop,
    pub(crate) metrics: Arc<EdgeMetrics>,
    pub(crate) gateway: Gateway,
    pub(crate) guests: Rc<Guests>,
    pub(crate) crowd: Arc<Crowd>,
    versions: ClientVersions,
    /// When it began to listen.
    pub(crate) begun: Instant,
    /// Whom it did not let in.
    pub(crate) turned_away: TurnedAway,
    /// A cluster version, once decided, stays decided.
    capable: Cell<bool>,
}

impl IoContext {
    pub(crate) fn new(
        handle: Handle,
        options: Arc<Options>,
        metrics: &Arc<EdgeMetrics>,
        gateway: Gateway,
        crowd: Arc<Crowd>,
        stop: Stop,
    ) -> Self {
        let endpoints = HttpEndpoints::new(handle.clone(), Arc::clone(metrics));
        let guests = Rc::new(Guests::new(&handle, options.trust.clone()));
        let receiving = Receiving {
            message_bytes_max: options.message_bytes_max(),
            body_timeout: options.body_timeout,
            budget: Arc::clone(handle.receive_budget()),
        };
        Self {
            handle,
            receiving,
            options,
            routes: Routes::new(metrics),
            bytes: ByteMetrics::new(metrics),
            endpoints,
            errands: Errands::default(),
            stop,
            metrics: Arc::clone(metrics),
            gateway,
            guests,
            crowd,
            versions: ClientVersions::new(metrics),
            begun: Instant::now(),
            turned_away: TurnedAway::default(),
            capable: Cell::new(false),
        }
    }

    /// What etcd checks before any call, in its order; a caller that passes is counted by its version.
    pub(crate) fn admit<'a>(
        &self,
        headers: &'a HeaderMap,
        stream: bool,
    ) -> Result<Metadata<'a>, Status> {
        if !self.capable.get() {
            if !self.handle.is_capable() {
                return Err(Error::NotCapable.into());
            }
            self.capable.set(true);
        }
        let metadata = Metadata::read(headers)?;
        self.versions.count(metadata.client_api_version, stream);
        if metadata.require_leader && !self.has_leader() {
            return Err(Error::NoLeader.into());
        }
        Ok(metadata)
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.handle.leader() != 0
    }
}
