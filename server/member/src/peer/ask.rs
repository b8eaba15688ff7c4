//! One question, one answer, on a connection of its own: what a starting member wants to know, and what only the
//! leader may do.

use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_proto::kvorumpb::{PeerLane, PeerReply, PeerRequest, peer_reply::Told};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::dial::{PeerUrl, dial};
use super::frame::{FrameError, Kind};
use super::hub::Hub;
use super::wire::{Broken, Wire};

/// How long the member may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two attempts at members that are starting, or have no leader.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody answered in time.
    #[error("no peer answers: {0}")]
    Unreachable(String),
    /// A member answered and refused.
    #[error("{0}")]
    Refused(String),
    /// The member that asks is stopping.
    #[error("the member is stopping")]
    Stopping,
}

/// A question that came in. Dropping it refuses it.
#[derive(Debug)]
pub struct PeerAsk {
    /// The member that asks; none for somebody who has no cluster yet, who may know the members and nothing else.
    pub from: Option<MemberId>,
    /// Its certificate of the cluster's own authority says so.
    pub certified: bool,
    /// What it asks.
    pub request: PeerRequest,
    answer: oneshot::Sender<PeerReply>,
}

impl PeerAsk {
    /// Answers.
    pub fn answer(self, told: Told) {
        // Who asked may have gone.
        let _ = self.answer.send(PeerReply { told: Some(told) });
    }
}

/// Answers the question that a connection brought.
pub(crate) async fn answer(
    hub: &Hub,
    from: Option<MemberId>,
    request: PeerRequest,
    wire: &mut Wire,
) -> Result<(), Broken> {
    let told = |told| PeerReply { told: Some(told) };
    let reply = match hub.home() {
        None => told(Told::Starting(true)),
        Some(home) => {
            let (answer, answered) = oneshot::channel();
            (home.asks)(PeerAsk {
                from,
                certified: wire.shown.as_ref().map(|shown| shown.member) == from && from.is_some(),
                request,
                answer,
            });
            match timeout(ANSWER, answered).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => told(Told::Refused("the member does not answer that".into())),
                Err(_) => told(Told::Refused("the member took too long".into())),
            }
        }
    };
    let patience = hub.timing.bulk_patience;
    wire.sender.send(Kind::Reply, &reply, patience).await?;
    wire.sender.close().await;
    Ok(())
}

/// Asks whoever lives at one address.
async fn ask_at(hub: &Hub, url: &PeerUrl, request: &PeerRequest) -> Result<Told, String> {
    let hello = hub.hello(None, PeerLane::Bulk);
    let (mut wire, _) = dial(hub, url, &hello).await.map_err(|e| e.to_string())?;
    let asked = async {
        let patience = hub.timing.bulk_patience;
        wire.sender.send(Kind::Request, request, patience).await?;
        loop {
            let frame = wire.receiver.next(ANSWER).await?;
            if frame.kind == Kind::Reply {
                let reply: PeerReply = frame.read(Kind::Reply)?;
                return reply.told.ok_or_else(|| {
                    Broken::Frame(FrameError::Message {
                        kind: Kind::Reply,
                        reason: "it says nothing".into(),
                    })
                });
            }
        }
    };
    asked.await.map_err(|broken: Broken| broken.to_string())
}

/// Asks at the addresses in turn, follows to the leader, and asks again where a member is starting or has no leader,
/// until the time is up.
pub(crate) async fn ask(
    hub: &Hub,
    urls: &[String],
    request: &PeerRequest,
    patience: Duration,
) -> Result<Told, AskError> {
    let deadline = Instant::now() + patience;
    let mut failure = "there is no address to ask at".to_owned();
    loop {
        let mut next: Vec<String> = urls.to_vec();
        // The leader may be named by one that is not; it is asked next.
        let mut follow = 4;
        while let Some(url) = next.pop() {
            let asked = match PeerUrl::parse(&url) {
                Ok(parsed) => tokio::time::timeout_at(deadline, ask_at(hub, &parsed, request))
                    .await
                    .unwrap_or_else(|_| Err("it takes too long".into())),
                Err(error) => Err(error),
            };
            match asked {
                Ok(Told::Refused(reason)) => return Err(AskError::Refused(reason)),
                Ok(Told::Starting(_)) => failure = format!("{url} is still starting"),
                Ok(Told::Redirect(to)) => {
                    failure = format!("{url} has no leader to send us to");
                    if follow > 0 && to.leader != 0 {
                        follow -= 1;
                        next.extend(to.peer_urls);
                    }
                }
                Ok(told) => return Ok(told),
                Err(error) => failure = format!("{url}: {error}"),
            }
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(AskError::Unreachable(failure));
        }
        sleep(hub.jitter.spread(PAUSE)).await;
    }
}
