//! Slots: working folders, each with a repository of its own, in which one composite at a time
//! is gated. They lie outside the user's checkout, borrow its objects, see none of its refs,
//! stash, hooks or configuration, and stay warm between gates and runs. No gate is run here.
//!
//! What a slot consists of, for slot number `n` of a repository:
//! - `n/`: the working tree, and in it a `.git` that is laid anew at every switch, unless it is
//!   as it was laid: nothing a gate did to it (commits, stashes, configuration, hooks) reaches the next;
//! - `n.index`: lexpr's own index of the working tree, out of the gates' way, so that what a
//!   gate stages or marks as unchanged hides nothing; `.git/index` is a copy;
//! - `n.notes`: of which tree that index is, and what is ignored besides; or that a switch has begun;
//! - `n.setup`: what the folder was set up for; `n.lock`: the operating system's lock on it all;
//!   `n.guard.lock`: held by whatever works in the slot for lexpr, a guard or a git, so that the
//!   slot of a lexpr that was killed is free once they have ended, and not before.
//!
//! A switch looks at every tracked file (`survey`), from the second of a run on only where somebody had something in
//! hand (`watch`), reads what differs between two trees
//! (`difference`) and writes that (`write`), without starting a process (`in_process`). Whatever is
//! unusual is left to git (`by_git`), which ends with the same working tree.

mod attributes;
mod by_git;
mod difference;
mod folder;
mod git_dir;
mod in_process;
mod known;
mod nature;
mod paths;
mod pool;
mod survey;
#[cfg(target_os = "linux")]
mod watch;
mod watched;
mod write;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use self::attributes::Harmless;
pub use self::folder::remove;
pub(super) use self::folder::{UNREMOVABLE, move_aside, with_suffix};
use self::folder::{is_folder, set_aside};
pub(super) use self::git_dir::quoted;
use self::known::Known;
pub(super) use self::pool::SlotFiles;
pub use self::pool::{SlotPool, SlotSettings, repository_id};
use self::watched::Watched;
use super::command::{GitError, tells_of_a_full_disk};
use super::objects::Objects;
use crate::crash;
use crate::vocabulary::names::{CommitId, TreeId};

/// What a slot shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTarget {
    /// HEAD, detached.
    pub commit: CommitId,
    /// The commit's tree.
    pub tree: TreeId,
    /// Where the target's branch is.
    pub base: CommitId,
}

/// What a switch removes besides what git tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clean {
    /// Ignored files stay: build outputs are warm.
    TrackedAndUntracked,
    /// The working tree holds the commit's files and nothing else.
    IgnoredToo,
}

/// Who made the last switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchedBy {
    /// lexpr, but for removing what is not tracked where it could not know whether that is ignored.
    InProcess,
    /// git, and why.
    Git(&'static str),
}

/// Where a switch of lexpr's own looked for what a gate had done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookedAt {
    Everything,
    /// So many folders, and the files directly in them.
    Folders(usize),
}

/// What is left to git, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ForGit(pub(super) &'static str);

/// What is remembered from one switch to the next.
#[derive(Debug, Default)]
struct Memory {
    /// All that the run has.
    objects: Option<Objects>,
    harmless: Harmless,
    /// Nothing while a switch is under way, and when it was broken off.
    known: Option<Known>,
    /// The last switch, of another process, did not come to its end.
    is_cut_off: bool,
    watched: Watched,
    /// The file system was seen to give a folder a new time where something came or went in it.
    folders_have_times: bool,
    switched_by: Option<SwitchedBy>,
    looked_at: Option<LookedAt>,
}

/// A slot that is ours until it is dropped; the folder stays.
#[derive(Debug)]
pub struct Slot {
    work_tree: PathBuf,
    index: PathBuf,
    notes: PathBuf,
    setup: PathBuf,
    lock: File,
    /// Shared with what works in the slot, and released when the last of us has ended.
    at_work: File,
    settings: SlotSettings,
    /// A lock that nobody ever waits for: who switches has the slot alone.
    memory: Mutex<Memory>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Closing would do, but for a process that is just being started: it holds a copy of the
        // descriptor until it execs. Unlocking that fails leaves closing to do it.
        let _ = self.lock.unlock();
    }
}

impl Slot {
    fn open(files: SlotFiles, lock: File, at_work: File, settings: SlotSettings) -> Result<Self, GitError> {
        let SlotFiles { work_tree, index, notes, setup, .. } = files;
        let memory = Mutex::new(Memory { is_cut_off: known::is_cut_off(&notes), ..Memory::default() });
        let slot = Self { work_tree, index, notes, setup, lock, at_work, settings, memory };
        if is_folder(&slot.work_tree) {
            known::doubt_after_a_restart(&slot.index, &slot.notes);
        } else {
            slot.rebuild()?;
        }
        Ok(slot)
    }

    /// The working tree.
    pub fn path(&self) -> &Path {
        &self.work_tree
    }

    /// Folders of objects that its repository borrows.
    pub fn object_dirs(&self) -> &[PathBuf] {
        &self.settings.object_dirs
    }

    /// For a process that works in the slot: as long as it has this open, nobody takes the slot.
    ///
    /// # Errors
    /// Where there are too many open files.
    pub fn at_work(&self) -> Result<File, GitError> {
        self.at_work.try_clone().map_err(GitError::io("sharing the lock of", &self.work_tree))
    }

    /// What keeps git in this slot to this slot: variables for the processes run in it. Neither
    /// the user's nor the machine's configuration counts, and no repository further up is taken
    /// for the slot's, should a gate remove `.git`.
    pub fn git_env(&self) -> Vec<(OsString, OsString)> {
        let above = self.work_tree.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
        // Files that are not there and may be made: what a gate configures for its user or machine
        // goes with the rest of `.git` at the next switch. Not /dev/null, as is usual: `git config`
        // renames a new file over the old one, and root would replace the device for everybody.
        let config = |name: &str| self.work_tree.join(".git").join(name).into_os_string();
        vec![
            ("GIT_CONFIG_GLOBAL".into(), config("gates-global-config")),
            ("GIT_CONFIG_SYSTEM".into(), config("gates-system-config")),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("GIT_CEILING_DIRECTORIES".into(), above),
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
        ]
    }

    /// What was last given to [`Slot::set_setup_stamp`] and still holds.
    pub fn setup_stamp(&self) -> Option<String> {
        fs::read_to_string(&self.setup).ok()
    }

    /// Remembers what the folder has been set up for. A switch that removes ignored files, and a
    /// slot made anew, forget it.
    ///
    /// # Errors
    /// Where the cache folder cannot be written.
    pub fn set_setup_stamp(&mut self, stamp: Option<&str>) -> Result<(), GitError> {
        match stamp {
            Some(stamp) => {
                crash::point!("slot.setup.before");
                fs::write(&self.setup, stamp).map_err(GitError::io("writing", &self.setup))?;
                crash::point!("slot.setup.after");
                Ok(())
            }
            None => remove(&self.setup),
        }
    }

    /// Makes the working tree exactly the target's tree, whatever was done to it before, and
    /// `.git` a repository that knows HEAD and the target's branch alone. Files that are right
    /// already are not touched. Usually no process; two or three gits where something is unusual;
    /// three more only where the slot was damaged and is made anew. Nothing that is ignored stays where the switch before
    /// was cut off.
    ///
    /// # Errors
    /// Where the tree cannot be checked out (git refuses entries such as `.git`), where objects
    /// are missing, or where even a new slot cannot be made.
    pub fn switch_to(&mut self, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        let is_cut_off = self.memory.lock().is_ok_and(|memory| memory.is_cut_off);
        let clean = if is_cut_off { Clean::IgnoredToo } else { clean };
        if clean == Clean::IgnoredToo {
            self.set_setup_stamp(None)?;
        }
        crash::point!("slot.switch.before");
        if !is_folder(&self.work_tree) {
            self.rebuild()?;
        }
        if self.try_switch(to, clean).is_ok() {
            crash::point!("slot.switch.after");
            return Ok(());
        }
        // A tree that cannot be checked out anywhere is no reason to throw away what is warm; what
        // fills the disk is thrown away.
        match self.check_tree(to) {
            Err(error) if !tells_of_a_full_disk(&error.to_string()) => {
                // Such a tree is refused before a file of it is written.
                remove(&self.notes)?;
                return Err(error);
            }
            Err(_) | Ok(()) => {}
        }
        self.rebuild()?;
        self.try_switch(to, clean)
    }

    /// Who made the last switch; `None` before the first.
    pub fn switched_by(&self) -> Option<SwitchedBy> {
        self.memory.lock().ok()?.switched_by
    }

    /// Where the last switch looked that was lexpr's own; `None` before the first.
    pub fn looked_at(&self) -> Option<LookedAt> {
        self.memory.lock().ok()?.looked_at
    }

    fn try_switch(&mut self, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        let mut memory = std::mem::take(&mut self.memory).into_inner().unwrap_or_default();
        let may_stay = memory.folders_have_times;
        let is_new = git_dir::renew(&self.git_dir(), &self.settings, to, may_stay.then_some(&*self.index))?;
        crash::point!("slot.switch.laid");
        if let Some(known) = memory.known.as_ref().filter(|_| is_new) {
            // `.git` came and went in it after the index was written.
            memory.folders_have_times |= survey::shows_changes(&self.work_tree, known.written);
        }
        // We hold the slot's lock: whoever made this one is gone.
        remove(&with_suffix(&self.index, ".lock"))?;
        let switched = match self.switch_in_process(&mut memory, to, clean) {
            Ok(()) => Ok(SwitchedBy::InProcess),
            Err(ForGit(why)) => self.switch_by_git(&mut memory, to, clean).map(|()| SwitchedBy::Git(why)),
        };
        memory.switched_by = switched.as_ref().ok().copied();
        memory.is_cut_off &= switched.is_err();
        self.memory = Mutex::new(memory);
        switched.map(drop)
    }

    fn git_dir(&self) -> PathBuf {
        self.work_tree.join(".git")
    }

    /// An empty folder in the place of whatever is there.
    fn rebuild(&self) -> Result<(), GitError> {
        self.rebuild_after(remove)
    }

    /// `remove_folder` removes the one that is there, or says why it cannot.
    fn rebuild_after(&self, remove_folder: impl FnOnce(&Path) -> Result<(), GitError>) -> Result<(), GitError> {
        remove(&self.index)?;
        remove(&self.notes)?;
        remove(&self.setup)?;
        crash::point!("slot.rebuild.before");
        if remove_folder(&self.work_tree).is_err() {
            set_aside(&self.work_tree)?;
        }
        fs::create_dir_all(&self.work_tree).map_err(GitError::io("creating", &self.work_tree))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_git_folder_that_cannot_be_laid_is_not_the_trees_fault() {
        let cache = tempfile::tempdir().unwrap();
        let slot = pool_in(cache.path()).take().unwrap();
        let missing = gix::ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let commit = CommitId::from_bytes(missing.as_bytes()).unwrap();
        let to = SlotTarget { commit, tree: TreeId::from_bytes(missing.as_bytes()).unwrap(), base: commit };
        slot.check_tree(&to).unwrap_err();
        fs::remove_dir_all(slot.path()).unwrap();
        fs::write(slot.path(), "in the way").unwrap();
        slot.check_tree(&to).unwrap();
    }

    fn pool_in(cache: &Path) -> SlotPool {
        SlotPool::new(SlotSettings {
            cache_root: cache.to_owned(),
            repository_id: "repository".to_owned(),
            object_dirs: Vec::new(),
            store: None,
            target_branch: "main".to_owned(),
        })
    }

    /// What really fails, immutable files and mounts, takes rights that a test may not have.
    #[test]
    fn a_folder_that_cannot_be_removed_is_set_aside_and_the_slot_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let pool = pool_in(cache.path());
        let slot = pool.take().unwrap();
        let immutable = |path: &Path| Err(GitError::io("removing", path)(ErrorKind::PermissionDenied.into()));
        for round in ["1", "2"] {
            fs::write(slot.path().join("stuck"), round).unwrap();
            fs::write(&slot.index, "").unwrap();
            slot.rebuild_after(immutable).unwrap();
            assert_eq!(fs::read_dir(slot.path()).unwrap().count(), 0, "the slot is as new");
            assert!(!slot.index.exists(), "what was known of the old folder is forgotten");
        }
        let aside = |n| cache.path().join(format!("repository/0.unremovable-{n}/stuck"));
        assert_eq!(fs::read_to_string(aside(1)).unwrap(), "1");
        assert_eq!(fs::read_to_string(aside(2)).unwrap(), "2");

        // One that can be removed is, and the next taker finds the slot, not what was set aside.
        fs::write(slot.path().join("stuck"), "3").unwrap();
        slot.rebuild().unwrap();
        assert!(!aside(3).exists() && !slot.path().join("stuck").exists());
        let path = slot.path().to_owned();
        drop(slot);
        assert_eq!(pool.take().unwrap().path(), path);
    }
}
