//! Which two items clash, against what git says of the same two heads, and where they do.

use std::collections::BTreeSet;
use std::sync::Arc;

use lexpr::git::compose::ShadowComposer;
use lexpr::git::pairs::Pairs;
use lexpr::plan::graph::ItemIx;
use lexpr::ports::ComposeItem;
use lexpr::vocabulary::names::{CommitId, MergeStrategy};

use crate::compose_random::{history, seeds_or};
use crate::git_world::{GitWorld, block_on, item};

/// Far more than any of these worlds has.
const ALL: usize = 1000;

fn pairs(composer: &ShadowComposer, base: CommitId, items: &[ComposeItem]) -> Pairs {
    block_on(composer.pairs(base, items.iter().cloned().map(Arc::new).collect(), ALL)).unwrap()
}

/// What `git merge-tree` makes of a merge, where a `git merge` reads attributes from what is merged into.
enum ByGit {
    Clean(String),
    Conflict,
    Broken,
}

fn merge_tree(world: &GitWorld, ours: &str, theirs: &str) -> ByGit {
    let attributes = format!("--attr-source={ours}^{{tree}}");
    let args = [&attributes, "merge-tree", "--write-tree", "--no-messages", ours, theirs];
    let (is_clean, out, err) = world.try_git_in(&world.repo(), args, None);
    match (is_clean, out.lines().next()) {
        (true, Some(tree)) => ByGit::Clean(tree.to_owned()),
        (false, Some(_)) if err.is_empty() => ByGit::Conflict,
        _ => ByGit::Broken,
    }
}

#[test]
fn invariant_3_two_items_clash_if_and_only_if_git_merge_tree_says_so() {
    let (mut clashes, mut clean, mut spared) = (0, 0, 0);
    for seed in seeds_or(0..20) {
        let world = GitWorld::empty();
        let (stream, count) = history(seed);
        let heads = world.import(&stream);
        let base = heads["main"];
        let items: Vec<_> = (0..count).map(|at| item(at, &format!("i{at}"), heads[&format!("i{at}")])).collect();
        let found = pairs(&world.composer("q"), base, &items);
        let clashing: BTreeSet<_> = found.clashes.iter().map(|clash| (clash.first, clash.second)).collect();
        assert!(!found.is_cut);
        let mut in_pairs = 0;
        for first in 0..count {
            let ByGit::Clean(tree) = merge_tree(&world, "main", &format!("i{first}")) else {
                assert!(found.apart.contains(&first), "seed {seed}: i{first} conflicts with main");
                continue;
            };
            if found.apart.contains(&first) {
                assert_eq!(tree, world.tree("main"), "seed {seed}: i{first} brings nothing");
                continue;
            }
            let onto = world.git(["commit-tree", &tree, "-p", "main", "-p", &format!("i{first}"), "-m", "merge"]);
            for second in first + 1..count {
                if found.apart.contains(&second) {
                    continue;
                }
                in_pairs += 1;
                let pair = (first, second);
                match merge_tree(&world, &onto, &format!("i{second}")) {
                    ByGit::Clean(_) => assert!(!clashing.contains(&pair), "seed {seed}: {pair:?} merges"),
                    ByGit::Conflict => assert!(clashing.contains(&pair), "seed {seed}: {pair:?} clashes"),
                    ByGit::Broken => assert!(found.undecided.contains(&pair), "seed {seed}: {pair:?} breaks git"),
                }
            }
        }
        clashes += clashing.len();
        clean += in_pairs - clashing.len();
        spared += in_pairs - found.compared;
    }
    assert!(clashes > 10 && clean > 10 && spared > 5, "{clashes} clash, {clean} merge, {spared} were not looked at");
}

/// `lines` of text, some of them replaced.
fn text(lines: u32, replaced: &[(u32, &str)]) -> String {
    let line = |at: u32| replaced.iter().find(|(line, _)| *line == at).map(|(_, text)| (*text).to_owned());
    (1..=lines).map(|at| line(at).unwrap_or_else(|| format!("line {at}\n"))).collect()
}

/// Every place of every clash in a line, the items by their numbers.
fn told(pairs: &Pairs) -> Vec<String> {
    let place = |first: usize, second: usize, place: &lexpr::vocabulary::clash::ClashPlace| {
        let hunks: Vec<String> =
            place.hunks.iter().map(|hunk| format!(" [{} | {}]", hunk.first, hunk.second)).collect();
        format!("{first}+{second} {} {}{}", place.path, place.kind, hunks.concat())
    };
    let of = |clash: &lexpr::git::pairs::PairClash| -> Vec<String> {
        clash.places.iter().map(|at| place(clash.first, clash.second, at)).collect()
    };
    pairs.clashes.iter().flat_map(of).collect()
}

#[test]
fn a_clash_names_paths_and_the_lines_of_both_sides() {
    let world = GitWorld::empty();
    world.write("shared", text(40, &[]));
    world.write("gone", text(9, &[]));
    world.commit("base");
    let first = text(40, &[(3, "line 3\nput in by the first\n"), (10, "ten\n"), (30, "thirty\nand more\n")]);
    let a = world.branch_with("a", "main", &[("shared", &first), ("gone", &text(9, &[(5, "five\n")]))]);
    let second = text(40, &[(10, "TEN\n"), (20, ""), (30, "")]);
    let b = world.branch_with("b", "main", &[("shared", &second)]);
    world.branch("c", "main");
    world.git(["rm", "--quiet", "gone"]);
    let c = world.commit("remove");
    world.git(["checkout", "--quiet", "main"]);
    // The base has moved on since: by two lines, which both sides get.
    world.write("shared", format!("zero\nzero and a half\n{}", text(40, &[])));
    let base = world.commit("moved on");
    let items = [item(0, "a", a), item(1, "b", b), item(2, "c", c)];
    let found = pairs(&world.composer("q"), base, &items);
    assert_eq!(
        told(&found),
        ["0+1 shared contents [13 | 10] [33-34 | none before 29]", "0+2 gone modify/delete"],
        "of the first as merged onto the base, of the second in its own version"
    );
    let place = &found.clashes[1].places[0];
    assert!(place.message.contains("gone deleted in c and modified in a"), "{}", place.message);
    assert_eq!((found.compared, found.is_cut), (2, false));
    assert_eq!(found.touched, [vec!["gone", "shared"], vec!["shared"], vec!["gone"]]);
}

#[test]
fn what_a_folder_that_moved_takes_along_and_files_in_the_way_of_folders_are_looked_at() {
    let world = GitWorld::empty();
    for name in ["x", "y", "z"] {
        world.write(&format!("old/{name}"), text(9, &[(1, name)]));
    }
    world.commit("base");
    world.branch("mover", "main");
    world.git(["mv", "old", "new"]);
    let mover = world.commit("move");
    let adder = world.branch_with("adder", "main", &[("old/more", "more\n")]);
    let file = world.branch_with("file", "main", &[("spot", "a file\n")]);
    let folder = world.branch_with("folder", "main", &[("spot/inner", "in a folder\n")]);
    let items = [item(0, "mover", mover), item(1, "adder", adder), item(2, "f/ile", file), item(3, "folder", folder)];
    let found = pairs(&world.composer("q"), world.id("main"), &items);
    assert_eq!(told(&found), ["0+1 new/more directory rename suggested", "2+3 spot~f_ile file/directory"]);
    assert_eq!(found.compared, 2);
}

#[test]
fn items_of_which_one_depends_on_the_other_are_no_pair_and_inherited_changes_are_not_the_heirs() {
    let world = GitWorld::empty();
    world.write("shared", text(9, &[]));
    world.commit("base");
    let low = world.branch_with("low", "main", &[("shared", &text(9, &[(2, "low\n")]))]);
    let high = world.branch_with("high", "low", &[("more", "more\n")]);
    let other = world.branch_with("other", "main", &[("shared", &text(9, &[(2, "other\n")]))]);
    let top = world.branch_with("top", "main", &[("shared", &text(9, &[(2, "top\n")]))]);
    let needs = |deps: &[usize], item: ComposeItem| ComposeItem {
        deps: deps.iter().map(|dep| ItemIx::new(*dep)).collect(),
        strategy: MergeStrategy::Squash,
        ..item
    };
    let items = [
        needs(&[], item(0, "low", low)),
        needs(&[0], item(1, "high", high)),
        needs(&[], item(2, "other", other)),
        needs(&[1], item(3, "top", top)),
    ];
    let found = pairs(&world.composer("q"), world.id("main"), &items);
    let clashing: Vec<_> = found.clashes.iter().map(|clash| (clash.first, clash.second)).collect();
    // Also not over two steps: top needs low.
    assert_eq!(clashing, [(0, 2), (1, 2), (2, 3)]);
    assert_eq!(found.touched[1], ["more"]);
    let few = block_on(world.composer("r").pairs(world.id("main"), items.iter().cloned().map(Arc::new).collect(), 2));
    let few = few.unwrap();
    assert_eq!((few.compared, few.is_cut, few.clashes.len()), (2, true, 2));
}

#[test]
fn items_that_began_before_and_after_the_base_moved_a_file_meet_in_it() {
    let world = GitWorld::empty();
    world.write("old", text(40, &[]));
    world.commit("base");
    let early = world.branch_with("early", "main", &[("old", &text(40, &[(20, "early\n")]))]);
    world.git(["mv", "old", "new"]);
    let moved = world.commit("move");
    let late = world.branch_with("late", "main", &[("new", &text(40, &[(20, "late\n")]))]);
    let found = pairs(&world.composer("q"), moved, &[item(0, "early", early), item(1, "late", late)]);
    assert_eq!(told(&found), ["0+1 new contents [20 | 20]"]);
}

#[test]
fn items_that_have_a_commit_in_common_meet_in_what_one_of_them_took_back() {
    let world = GitWorld::empty();
    world.write("text", text(20, &[]));
    let base = world.commit("base");
    world.branch_with("common", "main", &[("text", &text(20, &[(5, "common\n")]))]);
    // Seen from the base this one changes nothing there.
    let back = world.branch_with("back", "common", &[("text", &text(20, &[])), ("more", "more\n")]);
    let on = world.branch_with("on", "common", &[("text", &text(20, &[(5, "on\n")]))]);
    let found = pairs(&world.composer("q"), base, &[item(0, "back", back), item(1, "on", on)]);
    assert_eq!(told(&found), ["0+1 text contents [5 | 5]"]);
}
