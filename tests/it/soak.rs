//! What lexpr holds on to: one process that lands many items, and many runs in one repository. Memory,
//! descriptors, files and refs grow with what the journals say, and with nothing else.
//!
//! Small here; `just soak` lands 10,000 items and makes 200 runs with a release build, and prints
//! the figures of docs/reliability.md.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stderr, reason = "the figures are what the long form is for")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lexpr::journal;
use lexpr::vocabulary::event::{Event, Recorded, Verdict};

use crate::cli_world::{NewBranch, World};

/// Items of the one process, and runs in the one repository.
fn size(variable: &str, small: usize) -> usize {
    std::env::var(variable).map_or(small, |number| number.parse().unwrap())
}

/// The binary under test, where it is not the one that was built with this test.
const BINARY: &str = "LEXPR_SOAK_BINARY";

const WORKERS: usize = 2;

/// What an item may add to lexpr's resident memory: its plan, its place in the graph and the state,
/// what it was resolved to, the verdicts and what the faces remember of it.
const BYTES_PER_ITEM: u64 = 16 * 1024;

/// What lexpr may hold besides: the caches of composites and objects fill up to a bound of their own,
/// and glibc's allocator keeps for each of its arenas the most that was ever in use there.
const BYTES_OF_LEXPR: u64 = 320 * 1024 * 1024;

/// What a process has open with so many workers (see `most_workers`).
const DESCRIPTORS: usize = 32 + 12 * WORKERS;

/// A look at a process from outside.
#[derive(Clone, Copy, Debug)]
struct Sample {
    passed: usize,
    resident: u64,
    descriptors: usize,
}

impl Sample {
    /// `None` where the process has ended.
    fn of(process: u32, passed: usize) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
        Some(Self { passed, resident: kilobytes * 1024, descriptors })
    }
}

/// A branch for each item, each with a file of its own; every fifth builds on the one before it.
fn world(items: usize) -> World {
    let names: Vec<String> = (0..items).map(|at| format!("item-{at}")).collect();
    let paths: Vec<String> = (0..items).map(|at| format!("part-{}/file-{at}", at % 100)).collect();
    let files: Vec<[(&str, &str); 1]> = paths.iter().map(|path| [(path.as_str(), "x\n")]).collect();
    let branches: Vec<NewBranch<'_>> = (0..items)
        .map(|at| (names[at].as_str(), if at % 5 == 4 { names[at - 1].as_str() } else { "main" }, &files[at][..]))
        .collect();
    World::new(&[("README", "hello\n")], &branches)
}

fn plan(items: impl IntoIterator<Item = usize>) -> String {
    let mut text = format!(
        "schemaVersion: v1\npolicy: {{ maxWorkers: {WORKERS} }}\ngates: [{{ name: unit, run: 'true' }}]\nitems:\n"
    );
    for at in items {
        let deps = if at % 5 == 4 { format!(", deps: [item-{}]", at - 1) } else { String::new() };
        writeln!(text, "  - {{ name: item-{at}{deps} }}").unwrap();
    }
    text
}

/// Lands a plan, and looks at the process whenever so many more items have passed.
fn land(world: &World, plan: &str, every: usize) -> Vec<Sample> {
    let plan = world.plan(plan);
    let arguments = ["merge", plan.to_str().unwrap(), "--execute", "--progress", "json"];
    let mut command = match std::env::var_os(BINARY) {
        Some(binary) => world.command_of(&binary, arguments),
        None => world.command(arguments),
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    let mut samples = Vec::new();
    let mut passed = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let has = |text: &str| line.contains(text);
        let is_pass = has("\"event\":\"itemDecided\"") && has("\"decision\":\"passed\"");
        passed += usize::from(is_pass);
        if is_pass && passed % every == 0 || has("\"event\":\"landed\"") {
            samples.extend(Sample::of(process, passed));
        }
    }
    let ended = child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    samples
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    found
}

fn events(run: &Path) -> Vec<Recorded> {
    let journal = journal::read(&run.join("journal.jsonl")).unwrap();
    assert_eq!(journal.torn_bytes, 0);
    journal.events
}

/// What a run leaves behind, as its journal tells: itself, its plan, a log for each attempt of a
/// gate, a verdict for each pass and a receipt for each landing.
fn told_by(run: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::from([run.join("journal.jsonl"), run.join("plan.yaml")]);
    for recorded in events(run) {
        match recorded.event {
            Event::GateFinished(finished) => {
                if matches!(finished.verdict, Some(Verdict::Passed { .. })) {
                    let key = finished.key.to_string();
                    files.insert(run.join("../../verdicts/1").join(&key[..2]).join(&key));
                }
                files.insert(finished.log.as_ref().into());
            }
            Event::Landed(landed) => files.extend(landed.receipt.map(PathBuf::from)),
            _ => {}
        }
    }
    files
}

fn runs(world: &World) -> Vec<PathBuf> {
    let folder = world.repo().join(".git/lexpr/runs");
    let mut runs: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

/// Everything in lexpr's folder in the repository is told by a journal, or is one of the few files
/// that a repository has however many runs were made.
fn nothing_but_what_the_journals_say(world: &World) {
    let folder = world.repo().join(".git/lexpr");
    let mut told: BTreeSet<PathBuf> = runs(world).iter().flat_map(|run| told_by(run)).collect();
    told.extend(
        [
            "locks/refs%2fheads%2fmain.lock",
            "locks/refs%2fheads%2fmain+landing.lock",
            "durations.json",
            "verdicts/1/totals.json",
        ]
        .map(|name| folder.join(name)),
    );
    let told = told.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect();
    let (found, folder): (BTreeSet<PathBuf>, _) = (files_below(&folder), folder.canonicalize().unwrap());
    let found: BTreeSet<PathBuf> = found.into_iter().map(|path| path.canonicalize().unwrap()).collect();
    let differ: Vec<_> = found.symmetric_difference(&told).map(|path| path.strip_prefix(&folder)).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

fn refs(world: &World) -> Vec<String> {
    world.git(&["for-each-ref", "--format=%(refname)"]).lines().map(str::to_owned).collect()
}

/// What slots are made of, besides the files of the tree that each holds.
fn files_of_slots(world: &World) -> usize {
    let files = files_below(&world.path("cache"));
    files.iter().filter(|file| !file.to_str().unwrap().contains("/part-")).count()
}

/// The least-squares slope of `y` over `x`.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    covariance / variance.max(f64::MIN_POSITIVE)
}

#[test]
fn invariant_7_one_process_that_lands_many_items_holds_no_more_than_their_share() {
    let items = size("LEXPR_SOAK_ITEMS", 120);
    let world = world(items);
    let before = refs(&world);
    let samples = land(&world, &plan(0..items), (items / 40).max(1));
    assert!(samples.len() >= 10, "{samples:?}");
    for sample in &samples {
        assert!(sample.descriptors <= DESCRIPTORS, "{sample:?}");
        assert!(sample.resident <= BYTES_OF_LEXPR + BYTES_PER_ITEM * items as u64, "{sample:?}");
    }
    let points = |of: fn(&Sample) -> f64| samples.iter().map(|s| (s.passed as f64, of(s))).collect::<Vec<_>>();
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    assert_eq!(last.passed, items);
    eprintln!(
        "{items} items: resident {} MiB at {} items, {} MiB at {}; {:.0} bytes an item; \
         descriptors at most {}, {:.5} an item",
        first.resident >> 20,
        first.passed,
        last.resident >> 20,
        last.passed,
        slope(&points(|sample| sample.resident as f64)),
        samples.iter().map(|sample| sample.descriptors).max().unwrap(),
        slope(&points(|sample| sample.descriptors as f64)),
    );
    let landed = events(&runs(&world)[0]).iter().filter(|event| matches!(event.event, Event::Landed(_))).count();
    assert!(landed >= items / 50, "{landed} landings");
    nothing_but_what_the_journals_say(&world);
    assert_eq!(refs(&world), before);
}

#[test]
fn invariant_7_many_runs_in_one_repository_leave_what_their_journals_say_and_share_the_slots() {
    /// Items that each run lands; no run's first is one that builds on another.
    const EACH: usize = 5;
    let count = size("LEXPR_SOAK_RUNS", 6);
    let world = world(count * EACH);
    let before = refs(&world);
    let mut slots = Vec::new();
    let mut samples = Vec::new();
    for run in 0..count {
        let looks = land(&world, &plan(run * EACH..(run + 1) * EACH), 1);
        samples.push((run, looks.iter().map(|look| look.resident).max().unwrap_or_default()));
        assert!(looks.iter().all(|look| look.descriptors <= DESCRIPTORS), "{looks:?}");
        slots.push(files_of_slots(&world));
        assert_eq!(runs(&world).len(), run + 1);
    }
    nothing_but_what_the_journals_say(&world);
    assert_eq!(refs(&world), before);
    assert!(slots.iter().all(|files| files <= &slots.iter().take(3).copied().max().unwrap()), "{slots:?}");
    let packs = files_below(&world.repo().join(".git/objects/pack")).len();
    eprintln!(
        "{count} runs: {} files of slots after the first, {} after the last; resident {:.0} bytes a run; {packs} files \
         of packs in the user's store",
        slots[0],
        slots[count - 1],
        slope(&samples.iter().map(|(run, resident)| (*run as f64, *resident as f64)).collect::<Vec<_>>()),
    );
    world.lexpr(["clean"]).expect(0);
    let folder = world.repo().join(".git/lexpr");
    let may_stay = ["locks/refs%2fheads%2fmain.lock", "locks/refs%2fheads%2fmain+landing.lock", "durations.json"]
        .map(|name| folder.join(name));
    let mut left = files_below(&folder);
    // Verdicts are for later runs, and bounded by themselves.
    left.retain(|file| !file.starts_with(folder.join("verdicts")));
    assert!(left.is_subset(&may_stay.into()), "{left:?}");
}
