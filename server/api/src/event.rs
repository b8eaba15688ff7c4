//! The one event stream of a browser tab.

use serde::{Deserialize, Serialize};

use crate::{Overview, Sample};

/// One message of `/admin/v1/events`. The first is always `State`; a reader that fell behind gets `State` again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Everything: replaces whatever the reader holds.
    State {
        /// What the member is and stands at now.
        overview: Overview,
        /// The last minutes, oldest first.
        samples: Vec<Sample>,
    },
    /// One second has passed and nothing but figures changed.
    Sample {
        /// The figures.
        sample: Sample,
    },
    /// One second has passed and the slower part (leader, term, alarms, …) changed with it.
    Changed {
        /// What the member is and stands at now.
        overview: Overview,
        /// The figures of this second.
        sample: Sample,
    },
}
