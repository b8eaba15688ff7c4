//! The live figures: one sampler for all browser tabs, a ring of the last minutes, a bounded stream per tab.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::response::sse;
use futures_util::stream::{self, Stream, StreamExt};
use kvorum_api::{Event, Overview, Sample};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::MissedTickBehavior;

use crate::source::Source;

/// Ten minutes of one sample per second.
const SAMPLES_KEPT: usize = 600;
/// Messages a slow tab may be behind before it starts over with the full state.
const BACKLOG: usize = 16;
/// Tabs served at the same time; more are refused.
const STREAMS_MAX: usize = 64;
const INTERVAL: Duration = Duration::from_secs(1);

/// The sampler's results and those who listen.
pub(crate) struct Feed {
    latest: Mutex<Latest>,
    news: broadcast::Sender<Message>,
    streams: Arc<Semaphore>,
    stopping: Option<watch::Receiver<bool>>,
}

#[derive(Default)]
struct Latest {
    /// Number of the newest message, also its event id.
    id: u64,
    overview: Overview,
    samples: VecDeque<Sample>,
}

/// A serialized event; all tabs share the text.
#[derive(Clone)]
struct Message {
    id: u64,
    text: Arc<str>,
}

impl Feed {
    /// Takes a first sample and starts the task that takes the others.
    pub(crate) fn start(
        source: Arc<dyn Source>,
        stopping: Option<watch::Receiver<bool>>,
    ) -> Arc<Self> {
        let feed = Arc::new(Self {
            latest: Mutex::default(),
            news: broadcast::channel(BACKLOG).0,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stopping: stopping.clone(),
        });
        feed.take(source.overview());
        tokio::spawn(sample(Arc::downgrade(&feed), source, stopping));
        feed
    }

    /// The newest overview, at most a second old.
    pub(crate) fn overview(&self) -> Overview {
        self.latest().overview.clone()
    }

    /// A stream for one tab: the full state, then what follows. `None` if there are too many.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
    ) -> Option<impl Stream<Item = Result<sse::Event, Infallible>> + use<>> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        let reader = Reader {
            news: self.news.subscribe(),
            feed: Arc::downgrade(self),
            seen: None,
            _permit: permit,
        };
        let messages = stream::unfold(reader, |mut reader| async move {
            let message = reader.next().await?;
            Some((message, reader))
        });
        let events = messages.map(|message| {
            Ok(sse::Event::default()
                .id(message.id.to_string())
                .data(&*message.text))
        });
        Some(events.take_until(stopped(self.stopping.clone())))
    }

    /// Adds one sample and tells every tab.
    fn take(&self, overview: Overview) {
        let sample = overview.now;
        let event = {
            let mut latest = self.latest();
            latest.id += 1;
            latest.samples.push_back(sample);
            if latest.samples.len() > SAMPLES_KEPT {
                latest.samples.pop_front();
            }
            let changed = !same_but_figures(&latest.overview, &overview);
            latest.overview = overview;
            let event = if changed {
                Event::Changed {
                    overview: latest.overview.clone(),
                    sample,
                }
            } else {
                Event::Sample { sample }
            };
            message(latest.id, &event)
        };
        // No tab listens: fine.
        let _ = self.news.send(event);
    }

    fn state(&self) -> Message {
        let latest = self.latest();
        let event = Event::State {
            overview: latest.overview.clone(),
            samples: latest.samples.iter().copied().collect(),
        };
        message(latest.id, &event)
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        // Nothing panics while holding the lock; a sample is whole or absent either way.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One tab.
struct Reader {
    news: broadcast::Receiver<Message>,
    feed: Weak<Feed>,
    /// Id of the newest message sent to it; `None` before the full state.
    seen: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Message> {
        let Some(mut seen) = self.seen else {
            return self.start_over();
        };
        loop {
            match self.news.recv().await {
                // What was sent between subscribing and the full state is part of the state.
                Ok(message) if message.id <= seen => {}
                Ok(message) => {
                    seen = message.id;
                    self.seen = Some(seen);
                    return Some(message);
                }
                // The oldest were dropped: too slow for deltas.
                Err(broadcast::error::RecvError::Lagged(_)) => return self.start_over(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn start_over(&mut self) -> Option<Message> {
        let message = self.feed.upgrade()?.state();
        self.seen = Some(message.id);
        Some(message)
    }
}

async fn sample(
    feed: Weak<Feed>,
    source: Arc<dyn Source>,
    stopping: Option<watch::Receiver<bool>>,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = stopped(stopping);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut stopped => return,
        }
        let Some(feed) = feed.upgrade() else { return };
        feed.take(source.overview());
    }
}

/// Ends when the process stops; never, if it was not told how to learn that.
async fn stopped(stopping: Option<watch::Receiver<bool>>) {
    match stopping {
        Some(mut stopping) => {
            // An error means that the sender is gone, and with it the process's main loop.
            let _ = stopping.wait_for(|stop| *stop).await;
        }
        None => std::future::pending().await,
    }
}

fn message(id: u64, event: &Event) -> Message {
    let text =
        serde_json::to_string(event).expect("plain structs with string keys always serialize");
    Message {
        id,
        text: text.into(),
    }
}

fn same_but_figures(one: &Overview, other: &Overview) -> bool {
    one.identity == other.identity && one.raft == other.raft && one.alarms == other.alarms
}
