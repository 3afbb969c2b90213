//! An undo, and an undo of one, killed everywhere and run again.

use lexpr::core::account::Account;
use lexpr::journal;

use crate::case::{Kill, Manner};
use crate::ends::End;
use crate::proof::{ALL_PLACES, on_all_cores, sample, say};
use crate::scenario::{Mode, Scenario, Shape};
use crate::world::{Ended, World};

/// For every commit.
const SAMPLE_STRIDE: usize = 6;

/// Whether the journal says that the run is undone, and that nothing is under way.
fn is_undone(world: &World) -> Option<bool> {
    let journal = journal::read(&world.journal().unwrap()).unwrap();
    let account = Account::of(&journal.events).unwrap();
    account.undoing.is_none().then_some(account.is_undone)
}

/// Runs `lexpr undo` until the run is undone, or no longer, killed at these places on the way. How often
/// it was.
fn undo(world: &World, wanted: bool, kills: &[Kill]) -> Result<usize, String> {
    let mut kills = kills.iter();
    let mut killed = 0;
    for attempt in 0.. {
        let kill = kills.next();
        match world.run(world.undo(), kill) {
            Ended::Code(0) if attempt > 0 || kill.is_none() => {}
            Ended::Killed => {
                killed += 1;
                if is_undone(world) != Some(wanted) {
                    continue;
                }
            }
            other => return Err(format!("attempt {attempt} ended with {other:?}")),
        }
        break;
    }
    if is_undone(world) == Some(wanted) { Ok(killed) } else { Err("the journal does not say so".to_owned()) }
}

/// The places that an undo comes by, each as often as it does.
fn passages(world: &World, wanted: bool) -> Vec<(String, u64)> {
    std::fs::remove_file(world.passed()).unwrap();
    undo(world, wanted, &[]).unwrap();
    let mut passages: Vec<(String, u64)> = Vec::new();
    for place in std::fs::read_to_string(world.passed()).unwrap().lines() {
        let earlier = passages.iter().filter(|(other, _)| other == place).count() as u64;
        passages.push((place.to_owned(), earlier + 1));
    }
    passages
}

/// At every one of `stride` places, from one that `seed` chooses.
fn killed_everywhere(mode: Mode, seed: u64, stride: usize) -> usize {
    let world = World::new(Scenario { shape: Shape::Batches, mode });
    let Ended::Code(code) = world.run(world.go_on(), None) else { panic!("nobody killed it") };
    let end =
        |what: &str| End::of(&world, code).unwrap_or_else(|why| panic!("{mode:?}, {what}: {why}\n{}", world.said()));
    end("landed");
    let back = passages(&world, true);
    let undone = end("undone");
    let forward = passages(&world, false);
    let redone = end("redone");
    // Both ways by turns, so that each begins where the other ended.
    let mut kills = 0;
    let from = usize::try_from(seed % stride as u64).unwrap();
    for at in (from..back.len().max(forward.len())).step_by(stride) {
        for (passages, wanted, expected) in [(&back, true, &undone), (&forward, false, &redone)] {
            let kill =
                |(place, passage): &(String, u64), manner| Kill { place: place.clone(), passage: *passage, manner };
            let at_once = &passages[at % passages.len()];
            // The first git that writes refs does so to see whether it could, before anything is on
            // record: nobody can tell whose its lock is.
            let is_on_record = *at_once != ("git.update-ref.under-way".to_owned(), 1);
            let manner = if at % 2 == 0 && is_on_record { Manner::All } else { Manner::Alone };
            let first = kill(at_once, manner);
            // Some places are passed only by who finishes what was begun.
            let mut all = vec![first];
            if at % 3 == 0 {
                all.push(kill(&(passages[at * 7 % passages.len()].0.clone(), 1), Manner::Alone));
            }
            let told = format!("{mode:?}, undone: {wanted}, {all:?}");
            kills += undo(&world, wanted, &all).unwrap_or_else(|why| panic!("{told}: {why}\n{}", world.said()));
            end(&told).compare(expected, 0).unwrap_or_else(|why| panic!("{told}: {why}\n{}", world.said()));
        }
    }
    kills
}

#[test]
fn invariant_6_an_undo_that_is_killed_anywhere_and_run_again_ends_as_if_it_had_not_been() {
    let (cases, seed) = sample();
    let stride = if cases >= ALL_PLACES { 1 } else { SAMPLE_STRIDE };
    let modes = [Mode::Push, Mode::Checkout, Mode::Worktree, Mode::Bare];
    let kills = on_all_cores(&modes, |mode| killed_everywhere(*mode, seed, stride));
    assert!(kills.iter().all(|kills| *kills > 20 / stride), "{kills:?}");
    say(&format!("{} kills of undos survived", kills.iter().sum::<usize>()));
}
