//! Watching: every change of an interval, once, in order, whole revisions at a time. (etcd: server/storage/mvcc/
//! watchable_store.go, watcher_group.go; ETCD.md 2.9)
//!
//! A `Hub` serves the streams of one I/O thread. The machine publishes each apply pass to every hub; watchers that
//! stand at the end of history (*synced*) are grouped by what they ask for, and each group's events are encoded once.
//! A watcher that asks for the past, or whose client reads too slowly, is *unsynced*: it goes through history in
//! pages until it stands at the end.

mod body;
mod create;
mod group;
mod history;
mod hub;
mod parked;
mod rights;
mod stream;

#[cfg(test)]
mod tests;

pub use history::{History, Page, missing_history, whole_page};
pub use hub::{EventBatch, Header, Hub};
pub use stream::{Frame, StreamId};
