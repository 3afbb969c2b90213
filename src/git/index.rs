//! Which paths an index file tracks: read in process, because a slot asks before and after each
//! switch and a process each time would cost more than the answer is worth. Reads versions 2
//! and 3 (what git writes under default configuration); changes nothing and knows no contents.
//!
//! The format is git's `Documentation/gitformat-index.txt`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The index file is damaged, or of a version that lexpr's own configuration never makes git write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an index file of version 2 or 3")]
pub struct NotAnIndex;

/// One tracked path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked<'a> {
    /// Relative to the top of the working tree.
    pub path: &'a Path,
    /// A submodule's commit: a folder that lexpr leaves empty.
    pub is_submodule: bool,
}

const HEADER: usize = 12;
/// ctime, mtime, dev, ino (24 bytes) precede the mode; uid, gid and size (12) follow it.
const MODE_AT: usize = 24;
const STAT: usize = 40;
/// Set in the flags of an entry that has two more bytes of them (version 3).
const EXTENDED: u16 = 0x4000;
/// The type bits of a mode, and those of a submodule.
const TYPE_BITS: u32 = 0o170_000;
const SUBMODULE: u32 = 0o160_000;

/// All entries of an index, in its order: by the bytes of their paths.
///
/// `id_len` is the length of an object id: 20 bytes of SHA-1 or 32 of SHA-256.
pub fn tracked(index: &[u8], id_len: usize) -> Result<Vec<Tracked<'_>>, NotAnIndex> {
    let word = |at: usize| -> Result<u32, NotAnIndex> {
        let bytes = index.get(at..at + 4).ok_or(NotAnIndex)?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| NotAnIndex)?))
    };
    if !index.starts_with(b"DIRC") || !matches!(word(4)?, 2 | 3) {
        return Err(NotAnIndex);
    }
    let count = word(8)?;
    let mut entries = Vec::new();
    let mut at = HEADER;
    for _ in 0..count {
        let mode = word(at + MODE_AT)?;
        let flags_at = at + STAT + id_len;
        let extended = word(flags_at)? >> 16 & u32::from(EXTENDED) != 0;
        let path_at = flags_at + if extended { 4 } else { 2 };
        let rest = index.get(path_at..).ok_or(NotAnIndex)?;
        let len = rest.iter().position(|byte| *byte == 0).ok_or(NotAnIndex)?;
        entries.push(Tracked {
            path: Path::new(OsStr::from_bytes(&rest[..len])),
            is_submodule: mode & TYPE_BITS == SUBMODULE,
        });
        // One to eight NULs end an entry at a multiple of eight bytes from its start.
        at += (path_at - at + len) / 8 * 8 + 8;
    }
    Ok(entries)
}
