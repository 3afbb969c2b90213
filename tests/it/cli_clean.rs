//! `lexpr clean` through the real binary: what it removes, and above all what it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::cli_runs::{runs, start_endless};
use crate::cli_world::{Said, World, wait_for};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])])
}

fn land(world: &World, item: &str) -> Said {
    let plan = format!("schemaVersion: v1\ngates: [{{name: g, run: 'true'}}]\nitems: [{{name: {item}}}]\n");
    let said = world.merge(&plan, &["--execute"]).expect(0);
    wait_for_guards(world);
    said
}

/// A guard ends some moments after its lexpr, and has its slot until then.
fn wait_for_guards(world: &World) {
    let folder = slot_folder(world);
    let is_held = || names(folder.clone()).iter().any(|name| lexpr::git::lock::is_held(&folder.join(name)));
    wait_for("the guards to end", || (!is_held()).then_some(()));
}

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn run_folders(world: &World) -> Vec<String> {
    names(world.repo().join(".git/lexpr/runs"))
}

fn slots(world: &World) -> Vec<String> {
    names(slot_folder(world))
}

fn slot_folder(world: &World) -> PathBuf {
    fs::read_dir(world.path("cache/lexpr"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("repo-"))
        .unwrap()
}

fn refs(world: &World) -> String {
    world.git(&["for-each-ref", "--format=%(refname)", "refs/lexpr"])
}

fn killed(world: &World, args: &[&str]) -> String {
    let mut run = start_endless(world, args);
    run.kill().unwrap();
    run.wait().unwrap();
    wait_for_guards(world);
    runs(world)[0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn clean_removes_what_finished_runs_left_and_says_so_and_a_dry_run_says_it_first() {
    let world = world();
    land(&world, "a");
    land(&world, "b");
    let main = world.main();
    let before = (run_folders(&world), slots(&world));
    let shown = world.lexpr(["clean", "--dry-run"]).expect(0).stdout;
    assert_eq!((run_folders(&world), slots(&world)), before, "a dry run removes nothing");
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert_eq!(shown.replace("would remove", "removed").replace("would come", "came"), said);
    for run in &before.0 {
        assert!(
            said.contains(&format!("removed run {run} (ended just now, exit code 0): its journal, 2 logs, 1 receipt"))
                || said.contains(&format!(
                    "removed run {run} (ended just now, exit code 0): its journal, 1 log, 1 receipt"
                )),
            "{said}"
        );
    }
    assert!(said.contains("removed slot ") && said.contains("removed 2 lock files that nobody holds"), "{said}");
    assert!(said.lines().last().unwrap().ends_with("iB came free"), "{said}");
    assert!(run_folders(&world).is_empty() && slots(&world).is_empty(), "{:?}", slots(&world));
    assert!(names(world.repo().join(".git/lexpr/locks")).is_empty() && refs(&world).is_empty());
    assert_eq!(world.lexpr(["clean"]).expect(0).stdout, "nothing is there to be removed\n");
    assert_eq!((world.main(), world.git(&["status", "--porcelain"])), (main, String::new()));
    land(&world, "c");
}

#[test]
fn clean_never_touches_a_run_that_is_going_on_nor_its_slot() {
    let world = world();
    land(&world, "a");
    let mut running = start_endless(&world, &[]);
    let id = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    let (kept_refs, held) = (refs(&world), slots(&world).len());
    assert!(kept_refs.contains(&id));
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("left run {id}: it is going on")), "{said}");
    let named = world.lexpr(["clean", &id]).expect(2).stderr;
    assert!(named.contains("is going on"), "{named}");
    assert_eq!((run_folders(&world), refs(&world)), (vec![id.clone()], kept_refs));
    assert_eq!(slots(&world).len(), held, "its slot is left");
    assert_eq!(names(world.repo().join(".git/lexpr/locks")).len(), 1, "its lock is left");
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn a_run_that_can_be_resumed_is_removed_only_where_it_is_named() {
    let world = world();
    let id = killed(&world, &[]);
    let pinned = refs(&world);
    assert!(pinned.contains(&id));
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("left run {id}: it can be resumed; `lexpr clean {id}` removes it")), "{said}");
    assert!(said.contains(&format!("removed composites of run {id}")), "{said}");
    assert_eq!((run_folders(&world), refs(&world)), (vec![id.clone()], pinned));
    let said = world.lexpr(["clean", &id]).expect(0).stdout;
    assert!(said.contains(&format!("removed run {id}, which had not come to its end")), "{said}");
    assert!(run_folders(&world).is_empty() && refs(&world).is_empty());
    world.lexpr(["clean", "x"]).expect(2);
}

#[test]
fn what_was_used_within_the_given_time_stays() {
    let world = world();
    land(&world, "a");
    let before = (run_folders(&world), slots(&world));
    world.lexpr(["clean", "--older-than", "30m"]).expect(0);
    assert_eq!((run_folders(&world), slots(&world)), before);
    for wrong in ["7", "d", "7y", "-1d", "99999999999999999999d"] {
        world.lexpr(["clean", &format!("--older-than={wrong}")]).expect(2);
    }
    world.lexpr(["clean", "--older-than", "0m"]).expect(0);
    assert!(run_folders(&world).is_empty());
}

#[test]
fn a_clean_that_was_killed_is_finished_by_the_next_one() {
    let world = world();
    land(&world, "a");
    let gone = run_folders(&world).remove(0);
    // As it is left by one that was killed after its first step, and before its last.
    let folder = world.repo().join(".git/lexpr/runs").join(&gone);
    fs::remove_file(folder.join("journal.jsonl")).unwrap();
    world.git(&["update-ref", &format!("refs/lexpr/runs/{gone}/needed"), "main"]);
    world.git(&["update-ref", "refs/lexpr/runs/long-gone/needed", "main"]);
    fs::rename(slot_folder(&world).join("0"), slot_folder(&world).join("0.removed-1")).unwrap();
    fs::create_dir(slot_folder(&world).join("1.unremovable-1")).unwrap();
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("removed folder {gone} of a run that never began")), "{said}");
    assert!(run_folders(&world).is_empty() && slots(&world).is_empty() && refs(&world).is_empty(), "{said}");
}

#[test]
fn left_keep_files_of_dead_runs_go_and_those_of_others_stay() {
    let world = world();
    let id = killed(&world, &[]);
    let pack = world.repo().join(".git/objects/pack");
    for (name, text) in [("1", "lexpr run gone\n"), ("2", "mine\n"), ("3", &format!("lexpr run {id}\n"))] {
        fs::write(pack.join(format!("pack-{name}.keep")), text).unwrap();
    }
    world.lexpr(["clean"]).expect(0);
    assert_eq!(names(pack.clone()), ["pack-2.keep", "pack-3.keep"], "one can be resumed");
    world.lexpr(["clean", &id]).expect(0);
    assert_eq!(names(pack), ["pack-2.keep"]);
}

#[test]
fn what_cannot_be_removed_is_named_and_everything_else_goes() {
    let world = world();
    land(&world, "a");
    let stuck = run_folders(&world).remove(0);
    land(&world, "b");
    // Even root cannot remove the folder of a mount or an immutable file; anybody's folder without
    // write permission keeps all others from it.
    let logs = world.repo().join(".git/lexpr/runs").join(&stuck).join("logs");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o500)).unwrap();
    let is_root = fs::write(logs.join("probe"), "").is_ok();
    let said = world.lexpr(["clean"]);
    if !is_root {
        assert!(said.stderr.contains(&stuck) && said.code == 1, "{said:?}");
        assert_eq!(run_folders(&world), [stuck]);
        fs::set_permissions(&logs, fs::Permissions::from_mode(0o700)).unwrap();
        world.lexpr(["clean"]).expect(0);
    }
    assert!(run_folders(&world).is_empty());
}

/// Locks decide: whatever the order in which they come, each run that lands has all it needs.
#[test]
fn runs_that_start_while_it_is_cleaned_all_end_well() {
    let world = World::new(
        README,
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "main", &[("b", "1")]),
            ("c", "main", &[("c", "1")]),
            ("d", "main", &[("d", "1")]),
            ("e", "main", &[("e", "1")]),
            ("f", "main", &[("f", "1")]),
        ],
    );
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaning = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                world.lexpr(["clean"]).expect(0);
            }
        });
        for item in ["a", "b", "c", "d", "e", "f"] {
            let plan = format!("schemaVersion: v1\ngates: [{{name: g, run: 'true'}}]\nitems: [{{name: {item}}}]\n");
            world.merge(&plan, &["--execute"]).expect(0);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        cleaning.join().unwrap();
    });
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "c", "d", "e", "f"]);
    wait_for("the last to go", || {
        world.lexpr(["clean"]).expect(0);
        run_folders(&world).is_empty().then_some(())
    });
}
