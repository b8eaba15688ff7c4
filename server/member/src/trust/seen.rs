//! While the root changes: which certificates clients of this member have shown, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kvorum_core::trust::{SEEN_MAX, Trust};
use kvorum_proto::kvorumpb::{TrustSeen, trust_op::Op};
use parking_lot::Mutex;

use crate::clock::unix_s;

/// Serials that are remembered; the list of certificates has no more rows.
const KEPT_MAX: usize = 1 << 16;
/// What was seen within the fortieth part of the grace period, or within an hour, is not noted again.
const PARTS: i64 = 40;
const PAUSE_MAX_S: i64 = 3600;

/// Shared by all listeners and the task that tells the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Nobody asks for it unless the root changes.
    wanted: Arc<AtomicBool>,
    shown: Arc<Mutex<BTreeMap<Vec<u8>, i64>>>,
}

impl Seen {
    /// A client shows this certificate now.
    pub(crate) fn note(&self, serial: &[u8]) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut shown = self.shown.lock();
        let is_known = shown.contains_key(serial);
        if is_known || shown.len() < KEPT_MAX {
            shown.insert(serial.to_vec(), unix_s());
        }
    }

    /// What the cluster is to be told now, if anything. It is told again until it is applied.
    pub(crate) fn news(&self, trust: &Trust) -> Option<Op> {
        let Some(rotation) = trust.rotation() else {
            if self.wanted.swap(false, Ordering::Relaxed) {
                self.shown.lock().clear();
            }
            return None;
        };
        self.wanted.store(true, Ordering::Relaxed);
        let pause_s = (rotation.grace_s / PARTS).clamp(1, PAUSE_MAX_S);
        let shown = self.shown.lock();
        let is_news = |serial: &[u8], at: i64| {
            let known = trust.old_certificate(serial);
            known.is_some_and(|row| at >= row.seen_unix_s.saturating_add(pause_s))
        };
        let news = shown.iter().filter(|(serial, at)| is_news(serial, **at));
        let serials: Vec<Bytes> = news
            .map(|(serial, _)| serial.clone().into())
            .take(SEEN_MAX)
            .collect();
        (!serials.is_empty()).then_some(Op::Seen(TrustSeen { serials }))
    }
}
