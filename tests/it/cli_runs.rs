//! `lexpr runs` through the real binary: one run in each state there is.

use std::path::PathBuf;
use std::process::Child;

use rustix::process::Signal;

use crate::cli_world::{World, wait_for};
use crate::gate_guard::send;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])])
}

/// A plan of two of the branches with one gate.
fn plan(gate: &str) -> String {
    format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: a}}, {{name: b}}]\n")
}

/// The runs as `lexpr runs --format json` gives them, the newest first.
pub fn runs(world: &World) -> Vec<serde_json::Value> {
    serde_json::from_str(&world.lexpr(["runs", "--format", "json"]).expect(0).stdout).unwrap()
}

/// Starts a run whose gate never ends, and waits until it runs.
pub fn start_endless(world: &World, args: &[&str]) -> Child {
    let started = world.path("started");
    let _ = std::fs::remove_file(&started);
    let gate = format!("touch {}; sleep 1000", started.display());
    let plan = world.plan(&format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: c}}]\n"));
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute"].iter().chain(args));
    wait_for("the gate", || started.exists().then_some(()));
    run
}

fn journal(world: &World, run: &str) -> PathBuf {
    world.repo().join(".git/lexpr/runs").join(run).join("journal.jsonl")
}

#[test]
fn runs_tells_every_state_with_what_to_do_next() {
    let world = world();
    assert_eq!(world.lexpr(["runs"]).expect(0).stdout, "");
    let mut died = start_endless(&world, &[]);
    died.kill().unwrap();
    died.wait().unwrap();
    let interrupted = start_endless(&world, &["--afresh"]);
    send(i32::try_from(interrupted.id()).unwrap(), Signal::TERM);
    assert_eq!(interrupted.wait_with_output().unwrap().status.code(), Some(130));
    world.merge(&plan(&format!("touch {}", world.repo().join("b").display())), &["--execute"]).expect(4);
    std::fs::remove_file(world.repo().join("b")).unwrap();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let mut running = start_endless(&world, &["--afresh"]);

    let runs = runs(&world);
    let told: Vec<String> = runs
        .iter()
        .map(|run| format!("{} {} of {} {}", run["state"], run["landed"], run["items"], run["exitCode"]))
        .collect();
    assert_eq!(
        told,
        [
            "\"running\" 0 of 1 null",
            "\"finished\" 2 of 2 0",
            "\"stopped\" 0 of 2 4",
            "\"interrupted\" 0 of 1 130",
            "\"died\" 0 of 1 null",
        ]
    );
    assert_eq!(runs[0]["process"], running.id());
    let text = world.lexpr(["runs"]).expect(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    let id = |at: usize| runs[at]["run"].as_str().unwrap();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["RUN", "WHEN", "TARGET", "STATE", "LANDED", "EXIT"]);
    assert!(lines[1].starts_with(id(0)) && lines[1].contains(&format!("running (process {})", running.id())), "{text}");
    assert!(lines[2].starts_with(id(1)) && lines[2].ends_with("2 of 2  0"), "{text}");
    assert!(lines[3].starts_with(id(2)) && lines[3].contains("stopped"), "{text}");
    assert!(text.contains(&format!("then `lexpr resume {}`", id(2))), "{text}");
    assert!(text.contains(&format!("  Next: `lexpr resume {}` goes on with it\n", id(3))), "{text}");
    assert!(text.contains(&format!("  Next: `lexpr resume {}` goes on with it\n", id(4))), "{text}");
    let columns: Vec<_> = [0, 1, 2].map(|line| lines[line].find("main").or(lines[line].find("TARGET"))).into();
    assert!(columns.iter().all(|at| *at == columns[0]), "{text}");
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn a_damaged_journal_is_told_in_its_own_line_and_hides_no_other_run() {
    let world = world();
    for _ in 0..4 {
        world.merge(&plan("true"), &["--execute"]).expect(0);
    }
    let ids: Vec<String> = runs(&world).iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    let damage = |at: usize, change: fn(&mut Vec<u8>)| {
        let path = journal(&world, &ids[at]);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    damage(3, |bytes| {
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 30;
        bytes[second] ^= 1;
        bytes.truncate(bytes.len() - 3);
    });
    damage(1, |bytes| bytes.clear());
    damage(2, |bytes| bytes.truncate(bytes.len() - 3));
    let told = runs(&world);
    let states: Vec<&str> = told.iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["finished", "neverBegan", "died", "damaged"]);
    assert!(told[3]["why"].as_str().unwrap().contains("damaged in line 2"), "{told:#?}");
    let text = world.lexpr(["runs"]).expect(0).stdout;
    assert!(text.contains("damaged in line 2") && text.contains(&ids[0]), "{text}");
    assert!(text.contains("ended before it began"), "{text}");
    assert!(text.contains(&format!("Next: `lexpr clean {}` removes what is left of it", ids[1])), "{text}");
    world.lexpr(["clean", &ids[1]]).expect(0);
    assert!(!world.lexpr(["runs"]).expect(0).stdout.contains(&ids[1]));
}

#[test]
fn a_run_that_came_to_its_end_is_damaged_all_the_same_where_its_journal_is_and_cannot_be_resumed() {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let id = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    let path = journal(&world, &id);
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 30;
    bytes[second] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let told = &runs(&world)[0];
    assert_eq!(told["state"], "damaged");
    assert!(told["why"].as_str().unwrap().contains("damaged in line 2"), "{told:#?}");
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("left run {id}: its journal is damaged")), "{said}");
    assert!(!said.contains("can be resumed") && !said.contains("is resumed"), "{said}");
    let said = world.lexpr(["clean", &id]).expect(0).stdout;
    assert!(said.contains(&format!("removed run {id}, whose journal is damaged")), "{said}");
    assert!(runs(&world).is_empty());
}

#[test]
fn a_run_that_waits_for_the_end_of_another_is_not_taken_for_it() {
    let world = world();
    let mut running = start_endless(&world, &[]);
    running.kill().unwrap();
    running.wait().unwrap();
    let resumed = world.start(["resume"]);
    wait_for("the resumption", || (runs(&world)[0]["state"] == "running").then_some(()));
    wait_for("its process", || (runs(&world)[0]["process"] == resumed.id()).then_some(()));
    send(i32::try_from(resumed.id()).unwrap(), Signal::KILL);
    resumed.wait_with_output().unwrap();
    assert_eq!(runs(&world)[0]["state"], "died");
}

#[test]
fn a_run_that_was_undone_is_told_as_such_and_may_be_cleaned() {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let id = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    world.lexpr(["undo", &id]).expect(0);
    let told = &runs(&world)[0];
    assert_eq!(
        (&told["state"], &told["landed"], &told["next"]),
        (&"undone".into(), &0.into(), &serde_json::Value::Null)
    );
    world.lexpr(["undo", &id]).expect(0);
    assert_eq!((&runs(&world)[0]["state"], &runs(&world)[0]["landed"]), (&"finished".into(), &2.into()));
    world.lexpr(["undo", &id]).expect(0);
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("removed run {id} (ended just now)")), "{said}");
    assert!(runs(&world).is_empty() && world.git(&["for-each-ref", "refs/lexpr"]).is_empty());
}

/// What a run leaves that is killed between its last event and its tidying up.
#[test]
fn what_was_kept_for_a_run_that_came_to_its_end_is_let_go_by_the_next_one_and_what_an_undo_keeps_is_not() {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let run = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    let composites = world.repo().join(".git/lexpr/runs").join(&run).join("composites.git");
    let needed = format!("refs/lexpr/runs/{run}/needed");
    let leave = || {
        world.git(&["update-ref", &needed, "main"]);
        std::fs::create_dir(&composites).unwrap();
    };
    leave();
    world.merge(&plan("true"), &["--execute", "--afresh"]).expect(0);
    assert!(!composites.exists() && world.git(&["for-each-ref", "refs/lexpr"]).is_empty());
    world.lexpr(["undo", &run]).expect(0);
    let kept = world.git(&["for-each-ref", "refs/lexpr"]);
    assert!(!kept.is_empty());
    std::fs::create_dir(&composites).unwrap();
    world.merge(&plan("exit 1"), &["--execute"]).expect(3);
    assert_eq!(world.git(&["for-each-ref", "refs/lexpr"]), kept);
}

#[test]
fn resuming_a_run_that_came_to_its_end_gives_the_report_that_is_asked_for() {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let report = world.path("report.json");
    world.lexpr(["resume", "--report", report.to_str().unwrap()]).expect(0);
    assert_eq!(world.report(&report)["summary"]["successful"], 2);
}

#[test]
fn each_run_says_whether_it_is_urgent_and_one_whose_journal_tells_nothing_that_nobody_knows() {
    let world = world();
    world.merge(&plan("true"), &["--execute"]).expect(0);
    let of_c = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: c}]\n";
    world.merge(of_c, &["--execute", "--urgent"]).expect(0);
    let told: Vec<_> = runs(&world).iter().map(|run| run["urgent"].clone()).collect();
    assert_eq!(told, [true, false]);
    let newest = runs(&world)[0]["run"].as_str().unwrap().to_owned();
    std::fs::write(journal(&world, &newest), "rubbish\nrubbish\n").unwrap();
    assert!(runs(&world)[0]["urgent"].is_null() && runs(&world)[0].get("urgent").is_some());
}
