//! Whether the disks that gates and gits write to are full: what is left of the file systems below some
//! folders, as the kernel tells it (statvfs(3)). What a full disk means for whoever failed on one is not
//! known here, and a quota is not seen: the kernel tells of the disk as a whole.

use std::path::{Path, PathBuf};

use super::Disk;

/// A disk with less than this, or less than a hundredth of itself where it is small, is full. What a
/// program could not write may have been larger than what is left: compilers and archivers write at
/// most so much at once.
const LEAST_BYTES: u64 = 1024 * 1024;
const LEAST_SHARE: u64 = 100;
/// Files to be: a file system may run out of these first.
const LEAST_FILES: u64 = 16;

/// A disk on which nothing more can be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No space left on device under {}: {left}", folder.display())]
pub struct Full {
    folder: PathBuf,
    left: String,
}

/// The first of the folders below which the disk is full. Blocks.
pub fn first_full<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Option<Full> {
    folders.into_iter().find_map(|folder| {
        let left = lack(folder)?;
        Some(Full { folder: folder.to_owned(), left })
    })
}

/// What says that the disk under `folder` is full, if it is.
pub fn lack(folder: &Path) -> Option<String> {
    // One that is not there, or of which nothing is told, is not full.
    let Disk { free_bytes: bytes, size_bytes: size, free_files, files, read_only, .. } = Disk::under(folder)?;
    // Nothing is ever left of what cannot be written, and pseudo file systems have no size.
    if read_only || size == 0 {
        return None;
    }
    if bytes < LEAST_BYTES.min(size / LEAST_SHARE) || bytes == 0 {
        return Some(format!("{bytes} of {size} bytes are free"));
    }
    // Some file systems do not count them.
    (files > 0 && free_files < LEAST_FILES).then(|| format!("{free_files} of {files} files are free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_and_what_is_no_disk_are_not_full() {
        let here = tempfile::tempdir().unwrap();
        let folders = [here.path(), Path::new("/proc"), Path::new("/nowhere/at/all")];
        assert_eq!(first_full(folders), None);
    }
}
