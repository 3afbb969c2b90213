//! What a run started is gone before another one works in its place, however lexpr came to its end.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::cli_world::{World, wait_for};
use crate::gate_guard::{has_ended, number_in, send, wait_for_end, wait_for_file};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

fn world() -> World {
    World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])])
}

fn plan(gate: &str) -> String {
    format!("schemaVersion: v1\ngates: [{{name: g, run: 'exec sh {gate}'}}]\nitems: [{{name: a}}]\n")
}

/// A gate's script; what it writes goes to the world's folder.
fn script(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("out() {{ echo $2 > {0}/.$1; mv {0}/.$1 {0}/$1; }}\n{text}\n", folder(world))).unwrap();
    path.to_str().unwrap().to_owned()
}

fn folder(world: &World) -> String {
    world.path("").to_str().unwrap().trim_end_matches('/').to_owned()
}

/// Starts a run, stops its guard so that it ends nothing, and kills the run. The guard's process.
fn killed_with_a_stopped_guard(world: &World, gate: &str, ready: &Path) -> i32 {
    let plan = world.plan(&plan(gate));
    let mut run = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for_file(ready);
    let guard = number_in(&world.path("guard"));
    send(guard, Signal::STOP);
    run.kill().unwrap();
    run.wait().unwrap();
    guard
}

#[test]
fn a_slot_is_taken_only_once_the_guard_of_a_killed_lexpr_has_ended_what_runs_there() {
    let world = world();
    let endless = script(&world, "endless.sh", "out guard $PPID; out first $PWD; exec sleep 1000");
    let guard = killed_with_a_stopped_guard(&world, &endless, &world.path("first"));
    let second = script(&world, "second.sh", "out second $PWD");
    world.merge(&plan(&second), &["--execute", "--afresh"]).expect(0);
    let slot = |name: &str| fs::read_to_string(world.path(name)).unwrap();
    assert!(!has_ended(guard));
    assert_ne!(slot("first"), slot("second"), "two were in one slot");
    send(guard, Signal::CONT);
    wait_for_end(guard);
    let third = script(&world, "third.sh", "out third $PWD");
    let plan = plan(&third).replace("name: a", "name: b");
    world.merge(&plan, &["--execute"]).expect(0);
    assert_eq!(slot("first"), slot("third"), "the slot is free, and warm");
}

#[test]
fn what_outlives_lexpr_and_its_guard_is_ended_before_a_resumed_run_starts_anything() {
    let world = world();
    // A daemon as they are in the wild: in a session of its own, its parent gone.
    script(&world, "daemon.sh", "out daemon $$; exec sleep 1000");
    let text = format!(
        "if [ -e {0}/daemon ]; then\n\
         if grep '^State:' /proc/$(cat {0}/daemon)/status | grep -qv zombie; then out resumed alive; else out resumed alone; fi; exit 0\n\
         fi\n\
         out guard $PPID; setsid sh -c '(sh {0}/daemon.sh &) &' & sleep 1000",
        folder(&world)
    );
    let gate = script(&world, "gate.sh", &text);
    let guard = killed_with_a_stopped_guard(&world, &gate, &world.path("daemon"));
    send(guard, Signal::KILL);
    wait_for_end(guard);
    let daemon = number_in(&world.path("daemon"));
    assert!(!has_ended(daemon), "nobody ended it so far");
    let said = world.lexpr(["resume"]).expect(0);
    assert!(said.stderr.contains("outlived run 2"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(world.path("resumed")).unwrap(), "alone\n");
    wait_for("the daemon's end", || has_ended(daemon).then_some(()));
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

/// Kills a run with its guard. The gate, which lives.
fn killed_with_its_guard(world: &World, gate: &str) -> i32 {
    let guard = killed_with_a_stopped_guard(world, gate, &world.path("daemon"));
    send(guard, Signal::KILL);
    wait_for_end(guard);
    number_in(&world.path("daemon"))
}

#[test]
fn a_run_in_whose_place_another_begins_leaves_no_process() {
    let world = world();
    let text = format!("[ -e {}/daemon ] && exit 0; out guard $PPID; out daemon $$; exec sleep 1000", folder(&world));
    let gate = script(&world, "gate.sh", &text);
    let daemon = killed_with_its_guard(&world, &gate);
    let said = world.merge(&plan(&gate), &["--execute", "--afresh"]).expect(0);
    assert!(said.stderr.contains("outlived run 2"), "{}", said.stderr);
    wait_for("its end", || has_ended(daemon).then_some(()));
}

#[test]
fn a_run_that_is_removed_leaves_no_process() {
    let world = world();
    let gate = script(&world, "gate.sh", "out guard $PPID; out daemon $$; exec sleep 1000");
    let daemon = killed_with_its_guard(&world, &gate);
    let run = crate::cli_runs::runs(&world)[0]["run"].as_str().unwrap().to_owned();
    world.lexpr(["clean", &run]).expect(0);
    wait_for("its end", || has_ended(daemon).then_some(()));
}

#[test]
fn invariant_4_a_copy_of_a_repository_has_nothing_to_do_with_the_processes_of_the_original() {
    let world = world();
    let go = world.path("go");
    let text = format!("out gate $$; until [ -e {} ]; do sleep 0.02; done", go.display());
    let gate = script(&world, "gate.sh", &text);
    let plan = world.plan(&plan(&gate));
    let running = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for_file(&world.path("gate"));
    let gate = number_in(&world.path("gate"));
    let copy = world.path("copy");
    assert!(world.shell(&format!("cp -a . {}", copy.display())).status().unwrap().success());
    // It resumes the run there, and removes it.
    let mut resumed = world.start(["resume", "--repo", copy.to_str().unwrap()]);
    wait_for("the copy's gate", || (number_in(&world.path("gate")) != gate).then_some(()));
    send(i32::try_from(resumed.id()).unwrap(), Signal::KILL);
    resumed.wait().unwrap();
    let run = crate::cli_runs::runs(&world)[0]["run"].as_str().unwrap().to_owned();
    world.lexpr(["clean", "--repo", copy.to_str().unwrap(), &run]).expect(0);
    assert!(!has_ended(gate), "the gate of the original was ended");
    fs::write(go, "").unwrap();
    let said: crate::cli_world::Said = running.wait_with_output().unwrap().into();
    said.expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn a_slot_in_which_something_sits_that_nobody_can_tell_is_not_taken() {
    let world = world();
    // Without its environment it is nobody's, and with neither lexpr nor guard left nobody's child.
    script(&world, "daemon.sh", "out daemon $$; out first $PWD; exec sleep 1000");
    let text = format!(
        "if [ -e {0}/daemon ]; then out second $PWD; exit 0; fi\n\
         out guard $PPID; env -i setsid sh -c '(sh {0}/daemon.sh &) &' & sleep 1000",
        folder(&world)
    );
    let gate = script(&world, "gate.sh", &text);
    let daemon = killed_with_its_guard(&world, &gate);
    let said = world.lexpr(["resume"]).expect(0);
    assert!(said.stderr.contains("outlived run 2"), "{}", said.stderr);
    let slot = |name: &str| fs::read_to_string(world.path(name)).unwrap();
    assert!(!has_ended(daemon), "it was found after all: this test needs another one");
    assert_ne!(slot("first"), slot("second"), "it could write into a tree that is judged");
    send(daemon, Signal::KILL);
    wait_for_end(daemon);
    let third = script(&world, "third.sh", "out third $PWD");
    let plan = plan(&third).replace("name: a", "name: b");
    world.merge(&plan, &["--execute"]).expect(0);
    assert_eq!(slot("first"), slot("third"), "the slot is free, and warm");
}
