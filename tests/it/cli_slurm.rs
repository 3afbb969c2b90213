//! Whole runs whose gates a real Slurm cluster runs: one that is killed finds again what it had sent, and one that is ended
//! leaves nothing there.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::cli_world::{Said, World, wait_for};
use crate::slurm_world;

fn cluster() -> Option<slurm_world::World> {
    slurm_world::World::start()
}

fn world(items: usize) -> World {
    let names: Vec<(String, String)> = (0..items).map(|at| (format!("i{at}"), format!("f{at}"))).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|(_, file)| [(file.as_str(), "x\n")]).collect();
    let branches: Vec<_> =
        names.iter().zip(&files).map(|((name, _), files)| (name.as_str(), "main", &files[..])).collect();
    World::new(&[("a", "a\n")], &branches)
}

fn plan(world: &World, gate: &str, items: usize) -> String {
    let work = world.path("nodes");
    let items: String = (0..items).map(|at| format!("  - name: i{at}\n")).collect();
    let slurm = format!("type: slurm, memoryMB: 50, workDir: \"{}\"", work.display());
    format!(
        "schemaVersion: v1\npolicy:\n  maxWorkers: 2\n  runtimes:\n    pool: {{ {slurm}, nodes: 2 }}\n    jobs: {{ {slurm}, \
         mode: batch }}\ngates:\n  - {gate}\nitems:\n{items}"
    )
}

/// Commits that nodes fetch.
fn sent(world: &World) -> Vec<String> {
    let refs = world.git(&["for-each-ref", "--format=%(refname)", "refs/lexpr/"]);
    refs.lines().filter(|name| !name.starts_with("refs/lexpr/runs/")).map(str::to_owned).collect()
}

fn command(world: &World, cluster: &slurm_world::World, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env("SLURM_CONF", cluster.cluster.configuration());
    command
}

#[test]
fn invariant_6_a_job_that_outlives_lexpr_is_found_again_and_not_sent_a_second_time() {
    let Some(cluster) = cluster() else { return };
    let world = world(1);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared");
    let run = format!("echo ran >>{0}/runs; while [ ! -e {0}/go ]; do sleep 0.1; done; echo x >left", shared.display());
    world.plan(&plan(&world, &format!("{{ name: unit, run: '{run}', artifacts: [left] }}"), 1));
    let plan = world.path("plan.yaml").display().to_string();
    let runs = || std::fs::read_to_string(shared.join("runs")).unwrap_or_default().lines().count();
    let mut lexpr = command(&world, &cluster, &["merge", &plan, "--execute", "--runtime", "jobs"]).spawn().unwrap();
    wait_for("the gate to begin", || (runs() == 1).then_some(()));
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let resumed = command(&world, &cluster, &["resume", "--progress", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::write(shared.join("go"), "").unwrap();
    let resumed = resumed.wait_with_output().unwrap();
    assert_eq!(resumed.status.code(), Some(0));
    let said = String::from_utf8_lossy(&resumed.stdout);
    assert!(said.contains("\"artifacts\":[{\"source\":\"left\""), "what it left is kept: {said}");
    assert_eq!(runs(), 1, "it was not run again");
    assert_eq!(cluster.cluster.jobs(), [""; 0]);
}

#[test]
fn ctrl_c_takes_everything_off_the_cluster() {
    let Some(cluster) = cluster() else { return };
    for runtime in ["pool", "jobs"] {
        let world = world(3);
        std::fs::create_dir(world.path("shared")).unwrap();
        let begun = world.path("shared").join("begun");
        let run = format!("touch {}; while :; do sleep 0.1; done", begun.display());
        world.plan(&plan(&world, &format!("{{ name: unit, run: '{run}' }}"), 3));
        let plan = world.path("plan.yaml").display().to_string();
        let mut lexpr =
            command(&world, &cluster, &["merge", &plan, "--execute", "--runtime", runtime]).spawn().unwrap();
        wait_for("a gate to begin", || begun.exists().then_some(()));
        let pid = rustix::process::Pid::from_raw(i32::try_from(lexpr.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(lexpr.wait().unwrap().code(), Some(130), "{runtime}");
        assert_eq!(cluster.cluster.jobs(), [""; 0], "{runtime}");
        assert_eq!(sent(&world), [""; 0], "{runtime}");
    }
}

#[test]
fn doctor_proves_a_cluster_and_gate_run_uses_it() {
    let Some(cluster) = cluster() else { return };
    let world = world(1);
    world.plan(&plan(&world, "{ name: unit, run: 'echo \"on $SLURMD_NODENAME\"; exit 5', runtime: pool }", 1));
    let plan = world.path("plan.yaml").display().to_string();
    for runtime in ["pool", "jobs"] {
        let output = command(&world, &cluster, &["doctor", "--runtime", runtime, "--plan", &plan]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("a gate that was cancelled was gone"), "{said}");
    }
    let output = command(&world, &cluster, &["gate", "run", "i0", "unit", "--plan", &plan]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("on w"), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(cluster.cluster.jobs(), [""; 0]);
}

#[test]
fn a_run_that_nobody_goes_on_with_leaves_nothing_on_the_cluster() {
    let Some(cluster) = cluster() else { return };
    for rid in ["clean", "afresh"] {
        let world = world(1);
        std::fs::create_dir(world.path("shared")).unwrap();
        let (begun, go) = (world.path("shared").join("begun"), world.path("shared").join("go"));
        let run = format!("touch {}; while [ ! -e {} ]; do sleep 0.1; done", begun.display(), go.display());
        world.plan(&plan(&world, &format!("{{ name: unit, run: '{run}', runtime: pool }}"), 1));
        let plan = world.path("plan.yaml").display().to_string();
        let mut lexpr = command(&world, &cluster, &["merge", &plan, "--execute"]).spawn().unwrap();
        wait_for("the gate to begin", || begun.exists().then_some(()));
        lexpr.kill().unwrap();
        lexpr.wait().unwrap();
        assert_eq!(cluster.cluster.jobs().len(), 1, "the allocation outlives lexpr");
        let runs = world.repo().join(".git/lexpr/runs");
        let id = runs.read_dir().unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
        std::fs::write(go, "").unwrap();
        let args = if rid == "clean" { vec!["clean", &id] } else { vec!["merge", &plan, "--execute", "--afresh"] };
        let said = command(&world, &cluster, &args).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{rid}: {}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(cluster.cluster.jobs(), [""; 0], "{rid}: {}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(sent(&world), [""; 0], "{rid}");
    }
}

#[test]
fn invariant_6_what_a_killed_doctor_or_gate_run_left_on_the_cluster_is_found_by_clean() {
    let Some(cluster) = cluster() else { return };
    let world = world(1);
    world.git(&["init", "--quiet", "--bare", "../exchange.git"]);
    let exchange = format!("policy:\n  exchange: \"{}\"", world.path("exchange.git").display());
    let text = plan(&world, "{ name: unit, run: 'while :; do sleep 0.1; done', runtime: pool }", 1);
    world.plan(&text.replace("policy:", &exchange));
    let plan = world.path("plan.yaml").display().to_string();
    let refs = || world.git(&["--git-dir=../exchange.git", "for-each-ref", "--format=%(refname)"]);
    let said = |args: &[&str]| Said::from(command(&world, &cluster, args).output().unwrap()).expect(0).stdout;
    let commands: [(&str, &[&str]); 3] = [
        ("doctor --runtime pool", &["doctor", "--runtime", "pool", "--plan", &plan]),
        ("doctor --runtime jobs", &["doctor", "--runtime", "jobs", "--plan", &plan]),
        ("gate run i0 unit", &["gate", "run", "i0", "unit", "--plan", &plan]),
    ];
    for (name, args) in commands {
        let mut lexpr = command(&world, &cluster, args).spawn().unwrap();
        wait_for("something to be there", || (!cluster.cluster.jobs().is_empty() && !refs().is_empty()).then_some(()));
        let others = said(&["clean", "--dry-run"]);
        assert!(!others.contains(name), "whoever lives is left alone: {others}");
        lexpr.kill().unwrap();
        lexpr.wait().unwrap();
        // Another command tidies up after what was killed, but not this.
        said(&["merge", &plan]);
        let would = said(&["clean", "--dry-run"]);
        assert!(would.contains(&format!("would remove what `lexpr {name}` left on")), "{would}");
        assert!(!cluster.cluster.jobs().is_empty(), "{name}");
        let removed = said(&["clean"]);
        assert!(removed.contains(&format!("removed what `lexpr {name}` left on")), "{removed}");
        assert_eq!(cluster.cluster.jobs(), [""; 0], "{name}");
        assert_eq!(refs(), "", "{name}");
        let again = said(&["clean"]);
        assert!(!again.contains(name), "{again}");
    }
}

fn interrupt(lexpr: &Child) {
    let pid = rustix::process::Pid::from_child(lexpr);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

fn begin(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stderr.as_slice(), &output.stdout].concat()).into_owned()
}

/// What lexpr promises whoever presses Ctrl-C, with room for a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn ctrl_c_is_not_kept_waiting_by_a_cluster_that_is_away_and_tells_what_is_left_there() {
    let Some(mut cluster) = cluster() else { return };
    for runtime in ["pool", "jobs"] {
        let world = world(1);
        std::fs::create_dir(world.path("shared")).unwrap();
        let begun = world.path("shared").join("begun");
        let run = format!("touch {}; while :; do sleep 0.1; done", begun.display());
        world.plan(&plan(&world, &format!("{{ name: unit, run: '{run}' }}"), 1));
        let plan = world.path("plan.yaml").display().to_string();
        let lexpr = begin(command(&world, &cluster, &["merge", &plan, "--execute", "--runtime", runtime]));
        wait_for("a gate to begin", || begun.exists().then_some(()));
        cluster.cluster.stop_controller();
        let asked = Instant::now();
        interrupt(&lexpr);
        let output = lexpr.wait_with_output().unwrap();
        let took = asked.elapsed();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(130), "{runtime}: {text}");
        assert!(took < SOON, "{runtime}: {took:?}: {text}");
        let id = world.repo().join(".git/lexpr/runs").read_dir().unwrap().next().unwrap().unwrap().file_name();
        let id = id.into_string().unwrap();
        for told in [format!("lexpr-{id}."), format!("`lexpr clean {id}`"), "does not answer".to_owned()] {
            assert!(text.contains(&told), "{runtime}: {told} is missing: {text}");
        }
        assert_eq!(sent(&world), [""; 0], "{runtime}: whatever becomes of the cluster: {text}");
        cluster.cluster.restart_controller();
        wait_for("the controller", || (!cluster.cluster.said("sinfo", &["-h"]).is_empty()).then_some(()));
        let cleaned = command(&world, &cluster, &["clean", &id]).output().unwrap();
        assert_eq!(cleaned.status.code(), Some(0), "{}", said(&cleaned));
        assert_eq!(cluster.cluster.jobs(), [""; 0], "{runtime}: {}", said(&cleaned));
    }
}

#[test]
fn a_gate_that_is_run_again_takes_nothing_from_a_run_that_goes_on() {
    let Some(cluster) = cluster() else { return };
    let world = world(1);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared").display().to_string();
    // The run's own waits; the other is let through.
    let run = format!(
        "if mkdir {shared}/begun; then while [ ! -e {shared}/go ]; do sleep 0.1; done; fi; echo ran >>{shared}/runs"
    );
    world.plan(&plan(&world, &format!("{{ name: unit, run: '{run}', runtime: jobs }}"), 1));
    let plan = world.path("plan.yaml").display().to_string();
    let mut lexpr = command(&world, &cluster, &["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the gate to begin", || world.path("shared/begun").exists().then_some(()));
    Said::from(command(&world, &cluster, &["gate", "run", "i0", "unit"]).output().unwrap()).expect(0);
    assert_eq!(cluster.cluster.jobs().len(), 1, "the run's is there");
    std::fs::write(world.path("shared/go"), "").unwrap();
    assert_eq!(lexpr.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(world.path("shared/runs")).unwrap().lines().count(), 2, "each once");
}

#[test]
fn doctor_says_of_nothing_that_it_is_there_which_it_has_not_seen() {
    let Some(cluster) = cluster() else { return };
    let world = world(1);
    let text = plan(&world, "{ name: unit, run: 'true', runtime: jobs }", 1);
    world.plan(&text.replace("mode: batch", "mode: batch, partition: nopart"));
    let plan = world.path("plan.yaml").display().to_string();
    let said =
        Said::from(command(&world, &cluster, &["doctor", "--runtime", "jobs", "--plan", &plan]).output().unwrap());
    let said = said.expect(1).stdout;
    assert!(!said.contains("ok    runtime"), "{said}");
    assert!(said.contains("; asked for: a job for each gate, partition nopart, "), "{said}");
    assert_eq!(said.matches("could not be run").count(), 1, "{said}");
    assert!(
        said.contains("warn  runtime: jobs: a gate that should fail and a gate that is cancelled were not tried"),
        "{said}"
    );
}

#[test]
fn doctor_tells_at_once_of_a_cluster_that_does_not_answer() {
    let Some(mut cluster) = cluster() else { return };
    let world = world(1);
    world.plan(&plan(&world, "{ name: unit, run: 'true' }", 1));
    let plan = world.path("plan.yaml").display().to_string();
    cluster.cluster.stop_controller();
    let asked = Instant::now();
    let output = command(&world, &cluster, &["doctor", "--runtime", "pool", "--plan", &plan]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(asked.elapsed() < SOON, "{text}");
    assert!(text.contains("the Slurm controller does not answer") && !text.contains("it has not begun yet"), "{text}");
}

#[test]
fn what_can_never_begin_is_told_with_slurms_reason_and_not_tried_again() {
    let Some(cluster) = cluster() else { return };
    for (runtime, line, reason) in [
        ("pool", "nodes: 3", "PartitionNodeLimit: the partition never gives so many nodes"),
        ("jobs", "mode: batch, timeMinutes: 600", "PartitionTimeLimit: the partition never gives so much time"),
    ] {
        let world = world(1);
        let work = world.path("nodes").display().to_string();
        world.plan(&format!(
            "schemaVersion: v1\npolicy:\n  runtimes:\n    {runtime}: {{ type: slurm, workDir: \"{work}\", {line} }}\ngates:\n  - \
             {{ name: unit, run: 'true', runtime: {runtime} }}\nitems:\n  - name: i0\n"
        ));
        let plan = world.path("plan.yaml").display().to_string();
        let output = command(&world, &cluster, &["doctor", "--runtime", runtime, "--plan", &plan]).output().unwrap();
        assert!(said(&output).contains(reason), "{}", said(&output));
        let output = command(&world, &cluster, &["merge", &plan, "--execute"]).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains(reason), "{text}");
        assert!(!text.contains("attempt 2"), "it is as it is: {text}");
        assert_eq!(cluster.cluster.jobs(), [""; 0], "{text}");
    }
}

#[test]
fn why_a_gate_has_no_node_is_told_while_it_waits() {
    let Some(cluster) = cluster() else { return };
    for runtime in ["pool", "jobs"] {
        let state = |state: &str| {
            for node in slurm_world::NODES {
                let (node, state) = (format!("nodename={node}"), format!("state={state}"));
                cluster.cluster.said("scontrol", &["update", &node, &state, "reason=test"]);
            }
        };
        state("drain");
        let world = world(1);
        world.plan(&plan(&world, "{ name: unit, run: 'true' }", 1));
        let plan = world.path("plan.yaml").display().to_string();
        let lexpr = begin(command(&world, &cluster, &["merge", &plan, "--execute", "--runtime", runtime]));
        let mut told = String::new();
        wait_for("status to say why", || {
            told = said(&command(&world, &cluster, &["status"]).output().unwrap());
            told.contains("Slurm says ").then_some(())
        });
        assert!(told.contains(&format!("waits for a node ({runtime}), for ")), "{told}");
        let why = said(&command(&world, &cluster, &["why", "i0"]).output().unwrap());
        assert!(why.contains("Slurm says "), "{why}");
        state("resume");
        let output = lexpr.wait_with_output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("has no node yet: Slurm says ")).count(), 1, "{text}");
    }
}
