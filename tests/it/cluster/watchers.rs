//! Watchers that follow everything from the first revision on, and go on elsewhere when their member is gone.

use std::time::Duration;

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::watch_check::Received;
use tokio::time::{Instant, timeout};

use super::load::Shared;
use crate::{rpc::Rpc, seed::Seed};

/// How long a watcher stays with a member at most.
const STAY_MAX_MS: u64 = 3_000;
/// The store is written all the time; who gets nothing for so long asks for progress, or goes elsewhere.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// Watches until the load stops; returns what came from each member in turn.
pub(super) async fn watch(shared: Shared, number: usize, mut random: Seed) -> Vec<Received> {
    let mut parts: Vec<Received> = Vec::new();
    let mut next = 1;
    while !shared.stopped() {
        let Some(rpc) = shared.connect(&mut random).await else {
            continue;
        };
        let stay = Duration::from_millis(200 + random.below(STAY_MAX_MS));
        let mut part = Received {
            request: request(number, next),
            ..Received::default()
        };
        follow(&shared, &rpc, &mut part, Instant::now() + stay).await;
        next = next.max(part.last_revision() + 1);
        parts.push(part);
    }
    parts
}

/// Three kinds of watchers in turn: of everything, of what clients share, and of deletions only.
fn request(number: usize, start_revision: i64) -> pb::WatchCreateRequest {
    let everything = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision,
        prev_kv: true,
        progress_notify: true,
        ..Default::default()
    };
    let shared = pb::WatchCreateRequest {
        key: "k/".into(),
        range_end: "k0".into(),
        prev_kv: number.is_multiple_of(2),
        ..everything.clone()
    };
    match number % 3 {
        0 => everything,
        1 => shared,
        _ => pb::WatchCreateRequest {
            filters: vec![pb::watch_create_request::FilterType::Noput.into()],
            ..shared
        },
    }
}

/// Takes what comes until it is time to go, or this member has nothing more to give.
async fn follow(shared: &Shared, rpc: &Rpc, part: &mut Received, until: Instant) {
    let mut stream = rpc.open::<pb::WatchRequest>();
    stream.create(part.request.clone()).await;
    let mut silent = 0;
    while !shared.stopped() && Instant::now() < until {
        match timeout(SILENCE_MAX, stream.next()).await {
            Ok(Ok(response)) if response.created => {
                part.created_revision = response.header.map_or(0, |header| header.revision);
            }
            Ok(Ok(response)) if response.canceled => return,
            Ok(Ok(response)) => {
                silent = 0;
                part.responses.push(response);
            }
            Ok(Err(_)) => return,
            Err(_) => {
                silent += 1;
                if silent > 3 || stream.requests.try_send(progress()).is_err() {
                    return;
                }
            }
        }
    }
}

fn progress() -> pb::WatchRequest {
    let request = pb::WatchProgressRequest {};
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::ProgressRequest(request)),
    }
}
