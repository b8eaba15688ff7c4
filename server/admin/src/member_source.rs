//! The console's view of a running member.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use kvorum_api::{Alarm, Identity, Overview, Quantiles, Raft, Sample, Store};
use kvorum_member::{Error, Handle, Latency};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::mvccpb;
use prost::Message;
use prost::bytes::Bytes;

use crate::source::{Entry, KeyAt, KeyValue, ListRequest, Page, Past, Refusal, Source};

/// A member, looked at through its handle.
pub(crate) struct MemberSource {
    handle: Handle,
    cluster_name: String,
    started_unix_ms: u64,
}

impl MemberSource {
    pub(crate) fn new(handle: Handle, cluster_name: String) -> Self {
        Self { handle, cluster_name, started_unix_ms: unix_ms() }
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
                leader_id: if status.leader == 0 { String::new() } else { hex(status.leader) },
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

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<Page, Refusal>> {
        Box::pin(async move { Listing::new(&self.handle, request).await?.page().await })
    }

    fn get(&self, key: Vec<u8>, revision: i64) -> BoxFuture<'_, Result<KeyAt, Refusal>> {
        Box::pin(async move {
            let request = pb::RangeRequest { key: key.into(), revision, ..Default::default() };
            let reply = self.handle.range(request).await.map_err(refusal)?;
            Ok(KeyAt {
                revision: if revision > 0 { revision } else { reply.revision },
                current_revision: reply.revision,
                found: reply.kvs.first().map(decode).transpose()?,
            })
        })
    }

    fn history(&self, key: Vec<u8>, limit: usize) -> BoxFuture<'_, Result<Past, Refusal>> {
        let handle = self.handle.clone();
        // Versions that left memory are read from disk, one by one.
        let read = tokio::task::spawn_blocking(move || past(&handle, &key, limit));
        Box::pin(async move {
            read.await.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())))
        })
    }
}

fn past(handle: &Handle, key: &[u8], limit: usize) -> Result<Past, Refusal> {
    let versions = handle.key_history(key).map_err(refusal)?;
    let status = handle.status();
    let cut = versions.len() > limit;
    let newest = versions.into_iter().rev().take(limit);
    Ok(Past {
        changes: newest.map(|version| (version.revision.main, version.kv.map(key_value))).collect(),
        cut,
        compact_revision: status.compact_revision,
        current_revision: status.revision,
    })
}

/// A listing in progress: one seek per line, so a folder costs the same however much it holds.
struct Listing<'a> {
    handle: &'a Handle,
    request: ListRequest,
    current_revision: i64,
    revision: i64,
    count: u64,
}

impl<'a> Listing<'a> {
    async fn new(handle: &'a Handle, request: ListRequest) -> Result<Self, Refusal> {
        let mut listing = Self { handle, request, current_revision: 0, revision: 0, count: 0 };
        let whole = listing.range(&listing.request.prefix, &listing.request.prefix, true, 0);
        let reply = handle.range(whole).await.map_err(refusal)?;
        listing.current_revision = reply.revision;
        let asked = listing.request.revision;
        listing.revision = if asked > 0 { asked } else { reply.revision };
        listing.count = reply.count.unsigned_abs();
        Ok(listing)
    }

    fn range(&self, from: &[u8], prefix: &[u8], count_only: bool, limit: i64) -> pb::RangeRequest {
        // To etcd, a range from "\0" to "\0" is all keys.
        let key = if from.is_empty() { vec![0] } else { from.to_vec() };
        pb::RangeRequest {
            key: key.into(),
            range_end: after_prefix(prefix).unwrap_or_else(|| vec![0]).into(),
            revision: self.revision.max(self.request.revision),
            count_only,
            limit,
            ..Default::default()
        }
    }

    async fn page(self) -> Result<Page, Refusal> {
        let mut from = if self.request.from.is_empty() {
            self.request.prefix.clone()
        } else {
            self.request.from.clone()
        };
        let mut entries = Vec::new();
        let next = loop {
            let seek = self.range(&from, &self.request.prefix, false, 1);
            let reply = self.handle.range(seek).await.map_err(refusal)?;
            let Some(kv) = reply.kvs.first() else { break None };
            let kv = decode(kv)?;
            if entries.len() == self.request.limit {
                break Some(kv.key);
            }
            let (entry, behind) = self.entry(kv).await?;
            entries.push(entry);
            match behind {
                Some(behind) => from = behind,
                None => break None,
            }
        };
        Ok(Page {
            revision: self.revision,
            current_revision: self.current_revision,
            count: self.count,
            entries,
            next,
        })
    }

    /// The line that `kv` is part of, and the first possible key behind it.
    async fn entry(&self, kv: KeyValue) -> Result<(Entry, Option<Vec<u8>>), Refusal> {
        let Some(end) = folder_end(&kv.key, self.request.prefix.len(), &self.request.delimiter) else {
            let behind = [kv.key.as_slice(), &[0]].concat();
            return Ok((Entry::Key(kv), Some(behind)));
        };
        let prefix = kv.key[..end].to_vec();
        let reply = self.handle.range(self.range(&prefix, &prefix, true, 0)).await.map_err(refusal)?;
        let behind = after_prefix(&prefix);
        let entry = Entry::Folder { prefix, count: reply.count.unsigned_abs(), count_capped: false };
        Ok((entry, behind))
    }
}

/// Where the folder's name ends in a key, delimiter included; `None` if the key is in no folder.
fn folder_end(key: &[u8], prefix_len: usize, delimiter: &[u8]) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.get(prefix_len..)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(prefix_len + at + delimiter.len())
}

/// The first key after all that begin with `prefix`; `None` if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn decode(kv: &Bytes) -> Result<KeyValue, Refusal> {
    let kv = mvccpb::KeyValue::decode(kv.clone())
        .map_err(|error| Refusal::Unavailable(format!("a stored pair does not decode: {error}")))?;
    Ok(key_value(kv))
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.into(),
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// `None` for a second in which nothing was measured.
fn quantiles(latency: Latency) -> Option<Quantiles> {
    Some(Quantiles { p50_ms: latency.p50_ms?, p99_ms: latency.p99_ms? })
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Compacted => Refusal::Compacted,
        Error::FutureRevision => Refusal::FutureRevision,
        Error::EmptyKey => Refusal::Invalid(error.to_string()),
        other => Refusal::Unavailable(other.to_string()),
    }
}

fn alarm(raised: &pb::AlarmMember) -> Alarm {
    let kind = pb::AlarmType::try_from(raised.alarm);
    let kind = kind.map_or_else(|_| raised.alarm.to_string(), |kind| kind.as_str_name().to_owned());
    Alarm { kind, member_id: hex(raised.member_id) }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{after_prefix, folder_end};

    #[test]
    fn the_end_of_a_prefix_skips_bytes_that_cannot_grow() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }

    #[test]
    fn a_folder_ends_with_the_delimiter_after_the_prefix() {
        assert_eq!(folder_end(b"app/config/a", 0, b"/"), Some(4));
        assert_eq!(folder_end(b"app/config/a", 4, b"/"), Some(11));
        assert_eq!(folder_end(b"app/config/a", 11, b"/"), None);
        assert_eq!(folder_end(b"a::b", 0, b"::"), Some(3));
        assert_eq!(folder_end(b"app/x", 0, b""), None);
    }
}
