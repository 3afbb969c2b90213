//! `lexpr gate run`: what a run found can be seen again, on the same commit and in the same environment, and nothing of
//! it is left.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::cli_world::{Said, World, must_hear_interrupts, wait_for};
use crate::gate_guard::{number_in, send, wait_for_end, wait_for_file};

const README: &[(&str, &str)] = &[("README.md", "# A project\n"), (".gitignore", "out\n")];

fn world() -> World {
    World::new(
        README,
        &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1"), ("sub/c", "1")])],
    )
}

/// All that a run, or one that is reproduced, could leave in a repository and beside it.
fn traces(world: &World) -> Vec<String> {
    let list = format!(
        "git for-each-ref; git status --porcelain; find .git -type f -printf '%p %s %T@\\n' | sort; ls {}",
        world.path("cache/lexpr").display()
    );
    let said: Said = world.shell(&list).output().unwrap().into();
    // git writes its index when it is asked for the status.
    said.stdout.lines().filter(|line| !line.starts_with(".git/index ")).map(str::to_owned).collect()
}

fn no_process_is_left(world: &World) {
    wait_for("all processes to end", || world.processes().is_empty().then_some(()));
}

/// The command that a text names after `reproduce: `.
fn reproduce(text: &str) -> String {
    let line = text.lines().find_map(|line| line.split_once("reproduce: ")).unwrap_or_else(|| panic!("{text}"));
    line.1.to_owned()
}

/// Runs a command line of lexpr's as a person does who copies it.
fn copied(world: &World, command: &str) -> Said {
    let bin = Path::new(env!("CARGO_BIN_EXE_lexpr")).parent().unwrap().display().to_string();
    world.shell(&format!("PATH={bin}:$PATH; exec bash -c \"$0\"")).arg(command).output().unwrap().into()
}

/// A plan of `a`, and of `b` on it, with a gate for each that says all it is told and fails.
const TOLD: &str = "\
schemaVersion: v1
policy: { failFast: true, setup: { run: 'mkdir -p out; echo made > out/setup' } }
items:
  - name: a
    gates: [{ name: ok, run: 'true' }]
  - name: b
    deps: [a]
    strategy: squash
    gates:
      - name: told
        context: true
        cwd: .
        env: { OWN: mine }
        artifacts: ['out/*']
        run: |
          [ -n \"$LEXPR_ARTIFACTS\" ] && touch \"$LEXPR_ARTIFACTS/x\"
          env | grep -E '^(LEXPR_(RUN|GATE|COMMIT|TREE|ATTEMPT|ITEM|BASE)|OWN)=' | sort
          git rev-parse HEAD main; git status --porcelain; ls; cat out/setup
          echo on stderr >&2
          exit 7
";

#[test]
fn a_gate_runs_again_on_the_same_commit_in_the_same_environment_and_leaves_nothing() {
    let world = world();
    let run = world.merge(TOLD, &["--execute"]).expect(3);
    let log = run.stdout.lines().find_map(|line| line.trim().strip_prefix("log: ")).unwrap();
    let seen_by_run = fs::read_to_string(log).unwrap();
    assert!(seen_by_run.contains("LEXPR_ITEM=b") && seen_by_run.contains("OWN=mine"), "{seen_by_run}");
    let before = traces(&world);
    let again = copied(&world, &reproduce(&run.stdout)).expect(3);
    assert_eq!(again.stdout, seen_by_run);
    assert!(again.stderr.contains("gate told: exit status 7"), "{}", again.stderr);
    assert!(!again.stderr.contains("warning"), "{}", again.stderr);
    assert_eq!(traces(&world), before, "invariants 4 and 5: neither the repository nor lexpr's folder changed");
    no_process_is_left(&world);
}

#[test]
fn every_face_names_the_command_that_reproduces_a_failure() {
    let world = world();
    let reports = ["r.md", "r.html", "r.json"].map(|name| world.path(name));
    let args: Vec<&str> = reports.iter().flat_map(|report| ["--report", report.to_str().unwrap()]).collect();
    let run = world.merge(TOLD, &[&["--execute"][..], &args].concat()).expect(3);
    let command = reproduce(&run.stdout);
    assert!(command.starts_with("lexpr gate run b told "), "{command}");
    let asked = |args: &[&str]| world.lexpr(args).expect(0).stdout;
    let mut texts = vec![run.stderr, asked(&["status"]), asked(&["why", "b"])];
    texts.extend(reports.iter().map(|report| fs::read_to_string(report).unwrap()));
    for text in texts {
        assert!(text.contains(&command), "{text}");
    }
}

#[test]
fn a_gate_that_passes_or_cannot_be_run_ends_as_documented() {
    let world = world();
    let plan = "schemaVersion: v1\nitems: [{ name: a, gates: [{ name: ok, run: 'echo fine; test -e a' }, \
                { name: busy, run: 'exit 75', rateLimitExitCode: 75 }, { name: nowhere, run: 'true', cwd: none }] }]\n";
    let plan = world.plan(plan);
    let plan = plan.to_str().unwrap();
    let before = traces(&world);
    let passed = world.lexpr(["gate", "run", "a", "ok", "--plan", plan]).expect(0);
    assert_eq!(passed.stdout, "fine\n");
    world.lexpr(["gate", "run", "a", "busy", "--plan", plan]).expect(1);
    world.lexpr(["gate", "run", "a", "nowhere", "--plan", plan]).expect(3);
    let unknown = world.lexpr(["gate", "run", "aa", "ok", "--plan", plan]).expect(2);
    assert!(unknown.stderr.contains("no item aa") && unknown.stderr.contains("it has a"), "{}", unknown.stderr);
    let unknown = world.lexpr(["gate", "run", "a", "nowere", "--plan", plan]).expect(2);
    assert!(unknown.stderr.contains("did you mean nowhere?"), "{}", unknown.stderr);
    let none = world.lexpr(["gate", "run", "a", "ok"]).expect(2);
    assert!(none.stderr.contains("no run") && none.stderr.contains("--plan"), "{}", none.stderr);
    assert_eq!(traces(&world).len(), before.len());
}

#[test]
fn of_a_run_that_was_cleaned_it_is_said_what_else_there_is() {
    let world = world();
    let run = world.merge(TOLD, &["--execute"]).expect(3);
    let command = reproduce(&run.stdout);
    world.lexpr(["clean"]).expect(0);
    let gone = copied(&world, &command).expect(2);
    assert!(gone.stderr.contains("--plan PLAN"), "{}", gone.stderr);
}

#[test]
fn what_failed_on_an_apex_is_seen_again_as_far_as_the_item() {
    // By itself each of them passes.
    let world = world();
    let plan = "schemaVersion: v1\ngates: [{ name: pair, run: 'ls; test ! -e a || test ! -e b' }]\n\
                items: [{ name: a }, { name: b }, { name: c }]\n";
    let first = world.main();
    for landing in ["pyramid", "batch", "train"] {
        let plan = plan.replace("gates:", &format!("policy: {{ landing: {landing}, maxWorkers: 2 }}\ngates:"));
        let run = world.merge(&plan, &["--execute", "--afresh"]).expect(3);
        let again = copied(&world, &reproduce(&run.stdout)).expect(3);
        assert!(!again.stderr.contains("warning"), "{landing}: {}", again.stderr);
        assert_eq!(again.stdout, "README.md\na\nb\n", "{landing}");
        // One that landed: as it was judged, too.
        let landed = world.lexpr(["gate", "run", "a", "pair"]).expect(0);
        assert!(!landed.stderr.contains("warning"), "{landing}: {}", landed.stderr);
        world.lexpr(["cache", "clear"]).expect(0);
        world.git(&["reset", "-q", "--hard", &first]);
    }
}

#[test]
fn names_of_all_kinds_are_quoted_for_the_shell() {
    let world = World::new(README, &[("x", "main", &[("x", "1")])]);
    let names = ["it's a/b \"c\" $HOME `d`", "a*b;c&d|e #f", "~home \\ x", "é"];
    let items: Vec<serde_json::Value> = names
        .iter()
        .map(|name| {
            serde_json::json!({"name": name, "branch": "x", "gates": [{"name": name, "run": format!("echo seen {}; exit 1", name.len())}]})
        })
        .collect();
    for (item, name) in items.iter().zip(names) {
        let plan = serde_json::json!({ "schemaVersion": "v1", "items": [item] }).to_string();
        let run = world.merge(&plan, &["--execute"]).expect(3);
        let command = reproduce(&run.stdout);
        assert_eq!(copied(&world, &command).expect(3).stdout, format!("seen {}\n", name.len()), "{command}");
    }
}

#[test]
fn two_at_once_and_beside_a_run_have_folders_of_their_own() {
    let world = world();
    let go = world.path("go");
    let gate = format!(
        "echo $PWD; touch {0}/at-$$; until [ -e {1} ]; do sleep 0.02; done",
        world.path("").display(),
        go.display()
    );
    let plan =
        world.plan(&format!("schemaVersion: v1\nitems: [{{ name: a, gates: [{{ name: g, run: '{gate}' }}] }}]\n"));
    let plan = plan.to_str().unwrap();
    let children = [
        world.start(["merge", plan, "--execute"]),
        world.start(["gate", "run", "a", "g", "--plan", plan]),
        world.start(["gate", "run", "a", "g", "--plan", plan]),
    ];
    wait_for("all three to be at it", || {
        let at = fs::read_dir(world.path(""))
            .unwrap()
            .flatten()
            .filter(|file| file.file_name().to_str().is_some_and(|name| name.starts_with("at-")));
        (at.count() == 3).then_some(())
    });
    fs::write(go, "").unwrap();
    let said: Vec<Said> = children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    assert!(said.iter().all(|said| said.code == 0), "{said:?}");
    assert_ne!(said[1].stdout, said[2].stdout);
    assert!(!Path::new(said[1].stdout.trim()).exists() && !Path::new(said[2].stdout.trim()).exists());
}

/// A gate that starts a daemon and stays, with its number in `gate` and the daemon's in `daemon`.
fn staying(world: &World) -> String {
    let folder = world.path("").display().to_string();
    let script = world.path("stay.sh");
    let text = format!(
        "out() {{ echo $2 > {folder}/.$1; mv {folder}/.$1 {folder}/$1; }}\n\
         mkdir -p locked/in; touch locked/in/file; chmod 500 locked/in\n\
         setsid sh -c \"echo \\$\\$ > {folder}/.daemon; mv {folder}/.daemon {folder}/daemon; exec sleep 1000\" &\n\
         until [ -e {folder}/daemon ]; do sleep 0.01; done\nout where $PWD; out gate $$; exec sleep 1000\n"
    );
    fs::write(&script, text).unwrap();
    let plan = world.plan(&format!(
        "schemaVersion: v1\nitems: [{{ name: a, gates: [{{ name: g, run: 'exec sh {}' }}] }}]\n",
        script.display()
    ));
    plan.to_str().unwrap().to_owned()
}

#[test]
fn an_interrupt_ends_the_gate_with_all_that_it_started_and_the_folder_is_gone() {
    must_hear_interrupts();
    let world = world();
    let plan = staying(&world);
    let run = world.start(["gate", "run", "a", "g", "--plan", &plan]);
    wait_for_file(&world.path("gate"));
    send(i32::try_from(run.id()).unwrap(), Signal::INT);
    let said = Said::from(run.wait_with_output().unwrap()).expect(130);
    assert!(said.stderr.contains("SIGINT"), "{}", said.stderr);
    assert!(!Path::new(fs::read_to_string(world.path("where")).unwrap().trim()).exists());
    no_process_is_left(&world);
    assert_eq!(fs::read_dir(world.path("cache/lexpr")).unwrap().count(), 0, "also what the gate write-protected");
}

#[test]
fn killed_in_the_middle_it_leaves_no_process_and_the_next_removes_its_folder() {
    let world = world();
    let plan = staying(&world);
    let mut run = world.start(["gate", "run", "a", "g", "--plan", &plan]);
    wait_for_file(&world.path("gate"));
    run.kill().unwrap();
    run.wait().unwrap();
    wait_for_end(number_in(&world.path("gate")));
    wait_for_end(number_in(&world.path("daemon")));
    no_process_is_left(&world);
    let next = world.plan("schemaVersion: v1\nitems: [{ name: a, gates: [{ name: g, run: 'true' }] }]\n");
    world.lexpr(["gate", "run", "a", "g", "--plan", next.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read_dir(world.path("cache/lexpr")).unwrap().count(), 0);
}

#[test]
fn a_shell_opens_where_the_gate_would_run_and_what_it_leaves_is_gone() {
    let world = world();
    world.merge(TOLD, &["--execute"]).expect(3);
    let before = traces(&world);
    let mut command = world.command(["gate", "run", "b", "told", "--shell"]);
    command.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let lines = "echo $LEXPR_ITEM $LEXPR_GATE $OWN; pwd; ls; cat out/setup; touch new; setsid sleep 1000 >/dev/null 2>&1 & exit 5\n";
    shell.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = Said::from(shell.wait_with_output().unwrap()).expect(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines[0], "b told mine", "{said:?}");
    assert_eq!(lines[2..], [".gitignore", "README.md", "a", "b", "out", "made"].map(|name| name)[1..], "{said:?}");
    assert!(said.stderr.contains(lines[1]) && said.stderr.contains("thrown away"), "{}", said.stderr);
    assert!(!Path::new(lines[1]).exists());
    no_process_is_left(&world);
    assert_eq!(traces(&world), before);
}

#[test]
fn what_conflicts_or_landed_long_ago_is_told_apart_from_what_fails() {
    let world = World::new(
        README,
        &[("x", "main", &[("f", "1")]), ("y", "main", &[("f", "2")]), ("old", "main", &[("old", "1")])],
    );
    world.git(&["merge", "-q", "--ff-only", "old"]);
    let plan = "schemaVersion: v1\ngates: [{ name: g, run: 'ls' }]\nitems: [{ name: x }, { name: y, deps: [x] }, { name: old }]\n";
    world.merge(plan, &["--execute"]).expect(3);
    let conflicts = world.lexpr(["gate", "run", "y", "g"]).expect(3);
    assert!(conflicts.stderr.contains("y cannot be merged: it conflicts with x in f"), "{}", conflicts.stderr);
    let landed = world.lexpr(["gate", "run", "old", "g"]).expect(0);
    assert!(landed.stderr.contains("main has it already"), "{}", landed.stderr);
    assert_eq!(landed.stdout, "README.md\nold\n");
    // A branch whose commits are gone.
    world.git(&["branch", "-qD", "y"]);
    world.git(&["reflog", "expire", "--expire=now", "--all"]);
    world.git(&["gc", "-q", "--prune=now"]);
    let gone = world.lexpr(["gate", "run", "y", "g"]).expect(2);
    assert!(gone.stderr.contains("is not in this repository any more"), "{}", gone.stderr);
}

#[test]
fn artifacts_are_kept_where_they_are_asked_for() {
    let world = world();
    world.merge(TOLD, &["--execute"]).expect(3);
    let kept = world.path("kept");
    let said = world.lexpr(["gate", "run", "b", "told", "--artifact-dir", kept.to_str().unwrap()]).expect(3);
    let artifact = said.stderr.lines().find_map(|line| line.strip_prefix("artifact: ")).unwrap();
    assert!(Path::new(artifact).starts_with(&kept) && Path::new(artifact).exists(), "{artifact}");
    let mode = fs::metadata(artifact).unwrap().permissions().mode();
    assert_ne!(mode & 0o400, 0);
}

#[test]
fn an_item_that_was_judged_on_no_tree_is_tried_on_the_target_alone_and_that_is_said() {
    let world = World::new(
        &[("bad", "1"), (".gitignore", "out\n")],
        &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("fix", "main", &[("good", "1")])],
    );
    let plan = "schemaVersion: v1\npolicy: { landing: batch }\n\
                gates: [{ name: u, run: 'ls; test -e good && test ! -e b' }]\nitems: [{ name: a }, { name: b }, { name: fix }]\n";
    let run = world.merge(plan, &["--execute"]).expect(3);
    assert_eq!(run.stdout.matches("u on main, without any item: exit status 1").count(), 3, "{}", run.stdout);
    assert_eq!(run.stdout.matches("reproduce: ").count(), 1, "{}", run.stdout);
    let suspect = copied(&world, &reproduce(&run.stdout)).expect(3);
    assert_eq!(suspect.stdout, "a\nbad\n");
    assert!(!suspect.stderr.contains("on no tree"), "{}", suspect.stderr);
    // In the batch it would have been tried on both others.
    let fix = world.lexpr(["gate", "run", "fix", "u"]).expect(0);
    assert_eq!(fix.stdout, "bad\ngood\n");
    assert!(fix.stderr.contains("judged it on no tree, as main itself fails u"), "{}", fix.stderr);
}
