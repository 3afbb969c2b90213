//! Kills, resumes and compares.
//!
//! `LEXPR_PROVE_KILLS` says how many kills, `LEXPR_PROVE_SEED` which, and `LEXPR_PROVE_CASE` names
//! one case to be tried alone.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lexpr::journal;

use crate::case::Case;
use crate::choice::{Passages, choose};
use crate::ends::{Counts, End, starts, verdicts};
use crate::scenario::Scenario;
use crate::world::{Ended, World};

/// A sample for every commit.
const KILLS: usize = 40;
const SEED: u64 = 20_261_121;

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

/// The run that nobody disturbs, and how often it passed each place.
pub fn undisturbed(scenario: Scenario) -> (End, BTreeMap<String, u64>) {
    let world = World::new(scenario);
    let mut command = world.go_on();
    command.env("LEXPR_CRASH_LIST", world.path("places"));
    let Ended::Code(code) = world.run(command, None) else { panic!("nobody killed it") };
    let end = End::of(&world, code).unwrap_or_else(|why| panic!("{scenario}, undisturbed: {why}\n{}", world.said()));
    let mut passages = BTreeMap::new();
    for place in std::fs::read_to_string(world.path("places")).unwrap().lines() {
        *passages.entry(place.to_owned()).or_default() += 1;
    }
    (end, passages)
}

/// What was known when a process was killed.
struct Kept {
    verdicts: Counts,
    trace: usize,
}

/// How many kills there were, or why the run did not end as it should have.
pub fn kill_and_resume(case: &Case, undisturbed: &End) -> Result<usize, String> {
    let world = World::new(case.scenario);
    let outcome = catch_unwind(AssertUnwindSafe(|| resumed(&world, case, undisturbed)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    });
    outcome.map_err(|why| format!("{case}\n{why}\n--- what lexpr said\n{}", world.said()))
}

fn resumed(world: &World, case: &Case, undisturbed: &End) -> Result<usize, String> {
    let mut kept = Vec::new();
    let mut kills = case.kills.iter();
    let code = loop {
        let kill = kills.next();
        match world.run(world.go_on(), kill) {
            Ended::Code(code) => break code,
            Ended::Killed if kill.is_none() => return Err("somebody killed it".to_owned()),
            Ended::Killed => kept.push(Kept {
                verdicts: world
                    .journal()
                    .map_or_else(Counts::new, |path| verdicts(&journal::read(&path).unwrap().events)),
                trace: std::fs::read(world.trace()).map_or(0, |trace| trace.len()),
            }),
        }
    };
    let end = End::of(world, code)?;
    end.compare(undisturbed, kept.len())?;
    for (at, kept) in kept.iter().enumerate() {
        for (judged, began) in starts(world, kept.trace, &end.events) {
            let known = kept.verdicts.get(&judged).copied().unwrap_or_default();
            if known > 0 && known == end.verdicts[&judged] {
                return Err(format!("{judged:?} began {began} times after kill {}, its verdict known", at + 1));
            }
        }
    }
    Ok(kept.len())
}

/// Does `work` with each of `all` on as many threads as there are cores.
fn on_all_cores<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(one);
                    done.lock().unwrap().push(result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// Not captured with the output of tests that pass: this is what the proof is read for.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn invariant_6_a_run_that_is_killed_anywhere_and_resumed_ends_as_if_it_had_not_been() {
    let one: Option<Case> = asked("LEXPR_PROVE_CASE");
    let scenarios = one.as_ref().map_or_else(Scenario::all, |case| vec![case.scenario]);
    let mut ends = HashMap::new();
    let mut passages = Passages::new();
    for (scenario, (end, passed)) in on_all_cores(&scenarios, |scenario| (*scenario, undisturbed(*scenario))) {
        ends.insert(scenario, end);
        for (place, count) in passed {
            passages.entry(place).or_default().push((scenario, count));
        }
    }
    // Whichever thread was first.
    passages.values_mut().for_each(|known| known.sort_unstable());
    let (kills, seed) = (asked("LEXPR_PROVE_KILLS").unwrap_or(KILLS), asked("LEXPR_PROVE_SEED").unwrap_or(SEED));
    let cases = one.map_or_else(|| choose(&passages, kills, seed), |case| vec![case]);
    say(&format!("{} places, {} scenarios, {} cases, seed {seed}", passages.len(), ends.len(), cases.len()));
    let results = on_all_cores(&cases, |case| {
        let result = kill_and_resume(case, &ends[&case.scenario]);
        match &result {
            Ok(kills) => say(&format!("ok    {kills} kills  {case}")),
            Err(_) => say(&format!("FAIL  {case}")),
        }
        result
    });
    let killed: usize = results.iter().filter_map(|result| result.as_ref().ok()).sum();
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    say(&format!("{killed} kills survived, {} cases failed", failures.len()));
    let again = "one alone: LEXPR_PROVE_CASE='…' cargo test --features failpoints --test crash invariant_6_a_run";
    assert!(failures.is_empty(), "{}\n\n{again}", failures.join("\n\n"));
}
