//! Reads of any size: small ones at once, large ones page by page under the budget.
//!
//! A large reply is encoded as it is read, into pieces of moderate size that are freed one by one as they are sent:
//! what it takes of the memory is its own size and a page. Only what must be sorted is collected first.

use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::Error;
use kvorum_core::auth::{Caller, needs};
use kvorum_core::backend::Records;
use kvorum_core::mvcc::range::{Row, fetch, is_plain, is_wanted, shape, strip_value};
use kvorum_core::mvcc::{ReadError, ReadTxn, Reading, check, txn};
use kvorum_core::reply::RangeReply;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb::KeyValue;
use pb::response_op::Response;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::budget::{Hold, REPLY_FREE_BYTES};
use crate::handle::Handle;

/// Size of the pieces of a large reply; a larger pair is a piece of its own.
const PIECE_BYTES: usize = 64 * 1024;
/// Rows fetched together at first: each may be as large as a request may be.
const BATCH_ROWS: usize = 16;
/// A batch doubles while it fetches less than this.
const BATCH_BYTES: usize = 256 * 1024;
/// What a row costs beside its pair while rows are collected to be sorted.
const ROW_BYTES: usize = 192;
/// Field number of the pairs in a `RangeResponse`.
const KVS: u32 = 2;
/// A read that asks for the newest state begins again if a compaction overtakes it; so often.
const RESTARTS_MAX: usize = 100;

/// An answer to a range.
#[derive(Debug)]
pub enum RangeAnswer {
    /// Of a moderate size.
    Small(RangeReply),
    /// Of any size.
    Large(EncodedRange),
}

/// An answer to a range, its pairs already encoded as fields of a `RangeResponse`.
#[derive(Debug)]
pub struct EncodedRange {
    /// Revision of the store when the range was read.
    pub revision: i64,
    /// More keys are in the interval than the limit let through.
    pub more: bool,
    /// Keys in the interval.
    pub count: i64,
    /// The encoded pairs, in pieces that end anywhere.
    pub pieces: Vec<Bytes>,
    /// The memory they take.
    pub hold: Hold,
}

impl Handle {
    /// A range of any size, linearizable unless it says `serializable`.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.3, the caller may not read it, nobody can tell that the answer is current, or there
    /// is no memory for it.
    pub async fn range_answer(
        &self,
        caller: &Caller,
        request: pb::RangeRequest,
    ) -> Result<RangeAnswer, Error> {
        check::range(&request)?;
        if !request.serializable {
            self.read_barrier().await?;
        }
        let pass = self.enter(caller, || needs::range(&request))?;
        let begin = Instant::now();
        let mut answer = self.range_once(&request).await;
        for _ in 0..RESTARTS_MAX {
            if request.revision > 0 || !matches!(answer, Err(Error::Compacted)) {
                break;
            }
            answer = self.range_once(&request).await;
        }
        let took = begin.elapsed();
        self.shared.meters.ranged(took, answer.is_ok());
        self.shared.meters.apply.look_at(took);
        self.leave(caller, pass, || needs::range(&request))?;
        answer
    }

    async fn range_once(&self, request: &pb::RangeRequest) -> Result<RangeAnswer, Error> {
        let (reading, more) = {
            let store = self.shared.store.read();
            let mut reading = Reading::new(&store, request)?;
            let more = reading.page(&store)?;
            (reading, more)
        };
        if !more && is_small(reading.rows()) {
            let records: Arc<dyn Records> = self.shared.state.clone();
            return Ok(RangeAnswer::Small(self.finish(reading, &records)?));
        }
        // Boxed, like the transaction below: most reads end above, and their calls should be small.
        Box::pin(self.range_large(request, reading, more)).await
    }

    async fn range_large(
        &self,
        request: &pb::RangeRequest,
        mut reading: Reading<'_>,
        mut more: bool,
    ) -> Result<RangeAnswer, Error> {
        let mut sink = Sink::new(request, self.shared.budget.hold());
        loop {
            let rows = reading.take_rows();
            self.fetch_rows(rows, reading.at(), &mut sink).await?;
            if !more {
                return Ok(RangeAnswer::Large(sink.finish(&reading)));
            }
            tokio::task::yield_now().await;
            more = reading.page(&self.shared.store.read())?;
        }
    }

    /// Hands the pairs of `rows` over, a few at a time, each lot once there is room for it. Who waits holds nothing
    /// that can be looked up again.
    async fn fetch_rows(
        &self,
        mut rows: Vec<Row>,
        at: i64,
        taker: &mut impl Taker,
    ) -> Result<(), Error> {
        let (mut done, mut batch) = (0, BATCH_ROWS);
        while let Some(rest) = rows.get_mut(done..)
            && !rest.is_empty()
        {
            let end = batch.min(rest.len());
            let mut kvs = self.fetch_now(rest.get(..end).unwrap_or_default(), at)?;
            let cost = taker.cost(&kvs);
            if !taker.hold().grow_now(cost) {
                drop(kvs);
                rest.iter_mut().for_each(Row::release);
                taker.hold().grow(cost).await?;
                let store = self.shared.store.read();
                rest.iter_mut().for_each(|row| row.look_up(&store));
                drop(store);
                kvs = self.fetch_now(rest.get(..end).unwrap_or_default(), at)?;
            }
            let bytes: usize = kvs.iter().map(Bytes::len).sum();
            taker.take(kvs);
            done += end;
            batch = match bytes {
                more if more > BATCH_BYTES => (batch / 2).max(1),
                less if less < BATCH_BYTES / 2 => batch * 2,
                _ => batch,
            };
        }
        Ok(())
    }

    fn fetch_now(&self, rows: &[Row], at: i64) -> Result<Vec<Bytes>, Error> {
        let records: Arc<dyn Records> = self.shared.state.clone();
        self.unless_lost(at, fetch(rows, &records))
    }

    /// A record can go while it is being read only by a compaction above the revision that is read, or with the whole
    /// state when a snapshot takes its place; otherwise the state store has lost it.
    pub(crate) fn unless_lost<T>(&self, at: i64, result: Result<T, ReadError>) -> Result<T, Error> {
        match result {
            Err(ReadError::Refused(Error::Compacted))
                if self.shared.store.read().compacted() <= at =>
            {
                if self.shared.was_replaced_lately() {
                    return Err(Error::LeaderChanged);
                }
                Err(self.broken(format!(
                    "a record readable at revision {at} is missing; restore this member"
                )))
            }
            result => self.read_result(result),
        }
    }

    /// A transaction that only reads, of any size, at one revision.
    pub(crate) async fn read_txn(
        &self,
        caller: &Caller,
        request: &pb::TxnRequest,
    ) -> Result<(pb::TxnResponse, Hold), Error> {
        if !txn::is_serializable(request) {
            self.read_barrier().await?;
        }
        let pass = self.enter(caller, || needs::txn(request))?;
        let begin = Instant::now();
        let mut restarts = 0;
        loop {
            // What was asked for by its revision is refused at the start of the next try.
            match Box::pin(self.read_txn_once(request)).await {
                Err(Error::Compacted) if restarts < RESTARTS_MAX => restarts += 1,
                answer => {
                    self.shared.meters.apply.look_at(begin.elapsed());
                    self.leave(caller, pass, || needs::txn(request))?;
                    return answer;
                }
            }
        }
    }

    async fn read_txn_once(
        &self,
        request: &pb::TxnRequest,
    ) -> Result<(pb::TxnResponse, Hold), Error> {
        let steps = self.read_result(ReadTxn::new(&self.shared.store.read(), request))?;
        let mut hold = self.shared.budget.hold();
        let mut responses = Vec::new();
        for (range, mut reading) in steps.readings() {
            let mut sink = Decoded {
                request: range,
                rows: Vec::new(),
                hold,
            };
            loop {
                let more = reading.page(&self.shared.store.read())?;
                let rows = reading.take_rows();
                self.fetch_rows(rows, steps.at, &mut sink).await?;
                if !more {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let response;
            (response, hold) = sink.finish(&reading);
            let response = Some(Response::ResponseRange(response));
            responses.push(pb::ResponseOp { response });
        }
        let header = pb::ResponseHeader {
            revision: steps.at,
            ..Default::default()
        };
        let response = pb::TxnResponse {
            header: Some(header),
            succeeded: steps.succeeded,
            responses,
        };
        self.shared.meters.read_txn(&steps.ops);
        Ok((response, hold))
    }
}

/// True if the rows are in memory already and few enough to need no budget.
fn is_small(rows: &[Row]) -> bool {
    let mut bytes = 0;
    rows.iter().all(|row| {
        bytes += row.pair_bytes().unwrap_or(usize::MAX / 2);
        bytes <= REPLY_FREE_BYTES
    })
}

/// Where fetched pairs go.
trait Taker {
    fn cost(&self, kvs: &[Bytes]) -> usize;
    fn hold(&mut self) -> &mut Hold;
    fn take(&mut self, kvs: Vec<Bytes>);
}

/// Bytes of a pair as a field of its message.
fn field_bytes(kv: &[u8]) -> usize {
    1 + encoded_len_varint(kv.len() as u64) + kv.len()
}

fn limit_of(request: &pb::RangeRequest) -> usize {
    let limit = usize::try_from(request.limit).ok().filter(|l| *l > 0);
    limit.unwrap_or(usize::MAX)
}

/// The pairs of a reply, encoded where they can be, collected where they must be sorted first.
struct Sink<'r> {
    request: &'r pb::RangeRequest,
    plain: bool,
    /// How many more may be encoded.
    left: usize,
    more: bool,
    rows: Vec<Bytes>,
    pieces: Vec<Bytes>,
    open: BytesMut,
    hold: Hold,
}

impl<'r> Sink<'r> {
    fn new(request: &'r pb::RangeRequest, hold: Hold) -> Self {
        Self {
            request,
            plain: is_plain(request),
            left: limit_of(request),
            more: false,
            rows: Vec::new(),
            pieces: Vec::new(),
            open: BytesMut::new(),
            hold,
        }
    }

    fn encode(&mut self, mut kv: Bytes, ahead_bytes: usize) {
        if self.left == 0 {
            self.more = !self.request.count_only;
            return;
        }
        self.left -= 1;
        if self.request.keys_only {
            strip_value(&mut kv);
        }
        let field = field_bytes(&kv);
        if self.open.capacity() - self.open.len() < field {
            self.close_piece();
            self.open = BytesMut::with_capacity(ahead_bytes.clamp(field, PIECE_BYTES.max(field)));
        }
        encode_key(KVS, WireType::LengthDelimited, &mut self.open);
        encode_varint(kv.len() as u64, &mut self.open);
        self.open.put_slice(&kv);
    }

    fn close_piece(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(std::mem::take(&mut self.open).freeze());
        }
    }

    fn encode_all(&mut self, kvs: Vec<Bytes>) {
        let mut ahead: usize = kvs.iter().map(|kv| field_bytes(kv)).sum();
        for kv in kvs {
            let field = field_bytes(&kv);
            self.encode(kv, ahead);
            ahead -= field;
        }
    }

    fn finish(mut self, reading: &Reading<'_>) -> EncodedRange {
        let rows = shape(self.request, std::mem::take(&mut self.rows));
        self.encode_all(rows);
        self.close_piece();
        let encoded = self.pieces.iter().map(Bytes::len).sum();
        self.hold.shrink(self.hold.bytes().saturating_sub(encoded));
        EncodedRange {
            revision: reading.header(),
            more: self.more,
            count: reading.count(),
            pieces: self.pieces,
            hold: self.hold,
        }
    }
}

impl Taker for Sink<'_> {
    fn cost(&self, kvs: &[Bytes]) -> usize {
        match self.plain {
            true => kvs.iter().map(|kv| field_bytes(kv)).sum(),
            false => {
                let wanted = kvs.iter().filter(|kv| is_wanted(self.request, kv));
                wanted.map(|kv| kv.len() + ROW_BYTES).sum()
            }
        }
    }

    fn hold(&mut self) -> &mut Hold {
        &mut self.hold
    }

    fn take(&mut self, kvs: Vec<Bytes>) {
        if self.plain {
            return self.encode_all(kvs);
        }
        // Copies: a slice would keep its neighbours in memory too.
        let wanted = kvs.iter().filter(|kv| is_wanted(self.request, kv));
        self.rows
            .extend(wanted.map(|kv| Bytes::copy_from_slice(kv)));
    }
}

/// The pairs of a range inside a transaction, as its response needs them.
struct Decoded<'r> {
    request: &'r pb::RangeRequest,
    rows: Vec<Bytes>,
    hold: Hold,
}

impl Decoded<'_> {
    fn finish(self, reading: &Reading<'_>) -> (pb::RangeResponse, Hold) {
        let mut rows = shape(self.request, self.rows);
        let limit = limit_of(self.request);
        let more = !self.request.count_only && rows.len() > limit;
        rows.truncate(limit);
        if self.request.keys_only {
            rows.iter_mut().for_each(strip_value);
        }
        let header = pb::ResponseHeader {
            revision: reading.header(),
            ..Default::default()
        };
        let response = pb::RangeResponse {
            header: Some(header),
            kvs: rows
                .into_iter()
                .filter_map(|kv| KeyValue::decode(kv).ok())
                .collect(),
            more,
            count: reading.count(),
        };
        (response, self.hold)
    }
}

impl Taker for Decoded<'_> {
    /// Twice the pair, for it is copied once more when the response is encoded.
    fn cost(&self, kvs: &[Bytes]) -> usize {
        let wanted = kvs.iter().filter(|kv| is_wanted(self.request, kv));
        wanted.map(|kv| 2 * kv.len() + ROW_BYTES).sum()
    }

    fn hold(&mut self) -> &mut Hold {
        &mut self.hold
    }

    fn take(&mut self, kvs: Vec<Bytes>) {
        let copies = self.hold.is_large();
        let wanted = kvs.into_iter().filter(|kv| is_wanted(self.request, kv));
        self.rows.extend(wanted.map(|kv| match copies {
            true => Bytes::copy_from_slice(&kv),
            false => kv,
        }));
    }
}
