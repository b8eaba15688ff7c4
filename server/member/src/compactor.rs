//! Compacts history by itself: asks the policy at its moments, and does what it says through the log.

use std::time::Duration;

use kvorum_core::Error;
use kvorum_core::auth::Caller;
use kvorum_core::compactor::Compactor;
pub use kvorum_core::compactor::Retention;
use kvorum_proto::etcdserverpb::CompactionRequest;

use crate::handle::Handle;

/// Runs until the member stops.
pub async fn run(handle: Handle, retention: Retention) {
    let clock = &handle.shared.clock;
    let revision = handle.status().revision;
    let mut compactor = Compactor::new(retention, clock.now_ms(), revision);
    while !handle.shared.is_stopping() {
        let pause_ms = compactor.next_look_ms().saturating_sub(clock.now_ms());
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let status = handle.status();
        let leads = status.leader == handle.identity().member_id.0;
        if let Some(at) = compactor.look(clock.now_ms(), status.revision, leads)
            && compact(&handle, retention, at).await
        {
            compactor.done(clock.now_ms(), at);
        }
    }
}

/// True if history is compacted at `revision` now.
async fn compact(handle: &Handle, retention: Retention, revision: i64) -> bool {
    tracing::info!(revision, ?retention, "starting auto compaction");
    let request = CompactionRequest {
        revision,
        physical: false,
    };
    match handle.compact(&Caller::own(), request).await {
        // Somebody else was faster.
        Ok(_) | Err(Error::Compacted) => {
            tracing::info!(revision, "completed auto compaction");
            true
        }
        Err(error) => {
            tracing::warn!(revision, %error, "failed auto compaction; it is tried again later");
            false
        }
    }
}
