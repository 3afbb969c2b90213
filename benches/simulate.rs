//! What the loop and its strategies take for each item, without git and gates: the same whether there are a thousand or
//! ten thousand, or else something in them grows with the run.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lexpr::core::limits::{Limits, Outcomes};
use lexpr::plan::check::check;
use lexpr::plan::file::DEFAULT_BATCH_SIZE;
use lexpr::plan::graph::Graph;
use lexpr::simulation::Setting;
use lexpr::simulation::contest::Contestant;
use lexpr::simulation::run::{Scenario, independent};
use lexpr::simulation::world::Rates;

const GATE_MS: u64 = 60_000;

fn scenario(items: usize) -> Scenario {
    let (items, gate) = independent(items);
    let policy = check("-", b"schemaVersion: v1\nitems: []\n").expect("a plan without items is one").plan.policy;
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
        graph: Arc::new(Graph::new(items, &[]).expect("nothing depends on anything")),
        group_size: policy.group_size,
        policy: Arc::new(policy),
        limits,
        gate_ms: [(gate, GATE_MS)].into(),
        beforehand: Arc::default(),
    }
}

fn simulate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate");
    group.sample_size(10);
    let setting = Setting { workers: 8, gate_ms: GATE_MS, spread: 0.0, second_opinion: true, is_first_run: false };
    let rates = Rates { fail: 0.05, clash: 0.02, flake: 0.01 };
    for contestant in Contestant::ALL.into_iter().filter(|contestant| contestant.is_ours()) {
        for items in [1_000, 10_000] {
            let scenario = scenario(items);
            group.throughput(Throughput::Elements(items as u64));
            group.bench_with_input(BenchmarkId::new(contestant.name(), items), &scenario, |bench, scenario| {
                bench.iter(|| contestant.compete(scenario, rates, &setting, 1..2).expect("it ends"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, simulate);
criterion_main!(benches);
