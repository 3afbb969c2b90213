//! A pack that has come into the user's store is out of git's reach until a ref holds what is in
//! it: a `.keep` file beside it (gitrepository-layout(5)) that names the run, so that one left
//! behind by a dead run is known and removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::command::GitError;
use crate::vocabulary::names::RunId;

/// What lexpr's `.keep` files begin with.
const OF_RUN: &str = "lexpr run ";

/// What goes into the `.keep` file.
pub fn note(run: &RunId) -> String {
    format!("{OF_RUN}{run}")
}

/// Removes its file when it is dropped.
#[derive(Debug)]
pub struct Keep {
    path: PathBuf,
}

impl Keep {
    /// Of the pack with this hash, which has a `.keep` file by now.
    pub fn of(pack_folder: &Path, hash: &str) -> Self {
        Self { path: pack_folder.join(format!("pack-{hash}.keep")) }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // One that stays costs space until the next `lexpr clean`, and nothing else.
        let _ = fs::remove_file(&self.path);
    }
}

/// The `.keep` files of lexpr in the folder of a store's packs, each with its run.
///
/// # Errors
/// Where the folder cannot be read.
pub fn left(pack_folder: &Path) -> Result<Vec<(PathBuf, RunId)>, GitError> {
    let entries = match fs::read_dir(pack_folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GitError::io("reading", pack_folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(GitError::io("reading", pack_folder))?.path();
        if path.extension().is_some_and(|extension| extension == "keep")
            && let Ok(text) = fs::read_to_string(&path)
            && let Some(run) = text.trim_end().strip_prefix(OF_RUN)
        {
            found.push((path, RunId::new(run)));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the `.keep` files of one run.
///
/// # Errors
/// Where they cannot be listed or removed.
pub fn release(pack_folder: &Path, run: &RunId) -> Result<(), GitError> {
    for (path, _) in left(pack_folder)?.into_iter().filter(|(_, of)| of == run) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(GitError::io("removing", path)(error)),
            _ => {}
        }
    }
    Ok(())
}
