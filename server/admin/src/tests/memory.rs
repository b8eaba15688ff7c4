//! A store in memory with etcd's revisions, for the tests of the router.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, ready};
use kvorum_api::{Identity, Overview, Raft, Sample, Store};

use crate::source::{Entry, KeyAt, KeyValue, ListRequest, Page, Past, Reader, Refusal, Source};

/// Every change of every key.
#[derive(Default)]
pub(super) struct Memory {
    changes: Mutex<Vec<(Vec<u8>, Option<KeyValue>)>>,
    compacted: Mutex<i64>,
    term: Arc<AtomicU64>,
    /// Keys that are counted; `None` for all.
    count_max: Option<u64>,
}

impl Memory {
    pub(super) fn with_some_keys() -> Self {
        let memory = Self::default();
        memory.put(b"app/a", b"first");
        memory.put(b"app/b", b"");
        memory.put(b"app/config/x", b"{}");
        memory.put(b"app/config/y", b"\xff");
        memory.put(b"motd", b"hello");
        memory.put("zoo/ä".as_bytes(), b"1");
        memory.put(b"app/a", b"second");
        memory.put(b"motd", b"hello again");
        memory
    }

    pub(super) fn counting_up_to(self, keys: u64) -> Self {
        Self {
            count_max: Some(keys),
            ..self
        }
    }

    pub(super) fn term(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.term)
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8]) {
        let revision = self.current() + 1;
        let before = self.at(key, revision);
        let kv = KeyValue {
            key: key.to_vec(),
            value: value.to_vec(),
            value_bytes: value.len() as u64,
            create_revision: before
                .as_ref()
                .map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |before| before.version + 1),
            lease: 0,
        };
        self.changes
            .lock()
            .expect("no test panics inside")
            .push((key.to_vec(), Some(kv)));
    }

    pub(super) fn delete(&self, key: &[u8]) {
        self.changes
            .lock()
            .expect("no test panics inside")
            .push((key.to_vec(), None));
    }

    pub(super) fn compact(&self, revision: i64) {
        *self.compacted.lock().expect("no test panics inside") = revision;
    }

    /// An empty store is at revision 1.
    fn current(&self) -> i64 {
        self.changes.lock().expect("no test panics inside").len() as i64 + 1
    }

    fn state(&self, revision: i64) -> BTreeMap<Vec<u8>, KeyValue> {
        let changes = self.changes.lock().expect("no test panics inside");
        let mut state = BTreeMap::new();
        for (key, kv) in changes.iter().take((revision - 1).max(0) as usize) {
            match kv {
                Some(kv) => drop(state.insert(key.clone(), kv.clone())),
                None => drop(state.remove(key)),
            }
        }
        state
    }

    fn at(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        self.state(revision).remove(key)
    }

    fn revision(&self, asked: i64) -> Result<i64, Refusal> {
        match asked {
            0 => Ok(self.current()),
            asked if asked > self.current() => Err(Refusal::FutureRevision),
            asked if asked < *self.compacted.lock().expect("no test panics inside") => {
                Err(Refusal::Compacted)
            }
            asked => Ok(asked),
        }
    }

    fn page(&self, request: &ListRequest) -> Result<Page, Refusal> {
        let revision = self.revision(request.revision)?;
        let mut state = self.state(revision);
        state.retain(|key, _| key.starts_with(&request.prefix));
        let keys = state.len() as u64;
        let count_max = self.count_max.unwrap_or(u64::MAX);
        let mut page = Page {
            revision,
            current_revision: self.current(),
            count: keys.min(count_max),
            count_capped: keys > count_max,
            ..Page::default()
        };
        for (key, kv) in state.into_iter().filter(|(key, _)| *key >= request.from) {
            let folder = folder_of(&key, request);
            if let (
                Some(name),
                Some(Entry::Folder {
                    prefix,
                    count,
                    count_capped,
                }),
            ) = (&folder, page.entries.last_mut())
                && name == prefix
            {
                *count_capped = *count == count_max;
                *count += u64::from(!*count_capped);
                continue;
            }
            if page.entries.len() == request.limit {
                page.next = Some(key);
                break;
            }
            page.entries.push(match folder {
                Some(prefix) => Entry::Folder {
                    prefix,
                    count: 1,
                    count_capped: false,
                },
                None => Entry::Key(kv),
            });
        }
        Ok(page)
    }
}

fn folder_of(key: &[u8], request: &ListRequest) -> Option<Vec<u8>> {
    let delimiter = *request.delimiter.first()?;
    let at = key[request.prefix.len()..]
        .iter()
        .position(|byte| *byte == delimiter)?;
    Some(key[..=request.prefix.len() + at].to_vec())
}

impl Source for Memory {
    fn overview(&self) -> Overview {
        let store = Store {
            revision: self.current(),
            compact_revision: -1,
            keys: self.state(self.current()).len() as u64,
            ..Store::default()
        };
        Overview {
            identity: Identity {
                member_name: "memory".into(),
                ..Identity::default()
            },
            raft: Raft {
                term: self.term.load(Ordering::Relaxed),
                ..Raft::default()
            },
            now: Sample {
                store,
                ..Sample::default()
            },
            ..Overview::default()
        }
    }

    fn list(&self, _: Reader, request: ListRequest) -> BoxFuture<'_, Result<Page, Refusal>> {
        Box::pin(ready(self.page(&request)))
    }

    fn get(&self, _: Reader, key: Vec<u8>, revision: i64) -> BoxFuture<'_, Result<KeyAt, Refusal>> {
        Box::pin(ready(self.revision(revision).map(|revision| KeyAt {
            revision,
            current_revision: self.current(),
            found: self.at(&key, revision),
        })))
    }

    fn history(
        &self,
        _: Reader,
        key: Vec<u8>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Past, Refusal>> {
        let changes = self.changes.lock().expect("no test panics inside");
        let revisions = (2..).zip(changes.iter());
        let mut found: Vec<_> = revisions
            .filter(|(_, (of, _))| *of == key)
            .map(|(revision, (_, kv))| (revision, kv.clone()))
            .collect();
        drop(changes);
        found.reverse();
        let cut = found.len() > limit;
        found.truncate(limit);
        Box::pin(ready(Ok(Past {
            changes: found,
            cut,
            compact_revision: *self.compacted.lock().expect("no test panics inside"),
            current_revision: self.current(),
        })))
    }
}
