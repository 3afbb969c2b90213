//! A checkout of the target that nobody else can move: the one place that writes to a working tree of
//! the user's. Its index is locked the way git locks it, from before the target moves until the
//! checkout has followed; a commit made there in between would take back what landed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Checkout, Kind, REFRESH};
use crate::crash;
use crate::git::command::{Git, GitError};
use crate::git::refusal::{LandRefusal, shown_path};
use crate::vocabulary::names::{CommitId, RunId};

/// A checkout whose index is locked until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    checkout: &'a Checkout,
}

/// The lock that git takes with O_EXCL before it writes an index (git's api-lockfile).
pub(in crate::git) const LOCK: &str = "index.lock";

/// Where the index is written that takes the other's place.
const NEW_INDEX: &str = "lexpr-index";

/// What the lock holds before the run's id and a newline, so that it is known whose it is when its
/// process was killed.
const OF_RUN: &str = "lexpr run ";

/// The run whose lock this is, if it is a run's.
pub(in crate::git) fn holder(lock: &Path) -> Option<RunId> {
    let content = fs::read_to_string(lock).ok()?;
    Some(RunId::new(content.strip_prefix(OF_RUN)?.strip_suffix('\n')?))
}

/// What a killed run of this id left in a checkout's git directory, if it is the one whose lock is
/// there.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove_left_by(run: &RunId, git_dir: &Path) -> Result<(), GitError> {
    if holder(&git_dir.join(LOCK)).as_ref() == Some(run) { remove_all(git_dir) } else { Ok(()) }
}

/// The lock last: while it is there nobody takes it.
fn remove_all(git_dir: &Path) -> Result<(), GitError> {
    for name in [format!("{NEW_INDEX}.lock"), NEW_INDEX.to_owned(), LOCK.to_owned()] {
        let path = git_dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(GitError::io("removing", path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// With its time, by which git tells which files may have changed unseen (git's racy-git). One that is
/// not there is copied as such.
pub(super) fn copy_index(from: &Path, to: &Path) -> Result<(), GitError> {
    let copy = || {
        let time = fs::metadata(from)?.modified()?;
        fs::copy(from, to)?;
        File::options().write(true).open(to)?.set_modified(time)
    };
    match copy() {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(GitError::io("copying", from)(error)),
        _ => Ok(()),
    }
}

/// Makes `lock` unless it is there, with all of its content at once: a link is refused as O_EXCL is,
/// and whoever is killed in between has left no lock that says nothing.
fn take(lock: &Path, beside: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::write(beside, content)?;
    crash::point!("checkout.hold.before");
    let taken = match fs::hard_link(beside, lock) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            // A file system without links.
            File::create_new(lock).and_then(|mut lock| lock.write_all(content))
        }
        taken => taken,
    };
    fs::remove_file(beside)?;
    taken
}

impl Checkout {
    /// Takes the lock of its index in the name of `run`.
    ///
    /// # Errors
    /// A refusal where another git has it, or a merge or the like is under way.
    pub fn hold(&self, run: &RunId) -> Result<Held<'_>, LandRefusal> {
        self.must_be_at_rest()?;
        let path = self.git_dir().join(LOCK);
        let taken = take(&path, &self.git_dir().join(NEW_INDEX), format!("{OF_RUN}{run}\n").as_bytes());
        crash::point!("checkout.hold.taken");
        match taken {
            Ok(()) => Ok(Held { checkout: self }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(self.locked(path)),
            Err(error) => Err(LandRefusal::CannotMoveAlong {
                target: self.target.clone(),
                worktree: self.path.clone(),
                why: format!("{} cannot be made: {error}", path.display()),
            }),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // What cannot be removed is named by whoever finds it.
        let _ = remove_all(self.checkout.git_dir());
    }
}

impl Held<'_> {
    pub fn path(&self) -> &Path {
        &self.checkout.path
    }

    /// As [`Checkout::must_be_free_for`].
    ///
    /// # Errors
    /// A refusal that names what is in the way.
    pub fn must_be_free_for(&self, from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        self.checkout.must_have_a_way(from, to)
    }

    /// Lets git write to a copy of the index, which takes its place once git is done.
    fn on_a_new_index<T>(&self, work: impl FnOnce(&Git) -> Result<T, GitError>) -> Result<T, GitError> {
        let git_dir = self.checkout.git_dir();
        let (index, new) = (git_dir.join("index"), git_dir.join(NEW_INDEX));
        copy_index(&index, &new)?;
        let done = work(&self.checkout.git.with_index(&new))?;
        crash::point!("checkout.index.before");
        fs::rename(&new, &index).map_err(GitError::io("replacing", index))?;
        crash::point!("checkout.index.after");
        Ok(done)
    }

    /// Moves index and working tree along. Ask [`Held::must_be_free_for`] first: git spares
    /// what is modified or untracked, but overwrites ignored files.
    ///
    /// # Errors
    /// Where git refuses or fails; the index is then as it was.
    pub fn move_along(&self, from: CommitId, to: CommitId) -> Result<(), GitError> {
        let (from, to) = (from.to_string(), to.to_string());
        // Submodules' folders are the user's to update, whatever submodule.recurse says.
        let args = ["read-tree", "-m", "-u", "--no-recurse-submodules", &from, &to];
        crash::point!("checkout.move.before");
        // As `git merge` does: to read-tree a file whose stat data are new is modified. That others are
        // is no failure of the refresh; what comes of it read-tree says.
        self.on_a_new_index(|git| {
            git.output(&REFRESH, None)?;
            git.run(args)
        })?;
        crash::point!("checkout.move.after");
        Ok(())
    }

    /// After a process that was moving the target, and this worktree with it, was ended: does what
    /// was left to do. What somebody has done since is theirs.
    ///
    /// # Errors
    /// A refusal where files hold what neither commit does.
    pub fn catch_up(&self, from: CommitId, to: CommitId) -> Result<(), LandRefusal> {
        // git writes files first and the index last.
        let changed = self.checkout.changed_paths(from, to)?;
        let staged = self.checkout.staged_against(from)?;
        let behind: Vec<&PathBuf> = changed.iter().filter(|path| !staged.contains(*path)).collect();
        if behind.is_empty() {
            return Ok(());
        }
        if behind.len() < changed.len() {
            let paths = behind.into_iter().map(|path| shown_path(path.as_os_str().as_bytes())).collect();
            let (target, worktree) = (self.checkout.target.clone(), self.checkout.path.clone());
            return Err(LandRefusal::LeftBehind { target, worktree, way: Box::new((from, to)), paths });
        }
        self.checkout.must_need_no_filter_of_the_repository(&to.to_string())?;
        let paths = self.neither_nor(from, to)?;
        if !paths.is_empty() {
            return Err(LandRefusal::InTheWay {
                target: self.checkout.target.clone(),
                worktree: self.checkout.path.clone(),
                paths,
            });
        }
        self.put_back(from, to)?;
        self.move_along(from, to)?;
        Ok(())
    }

    /// Files that differ between the two commits and, here, hold what neither has, nor the
    /// beginning of it, which is what a write that was cut short leaves.
    fn neither_nor(&self, from: CommitId, to: CommitId) -> Result<Vec<String>, LandRefusal> {
        let mut others = Vec::new();
        for change in self.checkout.changes(&from.to_string(), &to.to_string())? {
            if change.from == Kind::Submodule || change.to == Kind::Submodule {
                continue;
            }
            let here = match fs::symlink_metadata(self.checkout.path.join(&change.path)) {
                Ok(meta) if meta.is_dir() => continue,
                Ok(meta) if meta.is_symlink() => {
                    let target = fs::read_link(self.checkout.path.join(&change.path));
                    target.map(|target| target.into_os_string().into_encoded_bytes())
                }
                Ok(_) => fs::read(self.checkout.path.join(&change.path)),
                // Removed to be written anew, or for good.
                Err(_) => continue,
            };
            let here = here.map_err(GitError::io("reading", &change.path))?;
            let mut known = change.from == Kind::Nothing && change.to == Kind::Nothing;
            for (kind, commit) in [(change.from, from), (change.to, to)] {
                known |= kind == Kind::File && self.content(commit, &change.path)?.starts_with(&here);
            }
            if !known {
                others.push(shown_path(change.path.as_os_str().as_bytes()));
            }
        }
        Ok(others)
    }

    /// As a checkout writes it, filters and line endings included.
    fn content(&self, commit: CommitId, path: &Path) -> Result<Vec<u8>, GitError> {
        let mut object = format!("{commit}:").into_bytes();
        object.extend_from_slice(path.as_os_str().as_bytes());
        self.checkout.git.run([OsStr::new("cat-file"), OsStr::new("--filters"), OsStr::from_bytes(&object)])
    }

    /// After a [`Held::move_along`] that failed: git writes files first and the index last, so
    /// the index still says what was there.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn put_back(&self, from: CommitId, to: CommitId) -> Result<(), GitError> {
        crash::point!("checkout.put-back.before");
        let changes = self.checkout.changes(&from.to_string(), &to.to_string())?;
        for change in changes.iter().filter(|change| change.to == Kind::File && change.from != Kind::File) {
            // Nothing was there before, or it would have been in the way.
            let path = self.checkout.path.join(&change.path);
            let _ = fs::remove_file(&path);
            for folder in change.path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                if fs::remove_dir(self.checkout.path.join(folder)).is_err() {
                    break;
                }
            }
        }
        crash::point!("checkout.put-back.removed");
        let mut paths = Vec::new();
        for change in changes.iter().filter(|change| change.from == Kind::File) {
            paths.extend_from_slice(change.path.as_os_str().as_bytes());
            paths.push(0);
        }
        // -u: with the stat data of the files written, so that they count as unmodified.
        let args = ["checkout-index", "-f", "-u", "-q", "-z", "--stdin"];
        self.on_a_new_index(|git| git.run_with_input(args, &paths))?;
        crash::point!("checkout.put-back.after");
        Ok(())
    }
}
