//! Urgent runs: beside the run that has the target, and beside each other. Who lands first is not
//! decided by who began first; that the target only ever holds what was proven is.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use lexpr::git::lock::{LandingLock, Purpose};
use lexpr::vocabulary::names::RunId;
use rustix::process::Signal;
use serde_json::Value;

use crate::cli_runs::runs;
use crate::cli_world::{Said, World, wait_for};
use crate::gate_guard::send;

pub const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

pub fn world() -> World {
    World::new(
        README,
        &[
            ("a", "main", &[("a", "1\n")]),
            ("b", "main", &[("b", "1\n")]),
            ("hot", "main", &[("hot", "1\n")]),
            ("warm", "main", &[("warm", "1\n")]),
        ],
    )
}

/// A gate that writes down the tree it judges and, where `file` is in that, waits until `go` is there;
/// it says so in `started`.
pub fn held_where(world: &World, file: &str, started: &str, go: &str) -> String {
    let [trace, started, go] = ["trace", started, go].map(|name| world.path(name).display().to_string());
    format!(
        "git rev-parse HEAD^{{tree}} >> {trace}; [ ! -e {file} ] || {{ touch {started}; until [ -e {go} ]; do sleep 0.02; done; }}"
    )
}

pub fn plan(world: &World, name: &str, gate: &str, items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{{name: {item}}}")).collect();
    let text = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2}}\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{}]\n",
        items.join(", ")
    );
    let path = world.path(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a run of `a` and `b`, in which `b` waits for `go`.
pub fn start_normal(world: &World, args: &[&str]) -> Child {
    let plan = plan(world, "normal.yaml", &held_where(world, "b", "started", "go"), &["a", "b"]);
    let run = world.start(["merge", &plan, "--execute"].iter().chain(args));
    wait_for("the gate of b", || world.path("started").exists().then_some(()));
    run
}

/// Starts an urgent run of `hot`, in which that waits for `hot-go`.
pub fn start_urgent(world: &World) -> Child {
    let plan = plan(world, "urgent.yaml", &held_where(world, "hot", "hot-started", "hot-go"), &["hot"]);
    let run = world.start(["merge", &plan, "--execute", "--urgent"]);
    wait_for("the gate of hot", || world.path("hot-started").exists().then_some(()));
    run
}

pub fn land_urgently(world: &World, item: &str, args: &[&str]) -> Said {
    let plan = plan(world, "urgent.yaml", &held_where(world, "nothing", "no", "no"), &[item]);
    world.lexpr(["merge", &plan, "--execute", "--urgent"].iter().chain(args))
}

pub fn touch(world: &World, name: &str) {
    fs::write(world.path(name), "").unwrap();
}

pub fn end(run: Child) -> Said {
    run.wait_with_output().unwrap().into()
}

pub fn kill(mut run: Child) {
    run.kill().unwrap();
    run.wait().unwrap();
}

/// The runs, the oldest first.
pub fn ids(world: &World) -> Vec<String> {
    runs(world).iter().rev().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

pub fn events(world: &World, run: &str) -> Vec<Value> {
    let journal: PathBuf = world.repo().join(".git/lexpr/runs").join(run).join("journal.jsonl");
    let text = fs::read_to_string(journal).unwrap();
    text.lines().map(|line| serde_json::from_str(&line[17..]).unwrap()).collect()
}

pub fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// How often gates ran on a tree, by what they wrote down themselves.
fn ran_on(world: &World, tree: &Value) -> usize {
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    trace.lines().filter(|line| *line == tree.as_str().unwrap()).count()
}

/// Wherever main has been since it was made, some gate has judged that tree; and lexpr can prove it.
#[track_caller]
pub fn main_was_only_ever_at_what_was_gated(world: &World) {
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let been = world.git(&["reflog", "show", "--format=%T %gs", "main"]);
    for been in been.lines().filter(|been| been.contains("lexpr: land")) {
        let (tree, _) = been.split_once(' ').unwrap();
        assert!(trace.lines().any(|gated| gated == tree), "main was at {tree}, which no gate has judged:\n{trace}");
    }
    for run in ids(world).iter().filter(|run| !of(&events(world, run), "landed").is_empty()) {
        world.lexpr(["verify", run]).expect(0);
    }
}

#[test]
fn invariant_1_an_urgent_run_lands_beside_one_under_way_which_proves_its_apex_anew_and_no_item_again() {
    let world = world();
    let normal = start_normal(&world, &[]);
    let begin = world.main();
    land_urgently(&world, "hot", &[]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "hot"]);
    // The checkout has moved along under the feet of the run that began with another.
    assert!(world.repo().join("hot").exists() && world.git(&["status", "--porcelain"]).is_empty());
    touch(&world, "go");
    end(normal).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    main_was_only_ever_at_what_was_gated(&world);

    let [normal, urgent] = &ids(&world)[..] else { panic!("there are other runs") };
    assert_eq!(events(&world, urgent)[0]["urgent"], true);
    let events = events(&world, normal);
    assert!(events[0].get("urgent").is_none());
    let moved = events.iter().position(|event| event["event"] == "targetMoved").unwrap();
    assert_eq!(events[moved]["from"], begin);
    let jobs = of(&events[moved..], "jobStarted");
    let purposes: Vec<_> = jobs.iter().map(|job| job["purpose"]["for"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["apex"], "all that runs again is the apex");
    let cones = of(&events, "composed").into_iter().filter(|composed| composed["purpose"]["for"] == "cone");
    let trees: Vec<&Value> = cones.map(|composed| &composed["tree"]).collect();
    assert_eq!(trees.len(), 2);
    for tree in trees {
        assert_eq!(ran_on(&world, tree), 1, "an item that had passed was gated again");
    }
}

#[test]
fn invariant_6_an_item_in_the_middle_of_its_gates_loses_no_verdict_to_an_urgent_landing() {
    let world = world();
    let gate = |name: &str, held: &str| format!("{{name: {name}, run: '{held}'}}");
    let quick = format!("git rev-parse HEAD^{{tree}} >> {}", world.path("trace").display());
    let [a, b] = [("a", "a-started", "a-go"), ("b", "b-started", "b-go")]
        .map(|(file, started, go)| held_where(&world, file, started, go));
    let text = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2, performance: {{batchSize: 1, enableCaching: false}}}}\ngates: [{}, {}]\n\
         items: [{{name: a}}, {{name: b}}]\n",
        gate("quick", &quick),
        gate("slow", &format!("{a}; {b}"))
    );
    // What other runs remember does not hide what this one has lost.
    let normal = world.start(["merge", world.plan(&text).to_str().unwrap(), "--execute"]);
    let has = |file: &str| world.path(file).exists().then_some(());
    wait_for("the slow gates of both", || has("a-started").and(has("b-started")));
    land_urgently(&world, "hot", &[]).expect(0);
    // Its landing meets the urgent one while b is half gated.
    touch(&world, "a-go");
    wait_for("a to land", || (world.files_on_main() == ["README.md", "a", "hot"]).then_some(()));
    touch(&world, "b-go");
    end(normal).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    let events = events(&world, &ids(&world)[0]);
    let moved = events.iter().position(|event| event["event"] == "targetMoved").unwrap();
    let is_b = |event: &Value| event["event"] == "itemDecided" && event["item"] == "b";
    assert!(events.iter().position(is_b).unwrap() > moved, "b was decided before main moved");
    let cones = of(&events, "composed").into_iter().filter(|composed| composed["purpose"]["for"] == "cone");
    for cone in cones {
        // Each writes once in the quick gate, and for each of the files that it would wait for in the slow one.
        assert_eq!(ran_on(&world, &cone["tree"]), 3, "{cone}");
    }
    main_was_only_ever_at_what_was_gated(&world);
}

#[test]
fn invariant_1_an_urgent_run_that_comes_second_lands_on_top() {
    let world = world();
    let normal = start_normal(&world, &[]);
    let urgent = start_urgent(&world);
    touch(&world, "go");
    end(normal).expect(0);
    touch(&world, "hot-go");
    end(urgent).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    main_was_only_ever_at_what_was_gated(&world);
    let urgent = events(&world, ids(&world).last().unwrap());
    assert_eq!(of(&urgent, "targetMoved").len(), 1);
}

#[test]
fn an_urgent_run_needs_nobody_to_run_beside() {
    let world = world();
    let report = world.path("report.json");
    land_urgently(&world, "hot", &["--report", report.to_str().unwrap()]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "hot"]);
    assert_eq!(world.report(&report)["urgent"], true);
    assert!(world.lexpr(["status"]).expect(0).stdout.starts_with("urgent run "));
}

#[test]
fn two_urgent_runs_at_once_both_land() {
    let world = world();
    let urgent = start_urgent(&world);
    // This one waits until the other one has gone on, so that they come together.
    let gate = held_where(&world, "warm", "hot-go", "hot-started");
    let plan = plan(&world, "warm.yaml", &gate, &["warm"]);
    world.lexpr(["merge", &plan, "--execute", "--urgent"]).expect(0);
    end(urgent).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "hot", "warm"]);
    main_was_only_ever_at_what_was_gated(&world);
}

#[test]
fn an_urgent_dry_run_and_one_that_waits_are_refused() {
    let world = world();
    let plan = plan(&world, "urgent.yaml", "true", &["hot"]);
    let said = world.lexpr(["merge", &plan, "--urgent"]).expect(2);
    assert!(said.stderr.contains("--execute"), "{}", said.stderr);
    let said = world.lexpr(["merge", &plan, "--urgent", "--execute", "--wait"]).expect(2);
    assert!(said.stderr.contains("--wait"), "{}", said.stderr);
}

#[test]
fn invariant_6_an_urgent_run_that_was_killed_is_resumed_while_the_target_is_had_by_another() {
    let world = world();
    let normal = start_normal(&world, &[]);
    let urgent = start_urgent(&world);
    let running = runs(&world);
    assert_eq!((&running[0]["state"], &running[0]["urgent"]), (&"running".into(), &true.into()));
    assert_eq!(running[0]["process"], urgent.id());
    let run = running[0]["run"].as_str().unwrap();
    // It is alive, whatever is known of who has the target.
    let said = world.lexpr(["clean", run]).expect(2);
    assert!(said.stderr.contains("is going on"), "{}", said.stderr);
    let said = world.lexpr(["resume", run]).expect(2);
    assert!(said.stderr.contains("in the hands of another lexpr"), "{}", said.stderr);
    let plan = world.path("urgent.yaml");
    let said = world.lexpr(["merge", plan.to_str().unwrap(), "--execute", "--urgent"]).expect(4);
    assert!(said.stderr.contains(&format!("run {run} of this plan is going on")), "{}", said.stderr);
    kill(urgent);
    assert_eq!(runs(&world)[0]["state"], "died");
    touch(&world, "hot-go");
    let other = self::plan(&world, "warm.yaml", &held_where(&world, "warm", "warm-started", "go"), &["warm"]);
    let other = world.start(["merge", &other, "--execute", "--urgent"]);
    wait_for("the gate of warm", || world.path("warm-started").exists().then_some(()));
    // No name is needed, although a newer run has not come to its end either: it is going on.
    world.lexpr(["resume"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "hot"]);
    touch(&world, "go");
    end(normal).expect(0);
    end(other).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot", "warm"]);
}

/// The next move of main kills the lexpr that makes it, once it is made.
fn kill_who_moves_main(world: &World) {
    let hook = world.repo().join(".git/hooks/reference-transaction");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script = format!(
        "#!/bin/sh\n[ $1 = committed ] && grep -q refs/heads/main && \
         {{ rm {}; kill -9 $(awk '{{print $4}}' /proc/$PPID/stat); }}; exit 0\n",
        hook.display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn invariant_6_an_urgent_landing_that_was_cut_off_in_a_checkout_is_named_to_the_run_that_meets_it() {
    let world = world();
    world.heed_hooks();
    let normal = start_normal(&world, &[]);
    kill_who_moves_main(&world);
    land_urgently(&world, "hot", &[]).expect(-1);
    let [normal_run, urgent_run] = &ids(&world)[..] else { panic!("there are other runs") };
    touch(&world, "go");
    let said = end(normal).expect(4);
    assert!(said.stdout.contains(&format!("`lexpr resume {urgent_run}`")), "{}", said.stdout);
    assert!(!world.repo().join("hot").exists(), "nobody else has touched the checkout");
    world.lexpr(["resume", urgent_run]).expect(0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    world.lexpr(["resume", normal_run]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    main_was_only_ever_at_what_was_gated(&world);
    for run in [normal_run, urgent_run] {
        let finished =
            of(&events(&world, run), "gateFinished").iter().map(|run| run["key"].to_string()).collect::<Vec<_>>();
        let mut keys = finished.clone();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), finished.len(), "a gate ran again whose verdict was known");
    }
}

/// The landing lock of main, as another lexpr has it.
fn hold_landings(world: &World) -> LandingLock {
    let run = RunId::new("20260101-000000-000-aaaa");
    LandingLock::acquire(&world.repo().join(".git"), "refs/heads/main", &run, Purpose::Landing).unwrap()
}

/// What is said until somebody waits for the landing lock.
fn until_it_waits(said: &mut impl BufRead) -> String {
    let mut line = String::new();
    while !line.starts_with("waiting for another landing on main: run 20260101-000000-000-aaaa (process ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it waits for nobody");
    }
    line
}

#[test]
fn a_run_says_that_it_waits_for_another_landing_and_lands_once_that_has_ended() {
    let world = world();
    let mut urgent = start_urgent(&world);
    let held = hold_landings(&world);
    touch(&world, "hot-go");
    let mut said = BufReader::new(urgent.stderr.take().unwrap());
    until_it_waits(&mut said);
    assert_eq!(world.files_on_main(), ["README.md"]);
    drop(held);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(urgent.wait().unwrap().code(), Some(0), "{rest}");
    assert!(!rest.contains("waiting for another"), "once is enough: {rest}");
    assert_eq!(world.files_on_main(), ["README.md", "hot"]);
}

#[test]
fn a_signal_ends_the_wait_for_another_landing_in_a_run_and_before_it() {
    let world = world();
    let mut urgent = start_urgent(&world);
    let held = hold_landings(&world);
    touch(&world, "hot-go");
    let interrupt = |run: &mut Child| {
        let mut said = BufReader::new(run.stderr.take().unwrap());
        until_it_waits(&mut said);
        // Of the others one may be ignored.
        send(i32::try_from(run.id()).unwrap(), Signal::TERM);
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(130), "{rest}");
    };
    interrupt(&mut urgent);
    let run = ids(&world)[0].clone();
    // It looks at the target before it goes on.
    interrupt(&mut world.start(["resume", &run]));
    let plan = plan(&world, "warm.yaml", "true", &["warm"]);
    interrupt(&mut world.start(["merge", &plan, "--execute"]));
    assert_eq!((world.files_on_main(), ids(&world)), (vec!["README.md".to_owned()], vec![run.clone()]));
    drop(held);
    world.lexpr(["resume", &run]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "hot"]);
}

#[test]
fn a_run_that_begins_while_another_one_lands_takes_the_target_as_that_leaves_it() {
    let world = world();
    let held = hold_landings(&world);
    let plan = plan(&world, "warm.yaml", &held_where(&world, "nothing", "no", "no"), &["warm"]);
    let mut run = world.start(["merge", &plan, "--execute"]);
    let mut said = BufReader::new(run.stderr.take().unwrap());
    until_it_waits(&mut said);
    // As the other one would.
    world.git(&["merge", "-q", "--ff-only", "hot"]);
    drop(held);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(world.files_on_main(), ["README.md", "hot", "warm"]);
    let events = events(&world, &ids(&world)[0]);
    assert_eq!(events[0]["base"], world.git(&["rev-parse", "hot"]));
    assert!(of(&events, "targetMoved").is_empty());
}

#[test]
fn an_undo_has_the_target_to_itself() {
    let world = world();
    land_urgently(&world, "hot", &[]).expect(0);
    let landed = ids(&world)[0].clone();
    // Neither beside a run that has the target,
    let normal = start_normal(&world, &[]);
    let said = world.lexpr(["undo", &landed]).expect(4);
    assert!(said.stderr.contains("an undo needs the target to itself, also that of an urgent run"), "{}", said.stderr);
    kill(normal);
    // nor beside one that needs no leave,
    let gate = held_where(&world, "warm", "warm-started", "warm-go");
    let plan = plan(&world, "warm.yaml", &gate, &["warm"]);
    let urgent = world.start(["merge", &plan, "--execute", "--urgent"]);
    wait_for("the gate of warm", || world.path("warm-started").exists().then_some(()));
    let running = ids(&world).last().unwrap().clone();
    let said = world.lexpr(["undo", &landed]).expect(4);
    assert!(said.stderr.contains(&format!("urgent run {running} is landing on refs/heads/main")), "{}", said.stderr);
    // for which it waits where that is asked for.
    let mut undo = world.start(["undo", &landed, "--wait"]);
    let mut said = BufReader::new(undo.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, format!("waiting: urgent run {running} is landing on refs/heads/main\n"));
    kill(urgent);
    assert_eq!(undo.wait().unwrap().code(), Some(0));
    assert_eq!(world.files_on_main(), ["README.md"]);
    assert!(world.repo().join("README.md").exists() && !world.repo().join("hot").exists());
}

/// A bare repository beside it, with main where it is.
fn with_a_remote() -> World {
    let world = world();
    world.git(&["clone", "-q", "--bare", ".", "../remote.git"]);
    world.git(&["remote", "add", "origin", "../remote.git"]);
    world
}

fn remote_main(world: &World) -> String {
    let remote = world.path("remote.git");
    world.git(&["--git-dir", remote.to_str().unwrap(), "rev-parse", "main"])
}

#[test]
fn a_run_that_pushes_follows_an_urgent_one_that_pushed_and_stops_after_one_that_did_not() {
    let world = with_a_remote();
    let normal = start_normal(&world, &["--push", "origin"]);
    land_urgently(&world, "hot", &["--push", "origin"]).expect(0);
    assert_eq!(remote_main(&world), world.main());
    let said = land_urgently(&world, "warm", &[]).expect(0);
    let normal_run = ids(&world)[0].clone();
    assert!(said.stderr.contains(&format!("run {normal_run} is under way and pushes main to origin")), "{said:?}");
    touch(&world, "go");
    let said = end(normal).expect(4);
    assert!(said.stdout.contains("origin has refs/heads/main at"), "{}", said.stdout);
    world.git(&["push", "-q", "origin", "main"]);
    world.lexpr(["resume", &normal_run]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot", "warm"]);
    assert_eq!(remote_main(&world), world.main());
    main_was_only_ever_at_what_was_gated(&world);
}

#[test]
fn a_run_that_pushes_goes_on_from_where_an_urgent_one_moved_both_mains() {
    let world = with_a_remote();
    let normal = start_normal(&world, &["--push", "origin"]);
    land_urgently(&world, "hot", &["--push", "origin"]).expect(0);
    touch(&world, "go");
    end(normal).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot"]);
    assert_eq!(remote_main(&world), world.main());
}

#[test]
fn invariant_7_runs_beside_each_other_have_as_many_slots_as_they_need_and_never_one_together() {
    let world = world();
    let normal = start_normal(&world, &[]);
    let urgent = start_urgent(&world);
    let gate = held_where(&world, "warm", "warm-started", "warm-go");
    let plan = plan(&world, "warm.yaml", &gate, &["warm"]);
    let other = world.start(["merge", &plan, "--execute", "--urgent"]);
    wait_for("the gate of warm", || world.path("warm-started").exists().then_some(()));
    let slots: Vec<PathBuf> =
        world.processes().iter().filter_map(|process| fs::read_link(process.join("cwd")).ok()).collect();
    let mut slots: Vec<&Path> =
        slots.iter().map(PathBuf::as_path).filter(|cwd| cwd.starts_with(world.path("cache"))).collect();
    slots.sort_unstable();
    slots.dedup();
    assert!(slots.len() >= 3, "three gates are held: {slots:?}");
    for go in ["go", "hot-go", "warm-go"] {
        touch(&world, go);
    }
    for run in [normal, urgent, other] {
        end(run).expect(0);
    }
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "hot", "warm"]);
    main_was_only_ever_at_what_was_gated(&world);
}
