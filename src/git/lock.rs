//! One run at a time for each repository and target. The operating system's lock decides, so
//! what a dead process left never blocks; what the file says is for the message alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::crash;
use crate::vocabulary::names::RunId;

/// Why a run cannot have its target to itself.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{holder} is landing on {target} in this repository (its lock is {path})")]
    Held {
        /// For example `run 20260101-120000-abcd (process 4711)`.
        holder: String,
        target: String,
        path: PathBuf,
    },
    #[error("{doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Held until it is dropped, or until the process ends, however it does.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // A process that is just being started holds a copy of the descriptor until it execs,
        // so closing alone could come late. Where unlocking fails, closing does it.
        let _ = self.file.unlock();
    }
}

/// Whether a run has this target now. Changes nothing.
pub fn is_held(common_dir: &Path, target: &str) -> bool {
    let path = common_dir.join("lexpr").join("locks").join(format!("{}.lock", file_name(target)));
    // Where there is no such file, or it cannot be opened, nobody has locked it.
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether `run` has a target now, or is about to. Changes nothing.
pub fn is_at_work(common_dir: &Path, run: &RunId) -> bool {
    let locks = fs::read_dir(common_dir.join("lexpr").join("locks")).into_iter().flatten().flatten();
    locks.map(|entry| entry.path()).any(|path| {
        let names_it = fs::read_to_string(&path).is_ok_and(|holder| holder.starts_with(&format!("run {run} ")));
        names_it && File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    })
}

impl RunLock {
    /// Takes the lock `<common_dir>/lexpr/locks/<target>.lock` for `run`. `target` is a full ref
    /// name, `common_dir` the git directory that all worktrees share.
    ///
    /// # Errors
    /// [`LockError::Held`] where another run has it; an I/O error where the folder cannot be written.
    pub fn acquire(common_dir: &Path, target: &str, run: &RunId) -> Result<Self, LockError> {
        let (mut file, path) = Self::open(common_dir, target)?;
        match file.try_lock() {
            Ok(()) => Self::held(file, &path, run),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Empty for the moment between locking and writing, or not to be read at all.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another run" } else { holder.trim() }.to_owned();
                Err(LockError::Held { holder, target: target.to_owned(), path })
            }
            Err(TryLockError::Error(source)) => Err(LockError::Io { doing: "locking", path, source }),
        }
    }

    /// As [`RunLock::acquire`], waiting for as long as another run has it. Blocks.
    ///
    /// # Errors
    /// An I/O error where the folder cannot be written.
    pub fn wait_for(common_dir: &Path, target: &str, run: &RunId) -> Result<Self, LockError> {
        let (file, path) = Self::open(common_dir, target)?;
        match file.lock() {
            Ok(()) => Self::held(file, &path, run),
            Err(source) => Err(LockError::Io { doing: "locking", path, source }),
        }
    }

    fn open(common_dir: &Path, target: &str) -> Result<(File, PathBuf), LockError> {
        let folder = common_dir.join("lexpr").join("locks");
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { doing, path, source }
        };
        fs::create_dir_all(&folder).map_err(io("making", &folder))?;
        let path = folder.join(format!("{}.lock", file_name(target)));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io("opening", &path))?;
        Ok((file, path))
    }

    fn held(mut file: File, path: &Path, run: &RunId) -> Result<Self, LockError> {
        let holder = format!("run {run} (process {})\n", std::process::id());
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
        let first = RunLock::acquire(dir.path(), "refs/heads/main", &RunId::new("20260101-000000-aaaa")).unwrap();
        let second = RunId::new("20260101-000001-bbbb");
        let refused = RunLock::acquire(dir.path(), "refs/heads/main", &second).unwrap_err().to_string();
        assert!(refused.contains("20260101-000000-aaaa"), "{refused}");
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        RunLock::acquire(dir.path(), "refs/heads/other", &second).unwrap();
        drop(first);
        RunLock::acquire(dir.path(), "refs/heads/main", &second).unwrap();
    }

    #[test]
    fn a_lock_file_that_nobody_holds_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lexpr/locks");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("refs%2fheads%2fmain.lock"), "run dead (process 1) and much more text\n").unwrap();
        let run = RunId::new("20260101-000000-aaaa");
        let _held = RunLock::acquire(dir.path(), "refs/heads/main", &run).unwrap();
        let content = fs::read_to_string(folder.join("refs%2fheads%2fmain.lock")).unwrap();
        assert_eq!(content, format!("run {run} (process {})\n", std::process::id()));
    }

    #[test]
    fn every_target_has_a_file_name_of_its_own() {
        let long = "refs/heads/".to_owned() + &"\u{4e2d}".repeat(60);
        assert!(file_name(&long).len() <= 200 && file_name(&long) != file_name(&(long.clone() + "x")));
        assert_ne!(file_name("refs/heads/a/b"), file_name("refs/heads/a%2fb"));
    }
}
