//! Removing what gates leave, whatever they did to it, and moving aside what cannot be removed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::crash;
use crate::git::command::GitError;

pub(in crate::git) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Moves what cannot be removed, such as files of another user or immutable ones, out of the way:
/// one such folder must not keep every later gate from running.
pub(super) fn set_aside(path: &Path) -> Result<(), GitError> {
    move_aside(path, UNREMOVABLE).map(drop)
}

/// Gives a folder the first free name with this mark, and says which.
pub(in crate::git) fn move_aside(path: &Path, mark: &str) -> Result<PathBuf, GitError> {
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
pub(in crate::git) const UNREMOVABLE: &str = ".unremovable-";

/// Writes a file in the place of the one at `path`, if there is one, into which it is written: a file system
/// is slower at making a new file than at anything else a switch does. Whoever is stopped here leaves
/// something of both, so what is read from it must say whether it is whole.
pub(super) fn write_over(path: &Path, content: &[u8]) -> std::io::Result<File> {
    let mut file = match open_own(path, OpenOptions::new().write(true)) {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                remove(path).map_err(std::io::Error::other)?;
            }
            OpenOptions::new().write(true).create_new(true).open(path)?
        }
    };
    crash::torn!("slot.over.torn", file, content);
    file.write_all(content)?;
    if file.metadata()?.len() != content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    Ok(file)
}

/// Opens a file of the slot's own: never through a link, and no pipe, which would be waited for, nor a file that
/// somebody has under another name, too.
pub(super) fn open_own(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 { Ok(file) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Not through symbolic links.
pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Removes whatever is at `path`, if anything is; never what a symbolic link points to.
///
/// # Errors
/// Where something in it cannot be removed.
pub fn remove(path: &Path) -> Result<(), GitError> {
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

pub(super) fn empty(folder: &Path) -> Result<(), GitError> {
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
