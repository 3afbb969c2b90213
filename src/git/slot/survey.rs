//! One walk over a slot's working tree: which tracked files are not as they were left, and what else
//! is there. Changes nothing and reads no content but of files that changed so close to the index's
//! writing that their times cannot tell (git's Documentation/technical/racy-git).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use gix::ObjectId;
use gix::objs::Kind;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use super::ForGit;
use super::attributes::name_of;
use crate::git::index::{IndexEntry, Stat, Time};
use crate::git::objects::mode;

/// Each folder on the way down is open while those in it are walked.
pub(super) const DEEPEST: usize = 64;

/// A folder by its own name: what a link points to is never looked at.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a cleaning left, because the tree's `.gitignore` files say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// With all in it, whatever that is.
    Folder,
    File,
    /// A `.gitignore` that is not tracked: as long as it is this one the rest holds.
    Rules(Stat),
}

/// By path. A folder on the way to one of them is not itself ignored.
pub(super) type Left = BTreeMap<Vec<u8>, Ignored>;

/// Something that is not tracked, the topmost folder where it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untracked {
    pub(super) path: Vec<u8>,
    /// It was there, or what is in it was, and is ignored still.
    pub(super) is_known: bool,
}

#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Which entries are missing, or not as they were left.
    pub(super) differing: Vec<usize>,
    pub(super) untracked: Vec<Untracked>,
    /// Paths named `.git` below the top, in folders with tracked files: git does not see them.
    pub(super) repositories: Vec<Vec<u8>>,
}

/// Walks `top`, of which `entries` were known when the index was `written`.
///
/// # Errors
/// Where something cannot be read, or a file and a folder have changed places.
pub(super) fn survey(top: &Path, entries: &[IndexEntry], written: Time, left: &Left) -> Result<Survey, ForGit> {
    let folder = openat(CWD, top, FOLDER, Mode::empty()).map_err(unreadable)?;
    let mut walk = Walk { entries, written, left, path: Vec::new(), depth: 0, found: Survey::default() };
    walk.tracked_folder(folder, 0..entries.len())?;
    Ok(walk.found)
}

fn unreadable(_: Errno) -> ForGit {
    ForGit("a folder that cannot be read")
}

struct Walk<'a> {
    entries: &'a [IndexEntry],
    written: Time,
    left: &'a Left,
    /// Of the folder that is walked, with a slash at its end unless it is the top.
    path: Vec<u8>,
    depth: usize,
    found: Survey,
}

/// What is tracked directly in a folder: a file, or a folder with its entries.
struct Child<'a> {
    name: &'a [u8],
    entries: Range<usize>,
    is_folder: bool,
    is_there: bool,
}

impl<'a> Walk<'a> {
    fn tracked_folder(&mut self, folder: OwnedFd, entries: Range<usize>) -> Result<(), ForGit> {
        if self.depth > DEEPEST {
            return Err(ForGit("a deep tree"));
        }
        let mut children = self.children(entries);
        let mut dir = Dir::new(folder).map_err(unreadable)?;
        while let Some(found) = dir.read() {
            let found = found.map_err(unreadable)?;
            let name = found.file_name().to_bytes();
            match name {
                b"." | b".." => continue,
                b".git" if self.depth == 0 => continue,
                b".git" => {
                    self.found.repositories.push(self.path_to(name));
                    continue;
                }
                _ => {}
            }
            let at = dir.fd().map_err(unreadable)?;
            match children.binary_search_by(|child| child.name.cmp(name)) {
                Ok(child) => {
                    let child = &mut children[child];
                    child.is_there = true;
                    if !child.is_folder {
                        self.file(at, name, child.entries.start)?;
                    }
                }
                Err(_) => self.untracked(at, name, found.file_type())?,
            }
        }
        let at = dir.fd().map_err(unreadable)?;
        for child in &children {
            if !child.is_there {
                self.found.differing.extend(child.entries.clone());
            } else if child.is_folder {
                let folder = match openat(at, child.name, FOLDER, Mode::empty()) {
                    Ok(folder) => folder,
                    Err(Errno::NOTDIR | Errno::LOOP) => return Err(ForGit("a folder that became something else")),
                    Err(error) => return Err(unreadable(error)),
                };
                self.within(child.name, |walk| walk.tracked_folder(folder, child.entries.clone()))?;
            }
        }
        Ok(())
    }

    fn within(&mut self, name: &[u8], walk: impl FnOnce(&mut Self) -> Result<(), ForGit>) -> Result<(), ForGit> {
        let len = self.path.len();
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        self.depth += 1;
        walk(self)?;
        self.depth -= 1;
        self.path.truncate(len);
        Ok(())
    }

    /// By the bytes of their names.
    fn children(&self, entries: Range<usize>) -> Vec<Child<'a>> {
        let all = self.entries;
        let mut children = Vec::new();
        let mut at = entries.start;
        while at < entries.end {
            let rest = &all[at].path[self.path.len()..];
            let (name, end) = match rest.iter().position(|byte| *byte == b'/') {
                None => (rest, at + 1),
                Some(slash) => {
                    // Those of a folder stand together.
                    let folder = &all[at].path[..=self.path.len() + slash];
                    let len = all[at..entries.end].partition_point(|entry| entry.path.starts_with(folder));
                    (&rest[..slash], at + len)
                }
            };
            let is_folder = name.len() < rest.len();
            children.push(Child { name, entries: at..end, is_folder, is_there: false });
            at = end;
        }
        // As whole paths `a.b` comes before `a/b`.
        children.sort_unstable_by(|l, r| l.name.cmp(r.name));
        children
    }

    fn path_to(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, name].concat()
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &[u8], entry: usize) -> Result<(), ForGit> {
        let known = &self.entries[entry];
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                self.found.differing.push(entry);
                return Ok(());
            }
            Err(error) => return Err(unreadable(error)),
        };
        let found_mode = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => return Err(ForGit("a file that became a folder")),
            FileType::Symlink => mode::SYMLINK,
            FileType::RegularFile if found.st_mode & 0o100 == 0 => mode::FILE,
            FileType::RegularFile => mode::EXECUTABLE,
            _ => 0,
        };
        let is_same = found_mode == known.mode
            && Stat::of(&found) == known.stat
            // Whatever touched it afterwards gave it a later time of change: nobody can set that one.
            && (known.stat.changed.max(known.stat.modified) < self.written || has_content(folder, name, known));
        if !is_same {
            self.found.differing.push(entry);
        }
        Ok(())
    }

    fn untracked(&mut self, folder: BorrowedFd<'_>, name: &[u8], told: FileType) -> Result<(), ForGit> {
        let stat = || statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable);
        let is_folder = match told {
            // Some file systems do not tell.
            FileType::Unknown => FileType::from_raw_mode(stat()?.st_mode).is_dir(),
            told => told.is_dir(),
        };
        let path = self.path_to(name);
        let is_known = match self.left.get(&path) {
            Some(Ignored::Folder) => is_folder,
            Some(Ignored::File) => !is_folder,
            Some(Ignored::Rules(known)) => {
                !is_folder && Stat::of(&stat()?) == *known && known.changed.max(known.modified) < self.written
            }
            None => false,
        };
        let begins = [&path[..], b"/"].concat();
        let leads_to_known =
            self.left.range(begins.clone()..).next().is_some_and(|(path, _)| path.starts_with(&begins));
        if is_known || !is_folder || !leads_to_known {
            self.found.untracked.push(Untracked { path, is_known });
            return Ok(());
        }
        let folder = openat(folder, name, FOLDER, Mode::empty()).map_err(unreadable)?;
        self.within(name, |walk| walk.untracked_folder(folder))
    }

    /// One that stays for what is ignored in it.
    fn untracked_folder(&mut self, folder: OwnedFd) -> Result<(), ForGit> {
        if self.depth > DEEPEST {
            return Err(ForGit("a deep tree"));
        }
        let before = self.found.untracked.len();
        let mut dir = Dir::new(folder).map_err(unreadable)?;
        while let Some(found) = dir.read() {
            let found = found.map_err(unreadable)?;
            let name = found.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let at = dir.fd().map_err(unreadable)?;
                self.untracked(at, name, found.file_type())?;
            }
        }
        if self.found.untracked.len() == before {
            // Nothing is ignored in it any more: it goes.
            let path = self.path[..self.path.len() - 1].to_vec();
            self.found.untracked.push(Untracked { path, is_known: false });
        }
        Ok(())
    }
}

/// Whether the file or link has the blob's bytes.
fn has_content(folder: BorrowedFd<'_>, name: &[u8], entry: &IndexEntry) -> bool {
    let content = if entry.mode == mode::SYMLINK {
        readlinkat(folder, name, Vec::new()).map(std::ffi::CString::into_bytes).ok()
    } else {
        openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .ok()
            .and_then(|file| read_all(file).ok())
    };
    content.and_then(|content| id_of(&content, entry.id)).is_some_and(|id| id == entry.id)
}

fn read_all(file: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut content)?;
    Ok(content)
}

fn id_of(content: &[u8], like: ObjectId) -> Option<ObjectId> {
    gix::objs::compute_hash(like.kind(), Kind::Blob, content).ok()
}

/// What a path is, without following a link at its end.
pub(super) fn stat_of(top: impl AsFd, path: &[u8]) -> Option<Stat> {
    statat(top, path, AtFlags::SYMLINK_NOFOLLOW).ok().map(|found| Stat::of(&found))
}

/// Whether patterns are read from this path.
pub(super) fn sets_rules(path: &[u8]) -> bool {
    name_of(path) == b".gitignore"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's clock may be finer than it was when git met this; what counts is what is compared.
    #[test]
    fn times_no_older_than_the_index_prove_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "two\n").unwrap();
        let top = openat(CWD, folder.path(), FOLDER, Mode::empty()).unwrap();
        let stat = stat_of(&top, b"a").unwrap();
        let like = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let differs = |content: &[u8], written: Time| {
            let id = id_of(content, like).unwrap();
            let entries = [IndexEntry { path: b"a"[..].into(), mode: mode::FILE, id, stat }];
            let found = survey(folder.path(), &entries, written, &Left::new()).unwrap();
            assert!(found.untracked.is_empty() && found.repositories.is_empty());
            !found.differing.is_empty()
        };
        let Time(seconds, nanoseconds) = stat.changed;
        for racy in [stat.changed, Time(seconds - 1, nanoseconds)] {
            assert!(differs(b"one\n", racy), "another content with the same times");
            assert!(!differs(b"two\n", racy));
        }
        // Written later, they do: the content is not read.
        assert!(!differs(b"one\n", Time(seconds + 1, 0)));
    }

    #[test]
    fn what_is_not_tracked_is_named_once_and_known_only_as_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["out/deep", "x/y", "dir/.git", "x/empty"] {
            std::fs::create_dir_all(place(name)).unwrap();
        }
        for name in ["out/deep/a", "x/y/z.o", "x/new", "dir/a"] {
            std::fs::write(place(name), "").unwrap();
        }
        std::os::unix::fs::symlink("out", place("link")).unwrap();
        let entry = |path: &[u8]| IndexEntry {
            path: path.into(),
            mode: mode::FILE,
            id: ObjectId::empty_blob(gix::hash::Kind::Sha1),
            stat: Stat::default(),
        };
        let left = Left::from([
            (b"out".to_vec(), Ignored::Folder),
            (b"x/y/z.o".to_vec(), Ignored::File),
            (b"link".to_vec(), Ignored::Folder),
        ]);
        let found = survey(folder.path(), &[entry(b"dir/a"), entry(b"dir/gone")], Time(0, 0), &left).unwrap();
        assert_eq!(found.differing, [0, 1]);
        assert_eq!(found.repositories, [b"dir/.git"]);
        let mut untracked: Vec<_> =
            found.untracked.iter().map(|one| (std::str::from_utf8(&one.path).unwrap(), one.is_known)).collect();
        untracked.sort_unstable();
        let expected = [("link", false), ("out", true), ("x/empty", false), ("x/new", false), ("x/y/z.o", true)];
        assert_eq!(untracked, expected);
    }
}
