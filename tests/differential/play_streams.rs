//! The steps of a story that concern watch streams.

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use prost::Message;

use crate::{
    differences::Asked,
    messages::Outcome,
    pair::Reference,
    play::{Flow, Play, STREAMS, Unexplained, apart},
    stream_differences as differences,
    watching::Watching,
    wire::Reply,
};

impl Play {
    pub(crate) async fn watch(
        &mut self,
        stream: usize,
        request: &Bytes,
    ) -> Result<Flow, Unexplained> {
        if self.streams[stream].half_closed {
            self.reconnect(stream).await?;
        }
        self.tally.requests += 1;
        let union = match pb::WatchRequest::decode(request.clone()) {
            Err(_) => return self.watch_broken(stream, request).await,
            Ok(message) => message.request_union,
        };
        match union {
            None => self.streams[stream].send(request),
            Some(RequestUnion::CreateRequest(create)) => {
                return self.watch_create(stream, request, &create).await;
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.settle(stream).await?;
                let watching = &mut self.streams[stream];
                watching.send(request);
                let answered = watching
                    .model
                    .cancel(&self.model, cancel.watch_id)
                    .is_some();
                watching.expect([usize::from(answered); 2]);
                self.settle(stream).await?;
            }
            Some(RequestUnion::ProgressRequest(_)) => self.watch_progress(stream, request).await?,
        }
        Ok(Flow::Go)
    }

    /// The stream ends, for what was sent is no message.
    async fn watch_broken(&mut self, stream: usize, request: &Bytes) -> Result<Flow, Unexplained> {
        self.settle(stream).await?;
        let watching = &mut self.streams[stream];
        watching.send(request);
        let [kvorum, etcd] = watching.ended().await?.map(|end| match end {
            Some(Reply {
                code: Some(code),
                text,
                broken: None,
                ..
            }) if code != 0 => Outcome::Refused { code, text },
            other => Outcome::Odd(other.unwrap_or_default()),
        });
        self.compare(Asked::Watch(request), kvorum, etcd)?;
        self.streams[stream] = Watching::open(&self.pair).await;
        Ok(Flow::Go)
    }

    async fn watch_create(
        &mut self,
        stream: usize,
        request: &Bytes,
        create: &pb::WatchCreateRequest,
    ) -> Result<Flow, Unexplained> {
        let watching = &mut self.streams[stream];
        watching.send(request);
        let answer = watching.model.create(&self.model, create);
        watching.expect([1, 1]);
        if create.start_revision < 0 && self.pair.reference < Reference::V3_6 {
            self.listed(differences::NEGATIVE_START);
            self.streams[stream].answered().await?;
            self.streams[stream] = Watching::open(&self.pair).await;
            return Ok(Flow::Go);
        }
        if create.start_revision > 0 && create.start_revision <= self.model.revision() {
            watching.starts_behind();
        }
        if answer.canceled {
            watching.answered().await?;
        } else {
            self.end_behind_compaction(stream).await?;
        }
        Ok(Flow::Go)
    }

    /// Watchers that need what compaction took are ended. The client then cancels them, as etcd's own does.
    async fn end_behind_compaction(&mut self, stream: usize) -> Result<(), Unexplained> {
        let watching = &mut self.streams[stream];
        let ended = watching.model.end_compacted(&self.model);
        watching.expect([ended.len(); 2]);
        watching.answered().await?;
        if ended.is_empty() {
            return Ok(());
        }
        self.settle(stream).await?;
        for response in ended {
            let watch_id = response.watch_id;
            let cancel = pb::WatchRequest {
                request_union: Some(RequestUnion::CancelRequest(pb::WatchCancelRequest {
                    watch_id,
                })),
            };
            let watching = &mut self.streams[stream];
            watching.send(&cancel.encode_to_vec().into());
            watching.model.cancel(&self.model, watch_id);
            watching.expect([0, 1]);
            self.tally.requests += 1;
            self.settle_with(stream, differences::ended_watcher_is_gone)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn ended_by_compaction(&mut self) -> Result<(), Unexplained> {
        for stream in 0..STREAMS {
            self.end_behind_compaction(stream).await?;
        }
        Ok(())
    }

    async fn watch_progress(&mut self, stream: usize, request: &Bytes) -> Result<(), Unexplained> {
        self.settle(stream).await?;
        let watching = &mut self.streams[stream];
        let due = watching.model.progress(&self.model).is_some();
        if self.pair.reference < Reference::V3_6 {
            watching.expect([usize::from(due), 1]);
            watching.send(request);
            watching.answered().await?;
            self.settle_with(stream, differences::progress_at_once)
                .await
        } else if due {
            watching.expect([1, 1]);
            watching.progress(request).await?;
            self.settle_with(stream, differences::progress_repeated)
                .await
        } else {
            watching.send(request);
            Ok(())
        }
    }

    pub(crate) async fn reconnect(&mut self, stream: usize) -> Result<Flow, Unexplained> {
        self.settle(stream).await?;
        self.streams[stream] = Watching::open(&self.pair).await;
        Ok(Flow::Go)
    }

    pub(crate) async fn settle_all(&mut self) -> Result<Flow, Unexplained> {
        for stream in 0..STREAMS {
            self.settle(stream).await?;
        }
        Ok(Flow::Go)
    }

    /// Everything due on a stream has come, and is the same on both sides.
    pub(crate) async fn settle(&mut self, stream: usize) -> Result<(), Unexplained> {
        self.settle_with(stream, |_, _| None).await
    }

    async fn settle_with(
        &mut self,
        stream: usize,
        expected: differences::Mend,
    ) -> Result<(), Unexplained> {
        let (mut logs, all) = self.streams[stream].collect(&self.model).await?;
        self.tally.events += logs[1]
            .events
            .values()
            .map(|events| events.len() as u64)
            .sum::<u64>();
        let old: differences::Mend = if self.pair.reference < Reference::V3_6 {
            differences::tombstone
        } else {
            |_, _| None
        };
        for mend in [expected, differences::superseded, old] {
            if logs[0] != logs[1]
                && let Some(name) = mend(&mut logs, &self.model)
            {
                self.listed(name);
            }
        }
        if logs[0] != logs[1] {
            return Err(format!(
                "watch stream {stream}, {}",
                apart(&logs[0], &logs[1])
            ));
        }
        if logs[0].end.is_some() {
            return Err(format!(
                "watch stream {stream} was ended: {:?}",
                logs[0].end
            ));
        }
        if !all {
            self.tally.model_off += 1;
        }
        Ok(())
    }
}
