//! A watch on a key or an interval from inside the server.

use bytes::{Buf, Bytes};
use kvorum_core::Error;
use kvorum_member::WatchStream;
use kvorum_proto::{
    etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse},
    mvccpb::Event,
};
use prost::Message;

use crate::client::Client;

/// Changes in order, from a revision on.
pub(crate) struct Follow(WatchStream);

impl Follow {
    /// Follows one key.
    pub(crate) async fn key(
        client: &Client,
        key: Bytes,
        start_revision: i64,
    ) -> Result<Self, Error> {
        Self::interval(client, key, Bytes::new(), start_revision).await
    }

    /// Follows the keys from `key` to before `range_end`.
    pub(crate) async fn interval(
        client: &Client,
        key: Bytes,
        range_end: Bytes,
        start_revision: i64,
    ) -> Result<Self, Error> {
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision,
            ..Default::default()
        };
        Ok(Self(client.watch(create).await?))
    }

    /// The next changes and the header they came with; `None` if history before them was compacted, or
    /// the caller may not see them any more: what is read next tells which.
    pub(crate) async fn next(&mut self) -> Result<Option<(ResponseHeader, Vec<Event>)>, Error> {
        loop {
            let frame = self.0.next().await.ok_or(Error::Stopped)?;
            let response =
                WatchResponse::decode(frame.head.chain(frame.body)).map_err(|error| {
                    tracing::error!(%error, "an own watch response does not decode");
                    Error::Stopped
                })?;
            if response.canceled {
                return Ok(None);
            }
            if !response.events.is_empty() {
                let header = response.header.unwrap_or_default();
                return Ok(Some((header, response.events)));
            }
        }
    }
}
