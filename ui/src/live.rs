//! What the event stream has told so far, and whether it still does.

use std::collections::VecDeque;

use kvorum_api::{Event, Overview, Sample};

/// As many seconds as the server keeps.
const SAMPLES_KEPT: usize = 600;
/// Figures older than this are marked.
const STALE_AFTER_MS: u64 = 3500;

/// The state of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing has arrived yet.
    #[default]
    Connecting,
    /// Figures arrive.
    Live,
    /// Connected, but the last figures are old.
    Stale,
    /// The connection is lost; the browser tries again.
    Reconnecting,
}

/// Everything the Overview shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// `None` until the first state arrived.
    pub(crate) overview: Option<Overview>,
    /// Oldest first.
    pub(crate) samples: VecDeque<Sample>,
    /// True between an open and the next error of the connection.
    pub(crate) connected: bool,
    /// When the last event arrived, by the browser's clock.
    heard_ms: u64,
}

impl Live {
    /// Takes one event.
    pub(crate) fn apply(&mut self, event: Event, now_ms: u64) {
        self.connected = true;
        self.heard_ms = now_ms;
        match event {
            Event::State { overview, samples } => {
                self.overview = Some(overview);
                self.samples = samples.into();
            }
            Event::Changed { overview, sample } => {
                self.overview = Some(overview);
                self.push(sample);
            }
            Event::Sample { sample } => {
                if let Some(overview) = &mut self.overview {
                    overview.now = sample;
                }
                self.push(sample);
            }
        }
    }

    fn push(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES_KEPT {
            self.samples.pop_front();
        }
    }

    /// Judges the connection at a time of the browser's clock.
    pub(crate) fn link(&self, now_ms: u64) -> Link {
        match (&self.overview, self.connected) {
            (None, _) => Link::Connecting,
            (_, false) => Link::Reconnecting,
            _ if self.age_ms(now_ms) > STALE_AFTER_MS => Link::Stale,
            _ => Link::Live,
        }
    }

    /// How old the figures are.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(unix_ms: u64) -> Sample {
        Sample {
            unix_ms,
            ..Sample::default()
        }
    }

    fn state() -> Event {
        Event::State {
            overview: Overview::default(),
            samples: vec![sample(1)],
        }
    }

    #[test]
    fn a_sample_updates_the_figures_and_the_curve() {
        let mut live = Live::default();
        live.apply(state(), 0);
        live.apply(Event::Sample { sample: sample(2) }, 0);
        assert_eq!(live.samples.len(), 2);
        assert_eq!(live.overview.expect("state was applied").now.unix_ms, 2);
    }

    #[test]
    fn a_second_state_replaces_the_first() {
        let mut live = Live::default();
        live.apply(state(), 0);
        live.apply(state(), 0);
        assert_eq!(live.samples.len(), 1);
    }

    #[test]
    fn the_curve_is_bounded() {
        let mut live = Live::default();
        for second in 0..2000 {
            live.apply(
                Event::Sample {
                    sample: sample(second),
                },
                0,
            );
        }
        assert_eq!(live.samples.len(), SAMPLES_KEPT);
        assert_eq!(live.samples[0].unix_ms, 2000 - SAMPLES_KEPT as u64);
    }

    #[test]
    fn silence_makes_the_figures_stale() {
        let mut live = Live::default();
        assert_eq!(live.link(0), Link::Connecting);
        live.apply(state(), 1000);
        assert_eq!(live.link(2000), Link::Live);
        assert_eq!(live.link(9000), Link::Stale);
        live.connected = false;
        assert_eq!(live.link(9000), Link::Reconnecting);
    }
}
