//! When nobody was at the run, and how long it took without that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// No process had the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// When its newest event before was recorded, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    pub to_ms: u64,
}

/// How long it has been going on at a time, without the pauses; both in milliseconds since the Unix epoch.
pub fn run_time_ms(pauses: &[Pause], started_at_ms: u64, at_ms: u64) -> u64 {
    let paused = |pause: &Pause| at_ms.min(pause.to_ms).saturating_sub(pause.from_ms);
    let paused_ms = pauses.iter().map(paused).fold(0, u64::saturating_add);
    at_ms.saturating_sub(started_at_ms).saturating_sub(paused_ms)
}
