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
  # Left out: feature/old, in base
";
    assert_eq!(said.stdout, expected);
    assert_eq!(said.stderr, "left out feature/old: in base\n");
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
    assert_eq!(said.stderr, "- a: in base\n+ c\n");
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
    let expected = "- item a: deps  [\"b\"]\n+ item a: gates  [{\"name\":\"g\",\"run\":\"x\"}]\n+ item c\n- policy\n";
    assert_eq!(said, expected);
    assert_eq!(world.lexpr(["plan", "diff", paths[1], paths[1]]).expect(0).stdout, "no difference\n");
    let json = world.lexpr(["plan", "diff", paths[0], paths[1], "--format", "json"]).expect(0).stdout;
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found[0]["path"], serde_json::json!(["items", "a", "deps"]));
    world.lexpr(["plan", "diff", paths[0], "nowhere.yaml"]).expect(2);
}
