//! Slots of a repository of their own, for what gates do to them.
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::path::Path;

use lexpr::git::command::{Config, Git};
use lexpr::git::slot::{Clean, Slot, SlotPool, SlotSettings, SlotTarget};
use lexpr::vocabulary::names::CommitId;
use tempfile::TempDir;

use crate::land_world::{Entry, LINK, Repo, SCRIPT, file};

pub struct World {
    pub folder: TempDir,
    pub repo: Repo,
    pub pool: SlotPool,
}

impl World {
    pub fn new() -> Self {
        Self::with_options(&["--bare"])
    }

    pub fn with_options(options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        // Alternates are read line by line, with quotes and comments.
        let repo = Repo::init(&folder.path().join("#user's \"own\"\nrepository.git"), options);
        let pool = SlotPool::new(settings(folder.path(), vec![repo.objects()]));
        Self { folder, repo, pool }
    }

    pub fn target(&self, commit: CommitId) -> SlotTarget {
        SlotTarget { commit, tree: self.repo.tree_of(commit), base: commit }
    }

    pub fn commit(&self, entries: &[Entry]) -> SlotTarget {
        self.target(self.repo.commit(entries, &[]))
    }
}

pub fn settings(folder: &Path, object_dirs: Vec<std::path::PathBuf>) -> SlotSettings {
    SlotSettings {
        cache_root: folder.join("cache"),
        repository_id: "repository".to_owned(),
        object_dirs,
        store: None,
        target_branch: "release/1.0".to_owned(),
    }
}

pub const KEEP: Clean = Clean::TrackedAndUntracked;

/// git as a gate runs it in the slot.
pub fn gate_git(slot: &Slot, args: &[&str]) -> String {
    let git = Git::new(slot.path().join(".git"), Config::RepositoryOnly).with_work_tree(slot.path());
    let identity = ["-c", "user.name=Gate", "-c", "user.email=gate@example.org"];
    git.line(identity.iter().chain(args)).unwrap()
}

pub fn first_tree() -> Vec<Entry<'static>> {
    vec![
        file(".gitignore", "*.o\n/out/\n"),
        file("a", "one\n"),
        file("dir/b", "two\n"),
        file("dir/deep/c", "three\n"),
        (SCRIPT, b"run", b"#!/bin/sh\n"),
        (LINK, b"link", b"../../outside"),
        (LINK, b"absolute", b"/etc/passwd"),
        ("100644", b"odd \xff \n\t\"name\"", b"bytes\n"),
        file("w\u{f6}rter/\u{4e2d}", "unicode\n"),
    ]
}

pub fn second_tree() -> Vec<Entry<'static>> {
    vec![
        file(".gitignore", "*.o\n/out/\n"),
        file("a", "One\n"),
        file("dir", "a file now\n"),
        file("run", "#!/bin/sh\n"),
        file("link/inside", "a folder now\n"),
        file("new/e", "five\n"),
    ]
}

/// By `.git`, which is laid anew until that was seen.
pub fn seen_to_keep_times(slot: &mut Slot, to: &SlotTarget) {
    for _ in 0..2 {
        slot.switch_to(to, KEEP).unwrap();
    }
}
