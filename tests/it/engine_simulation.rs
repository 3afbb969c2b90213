//! The simulation: whole disturbed worlds, each made from one number, run in virtual time, watched
//! at every step and judged at the end. A number that breaks an invariant is printed with the
//! command that tries it again, and with the smallest world that breaks the same way.
//!
//! `LEXPR_SIM_SEEDS` says how many numbers are tried, `LEXPR_SIM_FROM` the first of them,
//! `LEXPR_SIM_THREADS` on how many threads; with `LEXPR_SIM_GO_ON` a broken one does not end the
//! simulation. docs/reliability.md has what came of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use lexpr::engine::EngineError;
use lexpr::vocabulary::event::{Event, FinalStatus};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::sim::strategies::{ComesTo, Trial, at_pace, result, trials};
use crate::sim::{mix, oracle};

const MOST_ITEMS: usize = 60;

/// What an ordinary test run tries: seconds in a debug build.
const SEEDS: u64 = 250;

/// One world of so many is run twice, to see that it is the same twice.
const RUN_TWICE: u64 = 64;

/// How long smaller worlds are tried for the smallest that breaks.
const SIMPLIFIED_FOR: Duration = Duration::from_secs(60);

const TELL_EVERY: Duration = Duration::from_secs(30);

/// What happened in all worlds together: a simulation in which nothing happens proves nothing.
#[derive(Default, Debug)]
struct Tally {
    worlds: u64,
    items: u64,
    events: u64,
    gates: u64,
    landings: u64,
    resumed: u64,
    moved_by_others: u64,
    throttled: u64,
    ends_compared: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.items += other.items;
        self.events += other.events;
        self.gates += other.gates;
        self.landings += other.landings;
        self.resumed += other.resumed;
        self.moved_by_others += other.moved_by_others;
        self.throttled += other.throttled;
        self.ends_compared += other.ends_compared;
    }
}

fn trial_of(seed: u64) -> impl ValueTree<Value = Trial> {
    let words: Vec<u8> = (0..4).flat_map(|word| mix(seed, word).to_le_bytes()).collect();
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &words));
    trials(MOST_ITEMS).new_tree(&mut runner).expect("every number makes a world")
}

/// Runs a world to its end.
///
/// # Panics
/// Where an invariant does not hold.
fn try_out(trial: &Trial, twice: bool) -> Tally {
    let outcome = trial.world.run();
    let count = |of: fn(&Event) -> bool| outcome.count(of) as u64;
    let tally = Tally {
        worlds: 1,
        items: outcome.graph.len() as u64,
        events: outcome.events.len() as u64,
        gates: count(|event| matches!(event, Event::GateFinished(_))),
        landings: count(|event| matches!(event, Event::Landed(_))),
        resumed: count(|event| matches!(event, Event::RunResumed { .. })),
        moved_by_others: count(|event| matches!(event, Event::TargetMoved { .. })),
        throttled: count(|event| matches!(event, Event::Throttled { .. })),
        ends_compared: u64::from(!matches!(trial.comes_to, ComesTo::AnyEnd)),
    };
    if twice {
        let again = trial.world.run();
        assert!(outcome.story() == again.story(), "invariant 8: the same world runs otherwise the second time");
        assert_eq!(outcome.took_ms, again.took_ms, "invariant 8: it takes another time");
    }
    match (&outcome.end, &trial.comes_to) {
        // What broke is not taken up again in this world; until then it was watched.
        (Err(EngineError::Port { .. } | EngineError::Journal(_)), ComesTo::AnyEnd) => return tally,
        _ => oracle::check(&outcome),
    }
    match &trial.comes_to {
        ComesTo::AnyEnd => {}
        ComesTo::TheSameUndisturbed(pace) => {
            let undisturbed = at_pace(trial.world.clone().undisturbed(), pace).run();
            assert_eq!(result(&outcome), result(&undisturbed), "invariants 6 and 8: (left) disturbed, (right) not");
        }
        ComesTo::TheSameOneByOne => {
            // An item that fails and conflicts ends by what is seen first.
            let word = |status| if status == FinalStatus::Conflicted { FinalStatus::Failed } else { status };
            let ends = outcome.end().items.iter().map(|item| (item.name.to_string(), word(item.status)));
            let expected = oracle::expected(&outcome).into_iter().map(|(item, status)| (item, word(status)));
            let (ends, expected): (Vec<_>, Vec<_>) = (ends.collect(), expected.collect());
            assert_eq!(ends, expected, "invariant 8: others in nobody's way change who lands");
        }
    }
    tally
}

thread_local! {
    /// Panics of this thread are caught and told later.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What breaks in a world, if something does.
fn attempt(trial: &Trial, twice: bool) -> Result<Tally, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_CAUGHT.get() {
                CAUGHT.set(Some(panic.to_string()));
            } else {
                usual(panic);
            }
        }));
    });
    IS_CAUGHT.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| try_out(trial, twice)));
    IS_CAUGHT.set(false);
    result.map_err(|_| CAUGHT.take().unwrap_or_default())
}

/// The command that tries a seed again.
fn replay(seed: u64) -> String {
    format!("LEXPR_SIM_SEED={seed:#x} cargo test --test it simulation_of_one_seed")
}

/// Everything somebody needs who is to find out what broke.
fn complaint(seed: u64, first: &str) -> String {
    let mut tree = trial_of(seed);
    let mut smallest: Option<(Trial, String)> = None;
    let begun = Instant::now();
    while begun.elapsed() < SIMPLIFIED_FOR {
        let trial = tree.current();
        let goes_on = match attempt(&trial, false) {
            Err(why) if breaks_at(&why) == breaks_at(first) => {
                smallest = Some((trial, why));
                tree.simplify()
            }
            Ok(_) | Err(_) => tree.complicate(),
        };
        if !goes_on {
            break;
        }
    }
    let smallest = match smallest {
        Some((Trial { world, comes_to }, why)) => format!("{why}\n\nin the smallest world:\n{world}\n{comes_to:?}"),
        None => "it does not break when it is tried again".to_owned(),
    };
    let again = replay(seed);
    format!("seed {seed:#x} breaks:\n{first}\n\ntry it again:\n    {again}\n\nsimplified, it breaks so:\n{smallest}\n")
}

/// The place in the source: a smaller world that breaks elsewhere is about something else.
fn breaks_at(why: &str) -> Option<&str> {
    why.lines().next()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Past the capture of the test's output: somebody may be waiting for hours.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

struct Simulation {
    from: u64,
    seeds: u64,
    next: AtomicU64,
    goes_on: bool,
    /// The seeds that broke, and how.
    broken: Mutex<BTreeMap<u64, String>>,
    tally: Mutex<Tally>,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Simulation {
    fn work(&self) {
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            if nth >= self.seeds || (!self.goes_on && !self.broken.lock().unwrap().is_empty()) {
                return;
            }
            let seed = self.from.wrapping_add(nth);
            match attempt(&trial_of(seed).current(), nth.is_multiple_of(RUN_TWICE)) {
                Ok(tally) => self.tally.lock().unwrap().add(&tally),
                Err(why) => {
                    tell(&format!("{}\n{why}", replay(seed)));
                    self.broken.lock().unwrap().insert(seed, why);
                }
            }
            let mut told = self.told.lock().unwrap();
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                tell(&self.progress());
            }
        }
    }

    fn progress(&self) -> String {
        let tally = self.tally.lock().unwrap();
        format!(
            "simulation: {} of {} seeds in {} s: {tally:?}",
            tally.worlds,
            self.seeds,
            self.begun.elapsed().as_secs()
        )
    }
}

#[test]
fn invariants_1_2_6_7_and_8_hold_at_every_step_of_a_simulation_of_many_seeds() {
    let asked_for = number("LEXPR_SIM_SEEDS");
    let simulation = Simulation {
        from: number("LEXPR_SIM_FROM").unwrap_or(0),
        seeds: asked_for.unwrap_or(SEEDS),
        next: AtomicU64::new(0),
        goes_on: number("LEXPR_SIM_GO_ON").is_some_and(|yes| yes > 0),
        broken: Mutex::default(),
        tally: Mutex::default(),
        begun: Instant::now(),
        told: Mutex::new(Instant::now()),
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        for _ in 0..number("LEXPR_SIM_THREADS").unwrap_or(cores) {
            scope.spawn(|| simulation.work());
        }
    });
    if asked_for.is_some() {
        tell(&simulation.progress());
    }
    let broken = simulation.broken.lock().unwrap();
    if let Some((seed, why)) = broken.first_key_value() {
        let after = seed.wrapping_sub(simulation.from) + 1;
        panic!("{} broken; the first after {after} seeds: {}", broken.len(), complaint(*seed, why));
    }
    let tally = simulation.tally.lock().unwrap();
    let everything_happened =
        [tally.landings, tally.resumed, tally.moved_by_others, tally.throttled, tally.ends_compared];
    assert!(tally.worlds < SEEDS || !everything_happened.contains(&0), "nothing happens: {tally:?}");
}

/// `LEXPR_SIM_SEED` says which.
#[test]
fn simulation_of_one_seed() {
    let seed = number("LEXPR_SIM_SEED").unwrap_or(0);
    if let Err(why) = attempt(&trial_of(seed).current(), true) {
        panic!("{}", complaint(seed, &why));
    }
}
