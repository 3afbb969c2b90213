//! What somebody lets land although its gates do not pass: alone, last, and as what it is.

use lexpr::engine::exit;
use lexpr::plan::Landing;
use lexpr::vocabulary::event::{Event, FinalStatus, ItemGateStatus, Overridden};

use crate::engine_beside::{self, WAYS, run};
use crate::sim::{Effect, Mishap, OthersMove, Outcome, Stop, When, World, gate};

fn by(way: (Landing, u32), items: &str, overrides: &[&str]) -> World {
    engine_beside::by(way, items).with(|world| {
        world.overrides = overrides.iter().map(|name| (*name).to_owned()).collect();
    })
}

fn overridden(outcome: &Outcome) -> Vec<Overridden> {
    let events = outcome.events.iter().map(|recorded| &recorded.event);
    let overridden = events.filter_map(|event| match event {
        Event::Overridden(overridden) => Some((**overridden).clone()),
        _ => None,
    });
    overridden.collect()
}

#[test]
fn a_red_item_lands_alone_and_last_and_is_told_as_overridden() {
    for way in WAYS {
        let outcome = run(&by(way, "a b c d", &["b"]).fails("unit", &["b"]));
        assert_eq!(outcome.landed(), ["a", "c", "d", "b"], "{way:?}");
        assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
        let [one] = &overridden(&outcome)[..] else { panic!("{way:?}: {:#?}", outcome.story()) };
        assert_eq!(one.to_string(), "unit failed; by Ann <ann@example.com>: it has to");
    }
}

#[test]
fn an_item_whose_gates_pass_is_proven_and_not_overridden() {
    for way in WAYS {
        let outcome = run(&by(way, "a b c", &["b"]));
        assert_eq!(outcome.landed(), ["a", "c", "b"], "{way:?}");
        assert_eq!(overridden(&outcome), [], "{way:?}");
    }
}

#[test]
fn a_flake_is_no_reason_to_override() {
    for way in WAYS {
        let outcome = run(&by(way, "a b", &["a"]).when("unit", &["a"], Effect::FailsAtFirst(1)));
        assert_eq!(overridden(&outcome), [], "{way:?}");
        assert_eq!(outcome.landed(), ["b", "a"], "{way:?}");
    }
}

#[test]
fn what_is_behind_it_is_left_to_another_run_unless_it_is_overridden_too() {
    for way in WAYS {
        let world = by(way, "a b:a c:b d:a", &["a", "d"]).fails("unit", &["a"]);
        let outcome = run(&world);
        let ends = ["a landed", "b blocked", "c blocked", "d landed"];
        assert_eq!(outcome.statuses(), ends, "{way:?}: {:#?}", outcome.story());
        let whats: Vec<String> =
            overridden(&outcome).iter().map(|one| format!("{}: {}", one.item, one.what())).collect();
        assert_eq!(whats, ["a: unit failed", "d: unit failed"], "{way:?}");
    }
}

#[test]
fn it_waits_for_what_it_depends_on_and_does_not_land_without_it() {
    for way in WAYS {
        let outcome = run(&by(way, "a b:a c", &["b"]).fails("unit", &["a"]));
        assert_eq!(outcome.statuses(), ["a failed", "b blocked", "c landed"], "{way:?}");
        let outcome = run(&by(way, "a b:a c", &["b"]).fails("unit", &["b"]));
        assert_eq!(outcome.landed(), ["a", "c", "b"], "{way:?}");
    }
}

#[test]
fn a_conflict_is_not_overridden_and_nobody_meets_one_by_it() {
    for way in WAYS {
        let outcome = run(&by(way, "a b", &["a"]).conflict("a", "b"));
        assert_eq!(outcome.statuses(), ["a conflicted", "b landed"], "{way:?}");
    }
}

#[test]
fn a_gate_that_cannot_be_run_is_overridden_as_that_and_what_stands_behind_it_was_not_run() {
    for way in WAYS {
        let gates = [gate("unit"), gate("lint")];
        let world = by(way, "a b", &["a"]).gates(gates).when("unit", &["a"], Effect::CannotRun);
        let outcome = run(&world);
        assert_eq!(outcome.landed(), ["b", "a"], "{way:?}");
        let [one] = &overridden(&outcome)[..] else { panic!("{way:?}: {:#?}", outcome.story()) };
        let statuses: Vec<ItemGateStatus> = one.gates.iter().map(|gate| gate.status).collect();
        assert_eq!(statuses, [ItemGateStatus::Unjudged, ItemGateStatus::NotRun]);
    }
}

#[test]
fn nothing_is_overridden_while_a_gate_only_waits_for_its_turn() {
    for way in WAYS {
        // `b` is served at its fourth try, long after there was nothing else to do.
        let world = by(way, "a b", &["a"]).conflict("a", "b").resource("api", None, 500).claims("unit", "api", 1);
        let outcome = run(&world.refused("unit", 3));
        assert_eq!(outcome.statuses(), ["a conflicted", "b landed"], "{way:?}: {:#?}", outcome.story());
    }
}

#[test]
fn a_policy_that_blocks_an_item_blocks_an_overridden_one() {
    for way in WAYS {
        let outcome = run(&by(way, "a b", &["a"]).with(|world| world.block_on.push("un*".to_owned())));
        assert_eq!(outcome.statuses(), ["a blocked", "b blocked"], "{way:?}");
    }
}

#[test]
fn invariant_6_a_run_that_is_killed_anywhere_overrides_once_and_comes_to_the_same() {
    for way in WAYS {
        let world = || by(way, "a b c:b", &["a"]).fails("unit", &["a"]);
        let whole = run(&world());
        for at in 1..=whole.events.len() {
            let outcome = run(&world().stop(Stop::Kill(at)));
            assert_eq!(outcome.landed(), whole.landed(), "{way:?}, killed after {at}");
            assert_eq!(outcome.hands.target(), whole.hands.target(), "{way:?}, killed after {at}");
            assert_eq!(overridden(&outcome).len(), 1, "{way:?}, killed after {at}");
        }
        for landing in 1..=2 {
            let outcome = run(&world().stop(Stop::KillOnceMoved(landing)));
            assert_eq!(outcome.hands.target(), whole.hands.target(), "{way:?}, killed once {landing} had landed");
        }
    }
}

#[test]
fn where_others_move_the_target_it_is_judged_anew_and_overridden_there() {
    for way in WAYS {
        let world = by(way, "a b", &["a"]).fails("unit", &["a"]).batch(1);
        for moment in [When::BeforeLanding(1), When::BeforeLanding(2), When::At(500)] {
            let outcome = run(&World {
                others: vec![OthersMove { when: moment, brings: Vec::new(), conflicts_with: Vec::new() }],
                ..world.clone()
            });
            assert_eq!(outcome.landed(), ["b", "a"], "{way:?}, {moment:?}: {:#?}", outcome.story());
        }
        let outcome = run(&world.mishap(Mishap::RefusedLanding(2)));
        assert_eq!(outcome.with_status(FinalStatus::Landed), ["b"], "{way:?}: {:#?}", outcome.story());
    }
}

#[test]
fn what_had_landed_before_is_not_landed_again() {
    for way in WAYS {
        let outcome = run(&by(way, "a b:a", &["a"]).already_landed("a"));
        assert_eq!(outcome.statuses(), ["a alreadyLanded", "b landed"], "{way:?}");
    }
}
