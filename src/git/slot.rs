//! Slots: working folders, each with a repository of its own, in which one composite at a time
//! is gated. They lie outside the user's checkout, borrow its objects, see none of its refs,
//! stash, hooks or configuration, and stay warm between gates and runs. No gate is run here.
//!
//! What a slot consists of, for slot number `n` of a repository:
//! - `n/`: the working tree, and in it a `.git` that is laid anew at every switch, so that
//!   nothing a gate did to it (commits, stashes, configuration, hooks) reaches the next gate;
//! - `n.index`: lexpr's own index of the working tree, out of the gates' way, so that what a
//!   gate stages or marks as unchanged hides nothing; `.git/index` is a copy;
//! - `n.setup`: what the folder was set up for; `n.lock`: the operating system's lock on it all;
//!   `n.guard.lock`: held by whatever works in the slot for lexpr, a guard or a git, so that the
//!   slot of a lexpr that was killed is free once they have ended, and not before.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use super::command::{Config, Git, GitError, failed, output, tells_of_a_full_disk};
use super::index::tracked;
use super::lock;
use crate::crash;
use crate::vocabulary::names::{CommitId, TreeId};

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
        let folder = self.settings.folder();
        fs::create_dir_all(&folder).map_err(GitError::io("creating", &folder))?;
        let mut number = 0_u32;
        loop {
            let files = SlotFiles::of(&folder, number);
            if let Some(lock) = lock::take_file(&files.lock).map_err(GitError::io("locking", &files.lock))?
                && let Some(at_work) = wait_for_the_guard(&files.guard_lock)?
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
pub(super) struct SlotFiles {
    pub(super) work_tree: PathBuf,
    pub(super) index: PathBuf,
    pub(super) setup: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) guard_lock: PathBuf,
}

impl SlotFiles {
    pub(super) fn of(folder: &Path, number: u32) -> Self {
        Self {
            work_tree: folder.join(number.to_string()),
            index: folder.join(format!("{number}.index")),
            setup: folder.join(format!("{number}.setup")),
            lock: folder.join(format!("{number}.lock")),
            guard_lock: folder.join(format!("{number}.guard.lock")),
        }
    }
}

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

/// A slot that is ours until it is dropped; the folder stays.
#[derive(Debug)]
pub struct Slot {
    work_tree: PathBuf,
    index: PathBuf,
    setup: PathBuf,
    lock: File,
    /// Shared with what works in the slot, and released when the last of us has ended.
    at_work: File,
    settings: SlotSettings,
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
        let SlotFiles { work_tree, index, setup, .. } = files;
        let slot = Self { work_tree, index, setup, lock, at_work, settings };
        if !is_folder(&slot.work_tree) {
            slot.rebuild()?;
        }
        Ok(slot)
    }

    /// The working tree.
    pub fn path(&self) -> &Path {
        &self.work_tree
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
    /// already are not touched. Two git processes; three more only where the slot was damaged
    /// and is made anew.
    ///
    /// # Errors
    /// Where the tree cannot be checked out (git refuses entries such as `.git`), where objects
    /// are missing, or where even a new slot cannot be made.
    pub fn switch_to(&mut self, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        if clean == Clean::IgnoredToo {
            self.set_setup_stamp(None)?;
        }
        crash::point!("slot.switch.before");
        if self.try_switch(to, clean).is_ok() {
            crash::point!("slot.switch.after");
            return Ok(());
        }
        // A tree that cannot be checked out anywhere is no reason to throw away what is warm; what
        // fills the disk is thrown away.
        match self.check_tree(to) {
            Err(error) if !tells_of_a_full_disk(&error.to_string()) => return Err(error),
            Err(_) | Ok(()) => {}
        }
        self.rebuild()?;
        self.try_switch(to, clean)
    }

    fn try_switch(&self, to: &SlotTarget, clean: Clean) -> Result<(), GitError> {
        let id_len = to.tree.as_bytes().len();
        self.lay_git_dir(to)?;
        crash::point!("slot.switch.laid");
        // We hold the slot's lock: whoever made this one is gone.
        remove(&with_suffix(&self.index, ".lock"))?;
        if self.prepare_tracked_folders(id_len).is_err() {
            remove(&self.index)?;
        }
        // Needs neither the old commit nor its tree, which went with the run that made them:
        // every tracked file's stat data is compared with the index, and what is not up to date
        // is written. An index as young as its entries makes git compare contents ("racy git").
        self.git(&self.index, &["read-tree", "--reset", "-u", &to.tree.to_string()])?;
        crash::point!("slot.switch.read");
        let scope: &[&str] = match clean {
            Clean::TrackedAndUntracked => &["clean", "-q", "-ffd"],
            Clean::IgnoredToo => &["clean", "-q", "-ffdx"],
        };
        // -ff: repositories that a gate made, too.
        let cleaned = self.git(&self.index, scope)?;
        if !cleaned.stderr.is_empty() {
            // A folder it may not read is skipped with a warning and status 0.
            return Err(failed(scope, &cleaned));
        }
        crash::point!("slot.switch.cleaned");
        self.prepare_tracked_folders(id_len)?;
        copy_with_time(&self.index, &self.work_tree.join(".git/index"))
    }

    /// A `.git` as if just cloned: only what lexpr says is in it.
    fn lay_git_dir(&self, to: &SlotTarget) -> Result<(), GitError> {
        let git_dir = self.work_tree.join(".git");
        remove(&git_dir)?;
        crash::point!("slot.switch.bare");
        let write = |name: &Path, content: &[u8]| {
            let path = git_dir.join(name);
            let folder = path.parent().unwrap_or(&git_dir);
            fs::create_dir_all(folder).map_err(GitError::io("creating", folder))?;
            fs::write(&path, content).map_err(GitError::io("writing", path))
        };
        let mut alternates = Vec::new();
        for dir in &self.settings.object_dirs {
            alternates.extend(quoted(dir));
            alternates.push(b'\n');
        }
        write(Path::new("objects/info/alternates"), &alternates)?;
        fs::create_dir_all(git_dir.join("refs/heads")).map_err(GitError::io("creating", &git_dir))?;
        let branch = Path::new("refs/heads").join(&self.settings.target_branch);
        write(&branch, format!("{}\n", to.base).as_bytes())?;
        let (version, extensions) = match to.commit.as_bytes().len() {
            20 => (0, ""),
            _ => (1, "[extensions]\n\tobjectFormat = sha256\n"),
        };
        let config = format!(
            "[core]\n\trepositoryformatversion = {version}\n\tbare = false\n\tfilemode = true\n\
             \tlogallrefupdates = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n{extensions}"
        );
        write(Path::new("config"), config.as_bytes())?;
        write(Path::new("HEAD"), format!("{}\n", to.commit).as_bytes())
    }

    /// Deals with the two things that git leaves alone. A tracked folder that became a symbolic
    /// link or a file is removed: git would look at the files behind the link. And what was put
    /// into a submodule's folder is removed: to git it belongs to the submodule.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn prepare_tracked_folders(&self, id_len: usize) -> Result<(), GitError> {
        let bytes = match fs::read(&self.index) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(GitError::io("reading", &self.index)(error)),
        };
        let entries = tracked(&bytes, id_len).map_err(|why| {
            let source = std::io::Error::new(ErrorKind::InvalidData, why);
            GitError::io("reading", &self.index)(source)
        })?;
        // Entries are sorted, so those of a folder stand together.
        let mut last_folder = Path::new("");
        for entry in entries {
            let folder = entry.path.parent().unwrap_or(Path::new(""));
            if folder != last_folder {
                self.remove_what_is_no_folder(folder)?;
                last_folder = folder;
            }
            if entry.is_submodule {
                let path = self.work_tree.join(entry.path);
                if is_folder(&path) {
                    empty(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the first thing on the way down to `folder` that exists and is no folder.
    fn remove_what_is_no_folder(&self, folder: &Path) -> Result<(), GitError> {
        let mut path = self.work_tree.clone();
        for name in folder {
            path.push(name);
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return remove(&path),
                // Missing, with all below it; git makes it.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether git can make an index of the tree at all.
    fn check_tree(&self, to: &SlotTarget) -> Result<(), GitError> {
        let scratch = with_suffix(&self.index, ".check");
        let checked = self.lay_git_dir(to).and_then(|()| self.git(&scratch, &["read-tree", &to.tree.to_string()]));
        remove(&scratch)?;
        remove(&with_suffix(&scratch, ".lock"))?;
        checked.map(drop)
    }

    /// An empty folder in the place of whatever is there.
    fn rebuild(&self) -> Result<(), GitError> {
        self.rebuild_after(remove)
    }

    /// `remove_folder` removes the one that is there, or says why it cannot.
    fn rebuild_after(&self, remove_folder: impl FnOnce(&Path) -> Result<(), GitError>) -> Result<(), GitError> {
        remove(&self.index)?;
        remove(&self.setup)?;
        crash::point!("slot.rebuild.before");
        if remove_folder(&self.work_tree).is_err() {
            set_aside(&self.work_tree)?;
        }
        fs::create_dir_all(&self.work_tree).map_err(GitError::io("creating", &self.work_tree))
    }

    fn git(&self, index: &Path, args: &[&str]) -> Result<Output, GitError> {
        let git = Git::new(self.work_tree.join(".git"), Config::RepositoryOnly).with_work_tree(&self.work_tree);
        let mut command = git.command();
        // It reads no input. One that outlives a killed lexpr keeps others out of the slot.
        command.env("GIT_INDEX_FILE", index).args(args).stdin(Stdio::from(self.at_work()?));
        let output = output(command, None)?;
        if output.status.success() { Ok(output) } else { Err(failed(args, &output)) }
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Moves what cannot be removed, such as files of another user or immutable ones, out of the way:
/// one such folder must not keep every later gate from running.
fn set_aside(path: &Path) -> Result<(), GitError> {
    move_aside(path, UNREMOVABLE).map(drop)
}

/// Gives a folder the first free name with this mark, and says which.
pub(super) fn move_aside(path: &Path, mark: &str) -> Result<PathBuf, GitError> {
    let mut number = 1_u32;
    loop {
        let aside = with_suffix(path, &format!("{mark}{number}"));
        if fs::symlink_metadata(&aside).is_err() {
            return match fs::rename(path, &aside) {
                Ok(()) => Ok(aside),
                Err(error) => Err(GitError::io("setting aside (remove it by hand)", path)(error)),
            };
        }
        number += 1;
    }
}

/// Between a slot's number and another, in the name of a folder that could not be removed.
pub(super) const UNREMOVABLE: &str = ".unremovable-";

/// Not through symbolic links.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Removes whatever is at `path`, if anything is; never what a symbolic link points to.
pub(super) fn remove(path: &Path) -> Result<(), GitError> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).or_else(|_| {
            // Tools write-protect folders that they share (Go's module cache); they are ours all the same.
            make_writable(path)?;
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(GitError::io("removing (remove it by hand, then run again)", path))
}

fn empty(folder: &Path) -> Result<(), GitError> {
    for entry in fs::read_dir(folder).map_err(GitError::io("reading", folder))? {
        remove(&entry.map_err(GitError::io("reading", folder))?.path())?;
    }
    Ok(())
}

/// Lets the owner enter, list and change `folder` and all folders in it.
fn make_writable(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// An index is as good as its own modification time: git compares the contents of files that
/// are not older, and a copy that looks younger would be trusted too far.
fn copy_with_time(from: &Path, to: &Path) -> Result<(), GitError> {
    let copy = || {
        fs::copy(from, to)?;
        let modified = fs::metadata(from)?.modified()?;
        OpenOptions::new().write(true).open(to)?.set_modified(modified)
    };
    copy().map_err(GitError::io("writing", to))
}

/// A line of `objects/info/alternates`: quoted as C strings are, so that a line break, a leading
/// `#` or a quote in a path is no more than that.
pub(super) fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b' '..=b'~' => line.push(*byte),
            // Writing to a Vec cannot fail.
            _ => write!(line, "\\{byte:03o}").unwrap_or_default(),
        }
    }
    line.push(b'"');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What really fails, immutable files and mounts, takes rights that a test may not have.
    #[test]
    fn a_folder_that_cannot_be_removed_is_set_aside_and_the_slot_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let pool = SlotPool::new(SlotSettings {
            cache_root: cache.path().to_owned(),
            repository_id: "repository".to_owned(),
            object_dirs: Vec::new(),
            target_branch: "main".to_owned(),
        });
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
