//! What a storm is made of: the repository, its branches, and plans that overlap.

use std::fmt::Write as _;

use super::LANDERS;
use crate::cli_world::{NewBranch, World};
pub use crate::random::Random;

impl Random {
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// Where the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    Bare,
    /// In a worktree of its own. Nobody moves it by hand there: `git update-ref` would leave the
    /// worktree behind.
    CheckedOut,
}

impl Ground {
    pub fn world(self) -> World {
        let world = World::new(&[("README.md", "# A project\n")], BRANCHES);
        match self {
            Self::Bare => {
                world.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
                world.git(&["-C", "../bare.git", "remote", "remove", "origin"]);
                std::fs::remove_dir_all(world.repo()).unwrap();
                std::fs::rename(world.path("bare.git"), world.repo()).unwrap();
            }
            Self::CheckedOut => {
                world.git(&["checkout", "-q", "--detach"]);
                world.git(&["worktree", "add", "-q", "../linked", "main"]);
            }
        }
        world
    }
}

const BRANCHES: &[NewBranch<'static>] = &[
    ("own-0", "main", &[("own-0", "0")]),
    ("own-1", "main", &[("own-1", "1")]),
    ("own-2", "main", &[("own-2", "2")]),
    ("own-3", "main", &[("own-3", "3")]),
    ("own-4", "main", &[("own-4", "4")]),
    ("own-5", "main", &[("own-5", "5")]),
    ("own-6", "main", &[("own-6", "6")]),
    ("own-7", "main", &[("own-7", "7")]),
    ("solo-0", "main", &[("solo-0", "0")]),
    ("solo-1", "main", &[("solo/1", "1")]),
    ("solo-2", "main", &[("solo/2", "2")]),
    ("solo-3", "main", &[("solo-3", "3")]),
    ("stack-0", "main", &[("stack", "0\n")]),
    ("stack-1", "stack-0", &[("stack", "0\n1\n")]),
    ("stack-2", "stack-1", &[("stack", "0\n1\n2\n")]),
    ("root", "main", &[("root", "r")]),
    ("left", "main", &[("left", "l")]),
    ("right", "main", &[("right", "r")]),
    ("clash-0", "main", &[("clash", "0\n")]),
    ("clash-1", "main", &[("clash", "1\n")]),
    ("bad", "main", &[("bad", "b")]),
    ("hand-0", "main", &[("hand-0", "0")]),
    ("hand-1", "main", &[("hand-1", "1")]),
    ("hand-2", "main", &[("hand-2", "2")]),
];

pub fn branches() -> impl Iterator<Item = &'static str> {
    BRANCHES.iter().map(|(name, ..)| *name)
}

/// Branches that somebody merges by hand while others land them.
pub const BY_HAND: [&str; 3] = ["hand-0", "hand-1", "hand-2"];

/// The plan of one of those who land: a branch of its own and some that others land as well.
pub fn plan(number: usize, random: &mut Random) -> String {
    assert!(number < LANDERS);
    let mut items = vec![(format!("own-{number}"), "")];
    for solo in 0..4 {
        if random.one_in(4) {
            items.push((format!("solo-{solo}"), ""));
        }
    }
    for stacked in 0..3 {
        if random.one_in(3) {
            items.push((format!("stack-{stacked}"), ""));
        }
    }
    if random.one_in(3) {
        items.push(("root".to_owned(), ""));
        items.push(("left".to_owned(), "root"));
        if random.one_in(2) {
            items.push(("right".to_owned(), "left, root"));
        }
    }
    if random.one_in(3) {
        items.push((format!("clash-{}", random.below(2)), ""));
    }
    if random.one_in(4) {
        items.push(("bad".to_owned(), ""));
    }
    for by_hand in BY_HAND {
        if random.one_in(4) {
            items.push((by_hand.to_owned(), ""));
        }
    }
    let (batch, rebases) = (1 + random.below(3), 1 + random.below(4));
    let mut text = format!(
        "schemaVersion: v1\npolicy: {{maxWorkers: 2, maxRebases: {rebases}, performance: {{batchSize: {batch}}}}}\n\
         gates: [{{name: g, run: 'test ! -e bad && {{ test ! -e left || test -e root; }} && sleep 0.0{}'}}]\nitems:\n",
        random.below(6)
    );
    for (name, deps) in items {
        let strategy = match random.below(5) {
            _ if BY_HAND.contains(&&*name) => "merge",
            0 => "squash",
            1 => "rebase",
            _ => "merge",
        };
        let _ = writeln!(text, "  - {{name: {name}, strategy: {strategy}, deps: [{deps}]}}");
    }
    text
}
