//! How many workers there were at a time, where the pool adapts, and why: what `poolResized` says, for
//! every face.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::event::{PoolReason, RunStarted};
use crate::wording::{bytes, count, list};

/// The sizes of a run's pool of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resizing {
    /// How many there were when the run began, and whenever it went on in a new process; 0 where the
    /// pool does not adapt.
    pub at_first: u32,
    /// How many composites may be gated at once now, or could at the end.
    pub workers: u32,
    pub fewest: u32,
    pub most: u32,
    /// In the order they were made.
    pub changes: Vec<PoolChange>,
}

/// One change of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolChange {
    pub at_ms: u64,
    pub from: u32,
    pub to: u32,
    pub reason: PoolReason,
}

impl Resizing {
    pub(super) fn of(run: &RunStarted) -> Self {
        let at_first = run.workers_at_first.unwrap_or(0);
        let workers = run.workers_at_first.unwrap_or(run.max_workers);
        Self { at_first, workers, fewest: workers, most: workers, changes: Vec::new() }
    }

    pub(super) fn resized(&mut self, at_ms: u64, from: u32, to: u32, reason: PoolReason) {
        self.workers = to;
        self.fewest = self.fewest.min(to);
        self.most = self.most.max(to);
        self.changes.push(PoolChange { at_ms, from, to, reason });
    }

    /// In a new process, which may have limits of its own. Journals of before they were told have `None`.
    pub(super) fn begin_again(&mut self, max_workers: Option<u32>, workers_at_first: Option<u32>) {
        match (max_workers, workers_at_first) {
            (Some(_), Some(at_first)) => (self.at_first, self.workers) = (at_first, at_first),
            (Some(fixed), None) => self.workers = fixed,
            (None, _) if self.adapts() => self.workers = self.at_first,
            (None, _) => {}
        }
        self.fewest = self.fewest.min(self.workers);
        self.most = self.most.max(self.workers);
    }

    /// Whether it adapted, if only in one of its processes.
    pub fn adapts(&self) -> bool {
        self.at_first > 0
    }

    /// `the pool had 2 to 6 workers, 5 at the end; changed 4 times: work waits and the machine has room (3), …`.
    pub(super) fn fact(&self) -> String {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for change in &self.changes {
            let word = in_short(&change.reason);
            match reasons.iter_mut().find(|(known, _)| *known == word) {
                Some((_, times)) => *times += 1,
                None => reasons.push((word, 1)),
            }
        }
        if reasons.is_empty() {
            return format!("the pool had {} all the time", count(self.workers as usize, "worker"));
        }
        let reasons = list(reasons.into_iter().map(|(word, times)| format!("{word} ({times})")));
        format!(
            "the pool had {} to {}, {} at the end; changed {}: {reasons}",
            self.fewest,
            count(self.most as usize, "worker"),
            self.workers,
            count(self.changes.len(), "time"),
        )
    }
}

fn in_short(reason: &PoolReason) -> &'static str {
    match reason {
        PoolReason::WorkWaits { .. } => "work waited and the machine had room",
        PoolReason::MemoryTight { .. } => "memory was tight",
        PoolReason::CpuPressure { .. } => "gates waited for processors",
        PoolReason::IoPressure { .. } => "everything waited for the disk",
        PoolReason::NoGain { .. } => "more workers got no more done",
    }
}

/// In percent of a processor: a gate that takes less waits rather than computes, as `core::pool` has it.
const HARDLY_COMPUTES: u32 = 10;

/// Why the pool has another size, with what was measured.
pub fn words(reason: &PoolReason) -> String {
    match reason {
        // Where gates mostly wait, what is idle was no ground for more of them.
        PoolReason::WorkWaits { idle_percent: Some(idle), gate_percent: Some(gate) }
            if *gate < HARDLY_COMPUTES || idle < gate =>
        {
            format!("work waits and gates hardly compute (one takes {gate} % of a processor)")
        }
        PoolReason::WorkWaits { idle_percent: Some(idle), gate_percent: Some(gate) } => {
            let cores = f64::from(*idle) / 100.0;
            format!("{reason} (a gate takes {gate} % of a processor, {cores:.1} were idle)")
        }
        PoolReason::MemoryTight { used_bytes, threshold_bytes } => {
            format!("{reason}: {} in use, threshold {}", bytes(*used_bytes), bytes(*threshold_bytes))
        }
        PoolReason::WorkWaits { .. }
        | PoolReason::CpuPressure { .. }
        | PoolReason::IoPressure { .. }
        | PoolReason::NoGain { .. } => reason.to_string(),
    }
}
