//! Named limits: who waits for whom, and that nothing else changes. What holds of them at every step of any run
//! is watched in [`crate::sim`].

use lexpr::engine::exit;
use lexpr::metrics::Metrics;
use lexpr::progress::facts;
use lexpr::report::json::RunReport;
use lexpr::report::summary;
use lexpr::report::view::RunView;
use lexpr::vocabulary::event::{Event, HeldBy, LimitOn};
use lexpr::wording::Paint;

use crate::sim::{Effect, Outcome, Stop, World, gate, oracle};

fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    assert!(outcome.replayed(outcome.events.len()).claims().held().is_empty(), "nothing is held at the end");
    outcome
}

/// When gates that run this began, in milliseconds.
fn began(outcome: &Outcome, gate: &str) -> Vec<u64> {
    let of_gate = outcome.events.iter().filter(
        |recorded| matches!(&recorded.event, Event::GateStarted { gate: started, .. } if started.as_str() == gate),
    );
    of_gate.map(|recorded| recorded.at_ms).collect()
}

fn held(outcome: &Outcome, why: HeldBy) -> usize {
    outcome.count(|event| matches!(event, Event::LimitHeld { why: held, .. } if *held == why))
}

#[test]
fn invariant_7_no_more_gates_run_at_once_than_their_limit_lets_and_all_of_them_do() {
    for (limit, at_once) in [(Some(1), 1), (Some(3), 3), (None, 5)] {
        let world = World::of("a b c d e f g").workers(5).resource("db", limit, 0).claims("unit", "db", 1);
        let outcome = run(&world);
        assert_eq!(outcome.landed().len(), 7);
        assert_eq!(outcome.hands.most_in_work(), at_once, "{limit:?}");
        assert_eq!(held(&outcome, HeldBy::Use) > 0, limit.is_some());
    }
}

#[test]
fn a_claim_is_held_while_the_gates_that_need_it_run_and_no_longer() {
    let world = World::of("a b c d").workers(4).batch(1).resource("db", Some(1), 0).claims("e2e", "db", 1);
    let world = world.when("unit", &[], Effect::Takes(1000)).when("e2e", &[], Effect::Takes(100));
    // Before it: all units at once, then one e2e after another.
    let before = run(&world.clone().gates([gate("unit"), gate("e2e")]));
    assert_eq!(began(&before, "unit")[..4], [0, 0, 0, 0]);
    assert_eq!(began(&before, "e2e")[..4], [1000, 1100, 1200, 1300]);
    // Behind it: as soon as its e2e is over the next begins, whatever else its job does.
    let behind = run(&world.gates([gate("e2e"), gate("unit")]));
    assert_eq!(began(&behind, "e2e")[..4], [0, 100, 200, 300]);
    assert_eq!(began(&behind, "unit")[..4], [100, 200, 300, 400]);
}

#[test]
fn nobody_who_asks_for_less_overtakes_who_asked_before_and_who_asks_for_nothing_may() {
    let world = World::of("a b c d")
        .workers(4)
        .own_gates("a", [gate("small")])
        .own_gates("b", [gate("big")])
        .own_gates("c", [gate("little")])
        .own_gates("d", [gate("none")])
        .resource("gpu", Some(2), 0)
        .resource("db", Some(1), 0)
        .claims("small", "gpu", 1)
        .claims("big", "gpu", 2)
        .claims("big", "db", 1)
        .claims("little", "db", 1)
        .when("small", &[], Effect::Takes(1000))
        .when("big", &[], Effect::Takes(1000));
    let outcome = run(&world);
    let first = |gate| began(&outcome, gate)[0];
    assert_eq!([first("small"), first("none")], [0, 0]);
    assert_eq!(first("big"), 1000, "all at once, or none of it");
    assert_eq!(first("little"), 2000, "it keeps its place on all that it asked for");
    assert_eq!(outcome.exit_code(), exit::ALL_LANDED);
}

#[test]
fn a_pace_is_kept_between_all_gates_that_claim_it_and_others_have_the_slots_meanwhile() {
    let world = World::of("a b c")
        .workers(1)
        .own_gates("a", [gate("api"), gate("more")])
        .own_gates("b", [gate("api")])
        .own_gates("c", [gate("unit")])
        .resource("api", None, 2000)
        .claims("api", "api", 1)
        .claims("more", "api", 1);
    let world = ["api", "more", "unit"].into_iter().fold(world, |world, gate| world.when(gate, &[], Effect::Takes(50)));
    let outcome = run(&world);
    let mut all = [began(&outcome, "api"), began(&outcome, "more")].concat();
    all.sort_unstable();
    // Three on cones, two on the apex.
    assert_eq!(all, [0, 2000, 4000, 6000, 8000]);
    assert_eq!(began(&outcome, "unit")[0], 50, "who claims nothing does not wait for whoever does");
    assert!(held(&outcome, HeldBy::Pacing) > 0);
}

#[test]
fn a_pace_counts_from_when_a_gate_begins_and_not_from_when_its_slot_was_taken() {
    let world = World::of("a b c").workers(3).gates([gate("unit"), gate("api")]).resource("api", Some(3), 500);
    let world = world.claims("api", "api", 1).when("unit", &["b"], Effect::Takes(300));
    let world = world.when("unit", &[], Effect::Takes(0)).when("api", &[], Effect::Takes(5000));
    let outcome = run(&world);
    let api = began(&outcome, "api");
    assert!(api.windows(2).all(|pair| pair[1] >= pair[0] + 500), "{api:?}");
    assert_eq!(api[..3], [0, 500, 1000]);
}

#[test]
fn a_gate_that_is_rate_limited_gives_its_slot_back_and_is_asked_for_again() {
    let world = World::of("a b").workers(1).own_gates("b", [gate("lint")]).refused("unit", 2);
    let world = world.when("unit", &[], Effect::Takes(10)).when("lint", &[], Effect::Takes(10));
    let outcome = run(&world);
    assert_eq!(
        outcome.story(),
        [
            "gate a",
            "unit rate limited",
            "gate unit held by RateLimit",
            "gate b",
            "lint passed",
            "b passed",
            "gate unit freed",
            "gate a",
            "unit rate limited",
            "gate unit held by RateLimit",
            "gate unit freed",
            "gate a",
            "unit passed",
            "a passed",
            "apex a b",
            // Refused on this tree, too.
            "gate apex 2",
            "unit rate limited",
            "gate unit held by RateLimit",
            "gate unit freed",
            "gate apex 2",
            "unit rate limited",
            "gate unit held by RateLimit",
            "gate unit freed",
            "gate apex 2",
            "unit passed",
            "lint passed",
            "landed a b",
            "exit 0",
        ]
    );
    let waits: Vec<u64> = began(&outcome, "unit")[..3].windows(2).map(|pair| pair[1] - pair[0] - 10).collect();
    assert!((1000..=1250).contains(&waits[0]) && (2000..=2500).contains(&waits[1]), "{waits:?}");
}

#[test]
fn all_that_claims_a_paced_limit_waits_when_one_of_them_is_rate_limited_and_nothing_else_does() {
    let world = World::of("a b c")
        .workers(1)
        .own_gates("a", [gate("api")])
        .own_gates("b", [gate("other")])
        .own_gates("c", [gate("db")])
        .resource("api", Some(3), 100)
        .resource("db", Some(1), 0)
        .claims("api", "api", 1)
        .claims("other", "api", 1)
        .claims("other", "db", 1)
        .claims("db", "db", 1)
        .refused("api", 1);
    let world = ["api", "other", "db"].into_iter().fold(world, |world, gate| world.when(gate, &[], Effect::Takes(10)));
    let outcome = run(&world);
    assert!(began(&outcome, "other")[0] >= 1010);
    assert_eq!(began(&outcome, "db")[0], 10, "who waits for the clock keeps no place on what it does not wait for");
}

#[test]
fn gates_that_are_rate_limited_together_wait_from_the_last_of_them_on_and_no_longer_than_one_would() {
    let world = World::of("a b").workers(2).refused("unit", 1);
    let world = world.when("unit", &["a"], Effect::Takes(10)).when("unit", &["b"], Effect::Takes(900));
    let outcome = run(&world);
    let again = &began(&outcome, "unit")[2..4];
    assert!(again.iter().all(|at_ms| (1900..=2150).contains(at_ms)), "{again:?}");
}

#[test]
fn who_is_rate_limited_for_good_is_unjudged_and_a_failure_beside_it_is_no_verdict() {
    let world = World::of("a b").workers(2).own_gates("b", [gate("lint")]).refused("unit", 1000);
    let outcome = run(&world);
    assert_eq!(outcome.statuses(), ["a unjudged", "b landed"]);
    assert_eq!(outcome.reason("a"), "gate unit could not be run: rate limited 10 times in a row");
    assert_eq!(began(&outcome, "unit").len(), 10);
    let whole = World::of("a").gates([gate("unit").optional(), gate("lint")]).refused("unit", 1000);
    assert_eq!(run(&whole).statuses(), ["a landed"], "what is optional keeps nobody");
}

#[test]
fn invariant_6_a_run_that_was_killed_keeps_pace_and_wait() {
    let world = World::of("a b c").workers(3).resource("api", None, 5000).claims("unit", "api", 1).refused("unit", 1);
    let outcome = run(&world);
    for events in 1..outcome.events.len() {
        let killed = run(&world.clone().stop(Stop::Kill(events)));
        assert_eq!(killed.statuses(), outcome.statuses(), "killed after {events}");
    }
}

#[test]
fn a_run_that_only_waits_for_the_clock_stops_when_it_is_asked_to() {
    let world = World::of("a").refused("unit", 9).when("unit", &[], Effect::Takes(0));
    let interrupted = run(&world.with(|world| world.mishaps = vec![crate::sim::Mishap::Interrupt(20_000)]));
    assert_eq!(interrupted.exit_code(), exit::INTERRUPTED);
    assert_eq!(interrupted.took_ms, 20_000);
}

#[test]
fn what_is_held_back_is_named_and_so_is_why() {
    let world = World::of("a b").workers(2).resource("db", Some(1), 0).claims("unit", "db", 1);
    let outcome = run(&world);
    let db = LimitOn::Resource { name: "db".to_owned() };
    let told = outcome.count(|event| *event == Event::LimitHeld { limit: db.clone(), why: HeldBy::Use, for_ms: None });
    assert_eq!(told, 1);
    // Where no slot stands empty for it, it costs nothing.
    let narrow = run(&world.workers(1));
    assert_eq!(held(&narrow, HeldBy::Use), 0);
}

#[test]
fn every_face_names_what_limits_held_back_and_what_that_cost() {
    let world = World::of("a b")
        .workers(2)
        .gates([gate("unit"), gate("api")])
        .resource("db", Some(1), 0)
        .resource("api", None, 2000)
        .claims("unit", "db", 1)
        .claims("api", "api", 1)
        .refused("api", 1);
    let outcome = run(&world.when("unit", &[], Effect::Takes(500)).when("api", &[], Effect::Takes(100)));
    let (mut view, metrics) = (RunView::default(), Metrics::new());
    let mut told = Vec::new();
    for recorded in &outcome.events {
        view.apply(recorded);
        metrics.apply(recorded);
        told.extend(facts::lines(&view, recorded, Paint::PLAIN));
    }
    let said = |text: &str| told.iter().filter(|line| line.contains(text)).count();
    assert_eq!(said("slots stand empty while what there is of db is in use"), 1, "{told:#?}");
    assert_eq!(said("rate limited (exit status 75); it is asked for again"), 3, "on a, on b and on both");
    assert_eq!(said("api was rate limited; it goes on in"), 3);
    assert_eq!(said("proven"), 1, "once for all jobs of an apex: {told:#?}");
    let report = RunReport::new(&view, metrics.values()).unwrap();
    let of = |why: HeldBy| report.limits.iter().find(|limit| limit.why == why).unwrap();
    assert_eq!((of(HeldBy::Use).times, of(HeldBy::Use).held_ms), (1, 500));
    assert!(of(HeldBy::RateLimit).held_ms >= 3 * 2000);
    let summary = summary::facts(&report);
    assert!(summary.contains(&"the limit on db held work back 1 time, 0.5s in all".to_owned()), "{summary:?}");
    let all_ms: u64 = report.limits.iter().map(|limit| limit.held_ms).sum();
    let values = metrics.values();
    assert_eq!(values["lex_pr_limit_held_seconds_total"], all_ms as f64 / 1e3);
    assert_eq!(values["lex_pr_limit_held_total{why=\"in_use\"}"], 1.0);
    assert_eq!(values["lex_pr_gate_inconclusive_total{outcome=\"rate_limited\"}"], 3.0);
    assert_eq!(report.apexes[0].probes.len(), 1);
    assert_eq!(report.apexes[0].probes[0].passed, Some(true));
}
