//! What stands between a user and the first merge: reading, checking and ordering a plan.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lexpr::plan::check::check;
use lexpr::plan::graph::Graph;

/// Dependencies of each item on average.
const MEAN_DEGREE: usize = 3;

/// A plan of `items` items, each depending on up to twice [`MEAN_DEGREE`] earlier ones.
fn document(items: usize) -> String {
    let mut text = String::from("schemaVersion: v1\ngates: [{name: unit, run: 'true'}]\nitems:\n");
    // A fixed sequence that looks random enough: the multiplier of Knuth's MMIX.
    let mut state = 42_u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for at in 0..items {
        let mut deps: Vec<usize> =
            (0..next(2 * MEAN_DEGREE + 1)).map(|_| next(at.max(1))).filter(|dep| *dep < at).collect();
        deps.sort_unstable();
        deps.dedup();
        let deps: Vec<String> = deps.iter().map(|dep| format!("pr-{dep}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "  - {{ name: pr-{at}, deps: [{}] }}", deps.join(", "));
    }
    text
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for items in [100, 1_000, 10_000] {
        let text = document(items);
        group.throughput(Throughput::Elements(items as u64));
        group.bench_with_input(BenchmarkId::new("check", items), &text, |bench, text| {
            bench.iter(|| check("plan.yaml", black_box(text.as_bytes())));
        });
        let checked = check("plan.yaml", text.as_bytes()).expect("the document is a valid plan");
        group.bench_with_input(BenchmarkId::new("order", items), &checked.plan.items, |bench, items| {
            bench.iter(|| Graph::new(black_box(items.clone()), &[]));
        });
    }
    group.finish();
}

criterion_group!(benches, plan);
criterion_main!(benches);
