//! Texts that meet in a way that only git can judge, among others that need not be merged: git is asked about them alone.

use crate::compose_cases::conflicts;
use crate::git_world::{Files, GitWorld, Stream, compose, item};

const FILE: &str = "100644";
const EXECUTABLE: &str = "100755";

/// git merges a change of the first line with one of the last, as lines that neither side touched lie between them. None of those stands
/// once.
fn text(first: &str, last: &str) -> Vec<u8> {
    format!("{first}\n}}\n}}\n{last}\n").into_bytes()
}

/// Paths that conflict, and git's words for it.
type Found = (Vec<String>, Vec<String>);

struct Sides {
    base: Files,
    a: Files,
    b: Files,
}

impl Sides {
    fn new() -> Self {
        Self { base: Files::new(), a: Files::new(), b: Files::new() }
    }

    fn with(mut self, path: &str, mode: &'static str, [base, a, b]: [Vec<u8>; 3]) -> Self {
        for (files, content) in [(&mut self.base, base), (&mut self.a, a), (&mut self.b, b)] {
            files.insert(path.as_bytes().to_vec(), (mode, content));
        }
        self
    }

    /// A text, another one at each path, of which git alone knows what the edits of both come to.
    fn with_near_edits(self, path: &str, mode: &'static str) -> Self {
        let own = |text: Vec<u8>| [text, format!("{path}\n").into_bytes()].concat();
        self.with(path, mode, [text("x", "y"), text("a", "y"), text("x", "b")].map(own))
    }

    fn with_clash(self, path: &str) -> Self {
        self.with(path, FILE, [text("x", "y"), text("a", "y"), text("b", "y")])
    }

    /// Merges `a`, then `b`, and compares the tree with git's: how many merges were made in process, how many by git, and
    /// where what conflicts.
    fn merged(&self) -> (u64, u64, Vec<Found>) {
        let world = GitWorld::empty();
        let mut stream = Stream::default();
        let start = stream.commit("main", &[], &self.base);
        stream.commit("a", &[start], &self.a);
        stream.commit("b", &[start], &self.b);
        let heads = world.import(&stream);
        let items = ["a", "b"].into_iter().enumerate().map(|(at, name)| item(at, name, heads[name]));
        let items: Vec<_> = items.collect();
        let expected = world.merge_by_git(heads["main"], &items).unwrap();
        let composer = world.composer("q");
        let composite = compose(&composer, heads["main"], &items);
        assert_eq!(composite.tree.to_string(), expected.tree);
        let found = conflicts(&composite).into_iter().map(|(_, conflict)| (conflict.paths, conflict.messages));
        let found: Vec<_> = found.collect();
        assert_eq!(found.is_empty(), expected.conflicts.is_empty());
        let merges = composer.stats().merges;
        (merges.spliced, merges.by_git, found)
    }
}

#[test]
fn invariant_3_texts_that_git_merges_stand_beside_what_is_spliced_with_their_paths_and_modes() {
    let apart = |at: usize| [text("x", "y"), text(if at == 1 { "a" } else { "x" }, "y"), text("x", "y")];
    let sides = Sides::new()
        .with_near_edits("f", FILE)
        .with_near_edits("deep/er/0", EXECUTABLE)
        .with_near_edits("deep/er/a name", FILE)
        .with("deep/er/only a's", FILE, apart(1))
        .with("nobody's", FILE, apart(0));
    assert_eq!(sides.merged(), (1, 1, Vec::new()));
}

#[test]
fn invariant_3_of_several_texts_that_meet_one_may_conflict_and_is_named_alone() {
    let sides =
        Sides::new().with_near_edits("merges", FILE).with_clash("deep/clashes").with_near_edits("merges too", FILE);
    let (spliced, by_git, found) = sides.merged();
    assert_eq!((spliced, by_git), (1, 1));
    let words = "CONFLICT (content): Merge conflict in deep/clashes";
    assert_eq!(found, [(vec!["deep/clashes".to_owned()], vec![words.to_owned()])]);
}

#[test]
fn invariant_3_a_text_whose_merge_attributes_decide_is_merged_where_it_stands() {
    let says = |rule: &str| [(); 3].map(|()| format!("f {rule}\n").into_bytes());
    let of_f = || Sides::new().with_near_edits("f", FILE).with_near_edits("g", FILE);
    assert_eq!(of_f().with(".gitattributes", FILE, says("diff")).merged(), (1, 1, Vec::new()));
    let (_, by_git, found) = of_f().with(".gitattributes", FILE, says("-merge")).merged();
    assert_eq!(by_git, 1);
    assert_eq!(found.len(), 1, "what git merges in trees of their own, it does not here");
    assert_eq!(found[0].0, ["f"]);
}

#[test]
fn invariant_3_more_texts_that_meet_than_are_remembered_are_merged_with_the_rest() {
    let sides = (0..1_100).fold(Sides::new(), |sides, at| sides.with_near_edits(&format!("d/{at}"), FILE));
    assert_eq!(sides.merged(), (1, 1, Vec::new()));
}
