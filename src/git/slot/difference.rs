//! What must change at which path on the way from one tree to another. Folders that are the same
//! on both sides are not read. Says no where git has to look: what is no plain file, and names that
//! git would not write. Nothing is written here.

use gix::ObjectId;

use super::ForGit;
use super::survey::DEEPEST;
use crate::git::objects::{Entry, Objects, mode};

/// What a path shall be; `None` for nothing, or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// From the top of the tree.
    pub(super) path: Box<[u8]>,
    pub(super) to: Option<(u32, ObjectId)>,
}

/// By the bytes of their paths, each path once.
///
/// # Errors
/// Where a tree cannot be read, or the new one is for git to look at.
pub(super) fn between(objects: &mut Objects, from: ObjectId, to: ObjectId) -> Result<Vec<Change>, ForGit> {
    let mut difference = Difference { objects, changes: Vec::new(), path: Vec::new(), depth: 0 };
    difference.folders(Some(from), Some(to))?;
    let mut changes = difference.changes;
    changes.sort_unstable_by(|l, r| l.path.cmp(&r.path));
    // A file that makes room for a folder, or the other way round, has a path of its own.
    if changes.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err(ForGit("a path that is there twice"));
    }
    Ok(changes)
}

struct Difference<'a> {
    objects: &'a mut Objects,
    changes: Vec<Change>,
    path: Vec<u8>,
    depth: usize,
}

impl Difference<'_> {
    fn folders(&mut self, from: Option<ObjectId>, to: Option<ObjectId>) -> Result<(), ForGit> {
        if from == to {
            return Ok(());
        }
        if self.depth > DEEPEST {
            return Err(ForGit("a deep tree"));
        }
        let mut read = |id: Option<ObjectId>| match id {
            Some(id) => self.objects.tree(id).map(Some).map_err(|_| ForGit("a tree that cannot be read")),
            None => Ok(None),
        };
        let (from, to) = (read(from)?, read(to)?);
        if to.as_ref().is_some_and(|tree| !tree.canonical) {
            return Err(ForGit("a tree that git would not write"));
        }
        let mut old = from.iter().flat_map(|tree| &tree.entries).peekable();
        let mut new = to.iter().flat_map(|tree| &tree.entries).peekable();
        loop {
            // Both by the bytes of their names.
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.name.cmp(&*new.name),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let from = if order.is_le() { old.next() } else { None };
            let to = if order.is_ge() { new.next() } else { None };
            self.entries(from, to)?;
        }
    }

    fn entries(&mut self, from: Option<&Entry>, to: Option<&Entry>) -> Result<(), ForGit> {
        if from == to {
            return Ok(());
        }
        let len = self.path.len();
        if let Some(entry) = from.or(to) {
            self.path.extend_from_slice(&entry.name);
        }
        if let Some(to) = to {
            check(to)?;
        }
        let folder = |entry: Option<&Entry>| entry.filter(|entry| entry.is_tree()).map(|entry| entry.id);
        let file = |entry: Option<&Entry>| entry.filter(|entry| !entry.is_tree()).map(|entry| (entry.mode, entry.id));
        if file(from) != file(to) {
            self.changes.push(Change { path: self.path.as_slice().into(), to: file(to) });
        }
        self.path.push(b'/');
        self.depth += 1;
        self.folders(folder(from), folder(to))?;
        self.depth -= 1;
        self.path.truncate(len);
        Ok(())
    }
}

/// No more than what git's `verify_path` (read-cache.c) lets pass wherever a checkout lies, and less
/// where it is simpler to say: what is refused here git writes, or refuses with its own words.
fn check(entry: &Entry) -> Result<(), ForGit> {
    if !matches!(entry.mode, mode::TREE | mode::FILE | mode::EXECUTABLE | mode::SYMLINK) {
        return Err(ForGit("an entry that is no file, folder or link"));
    }
    // To Windows a backslash is a slash.
    for part in entry.name.split(|byte| *byte == b'\\') {
        let lower = part.to_ascii_lowercase();
        // Spaces and dots at the end of `.git`, and a stream of it, are it to Windows; so are short names.
        let is_git = lower.strip_prefix(b".git").is_some_and(|rest| matches!(rest, [] | [b' ' | b'.' | b':', ..]));
        let is_short = lower.starts_with(b"git~");
        // A link named `.gitmodules`, under whatever name Windows knows it.
        let is_link = entry.mode == mode::SYMLINK && (lower.starts_with(b".git") || lower.starts_with(b"gi"));
        if is_git || is_short || is_link || matches!(part, b"." | b"..") {
            return Err(ForGit("a name that git looks at"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_may_refuse_are_left_to_git() {
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let checked = |name: &[u8], mode| check(&Entry { name: name.into(), mode, id });
        let refused: [&[u8]; 11] = [
            b".",
            b"..",
            b".git",
            b".GiT",
            b".git .",
            b".git::$x",
            b"git~1",
            b"GIT~2",
            b"a\\.git",
            b".git\\x",
            b"..\\x",
        ];
        for name in refused {
            for mode in [mode::FILE, mode::TREE, mode::SYMLINK] {
                assert!(checked(name, mode).is_err(), "{}", name.escape_ascii());
            }
        }
        let plain: [&[u8]; 6] = [b".gitignore", b".github", b"git", b"a b\n", b"\xff", b"..."];
        assert!(plain.iter().all(|name| checked(name, mode::FILE).is_ok()));
        assert!(checked(b".gitmodules", mode::SYMLINK).is_err());
        assert!(checked(b"a", mode::SUBMODULE).is_err() && checked(b"a", 0o100_664).is_err());
    }
}
