//! What an item brings, looked at before anything is merged: names that git checks out nowhere, folders
//! whose content is a matter of opinion, objects that are not there. `git merge` would refuse such
//! a branch, or lexpr's in-process readers could not agree with it; here the item alone is set aside.
//!
//! What the target has already is not looked at.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;

use super::command::tells_of_trouble;
use super::objects::{Entry, Objects, ObjectsError, Tree, mode};
use super::refusal::shown_path;

/// File systems have names of 255 bytes at most, Linux paths of 4095 (`NAME_MAX`, `PATH_MAX`).
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4095;

/// Folders in folders: half of what git has (`core.maxTreeDepth`), so that who reads trees one in
/// another has stack enough.
const DEEPEST: usize = 1024;

/// Pairs of trees whose difference was found sound are remembered up to this many: as many as a map of 4,096 places
/// takes, and 0.3 MB.
const MAX_KNOWN_PAIRS: usize = 3_584;

/// Something that cannot be merged, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    /// From the top.
    pub path: Vec<u8>,
    pub why: &'static str,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of a path that is too long this much says which it is.
        const SHOWN: usize = 100;
        let shown = shown_path(&self.path[..self.path.len().min(SHOWN)]);
        let more = if self.path.len() > SHOWN { "…" } else { "" };
        match self.why {
            why if self.path.is_empty() => write!(f, "it brings, at the top, {why}"),
            why => write!(f, "it brings \"{shown}{more}\", {why}"),
        }
    }
}

/// Looks through trees. Remembers what was sound.
#[derive(Debug, Default)]
pub struct Inspector {
    sound: HashSet<(Option<ObjectId>, ObjectId)>,
}

impl Inspector {
    /// The first thing in `after` that `before` has not and that cannot be merged.
    ///
    /// # Errors
    /// Where the machine has trouble, or `before` cannot be read.
    pub fn inspect(
        &mut self,
        objects: &mut Objects,
        before: Option<ObjectId>,
        after: ObjectId,
    ) -> Result<Option<Unsound>, ObjectsError> {
        let mut seen = Vec::new();
        let mut open = vec![(before, after, Vec::new(), 0)];
        while let Some((before, after, path, depth)) = open.pop() {
            if before == Some(after) || self.sound.contains(&(before, after)) {
                continue;
            }
            if depth > DEEPEST {
                return Ok(Some(Unsound { path, why: "which has folders in folders deeper than git goes" }));
            }
            let old = match before {
                Some(before) => Some(objects.tree(before)?),
                None => None,
            };
            let new = match readable(objects.tree(after))? {
                Ok(new) => new,
                Err(why) => return Ok(Some(Unsound { path, why })),
            };
            if let Some(unsound) = form(&new, &path) {
                return Ok(Some(unsound));
            }
            for entry in &new.entries {
                let same = old.as_ref().and_then(|old| named(old, &entry.name));
                if same == Some(entry) {
                    continue;
                }
                let path = below(&path, &entry.name);
                if let Some(why) = fault(objects, entry, &path)? {
                    return Ok(Some(Unsound { path, why }));
                }
                if entry.is_tree() {
                    open.push((same.filter(|same| same.is_tree()).map(|same| same.id), entry.id, path, depth + 1));
                }
            }
            seen.push((before, after));
        }
        // A map that grows beyond would hold twice the room.
        if self.sound.len() + seen.len() > MAX_KNOWN_PAIRS {
            self.sound.clear();
        }
        self.sound.extend(seen.into_iter().take(MAX_KNOWN_PAIRS));
        Ok(None)
    }
}

fn named<'a>(tree: &'a Arc<Tree>, name: &[u8]) -> Option<&'a Entry> {
    tree.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok().map(|at| &tree.entries[at])
}

fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// What is not there or not what it should be is the item's fault, a full disk is not.
fn readable<T>(read: Result<T, ObjectsError>) -> Result<Result<T, &'static str>, ObjectsError> {
    match read {
        Err(error) if tells_of_trouble(&error.to_string()) => Err(error),
        Err(ObjectsError::WrongKind { .. }) => Ok(Err("which is not the kind of object that it is listed as")),
        Err(ObjectsError::Damaged { .. }) => Ok(Err("which is damaged")),
        Err(ObjectsError::Unreadable { .. }) => Ok(Err("which is missing in the repository, or damaged")),
        Err(error) => Err(error),
        Ok(read) => Ok(Ok(read)),
    }
}

fn form(tree: &Tree, path: &[u8]) -> Option<Unsound> {
    if let Some(twice) = tree.entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Some(Unsound { path: below(path, &twice[0].name), why: "a name that its folder has twice" });
    }
    let why = "a folder whose names are not in git's order";
    (!tree.in_order).then(|| Unsound { path: path.to_vec(), why })
}

fn fault(objects: &Objects, entry: &Entry, path: &[u8]) -> Result<Option<&'static str>, ObjectsError> {
    let is_link = entry.mode == mode::SYMLINK;
    if let Some(why) = fault_of_name(&entry.name, is_link) {
        return Ok(Some(why));
    }
    if path.len() > LONGEST_PATH {
        return Ok(Some("which is longer than a path can be"));
    }
    if entry.id.is_null() {
        return Ok(Some("which names no object"));
    }
    // git takes any other permissions of a file for one of its two modes.
    match entry.mode & mode::TYPE_BITS {
        _ if entry.mode == mode::SUBMODULE || entry.is_tree() => Ok(None),
        mode::FILE_TYPE | mode::SYMLINK if entry.mode < mode::BEYOND => {
            Ok(readable(objects.must_be(entry.id, Kind::Blob, "blob"))?.err())
        }
        _ => Ok(Some("which is no file, link, folder or submodule")),
    }
}

/// `verify_path` in git's `read-cache.c`, with what it adds on macOS and Windows: what lands here is
/// for others, too.
fn fault_of_name(name: &[u8], is_link: bool) -> Option<&'static str> {
    const NOWHERE: &str = "a name that git checks out nowhere";
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
        return Some(NOWHERE);
    }
    if name.split(|byte| *byte == b'\\').any(is_ntfs_dot_git) || hfs(name) == b".git" {
        return Some(NOWHERE);
    }
    if is_link && (is_ntfs_dot_gitmodules(name) || hfs(name) == b".gitmodules") {
        return Some("a link in the place of a file that git reads its settings from");
    }
    (name.len() > LONGEST_NAME).then_some("a name that is longer than file systems have it")
}

/// `.git` and its short name, however many dots and spaces, or whatever stream, follow.
fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    [&b".git"[..], b"git~1"].iter().any(|dot_git| name.strip_prefix(*dot_git).is_some_and(is_nothing_to_ntfs))
}

/// `.gitmodules` and the short names it may have.
fn is_ntfs_dot_gitmodules(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(b".gitmodules").is_some_and(is_nothing_to_ntfs)
        || name.starts_with(b"gitmod~")
        || name.starts_with(b"gi7eba~")
}

fn is_nothing_to_ntfs(rest: &[u8]) -> bool {
    let rest = rest.split(|byte| *byte == b':').next().unwrap_or_default();
    rest.iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// As HFS+ compares names: in lower case, and without what it ignores.
fn hfs(name: &[u8]) -> Vec<u8> {
    let is_ignored = |c: &char| matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let heard: String = String::from_utf8_lossy(name).chars().filter(|c| !is_ignored(c)).collect();
    heard.to_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_system_takes_for_gits_own_are_told_apart() {
        let refused = [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            ".git",
            ".GIT",
            ".gIt",
            "git~1",
            "GIT~1",
            ".git ",
            ".git...",
            ".git. .",
            ".git:x",
            "git~1 .",
            "a\\.git",
            "..\\.GIT\\x",
            ".g\u{200c}it",
            ".Gi\u{feff}T",
        ];
        for name in refused {
            assert!(fault_of_name(name.as_bytes(), false).is_some(), "{name:?}");
        }
        for name in [".gitmodules", ".GITMODULES", ".gitmodules .", "gitmod~1", "GI7EBA~2", ".git\u{200d}modules"] {
            assert!(fault_of_name(name.as_bytes(), true).is_some(), "{name:?}");
            assert!(fault_of_name(name.as_bytes(), false).is_none(), "{name:?}");
        }
        for name in [
            ".gitignore",
            ".gitattributes",
            ".github",
            "git",
            "git~2",
            ".git-x",
            "...",
            "a\\b",
            "x.git",
            " .git",
            "\u{e9}",
        ] {
            assert!(fault_of_name(name.as_bytes(), true).is_none(), "{name:?}");
        }
        assert!(fault_of_name(&[b'x'; 255], false).is_none() && fault_of_name(&[b'x'; 256], false).is_some());
        assert!(fault_of_name(b"\xff\n\t\"", false).is_none());
    }
}
