//! Whether attributes (gitattributes(5)) can make a checkout write anything but a blob's own bytes.
//! Slots have no configuration: no filter has a command, line ends are the system's, and only what
//! a `.gitattributes` file says itself is left. Where one may convert, git does the writing.

use std::collections::{HashMap, hash_map};

use gix::ObjectId;

use super::ForGit;
use crate::git::attributes::FILE_NAME;
use crate::git::index::IndexEntry;
use crate::git::objects::{Objects, ObjectsError, mode};

/// What converts on the way out without a command: `ident` and `working-tree-encoding` always, `eol`
/// unless it says `lf`. `crlf` is the old name of `text` and `eol` in one.
const CONVERTING: [&[u8]; 4] = [b"eol", b"ident", b"working-tree-encoding", b"crlf"];

/// git reads no longer file than 100 MB; nobody writes one of this size.
const LONGEST: u64 = 1024 * 1024;

/// Which blobs, as `.gitattributes` files, convert nothing.
#[derive(Debug, Default)]
pub(super) struct Harmless(HashMap<ObjectId, bool>);

impl Harmless {
    /// # Errors
    /// Where the entry is a `.gitattributes` that may convert, or that cannot be read.
    pub(super) fn check(&mut self, objects: &Objects, path: &[u8], mode: u32, id: ObjectId) -> Result<(), ForGit> {
        if !sets_attributes(path) {
            return Ok(());
        }
        let is_harmless = match self.0.entry(id) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(unknown) => {
                let blob = objects.blob_within(id, LONGEST).map_err(|_| ForGit("attributes that cannot be read"))?;
                *unknown.insert(blob.is_some_and(|blob| converts_nothing(&blob)))
            }
        };
        if is_harmless && mode != mode::SYMLINK { Ok(()) } else { Err(ForGit("attributes that convert")) }
    }

    /// # Errors
    /// As [`Harmless::check`], for any of them.
    pub(super) fn check_all(&mut self, objects: &Objects, entries: &[IndexEntry]) -> Result<(), ForGit> {
        entries.iter().try_for_each(|entry| self.check(objects, &entry.path, entry.mode, entry.id))
    }
}

/// Where a checkout of a tree reads attributes.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Path, mode and blob, in the order of an index.
    pub(super) files: Vec<(Vec<u8>, u32, ObjectId)>,
    /// Paths at which the tree has none: git would read what lies there.
    pub(super) absent: Vec<Vec<u8>>,
}

/// # Errors
/// Where a tree cannot be read.
pub(super) fn places(objects: &mut Objects, tree: ObjectId) -> Result<Places, ObjectsError> {
    let mut found = Places::default();
    let mut folders = vec![(Vec::new(), tree)];
    while let Some((path, folder)) = folders.pop() {
        let own = [&path[..], FILE_NAME].concat();
        let mut is_absent = true;
        for entry in &objects.tree(folder)?.entries {
            if entry.is_tree() {
                folders.push(([&path[..], &entry.name, b"/"].concat(), entry.id));
            } else if *entry.name == *FILE_NAME {
                found.files.push((own.clone(), entry.mode, entry.id));
                is_absent = false;
            }
        }
        if is_absent {
            found.absent.push(own);
        }
    }
    found.files.sort_unstable();
    Ok(found)
}

/// Whether this path is one that attributes are read from.
pub(super) fn sets_attributes(path: &[u8]) -> bool {
    name_of(path) == FILE_NAME
}

pub(super) fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Looks at every word, patterns too: a file named `ident` costs a git, and nothing is missed.
fn converts_nothing(text: &[u8]) -> bool {
    text.split(|byte| byte.is_ascii_whitespace()).all(|word| {
        let name = word.split(|byte| *byte == b'=').next().unwrap_or(word);
        // `-ident` unsets it.
        word == b"eol=lf" || !CONVERTING.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_converts_without_a_command_is_left_to_git() {
        for harmless in [
            "* text=auto\n*.png binary\n*.sh text eol=lf\n",
            "*.pb.go linguist-generated=true -diff merge=ours export-ignore\n",
            "[attr]data -text -diff\n*.bin data filter=lfs\n# a comment\n*.x -ident !eol -crlf\n",
            "",
        ] {
            assert!(converts_nothing(harmless.as_bytes()), "{harmless}");
        }
        for converting in
            ["* text=auto eol=crlf", "*.c\tident", "*.txt working-tree-encoding=UTF-16", "* crlf", "[attr]x eol=crlf\r"]
        {
            assert!(!converts_nothing(converting.as_bytes()), "{converting}");
        }
    }
}
