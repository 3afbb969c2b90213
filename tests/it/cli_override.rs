//! `--override`: who may let an item land whose gates do not pass, and where it is told.

use std::fs;

use serde_json::Value;

use crate::cli_world::{NewBranch, Said, World, statuses};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];
const BRANCHES: &[NewBranch<'_>] = &[
    ("a", "main", &[("a", "1")]),
    ("bad", "main", &[("bad", "1")]),
    ("c", "main", &[("c", "1")]),
    ("on-bad", "bad", &[("d", "1")]),
];

/// What every gate below is: red where the file `bad` is.
const GATES: &str = "[{ name: unit, run: 'test ! -e bad' }, { name: lint, run: 'true' }]";

fn plan(strategy: &str) -> String {
    format!(
        "schemaVersion: v1\npolicy: {{ overrides: {{ adminGreen: {{ allowedUsers: [ann@example.com] }} }} }}\n\
         gates: {GATES}\nitems:\n  - {{ name: a }}\n  - {{ name: bad, strategy: {strategy} }}\n  - {{ name: c }}\n"
    )
}

fn world() -> World {
    let world = World::new(README, BRANCHES);
    for (key, value) in [("user.name", "Ann Example"), ("user.email", "ann@example.com")] {
        world.git(&["config", key, value]);
    }
    world
}

const GRANT: [&str; 4] = ["--override", "bad", "--reason", "the runner\n has no disk"];
const NOTE: &str = "unit failed, lint was not run; by Ann Example <ann@example.com>: the runner has no disk";

fn land(world: &World, plan: &str) -> Said {
    world.merge(
        plan,
        &[
            &["--execute", "--report", "r.json", "--report", "r.md", "--report", "r.xml", "--report", "r.html"],
            &GRANT[..],
        ]
        .concat(),
    )
}

fn receipts(report: &Value) -> Vec<Value> {
    let landings = report["landings"].as_array().unwrap();
    let file = |landing: &Value| fs::read(landing["receipt"].as_str().unwrap()).unwrap();
    landings.iter().map(|landing| serde_json::from_slice(&file(landing)).unwrap()).collect()
}

#[test]
fn an_overridden_item_is_told_as_that_in_commit_receipt_reports_and_verify_however_it_is_merged() {
    for strategy in ["merge", "squash", "rebase"] {
        let world = world();
        let said = land(&world, &plan(strategy)).expect(0);
        assert!(said.stdout.contains(&format!("overridden bad: {NOTE}\n")), "{}", said.stdout);
        assert!(said.stdout.contains("3 of 3 items landed on main in "), "{}", said.stdout);
        assert!(said.stdout.contains("Next: make unit pass on main, where it is red now."), "{}", said.stdout);

        let trailer = "%(trailers:key=Lexpr-Override,valueonly,unfold)";
        let told = world.git(&["log", "--first-parent", &format!("--format={trailer}"), "-1", "main"]);
        assert_eq!(told.trim(), NOTE, "{strategy}");
        assert_eq!(world.git(&["log", "--grep", "^Lexpr-Override: ", "--oneline", "main"]).lines().count(), 1);

        let report = world.report(&world.repo().join("r.json"));
        assert_eq!(statuses(&report), ["a landed", "bad landed", "c landed"]);
        assert_eq!(report["summary"]["overridden"], 1);
        let item = &report["items"][1];
        assert_eq!(item["overridden"]["by"], "Ann Example <ann@example.com>");
        assert_eq!(item["overridden"]["reason"], "the runner has no disk");
        let gates = item["gates"].as_array().unwrap().iter();
        assert_eq!(gates.map(|gate| &gate["status"]).collect::<Vec<_>>(), ["failed", "notRun"]);
        assert_eq!(report["redOnTarget"][0], "unit");

        let [first, last] = &receipts(&report)[..] else { panic!("{}", report["landings"]) };
        assert_eq!(first["overridden"], Value::Null);
        assert_eq!(last["overridden"]["item"], "bad");
        assert_eq!(last["gates"].as_array().unwrap().len(), 0, "what is overridden is not proven");

        let run = report["run"].as_str().unwrap();
        let again = world.lexpr(["gate", "run", "bad", "unit", run]).expect(3).stderr;
        assert!(again.contains("gate unit of bad at ") && !again.contains("warning"), "{again}");
        let verified = world.lexpr(["verify", run]).expect(0).stdout;
        assert!(verified.contains(&format!("override: no proof: {NOTE}\n")), "{verified}");
        let why = world.lexpr(["why", "bad", run]).expect(0).stdout;
        assert!(why.contains(&format!(", overridden: {NOTE}.")), "{why}");
        let markdown = fs::read_to_string(world.repo().join("r.md")).unwrap();
        assert!(markdown.contains("| 2 | `bad` | overridden | unit failed, lint was not run; by Ann"), "{markdown}");
        let page = fs::read_to_string(world.repo().join("r.html")).unwrap();
        assert!(page.contains("--override bad --reason &#39;the runner has no disk&#39;</code>"), "{page}");
        assert!(page.contains("<span class=\"badge overridden\">! overridden</span>"), "{page}");
        let junit = fs::read_to_string(world.repo().join("r.xml")).unwrap();
        assert!(junit.contains("failures=\"0\" errors=\"0\""), "{junit}");
        assert!(junit.contains("<skipped message=\"overridden: exit status 1\"/>"), "{junit}");
    }
}

#[test]
fn a_receipt_that_hides_an_override_is_found_out() {
    let world = world();
    land(&world, &plan("merge")).expect(0);
    let report = world.report(&world.repo().join("r.json"));
    let file = report["landings"][1]["receipt"].as_str().unwrap();
    let mut receipt: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    receipt["overridden"]["reason"] = "somebody else said so".into();
    fs::write(file, receipt.to_string()).unwrap();
    let said = world.lexpr(["verify", file]).expect(3).stdout;
    assert!(said.contains("differs   commit:") && said.contains("differs   overridden.reason:"), "{said}");
    receipt.as_object_mut().unwrap().remove("overridden");
    fs::write(file, receipt.to_string()).unwrap();
    let said = world.lexpr(["verify", file]).expect(3).stdout;
    assert!(said.contains("differs   commit:") && said.contains("differs   overridden"), "{said}");
}

#[test]
fn a_gate_that_was_overridden_is_red_on_the_target_and_charged_to_nobody_in_the_next_run() {
    let world = world();
    let with_one_behind = format!("{}  - {{ name: on-bad }}\n", plan("squash"));
    let said = land(&world, &with_one_behind).expect(3);
    assert!(said.stdout.contains("depends on bad, which is overridden and so lands last"), "{}", said.stdout);
    let report = world.report(&world.repo().join("r.json"));
    assert_eq!(statuses(&report), ["a landed", "bad landed", "c landed", "on-bad blocked"]);
    assert_eq!(report["items"][3]["because"]["because"], "dependencyOverridden");

    world.merge(&with_one_behind, &["--execute", "--report", "r.json"]).expect(3);
    let report = world.report(&world.repo().join("r.json"));
    assert_eq!(statuses(&report), ["a alreadyLanded", "bad alreadyLanded", "c alreadyLanded", "on-bad unjudged"]);
    assert_eq!(report["items"][3]["because"]["because"], "redOnTarget");
}

#[test]
fn only_who_the_plan_names_overrides_and_only_with_a_reason_where_one_is_required() {
    let world = world();
    let refused = |plan: &str, args: &[&str], why: &str| {
        for mode in [&["--execute"][..], &[]] {
            let said = world.merge(plan, &[mode, args].concat()).expect(2);
            assert!(said.stderr.contains(why), "{}", said.stderr);
        }
    };
    refused(&plan("merge"), &["--override", "bda", "--reason", "x"], "no such item\n  hint: did you mean bad?");
    refused(&plan("merge"), &["--override", "bad"], "this plan wants a reason");
    refused(&plan("merge"), &["--override", "bad", "--reason", " \n"], "this plan wants a reason");
    refused(&plan("merge"), &["--override", "bad", "--reason", &"x".repeat(501)], "longer than 500 characters");
    for (reason, why) in [
        ("a\u{1b}[31m", "--reason holds the control character U+001B"),
        ("a\u{202e}b", "--reason holds the control character U+202E"),
        ("a\u{2066}b", "--reason holds the control character U+2066"),
        ("\u{200b}\u{2060} \u{feff}", "--reason holds only characters that show nothing"),
    ] {
        refused(&plan("merge"), &["--override", "bad", "--reason", reason], why);
    }
    refused(&plan("merge"), &["--reason", "x"], "--override");
    let nobody = plan("merge").replace("allowedUsers: [ann@example.com]", "requireReason: false");
    refused(&nobody, &GRANT, "this plan lets nobody override a gate");
    let nothing = format!("schemaVersion: v1\ngates: {GATES}\nitems: [{{ name: bad }}]\n");
    refused(&nothing, &GRANT, "this plan lets nobody override a gate");
    world.git(&["config", "user.email", "eve@example.com"]);
    refused(&plan("merge"), &GRANT, "Ann Example <eve@example.com> may not override gates of this plan");
    assert_eq!(world.files_on_main(), ["README.md"]);
    assert!(!world.repo().join(".git/lexpr/runs").exists() || world.lexpr(["runs"]).stdout.is_empty());

    // By name, by both, and by address in other letters; a reason is not always wanted.
    for user in ["Ann Example", "'Ann Example <eve@example.com>'", "EVE@example.com"] {
        let theirs = plan("merge").replace("[ann@example.com]", &format!("[{user}], requireReason: false"));
        let said = world.merge(&theirs, &["--override", "bad"]).expect(0);
        assert!(said.stderr.contains("bad: to land after all others"), "{}", said.stderr);
    }
    assert_eq!(world.files_on_main(), ["README.md"]);
}

#[test]
fn a_reason_may_begin_with_a_hyphen_and_a_dry_run_names_who_comes_last() {
    let world = world();
    let said =
        world.merge(&plan("merge"), &["--override", "bad", "--reason", "--- a/b", "--report", "r.json"]).expect(0);
    assert!(said.stdout.contains(" bad; lands last, overridden if its gates do not pass (--- a/b)"), "{}", said.stdout);
    assert!(said.stdout.contains(" c; gates: "), "{}", said.stdout);
    let items = &world.report(&world.repo().join("r.json"))["items"];
    assert_eq!((&items[0]["mayBeOverridden"], &items[1]["mayBeOverridden"]), (&Value::Null, &Value::Bool(true)));
    let written = |name: &str| {
        world.merge(&plan("merge"), &["--override", "bad", "--reason", "x", "--report", name]).expect(0);
        fs::read_to_string(world.repo().join(name)).unwrap()
    };
    let last = "lands last, overridden if its gates do not pass (x)";
    let (page, markdown, junit) = (written("r.html"), written("r.md"), written("r.xml"));
    assert!(junit.contains(&format!("<system-out>{last}</system-out>")), "{junit}");
    assert_eq!(junit.matches(last).count(), 1, "{junit}");
    assert!(page.contains("plan.yaml --override bad --reason x --report FILE.html</code>"), "{page}");
    assert_eq!(markdown.matches(last).count(), 1, "{markdown}");
    assert!(markdown.contains(&format!("| `bad` | lands | {last} |")), "{markdown}");
    assert!(page.contains(&format!("<title>bad: lands last: {last}</title><path ")), "a shape of its own: {page}");
    assert!(page.contains(&format!("! lands last</span></td><td class=\"why\">{last}</td>")), "{page}");
    assert_eq!(page.matches(last).count(), 2, "nobody else is marked: {page}");
    world.merge(&plan("merge"), &["--execute", "--override", "bad", "--reason", "--- a/b"]).expect(0);
    let told = world.git(&["log", "-1", "--format=%B", "main"]);
    assert!(told.contains(">: --- a/b"), "{told}");
}

#[test]
fn of_an_override_that_conflicts_a_dry_run_says_that_a_conflict_is_not_overridden() {
    let world = world();
    world.git(&["checkout", "-q", "-b", "clashes", "main"]);
    world.write("a", "another");
    world.git(&["add", "a"]);
    world.git(&["commit", "-q", "-m", "clashes"]);
    world.git(&["checkout", "-q", "main"]);
    let clashing = plan("merge").replace("{ name: bad,", "{ name: clashes,");
    let said = world.merge(&clashing, &["--override", "clashes", "--reason", "x"]).expect(3);
    assert!(!said.stderr.contains("whether the gates pass or not"), "{}", said.stderr);
    assert!(said.stdout.contains("; --override does not help: it is for gates alone"), "{}", said.stdout);
}

#[test]
fn a_dry_run_says_to_run_again_for_what_waits_behind_an_override_and_blames_nobody() {
    let world = world();
    let behind = plan("merge").replace("name: c", "name: c, deps: [bad]");
    let said = world.merge(&behind, &["--override", "bad", "--reason", "x"]).expect(3);
    let next = "Next: run the same command with --execute to gate and land, and once more for the 1 item behind an override.\n";
    assert!(said.stdout.ends_with(next), "{}", said.stdout);
}

#[test]
fn invariant_6_a_run_with_an_override_is_resumed_with_it() {
    let world = world();
    // What is in the way of the second landing, and is not there at the start.
    let checkout =
        format!("[{{ name: unit, run: 'test ! -e bad || {{ touch {}/bad; exit 1; }}' }}]", world.repo().display());
    let text = plan("merge").replace(GATES, &checkout);
    world.merge(&text, &[&["--execute"], &GRANT[..]].concat()).expect(4);
    assert_eq!(world.files_on_main(), ["README.md", "a", "c"]);
    fs::remove_file(world.repo().join("bad")).unwrap();
    let said = world.lexpr(["resume", "--report", "r.json"]).expect(0);
    assert!(said.stdout.contains("overridden bad: unit failed; by Ann Example"), "{}", said.stdout);
    assert_eq!(world.files_on_main(), ["README.md", "a", "bad", "c"]);
    let attempts =
        world.report(&world.repo().join("r.json"))["items"][1]["gates"][0]["attempts"].as_array().unwrap().len();
    assert_eq!(attempts, 2, "the gate, and its second opinion, both before the stop");
}
