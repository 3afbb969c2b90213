//! Making room: removing the slots of a repository that nobody has, and what was set aside because
//! it could not be removed. Slots are caches; the next run makes those it needs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::command::GitError;
use super::lock;
use super::slot::{SlotFiles, UNREMOVABLE, move_aside, remove, with_suffix};

/// In the name of a folder that is just being removed: one that a killed process left is found by it.
const REMOVED: &str = ".removed-";

/// Something among the slots that nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// The working tree.
    pub path: PathBuf,
    pub last_used: SystemTime,
    /// `None` for what was set aside.
    number: Option<u32>,
}

impl Spare {
    pub fn is_slot(&self) -> bool {
        self.number.is_some()
    }
}

/// What nobody has in `folder`, where the slots of one repository lie; slots by number, then what
/// was set aside. Changes nothing.
///
/// # Errors
/// Where the folder cannot be read.
pub fn spares(folder: &Path) -> Result<Vec<Spare>, GitError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GitError::io("reading", folder)(error)),
    };
    let mut spares = Vec::new();
    for entry in entries {
        let name = entry.map_err(GitError::io("reading", folder))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = folder.join(name);
        if let Some(Ok(number)) = name.strip_suffix(".lock").map(str::parse::<u32>) {
            let files = SlotFiles::of(folder, number);
            if !lock::is_held(&files.lock) && !lock::is_held(&files.guard_lock) {
                // Written at each switch.
                let last_used = changed(&files.work_tree.join(".git/HEAD")).max(changed(&path));
                spares.push(Spare { path: files.work_tree, last_used, number: Some(number) });
            }
        } else if name.contains(UNREMOVABLE) || name.contains(REMOVED) {
            spares.push(Spare { last_used: changed(&path), path, number: None });
        }
    }
    spares.sort_by_key(|spare| (spare.number.is_none(), spare.number, spare.path.clone()));
    Ok(spares)
}

/// The beginning of time for what is not there.
fn changed(path: &Path) -> SystemTime {
    fs::symlink_metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Removes it; false where somebody has it by now. One who is killed meanwhile leaves a slot that
/// is as good as new, and a folder that [`spares`] finds.
///
/// # Errors
/// Where something cannot be removed, such as files of another user.
pub fn remove_spare(spare: &Spare) -> Result<bool, GitError> {
    let Some(number) = spare.number else {
        return remove(&spare.path).map(|()| true);
    };
    let folder = spare.path.parent().unwrap_or(Path::new("/"));
    let files = SlotFiles::of(folder, number);
    let take = |path: &PathBuf| lock::take_file(path).map_err(GitError::io("locking", path));
    let Some(_lock) = take(&files.lock)? else { return Ok(false) };
    let Some(_guard_lock) = take(&files.guard_lock)? else { return Ok(false) };
    // Half a folder must not be taken for one that is set up.
    remove(&files.setup)?;
    for index in ["", ".lock", ".check"] {
        remove(&with_suffix(&files.index, index))?;
    }
    for notes in ["", ".new"] {
        remove(&with_suffix(&files.notes, notes))?;
    }
    if fs::symlink_metadata(&files.work_tree).is_ok() {
        remove(&move_aside(&files.work_tree, REMOVED)?)?;
    }
    // While both are held: whoever has opened one of them finds that it is gone.
    remove(&files.guard_lock)?;
    remove(&files.lock)?;
    Ok(true)
}
