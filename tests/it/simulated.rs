//! What the strategies spend, by the simulator: the figures that lexpr promises, and that no simulated run
//! lets through what is broken.

use std::sync::Arc;

use lexpr::core::limits::Limits;
use lexpr::plan::check::check;
use lexpr::plan::graph::Graph;
use lexpr::plan::{Landing, Policy, Spend};
use lexpr::simulation::Setting;
use lexpr::simulation::figures::{Figures, figures};
use lexpr::simulation::run::{Scenario, independent, run};
use lexpr::simulation::world::{Rates, World};

const GATE_MS: u64 = 1000;

fn policy() -> Policy {
    check("plan.yaml", b"schemaVersion: v1\nitems: [{ name: a }]\n").unwrap().plan.policy
}

fn scenario(items: usize, landing: Landing, spend: Spend) -> Scenario {
    let (items, gate) = independent(items);
    let policy = policy();
    let limits = Limits {
        landing,
        max_workers: 1,
        batch_size: if landing == Landing::Batch { u32::MAX } else { 50 },
        fail_fast: policy.fail_fast,
        second_opinion: policy.second_opinion,
        spend,
        max_rebases: policy.max_rebases,
    };
    Scenario {
        graph: Arc::new(Graph::new(items, &[]).unwrap()),
        policy: Arc::new(policy),
        limits,
        gate_ms: [(gate, GATE_MS)].into(),
    }
}

fn simulated(scenario: &Scenario, rates: Rates, workers: usize, seeds: std::ops::Range<u64>) -> Figures {
    let setting = Setting { workers, gate_ms: GATE_MS, second_opinion: true };
    let runs: Vec<_> = seeds
        .map(|seed| {
            let world = Arc::new(World::draw(scenario.graph.len(), rates, seed));
            let outcome = run(scenario, &world, &setting).unwrap();
            (world, outcome)
        })
        .collect();
    figures(&runs)
}

#[test]
fn trial() {
    let rates = Rates { fail: 0.05, clash: 0.0, flake: 0.0 };
    for landing in [Landing::Pyramid, Landing::Batch] {
        for spend in [Spend::Gates, Spend::Time] {
            for workers in [2, 8, 32] {
                let f = simulated(&scenario(100, landing, spend), rates, workers, 0..40);
                println!(
                    "{landing:?} {spend:?} W={workers}: {:.3} runs {:.3} second {:.1} s makespan, wrong {} {}",
                    f.gate_runs_per_landed_item,
                    f.second_opinions_per_landed_item,
                    f.makespan_seconds,
                    f.wrong_landings,
                    f.wrong_ejections_per_hundred_items
                );
            }
        }
    }
}
