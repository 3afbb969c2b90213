//! Composites of random histories against plain `git merge`, and against themselves elsewhere.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use lexpr::git::compose::ShadowComposer;
use lexpr::git::history::History;
use lexpr::git::objects::commit_id;
use lexpr::git::quarantine::Quarantine;
use lexpr::git::resolve::HeadOf;
use lexpr::git::shadow::Workbench;
use lexpr::ports::ComposeItem;
use lexpr::vocabulary::names::{CommitId, MergeStrategy};
use lexpr::vocabulary::trail::Trail;

use crate::compose_cases::conflicts;
use crate::git_world::{Files, GIT_DEFAULTS, GitWorld, Mark, MinuteOf, Stream, block_on, compose, item};

/// How many histories are tried; `LEXPR_SEEDS=FROM..TO` tries others.
const SEEDS: std::ops::Range<u64> = 0..30;

fn seeds() -> std::ops::Range<u64> {
    seeds_or(SEEDS)
}

pub fn seeds_or(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("LEXPR_SEEDS") else { return usual };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

/// SplitMix64: all that is random here comes from the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

const FOLDERS: [&str; 9] = ["", "d/", "d/in/", "d/in/deep/", "e/", "e/in/", "m/", "m/\u{e9}/", "z/"];

fn content(dice: &mut Dice) -> Vec<u8> {
    let kind = dice.roll(5);
    let mut text = String::new();
    for line in 0..6 + dice.roll(10) {
        text.push_str(&format!("kind {kind} line {line}{}\n", if dice.roll(6) == 0 { " odd" } else { "" }));
    }
    text.into_bytes()
}

fn new_path(dice: &mut Dice) -> Vec<u8> {
    let mut path = dice.pick(&FOLDERS).as_bytes().to_vec();
    match dice.roll(14) {
        0 => path.extend_from_slice(b"\xffbytes"),
        1 => path.extend_from_slice(b"sp ace"),
        _ => path.extend_from_slice(format!("f{}", dice.roll(12)).as_bytes()),
    }
    path
}

/// Adds `path` unless a file is in the way of its folders, or it of others'.
fn place(files: &mut Files, path: Vec<u8>, entry: (&'static str, Vec<u8>)) {
    let is_below = |upper: &[u8], lower: &[u8]| {
        lower.len() > upper.len() && lower.starts_with(upper) && lower[upper.len()] == b'/'
    };
    files.retain(|known, _| !is_below(known, &path) && !is_below(&path, known));
    files.insert(path, entry);
}

fn any_path(dice: &mut Dice, files: &Files) -> Option<Vec<u8>> {
    let paths: Vec<&Vec<u8>> = files.keys().collect();
    (!paths.is_empty()).then(|| (*dice.pick(&paths)).clone())
}

fn change(dice: &mut Dice, files: &mut Files) {
    let Some(path) = any_path(dice, files) else {
        let path = new_path(dice);
        return place(files, path, ("100644", content(dice)));
    };
    match dice.roll(24) {
        0..=7 => {
            let (_, text) = files.get_mut(&path).unwrap();
            if text.len() != 40 || text.contains(&b'\n') {
                let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
                if !lines.is_empty() {
                    let at = dice.roll(lines.len());
                    lines[at] = format!("edit {}", dice.roll(4));
                }
                *text = lines.join("\n").into_bytes();
                text.push(b'\n');
            }
        }
        8..=11 => {
            let new = new_path(dice);
            place(files, new, ("100644", content(dice)));
        }
        12 | 13 => drop(files.remove(&path)),
        14..=16 => {
            let (mode, mut text) = files.remove(&path).unwrap();
            if dice.roll(2) == 0 && mode == "100644" {
                text.extend_from_slice(b"tail\n");
            }
            let new = new_path(dice);
            place(files, new, (mode, text));
        }
        17 | 18 => {
            // A whole folder moves.
            let from = *dice.pick(&FOLDERS[1..]);
            let to = *dice.pick(&FOLDERS);
            let moved: Vec<Vec<u8>> = files.keys().filter(|path| path.starts_with(from.as_bytes())).cloned().collect();
            for path in moved {
                let entry = files.remove(&path).unwrap();
                let new = [to.as_bytes(), b"moved/", &path[from.len()..]].concat();
                place(files, new, entry);
            }
        }
        19 => {
            let entry = files.get_mut(&path).unwrap();
            entry.0 = match entry.0 {
                "100644" => "100755",
                "100755" => "100644",
                other => other,
            };
        }
        20 => drop(files.insert(path, ("120000", format!("to{}", dice.roll(3)).into_bytes()))),
        21 => drop(files.insert(path, ("160000", vec![b"123"[dice.roll(3)]; 40]))),
        22 => {
            // A file becomes a folder.
            let entry = files.remove(&path).unwrap();
            place(files, [&path[..], b"/inner"].concat(), entry);
        }
        _ => {
            let lines = ["* text=auto\n", "f1 text eol=crlf\n", "f2 text\n"];
            let text = dice.pick(&lines).as_bytes().to_vec();
            place(files, b".gitattributes".to_vec(), ("100644", text));
        }
    }
}

fn changed(dice: &mut Dice, files: &Files, most: usize) -> Files {
    let mut files = files.clone();
    for _ in 0..=dice.roll(most) {
        change(dice, &mut files);
    }
    files
}

/// A `main` and some items that begin on it, on each other, or merge each other.
pub fn history(seed: u64) -> (Stream, usize) {
    dated_history(seed, None)
}

fn dated_history(seed: u64, minute_of: Option<MinuteOf>) -> (Stream, usize) {
    let mut dice = Dice(seed);
    let mut stream = Stream::default();
    stream.minute_of = minute_of;
    let mut files = Files::new();
    for _ in 0..18 {
        let path = new_path(&mut dice);
        place(&mut files, path, ("100644", content(&mut dice)));
    }
    let mut main = vec![(stream.commit("main", &[], &files), files)];
    for _ in 0..dice.roll(3) {
        let (last, files) = main[main.len() - 1].clone();
        let files = changed(&mut dice, &files, 3);
        main.push((stream.commit("main", &[last], &files), files));
    }
    let mut items: Vec<(Mark, Files)> = Vec::new();
    let count = 3 + dice.roll(4);
    for at in 0..count {
        let branch = format!("i{at}");
        let (start, files) = if !items.is_empty() && dice.roll(4) == 0 { dice.pick(&items) } else { dice.pick(&main) };
        let files = changed(&mut dice, files, 4);
        let mut last = (stream.commit(&branch, &[*start], &files), files);
        if dice.roll(3) == 0 {
            let files = changed(&mut dice, &last.1, 3);
            last = (stream.commit(&branch, &[last.0], &files), files);
        }
        if dice.roll(5) == 0 && !items.is_empty() {
            let other = dice.pick(&items).0;
            let files = changed(&mut dice, &last.1, 2);
            last = (stream.commit(&branch, &[last.0, other], &files), files);
        }
        items.push(last);
    }
    (stream, count)
}

#[test]
fn invariant_3_random_histories_become_what_git_merge_makes_of_them() {
    let mut counts = (0, 0, 0);
    for seed in seeds() {
        let world = GitWorld::empty();
        let (stream, count) = history(seed);
        let heads = world.import(&stream);
        let items: Vec<_> = (0..count).map(|at| item(at, &format!("i{at}"), heads[&format!("i{at}")])).collect();
        let Some(expected) = world.merge_by_git(heads["main"], &items) else { continue };
        let composer = world.composer("q");
        let composite = compose(&composer, heads["main"], &items);
        let found: Vec<(String, Vec<String>)> =
            conflicts(&composite).into_iter().map(|(name, conflict)| (name, conflict.paths)).collect();
        let trees: Vec<String> = composite.steps.iter().map(|step| step.tree.to_string()).collect();
        assert_eq!(trees, expected.trees, "seed {seed}: {found:?} {:?}", expected.conflicts);
        assert_eq!(composite.tree.to_string(), expected.tree, "seed {seed}");
        assert_eq!(found.len(), expected.conflicts.len(), "seed {seed}");
        for ((name, paths), (expected_name, expected_paths)) in found.iter().zip(&expected.conflicts) {
            assert_eq!(name, expected_name, "seed {seed}");
            assert!(expected_paths.is_empty() || paths == expected_paths, "seed {seed}: {paths:?} {expected_paths:?}");
        }
        let merges = composer.stats().merges;
        counts = (counts.0 + merges.spliced, counts.1 + merges.by_git, counts.2 + found.len());
    }
    assert!(counts.0 > 0 && counts.1 > 0 && counts.2 > 0, "spliced, by git, conflicts: {counts:?}");
}

/// Composes with a mixture of strategies; what cannot be seen in the ids is compared by the caller.
fn mixed(
    composer: &ShadowComposer,
    base: CommitId,
    heads: &[(String, CommitId)],
    seed: u64,
) -> lexpr::ports::Composite {
    let mut dice = Dice(seed);
    let items: Vec<_> = heads
        .iter()
        .enumerate()
        .map(|(at, (name, head))| {
            let strategy = *dice.pick(&[MergeStrategy::Merge, MergeStrategy::Squash, MergeStrategy::Rebase]);
            ComposeItem { strategy, ..item(at, name, *head) }
        })
        .collect();
    compose(composer, base, &items)
}

#[test]
fn invariant_8_two_clones_in_different_folders_make_the_same_commits() {
    for seed in 0..6 {
        let world = GitWorld::empty();
        let (stream, count) = history(seed);
        let ids = world.import(&stream);
        let heads: Vec<(String, CommitId)> =
            (0..count).map(|at| format!("i{at}")).map(|name| (name.clone(), ids[&name])).collect();
        let here = mixed(&world.composer("q"), ids["main"], &heads, seed);

        let other = GitWorld::empty();
        let source = world.repo();
        other.git([
            Path::new("fetch"),
            Path::new("--quiet"),
            Path::new("--update-head-ok"),
            &source,
            Path::new("refs/heads/*:refs/heads/*"),
        ]);
        // Packed differently, and asked for the prefixes first: neither may matter.
        other.git(["repack", "-adq"]);
        let elsewhere = other.composer("some other \"folder\"\nwith a line break");
        for len in 0..count {
            mixed(&elsewhere, ids["main"], &heads[..len], seed);
        }
        assert_eq!(mixed(&elsewhere, ids["main"], &heads, seed), here, "seed {seed}");
        let checked = world.quarantined("q", ["fsck", "--strict", "--no-dangling", &here.commit.to_string()]);
        assert_eq!(checked, "", "seed {seed}");
    }
}

/// What is known of how commits grew must give what walking the history gives.
#[test]
fn invariant_3_how_heads_lie_to_a_growing_composite_is_what_a_walk_finds() {
    // Dates that lie, over several generations, too; and all of one minute.
    let minutes: [Option<MinuteOf>; 3] = [None, Some(|number| number * 7 % 23), Some(|_| 1)];
    let mut answers = 0;
    for seed in 0..SEEDS.end * 2 {
        let mut dice = Dice(seed);
        let world = GitWorld::empty();
        let (stream, count) = dated_history(seed, *dice.pick(&minutes));
        let ids = world.import(&stream);
        let mut heads: Vec<(String, CommitId)> =
            (0..count).map(|at| format!("i{at}")).map(|name| (name.clone(), ids[&name])).collect();
        // Somebody else's work says that it stands for one of them.
        let message = format!("squashed elsewhere\n\nLexpr-Head: {}", dice.pick(&heads).1);
        let squashed = world.git(["commit-tree", "main^{tree}", "-p", "main", "-m", &message]).parse().unwrap();
        heads.insert(dice.roll(count), ("squashed".to_owned(), squashed));
        let quarantine = Quarantine::create(&world.beside("q"), &world.open()).unwrap();
        let mut bench = Workbench::new(&quarantine, GIT_DEFAULTS, None).unwrap();
        let mut at = Arc::new(bench.start(ids["main"]).unwrap());
        let mut made: Vec<ObjectId> = Vec::new();
        let mut ways = HashMap::new();
        // More than once: what has landed as a squash is the base of the next composite. The last time it is
        // all made again, and there is a branch by then that begins on some of it.
        for round in 0..3 {
            if round == 2 {
                at = Arc::new(bench.start(ids["main"]).unwrap());
                // One alone: two would share what they begin on.
                let from = *dice.pick(if seed % 2 == 0 { &made } else { &made[..2] });
                let tree = format!("{from}^{{tree}}");
                let head = world.quarantined("q", ["commit-tree", &tree, "-p", &from.to_string(), "-m", "cut"]);
                heads.push(("cut".to_owned(), head.parse().unwrap()));
            }
            for (ix, (name, head)) in heads.iter().enumerate() {
                let strategies = [MergeStrategy::Merge, MergeStrategy::Squash, MergeStrategy::Rebase];
                let way = ways.entry(name.clone()).or_insert((*dice.pick(&strategies), dice.roll(4) == 0));
                let (strategy, comes_later) = *way;
                if comes_later && round != 1 {
                    continue;
                }
                let item = Arc::new(ComposeItem { strategy, ..item(ix, name, *head) });
                at = Arc::new(bench.add(&at, &item, &Trail::default()).unwrap());
                made.extend([at.shadow, at.landed]);
                for (name, head) in &heads {
                    // Not about all of them, so that some are met that nobody asked about.
                    for onto in [at.shadow, at.landed].into_iter().filter(|_| dice.roll(3) == 0) {
                        let head = ObjectId::from_bytes_or_panic(head.as_bytes());
                        let known = bench.history.divergence(&bench.objects, onto, head).unwrap();
                        let walked = History::default().divergence(&bench.objects, onto, head).unwrap();
                        assert_eq!(known, walked, "seed {seed}: {name} onto {onto}");
                        answers += usize::from(walked.is_some());
                    }
                }
            }
            bench.objects.flush().unwrap();
            at = Arc::new(bench.start(commit_id(at.landed)).unwrap());
        }
    }
    assert!(answers > 2_000, "{answers}");
}

/// A walk that begins elsewhere may end before it sees that a commit is not the head's own.
#[test]
fn invariant_8_where_dates_lie_nothing_is_concluded_from_another_walk() {
    let mut stream = Stream::default();
    stream.minute_of = Some(|number| [0, 50, 5, 10, 80, 100, 90, 1, 2, 110][number]);
    let files = Files::new();
    let old = stream.commit("old", &[], &files);
    let older = stream.commit("older", &[old], &files);
    let shared = stream.commit("shared", &[older], &files);
    let before = stream.commit("before", &[shared], &files);
    let main = stream.commit("main", &[before], &files);
    stream.commit("head", &[before, old], &files);
    let first = stream.commit("first", &[main], &files);
    let other = stream.commit("other", &[first], &files);
    stream.commit("made", &[main, other], &files);
    let world = GitWorld::empty();
    let ids = world.import(&stream);
    let quarantine = Quarantine::create(&world.beside("q"), &world.open()).unwrap();
    let objects = quarantine.store().objects();
    let id = |name: &str| ObjectId::from_bytes_or_panic(ids[name].as_bytes());
    let mut history = History::default();
    for head in ["head", "other"] {
        history.divergence(&objects, id("main"), id(head)).unwrap();
    }
    history.grew(id("made"), &[id("main"), id("other")], &[]);
    let known = history.divergence(&objects, id("made"), id("head")).unwrap();
    assert_eq!(known, History::default().divergence(&objects, id("made"), id("head")).unwrap());
    assert_eq!(known.unwrap().own, [id("head")]);
}

/// Work that main has squashed, and mains that went on from there in different ways.
#[test]
fn invariant_3_what_has_landed_by_content_changes_nothing_for_git_either() {
    const MAINS: usize = 2;
    let (mut landed, mut others) = (0, 0);
    for seed in seeds() {
        let mut dice = Dice(seed);
        let mut stream = Stream::default();
        let mut files = Files::new();
        for _ in 0..18 {
            let path = new_path(&mut dice);
            place(&mut files, path, ("100644", content(&mut dice)));
        }
        let start = stream.commit("main", &[], &files);
        let work = changed(&mut dice, &files, 4);
        stream.commit("work", &[start], &work);
        let squashed = stream.commit("squashed", &[start], &work);
        for at in 0..MAINS {
            let files = changed(&mut dice, &work, 3);
            stream.commit(&format!("main{at}"), &[squashed], &files);
        }
        let world = GitWorld::empty();
        let heads = world.import(&stream);
        let work = item(0, "work", heads["work"]);
        let composer = world.composer("q");
        for at in 0..MAINS {
            let base = heads[&format!("main{at}")];
            let asked = HeadOf { name: work.name.clone(), head: work.head, deps: Vec::new() };
            let relations = block_on(composer.relate(base, vec![asked])).unwrap();
            if relations.already_landed == [None] {
                others += 1;
                continue;
            }
            let Some(merged) = world.merge_by_git(base, std::slice::from_ref(&work)) else { continue };
            assert_eq!(merged.conflicts, [], "seed {seed}, main {at}");
            assert_eq!(merged.tree, world.tree(&base.to_string()), "seed {seed}, main {at}");
            landed += 1;
        }
    }
    assert!(landed > 0 && others > 0, "{landed} landed, {others} did not");
}
