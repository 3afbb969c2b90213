//! Properties of every run, over random plans, verdicts, clashes, conflicts, flakes, durations,
//! widths and mishaps.

use lexpr::plan::Spend;
use lexpr::vocabulary::event::{Event, FinalItem, ItemVerdict};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::sim::{Effect, GateSpec, ItemSpec, Mishap, Outcome, Rule, Stop, World, gate, oracle};

const MOST_ITEMS: usize = 30;

/// Everything about a world that may change how long things take and who is first.
#[derive(Clone, Debug)]
struct Pace {
    workers: u32,
    seed: u64,
    longest_gate_ms: u64,
    longest_hand_ms: u64,
    spend: Spend,
    memory_limited: bool,
}

fn paces() -> impl Strategy<Value = Pace> {
    let gate_ms = prop_oneof![Just(0_u64), Just(10), Just(5000)];
    let hand_ms = prop_oneof![Just(0_u64), Just(10), Just(3000)];
    (1_u32..7, any::<u64>(), gate_ms, hand_ms, any::<bool>(), any::<bool>()).prop_map(
        |(workers, seed, longest_gate_ms, longest_hand_ms, time, memory_limited)| Pace {
            workers,
            seed,
            longest_gate_ms,
            longest_hand_ms,
            spend: if time { Spend::Time } else { Spend::Gates },
            memory_limited,
        },
    )
}

fn at_pace(world: World, pace: &Pace) -> World {
    world.workers(pace.workers).seed(pace.seed).with(|world| {
        world.longest_gate_ms = pace.longest_gate_ms;
        world.longest_hand_ms = pace.longest_hand_ms;
        world.limits.spend = pace.spend;
        if pace.memory_limited {
            // Two jobs are one too many.
            world.memory = vec![10, 60, 120];
            world.memory_threshold = Some(100);
        }
    })
}

fn name(at: usize) -> String {
    format!("i{at}")
}

/// Each item may depend on earlier ones; priorities shuffle the canonical order.
fn items() -> impl Strategy<Value = Vec<ItemSpec>> {
    let item = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0_i64..3, 0_u8..20);
    prop::collection::vec(item, 1..=MOST_ITEMS).prop_map(|items| {
        items
            .into_iter()
            .enumerate()
            .map(|(at, (deps, priority, landed))| {
                let mut deps: Vec<String> =
                    deps.iter().filter(|_| at > 0).map(|dep| name(dep.index(at.max(1)))).collect();
                deps.sort();
                deps.dedup();
                ItemSpec { name: name(at), deps, priority, gates: None, already_landed: landed == 0 }
            })
            .collect()
    })
}

fn subset(items: usize, upto: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((0..items).prop_map(name), 0..=upto).prop_map(|mut names| {
        names.sort();
        names.dedup();
        names
    })
}

fn shared_gates() -> Vec<GateSpec> {
    vec![gate("unit"), gate("lint").optional(), gate("e2e").attempts(2)]
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![
        6 => Just(Effect::Fails),
        3 => Just(Effect::FailsAtFirst(1)),
        1 => Just(Effect::TimesOut),
    ]
}

/// Rules on some of these gates. A rule on few items fails more than one on many.
fn rules(gates: Vec<&'static str>, items: usize, most: usize) -> impl Strategy<Value = Vec<Rule>> {
    let present =
        prop_oneof![1 => subset(items, 0), 8 => subset(items, 1), 8 => subset(items, 2), 6 => subset(items, 3)];
    let absent = prop_oneof![4 => subset(items, 0), 1 => subset(items, 1)];
    let rule = (prop::sample::select(gates), present, absent, effects());
    prop::collection::vec(rule, 0..=most).prop_map(|rules| {
        rules
            .into_iter()
            .map(|(gate, present, absent, effect)| Rule { gate: gate.to_owned(), present, absent, effect })
            .collect()
    })
}

fn pairs(items: usize, most: usize) -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(((0..items), (0..items)), 0..=most)
        .prop_map(|pairs| pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (name(a), name(b))).collect())
}

/// A world in which all items share all gates, and which fails by monotone rules alone: what it
/// comes to can be said by plainer means.
fn plain_worlds() -> impl Strategy<Value = World> {
    items()
        .prop_flat_map(|items| {
            let n = items.len();
            (Just(items), rules(vec!["unit", "lint", "e2e"], n, 5), pairs(n, 3), 1_u32..12, any::<bool>())
        })
        .prop_map(|(mut items, mut rules, conflicts, batch, fail_fast)| {
            for rule in &mut rules {
                rule.absent.clear();
                rule.effect = Effect::Fails;
                if rule.present.is_empty() && rule.gate != "lint" {
                    rule.present.push(name(0));
                }
            }
            items.iter_mut().for_each(|item| item.already_landed = false);
            World { items, rules, conflicts, ..World::of("") }.gates(shared_gates()).batch(batch).with(|world| {
                world.limits.fail_fast = fail_fast;
            })
        })
}

/// Own gates, gates told their item, gates on declared inputs, gates on one side only.
fn gate_lists(items: usize) -> impl Strategy<Value = Vec<Option<Vec<GateSpec>>>> {
    let own = |at: usize| {
        let kinds = vec![
            gate("unit"),
            gate("unit").running("unit2"),
            gate("unit").told_its_item(),
            gate("lint").optional(),
            gate("lint"),
            gate("e2e").attempts(2),
            gate("slow").only_on_apexes(),
            gate("quick").only_on_cones(),
            gate("own").running(["own0", "own1", "own2"][at % 3]),
            gate("part").looking_at(&[&name(at), &name(at / 2)]),
            gate("part").running("half").looking_at(&[&name(at % 2)]),
        ];
        prop_oneof![
            2 => Just(None),
            3 => prop::sample::subsequence(kinds, 0..5).prop_map(Some),
        ]
    };
    (0..items).map(own).collect::<Vec<_>>()
}

/// Anything goes, flakes included.
fn worlds() -> impl Strategy<Value = World> {
    items()
        .prop_flat_map(|items| {
            let n = items.len();
            let gates = vec!["unit", "lint", "e2e", "unit2", "slow", "quick", "own0", "own1", "own2", "part", "half"];
            let knobs = (1_u32..12, any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.1));
            (Just(items), gate_lists(n), rules(gates, n, 10), pairs(n, 4), knobs)
        })
        .prop_map(|(mut items, gates, rules, conflicts, (batch, fail_fast, second_opinion, blocks))| {
            for (item, gates) in items.iter_mut().zip(gates) {
                item.gates = gates;
            }
            World { items, rules, conflicts, ..World::of("") }.gates(shared_gates()).batch(batch).with(|world| {
                world.limits.fail_fast = fail_fast;
                world.limits.second_opinion = second_opinion;
                if blocks {
                    world.block_on.push("sl*".to_owned());
                }
            })
        })
}

/// What a run came to, without anything that may depend on time.
#[derive(Debug, PartialEq)]
struct Result {
    landed: Vec<String>,
    target: String,
    items: Vec<FinalItem>,
    verdicts: Vec<Vec<ItemVerdict>>,
}

fn result(outcome: &Outcome) -> Result {
    let verdicts = outcome.graph.indices().map(|ix| {
        let of_item = |event: &Event| match event {
            Event::ItemDecided(decided) if decided.item == *outcome.graph.name(ix) => Some(decided.gates.clone()),
            _ => None,
        };
        outcome.events.iter().rev().find_map(|recorded| of_item(&recorded.event)).unwrap_or_default()
    });
    Result {
        landed: outcome.landed(),
        target: outcome.hands.target().to_string(),
        items: outcome.end().items.clone(),
        verdicts: verdicts.collect(),
    }
}

/// What may go wrong around a run that ends by itself.
fn mishaps() -> impl Strategy<Value = Vec<Mishap>> {
    let mishap = prop_oneof![
        (1_usize..6).prop_map(Mishap::MovedBeforeLanding),
        (1_usize..4).prop_map(Mishap::RefusedLanding),
        (0_u64..20_000).prop_map(Mishap::Interrupt),
    ];
    prop::collection::vec(mishap, 0..4)
}

/// Ends before the end, at any event or time.
fn stops() -> impl Strategy<Value = Vec<Stop>> {
    let stop = prop_oneof![
        3 => (1_usize..150).prop_map(Stop::Kill),
        2 => (1_usize..150, 0_usize..4).prop_map(|(events, part)| Stop::PowerLoss(events, part)),
        1 => (1_usize..4).prop_map(Stop::KillOnceMoved),
        1 => (0_u64..20_000).prop_map(Stop::Interrupt),
    ];
    prop::collection::vec(stop, 1..6)
}

fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_121),
        asked_for => asked_for,
    }
}

proptest! {
    // The same worlds every time, so that a commit that lands stays green; PROPTEST_RNG_SEED asks for others.
    // PROPTEST_CASES for more of them.
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: seed(), ..ProptestConfig::default() })]

    #[test]
    fn invariants_1_2_6_and_7_hold_in_any_world(world in worlds(), pace in paces()) {
        oracle::check(&at_pace(world, &pace).run());
    }

    #[test]
    fn invariants_1_2_6_and_7_hold_whatever_happens_around_a_run(
        world in worlds(), pace in paces(), mishaps in mishaps(),
        others in prop::collection::vec(0_usize..MOST_ITEMS, 0..3),
        cannot_run in prop::option::of((prop::sample::select(vec!["unit", "slow", "e2e"]), 0_usize..MOST_ITEMS)),
        breaks_off in prop::option::of((prop::sample::select(vec!["unit", "slow", "e2e"]), 0_usize..MOST_ITEMS)),
    ) {
        let n = world.items.len();
        let world = at_pace(world, &pace).with(|world| {
            world.mishaps = mishaps;
            world.conflicts_with_others = others.into_iter().map(|at| name(at % n)).collect();
        });
        let infrastructure = [(cannot_run, Effect::CannotRun), (breaks_off, Effect::BreaksOff)];
        let world = infrastructure.into_iter().fold(world, |world, (what, effect)| match what {
            Some((gate, at)) => world.when(gate, &[&name(at % n)], effect),
            None => world,
        });
        oracle::check(&world.run());
    }

    #[test]
    fn invariant_8_width_pace_and_order_of_completion_change_nothing_that_lasts(
        world in worlds(), one in paces(), other in paces(),
    ) {
        let one = at_pace(world.clone(), &one).run();
        let other = at_pace(world, &other).run();
        prop_assert_eq!(result(&one), result(&other));
    }

    #[test]
    fn invariant_6_a_run_that_is_stopped_anywhere_and_resumed_ends_as_if_it_had_not_been(
        world in worlds(), pace in paces(), other in paces(), stops in stops(),
    ) {
        let undisturbed = at_pace(world.clone(), &pace).run();
        let stopped = at_pace(world, &other).with(|world| world.stops = stops).run();
        oracle::check(&stopped);
        prop_assert_eq!(result(&undisturbed), result(&stopped));
    }

    #[test]
    fn a_run_comes_to_what_trying_one_item_after_another_comes_to(world in plain_worlds(), pace in paces()) {
        prop_assume!(world.items.len() > 1);
        let outcome = at_pace(world, &pace).run();
        let ends: Vec<_> = outcome.end().items.iter().map(|item| (item.name.to_string(), item.status)).collect();
        prop_assert_eq!(ends, oracle::expected(&outcome));
    }
}
