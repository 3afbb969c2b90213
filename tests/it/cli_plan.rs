//! `lexpr plan`: plans made for people, through the real binary.

use std::fs;

use crate::cli_world::World;

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

#[test]
fn a_plan_is_written_with_the_nearest_dependencies_and_without_what_is_merged() {
    let world = World::new(
        README,
        &[
            ("feature/a", "main", &[("a", "1")]),
            ("feature/b", "feature/a", &[("b", "1")]),
            ("feature/c", "feature/b", &[("c", "1")]),
            ("feature/free", "main", &[("d", "1")]),
            ("feature/old", "main", &[("old", "1")]),
            ("other", "main", &[("other", "1")]),
        ],
    );
    world.git(&["merge", "-q", "--no-edit", "feature/old"]);
    let said = world.lexpr(["plan", "feature/*", "--gate", "test=make test", "--gate", "lint=x=y"]).expect(0);
    let expected = "\
schemaVersion: v1
target: main
gates:
  - { name: test, run: make test }
  - { name: lint, run: \"x=y\" }
items:
  - name: feature/a
  - name: feature/b
    deps:
      - feature/a # its head is in this branch
  - name: feature/c
    deps:
      - feature/b # its head is in this branch
  - name: feature/free
  # Left out: feature/old, in main
";
    assert_eq!(said.stdout, expected);
    assert_eq!(said.stderr, "left out feature/old: in main\n");
    assert_eq!(
        world.lexpr(["plan", "feature/*", "--gate", "test=make test", "--gate", "lint=x=y"]).expect(0).stdout,
        expected
    );
    let plan = world.plan(&said.stdout);
    world.lexpr(["check", plan.to_str().unwrap()]).expect(0);
}

#[test]
fn whatever_branches_are_called_their_plan_passes_check_and_lands_as_is_a_new_one_that_an_update_adds() {
    let long = |last: &str| format!("topic/{}{last}", "é".repeat(115));
    let (first, second, turned) = (long("a"), long("b"), "feature/\u{202e}evil");
    let world = World::new(
        README,
        &[
            (&first, "main", &[("a", "1")]),
            (&second, &first, &[("b", "1")]),
            (turned, "main", &[("c", "1")]),
            ("on-it", turned, &[("d", "1")]),
            ("z", "main", &[("z", "1")]),
        ],
    );
    let said = world.lexpr(["plan", "--gate", "test=true"]).expect(0);
    let left_out = "left out feature/\\u{202e}evil: no plan can have it: its name holds a control character\n";
    assert_eq!(said.stderr, left_out);
    assert!(said.stdout.contains(&format!("  branch: \"{first}\"\n")), "{}", said.stdout);
    assert!(
        said.stdout.contains("# feature/\\u{202e}evil is not in this plan: its head is in this branch"),
        "{}",
        said.stdout
    );
    let plan = world.plan(&said.stdout);
    world.lexpr(["check", plan.to_str().unwrap()]).expect(0);

    let mine = world.repo().join("../mine.yaml");
    let file = mine.to_str().unwrap();
    world.lexpr(["plan", "z", "--gate", "test=true", "-o", file]).expect(0);
    world.lexpr(["plan", "--update", file, "**"]).expect(0);
    let once = fs::read_to_string(&mine).unwrap();
    assert!(once.contains(&second), "{once}");
    world.lexpr(["plan", "--update", file, "**"]).expect(0);
    assert_eq!(fs::read_to_string(&mine).unwrap(), once, "what it has is not added again");

    world.lexpr(["init", "--gate", "test=true"]).expect(0);
    let landed = world.merge(&fs::read_to_string(world.repo().join("plan.yaml")).unwrap(), &["--execute"]).expect(0);
    assert!(landed.stdout.contains("4 of 4 items landed"), "{}", landed.stdout);
}

#[test]
fn a_plan_for_no_branch_or_with_a_malformed_gate_is_refused() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    assert!(world.lexpr(["plan", "nothing/*"]).expect(2).stderr.contains("no branch matches"));
    assert!(world.lexpr(["plan", "a", "--gate", "test"]).expect(2).stderr.contains("NAME=COMMAND"));
    assert!(
        world.lexpr(["plan", "a", "--gate", "t=x", "--gate", "t=y"]).expect(2).stderr.contains("two gates named t")
    );
    assert!(world.lexpr(["plan", "a", "--base", "nowhere"]).expect(2).stderr.contains("nowhere"));
    assert!(world.lexpr(["plan", "a", "--interactive"]).expect(2).stderr.contains("no terminal"));
}

#[test]
fn what_messages_mention_becomes_a_dependency_and_what_stands_in_code_does_not() {
    let branches = ["login", "pr-12", "x", "y"].map(|name| (name, "main", &[("f", "1")] as &[_]));
    let branches: Vec<_> = branches.to_vec();
    let world = World::new(README, &branches);
    world.git(&["checkout", "-q", "x"]);
    let message = "More of x\n\nDepends-on: #12,\n  login\nRequires:\n- y\n\n```\nDepends-on: z\n```\n";
    world.git(&["commit", "-q", "--allow-empty", "-m", message]);
    let id = world.git(&["rev-parse", "--short=10", "x"]);
    world.git(&["checkout", "-q", "main"]);
    let plan = world.lexpr(["plan", "--branches", "x", "y", "login", "pr-12"]).expect(0).stdout;
    let id = id.trim();
    let expected = format!(
        "  - name: x
    deps:
      - pr-12 # {id} says `Depends-on: #12`
      - login # {id} says `Depends-on: login`
      - \"y\" # {id} says `Requires: y`
"
    );
    assert!(plan.contains(&expected), "{plan}");
}

#[test]
fn gates_are_guessed_from_the_target_and_not_from_what_lies_in_the_checkout() {
    let world = World::new(
        &[("Cargo.toml", "[workspace]\n"), ("Makefile", "test:\n\ttrue\n")],
        &[("a", "main", &[("a", "1")])],
    );
    fs::write(world.repo().join("go.mod"), "module x\n").unwrap();
    let said = world.lexpr(["plan"]).expect(0);
    let guessed = "gates:\n  - { name: test, run: cargo test --workspace } # guessed: Cargo.toml has a [workspace]\n  # There is also make test (Makefile)\n";
    assert!(said.stdout.contains(guessed), "{}", said.stdout);
    assert_eq!(said.stderr, "guessed the gate test: cargo test --workspace, as Cargo.toml has a [workspace]\n");
}

#[test]
fn a_target_that_nobody_names_is_the_usual_one_or_what_is_checked_out() {
    let world = World::new(README, &[("a", "main", &[("a", "1")])]);
    world.git(&["branch", "-m", "main", "develop"]);
    assert!(world.lexpr(["plan", "a"]).expect(0).stdout.contains("target: develop\n"));
    world.git(&["branch", "master"]);
    assert!(world.lexpr(["plan", "a"]).expect(0).stdout.contains("target: master\n"));
}

#[test]
fn branches_are_compared_with_any_revision_while_the_plan_lands_on_a_branch() {
    let world = World::new(
        README,
        &[
            ("a", "main", &[("a", "1")]),
            ("b", "a", &[("b", "1")]),
            ("c", "b", &[("c", "1")]),
            ("next", "a", &[("n", "1")]),
        ],
    );
    world.git(&["tag", "v1", "a"]);
    let stack = |base: &str| {
        format!(
            "  - name: b\n  - name: c\n    deps:\n      - b # its head is in this branch\n  # Left out: a, in {base}\n"
        )
    };
    let plan = |args: &[&str]| {
        let args = ["plan", "a", "b", "c", "--gate", "t=true"].iter().chain(args);
        world.lexpr(args).expect(0).stdout.replace("gates:\n  - { name: t, run: \"true\" }\nitems:\n", "")
    };
    let head = world.git(&["rev-parse", "--short", "a"]);
    for base in ["v1", "v1^{commit}", "c~2", "b^", &head, ":/Work on a"] {
        assert_eq!(plan(&["--base", base]), format!("schemaVersion: v1\ntarget: main\n{}", stack(base)), "{base}");
    }
    for branch in ["next", "refs/heads/next"] {
        let said = plan(&["--base", branch]);
        assert_eq!(said, format!("schemaVersion: v1\ntarget: next\n{}", stack("next")), "a branch is landed on, too");
    }
    assert_eq!(
        plan(&["--base", "v1", "--target", "next"]),
        format!("schemaVersion: v1\ntarget: next\n{}", stack("v1"))
    );
    assert_eq!(
        plan(&["--base", "next", "--target", "main"]),
        format!("schemaVersion: v1\ntarget: main\n{}", stack("next"))
    );
    let said = world.lexpr(["plan", "b", "--base", "nowhere"]).expect(2).stderr;
    assert!(said.contains("--base nowhere: there is no such branch or revision"), "{said}");
    let said = world.lexpr(["plan", "b", "--target", "v1"]).expect(2).stderr;
    assert!(said.contains("target \"v1\" is a tag"), "{said}");
}

#[test]
fn a_plan_is_brought_up_to_date_and_keeps_what_a_person_wrote() {
    let world =
        World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")]), ("c", "main", &[("c", "1")])]);
    let plan = world.repo().join("../mine.yaml");
    let file = plan.to_str().unwrap();
    world.lexpr(["plan", "a", "b", "--gate", "test=true", "-o", file]).expect(0);
    let again = world.lexpr(["plan", "a", "b", "-o", file]).expect(2);
    assert!(again.stderr.contains("--update"), "{}", again.stderr);
    let written = fs::read_to_string(&plan).unwrap();
    let by_hand = written.replace("  - name: b\n", "  # b is Ann's.\n  - name: b\n    priority: 7 # first\n");
    fs::write(&plan, &by_hand).unwrap();
    assert_eq!(
        world.lexpr(["plan", "--update", file]).expect(0).stderr.lines().last().unwrap(),
        format!("{file} is up to date")
    );

    world.git(&["merge", "-q", "--no-edit", "a"]);
    let said = world.lexpr(["plan", "--update", file, "*"]).expect(0);
    assert_eq!(said.stderr, "- a: in main\n+ c\n");
    let expected = "\
schemaVersion: v1
target: main
gates:
  - { name: test, run: \"true\" }
items:
  # b is Ann's.
  - name: b
    priority: 7 # first
  - name: c
";
    assert_eq!(fs::read_to_string(&plan).unwrap(), expected);
    world.lexpr(["merge", file, "--execute"]).expect(0);
}

/// A plan of a, b on a, and c, all of whose branches are gone but c's, brought up to date.
fn updated_without(world: &World, plan: &std::path::Path) -> String {
    let file = plan.to_str().unwrap();
    let said = world.lexpr(["plan", "--update", file]).expect(0).stderr;
    let again = world.lexpr(["plan", "--update", file]).expect(0).stderr;
    let is_done = !again.contains("left alone");
    let last = if is_done { format!("{file} is up to date") } else { format!("{file} stays as it was") };
    assert_eq!(again.lines().last(), Some(&*last));
    said
}

const ON_A: &[crate::cli_world::NewBranch<'static>] =
    &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])];

const ON_A_PLAN: &str = "\
schemaVersion: v1
items:
  - name: a
  - name: b # Ann's
    deps: [a, c]
  - name: c
    deps:
      - a # by hand
";

#[test]
fn a_merge_of_that_name_takes_no_item_out_whose_branch_is_gone_as_it_may_have_brought_another() {
    let world = World::new(README, ON_A);
    let plan = world.plan(ON_A_PLAN);
    let file = plan.to_str().unwrap();
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    let merged = world.git(&["rev-parse", "--short=10", "main"]);
    // The name is used again, for work that goes without having landed; HEAD was never there.
    world.git(&["branch", "-q", "-f", "a", "b"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let said = updated_without(&world, &plan);
    let expected = format!(
        "left alone a: its branch is gone, and {merged} of 2023-11-14 in main merged a branch of that name, which may have been another\n\
         next: merge refuses the plan until it is back or out; if it has landed, or is not wanted any more, `lexpr plan --update {file} --remove a` takes it out, also from the deps of b, c\n\
         {file} stays as it was\n"
    );
    assert_eq!(said, expected);
    assert_eq!(fs::read_to_string(&plan).unwrap(), ON_A_PLAN);
    let refused = world.lexpr(["merge", file, "--execute"]).expect(2).stderr;
    assert!(refused.contains(&format!("help: `lexpr plan --update {file}` says what is known of it")), "{refused}");
}

#[test]
fn an_item_that_its_owner_wants_out_goes_and_its_dependents_are_free() {
    let world = World::new(README, ON_A);
    let plan = world.plan(ON_A_PLAN);
    let file = plan.to_str().unwrap();
    world.git(&["merge", "-q", "--squash", "a"]);
    world.git(&["commit", "-q", "-m", "All of a"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let mistyped = world.lexpr(["plan", "--update", file, "--remove", "aa"]).expect(2).stderr;
    assert!(mistyped.contains("--remove aa: there is no such item"), "{mistyped}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), ON_A_PLAN);
    let said = world.lexpr(["plan", "--update", file, "--remove", "a"]).expect(0).stderr;
    assert_eq!(said, "- a: as you say\n");
    let expected = "schemaVersion: v1\nitems:\n  - name: b # Ann's\n    deps: [c]\n  - name: c\n";
    assert_eq!(fs::read_to_string(&plan).unwrap(), expected);
    // Also one whose branch is there, and which a glob names.
    let said = world.lexpr(["plan", "--update", file, "**", "--remove", "c", "b"]).expect(0).stderr;
    assert_eq!(said, "- b: as you say; its branch has not landed\n- c: as you say; its branch has not landed\n");
    assert!(fs::read_to_string(&plan).unwrap().contains("items: []"));
}

#[test]
fn an_item_whose_branch_is_gone_goes_where_a_run_landed_it() {
    let world = World::new(README, ON_A);
    let plan = world.plan(&ON_A_PLAN.replace("name: a\n", "name: a\n    strategy: squash\n"));
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
    world.git(&["branch", "-q", "-D", "a", "b"]);
    let said = updated_without(&world, &plan);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[2].starts_with("- c: in main"), "{said}");
    assert!(lines[0].starts_with("- a: its branch is gone, and run ") && lines[0].contains(": in main as "), "{said}");
    assert!(lines[1].starts_with("- b: its branch is gone, and run ") && lines[1].contains(": in main; "), "{said}");
    assert!(fs::read_to_string(&plan).unwrap().contains("items: []"));
}

#[test]
fn an_item_whose_branch_is_gone_without_having_landed_stays_and_is_told_of_with_the_way_back() {
    let world = World::new(README, ON_A);
    let gated = ON_A_PLAN.replace("items:", "gates: [{name: no, run: 'false'}]\nitems:");
    let plan = world.plan(&gated);
    let file = plan.to_str().unwrap();
    let head = world.git(&["rev-parse", "--short=10", "a"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let unseen = updated_without(&world, &plan);
    let nothing = "and nothing says that its work is in main";
    let lost = format!("left alone a: its branch is gone, {nothing}");
    let never = format!("left alone a: there is no such branch, {nothing}");
    assert!(unseen.starts_with(&format!("{never}\nnext: merge refuses the plan until it is back or out")), "{unseen}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), gated, "nobody's work is dropped unasked");
    world.lexpr(["merge", file]).expect(2);

    // Somebody was on it.
    world.git(&["checkout", "-q", "-b", "a", &head]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let left = updated_without(&world, &plan);
    let back = format!("; `git branch a {head}` has it back ");
    assert!(left.starts_with(&format!("{lost}{back}where it was last left\n")), "{left}");

    // A run has had it, and nothing of it has landed; a merge of an earlier branch of that name says nothing.
    world.git(&["branch", "a", &head]);
    world.lexpr(["merge", file, "--execute"]).expect(3);
    world.git(&["branch", "-q", "-D", "a"]);
    world.git(&["checkout", "-q", "-b", "side"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Other work"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "Merge branch 'a'", "side"]);
    let seen = updated_without(&world, &plan);
    let merge = world.git(&["rev-parse", "--short=10", "main"]);
    let begins = format!(
        "left alone a: its branch is gone, and {merge} of 2023-11-14 in main merged a branch of that name, but not {head}{back}as run "
    );
    assert!(seen.starts_with(&begins), "{seen}");
    world.git(&["branch", "a", &head]);
    assert_eq!(world.lexpr(["plan", "--update", file]).expect(0).stderr, format!("{file} is up to date\n"));
}

#[test]
fn a_branch_that_landed_and_whose_name_was_used_again_takes_no_item_out_when_it_goes() {
    let world = World::new(README, ON_A);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n");
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
    world.git(&["branch", "-q", "-D", "a"]);
    world.git(&["checkout", "-q", "-b", "a", "b"]);
    world.git(&["checkout", "-q", "main"]);
    let head = world.git(&["rev-parse", "--short=10", "a"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let said = updated_without(&world, &plan);
    assert!(said.starts_with("left alone a: its branch is gone, and "), "{said}");
    assert!(
        said.contains(&format!("`git branch a {head}` has it back where it was last left; b is at that very commit")),
        "{said}"
    );
    // Nothing came after what landed.
    world.git(&["checkout", "-q", "--detach", "main"]);
    world.git(&["reflog", "expire", "--expire=now", "--all"]);
    let said = updated_without(&world, &plan);
    assert!(said.starts_with("- a: its branch is gone, and "), "{said}");
}

#[test]
fn of_a_branch_that_is_gone_and_was_left_where_the_target_has_it_that_is_said() {
    let world = World::new(README, ON_A);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n");
    world.git(&["checkout", "-q", "a"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "What there was", "a"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let said = updated_without(&world, &plan);
    assert!(said.contains(", where it was last left, it is known: in main; it may have moved since\nnext: "), "{said}");
}

#[test]
fn branches_that_an_update_does_not_take_in_are_counted() {
    let world = World::new(README, ON_A);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n");
    let file = plan.to_str().unwrap();
    world.git(&["branch", "done", "main"]);
    let said = world.lexpr(["plan", "--update", file]).expect(0).stderr;
    let how = format!("2 other local branches are not in it: `lexpr plan --update {file} '**'` adds what is to land\n");
    assert_eq!(said, format!("{how}{file} is up to date\n"));
    let said = world.lexpr(["plan", "--update", file, "main"]).expect(0).stderr;
    assert!(said.starts_with("warning: main matches no branch but the target\n"), "{said}");
}

#[test]
fn a_branch_with_another_number_or_for_another_item_is_no_misspelling_of_one_that_is_gone() {
    let world = World::new(README, &[("task-41", "main", &[("a", "1")]), ("task-2", "main", &[("b", "1")])]);
    let refused = |plan: &str| world.merge(plan, &[]).expect(2).stderr;
    for gone in ["task-3", "task-4", "tusk-2"] {
        let said = refused(&format!("schemaVersion: v1\nitems: [{{name: {gone}}}, {{name: task-2}}]\n"));
        assert!(said.contains("plan --update ") && !said.contains("did you mean"), "{said}");
    }
    let said = refused("schemaVersion: v1\nitems: [{name: tusk-41}]\n");
    assert!(said.contains("did you mean \"task-41\"?") && !said.contains("plan --update"), "{said}");
}

#[test]
fn an_item_that_is_no_branch_but_a_revision_goes_where_it_has_landed_and_is_wired_where_not() {
    let world = World::new(README, ON_A);
    world.git(&["tag", "v1", "a"]);
    world.git(&["branch", "-q", "-D", "a"]);
    world.git(&["update-ref", "refs/heads/on-it", "v1"]);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n  branch: v1\n- name: on-it\n");
    let said = world.lexpr(["plan", "--update", plan.to_str().unwrap()]).expect(0).stderr;
    assert!(said.starts_with("+ a depends on on-it: its head is in this branch\n2 other local branches are"), "{said}");
    world.git(&["merge", "-q", "v1"]);
    let said = updated_without(&world, &plan);
    assert!(said.starts_with("- a: in main\n- on-it: in main\n2 other"), "{said}");
}

#[test]
fn what_differs_between_two_plans_is_said_whatever_their_order() {
    let world = World::new(README, &[]);
    let before = world.repo().join("../before.yaml");
    let after = world.repo().join("../after.yaml");
    fs::write(&before, "schemaVersion: v1\npolicy: {maxWorkers: 2}\nitems: [{name: a, deps: [b]}, {name: b}]\n")
        .unwrap();
    fs::write(&after, "schemaVersion: v1\nitems:\n- name: c\n- {name: a, gates: [{name: g, run: x}]}\n- {name: b}\n")
        .unwrap();
    let paths = [before.to_str().unwrap(), after.to_str().unwrap()];
    let said = world.lexpr(["plan", "diff", paths[0], paths[1]]).expect(0).stdout;
    let expected = "- item a: deps  [\"b\"]\n+ item a: gates  [{\"name\":\"g\",\"run\":\"x\"}]\n+ item c\n- policy.maxWorkers  2\n";
    assert_eq!(said, expected);
    assert_eq!(world.lexpr(["plan", "diff", paths[1], paths[1]]).expect(0).stdout, "no difference\n");
    let json = world.lexpr(["plan", "diff", paths[0], paths[1], "--format", "json"]).expect(0).stdout;
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found[0]["path"], serde_json::json!(["items", "a", "deps"]));
    world.lexpr(["plan", "diff", paths[0], "nowhere.yaml"]).expect(2);
}

#[test]
fn what_two_plans_mean_is_compared_and_not_how_they_say_it() {
    let world = World::new(README, &[]);
    let before = world.repo().join("../before.yaml");
    let after = world.repo().join("../after.yaml");
    let paths = [before.to_str().unwrap(), after.to_str().unwrap()];
    let differ = |before_text: &str, after_text: &str| {
        fs::write(&before, before_text).unwrap();
        fs::write(&after, after_text).unwrap();
        world.lexpr(["plan", "diff", paths[0], paths[1]]).expect(0).stdout
    };
    let short = "schemaVersion: v1\ngates: [{name: t, run: x}]\nitems: [{name: a}, {name: b, strategy: squash}]\n";
    let long = "\
schemaVersion: 1
target: refs/heads/main
policy: {failFast: true, landing: pyramid, performance: {cacheMaxMB: 512}, mergeRule: {}, requiredGates: []}
gates: [{name: t, run: x, at: [apex, cone], clean: false, env: {}}]
items:
- {name: a, branch: a, deps: [], priority: 0, strategy: merge-weave, gates: []}
- {name: b, strategy: squash-weave}
";
    assert_eq!(differ(short, long), "no difference\n");
    let own = short.replace("{name: a}", "{name: a, gates: [{name: t, run: x}]}");
    assert!(differ(short, &own).starts_with("+ item a: gates"), "whose gates they are is said");
    assert_eq!(differ(short, &long.replace("MB: 512", "MB: 5")), "+ policy.performance.cacheMaxMB  5\n");
    let gates = |gates: &str, fail_fast: &str| {
        format!(
            "schemaVersion: v1\npolicy: {{failFast: {fail_fast}}}\ngates: [{gates}]\nitems: [{{name: i, gates: [{gates}]}}]\n"
        )
    };
    let (a, b) = ("{name: a, run: x}", "{name: b, run: y}");
    let swapped =
        |fail_fast: &str| differ(&gates(&format!("{a}, {b}"), fail_fast), &gates(&format!("{b}, {a}"), fail_fast));
    assert_eq!(swapped("true"), "~ order of gates  a, b -> b, a\n~ item i: order of gates  a, b -> b, a\n");
    assert_eq!(swapped("false"), "no difference\n", "all of them run, whatever their order");
    let with_another = differ(&gates(a, "true"), &gates(&format!("{b}, {a}"), "true"));
    assert_eq!(with_another, "+ gate b  {\"run\":\"y\"}\n+ item i: gates.b  {\"run\":\"y\"}\n");
}
