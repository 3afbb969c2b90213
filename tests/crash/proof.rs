//! Kills, resumes and compares.
//!
//! `LEXPR_PROVE_KILLS` says how many kills, `LEXPR_PROVE_SEED` which, and `LEXPR_PROVE_CASE` names
//! one case to be tried alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// How many cases, and the seed that chooses them.
pub fn sample() -> (usize, u64) {
    (asked("LEXPR_PROVE_KILLS").unwrap_or(KILLS), asked("LEXPR_PROVE_SEED").unwrap_or(SEED))
}

/// The run that nobody disturbs, and how often it passed each place.
pub fn undisturbed(scenario: Scenario) -> (End, BTreeMap<String, u64>) {
    let world = World::new(scenario);
    let Ended::Code(code) = world.run(world.go_on(), None) else { panic!("nobody killed it") };
    let end = End::of(&world, code).unwrap_or_else(|why| panic!("{scenario}, undisturbed: {why}\n{}", world.said()));
    let mut passages = BTreeMap::new();
    for place in std::fs::read_to_string(world.passed()).unwrap().lines() {
        *passages.entry(place.to_owned()).or_default() += 1;
    }
    (end, passages)
}

/// What was known when a process was killed.
struct Kept {
    verdicts: Counts,
    trace: usize,
}

/// What a case was: it ended as it should have.
pub struct Proven {
    pub kills: usize,
    /// Places that were passed, those at which it was killed included.
    places: BTreeSet<String>,
}

/// # Errors
/// Why the run did not end as it should have.
pub fn kill_and_resume(case: &Case, undisturbed: &End) -> Result<Proven, String> {
    let world = World::new(case.scenario);
    let outcome = catch_unwind(AssertUnwindSafe(|| resumed(&world, case, undisturbed)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    });
    let kills = outcome.map_err(|why| format!("{case}\n{why}\n--- what lexpr said\n{}", world.said()))?;
    let passed = std::fs::read_to_string(world.passed()).unwrap();
    Ok(Proven { kills, places: passed.lines().map(str::to_owned).collect() })
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
    if !end.disturbances.is_empty() {
        return Err(format!("nobody else is here: {:?}", end.disturbances));
    }
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
pub fn on_all_cores<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// So many cases come by every place.
pub const ALL_PLACES: usize = 200;

/// The names in `crash::point!` and `crash::torn!` of the product. Those made up of a git's name, and the one at which
/// a git is waited for, have tests of their own.
fn places_in_the_source() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
    while let Some(path) = open.pop() {
        let path: std::path::PathBuf = path;
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(path).unwrap();
            for kind in ["crash::point!(\"", "crash::torn!(\""] {
                let points = text.split(kind).skip(1);
                found.extend(points.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    found.retain(|place| place != "resume.waits");
    assert!(found.len() > 40, "the places were not found");
    found
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
    let (kills, seed) = sample();
    let cases = one.map_or_else(|| choose(&passages, kills, seed), |case| vec![case]);
    say(&format!("{} places, {} scenarios, {} cases, seed {seed}", passages.len(), ends.len(), cases.len()));
    let results = on_all_cores(&cases, |case| {
        let result = kill_and_resume(case, &ends[&case.scenario]);
        match &result {
            Ok(proven) => say(&format!("ok    {} kills  {case}", proven.kills)),
            Err(_) => say(&format!("FAIL  {case}")),
        }
        result
    });
    let proven = || results.iter().filter_map(|result| result.as_ref().ok());
    let killed: usize = proven().map(|proven| proven.kills).sum();
    let places: BTreeSet<&str> = proven().flat_map(|proven| proven.places.iter().map(String::as_str)).collect();
    let missed: Vec<String> =
        places_in_the_source().into_iter().filter(|place| !places.contains(place.as_str())).collect();
    say(&format!("{killed} kills survived in {} cases, {} places passed", proven().count(), places.len()));
    let failures: Vec<&str> = results.iter().filter_map(|result| result.as_ref().err().map(String::as_str)).collect();
    let again = "one alone: LEXPR_PROVE_CASE='…' cargo test --features failpoints --test crash invariant_6_a_run";
    assert!(failures.is_empty(), "{} cases failed\n{}\n\n{again}", failures.len(), failures.join("\n\n"));
    if cases.len() >= ALL_PLACES {
        assert_eq!(missed, [""; 0], "nobody came by these places");
        assert!(killed >= cases.len(), "{killed} kills of {} cases", cases.len());
    }
}
