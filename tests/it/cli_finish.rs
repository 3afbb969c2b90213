//! What is told when a run has ended: the command of `--on-finish`, GitHub's annotations, and nothing where `--quiet`
//! wants it so.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};

use rustix::process::Signal;

use crate::cli_world::{NewBranch, Said, World, must_hear_interrupts, wait_for};
use crate::gate_guard::{number_in, send, wait_for_end, wait_for_file};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];
const BRANCHES: &[NewBranch<'_>] =
    &[("a", "main", &[("a", "1"), ("f,g: %", "1")]), ("b", "main", &[("f,g: %", "2")]), ("c", "main", &[("c", "1")])];
const LANDS: &str = "schemaVersion: v1\nitems: [{ name: c, gates: [{ name: g, run: 'true' }] }]\n";
const FAILS: &str = "schemaVersion: v1\nitems: [{ name: c, gates: [{ name: g, run: 'echo why; exit 1' }] }]\n";

fn world() -> World {
    World::new(README, BRANCHES)
}

#[test]
fn the_command_at_the_end_has_the_report_and_changes_no_exit_code() {
    let world = world();
    let told = "cat > told.json; echo $LEXPR_EXIT_CODE $LEXPR_TARGET $LEXPR_RUN > told; echo printed; exit 9";
    for (plan, code) in [(FAILS, 3), (LANDS, 0)] {
        let said = world.merge(plan, &["--execute", "--on-finish", told]).expect(code);
        assert!(said.stderr.contains("printed\n"), "{}", said.stderr);
        assert!(said.stderr.contains("--on-finish failed with exit code 9"), "{}", said.stderr);
        let report = world.report(&world.repo().join("told.json"));
        assert_eq!((&report["mode"], &report["exitCode"]), (&"execute".into(), &code.into()));
        let variables = fs::read_to_string(world.repo().join("told")).unwrap();
        assert_eq!(variables, format!("{code} main {}\n", report["run"].as_str().unwrap()));
    }
    // One that reads nothing is no failure.
    let said = world.merge(LANDS, &["--execute", "--afresh", "--on-finish", "true"]).expect(0);
    assert!(!said.stderr.contains("--on-finish"), "{}", said.stderr);
    let dry = world.merge(LANDS, &["--on-finish", "true"]).expect(2);
    assert!(dry.stderr.contains("--execute"), "{}", dry.stderr);
}

#[test]
fn all_that_the_command_at_the_end_prints_is_passed_on_as_it_comes() {
    let world = world();
    let said = world.merge(LANDS, &["--execute", "--on-finish", "echo FIRST; seq 3000; cat; echo LAST"]).expect(0);
    let printed = said.stderr.split_once("FIRST\n").unwrap().1.strip_suffix("LAST\n").unwrap();
    let numbers: String = (1..=3000).map(|number| format!("{number}\n")).collect();
    let report = printed.strip_prefix(&numbers).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(report).is_ok(), "{report}");

    // More than is kept of it, and before it has ended.
    let go_on = world.path("go-on");
    let long = format!("echo BEGUN; until test -e {}; do sleep 0.02; done; seq 400000; printf LAST", go_on.display());
    let plan = world.plan(LANDS);
    let mut run = world.start(["merge", plan.to_str().unwrap(), "--execute", "--afresh", "--on-finish", &long]);
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while line != "BEGUN\n" {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended without a word of the command");
    }
    fs::write(go_on, "").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let numbers: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
    assert!(rest == format!("{numbers}LAST\n"), "{} of {} bytes", rest.len(), numbers.len());
}

#[test]
fn the_command_at_the_end_is_run_for_a_run_that_was_interrupted_or_could_not_go_on_and_for_a_resumed_one() {
    must_hear_interrupts();
    let world = world();
    let at = world.path("at");
    let plan = format!(
        "schemaVersion: v1\nitems: [{{ name: c, gates: [{{ name: g, run: 'test -e {0} || {{ touch {0}; exec sleep 1000; }}' }}] }}]\n",
        at.display()
    );
    let plan = world.plan(&plan);
    let finish = "echo $LEXPR_EXIT_CODE >> codes";
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute", "--on-finish", finish]);
    wait_for_file(&at);
    send(i32::try_from(run.id()).unwrap(), Signal::INT);
    Said::from(run.wait_with_output().unwrap()).expect(130);
    // What is in the way of the landing.
    world.write("c", "somebody's own");
    world.lexpr(["resume", "--on-finish", finish]).expect(4);
    fs::remove_file(world.repo().join("c")).unwrap();
    world.lexpr(["resume", "--on-finish", finish]).expect(0);
    assert_eq!(fs::read_to_string(world.repo().join("codes")).unwrap(), "130\n4\n0\n");
}

#[test]
fn a_signal_ends_the_command_at_the_end_with_all_that_it_started() {
    must_hear_interrupts();
    let world = world();
    let folder = world.path("").display().to_string();
    let finish = format!(
        "setsid sh -c 'echo $$ > {folder}/.d; mv {folder}/.d {folder}/daemon; exec sleep 1000' & \
         until [ -e {folder}/daemon ]; do sleep 0.01; done; touch {folder}/at; sleep 1000"
    );
    let plan = world.plan(LANDS);
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute", "--on-finish", &finish]);
    wait_for_file(&world.path("at"));
    send(i32::try_from(run.id()).unwrap(), Signal::INT);
    let said = Said::from(run.wait_with_output().unwrap()).expect(0);
    assert!(said.stderr.contains("ended by a signal"), "{}", said.stderr);
    wait_for_end(number_in(&world.path("daemon")));
    wait_for("all processes to end", || world.processes().is_empty().then_some(()));
}

fn in_actions(world: &World, plan: &str, args: &[&str]) -> Said {
    let plan = world.plan(plan);
    let mut command = world.command(["merge", plan.to_str().unwrap()]);
    command.args(args).env("GITHUB_ACTIONS", "true").output().unwrap().into()
}

#[test]
fn github_is_told_of_what_did_not_land_and_of_flaky_gates() {
    let world = world();
    let tried = world.path("tried");
    let plan = format!(
        "schemaVersion: v1\npolicy: {{ retries: {{ flaky: {{ maxAttempts: 2, backoffSeconds: 0 }} }} }}\n\
         items:\n- {{ name: a, gates: [{{ name: flaky, run: 'test -e {0} || {{ touch {0}; exit 1; }}' }}] }}\n\
         - {{ name: b, deps: [a] }}\n- {{ name: c, gates: [{{ name: g, run: 'echo 100%; exit 1' }}] }}\n",
        tried.display()
    );
    let dry = in_actions(&world, &plan, &[]).expect(3);
    assert!(dry.stdout.contains("\n::error file=f%2Cg%3A %25,title=b would conflict::"), "{}", dry.stdout);
    let run = in_actions(&world, &plan, &["--execute"]).expect(3);
    let told: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(told.len(), 3, "{}", run.stdout);
    assert!(told[0].starts_with("::error file=f%2Cg%3A %25,title=b conflicted::"), "{}", told[0]);
    assert!(told[1].starts_with("::error title=c failed::gate g failed (it fails without"), "{}", told[1]);
    assert!(told[1].contains("| 100%25%0A") && told[1].contains("reproduce: lexpr gate run c g "), "{}", told[1]);
    assert_eq!(told[2], "::warning title=flaky gate::flaky on a failed and passed on one tree");
    let json = in_actions(&world, FAILS, &["--execute", "--progress", "json"]).expect(3);
    assert!(json.stdout.lines().all(|line| line.starts_with('{')), "standard output is the events': {}", json.stdout);
    let elsewhere = world.merge(FAILS, &["--execute"]).expect(3);
    assert!(!elsewhere.stdout.contains("::"), "{}", elsewhere.stdout);
}

#[test]
fn quiet_says_nothing_but_errors_and_what_keeps_the_run_from_its_end() {
    let world = world();
    let silent = |said: Said| assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    // A warning of the plan, too.
    let warned = LANDS.replace("items:", "policy: { overrides: { adminGreen: { allowedUsers: [ann] } } }\nitems:");
    silent(world.merge(&warned, &["--quiet"]).expect(0));
    silent(world.merge(FAILS, &["--quiet", "--execute"]).expect(3));
    let report = world.merge(FAILS, &["--quiet", "--execute", "--report", "-"]).expect(3);
    assert!(report.stdout.starts_with('{') && report.stderr.is_empty(), "what was asked for comes: {report:?}");
    let invalid = world.merge("schemaVersion: v1\nitem: []\n", &["--quiet"]).expect(2);
    assert!(invalid.stderr.contains("item"), "{}", invalid.stderr);
    let blocking = LANDS.replace("'true'", &format!("'touch {}'", world.repo().join("c").display()));
    let halted = world.merge(&blocking, &["--quiet", "--execute"]).expect(4);
    assert!(halted.stderr.starts_with("error: the run could not go on: "), "{}", halted.stderr);
    assert!(halted.stderr.contains("lexpr resume ") && halted.stdout.is_empty(), "{halted:?}");
    fs::remove_file(world.repo().join("c")).unwrap();
    silent(world.lexpr(["resume", "--quiet"]).expect(0));
    world.merge(LANDS, &["--quiet", "--progress", "json"]).expect(2);
}
