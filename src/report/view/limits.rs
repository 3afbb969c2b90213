//! What named limits held back, and for how long.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::event::{Event, HeldBy, LimitOn, Recorded};

/// What one limit held back for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitReport {
    pub limit: LimitOn,
    pub why: HeldBy,
    /// How often.
    pub times: u64,
    /// For how long in all: slots stood empty for what was in use, or nothing of the kind could begin.
    pub held_ms: u64,
}

/// The same of all limits, from the events so far.
#[derive(Clone, Debug, Default)]
pub struct LimitsView {
    /// How often and for how long, in milliseconds.
    held: BTreeMap<(LimitOn, HeldBy), (u64, u64)>,
    /// Why now, and since when.
    now: BTreeMap<LimitOn, (HeldBy, u64)>,
}

impl LimitsView {
    pub(super) fn take_in(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::LimitHeld { limit, why, .. } => {
                self.end(limit, recorded.at_ms);
                self.held.entry((limit.clone(), *why)).or_default().0 += 1;
                self.now.insert(limit.clone(), (*why, recorded.at_ms));
            }
            Event::LimitFreed { limit } => self.end(limit, recorded.at_ms),
            // Nobody knows how long the process that is gone went on holding them.
            Event::RunResumed { .. } => self.now.clear(),
            _ => {}
        }
    }

    fn end(&mut self, limit: &LimitOn, at_ms: u64) {
        if let Some((why, since_ms)) = self.now.remove(limit)
            && let Some((_, held_ms)) = self.held.get_mut(&(limit.clone(), why))
        {
            *held_ms = held_ms.saturating_add(at_ms.saturating_sub(since_ms));
        }
    }

    /// Those that hold something back now, and why.
    pub fn now(&self) -> impl Iterator<Item = (&LimitOn, HeldBy)> {
        self.now.iter().map(|(limit, (why, _))| (limit, *why))
    }

    /// How often this limit has held something back for this reason.
    pub fn times(&self, limit: &LimitOn, why: HeldBy) -> u64 {
        self.held.get(&(limit.clone(), why)).map_or(0, |(times, _)| *times)
    }

    pub fn report(&self) -> Vec<LimitReport> {
        let one = |((limit, why), (times, held_ms)): (&(LimitOn, HeldBy), &(u64, u64))| LimitReport {
            limit: limit.clone(),
            why: *why,
            times: *times,
            held_ms: *held_ms,
        };
        self.held.iter().map(one).collect()
    }
}
