//! From a long story that shows a difference to a short one that still does.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::{
    play::{Flow, Play, Unexplained},
    step::Step,
    suite::Found,
};

/// A short story is worth waiting for, but not for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Plays steps from the beginning; what they show, if anything.
async fn shows(steps: &[Step], tight: bool) -> Option<(usize, Unexplained)> {
    let mut play = Play::start(tight).await;
    for (at, step) in steps.iter().enumerate() {
        match play.step(step).await {
            Ok(Flow::Go) => {}
            Ok(Flow::Parted) => return None,
            Err(what) => return Some((at, what)),
        }
    }
    None
}

/// Leaves steps out for as long as the rest shows a difference, and tells the result.
pub(crate) async fn shortest(mut found: Found) -> String {
    let until = Instant::now() + PATIENCE;
    let kind = found.steps.last().map(Step::kind).unwrap_or_default();
    let mut piece = found.steps.len().div_ceil(2);
    let mut again = shows(&found.steps, found.tight).await.is_some();
    let repeatable = again;
    while again && piece > 0 && Instant::now() < until {
        let mut at = 0;
        while at < found.steps.len() && Instant::now() < until {
            let end = (at + piece).min(found.steps.len());
            let mut fewer = found.steps.clone();
            fewer.drain(at..end);
            match shows(&fewer, found.tight).await {
                // Another difference on the way is another story.
                Some((last, what)) if fewer[last].kind() == kind => {
                    fewer.truncate(last + 1);
                    (found.steps, found.what) = (fewer, what);
                }
                _ => at = end,
            }
        }
        again = piece > 1;
        piece = piece.div_ceil(2).min(piece - 1);
    }
    told(&found, repeatable)
}

fn told(found: &Found, repeatable: bool) -> String {
    const LAST: usize = 60;
    let mut text = format!("seed {}", found.seed);
    if found.tight {
        text.push_str(", on a small store");
    }
    if !repeatable {
        text.push_str(" (not shown again when played a second time)");
    }
    let skipped = found.steps.len().saturating_sub(LAST);
    if skipped > 0 {
        let _infallible = write!(text, ", after {skipped} steps");
    }
    for step in &found.steps[skipped..] {
        let _infallible = write!(text, "\n  {step}");
    }
    text + "\n" + &found.what
}
