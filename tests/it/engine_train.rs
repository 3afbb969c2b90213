//! The train, by small worlds: who is gated on what, who goes when, and what is not gated again.

use lexpr::plan::Landing;
use lexpr::vocabulary::event::{CompositePurpose, Decision, Event, JobPurpose};

use crate::sim::{Effect, Mishap, Outcome, Stop, World, gate, oracle};

fn train(items: &str) -> World {
    World::of(items).with(|world| world.limits.landing = Landing::Train)
}

/// Runs a world and holds it to what holds of every run, and to one item after another.
fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    assert!(outcome.landings().iter().all(|landed| landed.len() == 1), "each lands by itself");
    outcome
}

fn gated_before(outcome: &Outcome, item: &str) -> Vec<String> {
    let is_end = |event: &Event| match event {
        Event::ItemDecided(decided) => decided.item.as_str() == item,
        Event::Landed(landed) => landed.items.iter().any(|landed| landed.as_str() == item),
        _ => false,
    };
    let before = outcome.events.iter().take_while(|recorded| !is_end(&recorded.event));
    before
        .filter_map(|recorded| match &recorded.event {
            Event::JobStarted(job) => match &job.purpose {
                JobPurpose::Train { item, ahead } => Some(format!("{item} behind {ahead}")),
                JobPurpose::Apex { .. } => Some("first".to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

#[test]
fn each_is_gated_on_all_ahead_of_it_before_they_have_landed_and_once() {
    let outcome = run(&train("a b c d").workers(4).with(|world| world.longest_gate_ms = 0).when(
        "unit",
        &["a"],
        Effect::Takes(1000),
    ));
    assert_eq!(outcome.trees_of("unit"), ["a", "a+b", "a+b+c", "a+b+c+d"]);
    assert_eq!(gated_before(&outcome, "a"), ["first", "b behind 1", "c behind 2", "d behind 3"]);
    assert_eq!((outcome.landed().len(), outcome.exit_code()), (4, 0));
    assert_eq!(outcome.took_ms / 1000, 1, "all of it in the time of one gate");
}

#[test]
fn those_behind_a_failing_item_move_onto_the_nearest_ahead_and_only_they_are_gated_again() {
    let outcome = run(&train("a b c d e").workers(5).fails("unit", &["c"]));
    let mut trees = outcome.trees_of("unit");
    trees.sort();
    // c once more, as a second opinion; without it those behind; a and b but once.
    let expected = ["a", "a+b", "a+b+c", "a+b+c", "a+b+c+d", "a+b+c+d+e", "a+b+d", "a+b+d+e"];
    assert_eq!(trees, expected);
    assert_eq!(outcome.statuses(), ["a landed", "b landed", "c failed", "d landed", "e landed"]);
}

#[test]
fn what_runs_behind_a_failing_item_is_stopped_and_its_slot_is_free_for_where_it_stands_now() {
    let takes = |world: World, present: &[&str], ms| world.when("unit", present, Effect::Takes(ms));
    let mut world = takes(train("a b c"), &["a", "b", "c"], 500_000);
    for (present, ms) in [(&["a", "b"][..], 10), (&["c"], 100), (&["a"], 1000), (&["b"], 10)] {
        world = takes(world, present, ms);
    }
    let outcome = run(&world.workers(3).fails("unit", &["b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c landed"]);
    let before = gated_before(&outcome, "a");
    assert_eq!(before, ["first", "b behind 1", "c behind 2", "c behind 1"], "before a has landed");
    assert!(outcome.story().contains(&"unit cancelled".to_owned()));
    assert!(outcome.took_ms < 2000, "{} ms", outcome.took_ms);
}

#[test]
fn what_runs_behind_a_failing_item_goes_on_where_it_is_asked_for_all_the_same() {
    // What c's gate looks at is the same with b and without.
    let gates = [gate("part").looking_at(&["c"])];
    let world = train("a b c").workers(3).own_gates("c", gates).fails("unit", &["b"]);
    let slow = world.when("part", &["c"], Effect::Takes(5000)).when("unit", &["a", "b"], Effect::Takes(10));
    let outcome = run(&slow.when("unit", &["a"], Effect::Takes(1000)));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c landed"]);
    assert_eq!(outcome.trees_of("part"), ["a+b+c"]);
    assert!(!outcome.story().contains(&"part cancelled".to_owned()));
}

#[test]
fn a_failing_item_goes_only_once_everything_ahead_of_it_has_landed_or_gone() {
    // b fails only with a, which is slow to fail by itself: without it b lands.
    let world = train("a b c").fails("unit", &["a", "b"]).fails("quick", &["a"]);
    let world = world.gates([gate("unit")]).own_gates("a", [gate("unit"), gate("quick")]);
    let outcome = run(&world.when("quick", &["a"], Effect::Takes(60_000)));
    assert_eq!(outcome.statuses(), ["a failed", "b landed", "c landed"]);
    assert!(gated_before(&outcome, "a").iter().any(|gated| gated == "c behind 1"), "c did not wait for that");
}

#[test]
fn what_conflicts_with_one_ahead_lands_where_that_one_goes() {
    let outcome = run(&train("a b c").conflict("a", "b").fails("unit", &["a"]));
    assert_eq!(outcome.statuses(), ["a failed", "b landed", "c landed"]);
    let outcome = run(&train("a b c").conflict("a", "b"));
    assert_eq!(outcome.statuses(), ["a landed", "b conflicted", "c landed"]);
    assert!(outcome.reason("b").contains("conflicts with a"), "{}", outcome.reason("b"));
}

#[test]
fn invariant_2_what_depends_on_a_failing_item_is_not_gated_behind_it() {
    let outcome = run(&train("a b c:b d").workers(1).fails("unit", &["b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c blocked", "d landed"]);
    assert!(outcome.trees_of("unit").iter().all(|tree| !tree.contains('c') || tree.contains("b+c")));
}

#[test]
fn a_flake_at_the_head_ejects_nobody_and_those_behind_come_back_onto_it() {
    let outcome = run(&train("a b c").workers(3).when("unit", &["a"], Effect::FailsAtFirst(1)).with(|world| {
        world.longest_gate_ms = 0;
    }));
    assert_eq!(outcome.landed(), ["a", "b", "c"]);
    let without = |tree: &String| !tree.is_empty() && !tree.contains('a');
    assert!(outcome.trees_of("unit").iter().any(without), "they went on without it meanwhile");
}

#[test]
fn a_red_target_ejects_nobody_and_who_repairs_it_lands() {
    let world = train("a b c").gates([gate("unit")]).with(|world| {
        world.rules.push(crate::sim::Rule {
            gate: "unit".to_owned(),
            present: Vec::new(),
            absent: vec!["b".to_owned()],
            effect: Effect::Fails,
        });
    });
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a unjudged", "b landed", "c landed"]);
}

#[test]
fn a_gate_that_is_told_its_base_runs_no_more_often_for_having_been_looked_ahead_at() {
    let world = train("a b c d e f").gates([gate("unit").told_its_item(), gate("part").looking_at(&["a"])]);
    let outcome = run(&world);
    assert_eq!(outcome.trees_of("unit").len(), 6);
    // With a in it or, where a is not, never.
    assert_eq!(outcome.trees_of("part").len(), 1);
}

#[test]
fn each_position_is_gated_by_its_own_gates() {
    let world = train("a b").own_gates("a", [gate("of-a")]).own_gates("b", [gate("of-b")]);
    let outcome = run(&world);
    assert_eq!((outcome.trees_of("of-a"), outcome.trees_of("of-b")), (vec!["a".to_owned()], vec!["a+b".to_owned()]));
}

#[test]
fn invariant_7_one_worker_gates_the_first_before_those_behind_it() {
    let outcome = run(&train("a b c d").workers(1).fails("unit", &["b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c landed", "d landed"]);
    assert_eq!(outcome.story()[..3], ["apex a", "gate apex 1", "unit passed"]);
}

#[test]
fn no_further_than_the_batch_size_is_looked_ahead() {
    let outcome = run(&train("a b c d e f g h").workers(8).batch(3));
    let farthest = |event: &Event| matches!(event, Event::JobStarted(job) if matches!(job.purpose, JobPurpose::Train { ahead: 3.., .. }));
    assert_eq!(outcome.count(farthest), 0);
    assert_eq!(outcome.landed().len(), 8);
}

#[test]
fn no_more_is_merged_ahead_than_the_workers_soon_need() {
    let items: String = (0..60).map(|at| format!("i{at:02} ")).collect();
    let outcome = run(&train(&items).workers(2).when("unit", &["i00"], Effect::Takes(10_000)));
    let is_merge = |event: &Event| matches!(event, Event::Composed(made) if matches!(made.purpose, CompositePurpose::Train { .. }));
    let before = outcome.events.iter().take_while(|recorded| !matches!(recorded.event, Event::GateFinished(_)));
    // Two for each worker, of which the first is one.
    assert_eq!(before.filter(|recorded| is_merge(&recorded.event)).count(), 3);
}

#[test]
fn invariant_6_a_train_that_is_killed_or_overtaken_comes_to_the_same_end() {
    let world = || train("a b c:b d e:a f").fails("unit", &["d"]).conflict("e", "f");
    let undisturbed = run(&world());
    let expected = ["a landed", "b landed", "c landed", "d failed", "e landed", "f conflicted"];
    assert_eq!(undisturbed.statuses(), expected);
    for events in 1..90 {
        let outcome = run(&world().stop(Stop::Kill(events)));
        assert_eq!(outcome.statuses(), expected, "killed after {events}");
        assert_eq!(outcome.hands.target(), undisturbed.hands.target(), "killed after {events}");
    }
    for landing in 1..6 {
        let outcome = run(&world().mishap(Mishap::MovedBeforeLanding(landing)));
        assert_eq!(outcome.statuses(), expected, "overtaken at landing {landing}");
    }
}

#[test]
fn block_on_takes_an_item_out_before_any_of_its_gates_runs() {
    let world = train("a b c:b").own_gates("b", [gate("slow")]).with(|world| world.block_on.push("sl*".to_owned()));
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a landed", "b blocked", "c blocked"]);
    assert_eq!(outcome.trees_of("slow"), Vec::<String>::new());
}

#[test]
fn what_cannot_be_run_for_one_behind_the_first_stops_nothing_before_it_is_the_first() {
    let world = train("a b c").workers(3).when("unit", &["b"], Effect::CannotRun);
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a landed", "b skipped", "c skipped"]);
    let failed = |event: &Event| matches!(event, Event::ItemDecided(decided) if decided.decision == Decision::Failed);
    assert_eq!(outcome.count(failed), 0);
}
