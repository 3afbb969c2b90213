//! What the simulation found, each as the smallest world that showed it.

use std::sync::Arc;

use lexpr::plan::{Landing, Spend};

use crate::sim::strategies::result;
use crate::sim::{Effect, OthersMove, Outcome, Rule, Stop, Store, When, World, gate, oracle};

fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    outcome
}

/// Others move the target to what an item conflicts with.
fn in_the_way_of(item: &str, when: When) -> OthersMove {
    OthersMove { when, brings: Vec::new(), conflicts_with: vec![item.to_owned()] }
}

/// Others merge an item themselves.
fn merging(item: &str, when: When) -> OthersMove {
    OthersMove { when, brings: vec![item.to_owned()], conflicts_with: Vec::new() }
}

#[test]
fn invariant_6_a_run_stopped_between_those_who_need_a_red_gate_excuses_the_others_too() {
    // `e2e` is red once `a` has landed; `c` mends that, and nobody asks it in the undisturbed run.
    // `z` keeps the run from its end meanwhile.
    let world = World::of("a b c z").batch(3).own_gates("a", []).own_gates("z", [gate("slow")]).with(|world| {
        world.gates = vec![gate("e2e")];
        world.rules.push(Rule {
            gate: "e2e".to_owned(),
            present: vec!["a".to_owned()],
            absent: vec!["c".to_owned()],
            effect: Effect::Fails,
        });
    });
    let world = world.fails("e2e", &["a", "b"]).when("slow", &["z"], Effect::Takes(9000));
    let undisturbed = run(&world);
    assert_eq!(undisturbed.statuses(), ["a landed", "b unjudged", "c unjudged", "z landed"]);
    for events in 1..undisturbed.events.len() {
        let stopped = run(&world.clone().stop(Stop::Kill(events)));
        assert_eq!(stopped.statuses(), undisturbed.statuses(), "killed after {events} events");
    }
}

#[test]
fn what_waits_for_an_item_that_others_are_in_the_way_of_lands_where_they_merge_it_themselves() {
    // `x` and `a` have passed when others move the target to what `a` conflicts with, and `b` is to
    // be judged there: `a` waits for `x`, and until then the only worker was at `y` and `z`.
    let world = World::of("x a b:a y z").batch(2).workers(1);
    let world =
        ["z", "y", "a", "x"].into_iter().zip(6..).fold(world, |world, (item, first)| world.priority(item, first));
    let world = world.with(|world| world.others = vec![in_the_way_of("a", When::BeforeLanding(1))]);
    assert_eq!(run(&world).statuses(), ["x landed", "a conflicted", "y landed", "z landed", "b blocked"]);
    let merged = run(&world.with(|world| world.others.push(merging("a", When::BeforeLanding(2)))));
    assert!(merged.story().contains(&"b deferred".to_owned()), "{:#?}", merged.story());
    assert_eq!(merged.statuses(), ["x landed", "a alreadyLanded", "y landed", "z landed", "b landed"]);
}

#[test]
fn invariant_6_a_run_stopped_between_two_that_conflict_with_the_tip_has_as_many_apexes() {
    // `a` lands first; `b` and `c` conflict with it, and `d` breaks the apex after that, whose number
    // is in its reason.
    let world = World::of("e a b c d").batch(4).conflict("a", "b").conflict("a", "c").fails("unit", &["d", "e"]);
    let world =
        ["d", "c", "b", "a", "e"].into_iter().zip(1..).fold(world, |world, (item, first)| world.priority(item, first));
    let undisturbed = run(&world);
    let statuses = ["e landed", "a landed", "b conflicted", "c conflicted", "d failed"];
    assert_eq!(undisturbed.statuses(), statuses);
    for events in 1..undisturbed.events.len() {
        let stopped = run(&world.clone().stop(Stop::Kill(events)));
        assert_eq!(result(&stopped), result(&undisturbed), "killed after {events} events");
    }
}

#[test]
fn what_waits_for_an_item_that_others_were_in_the_way_of_is_not_blocked_by_it_once_that_has_landed() {
    // `m` and `n` have passed when others move the target to what `n` conflicts with, and `b` is to be
    // judged there. They merge `n` next, and the run ends because a gate of `o` cannot be run.
    let world = World::of("m n o y z b:n,o")
        .batch(2)
        .workers(1)
        .priority("b", -1)
        .own_gates("o", [gate("unit"), gate("slow").only_on_apexes()])
        .when("slow", &["o"], Effect::CannotRun)
        .with(|world| {
            world.others = vec![in_the_way_of("n", When::BeforeLanding(1)), merging("n", When::BeforeLanding(2))]
        });
    let outcome = run(&world);
    assert!(outcome.story().contains(&"b deferred".to_owned()), "{:#?}", outcome.story());
    let statuses = ["m notLanded", "n alreadyLanded", "o notLanded", "y notLanded", "z notLanded", "b skipped"];
    assert_eq!(outcome.statuses(), statuses);
}

#[test]
fn invariant_8_what_repairs_a_red_target_lands_by_its_second_opinion_on_any_number_of_workers() {
    // `a` repairs the target, and its gate lies once on its own tree.
    let by = |way: Landing, workers: u32, group_size: u32| {
        let world = World::of("a b c").workers(workers).with(|world| {
            world.limits.spend = Spend::Time;
            (world.limits.landing, world.group_size) = (way, group_size);
            world.rules.push(Rule {
                gate: "unit".to_owned(),
                present: Vec::new(),
                absent: vec!["a".to_owned()],
                effect: Effect::Fails,
            });
        });
        world.when("unit", &["a"], Effect::FailsAtFirst(1))
    };
    for (way, group_size) in [(Landing::Pyramid, 1), (Landing::Pyramid, 2), (Landing::Train, 1)] {
        let one = run(&by(way, 1, group_size));
        assert_eq!(one.statuses()[0], "a landed", "{way:?} by {group_size}: {:#?}", one.story());
        for workers in 2..6 {
            assert_eq!(result(&run(&by(way, workers, group_size))), result(&one), "{way:?} by {group_size}, {workers}");
        }
    }
}

#[test]
fn nobody_looks_ahead_before_it_is_known_that_an_earlier_run_has_no_answer() {
    for way in [Landing::Pyramid, Landing::Batch] {
        let world = World::of("a b c d e f").workers(4).with(|world| {
            world.limits.spend = Spend::Time;
            (world.limits.landing, world.group_size) = (way, if way == Landing::Pyramid { 3 } else { 1 });
            world.remembered = Some(Arc::new(Store::default()));
        });
        run(&world);
        let second = run(&world);
        assert_eq!(second.gate_runs().len(), 0, "{way:?}: {:#?}", second.story());
    }
}

#[test]
fn a_run_ends_when_its_last_item_has_landed_and_not_when_the_last_look_ahead_has() {
    for (way, group_size) in [(Landing::Batch, 1), (Landing::Pyramid, 6)] {
        let world = World::of("a b c d e f").workers(3).with(|world| {
            world.limits.spend = Spend::Time;
            (world.limits.landing, world.group_size) = (way, group_size);
        });
        // Slow wherever not all of them are there.
        let world = world.with(|world| {
            world.rules.push(Rule {
                gate: "unit".to_owned(),
                present: Vec::new(),
                absent: vec!["f".to_owned()],
                effect: Effect::Takes(3_600_000),
            });
        });
        let outcome = run(&world);
        assert_eq!(outcome.exit_code(), 0);
        let last = outcome.events.last().unwrap().at_ms - outcome.events[0].at_ms;
        assert!(last < 60_000, "{way:?}: the run took {last} ms: {:#?}", outcome.story());
    }
}
