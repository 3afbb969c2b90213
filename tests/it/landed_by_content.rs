//! Work that the target has already under commits that do not name it: a forge squashed it, somebody
//! picked it. It has landed; what builds on it still lands; what only looks like it does not count.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use lexpr::git::resolve::{AlreadyLanded, HeadOf, Relations};
use lexpr::plan::graph::ItemIx;
use lexpr::ports::ComposeItem;
use lexpr::vocabulary::names::{CommitId, ItemName, MergeStrategy};

use crate::cli_world::{World, statuses};
use crate::git_world::{GitWorld, block_on, compose, item};

const FILE: &str = "1\n2\n3\n4\n5\n6\n7\n8\n";
const STRATEGIES: [MergeStrategy; 3] = [MergeStrategy::Merge, MergeStrategy::Squash, MergeStrategy::Rebase];

/// `main` with file `f` and a folder.
fn world() -> GitWorld {
    let world = GitWorld::new();
    world.write("f", FILE);
    world.write("folder/a", "a\n");
    world.write("folder/b", "b\n");
    world.commit("begin");
    world
}

/// Squashes a branch onto main as a forge does, and lets main go on elsewhere.
fn forge_squashes(world: &GitWorld, branch: &str) -> CommitId {
    world.git(["merge", "--quiet", "--squash", branch]);
    world.commit(&format!("{branch} (#7)"));
    world.write("elsewhere", branch);
    world.commit("main goes on")
}

fn relate(world: &GitWorld, items: &[(&str, &[&str])]) -> Relations {
    let items = items
        .iter()
        .map(|(name, deps)| HeadOf {
            name: ItemName::new(name),
            head: world.id(name),
            deps: deps.iter().map(ItemName::new).collect(),
        })
        .collect();
    block_on(world.composer("relating").relate(world.id("main"), items)).unwrap()
}

fn landed(world: &GitWorld, items: &[(&str, &[&str])]) -> Vec<Option<AlreadyLanded>> {
    relate(world, items).already_landed
}

/// Whether `git merge` changes nothing of main's tree.
fn git_merges_to_nothing(world: &GitWorld, name: &str) -> bool {
    let merged = world.merge_by_git(world.id("main"), &[item(0, name, world.id(name))]).unwrap();
    merged.conflicts.is_empty() && merged.tree == world.tree("main")
}

#[test]
fn what_a_forge_squashed_has_landed() {
    let world = world();
    world.branch("work", "main");
    world.write("f", FILE.replace('4', "four"));
    world.commit("Spell four");
    world.write("new/file", "new\n");
    world.commit("Add a file");
    world.git(["checkout", "--quiet", "main"]);
    assert_eq!(landed(&world, &[("work", &[])]), [None], "not yet");
    forge_squashes(&world, "work");
    assert_eq!(landed(&world, &[("work", &[])]), [Some(AlreadyLanded::ByContent)]);
    // Half of it is not all of it.
    world.write("f", FILE);
    world.commit("Unspell four");
    assert_eq!(landed(&world, &[("work", &[])]), [None]);
}

#[test]
fn invariant_3_what_was_removed_or_renamed_has_landed_where_git_says_so() {
    let world = world();
    world.branch("moves", "main");
    world.git(["mv", "folder", "moved"]);
    world.git(["rm", "--quiet", "f"]);
    world.commit("Move a folder, remove a file");
    world.git(["checkout", "--quiet", "main"]);
    forge_squashes(&world, "moves");
    assert!(git_merges_to_nothing(&world, "moves"));
    assert_eq!(landed(&world, &[("moves", &[])]), [Some(AlreadyLanded::ByContent)]);
    // To git, what main adds in the old folder belongs into the new one.
    world.write("folder/c", "c\n");
    world.commit("Use the old folder again");
    assert!(!git_merges_to_nothing(&world, "moves"));
    assert_eq!(landed(&world, &[("moves", &[])]), [None]);
}

#[test]
fn a_mode_is_a_change_like_any_other() {
    let world = world();
    world.branch("mode", "main");
    world.git(["update-index", "--chmod=+x", "f"]);
    world.git(["commit", "--quiet", "-m", "Make it a script"]);
    world.git(["checkout", "--quiet", "--force", "main"]);
    assert_eq!(landed(&world, &[("mode", &[])]), [None]);
}

#[test]
fn empty_commits_land_as_they_are_meant_to() {
    let world = world();
    let work = world.branch_with("work", "main", &[("new", "new\n")]);
    world.branch("empty", "main");
    world.commit("Mark a day");
    world.branch("on-top", "work");
    world.commit("Mark another day");
    world.branch("undone", "work");
    world.git(["revert", "--no-edit", "HEAD"]);
    // An empty commit that only belongs to a branch with changes is no reason to keep that.
    world.branch("retried", "work");
    world.commit("Try CI again");
    world.git(["checkout", "--quiet", "main"]);
    let base = forge_squashes(&world, "work");
    let items: [(&str, &[&str]); 4] = [("empty", &[]), ("work", &[]), ("on-top", &[]), ("undone", &[])];
    let relations = relate(&world, &items);
    assert_eq!(relations.already_landed, [None, Some(AlreadyLanded::ByContent), None, None]);
    let on_top = ComposeItem {
        strategy: MergeStrategy::Squash,
        merged: relations.merged[2].clone(),
        ..item(0, "on-top", world.id("on-top"))
    };
    assert_eq!(on_top.merged, [work]);
    let composite = compose(&world.composer("q"), base, &[on_top]);
    assert_ne!(composite.commit, base);
    assert_eq!(composite.tree.to_string(), world.tree("main"));
    assert_eq!(landed(&world, &[("retried", &[])]), [Some(AlreadyLanded::ByContent)]);
}

#[test]
fn what_builds_on_work_that_a_forge_squashed_still_lands() {
    let world = world();
    world.branch("parent", "main");
    world.write("f", FILE.replace('4', "four"));
    let begun = world.commit("Spell four");
    world.write("f", FILE.replace('4', "FOUR"));
    let parent = world.commit("Shout four");
    world.branch("child", "parent");
    world.write("f", FILE.replace('4', "FOUR!"));
    let child = world.commit("Stress four");
    // Shares only the beginning with what was squashed.
    let aside = world.branch_with("aside", &begun.to_string(), &[("aside", "x\n")]);
    let base = forge_squashes(&world, "parent");

    let relations = relate(&world, &[("parent", &[]), ("child", &["parent"]), ("aside", &[])]);
    assert_eq!(relations.already_landed, [Some(AlreadyLanded::ByContent), None, None]);
    assert_eq!(relations.merged, [vec![], vec![parent], vec![parent]]);
    assert_eq!(relations.implied, []);
    // As git has it where the parent is merged first, which changes nothing.
    let parent_item = item(0, "parent", parent);
    for (at, (name, head)) in [("child", child), ("aside", aside)].into_iter().enumerate() {
        let wanted = world.merge_by_git(base, &[parent_item.clone(), item(1, name, head)]).unwrap();
        assert_eq!(wanted.conflicts, []);
        for strategy in STRATEGIES {
            let alone = ComposeItem { strategy, ..item(0, name, head) };
            let known = ComposeItem { merged: relations.merged[at + 1].clone(), ..alone.clone() };
            // One composer for both: what is remembered of one must not answer for the other.
            let composer = world.composer("q");
            let conflicts = compose(&composer, base, &[alone]).set_aside.len();
            assert_eq!(conflicts, 1, "{name} by itself conflicts: {strategy:?}");
            let composite = compose(&composer, base, &[known]);
            assert_eq!(composite.set_aside, [], "{name} {strategy:?}");
            assert_eq!(composite.tree.to_string(), wanted.tree, "{name} {strategy:?}");
        }
    }
}

#[test]
fn a_stack_that_was_squashed_as_one_has_landed_with_all_that_is_in_it() {
    let world = world();
    world.branch_with("parent", "main", &[("f", &FILE.replace('4', "four")), ("passing", "x\n")]);
    world.branch("child", "parent");
    world.write("f", FILE.replace('4', "FOUR"));
    world.git(["rm", "--quiet", "passing"]);
    let child = world.commit("Shout four");
    world.git(["checkout", "--quiet", "main"]);
    forge_squashes(&world, "child");
    let items: [(&str, &[&str]); 2] = [("child", &["parent"]), ("parent", &[])];
    assert_eq!(landed(&world, &items), [Some(AlreadyLanded::ByContent), Some(AlreadyLanded::Below(child))]);
}

#[test]
fn invariant_2_a_dependency_yet_to_land_that_changes_the_same_is_waited_for() {
    let world = world();
    world.branch_with("work", "main", &[("new", "new\n")]);
    let base = forge_squashes(&world, "work");
    world.branch("removes", "main");
    world.git(["rm", "--quiet", "new"]);
    world.commit("Remove it again");
    world.git(["checkout", "--quiet", "main"]);
    world.branch_with("other", "main", &[("other", "x\n")]);
    world.branch_with("between", "main", &[("between", "x\n")]);
    assert_eq!(
        landed(&world, &[("other", &[]), ("work", &["other"])]),
        [None, Some(AlreadyLanded::ByContent)],
        "a dependency elsewhere"
    );
    assert_eq!(
        landed(&world, &[("removes", &[]), ("between", &["removes"]), ("work", &["between"])]),
        [None, None, None],
        "on top of what removes it, it brings it back"
    );
    let items = [
        item(0, "removes", world.id("removes")),
        ComposeItem { deps: vec![ItemIx::new(0)], ..item(1, "work", world.id("work")) },
    ];
    let composite = compose(&world.composer("q"), base, &items);
    assert_ne!(composite.steps[0].tree, composite.steps[1].tree);
}

#[test]
fn no_empty_commit_is_made_and_no_gate_runs_for_what_main_has_already() {
    for strategy in ["merge", "squash", "rebase"] {
        let world = World::new(
            &[("text", "one\ntwo\n")],
            &[("old", "main", &[("text", "one\nTWO\n")]), ("child", "old", &[("text", "one\nTWO!\n")])],
        );
        world.git(&["merge", "-q", "--squash", "old"]);
        world.git(&["commit", "-qm", "Spell two (#3)"]);
        let (before, gated, report) = (world.main(), world.path("gated"), world.path("report.json"));
        let item = |name: &str, deps: &str| {
            let gate = format!("gates: [{{name: g, run: 'echo {name} >> {}'}}]", gated.display());
            format!("  - {{name: {name}, deps: [{deps}], strategy: {strategy}, {gate}}}\n")
        };
        let old = format!("schemaVersion: v1\nitems:\n{}", item("old", ""));

        let dry = world.merge(&old, &[]).expect(0);
        assert!(dry.stdout.contains("its changes are in base already"), "{}", dry.stdout);
        let said = world.merge(&old, &["--execute", "--report", report.to_str().unwrap()]).expect(0);
        assert!(said.stdout.contains("1 landed before"), "{}", said.stdout);
        let told = world.report(&report);
        assert_eq!(statuses(&told), ["old alreadyLanded"]);
        assert!(told.to_string().contains("its changes are in base already"), "{told:#}");
        assert!(!gated.exists(), "a gate ran");
        assert_eq!(world.main(), before, "{strategy}");

        let both = format!("{old}{}", item("child", "old"));
        world.merge(&both, &["--execute"]).expect(0);
        assert_eq!(world.git(&["show", "main:text"]), "one\nTWO!");
        assert!(!std::fs::read_to_string(&gated).unwrap().contains("old"));
    }
}
