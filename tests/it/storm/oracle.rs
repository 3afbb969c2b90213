//! What must be true after a storm, asked of git and not of lexpr.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use lexpr::journal;
use lexpr::vocabulary::event::Event;

use super::lander::Ended;
use super::mover::{Moves, is_ancestor};
use super::scenery::{Ground, branches};
use crate::cli_runs::runs;
use crate::cli_world::{World, wait_for};

/// Panics where something is not as it must be; else the number of landings.
pub fn judge(world: &World, ground: Ground, begin: &str, ended: &[Ended], moved: &Moves) -> usize {
    let history = History::of(world, begin);
    every_item_landed_once_or_its_run_says_why_not(world, &history, ended);
    let runs = finished_runs(world);
    let landings = landings(world, &runs);
    main_is_made_of_landings_and_moves(world, &history, &landings, moved);
    for run in landings.iter().map(|landing| &landing.run).collect::<HashSet<_>>() {
        world.lexpr(["verify", run]).expect(0);
    }
    whole(world);
    nothing_is_left(world, ground);
    nothing_but_folders_is_left_by_clean(world);
    landings.len()
}

fn finished_runs(world: &World) -> Vec<String> {
    let runs = runs(world);
    let unfinished: Vec<_> = runs.iter().filter(|run| run["state"] != "finished").collect();
    assert!(unfinished.is_empty(), "{unfinished:#?}");
    runs.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

/// All that main has beyond where it began.
struct History {
    /// Along first parents, oldest first.
    line: Vec<String>,
    /// How often a commit is merged (second parent), or named in a trailer.
    landed: HashMap<String, usize>,
}

impl History {
    fn of(world: &World, begin: &str) -> Self {
        let range = format!("{begin}..main");
        let line = world.git(&["rev-list", "--first-parent", "--reverse", &range]);
        let mut landed = HashMap::new();
        let format = "--format=%P|%(trailers:key=Lexpr-Head,valueonly,separator=%x20)";
        let told = world.git(&["log", "--first-parent", format, &range]);
        for commit in told.lines() {
            let (parents, trailers) = commit.split_once('|').unwrap();
            for head in parents.split(' ').skip(1).chain(trailers.split_whitespace()) {
                *landed.entry(head.to_owned()).or_default() += 1;
            }
        }
        Self { line: line.lines().map(str::to_owned).collect(), landed }
    }
}

fn every_item_landed_once_or_its_run_says_why_not(world: &World, history: &History, ended: &[Ended]) {
    for branch in branches() {
        let times = history.landed.get(&world.git(&["rev-parse", branch])).copied().unwrap_or_default();
        assert!(times <= 1, "{branch} landed {times} times:\n{}", world.git(&["log", "--graph", "main"]));
    }
    for Ended { name, report, .. } in ended {
        for item in report["items"].as_array().unwrap() {
            let (head, branch) = (item["head"].as_str().unwrap(), item["name"].as_str().unwrap());
            assert_eq!(head, world.git(&["rev-parse", branch]));
            match item["status"].as_str().unwrap() {
                "landed" | "alreadyLanded" => {
                    let is_in = is_ancestor(world, head, "main") || history.landed.contains_key(head);
                    // Part of one that was squashed: all that it changes is there.
                    let adds_nothing = || {
                        let tree = world.git(&["rev-parse", "main^{tree}"]);
                        item["status"] == "alreadyLanded"
                            && world.git(&["merge-tree", "--write-tree", "main", head]) == tree
                    };
                    assert!(is_in || adds_nothing(), "{name}: {item:#}");
                }
                _ => {
                    let why = item["reason"].as_str();
                    assert!(why.is_some_and(|why| !why.is_empty()), "{name}: {item:#}");
                    let expected = branch == "bad" || branch.starts_with("clash") || branch.starts_with("stack");
                    assert!(expected, "{name}: nothing stands against {item:#}");
                }
            }
        }
    }
}

/// What stands on main was landed by a run, or put there by hand, and all of that is there.
fn main_is_made_of_landings_and_moves(world: &World, history: &History, landings: &[Landing], moved: &Moves) {
    let mut known: HashSet<String> = moved.keys().cloned().collect();
    for Landing { run, from, to } in landings {
        assert!(is_ancestor(world, to, "main"), "{run} landed {to}");
        known.extend(world.git(&["rev-list", "--first-parent", &format!("{from}..{to}")]).lines().map(str::to_owned));
    }
    let line: HashSet<String> = history.line.iter().cloned().collect();
    let unknown: Vec<_> = line.difference(&known).collect();
    let lost: Vec<_> = known.difference(&line).collect();
    assert!(unknown.is_empty() && lost.is_empty(), "unknown {unknown:?}, lost {lost:?}");
}

struct Landing {
    run: String,
    from: String,
    to: String,
}

/// Every move of main that a journal tells of. Somebody who was killed at the very end has started
/// another run than the one that landed.
fn landings(world: &World, runs: &[String]) -> Vec<Landing> {
    let mut found = Vec::new();
    for run in runs {
        let git_dir = world.git(&["rev-parse", "--path-format=absolute", "--git-common-dir"]);
        let journal = Path::new(&git_dir).join("lexpr/runs").join(run).join("journal.jsonl");
        for recorded in journal::read(&journal).unwrap().events {
            if let Event::Landed(landed) = recorded.event
                && landed.from != landed.to
            {
                found.push(Landing { run: run.clone(), from: landed.from.to_string(), to: landed.to.to_string() });
            }
        }
    }
    found
}

fn whole(world: &World) {
    let said = world.git(&["fsck", "--full", "--strict", "--no-dangling", "--no-progress"]);
    assert_eq!(said, "");
    assert_eq!(world.git(&["for-each-ref", "refs/lexpr"]), "");
}

fn nothing_is_left(world: &World, ground: Ground) {
    // The guards of those that were killed end by themselves.
    wait_for("every process to end", || world.processes().is_empty().then_some(()));
    let git_dir = if ground == Ground::Bare { world.repo() } else { world.repo().join(".git") };
    let mut left = Vec::new();
    files_below(&git_dir, &mut |path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_lock = name.ends_with(".lock") && !path.starts_with(git_dir.join("lexpr/locks"));
        if is_lock || name.starts_with("tmp_") || name.ends_with(".keep") {
            left.push(path);
        }
    });
    assert_eq!(left, Vec::<PathBuf>::new());
    if ground == Ground::CheckedOut {
        assert_eq!(world.git(&["-C", "../linked", "status", "--porcelain"]), "");
    }
}

fn nothing_but_folders_is_left_by_clean(world: &World) {
    world.lexpr(["clean"]).expect(0);
    assert_eq!(runs(world), Vec::<serde_json::Value>::new());
    let mut slots = Vec::new();
    files_below(&world.path("cache"), &mut |path| slots.push(path));
    assert_eq!(slots, Vec::<PathBuf>::new());
    assert_eq!(world.git(&["for-each-ref", "refs/lexpr"]), "");
}

fn files_below(folder: &Path, see: &mut dyn FnMut(PathBuf)) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), see);
        } else {
            see(entry.path());
        }
    }
}
