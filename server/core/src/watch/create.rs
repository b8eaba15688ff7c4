//! Requests of a watch stream: create, cancel, progress.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

use super::group::Wanted;
use super::hub::{Hub, Told, Watcher};
use super::rights;
use super::stream::StreamId;
use crate::auth::{AuthStore, Caller, needs};
use crate::error::Error;
use crate::mutants::{self, Mutant};
use crate::types::WatchId;

/// The id in answers that belong to no watcher.
const NO_WATCHER: WatchId = WatchId(-1);

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

impl Hub {
    /// Takes a request of a stream that the member keeps for itself.
    pub fn request(&mut self, stream: StreamId, request: pb::WatchRequest, current: i64) {
        let auth = AuthStore::default();
        self.request_of(&Caller::own(), stream, request, current, &auth);
    }

    /// Takes a request whose sender could not be identified: nothing is created, what is there goes on.
    pub fn request_refused(
        &mut self,
        refused: Error,
        stream: StreamId,
        request: pb::WatchRequest,
        current: i64,
    ) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(r)) => self.create(stream, r, current, Err(refused)),
            request_union => self.request(stream, pb::WatchRequest { request_union }, current),
        }
    }

    /// Takes one request of a stream's client. `current` is the store's revision, read after the request arrived; `auth`
    /// is as new as that at least.
    pub fn request_of(
        &mut self,
        caller: &Caller,
        stream: StreamId,
        request: pb::WatchRequest,
        current: i64,
        auth: &AuthStore,
    ) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(r)) => {
                let allowed = auth.authorise(caller, &needs::watch(&r));
                self.create(stream, r, current, allowed.map(|()| caller.clone()));
            }
            Some(RequestUnion::CancelRequest(r)) => {
                self.cancel(stream, WatchId(r.watch_id), current);
            }
            Some(RequestUnion::ProgressRequest(_)) => self.request_progress(stream, current),
            None => {}
        }
    }

    fn create(
        &mut self,
        stream: StreamId,
        r: pb::WatchCreateRequest,
        current: i64,
        owner: Result<Caller, Error>,
    ) {
        let told = |id, refused: Option<&str>| Told {
            revision: current,
            id,
            created: true,
            canceled: refused.is_some(),
            reason: refused.unwrap_or_default().to_owned(),
            ..Told::default()
        };
        if r.start_revision < 0 {
            return self.tell(stream, &told(NO_WATCHER, Some(COMPACTED)));
        }
        let owner = match owner {
            Ok(owner) => owner,
            Err(refused) => {
                let reason = rights::reason(refused);
                return self.tell(stream, &told(NO_WATCHER, Some(reason)));
            }
        };
        let wanted = wanted(&r);
        if wanted.range_end.as_ref() > [0].as_slice() && wanted.key >= wanted.range_end {
            return self.tell(stream, &told(NO_WATCHER, Some(EMPTY_RANGE)));
        }
        let Some(id) = self.choose_id(stream, r.watch_id) else {
            return self.tell(stream, &told(NO_WATCHER, Some(DUPLICATE_ID)));
        };
        self.tell(stream, &told(id, None));
        let next = if r.start_revision == 0 {
            current + 1
        } else {
            r.start_revision
        };
        self.add(
            Watcher {
                stream,
                id,
                owner,
                wanted,
                next,
                first: r.start_revision,
                fragment: r.fragment,
                progress_notify: r.progress_notify,
                quiet: false,
                synced: false,
            },
            current,
        );
    }

    /// The id the client chose if it is free, or the next free one; `None` if its choice is taken.
    fn choose_id(&mut self, stream: StreamId, chosen: i64) -> Option<WatchId> {
        let stream = self.stream_mut(stream)?;
        if chosen != 0 {
            return (!stream.watchers.contains_key(&WatchId(chosen))).then_some(WatchId(chosen));
        }
        while stream.watchers.contains_key(&WatchId(stream.next_id)) {
            stream.next_id += 1;
        }
        stream.next_id += 1;
        Some(WatchId(stream.next_id - 1))
    }

    fn cancel(&mut self, stream: StreamId, id: WatchId, current: i64) {
        let key = self
            .stream_mut(stream)
            .and_then(|s| s.watchers.get(&id).copied());
        if let Some(key) = key {
            self.remove(key);
            self.tell(
                stream,
                &Told {
                    revision: current,
                    id,
                    canceled: true,
                    ..Told::default()
                },
            );
        }
    }

    /// Answers once the hub has delivered everything up to `current`, and only if every watcher of the stream stands
    /// at the end of history then: progress never overtakes events.
    fn request_progress(&mut self, stream: StreamId, current: i64) {
        if let Some(s) = self.stream_mut(stream)
            && !s.watchers.is_empty()
        {
            s.progress_at = Some(current);
        }
        self.answer_progress(stream);
    }

    pub(super) fn answer_progress(&mut self, stream: StreamId) {
        let revision = self.revision();
        let Some(s) = self.stream_mut(stream) else {
            return;
        };
        let early = mutants::on(Mutant::EventAfterProgress);
        if s.progress_at.is_none_or(|at| at > revision && !early) {
            return;
        }
        s.progress_at = None;
        let keys: Vec<_> = s.watchers.values().copied().collect();
        if !keys.is_empty() && (early || keys.into_iter().all(|k| self.stands_at_end(k))) {
            self.tell(
                stream,
                &Told {
                    revision,
                    id: NO_WATCHER,
                    ..Told::default()
                },
            );
        }
    }
}

fn wanted(r: &pb::WatchCreateRequest) -> Wanted {
    let filter = |f: FilterType| r.filters.contains(&(f as i32));
    let key = if r.key.is_empty() {
        Bytes::from_static(&[0])
    } else {
        r.key.clone()
    };
    Wanted {
        key,
        range_end: r.range_end.clone(),
        prev_kv: r.prev_kv,
        no_put: filter(FilterType::Noput),
        no_delete: filter(FilterType::Nodelete),
    }
}
