//! What a run cost and what came of it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::world::World;

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
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
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

#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// What the runs of one strategy come to, each with the world it was in.
pub fn figures(runs: &[(Arc<World>, Outcome)]) -> Figures {
    let sum = |of: fn(&Outcome) -> u64| runs.iter().map(|(_, outcome)| of(outcome)).sum::<u64>();
    let items: usize = runs.iter().map(|(world, _)| world.len()).sum();
    let mut waits: Vec<u64> =
        runs.iter().flat_map(|(_, outcome)| outcome.landed_ms.iter().flatten().copied()).collect();
    waits.sort_unstable();
    let (mut wrong_ejections, mut wrong_landings) = (0, 0);
    for (world, Outcome { landed_ms, .. }) in runs {
        let landed = |item: usize| landed_ms[item].is_some();
        for item in 0..world.len() {
            let clashes = world.clashes(item).any(landed);
            // Of two that clash the one that came second is wrong.
            let came_second = || world.clashes(item).any(|other| landed(other) && landed_ms[other] <= landed_ms[item]);
            match landed(item) {
                true => wrong_landings += u64::from(world.is_broken(item) || came_second()),
                false => wrong_ejections += u64::from(!world.is_broken(item) && !clashes),
            }
        }
    }
    let landed = waits.len() as u64;
    let per_landed = |amount: u64| ratio(amount, landed);
    Figures {
        runs: runs.len() as u64,
        items: items as u64,
        landed,
        gate_runs_per_landed_item: per_landed(sum(|outcome| outcome.gate_runs)),
        gate_seconds_per_landed_item: per_landed(sum(|outcome| outcome.gate_ms)) / 1000.0,
        second_opinions_per_landed_item: per_landed(sum(|outcome| outcome.second_opinions)),
        makespan_seconds: ratio(sum(|outcome| outcome.makespan_ms), runs.len() as u64) / 1000.0,
        wait_seconds: Percentiles { p50: at(&waits, 50), p90: at(&waits, 90), p99: at(&waits, 99) },
        wrong_ejections_per_hundred_items: 100.0 * ratio(wrong_ejections, items as u64),
        wrong_landings,
    }
}

/// Of nothing: nothing.
fn ratio(amount: u64, of: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a simulation of 2^52 runs does not end")]
    let ratio = amount as f64 / of.max(1) as f64;
    ratio
}

/// In seconds: what so many of a hundred stay below, by the nearest rank.
fn at(sorted_ms: &[u64], of_a_hundred: usize) -> f64 {
    let rank = (sorted_ms.len() * of_a_hundred).div_ceil(100).saturating_sub(1);
    sorted_ms.get(rank).map_or(0.0, |ms| ratio(*ms, 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::world::Rates;

    #[test]
    fn who_lands_or_does_not_against_the_truth_is_counted() {
        let rates = Rates { fail: 0.0, clash: 1.0, flake: 0.0 };
        // Each of three clashes with both others.
        let clashing = Arc::new(World::draw(3, rates, 1));
        let broken = Arc::new(World::draw(1, Rates { fail: 1.0, clash: 0.0, flake: 0.0 }, 1));
        let fine = Arc::new(World::draw(1, Rates { fail: 0.0, clash: 0.0, flake: 0.0 }, 1));
        let outcome = |landed_ms: &[Option<u64>]| Outcome {
            landed_ms: landed_ms.to_vec(),
            gate_runs: 4,
            second_opinions: 2,
            gate_ms: 12_000,
            makespan_ms: 6_000,
        };
        let runs = [
            (Arc::clone(&clashing), outcome(&[Some(1000), None, None])),
            (clashing, outcome(&[Some(1000), Some(3000), None])),
            (Arc::clone(&broken), outcome(&[Some(2000)])),
            (broken, outcome(&[None])),
            (fine, outcome(&[None])),
        ];
        let figures = figures(&runs);
        assert_eq!((figures.runs, figures.items, figures.landed), (5, 9, 4));
        assert_eq!((figures.wrong_landings, figures.wrong_ejections_per_hundred_items), (2, 100.0 / 9.0));
        assert_eq!((figures.gate_runs_per_landed_item, figures.second_opinions_per_landed_item), (5.0, 2.5));
        assert_eq!((figures.gate_seconds_per_landed_item, figures.makespan_seconds), (15.0, 6.0));
        assert_eq!(figures.wait_seconds, Percentiles { p50: 1.0, p90: 3.0, p99: 3.0 });
    }
}
