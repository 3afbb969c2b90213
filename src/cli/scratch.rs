//! Folders for composites that nobody needs for longer than a command takes, and for what a command that is no run leaves
//! elsewhere if it is killed.

mod note;

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(super) use self::note::Note;
use super::conduct::cache_root;
use super::failure::Failure;
use crate::git::command::GitError;
use crate::git::{lock, slot};
use crate::runs::RunFolder;

/// A folder that is removed when this is dropped, or by the next that is made where its process was
/// killed.
pub(super) struct ScratchFolder {
    folder: TempDir,
    /// Something may be left elsewhere that only this folder tells of.
    is_needed: bool,
    /// Held while the folder is ours.
    _lock: File,
}

const PREFIX: &str = "dry-run-";

impl ScratchFolder {
    /// In lexpr's cache where that can be written, else among the system's temporary folders.
    pub(super) fn create() -> Result<Self, Failure> {
        let root = cache_root();
        let in_cache = std::fs::create_dir_all(&root).and_then(|()| {
            remove_left_behind(&root)?;
            Self::create_in(&root)
        });
        in_cache
            .or_else(|_| Self::create_in(&std::env::temp_dir()))
            .map_err(|error| Failure::io("making a folder in", &std::env::temp_dir(), &error))
    }

    /// Removes it with all that is in it, unless that is still needed; what cannot be removed is where this says.
    pub(super) fn remove(self) -> Option<PathBuf> {
        if self.is_needed {
            return None;
        }
        let path = self.folder.path().to_owned();
        // Gates write-protect what they like (Go's module cache).
        let removed = slot::remove(&path);
        drop(self);
        removed.is_err().then_some(path)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Before something of this begins elsewhere: from here on the folder outlasts a process that does not come to
    /// [`ScratchFolder::strike_out`], whatever became of it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn write_down(&mut self, note: &Note, plan: &str) -> Result<(), Failure> {
        note.write(&RunFolder { id: note.run.clone(), path: self.path().to_owned() }, plan)?;
        self.keep(true);
        Ok(())
    }

    /// Nothing is left elsewhere.
    pub(super) fn strike_out(&mut self) {
        self.keep(false);
    }

    fn keep(&mut self, keep: bool) {
        self.is_needed = keep;
        self.folder.disable_cleanup(keep);
    }

    fn create_in(root: &Path) -> std::io::Result<Self> {
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
            // In the moment before it was locked it may have been taken for one that was left.
            if let Some(lock) = lock::take_folder(folder.path())? {
                return Ok(Self { folder, is_needed: false, _lock: lock });
            }
        }
    }
}

/// In a folder that is lexpr's alone.
fn remove_left_behind(root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)?.flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_one
            && Note::read(&entry.path()).is_none()
            && let Some(_lock) = lock::take_folder(&entry.path())?
        {
            // What cannot be removed costs space and nothing else.
            let _ = slot::remove(&entry.path());
        }
    }
    Ok(())
}

/// What a command that is gone had elsewhere.
pub(super) struct Abandoned {
    pub note: Note,
    /// As that of a run.
    pub folder: RunFolder,
}

impl Abandoned {
    /// Keeps other processes from it; `None` where one is at it, or it is gone.
    ///
    /// # Errors
    /// Where it cannot be locked.
    pub(super) fn hold(&self) -> std::io::Result<Option<File>> {
        lock::take_folder(&self.folder.path)
    }

    /// # Errors
    /// Where it cannot be removed.
    pub(super) fn remove(&self, _hold: &File) -> Result<(), GitError> {
        slot::remove(&self.folder.path)
    }
}

/// What commands have noted that nobody is at any more, of whichever repository. Changes nothing.
pub(super) fn abandoned() -> Vec<Abandoned> {
    let entries = std::fs::read_dir(cache_root()).into_iter().flatten().flatten();
    let mut found: Vec<Abandoned> = entries
        .map(|entry| entry.path())
        .filter(|path| !lock::is_held(path))
        .filter_map(|path| {
            let note = Note::read(&path)?;
            Some(Abandoned { folder: RunFolder { id: note.run.clone(), path }, note })
        })
        .collect();
    found.sort_by(|left, right| left.note.run.cmp(&right.note.run));
    found
}
