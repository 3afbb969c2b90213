//! One small world for each rule of landing, told event by event where that is short.

use std::sync::Arc;

use lexpr::engine::{EngineError, exit};
use lexpr::plan::Spend;
use lexpr::vocabulary::event::{Event, FinalStatus, HaltReason, ItemGateStatus};

use crate::sim::{Effect, Mishap, Outcome, Stop, Store, World, gate, oracle};

/// Runs a world and holds it to what holds of every run.
fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    outcome
}

fn one_at_a_time(items: &str) -> World {
    World::of(items).workers(1)
}

#[test]
fn a_chain_of_three_lands_whole_and_its_top_is_gated_once() {
    let outcome = run(&one_at_a_time("a b:a c:b"));
    // The cone of c is the tree that lands: it is proven already.
    assert_eq!(
        outcome.story(),
        [
            "gate a",
            "unit passed",
            "a passed",
            "gate b",
            "unit passed",
            "b passed",
            "gate c",
            "unit passed",
            "c passed",
            "apex a b c",
            "landed a b c",
            "exit 0",
        ]
    );
    assert_eq!(outcome.trees_of("unit"), ["a", "a+b", "a+b+c"]);
}

#[test]
fn shapes_that_land_whole() {
    let ten_deep: String = (1..10).map(|at| format!("i{at}:i{} ", at - 1)).collect();
    let twelve_wide: String = (0..12).map(|at| format!("i{at} ")).collect();
    let two_hundred: String = (0..200).map(|at| format!("i{at} ")).collect();
    let shapes = [
        "a b f c:a d:b,f e:c,d".to_owned(),
        format!("i0 {ten_deep}"),
        twelve_wide,
        "api:auth,users db:auth users:permissions auth:permissions permissions".to_owned(),
        "permissions:auth,users auth:api users:db api db".to_owned(),
        two_hundred,
    ];
    for shape in shapes {
        for workers in [1, 4, 16] {
            let outcome = run(&World::of(&shape).workers(workers));
            assert_eq!(outcome.exit_code(), exit::ALL_LANDED, "{shape}");
            assert_eq!(outcome.landed().len(), outcome.graph.len(), "{shape}");
        }
    }
}

#[test]
fn wide_plans_keep_every_worker_busy() {
    let outcome = run(&World::of("a b c d e f g h i j k l").workers(5));
    assert_eq!(outcome.hands.most_in_work(), 5);
}

#[test]
fn invariant_2_a_failed_item_blocks_its_dependents_and_their_gates_never_run() {
    let outcome = run(&one_at_a_time("a b:a c").fails("unit", &["a"]));
    assert_eq!(outcome.statuses(), ["a failed", "b blocked", "c landed"]);
    assert_eq!(outcome.reason("a"), "gate unit failed");
    assert_eq!(outcome.reason("b"), "depends on a, which did not land");
    assert!(outcome.trees_of("unit").iter().all(|tree| !tree.contains('b')));
    assert_eq!(outcome.exit_code(), exit::ITEMS_LEFT);
}

#[test]
fn invariant_2_the_root_of_a_block_is_the_first_failure_whatever_the_order_in_the_file() {
    let outcome = run(&World::of("c:b b:a a").fails("unit", &["a"]));
    assert_eq!(outcome.statuses(), ["a failed", "b blocked", "c blocked"]);
    assert_eq!(outcome.reason("c"), "depends on a, which did not land");
}

#[test]
fn a_failure_is_charged_after_a_second_opinion_and_a_look_at_the_base() {
    let outcome = run(&one_at_a_time("a").gates([gate("unit")]).fails("unit", &["a"]));
    let story = ["gate a", "unit failed", "without a", "unit passed", "again a", "unit failed", "a failed", "exit 3"];
    assert_eq!(outcome.story(), story);
}

#[test]
fn without_second_opinions_one_failure_is_enough() {
    let outcome = run(&one_at_a_time("a").fails("unit", &["a"]).with(|world| world.limits.second_opinion = false));
    assert_eq!(outcome.story(), ["gate a", "unit failed", "without a", "unit passed", "a failed", "exit 3"]);
}

#[test]
fn retries_that_all_failed_are_opinion_enough() {
    let outcome = run(&one_at_a_time("a").gates([gate("unit").attempts(2)]).fails("unit", &["a"]));
    let story = ["gate a", "unit failed", "unit failed", "without a", "unit passed", "a failed", "exit 3"];
    assert_eq!(outcome.story(), story);
}

#[test]
fn what_passes_at_the_second_try_is_flaky_and_lands() {
    let world = one_at_a_time("a").when("unit", &["a"], Effect::FailsAtFirst(1));
    let retried = run(&world.clone().gates([gate("unit").attempts(2)]));
    assert_eq!(retried.story(), ["gate a", "unit failed", "unit passed", "a passed", "apex a", "landed a", "exit 0"]);
    let asked_again = run(&world);
    let story = [
        "gate a",
        "unit failed",
        "without a",
        "unit passed",
        "again a",
        "unit passed",
        "a passed",
        "apex a",
        "landed a",
        "exit 0",
    ];
    assert_eq!(asked_again.story(), story);
    // The receipt says so.
    assert_eq!(asked_again.hands.receipts()[0]["gates"][0]["flaky"], true);
}

#[test]
fn optional_gates_run_on_cones_alone_and_fail_nobody() {
    let outcome = run(&one_at_a_time("a b").gates([gate("unit"), gate("lint").optional()]).fails("lint", &[]));
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    assert_eq!(outcome.trees_of("lint"), ["a", "b"]);
}

#[test]
fn fail_fast_skips_what_stands_behind_a_failure_and_without_it_every_gate_runs() {
    let world = one_at_a_time("a b").gates([gate("unit"), gate("e2e")]).fails("unit", &["a"]);
    assert!(!run(&world).trees_of("e2e").contains(&"a".to_owned()));
    let thorough = run(&world.with(|world| world.limits.fail_fast = false));
    assert!(thorough.trees_of("e2e").contains(&"a".to_owned()));
    assert_eq!(thorough.statuses(), ["a failed", "b landed"]);
}

#[test]
fn invariant_8_without_fail_fast_every_failure_told_of_an_item_that_goes_is_firm() {
    // `part` is a flake that both items share; whoever is judged first, `a` is told the same.
    let shared = gate("part").looking_at(&["c"]);
    let told = |first: &str| {
        let world = one_at_a_time("a b c")
            .priority(first, 1)
            .own_gates("a", [gate("slow"), shared.clone()])
            .own_gates("b", [shared.clone()])
            .fails("slow", &["a"])
            .when("part", &[], Effect::FailsAtFirst(1))
            .with(|world| world.limits.fail_fast = false);
        let outcome = run(&world);
        let gates_of_a = outcome.events.iter().find_map(|recorded| match &recorded.event {
            Event::ItemDecided(decided) if decided.item.as_str() == "a" => Some(decided.gates.clone()),
            _ => None,
        });
        gates_of_a.unwrap().iter().map(|verdict| (verdict.gate.to_string(), verdict.status)).collect::<Vec<_>>()
    };
    let expected = [("slow".to_owned(), ItemGateStatus::Failed), ("part".to_owned(), ItemGateStatus::Flaky)];
    assert_eq!(told("a"), expected);
    assert_eq!(told("b"), expected);
}

#[test]
fn what_is_known_of_items_is_recorded_before_the_end_of_a_run_that_cannot_go_on() {
    // In one round it is learned that neither the apex of `a` nor the cone of `b` can be judged.
    let part = gate("part").looking_at(&["c"]);
    let world = World::of("a b c")
        .workers(2)
        .batch(1)
        .own_gates("a", [gate("quick").only_on_cones(), part.clone().only_on_apexes()])
        .own_gates("b", [part])
        .own_gates("c", [])
        .when("quick", &["a"], Effect::Takes(1))
        .when("part", &[], Effect::Takes(1000))
        .when("part", &[], Effect::CannotRun);
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a notLanded", "b unjudged", "c notLanded"]);
    assert_eq!(outcome.story().iter().rev().take(3).collect::<Vec<_>>(), ["exit 1", "halted", "b unjudged"]);
}

#[test]
fn invariant_8_the_first_gate_in_order_is_named_though_a_later_one_was_seen_to_fail_before() {
    // `b` is judged first, by a gate that sees the same of both items.
    let shared = gate("part").looking_at(&["c"]);
    let world = one_at_a_time("a b c")
        .priority("b", 1)
        .own_gates("a", [gate("slow"), shared.clone()])
        .own_gates("b", [shared])
        .fails("slow", &["a"])
        .fails("part", &[]);
    let outcome = run(&world);
    assert_eq!(outcome.reason("b"), "the target already fails part without this item");
    assert_eq!(outcome.reason("a"), "gate slow failed");
}

#[test]
fn block_on_blocks_before_any_gate_runs() {
    let outcome = run(&World::of("a b:a c").own_gates("a", [gate("deploy-eu")]).with(|world| {
        world.block_on.push("deploy-*".to_owned());
    }));
    assert_eq!(outcome.statuses(), ["a blocked", "b blocked", "c landed"]);
    assert_eq!(outcome.reason("a"), "gate deploy-eu matches blockOn \"deploy-*\"");
    assert!(outcome.trees_of("deploy-eu").is_empty());
}

#[test]
fn gates_run_where_the_plan_says() {
    let outcome = run(&one_at_a_time("a b").gates([gate("quick").only_on_cones(), gate("e2e").only_on_apexes()]));
    assert_eq!(outcome.trees_of("quick"), ["a", "b"]);
    assert_eq!(outcome.trees_of("e2e"), ["a+b"]);
}

#[test]
fn a_gate_told_its_item_runs_for_each_on_one_tree() {
    let outcome = run(&World::of("a b").gates([gate("check").told_its_item().only_on_apexes()]));
    assert_eq!(outcome.trees_of("check"), ["a+b", "a+b"]);
}

#[test]
fn an_item_without_gates_passes() {
    let outcome = run(&World::of("a b:a").gates([]));
    assert_eq!(outcome.story(), ["a passed", "b passed", "apex a b", "landed a b", "exit 0"]);
}

#[test]
fn a_red_target_ejects_nobody_and_says_so_once() {
    let outcome = run(&World::of("a b c").own_gates("c", [gate("lint").running("lint")]).fails("unit", &[]));
    assert_eq!(outcome.statuses(), ["a unjudged", "b unjudged", "c landed"]);
    assert_eq!(outcome.reason("b"), "the target already fails unit without this item");
    assert_eq!(outcome.count(|event| matches!(event, Event::GateRedOnTarget { .. })), 1);
}

#[test]
fn a_gate_of_this_item_alone_that_fails_without_it_too_fails_it_with_a_note() {
    let outcome = run(&World::of("a b").own_gates("a", [gate("new")]).fails("new", &[]));
    assert_eq!(outcome.statuses(), ["a failed", "b landed"]);
    assert_eq!(
        outcome.reason("a"),
        "gate new failed (it fails without this item too: it may test what the item brings)"
    );
}

#[test]
fn a_gate_of_this_item_alone_is_not_run_twice_without_it() {
    let world = one_at_a_time("a").gates([]).own_gates("a", [gate("new")]).fails("new", &[]);
    let story = ["gate a", "new failed", "without a", "new failed", "again a", "new failed", "a failed", "exit 3"];
    assert_eq!(run(&world).story(), story);
}

#[test]
fn of_two_green_items_that_clash_the_later_is_ejected_and_the_rest_land() {
    let outcome = run(&one_at_a_time("a b c d").fails("unit", &["b", "d"]));
    assert_eq!(outcome.statuses(), ["a landed", "b landed", "c landed", "d failed"]);
    assert_eq!(
        outcome.reason("d"),
        "gate unit fails with this item on top of those that land before it, and passes without it"
    );
    assert_eq!(outcome.landings(), [["a", "b", "c"]]);
    let apex = outcome.story().into_iter().skip_while(|word| !word.starts_with("apex")).collect::<Vec<_>>();
    assert_eq!(
        apex,
        [
            "apex a b c d",
            "gate apex 4",
            "unit failed",
            "gate apex 2",
            "unit passed",
            "gate apex 3",
            "unit passed",
            "again d",
            "unit failed",
            "landed a b c",
            "d failed",
            "exit 3",
        ]
    );
}

#[test]
fn three_that_clash_only_together_cost_one_of_them() {
    for spend in [Spend::Gates, Spend::Time] {
        let world = World::of("a b c d e f g").fails("unit", &["b", "d", "f"]);
        let outcome = run(&world.with(|world| world.limits.spend = spend));
        assert_eq!(outcome.with_status(FinalStatus::Failed), ["f"]);
        assert_eq!(outcome.landings(), [vec!["a", "b", "c", "d", "e"], vec!["g"]]);
    }
}

#[test]
fn what_spends_time_probes_side_by_side_and_lands_the_same() {
    let items: String = (0..16).map(|at| format!("i{at:02} ")).collect();
    let world = World::of(&items).fails("unit", &["i00", "i11"]).when("unit", &[], Effect::Takes(1000)).workers(4);
    let saves_runs = run(&world);
    let saves_time = run(&world.clone().with(|world| world.limits.spend = Spend::Time));
    assert_eq!(saves_runs.landed(), saves_time.landed());
    assert!(saves_time.took_ms < saves_runs.took_ms);
    assert!(saves_time.gate_runs().len() > saves_runs.gate_runs().len());
}

#[test]
fn an_innocent_top_is_not_blamed_for_two_sides_that_clash() {
    let outcome = run(&World::of("base left:base right:base top:left,right").fails("unit", &["left", "right"]));
    assert_eq!(outcome.statuses(), ["base landed", "left landed", "right failed", "top blocked"]);
    assert_eq!(outcome.reason("top"), "depends on right, which did not land");
    assert_eq!(outcome.count(|event| matches!(event, Event::ItemDeferred { .. })), 1);
}

#[test]
fn a_top_whose_dependencies_fail_together_and_land_nevertheless_is_unjudged() {
    let world = World::of("left right top:left,right after:top").gates([gate("unit").only_on_cones(), gate("e2e")]);
    let outcome = run(&world.fails("unit", &["left", "right"]));
    assert_eq!(outcome.statuses(), ["left landed", "right landed", "top unjudged", "after blocked"]);
    assert_eq!(outcome.reason("top"), "its dependencies together already fail unit without this item");
}

#[test]
fn a_flaky_apex_ejects_nobody() {
    for second_opinion_of in [&["a", "b", "c", "d"][..], &["a", "b", "c"], &["a", "b"]] {
        let outcome = run(&World::of("a b c d").when("unit", second_opinion_of, Effect::FailsAtFirst(1)));
        assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    }
}

#[test]
fn a_batch_smaller_than_the_plan_lands_on_several_apexes() {
    let outcome = run(&World::of("a b c d e").batch(2));
    assert_eq!(outcome.landings(), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(outcome.hands.receipts().len(), 3);
}

#[test]
fn a_conflict_is_final_at_the_tip_after_all_ahead_of_it_have_landed() {
    let outcome = run(&World::of("a b c d:b").conflict("a", "b"));
    assert_eq!(outcome.statuses(), ["a landed", "b conflicted", "c landed", "d blocked"]);
    assert_eq!(outcome.reason("b"), "conflicts with a in file");
    // Had the one ahead failed, it would have landed.
    let outcome = run(&World::of("a b c d:b").conflict("a", "b").fails("unit", &["a"]));
    assert_eq!(outcome.statuses(), ["a failed", "b landed", "c landed", "d landed"]);
}

#[test]
fn a_conflict_with_its_own_dependency_is_the_items_own() {
    let outcome = run(&World::of("a b:a c").conflict("a", "b"));
    assert_eq!(outcome.statuses(), ["a landed", "b conflicted", "c landed"]);
    assert_eq!(outcome.reason("b"), "conflicts with a in file");
}

#[test]
fn dependencies_that_conflict_with_each_other_block_with_both_names() {
    let world = World::of("left right top:left,right").conflict("left", "right");
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["left landed", "right conflicted", "top blocked"]);
    assert_eq!(outcome.reason("right"), "conflicts with left in file");
    assert_eq!(outcome.reason("top"), "its dependencies left and right conflict with each other in file");
    // Also where they never were on one apex.
    let outcome = run(&world.batch(1));
    assert_eq!(outcome.statuses(), ["left landed", "right conflicted", "top blocked"]);
    assert_eq!(outcome.reason("right"), "conflicts with left in file");
    assert_eq!(outcome.reason("top"), "its dependencies left and right conflict with each other in file");
}

#[test]
fn a_conflict_with_what_an_earlier_batch_landed_names_it() {
    let world = World::of("a b c d").conflict("a", "d").conflict("b", "c").batch(2);
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a landed", "b landed", "c conflicted", "d conflicted"]);
    assert_eq!(outcome.reason("c"), "conflicts with b in file");
    assert_eq!(outcome.reason("d"), "conflicts with a in file");
    // Also on a base that others moved after it had landed.
    let outcome = run(&world.mishap(Mishap::MovedBeforeLanding(2)));
    assert_eq!(outcome.reason("d"), "conflicts with a in file");
}

#[test]
fn a_target_that_moved_costs_the_apex_and_nothing_else() {
    let outcome = run(&one_at_a_time("a b").mishap(Mishap::MovedBeforeLanding(1)));
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    assert_eq!(outcome.trees_of("unit"), ["a", "b", "a+b", "a+b"]);
    let moved: Vec<_> = outcome.story().into_iter().skip_while(|word| word != "target moved").collect();
    assert_eq!(moved, ["target moved", "apex a b", "gate apex 2", "unit passed", "landed a b", "exit 0"]);
}

#[test]
fn what_somebody_else_landed_may_conflict() {
    let world = World::of("a b").mishap(Mishap::MovedBeforeLanding(1));
    let outcome = run(&world.with(|world| world.conflicts_with_others.push("b".to_owned())));
    assert_eq!(outcome.statuses(), ["a landed", "b conflicted"]);
}

#[test]
fn a_target_that_keeps_moving_ends_the_run_and_one_that_moves_now_and_then_does_not() {
    let moved = |upto: usize, world: World| (1..=upto).map(Mishap::MovedBeforeLanding).fold(world, World::mishap);
    assert_eq!(run(&moved(10, World::of("a"))).exit_code(), exit::ALL_LANDED);
    let outcome = run(&moved(11, World::of("a")));
    assert_eq!(outcome.exit_code(), exit::TARGET_NOT_MOVED);
    assert_eq!(outcome.statuses(), ["a notLanded"]);
    // Fifteen moves in all, but never more than one in a row.
    let items: String = (0..15).map(|at| format!("i{at:02} ")).collect();
    let now_and_then =
        (0..15).map(|at| Mishap::MovedBeforeLanding(2 * at + 1)).fold(World::of(&items).batch(1), World::mishap);
    assert_eq!(run(&now_and_then).exit_code(), exit::ALL_LANDED);
}

#[test]
fn a_refused_landing_ends_the_run_with_4_and_keeps_what_landed_before() {
    let outcome = run(&World::of("a b c").batch(1).mishap(Mishap::RefusedLanding(2)));
    assert_eq!(outcome.exit_code(), exit::TARGET_NOT_MOVED);
    assert_eq!(outcome.statuses()[..2], ["a landed", "b notLanded"]);
}

#[test]
fn a_gate_that_cannot_be_run_on_a_cone_leaves_its_item_unjudged() {
    for effect in [Effect::CannotRun, Effect::BreaksOff] {
        let outcome = run(&World::of("a b:a c").own_gates("c", [gate("own")]).when("unit", &["a"], effect));
        assert_eq!(outcome.statuses(), ["a unjudged", "b blocked", "c landed"]);
        assert_eq!(outcome.exit_code(), exit::ITEMS_LEFT);
    }
}

#[test]
fn a_second_opinion_that_cannot_be_had_leaves_its_item_unjudged() {
    let outcome = run(&World::of("a b").when("unit", &["a"], Effect::FailsThenBreaksOff));
    assert_eq!(outcome.statuses(), ["a unjudged", "b landed"]);
}

#[test]
fn a_gate_that_cannot_be_run_on_an_apex_ends_the_run() {
    for effect in [Effect::CannotRun, Effect::BreaksOff] {
        let outcome = run(&World::of("a b").when("unit", &["a", "b"], effect));
        assert_eq!(outcome.statuses(), ["a notLanded", "b notLanded"]);
        assert_eq!(outcome.exit_code(), exit::LEXPR_FAILED);
        assert_eq!(outcome.count(|event| matches!(event, Event::RunHalted { .. })), 1);
    }
}

#[test]
fn invariant_7_too_little_memory_slows_a_run_and_never_hangs_it() {
    let starved = World::of("a b c d e f").with(|world| {
        // Too much even with nothing in work.
        world.memory = vec![200];
        world.memory_threshold = Some(100);
    });
    let outcome = run(&starved);
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    assert_eq!(outcome.hands.most_in_work(), 1);
    let throttled = outcome.count(|event| matches!(event, Event::Throttled { .. }));
    let unthrottled = outcome.count(|event| matches!(event, Event::Unthrottled { .. }));
    assert!(throttled > 0);
    assert_eq!(throttled, unthrottled, "what is held back is let go again");
}

#[test]
fn invariant_7_above_the_threshold_nothing_new_starts() {
    let outcome = run(&World::of("a b c d e f g h i j k l").workers(6).with(|world| {
        world.memory = vec![0, 50, 90, 150];
        world.memory_threshold = Some(100);
    }));
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    // The measurement that admits a job is at most 100 ms old, so a burst at one instant may pass it.
    assert!(outcome.count(|event| matches!(event, Event::Throttled { .. })) > 0);
}

#[test]
fn an_interrupted_run_ends_what_it_runs_and_says_130() {
    let outcome =
        run(&World::of("a b c").workers(1).when("unit", &[], Effect::Takes(1000)).mishap(Mishap::Interrupt(1500)));
    assert_eq!(outcome.exit_code(), exit::INTERRUPTED);
    assert_eq!(outcome.story()[3..], ["gate b", "interrupted", "unit cancelled", "exit 130"]);
    assert_eq!(outcome.statuses(), ["a notLanded", "b skipped", "c skipped"]);
}

#[test]
fn an_interrupt_lets_a_landing_end() {
    let world = World::of("a").when("unit", &[], Effect::Takes(0)).with(|world| world.longest_hand_ms = 5000);
    let undisturbed = world.run();
    let intended = undisturbed.events.iter().find(|one| matches!(one.event, Event::LandingIntended(_))).unwrap().at_ms;
    let outcome = run(&world.mishap(Mishap::Interrupt(intended + 1)));
    assert_eq!(outcome.statuses(), ["a landed"]);
    assert_eq!(outcome.exit_code(), exit::INTERRUPTED);
}

#[test]
fn invariant_6_verdicts_of_an_earlier_run_are_not_found_again() {
    let world = World::of("a b c:a,b").with(|world| world.remembered = Some(Arc::new(Store::default())));
    assert_eq!(run(&world).gate_runs().len(), 3);
    let again = run(&world);
    assert_eq!(again.gate_runs().len(), 0);
    assert_eq!(again.exit_code(), exit::ALL_LANDED);
    assert!(again.story().contains(&"unit reused".to_owned()));
}

#[test]
fn what_had_landed_before_is_not_gated_again() {
    let outcome = run(&World::of("a b:a c:b d").already_landed("a").already_landed("b"));
    assert_eq!(outcome.statuses(), ["a alreadyLanded", "b alreadyLanded", "c landed", "d landed"]);
    let whole = run(&World::of("a b:a").already_landed("a").already_landed("b"));
    assert_eq!(whole.story(), ["exit 0"]);
}

#[test]
fn invariant_2_what_stands_behind_an_already_landed_item_is_not_waited_for() {
    // `b` landed earlier without `a`: whatever becomes of `a` is no business of `c`.
    let outcome = run(&World::of("a b:a c:b").already_landed("b").fails("unit", &["a"]));
    assert_eq!(outcome.statuses(), ["a failed", "b alreadyLanded", "c landed"]);
}

#[test]
fn higher_priorities_and_longer_chains_start_first() {
    let outcome = run(&one_at_a_time("a b z c:b").priority("z", 1));
    assert_eq!(outcome.trees_of("unit")[..3], ["z", "b", "a"].map(str::to_owned));
}

#[test]
fn invariant_6_nothing_starts_once_the_journal_has_failed() {
    let undisturbed = run(&World::of("a b c:a").fails("unit", &["b"]));
    for seq in 1..=undisturbed.events.len() as u64 {
        // The scripted hands fail the test where anything begins after that.
        let outcome = World::of("a b c:a").fails("unit", &["b"]).mishap(Mishap::JournalFull(seq)).run();
        assert!(matches!(outcome.end, Err(EngineError::Journal(_))), "event {seq}");
        assert_eq!(outcome.events.len() as u64, seq - 1);
    }
}

#[test]
fn a_composite_that_cannot_be_made_ends_the_run_and_all_it_had_begun() {
    for number in 1..=4 {
        let outcome = World::of("a b c").mishap(Mishap::BrokenComposite(number)).run();
        assert!(matches!(outcome.end, Err(EngineError::Port { .. })), "composite {number}");
    }
}

#[test]
fn a_landing_whose_receipt_cannot_be_written_stays_open() {
    let outcome = World::of("a b").batch(1).mishap(Mishap::ReceiptLost(1)).run();
    let Err(error) = &outcome.end else { panic!("a lost receipt is an error") };
    assert_eq!(error.to_string(), "landing: no space left for the receipt");
    assert!(outcome.landed().is_empty());
    ends_with_an_open_landing_and_why(&outcome);
}

/// The intent, and what kept lexpr from going on.
fn ends_with_an_open_landing_and_why(outcome: &Outcome) {
    let [.., intended, halted] = outcome.events.as_slice() else { panic!("{:?}", outcome.story()) };
    assert!(matches!(intended.event, Event::LandingIntended(_)), "{intended:?}");
    assert!(matches!(&halted.event, Event::RunHalted { why: HaltReason::Infrastructure, .. }), "{halted:?}");
    assert!(outcome.replayed(outcome.events.len()).landing().is_some());
}

#[test]
fn a_landing_that_breaks_ends_the_run_with_its_intent_journalled() {
    let outcome = World::of("a").mishap(Mishap::BrokenLanding(1)).run();
    assert!(matches!(outcome.end, Err(EngineError::Port { .. })));
    ends_with_an_open_landing_and_why(&outcome);
}

#[test]
fn a_landing_under_way_when_something_else_breaks_is_journalled() {
    // With one item to a landing, the apex of `b` is composed only after `a` has landed, but the
    // cones of later items are made while it lands.
    for number in 1..40 {
        let items: String = (0..12).map(|at| format!("i{at:02} ")).collect();
        let outcome = World::of(&items).batch(1).workers(1).mishap(Mishap::BrokenComposite(number)).run();
        let moved = outcome.hands.landing_records().len();
        assert_eq!(outcome.landings().len(), moved, "composite {number}");
    }
}

#[test]
fn invariant_6_a_run_killed_between_its_landing_and_its_record_lands_once() {
    let world = one_at_a_time("a b:a").with(|world| world.longest_hand_ms = 50);
    let killed = run(&world.stop(Stop::KillOnceMoved(1)));
    assert_eq!(killed.landings(), [["a", "b"]]);
    assert_eq!(killed.exit_code(), exit::ALL_LANDED);
    assert_eq!(killed.count(|event| matches!(event, Event::RunResumed { .. })), 1);
    assert_eq!(killed.count(|event| matches!(event, Event::TargetMoved { .. })), 0, "it knows its own landing");
    assert_eq!(killed.hands.receipts().len(), 1);
}

#[test]
fn invariant_6_a_run_that_could_not_move_the_target_goes_on_when_it_can() {
    let world = one_at_a_time("a b").mishap(Mishap::RefusedLanding(1));
    let refused = run(&world);
    assert_eq!(refused.exit_code(), exit::TARGET_NOT_MOVED);
    let resumed = run(&world.stop(Stop::Refused));
    assert_eq!(resumed.landed(), ["a", "b"]);
    assert_eq!(resumed.trees_of("unit"), refused.trees_of("unit"), "no gate runs again");
}

#[test]
fn ten_thousand_independent_items_land() {
    let items: String = (0..10_000).map(|at| format!("i{at} ")).collect();
    let world = World::of(&items).workers(16).batch(500);
    let outcome = world.run();
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
    assert_eq!(outcome.landings().len(), 20);
}
