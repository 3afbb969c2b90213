//! What the strategies spend, by the simulator: the figures that lexpr promises, and that no simulated run
//! lets through what is broken.

use std::sync::Arc;

use lexpr::core::limits::{Limits, Outcomes};
use lexpr::plan::check::check;
use lexpr::plan::file::DEFAULT_BATCH_SIZE;
use lexpr::plan::graph::Graph;
use lexpr::plan::{GroupSize, Landing, Policy, Spend};
use lexpr::simulation::Setting;
use lexpr::simulation::contest::Contestant;
use lexpr::simulation::figures::Figures;
use lexpr::simulation::peers::entropy_bound;
use lexpr::simulation::run::{Scenario, independent, run};
use lexpr::simulation::world::{Rates, World};

const GATE_MS: u64 = 1000;

fn policy() -> Policy {
    check("plan.yaml", b"schemaVersion: v1\nitems: [{ name: a }]\n").unwrap().plan.policy
}

fn scenario(items: usize) -> Scenario {
    let (items, gate) = independent(items);
    let policy = policy();
    let limits = Limits {
        landing: policy.landing,
        elsewhere: 0,
        max_workers: 1,
        workers_at_first: None,
        batch_size: DEFAULT_BATCH_SIZE,
        fail_fast: policy.fail_fast,
        second_opinion: policy.second_opinion,
        spend: policy.spend,
        max_rebases: policy.max_rebases,
        history: Outcomes::default(),
        groups: None,
    };
    Scenario {
        graph: Arc::new(Graph::new(items, &[]).unwrap()),
        group_size: policy.group_size,
        policy: Arc::new(policy),
        limits,
        gate_ms: [(gate, GATE_MS)].into(),
        beforehand: Arc::default(),
    }
}

/// Enough for the figures to be within two or three hundredths of what they tend to.
const SEEDS: std::ops::Range<u64> = 0..60;
/// What befalls one item in ten thousand needs more of them.
const SEEDS_OF_RARE_THINGS: std::ops::Range<u64> = 0..150;

fn lands(contestant: Contestant, items: usize, rates: Rates, workers: usize) -> Figures {
    let setting = Setting { workers, gate_ms: GATE_MS, spread: 0.0, second_opinion: true, is_first_run: false };
    // What flakes does harm by two lies of one gate only.
    let seeds = if rates.flake > 0.0 { SEEDS_OF_RARE_THINGS } else { SEEDS };
    contestant.compete(&scenario(items), rates, &setting, seeds).unwrap()
}

fn failing(fail: f64) -> Rates {
    Rates { fail, clash: 0.0, flake: 0.0 }
}

#[test]
fn a_batch_takes_hardly_more_gate_runs_than_who_fails_has_entropy() {
    for fail in [0.01, 0.05, 0.1, 0.2] {
        let figures = lands(Contestant::Batch, 100, failing(fail), 1);
        let most = 1.08 * entropy_bound(fail) + 2.0 / 100.0;
        let runs = figures.gate_runs_per_landed_item;
        assert!(runs <= most, "{runs} for each landed item at {fail}, and {most} at most");
        assert!((figures.landed as f64 / figures.items as f64 - (1.0 - fail)).abs() < 0.01, "{figures:?}");
        assert_eq!((figures.wrong_landings, figures.wrong_ejections_per_hundred_items), (0, 0.0));
    }
}

#[test]
fn a_batch_takes_fewer_gate_runs_than_other_queues() {
    let runs = |contestant| lands(contestant, 100, failing(0.05), 8).gate_runs_per_landed_item;
    let batch = runs(Contestant::Batch);
    let saved = |contestant| 1.0 - batch / runs(contestant);
    assert!(saved(Contestant::BorsOnAll) >= 0.3);
    assert!(saved(Contestant::Bors8).min(saved(Contestant::Bors16)) >= 0.24);
    for other in [Contestant::Serial, Contestant::Zuul, Contestant::SubmitQueue] {
        assert!(saved(other) >= 0.7, "{}", other.name());
    }
    assert!(saved(Contestant::PrefixBisection) >= -0.03, "{}", saved(Contestant::PrefixBisection));
}

#[test]
fn groups_take_hardly_longer_than_there_is_work_for_the_workers() {
    for (workers, most) in [(2, 20.0), (8, 8.6), (32, 5.2)] {
        let setting = Setting { workers, gate_ms: GATE_MS, spread: 0.0, second_opinion: false, is_first_run: false };
        let mut scenario = scenario(100);
        scenario.limits.batch_size = 100;
        let figures = Contestant::Groups.compete(&scenario, failing(0.05), &setting, 0..40).unwrap();
        let gate_times = figures.makespan_seconds * 1000.0 / GATE_MS as f64;
        assert!(gate_times <= most, "{gate_times} gate times on {workers} workers, and {most} at most");
    }
}

#[test]
fn a_train_takes_no_more_gate_runs_and_no_longer_than_zuuls() {
    for (fail, workers) in [(0.05, 8), (0.2, 4)] {
        let ours = lands(Contestant::Train, 100, failing(fail), workers);
        let zuuls = lands(Contestant::Zuul, 100, failing(fail), workers);
        let runs = ours.gate_runs_per_landed_item / zuuls.gate_runs_per_landed_item;
        let time = ours.makespan_seconds / zuuls.makespan_seconds;
        assert!(runs <= 1.02 && time <= 1.02, "{runs} of the runs and {time} of the time at {fail} on {workers}");
        assert_eq!((ours.wrong_landings, ours.wrong_ejections_per_hundred_items), (0, 0.0));
        assert_eq!(ours.landed, zuuls.landed);
    }
}

#[test]
fn a_train_keeps_many_workers_busy_where_little_fails() {
    let seconds = lands(Contestant::Train, 100, failing(0.01), 32).makespan_seconds;
    // One after another it would be a hundred.
    assert!(seconds <= 6.0, "{seconds} s on 32 workers");
}

#[test]
fn a_gate_that_lies_lets_nothing_through_and_ejects_hardly_anybody() {
    let rates = Rates { fail: 0.05, clash: 0.02, flake: 0.01 };
    // The pyramid gates each item by itself, so that one in ten thousand meets two lies.
    let most = [
        (Contestant::Batch, 0.01),
        (Contestant::BatchForTime, 0.01),
        (Contestant::Groups, 0.02),
        (Contestant::Pyramid, 0.02),
        (Contestant::Train, 0.02),
    ];
    for (contestant, most) in most {
        let figures = lands(contestant, 100, rates, 8);
        assert_eq!(figures.wrong_landings, 0, "{}", contestant.name());
        assert!(figures.wrong_ejections_per_hundred_items <= most, "{}: {figures:?}", contestant.name());
    }
}

#[test]
fn invariant_8_what_lands_in_a_simulation_hangs_on_no_width_and_on_no_timing() {
    let rates = Rates { fail: 0.1, clash: 0.1, flake: 0.0 };
    let world = Arc::new(World::draw(40, rates, 3));
    let ways = [(Landing::Pyramid, 1), (Landing::Pyramid, 4), (Landing::Batch, 1), (Landing::Train, 1)];
    for (landing, together) in ways {
        let landed = |workers, spend, gate_ms| {
            let setting = Setting { workers, gate_ms, spread: 0.0, second_opinion: true, is_first_run: false };
            let mut scenario = scenario(40);
            scenario.limits = Limits { landing, spend, ..scenario.limits.clone() };
            scenario.group_size = GroupSize::Fixed(together);
            let outcome = run(&scenario, &world, &setting).unwrap();
            outcome.landed_ms.iter().map(Option::is_some).collect::<Vec<_>>()
        };
        let alone = landed(1, Spend::Gates, GATE_MS);
        assert!(alone.contains(&true) && alone.contains(&false));
        for workers in [2, 5, 64] {
            assert_eq!(landed(workers, Spend::Time, 7), alone, "{landing:?}, {together} together, on {workers}");
        }
    }
}
