//! Somebody who moves the target by hand: commits of their own, and branches that others are just
//! landing; by compare-and-swap, as git itself does it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::scenery::{BY_HAND, Ground, Random};
use crate::cli_world::{Said, World};

/// Enough to be in everybody's way, few enough for every run to come to its end.
const MOST_MOVES: usize = 30;

pub struct Mover {
    ground: Ground,
    random: Mutex<Random>,
    stopped: AtomicBool,
}

/// What was done: the commit, and the branch that it merges, if it merges one.
pub type Moves = HashMap<String, Option<&'static str>>;

impl Mover {
    pub fn new(ground: Ground, random: Random) -> Self {
        Self { ground, random: Mutex::new(random), stopped: AtomicBool::new(false) }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn move_until_stopped(&self, world: &World) -> Moves {
        let mut random = self.random.lock().unwrap();
        let mut moves = Moves::new();
        let mut by_hand = BY_HAND.iter();
        let most = if self.ground == Ground::CheckedOut { 0 } else { MOST_MOVES };
        for number in 0..most {
            let pause = Duration::from_millis(30 + random.below(400) as u64);
            let until = std::time::Instant::now() + pause;
            while std::time::Instant::now() < until && !self.stopped.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(10));
            }
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let merged = if random.one_in(5) { by_hand.next().copied() } else { None };
            if let Some(commit) = move_once(world, number, merged) {
                moves.insert(commit, merged);
            }
        }
        moves
    }
}

/// The commit by which main was moved; `None` where it has the branch already.
fn move_once(world: &World, number: usize, merged: Option<&'static str>) -> Option<String> {
    loop {
        let from = world.main();
        let commit = match merged {
            Some(branch) if is_ancestor(world, branch, &from) => return None,
            Some(branch) => {
                let tree = world.git(&["merge-tree", "--write-tree", &from, branch]);
                world.git(&["commit-tree", &tree, "-p", &from, "-p", branch, "-m", &format!("By hand: {branch}")])
            }
            None => {
                let tree = with_file(world, &from, &format!("by-hand-{number}"));
                world.git(&["commit-tree", &tree, "-p", &from, "-m", &format!("By hand, {number}")])
            }
        };
        let said: Said =
            world.shell(&format!("git update-ref refs/heads/main {commit} {from}")).output().unwrap().into();
        if said.code == 0 {
            return Some(commit);
        }
        // Somebody was faster, or is just at it.
        assert!(said.stderr.contains("cannot lock ref"), "{said:?}");
    }
}

pub fn is_ancestor(world: &World, ancestor: &str, descendant: &str) -> bool {
    let line = format!("git merge-base --is-ancestor {ancestor} {descendant}");
    match world.shell(&line).output().unwrap().status.code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("{line}: {code:?}"),
    }
}

/// The tree of a commit and one file more.
fn with_file(world: &World, commit: &str, name: &str) -> String {
    let index = world.path("mover.index");
    let line = format!(
        "export GIT_INDEX_FILE='{}'; git read-tree {commit} && \
         git update-index --add --cacheinfo 100644,$(echo {name} | git hash-object -w --stdin),{name} && git write-tree",
        index.display()
    );
    let said: Said = world.shell(&line).output().unwrap().into();
    remove(&index);
    said.expect(0).stdout.trim().to_owned()
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}
