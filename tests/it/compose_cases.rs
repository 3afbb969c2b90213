//! Composites against plain `git merge` in a clone, one case for each way in which paths can meet.

#![expect(clippy::unwrap_used, reason = "where the world of a test breaks, the test ends")]

use std::sync::Arc;

use lexpr::git::version::GitVersion;
use lexpr::plan::{DirectoryRenames, MergeSettings};
use lexpr::ports::{ComposeRequest, Composer, Composite};
use lexpr::vocabulary::event::{Conflict, SetAsideCause};
use lexpr::vocabulary::names::ItemName;
use lexpr::vocabulary::trail::{TargetStep, Trail};

use crate::git_world::{Files, GIT_DEFAULTS, GitWorld, Stream, block_on, compose, item};

const FILE: &str = "100644";
const EXECUTABLE: &str = "100755";
const LINK: &str = "120000";
const SUBMODULE: &str = "160000";

/// Ten lines: enough for git to see a renamed file in it after an edit.
fn lines(seed: &str) -> Vec<u8> {
    (0..10).map(|line| format!("{seed} line {line}\n")).collect::<String>().into_bytes()
}

fn edited(seed: &str, line: usize, text: &str) -> Vec<u8> {
    String::from_utf8(lines(seed)).unwrap().replace(&format!("{seed} line {line}\n"), &format!("{text}\n")).into_bytes()
}

fn files(entries: &[(&[u8], &'static str, &[u8])]) -> Files {
    entries.iter().map(|(path, mode, content)| (path.to_vec(), (*mode, content.to_vec()))).collect()
}

pub fn conflicts(composite: &Composite) -> Vec<(String, Conflict)> {
    composite
        .set_aside
        .iter()
        .filter_map(|aside| match &aside.cause {
            SetAsideCause::Conflict(conflict) => Some((aside.item.to_string(), conflict.clone())),
            SetAsideCause::Dependency { .. } => None,
        })
        .collect()
}

/// Merges branch `a` and then branch `b`, both made from `base`, and compares all with git. Gives
/// whether both merged.
fn same_as_git(case: &str, base: &Files, a: &Files, b: &Files) -> bool {
    let mut stream = Stream::default();
    let start = stream.commit("main", &[], base);
    stream.commit("a", &[start], a);
    stream.commit("b", &[start], b);
    compare(case, &stream)
}

fn compare(case: &str, stream: &Stream) -> bool {
    let world = GitWorld::empty();
    let heads = world.import(stream);
    let mut clean = true;
    for order in [["a", "b"], ["b", "a"]] {
        let items = [item(0, order[0], heads[order[0]]), item(1, order[1], heads[order[1]])];
        let expected = world.merge_by_git(heads["main"], &items).unwrap();
        let composite = compose(&world.composer(&order.concat()), heads["main"], &items);
        assert_eq!(composite.tree.to_string(), expected.tree, "{case} {order:?}");
        let found: Vec<(String, Vec<String>)> =
            conflicts(&composite).into_iter().map(|(name, conflict)| (name, conflict.paths)).collect();
        let names = |list: &[(String, Vec<String>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected.conflicts), "{case} {order:?}");
        for ((_, found), (_, expected)) in found.iter().zip(&expected.conflicts) {
            assert!(expected.is_empty() || found == expected, "{case} {order:?}: {found:?} is not {expected:?}");
        }
        clean &= expected.conflicts.is_empty();
    }
    clean
}

/// Lines that stand once between the edits make a text's merge certain; git takes neither of these for a text.
#[test]
fn invariant_3_what_git_takes_for_binary_conflicts_however_far_apart_the_edits_are() {
    let lines = |first: &str, last: &str, nul_at: Option<usize>| {
        let line = |at| match at {
            _ if Some(at) == nul_at => format!("line \0 {at}\n"),
            0 => format!("{first}\n"),
            1_999 => format!("{last}\n"),
            _ => format!("line {at}\n"),
        };
        (0..2_000).map(line).collect::<String>().into_bytes()
    };
    let merges = |case: &str, base_nul: Option<usize>, our_nul: Option<usize>| {
        let with = |content: Vec<u8>| Files::from([(b"f".to_vec(), (FILE, content))]);
        let (base, a) = (with(lines("0", "0", base_nul)), with(lines("a", "0", our_nul)));
        same_as_git(case, &base, &a, &with(lines("0", "b", base_nul)))
    };
    assert!(merges("text", None, None));
    assert!(!merges("binary", Some(1_000 / 8), Some(1_000 / 8)), "within the first 8,000 bytes");
    assert!(!merges("one side became binary", None, Some(100)));
    // Where git looks no more, it merges.
    assert!(merges("a NUL far behind", Some(1_500), Some(1_500)));
}

#[test]
fn invariant_3_edits_in_one_file_are_merged_by_line_or_conflict() {
    let base = files(&[(b"f", FILE, &lines("x"))]);
    let far = |line, text| files(&[(b"f", FILE, &edited("x", line, text))]);
    assert!(same_as_git("apart", &base, &far(1, "A"), &far(8, "B")));
    assert!(!same_as_git("same line", &base, &far(4, "A"), &far(4, "B")));
    assert!(!same_as_git("touching lines", &base, &far(4, "A"), &far(5, "B")));
    assert!(same_as_git("the same edit", &base, &far(4, "A"), &far(4, "A")));
}

#[test]
fn invariant_3_deletes_and_additions_against_edits() {
    let base = files(&[(b"d/f", FILE, &lines("x")), (b"k", FILE, b"k\n")]);
    let deleted = files(&[(b"k", FILE, b"k\n")]);
    let changed = files(&[(b"d/f", FILE, &edited("x", 3, "A")), (b"k", FILE, b"k\n")]);
    let added = files(&[(b"d/f", FILE, &lines("x")), (b"k", FILE, b"k\n"), (b"d/n", FILE, b"n\n")]);
    let added_other = files(&[(b"d/f", FILE, &lines("x")), (b"k", FILE, b"k\n"), (b"d/n", FILE, b"m\n")]);
    assert!(!same_as_git("delete/modify", &base, &deleted, &changed));
    assert!(same_as_git("delete/delete", &base, &deleted, &deleted));
    assert!(same_as_git("delete a folder, add into it", &base, &deleted, &added));
    assert!(!same_as_git("add/add", &base, &added, &added_other));
    assert!(same_as_git("add the same", &base, &added, &added));
    assert!(same_as_git(
        "everything goes",
        &files(&[(b"a", FILE, b"a\n"), (b"b", FILE, b"b\n")]),
        &files(&[(b"a", FILE, b"a\n")]),
        &files(&[(b"b", FILE, b"b\n")])
    ));
}

#[test]
fn invariant_3_renames_meet_edits_renames_and_deletes() {
    let base = files(&[(b"old", FILE, &lines("x")), (b"other", FILE, &lines("y"))]);
    let other: (&[u8], &'static str, &[u8]) = (b"other", FILE, &lines("y"));
    let to = |name: &'static [u8], content: &[u8]| files(&[(name, FILE, content), other]);
    assert!(same_as_git("rename, edit", &base, &to(b"new", &lines("x")), &to(b"old", &edited("x", 3, "E"))));
    assert!(same_as_git(
        "rename with edit, edit",
        &base,
        &to(b"new", &edited("x", 8, "R")),
        &to(b"old", &edited("x", 1, "E"))
    ));
    assert!(!same_as_git("rename/rename", &base, &to(b"new1", &lines("x")), &to(b"new2", &lines("x"))));
    assert!(same_as_git("the same rename", &base, &to(b"new", &lines("x")), &to(b"new", &lines("x"))));
    assert!(!same_as_git("rename/delete", &base, &to(b"new", &lines("x")), &files(&[other])));
    assert!(!same_as_git(
        "two files to one name",
        &base,
        &files(&[(b"one", FILE, &lines("x")), other]),
        &files(&[(b"old", FILE, &lines("x")), (b"one", FILE, &lines("y"))])
    ));
    let taken = files(&[(b"old", FILE, &lines("x")), (b"new", FILE, b"taken\n"), other]);
    assert!(!same_as_git("rename/add", &base, &to(b"new", &lines("x")), &taken));
    let copied = files(&[(b"old", FILE, &lines("x")), (b"new", FILE, &lines("x")), other]);
    same_as_git("renamed here, copied there", &base, &to(b"new", &lines("x")), &copied);
    // The folder is the same on both sides; what left it went two ways.
    let keeper: (&[u8], &'static str, &[u8]) = (b"d/keep", FILE, b"keep\n");
    let in_folder = files(&[(b"d/x", FILE, &lines("x")), keeper]);
    let out_to = |name: &'static [u8]| files(&[(name, FILE, &lines("x")), keeper]);
    assert!(!same_as_git("out of one folder to two names", &in_folder, &out_to(b"y"), &out_to(b"z")));
    // Apart: one side renames, the other adds and removes elsewhere.
    let elsewhere = files(&[(b"old", FILE, &lines("x")), (b"z", FILE, &lines("y"))]);
    assert!(same_as_git("renames apart", &base, &to(b"new", &lines("x")), &elsewhere));
}

#[test]
fn invariant_3_renamed_folders_and_what_is_added_to_them() {
    let base = files(&[
        (b"d/a", FILE, &lines("a")),
        (b"d/b", FILE, &lines("b")),
        (b"d/sub/c", FILE, &lines("c")),
        (b"k", FILE, b"k\n"),
    ]);
    let moved = files(&[
        (b"e/a", FILE, &lines("a")),
        (b"e/b", FILE, &lines("b")),
        (b"e/sub/c", FILE, &lines("c")),
        (b"k", FILE, b"k\n"),
    ]);
    for new in [&b"d/new"[..], b"d/sub/new", b"d/deeper/new"] {
        let mut added = base.clone();
        added.insert(new.to_vec(), (FILE, b"new\n".to_vec()));
        same_as_git("folder renamed, file added", &base, &moved, &added);
        if new.starts_with(b"d/deeper") {
            continue; // git itself moves what is added to a folder, not folders that are.
        }
        let settings = MergeSettings { directory_renames: DirectoryRenames::True, ..GIT_DEFAULTS };
        let mut stream = Stream::default();
        let start = stream.commit("main", &[], &base);
        stream.commit("a", &[start], &moved);
        stream.commit("b", &[start], &added);
        let world = GitWorld::empty();
        let heads = world.import(&stream);
        let items = [item(0, "a", heads["a"]), item(1, "b", heads["b"])];
        let composite = compose(&world.composer_with("q", settings), heads["main"], &items);
        let names = world.quarantined("q", ["ls-tree", "-r", "--name-only", &composite.tree.to_string()]);
        assert!(names.lines().any(|name| name.as_bytes() == [b"e", &new[1..]].concat()), "{names}");
    }
    let mut moved_into = base.clone();
    let file = moved_into.remove(&b"k"[..]).unwrap();
    moved_into.insert(b"d/k".to_vec(), file);
    same_as_git("folder renamed, file moved into it", &base, &moved, &moved_into);
}

#[test]
fn invariant_3_modes_links_and_submodules() {
    let content = lines("x");
    let base = files(&[(b"f", FILE, &content), (b"l", LINK, b"f"), (b"s", SUBMODULE, &[b'1'; 40])]);
    let with = |path: &[u8], mode: &'static str, content: &[u8]| {
        let mut changed = base.clone();
        changed.insert(path.to_vec(), (mode, content.to_vec()));
        changed
    };
    assert!(same_as_git(
        "mode, edit",
        &base,
        &with(b"f", EXECUTABLE, &content),
        &with(b"f", FILE, &edited("x", 2, "E"))
    ));
    assert!(!same_as_git("link, edit", &base, &with(b"f", LINK, b"l"), &with(b"f", FILE, &edited("x", 2, "E"))));
    assert!(!same_as_git("link, link", &base, &with(b"l", LINK, b"a"), &with(b"l", LINK, b"b")));
    assert!(same_as_git("link changed", &base, &with(b"l", LINK, b"a"), &with(b"n", FILE, b"n\n")));
    assert!(same_as_git("submodule moved", &base, &with(b"s", SUBMODULE, &[b'2'; 40]), &with(b"n", FILE, b"n\n")));
    assert!(!same_as_git(
        "submodule both",
        &base,
        &with(b"s", SUBMODULE, &[b'2'; 40]),
        &with(b"s", SUBMODULE, &[b'3'; 40])
    ));
    assert!(!same_as_git("submodule, file", &base, &with(b"n", SUBMODULE, &[b'2'; 40]), &with(b"n", FILE, b"n\n")));
}

#[test]
fn invariant_3_files_in_the_way_of_folders() {
    let base = files(&[(b"p", FILE, &lines("p")), (b"d/a", FILE, &lines("a")), (b"k", FILE, b"k\n")]);
    let mut to_folder = base.clone();
    to_folder.remove(&b"p"[..]);
    to_folder.insert(b"p/inner".to_vec(), (FILE, b"inner\n".to_vec()));
    let mut to_file = base.clone();
    to_file.remove(&b"d/a"[..]);
    to_file.insert(b"d".to_vec(), (FILE, b"now a file\n".to_vec()));
    let mut edited_p = base.clone();
    edited_p.insert(b"p".to_vec(), (FILE, edited("p", 3, "E")));
    let mut edited_a = base.clone();
    edited_a.insert(b"d/a".to_vec(), (FILE, edited("a", 3, "E")));
    let mut unrelated = base.clone();
    unrelated.insert(b"k".to_vec(), (FILE, b"K\n".to_vec()));
    assert!(same_as_git("file to folder, elsewhere", &base, &to_folder, &unrelated));
    assert!(same_as_git("folder to file, elsewhere", &base, &to_file, &unrelated));
    assert!(!same_as_git("file to folder, edited", &base, &to_folder, &edited_p));
    assert!(!same_as_git("folder to file, edited", &base, &to_file, &edited_a));
    let new_file = {
        let mut f = base.clone();
        f.insert(b"n".to_vec(), (FILE, b"n\n".to_vec()));
        f
    };
    let new_folder = {
        let mut f = base.clone();
        f.insert(b"n/x".to_vec(), (FILE, b"x\n".to_vec()));
        f
    };
    assert!(!same_as_git("new file, new folder", &base, &new_file, &new_folder));
}

#[test]
fn invariant_3_attributes_of_the_tree_merged_into_decide() {
    let twice = |attributes: &[u8], content: &[u8], a: &[u8], b: &[u8]| {
        let with = |content: &[u8]| files(&[(b".gitattributes", FILE, attributes), (b"f", FILE, content)]);
        same_as_git(&String::from_utf8_lossy(attributes), &with(content), &with(a), &with(b))
    };
    let reads_attributes = GitWorld::new().open().version() >= GitVersion::ATTR_SOURCE;
    if reads_attributes {
        assert!(twice(b"f merge=union\n", b"1\n", b"1\na\n", b"1\nb\n"));
        assert!(!twice(b"f -merge\n", &lines("x"), &edited("x", 1, "a"), &edited("x", 8, "b")));
        assert!(!twice(b"f binary\n", &lines("x"), &edited("x", 1, "a"), &edited("x", 8, "b")));
        assert!(!twice(b"f merge=nonesuch\n", b"1\n", b"a\n", b"b\n"));
    }
    let crlf = |text: Vec<u8>| String::from_utf8(text).unwrap().replace('\n', "\r\n").into_bytes();
    assert!(twice(b"f text\n", &lines("x"), &crlf(lines("x")), &lines("x")));
    twice(b"f text=auto\n", &crlf(lines("x")), &crlf(edited("x", 1, "a")), &edited("x", 8, "b"));
    assert!(twice(b"f text eol=crlf\n", &lines("x"), &edited("x", 1, "a"), &edited("x", 8, "b")));
    assert!(!twice(b"* -text\n", &lines("x"), &crlf(lines("x")), &edited("x", 8, "b")));
    // The attribute comes with one side only.
    if reads_attributes {
        let base = files(&[(b"f", FILE, b"1\n")]);
        let a = files(&[(b"f", FILE, b"1\na\n"), (b".gitattributes", FILE, b"f merge=union\n")]);
        same_as_git("union on one side", &base, &a, &files(&[(b"f", FILE, b"1\nb\n")]));
    } else {
        // This git cannot read them from a tree: refused where something has to be merged, and only there.
        let with = |content: &[u8]| files(&[(b"d/.gitattributes", FILE, b"f merge=union\n"), (b"f", FILE, content)]);
        let mut stream = Stream::default();
        let start = stream.commit("main", &[], &with(b"1\n"));
        stream.commit("a", &[start], &with(b"1\na\n"));
        stream.commit("b", &[start], &with(b"1\nb\n"));
        let world = GitWorld::empty();
        let heads = world.import(&stream);
        let composer = world.composer("q");
        let request = |names: &[&str]| ComposeRequest {
            base: heads["main"],
            items: names.iter().enumerate().map(|(at, name)| Arc::new(item(at, name, heads[*name]))).collect(),
            beneath: Trail::default(),
        };
        assert!(block_on(composer.compose(request(&["a"]))).is_ok());
        let refused = block_on(composer.compose(request(&["a", "b"]))).unwrap_err();
        assert!(refused.message.contains("d/.gitattributes"), "{refused}");
    }
}

/// git merges a file that was renamed onto another one twice. What conflicts the first time is text the second time, and here both
/// sides' lines are taken: `git merge` commits the markers, and says that there was a conflict.
#[test]
fn a_merge_that_git_ends_well_with_markers_in_a_file_is_a_conflict() {
    let with = |more: &[(&[u8], &'static str, &[u8])]| {
        let mut all: Vec<(&[u8], &'static str, &[u8])> = vec![(b".gitattributes", FILE, b"a/** merge=union\n")];
        all.extend(more);
        files(&all)
    };
    let mut stream = Stream::default();
    let start = stream.commit("main", &[], &with(&[(b"b/f", FILE, &lines("x"))]));
    stream.commit("a", &[start], &with(&[(b"b/f", FILE, &edited("x", 4, "one")), (b"a/n", FILE, b"new\n")]));
    stream.commit("b", &[start], &with(&[(b"a/n", FILE, &edited("x", 4, "two"))]));
    let world = GitWorld::empty();
    let heads = world.import(&stream);
    let request = ComposeRequest {
        base: heads["main"],
        items: ["a", "b"].iter().enumerate().map(|(at, name)| Arc::new(item(at, name, heads[*name]))).collect(),
        beneath: Trail::default(),
    };
    let made = block_on(world.composer("q").compose(request));
    if world.open().version() >= GitVersion::ATTR_SOURCE {
        let made = made.unwrap();
        assert_eq!(made.set_aside.len(), 1, "{made:?}");
    } else {
        // This git cannot read the attribute from a tree.
        made.unwrap_err();
    }
}

#[test]
fn invariant_3_names_that_are_no_utf8_and_need_quoting() {
    let base = files(&[(b"\xff\xfe", FILE, &lines("x")), (b"a \"b\"\\\n\t", FILE, &lines("y"))]);
    let a = files(&[(b"\xff\xfe", FILE, &edited("x", 2, "A")), (b"a \"b\"\\\n\t", FILE, &lines("y"))]);
    let b = files(&[(b"\xff\xfe", FILE, &edited("x", 2, "B")), (b"a \"b\"\\\n\t", FILE, &lines("y"))]);
    let c = files(&[(b"\xff\xfe", FILE, &lines("x")), (b"a \"b\"\\\n\t", FILE, &edited("y", 3, "C"))]);
    assert!(!same_as_git("no utf-8", &base, &a, &b));
    assert!(same_as_git("quoted", &base, &a, &c));
}

#[test]
fn invariant_3_histories_merged_crosswise_have_several_bases() {
    let mut stream = Stream::default();
    let at = |one: usize, two: usize| {
        let text = edited("x", one, "one");
        let text = String::from_utf8(text).unwrap().replace(&format!("x line {two}\n"), "two\n").into_bytes();
        files(&[(b"f", FILE, &text), (b"g", FILE, &lines("g"))])
    };
    let start = stream.commit("start", &[], &files(&[(b"f", FILE, &lines("x")), (b"g", FILE, &lines("g"))]));
    let left =
        stream.commit("left", &[start], &files(&[(b"f", FILE, &edited("x", 1, "one")), (b"g", FILE, &lines("g"))]));
    let right =
        stream.commit("right", &[start], &files(&[(b"f", FILE, &edited("x", 8, "two")), (b"g", FILE, &lines("g"))]));
    stream.commit("main", &[left, right], &at(1, 8));
    let cross = stream.commit("cross", &[right, left], &at(1, 8));
    let mut more = at(1, 8);
    more.insert(b"g".to_vec(), (FILE, edited("g", 4, "more")));
    stream.commit("a", &[cross], &more);
    let mut other = at(1, 8);
    other.insert(b"h".to_vec(), (FILE, b"h\n".to_vec()));
    stream.commit("b", &[cross], &other);
    assert!(compare("criss-cross", &stream));
}

#[test]
fn invariant_3_an_unrelated_history_is_a_conflict_as_it_is_for_git() {
    let mut stream = Stream::default();
    stream.commit("main", &[], &files(&[(b"f", FILE, b"1\n")]));
    stream.commit("a", &[], &files(&[(b"g", FILE, b"2\n")]));
    stream.commit("b", &[], &files(&[(b"h", FILE, b"2\n")]));
    assert!(!compare("unrelated", &stream));
}

#[test]
fn a_conflict_names_the_item_it_meets_the_paths_and_gits_words() {
    let mut stream = Stream::default();
    let text = lines("x");
    let start = stream.commit("main", &[], &files(&[(b"f", FILE, &text), (b"g", FILE, &text)]));
    stream.commit("a", &[start], &files(&[(b"f", FILE, &edited("x", 1, "A")), (b"g", FILE, &text)]));
    stream.commit("b", &[start], &files(&[(b"f", FILE, &text), (b"g", FILE, &edited("x", 1, "B"))]));
    stream.commit("c", &[start], &files(&[(b"f", FILE, &edited("x", 1, "C")), (b"g", FILE, &text)]));
    // Renames what a edited, and edits it, too.
    stream.commit("d", &[start], &files(&[(b"moved", FILE, &edited("x", 1, "D")), (b"g", FILE, &text)]));
    stream.commit("e", &[start], &files(&[(b"g", FILE, &text), (b"k", FILE, b"k\n")]));
    let world = GitWorld::empty();
    let heads = world.import(&stream);
    let names = ["a", "b", "c", "d", "e"];
    let items: Vec<_> = names.iter().enumerate().map(|(at, name)| item(at, name, heads[*name])).collect();
    let composite = compose(&world.composer("q"), heads["main"], &items);
    let found = conflicts(&composite);
    let met: Vec<(&str, &str, &[String])> = found
        .iter()
        .map(|(name, conflict)| (name.as_str(), conflict.with.as_ref().unwrap().as_str(), conflict.paths.as_slice()))
        .collect();
    let path = |path: &str| vec![path.to_owned()];
    assert_eq!(met, [("c", "a", &path("f")[..]), ("d", "a", &path("moved")), ("e", "a", &path("f"))]);
    assert_eq!(found[0].1.messages, ["CONFLICT (content): Merge conflict in f"]);
    assert_eq!(
        found[2].1.messages,
        ["CONFLICT (modify/delete): f deleted in e and modified in what it is merged onto.  \
          Version what it is merged onto of f left in tree."]
    );
    // Against the base itself nobody is named.
    world.git(["checkout", "--quiet", "main"]);
    world.write("f", edited("x", 1, "M"));
    let base = world.commit("main moves");
    let composite = compose(&world.composer("q2"), base, &items[2..3]);
    assert_eq!(conflicts(&composite)[0].1.with, None);
}

#[test]
fn a_conflict_names_the_landed_item_beneath_that_last_changed_what_clashes() {
    let world = GitWorld::new();
    world.write("f", lines("x"));
    world.commit("begin");
    let b = world.branch_with("b", "main", &[("f", &String::from_utf8(edited("x", 1, "B")).unwrap())]);
    // Onto main came: an item that changes f, one that does not, and at last somebody else.
    let mut trees = vec![world.tree("main")];
    let mut tips = Vec::new();
    for (path, content) in
        [("f", edited("x", 1, "A")), ("g", lines("g")), ("h", lines("h")), ("f", edited("x", 1, "O"))]
    {
        world.write(path, content);
        tips.push(world.commit(path));
        trees.push(world.tree("main"));
    }
    let step = |at: usize, item: Option<&str>| TargetStep {
        item: item.map(ItemName::new),
        before: trees[at].parse().unwrap(),
        after: trees[at + 1].parse().unwrap(),
    };
    let steps = [step(0, Some("a")), step(1, Some("unrelated")), step(2, None), step(3, None)];
    let composer = world.composer("q");
    let met = |steps: &[TargetStep]| {
        let items = vec![Arc::new(item(0, "b", b))];
        let request =
            ComposeRequest { base: tips[steps.len().max(1) - 1], items, beneath: steps.iter().cloned().collect() };
        let composite = block_on(composer.compose(request)).unwrap();
        conflicts(&composite)[0].1.with.as_ref().map(|with| with.to_string())
    };
    assert_eq!(met(&[]), None, "nothing is known of how main came there");
    assert_eq!(met(&steps[..1]).as_deref(), Some("a"));
    assert_eq!(met(&steps[..2]).as_deref(), Some("a"));
    assert_eq!(met(&steps[..3]).as_deref(), Some("a"), "others changed something else");
    assert_eq!(met(&steps), None, "others changed it last");
}
