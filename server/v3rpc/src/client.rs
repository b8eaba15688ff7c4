//! A client of this server inside the server: what locks and elections do for their callers, they do as these.
//!
//! What waits for others does each of its steps in its client's turn, and has no place in between: a client whose calls
//! all wait can still do what they wait for.

use std::sync::Arc;

use kvorum_core::{Error, reply::RangeReply};
use kvorum_member::{Caller, Handle, WatchStream};
use kvorum_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, RangeRequest, ResponseHeader, TxnRequest,
    TxnResponse, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};

use tokio::sync::SemaphorePermit;

use crate::{
    identity::Credentials,
    shares::{Open, Share},
};

/// The member's door in a caller's name. Who that is, and what his token is still worth, is asked with every step.
pub(crate) struct Client {
    handle: Handle,
    credentials: Credentials,
    /// What it counts as. None for a call that has a place of its own from beginning to end.
    open: Option<Open<Arc<Share>>>,
}

impl Client {
    pub(crate) const fn new(handle: Handle, credentials: Credentials) -> Self {
        Self {
            handle,
            credentials,
            open: None,
        }
    }

    /// Each step of it waits for a place from now on.
    pub(crate) fn in_turn(self, open: Open<Arc<Share>>) -> Self {
        Self {
            open: Some(open),
            ..self
        }
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.open {
            Some(open) => Some(open.share().turn().await),
            None => None,
        }
    }

    pub(crate) async fn caller(&self) -> Result<Caller, Error> {
        self.credentials.caller(&self.handle).await
    }

    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        self.handle.header(revision)
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeReply, Error> {
        let _place = self.turn().await;
        self.handle.range(&self.caller().await?, request).await
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let _place = self.turn().await;
        self.handle.txn(&self.caller().await?, request).await
    }

    pub(crate) async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        let _place = self.turn().await;
        self.handle
            .delete_range(&self.caller().await?, request)
            .await
    }

    pub(crate) async fn lease_grant(
        &self,
        request: LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, Error> {
        let _place = self.turn().await;
        self.handle
            .lease_grant(&self.caller().await?, request)
            .await
    }

    pub(crate) async fn lease_keep_alive(
        &self,
        request: LeaseKeepAliveRequest,
    ) -> Result<LeaseKeepAliveResponse, Error> {
        let _place = self.turn().await;
        let caller = self.caller().await?;
        self.handle.lease_keep_alive(&caller, request).await
    }

    /// A stream with one watch on it.
    pub(crate) async fn watch(&self, create: WatchCreateRequest) -> Result<WatchStream, Error> {
        let _place = self.turn().await;
        let caller = self.caller().await?;
        let mut stream = self.handle.watch(usize::MAX);
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        stream.request(&caller, request);
        Ok(stream)
    }
}
