//! A range in pieces, all of one revision: for answers too large to stand in memory as a whole.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_core::auth::{Caller, Need, needs};
use kvorum_core::backend::Records;
use kvorum_core::mvcc::{Reading, check};
use kvorum_core::reply::RangeReply;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;
use prost::Message;

use crate::auth::Pass;
use crate::handle::Handle;

/// Pairs of the first piece, so that something arrives early. (etcd 3.7: initialStreamChunkLimit)
const FIRST_PAIRS: i64 = 10;
/// Pairs read at once: their sizes are known only afterwards, and each may be as large as a request.
const PAIRS: i64 = 16;
/// After so many reads other tasks of the thread go first.
const READS_PER_TURN: u32 = 64;

/// A part of the answer to a range.
#[derive(Clone, Debug)]
pub struct RangePiece {
    /// Encoded `mvccpb.KeyValue`s, the keys ascending from piece to piece.
    pub kvs: Vec<Bytes>,
    /// On the last piece: what holds for all of them.
    pub last: Option<RangeEnd>,
}

/// What is known once a range was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeEnd {
    /// Revision of the store when the range was begun.
    pub revision: i64,
    /// More keys are in the interval than `limit` let through.
    pub more: bool,
    /// Keys in the interval, whatever the limit.
    pub count: i64,
}

/// A range being read in pieces.
#[derive(Debug)]
pub struct RangePieces {
    handle: Handle,
    caller: Caller,
    pass: Pass,
    /// The interval that was asked for.
    asked: (Bytes, Bytes),
    /// What remains to be read.
    rest: pb::RangeRequest,
    revision: i64,
    piece_bytes: usize,
    /// Pairs that the limit still lets through.
    left: i64,
    sent: i64,
}

impl Handle {
    /// Begins a range that is answered in pieces of about `piece_bytes`, ascending by key: sort options and revision
    /// filters are for the caller to refuse. Linearizable unless it says `serializable`.
    ///
    /// # Errors
    /// The key is empty, the caller may not read it, or nobody can tell that the answer is current.
    pub async fn range_pieces(
        &self,
        caller: &Caller,
        request: pb::RangeRequest,
        piece_bytes: usize,
    ) -> Result<RangePieces, Error> {
        check::range(&request)?;
        if !request.serializable {
            self.read_barrier().await?;
        }
        let pass = self.enter(caller, || needs::range(&request))?;
        let current = self.shared.store.read().current();
        let pinned = if request.revision <= 0 {
            current
        } else {
            request.revision
        };
        let unlimited = request.limit <= 0;
        Ok(RangePieces {
            handle: self.clone(),
            caller: caller.clone(),
            pass,
            asked: (request.key.clone(), request.range_end.clone()),
            revision: current,
            piece_bytes,
            left: if unlimited { i64::MAX } else { request.limit },
            sent: 0,
            rest: pb::RangeRequest {
                revision: pinned,
                sort_order: 0,
                sort_target: 0,
                ..request
            },
        })
    }
}

impl RangePieces {
    /// The next piece; its `last` is set on the one after which none must be asked for.
    ///
    /// # Errors
    /// The revision is in the future, or was compacted, perhaps after some pieces; or users and roles have changed.
    pub async fn next(&mut self) -> Result<RangePiece, Error> {
        let piece = self.next_piece().await?;
        let (key, range_end) = &self.asked;
        self.handle
            .leave(&self.caller, self.pass, || vec![Need::read(key, range_end)])?;
        Ok(piece)
    }

    async fn next_piece(&mut self) -> Result<RangePiece, Error> {
        if self.rest.count_only {
            let count = self.count().await?;
            return Ok(self.end(Vec::new(), false, count));
        }
        let mut kvs = Vec::new();
        let mut bytes = 0;
        for reads in 1_u32.. {
            let first = self.sent == 0;
            self.rest.limit = if first { FIRST_PAIRS } else { PAIRS }.min(self.left);
            let reply = self.read(false).await?;
            let pairs = i64::try_from(reply.kvs.len()).unwrap_or(i64::MAX);
            self.sent += pairs;
            self.left -= pairs;
            bytes += reply.kvs.iter().map(Bytes::len).sum::<usize>();
            if let Some(pair) = reply.kvs.last() {
                self.rest.key = self.key_after(pair)?;
            }
            kvs.extend(reply.kvs);
            if !reply.more || self.left == 0 {
                let beyond = if reply.more { self.count().await? } else { 0 };
                return Ok(self.end(kvs, reply.more, self.sent + beyond));
            }
            if first || bytes >= self.piece_bytes {
                break;
            }
            if reads % READS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(RangePiece { kvs, last: None })
    }

    const fn end(&self, kvs: Vec<Bytes>, more: bool, count: i64) -> RangePiece {
        let last = RangeEnd {
            revision: self.revision,
            more,
            count,
        };
        RangePiece {
            kvs,
            last: Some(last),
        }
    }

    /// Keys that remain.
    async fn count(&mut self) -> Result<i64, Error> {
        self.rest.count_only = true;
        Ok(self.read(true).await?.count)
    }

    async fn read(&self, counted: bool) -> Result<RangeReply, Error> {
        let begin = Instant::now();
        let read = self.read_pairs(counted).await;
        self.handle
            .shared
            .meters
            .ranged(begin.elapsed(), read.is_ok());
        read
    }

    async fn read_pairs(&self, counted: bool) -> Result<RangeReply, Error> {
        let shared = &self.handle.shared;
        let records: Arc<dyn Records> = shared.state.clone();
        let mut reading = Reading::new(&shared.store.read(), &self.rest)?;
        if !counted {
            reading = reading.uncounted();
        }
        while reading.page(&shared.store.read())? {
            tokio::task::yield_now().await;
        }
        self.handle.finish(reading, &records)
    }

    fn key_after(&self, pair: &Bytes) -> Result<Bytes, Error> {
        let pair = KeyValue::decode(pair.clone()).map_err(|error| {
            self.handle
                .broken(format!("a stored pair does not decode: {error}"))
        })?;
        let mut key = Vec::with_capacity(pair.key.len() + 1);
        key.extend_from_slice(&pair.key);
        key.push(0);
        Ok(key.into())
    }
}
