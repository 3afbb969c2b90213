//! One target, one run at a time; and runs that are cut short and go on. All of it with the real
//! binary, real signals and real locks.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Child;

use lexpr::journal::JournalFile;
use lexpr::ports::Journal as _;
use lexpr::vocabulary::event::Recorded;
use serde_json::Value;

use crate::cli_runs::runs;
use rustix::process::Signal;

use crate::cli_world::{Said, World, wait_for};
use crate::gate_guard::send;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])])
}

fn plan(item: &str, gate: &str) -> String {
    format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: {item}}}]\n")
}

/// A gate that says that it runs, and ends once `go` is there.
fn held_gate(world: &World) -> String {
    let (started, go) = (world.path("started"), world.path("go"));
    format!("touch {}; until [ -e {} ]; do sleep 0.02; done", started.display(), go.display())
}

/// Starts a run of `a` whose gate waits for `go`.
fn start_held(world: &World) -> Child {
    let plan = world.plan(&plan("a", &held_gate(world)));
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for("the gate", || world.path("started").exists().then_some(()));
    run
}

fn let_go(world: &World) {
    fs::write(world.path("go"), "").unwrap();
}

fn kill(mut run: Child) {
    run.kill().unwrap();
    run.wait().unwrap();
}

fn end(run: Child) -> Said {
    run.wait_with_output().unwrap().into()
}

fn id(world: &World) -> String {
    runs(world)[0]["run"].as_str().unwrap().to_owned()
}

fn names_the_holder(said: &Said, run: &str, process: u32) {
    let expected = format!("run {run} (process {process}) is landing on refs/heads/main");
    assert!(said.stderr.contains(&expected), "{}", said.stderr);
}

#[test]
fn a_second_run_on_a_target_is_refused_with_the_run_and_process_that_has_it() {
    let world = world();
    let first = start_held(&world);
    let (process, run) = (first.id(), id(&world));
    let second = world.path("second.yaml");
    fs::write(&second, plan("b", "true")).unwrap();
    let said = world.lexpr(["merge", second.to_str().unwrap(), "--execute"]).expect(4);
    names_the_holder(&said, &run, process);
    assert!(said.stderr.contains("--wait"), "{}", said.stderr);
    let said = world.lexpr(["resume", &run]).expect(4);
    names_the_holder(&said, &run, process);
    let_go(&world);
    end(first).expect(0);
    assert_eq!(runs(&world).len(), 1, "the refused one left nothing");
    world.lexpr(["merge", second.to_str().unwrap(), "--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
}

#[test]
fn a_run_that_waits_goes_on_with_target_and_branches_where_they_are_by_then() {
    let world = world();
    let first = start_held(&world);
    let (process, run) = (first.id(), id(&world));
    let second = world.path("second.yaml");
    // Fails on a tree without what the first lands, and without what comes to the branch meanwhile.
    fs::write(&second, plan("b", "test -e a && test -e late")).unwrap();
    let mut waiting = world.start(["merge", second.to_str().unwrap(), "--execute", "--wait"]);
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, format!("waiting: run {run} (process {process}) is landing on refs/heads/main\n"));
    let late = world.path("late");
    world.git(&["worktree", "add", "-q", late.to_str().unwrap(), "b"]);
    fs::write(late.join("late"), "1").unwrap();
    world.git(&["-C", late.to_str().unwrap(), "add", "late"]);
    world.git(&["-C", late.to_str().unwrap(), "commit", "-qm", "Late"]);
    let_go(&world);
    end(first).expect(0);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "late"]);
}

#[test]
fn a_lock_file_that_a_dead_process_left_blocks_nobody() {
    let world = world();
    kill(start_held(&world));
    let locks = world.repo().join(".git/lexpr/locks");
    let lock = fs::read_dir(&locks).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(&lock).unwrap().contains("process"));
    // Of a process that is there, but has nothing to do with it.
    fs::write(&lock, format!("run {} (process {})\n", id(&world), std::process::id())).unwrap();
    world.merge(&plan("b", "true"), &["--execute"]).expect(0);
    let_go(&world);
    world.lexpr(["resume"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
}

#[test]
fn of_two_resumptions_of_one_run_one_goes_on_and_the_other_is_refused_or_waits_for_its_end() {
    let world = world();
    kill(start_held(&world));
    let run = id(&world);
    fs::remove_file(world.path("started")).unwrap();
    let first = world.start(["resume", &run]);
    wait_for("the gate", || world.path("started").exists().then_some(()));
    let said = world.lexpr(["resume"]).expect(4);
    names_the_holder(&said, &run, first.id());
    let mut waiting = world.start(["resume", "--wait"]);
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting: "), "{line}");
    let_go(&world);
    end(first).expect(0);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains("came to its end: nothing is left to resume"), "{rest}");
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn of_an_item_of_a_run_that_was_killed_why_says_where_it_was_cut_off_and_how_to_go_on() {
    let world = world();
    let text = plan("a}, {name: b, deps: [a]", &held_gate(&world));
    let file = world.plan(&text);
    let run = world.start(["merge", file.to_str().unwrap(), "--execute"]);
    wait_for("the gate", || world.path("started").exists().then_some(()));
    kill(run);
    let id = id(&world);
    for (item, state) in [
        ("a", "has come to no end: the run was cut off while it was being judged."),
        ("b", "has come to no end: the run was cut off before its gates began. It depends on a (at no end)."),
    ] {
        let why = world.lexpr(["why", item]).expect(0).stdout;
        assert!(why.contains(state) && why.contains(&format!("`lexpr resume {id}` goes on with the run.")), "{why}");
        assert!(!why.contains("waits for its turn") && !why.contains("is being judged"), "{why}");
    }
}

#[test]
fn a_plan_whose_last_run_is_unfinished_is_refused_with_both_ways_to_go_on() {
    let world = world();
    kill(start_held(&world));
    let (run, plan) = (id(&world), world.path("plan.yaml"));
    let said = world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(2);
    assert!(said.stderr.contains(&format!("`lexpr resume {run}`")) && said.stderr.contains("--afresh"), "{said:?}");
    let dry = world.lexpr(["merge", plan.to_str().unwrap()]).expect(0).stdout;
    assert!(dry.contains(&format!("Next: `lexpr resume {run}`")), "what would be refused is not advised: {dry}");
    let_go(&world);
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute", "--afresh"]).expect(0);
    world.lexpr(["resume", &run]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

/// All events of the only run.
fn events(world: &World) -> Vec<serde_json::Value> {
    let journal: PathBuf = world.repo().join(".git/lexpr/runs").join(id(world)).join("journal.jsonl");
    let text = fs::read_to_string(journal).unwrap();
    text.lines().map(|line| serde_json::from_str(&line[17..]).unwrap()).collect()
}

#[test]
fn invariant_6_a_loop_of_deadline_and_resume_reaches_the_end_with_nothing_lost_or_gated_twice() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(*name, "1")]).collect();
    let branches: Vec<_> = names.iter().zip(&files).map(|(name, files)| (*name, "main", &files[..])).collect();
    let world = World::new(README, &branches);
    let begun = world.path("begun");
    let items: String = names.iter().map(|name| format!("  - name: {name}\n")).collect();
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2}}\n\
         gates: [{{name: g, run: 'git rev-parse HEAD^{{tree}} >> {}; sleep 0.4'}}]\nitems:\n{items}",
        begun.display()
    );
    let mut said = world.merge(&plan, &["--execute", "--deadline", "1"]);
    let mut cut_short = 0;
    while said.code == 130 {
        cut_short += 1;
        assert!(cut_short < 50, "it comes to no end: {said:?}");
        said = world.lexpr(["resume", "--deadline", "1"]);
    }
    said.expect(0);
    assert!(cut_short > 0, "the deadline cut nothing short");
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "c", "d", "e", "f"]);

    let events = events(&world);
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("runStarted").len(), 1);
    assert_eq!(of("runResumed").len(), cut_short);
    // What the gates say themselves: none ran but those that the journal knows.
    let seen: Vec<String> = fs::read_to_string(&begun).unwrap().lines().map(str::to_owned).collect();
    assert!(seen.len() <= of("gateStarted").len(), "{} runs of gates", seen.len());
    let cancelled = of("gateFinished").iter().filter(|event| event["outcome"]["how"] == "cancelled").count();
    let mut trees = seen.clone();
    trees.sort();
    trees.dedup();
    assert!(seen.len() - trees.len() <= cancelled, "{} on {} trees, {cancelled} cancelled", seen.len(), trees.len());
    // One verdict for each, at most.
    let mut judged: Vec<&serde_json::Value> = of("gateFinished");
    judged.retain(|event| !event["verdict"].is_null() && event["outcome"]["how"] != "cancelled");
    let mut keys: Vec<&str> = judged.iter().map(|event| event["key"].as_str().unwrap()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(all, keys.len(), "a key has two verdicts");
    assert!(all >= names.len());
    let mut landed: Vec<&str> = of("landed")
        .iter()
        .flat_map(|event| event["items"].as_array().unwrap())
        .map(|item| item.as_str().unwrap())
        .collect();
    landed.sort_unstable();
    assert_eq!(landed, names, "each lands once");
}

/// Journal and receipts say afterwards that all happened this much later.
fn postpone(world: &World, ms: u64) {
    let run = world.repo().join(".git/lexpr/runs").join(id(world));
    for entry in fs::read_dir(run.join("receipts")).into_iter().flatten() {
        let path = entry.unwrap().path();
        let mut receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        receipt["atMs"] = (receipt["atMs"].as_u64().unwrap() + ms).into();
        fs::write(&path, receipt.to_string()).unwrap();
    }
    let path = run.join("journal.jsonl");
    let past = lexpr::journal::read(&path).unwrap().events;
    fs::remove_file(&path).unwrap();
    let mut journal = JournalFile::create(&path).unwrap();
    for recorded in past {
        journal.append(&Recorded { at_ms: recorded.at_ms + ms, ..recorded }).unwrap();
    }
    journal.sync().unwrap();
}

#[test]
fn invariant_6_a_clock_that_is_set_back_before_a_run_goes_on_changes_nothing_but_times() {
    const A_DAY: u64 = 86_400_000;
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let go = world.path("go");
    let gate = format!("test ! -e b || until [ -e {} ]; do sleep 0.02; done", go.display());
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1, performance: {{batchSize: 1}}}}\n\
         gates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: a}}, {{name: b}}]\n"
    );
    let plan = world.plan(&plan);
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for("the first landing", || (world.files_on_main() == ["README.md", "a"]).then_some(()));
    // With its receipt, which is made of this time, too.
    let journal = world.repo().join(".git/lexpr/runs").join(id(&world)).join("journal.jsonl");
    wait_for("the word of it", || fs::read_to_string(&journal).unwrap().contains(r#""event":"landed""#).then_some(()));
    kill(run);
    postpone(&world, A_DAY);
    fs::write(&go, "").unwrap();
    let report = world.path("report.json");
    world.lexpr(["resume", "--report", report.to_str().unwrap()]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
    let times: Vec<u64> = events(&world).iter().map(|event| event["atMs"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Its own time goes on where it was, and does not stand still.
    let took = times.last().unwrap() - times[0];
    assert!(took > 0 && took < A_DAY, "{times:?}");
    let durations = world.report(&report)["summary"]["durationMs"].as_u64().unwrap();
    assert!(durations < A_DAY, "{durations}");
    world.lexpr(["runs"]).expect(0);
    world.lexpr(["verify", &id(&world)]).expect(0);
    world.lexpr(["undo", &id(&world)]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md"]);
}

/// A run that waits for the target, and has said so.
fn start_waiting(world: &World, args: &[&str]) -> Child {
    let second = world.path("second.yaml");
    fs::write(&second, plan("b", "true")).unwrap();
    let args = ["merge", second.to_str().unwrap(), "--execute", "--wait"].into_iter().chain(args.iter().copied());
    let mut waiting = world.start(args);
    let mut line = String::new();
    BufReader::new(waiting.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting: run "), "{line}");
    waiting
}

#[test]
fn the_first_signal_and_the_deadline_end_a_wait_for_the_target_as_they_end_a_run() {
    let world = world();
    let first = start_held(&world);
    // Of the others one may be ignored: by nohup, or where a script started the tests in the background.
    let waiting = start_waiting(&world, &[]);
    send(i32::try_from(waiting.id()).unwrap(), Signal::TERM);
    end(waiting).expect(130);
    end(start_waiting(&world, &["--deadline", "1"])).expect(130);
    assert_eq!(runs(&world).len(), 1, "they left nothing");
    let_go(&world);
    end(first).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn a_run_without_its_plan_says_what_to_do() {
    let world = world();
    kill(start_held(&world));
    let run = id(&world);
    fs::remove_file(world.repo().join(format!(".git/lexpr/runs/{run}/plan.yaml"))).unwrap();
    let said = world.lexpr(["resume"]).expect(1);
    assert!(said.stderr.contains("--afresh"), "{}", said.stderr);
    let_go(&world);
    world.merge(&plan("a", &held_gate(&world)), &["--execute", "--afresh"]).expect(0);
}

#[test]
fn a_status_in_mid_gate_counts_the_time_since_the_last_event() {
    let world = world();
    let first = start_held(&world);
    let after = || {
        let said = world.lexpr(["status"]).expect(0).stdout;
        said.lines().find_map(|line| Some(line.split_once(" so far, after ")?.1.to_owned())).unwrap()
    };
    let before = after();
    wait_for("time to pass", || (after() != before).then_some(()));
    let_go(&world);
    end(first).expect(0);
}
