//! What files and folders of a working tree are besides their content: rights, names and extended attributes.
//! git looks at none of them but the right to execute, so what one gate did to them would reach the next.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, flistxattr, flistxattr_query, fremovexattr,
    openat, statat,
};
use rustix::io::Errno;

use super::ForGit;
use super::survey::unreadable;
use crate::git::index::Stat;
use crate::git::objects::mode;

/// Of a file's mode, and the bit of them that a folder has from the one it is made in.
pub(super) const RIGHTS: u32 = 0o7777;
const SET_GROUP: u32 = 0o2000;

/// The rights of a folder that was made like a file of this mode: who may read a folder may go into it.
pub(super) fn folder_rights_like(file_mode: u32) -> u32 {
    file_mode & RIGHTS | (file_mode & 0o444) >> 2
}

/// What a folder is that lexpr makes in a slot's working tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FolderNature {
    /// With the group's bit, if it has that from the folder that it is made in.
    pub(super) rights: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl FolderNature {
    /// Of one that is made in `above`, where lexpr has made the file `ours`.
    pub(super) fn like(ours: &Metadata, above: &Metadata) -> Self {
        let rights = folder_rights_like(ours.mode()) | above.mode() & SET_GROUP;
        Self { rights, uid: ours.uid(), gid: ours.gid() }
    }
}

/// What the folder is, once it is as lexpr makes one: a gate may have given it other rights, or another owner, and
/// git refuses a repository of somebody else's (`safe.directory` in git-config(1)). `None` where there is none.
pub(super) fn as_made(above: impl AsFd, path: &[u8], made: FolderNature) -> Result<Option<Stat>, ForGit> {
    let look = || statat(&above, path, AtFlags::SYMLINK_NOFOLLOW);
    let mut found = match look() {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return Err(ForGit("a folder that became something else"));
    }
    if (found.st_uid, found.st_gid) != (made.uid, made.gid) {
        let (uid, gid) = (Uid::from_raw(made.uid), Gid::from_raw(made.gid));
        chownat(&above, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| ForGit("a folder of another owner"))?;
        found = look().map_err(unreadable)?;
    }
    if found.st_mode & RIGHTS != made.rights {
        let rights = Mode::from_raw_mode(made.rights);
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
