//! Nothing in a repository's configuration, attributes or hooks is started, whatever lexpr does in it.

use std::fs;

use lexpr::git::version::GitVersion;

use crate::cli_runs::runs;
use crate::cli_world::{World, wait_for};
use crate::git_world::GitWorld;
use crate::hostile_world::Trapped;

const PLAN: &str = "schemaVersion: v1\ngates: [{name: g, run: 'test -e README.md'}]\n\
                    items: [{name: a}, {name: b}, {name: c, strategy: squash}, {name: d, strategy: rebase}]\n";

/// Merging by splicing, by git, and with a conflict.
fn world() -> World {
    // An older git cannot be asked to heed what a tree says of merges, and is not asked to merge it.
    let heeds_trees = GitWorld::new().open().version() >= GitVersion::ATTR_SOURCE;
    let attributes = if heeds_trees { "*.md merge=evil diff=evil\n" } else { "*.md diff=evil\n" };
    World::new(
        &[("README.md", "1\n2\n3\n4\n5\n6\n7\n"), (".gitattributes", attributes)],
        &[
            ("a", "main", &[("README.md", "a\n2\n3\n4\n5\n6\n7\n"), ("a", "1")]),
            ("b", "main", &[("README.md", "1\n2\n3\n4\n5\n6\nb\n")]),
            ("c", "main", &[("c", "1")]),
            ("d", "main", &[("d", "1")]),
            ("late", "main", &[("late", "1")]),
            ("clash", "main", &[("README.md", "clash\n")]),
        ],
    )
}

/// Everything a person does with lexpr, in this order.
fn all_commands(trapped: &Trapped, more: &[&str]) {
    let world = &trapped.world;
    let plan = world.plan(PLAN);
    let plan = plan.to_str().unwrap();
    // Whatever git did while the traps were laid.
    trapped.marks();
    let started = |args: &[&str], code: i32| {
        let said = world.lexpr(args).expect(code);
        trapped.nothing_was_started(&format!("{args:?}"));
        said
    };
    started(&["plan", "*"], 0);
    started(&["check", plan], 0);
    started(&["order", plan], 0);
    started(&["merge", plan], 0);
    started(&[&["merge", plan, "--execute"], more].concat(), 0);
    started(&["status"], 0);
    let run = runs(world)[0]["run"].as_str().unwrap().to_owned();
    started(&["verify", &run], 0);
    started(&["resume", &run], 0);
    let push: &[&str] = if more.is_empty() { &[] } else { &["--push"] };
    started(&[&["undo", &run], push].concat(), 0);
    started(&[&["undo", &run], push].concat(), 0);
    started(&["runs"], 0);
    let clash = world.path("clash.yaml");
    fs::write(&clash, "schemaVersion: v1\nitems: [{name: clash}]\n").unwrap();
    started(&[&["merge", clash.to_str().unwrap(), "--execute"], more].concat(), 3);
    killed_and_resumed(trapped, more);
    started(&["clean"], 0);
}

fn killed_and_resumed(trapped: &Trapped, more: &[&str]) {
    let world = &trapped.world;
    let (started, go) = (world.path("started"), world.path("go"));
    let plan = world.path("killed.yaml");
    let gate = format!("touch {}; until [ -e {} ]; do sleep 0.02; done", started.display(), go.display());
    let text = format!("schemaVersion: v1\ngates: [{{name: g, run: '{gate}'}}]\nitems: [{{name: late}}]\n");
    fs::write(&plan, text).unwrap();
    let mut run = world.start([&["merge", plan.to_str().unwrap(), "--execute"], more].concat());
    wait_for("the gate", || started.exists().then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    fs::write(go, "").unwrap();
    world.lexpr(["resume"]).expect(0);
    trapped.nothing_was_started("a run that was killed and resumed");
}

#[test]
fn nothing_is_started_in_a_bare_repository() {
    let world = world();
    world.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    fs::remove_dir_all(world.repo()).unwrap();
    fs::rename(world.path("bare.git"), world.repo()).unwrap();
    all_commands(&Trapped::new(world), &[]);
}

#[test]
fn nothing_is_started_where_the_target_is_checked_out() {
    all_commands(&Trapped::new(world()), &[]);
}

#[test]
fn nothing_is_started_where_the_target_is_checked_out_in_a_linked_worktree() {
    let world = world();
    world.git(&["checkout", "-q", "--detach"]);
    world.git(&["worktree", "add", "-q", "../linked", "main"]);
    all_commands(&Trapped::new(world), &[]);
}

#[test]
fn nothing_is_started_by_a_push_but_what_the_remote_starts_itself() {
    let world = world();
    world.git(&["clone", "-q", "--bare", ".", "../remote.git"]);
    world.git(&["remote", "add", "upstream", "../remote.git"]);
    let trapped = Trapped::new(world);
    all_commands(&trapped, &["--push", "upstream"]);
    // What is not asked is told.
    trapped.world.git(&["-c", "core.hooksPath=/dev/null", "branch", "-q", "-f", "more", "a~1"]);
    let said = trapped.world.merge("schemaVersion: v1\nitems: [{name: more}]\n", &["--execute", "--push", "upstream"]);
    let told = "more-hooks/pre-push is not asked about what is pushed";
    assert!(said.expect(0).stderr.contains(told));
}

/// The way to a remote is the user's to name, with `--push`, and the repository's to describe: what
/// `git push` would start to reach it is started, and nothing else.
#[test]
fn a_push_reaches_a_remote_by_the_means_that_the_repository_names() {
    let world = world();
    world.git(&["clone", "-q", "--bare", ".", "../remote.git"]);
    world.git(&["remote", "add", "upstream", "ssh://nobody@nowhere.invalid/remote.git"]);
    let trapped = Trapped::new(world);
    trapped.marks();
    trapped.world.merge(PLAN, &["--execute", "--push", "upstream"]).expect(4);
    assert_eq!(Vec::from_iter(trapped.marks()), ["core.sshCommand"]);
    trapped.world.merge(PLAN, &["--execute"]).expect(0);
    trapped.nothing_was_started("a run that does not push");
}

/// A filter as Git LFS and its like are: what is kept is not what is in the checkout.
fn with_filtered_files() -> World {
    let world = World::new(
        &[("README.md", "# A project\n"), (".gitattributes", "*.big filter=evil\n"), ("old.big", "old\n")],
        &[("a", "main", &[("new.big", "new\n")])],
    );
    world.git(&["checkout", "-q", "main"]);
    world
}

const ONE: &str = "schemaVersion: v1\nitems: [{name: a}]\n";

#[test]
fn a_filter_of_the_repositorys_own_is_never_started_and_a_checkout_that_needs_it_is_not_moved() {
    let trapped = Trapped::new(with_filtered_files());
    for part in ["clean", "smudge", "process"] {
        trapped.set(&format!("filter.evil.{part}"), &trapped.command(part));
    }
    trapped.set("filter.evil.required", "true");
    let main = trapped.world.main();
    trapped.marks();
    // As young as the index, or younger: git would compare its content.
    fs::write(trapped.world.repo().join("old.big"), "old\n").unwrap();
    trapped.world.merge(ONE, &[]).expect(0);
    let said = trapped.world.merge(ONE, &["--execute"]).expect(4);
    assert!(said.stderr.contains("the filter evil makes files such as old.big"), "{}", said.stderr);
    trapped.nothing_was_started("a refusal");
    assert_eq!(trapped.world.main(), main);

    // Elsewhere it lands, as it would in a fresh clone.
    trapped.world.git(&["-c", "core.hooksPath=/dev/null", "symbolic-ref", "HEAD", "refs/heads/a"]);
    trapped.marks();
    trapped.world.merge(ONE, &["--execute"]).expect(0);
    trapped.nothing_was_started("a landing");
}

/// Attributes that are not committed are not looked at, and nothing is started for them either.
#[test]
fn a_filter_of_the_repositorys_own_is_not_started_for_files_that_only_seem_to_need_it() {
    let trapped = Trapped::new(World::new(&[("README.md", "# A project\n")], &[("a", "main", &[("a", "1")])]));
    for part in ["clean", "smudge", "process"] {
        trapped.set(&format!("filter.evil.{part}"), &trapped.command(part));
    }
    trapped.marks();
    fs::write(trapped.world.repo().join(".gitattributes"), "* filter=evil\n").unwrap();
    // With other stat data, so that git compares its content.
    fs::remove_file(trapped.world.repo().join("README.md")).unwrap();
    fs::write(trapped.world.repo().join("README.md"), "# A project\n").unwrap();
    trapped.world.merge(ONE, &["--execute"]).expect(0);
    trapped.nothing_was_started("a landing");
    assert!(trapped.world.repo().join("a").exists());
}

#[test]
fn a_filter_that_an_item_brings_into_use_is_found_before_the_target_moves() {
    let world = World::new(
        &[("README.md", "# A project\n")],
        &[("a", "main", &[(".gitattributes", "*.big filter=evil\n"), ("new.big", "new\n")])],
    );
    let trapped = Trapped::new(world);
    trapped.set("filter.evil.smudge", &trapped.command("smudge"));
    let main = trapped.world.main();
    trapped.marks();
    let said = trapped.world.merge(ONE, &["--execute"]).expect(4);
    assert!(format!("{said:?}").contains("the filter evil makes files such as new.big"), "{said:?}");
    trapped.nothing_was_started("a landing that is refused");
    assert_eq!(trapped.world.main(), main);
    assert!(!trapped.world.repo().join("new.big").exists());
}

#[test]
fn a_filter_of_the_users_own_makes_the_checkout_what_it_is_to_them() {
    let world = with_filtered_files();
    for (part, command) in [("clean", "tr A-Z a-z"), ("smudge", "tr a-z A-Z")] {
        world.git(&["config", "--global", &format!("filter.evil.{part}"), command]);
    }
    // The same once more, as `git lfs install --local` has it.
    world.git(&["config", "filter.evil.clean", "tr A-Z a-z"]);
    fs::remove_file(world.repo().join("old.big")).unwrap();
    world.git(&["checkout", "-q", "old.big"]);
    world.merge(ONE, &["--execute"]).expect(0);
    assert_eq!(fs::read_to_string(world.repo().join("new.big")).unwrap(), "NEW\n");
    assert_eq!(world.git(&["show", "main:new.big"]), "new");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

/// Merges are git's by default, whatever anybody's configuration says.
#[test]
fn invariant_3_a_merge_driver_of_the_users_own_has_no_say() {
    let trapped = Trapped::new(world());
    let driver = trapped.command("global");
    trapped.world.git(&["-c", "core.hooksPath=/dev/null", "config", "--global", "merge.evil.driver", &driver]);
    trapped.marks();
    trapped.world.merge(PLAN, &["--execute"]).expect(0);
    trapped.nothing_was_started("a merge");
}
