//! What lexpr says of runs that were disturbed is true, and what it says to do next works when it is
//! typed as it stands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use lexpr::journal::{self, JournalFile};
use lexpr::ports::Journal as _;
use lexpr::vocabulary::event::{Event, Recorded, UndoDirection};

use crate::cli_runs::runs;
use crate::cli_world::{Said, World, statuses, wait_for};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

const TWO: &str = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}, {name: b}]\n";

fn world() -> World {
    World::new(
        README,
        &[("a", "main", &[("a", "1\n")]), ("b", "main", &[("b", "1\n")]), ("c", "main", &[("c", "1\n")])],
    )
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[track_caller]
fn does_not_say(text: &str, words: &[&str]) {
    for word in words {
        assert!(!text.contains(word), "{word:?} is in:\n{text}");
    }
}

fn newest(world: &World) -> String {
    runs(world)[0]["run"].as_str().unwrap().to_owned()
}

/// All that a command said.
fn all(said: &Said) -> String {
    format!("{}{}", said.stdout, said.stderr)
}

/// What stands between backquotes after `word`, typed in the repository.
#[track_caller]
fn typed(world: &World, text: &str, word: &str) -> Said {
    let found = text.split('`').skip(1).step_by(2).find(|command| command.starts_with(word));
    let command = found.unwrap_or_else(|| panic!("no `{word}…` in:\n{text}"));
    let line = match command.strip_prefix("lexpr ") {
        Some(rest) => format!("{} {rest}", env!("CARGO_BIN_EXE_lexpr")),
        None => command.to_owned(),
    };
    let mut shell = world.shell(&line);
    for who in ["AUTHOR", "COMMITTER"] {
        shell.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@example.org");
    }
    shell.output().unwrap().into()
}

/// Starts a hook that the next move of main calls once it is `state`.
fn on_move(world: &World, state: &str, script: &str) {
    let path = world.repo().join(".git/hooks/reference-transaction");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let script = format!(
        "#!/bin/sh\n[ $1 = {state} ] && grep -q refs/heads/main && {{ rm {}; {script}; }}; exit 0\n",
        path.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// For a hook: kills the process that started git.
const KILL_LEXPR: &str = "kill -9 $(awk '{print $4}' /proc/$PPID/stat)";

fn write_down(world: &World, run: &str, event: Event) {
    let path = world.repo().join(".git/lexpr/runs").join(run).join("journal.jsonl");
    let last = journal::read(&path).unwrap().events.pop().unwrap();
    let mut journal = JournalFile::reopen(&path, 0).unwrap();
    journal.append(&Recorded { seq: last.seq + 1, at_ms: last.at_ms + 1, event }).unwrap();
    journal.sync().unwrap();
}

/// Lands `a`, and is killed in the gate of `b`, which passes from then on.
fn killed_after_a(world: &World) -> String {
    let (held, go) = (world.path("held"), world.path("go"));
    let gate =
        format!("[ -e b ] || exit 0; touch {}; until [ -e {} ]; do sleep 0.02; done", held.display(), go.display());
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1, performance: {{batchSize: 1}}}}\n\
         gates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: a}}, {{name: b}}]\n"
    );
    let plan = world.plan(&plan);
    let mut run: Child = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for("the gate", || held.exists().then_some(()));
    wait_for("the landing", || (runs(world)[0]["landed"] == 1).then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    fs::write(go, "").unwrap();
    newest(world)
}

/// A world in which lexpr was killed when it had moved the target, and nothing else.
fn killed_once_moved() -> World {
    let world = world();
    world.heed_hooks();
    on_move(&world, "committed", KILL_LEXPR);
    world.merge(TWO, &["--execute"]).expect(-1);
    world
}

#[test]
fn of_a_landing_that_was_cut_off_nobody_says_that_main_was_not_moved() {
    let world = world();
    world.heed_hooks();
    on_move(&world, "committed", KILL_LEXPR);
    let before = world.main();
    world.merge(TWO, &["--execute"]).expect(-1);
    let (run, after) = (newest(&world), world.main());
    assert_ne!(after, before);
    let begun = format!("a landing was begun that moves main from {} to {}", &before[..10], &after[..10]);
    let said = world.lexpr(["status"]).expect(0);
    says(&said.stdout, &[&begun, "a, b"]);
    does_not_say(&said.stdout, &["was not moved"]);
    // Somebody takes what is missing in the half-written checkout for their own.
    world.write("a", "mine\n");
    let report = world.path("report.json");
    let said = world.lexpr(["resume", &run, "--report", report.to_str().unwrap()]).expect(4);
    let moved = format!("refs/heads/main was moved to {after} by this run");
    says(
        &all(&said),
        &[&moved, "stand in the way", ": a", &begun, "move what stands in the way", &format!("`lexpr resume {run}`")],
    );
    does_not_say(&all(&said), &["was not moved"]);
    let report = world.report(&report);
    assert_eq!((&report["landingBegun"]["to"], &report["landingBegun"]["items"][1]), (&after.into(), &"b".into()));
    says(report["items"][0]["reason"].as_str().unwrap(), &["landing was begun"]);
    says(&world.lexpr(["runs"]).expect(0).stdout, &["stopped", &moved]);
    says(&world.lexpr(["undo", &run]).expect(2).stderr, &["not recorded what it moved", "lexpr resume"]);
    assert_eq!(fs::read_to_string(world.repo().join("a")).unwrap(), "mine\n");
    fs::rename(world.repo().join("a"), world.path("a")).unwrap();
    typed(&world, &all(&said), "lexpr resume").expect(0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_is_left_behind_of_a_landing_that_others_built_upon_follows_when_it_is_resumed() {
    let world = killed_once_moved();
    let theirs = world.git(&["commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}"]);
    world.git(&["update-ref", "refs/heads/main", &theirs]);
    world.lexpr(["resume"]).expect(0);
    assert_eq!(world.main(), theirs);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    // And where somebody has begun to stage it, that is named.
    let world = self::world();
    world.heed_hooks();
    on_move(&world, "committed", KILL_LEXPR);
    world.merge(TWO, &["--execute"]).expect(-1);
    fs::remove_file(world.repo().join(".git/index.lock")).unwrap();
    world.git(&["checkout", "main", "--", "a"]);
    let said = world.lexpr(["resume"]).expect(4);
    says(&all(&said), &["by this run", "did not follow", ": b"]);
    typed(&world, &all(&said), "git -C").expect(0);
    typed(&world, &all(&said), "lexpr resume").expect(0);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_plan_that_was_edited_is_told_of_the_run_before_and_what_others_landed_is_nobodys_own() {
    for strategy in ["merge", "squash", "rebase"] {
        let world = world();
        let (started, go) = (world.path("started"), world.path("go"));
        let plan = |items: &str| {
            format!(
                "schemaVersion: v1\ngates: [{{name: g, run: 'touch {}; until [ -e {} ]; do sleep 0.02; done'}}]\nitems: [{items}]\n",
                started.display(),
                go.display()
            )
        };
        let item = |name: &str| format!("{{name: {name}, strategy: {strategy}}}");
        let path = world.plan(&plan(&[item("a"), item("b")].join(", ")));
        let mut dead = world.start(["merge", path.to_str().unwrap(), "--execute"]);
        wait_for("the gate", || started.exists().then_some(()));
        dead.kill().unwrap();
        dead.wait().unwrap();
        fs::write(&go, "").unwrap();
        let run = newest(&world);
        let edited = plan(&[item("a"), item("b"), item("c")].join(", "));
        let told = format!("run {run} of {} onto main has not come to its end", path.display());
        says(&world.merge(&edited, &[]).expect(0).stderr, &[&told]);
        let said = world.merge(&edited, &["--execute"]).expect(0);
        let ways = [format!("`lexpr resume {run}`"), format!("`lexpr clean {run}`")];
        says(&said.stderr, &[&told, "(a, b)", &ways[0], &ways[1]]);
        does_not_say(&said.stderr, &["lexpr undo"]);
        let tip = world.main();

        let (json, markdown) = (world.path("report.json"), world.path("report.md"));
        let metrics = world.path("metrics.prom");
        let args = ["--report", json.to_str().unwrap(), "--report", markdown.to_str().unwrap()];
        let resumed = world.lexpr([&["resume", &run, "--metrics-file", metrics.to_str().unwrap()], &args[..]].concat());
        let resumed = resumed.expect(0);
        assert_eq!(world.main(), tip, "{strategy}");
        says(&resumed.stdout, &["0 of 2 items landed on main", "2 landed before", "main was not moved by this run"]);
        says(&resumed.stderr, &["others had landed 2 items on main: a, b"]);
        let report = world.report(&json);
        assert_eq!(statuses(&report), ["a alreadyLanded", "b alreadyLanded"], "{strategy}");
        assert_eq!((&report["summary"]["successful"], &report["summary"]["alreadyLanded"]), (&0.into(), &2.into()));
        assert!(report["landings"].as_array().unwrap().is_empty() && report["tip"] == report["base"]);
        // Nothing had to be put together.
        assert!(report["apexes"].as_array().unwrap().is_empty());
        says(&fs::read_to_string(markdown).unwrap(), &["landed before", "others had landed it"]);
        let metrics = fs::read_to_string(metrics).unwrap();
        says(&metrics, &["lex_pr_merge_already_landed_total 2", "lex_pr_merge_success_total 0"]);
        says(&world.lexpr(["status", &run]).expect(0).stdout, &["landed before a", "others had landed it"]);
        says(&world.lexpr(["undo", &run]).expect(2).stderr, &["has moved nothing"]);
        // With that it has come to its end, and nobody is told of it any more.
        does_not_say(&world.merge(&edited, &[]).expect(0).stderr, &[&run]);
    }
}

#[test]
fn an_edited_plan_is_told_how_to_take_back_what_the_run_before_landed() {
    let world = world();
    let run = killed_after_a(&world);
    let said = world.merge(TWO, &[]).expect(0);
    says(&said.stderr, &[&run, "takes back what it landed"]);
    let other = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: c}]\n";
    let path = world.path("other.yaml");
    fs::write(&path, other).unwrap();
    does_not_say(&world.lexpr(["merge", path.to_str().unwrap()]).expect(0).stderr, &[&run]);
    typed(&world, &said.stderr, "lexpr undo").expect(0);
    assert_eq!(world.files_on_main(), ["README.md"]);
    does_not_say(&world.merge(TWO, &[]).expect(0).stderr, &[&run]);
}

#[test]
fn an_undo_that_was_cut_off_is_told_and_whoever_finishes_it_has_done_what_was_asked() {
    let world = world();
    let before = world.main();
    world.merge(TWO, &["--execute"]).expect(0);
    let (run, after) = (newest(&world), world.main());
    let back = || Event::UndoIntended {
        direction: UndoDirection::Back,
        from: after.parse().unwrap(),
        to: before.parse().unwrap(),
        push: None,
    };
    write_down(&world, &run, back());
    world.git(&["reset", "-q", "--hard", &before]);
    assert_eq!(runs(&world)[0]["state"], "undoCutOff");
    let told = world.lexpr(["runs"]).expect(0).stdout;
    says(&told, &["undo cut off", &format!("Next: `lexpr undo {run}`")]);
    let said = world.lexpr(["resume", &run]).expect(0);
    says(&said.stderr, &["finished now", "is undone"]);
    says(&said.stdout, &["undone since"]);
    assert_eq!((world.main(), runs(&world)[0]["state"].as_str()), (before.clone(), Some("undone")));
    says(&world.lexpr(["resume", &run]).expect(2).stderr, &["was undone", "lexpr undo"]);
    world.lexpr(["undo", &run]).expect(0);
    write_down(&world, &run, back());
    typed(&world, &told, "lexpr undo").expect(0);
    assert_eq!((world.main(), runs(&world)[0]["state"].as_str()), (before, Some("undone")));
}

#[test]
fn a_run_that_is_being_undone_is_told_as_such() {
    let world = world();
    world.merge(TWO, &["--execute"]).expect(0);
    let run = newest(&world);
    world.heed_hooks();
    let (held, go) = (world.path("held"), world.path("go"));
    let wait = format!("touch {}; until [ -e {} ]; do sleep 0.02; done", held.display(), go.display());
    on_move(&world, "prepared", &wait);
    // The first look at whether the ref can be written prepares a transaction, too.
    let undo = world.start(["undo", &run]);
    wait_for("the undo", || held.exists().then_some(()));
    let told = format!("run {run} (process {}) is being undone on refs/heads/main", undo.id());
    says(&world.merge(TWO, &["--execute", "--afresh"]).expect(4).stderr, &[&told]);
    says(&world.lexpr(["resume", &run]).expect(4).stderr, &[&told]);
    fs::write(go, "").unwrap();
    Said::from(undo.wait_with_output().unwrap()).expect(0);
}

#[test]
fn a_run_that_the_machine_stopped_says_why_afterwards() {
    // Converted line ends make a slot's switch take a git.
    let base = &[("README.md", "# A project\n"), (".gitattributes", "* text eol=crlf\n")];
    let world = World::new(base, &[("a", "main", &[("a", "1\n")]), ("b", "main", &[("b", "1\n")])]);
    let off = world.path("off");
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1}}\ngates: [{{name: g, run: 'touch {}'}}]\nitems: [{{name: a}}, {{name: b}}]\n",
        off.display()
    );
    let real = world.shell("command -v git").output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    fs::create_dir(world.path("bin")).unwrap();
    let git = world.path("bin/git");
    let script = format!("#!/bin/sh\n[ -e {} ] && kill -9 $$\nexec {} \"$@\"\n", off.display(), real.trim());
    fs::write(&git, script).unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    world.merge(&plan, &["--execute"]).expect(1);
    fs::remove_dir_all(world.path("bin")).unwrap();
    let told = &runs(&world)[0];
    assert_eq!(told["state"], "stopped");
    says(told["why"].as_str().unwrap(), &["SIGKILL"]);
    let said = world.lexpr(["status"]).expect(0);
    says(&said.stdout, &["the run could not go on", "SIGKILL", "lexpr resume"]);
    does_not_say(&said.stderr, &["ended from outside"]);
    fs::remove_file(off).unwrap();
    typed(&world, &said.stdout, "lexpr resume").expect(0);
    assert_eq!((runs(&world)[0]["state"].as_str(), runs(&world)[0].get("why")), (Some("finished"), None));
}

#[test]
fn a_target_that_was_deleted_is_made_again_as_told() {
    let world = world();
    let run = killed_after_a(&world);
    world.git(&["checkout", "-q", "--detach"]);
    world.git(&["branch", "-qD", "main"]);
    for command in ["resume", "undo"] {
        let said = world.lexpr([command, &run]).expect(4);
        says(&said.stderr, &["does not exist any more", "then run again"]);
        typed(&world, &said.stderr, "git update-ref").expect(0);
        world.lexpr([command, &run]).expect(0);
        world.git(&["branch", "-qD", "main"]);
    }
    let said = world.lexpr(["undo", &run]).expect(4);
    typed(&world, &said.stderr, "git update-ref").expect(0);
    world.lexpr(["undo", &run]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
}

#[test]
fn a_target_that_was_rewound_leaves_two_ways_and_both_are_told() {
    for brought_again in [true, false] {
        let world = world();
        let run = killed_after_a(&world);
        world.git(&["reset", "-q", "--hard", "main~1"]);
        let plan = world.path("plan.yaml");
        let again = world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(2);
        says(&again.stderr, &["was taken back", "--afresh"]);
        does_not_say(&again.stderr, &["lexpr resume"]);
        let said = world.lexpr(["resume", &run]).expect(4);
        if brought_again {
            typed(&world, &said.stdout, "git merge").expect(0);
            typed(&world, &said.stdout, "lexpr resume").expect(0);
        } else {
            typed(&world, &said.stdout, "lexpr clean").expect(0);
            world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
        }
        assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
    }
}

#[test]
fn a_lock_of_a_run_whose_folder_was_removed_sends_nobody_to_that_run() {
    let world = killed_once_moved();
    let run = newest(&world);
    let said = world.merge(&TWO.replace("name: a", "name: c"), &["--execute"]).expect(4);
    says(&said.stderr, &[&format!("`lexpr resume {run}`")]);
    fs::remove_dir_all(world.repo().join(".git/lexpr")).unwrap();
    let said = world.merge(TWO, &["--execute"]).expect(4);
    says(&said.stderr, &["index.lock", "remove"]);
    does_not_say(&said.stderr, &["lexpr resume"]);
}

#[test]
fn a_checkout_that_did_not_follow_somebody_elses_move_is_not_left_to_take_it_back() {
    let world = world();
    let theirs = world.git(&["commit-tree", "-p", "main", "-m", "Theirs", "c^{tree}"]);
    let once = world.path("once");
    let gate = format!(
        "[ -e {0} ] || {{ touch {0}; git --git-dir={1}/.git update-ref refs/heads/main {theirs}; }}",
        once.display(),
        world.repo().display()
    );
    let plan = format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: a}}]\n");
    let said = world.merge(&plan, &["--execute"]).expect(4);
    says(&all(&said), &["did not follow", "would take back", ": c"]);
    assert_eq!(world.main(), theirs);
    // It is nobody's work that a run could finish.
    let other = world.path("other.yaml");
    fs::write(&other, TWO).unwrap();
    let refused = world.lexpr(["merge", other.to_str().unwrap(), "--execute"]).expect(4);
    does_not_say(&refused.stderr, &["cut off"]);
    // It is no better when it is tried again.
    says(&all(&world.lexpr(["resume"]).expect(4)), &["did not follow", ": c"]);
    typed(&world, &all(&said), "git -C").expect(0);
    typed(&world, &all(&said), "lexpr resume").expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "c"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn after_an_item_repaired_the_target_the_advice_is_to_run_the_others_again_and_they_land() {
    for policy in ["landing: pyramid", "landing: train"] {
        let world = World::new(
            &[("README.md", "# A project\n"), ("broken", "1\n")],
            &[("a", "main", &[("a", "1\n")]), ("repair", "main", &[("r", "1\n")])],
        );
        world.git(&["checkout", "-q", "repair"]);
        world.git(&["rm", "-q", "broken"]);
        world.git(&["commit", "-q", "-m", "Repair it"]);
        world.git(&["checkout", "-q", "main"]);
        let plan = format!(
            "schemaVersion: v1\npolicy: {{{policy}}}\ngates: [{{name: unit, run: 'test ! -e broken'}}]\n\
             items: [{{name: a}}, {{name: repair}}]\n"
        );
        let report = world.path("report.json");
        let said = world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
        let told = world.report(&report);
        assert_eq!(statuses(&told), ["a unjudged", "repair landed"], "{policy}");
        let next = "Next: run the same command again for 1 unjudged item: what landed since made unit pass on main.";
        says(&all(&said), &[next]);
        does_not_say(&all(&said), &["make unit pass"]);
        assert_eq!(
            (&told["redOnTarget"], &told["repairedOnTarget"]),
            (&serde_json::json!(["unit"]), &serde_json::json!(["unit"]))
        );
        world.merge(&plan, &["--execute"]).expect(0);
    }
}

#[test]
fn where_a_batch_lets_the_item_go_that_would_repair_the_target_the_advice_to_put_it_first_lands_all() {
    for deps in ["", ", deps: [c]"] {
        let on = if deps.is_empty() { "main" } else { "c" };
        let world = World::new(
            README,
            &[
                ("a", "main", &[("a", "1\n")]),
                ("c", "main", &[("c", "1\n")]),
                ("repair", on, &[("state", "good\n")]),
                ("worse", "main", &[("worse", "1\n")]),
            ],
        );
        let plan = |priority: &str| {
            format!(
                "schemaVersion: v1\npolicy: {{ landing: batch }}\n\
                 gates: [{{name: unit, run: 'test -e state && test ! -e worse'}}]\n\
                 items: [{{name: a}}, {{name: c}}, {{name: repair{deps}{priority}}}, {{name: worse}}]\n"
            )
        };
        let told = world.merge(&plan(""), &["--execute"]).expect(3).stdout;
        says(
            &told,
            &["Next: make unit pass on main itself, or give the item that repairs it the highest `priority` \
               (`lexpr gate run ITEM unit` tries one), then run the same command again"],
        );
        world.lexpr(["gate", "run", "a", "unit"]).expect(3);
        world.lexpr(["gate", "run", "repair", "unit"]).expect(0);
        if deps.is_empty() {
            let why = world.lexpr(["why", "repair"]).expect(0).stdout;
            says(&why, &["If it passes there, give it the highest `priority`, else make unit pass"]);
        }
        let landed = world.merge(&plan(", priority: 9"), &["--execute"]).expect(3).stdout;
        says(&landed, &["3 of 4 items landed on main", "failed worse"]);
    }
}

#[test]
fn while_nobody_repairs_the_target_the_advice_is_to_do_so() {
    let world = world();
    let plan = TWO.replace("'true'", "'test -e never'");
    let report = world.path("report.json");
    let said = world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    says(&all(&said), &["Next: make g pass on main itself, then run the same command again"]);
    assert_eq!(world.report(&report)["repairedOnTarget"], serde_json::json!([]));
}
