//! `lexpr merge`, end to end: the real binary, real git, real gates.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli_world::{World, must_hear_interrupts, statuses, wait_for};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

/// Every file under a folder with its content.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(format!("{}/", path.display()), Vec::new());
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_a_killed_dry_run_left_is_removed_by_the_next_and_what_a_living_one_works_in_is_not() {
    let world = World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])]);
    let (dead, alive) = (world.path("cache/lexpr/dry-run-dead/objects"), world.path("cache/lexpr/dry-run-alive"));
    std::fs::create_dir_all(&dead).unwrap();
    std::fs::create_dir_all(&alive).unwrap();
    std::fs::write(dead.join("pack"), "composites").unwrap();
    let held = std::fs::File::open(&alive).unwrap();
    held.lock().unwrap();
    world.merge("schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a}]\n", &[]).expect(0);
    let left: Vec<_> =
        std::fs::read_dir(world.path("cache/lexpr")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [alive]);
}

#[test]
fn invariant_5_a_dry_run_leaves_every_byte_of_the_repository_as_it_was() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("a", "2")])]);
    let before = contents(&world.repo());
    let said = world.merge("schemaVersion: v1\nitems: [{name: a}, {name: b}]\n", &[]).expect(3);
    assert!(said.stdout.contains("conflicts with a"), "{}", said.stdout);
    assert_eq!(contents(&world.repo()), before);
    let left: Vec<_> = contents(&world.path("cache")).into_keys().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn on_a_branch_that_is_not_there_yet_others_are_landed_on_and_nothing_is_checked_out() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.git(&["symbolic-ref", "HEAD", "refs/heads/not/yet"]);
    let before = contents(&world.repo().join(".git"));
    let to = |target: &str| {
        format!("schemaVersion: v1\ntarget: {target}\ngates: [{{name: g, run: 'true'}}]\nitems: [{{name: a}}]\n")
    };
    let said = world.merge(&to("not/yet"), &["--execute"]).expect(2);
    assert!(said.stderr.contains("not/yet"), "{}", said.stderr);
    world.merge(&to("main"), &[]).expect(0);
    assert_eq!(contents(&world.repo().join(".git")), before);
    world.merge(&to("main"), &["--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
    assert_eq!(world.git(&["symbolic-ref", "HEAD"]), "refs/heads/not/yet");
    assert!(!world.repo().join("a").exists());
}

#[test]
fn invariant_1_what_landed_is_a_tree_that_its_gate_saw() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "2")])]);
    let seen = world.path("seen");
    let plan = format!(
        "schemaVersion: v1\ngates: [{{name: g, run: 'git rev-parse HEAD^{{tree}} >> {}'}}]\nitems: [{{name: a}}, {{name: b}}]\n",
        seen.display()
    );
    world.merge(&plan, &["--execute"]).expect(0);
    let landed = world.git(&["rev-parse", "main^{tree}"]);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.lines().any(|tree| tree == landed), "landed {landed}, seen {seen}");
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
    // The checked-out target moved along.
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert!(world.repo().join("b").exists());
}

/// Lands so many items, of which `b6` breaks the gate, by this policy: what was said, and which items were in
/// each tree that the gate saw.
fn land_with_a_culprit(items: usize, policy: &str) -> (World, crate::cli_world::Said, Vec<String>) {
    let names: Vec<String> = (1..=items).map(|at| format!("b{at}")).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(name.as_str(), "x")]).collect();
    let branches: Vec<_> = names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", &files[..])).collect();
    let world = World::new(README, &branches);
    let report = world.path("report.json");
    let listed: String = names.iter().map(|name| format!("- {{name: {name}}}\n")).collect();
    let plan = format!(
        "schemaVersion: v1\npolicy: {{{policy}, maxWorkers: 1}}\n\
         gates: [{{name: unit, run: 'ls b* | tee -a ../runs; echo -- >> ../runs; ! test -f b6'}}]\nitems:\n{listed}"
    );
    let said = world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    let ended = statuses(&world.report(&report));
    let expected = names.iter().map(|name| format!("{name} {}", if name == "b6" { "failed" } else { "landed" }));
    assert_eq!(ended, expected.collect::<Vec<_>>());
    let cache = world.path("cache/lexpr");
    let repository = std::fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    let runs = std::fs::read_to_string(repository.join("runs")).unwrap();
    let trees = runs.strip_suffix("--\n").unwrap().split("--\n");
    let trees = trees.map(|run| run.lines().collect::<Vec<_>>().join(" ")).collect();
    (world, said, trees)
}

#[test]
fn a_batch_lands_all_but_its_culprit_and_gates_no_item_by_itself() {
    let (world, _, trees) = land_with_a_culprit(9, "landing: batch");
    assert_eq!(world.files_on_main(), ["README.md", "b1", "b2", "b3", "b4", "b5", "b7", "b8", "b9"]);
    // All; where both answers are as likely; the culprit's neighbours; once more with it; the rest on what landed.
    let sizes: Vec<usize> = trees.iter().map(|tree| tree.split_whitespace().count()).filter(|size| *size > 0).collect();
    assert_eq!(sizes, [9, 4, 6, 5, 6, 8]);
}

#[test]
fn a_group_passes_whole_and_one_that_is_refused_is_judged_without_its_culprit() {
    let (_, said, mut seen) = land_with_a_culprit(8, "groupSize: 4");
    let mut expected = [
        // Both groups; prefixes of the second; who was left of it.
        "b1 b2 b3 b4",
        "b5 b6 b7 b8",
        "b5 b6",
        "b5",
        "b7 b8",
        // The culprit alone, the target without it, and the culprit once more.
        "b6",
        "",
        "b6",
        "b1 b2 b3 b4 b5 b7 b8",
    ];
    // Which of the two that go on beside each other is first, their merges decide.
    seen.sort();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{}", said.stdout);
}

#[test]
fn a_train_lands_one_after_another_whatever_the_strategy_and_proves_each_where_it_stands() {
    for strategy in ["merge", "squash", "rebase"] {
        let world = World::new(
            README,
            &[
                ("t1", "main", &[("t1", "x")]),
                ("t2", "t1", &[("t1", "y"), ("t2", "x")]),
                ("t3", "main", &[("t3", "x")]),
                ("t4", "t2", &[("t1", "z"), ("t4", "x")]),
                ("t5", "main", &[("t1", "other")]),
                ("t6", "main", &[("t6", "x")]),
            ],
        );
        let seen = world.path("seen");
        let report = world.path("report.json");
        let items: String = (1..7).map(|at| format!("- {{name: t{at}, strategy: {strategy}}}\n")).collect();
        let plan = format!(
            "schemaVersion: v1\npolicy: {{landing: train, maxWorkers: 3}}\n\
             gates: [{{name: unit, run: 'git rev-parse HEAD >> {}; ! test -f t3'}}]\nitems:\n{items}",
            seen.display()
        );
        world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
        let ended = statuses(&world.report(&report));
        let expected = ["t1 landed", "t2 landed", "t3 failed", "t4 landed", "t5 conflicted", "t6 landed"];
        assert_eq!(ended, expected, "{strategy}");
        let gate_of = |at: usize| world.report(&report)["items"][at]["gates"][0]["status"].clone();
        assert_eq!([0, 2, 3].map(gate_of), ["passed", "failed", "passed"], "{strategy}");
        assert_eq!(world.files_on_main(), ["README.md", "t1", "t2", "t4", "t6"], "{strategy}");
        let seen = std::fs::read_to_string(seen).unwrap();
        let first_parents = world.git(&["rev-list", "--first-parent", "-4", "main"]);
        for landed in first_parents.lines() {
            let gated = seen.lines().filter(|commit| *commit == landed).count();
            assert_eq!(gated, 1, "{strategy}: {landed} was gated where it stands, and once\n{seen}");
        }
        assert_eq!(world.git(&["status", "--porcelain"]), "", "{strategy}");
    }
}

#[test]
fn what_a_train_runs_behind_a_failing_item_is_ended_and_its_slot_works_on() {
    let names = ["t1", "t2", "t3"];
    let files = names.map(|name| [(name, "x")]);
    let branches: Vec<_> = names.iter().zip(&files).map(|(name, files)| (*name, "main", &files[..])).collect();
    let world = World::new(README, &branches);
    // Behind t2 it would wait for ever, with children; and t2 does not fail before that has begun.
    let begun = world.path("begun");
    let gate = format!(
        "if test -f t3 && test -f t2; then touch half-done {0}; (sleep 100000 & sleep 100000); fi; \
         if test -f t2; then until test -e {0}; do sleep 0.05; done; exit 1; fi; ! test -f half-done",
        begun.display()
    );
    let plan = format!(
        "schemaVersion: v1\npolicy: {{landing: train, maxWorkers: 3}}\n\
         gates: [{{name: unit, run: '{gate}'}}]\nitems: [{{name: t1}}, {{name: t2}}, {{name: t3}}]\n"
    );
    let said = world.merge(&plan, &["--execute"]).expect(3);
    assert_eq!(world.files_on_main(), ["README.md", "t1", "t3"]);
    assert!(said.stderr.contains("unit on t3 behind 2 items: it stands elsewhere by now"), "{}", said.stderr);
}

#[test]
fn work_that_removes_everything_lands_and_so_does_what_comes_after_it() {
    let names: Vec<String> = (0..30).map(|at| format!("file-{at}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
    for strategy in ["merge", "squash", "rebase"] {
        // No one of them makes an empty tree: that comes of both, and is nowhere before.
        let world = World::new(&files, &[]);
        let listed = world.git(&["ls-tree", "main"]);
        let lines: Vec<&str> = listed.lines().collect();
        for (name, left) in [("some", &lines[..10]), ("others", &lines[10..])] {
            let tree = world.feed(&["mktree"], format!("{}\n", left.join("\n")).as_bytes());
            let commit = world.git(&["commit-tree", &tree, "-p", "main", "-m", name]);
            world.git(&["branch", name, &commit]);
        }
        let new = lines[0].replace("file-0", "new");
        let new = world.feed(&["mktree"], format!("{listed}\n{new}\n").as_bytes());
        let new = world.git(&["commit-tree", &new, "-p", "main", "-m", "New"]);
        world.git(&["branch", "new", &new]);
        let plan = format!(
            "schemaVersion: v1\npolicy: {{performance: {{batchSize: 1}}}}\n\
             gates: [{{name: g, run: 'git status --porcelain | diff - /dev/null'}}]\nitems:\n\
             - {{name: some, strategy: {strategy}}}\n- {{name: others, strategy: {strategy}, deps: [some]}}\n\
             - {{name: new, strategy: {strategy}, deps: [others]}}\n"
        );
        world.merge(&plan, &["--execute"]).expect(0);
        assert_eq!(world.git(&["ls-tree", "main~1"]), "", "{strategy}");
        assert_eq!(world.files_on_main(), ["new"], "{strategy}");
        assert_eq!(world.git(&["fsck", "--strict", "--no-dangling", "main"]), "", "{strategy}");
        assert_eq!(world.git(&["status", "--porcelain"]), "", "{strategy}");
    }
}

#[test]
fn invariant_2_the_dependents_of_a_failure_never_start_whatever_the_order_in_the_file() {
    let world = World::new(
        README,
        &[
            ("A", "main", &[("a", "1")]),
            ("B", "A", &[("b", "1")]),
            ("C", "B", &[("c", "1")]),
            ("D", "main", &[("d", "1")]),
        ],
    );
    let trace = world.path("trace");
    let gate =
        |name: &str, end: &str| format!("gates: [{{name: {name}, run: 'echo {name} >> {}; {end}'}}]", trace.display());
    let plan = format!(
        "schemaVersion: v1\nitems:\n  - {{name: C, deps: [B], {}}}\n  - {{name: B, deps: [A], {}}}\n  - {{name: A, {}}}\n  - {{name: D, {}}}\n",
        gate("gate-c", "true"),
        gate("gate-b", "true"),
        gate("gate-a", "exit 7"),
        gate("gate-d", "true"),
    );
    let report = world.path("report.json");
    let said = world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    assert!(said.stdout.contains("A"), "{}", said.stdout);
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(!trace.contains("gate-b") && !trace.contains("gate-c"), "{trace}");
    let report = world.report(&report);
    assert_eq!(statuses(&report), ["A failed", "B blocked", "C blocked", "D landed"]);
    assert_eq!(report["items"][2]["because"]["root"], "A", "{:#}", report["items"][2]);
    assert_eq!(world.files_on_main(), ["README.md", "d"]);
}

#[test]
fn invariant_7_exactly_as_many_gates_run_at_once_as_workers_are_allowed() {
    let names: Vec<String> = (1..=7).map(|n| format!("w{n}")).collect();
    let files: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(name.as_str(), "x")]).collect();
    let branches: Vec<_> =
        names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", files.as_slice())).collect();
    let world = World::new(README, &branches);
    let here = world.path("here");
    std::fs::create_dir(&here).unwrap();
    // A gate waits until three are there at once, which happens only if three really run, and
    // writes down how many it saw. From then on nobody waits.
    let script = format!(
        "cd {here}; touch $$.run; ls | grep -c 'run$' >> ../counts; \
         until [ -e full ] || [ $(ls | grep -c 'run$') -ge 3 ]; do sleep 0.02; done; touch full; \
         ls | grep -c 'run$' >> ../counts; rm $$.run",
        here = here.display()
    );
    let items: String = names.iter().map(|name| format!("  - name: {name}\n")).collect();
    let plan =
        format!("schemaVersion: v1\npolicy: {{maxWorkers: 3}}\ngates: [{{name: g, run: {script:?}}}]\nitems:\n{items}");
    world.merge(&plan, &["--execute"]).expect(0);
    let counts = std::fs::read_to_string(world.path("counts")).unwrap();
    let most = counts.lines().map(|line| line.trim().parse::<u32>().unwrap()).max().unwrap();
    assert_eq!(most, 3, "{counts}");
}

#[test]
fn invariant_8_the_same_commits_land_at_any_number_of_workers() {
    let branches: &[crate::cli_world::NewBranch<'_>] = &[
        ("a", "main", &[("a", "1")]),
        ("b", "a", &[("b", "1")]),
        ("c", "main", &[("c", "1")]),
        ("d", "main", &[("README.md", "# Another project\n")]),
        ("e", "main", &[("README.md", "# A third project\n")]),
    ];
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'test ! -e c'}]\n\
                items: [{name: e}, {name: d, strategy: squash}, {name: c}, {name: b, strategy: rebase}, {name: a}]\n";
    let landed: Vec<String> = ["1", "2", "5"]
        .into_iter()
        .map(|workers| {
            let world = World::new(README, branches);
            world.merge(plan, &["--execute", "--max-workers", workers]).expect(3);
            world.main()
        })
        .collect();
    assert_eq!(landed[0], landed[1]);
    assert_eq!(landed[0], landed[2]);
}

#[test]
fn invariant_4_work_in_progress_elsewhere_is_left_alone() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("wip", "main", &[("w", "1")])]);
    world.git(&["checkout", "-q", "wip"]);
    world.write("w", "changed, not committed");
    world.write("untracked", "mine");
    world.git(&["stash", "push", "-q", "-u"]);
    world.git(&["stash", "apply", "-q"]);
    let state = || {
        (
            world.git(&["status", "--porcelain=v2", "--branch"]),
            world.git(&["stash", "list", "--format=%H"]),
            std::fs::read_to_string(world.repo().join("w")).unwrap(),
        )
    };
    let before = state();
    world
        .merge(
            "schemaVersion: v1\ngates: [{name: g, run: 'rm -rf * && git stash list'}]\nitems: [{name: a}]\n",
            &["--execute"],
        )
        .expect(0);
    assert_eq!(state(), before);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn a_dirty_checkout_of_the_target_is_refused_before_anything_runs() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.write("README.md", "# Changed\n");
    let (before, ran) = (world.main(), world.path("ran"));
    let plan =
        format!("schemaVersion: v1\ngates: [{{name: g, run: 'touch {}'}}]\nitems: [{{name: a}}]\n", ran.display());
    let said = world.merge(&plan, &["--execute"]).expect(4);
    assert!(said.stderr.contains("uncommitted changes") && said.stderr.contains("README.md"), "{}", said.stderr);
    assert!(!ran.exists());
    assert_eq!(world.main(), before);
}

#[test]
fn a_second_run_of_a_landed_plan_lands_nothing_and_says_so() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")])]);
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'true'}]\nitems: [{name: a, strategy: squash}, {name: b, deps: [a], strategy: rebase}]\n";
    world.merge(plan, &["--execute"]).expect(0);
    let landed = world.main();
    let said = world.merge(plan, &["--execute"]).expect(0);
    assert!(said.stdout.contains("2 landed before"), "{}", said.stdout);
    assert_eq!(world.main(), landed);
}

#[test]
fn a_stack_whose_parent_was_squashed_in_an_earlier_run_still_lands() {
    let world = World::new(
        &[("text", "one\ntwo\nthree\n")],
        &[
            ("parent", "main", &[("text", "one\nTWO\nthree\n")]),
            ("child", "parent", &[("text", "one\nTWO and more\nthree\n")]),
        ],
    );
    world.merge("schemaVersion: v1\nitems: [{name: parent, strategy: squash}]\n", &["--execute"]).expect(0);
    world
        .merge(
            "schemaVersion: v1\nitems: [{name: parent, strategy: squash}, {name: child, deps: [parent]}]\n",
            &["--execute"],
        )
        .expect(0);
    assert_eq!(world.git(&["show", "main:text"]), "one\nTWO and more\nthree");
}

#[test]
fn a_plan_of_the_earlier_tool_lands_as_it_is() {
    let world = World::new(
        README,
        &[
            ("api", "main", &[("api", "1")]),
            ("db", "main", &[("db", "1")]),
            ("auth", "main", &[("auth", "1")]),
            ("users", "main", &[("users", "1")]),
            ("permissions", "main", &[("permissions", "1")]),
        ],
    );
    let plan = r#"{
      "schemaVersion": "1.0.0",
      "target": "main",
      "policy": { "requiredGates": ["unit"], "optionalGates": ["lint"], "maxWorkers": 2,
                  "retries": { "unit": { "maxAttempts": 2, "backoffSeconds": 0 } },
                  "overrides": {}, "blockOn": [], "mergeRule": { "type": "strict-required" } },
      "items": [
        { "name": "api", "deps": [], "gates": [{ "name": "unit", "run": "test -e api", "env": {} }, { "name": "lint", "run": "false" }] },
        { "name": "db", "deps": [], "gates": [{ "name": "unit", "run": "test -e db" }] },
        { "name": "auth", "deps": ["api", "db"], "gates": [{ "name": "unit", "run": "test -e api && test -e db" }] },
        { "name": "users", "deps": ["db"], "gates": [{ "name": "unit", "run": "test -e db", "cwd": ".", "artifacts": [] }] },
        { "name": "permissions", "deps": ["auth", "users"], "gates": [{ "name": "unit", "run": "test -e auth && test -e users", "runtime": "local" }] }
      ]
    }"#;
    world.merge(plan, &["--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "api", "auth", "db", "permissions", "users"]);
}

#[test]
fn a_wide_pyramid_of_two_hundred_branches_lands_with_a_clean_tree() {
    let names: Vec<String> = (1..=200).map(|n| format!("pr-{n}")).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("src/{name}.txt")).collect();
    let files: Vec<[(&str, &str); 1]> = paths.iter().map(|path| [(path.as_str(), "x\n")]).collect();
    let branches: Vec<_> =
        names.iter().zip(&files).map(|(name, files)| (name.as_str(), "main", files.as_slice())).collect();
    let world = World::new(README, &branches);
    let items: String = names.iter().map(|name| format!("  - name: {name}\n")).collect();
    let plan = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 4, performance: {{batchSize: 100}}}}\ngates: [{{name: g, run: 'true'}}]\nitems:\n{items}"
    );
    let said = world.merge(&plan, &["--execute"]).expect(0);
    assert!(said.stdout.contains("200 of 200 items landed"), "{}", said.stdout);
    assert_eq!(world.files_on_main().len(), 201);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn two_green_items_that_clash_are_told_apart_by_bisection() {
    let world = World::new(
        README,
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "main", &[("b", "1")]),
            ("c", "main", &[("c", "1")]),
            ("d", "main", &[("d", "1")]),
        ],
    );
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\ngates: [{name: g, run: '! { test -e a && test -e c; }'}]\nitems: [{name: a}, {name: b}, {name: c}, {name: d}]\n";
    world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    assert_eq!(statuses(&world.report(&report)), ["a landed", "b landed", "c failed", "d landed"]);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b", "d"]);
}

#[test]
fn a_gate_that_main_fails_already_ejects_nobody() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'false'}]\nitems: [{name: a}, {name: b}]\n";
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    assert_eq!(statuses(&world.report(&report)), ["a unjudged", "b unjudged"]);
    assert!(said.stderr.contains("main already fails g"), "{}", said.stderr);
}

#[test]
fn an_interrupted_run_ends_its_gates_and_leaves_the_target() {
    must_hear_interrupts();
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (before, pid_file) = (world.main(), world.path("pid"));
    let plan = world.plan(&format!(
        "schemaVersion: v1\ngates: [{{name: g, run: 'echo $$ > {0}.new; mv {0}.new {0}; sleep 1000'}}]\nitems: [{{name: a}}]\n",
        pid_file.display()
    ));
    let run = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    let gate = wait_for("the gate to start", || std::fs::read_to_string(&pid_file).ok());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let said: crate::cli_world::Said = run.wait_with_output().unwrap().into();
    let said = said.expect(130);
    assert!(said.stderr.contains("SIGINT"), "{}", said.stderr);
    assert!(!Path::new(&format!("/proc/{}", gate.trim())).exists(), "the gate outlived the run");
    assert_eq!(world.main(), before);
}

#[test]
fn an_interrupted_run_tells_what_had_passed_from_what_ran_and_what_had_not_begun() {
    must_hear_interrupts();
    use std::io::{BufRead as _, Read as _};
    let world =
        World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])]);
    let (ready, go) = (world.path("ready"), world.path("go"));
    let plan = world.plan(&format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1}}\nitems:\n  - {{name: a, gates: [{{name: quick, run: 'true'}}]}}\n  \
         - name: b\n    gates: [{{name: slow, run: \"trap '' TERM; touch {}; until [ -e {} ]; do sleep 0.02; done\"}}]\n  \
         - {{name: c, gates: [{{name: quick, run: 'true'}}]}}\n",
        ready.display(),
        go.display()
    ));
    let report = world.path("report.json");
    let args =
        ["merge", plan.to_str().unwrap(), "--execute", "--progress", "none", "--report", report.to_str().unwrap()];
    let mut run = world.start(args);
    wait_for("the gate to start", || ready.exists().then_some(()));
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // Said while the gate does not end yet.
    let mut stderr = std::io::BufReader::new(run.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("SIGINT") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(said.contains("ending the gates that run, within 10 s; Ctrl-C again exits at once"), "{said}");
    std::fs::write(&go, "").unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130), "{said}");
    let report = world.report(&report);
    assert_eq!(statuses(&report), ["a notLanded", "b skipped", "c skipped"]);
    let reasons: Vec<_> =
        report["items"].as_array().unwrap().iter().map(|item| item["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        [
            "it passed, but the run ended before it could land",
            "its gates were running when the run was interrupted",
            "the run ended before its turn came",
        ]
    );
    let told = world.lexpr(["status"]).expect(0).stdout;
    assert!(told.contains("interrupted   b") && told.contains("1 interrupted"), "{told}");
    assert!(told.contains("interrupted by SIGINT while gates were running for b"), "{told}");
}

#[test]
fn a_push_lands_on_the_remote_and_here() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let remote = world.path("remote.git");
    world.git(&["clone", "-q", "--bare", ".", remote.to_str().unwrap()]);
    world.git(&["remote", "add", "hub", remote.to_str().unwrap()]);
    world.merge("schemaVersion: v1\nitems: [{name: a}]\n", &["--execute", "--push", "hub"]).expect(0);
    assert_eq!(world.git(&["ls-remote", "hub", "refs/heads/main"]).split('\t').next().unwrap(), world.main());
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn a_refused_push_is_told_on_lines_of_its_own_with_the_one_thing_to_do_next() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let remote = world.path("hub.git");
    world.git(&["clone", "-q", "--bare", ".", remote.to_str().unwrap()]);
    world.git(&["remote", "add", "hub", remote.to_str().unwrap()]);
    let hook = remote.join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'main is frozen' >&2\necho 'until Monday' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = world.path("report.md");
    let plan = "schemaVersion: v1\ngates: [{name: g, run: 'true', at: [apex]}]\nitems: [{name: a}]\n";
    let args = ["--execute", "--push", "hub", "--report", report.to_str().unwrap()];
    let said = world.merge(plan, &args).expect(4);
    let markdown = std::fs::read_to_string(&report).unwrap();
    assert!(markdown.contains("<br>remote: until Monday\n"), "{markdown}");
    assert!(markdown.contains("| proven, not landed |"), "{markdown}");
    let next = said.stdout.lines().last().unwrap();
    assert!(next.starts_with("Next: see to it that hub takes the push, then `lexpr resume 20"), "{next}");
    for told in [&said.stdout, &said.stderr] {
        let at = told.find("remote: main is frozen\n").unwrap_or_else(|| panic!("{told}"));
        assert!(told[at..].lines().nth(1).unwrap().trim_start() == "remote: until Monday", "{told}");
        assert!(!told.contains("\\n") && !told.contains("failed to push"), "{told}");
    }
}

#[test]
fn a_plan_can_come_on_standard_input() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = world.plan("schemaVersion: v1\nitems: [{name: a}]\n");
    let mut command = world.command(["merge", "-", "--execute"]);
    let said: crate::cli_world::Said = command.stdin(std::fs::File::open(plan).unwrap()).output().unwrap().into();
    said.expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn events_that_cannot_be_written_are_told_of_once_and_the_run_goes_on() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (plan, report) = (world.plan("schemaVersion: v1\nitems: [{name: a}]\n"), world.path("report.json"));
    let args =
        ["merge", plan.to_str().unwrap(), "--execute", "--progress", "json", "--report", report.to_str().unwrap()];
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let said: crate::cli_world::Said = world.command(args).stdout(full).output().unwrap().into();
    let said = said.expect(1);
    assert_eq!(said.stderr.matches("standard output cannot be written: No space left").count(), 1, "{}", said.stderr);
    assert_eq!(said.stderr.matches("error").count(), 2, "the code's word and the system's: {}", said.stderr);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
    assert_eq!(statuses(&world.report(&report)), ["a landed"]);
}

#[test]
fn a_reader_of_events_that_went_away_ends_nothing_and_is_no_failure() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = world.plan("schemaVersion: v1\nitems: [{name: a}]\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut run = world.command(["merge", plan.to_str().unwrap(), "--execute", "--progress", "json"]);
    let said: crate::cli_world::Said = run.stdout(writer).output().unwrap().into();
    assert_eq!(said.expect(0).stderr, "");
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
}

#[test]
fn a_summary_that_cannot_be_printed_keeps_no_report_from_being_written() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (plan, report) = (world.plan("schemaVersion: v1\nitems: [{name: a}]\n"), world.path("report.json"));
    let args = ["merge", plan.to_str().unwrap(), "--execute", "--report", report.to_str().unwrap()];
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let said: crate::cli_world::Said = world.command(args).stdout(full).output().unwrap().into();
    assert!(said.expect(1).stderr.contains("standard output cannot be written"));
    assert_eq!(statuses(&world.report(&report)), ["a landed"]);
}

#[test]
fn a_missing_artifact_is_a_line_for_its_gate_wherever_people_look() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let report = world.path("report.md");
    let plan = "schemaVersion: v1\ngates: [{name: unit, run: 'true', artifacts: ['out/*.xml', 'README.md', log]}]\n\
                items: [{name: a}, {name: b}]\n";
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(0);
    let lines =
        |text: &str| text.lines().filter(|line| line.contains("out/*.xml")).map(str::to_owned).collect::<Vec<_>>();
    let [progress] = lines(&said.stderr).try_into().unwrap();
    assert!(progress.contains("missing    artifacts of unit on "), "{progress}");
    assert!(progress.ends_with(": out/*.xml, log"), "{progress}");
    assert_eq!(lines(&said.stdout), ["  missing artifacts of unit: log, out/*.xml"]);
    let markdown = std::fs::read_to_string(&report).unwrap();
    assert!(markdown.contains("- missing artifacts of unit: log, out/\\*.xml\n"), "{markdown}");
}

#[test]
fn a_very_long_line_of_a_failed_gate_is_cut_on_the_terminal_and_whole_in_its_log() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = "schemaVersion: v1\ngates: [{name: unit, run: 'printf %05000d 7; exit 1'}]\nitems: [{name: a}]\n";
    let said = world.merge(plan, &["--execute"]).expect(3);
    let status = world.lexpr(["status"]).expect(0).stdout;
    for told in [&said.stdout, &said.stderr, &status] {
        let line = told.lines().find(|line| line.contains("| 000")).unwrap_or_else(|| panic!("{told}"));
        assert!(line.ends_with("0…") && line.chars().count() < 190, "{line}");
    }
    let log = status.lines().find_map(|line| line.trim().strip_prefix("log: ")).unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap().trim().len(), 5000);
}

#[test]
fn apexes_are_counted_without_gaps_in_what_people_see() {
    let same: &[(&str, &str)] = &[("same", "a")];
    let world =
        World::new(README, &[("a", "main", same), ("b", "main", &[("same", "b")]), ("c", "main", &[("c", "1")])]);
    let report = world.path("report.md");
    // Each is an apex of its own, and the second is given up before it is gated: b conflicts with a.
    let plan = "schemaVersion: v1\npolicy: {performance: {batchSize: 1}}\ngates: [{name: g, run: 'true'}]\n\
                items: [{name: a}, {name: b}, {name: c}]\n";
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    let proven: Vec<&str> = said.stderr.lines().filter_map(|line| Some(line.split_once("proven     ")?.1)).collect();
    // The first is the cone of a, which has been gated.
    assert_eq!(proven, ["apex 2 (1 item)"], "{}", said.stderr);
    let markdown = std::fs::read_to_string(&report).unwrap();
    let table = markdown.split_once("## Apexes").unwrap().1;
    let numbers: Vec<&str> =
        table.lines().skip(4).take_while(|row| row.starts_with('|')).filter_map(|row| row.split(' ').nth(1)).collect();
    assert_eq!(numbers, ["1", "2"], "{markdown}");
}

#[test]
fn memory_that_was_not_measured_is_not_claimed_to_be_nothing() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let report = world.path("report.json");
    let gates: String = (1..=20).map(|n| format!("  - {{name: g{n}, run: 'true {n}'}}\n")).collect();
    let plan = format!("schemaVersion: v1\ngates:\n{gates}items: [{{name: a}}]\n");
    world.merge(&plan, &["--execute", "--report", report.to_str().unwrap()]).expect(0);
    for gate in world.report(&report)["items"][0]["gates"].as_array().unwrap() {
        assert_ne!(gate["attempts"][0]["peakMemoryBytes"], 0, "{gate:#}");
    }
}

#[test]
fn only_one_run_at_a_time_has_a_target() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (started, go) = (world.path("started"), world.path("go"));
    let plan = world.plan(&format!(
        "schemaVersion: v1\ngates: [{{name: g, run: 'touch {}; until [ -e {} ]; do sleep 0.02; done'}}]\nitems: [{{name: a}}]\n",
        started.display(),
        go.display()
    ));
    let first = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    wait_for("the first run's gate", || started.exists().then_some(()));
    let second = world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(4);
    assert!(second.stderr.contains(&format!("process {}", first.id())), "{}", second.stderr);
    std::fs::write(&go, "").unwrap();
    let first: crate::cli_world::Said = first.wait_with_output().unwrap().into();
    first.expect(0);
    let runs = std::fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().count();
    assert_eq!(runs, 1, "the refused run left a folder");
}

#[test]
fn status_tells_what_the_newest_run_did() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.lexpr(["status"]).expect(2);
    world.merge("schemaVersion: v1\nitems: [{name: a}]\n", &["--execute"]).expect(0);
    let said = world.lexpr(["status"]).expect(0);
    assert!(said.stdout.contains("finished, exit code 0") && said.stdout.contains("a"), "{}", said.stdout);
}

#[test]
fn invariant_6_ctrl_c_in_a_landing_lets_git_finish_what_it_is_at() {
    must_hear_interrupts();
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (started, go) = (world.path("started"), world.path("go"));
    let hook = world.repo().join(".git/hooks");
    std::fs::create_dir_all(&hook).unwrap();
    let hook = hook.join("reference-transaction");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = prepared ] || exit 0\ngrep -q refs/heads/main || exit 0\ntouch {}\nuntil [ -e {} ]; do sleep 0.02; done\n",
        started.display(),
        go.display()
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.heed_hooks();
    std::fs::write(&go, "").unwrap();
    let plan = world.plan("schemaVersion: v1\nitems: [{name: a}]\n");
    // The checks at the start prepare a transaction, too: those may pass.
    let mut command = world.command(["merge", plan.to_str().unwrap(), "--execute"]);
    let gate = "schemaVersion: v1\ngates: [{name: g, run: 'rm -f GO STARTED'}]\nitems: [{name: a}]\n"
        .replace("GO", go.to_str().unwrap())
        .replace("STARTED", started.to_str().unwrap());
    std::fs::write(&plan, gate).unwrap();
    let run = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    wait_for("the landing to begin", || (started.exists() && !go.exists()).then_some(()));
    rustix::process::kill_process_group(pid, rustix::process::Signal::INT).unwrap();
    std::fs::write(&go, "").unwrap();
    let said: crate::cli_world::Said = run.wait_with_output().unwrap().into();
    said.expect(130);
    assert_eq!(world.files_on_main(), ["README.md", "a"]);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_a_gate_configures_for_its_user_or_machine_reaches_nobody_else() {
    use std::os::unix::fs::FileTypeExt;
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let plan = "schemaVersion: v1\npolicy: {maxWorkers: 1}\ngates:\n  - name: g\n    run: |\n      git config --global --get user.nickname && exit 1\n      \
                git config --global user.nickname x && git config --system user.nickname y\n      test \"$(git config user.nickname)\" = x\n\
                items: [{name: a}, {name: b}]\n";
    world.merge(plan, &["--execute"]).expect(0);
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(!world.path("home/.gitconfig").exists());
}

/// Lands `a` while its gate moves main, which is not checked out, to the commit `to`.
fn land_while_main_moves(to: &str) -> (World, crate::cli_world::Said) {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("on", "main", &[("on", "1")])]);
    world.git(&["merge", "-q", "--ff-only", "on"]);
    world.git(&["branch", "further"]);
    world.git(&["checkout", "-q", "further"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Further"]);
    let once = world.path("once");
    let plan = format!(
        "schemaVersion: v1\ngates: [{{name: g, run: '[ -e {0} ] || {{ touch {0}; git --git-dir={1} update-ref refs/heads/main {2}; }}'}}]\nitems: [{{name: a}}]\n",
        once.display(),
        world.repo().join(".git").display(),
        world.git(&["rev-parse", to]),
    );
    let said = world.merge(&plan, &["--execute"]);
    (world, said)
}

#[test]
fn a_run_goes_on_from_where_somebody_else_moved_the_target() {
    let (world, said) = land_while_main_moves("further");
    said.expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "on"]);
    assert_eq!(world.git(&["merge-base", "main", "further"]), world.git(&["rev-parse", "further"]));
}

#[test]
fn a_target_that_somebody_took_commits_back_from_is_left_alone() {
    let (world, said) = land_while_main_moves("on~1");
    let said = said.expect(4);
    assert!(format!("{}{}", said.stdout, said.stderr).contains("took commits back"), "{}{}", said.stdout, said.stderr);
    assert_eq!(world.files_on_main(), ["README.md"]);
}

#[test]
fn a_conflict_with_an_item_of_an_earlier_batch_names_it() {
    let world = World::new(
        README,
        &[
            ("a", "main", &[("a", "1"), ("shared", "a")]),
            ("b", "main", &[("b", "1")]),
            ("c", "main", &[("shared", "c")]),
        ],
    );
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\npolicy: {performance: {batchSize: 1}}\nitems: [{name: a}, {name: b}, {name: c}]\n";
    let dry = world.merge(plan, &[]).expect(3);
    assert!(dry.stdout.contains("conflicts with a in shared"), "{}", dry.stdout);
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    assert!(said.stdout.contains("resolve the conflict of c with a"), "{}", said.stdout);
    let report = world.report(&report);
    assert_eq!(statuses(&report), ["a landed", "b landed", "c conflicted"]);
    assert_eq!(report["items"][2]["because"]["conflict"]["with"], "a", "{:#}", report["items"][2]);
}

#[test]
fn invariant_1_gates_of_one_command_and_two_names_are_two_gates() {
    // What a gate is told of itself it may judge by.
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")])]);
    let plan = "schemaVersion: v1
policy: { secondOpinion: false }
gates:
  - { name: build, run: '[ $LEXPR_GATE != lint ]' }
  - { name: lint, run: '[ $LEXPR_GATE != lint ]' }
items: [{ name: a }]
";
    let said = world.merge(plan, &["--execute"]).expect(3);
    assert!(said.stdout.contains("gate lint failed"), "{}", said.stdout);
}

#[test]
fn a_report_is_not_written_over_the_plan() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")])]);
    let text = "{\"schemaVersion\": \"1.0.0\", \"items\": [{\"name\": \"a\", \"gates\": []}]}";
    let plan = world.path("plan.json");
    std::fs::write(&plan, text).unwrap();
    let plan = plan.to_str().unwrap();
    world.lexpr(["merge", plan, "--execute", "--report", plan]).expect(2);
    assert_eq!(std::fs::read_to_string(plan).unwrap(), text);
}

#[test]
fn an_upstream_that_a_branch_lacks_is_said_at_its_place_in_the_plan() {
    let world = World::new(&[("f", "1\n")], &[("a", "main", &[("a.txt", "a")])]);
    let plan =
        "schemaVersion: v1\nitems:\n  - { name: a, gates: [] }\n  - { name: b, branch: 'a@{upstream}', gates: [] }\n";
    let said = world.merge(plan, &[]).expect(2);
    assert!(said.stderr.contains("plan.yaml:4:"), "{}", said.stderr);
    let found = "schemaVersion: v1\nitems:\n  - { name: a, branch: ':/Work on a', gates: [] }\n";
    world.merge(found, &[]).expect(0);
}
