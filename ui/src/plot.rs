//! Geometry of the line charts: from samples to SVG paths. No drawing library: a path is a string.

use std::fmt::Write;

/// The drawing's own units; CSS stretches them to the room there is.
pub(crate) const WIDTH: f64 = 600.0;
/// See `WIDTH`.
pub(crate) const HEIGHT: f64 = 150.0;

/// Times and values of one line; `None` is a second without a value.
pub(crate) type Points = Vec<(u64, Option<f64>)>;

/// What part of time and of the values a chart shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Right edge, milliseconds since 1970.
    pub(crate) end_ms: u64,
    /// From left to right edge.
    pub(crate) span_ms: u64,
    /// Value at the top edge.
    pub(crate) top: f64,
}

impl Frame {
    fn x(&self, time_ms: u64) -> f64 {
        let age_ms = self.end_ms.saturating_sub(time_ms) as f64;
        WIDTH * (1.0 - age_ms / self.span_ms as f64)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - (value / self.top).clamp(0.0, 1.0))
    }

    fn shows(&self, time_ms: u64) -> bool {
        time_ms + self.span_ms >= self.end_ms
    }

    /// The time under a point, given as a part of the width.
    pub(crate) fn time_at(&self, part: f64) -> u64 {
        let back = (1.0 - part.clamp(0.0, 1.0)) * self.span_ms as f64;
        self.end_ms.saturating_sub(back as u64)
    }
}

/// The line; it breaks where values are missing.
pub(crate) fn line(points: &Points, frame: Frame) -> String {
    let mut path = String::new();
    for run in runs(points, frame) {
        for (place, (x, y)) in run.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if place == 0 { 'M' } else { 'L' });
        }
        // A lone point has no length; round line ends make it a dot.
        if let [(x, y)] = run[..] {
            let _ = write!(path, "L{x:.1} {y:.1}");
        }
    }
    path
}

/// The surface between the line and zero.
pub(crate) fn area(points: &Points, frame: Frame) -> String {
    let mut path = String::new();
    for run in runs(points, frame) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let _ = write!(path, "M{:.1} {HEIGHT}", first.0);
            for (x, y) in &run {
                let _ = write!(path, "L{x:.1} {y:.1}");
            }
            let _ = write!(path, "L{:.1} {HEIGHT}Z", last.0);
        }
    }
    path
}

fn runs(points: &Points, frame: Frame) -> Vec<Vec<(f64, f64)>> {
    let shown: Vec<_> = points
        .iter()
        .filter(|(time, _)| frame.shows(*time))
        .collect();
    shown
        .split(|(_, value)| value.is_none())
        .filter(|run| !run.is_empty())
        .map(|run| {
            run.iter()
                .filter_map(|(time, value)| Some((frame.x(*time), frame.y((*value)?))))
                .collect()
        })
        .collect()
}

/// The largest value shown, 0 if there is none.
pub(crate) fn peak<'a>(
    lines: impl IntoIterator<Item = &'a Points>,
    end_ms: u64,
    span_ms: u64,
) -> f64 {
    let frame = Frame {
        end_ms,
        span_ms,
        top: 1.0,
    };
    lines
        .into_iter()
        .flatten()
        .filter(|(time, _)| frame.shows(*time))
        .filter_map(|(_, value)| *value)
        .fold(0.0, f64::max)
}

/// A round number not below `peak`, and its half is round too: 1, 2, 4, 6, 8 or 10 times a power of ten.
pub(crate) fn round_top(peak: f64, least: f64) -> f64 {
    let peak = peak.max(least);
    let magnitude = 10f64.powf(peak.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    // Exact powers of ten may come out of the logarithm a hair too small.
    let fits = |step: &f64| step * magnitude >= peak * 0.999_999;
    magnitude * steps.into_iter().find(fits).unwrap_or(10.0)
}

/// The value at or just before a time.
pub(crate) fn value_at(points: &Points, time_ms: u64) -> Option<f64> {
    let behind = points.partition_point(|(time, _)| *time <= time_ms);
    points.get(behind.checked_sub(1)?)?.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        end_ms: 10_000,
        span_ms: 10_000,
        top: 10.0,
    };

    #[test]
    fn the_newest_point_stands_at_the_right_edge() {
        assert_eq!(
            line(&vec![(0, Some(0.0)), (10_000, Some(10.0))], FRAME),
            "M0.0 150.0L600.0 0.0"
        );
    }

    #[test]
    fn a_missing_value_breaks_the_line() {
        let path = line(
            &vec![(8000, Some(5.0)), (9000, None), (10_000, Some(5.0))],
            FRAME,
        );
        assert_eq!(path.matches('M').count(), 2);
    }

    #[test]
    fn points_before_the_frame_are_left_out() {
        let frame = Frame {
            span_ms: 1000,
            ..FRAME
        };
        assert_eq!(
            line(&vec![(1000, Some(1.0)), (10_000, Some(0.0))], frame)
                .matches('M')
                .count(),
            1
        );
        assert_eq!(
            peak(
                [&vec![(1000, Some(99.0)), (10_000, Some(3.0))]],
                10_000,
                1000
            ),
            3.0
        );
    }

    #[test]
    fn tops_are_round_and_so_are_their_halves() {
        let tops =
            [0.0, 0.3, 1.0, 1.1, 37.0, 100.0, 850.0, 4321.0].map(|peak| round_top(peak, 0.1));
        assert_eq!(
            tops.map(|top| format!("{top:.1}")),
            [
                "0.1", "0.4", "1.0", "2.0", "40.0", "100.0", "1000.0", "6000.0"
            ]
        );
    }

    #[test]
    fn the_value_under_the_pointer_is_the_last_known() {
        let points = vec![(1000, Some(1.0)), (2000, Some(2.0))];
        assert_eq!(value_at(&points, 500), None);
        assert_eq!(value_at(&points, 1999), Some(1.0));
        assert_eq!(value_at(&points, 9999), Some(2.0));
    }

    #[test]
    fn the_pointer_names_a_time() {
        assert_eq!(
            [0.0, 0.5, 1.0, 7.0].map(|part| FRAME.time_at(part)),
            [0, 5000, 10_000, 10_000]
        );
    }
}
