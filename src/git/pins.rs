//! What a run still needs is kept from `git gc`: one ref under `refs/lexpr/`, to a commit whose
//! parents are all that must stay. Branches may be deleted and objects pruned meanwhile.

use std::collections::BTreeSet;

use super::command::{Config, DURABLE, Git, GitError};
use crate::crash;
use crate::vocabulary::names::{CommitId, RunId, TreeId};

/// The name and the address of who makes these commits, which are nobody's work.
pub(super) const NOBODY: &str = "lexpr";

/// The refs of one repository that keep objects alive.
#[derive(Clone, Debug)]
pub struct Pins {
    git: Git,
}

impl Pins {
    /// `common_dir` is the git directory that all worktrees share.
    pub fn of(common_dir: &std::path::Path) -> Self {
        Self { git: Git::new(common_dir, Config::RepositoryOnly) }
    }

    /// Keeps `commits` and all they reach until [`Pins::release`]. Replaces what was kept before
    /// under the same name.
    ///
    /// # Errors
    /// Where one of them is missing or nothing can be written.
    pub fn keep(&self, run: &RunId, what: &str, tree: TreeId, commits: &[CommitId]) -> Result<(), GitError> {
        let mut commit = format!("tree {tree}\n");
        let mut kept = commits.to_vec();
        kept.sort_unstable();
        kept.dedup();
        for parent in kept {
            commit.push_str(&format!("parent {parent}\n"));
        }
        // Of nobody and at no time, so that the same is kept by the same commit.
        let nobody = format!("{NOBODY} <{NOBODY}> 0 +0000");
        commit.push_str(&format!("author {nobody}\ncommitter {nobody}\n\nlexpr: kept for run {run}\n"));
        let written = self.durable(&["hash-object", "-t", "commit", "-w", "--stdin"], commit.as_bytes())?;
        let id = String::from_utf8_lossy(&written).trim().to_owned();
        crash::point!("pins.keep.before");
        self.durable(&["update-ref", &name(run, what), &id], &[])?;
        crash::point!("pins.keep.after");
        Ok(())
    }

    /// The runs for which something is kept.
    ///
    /// # Errors
    /// Where refs cannot be read.
    pub fn runs(&self) -> Result<BTreeSet<RunId>, GitError> {
        let listed = self.git.line(["for-each-ref", "--format=%(refname:lstrip=3)", FOLDER])?;
        Ok(listed.lines().filter_map(|name| name.split('/').next()).map(RunId::new).collect())
    }

    /// Lets go of what was kept for `run` under this name, if anything was.
    ///
    /// # Errors
    /// Where refs cannot be changed.
    pub fn let_go(&self, run: &RunId, what: &str) -> Result<(), GitError> {
        self.durable(&["update-ref", "-d", &name(run, what)], &[]).map(drop)
    }

    /// Lets go of everything that was kept for `run`.
    ///
    /// # Errors
    /// Where refs cannot be changed.
    pub fn release(&self, run: &RunId) -> Result<(), GitError> {
        let folder = format!("{FOLDER}{run}/");
        let listed = self.git.run(["for-each-ref", "--format=delete %(refname)", &folder])?;
        crash::point!("pins.release.before");
        if !listed.is_empty() {
            self.durable(&["update-ref", "--stdin"], &listed)?;
        }
        crash::point!("pins.release.after");
        Ok(())
    }

    /// Removes what a git left that was killed while it wrote refs of `run`. Only for who knows that no
    /// git is at work for it.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn remove_locks(&self, run: &RunId) -> Result<(), GitError> {
        // Refs that are kept in tables have no folder.
        let folder = self.git.git_dir().join(format!("{FOLDER}{run}"));
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                std::fs::remove_file(&path).map_err(GitError::io("removing", &path))?;
            }
        }
        Ok(())
    }

    fn durable(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        self.git.run_with_input(DURABLE.into_iter().chain(args.iter().copied()), input)
    }
}

fn name(run: &RunId, what: &str) -> String {
    format!("{FOLDER}{run}/{what}")
}

/// A folder for each run is in it.
const FOLDER: &str = "refs/lexpr/runs/";
