//! Merges that were really made, and random pairs of branches, composed and compared with
//! `git merge-tree`: the tree, whether they conflict, and where. `LEXPR_DIFFERENTIAL` names a repository,
//! which is only read, and `LEXPR_DIFFERENTIAL_MERGES` says how many merges of it; without, a few
//! generated repositories. `just differential REPOSITORY` runs it on a real one.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lexpr::git::quarantine::Quarantine;
use lexpr::git::repo::UserRepo;
use lexpr::vocabulary::names::CommitId;

use crate::compose_cases::conflicts;
use crate::compose_random::history;
use crate::git_world::{GitWorld, compose, item};
use crate::random::Random;

/// Both tips of a random pair come from so many neighbours in the list of what was merged: branches of
/// about the same time, as somebody has them open at once.
const NEIGHBOURS: usize = 30;

const SEED: u64 = 20_261_125;

/// One merge: `theirs` into `ours`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    ours: CommitId,
    theirs: CommitId,
}

/// What came of one. A conflict by its paths; none where git does not tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Made {
    Tree(String),
    Conflict(BTreeSet<String>),
    /// git gave up ("BUG: ..."), as 2.47 does in some tangles of renames.
    NothingByGit,
}

fn commits(world: &GitWorld, repo: &Path, args: &[&str]) -> Vec<Vec<CommitId>> {
    let lines = world.git_in(repo, args);
    lines.lines().map(|line| line.split(' ').map(|id| id.parse().unwrap()).collect()).collect()
}

/// Half of them merges of the history, as evenly spread as there are; the others random pairs of branches and
/// of what was once merged.
fn pairs(world: &GitWorld, repo: &Path, most: usize) -> Vec<Pair> {
    // A commit and its two parents.
    let merges = commits(world, repo, &["rev-list", "--all", "--min-parents=2", "--max-parents=2", "--parents"]);
    let branches = commits(world, repo, &["for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes"]);
    let step = (merges.len() * 2).div_ceil(most.max(1)).max(1);
    let made = merges.iter().step_by(step).map(|merge| Pair { ours: merge[1], theirs: merge[2] });
    let mut pairs: Vec<Pair> = made.collect();
    let tips: Vec<CommitId> = merges.iter().map(|merge| merge[2]).chain(branches.iter().map(|tip| tip[0])).collect();
    let mut random = Random(SEED);
    let mut tries = 0;
    while pairs.len() < most && tries < 4 * most && tips.len() > 1 {
        tries += 1;
        let first = random.below(tips.len());
        let second = (first + 1 + random.below(NEIGHBOURS.min(tips.len() - 1))) % tips.len();
        let pair = Pair { ours: tips[first], theirs: tips[second] };
        if pair.ours != pair.theirs {
            pairs.push(pair);
        }
    }
    pairs
}

/// What `git merge-tree` makes of it, with the attributes that a `git merge` in a checkout would read.
fn by_git(quarantine: &Quarantine, pair: Pair) -> Made {
    let (ours, theirs) = (pair.ours.to_string(), pair.theirs.to_string());
    let attributes = format!("--attr-source={ours}");
    let output = quarantine
        .git()
        .output(&[&attributes, "merge-tree", "--write-tree", "-z", "--no-messages", &ours, &theirs], None);
    // A git that a signal ended, by its own abort.
    let Ok(output) = output else { return Made::NothingByGit };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split('\0');
    match output.status.code() {
        Some(0) => Made::Tree(fields.next().unwrap().to_owned()),
        Some(1) => {
            let paths = fields.skip(1).filter_map(|entry| entry.split_once('\t')).map(|(_, path)| path);
            // A path that is put aside is named after the side it comes from.
            let paths = paths.map(|path| path.replace(&format!("~{ours}"), "~HEAD"));
            Made::Conflict(paths.collect())
        }
        _ if String::from_utf8_lossy(&output.stderr).contains("unrelated histories") => Made::Conflict(BTreeSet::new()),
        _ => Made::NothingByGit,
    }
}

/// All of them, on all cores; and how long each took.
fn all_by_git(quarantine: &Quarantine, pairs: &[Pair]) -> Vec<(Made, Duration)> {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let mut made = Vec::new();
        while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            made.push((*pair, by_git(quarantine, *pair), began.elapsed()));
        }
        made
    };
    let mut made: HashMap<Pair, (Made, Duration)> = HashMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            made.extend(worker.join().unwrap().into_iter().map(|(pair, made, took)| (pair, (made, took))));
        }
    });
    pairs.iter().map(|pair| made[pair].clone()).collect()
}

/// How long things took, for their median.
#[derive(Default)]
struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.0.clone();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let all: Duration = times.iter().sum();
        write!(f, "{} (median {:.2} ms, all {:.1} s)", times.len(), median.as_secs_f64() * 1000.0, all.as_secs_f64())
    }
}

#[derive(Default)]
struct Tally {
    clean: usize,
    conflicts: usize,
    given_up: usize,
    in_process: Times,
    with_git: Times,
    git_alone: Times,
}

/// Compares `most` merges of a repository; what differs is said in the panic.
fn compare(repo: &Path, most: usize, tally: &mut Tally) {
    compare_pairs(repo, &pairs(&GitWorld::new(), repo, most), tally);
}

fn compare_pairs(repo: &Path, pairs: &[Pair], tally: &mut Tally) {
    let world = GitWorld::new();
    let user = UserRepo::open(repo).unwrap();
    let composer = world.composer_of("composites", &user);
    let reference = Quarantine::create(&world.beside("reference"), &user).unwrap();
    let mut composed = Vec::new();
    for pair in pairs {
        let before = composer.stats().merges.by_git;
        let began = Instant::now();
        let composite = compose(&composer, pair.ours, &[item(0, &pair.theirs.to_string(), pair.theirs)]);
        let took = began.elapsed();
        let times = if composer.stats().merges.by_git == before { &mut tally.in_process } else { &mut tally.with_git };
        times.0.push(took);
        composed.push(match conflicts(&composite).pop() {
            None => Made::Tree(composite.tree.to_string()),
            Some((_, conflict)) => Made::Conflict(conflict.paths.into_iter().collect()),
        });
    }
    let mut differing = Vec::new();
    for ((pair, composed), (expected, took)) in pairs.iter().zip(composed).zip(all_by_git(&reference, pairs)) {
        tally.git_alone.0.push(took);
        match &expected {
            Made::Tree(_) => tally.clean += 1,
            Made::Conflict(_) => tally.conflicts += 1,
            Made::NothingByGit => tally.given_up += 1,
        }
        let is_same = match (&composed, &expected) {
            // Where git names no path lexpr says what git's words are about.
            (Made::Conflict(_), Made::Conflict(paths)) if paths.is_empty() => true,
            (_, Made::NothingByGit) => true,
            _ => composed == expected,
        };
        if !is_same {
            differing.push(format!("{pair:?}: {composed:?}, by git {expected:?}"));
        }
    }
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), pairs.len(), differing.join("\n"));
}

#[test]
#[expect(clippy::print_stdout, reason = "how many there were, and how long they took, is what it is run for")]
fn invariant_3_merges_of_a_repository_and_pairs_of_its_branches_are_what_git_makes_of_them() {
    let mut tally = Tally::default();
    if let Some(repo) = std::env::var_os("LEXPR_DIFFERENTIAL") {
        let most = std::env::var("LEXPR_DIFFERENTIAL_MERGES").map_or(2500, |most| most.parse().unwrap());
        compare(Path::new(&repo), most, &mut tally);
    } else {
        for seed in 0..6 {
            let world = GitWorld::empty();
            world.import(&history(seed).0);
            compare(&world.repo(), 20, &mut tally);
        }
        assert!(tally.clean > 0 && tally.conflicts > 0 && !tally.in_process.0.is_empty(), "nothing is compared");
    }
    println!(
        "{} merges are git's: {} clean, {} conflicts; git gave up {}\n\
         in process {}\nby git {}\ngit merge-tree alone {}",
        tally.clean + tally.conflicts,
        tally.clean,
        tally.conflicts,
        tally.given_up,
        tally.in_process,
        tally.with_git,
        tally.git_alone
    );
}

#[test]
fn invariant_3_a_folder_of_100_000_files_and_a_file_of_50_mb_are_merged_as_git_merges_them() {
    const FILES: usize = 100_000;
    let world = GitWorld::new();
    let feed = |args: &[&str], input: &[u8]| {
        let (ok, out, err) = world.try_git_in(&world.repo(), args, Some(input));
        assert!(ok, "{err}");
        out.trim_end().to_owned()
    };
    let blob = |content: &[u8]| feed(&["hash-object", "-w", "--stdin"], content);
    let (small, big) = (blob(b"small\n"), "a line of a text that is much too long\n".repeat(50_000_000 / 39));
    // A commit with these files of the folder changed, and with or without the file of 50 MB.
    let commit = |parent: Option<&str>, changed: &[(usize, &str)], has_big: bool| {
        let changed: HashMap<usize, String> = changed.iter().map(|(at, text)| (*at, blob(text.as_bytes()))).collect();
        let line = |at: usize| format!("100644 blob {}\tfile-{at}\n", changed.get(&at).unwrap_or(&small));
        let files = FILES + usize::from(changed.contains_key(&FILES));
        let folder = feed(&["mktree"], (0..files).map(line).collect::<String>().as_bytes());
        let big = if has_big { format!("100644 blob {}\tbig\n", blob(big.as_bytes())) } else { String::new() };
        let top = feed(&["mktree"], format!("{big}040000 tree {folder}\tfolder\n").as_bytes());
        let parents = parent.map(|parent| ["-p", parent]);
        let args: Vec<&str> =
            ["commit-tree", "-m", "made", &top].into_iter().chain(parents.into_iter().flatten()).collect();
        feed(&args, b"")
    };
    let main = commit(None, &[], false);
    let [a, b, c] = [
        commit(Some(&main), &[(7, "seven")], true),
        // The last one is new.
        commit(Some(&main), &[(FILES - 1, "the last"), (FILES, "new")], false),
        commit(Some(&main), &[(7, "VII")], false),
    ];
    let pair = |ours: &str, theirs: &str| Pair { ours: ours.parse().unwrap(), theirs: theirs.parse().unwrap() };
    let mut tally = Tally::default();
    compare_pairs(&world.repo(), &[pair(&a, &b), pair(&b, &a), pair(&a, &c)], &mut tally);
    assert_eq!((tally.clean, tally.conflicts, tally.given_up), (2, 1, 0));
    assert_eq!((tally.in_process.0.len(), tally.with_git.0.len()), (2, 1));
}
