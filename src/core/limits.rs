//! The numbers that bound a run, taken from the plan's policy and the command line.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::Groups;
use crate::plan::graph::Graph;
use crate::plan::{Landing, Spend};
pub use crate::vocabulary::outcomes::Outcomes;

/// What a strategy may use, and how it should use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub landing: Landing,
    /// Slots that may be in work at once; at least 1.
    pub max_workers: u32,
    /// Gates that may be in work elsewhere at once, besides these: of all runtimes that the plan's gates name.
    pub elsewhere: u32,
    /// Where the pool adapts: so many at first. Then `max_workers` is what it may come to.
    pub workers_at_first: Option<u32>,
    /// Items that land on one apex; at least 1.
    pub batch_size: u32,
    /// A failed required gate ends the judging of its composite.
    pub fail_fast: bool,
    /// A failure that would eject an item is run once more first.
    pub second_opinion: bool,
    pub spend: Spend,
    pub max_rebases: u32,
    /// How items fared in earlier runs; what lands does not hang on it, only how many are gated together.
    pub history: Outcomes,
    /// Which items are gated together on the way to an apex; `None`: each by itself.
    pub groups: Option<Arc<Groups>>,
}

impl Limits {
    /// Slots that may be in work at once, of a pool that was resized to `resized`, if it was.
    pub fn slots(&self, resized: Option<u32>) -> u32 {
        resized.or(self.workers_at_first).unwrap_or(self.max_workers).min(self.max_workers)
    }

    /// Slots of the pool as it begins: the same during a whole run, however it adapts.
    pub fn slots_at_first(&self) -> u32 {
        self.slots(None)
    }

    /// Jobs that may be in work at once, here and elsewhere, as the pool begins.
    pub fn width_at_first(&self) -> u32 {
        self.slots_at_first().saturating_add(self.elsewhere)
    }
}

/// How many gates of these items may be in work elsewhere at once.
pub fn elsewhere(graph: &Graph) -> u32 {
    let gates = graph.indices().flat_map(|ix| graph.gates(ix));
    let runtimes: BTreeMap<_, _> = gates.filter_map(|gate| gate.runtime.elsewhere()).collect();
    runtimes.values().fold(0, |sum: u32, limit| sum.saturating_add(*limit))
}
