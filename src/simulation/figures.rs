//! What a run cost and what came of it.

use serde::Serialize;

/// One run of one strategy on one [`super::world::World`], in virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When each item landed, in milliseconds since the beginning; `None` for those that did not. By
    /// canonical position.
    pub landed_ms: Vec<Option<u64>>,
    /// Runs of gates but for second opinions.
    pub gate_runs: u64,
    /// What failed, run once more on the same tree before somebody was ejected for it.
    pub second_opinions: u64,
    /// What all runs took together, second opinions among them, in milliseconds.
    pub gate_ms: u64,
    /// From the beginning to the end of the last run or landing, in milliseconds.
    pub makespan_ms: u64,
}

/// What several runs of one strategy come to on average.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub runs: u64,
    pub items: u64,
    /// Items that landed, of all in all runs.
    pub landed: u64,
    pub gate_runs_per_landed_item: f64,
    pub gate_seconds_per_landed_item: f64,
    pub second_opinions_per_landed_item: f64,
    /// Mean over the runs.
    pub makespan_seconds: f64,
    /// How long items that landed waited for it.
    pub wait_seconds: Percentiles,
    /// Items that were ejected although they were not broken and clashed with nothing that landed, for
    /// each hundred.
    pub wrong_ejections_per_hundred_items: f64,
    /// Items that landed although they are broken, or clash with one that landed. A gate that is no flake
    /// lets none through.
    pub wrong_landings: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}
