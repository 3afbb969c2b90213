//! Whole runs whose gates a real Buildbot judges: what lands is what would land with gates of this machine, and a run that
//! is killed finds again what it had asked for.

use std::path::Path;
use std::sync::Arc;

use crate::buildbot_world::Buildbot;
use crate::cli_world::{World, statuses, wait_for};

/// Items that add a file each, on a base that has the gate.
pub fn world(gate: &str, items: usize) -> World {
    let names: Vec<(String, String)> = (0..items).map(|at| (format!("i{at}"), format!("f{at}"))).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|(_, file)| [(file.as_str(), "x\n")]).collect();
    let branches: Vec<_> =
        names.iter().zip(&files).map(|((name, _), files)| (name.as_str(), "main", &files[..])).collect();
    let world = World::new(&[("gate.sh", &format!("{gate}\n"))], &branches);
    world.git(&["init", "--quiet", "--bare", "../exchange.git"]);
    world
}

fn plan(world: &World, buildbot: &Buildbot, gates: &str, items: usize) -> String {
    plan_with(world, buildbot, "", gates, items)
}

/// With more keys of the runtime.
pub fn plan_with(world: &World, buildbot: &Buildbot, keys: &str, gates: &str, items: usize) -> String {
    let items: String = (0..items).map(|at| format!("  - name: i{at}\n")).collect();
    let text = format!(
        "schemaVersion: v1\npolicy:\n  maxWorkers: 1\n  exchange: \"{}\"\n  runtimes:\n    ci: {{ type: ci-service, service: \
         buildbot, url: \"{}/\", scheduler: lexpr, builder: gates{keys} }}\ngates:\n{gates}items:\n{items}",
        world.path("exchange.git").display(),
        buildbot.url()
    );
    world.plan(&text).display().to_string()
}

pub const JUDGED: &str = "  - { name: ci, runtime: ci, run: sh gate.sh }\n";

fn buildbot() -> Option<Arc<Buildbot>> {
    Buildbot::shared()
}

/// Branches that Buildbot was sent.
pub fn sent(world: &World) -> String {
    world.git(&["--git-dir=../exchange.git", "for-each-ref", "--format=%(refname)"])
}

fn run_of(world: &World) -> String {
    let runs = world.repo().join(".git/lexpr/runs");
    runs.read_dir().unwrap().next().unwrap().unwrap().file_name().into_string().unwrap()
}

fn waiting(folder: &Path) -> String {
    let folder = folder.display();
    format!("echo >>{folder}/begun; until [ -e {folder}/go ]; do sleep 0.05; done")
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn invariant_8_what_a_buildbot_judges_lands_as_what_this_machine_judges() {
    let Some(buildbot) = buildbot() else { return };
    let ends: Vec<_> = ["ci", "local"]
        .into_iter()
        .map(|runtime| {
            let world = world("! test -f f1", 3);
            let (plan, report) = (plan(&world, &buildbot, JUDGED, 3), world.path("report.json"));
            let to = report.display().to_string();
            let metrics = world.path("metrics").display().to_string();
            let args = ["merge", &plan, "--execute", "--runtime", runtime, "--report", &to, "--metrics-file", &metrics];
            world.lexpr(args).expect(3);
            let report = world.report(&report);
            let ran = &report["items"][0]["gates"][0]["attempts"][0]["elsewhere"]["node"];
            assert_eq!(ran.is_string(), runtime == "ci", "{ran}");
            let metrics = std::fs::read_to_string(metrics).unwrap();
            assert_eq!(metrics.contains("lex_pr_runtime_queue_seconds_total{runtime=\"ci\"}"), runtime == "ci");
            assert_eq!(sent(&world), "", "what Buildbot was sent is not kept");
            (world.main(), statuses(&report))
        })
        .collect();
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn invariant_6_a_build_that_outlives_lexpr_is_found_again_and_not_asked_for_a_second_time() {
    let Some(buildbot) = buildbot() else { return };
    let shared = tempfile::tempdir().unwrap();
    let world = world(&waiting(shared.path()), 1);
    let plan = plan(&world, &buildbot, "  - { name: ci, runtime: ci, at: [apex] }\n", 1);
    let (begun, go) = (shared.path().join("begun"), shared.path().join("go"));
    let mut lexpr = world.command(["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the build to begin", || (lines(&begun) == 1).then_some(()));
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let run = run_of(&world);
    let mut resumed = world.command(["resume"]).spawn().unwrap();
    std::fs::write(go, "").unwrap();
    assert_eq!(resumed.wait().unwrap().code(), Some(0));
    assert_eq!(lines(&begun), 1, "it did not run again");
    assert_eq!(buildbot.builds_of(&run), [Some(0)]);
    assert_eq!(sent(&world), "");
}

#[test]
fn two_gates_are_judged_at_once_and_ctrl_c_takes_both_off_the_service() {
    let Some(buildbot) = buildbot() else { return };
    let shared = tempfile::tempdir().unwrap();
    let world = world(&waiting(shared.path()), 2);
    let plan = plan(&world, &buildbot, JUDGED, 2);
    let mut lexpr = world.command(["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("both builds to begin", || (lines(&shared.path().join("begun")) == 2).then_some(()));
    let pid = rustix::process::Pid::from_child(&lexpr);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(lexpr.wait().unwrap().code(), Some(130));
    assert_eq!(buildbot.builds_of(&run_of(&world)), [Some(6), Some(6)]);
    assert_eq!(sent(&world), "");
}

#[test]
fn a_run_that_nobody_goes_on_with_leaves_nothing_on_the_service() {
    let Some(buildbot) = buildbot() else { return };
    let shared = tempfile::tempdir().unwrap();
    let world = world(&waiting(shared.path()), 1);
    let plan = plan(&world, &buildbot, JUDGED, 1);
    let mut lexpr = world.command(["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the build to begin", || (lines(&shared.path().join("begun")) == 1).then_some(()));
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let run = run_of(&world);
    world.lexpr(["clean", &run]).expect(0);
    assert_eq!(buildbot.builds_of(&run), [Some(6)]);
    assert_eq!(sent(&world), "");
}

#[test]
fn doctor_says_what_a_buildbot_lacks_and_has_it_judge_the_target() {
    let Some(buildbot) = buildbot() else { return };
    let world = world("echo judged; sleep 1", 1);
    let path = plan(&world, &buildbot, JUDGED, 1);
    let doctor = |path: &str| world.lexpr(["doctor", "--runtime", "ci", "--plan", path]);
    let said = doctor(&path).expect(0).stdout;
    for expected in ["it answered in", "workers that are connected: w", "was judged: passed", "was gone after"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(sent(&world), "");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        ("builder: gates", "builder: missing", "it has no builder `missing`"),
        ("builder: gates", "builder: nobody", "no worker of the builder `nobody` is connected"),
        ("scheduler: lexpr", "scheduler: bare", "takes no property `lexpr_nonce`"),
        ("scheduler: lexpr", "scheduler: missing", "it has no force scheduler `missing`"),
    ] {
        world.plan(&text.replace(from, to));
        let said = doctor(&path).expect(1).stdout;
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_gate_without_a_command_is_none_for_other_runtimes() {
    let world = World::new(&[("a", "a\n")], &[("i0", "main", &[("b", "b\n")])]);
    let text = "schemaVersion: v1\npolicy:\n  exchange: /srv/exchange.git\n  runtimes:\n    ci: { type: ci-service, service: \
                buildbot, url: \"http://127.0.0.1:1/\", scheduler: s, builder: b }\ngates: [{ name: ci, runtime: ci }]\n\
                items: [{ name: i0 }]\n";
    let said = world.merge(text, &["--runtime", "local"]).expect(2).stderr;
    assert!(said.contains("--runtime local: gate ci has no `run`"), "{said}");
}

#[test]
fn invariant_6_what_a_killed_doctor_left_on_the_service_is_found_by_clean() {
    let Some(buildbot) = buildbot() else { return };
    let shared = tempfile::tempdir().unwrap();
    // Of the target, where `sh gate.sh` waits.
    let world = world(&waiting(shared.path()), 1);
    let plan = plan(&world, &buildbot, JUDGED, 1);
    let mut lexpr = world.command(["doctor", "--runtime", "ci", "--plan", &plan]).spawn().unwrap();
    wait_for("the build to begin", || (lines(&shared.path().join("begun")) == 1).then_some(()));
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let branch = sent(&world);
    let run = branch.split('/').find(|part| part.starts_with("doctor-")).unwrap();
    let said = world.lexpr(["clean"]).expect(0).stdout;
    assert!(said.contains(&format!("removed what `lexpr doctor --runtime ci` left on ci as {run}")), "{said}");
    assert_eq!(buildbot.builds_of(run), [Some(6)]);
    assert_eq!(sent(&world), "");
    assert_eq!(world.lexpr(["clean"]).expect(0).stdout, "nothing is there to be removed\n");
}

#[test]
fn what_is_not_set_up_on_the_service_is_met_once_and_what_is_there_is_named() {
    let Some(buildbot) = buildbot() else { return };
    let world = world("true", 1);
    let path = plan(&world, &buildbot, JUDGED, 1);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        ("builder: gates", "builder: nope", "Buildbot: it has no builder `nope`; there are "),
        ("scheduler: lexpr", "scheduler: nope", "Buildbot: it has no force scheduler `nope`; "),
    ] {
        world.plan(&text.replace(from, to));
        let report = world.path("report.json");
        let to = report.display().to_string();
        let said = world.lexpr(["merge", &path, "--execute", "--progress", "plain", "--report", &to]).expect(3);
        assert!(said.stderr.contains(expected), "{}", said.stderr);
        assert!(!said.stderr.contains(" again "), "{}", said.stderr);
        let report = world.report(&report);
        assert_eq!(report["items"][0]["gates"][0]["attempts"].as_array().unwrap().len(), 1);
        let next = format!(
            "Next: see to the runtime ci, which could not run gates (`lexpr doctor --runtime ci --plan {path}` tries it), then"
        );
        assert!(said.stdout.contains(&next), "{}", said.stdout);
        assert_eq!(sent(&world), "");
    }
}

#[test]
fn a_build_that_somebody_stops_is_no_verdict_and_is_asked_for_again() {
    let Some(buildbot) = buildbot() else { return };
    let shared = tempfile::tempdir().unwrap();
    let world = world(&waiting(shared.path()), 1);
    let plan = plan(&world, &buildbot, "  - { name: ci, runtime: ci, at: [apex] }\n", 1);
    let report = world.path("report.json");
    let to = report.display().to_string();
    let mut lexpr = world.command(["merge", &plan, "--execute", "--report", &to]).spawn().unwrap();
    let begun = shared.path().join("begun");
    wait_for("the build to begin", || (lines(&begun) == 1).then_some(()));
    buildbot.stop_builds_of(&run_of(&world));
    wait_for("another build to begin", || (lines(&begun) == 2).then_some(()));
    std::fs::write(shared.path().join("go"), "").unwrap();
    assert_eq!(lexpr.wait().unwrap().code(), Some(0));
    assert_eq!(buildbot.builds_of(&run_of(&world)), [Some(6), Some(0)]);
    let report = world.report(&report);
    assert_eq!(statuses(&report), ["i0 landed"]);
}
