//! The seeds of the fuzz targets, and what the targets try, without a fuzzer: over every seed and
//! over mutations of them, the same every time.
//!
//! With `LEXPR_FUZZ_CORPUS=FOLDER` the seeds are written there, a folder for each target; `just
//! fuzz` begins with that. What a fuzzer finds becomes a test beside what it was found in.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lexpr::core::account::Account;
use lexpr::journal::JournalFile;
use lexpr::plan::Landing;
use lexpr::ports::Journal as _;
use lexpr::vocabulary::event::{Event, Recorded, UndoDirection, Undone};

use crate::plan_hostile;
use crate::sim::{Busyness, Effect, Mishap, Outcome, Stop, World, gate, mix};

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

/// Mutations of seeds that are tried of each kind.
const MUTATIONS: u64 = 1_000;

/// As long as what the fuzzer makes of them.
const MUTANT_BYTES: usize = 8 * 1024;

struct Seed {
    name: String,
    bytes: Vec<u8>,
}

fn files(folder: &str) -> impl Iterator<Item = Seed> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| Seed {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        bytes: fs::read(&path).unwrap(),
    })
}

/// Every example, every bad plan, and what is made to hurt.
fn plans() -> Vec<Seed> {
    let hostile = plan_hostile::small_bombs().into_iter().map(|(name, text)| Seed { name, bytes: text.into_bytes() });
    let seeds: Vec<Seed> = files("plans").chain(files("tests/it/bad_plans")).chain(hostile).collect();
    assert!(seeds.len() > 50, "{} seeds", seeds.len());
    seeds
}

/// A journal of every kind of run.
fn journals() -> Vec<Seed> {
    let unit = || [gate("unit").attempts(2), gate("lint").optional()];
    let worlds = [
        ("lands", World::of("a b:a c:b d")),
        ("lands-singly", World::of("a b:a c").batch(1)),
        ("fails", World::of("a b:a c").fails("unit", &["a"])),
        ("clashes", World::of("a b c d").fails("unit", &["a", "c"])),
        ("conflicts", World::of("a b c:a").conflict("a", "b")),
        ("flakes", World::of("a b").gates(unit()).when("unit", &["a"], Effect::FailsAtFirst(1))),
        ("red", World::of("a b").fails("unit", &[])),
        ("times-out", World::of("a").when("unit", &["a"], Effect::TimesOut)),
        ("cannot-run", World::of("a b").when("unit", &["a"], Effect::CannotRun)),
        ("moved", World::of("a b").mishap(Mishap::MovedBeforeLanding(1))),
        ("refused", World::of("a b").mishap(Mishap::RefusedLanding(1))),
        ("interrupted", World::of("a b c").workers(1).mishap(Mishap::Interrupt(1000))),
        ("resumed", World::of("a b c").workers(1).stop(Stop::Kill(12))),
        ("overridden", World::of("a b:a c").fails("unit", &["a"]).with(|world| world.overrides.push("a".to_owned()))),
        ("landed-before", World::of("a b:a").already_landed("a")),
        (
            "throttled",
            World::of("a b c").with(|world| {
                world.memory = vec![10, 60, 120];
                world.memory_threshold = Some(100);
            }),
        ),
        (
            "limited",
            World::of("a b").workers(2).resource("db", Some(1), 500).claims("unit", "db", 1).refused("unit", 1),
        ),
        ("groups", World::of("a b c d e f").with(|world| world.group_size = 3).fails("unit", &["b"])),
        ("batch", World::of("a b c d").with(|world| world.limits.landing = Landing::Batch).fails("unit", &["b", "d"])),
        ("train", World::of("a b c d").with(|world| world.limits.landing = Landing::Train).fails("unit", &["b"])),
        ("adapts", World::of("a b c d").adapts(1, 4, Busyness::Wild)),
        ("told-and-looking", World::of("a b").gates([gate("unit").told_its_item(), gate("part").looking_at(&["a"])])),
    ];
    let mut seeds: Vec<Seed> = worlds
        .into_iter()
        .map(|(name, world)| Seed { name: name.to_owned(), bytes: journal_of(&world.run().events) })
        .collect();
    let undone = journal_of(&undone(&World::of("a b").batch(1).run()));
    seeds.push(Seed { name: "undone".to_owned(), bytes: undone });
    seeds
}

fn undone(outcome: &Outcome) -> Vec<Recorded> {
    let (to, from) = Account::of(&outcome.events).unwrap().way().unwrap();
    let direction = UndoDirection::Back;
    let undone = Undone { direction, from, to, pushed_to: None, moved_checkouts: vec!["/nowhere".to_owned()] };
    let given_up = Event::UndoGivenUp { why: "somebody was there".to_owned() };
    let intended = Event::UndoIntended { direction, from, to, push: Some("origin".to_owned()) };
    let mut events = outcome.events.clone();
    for event in [intended.clone(), given_up, intended, Event::Undone(Box::new(undone))] {
        let last = events.last().unwrap();
        events.push(Recorded { seq: last.seq + 1, at_ms: last.at_ms + 1, event });
    }
    events
}

/// As lexpr writes it.
fn journal_of(events: &[Recorded]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut journal = JournalFile::create(&path).unwrap();
    events.iter().for_each(|recorded| journal.append(recorded).unwrap());
    fs::read(&path).unwrap()
}

fn written(target: &str, seeds: &[Seed]) {
    if let Ok(corpus) = std::env::var("LEXPR_FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join(target);
        fs::create_dir_all(&folder).unwrap();
        for seed in seeds {
            fs::write(folder.join(&seed.name), &seed.bytes).unwrap();
        }
    }
}

/// The entries of a dictionary in libFuzzer's form
/// (<https://llvm.org/docs/LibFuzzer.html#dictionaries>).
fn dictionary(path: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap();
    let entries = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let quoted = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).expect("an entry is quoted");
        let (mut entry, mut rest) = (Vec::new(), quoted.as_bytes());
        while let [byte, after @ ..] = rest {
            (entry, rest) = match (byte, after) {
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let hex = [*high, *low];
                    let byte = u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap();
                    ([entry, vec![byte]].concat(), after)
                }
                (b'\\', [escaped, after @ ..]) => ([entry, vec![*escaped]].concat(), after),
                _ => ([entry, vec![*byte]].concat(), after),
            };
        }
        entry
    });
    entries.collect()
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = mix(self.0, 1);
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

/// A seed after a few changes of the kinds that a fuzzer makes.
fn mutant(number: u64, seeds: &[Seed], words: &[Vec<u8>]) -> Vec<u8> {
    let mut dice = Dice(mix(number, 20_261_121));
    let mut bytes = seeds[dice.below(seeds.len())].bytes.clone();
    for _ in 0..=dice.below(4) {
        let start = dice.below(bytes.len() + 1);
        let end = (start + dice.below(40)).min(bytes.len());
        let other = &seeds[dice.below(seeds.len())].bytes;
        let from = dice.below(other.len() + 1);
        let line = |bytes: &[u8], at: usize| {
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            let end =
                bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline + 1);
            start..end
        };
        match dice.below(8) {
            0 => drop(bytes.splice(start..end, [])),
            1 | 2 => drop(bytes.splice(start..end, words[dice.below(words.len())].iter().copied())),
            3 => drop(bytes.splice(start..start, other[from..(from + 60).min(other.len())].iter().copied())),
            4 => drop(bytes.splice(line(&bytes, start), [])),
            5 => drop(bytes.splice(line(&bytes, start), other[line(other, from)].iter().copied())),
            6 => {
                let again: Vec<u8> = bytes[line(&bytes, start)].to_vec();
                drop(bytes.splice(start..start, again));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(start) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    bytes.truncate(MUTANT_BYTES);
    bytes
}

fn tried(seeds: &[Seed], dictionary_path: &str, try_all: fn(&[u8])) {
    for seed in seeds {
        try_all(&seed.bytes);
    }
    let words = dictionary(dictionary_path);
    for number in 0..MUTATIONS {
        let bytes = mutant(number, seeds, &words);
        let outcome = std::panic::catch_unwind(|| try_all(&bytes));
        assert!(outcome.is_ok(), "mutation {number}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn what_must_hold_for_any_plan_holds_for_every_seed_and_thousands_of_mutations() {
    let seeds = plans();
    written("plan", &seeds);
    tried(&seeds, "fuzz/plan.dict", fuzz::plan::try_all);
}

#[test]
fn what_must_hold_for_any_journal_holds_for_every_seed_and_thousands_of_mutations() {
    let seeds = journals();
    written("journal", &seeds);
    tried(&seeds, "fuzz/journal.dict", fuzz::journal::try_all);
}

#[test]
fn what_must_hold_for_any_run_holds_for_every_seed_and_thousands_of_mutations() {
    let seeds = journals();
    written("run", &seeds);
    tried(&seeds, "fuzz/journal.dict", fuzz::run::try_all);
}

/// Every name and word that the schema of events gives.
fn words_of(schema: &serde_json::Value, words: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(keys) => {
            for (key, value) in keys {
                match (key.as_str(), value) {
                    ("properties", serde_json::Value::Object(properties)) => words.extend(properties.keys().cloned()),
                    ("const", serde_json::Value::String(word)) => drop(words.insert(word.clone())),
                    ("enum", serde_json::Value::Array(all)) => {
                        words.extend(all.iter().filter_map(|word| word.as_str().map(str::to_owned)));
                    }
                    _ => {}
                }
                words_of(value, words);
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| words_of(value, words)),
        _ => {}
    }
}

/// What of the words of a schema, so quoted, is no entry of a dictionary.
fn missing(schema: &str, dictionary_path: &str, quoted: fn(&str) -> String) -> Vec<String> {
    let schema = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let mut words = BTreeSet::new();
    words_of(&schema, &mut words);
    assert!(words.len() > 50, "{} words", words.len());
    let known: BTreeSet<Vec<u8>> = dictionary(dictionary_path).into_iter().collect();
    words.into_iter().filter(|word| !known.contains(quoted(word).as_bytes())).collect()
}

#[test]
fn the_fuzzer_knows_every_word_of_plans_and_events() {
    assert_eq!(missing("schemas/plan.schema.json", "fuzz/plan.dict", str::to_owned), [""; 0]);
    assert_eq!(missing("schemas/event.schema.json", "fuzz/journal.dict", |word| format!("\"{word}\"")), [""; 0]);
}
