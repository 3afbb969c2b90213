//! `lexpr plan --update`: whose work is not in the target stays in the plan, and what is said of it is true.

use std::fs;
use std::path::Path;

use crate::cli_world::{NewBranch, World};

const README: &[(&str, &str)] = &[("README.md", "# A project\n")];

const THREE: &[NewBranch<'static>] =
    &[("a", "main", &[("a", "1")]), ("b", "main", &[("b", "1")]), ("c", "main", &[("c", "1")])];

/// What an update says, and says again; nothing changes the second time.
fn updated(world: &World, plan: &Path, more: &[&str]) -> String {
    let args = || ["plan", "--update", plan.to_str().unwrap()].into_iter().chain(more.iter().copied());
    let said = world.lexpr(args()).expect(0).stderr;
    let text = fs::read_to_string(plan).unwrap();
    world.lexpr(args()).expect(0);
    assert_eq!(fs::read_to_string(plan).unwrap(), text, "twice is once");
    world.lexpr(["check", plan.to_str().unwrap()]).expect(0);
    said
}

fn short(world: &World, revision: &str) -> String {
    world.git(&["rev-parse", "--short=10", revision])
}

#[test]
fn what_is_commented_out_above_an_item_that_goes_stays_out() {
    let world = World::new(README, THREE);
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    let out = "  # - name: b   # Ann: not before the audit\n";
    let plan = world.plan(&format!("schemaVersion: v1\nitems:\n  - name: c\n{out}  - name: a\n"));
    let said = updated(&world, &plan, &["b"]);
    assert_eq!(said, "- a: in main\nleft out b: it is commented out\n");
    assert_eq!(fs::read_to_string(&plan).unwrap(), format!("schemaVersion: v1\nitems:\n  - name: c\n{out}"));
    let plan = world.plan(&format!("schemaVersion: v1\nitems:\n{out}  - name: a\n"));
    updated(&world, &plan, &["b"]);
    assert_eq!(fs::read_to_string(&plan).unwrap(), format!("schemaVersion: v1\nitems: []\n{out}"), "all have landed");
}

#[test]
fn nobody_is_made_to_depend_on_what_is_commented_out() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")])]);
    let text = "schemaVersion: v1\nitems:\n  # - name: a\n  - name: b\n";
    let plan = world.plan(text);
    let said = updated(&world, &plan, &["a"]);
    assert!(said.starts_with("left out a: it is commented out\nb depends on a, which is commented out: "), "{said}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
}

#[test]
fn a_comment_above_an_item_that_goes_stays_is_told_of_and_is_no_comment_of_the_next() {
    let world = World::new(README, THREE);
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    let plan = world.plan(
        "schemaVersion: v1\nitems:\n  # section: stack b, do not lose this comment\n  - name: a\n    # inside\n  - name: b\n",
    );
    assert!(updated(&world, &plan, &[]).starts_with("- a: in main; the comment above it stays\n"));
    let expected = "schemaVersion: v1\nitems:\n  # section: stack b, do not lose this comment\n\n  - name: b\n";
    assert_eq!(fs::read_to_string(&plan).unwrap(), expected);
}

#[test]
fn comments_at_a_list_of_dependencies_stay_when_all_of_these_go() {
    let world = World::new(README, THREE);
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    let plan = world.plan(
        "schemaVersion: v1\nitems:\n- name: a\n- name: b\n  deps: # needs the new parser, ADR-7\n    # not before Monday\n    - a\n- name: c\n  deps:\n  - a\n",
    );
    updated(&world, &plan, &[]);
    let expected = "schemaVersion: v1\nitems:\n- name: b\n  deps: [] # needs the new parser, ADR-7\n    # not before Monday\n- name: c\n";
    assert_eq!(fs::read_to_string(&plan).unwrap(), expected);
}

#[test]
fn what_cannot_be_brought_up_to_date_is_said_with_a_way_out() {
    let world = World::new(README, THREE);
    for (text, line) in [
        ("{\n  \"schemaVersion\": \"v1\",\n  \"items\": [\n    { \"name\": \"a\" }\n  ]\n}\n", 4),
        ("schemaVersion: v1\nitems: [{name: a}]\n", 2),
    ] {
        let plan = world.plan(text);
        let refused = world.lexpr(["plan", "--update", plan.to_str().unwrap()]).expect(2).stderr;
        let expected = format!(
            ": only items that are written as entries of a YAML list, each beginning a line with `- `, can be brought up to date; line {line} has another\n"
        );
        assert!(refused.contains(&expected) && refused.contains("lexpr plan diff"), "{refused}");
        assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    }
}

#[test]
fn a_branch_is_known_by_whatever_its_ref_is_called() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")])]);
    for branch in ["refs/heads/a", "heads/a"] {
        let text =
            format!("schemaVersion: v1\nitems:\n- name: first\n  branch: {branch}\n- name: b\n  deps: [first]\n");
        let plan = world.plan(&text);
        assert!(updated(&world, &plan, &["**"]).ends_with(" is up to date\n"));
        assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    }
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: first\n  branch: heads/a\n- name: b\n  deps: [first]\n");
    assert_eq!(updated(&world, &plan, &[]), "- first: in main\n");
}

#[test]
fn a_renamed_branch_is_neither_lost_nor_added_as_another() {
    let world = World::new(README, &[("a", "main", &[("a", "1")]), ("b", "a", &[("b", "1")]), ("c", "main", &[])]);
    let text = "schemaVersion: v1\nitems:\n- name: a\n- name: b\n  deps: [a]\n";
    let plan = world.plan(text);
    world.git(&["branch", "-m", "a", "aa"]);
    let said = updated(&world, &plan, &["a*", "b"]);
    let file = plan.to_str().unwrap();
    let expected = format!(
        "left alone a: its branch was renamed to aa, by the reflog of that\n\
         next: merge refuses the plan until it is back or out; `branch: aa` in the item a says what it is called now\n\
         left out aa: it is a, renamed\n\
         {file} stays as it was\n"
    );
    assert_eq!(said, expected);
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    fs::write(&plan, text.replace("- name: a\n", "- name: a\n  branch: aa\n")).unwrap();
    assert_eq!(updated(&world, &plan, &["a*", "b"]), format!("{file} is up to date\n"));
}

#[test]
fn a_branch_at_the_commit_where_another_was_last_may_be_that_one_renamed() {
    let world = World::new(README, THREE);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n- name: b\n  deps: [a]\n");
    let head = short(&world, "a");
    world.git(&["checkout", "-q", "a"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["branch", "new", "a"]);
    world.git(&["branch", "-D", "a"]);
    let said = updated(&world, &plan, &["new"]);
    let file = plan.to_str().unwrap();
    let expected = format!(
        "left alone a: its branch is gone, and nothing says that its work is in main; `git branch a {head}` has it back where it was last left; new is at that very commit: is it a, renamed?\n\
         next: merge refuses the plan until it is back or out; `branch: new` in the item a says so if it is called that now; if it has landed, or is not wanted any more, `lexpr plan --update {file} --remove a` takes it out, also from the deps of b\n\
         left out new: it may be a, renamed\n\
         {file} stays as it was\n"
    );
    assert_eq!(said, expected);
}

#[test]
fn what_to_do_about_branches_that_are_gone_is_said_apart_for_those_of_which_something_is_known() {
    let world = World::new(README, THREE);
    world.git(&["checkout", "-q", "a"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "a"]);
    world.git(&["branch", "-q", "-D", "a", "b"]);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n- name: b\n- name: c\n  deps: [a, b]\n");
    let said = updated(&world, &plan, &[]);
    let file = plan.to_str().unwrap();
    let known = format!(
        "next: merge refuses the plan until it is back or out; if nothing came after what is in main, `lexpr plan --update {file} --remove a` takes it out, also from the deps of c\n"
    );
    let unknown = format!(
        "next: merge refuses the plan until it is back or out; if it has landed, or is not wanted any more, `lexpr plan --update {file} --remove b` takes it out, also from the deps of c\n"
    );
    assert!(said.contains(&format!("{known}{unknown}")), "{said}");
}

#[test]
fn an_item_of_which_no_branch_was_ever_known_is_not_said_to_be_gone() {
    let world = World::new(README, THREE);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: ghost\n");
    let said = updated(&world, &plan, &[]);
    assert!(
        said.starts_with("left alone ghost: there is no such branch, and nothing says that its work is in main\n"),
        "{said}"
    );
}

#[test]
fn an_item_whose_branch_is_gone_stays_where_a_run_had_a_head_that_others_landed() {
    let world = World::new(README, THREE);
    let text = "schemaVersion: v1\ngates: [{name: no, run: 'false'}]\nitems:\n- name: a\n";
    let plan = world.plan(text);
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(3);
    let head = short(&world, "a");
    world.git(&["merge", "-q", "--no-ff", "-m", "By hand", "a"]);
    // More work, where neither HEAD nor a run has seen it.
    world.git(&["worktree", "add", "-q", "../beside", "a"]);
    world.git(&["-C", "../beside", "commit", "-q", "--allow-empty", "-m", "More"]);
    world.git(&["worktree", "remove", "--force", "../beside"]);
    world.git(&["branch", "-q", "-D", "a"]);
    world.git(&["prune", "--expire=now"]);
    let said = updated(&world, &plan, &[]);
    assert!(said.starts_with(&format!("left alone a: its branch is gone, and of {head}, as run ")), "{said}");
    assert!(said.contains(" had it, it is known: in main; it may have moved since\nnext: "), "{said}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
}

#[test]
fn an_item_that_a_run_landed_goes_with_its_branch_but_stays_where_a_remote_has_more_of_it() {
    let world = World::new(README, THREE);
    let text = "schemaVersion: v1\nitems:\n- name: a\n";
    let plan = world.plan(text);
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
    let head = short(&world, "a");
    world.git(&["update-ref", "refs/remotes/origin/a", "b"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let said = updated(&world, &plan, &[]);
    assert!(said.contains("; it may have moved since; `git branch a origin/a` has it back\n"), "{said}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    world.git(&["update-ref", "refs/remotes/origin/a", "main"]);
    let said = updated(&world, &plan, &[]);
    assert!(said.starts_with("- a: its branch is gone, and run "), "{said}");
    let landed = format!(
        " landed it at {head}: in main; nothing here says whether it moved since (`git branch a {head}` has it back)\n"
    );
    assert!(said.contains(&landed), "{said}");
}

#[test]
fn an_item_that_a_run_landed_stays_where_work_came_after_it_and_is_there_still() {
    let world = World::new(README, THREE);
    let text = "schemaVersion: v1\nitems:\n- name: a\n";
    let plan = world.plan(text);
    world.lexpr(["merge", plan.to_str().unwrap(), "--execute"]).expect(0);
    world.git(&["worktree", "add", "-q", "../beside", "a"]);
    for message in ["More", "Yet more"] {
        world.git(&["-C", "../beside", "commit", "-q", "--allow-empty", "-m", message]);
    }
    let head = short(&world, "a");
    // A branch that was built on it and amended has commits after it, too; they are that branch's.
    world.git(&["checkout", "-q", "-b", "on-a", "a~2"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "On a"]);
    world.git(&["commit", "-q", "--allow-empty", "--amend", "-m", "On a, better"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["worktree", "remove", "--force", "../beside"]);
    world.git(&["branch", "-q", "-D", "a"]);
    let said = updated(&world, &plan, &[]);
    assert!(said.starts_with("left alone a: its branch is gone, and "), "{said}");
    let back = format!(", but not {head}; `git branch a {head}` has it back with what came after run ");
    assert!(said.contains(&back), "{said}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    world.git(&["prune", "--expire=now"]);
    assert!(updated(&world, &plan, &[]).starts_with("- a: its branch is gone, and run "));
}

#[test]
fn a_branch_without_commits_of_its_own_has_not_landed_and_its_item_stays() {
    let world = World::new(README, THREE);
    world.git(&["branch", "new"]);
    world.git(&["checkout", "-q", "-b", "newer"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-edit", "a"]);
    world.git(&["checkout", "-q", "b"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "More of b"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "--no-edit", "b"]);
    let text = "schemaVersion: v1\nitems:\n- name: new\n- name: newer\n";
    let plan = world.plan(&format!("{text}- name: a\n- name: b\n"));
    let file = plan.to_str().unwrap();
    let said = world.lexpr(["plan", "--update", file]).expect(0).stderr;
    let alone = "left alone new: its branch has no commits of its own yet\nleft alone newer: its branch has no commits of its own yet\n";
    assert!(said.starts_with(&format!("{alone}- a: in main\n- b: in main\n")), "{said}");
    assert_eq!(fs::read_to_string(&plan).unwrap(), text);
    let said = world.lexpr(["plan", "--update", file, "--remove", "new"]).expect(0).stderr;
    assert!(said.contains("- new: as you say\n"), "{said}");
    let new = world.lexpr(["plan", "new", "c", "--gate", "t=true"]).expect(0);
    assert_eq!(new.stderr, "left out new: no commits of its own yet\n");
}

#[test]
fn commands_that_are_suggested_name_the_repository_that_was_named() {
    let world = World::new(README, THREE);
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n- name: ghost\n");
    let file = plan.to_str().unwrap();
    let repo = world.repo();
    let repo = repo.to_str().unwrap();
    let said = world.command(["plan", "--repo", repo, "--update", file]).current_dir(world.path("")).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains(&format!("`lexpr plan --repo {repo} --update {file} --remove ghost`")), "{said}");
    assert!(said.contains(&format!("`lexpr plan --repo {repo} --update {file} '**'`")), "{said}");
}

#[test]
fn globs_stand_before_items_to_remove_and_the_usage_says_so() {
    let world = World::new(README, THREE);
    let help = world.lexpr(["plan", "--help"]).expect(0).stdout;
    assert!(help.contains("lexpr plan --update <FILE> [GLOB]... [--remove <ITEM>...]\n"), "{help}");
    let plan = world.plan("schemaVersion: v1\nitems:\n- name: a\n");
    let refused = world.lexpr(["plan", "--update", plan.to_str().unwrap(), "--remove", "a", "b*"]).expect(2).stderr;
    assert!(refused.contains("--remove b*: there is no such item"), "{refused}");
    assert!(refused.contains("globs stand before --remove"), "{refused}");
}
