//! The smaller promises of the command line, each through the real binary.

use crate::cli_world::{Said, World, statuses, wait_for};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

#[test]
fn every_shell_gets_completions_and_help_names_every_command() {
    let world = World::new(README, &[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(world.lexpr(["completions", shell]).expect(0).stdout.contains("lexpr"), "{shell}");
    }
    let help = world.lexpr(["--help"]).expect(0).stdout;
    for command in [
        "merge",
        "init",
        "plan",
        "check",
        "order",
        "forecast",
        "schema",
        "status",
        "doctor",
        "demo",
        "completions",
        "man",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in\n{help}");
    }
    assert!(!help.contains("guard"), "{help}");
    assert!(world.lexpr(["--version"]).expect(0).stdout.starts_with("lexpr "));
}

#[test]
fn exit_code_1_is_for_lexprs_own_failures() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.write(".git/lexpr", "in the way");
    let said = world.merge("schemaVersion: v1\nitems: [{name: a}]\n", &["--execute"]).expect(1);
    assert!(said.stderr.starts_with("error: making"), "{}", said.stderr);
}

#[test]
fn exit_code_2_is_for_a_plan_that_does_not_fit_the_repository_and_nothing_is_touched() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    for (plan, complaint) in [
        ("schemaVersion: v1\nitems: [{name: b}]\n", "there is no branch or revision"),
        ("schemaVersion: v1\ntarget: mainn\nitems: [{name: a}]\n", "did you mean"),
        ("schemaVersion: v1\nitems: [{name: a, sha: '1111111111111111111111111111111111111111'}]\n", "has moved"),
        (
            "schemaVersion: v1\nitems: [{name: a, gates: [{name: g, run: x, runtime: ci-service}]}]\n",
            "has to be named in `policy.runtimes`",
        ),
    ] {
        let said = world.merge(plan, &["--execute"]).expect(2);
        assert!(said.stderr.contains(complaint), "{complaint}:\n{}", said.stderr);
    }
    assert!(!world.repo().join(".git/lexpr/runs").exists());
}

#[test]
fn invariant_7_a_memory_limit_that_is_always_exceeded_slows_a_run_and_never_hangs_it() {
    let world =
        World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])]);
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\npolicy: {maxWorkers: 3, performance: {maxMemoryMB: 1}}\n\
                gates: [{name: g, run: 'true'}]\nitems: [{name: a}, {name: b}, {name: c}]\n";
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(0);
    assert!(said.stderr.contains("memory"), "{}", said.stderr);
    let report = world.report(&report);
    assert_eq!(report["summary"]["concurrency"]["peakWorkers"], 1, "{:#}", report["summary"]);
}

#[test]
fn a_run_is_reported_in_every_form_and_each_item_explained() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("broken", "main", &[("b", "1")])]);
    let none = world.lexpr(["report"]).expect(2);
    assert!(none.stderr.contains("lexpr merge PLAN --execute"), "{}", none.stderr);
    let plan = "schemaVersion: v1\ngates: [{name: g, run: '! test -e b'}]\nitems: [{name: a}, {name: broken}]\n";
    world.merge(plan, &["--execute"]).expect(3);
    let page = world.path("r.html");
    world.lexpr(["report", "-o", page.to_str().unwrap()]).expect(0);
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    let starts =
        [("json", "{"), ("markdown", "# 1 of 2"), ("junit", "<?xml"), ("html", "<!doctype"), ("trace", "{\"displ")];
    for (format, start) in starts {
        let said = world.lexpr(["report", "--format", format]).expect(0);
        assert!(said.stdout.starts_with(start), "{format}: {}", said.stdout);
    }
    assert!(world.lexpr(["report", "-o", "x.pdf"]).expect(2).stderr.contains("--format"));
    let why = world.lexpr(["why", "broken"]).expect(0).stdout;
    assert!(why.starts_with("broken is failed: gate g failed.") && why.contains("Mend g on broken"), "{why}");
    assert!(world.lexpr(["why", "brokn"]).expect(2).stderr.contains("did you mean broken?"));
}

#[test]
fn a_landing_leaves_a_receipt_that_names_what_proves_it() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let base = world.main();
    world
        .merge("schemaVersion: v1\ngates: [{name: g, run: 'echo seen'}]\nitems: [{name: a}]\n", &["--execute"])
        .expect(0);
    let runs: Vec<_> = std::fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().collect();
    let run = runs[0].as_ref().unwrap().path();
    let receipt = world.report(&run.join("receipts/1.json"));
    assert_eq!(receipt["base"], base);
    assert_eq!(receipt["composite"], world.main());
    assert_eq!(receipt["tree"], world.git(&["rev-parse", "main^{tree}"]));
    assert_eq!(receipt["items"][0]["head"], world.git(&["rev-parse", "a"]));
    assert_eq!(receipt["gates"][0]["name"], "g");
    let log = receipt["gates"][0]["log"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "seen\n");
    // What was made to get there is gone.
    assert!(!run.join("composites.git").exists());
}

/// How a report of each form begins, of which `--report` knows the ending and `lexpr report` the name.
const FORMS: [(&str, &str, &str); 5] = [
    ("json", "json", "{"),
    ("md", "markdown", "# "),
    ("xml", "junit", "<?xml"),
    ("html", "html", "<!doctype html>"),
    ("trace", "trace", "{\"displayTimeUnit\""),
];

#[test]
fn a_dry_run_and_a_run_that_goes_on_are_reported_in_every_form() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let (started, go) = (world.path("started"), world.path("go"));
    let plan = world.plan(&format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 1}}\ngates: [{{name: g, run: 'touch {}; until [ -e {} ]; do sleep 0.02; done'}}]\n\
         items: [{{name: a}}, {{name: b}}]\n",
        started.display(),
        go.display()
    ));
    let plan = plan.to_str().unwrap();
    let file = |ending: &str| world.path(&format!("dry.{ending}"));
    let reports: Vec<String> =
        FORMS.iter().flat_map(|(ending, ..)| ["--report".to_owned(), file(ending).display().to_string()]).collect();
    world.lexpr(["merge", plan].into_iter().chain(reports.iter().map(String::as_str))).expect(0);
    for (ending, _, start) in FORMS {
        let text = std::fs::read_to_string(file(ending)).unwrap();
        assert!(text.starts_with(start), "{ending}: {text}");
        assert!(text.contains("dry run") || text.contains("Dry run") || text.contains("dryRun"), "{ending}: {text}");
    }
    let page = std::fs::read_to_string(file("html")).unwrap();
    assert!(page.contains("<li>expected: "), "what it would cost is not in the page: {page}");

    let mut run = world.start(["merge", plan, "--execute"]);
    wait_for("the first gate", || started.exists().then_some(()));
    for (_, form, start) in FORMS {
        let said = world.lexpr(["report", "--format", form]).expect(0);
        assert!(said.stdout.starts_with(start), "{form}: {}", said.stdout);
    }
    let of = |form: &str| world.lexpr(["report", "--format", form]).expect(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&of("json")).unwrap();
    assert_eq!((&report["finished"], &report["isDead"]), (&false.into(), &false.into()));
    let page = of("html");
    assert!(page.contains("goes on: <code>lexpr merge ") && page.contains("--execute</code>"), "{page}");
    std::fs::write(&go, "").unwrap();
    assert!(run.wait().unwrap().success());
}

#[test]
fn the_command_that_a_report_shows_does_what_was_done() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.git(&["branch", "rel", "main"]);
    let main = world.main();
    let plan = world.path("the plan.yaml");
    std::fs::write(&plan, "schemaVersion: v1\nitems: [{name: a, gates: [{name: g, run: 'true'}]}]\n").unwrap();
    let given = [
        ["--target", "rel"],
        ["--max-workers", "1"],
        ["--gate-timeout", "77"],
        ["--runtime", "local"],
        ["--artifact-dir", "arti facts"],
        ["--deadline", "600"],
    ];
    let given = given.concat().into_iter().chain(["--wait", "--no-sign", "--afresh"]);
    let html = world.path("r.html");
    let told = |page: &str| {
        let (before, _) = page.split_once("</code>, in <code>").unwrap();
        before.rsplit_once("<code>").unwrap().1.replace("&#39;", "'")
    };
    let args = ["merge", plan.to_str().unwrap(), "--execute", "--report", html.to_str().unwrap()];
    world.lexpr(args.into_iter().chain(given)).expect(0);
    let command = told(&world.lexpr(["report", "--format", "html"]).expect(0).stdout);
    let expected = format!(
        "lexpr merge '{}' --execute --target rel --max-workers 1 --gate-timeout 77 --runtime local --artifact-dir 'arti facts' \
         --deadline 600 --wait --no-sign --afresh",
        plan.display()
    );
    assert_eq!(command, expected);
    assert!(std::fs::read_to_string(&html).unwrap().replace("&#39;", "'").contains(&expected));
    assert_eq!(world.main(), main, "it landed on rel");
    // As a shell reads it, it lands there as well, and nothing is left to land.
    let binary = format!("'{}' {}", env!("CARGO_BIN_EXE_lexpr"), command.strip_prefix("lexpr ").unwrap());
    let again: crate::cli_world::Said = world.shell(&binary).output().unwrap().into();
    assert!(again.expect(0).stdout.contains("landed on rel"));
    assert_eq!(world.main(), main);

    // A dry run; who may push where is nobody's business.
    let dry = ["merge", plan.to_str().unwrap(), "--push", "https://t0ken@example.com/x.git", "--max-workers", "auto"];
    world.lexpr(dry.into_iter().chain(["--report", html.to_str().unwrap()])).expect(0);
    let page = std::fs::read_to_string(&html).unwrap().replace("&#39;", "'");
    let expected = "the plan.yaml' --max-workers auto --push https://example.com/x.git --report FILE.html</code>";
    assert!(page.contains(expected) && !page.contains("t0ken"), "{page}");
}

/// What a receipt's file says of a pass, and what the report calls the same.
const OF_A_PASS: [(&str, &str); 9] = [
    ("name", "gate"),
    ("key", "key"),
    ("foundBy", "earlierRun"),
    ("byInputs", "byInputs"),
    ("warmSlot", "warmSlot"),
    ("flaky", "flaky"),
    ("durationMs", "durationMs"),
    ("log", "log"),
    ("logDigest", "logDigest"),
];

#[test]
fn the_page_of_a_run_holds_what_its_receipts_say() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "<1>")])]);
    let plan = "schemaVersion: v1\npolicy: {maxWorkers: 1, retries: {wobbly: {maxAttempts: 2}}}\n\
         gates:\n  - {name: whole, run: 'echo seen', clean: true}\n  - {name: part, run: 'true', inputs: [a]}\n\
         \x20 - {name: wobbly, run: '[ $LEXPR_ATTEMPT = 2 ]'}\nitems: [{name: a}, {name: b, strategy: squash}]\n";
    let main = world.main();
    world.merge(plan, &["--execute"]).expect(0);
    // Once more from the same base: nothing runs, and what is known proves it.
    world.git(&["reset", "--hard", &main]);
    world.merge(plan, &["--execute"]).expect(0);
    let mut runs: Vec<_> =
        std::fs::read_dir(world.repo().join(".git/lexpr/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    runs.sort();
    let mut known = 0;
    for run in &runs {
        let id = run.file_name().unwrap().to_str().unwrap();
        let page = world.lexpr(["report", id, "--format", "html"]).expect(0).stdout;
        let report: serde_json::Value =
            serde_json::from_str(&world.lexpr(["report", id, "--format", "json"]).expect(0).stdout).unwrap();
        assert_eq!(
            std::fs::read_dir(run.join("receipts")).unwrap().count(),
            report["landings"].as_array().unwrap().len()
        );
        for landing in report["landings"].as_array().unwrap() {
            let receipt = world.report(std::path::Path::new(landing["receipt"].as_str().unwrap()));
            let gates = receipt["gates"].as_array().unwrap();
            let proof = landing["proof"].as_array().unwrap();
            assert_eq!(gates.len(), proof.len(), "{receipt:#}\n{landing:#}");
            for (gate, proven) in gates.iter().zip(proof) {
                for (field, as_told) in OF_A_PASS {
                    assert_eq!(gate[field], proven[as_told], "{field} of {gate:#}");
                }
                known += usize::from(gate["foundBy"].is_string());
            }
            let told = ["planDigest", "base", "from", "composite", "tree"].map(|field| &receipt[field]);
            let of_items = receipt["items"].as_array().unwrap().iter();
            let of_items = of_items.flat_map(|item| ["name", "branch", "head"].map(|field| &item[field]));
            let of_gates = gates.iter().flat_map(|gate| ["name", "log", "logDigest"].map(|field| &gate[field]));
            for value in told.into_iter().chain(of_items).chain(of_gates) {
                let value = value.as_str().unwrap();
                assert!(page.contains(&format!("<code>{value}</code>")), "{value} is not in the page of {id}");
            }
        }
        assert!(page.contains("by its inputs alone") && page.contains("having failed on the same tree"), "{page}");
    }
    assert!(known >= 3, "the second run rests on what the first one found");
}

#[test]
fn artifacts_go_where_they_were_asked_to() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = "schemaVersion: v1\nitems:\n  - name: a\n    gates: [{name: g, run: 'mkdir -p x/y; echo 1 > x/r.xml; echo 2 > x/y/r.xml', artifacts: ['x/**/*.xml', 'none/*']}]\n";
    let report = world.path("report.json");
    world.merge(plan, &["--execute", "--artifact-dir", "../kept", "--report", report.to_str().unwrap()]).expect(0);
    let report = world.report(&report);
    let attempt = &report["items"][0]["gates"][0]["attempts"][0];
    let mut stored: Vec<String> = attempt["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| std::fs::read_to_string(artifact["stored"].as_str().unwrap()).unwrap())
        .collect();
    stored.sort();
    assert_eq!(stored, ["1\n", "2\n"]);
    assert_eq!(attempt["missingArtifacts"][0], "none/*");
    assert!(world.path("kept").is_dir());
}

#[test]
fn the_markdown_report_is_added_to_the_summary_of_a_ci_step() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let (plan, summary) = (world.plan("schemaVersion: v1\nitems: [{name: a}]\n"), world.path("summary.md"));
    std::fs::write(&summary, "before\n").unwrap();
    let mut command = world.command(["merge", plan.to_str().unwrap(), "--execute"]);
    let said: Said = command.env("GITHUB_STEP_SUMMARY", &summary).output().unwrap().into();
    said.expect(0);
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(summary.starts_with("before\n") && summary.contains("| `a` | landed |"), "{summary}");
}

#[test]
fn a_bare_repository_lands() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let bare = world.path("bare.git");
    world.git(&["clone", "-q", "--mirror", ".", bare.to_str().unwrap()]);
    world
        .merge(
            "schemaVersion: v1\ngates: [{name: g, run: 'test -e a'}]\nitems: [{name: a}]\n",
            &["--execute", "--repo", bare.to_str().unwrap()],
        )
        .expect(0);
    assert_eq!(world.git(&["--git-dir", bare.to_str().unwrap(), "ls-tree", "--name-only", "main"]), "README.md\na");
}

#[test]
fn a_branch_that_contains_another_depends_on_it_whether_the_plan_says_so_or_not() {
    let world = World::new(README, &[("low", "main", &[("low", "1")]), ("high", "low", &[("high", "1")])]);
    let report = world.path("report.json");
    let plan = "schemaVersion: v1\nitems:\n  - name: high\n  - name: low\n    gates: [{name: g, run: 'false'}]\n";
    let said = world.merge(plan, &["--execute", "--report", report.to_str().unwrap()]).expect(3);
    assert!(said.stderr.contains("implied"), "{}", said.stderr);
    let report = world.report(&report);
    assert_eq!(statuses(&report), ["low failed", "high blocked"]);
    assert_eq!(report["items"][1]["implied"][0], "low");
}

#[test]
fn names_with_spaces_slashes_and_umlauts_land_and_leave_safe_paths() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")])]);
    let plan = "schemaVersion: v1\nitems:\n  - {name: 'über / alles', branch: a, gates: [{name: 'e2e / x: y', run: 'true'}]}\n  - {name: 'b c', branch: b}\n";
    world.merge(plan, &["--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["README.md", "a", "b"]);
}

#[test]
fn a_gate_that_is_not_required_never_keeps_an_item_from_landing() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let plan = "schemaVersion: v1\npolicy: {optionalGates: [lint]}\ngates: [{name: lint, run: 'false'}, {name: unit, run: 'true'}]\nitems: [{name: a}]\n";
    world.merge(plan, &["--execute"]).expect(0);
}

#[test]
fn a_branch_that_merged_main_into_itself_is_rebased_without_that_merge() {
    let text = |fifth: &str| format!("1\n2\n3\n4\n{fifth}\n6\n7\n8\n9\n");
    let world = World::new(&[("a", &text("5"))], &[("f", "main", &[("f1", "1")])]);
    let on_main = |fifth: &str| {
        world.write("a", &text(fifth));
        world.git(&["commit", "-qam", fifth]);
    };
    on_main("five");
    world.git(&["checkout", "-q", "f"]);
    world.git(&["merge", "-q", "--no-edit", "main"]);
    world.write("f2", "2");
    world.git(&["add", "f2"]);
    world.git(&["commit", "-qm", "Second"]);
    world.git(&["checkout", "-q", "main"]);
    on_main("cinq");
    world.merge("schemaVersion: v1\nitems: [{name: f, strategy: rebase}]\n", &["--execute"]).expect(0);
    assert_eq!(world.files_on_main(), ["a", "f1", "f2"]);
    assert_eq!(world.git(&["show", "main:a"]), text("cinq").trim_end());
    assert_eq!(world.git(&["log", "--format=%s", "-3", "main"]), "Second\nWork on f\ncinq");
}

#[test]
fn a_relative_remote_is_where_git_push_finds_it() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.git(&["clone", "-q", "--bare", ".", "../hub.git"]);
    world.git(&["remote", "add", "hub", "../hub.git"]);
    world.merge("schemaVersion: v1\nitems: [{name: a}]\n", &["--execute", "--push", "hub"]).expect(0);
    assert!(world.git(&["ls-remote", "hub", "refs/heads/main"]).starts_with(&world.main()));
}

#[test]
fn what_cannot_be_written_at_the_end_is_refused_at_the_start() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let before = world.main();
    let plan = "schemaVersion: v1\nitems: [{name: a}]\n";
    for args in [
        ["--report", "/nonexistent/x.json"],
        ["--metrics-file", "/nonexistent/m"],
        ["--artifact-dir", "/dev/null/x"],
        ["--report", "x.txt"],
    ] {
        world.merge(plan, &["--execute", args[0], args[1]]).expect(2);
    }
    world.merge(plan, &["--execute", "--progress", "json", "--report", "-"]).expect(2);
    assert_eq!(world.main(), before);
}

#[test]
fn the_beginning_of_several_ids_lists_the_runs_that_have_it() {
    let world = World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])]);
    let plan = "schemaVersion: v1\nitems: [{name: a}]\n";
    world.merge(plan, &["--execute"]).expect(0);
    world.merge(plan, &["--execute"]).expect(0);
    let mut runs: Vec<String> = std::fs::read_dir(world.repo().join(".git/lexpr/runs"))
        .unwrap()
        .map(|run| run.unwrap().file_name().into_string().unwrap())
        .collect();
    runs.sort();
    let said = world.lexpr(["status", "2"]).expect(2).stderr;
    let listed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(listed, [&runs[1], &runs[0], "hint: give as much of the id as only one run has"], "{said}");
    let said = world.lexpr(["status", "x"]).expect(2).stderr;
    assert_eq!(said, format!("error: no run begins with \"x\"; the newest is {}\n", runs[1]));
    world.lexpr(["status", &runs[0]]).expect(0);
}

#[test]
fn status_tells_a_run_that_was_killed_from_one_that_goes_on() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    let started = world.path("started");
    let gate = format!("touch {}; sleep 1000", started.display());
    let plan = world.plan(&format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: a}}]\n"));
    let mut run = world.start(["merge", plan.to_str().unwrap(), "--execute"]);
    crate::cli_world::wait_for("the gate", || started.exists().then_some(()));
    assert!(!world.lexpr(["status"]).expect(0).stderr.contains("ended from outside"));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(world.lexpr(["status"]).expect(0).stderr.contains("ended from outside"));
}

#[test]
fn a_branch_without_common_history_conflicts_and_says_why() {
    let world = World::new(README, &[]);
    world.git(&["checkout", "-q", "--orphan", "orphan"]);
    world.git(&["commit", "-q", "-m", "Alone"]);
    world.git(&["checkout", "-q", "main"]);
    let said = world.merge("schemaVersion: v1\nitems: [{name: orphan}]\n", &[]).expect(3);
    assert!(said.stdout.contains("no history in common"), "{}", said.stdout);
}

#[test]
fn a_dependency_that_follows_from_the_plans_own_needs_no_warning() {
    let world = World::new(
        README,
        &[("low", "main", &[("l", "1")]), ("mid", "low", &[("m", "1")]), ("high", "low", &[("h", "1")])],
    );
    let plan = "schemaVersion: v1\nitems: [{name: low}, {name: mid, deps: [low]}, {name: high, deps: [mid]}]\n";
    assert_eq!(world.merge(plan, &[]).expect(0).stderr, "");
}

#[test]
fn every_command_has_a_manual_page() {
    let world = World::new(&[("README.md", "")], &[]);
    assert!(world.lexpr(["man"]).expect(0).stdout.contains(".TH lexpr 1"));
    let folder = world.path("man/man1");
    world.lexpr(["man", "--output", folder.to_str().unwrap()]).expect(0);
    for page in ["lexpr.1", "lexpr-merge.1", "lexpr-cache-explain.1"] {
        assert!(std::fs::read_to_string(folder.join(page)).unwrap().contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(!folder.join("lexpr-guard.1").exists(), "what lexpr starts by itself has none");
}
