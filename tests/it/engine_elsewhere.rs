//! Gates that run elsewhere: they take no slot of this machine, no more of them are in flight than their runtime lets,
//! and what lands is what would land anyway. At every step of any run that is watched in [`crate::sim`].

use lexpr::core::limits::Limits;
use lexpr::plan::{Landing, Spend};
use lexpr::vocabulary::event::Event;

use crate::sim::{Effect, Outcome, World, gate, oracle};

fn run(world: &World) -> Outcome {
    let outcome = world.run();
    oracle::check(&outcome);
    outcome
}

#[test]
fn invariant_7_as_many_gates_are_in_flight_as_their_runtime_lets_whatever_the_workers() {
    for (at_once, in_flight) in [(1, 1), (3, 3), (40, 12)] {
        let world = World::of("a b c d e f g h i j k l").workers(1).gates([gate("far").elsewhere(at_once)]);
        let outcome = run(&world);
        assert_eq!(outcome.landed().len(), 12);
        assert_eq!(outcome.hands.most_in_work(), in_flight, "{at_once}");
        assert_eq!(outcome.hands.most_here(), 0);
    }
}

#[test]
fn slots_of_this_machine_and_places_elsewhere_are_full_at_the_same_time() {
    let world = World::of("a b c d e f g h").workers(2).gates([gate("here"), gate("far").elsewhere(3)]);
    let world = world.when("here", &[], Effect::Takes(1000)).when("far", &[], Effect::Takes(1000));
    let outcome = run(&world);
    assert_eq!((outcome.hands.most_here(), outcome.hands.most_in_work()), (2, 4), "two here, and those two had before");
    let jobs = outcome.count(|event| matches!(event, Event::JobStarted(job) if job.gates.len() != 1));
    assert_eq!(jobs, 0, "a gate elsewhere is a job of its own, and so is what is left here");
}

#[test]
fn invariant_8_where_gates_run_decides_nothing_of_what_lands() {
    let strategies = [
        (Landing::Pyramid, Spend::Gates, 1),
        (Landing::Pyramid, Spend::Time, 4),
        (Landing::Batch, Spend::Gates, 1),
        (Landing::Batch, Spend::Time, 1),
        (Landing::Train, Spend::Gates, 1),
    ];
    for (landing, spend, group_size) in strategies {
        let ends = [None, Some(1), Some(7)].map(|elsewhere| {
            let far = match elsewhere {
                None => gate("far"),
                Some(at_once) => gate("far").elsewhere(at_once),
            };
            let world = World::of("a b c:a d:b e f:e g h:g i j k l").workers(2).gates([gate("unit"), far]);
            let world = world.when("far", &["d"], Effect::Fails).when("unit", &["i", "k"], Effect::Fails);
            let mut world = world.when("far", &["e"], Effect::FailsAtFirst(1));
            world.limits = Limits { landing, spend, ..world.limits.clone() };
            world.group_size = group_size;
            let outcome = run(&world);
            (
                outcome.end().items.iter().map(|item| (item.name.clone(), item.status)).collect::<Vec<_>>(),
                outcome.landed(),
            )
        });
        assert_eq!(ends[0], ends[1], "{landing:?} {spend:?}");
        assert_eq!(ends[0], ends[2], "{landing:?} {spend:?}");
    }
}
