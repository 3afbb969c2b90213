//! A run beside others: what they land of its items, how it lets urgent ones land first, and what it claims
//! where it is urgent itself.

use lexpr::engine::exit;
use lexpr::plan::Landing;
use lexpr::ports::Claim;
use lexpr::vocabulary::event::{Event, JobPurpose};

use crate::sim::strategies::result;
use crate::sim::{Effect, Mishap, OthersMove, Outcome, Stop, When, World, gate, oracle};

pub fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    outcome
}

pub const WAYS: [(Landing, u32); 4] =
    [(Landing::Pyramid, 1), (Landing::Pyramid, 3), (Landing::Batch, 1), (Landing::Train, 1)];

pub fn by((landing, group_size): (Landing, u32), items: &str) -> World {
    World::of(items).with(|world| {
        world.limits.landing = landing;
        world.group_size = group_size;
    })
}

fn others_land(world: World, items: &[&str], when: When) -> World {
    let brings = items.iter().map(|item| (*item).to_owned()).collect();
    world.with(|world| world.others.push(OthersMove { when, brings, conflicts_with: Vec::new() }))
}

/// The gates that began after the target had moved, by what they were for.
fn jobs_after_the_move(outcome: &Outcome) -> Vec<JobPurpose> {
    let events = outcome.events.iter().map(|recorded| &recorded.event);
    let after = events.skip_while(|event| !matches!(event, Event::TargetMoved { .. }));
    let jobs = after.filter_map(|event| match event {
        Event::JobStarted(job) => Some(job.purpose.clone()),
        _ => None,
    });
    jobs.collect()
}

#[test]
fn what_others_have_landed_is_already_landed_and_no_part_of_what_lands() {
    for way in WAYS {
        let outcome = run(&others_land(by(way, "a b c d"), &["b", "d"], When::BeforeLanding(1)));
        let statuses = ["a landed", "b alreadyLanded", "c landed", "d alreadyLanded"];
        assert_eq!(outcome.statuses(), statuses, "{way:?}");
        assert_eq!(outcome.landed(), ["a", "c"], "{way:?}");
        assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
        for purpose in jobs_after_the_move(&outcome) {
            let of_those = match &purpose {
                JobPurpose::Train { item, .. } | JobPurpose::Cone { item } => ["b", "d"].contains(&item.as_str()),
                _ => false,
            };
            assert!(!of_those, "{way:?}: what others have landed is gated: {purpose:?}");
        }
    }
}

#[test]
fn what_others_have_landed_satisfies_its_dependents_however_far_it_had_come() {
    for way in WAYS {
        for at_ms in [1, 300, 700, 1000, 1500, 2500] {
            // `d` keeps the run under way.
            let world = by(way, "z a b:a c:b d").batch(1).workers(2).when("unit", &["a"], Effect::Takes(900));
            let outcome = run(&others_land(world, &["a", "b"], When::At(at_ms)));
            assert_eq!(outcome.exit_code(), exit::ALL_LANDED, "{way:?}, {at_ms} ms: {:#?}", outcome.statuses());
        }
    }
}

#[test]
fn a_dependent_of_what_others_have_landed_starts_although_that_never_passed_here() {
    // `x` takes for ever, so that `b` waits; `a` lands meanwhile and sees that others have landed `x`.
    let world = World::of("a x b:x").batch(1).workers(2).when("unit", &["x"], Effect::Takes(9000));
    let outcome = run(&others_land(world, &["x"], When::BeforeLanding(1)));
    assert_eq!(outcome.statuses(), ["a landed", "x alreadyLanded", "b landed"]);
    assert_eq!(outcome.count(|event| matches!(event, Event::ItemDecided(decided) if decided.item.as_str() == "x")), 0);
}

#[test]
fn what_has_failed_stays_so_although_others_land_it() {
    let world = World::of("a b:a x").workers(1).own_gates("a", [gate("own")]).fails("own", &["a"]);
    let outcome = run(&others_land(world, &["a"], When::BeforeLanding(1)));
    assert_eq!(outcome.statuses(), ["a failed", "b blocked", "x landed"]);
}

#[test]
fn invariant_6_a_run_killed_at_any_event_knows_what_others_have_landed() {
    for way in WAYS {
        let world = others_land(by(way, "a b c:b d"), &["b", "d"], When::BeforeLanding(1));
        let undisturbed = run(&world);
        let mut moved = 0;
        for events in 1..undisturbed.events.len() {
            let killed = run(&world.clone().stop(Stop::Kill(events)));
            // One that is killed in the middle of its first landing has nobody in its way at the second.
            if killed.count(|event| matches!(event, Event::TargetMoved { .. })) > 0 {
                assert_eq!(killed.statuses(), undisturbed.statuses(), "{way:?}, killed after {events} events");
                moved += 1;
            }
        }
        assert!(moved + 6 > undisturbed.events.len() - 1, "{way:?}: {moved} of {}", undisturbed.events.len());
        // While no process is there to see it.
        let between = others_land(by(way, "a b c:b d"), &["b", "d"], When::Between(1)).stop(Stop::Kill(3));
        assert_eq!(run(&between).statuses(), undisturbed.statuses(), "{way:?}");
    }
}

/// The jobs of a run, in words.
fn jobs(outcome: &Outcome) -> Vec<String> {
    outcome.story().into_iter().filter(|line| line.starts_with("gate ") || line == "target moved").collect()
}

#[test]
fn no_cone_and_no_apex_is_begun_where_the_target_has_left_while_another_cone_was_gated() {
    let at_a = |items: &str| World::of(items).workers(1).when("unit", &["a"], Effect::Takes(900));
    let outcome = run(&others_land(at_a("a b c"), &[], When::At(600)));
    assert_eq!(outcome.statuses(), ["a landed", "b landed", "c landed"]);
    assert_eq!(jobs(&outcome), ["gate a", "target moved", "gate b", "gate c", "gate apex 3"]);
    // It is the last cone.
    let outcome = run(&others_land(at_a("z a").workers(2), &[], When::At(600)));
    assert_eq!(jobs(&outcome).last().unwrap(), "gate apex 2");
    assert_eq!(jobs(&outcome).iter().filter(|job| job.starts_with("gate apex")).count(), 1);
}

#[test]
fn moves_that_are_seen_early_make_no_run_give_up() {
    let world = World::of("a b").workers(1).when("unit", &["a"], Effect::Takes(900));
    let world = world.with(|world| world.limits.max_rebases = 0);
    let outcome = run(&others_land(world, &[], When::At(600)));
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
}

#[test]
fn invariant_7_a_target_that_moves_faster_than_gates_run_keeps_no_item_from_failing() {
    let mut world = World::of("a").workers(1).fails("unit", &["a"]).when("unit", &[], Effect::Takes(900));
    for move_number in 0..20 {
        world = others_land(world, &[], When::At(100 + 700 * move_number));
    }
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a failed"]);
    let moves = outcome.count(|event| matches!(event, Event::TargetMoved { .. }));
    assert_eq!(moves, 3, "it goes on where it is after some");
}

/// An urgent run is about to land beside it all the time until then.
fn beside_an_urgent_one(world: World, until_ms: u64) -> World {
    world.with(|world| world.urgent_beside = vec![(0, until_ms)])
}

#[test]
fn landings_are_held_back_while_an_urgent_run_is_about_to_land_and_gates_go_on() {
    for way in WAYS {
        // In a train that is how far anybody looks.
        let size = if way.0 == Landing::Train { 50 } else { 1 };
        let world = by(way, "a b c d e f").batch(size).workers(1);
        let alone = run(&world);
        let beside = run(&beside_an_urgent_one(world, 60_000));
        assert_eq!(result(&beside), result(&alone), "{way:?}");
        assert_eq!(beside.hands.gave_way(), 1);
        let landed = beside.events.iter().find(|recorded| matches!(recorded.event, Event::LandingIntended(_)));
        assert!(landed.unwrap().at_ms >= 60_000, "{way:?}: intended while it was to wait");
        let gated = beside.events.iter().filter(|recorded| recorded.at_ms < 60_000);
        let gated = gated.filter(|recorded| matches!(recorded.event, Event::GateFinished(_))).count();
        // In a batch there is nothing to gate before this has landed.
        let all = match way {
            // Two groups and an apex.
            (Landing::Pyramid, 3) => 3,
            (Landing::Batch, _) => 1,
            _ => 6,
        };
        assert!(gated >= all, "{way:?}: {gated} gates ended meanwhile");
    }
}

#[test]
fn invariant_6_a_run_that_waits_for_an_urgent_one_ends_at_once_when_it_is_asked_to_and_intends_nothing() {
    let world = beside_an_urgent_one(World::of("a").mishap(Mishap::Interrupt(5000)), 3_600_000);
    let interrupted = run(&world);
    assert_eq!(interrupted.exit_code(), exit::INTERRUPTED);
    assert!(interrupted.took_ms < 6000, "{}", interrupted.took_ms);
    assert_eq!(interrupted.count(|event| matches!(event, Event::LandingIntended(_))), 0);
    let resumed = run(&World { urgent_beside: Vec::new(), ..world.stop(Stop::Refused) });
    assert_eq!(resumed.statuses(), ["a landed"]);
    assert_eq!(resumed.trees_of("unit").len(), 1, "no gate runs again");
}

#[test]
fn a_run_that_cannot_go_on_does_not_wait_until_an_urgent_one_has_landed() {
    // Meanwhile a gate of `b` cannot be run where it is about to land: the machine is in trouble.
    let world = World::of("a b").workers(1).batch(1).mishap(Mishap::StuckGate(2));
    let outcome = beside_an_urgent_one(world, 3_600_000).run();
    assert!(outcome.end.is_err());
    assert!(outcome.took_ms < 10_000, "{}", outcome.took_ms);
}

#[test]
fn an_urgent_run_claims_while_it_has_an_apex_and_more_once_it_was_overtaken() {
    // The watch sees the claims at each landing.
    for way in WAYS {
        let world = by(way, "a b c").batch(1).with(|world| world.urgent = true);
        let outcome = run(&world.mishap(Mishap::MovedBeforeLanding(1)));
        assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
        assert_eq!(outcome.hands.claimed(), None::<Claim>, "{way:?}: it claims when it is over");
    }
    let slow = World::of("a").own_gates("a", [gate("unit")]).with(|world| world.urgent = true);
    let interrupted = run(&slow.mishap(Mishap::Interrupt(1)));
    assert_eq!((interrupted.exit_code(), interrupted.hands.claimed()), (exit::INTERRUPTED, None));
}

#[test]
fn a_move_of_an_old_journal_is_read_and_one_that_brought_nothing_is_written_as_ever() {
    let id = "1".repeat(40);
    let old = serde_json::json!({ "event": "targetMoved", "from": id, "to": id, "toTree": id });
    let read: Event = serde_json::from_value(old.clone()).unwrap();
    assert!(matches!(&read, Event::TargetMoved { landed, .. } if landed.is_empty()));
    assert_eq!(serde_json::to_value(read).unwrap(), old);
}
