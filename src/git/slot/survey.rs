//! One walk over a slot's working tree: which tracked files are not as they were left, and what else
//! is there. Changes nothing but the rights of folders, which neither git nor an index knows of, and reads
//! no content but of files that changed so close to the index's writing that their times cannot tell
//! (git's Documentation/technical/racy-git).

mod some;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

pub(super) use self::some::survey_some;
use super::ForGit;
use super::attributes::{name_of, sets_attributes};
use super::nature::{FolderNature, as_made, without_attributes};
use crate::git::index::{IndexEntry, Stat, Time};
use crate::git::objects::mode;

/// Trees deeper than this are git's: neither side follows them with a call for each level.
pub(super) const DEEPEST: usize = 64;

/// In a folder with more of them names are looked up in the folder itself: the way there is gone once, and not
/// for each.
const FEW_FILES: usize = 8;

/// A folder by its own name: what a link points to is never looked at.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The same, but only to look names up in, which needs less.
#[cfg(target_os = "linux")]
const PLACE: OFlags = FOLDER.union(OFlags::PATH);
#[cfg(not(target_os = "linux"))]
const PLACE: OFlags = FOLDER;

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
    pub(super) is_folder: bool,
    /// It was there, or what is in it was, and is ignored still.
    pub(super) is_known: bool,
}

/// Folders with tracked files and nothing else in them, by path with a slash at its end, in order; as they
/// were when that was seen. What is in a folder changes with its time alone.
pub(super) type Folders = Vec<(Arc<[u8]>, Stat)>;

#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Which entries are missing, or not as they were left.
    pub(super) differing: Vec<usize>,
    pub(super) untracked: Vec<Untracked>,
    /// What is removed whatever it is. In folders with tracked files: paths named `.git` below the top, which git
    /// does not see, and what is not tracked and yet heeded, see [`is_heeded`]. In every folder that is not itself ignored: what is
    /// neither file, link nor folder, see [`is_special`].
    pub(super) foreign: Vec<Vec<u8>>,
    pub(super) folders: Folders,
}

/// What was known when the index was `written`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) entries: &'a [IndexEntry],
    pub(super) written: Time,
    pub(super) left: &'a Left,
    /// Believed; nothing where the file system was not seen to keep such times.
    pub(super) folders: &'a Folders,
    /// What every folder with tracked files in it is.
    pub(super) folder: FolderNature,
}

/// Walks the working tree at `top`.
///
/// # Errors
/// Where something cannot be read, or a file and a folder have changed places.
pub(super) fn survey(top: &Path, expected: Expected<'_>) -> Result<Survey, ForGit> {
    let top = open_top(top, &expected)?;
    let mut walk = Walk::of(&top, expected);
    walk.tracked_folder(0..expected.entries.len())?;
    Ok(walk.found)
}

fn open_top(top: &Path, expected: &Expected<'_>) -> Result<OwnedFd, ForGit> {
    as_made(CWD, top.as_os_str().as_bytes(), expected.folder)?;
    openat(CWD, top, FOLDER, Mode::empty()).map_err(unreadable)
}

pub(super) fn unreadable(_: Errno) -> ForGit {
    ForGit("a folder that cannot be read")
}

struct Walk<'a> {
    top: &'a OwnedFd,
    expected: Expected<'a>,
    /// Of the folder that is walked, with a slash at its end unless it is the top. Every part of it
    /// was seen to be a folder, and no link, in this walk.
    path: Vec<u8>,
    depth: usize,
    /// Of the folders that are expected: those whose turn has come and gone.
    folders_passed: usize,
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
    fn of(top: &'a OwnedFd, expected: Expected<'a>) -> Self {
        let found = Survey { folders: Folders::with_capacity(expected.folders.len()), ..Survey::default() };
        Self { top, expected, path: Vec::new(), depth: 0, folders_passed: 0, found }
    }

    /// The folder at `path`, in which `entries` are tracked, and those in it.
    fn tracked_folder(&mut self, entries: Range<usize>) -> Result<(), ForGit> {
        let Some(children) = self.own_children(entries)? else { return Ok(()) };
        for child in children.into_iter().filter(|child| child.is_folder && child.is_there) {
            self.within(child.name, |walk| walk.tracked_folder(child.entries.clone()))?;
        }
        Ok(())
    }

    /// What is directly in the folder at `path`, in which `entries` are tracked; `None` where it is not there.
    fn own_children(&mut self, entries: Range<usize>) -> Result<Option<Vec<Child<'a>>>, ForGit> {
        if self.depth > DEEPEST {
            return Err(ForGit("a deep tree"));
        }
        let mut children = self.children(entries.clone());
        let is_top = self.depth == 0;
        let mut now = None;
        if !is_top {
            now = as_made(self.top, self.own_path(), self.expected.folder)?;
            if now.is_none() {
                self.found.differing.extend(entries);
                return Ok(None);
            }
        }
        let known = self.expected_folder();
        let is_as_known = now
            .zip(known)
            .is_some_and(|(now, (_, known))| now == *known && now.changed.max(now.modified) < self.expected.written);
        if is_as_known {
            children.iter_mut().for_each(|child| child.is_there = true);
        } else {
            let others = self.found.untracked.len() + self.found.foreign.len();
            self.list(&mut children)?;
            if self.found.untracked.len() + self.found.foreign.len() > others {
                now = None;
            }
        }
        if let Some(now) = now {
            let path = known.map_or_else(|| Arc::from(self.path.as_slice()), |(path, _)| Arc::clone(path));
            self.found.folders.push((path, now));
        }
        self.files(&children)?;
        for child in children.iter().filter(|child| child.is_folder && !child.is_there) {
            self.found.differing.extend(child.entries.clone());
        }
        Ok(Some(children))
    }

    /// What is expected of the folder at `path`.
    fn expected_folder(&mut self) -> Option<&'a (Arc<[u8]>, Stat)> {
        // A folder stands before those in it, and is walked before them: both go the same way.
        let rest = &self.expected.folders[self.folders_passed..];
        let passed = rest.iter().take_while(|(path, _)| **path < *self.path).count();
        self.folders_passed += passed;
        rest.get(passed).filter(|(path, _)| **path == *self.path)
    }

    /// The files among what is tracked in the folder at `path`.
    fn files(&mut self, children: &[Child<'a>]) -> Result<(), ForGit> {
        let files = || children.iter().filter(|child| !child.is_folder);
        // To open a folder takes as long as to go the way to it for some files.
        let here = if files().count() > FEW_FILES { Some(self.place().map_err(unreadable)?) } else { None };
        for child in files() {
            let entry = child.entries.start;
            if !child.is_there {
                self.found.differing.push(entry);
                continue;
            }
            match &here {
                Some(here) => self.file(here, child.name, entry)?,
                None => self.file(self.top, &self.expected.entries[entry].path, entry)?,
            }
        }
        Ok(())
    }

    /// Reads what is in the folder: which of the children are there, and what else.
    fn list(&mut self, children: &mut [Child<'_>]) -> Result<(), ForGit> {
        let folder = openat(self.top, self.own_path(), FOLDER, Mode::empty()).map_err(unreadable)?;
        without_attributes(&folder)?;
        let mut dir = Dir::new(folder).map_err(unreadable)?;
        children.sort_unstable_by(|l, r| l.name.cmp(r.name));
        while let Some(found) = dir.read() {
            let found = found.map_err(unreadable)?;
            let name = found.file_name().to_bytes();
            match name {
                b"." | b".." => {}
                b".git" if self.depth == 0 => {}
                b".git" => self.found.foreign.push(self.path_to(name)),
                _ => match children.binary_search_by(|child| child.name.cmp(name)) {
                    Ok(child) => children[child].is_there = true,
                    Err(_) if is_heeded(name) => self.found.foreign.push(self.path_to(name)),
                    Err(_) => self.untracked(name, found.file_type())?,
                },
            }
        }
        children.sort_unstable_by_key(|child| child.entries.start);
        Ok(())
    }

    fn open(&self) -> Result<Dir, ForGit> {
        openat(self.top, self.own_path(), FOLDER, Mode::empty()).and_then(Dir::new).map_err(unreadable)
    }

    /// The folder at `path`, to look names up in.
    fn place(&self) -> Result<OwnedFd, Errno> {
        openat(self.top, self.own_path(), PLACE, Mode::empty())
    }

    fn own_path(&self) -> &[u8] {
        if self.path.is_empty() { b"." } else { &self.path[..self.path.len() - 1] }
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

    fn children(&self, entries: Range<usize>) -> Vec<Child<'a>> {
        let all = self.expected.entries;
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
        children
    }

    fn path_to(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, name].concat()
    }

    /// The file of an entry, which is at the path `name` from `folder`.
    fn file(&mut self, folder: &OwnedFd, name: &[u8], entry: usize) -> Result<(), ForGit> {
        let known = &self.expected.entries[entry];
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
            && (known.stat.changed.max(known.stat.modified) < self.expected.written || has_content(folder, name, known));
        if !is_same {
            self.found.differing.push(entry);
        }
        Ok(())
    }

    fn untracked(&mut self, name: &[u8], told: FileType) -> Result<(), ForGit> {
        let path = self.path_to(name);
        let stat = || statat(self.top, &*path, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable);
        let told = match told {
            // Some file systems do not tell.
            FileType::Unknown => FileType::from_raw_mode(stat()?.st_mode),
            told => told,
        };
        if is_special(told) {
            self.found.foreign.push(path);
            return Ok(());
        }
        let is_folder = told.is_dir();
        let Expected { left, written, .. } = self.expected;
        let is_known = match left.get(&path) {
            Some(Ignored::Folder) => is_folder,
            Some(Ignored::File) => !is_folder,
            Some(Ignored::Rules(known)) => {
                !is_folder && Stat::of(&stat()?) == *known && known.changed.max(known.modified) < written
            }
            None => false,
        };
        let begins = [&path[..], b"/"].concat();
        let leads_to_known = left.range(begins.clone()..).next().is_some_and(|(path, _)| path.starts_with(&begins));
        if is_known || !is_folder || !leads_to_known {
            self.found.untracked.push(Untracked { path, is_folder, is_known });
            return Ok(());
        }
        self.within(name, Self::untracked_folder)
    }

    /// One that stays for what is ignored in it.
    fn untracked_folder(&mut self) -> Result<(), ForGit> {
        if self.depth > DEEPEST {
            return Err(ForGit("a deep tree"));
        }
        let before = self.found.untracked.len();
        let mut dir = self.open()?;
        while let Some(found) = dir.read() {
            let found = found.map_err(unreadable)?;
            let name = found.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                self.untracked(name, found.file_type())?;
            }
        }
        if self.found.untracked.len() == before {
            // Nothing is ignored in it any more: it goes.
            let path = self.path[..self.path.len() - 1].to_vec();
            self.found.untracked.push(Untracked { path, is_folder: true, is_known: false });
        }
        Ok(())
    }
}

/// A pipe, a socket or a device. git neither tracks such a thing nor sees that it is there, so it cleans none away
/// (`treat_path` in its `dir.c`), and the next gate would find what this one left.
pub(super) fn is_special(kind: FileType) -> bool {
    !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Directory)
}

/// Whether the file or link has the blob's bytes.
fn has_content(folder: &OwnedFd, name: &[u8], entry: &IndexEntry) -> bool {
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

/// Whether a folder in which something came and went after `written` shows it: some file systems do not
/// keep the times of folders.
pub(super) fn shows_changes(folder: &Path, written: Time) -> bool {
    stat_of(CWD, folder.as_os_str().as_bytes()).is_some_and(|found| found.changed >= written)
}

/// Whether patterns are read from this path.
pub(super) fn sets_rules(path: &[u8]) -> bool {
    name_of(path) == b".gitignore"
}

/// Whether git heeds what lies at this path beside or above tracked files: by a `.gitignore` a gate could hide files from
/// the next, and by a `.gitattributes`, which something may well ignore, have git call files changed that are as they were committed.
pub(super) fn is_heeded(path: &[u8]) -> bool {
    sets_rules(path) || sets_attributes(path)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::git::slot::nature::RIGHTS;

    pub(super) fn nature_of(folder: &Path) -> FolderNature {
        let found = std::fs::metadata(folder).unwrap();
        FolderNature { rights: found.mode() & RIGHTS, uid: found.uid(), gid: found.gid() }
    }

    fn rights_of(folder: &Path) -> u32 {
        std::fs::metadata(folder).unwrap().mode() & RIGHTS
    }

    #[test]
    fn folders_have_the_rights_again_that_they_were_made_with() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("c"), "").unwrap();
        let stat = stat_of(CWD, inside.join("c").as_os_str().as_bytes()).unwrap();
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let entries = [IndexEntry { path: b"a/b/c"[..].into(), mode: mode::FILE, id, stat }];
        let folders = ["", "a", "a/b"].map(|name| folder.path().join(name));
        let set =
            |path: &Path, rights| std::fs::set_permissions(path, std::fs::Permissions::from_mode(rights)).unwrap();
        for (rights, expected) in [(0o000, 0o755), (0o777, 0o755), (0o1755, 0o700), (0o2700, 0o755), (0o700, 0o2755)] {
            folders.iter().rev().for_each(|path| set(path, rights));
            let expect = Expected {
                entries: &entries,
                written: Time(u32::MAX, 0),
                left: &Left::new(),
                folders: &Folders::new(),
                folder: FolderNature { rights: expected, ..nature_of(folder.path()) },
            };
            let found = survey(folder.path(), expect).unwrap();
            assert!(found.differing.is_empty() && found.untracked.is_empty(), "{rights:o}");
            assert_eq!(folders.each_ref().map(|path| rights_of(path)), [expected; 3], "{rights:o}");
        }
    }

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
            let expected = Expected {
                entries: &entries,
                written,
                left: &Left::new(),
                folders: &Folders::new(),
                folder: nature_of(folder.path()),
            };
            let found = survey(folder.path(), expected).unwrap();
            assert!(found.untracked.is_empty() && found.foreign.is_empty());
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
        let entries = [entry(b"dir/a"), entry(b"dir/gone")];
        let expected = Expected {
            entries: &entries,
            written: Time(0, 0),
            left: &left,
            folders: &Folders::new(),
            folder: nature_of(folder.path()),
        };
        let found = survey(folder.path(), expected).unwrap();
        assert_eq!(found.differing, [0, 1]);
        assert_eq!(found.foreign, [b"dir/.git"]);
        let mut untracked: Vec<_> =
            found.untracked.iter().map(|one| (std::str::from_utf8(&one.path).unwrap(), one.is_known)).collect();
        untracked.sort_unstable();
        let expected = [("link", false), ("out", true), ("x/empty", false), ("x/new", false), ("x/y/z.o", true)];
        assert_eq!(untracked, expected);
    }
    /// The one way to see that a folder is not read is to make what is known of it wrong.
    #[test]
    fn a_folder_is_read_unless_its_times_prove_that_nothing_came_or_went() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("dir");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("a"), "").unwrap();
        std::fs::write(inside.join("untracked"), "").unwrap();
        let top = openat(CWD, folder.path(), FOLDER, Mode::empty()).unwrap();
        let entries = [IndexEntry {
            path: b"dir/a"[..].into(),
            mode: mode::FILE,
            id: ObjectId::empty_blob(gix::hash::Kind::Sha1),
            stat: stat_of(&top, b"dir/a").unwrap(),
        }];
        let known = stat_of(&top, b"dir").unwrap();
        let is_read = |known: Stat, written: Time| {
            let folders = Folders::from([(Arc::from(&b"dir/"[..]), known)]);
            let found = survey(
                folder.path(),
                Expected {
                    entries: &entries,
                    written,
                    left: &Left::new(),
                    folders: &folders,
                    folder: nature_of(folder.path()),
                },
            );
            !found.unwrap().untracked.is_empty()
        };
        rustix::fs::utimensat(&top, "dir", &LONG_AGO, AtFlags::empty()).unwrap();
        let later = stat_of(&top, b"dir").unwrap();
        while stat_of(&top, b".").unwrap().changed <= later.changed {
            std::fs::write(folder.path().join("new"), "").unwrap();
            std::fs::remove_file(folder.path().join("new")).unwrap();
        }
        let written = stat_of(&top, b".").unwrap().changed;
        assert!(!is_read(later, written), "nothing came or went since");
        assert!(is_read(known, written), "other times");
        assert!(is_read(later, later.changed), "no older than the index");
        assert!(shows_changes(folder.path(), written));
        assert!(!shows_changes(folder.path(), Time(written.0 + 1, 0)), "it does not show what happened in it");
    }

    const LONG_AGO: rustix::fs::Timestamps = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
    };
}
