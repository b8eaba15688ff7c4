//! Medians over the rounds, and ratios between two servers.

use std::fmt;

use crate::measure::{Cell, ServerCost};

/// Marks a figure in which kvorum is behind etcd.
pub(crate) const LOST: &str = " LOST";

/// The medians of one server in one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) server: Option<ServerCost>,
    pub(crate) client_cpu_us: f64,
    pub(crate) client_cores: f64,
    pub(crate) errors: u64,
}

/// The middle value, or the mean of the middle two; zero of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

impl Summary {
    pub(crate) fn of(cells: &[Cell]) -> Self {
        let over = |read: fn(&Cell) -> f64| median(cells.iter().map(read));
        let costs: Option<Vec<_>> = cells.iter().map(|cell| cell.server).collect();
        let server = costs.filter(|costs| !costs.is_empty()).map(|costs| {
            let over = |read: fn(&ServerCost) -> f64| median(costs.iter().map(read));
            ServerCost {
                cpu_us: over(|cost| cost.cpu_us),
                written_bytes: over(|cost| cost.written_bytes),
                resident_mib: over(|cost| cost.resident_mib),
            }
        });
        Self {
            per_second: over(|cell| cell.per_second),
            p50_us: over(|cell| cell.p50_us),
            p99_us: over(|cell| cell.p99_us),
            p999_us: over(|cell| cell.p999_us),
            server,
            client_cpu_us: over(|cell| cell.client_cpu_us),
            client_cores: over(|cell| cell.client_cores),
            errors: cells.iter().map(|cell| cell.errors).sum(),
        }
    }
}

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// kvorum's figure over etcd's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// `None` when etcd's figure is zero.
    pub(crate) value: Option<f64>,
    pub(crate) lost: bool,
}

impl Ratio {
    /// Lost is decided on the figures themselves, so that a ratio that rounds to 1.00 can be lost too.
    pub(crate) fn new(etcd: f64, kvorum: f64, better: Better) -> Self {
        let lost = match better {
            Better::Higher => kvorum < etcd,
            Better::Lower => kvorum > etcd,
        };
        Self {
            value: (etcd > 0.0).then(|| kvorum / etcd),
            lost,
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) if value >= 9.95 => write!(f, "{value:.1}x")?,
            Some(value) => write!(f, "{value:.2}x")?,
            None => f.write_str("-")?,
        }
        f.write_str(if self.lost { LOST } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_a_row_is_taken_per_figure() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
        let cell = |per_second, p99_us, cpu_us| Cell {
            per_second,
            p99_us,
            server: Some(ServerCost {
                cpu_us,
                ..ServerCost::default()
            }),
            errors: 1,
            ..Cell::default()
        };
        let summary = Summary::of(&[
            cell(1.0, 30.0, 5.0),
            cell(2.0, 10.0, 6.0),
            cell(3.0, 20.0, 4.0),
        ]);
        assert_eq!(
            (summary.per_second, summary.p99_us, summary.errors),
            (2.0, 20.0, 3)
        );
        assert_eq!(summary.server.expect("all cells have costs").cpu_us, 5.0);
    }

    #[test]
    fn a_ratio_knows_when_it_is_lost() {
        assert!(Ratio::new(100.0, 99.9, Better::Higher).lost);
        assert!(!Ratio::new(100.0, 99.9, Better::Lower).lost);
        assert!(Ratio::new(0.0, 1.0, Better::Lower).lost);
        assert_eq!(
            Ratio::new(0.0, 0.0, Better::Lower),
            Ratio {
                value: None,
                lost: false
            }
        );
        assert_eq!(Ratio::new(4.0, 10.0, Better::Higher).value, Some(2.5));
    }
}
