//! What files and folders of a working tree are besides their content: rights, names and extended attributes.
//! git looks at none of them but the right to execute, so what one gate did to them would reach the next.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, chmodat, flistxattr, flistxattr_query, fremovexattr, openat, statat,
};
use rustix::io::Errno;

use super::ForGit;
use super::survey::unreadable;
use crate::git::index::Stat;
use crate::git::objects::mode;

/// Of a file's mode, and the bit of them that a folder has from the one it is made in.
pub(super) const RIGHTS: u32 = 0o7777;
pub(super) const SET_GROUP: u32 = 0o2000;

/// The rights of a folder that was made like a file of this mode: who may read a folder may go into it.
pub(super) fn folder_rights_like(file_mode: u32) -> u32 {
    file_mode & RIGHTS | (file_mode & 0o444) >> 2
}

/// What the folder is, once it has these rights: a gate may have given it others. `None` where there is none.
pub(super) fn with_rights(above: impl AsFd, path: &[u8], rights: u32) -> Result<Option<Stat>, ForGit> {
    let look = || statat(&above, path, AtFlags::SYMLINK_NOFOLLOW);
    let mut found = match look() {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return Err(ForGit("a folder that became something else"));
    }
    // A folder takes over the group's bit from the one it is made in.
    if found.st_mode & (RIGHTS & !SET_GROUP) != rights {
        let rights = Mode::from_raw_mode(rights | found.st_mode & SET_GROUP);
        found = chmodat(&above, path, rights, AtFlags::empty()).and_then(|()| look()).map_err(unreadable)?;
    }
    Ok(Some(Stat::of(&found)))
}

/// Removes from a folder what a gate may have given it besides rights, and what it would hand on to files
/// that are made in it: those of its extended attributes that are not the system's own.
pub(super) fn without_attributes(folder: impl AsFd) -> Result<(), ForGit> {
    for name in attributes_of(&folder) {
        fremovexattr(&folder, &*name).map_err(|_| ForGit("an attribute that cannot be removed"))?;
    }
    Ok(())
}

/// The names of the extended attributes that somebody has set: none where the file system has no such.
pub(super) fn attributes_of(file: impl AsFd) -> Vec<Vec<u8>> {
    /// As many as Linux lets a file have names of.
    const MOST_BYTES: usize = 1 << 16;
    let is_set = |name: &&[u8]| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
    // Most have none, and say so without a buffer.
    if !matches!(flistxattr_query(&file), Ok(1..)) {
        return Vec::new();
    }
    let mut names = vec![0; MOST_BYTES];
    let len = flistxattr(&file, names.as_mut_slice()).unwrap_or(0);
    names[..len].split(|byte| *byte == 0).filter(is_set).map(<[u8]>::to_vec).collect()
}

/// Whether a file there has other rights than one that is made anew, a second name, or attributes.
pub(super) fn is_more_than_a_file(path: &Path, mode: u32, index_mode: u32) -> bool {
    let Ok(found) = path.symlink_metadata() else { return false };
    let rights = if mode == mode::EXECUTABLE { folder_rights_like(index_mode) } else { index_mode & RIGHTS };
    let file =
        || openat(CWD, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    found.is_file()
        && (found.nlink() != 1
            || found.mode() & RIGHTS != rights
            || file().is_ok_and(|file| !attributes_of(file).is_empty()))
}
