//! `maxWorkers: auto` in the engine, in virtual time: the pool grows while gates leave the machine
//! room, keeps what it holds bounded, and changes nothing that lasts.

use lexpr::vocabulary::event::{Event, PoolReason};
use proptest::prelude::*;

use crate::sim::strategies::{result, some_items, stops, worlds};
use crate::sim::{Busyness, Effect, Outcome, Stop, World, oracle};

const WAITING: Busyness = Busyness::Of { cores: 2, percent_a_gate: 1 };
const COMPUTING: Busyness = Busyness::Of { cores: 2, percent_a_gate: 100 };

fn many(items: usize) -> World {
    let names: Vec<String> = (0..items).map(|at| format!("i{at}")).collect();
    World::of(&names.join(" ")).when("unit", &[], Effect::Takes(1300))
}

fn changes(outcome: &Outcome) -> Vec<(u32, u32, PoolReason)> {
    let resized = |event: &Event| match event {
        Event::PoolResized { from, to, reason } => Some((*from, *to, *reason)),
        _ => None,
    };
    outcome.events.iter().filter_map(|recorded| resized(&recorded.event)).collect()
}

#[test]
fn gates_that_wait_run_on_more_workers_than_there_are_processors() {
    let fixed = many(60).workers(2).run();
    let auto = many(60).adapts(2, 8, WAITING).run();
    oracle::check(&auto);
    assert_eq!(auto.hands.most_in_work(), 8);
    let to: Vec<u32> = changes(&auto).iter().map(|(_, to, _)| *to).collect();
    assert_eq!(to, [3, 4, 6, 8]);
    assert!(changes(&auto).iter().all(|(.., reason)| matches!(reason, PoolReason::WorkWaits { .. })));
    assert_eq!(result(&auto), result(&fixed), "invariant 8");
    assert!(auto.took_ms * 2 < fixed.took_ms, "{} against {} ms", auto.took_ms, fixed.took_ms);
}

#[test]
fn gates_that_compute_run_on_one_worker_a_processor() {
    let outcome = many(60).adapts(2, 8, COMPUTING).run();
    oracle::check(&outcome);
    assert_eq!((outcome.hands.most_in_work(), changes(&outcome).len()), (2, 0));
}

#[test]
fn invariant_7_a_pool_shrinks_where_memory_is_tight_and_the_run_goes_on() {
    let tight = many(60).adapts(6, 8, WAITING).with(|world| {
        world.memory = vec![0, 40, 80, 120];
        world.memory_threshold = Some(100);
    });
    let outcome = tight.run();
    oracle::check(&outcome);
    let changes = changes(&outcome);
    assert!(changes.iter().any(|(.., reason)| matches!(reason, PoolReason::MemoryTight { .. })), "{changes:?}");
    assert_eq!(changes.last().map(|(_, to, _)| *to), Some(2), "{changes:?}");
    assert_eq!(outcome.exit_code(), 0);
}

#[test]
fn a_pool_does_not_grow_where_nothing_waits_for_it() {
    // One after another: there is never more than one that could be gated.
    let outcome = World::of("a b:a c:b d:c e:d f:e").when("unit", &[], Effect::Takes(9000)).adapts(1, 8, WAITING).run();
    oracle::check(&outcome);
    assert_eq!(changes(&outcome), []);
}

#[test]
fn a_run_that_is_resumed_begins_with_as_many_workers_as_at_first() {
    let outcome = many(60).adapts(2, 8, WAITING).stop(Stop::Kill(230)).run();
    oracle::check(&outcome);
    let resumed = outcome.events.iter().position(|event| matches!(event.event, Event::RunResumed { .. })).unwrap();
    let before = outcome.replayed(resumed).pool();
    assert!(before.is_some_and(|size| size > 2), "{before:?}");
    assert_eq!(outcome.replayed(resumed + 1).pool(), None);
    assert_eq!(outcome.exit_code(), 0);
}

#[test]
fn invariant_6_a_change_of_the_pool_that_cannot_be_is_refused() {
    let outcome = many(60).adapts(2, 8, WAITING).run();
    let mut state = outcome.replayed(outcome.events.len() - 1);
    assert_eq!(state.pool(), Some(8));
    let reason = PoolReason::WorkWaits { idle_percent: None, gate_percent: None };
    assert!(state.clone().apply(&Event::PoolResized { from: 2, to: 3, reason }).is_err());
    assert!(state.clone().apply(&Event::PoolResized { from: 8, to: 0, reason }).is_err());
    assert!(state.apply(&Event::PoolResized { from: 8, to: 7, reason }).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_7_and_8_whatever_is_measured_the_pool_is_bounded_and_changes_nothing_that_lasts(
        world in worlds(some_items(30)), fixed in 1_u32..7, at_first in 1_u32..5, more in 0_u32..12, seed in any::<u64>(),
        stops in prop_oneof![2 => Just(Vec::new()), 1 => stops()], memory_peaks in any::<bool>(),
    ) {
        let slow = |world: World| world.seed(seed).with(|world| {
            world.longest_gate_ms = 5000;
            world.memory = vec![10, 60, 120];
            world.memory_threshold = memory_peaks.then_some(100);
            world.memory_peaks = memory_peaks;
        });
        let auto = slow(world.clone()).adapts(at_first, at_first + more, Busyness::Wild).with(|world| world.stops = stops);
        let auto = auto.run();
        oracle::check(&auto);
        let fixed = slow(world).workers(fixed).run();
        prop_assert_eq!(result(&auto), result(&fixed));
    }
}
