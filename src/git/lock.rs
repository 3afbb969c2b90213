//! One run at a time for each repository and target, and one landing at a time, whoever lands. The
//! operating system's lock decides, so what a dead process left never blocks; what the file says is
//! for the message alone.
//!
//! A run has its target's run lock for its whole life, unless it is urgent; the landing lock is had
//! for as long as one move of the target takes, by every run. Who has the landing lock waits for no
//! other lock, so that nobody waits for ever. What an urgent run claims beside them lets others hold
//! their landings back, and keeps nobody from anything else: see `claims`.
//!
//! Whoever uses a thing has its lock alone; who only looks shares it for a moment, and is waited
//! for. A lock file may be removed by whoever shares its lock, so that its holder looks after
//! locking whether the file is still the one at its path.

mod claims;
mod left_behind;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::crash;
use crate::vocabulary::names::RunId;

pub use claims::{ClaimLock, Claimant, claimants, forget_claims};
pub use left_behind::outwait_the_dead;

/// Why a run cannot have its target to itself.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{holder} on {target} in this repository (its lock is {path})")]
    Held {
        /// For example `run 20260101-120000-abcd (process 4711) is landing`.
        holder: String,
        target: String,
        path: PathBuf,
    },
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// What a target is locked for.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// A whole run.
    Run,
    /// One move of the target.
    Landing,
}

/// What a run's target is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Landing,
    Undoing,
}

impl Purpose {
    /// What goes on with the run.
    fn words(self) -> &'static str {
        match self {
            Self::Landing => "is landing",
            Self::Undoing => "is being undone",
        }
    }
}

/// Held until it is dropped, or until the process ends, however it does.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

/// Held around one move of a target, or a look at what such a move leaves half done.
#[derive(Debug)]
pub struct LandingLock {
    _lock: RunLock,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // A process that is just being started holds a copy of the descriptor until it execs,
        // so closing alone could come late. Where unlocking fails, closing does it.
        let _ = self.file.unlock();
    }
}

/// Locks an open file or folder for this process alone. False where another one has it; those that
/// only look are waited for.
///
/// # Errors
/// Where the file system knows no locks.
pub fn try_alone(file: &File) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => match file.try_lock_shared() {
                Ok(()) => {
                    file.unlock()?;
                    std::thread::yield_now();
                }
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        }
    }
}

/// Whether a process has the file or folder at `path` to itself now. Changes nothing.
pub fn is_held(path: &Path) -> bool {
    // Where there is nothing, or it cannot be opened, nobody has locked it.
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether `path` still leads to the open `file`: it may have been removed before it was locked.
///
/// # Errors
/// Where that cannot be found out.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the lock file at `path`, made where it is missing, and locks it for this process alone;
/// `None` where another one has it.
///
/// # Errors
/// Where the file cannot be made or locked.
pub fn take_file(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = open_file(path)?;
        if !try_alone(&file)? {
            return Ok(None);
        }
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Locks the folder at `path` for this process alone; `None` where another one has it, or it is gone.
///
/// # Errors
/// Where it cannot be opened or locked.
pub fn take_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let is_ours = try_alone(&folder)? && is_at(&folder, path)?;
    Ok(is_ours.then_some(folder))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// The process that says it has `target` for `run`.
pub fn holder(common_dir: &Path, target: &str, run: &RunId) -> Option<u32> {
    let said = fs::read_to_string(path_of(common_dir, target, Extent::Run)).ok()?;
    if said.starts_with(&format!("run {run} ")) { process_in(&said) } else { None }
}

/// The process in what a lock file says.
fn process_in(said: &str) -> Option<u32> {
    said.split_once(" (process ")?.1.split_once(')')?.0.parse().ok()
}

/// The lock files of targets that nobody has.
///
/// # Errors
/// Where their folder cannot be read.
pub fn unheld(common_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder_of(common_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "lock") && !is_held(path));
    found.sort();
    Ok(found)
}

/// Removes a lock file unless somebody has it; whether it did. For one remover at a time.
///
/// # Errors
/// Where the file cannot be removed.
pub fn remove_unheld(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Shared: a run that comes for the lock now waits for us instead of naming a dead holder.
    match file.try_lock_shared() {
        Ok(()) => fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn folder_of(common_dir: &Path) -> PathBuf {
    common_dir.join("lexpr").join("locks")
}

/// No target's name makes a file name with a `+`.
fn path_of(common_dir: &Path, target: &str, extent: Extent) -> PathBuf {
    let suffix = match extent {
        Extent::Run => "",
        Extent::Landing => "+landing",
    };
    folder_of(common_dir).join(format!("{}{suffix}.lock", file_name(target)))
}

impl RunLock {
    /// Takes the lock `<common_dir>/lexpr/locks/<target>.lock` for `run`. `target` is a full ref
    /// name, `common_dir` the git directory that all worktrees share.
    ///
    /// # Errors
    /// [`LockError::Held`] where another run has it; an I/O error where the folder cannot be written.
    pub fn acquire(common_dir: &Path, target: &str, run: &RunId, purpose: Purpose) -> Result<Self, LockError> {
        Self::take(common_dir, target, Extent::Run, run, purpose)
    }

    fn take(common_dir: &Path, target: &str, extent: Extent, run: &RunId, purpose: Purpose) -> Result<Self, LockError> {
        let path = Self::make_folder(common_dir, target, extent)?;
        let named = || process_in(&fs::read_to_string(&path).ok()?);
        match outwait_the_dead(named, || take_file(&path)).map_err(io("locking", &path))? {
            Some(file) => Self::held(file, &path, run, purpose.words()),
            None => {
                // Empty for the moment between locking and writing, or not to be read at all.
                let mut holder = String::new();
                let _ = File::open(&path).and_then(|mut file| file.read_to_string(&mut holder));
                let holder = if holder.trim().is_empty() { "another run is at work" } else { holder.trim() }.to_owned();
                Err(LockError::Held { holder, target: target.to_owned(), path })
            }
        }
    }

    /// As [`RunLock::acquire`], waiting for as long as another run has it. Blocks.
    ///
    /// # Errors
    /// An I/O error where the folder cannot be written.
    pub fn wait_for(common_dir: &Path, target: &str, run: &RunId, purpose: Purpose) -> Result<Self, LockError> {
        let path = Self::make_folder(common_dir, target, Extent::Run)?;
        loop {
            let file = open_file(&path).map_err(io("opening", &path))?;
            file.lock().map_err(io("locking", &path))?;
            if is_at(&file, &path).map_err(io("looking for", &path))? {
                return Self::held(file, &path, run, purpose.words());
            }
        }
    }

    fn make_folder(common_dir: &Path, target: &str, extent: Extent) -> Result<PathBuf, LockError> {
        let folder = folder_of(common_dir);
        fs::create_dir_all(&folder).map_err(io("making", &folder))?;
        Ok(path_of(common_dir, target, extent))
    }

    fn held(mut file: File, path: &Path, run: &RunId, what: &str) -> Result<Self, LockError> {
        let holder = format!("run {run} (process {}) {what}\n", std::process::id());
        crash::point!("target.lock.empty");
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(|source| LockError::Io {
            doing: "writing",
            path: path.to_owned(),
            source,
        })?;
        crash::point!("target.lock.held");
        Ok(Self { file })
    }
}

impl LandingLock {
    /// Takes the lock `<common_dir>/lexpr/locks/<target>+landing.lock` for `run`, as
    /// [`RunLock::acquire`] takes the run lock.
    ///
    /// # Errors
    /// [`LockError::Held`] where another landing has it; an I/O error where the folder cannot be written.
    pub fn acquire(common_dir: &Path, target: &str, run: &RunId, purpose: Purpose) -> Result<Self, LockError> {
        Ok(Self { _lock: RunLock::take(common_dir, target, Extent::Landing, run, purpose)? })
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Io { doing, path, source }
}

/// A file name that no other ref has: bytes other than letters, digits, `.`, `-` and `_` as `%xx`.
fn file_name(target: &str) -> String {
    /// Most file systems end at 255 bytes, and a suffix follows.
    const LONGEST: usize = 200;
    let mut name = String::new();
    for byte in target.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST {
        let digest = blake3::hash(target.as_bytes()).to_hex();
        name.truncate(LONGEST - 33);
        name = format!("{name}~{}", &digest[..32]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_on_a_target_is_refused_by_name_and_process() {
        let dir = tempfile::tempdir().unwrap();
        let first =
            RunLock::acquire(dir.path(), "refs/heads/main", &RunId::new("20260101-000000-aaaa"), Purpose::Landing)
                .unwrap();
        let second = RunId::new("20260101-000001-bbbb");
        let refused =
            RunLock::acquire(dir.path(), "refs/heads/main", &second, Purpose::Landing).unwrap_err().to_string();
        assert!(refused.contains("20260101-000000-aaaa"), "{refused}");
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        RunLock::acquire(dir.path(), "refs/heads/other", &second, Purpose::Landing).unwrap();
        drop(first);
        RunLock::acquire(dir.path(), "refs/heads/main", &second, Purpose::Landing).unwrap();
    }

    #[test]
    fn a_lock_file_that_nobody_holds_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lexpr/locks");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("refs%2fheads%2fmain.lock"), "run dead (process 1) and much more text\n").unwrap();
        let run = RunId::new("20260101-000000-aaaa");
        let _held = RunLock::acquire(dir.path(), "refs/heads/main", &run, Purpose::Landing).unwrap();
        let content = fs::read_to_string(folder.join("refs%2fheads%2fmain.lock")).unwrap();
        assert_eq!(content, format!("run {run} (process {}) is landing\n", std::process::id()));
    }

    #[test]
    fn who_only_looks_at_a_lock_keeps_nobody_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::new("20260101-000000-aaaa");
        drop(RunLock::acquire(dir.path(), "refs/heads/main", &run, Purpose::Landing).unwrap());
        let path = path_of(dir.path(), "refs/heads/main", Extent::Run);
        let looking = File::open(&path).unwrap();
        looking.try_lock_shared().unwrap();
        std::thread::scope(|scope| {
            let taken =
                scope.spawn(|| RunLock::acquire(dir.path(), "refs/heads/main", &run, Purpose::Landing).map(drop));
            // Whether it comes before or after: it is not refused.
            drop(looking);
            taken.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_lock_file_that_is_removed_while_one_comes_for_it_lets_in_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::new("20260101-000000-aaaa");
        drop(RunLock::acquire(dir.path(), "refs/heads/main", &run, Purpose::Landing).unwrap());
        assert_eq!(unheld(dir.path()).unwrap(), [path_of(dir.path(), "refs/heads/main", Extent::Run)]);
        let path = path_of(dir.path(), "refs/heads/main", Extent::Run);
        let late = open_file(&path).unwrap();
        assert!(remove_unheld(&path).unwrap());
        assert!(try_alone(&late).unwrap() && !is_at(&late, &path).unwrap(), "its lock is nobody's any more");
        let held = RunLock::acquire(dir.path(), "refs/heads/main", &run, Purpose::Landing).unwrap();
        assert!(!remove_unheld(&path).unwrap() && unheld(dir.path()).unwrap().is_empty());
        assert_eq!(holder(dir.path(), "refs/heads/main", &run), Some(std::process::id()));
        drop(held);
    }

    #[test]
    fn a_landing_is_locked_by_itself_beside_the_run_that_has_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let (run, urgent) = (RunId::new("20260101-000000-aaaa"), RunId::new("20260101-000001-bbbb"));
        let target = "refs/heads/main";
        let _run = RunLock::acquire(dir.path(), target, &run, Purpose::Landing).unwrap();
        let landing = LandingLock::acquire(dir.path(), target, &urgent, Purpose::Landing).unwrap();
        let refused = LandingLock::acquire(dir.path(), target, &run, Purpose::Landing).unwrap_err().to_string();
        assert!(refused.contains("run 20260101-000001-bbbb"), "{refused}");
        drop(landing);
        LandingLock::acquire(dir.path(), target, &run, Purpose::Landing).unwrap();
        // No branch can be called so that its run lock were that of another's landings.
        let named = path_of(dir.path(), "refs/heads/main+landing", Extent::Run);
        assert_ne!(named, path_of(dir.path(), target, Extent::Landing));
    }

    #[test]
    fn every_target_has_a_file_name_of_its_own() {
        let long = "refs/heads/".to_owned() + &"\u{4e2d}".repeat(60);
        assert!(file_name(&long).len() <= 200 && file_name(&long) != file_name(&(long.clone() + "x")));
        assert_ne!(file_name("refs/heads/a/b"), file_name("refs/heads/a%2fb"));
    }
}
