//! `lexpr undo`, end to end: what a run moved goes back, and forward again, or nothing moves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lexpr::journal::{self, JournalFile};
use lexpr::ports::Journal;
use lexpr::vocabulary::event::{Event, Recorded, UndoDirection};

use crate::cli_world::{Said, World, wait_for};

const README: &[(&str, &str)] = &[("README.md", "# A project\n"), ("other", "theirs\n")];

const TWO: &str =
    "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}, {name: b, strategy: squash}]\n";

/// Lands one item at a time.
const ONE_BY_ONE: &str = "policy: {maxWorkers: 1, performance: {batchSize: 1}}\n";

/// `a` and `b`, of which nothing meets.
fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "2"), ("README.md", "# The project\n")])])
}

/// The same with both landed: where main was, where it is, and the run.
fn landed(world: &World, args: &[&str]) -> (String, String, String) {
    let before = world.main();
    world.merge(TWO, &[&["--execute"], args].concat()).expect(0);
    let after = world.main();
    assert_ne!(before, after);
    (before, after, newest_run(world))
}

fn runs(world: &World) -> Vec<String> {
    let mut runs: Vec<String> = fs::read_dir(world.repo().join(".git/lexpr/runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    runs.sort();
    runs
}

fn newest_run(world: &World) -> String {
    runs(world).pop().unwrap()
}

fn journal_of(world: &World, run: &str) -> PathBuf {
    world.repo().join(".git/lexpr/runs").join(run).join("journal.jsonl")
}

fn events(world: &World, run: &str) -> Vec<Event> {
    journal::read(&journal_of(world, run)).unwrap().events.into_iter().map(|recorded| recorded.event).collect()
}

/// The undo events of a run, a word each.
fn story(world: &World, run: &str) -> Vec<&'static str> {
    events(world, run)
        .iter()
        .filter_map(|event| match event {
            Event::UndoIntended { direction: UndoDirection::Back, .. } => Some("back?"),
            Event::UndoIntended { direction: UndoDirection::Forward, .. } => Some("forward?"),
            Event::Undone(_) => Some("done"),
            Event::UndoGivenUp { .. } => Some("given up"),
            _ => None,
        })
        .collect()
}

/// Adds an event, as a process would that is killed right after.
fn write_down(world: &World, run: &str, event: Event) {
    let path = journal_of(world, run);
    let last = journal::read(&path).unwrap().events.pop().unwrap();
    let mut journal = JournalFile::reopen(&path, 0).unwrap();
    journal.append(&Recorded { seq: last.seq + 1, at_ms: last.at_ms + 1, event }).unwrap();
    journal.sync().unwrap();
}

fn back(from: &str, to: &str) -> Event {
    Event::UndoIntended {
        direction: UndoDirection::Back,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        push: None,
    }
}

fn hook(git_dir: &Path, name: &str, script: &str) {
    let path = git_dir.join("hooks").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// For a hook: kills the process that started git.
const KILL_LEXPR: &str = "kill -9 $(awk '{print $4}' /proc/$PPID/stat)";

/// The working tree is that of main, to the last file.
#[track_caller]
fn checkout_is_clean(world: &World) {
    assert_eq!(world.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

fn with_remote(world: &World) -> PathBuf {
    let remote = world.path("remote.git");
    world.git(&["clone", "-q", "--bare", ".", remote.to_str().unwrap()]);
    world.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    remote
}

fn on_remote(world: &World) -> String {
    world.git(&["ls-remote", "origin", "refs/heads/main"]).split('\t').next().unwrap().to_owned()
}

#[test]
fn an_undo_puts_main_and_its_checkout_back_and_a_second_one_brings_them_forward_again() {
    let world = world();
    world.git(&["worktree", "add", "-q", "../other", "a"]);
    let (before, after, run) = landed(&world, &[]);
    assert!(world.repo().join("b").exists());

    let said = world.lexpr(["undo", &run]).expect(0);
    says(&said.stdout, &[&run, "main is back", "2 items", "lexpr undo"]);
    assert_eq!(world.main(), before);
    assert!(!world.repo().join("a").exists() && !world.repo().join("b").exists());
    checkout_is_clean(&world);
    says(&world.git(&["reflog", "main"]), &[&format!("lexpr: undo run {run}")]);

    // Nothing but lexpr remembers what landed.
    world.git(&["reflog", "expire", "--expire=now", "--all"]);
    world.git(&["gc", "-q", "--prune=now"]);

    let taken_back = ["It was taken back since, by `lexpr undo`.", "again to land it anew."];
    says(&world.lexpr(["why", "b", &run]).expect(0).stdout, &taken_back);
    let junit = || world.lexpr(["report", &run, "--format", "junit"]).expect(0).stdout;
    assert_eq!(junit().matches("taken back by `lexpr undo`").count(), 2, "{}", junit());

    let said = world.lexpr(["undo", &run[..run.len() - 1]]).expect(0);
    says(&said.stdout, &["undo of run", "forward again"]);
    let why = world.lexpr(["why", "b", &run]).expect(0).stdout;
    assert!(why.contains("landed on main as") && !why.contains("taken back"), "{why}");
    assert!(!junit().contains("taken back"), "{}", junit());
    assert_eq!(world.main(), after);
    assert_eq!(fs::read_to_string(world.repo().join("README.md")).unwrap(), "# The project\n");
    checkout_is_clean(&world);
    assert_eq!(story(&world, &run), ["back?", "done", "forward?", "done"]);
    // What is in main again is kept by main.
    assert_eq!(world.git(&["for-each-ref", "refs/lexpr"]), "");
    assert_eq!(world.git(&["-C", "../other", "status", "--porcelain"]), "");

    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), before);
}

#[test]
fn what_was_built_on_top_keeps_a_run_from_being_undone_and_is_named() {
    let world = world();
    let (_, _, run) = landed(&world, &[]);
    for subject in ["Their first", "Their second"] {
        world.git(&["commit", "-q", "--allow-empty", "-m", subject]);
    }
    let theirs = world.main();
    let said = world.lexpr(["undo", &run]).expect(4);
    says(&said.stderr, &["built upon", "2 commits", "Their first"]);
    assert_eq!(world.main(), theirs);
    assert_eq!(story(&world, &run), [""; 0]);
    checkout_is_clean(&world);
}

#[test]
fn a_target_that_was_rewound_keeps_a_run_from_being_undone() {
    let world = world();
    let (before, _, run) = landed(&world, &[]);
    world.git(&["reset", "-q", "--hard", &before]);
    let said = world.lexpr(["undo", &run]).expect(4);
    says(&said.stderr, &["commits were taken back", &before]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Elsewhere"]);
    says(&world.lexpr(["undo", &run]).expect(4).stderr, &["it was rewound"]);
    world.git(&["checkout", "-q", "a"]);
    world.git(&["branch", "-q", "-D", "main"]);
    says(&world.lexpr(["undo", &run]).expect(4).stderr, &["does not exist any more"]);
    assert_eq!(story(&world, &run), [""; 0]);
}

#[test]
fn commits_of_others_between_two_landings_keep_a_run_from_being_undone_and_are_named() {
    let world = world();
    world.git(&["checkout", "-q", "a"]);
    // With the first item landed, and before the second one lands, somebody commits to main.
    let script = format!(
        "cd {repo}; if git cat-file -e main:a && [ ! -e ../once ]; then touch ../once; git update-ref \
         refs/heads/main $(git -c user.name=Eve -c user.email=eve@example.org commit-tree -p main -m \
         'In between' 'main^{{tree}}'); fi",
        repo = world.repo().display()
    );
    let gate = format!("gates: [{{name: g, run: {script:?}}}]\n");
    let plan = format!("schemaVersion: v1\n{ONE_BY_ONE}{gate}items: [{{name: a}}, {{name: b}}]\n");
    world.merge(&plan, &["--execute"]).expect(0);
    let (after, run) = (world.main(), newest_run(&world));
    says(&world.git(&["log", "--format=%s", "main"]), &["In between"]);
    let said = world.lexpr(["undo", &run]).expect(4);
    says(&said.stderr, &["between two landings", "1 commit ", "In between"]);
    assert_eq!(world.main(), after);
    assert_eq!(story(&world, &run), [""; 0]);
}

#[test]
fn invariant_4_a_dirty_checkout_is_refused_before_anything_moves() {
    let world = world();
    let remote = with_remote(&world);
    let (_, after, run) = landed(&world, &["--push", "origin"]);
    // One that the undo changes, one that it removes, one that it leaves alone.
    for (file, content) in [("README.md", "# Mine\n"), ("a", "mine\n"), ("other", "mine\n")] {
        world.write(file, content);
        let said = world.lexpr(["undo", &run, "--push"]).expect(4);
        says(&said.stderr, &[file, "commit or stash"]);
        assert_eq!((world.main(), on_remote(&world)), (after.clone(), after.clone()), "{}", remote.display());
        assert_eq!(fs::read_to_string(world.repo().join(file)).unwrap(), content);
        world.git(&["checkout", "-q", "--", file]);
    }
    assert_eq!(story(&world, &run), [""; 0]);
    // What an undo removed comes back over nobody's file.
    world.lexpr(["undo", &run]).expect(0);
    let back = world.main();
    world.write("b", "mine\n");
    says(&world.lexpr(["undo", &run]).expect(4).stderr, &["stand in the way", "b"]);
    assert_eq!((world.main(), fs::read_to_string(world.repo().join("b")).unwrap().as_str()), (back, "mine\n"));
    assert_eq!(story(&world, &run), ["back?", "done"]);
}

#[test]
fn the_remote_goes_back_with_push_and_is_told_of_without() {
    let world = world();
    with_remote(&world);
    let (before, after, run) = landed(&world, &["--push", "origin"]);

    let said = world.lexpr(["undo", &run]).expect(0);
    says(&said.stdout, &["origin still has what it landed"]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), after.clone()));
    says(&said.stdout, &[&format!("`lexpr undo {run} --push` takes it back there")]);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!((world.main(), on_remote(&world)), (after.clone(), after.clone()));

    let said = world.lexpr(["undo", &run, "--push"]).expect(0);
    says(&said.stdout, &["origin was moved, too"]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), before));
    checkout_is_clean(&world);
    world.lexpr(["undo", &run, "--push"]).expect(0);
    assert_eq!((world.main(), on_remote(&world)), (after.clone(), after));
}

#[test]
fn what_was_taken_back_here_alone_is_taken_back_on_the_remote_when_that_is_asked_for() {
    let world = world();
    let remote = with_remote(&world);
    let (before, after, run) = landed(&world, &["--push", "origin"]);
    world.lexpr(["undo", &run]).expect(0);
    // Refused by the remote it is as if it had not been tried.
    hook(&remote, "pre-receive", "echo history stays; exit 1");
    says(&world.lexpr(["undo", &run, "--push"]).expect(4).stderr, &["history stays"]);
    fs::remove_file(remote.join("hooks/pre-receive")).unwrap();
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), after.clone()));
    world.git(&["reflog", "expire", "--expire=now", "--all"]);
    world.git(&["gc", "-q", "--prune=now"]);

    let said = world.lexpr(["undo", &run, "--push"]).expect(0);
    says(&said.stdout, &["undone on origin, too", &format!("`lexpr undo {run} --push`")]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), before.clone()));
    assert_eq!(story(&world, &run), ["back?", "done", "back?", "given up", "back?", "done"]);
    says(&world.lexpr(["status", &run]).expect(0).stdout, &["undone, also on origin: main was put back there"]);
    world.lexpr(["undo", &run, "--push"]).expect(0);
    assert_eq!((world.main(), on_remote(&world)), (after.clone(), after.clone()));
    checkout_is_clean(&world);

    // Cut off before and after the remote was moved.
    world.lexpr(["undo", &run]).expect(0);
    let back_there = || Event::UndoIntended {
        direction: UndoDirection::Back,
        from: after.parse().unwrap(),
        to: before.parse().unwrap(),
        push: Some("origin".to_owned()),
    };
    write_down(&world, &run, back_there());
    let said = world.lexpr(["undo", &run, "--push"]).expect(0);
    says(&said.stderr, &["cut off before it moved anything"]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), before.clone()));
    world.lexpr(["undo", &run, "--push"]).expect(0);
    world.lexpr(["undo", &run]).expect(0);
    write_down(&world, &run, back_there());
    world.git(&["push", "-q", "-f", "origin", &format!("{before}:refs/heads/main")]);
    says(&world.lexpr(["resume", &run]).expect(0).stderr, &["finished now", "undone on origin, too"]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), before.clone()));

    // Where somebody works on here meanwhile, the remote's is theirs to move.
    world.lexpr(["undo", &run, "--push"]).expect(0);
    world.lexpr(["undo", &run]).expect(0);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Moved on"]);
    let said = world.lexpr(["undo", &run, "--push"]).expect(4);
    let command = said.stderr.split('`').nth(1).unwrap();
    says(command, &["git push --force-with-lease=", " origin "]);
    assert!(world.shell(command).output().unwrap().status.success(), "{command}");
    assert_eq!(on_remote(&world), before);
}

#[test]
fn a_remote_that_others_moved_or_that_refuses_keeps_both_targets_where_they_are() {
    let world = world();
    let remote = with_remote(&world);
    let (_, after, run) = landed(&world, &["--push", "origin"]);
    let theirs = world.git(&["commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}"]);
    world.git(&["push", "-q", "origin", &format!("{theirs}:refs/heads/main")]);
    says(&world.lexpr(["undo", &run, "--push"]).expect(4).stderr, &["origin has refs/heads/main at", &theirs]);
    assert_eq!((world.main(), on_remote(&world)), (after.clone(), theirs));
    world.git(&["push", "-q", "-f", "origin", "main"]);
    hook(&remote, "pre-receive", "echo history stays; exit 1");
    says(&world.lexpr(["undo", &run, "--push"]).expect(4).stderr, &["history stays"]);
    assert_eq!((world.main(), on_remote(&world)), (after.clone(), after));
    assert_eq!(story(&world, &run), ["back?", "given up"]);
    assert_eq!(world.git(&["for-each-ref", "refs/lexpr"]), "");
    // Nothing of a run that was pushed nowhere can be taken back elsewhere.
    let world = self::world();
    let (.., run) = landed(&world, &[]);
    says(&world.lexpr(["undo", &run, "--push"]).expect(2).stderr, &["not pushed anywhere"]);
}

#[test]
fn an_undo_is_undone_only_where_it_left_the_target() {
    let world = world();
    let (before, _, run) = landed(&world, &[]);
    world.lexpr(["undo", &run]).expect(0);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Moved on"]);
    says(&world.lexpr(["undo", &run]).expect(4).stderr, &["built upon", "1 commit ", "Moved on"]);
    world.git(&["reset", "-q", "--hard", &before]);
    world.lexpr(["undo", &run]).expect(0);
}

#[test]
fn invariant_6_an_undo_killed_once_main_moved_is_finished_by_the_next_one_and_not_undone() {
    let world = world();
    let (before, after, run) = landed(&world, &[]);
    world.heed_hooks();
    hook(&world.repo().join(".git"), "reference-transaction", &format!(
        "[ $1 = committed ] && grep -q refs/heads/main && rm .git/hooks/reference-transaction && {KILL_LEXPR}; exit 0"
    ).replace(".git/hooks", &world.repo().join(".git/hooks").display().to_string()));
    world.lexpr(["undo", &run]).expect(-1);
    assert_eq!(story(&world, &run), ["back?"]);
    assert_eq!(world.main(), before);
    // The checkout stayed behind.
    assert!(world.repo().join("a").exists());
    says(&world.lexpr(["status", &run]).expect(0).stdout, &["an undo was begun", "lexpr undo"]);

    // Nothing else begins in between.
    says(&world.merge(TWO, &["--execute"]).expect(2).stderr, &[&run, "has not come to its end", "lexpr undo"]);

    let said = world.lexpr(["undo", &run]).expect(0);
    says(&said.stderr, &["cut off", "finished now", "is undone"]);
    assert_eq!(world.main(), before);
    checkout_is_clean(&world);
    assert_eq!(story(&world, &run), ["back?", "done"]);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), after);
}

#[test]
fn invariant_6_an_undo_killed_before_it_moved_anything_is_done_by_the_next_one() {
    let world = world();
    let (before, after, run) = landed(&world, &[]);
    write_down(&world, &run, back(&after, &before));
    // A plan whose run is over may be run again meanwhile, and its run resumed.
    let said = world.lexpr(["resume", &run]).expect(0);
    says(&said.stderr, &["cut off before it moved anything", "came to its end"]);
    write_down(&world, &run, back(&after, &before));
    says(&world.lexpr(["undo", &run]).expect(0).stderr, &["cut off before it moved anything"]);
    assert_eq!(world.main(), before);
    checkout_is_clean(&world);
    assert_eq!(story(&world, &run), ["back?", "given up", "back?", "given up", "back?", "done"]);
}

#[test]
fn invariant_6_an_undo_killed_once_the_remote_moved_is_finished_here() {
    let world = world();
    let remote = with_remote(&world);
    let (before, after, run) = landed(&world, &["--push", "origin"]);
    // Who answers a push is below git, and git is below lexpr.
    let up = "p=$PPID; until [ $(cat /proc/$p/comm) = lexpr ]; do p=$(awk '{print $4}' /proc/$p/stat); done";
    hook(&remote, "post-receive", &format!("{up}; kill -9 $p"));
    world.lexpr(["undo", &run, "--push"]).expect(-1);
    wait_for("the push to end", || (on_remote(&world) == before).then_some(()));
    assert_eq!(world.main(), after);
    assert_eq!(story(&world, &run), ["back?"]);

    let said = world.lexpr(["resume", &run]).expect(0);
    says(&said.stderr, &["finished now", "origin was moved, too"]);
    assert_eq!((world.main(), on_remote(&world)), (before.clone(), before));
    checkout_is_clean(&world);
    assert_eq!(story(&world, &run), ["back?", "done"]);
}

#[test]
fn an_undo_whose_target_moved_on_after_the_crash_counts_by_what_the_target_holds() {
    // It was done, and somebody committed on top.
    let world = world();
    let (before, after, run) = landed(&world, &[]);
    write_down(&world, &run, back(&after, &before));
    world.git(&["reset", "-q", "--hard", &before]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Moved on"]);
    says(&world.lexpr(["undo", &run]).expect(0).stderr, &["finished now"]);
    assert_eq!(story(&world, &run), ["back?", "done"]);
    // It was not, and somebody committed on top.
    let world = self::world();
    let (before, after, run) = landed(&world, &[]);
    write_down(&world, &run, back(&after, &before));
    world.git(&["commit", "-q", "--allow-empty", "-m", "Moved on"]);
    let said = world.lexpr(["undo", &run]).expect(4);
    says(&said.stderr, &["cut off before it moved anything", "built upon", "Moved on"]);
    assert_eq!(story(&world, &run), ["back?", "given up"]);
}

#[test]
fn what_an_undo_took_back_lands_again_when_the_plan_is_run_again() {
    let world = world();
    let (before, after, run) = landed(&world, &[]);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), before);
    let said = world.merge(TWO, &["--execute"]).expect(0);
    says(&said.stdout, &["2 of 2 items landed"]);
    // The same commits, by the same rules.
    assert_eq!(world.main(), after);
    assert_eq!(runs(&world).len(), 2);
}

/// A run that has landed `a` and could not land `b`.
fn halted(world: &World) -> (String, String) {
    let before = world.main();
    let script =
        format!("git -C {repo} cat-file -e main:a && echo mine > {repo}/b || true", repo = world.repo().display());
    let plan = format!(
        "schemaVersion: v1\n{ONE_BY_ONE}gates: [{{name: g, run: {script:?}}}]\nitems: [{{name: a}}, {{name: b}}]\n"
    );
    world.merge(&plan, &["--execute"]).expect(4);
    fs::remove_file(world.repo().join("b")).unwrap();
    assert_eq!(world.files_on_main(), ["README.md", "a", "other"]);
    (before, newest_run(world))
}

#[test]
fn an_undone_run_is_not_resumed_until_its_undo_is_undone() {
    let world = world();
    let (before, run) = halted(&world);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), before);
    let said = world.lexpr(["resume", &run]).expect(2);
    says(&said.stderr, &["was undone", "lexpr undo"]);
    says(&world.lexpr(["status", &run]).expect(0).stdout, &["undone since", "was put back from", "undoes the undo"]);

    world.lexpr(["undo", &run]).expect(0);
    // What has passed is not gated again, so nothing is put in the way once more.
    let report = world.path("report.json");
    let metrics = world.path("metrics.prom");
    let said: Said = world
        .command(["resume", &run, "--report", report.to_str().unwrap(), "--metrics-file", metrics.to_str().unwrap()])
        .output()
        .unwrap()
        .into();
    says(&said.expect(0).stdout, &["undo undone"]);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "other"]);
    let report = world.report(&report);
    assert_eq!(report["undone"], false);
    let directions: Vec<_> = report["undos"].as_array().unwrap().iter().map(|undo| undo["direction"].clone()).collect();
    assert_eq!(directions, ["back", "forward"]);
    says(&fs::read_to_string(metrics).unwrap(), &["lex_pr_undos_total 2"]);

    // All of it goes back, whichever process landed it.
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), before);
}

#[test]
fn the_plan_of_an_undone_run_may_be_run_afresh_although_that_run_did_not_come_to_its_end() {
    let world = world();
    let (_, run) = halted(&world);
    world.lexpr(["undo", &run]).expect(0);
    let plan = fs::read_to_string(world.path("plan.yaml")).unwrap();
    // Its gates, which do that, are to run again.
    fs::remove_dir_all(world.repo().join(".git/lexpr/verdicts")).unwrap();
    // It gets in its own way again, but nobody speaks of the run that was undone.
    let said = world.merge(&plan, &["--execute"]).expect(4);
    says(&said.stdout, &["1 of 2 items landed"]);
}

#[test]
fn a_run_that_is_under_way_is_not_undone() {
    let world = world();
    let (started, go) = (world.path("started"), world.path("go"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.02; done", started.display(), go.display());
    let plan = format!("schemaVersion: v1\ngates: [{{name: g, run: {script:?}}}]\nitems: [{{name: a}}]\n");
    let plan = world.plan(&plan);
    let child = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for("the gate", || started.exists().then_some(()));
    let run = newest_run(&world);
    says(&world.lexpr(["undo", &run]).expect(4).stderr, &[&run, &format!("process {}", child.id())]);
    fs::write(go, "").unwrap();
    Said::from(child.wait_with_output().unwrap()).expect(0);
    world.lexpr(["undo", &run]).expect(0);
}

#[test]
fn where_nothing_was_moved_there_is_nothing_to_undo() {
    let world = world();
    says(&world.lexpr(["undo", "2026"]).expect(2).stderr, &["no run"]);
    world.merge("schemaVersion: v1\ngates: [{name: g, run: 'false'}]\nitems: [{name: a}]\n", &["--execute"]).expect(3);
    let run = newest_run(&world);
    says(&world.lexpr(["undo", &run]).expect(2).stderr, &["nothing to undo"]);
    says(&world.lexpr(["undo"]).expect(2).stderr, &["<RUN>"]);
}

#[test]
fn a_landing_that_was_cut_off_is_settled_by_resume_before_an_undo() {
    let world = world();
    let before = world.main();
    world.heed_hooks();
    hook(
        &world.repo().join(".git"),
        "reference-transaction",
        &format!(
            "[ $1 = committed ] && grep -q refs/heads/main && rm HOOKS/reference-transaction && {KILL_LEXPR}; exit 0"
        )
        .replace("HOOKS", &world.repo().join(".git/hooks").display().to_string()),
    );
    world.merge(TWO, &["--execute"]).expect(-1);
    assert_ne!(world.main(), before);
    let run = newest_run(&world);
    says(&world.lexpr(["undo", &run]).expect(2).stderr, &["nothing to undo", "lexpr resume"]);
    world.lexpr(["resume", &run]).expect(0);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.main(), before);
}
