//! Paths in a working tree, and what is tracked at and below them. A folder's path has a slash at its end, and is empty
//! for the top. Nothing is looked up on the disk.

use std::ops::Range;

use crate::git::index::IndexEntry;

/// The folder that a path is in, and the name in it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1))
}

pub(super) fn folder_of(path: &[u8]) -> &[u8] {
    split(path).0
}

/// The folders on the way to a path, from the top down.
pub(super) fn folders_to(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    std::iter::once(&path[..0]).chain(slashes.map(|(at, _)| &path[..=at]))
}

/// Which of the entries, which are in order, are in the folder or in those in it.
pub(super) fn below(entries: &[IndexEntry], folder: &[u8]) -> Range<usize> {
    let begin = entries.partition_point(|entry| *entry.path < *folder);
    begin..begin + entries[begin..].partition_point(|entry| entry.path.starts_with(folder))
}

/// Whether there are such, or it is the top.
pub(super) fn is_tracked(entries: &[IndexEntry], folder: &[u8]) -> bool {
    let first = entries.partition_point(|entry| *entry.path < *folder);
    folder.is_empty() || entries.get(first).is_some_and(|entry| entry.path.starts_with(folder))
}

/// The folder itself, or the nearest above in which something is tracked.
pub(super) fn tracked_above<'a>(entries: &[IndexEntry], mut folder: &'a [u8]) -> &'a [u8] {
    while !is_tracked(entries, folder) {
        folder = folder_of(&folder[..folder.len() - 1]);
    }
    folder
}
