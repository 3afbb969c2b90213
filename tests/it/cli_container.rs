//! Gates in containers, through an engine that really runs them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::cli_world::{World, receipt_gates, statuses, wait_for};
use crate::containers::{Docker, Engine, IMAGE, engine};

pub fn plan(runtime: &str, gate: &str, items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("  - name: {item}\n")).collect();
    format!(
        "schemaVersion: v1\npolicy:\n  maxWorkers: 2\n  defaultRuntime: boxed\n  runtimes:\n    boxed: {{ type: container, \
         image: \"{IMAGE}\"{runtime} }}\ngates:\n  - {gate}\nitems:\n{}",
        items.concat()
    )
}

pub fn world(items: &[&str]) -> World {
    let files: Vec<(String, String)> = items.iter().map(|item| (format!("{item}.txt"), format!("{item}\n"))).collect();
    let files: Vec<[(&str, &str); 1]> = files.iter().map(|(path, text)| [(path.as_str(), text.as_str())]).collect();
    let branches: Vec<_> = items.iter().zip(&files).map(|(item, files)| (*item, "main", &files[..])).collect();
    World::new(&[("a.txt", "a\n"), ("sub/b.txt", "b\n")], &branches)
}

pub fn command(world: &World, engine: &Engine, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.envs(engine.variables());
    command
}

pub struct Ended {
    pub code: i32,
    pub report: serde_json::Value,
    pub said: String,
}

/// `lexpr merge --execute` of a plan.
pub fn execute(world: &World, engine: &Engine, plan: &str, more: &[&str]) -> Ended {
    world.plan(plan);
    let report = world.path("report.json");
    let (plan, to) = (world.path("plan.yaml").display().to_string(), report.display().to_string());
    let args = [&["merge", &plan, "--execute", "--progress", "plain", "--report", &to], more].concat();
    let output = command(world, engine, &args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let report = if report.exists() { world.report(&report) } else { serde_json::Value::Null };
    Ended { code: output.status.code().unwrap_or(-1), report, said }
}

/// How the attempts of the first item's first gate ended.
pub fn outcomes(report: &serde_json::Value) -> Vec<String> {
    let attempts = report["items"][0]["gates"][0]["attempts"].as_array().cloned().unwrap_or_default();
    attempts.iter().map(|attempt| attempt["outcome"]["how"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn invariant_1_gates_in_containers_see_the_composite_and_nothing_of_the_machine() {
    let Some(engine) = engine() else { return };
    let world = world(&["x", "y"]);
    let gate = "{ name: unit, env: { OWN: 'a b' }, artifacts: [out/*], cwd: sub, run: '[ \"$(pwd)\" = /lexpr/tree/sub ] && \
        [ -f ../a.txt ] && [ \"$OWN\" = \"a b\" ] && [ -z \"$XDG_CACHE_HOME\" ] && [ \"$PASSED\" = \"it is\" ] && \
        [ \"$(cat ../.git/HEAD)\" = \"$LEXPR_COMMIT\" ] && [ ! -e /proc/sys/net/ipv4/conf/eth0 ] && mkdir out && \
        echo kept >out/log && echo made >\"$LEXPR_ARTIFACTS/made\"' }";
    world.plan(&plan(", passEnv: [PASSED]", gate, &["x", "y"]));
    let report = world.path("report.json").display().to_string();
    let plan = world.path("plan.yaml").display().to_string();
    let mut merge = command(&world, engine, &["merge", &plan, "--execute", "--report", &report]);
    let output = merge.env("PASSED", "it is").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.files_on_main(), ["a.txt", "sub/b.txt", "x.txt", "y.txt"]);
    assert_eq!(engine.containers_of(&world), [""; 0], "nothing of them is left");
    let report = world.report(report.as_ref());
    let kept = &report["items"][0]["gates"][0]["attempts"][0]["artifacts"];
    assert_eq!(kept.as_array().map(Vec::len), Some(2), "{kept}");
    let by = &receipt_gates(&mut command(&world, engine, &["verify"]), &report)[0]["runtime"];
    let id = engine.podman(&["image", "inspect", "--format", "{{.Id}}", IMAGE]).stdout;
    let id = String::from_utf8(id).unwrap();
    assert_eq!(*by, serde_json::json!({ "name": "boxed", "image": IMAGE, "imageId": id.trim() }));
}

#[test]
fn a_gate_that_fails_in_its_container_fails_its_item_with_the_status_it_gave() {
    let Some(engine) = engine() else { return };
    let world = world(&["x", "y"]);
    let gate = "{ name: unit, run: 'echo seen; if [ -f x.txt ]; then exit 7; fi' }";
    let ended = execute(&world, engine, &plan("", gate, &["x", "y"]), &[]);
    assert_eq!(ended.code, 3, "{}", ended.said);
    assert_eq!(statuses(&ended.report), ["x failed", "y landed"]);
    let run = &ended.report["items"][0]["gates"][0]["attempts"][0];
    assert_eq!(run["outcome"], serde_json::json!({ "how": "failed", "exitCode": 7 }));
    assert_eq!(run["tail"], "seen");
}

#[test]
fn for_want_of_memory_a_gate_fails_and_is_told_so() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: 'if [ -f x.txt ]; then head -c 200000000 /dev/zero | tail; fi' }";
    let ended = execute(&world, engine, &plan(", memoryMB: 20", gate, &["x"]), &[]);
    assert_eq!(ended.code, 3, "{}", ended.said);
    assert!(outcomes(&ended.report).iter().all(|how| how == "outOfMemory"), "{}", ended.report["items"][0]);
    assert!(ended.said.contains("ended for want of memory (the limit is 20.0 MiB)"), "{}", ended.said);
}

#[test]
fn a_gate_that_ignores_term_is_ended_when_its_time_is_up() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate =
        "{ name: unit, timeoutSeconds: 1, run: 'if [ -f x.txt ]; then trap \"\" TERM; while :; do sleep 1; done; fi' }";
    let ended = execute(&world, engine, &plan("", gate, &["x"]), &[]);
    assert_eq!(ended.code, 3, "{}", ended.said);
    assert!(outcomes(&ended.report).iter().all(|how| how == "timedOut"), "{}", ended.report["items"][0]);
    assert_eq!(engine.containers_of(&world), [""; 0]);
}

#[test]
fn what_a_gate_writes_in_its_container_belongs_to_whoever_runs_lexpr() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared").display().to_string();
    let mounts = format!(", mounts: [{{ source: \"{shared}\", target: /shared }}]");
    let gate = "{ name: unit, run: 'touch /shared/it' }";
    let ended = execute(&world, engine, &plan(&mounts, gate, &["x"]), &[]);
    assert_eq!(ended.code, 0, "{}", ended.said);
    let (own, made) = (std::fs::metadata(&shared).unwrap(), std::fs::metadata(world.path("shared/it")).unwrap());
    assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
}

#[test]
fn invariant_6_containers_end_with_lexpr_and_the_run_goes_on_in_the_same_image() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared");
    let mounts = format!(", mounts: [{{ source: \"{}\", target: /shared }}]", shared.display());
    let gate = "{ name: unit, run: 'touch /shared/begun; while [ ! -e /shared/go ]; do sleep 0.1; done' }";
    world.plan(&plan(&mounts, gate, &["x"]));
    let plan = world.path("plan.yaml").display().to_string();
    let mut lexpr = command(&world, engine, &["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the gate to begin", || shared.join("begun").exists().then_some(()));
    assert_eq!(engine.containers_of(&world).len(), 1);
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    wait_for("its container to go", || engine.containers_of(&world).is_empty().then_some(()));
    std::fs::write(shared.join("go"), "").unwrap();
    let resumed = command(&world, engine, &["resume"]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert_eq!(world.files_on_main(), ["a.txt", "sub/b.txt", "x.txt"]);
}

#[test]
fn ctrl_c_ends_a_container_and_nothing_is_lost() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared");
    let mounts = format!(", mounts: [{{ source: \"{}\", target: /shared }}]", shared.display());
    let gate = "{ name: unit, run: 'touch /shared/begun; while :; do sleep 0.1; done' }";
    world.plan(&plan(&mounts, gate, &["x"]));
    let plan = world.path("plan.yaml").display().to_string();
    let mut lexpr = command(&world, engine, &["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the gate to begin", || shared.join("begun").exists().then_some(()));
    let pid = rustix::process::Pid::from_raw(i32::try_from(lexpr.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(lexpr.wait().unwrap().code(), Some(130));
    assert_eq!(engine.containers_of(&world), [""; 0]);
}

#[test]
fn an_image_that_is_not_to_be_had_stops_a_run_before_it_begins() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: 'true', container: { image: 'localhost/nobody-has-this:1' } }";
    let ended = execute(&world, engine, &plan("", gate, &["x"]), &[]);
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert!(
        ended.said.contains("localhost/nobody-has-this:1 is not on this machine and could not be pulled"),
        "{}",
        ended.said
    );
    assert!(
        !world.repo().join(".git/lexpr/runs").read_dir().is_ok_and(|mut runs| runs.next().is_some()),
        "no run began"
    );
}

#[test]
fn an_entry_point_that_is_not_there_fails_as_a_missing_command_does() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate =
        format!("{{ name: unit, run: 'true', container: {{ image: \"{IMAGE}\", entrypoint: [/bin/nothing] }} }}");
    let ended = execute(&world, engine, &plan("", &gate, &["x"]), &[]);
    // What is missing is the gate's own choice, and is told as a shell tells of a command that is not there.
    assert_eq!(statuses(&ended.report), ["x failed"], "{}", ended.said);
    assert_eq!(ended.report["items"][0]["gates"][0]["attempts"][0]["outcome"]["exitCode"], 127);
}

#[test]
fn a_pass_is_known_again_in_the_same_image_and_in_no_other() {
    let Some(engine) = engine() else { return };
    let world = world(&["x", "y"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let tag = format!("localhost/lexpr-tag-{}:1", std::process::id());
    engine.podman(&["tag", IMAGE, &tag]);
    let mounts = format!(", mounts: [{{ source: \"{}\", target: /shared }}]", world.path("shared").display());
    let runs = || std::fs::read_to_string(world.path("shared/runs")).unwrap_or_default().lines().count();
    let gate = format!("{{ name: unit, run: 'echo ran >>/shared/runs', container: {{ image: '{tag}' }} }}");
    let plan = plan(&mounts, &gate, &["x", "y"]);
    let base = world.main();
    assert_eq!(execute(&world, engine, &plan, &[]).code, 0);
    assert_eq!(runs(), 3);
    world.git(&["reset", "-q", "--hard", &base]);
    let dry = |image: &str| {
        let plan = world.plan(&plan.replace(&tag, image)).display().to_string();
        let said = command(&world, engine, &["merge", &plan]).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    assert!(dry(&tag).contains("3 verdicts known already"), "{}", dry(&tag));
    let nobodys = dry("localhost/nobody-made-this:1");
    assert!(
        nobodys.contains("image localhost/nobody-made-this:1 is not here: nothing is known of its gates"),
        "{nobodys}"
    );
    assert!(nobodys.contains("3 gates would have to run") && !nobodys.contains("known already"), "{nobodys}");
    assert_eq!(execute(&world, engine, &plan, &["--afresh"]).code, 0);
    assert_eq!(runs(), 3, "all three were known");
    // The tag comes to stand for another image.
    let changed =
        engine.podman(&["run", "--name", &tag[10..tag.len() - 2], "--network", "none", IMAGE, "/bin/touch", "/new"]);
    assert!(changed.status.success(), "{changed:?}");
    engine.podman(&["commit", &tag[10..tag.len() - 2], &tag]);
    engine.podman(&["rm", &tag[10..tag.len() - 2]]);
    world.git(&["reset", "-q", "--hard", &base]);
    assert_eq!(execute(&world, engine, &plan, &["--afresh"]).code, 0);
    assert_eq!(runs(), 6, "of this image nothing was known");
    engine.podman(&["rmi", "--force", &tag]);
}

#[test]
fn a_whole_plan_moves_to_another_runtime_by_the_command_line() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: '[ -d /lexpr/tree ] || exit 9' }";
    let there = execute(&world, engine, &plan("", gate, &["x"]), &["--runtime", "local"]);
    assert_eq!(there.code, 3, "on this machine there is no such folder: {}", there.said);
    let near = execute(&world, engine, &plan("", gate, &["x"]), &["--runtime", "boxd"]);
    assert_eq!(near.code, 2);
    assert!(near.said.contains("did you mean `boxed`?"), "{}", near.said);
    let kind = execute(&world, engine, &plan("", gate, &["x"]), &["--runtime", "container"]);
    assert_eq!(kind.code, 2);
    assert!(!kind.said.contains("did you mean") && kind.said.contains("an `image`"), "{}", kind.said);
    let boxed = execute(&world, engine, &plan("", gate, &["x"]), &["--runtime", "boxed"]);
    assert_eq!(boxed.code, 0, "{}", boxed.said);
}

#[test]
fn docker_s_containers_are_believed_and_ended_as_podman_s_are() {
    let Some(docker) = Docker::start() else { return };
    let world = world(&["x", "y", "z"]);
    std::fs::create_dir(world.path("shared")).unwrap();
    let shared = world.path("shared");
    let mounts =
        format!(", engine: docker, memoryMB: 20, mounts: [{{ source: \"{}\", target: /shared }}]", shared.display());
    let gate = "{ name: unit, run: '[ -e /shared/calm ] || { touch /shared/begun; while :; do sleep 0.1; done; }; \
        [ ! -f x.txt ] || exit 7; [ ! -f y.txt ] || head -c 200000000 /dev/zero | tail' }";
    world.plan(&plan(&mounts, gate, &["x", "y", "z"]));
    let plan = world.path("plan.yaml").display().to_string();
    let report = world.path("report.json").display().to_string();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.envs([docker.variable()]);
        command
    };
    let mut lexpr = run(&["merge", &plan, "--execute"]).spawn().unwrap();
    wait_for("the gate to begin", || shared.join("begun").exists().then_some(()));
    lexpr.kill().unwrap();
    lexpr.wait().unwrap();
    let containers = || String::from_utf8(docker.docker(&["ps", "--all", "--quiet"]).stdout).unwrap();
    wait_for("its containers to go", || containers().is_empty().then_some(()));
    std::fs::write(shared.join("calm"), "").unwrap();
    let resumed = run(&["resume", "--report", &report]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(3), "{}", String::from_utf8_lossy(&resumed.stderr));
    let report = world.report(report.as_ref());
    assert_eq!(statuses(&report), ["x failed", "y failed", "z landed"]);
    assert_eq!(outcomes(&report)[0], "failed");
    let of_y = &report["items"][1]["gates"][0]["attempts"][0]["outcome"];
    assert_eq!(*of_y, serde_json::json!({ "how": "outOfMemory", "exitCode": 137, "limitBytes": 20 << 20 }));
    assert_eq!(containers(), "");
}

#[test]
fn doctor_proves_a_runtime_by_a_pass_a_failure_and_a_cancelled_gate() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: 'true' }";
    world.plan(&plan("", gate, &["x"]));
    let path = world.path("plan.yaml").display().to_string();
    let doctor = |args: &[&str]| {
        let output =
            command(&world, engine, &[&["doctor", "--plan", &path, "--runtime"], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = doctor(&["boxed"]);
    assert_eq!(code, Some(0), "{said}");
    for word in [
        "boxed: a gate that should pass …",
        "found the tree and passed",
        "was told from one that passes",
        "that was cancelled was gone after",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(doctor(&["local"]).0, Some(0));
    let (code, said) = doctor(&["boxd"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the plan has boxed, container, slurm, local"), "{said}");
    world.plan(&plan(", network: nobody-made-this", gate, &["x"]));
    let (code, said) = doctor(&["boxed"]);
    assert_eq!(code, Some(1), "{said}");
    let cause =
        "a gate that should pass: could not be run: the container could not be started: Error: unable to find network";
    assert!(said.contains(cause), "{said}");
    assert_eq!(said.matches("unable to find network").count(), 1, "{said}");
    let skipped = "boxed: a gate that should fail and a gate that is cancelled were not tried, as no gate can be run";
    assert!(said.contains(skipped), "{said}");
    world.plan(&plan(", user: nobodyhere", gate, &["x"]));
    let (code, said) = doctor(&["boxed"]);
    assert_eq!(code, Some(2), "{said}");
    for word in ["expected `UID` or `UID:GID`", "policy.runtimes.boxed.user", "plan.yaml:"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    world.plan(&plan(", engine: /bin/true", gate, &["x"]));
    let (code, said) = doctor(&["boxed"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("could not be pulled: `/bin/true pull` gave no reason"), "{said}");
    assert!(!world.path("cache/lexpr").read_dir().is_ok_and(|mut left| left.next().is_some()), "nothing is left of it");
}

/// A plan whose containers have this in place of git.
fn with_git(world: &World, script: &str, more: &str) -> String {
    std::fs::create_dir_all(world.path("shared")).unwrap();
    std::fs::write(world.path("git"), format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(world.path("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mount = |from: &str, to: &str| format!("{{ source: \"{}\", target: {to} }}", world.path(from).display());
    let mounts = format!(", mounts: [{}, {}]{more}", mount("shared", "/shared"), mount("git", "/bin/git"));
    world.plan(&plan(&mounts, "{ name: unit, run: 'true' }", &["x"])).display().to_string()
}

#[test]
fn doctor_tells_of_a_tree_that_gates_cannot_use_as_their_own() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let doctor = |plan: &str| {
        let output = command(&world, engine, &["doctor", "--plan", plan, "--runtime", "boxed"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let dubious = "echo 'fatal: detected dubious ownership' >&2; exit 128";
    let (code, said) = doctor(&with_git(&world, dubious, ""));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("detected dubious ownership"), "{said}");
    let (code, said) = doctor(&with_git(&world, "echo \"$LEXPR_COMMIT\"", ""));
    assert_eq!(code, Some(0), "{said}");
    if rustix::process::getuid().is_root() {
        let (code, said) = doctor(&with_git(&world, "echo \"$LEXPR_COMMIT\"", ", user: \"1000:1000\""));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("ermission denied"), "{said}");
    }
}

#[test]
fn ctrl_c_ends_doctor_s_gates_and_nothing_of_them_is_left() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let plan = with_git(&world, "touch /shared/begun; while :; do sleep 0.1; done", "");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let _ = std::fs::remove_file(world.path("shared/begun"));
        let mut doctor = command(&world, engine, &["doctor", "--plan", &plan, "--runtime", "boxed"]).spawn().unwrap();
        wait_for("the gate to begin", || world.path("shared/begun").exists().then_some(()));
        let pid = rustix::process::Pid::from_raw(i32::try_from(doctor.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(doctor.wait().unwrap().code(), Some(130));
        let volume = format!("volume={}", world.path("shared").display());
        let left = engine.podman(&["ps", "--all", "--quiet", "--filter", &volume]).stdout;
        assert_eq!(String::from_utf8(left).unwrap(), "");
        assert!(!world.path("cache/lexpr").read_dir().is_ok_and(|mut left| left.next().is_some()));
    }
}

#[test]
fn signals_to_a_doctor_leave_nothing_with_docker_either() {
    let Some(docker) = Docker::start() else { return };
    let world = world(&["x"]);
    let plan = with_git(&world, "touch /shared/begun; while :; do sleep 0.1; done", ", engine: docker");
    let (name, value) = docker.variable();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let _ = std::fs::remove_file(world.path("shared/begun"));
        let mut doctor = world.command(["doctor", "--plan", &plan, "--runtime", "boxed"]);
        let mut doctor = doctor.env(name, &value).spawn().unwrap();
        wait_for("the gate to begin", || world.path("shared/begun").exists().then_some(()));
        rustix::process::kill_process(rustix::process::Pid::from_child(&doctor), signal).unwrap();
        assert_eq!(doctor.wait().unwrap().code(), Some(130));
        assert_eq!(String::from_utf8(docker.docker(&["ps", "--all", "--quiet"]).stdout).unwrap(), "");
        assert!(!world.path("cache/lexpr").read_dir().is_ok_and(|mut left| left.next().is_some()));
    }
}

#[test]
fn an_image_that_is_removed_under_a_run_is_missed_once_and_named() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let image = format!("localhost/gone-{}:1", std::process::id());
    std::fs::write(world.path("Containerfile"), format!("FROM {IMAGE}\nLABEL gone={image}\n")).unwrap();
    let folder = world.path("");
    let built = engine.podman(&[
        "build",
        "--quiet",
        "--tag",
        &image,
        "--file",
        &world.path("Containerfile").display().to_string(),
        &folder.display().to_string(),
    ]);
    assert!(built.status.success(), "{built:?}");
    let remove = format!(
        "{{ name: first, run: 'podman rmi --force {image}', runtime: local }}\n  - {{ name: unit, run: 'true' }}"
    );
    let plan = plan("", &remove, &["x"]).replace(IMAGE, &image);
    let Ended { code, report, said } = execute(&world, engine, &plan, &[]);
    assert_eq!(code, 3, "{said}");
    let attempts = report["items"][0]["gates"][1]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{said}");
    assert!(said.contains(&format!("the image {image} (")), "{said}");
    assert!(said.contains("is not on this machine any more: pull or build it again"), "{said}");
    let path = world.path("plan.yaml").display().to_string();
    let next = format!(
        "Next: see to the runtime boxed, which could not run gates (`lexpr doctor --runtime boxed --plan {path}` tries it), then"
    );
    assert!(said.contains(&next), "{said}");
}

#[test]
fn for_want_of_memory_a_gate_is_killed_before_who_tells_of_it() {
    let Some(engine) = engine() else { return };
    let world = world(&["x"]);
    let gate = "{ name: unit, run: 'read -r own </proc/self/oom_score_adj; read -r first </proc/1/oom_score_adj; \
        [ \"$own\" -gt \"$first\" ]' }";
    let ended = execute(&world, engine, &plan("", gate, &["x"]), &[]);
    assert_eq!(ended.code, 0, "{}", ended.said);
}
