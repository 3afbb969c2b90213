//! Folders for composites that nobody needs for longer than a command takes.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::conduct::cache_root;
use super::failure::Failure;
use crate::git::{lock, slot};

/// A folder that is removed when this is dropped, or by the next that is made where its process was
/// killed.
pub(super) struct ScratchFolder {
    folder: TempDir,
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

    /// Removes it with all that is in it; what cannot be removed is where this says.
    pub(super) fn remove(self) -> Option<PathBuf> {
        let path = self.folder.path().to_owned();
        // Gates write-protect what they like (Go's module cache).
        let removed = slot::remove(&path);
        drop(self);
        removed.is_err().then_some(path)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn create_in(root: &Path) -> std::io::Result<Self> {
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
            // In the moment before it was locked it may have been taken for one that was left.
            if let Some(lock) = lock::take_folder(folder.path())? {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }
}

/// In a folder that is lexpr's alone.
fn remove_left_behind(root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)?.flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_one && let Some(_lock) = lock::take_folder(&entry.path())? {
            // What cannot be removed costs space and nothing else.
            let _ = slot::remove(&entry.path());
        }
    }
    Ok(())
}
