//! A watch on a key or an interval from inside the server.

use bytes::{Buf, Bytes};
use kvorum_core::Error;
use kvorum_member::{Caller, Handle, WatchStream};
use kvorum_proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use prost::Message;

/// Changes in order, from a revision on.
pub(crate) struct Follow(WatchStream);

impl Follow {
    /// Follows one key.
    pub(crate) fn key(handle: &Handle, key: Bytes, start_revision: i64) -> Self {
        Self::interval(handle, key, Bytes::new(), start_revision)
    }

    /// Follows the keys from `key` to before `range_end`.
    pub(crate) fn interval(
        handle: &Handle,
        key: Bytes,
        range_end: Bytes,
        start_revision: i64,
    ) -> Self {
        let mut stream = handle.watch(usize::MAX);
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision,
            ..Default::default()
        };
        stream.request(
            &Caller::nobody(),
            WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            },
        );
        Self(stream)
    }

    /// The next changes and the header they came with; `None` if history before them was compacted.
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
