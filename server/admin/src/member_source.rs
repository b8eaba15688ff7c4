//! The console's view of a running member.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use kvorum_api::{Alarm, Identity, Overview, Quantiles, Raft, Sample, Store};
use kvorum_member::{Caller, Error, Handle, Latency};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb;
use prost::Message;
use prost::bytes::Bytes;

use crate::browse;
use crate::source::{KeyAt, KeyValue, ListRequest, Page, Past, Reader, Refusal, Source};

/// A member, looked at through its handle.
pub(crate) struct MemberSource {
    handle: Handle,
    cluster_name: String,
    started_unix_ms: u64,
}

impl MemberSource {
    pub(crate) fn new(handle: Handle, cluster_name: String) -> Self {
        Self {
            handle,
            cluster_name,
            started_unix_ms: unix_ms(),
        }
    }

    fn identity(&self) -> Identity {
        let identity = self.handle.identity();
        Identity {
            cluster_name: self.cluster_name.clone(),
            cluster_id: hex(identity.cluster_id.0),
            member_id: hex(identity.member_id.0),
            member_name: identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: self.started_unix_ms,
        }
    }
}

impl Source for MemberSource {
    fn overview(&self) -> Overview {
        let status = self.handle.status();
        let stats = self.handle.stats();
        let members = self.handle.members();
        let own = self.handle.identity().member_id.0;
        let leader = members.iter().find(|member| member.id == status.leader);
        let learners = members.iter().filter(|member| member.is_learner).count();
        Overview {
            identity: self.identity(),
            raft: Raft {
                leader_id: if status.leader == 0 {
                    String::new()
                } else {
                    hex(status.leader)
                },
                leader_name: leader.map(|member| member.name.clone()).unwrap_or_default(),
                is_leader: status.leader == own,
                term: status.term,
                voters: (members.len() - learners) as u32,
                learners: learners as u32,
            },
            alarms: status.alarms.iter().map(alarm).collect(),
            now: Sample {
                unix_ms: unix_ms(),
                store: Store {
                    revision: status.revision,
                    compact_revision: status.compact_revision,
                    keys: status.keys,
                    db_size: unsigned(status.db_size),
                    db_size_in_use: unsigned(status.db_size_in_use),
                    quota: unsigned(status.quota),
                },
                committed: status.committed,
                applied: status.applied,
                puts_per_s: stats.puts as f64,
                gets_per_s: stats.gets as f64,
                sync: quantiles(stats.sync),
                apply: quantiles(stats.apply),
                watchers: status.watchers,
                leases: status.leases,
            },
        }
    }

    fn list(&self, by: Reader, request: ListRequest) -> BoxFuture<'_, Result<Page, Refusal>> {
        Box::pin(browse::page(&self.handle, identity(by), request))
    }

    fn get(
        &self,
        by: Reader,
        key: Vec<u8>,
        revision: i64,
    ) -> BoxFuture<'_, Result<KeyAt, Refusal>> {
        Box::pin(async move {
            // Like all reads here: what this member has, at a revision that is shown. It works without a quorum, which
            // is when people look.
            let request = pb::RangeRequest {
                key: key.into(),
                revision,
                serializable: true,
                ..Default::default()
            };
            let reply = self
                .handle
                .range(&identity(by), request)
                .await
                .map_err(refusal)?;
            Ok(KeyAt {
                revision: if revision > 0 {
                    revision
                } else {
                    reply.revision
                },
                current_revision: reply.revision,
                found: reply.kvs.first().map(decode).transpose()?,
            })
        })
    }

    fn history(
        &self,
        by: Reader,
        key: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Past, Refusal>> {
        let handle = self.handle.clone();
        // Versions that left memory are read from disk, one by one.
        let read = tokio::task::spawn_blocking(move || past(&handle, by, &key, limit));
        Box::pin(async move {
            read.await
                .unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())))
        })
    }
}

/// Who reads, as the member takes it. Accounts of the console are no users of etcd's, so what an administrator reads is
/// read by the cluster itself: the login has decided already.
fn identity(by: Reader) -> Caller {
    match by {
        Reader::Anybody => Caller::nobody(),
        Reader::Administrator => Caller::own(),
    }
}

fn past(handle: &Handle, by: Reader, key: &[u8], limit: usize) -> Result<Past, Refusal> {
    let versions = handle.key_history(&identity(by), key).map_err(refusal)?;
    let status = handle.status();
    let cut = versions.len() > limit;
    let newest = versions.into_iter().rev().take(limit);
    Ok(Past {
        changes: newest
            .map(|version| (version.revision.main, version.kv.map(key_value)))
            .collect(),
        cut,
        compact_revision: status.compact_revision,
        current_revision: status.revision,
    })
}

/// A stored pair.
fn decode(kv: &Bytes) -> Result<KeyValue, Refusal> {
    let kv = mvccpb::KeyValue::decode(kv.clone())
        .map_err(|error| Refusal::Unavailable(format!("a stored pair does not decode: {error}")))?;
    Ok(key_value(kv))
}

pub(crate) fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.into(),
        value_bytes: kv.value.len() as u64,
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// `None` for a second in which nothing was measured.
fn quantiles(latency: Latency) -> Option<Quantiles> {
    Some(Quantiles {
        p50_ms: latency.p50_ms?,
        p99_ms: latency.p99_ms?,
    })
}

/// Why the member did not answer.
pub(crate) fn refusal(error: Error) -> Refusal {
    match error {
        Error::Compacted => Refusal::Compacted,
        Error::FutureRevision => Refusal::FutureRevision,
        Error::UserEmpty => Refusal::Nobody,
        Error::EmptyKey => Refusal::Invalid(error.to_string()),
        other => Refusal::Unavailable(other.to_string()),
    }
}

fn alarm(raised: &pb::AlarmMember) -> Alarm {
    let kind = pb::AlarmType::try_from(raised.alarm);
    let kind = kind.map_or_else(
        |_| raised.alarm.to_string(),
        |kind| kind.as_str_name().to_owned(),
    );
    Alarm {
        kind,
        member_id: hex(raised.member_id),
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
