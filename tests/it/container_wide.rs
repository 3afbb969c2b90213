//! Gates in containers where there is much of something: forty at once, a log of 100 MB; and where the engine is started anew
//! under a gate.

use std::path::Path;

use crate::cli_container::{execute, plan, world};
use crate::cli_world::{statuses, wait_for};
use crate::containers::{Docker, engine};

#[test]
fn forty_containers_at_once_all_end_as_their_gates_did() {
    let Some(engine) = engine() else { return };
    let items: Vec<String> = (0..40).map(|at| format!("i{at}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let world = world(&items);
    std::fs::create_dir(world.path("shared")).unwrap();
    let mounts = format!(", mounts: [{{ source: \"{}\", target: /shared }}]", world.path("shared").display());
    // All forty are there before the first of them ends.
    let gate = "{ name: unit, at: [cone], context: true, run: 'touch \"/shared/$LEXPR_ITEM\"; \
        until [ \"$(ls /shared | wc -l)\" -ge 40 ]; do sleep 0.1; done; [ ! -f i7.txt ] || exit 7' }";
    let gates = format!("{gate}\n  - {{ name: whole, run: 'true', at: [apex] }}");
    let policy = "maxWorkers: 40\n  secondOpinion: false";
    let ended = execute(&world, engine, &plan(&mounts, &gates, &items).replace("maxWorkers: 2", policy), &[]);
    assert_eq!(ended.code, 3, "{}", ended.said);
    let failed: Vec<String> = statuses(&ended.report).into_iter().filter(|item| !item.ends_with(" landed")).collect();
    assert_eq!(failed, ["i7 failed"]);
    assert_eq!(ended.report["summary"]["concurrency"]["peakWorkers"], 40);
    assert_eq!(engine.containers_of(&world), [""; 0]);
}

#[test]
fn a_container_s_log_of_100_mb_is_bounded_with_both_of_its_ends() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: 'echo first; yes \"a line of thirty-two characters\" | head -c 100000000; echo; echo last' }";
    let text = plan("", gate, &["x"]).replace("maxWorkers: 2", "maxWorkers: 2\n  logMaxMB: 4");
    let ended = execute(&world, engine, &text, &[]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    let log = ended.report["items"][0]["gates"][0]["attempts"][0]["log"].as_str().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.starts_with("first\n") && log.ends_with("\nlast\n") && log.contains("left out"));
    assert!((4 * 1024 * 1024 - 500..4 * 1024 * 1024 + 500).contains(&log.len()), "{}", log.len());
}

/// How gates take it that they are to end.
const CALLS_IT_A_PASS: &str = "exit 0";
const FAILS: &str = "exit 7";
const DIES: &str = "trap - TERM; kill -TERM $$";

/// A run of one gate that goes on until it is told to end, and then does as `at_term` says; once `disturb` is through it
/// passes by itself. `disturb` is asked for as soon as it runs. How its attempts ended.
fn disturbed(variables: &[(&str, String)], name: &str, at_term: &str, disturb: impl FnOnce(&Path)) -> Vec<String> {
    let world = world(&["x"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared");
    let mounts = format!(", engine: {name}, mounts: [{{ source: \"{}\", target: /shared }}]", shared.display());
    let gate = format!(
        "{{ name: unit, run: 'trap \"{at_term}\" TERM; echo >>/shared/begun; while [ ! -e /shared/calm ]; do \
         sleep 0.1; done' }}"
    );
    world.plan(&plan(&mounts, &gate, &["x"]));
    let (plan, report) = (world.path("plan.yaml").display().to_string(), world.path("report.json"));
    let mut lexpr = world.command(["merge", &plan, "--execute", "--report", &report.display().to_string()]);
    let mut lexpr = lexpr.envs(variables.iter().cloned()).spawn().unwrap();
    wait_for("the gate to begin", || shared.join("begun").exists().then_some(()));
    disturb(&shared);
    std::fs::write(shared.join("calm"), "").unwrap();
    let code = lexpr.wait().unwrap().code();
    let report = world.report(&report);
    let has_passed = statuses(&report) == ["x landed"];
    assert_eq!(code, Some(if has_passed { 0 } else { 3 }), "it passed or was not judged, and did not fail");
    let attempts = report["items"][0]["gates"][0]["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["outcome"]["how"].as_str().unwrap().to_owned()).collect()
}

fn words(output: &std::process::Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn invariant_1_a_container_that_somebody_stops_passes_nothing_whatever_its_gate_makes_of_that() {
    let Some(mut docker) = Docker::start() else { return };
    let containers = |docker: &Docker| words(&docker.docker(&["ps", "--all", "--quiet"]));
    let stop = |_: &Path| drop(docker.docker(&["stop", &containers(&docker)[0]]));
    assert_eq!(disturbed(&[docker.variable()], "docker", CALLS_IT_A_PASS, stop), ["infrastructure", "passed"]);
    // The engine itself, as by an upgrade: until it is there again attempts come to nothing.
    let variable = docker.variable();
    let how = disturbed(&[variable], "docker", CALLS_IT_A_PASS, |_| docker.restart());
    assert!(how[0] == "infrastructure" && !how.contains(&"failed".to_owned()), "{how:?}");
    if how.last().unwrap() == "passed" {
        assert_eq!(containers(&docker), [""; 0], "also what could not be removed at its time");
    }
}

#[test]
fn an_engine_that_is_away_is_waited_for_and_costs_no_attempt() {
    let Some(docker) = Docker::start() else { return };
    // Whoever counts attempts has had three by then.
    const TIMES: usize = 3;
    let how = disturbed(&[docker.variable()], "docker", DIES, |shared| {
        let told = || {
            let runs = std::fs::read_dir(shared.join("../repo/.git/lexpr/runs")).unwrap().flatten();
            let logs = runs.filter_map(|run| std::fs::read_dir(run.path().join("logs")).ok()).flatten().flatten();
            let logs: String = logs.filter_map(|log| std::fs::read_to_string(log.path()).ok()).collect();
            logs.matches("does not answer: ").count()
        };
        for time in 1..=TIMES {
            wait_for("the gate to begin", || (lines_of(&shared.join("begun")) >= time).then_some(()));
            let listed = || words(&docker.docker(&["ps", "--quiet"])).into_iter().next();
            let container = wait_for("the engine to list its container", listed);
            docker.kill_unheard(&container, || {
                wait_for("lexpr to say that it waits", || (told() >= time).then_some(()));
                if time == TIMES {
                    std::fs::write(shared.join("calm"), "").unwrap();
                }
            });
        }
        assert_eq!(told(), TIMES, "once each time");
    });
    assert_eq!(how, [&["infrastructure"; TIMES][..], &["passed"]].concat());
}

fn lines_of(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn a_container_that_somebody_ends_fails_nothing_whatever_its_gate_makes_of_that() {
    let Some(engine) = engine() else { return };
    let variables = engine.variables().map(|(name, path)| (name, path.display().to_string()));
    let ended_by = |at_term: &str, act: &[&str]| {
        disturbed(&variables, "podman", at_term, |shared| {
            // Other tests have containers of the same engine: this one is known by what it mounts.
            let volume = format!("volume={}", shared.display());
            let of_it = words(&engine.podman(&["ps", "--quiet", "--filter", &volume]));
            let ended = engine.podman(&[act, &[&of_it[0]]].concat());
            assert!(ended.status.success(), "{ended:?}");
        })
    };
    for (at_term, act) in [
        (DIES, &["stop"][..]),
        (FAILS, &["stop"][..]),
        (DIES, &["kill", "--signal", "INT"][..]),
        (DIES, &["kill", "--signal", "HUP"][..]),
        (DIES, &["kill"][..]),
        (FAILS, &["restart"][..]),
    ] {
        assert_eq!(ended_by(at_term, act), ["infrastructure", "passed"], "{act:?}, {at_term}");
    }
}

#[test]
fn a_gate_that_ends_its_own_process_group_is_judged_as_it_says() {
    let Some(engine) = engine() else { return };
    let world = world(&["x", "y"]);
    let gate = "{ name: unit, run: 'trap \"\" TERM; kill 0; [ ! -f y.txt ] || exit 7' }";
    let ended = execute(&world, engine, &plan("", gate, &["x", "y"]), &[]);
    assert_eq!(statuses(&ended.report), ["x landed", "y failed"], "{}", ended.said);
}
