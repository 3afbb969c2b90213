//! Gives out a repository's slots, each to one taker at a time, across threads and processes. What
//! is in a slot is not looked at here.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Slot;
use crate::crash;
use crate::git::command::GitError;
use crate::git::lock;
use crate::git::objects::ObjectStore;

/// A warm slot is worth so long a wait for the guard of a killed lexpr: it ends what runs there in
/// milliseconds, unless the kernel holds it.
const LONGEST_WAIT_FOR_A_GUARD: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What all slots of one run have in common.
#[derive(Clone, Debug)]
pub struct SlotSettings {
    /// lexpr's folder in the user's cache: `$XDG_CACHE_HOME/lexpr`.
    pub cache_root: PathBuf,
    /// Names the user's repository among others, see [`repository_id`].
    pub repository_id: String,
    /// Where objects are borrowed from, absolute: the user's objects folder and lexpr's own.
    pub object_dirs: Vec<PathBuf>,
    /// What is in these folders, where it is open already.
    pub store: Option<ObjectStore>,
    /// Without `refs/heads/`; the one branch a slot has.
    pub target_branch: String,
}

/// A name for a repository that is stable and unlike that of any other: a word to recognise it
/// by and a digest of where it is. `common_dir` is the git directory all its worktrees share,
/// as an absolute path without symbolic links.
pub fn repository_id(common_dir: &Path) -> String {
    /// Longer names say no more, and paths have limits.
    const WORD_LEN: usize = 40;
    let named_after = match common_dir.file_name() {
        Some(name) if name == ".git" => common_dir.parent().and_then(Path::file_name),
        name => name,
    };
    let word: String = named_after
        .unwrap_or(OsStr::new("repository"))
        .to_string_lossy()
        .trim_end_matches(".git")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' })
        .take(WORD_LEN)
        .collect();
    let digest = blake3::hash(common_dir.as_os_str().as_bytes()).to_hex();
    format!("{word}-{}", &digest[..10])
}

/// Gives out slots, each to one taker at a time, across threads and processes.
#[derive(Clone, Debug)]
pub struct SlotPool {
    settings: SlotSettings,
}

impl SlotPool {
    pub fn new(settings: SlotSettings) -> Self {
        Self { settings }
    }

    /// The lowest-numbered slot that nobody has and nothing works in, made where it is missing.
    /// Blocks on the disk, never on other takers. What a killed run left in it is dealt with at the
    /// next switch.
    ///
    /// # Errors
    /// Where the cache folder cannot be written.
    pub fn take(&self) -> Result<Slot, GitError> {
        self.take_unless(|_| false)
    }

    /// The same, but none whose folder is taken by somebody who has no lock.
    ///
    /// # Errors
    /// Where the cache folder cannot be written.
    pub fn take_unless(&self, is_taken: impl Fn(&Path) -> bool) -> Result<Slot, GitError> {
        let folder = self.settings.folder();
        fs::create_dir_all(&folder).map_err(GitError::io("creating", &folder))?;
        let mut number = 0_u32;
        loop {
            let files = SlotFiles::of(&folder, number);
            if let Some(lock) = lock::take_file(&files.lock).map_err(GitError::io("locking", &files.lock))?
                && let Some(at_work) = wait_for_the_guard(&files.guard_lock)?
                && !is_taken(&files.work_tree)
            {
                crash::point!("slot.take.locked");
                return Slot::open(files, lock, at_work, self.settings.clone());
            }
            number += 1;
        }
    }
}

impl SlotSettings {
    /// Where the slots of the repository lie.
    pub fn folder(&self) -> PathBuf {
        self.cache_root.join(&self.repository_id)
    }
}

/// `None` where something still works in the slot after all the time that is worth waiting.
fn wait_for_the_guard(path: &Path) -> Result<Option<File>, GitError> {
    let begun = Instant::now();
    loop {
        let taken = lock::take_file(path).map_err(GitError::io("locking", path))?;
        if taken.is_some() || begun.elapsed() > LONGEST_WAIT_FOR_A_GUARD {
            return Ok(taken);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What a slot consists of.
#[derive(Debug)]
pub(in crate::git) struct SlotFiles {
    pub(in crate::git) work_tree: PathBuf,
    pub(in crate::git) index: PathBuf,
    pub(in crate::git) notes: PathBuf,
    pub(in crate::git) setup: PathBuf,
    pub(in crate::git) lock: PathBuf,
    pub(in crate::git) guard_lock: PathBuf,
}

impl SlotFiles {
    pub(in crate::git) fn of(folder: &Path, number: u32) -> Self {
        Self {
            work_tree: folder.join(number.to_string()),
            index: folder.join(format!("{number}.index")),
            notes: folder.join(format!("{number}.notes")),
            setup: folder.join(format!("{number}.setup")),
            lock: folder.join(format!("{number}.lock")),
            guard_lock: folder.join(format!("{number}.guard.lock")),
        }
    }
}
