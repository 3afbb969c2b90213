//! Storm: eight people land disjoint and overlapping plans on one target of one repository, each with
//! the real binary; some wait for the target, some are refused and try again, some land beside whoever
//! has it; some are killed and resumed; a ninth moves the target by hand meanwhile. Whatever comes
//! first: nothing is lost, and nothing lands twice.
//!
//! What each of them does is seeded; who comes first is the machine's to decide, so that a seed that
//! fails shows what was tried and not always the failure.

mod lander;
mod mover;
mod oracle;
mod scenery;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use crate::cli_world::World;
use lander::Lander;
use mover::Mover;
use scenery::{Ground, Random};

/// The people who land.
const LANDERS: usize = 8;

/// What a round came to.
struct Figures {
    ground: Ground,
    processes: usize,
    kills: usize,
    refusals: usize,
    resumptions: usize,
    moves: usize,
    landings: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ground, processes, kills, refusals, resumptions, moves, landings } = self;
        write!(
            f,
            "{ground:?}: {processes} processes, {kills} killed, {refusals} refused, {resumptions} resumptions, \
             {landings} landings, {moves} moves by hand"
        )
    }
}

fn round(seed: u64) -> Figures {
    let ground = if seed % 2 == 1 { Ground::Bare } else { Ground::CheckedOut };
    let world = ground.world();
    // The cause has been told where it arose, by one of many threads.
    panic::catch_unwind(AssertUnwindSafe(|| storm(&world, ground, Random(seed)))).unwrap_or_else(|_| {
        panic!(
            "a storm failed; its repository is in {}; again: LEXPR_STORM_SEED={seed} cargo test --test it storm",
            world.keep().display()
        )
    })
}

fn storm(world: &World, ground: Ground, mut random: Random) -> Figures {
    let plans: Vec<_> = (0..LANDERS).map(|number| scenery::plan(number, &mut random)).collect();
    let landers: Vec<Lander> =
        plans.iter().enumerate().map(|(number, plan)| Lander::new(number, plan, random.split())).collect();
    let mover = Mover::new(ground, random.split());
    let begin = world.main();
    let (ended, moved) = thread::scope(|scope| {
        let moves = scope.spawn(|| mover.move_until_stopped(world));
        let landing: Vec<_> = landers.into_iter().map(|lander| scope.spawn(|| lander.land(world))).collect();
        // Whoever fails: the mover must end, or nobody would hear of it.
        let ended: Vec<_> = landing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        mover.stop();
        (ended, moves.join().unwrap())
    });
    let ended: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
    let landings = oracle::judge(world, ground, &begin, &ended, &moved);
    let sum = |of: fn(&lander::Ended) -> usize| ended.iter().map(of).sum();
    Figures {
        ground,
        processes: sum(|ended| ended.processes),
        kills: sum(|ended| ended.kills),
        refusals: sum(|ended| ended.refusals),
        resumptions: sum(|ended| ended.resumptions),
        moves: moved.len(),
        landings,
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The seeds follow from the first: `LEXPR_STORM_SEED` with `LEXPR_STORM_ROUNDS` of them.
#[test]
#[expect(clippy::print_stdout, reason = "figures, shown with --nocapture or where the test fails")]
fn invariant_6_in_a_storm_of_runs_kills_and_moves_nothing_is_lost_and_nothing_lands_twice() {
    let first = number("LEXPR_STORM_SEED");
    // One in each kind of repository, as a rule.
    let rounds = number("LEXPR_STORM_ROUNDS").unwrap_or(if first.is_some() { 1 } else { 2 });
    let first = first.unwrap_or(20_261_121);
    for seed in (0..rounds).map(|at| first + at) {
        let begun = std::time::Instant::now();
        let figures = round(seed);
        println!("storm {seed}: {figures}, {:.1} s", begun.elapsed().as_secs_f32());
    }
}
