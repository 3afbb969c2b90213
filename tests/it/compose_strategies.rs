//! How items become commits: merges, squashes and replays, stacks across runs, and what is
//! remembered.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use lexpr::git::compose::{ComposeSettings, ShadowComposer};
use lexpr::git::quarantine::Quarantine;
use lexpr::git::resolve::{AlreadyLanded, HeadOf, Relations};
use lexpr::plan::Identity;
use lexpr::plan::graph::ItemIx;
use lexpr::ports::{ComposeItem, Composer, Composite};
use lexpr::vocabulary::event::SetAsideCause;
use lexpr::vocabulary::names::{CommitId, ItemName, MergeStrategy};

use crate::compose_cases::conflicts;
use crate::git_world::{GIT_DEFAULTS, GitWorld, block_on, compose, item};

const FILE: &str = "1\n2\n3\n4\n5\n6\n7\n8\n";

fn by(strategy: MergeStrategy, item: ComposeItem) -> ComposeItem {
    ComposeItem { strategy, ..item }
}

/// `main` with file `f`; `parent` changes line 4 in two commits, `child` changes it again on top.
fn stack() -> (GitWorld, [CommitId; 3]) {
    let world = GitWorld::new();
    world.write("f", FILE);
    let base = world.commit("add f");
    world.branch("parent", "main");
    world.write("f", FILE.replace('4', "four"));
    world.commit("Spell four\n\nDigits are short.");
    world.write("f", FILE.replace('4', "FOUR"));
    let parent = world.commit("Shout four");
    world.branch("child", "parent");
    world.write("f", FILE.replace('4', "FOUR!"));
    let child = world.commit("Stress four");
    world.git(["checkout", "--quiet", "main"]);
    (world, [base, parent, child])
}

/// A commit of the quarantine becomes `main`, as a landing would make it.
fn land(world: &GitWorld, folder: &str, composite: &Composite) {
    let repo = world.repo();
    world.git(["checkout", "--quiet", "--detach"]);
    let spec = format!("{}:refs/heads/main", composite.commit);
    world.quarantined(folder, ["push", "--quiet", "--force", repo.to_str().unwrap(), &spec]);
    world.git(["checkout", "--quiet", "main"]);
}

fn message(world: &GitWorld, folder: &str, commit: CommitId) -> String {
    world.quarantined(folder, ["log", "-1", "--format=%B", &commit.to_string()])
}

fn relate(composer: &ShadowComposer, base: CommitId, items: &[(&str, CommitId, &[&str])]) -> Relations {
    let items = items
        .iter()
        .map(|(name, head, deps)| HeadOf {
            name: ItemName::new(name),
            head: *head,
            deps: deps.iter().map(ItemName::new).collect(),
        })
        .collect();
    block_on(composer.relate(base, items)).unwrap()
}

#[test]
fn stacks_survive_a_squashed_or_rebased_parent_in_the_same_run() {
    use MergeStrategy::{Merge, Rebase, Squash};
    let (world, [base, parent, child]) = stack();
    let wanted = world.tree("child");
    for (at, strategies) in
        [[Merge, Merge], [Squash, Merge], [Squash, Squash], [Rebase, Rebase], [Merge, Rebase]].into_iter().enumerate()
    {
        let folder = format!("q{at}");
        let child_item = ComposeItem { deps: vec![ItemIx::new(0)], ..item(1, "child", child) };
        let items = [by(strategies[0], item(0, "parent", parent)), by(strategies[1], child_item)];
        let composite = compose(&world.composer(&folder), base, &items);
        assert_eq!(composite.set_aside, [], "{strategies:?}");
        assert_eq!(composite.tree.to_string(), wanted, "{strategies:?}");
        let landed_tree = world.quarantined(&folder, ["rev-parse", &format!("{}^{{tree}}", composite.commit)]);
        assert_eq!(landed_tree, wanted, "what lands holds the composite's tree: {strategies:?}");
    }
}

#[test]
fn stacks_survive_a_parent_that_was_squashed_or_rebased_in_an_earlier_run() {
    for strategy in [MergeStrategy::Squash, MergeStrategy::Rebase] {
        let (world, [base, parent, child]) = stack();
        let first = compose(&world.composer("q"), base, &[by(strategy, item(0, "parent", parent))]);
        land(&world, "q", &first);
        // The target goes on, in the same file.
        world.write("f", FILE.replace('4', "FOUR").replace('8', "eight"));
        let base = world.commit("main goes on");

        let composer = world.composer("q2");
        let relations = relate(&composer, base, &[("parent", parent, &[]), ("child", child, &["parent"])]);
        assert_eq!(relations.already_landed, [Some(AlreadyLanded::As(first.commit)), None]);
        assert_eq!(relations.implied, []);
        for (at, strategy) in
            [MergeStrategy::Merge, MergeStrategy::Squash, MergeStrategy::Rebase].into_iter().enumerate()
        {
            let composite = compose(&composer, base, &[by(strategy, item(at, "child", child))]);
            assert_eq!(composite.set_aside, []);
            let content = world.quarantined("q2", ["show", &format!("{}:f", composite.commit)]);
            assert_eq!(content, FILE.replace('4', "FOUR!").replace('8', "eight").trim_end());
            let parents = world.quarantined("q2", ["log", "-1", "--format=%P", &composite.commit.to_string()]);
            assert!(parents.starts_with(&base.to_string()), "the shadow does not land: {parents}");
        }
        // The trailer is what it hangs on: the same commit without it leaves a conflict.
        world.git(["checkout", "--quiet", "--detach", &first.steps[0].commit.to_string()]);
        world.git(["commit", "--quiet", "--amend", "-m", "squashed by hand"]);
        let composite = compose(&composer, world.id("HEAD"), &[item(0, "child", child)]);
        assert_eq!(conflicts(&composite).len(), 1);
    }
}

#[test]
fn a_second_run_of_a_landed_plan_finds_all_of_it_landed() {
    let (world, [base, parent, child]) = stack();
    let other = world.branch_with("other", "main", &[("g", "g\n")]);
    let items = [
        by(MergeStrategy::Squash, item(0, "parent", parent)),
        by(MergeStrategy::Rebase, item(1, "child", child)),
        item(2, "other", other),
    ];
    let composite = compose(&world.composer("q"), base, &items);
    land(&world, "q", &composite);
    let relations = relate(
        &world.composer("q2"),
        composite.commit,
        &[("parent", parent, &[]), ("child", child, &[]), ("other", other, &[])],
    );
    let landed = |at: usize| Some(AlreadyLanded::As(composite.steps[at].commit));
    assert_eq!(relations.already_landed, [landed(0), landed(1), Some(AlreadyLanded::InBase)]);
}

#[test]
fn an_item_that_changes_nothing_is_known_as_landed_afterwards_too() {
    let world = GitWorld::new();
    let picked = world.branch_with("picked", "main", &[("a", "a\n")]);
    world.write("README", "later\n");
    world.commit("later");
    world.git(["cherry-pick", "picked"]);
    let base = world.id("main");
    for strategy in [MergeStrategy::Squash, MergeStrategy::Rebase] {
        let composer = world.composer("q");
        let composite = compose(&composer, base, &[by(strategy, item(0, "picked", picked))]);
        assert_ne!(composite.commit, base);
        let relations = relate(&composer, composite.commit, &[("picked", picked, &[])]);
        assert_eq!(relations.already_landed, [Some(AlreadyLanded::As(composite.commit))]);
    }
}

#[test]
fn a_merge_is_the_commit_a_person_would_make() {
    let world = GitWorld::new();
    let head = world.branch_with("feature/auth", "main", &[("auth", "yes\n")]);
    let base = world.branch_with("main2", "main", &[("main", "later\n")]);
    let composite = compose(&world.composer("q"), base, &[item(0, "feature/auth", head)]);
    let shown = world.quarantined(
        "q",
        ["log", "-1", "--date=raw", "--format=%P%n%an %ae %ad%n%cn %ce %cd%n%B", &composite.commit.to_string()],
    );
    // The base is a minute younger than the head, whose author and committer it takes.
    assert_eq!(
        shown,
        format!(
            "{base} {head}\nAnn Author ann@example.com 1700000120 +0100\n\
             Carl Committer carl@example.com 1700000180 +0100\nMerge feature/auth: work on feature/auth"
        )
    );
    assert_eq!(composite.steps.len(), 1);
    assert_eq!(composite.steps[0].commit, composite.commit);
}

#[test]
fn the_policys_committer_signs_every_commit() {
    let (world, [base, parent, child]) = stack();
    let quarantine = Quarantine::create(&world.beside("q"), &world.open()).unwrap();
    let committer = Some(Identity { name: "Lex Land".to_owned(), email: "lex@example.com".to_owned() });
    let settings = ComposeSettings { merge: GIT_DEFAULTS, committer, remember_for: None };
    let composer = ShadowComposer::new(&quarantine, settings).unwrap();
    let items =
        [by(MergeStrategy::Rebase, item(0, "parent", parent)), by(MergeStrategy::Squash, item(1, "child", child))];
    let composite = compose(&composer, base, &items);
    let range = format!("{base}..{}", composite.commit);
    let people = world.quarantined("q", ["log", "--format=%an, %cn, %s", &range]);
    assert_eq!(
        people,
        "Ann Author, Lex Land, Stress four\nAnn Author, Lex Land, Shout four\nAnn Author, Lex Land, Spell four"
    );
}

#[test]
fn a_squash_lists_its_commits_and_names_its_head_and_authors() {
    let (world, [base, ..]) = stack();
    world.git(["checkout", "--quiet", "parent"]);
    world.git(["commit", "--quiet", "--amend", "--author=Bob <bob@example.com>", "--no-edit"]);
    let parent = world.id("parent");
    let items = [by(MergeStrategy::Squash, item(0, "parent", parent))];
    let composite = compose(&world.composer("q"), base, &items);
    assert_eq!(
        message(&world, "q", composite.commit),
        format!(
            "Spell four\n\n* Spell four\n* Shout four\n\nCo-authored-by: Bob <bob@example.com>\nLexpr-Head: {parent}"
        )
    );
    let author = world.quarantined("q", ["log", "-1", "--format=%an %P", &composite.commit.to_string()]);
    assert_eq!(author, format!("Ann Author {base}"));
}

#[test]
fn a_rebase_replays_commits_and_drops_those_that_are_there_already() {
    let world = GitWorld::new();
    world.branch("two", "main");
    world.write("one", "1\n");
    world.commit("Add one");
    world.write("two", "2\n");
    let head = world.commit("Add two");
    world.git(["checkout", "--quiet", "main"]);
    world.write("g", "g\n");
    world.commit("main goes on");
    world.git(["cherry-pick", "two~1"]);
    let base = world.id("main");
    let items = [by(MergeStrategy::Rebase, item(0, "two", head))];
    let composite = compose(&world.composer("q"), base, &items);
    assert_eq!(composite.set_aside, []);
    let log = world.quarantined("q", ["log", "--format=%s", &format!("{base}..{}", composite.commit)]);
    assert_eq!(log, "Add two");
    assert_eq!(message(&world, "q", composite.commit), format!("Add two\n\nLexpr-Head: {head}"));
}

#[test]
fn a_replay_that_meets_a_conflict_on_its_way_sets_the_item_aside() {
    let world = GitWorld::new();
    world.write("f", FILE);
    world.commit("add f");
    world.branch("there-and-back", "main");
    world.write("f", FILE.replace('4', "four"));
    world.commit("there");
    world.write("f", FILE);
    world.write("g", "g\n");
    let head = world.commit("and back");
    let base = world.branch_with("later", "main", &[("f", &FILE.replace('4', "vier"))]);
    let composer = world.composer("q");
    assert_eq!(compose(&composer, base, &[item(0, "there-and-back", head)]).set_aside, []);
    let composite = compose(&composer, base, &[by(MergeStrategy::Rebase, item(0, "there-and-back", head))]);
    let found = conflicts(&composite);
    assert_eq!(found[0].1.paths, ["f"]);
    assert!(found[0].1.messages[1].contains("was replayed"), "{:?}", found[0].1.messages);
    assert_eq!(composite.commit, base);
}

#[test]
fn invariant_2_dependents_of_what_conflicts_are_set_aside_with_it() {
    let world = GitWorld::new();
    world.write("f", FILE);
    let base = world.commit("add f");
    let a = world.branch_with("a", "main", &[("f", &FILE.replace('4', "A"))]);
    let b = world.branch_with("b", "main", &[("f", &FILE.replace('4', "B"))]);
    let c = world.branch_with("c", "main", &[("c", "c\n")]);
    let d = world.branch_with("d", "main", &[("d", "d\n")]);
    let items = [
        item(0, "a", a),
        item(1, "b", b),
        ComposeItem { deps: vec![ItemIx::new(1)], ..item(2, "c", c) },
        ComposeItem { deps: vec![ItemIx::new(0), ItemIx::new(9)], ..item(3, "d", d) },
    ];
    let composite = compose(&world.composer("q"), base, &items);
    let merged: Vec<&str> = composite.steps.iter().map(|step| step.item.as_str()).collect();
    assert_eq!(merged, ["a", "d"]);
    assert_eq!(composite.set_aside[1].cause, SetAsideCause::Dependency { on: ItemName::new("b") });
}

#[test]
fn an_item_that_is_contained_already_is_a_step_at_the_same_commit() {
    let (world, [base, parent, child]) = stack();
    let items = [item(0, "child", child), item(1, "parent", parent)];
    let composite = compose(&world.composer("q"), base, &items);
    assert_eq!(composite.steps.len(), 2);
    assert_eq!(composite.steps[0].commit, composite.steps[1].commit);
}

#[test]
fn commits_in_other_encodings_and_with_signatures_become_plain_utf8() {
    let world = GitWorld::new();
    let base = world.id("main");
    let text = |encoding: &str, bytes: &[u8]| -> CommitId {
        let tree = world.tree("main");
        let mut raw = format!("tree {tree}\nparent {base}\nauthor ").into_bytes();
        raw.extend_from_slice(bytes);
        raw.extend_from_slice(b" <x@example.com> 1700000000 +0900\ncommitter C <c@example.com> 1700000000 +0900\n");
        raw.extend_from_slice(format!("encoding {encoding}\ngpgsig -----BEGIN\n xx\n\n").as_bytes());
        raw.extend_from_slice(bytes);
        raw.push(b'\n');
        let (ok, id, err) =
            world.try_git_in(&world.repo(), ["hash-object", "-t", "commit", "-w", "--stdin"], Some(&raw));
        assert!(ok, "{err}");
        id.trim().parse().unwrap()
    };
    let composer = world.composer("q");
    for (encoding, bytes, wanted) in [
        ("ISO-8859-1", &b"J\xf6rg"[..], "J\u{f6}rg"),
        ("EUC-JP", b"\xc6\xfc\xcb\xdc", "\u{65e5}\u{672c}"),
        ("nonsense", b"J\xf6rg", "J\u{f6}rg"),
    ] {
        let composite = compose(&composer, base, &[by(MergeStrategy::Squash, item(0, "b", text(encoding, bytes)))]);
        let raw = world.quarantined("q", ["cat-file", "commit", &composite.commit.to_string()]);
        assert!(raw.contains(&format!("author {wanted} <x@example.com> 1700000000 +0900\n")), "{raw}");
        assert!(raw.contains(&format!("\n\n{wanted}\n")), "{raw}");
        assert!(!raw.contains("gpgsig") && !raw.contains("encoding"), "{raw}");
    }
}

#[test]
fn prefixes_are_remembered_and_continued_from() {
    let world = GitWorld::new();
    let base = world.id("main");
    let items: Vec<ComposeItem> = (0..4)
        .map(|at| {
            let name = format!("i{at}");
            item(at, &name, world.branch_with(&name, "main", &[(&name, "x\n")]))
        })
        .collect();
    let composer = world.composer("q");
    let two = compose(&composer, base, &items[..2]);
    let all = compose(&composer, base, &items);
    assert_eq!(composer.stats().merges.spliced, 4, "the two merges before were not made again");
    assert_eq!(compose(&composer, base, &items[..2]), two);
    assert_eq!(compose(&composer, base, &items), all);
    let stats = composer.stats();
    assert_eq!((stats.prefixes.hits, stats.prefixes.misses, stats.merges.spliced), (2, 2, 4));
    // Another strategy is another composite.
    let squashed = compose(&composer, base, &[by(MergeStrategy::Squash, items[0].clone())]);
    assert_ne!(squashed.commit, all.steps[0].commit);
}

#[test]
fn a_composer_told_to_remember_nothing_gives_the_same_answers() {
    let (world, [base, parent, child]) = stack();
    let items = [item(0, "parent", parent), item(1, "child", child)];
    let quarantine = Quarantine::create(&world.beside("forgetful"), &world.open()).unwrap();
    let settings = ComposeSettings { merge: GIT_DEFAULTS, committer: None, remember_for: None };
    let forgetful = ShadowComposer::new(&quarantine, settings).unwrap();
    let remembering = world.composer("q");
    for _ in 0..2 {
        assert_eq!(compose(&forgetful, base, &items), compose(&remembering, base, &items));
    }
    assert_eq!((forgetful.stats().prefixes.hits, remembering.stats().prefixes.hits), (0, 1));
}

#[test]
fn invariant_4_and_5_composing_touches_nothing_of_the_users() {
    let (world, [base, parent, child]) = stack();
    let state = || {
        let mut files = Vec::new();
        let mut open = vec![world.repo()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let content = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
                if path.is_dir() {
                    open.push(path.clone());
                }
                files.push((path, content));
            }
        }
        files.sort();
        files
    };
    world.write("uncommitted", "work\n");
    let before = state();
    let items = [item(0, "parent", parent), by(MergeStrategy::Squash, item(1, "child", child))];
    compose(&world.composer("q"), base, &items);
    assert_eq!(state(), before);
}

#[test]
fn implied_dependencies_are_the_nearest_ones() {
    let world = GitWorld::new();
    let base = world.id("main");
    let a = world.branch_with("a", "main", &[("a", "a\n")]);
    let b = world.branch_with("b", "a", &[("b", "b\n")]);
    let c = world.branch_with("c", "b", &[("c", "c\n")]);
    let d = world.branch_with("d", "a", &[("d", "d\n")]);
    world.branch("e", "c");
    world.git(["merge", "--quiet", "-m", "both", "d"]);
    let e = world.commit("e");
    world.git(["checkout", "--quiet", "main"]);
    let composer = world.composer("q");
    // In an order that has nothing to do with it.
    let items: [(&str, CommitId, &[&str]); 6] =
        [("e", e, &[]), ("a", a, &[]), ("c", c, &[]), ("b", b, &[]), ("d", d, &[]), ("main", base, &[])];
    let relations = relate(&composer, base, &items);
    assert_eq!(relations.implied, [(0, 2), (0, 4), (2, 3), (3, 1), (4, 1)]);
    assert_eq!(relations.already_landed, [None, None, None, None, None, Some(AlreadyLanded::InBase)]);
    // Once the base has a, nothing waits for it.
    let relations = relate(&composer, a, &items);
    assert_eq!(relations.implied, [(0, 2), (0, 4), (2, 3)]);
}

#[test]
fn items_with_one_head_depend_on_each_other_by_name_or_as_the_plan_says() {
    let world = GitWorld::new();
    let base = world.id("main");
    let a = world.branch_with("a", "main", &[("a", "a\n")]);
    let b = world.branch_with("b", "a", &[("b", "b\n")]);
    let composer = world.composer("q");
    let relations = relate(&composer, base, &[("pr-10", a, &[]), ("pr-2", a, &[]), ("pr-3", b, &[])]);
    assert_eq!(relations.implied, [(0, 1), (2, 0)]);
    let relations = relate(&composer, base, &[("pr-10", a, &[]), ("pr-2", a, &["pr-10"])]);
    assert_eq!(relations.implied, [(1, 0)]);
}

#[test]
fn digests_of_inputs_follow_what_the_globs_match_and_nothing_else() {
    let world = GitWorld::new();
    world.write("crates/auth/src/lib.rs", "1\n");
    world.write("crates/web/lib.rs", "1\n");
    world.write("Cargo.lock", "1\n");
    let first = world.commit("first");
    let composer = world.composer("q");
    let digest = |commit: CommitId, globs: &[&str]| {
        let tree = block_on(composer.tree_of(commit)).unwrap();
        block_on(composer.digest_inputs(tree, globs.iter().map(|glob| (*glob).to_owned()).collect())).unwrap()
    };
    let auth = ["crates/auth/**", "Cargo.lock"];
    let before = digest(first, &auth);
    world.write("crates/web/lib.rs", "2\n");
    world.write("crates/auth2/lib.rs", "2\n");
    let elsewhere = world.commit("elsewhere");
    assert_eq!(digest(elsewhere, &auth), before);
    assert_ne!(digest(elsewhere, &["crates/*/lib.rs"]), digest(first, &["crates/*/lib.rs"]));
    // `*` stays within a folder.
    assert_eq!(digest(first, &["crates/*"]), digest(elsewhere, &["nothing"]));
    world.git(["update-index", "--chmod=+x", "Cargo.lock"]);
    world.git(["commit", "--quiet", "-m", "mode"]);
    assert_ne!(digest(world.id("HEAD"), &auth), before);
    let tree = block_on(composer.tree_of(first)).unwrap();
    assert!(block_on(composer.digest_inputs(tree, vec!["a[".to_owned()])).unwrap_err().message.contains("glob"));
}
