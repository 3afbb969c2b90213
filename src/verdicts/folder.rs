//! Where entries lie: a file for each key, in lexpr's folder of the repository. A file is written
//! beside its place and moved there, so that whoever reads finds a whole one or none, and nobody
//! waits for anybody. How long ago a file was last changed says how long ago it was last used.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entry::{FORMAT, MOST_BYTES};
use crate::crash;
use crate::vocabulary::names::VerdictKey;

/// How the name of a file that is being written begins.
const BEING_WRITTEN: &str = ".new-";

/// Writing takes moments: what is older was left by a process that is gone.
const LONGEST_WRITE: Duration = Duration::from_secs(3600);

/// What a small file takes on most file systems.
const BLOCK: u64 = 4096;

/// The part of the limit that is free once room was made, so that not every run has to make some.
const FREED_PART: u64 = 10;

/// The entries of one repository.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// An entry's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: VerdictKey,
    /// What it takes on the disk, about.
    pub bytes: u64,
    pub last_used: SystemTime,
}

/// What came of making room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub evicted: u64,
    /// What is left.
    pub entries: u64,
    pub bytes: u64,
}

impl Folder {
    /// In the git directory that all worktrees share.
    pub fn of(common_dir: &Path) -> Self {
        Self { path: common_dir.join("lexpr").join("verdicts").join(FORMAT.to_string()) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, key: VerdictKey) -> PathBuf {
        let name = key.to_string();
        self.path.join(&name[..2]).join(name)
    }

    /// The bytes under a key, as they are; `None` where there are none, or more than of any entry.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn read(&self, key: VerdictKey) -> io::Result<Option<Vec<u8>>> {
        let path = self.file(key);
        // Opening a pipe that somebody put there would wait for ever.
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() <= MOST_BYTES => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            // Evicted in between.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts bytes under a key, in the place of those that were there. They are not synced: after a
    /// power loss what is damaged is not known, and costs a run of its gate.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write(&self, key: VerdictKey, bytes: &[u8]) -> io::Result<()> {
        let path = self.file(key);
        let shelf = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(shelf)?;
        crash::point!("verdict.write.before");
        // For everybody whom the repository is shared with, as the umask has it.
        let mut builder = tempfile::Builder::new();
        let mut file = builder.prefix(BEING_WRITTEN).permissions(Permissions::from_mode(0o666)).tempfile_in(shelf)?;
        crash::torn!("verdict.write.torn", file, bytes);
        file.write_all(bytes)?;
        crash::point!("verdict.write.made");
        file.persist(&path).map_err(|error| error.error)?;
        crash::point!("verdict.write.after");
        Ok(())
    }

    /// Takes note that an entry is used now. Where that cannot be noted it goes earlier than it might.
    pub fn touch(&self, key: VerdictKey) {
        let _ = File::open(self.file(key)).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Whether there was one.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self, key: VerdictKey) -> io::Result<bool> {
        remove(&self.file(key))
    }

    /// All entries, in no order; without those that come or go meanwhile.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for shelf in read_dir(&self.path)? {
            for entry in read_dir(&shelf)? {
                let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(key) = name.parse() else { continue };
                let Ok(meta) = fs::symlink_metadata(&entry) else { continue };
                let last_used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                stored.push(Stored { key, bytes: meta.len().next_multiple_of(BLOCK), last_used });
            }
        }
        Ok(stored)
    }

    /// Makes room where entries take more than `limit` bytes: those that were not used for the longest
    /// time go first. Several processes may do so at once, and take the same.
    ///
    /// # Errors
    /// Where the folder cannot be read, or an entry not be removed.
    pub fn sweep(&self, limit: u64) -> io::Result<Swept> {
        self.remove_half_written(LONGEST_WRITE)?;
        let mut stored = self.list()?;
        let mut swept =
            Swept { evicted: 0, entries: stored.len() as u64, bytes: stored.iter().map(|one| one.bytes).sum() };
        if swept.bytes <= limit {
            return Ok(swept);
        }
        stored.sort_unstable_by_key(|one| (one.last_used, one.key));
        for one in stored {
            if swept.bytes <= limit - limit / FREED_PART {
                break;
            }
            swept.evicted += u64::from(self.remove(one.key)?);
            swept.entries -= 1;
            swept.bytes -= one.bytes;
        }
        Ok(swept)
    }

    fn remove_half_written(&self, older_than: Duration) -> io::Result<()> {
        for shelf in read_dir(&self.path)? {
            for path in read_dir(&shelf)? {
                let is_one =
                    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(BEING_WRITTEN));
                let age = || fs::symlink_metadata(&path).ok()?.modified().ok()?.elapsed().ok();
                if is_one && age().is_some_and(|age| age >= older_than) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes every entry: how many there were, and how many bytes they took.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn clear(&self) -> io::Result<(u64, u64)> {
        let mut cleared = (0, 0);
        for one in self.list()? {
            if self.remove(one.key)? {
                cleared = (cleared.0 + 1, cleared.1 + one.bytes);
            }
        }
        self.remove_half_written(LONGEST_WRITE)?;
        Ok(cleared)
    }
}

/// The paths in a folder; none where there is no folder.
fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).filter(|entry| !is_totals(entry)).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The one file between the shelves.
fn is_totals(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == super::totals::FILE)
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        // Somebody else was first.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> VerdictKey {
        VerdictKey::of([number.to_le_bytes().as_slice()])
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let common_dir = tempfile::tempdir().unwrap();
        let folder = Folder::of(common_dir.path());
        (common_dir, folder)
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first_and_no_more_than_has_to() {
        let (_common_dir, folder) = folder();
        for number in 0..20 {
            folder.write(key(number), b"x").unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + u64::from(number));
            File::open(folder.file(key(number))).unwrap().set_modified(used).unwrap();
        }
        folder.touch(key(0));
        assert_eq!(folder.sweep(20 * BLOCK).unwrap(), Swept { evicted: 0, entries: 20, bytes: 20 * BLOCK });
        let swept = folder.sweep(10 * BLOCK).unwrap();
        assert_eq!(swept, Swept { evicted: 11, entries: 9, bytes: 9 * BLOCK });
        let left: Vec<bool> = (0..20).map(|number| folder.read(key(number)).unwrap().is_some()).collect();
        assert!(left[0], "it was used last");
        assert_eq!(left[1..12], [false; 11]);
        assert_eq!(left[12..], [true; 8]);
    }

    #[test]
    fn what_a_killed_process_left_half_written_is_no_entry_and_goes_in_time() {
        let (_common_dir, folder) = folder();
        folder.write(key(1), b"x").unwrap();
        let shelf = folder.file(key(1)).parent().unwrap().to_owned();
        let half = shelf.join(format!("{BEING_WRITTEN}abc"));
        fs::write(&half, b"hal").unwrap();
        assert_eq!(folder.list().unwrap().len(), 1);
        folder.sweep(u64::MAX).unwrap();
        assert!(half.exists(), "it may be being written");
        File::open(&half).unwrap().set_modified(SystemTime::now() - LONGEST_WRITE).unwrap();
        folder.sweep(u64::MAX).unwrap();
        assert!(!half.exists());
        assert_eq!(folder.clear().unwrap(), (1, BLOCK));
        assert_eq!(folder.clear().unwrap(), (0, 0));
    }

    #[test]
    fn whatever_else_lies_at_the_place_of_an_entry_is_none() {
        let (_common_dir, folder) = folder();
        fs::create_dir_all(folder.file(key(1))).unwrap();
        assert_eq!(folder.read(key(1)).unwrap(), None);
        fs::create_dir_all(folder.file(key(2)).parent().unwrap()).unwrap();
        File::create(folder.file(key(2))).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(folder.read(key(2)).unwrap(), None);
        fs::create_dir_all(folder.file(key(3)).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.file(key(3))).unwrap();
        assert_eq!(folder.read(key(3)).unwrap(), None);
    }
}
