//! What named limits make a run last at least, whatever the strategy and however many workers there are: what claims one
//! runs only so many at once, and begins only so often.

use std::collections::BTreeMap;

use super::price::float;
use super::work::Rehearsed;
use crate::core::claims::Claims;
use crate::core::critical_path::GateDurations;
use crate::plan::Resource;
use crate::plan::graph::Graph;

/// What one limit asks of gates as they are on average, by those of a rehearsal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// Of each millisecond of gate time, so many pass by the clock.
    pub ms_per_ms: f64,
    /// For each gate run, so many milliseconds do.
    pub ms_per_run: f64,
}

/// The bounds that the limits of a plan set.
pub fn bounds(
    graph: &Graph,
    resources: &BTreeMap<String, Resource>,
    rehearsed: &Rehearsed,
    durations: &GateDurations,
) -> Vec<Bound> {
    let claims = Claims::of(graph);
    if claims.is_empty() {
        return Vec::new();
    }
    let runs: Vec<_> = rehearsed.cones.values().chain(&rehearsed.apexes).flatten().copied().collect();
    let (count, all_ms) = (float(runs.len() as u64), float(runs.iter().map(|gate| durations.ms(*gate)).sum()));
    let bound = |(name, resource): (&String, &Resource)| {
        let of_it = || runs.iter().filter_map(|gate| Some((*gate, *claims.needs(*gate).get(name)?)));
        let claimed_ms: f64 = of_it().map(|(gate, amount)| f64::from(amount) * float(durations.ms(gate))).sum();
        let at_once = resource.limit.map_or(f64::INFINITY, f64::from);
        let begun = float(of_it().count() as u64);
        Bound {
            ms_per_ms: claimed_ms / at_once / all_ms.max(1.0),
            ms_per_run: resource.gap.as_secs_f64() * 1000.0 * begun / count.max(1.0),
        }
    };
    resources.iter().map(bound).collect()
}

/// What so many gate runs, which take so long together, last at least.
pub fn at_least_ms(bounds: &[Bound], runs: f64, gate_ms: f64) -> f64 {
    bounds.iter().map(|bound| (bound.ms_per_ms * gate_ms).max(bound.ms_per_run * runs)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lasts_as_long_as_its_scarcest_limit_lets_it() {
        let bounds = [Bound { ms_per_ms: 0.5, ms_per_run: 0.0 }, Bound { ms_per_ms: 0.1, ms_per_run: 200.0 }];
        assert_eq!(at_least_ms(&bounds, 10.0, 10_000.0), 5000.0);
        assert_eq!(at_least_ms(&bounds, 100.0, 10_000.0), 20_000.0);
        assert_eq!(at_least_ms(&[], 100.0, 10_000.0), 0.0);
    }
}
