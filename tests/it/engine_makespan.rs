//! How close a run comes to the shortest that its plan allows, in virtual time: the longest chain of gates, or
//! all of them spread over the workers without a gap, whichever is longer.

use std::collections::BTreeSet;

use lexpr::core::critical_path::lengths;
use lexpr::vocabulary::event::FinalStatus;

use crate::random::Random;
use crate::sim::{Effect, ItemSpec, World, gate};

/// A sample; `LEXPR_MAKESPAN_PLANS` asks for more.
const PLANS: u64 = 100;

/// Gates take up to this long, and a tenth of it at least.
const LONGEST_MS: usize = 10_000;

struct Case {
    world: World,
    /// How long each item's own gate takes.
    takes_ms: Vec<u64>,
}

/// A random plan: each item has a gate of its own that takes a time of its own, known from earlier runs, and may
/// depend on a few earlier ones. That it lands takes no time.
fn plan(seed: u64) -> Case {
    let mut random = Random(seed);
    let items = 10 + random.below(90);
    let (workers, most_deps) = ([2, 4, 8, 16][random.below(4)], random.below(4));
    let mut world = World::of("").workers(workers);
    let mut takes_ms = Vec::new();
    for at in 0..items {
        let deps: BTreeSet<usize> =
            (0..random.below(most_deps + 1)).filter(|_| at > 0).map(|_| random.below(at.max(1))).collect();
        let (name, run) = (format!("i{at}"), format!("work{at}"));
        let ms = (LONGEST_MS / 10 + random.below(LONGEST_MS * 9 / 10)) as u64;
        let own = [gate("work").running(&run).only_on_cones(), gate("apex").only_on_apexes()];
        world.items.push(ItemSpec {
            name: name.clone(),
            deps: deps.into_iter().map(|dep| format!("i{dep}")).collect(),
            gates: Some(own.into()),
            ..ItemSpec::default()
        });
        world = world.when(&run, &[], Effect::Takes(ms));
        world.durations.push((run, ms));
        takes_ms.push(ms);
    }
    Case { world: world.when("apex", &[], Effect::Takes(0)), takes_ms }
}

/// What the run took over what it had to take.
fn ratio(Case { world, takes_ms }: &Case) -> f64 {
    let outcome = world.run();
    assert_eq!(outcome.with_status(FinalStatus::Landed).len(), world.items.len());
    // A cone's gates are those of all it holds, each with its own duration.
    let graph = &outcome.graph;
    let takes = |ix| takes_ms[graph.name(ix).as_str()[1..].parse::<usize>().unwrap()];
    let cones: Vec<u64> =
        graph.indices().map(|ix| takes(ix) + graph.closure(ix).into_iter().map(takes).sum::<u64>()).collect();
    let mut chains = vec![0; graph.len()];
    for ix in graph.indices() {
        let before = graph.deps(ix).iter().map(|dep| chains[dep.get()]).max().unwrap_or(0);
        chains[ix.get()] = before + cones[ix.get()];
    }
    let longest = chains.iter().copied().max().unwrap();
    let spread = cones.iter().sum::<u64>().div_ceil(u64::from(world.limits.max_workers));
    outcome.took_ms as f64 / longest.max(spread) as f64
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is for docs/performance.md")]
fn known_durations_bring_runs_within_a_twentieth_of_the_shortest_there_can_be() {
    let plans = std::env::var("LEXPR_MAKESPAN_PLANS").map_or(PLANS, |plans| plans.parse().unwrap());
    let mut cases: Vec<Case> = (0..plans).map(plan).collect();
    let mean = |cases: &[Case]| cases.iter().map(ratio).sum::<f64>() / cases.len() as f64;
    let known = mean(&cases);
    cases.iter_mut().for_each(|case| case.world.durations.clear());
    let guessed = mean(&cases);
    println!("{plans} plans: {known:.4} times the shortest, {guessed:.4} where no duration is known");
    assert!((1.0..=1.05).contains(&known), "{known}");
    assert!(guessed > known, "{guessed}: it is no help to know how long gates take");
}

#[test]
fn what_is_on_the_critical_path_counts_what_its_dependents_run() {
    let world = World::of("a b:a c").gates([gate("unit"), gate("lint").optional()]);
    let outcome = world.clone().run();
    // Nothing is known: two gates of a second each, and what an item takes besides.
    assert_eq!(lengths(&outcome.graph, &Default::default()), [4002, 2001, 2001]);
    let known = World { durations: vec![("unit".to_owned(), 300), ("lint".to_owned(), 5)], ..world };
    assert_eq!(lengths(&outcome.graph, &known.run().setup.durations), [612, 306, 306]);
    // What is not known is guessed from the others.
    let guessed = World { durations: vec![("unit".to_owned(), 300)], ..known };
    assert_eq!(lengths(&outcome.graph, &guessed.run().setup.durations), [1202, 601, 601]);
}
