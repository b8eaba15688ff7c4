//! Reads: on the thread that asked, over the shared store, a page at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::Error;
use kvorum_core::auth::{Caller, needs};
use kvorum_core::backend::Records;
use kvorum_core::mvcc::{ReadError, Reading, check};
use kvorum_core::reply::RangeReply;
use kvorum_proto::etcdserverpb as pb;

use crate::handle::Handle;
use crate::port::{Answer, Ask};

/// A read that waits longer for its turn is counted as slow. (etcd asks again after this long)
const SLOW_READ_INDEX: Duration = Duration::from_millis(500);

impl Handle {
    /// Waits until everything acknowledged before this call is visible here.
    ///
    /// # Errors
    /// There is no leader that could tell.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        // The only voter acknowledges a write after it has applied it: nothing can be newer than what is here.
        if self.shared.published.reads_freely.load(Ordering::SeqCst) && !self.shared.is_stopping() {
            return Ok(());
        }
        let meters = &self.shared.meters;
        let begin = Instant::now();
        let answer = self.ask(Ask::ReadIndex).await;
        if begin.elapsed() > SLOW_READ_INDEX {
            meters.slow_read_indexes.inc();
        }
        let result = match answer {
            Ok(Answer::Readable) => Ok(()),
            Ok(Answer::Refused(e)) | Err(e) => Err(e),
            Ok(_) => Err(Error::Stopped),
        };
        result.inspect_err(|_| meters.read_indexes_failed.inc())
    }

    /// A range of a moderate size, linearizable unless it says `serializable`. Its reply is on no budget: where clients
    /// choose the size, `range_answer` is the call.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.3, the caller may not read it, or nobody can tell that the answer is current.
    pub async fn range(
        &self,
        caller: &Caller,
        request: pb::RangeRequest,
    ) -> Result<RangeReply, Error> {
        check::range(&request)?;
        if !request.serializable {
            self.read_barrier().await?;
        }
        let pass = self.enter(caller, || needs::range(&request))?;
        let begin = Instant::now();
        let result = self.read_range(&request).await;
        let took = begin.elapsed();
        self.shared.meters.ranged(took, result.is_ok());
        self.shared.meters.apply.look_at(took);
        self.leave(caller, pass, || needs::range(&request))?;
        result
    }

    async fn read_range(&self, request: &pb::RangeRequest) -> Result<RangeReply, Error> {
        let records: Arc<dyn Records> = self.shared.state.clone();
        let mut reading = {
            let store = self.shared.store.read();
            let mut reading = Reading::new(&store, request)?;
            if !reading.page(&store)? {
                drop(store);
                return self.finish(reading, &records);
            }
            reading
        };
        while reading.page(&self.shared.store.read())? {
            tokio::task::yield_now().await;
        }
        self.finish(reading, &records)
    }

    pub(crate) fn finish(
        &self,
        reading: Reading<'_>,
        records: &Arc<dyn Records>,
    ) -> Result<RangeReply, Error> {
        let at = reading.at();
        self.unless_lost(at, reading.finish(records))
    }

    pub(crate) fn read_result<T>(&self, result: Result<T, ReadError>) -> Result<T, Error> {
        result.map_err(|e| match e {
            ReadError::Refused(e) => e,
            ReadError::Backend(e) => self.broken(e.to_string()),
        })
    }
}
