//! Watchers whose owners have lost the right to what they watch.

use super::hub::{Hub, Told, Watcher};
use crate::auth::AuthStore;
use crate::error::Error;

/// Why there is no watcher: the status, as Go prints it and etcd sends it.
pub(super) const fn reason(refused: Error) -> &'static str {
    match refused {
        Error::UserEmpty => {
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
        }
        Error::AuthOldRevision => {
            "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old"
        }
        Error::InvalidAuthToken => {
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
        }
        _ => "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    }
}

impl Hub {
    /// Ends the watchers whose owners may not read their keys any more. Called before anything is published that was
    /// written under the new rights.
    pub fn end_unauthorised(&mut self, auth: &AuthStore, current: i64) {
        let lost = |w: &Watcher| auth.still_reads(&w.owner, w.wanted.interval()).err();
        let watchers = self.watchers_mut().iter();
        let gone: Vec<_> = watchers
            .filter_map(|(key, w)| lost(w).map(|refused| (*key, w.stream, w.id, refused)))
            .collect();
        for (key, stream, id, refused) in gone {
            self.remove(key);
            let told = Told {
                revision: current,
                id,
                canceled: true,
                reason: reason(refused).into(),
                ..Told::default()
            };
            self.tell(stream, &told);
        }
    }
}
