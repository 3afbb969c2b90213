//! Items that are gated together: what a group decides, and what it leaves to each item's own cone.

use lexpr::engine::exit;
use lexpr::plan::Spend;

use crate::sim::{Effect, Mishap, Outcome, Stop, World, gate, oracle};

fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    outcome
}

fn in_groups(items: &str, size: u32) -> World {
    World::of(items).workers(1).with(|world| world.group_size = size)
}

#[test]
fn a_group_that_passes_costs_one_run_for_all_of_it() {
    let outcome = run(&in_groups("a b c d", 2));
    assert_eq!(
        outcome.story(),
        [
            "group a b",
            "group c d",
            "gate group 2",
            "unit passed",
            "a passed",
            "b passed",
            "gate group 2",
            "unit passed",
            "c passed",
            "d passed",
            "apex a b c d",
            "gate apex 4",
            "unit passed",
            "landed a b c d",
            "exit 0",
        ]
    );
}

#[test]
fn who_breaks_a_group_is_judged_alone_and_the_others_go_on_without_it() {
    let outcome = run(&in_groups("a b c d", 4).fails("unit", &["b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c landed", "d landed"]);
    assert_eq!(
        outcome.story(),
        [
            "group a b c d",
            "gate group 4",
            "unit failed",
            "gate group 2",
            "unit failed",
            "gate group 1",
            "unit passed",
            "a passed",
            "b singled out",
            "group c d",
            "gate group 2",
            "unit passed",
            "c passed",
            "d passed",
            "gate b",
            "unit failed",
            "without b",
            "unit passed",
            "again b",
            "unit failed",
            "b failed",
            "apex a c d",
            "gate apex 3",
            "unit passed",
            "landed a c d",
            "exit 3",
        ]
    );
    assert_eq!(outcome.reason("b"), "gate unit failed");
}

#[test]
fn two_green_items_that_clash_are_told_apart_on_the_apex_and_not_by_their_group() {
    let outcome = run(&in_groups("a b c", 3).fails("unit", &["a", "b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed", "c landed"]);
    assert!(outcome.story().contains(&"b passed".to_owned()), "by itself it is in order: {:?}", outcome.story());
}

#[test]
fn items_that_conflict_are_gated_apart_and_only_the_later_one_goes() {
    let outcome = run(&in_groups("a b c", 3).conflict("a", "b"));
    assert_eq!(outcome.statuses(), ["a landed", "b conflicted", "c landed"]);
    let story = outcome.story();
    assert!(story.contains(&"b singled out".to_owned()) && story.contains(&"gate group 2".to_owned()), "{story:?}");
}

#[test]
fn invariant_2_those_who_depend_on_one_item_wait_for_it_and_stand_together() {
    let world = || in_groups("x y b:x c:y d:x", 2).workers(4).when("unit", &["y"], Effect::Takes(5000));
    let story = run(&world()).story();
    assert!(story.contains(&"group b d".to_owned()), "{story:?}");
    assert!(!story.iter().any(|line| line.starts_with("group") && line.contains('c')), "{story:?}");
    let outcome = run(&world().fails("unit", &["x"]));
    assert_eq!(outcome.statuses(), ["x failed", "b blocked", "d blocked", "y landed", "c landed"]);
}

#[test]
fn invariant_8_a_group_is_the_same_whoever_was_quick() {
    // On the way to the apex `y` is found to clash with `x`: what depends on it goes, and nobody else's group
    // changes by when that was.
    let groups = |slow: &str| {
        let world = in_groups("x y p:x q:x r:y s:y z", 2).workers(4).batch(2).fails("unit", &["x", "y"]);
        let outcome = run(&world.when("unit", &[slow], Effect::Takes(9000)));
        let mut groups: Vec<String> = outcome.story().into_iter().filter(|line| line.starts_with("group")).collect();
        groups.retain(|group| !group.contains('r'));
        groups.sort();
        (groups, outcome.landed())
    };
    assert_eq!(groups("p"), groups("z"));
    assert_eq!(groups("p"), groups("r"));
}

#[test]
fn a_red_target_ejects_nobody_and_is_not_searched_group_by_group() {
    let items: String = (0..40).map(|at| format!("i{at} ")).collect();
    let outcome = run(&in_groups(&items, 10).fails("unit", &[]));
    assert_eq!(outcome.exit_code(), exit::ITEMS_LEFT);
    assert!(outcome.statuses().iter().all(|status| status.ends_with("unjudged")));
    // In each of four lanes three searches, of five probes at most; each item for itself, and looks at the target.
    assert!(outcome.trees_of("unit").len() <= 4 * 3 * 5 + 40 + 3, "{} runs", outcome.trees_of("unit").len());
}

#[test]
fn a_flake_in_a_group_ejects_nobody() {
    let outcome = run(&in_groups("a b c d", 4).when("unit", &["a", "b", "c", "d"], Effect::FailsAtFirst(1)));
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
}

#[test]
fn what_cannot_be_run_for_a_group_is_tried_for_each_of_it() {
    let outcome = run(&in_groups("a b c", 3).when("unit", &["b"], Effect::CannotRun));
    assert_eq!(outcome.statuses(), ["a landed", "b unjudged", "c landed"]);
}

#[test]
fn items_with_other_gates_stand_in_other_groups() {
    let world = in_groups("a b c d", 4).own_gates("b", [gate("docs")]).own_gates("d", [gate("docs")]);
    let story = run(&world).story();
    assert_eq!(story[..2], ["group a c", "group b d"]);
}

#[test]
fn a_group_whose_target_moves_keeps_its_verdict() {
    let world = in_groups("a b c d", 2).workers(2).batch(2).mishap(Mishap::MovedBeforeLanding(1));
    let outcome = run(&world);
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    let groups = outcome.story().iter().filter(|line| line.starts_with("gate group")).count();
    assert_eq!(groups, 2, "{:?}", outcome.story());
}

#[test]
fn invariant_6_a_search_that_is_killed_at_any_event_ends_as_if_it_had_not_been() {
    let world = || in_groups("a b c d e f", 6).fails("unit", &["c"]).workers(3);
    let undisturbed = run(&world());
    for at in 1..undisturbed.events.len() {
        let killed = run(&world().stop(Stop::Kill(at)));
        assert_eq!(killed.statuses(), undisturbed.statuses(), "killed after {at} events");
    }
}

#[test]
fn spare_workers_look_at_what_the_next_answers_may_ask_for() {
    let probes = |spend| {
        let world = in_groups("a b c d e f g h", 8).fails("unit", &["f"]).workers(4);
        let outcome = run(&world.with(|world| world.limits.spend = spend));
        (outcome.trees_of("unit").len(), outcome.statuses())
    };
    let (fewest, ended) = probes(Spend::Gates);
    let (more, alike) = probes(Spend::Time);
    assert!(more > fewest, "{more} runs, and {fewest}");
    assert_eq!(ended, alike);
}

#[test]
fn a_gate_that_one_of_a_group_requires_is_required_of_the_group() {
    let optional = [gate("unit"), gate("lint").optional()];
    let world = in_groups("a b", 2).own_gates("a", optional).own_gates("b", [gate("unit"), gate("lint")]);
    let outcome = run(&world.fails("lint", &["b"]));
    assert_eq!(outcome.statuses(), ["a landed", "b failed"]);
    assert!(!outcome.story().contains(&"b passed".to_owned()), "{:#?}", outcome.story());
}
