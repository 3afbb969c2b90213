//! The lock files that git makes where a landing writes.

use std::path::PathBuf;

use super::LocalLander;
use crate::git::checkout::{INDEX_LOCK, holder, remove_left_by};
use crate::git::command::GitError;

impl LocalLander {
    /// The locks on the target and on the checkouts that follow it, whether they are there or not, but
    /// for those that another run's landing has on a checkout. Blocks.
    pub fn locks_of_target(&self) -> Vec<PathBuf> {
        let common_dir = &self.0.settings.common_dir;
        let mut locks = vec![common_dir.join(format!("{}.lock", self.0.settings.target))];
        // A git that moves a branch locks the HEAD that is on it, for the reflog.
        let mut git_dirs = vec![common_dir.clone()];
        // Where checkouts cannot be listed the landing says so.
        let checkouts = self.0.checkouts().unwrap_or_default();
        git_dirs.extend(checkouts.iter().map(|checkout| checkout.git_dir().to_owned()));
        git_dirs.dedup();
        for git_dir in git_dirs {
            locks.extend(["HEAD.lock", INDEX_LOCK].map(|name| git_dir.join(name)));
        }
        // No process has such a file open: it says itself whose it is.
        locks.retain(|lock| holder(lock).is_none_or(|run| run == self.0.settings.run));
        locks
    }

    /// Lets go of the checkouts that a killed process held for the run. Only for who is the one that
    /// works on it. Blocks.
    ///
    /// # Errors
    /// Where a lock cannot be removed.
    pub fn let_go_of_checkouts(&self) -> Result<(), GitError> {
        let checkouts = self.0.checkouts().unwrap_or_default();
        checkouts.iter().try_for_each(|checkout| remove_left_by(&self.0.settings.run, checkout.git_dir()))
    }

    /// The locks that a git takes to remove refs or, where refs are kept in tables, to write any.
    pub fn locks_of_all_refs(&self) -> Vec<PathBuf> {
        ["packed-refs.lock", "reftable/tables.list.lock"].map(|name| self.0.settings.common_dir.join(name)).into()
    }

    /// The git directory and the working trees in which who takes these locks is at work. Blocks.
    pub fn places(&self) -> Vec<PathBuf> {
        let checkouts = self.0.checkouts().unwrap_or_default().into_iter();
        let of_checkouts = checkouts.flat_map(|checkout| [checkout.git_dir().to_owned(), checkout.path]);
        std::iter::once(self.0.settings.common_dir.clone()).chain(of_checkouts).collect()
    }
}
