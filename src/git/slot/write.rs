//! Makes a working tree follow a difference: what goes is removed, with folders that became empty,
//! and what comes is written as git would write it where nothing converts. Every folder is opened
//! by its own name below the one above it, so that nothing is ever reached through a link.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, flistxattr_query, fstat, mkdirat, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::ForGit;
use super::paths::{is_tracked, split};
use super::survey::FOLDER;
use crate::crash;
use crate::git::index::{IndexEntry, Stat};
use crate::git::objects::{Objects, mode};

/// Larger blobs are git's to write: it does so without having them in memory.
const LARGEST_BLOB: u64 = 64 * 1024 * 1024;

/// As git makes files and folders: the rest is the umask's.
const FILE_MODE: u32 = 0o666;
const EXECUTABLE_MODE: u32 = 0o777;
const FOLDER_MODE: u32 = 0o777;

/// Goes to the folders of a working tree, in any order; cheaply where they come sorted.
struct Folders {
    top: OwnedFd,
    /// From the top down to where it is: the end of each folder's path in `path`, and the folder.
    open: Vec<(usize, OwnedFd)>,
    /// With a slash at its end, unless it is empty.
    path: Vec<u8>,
}

impl Folders {
    fn of(top: &Path) -> Result<Self, Errno> {
        Ok(Self { top: openat(CWD, top, FOLDER, Mode::empty())?, open: Vec::new(), path: Vec::new() })
    }

    /// Goes to `folder`, which is empty for the top and has a slash at its end otherwise.
    fn go_to(&mut self, folder: &[u8], make: bool) -> Result<BorrowedFd<'_>, Errno> {
        while !folder.starts_with(&self.path) {
            self.open.pop();
            self.path.truncate(self.open.last().map_or(0, |(end, _)| *end));
        }
        while self.path.len() < folder.len() {
            let begin = self.path.len();
            let rest = &folder[begin..];
            let name = rest.split(|byte| *byte == b'/').next().unwrap_or(rest);
            let here = self.here();
            let opened = match openat(here, name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    mkdirat(here, name, Mode::from_raw_mode(FOLDER_MODE))?;
                    openat(here, name, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
            self.path.extend_from_slice(name);
            self.path.push(b'/');
            self.open.push((self.path.len(), opened));
        }
        Ok(self.here())
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.top.as_fd(), |(_, folder)| folder.as_fd())
    }
}

/// Removes files and links, those that are there; then folders in which nothing is left, unless
/// `entries`, in order, have something below them. Gives those in which now is a folder that stays, though nothing in it
/// is tracked any more: by their paths with a slash at the end.
pub(super) fn remove<'a>(
    top: &Path,
    paths: impl Iterator<Item = &'a [u8]>,
    entries: &[IndexEntry],
) -> Result<BTreeSet<Vec<u8>>, ForGit> {
    let mut with_strangers = BTreeSet::new();
    let failed = |_| ForGit("something that cannot be removed");
    let mut folders = Folders::of(top).map_err(failed)?;
    let mut emptied = BTreeSet::new();
    for path in paths {
        let (folder, name) = split(path);
        let removed = folders.go_to(folder, false).and_then(|folder| unlinkat(folder, name, AtFlags::empty()));
        removed.or_else(|error| if error == Errno::NOENT { Ok(()) } else { Err(error) }).map_err(failed)?;
        emptied.insert(folder.to_vec());
    }
    // Deepest first: a folder comes behind the one it is in.
    while let Some(folder) = emptied.pop_last() {
        if is_tracked(entries, &folder) {
            continue;
        }
        let (above, name) = split(&folder[..folder.len() - 1]);
        match folders.go_to(above, false).and_then(|above| unlinkat(above, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => drop(emptied.insert(above.to_vec())),
            // What is ignored stays, and its folder with it, and the one that this is in, though nothing in that may be tracked either.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                with_strangers.insert(above.to_vec());
                emptied.insert(above.to_vec());
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(with_strangers)
}

/// An entry that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Coming {
    /// Which of the entries.
    pub(super) at: usize,
    /// A file of the same kind that an earlier switch left, to be written into.
    pub(super) over: Option<Over>,
}

impl Coming {
    /// The path at which the file was that serves for it.
    pub(super) fn served(&self) -> Option<&[u8]> {
        match &self.over {
            Some(Over::Elsewhere(from)) => Some(from),
            Some(Over::Here) | None => None,
        }
    }
}

/// Where a file is that need not be made, as it can be written into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// There already.
    Here,
    /// At this path, at which none is wanted any more, and below or above which nothing comes.
    Elsewhere(Box<[u8]>),
}

/// Writes those of `entries` that `which` names, in order, in the place of whatever file or link is
/// there, and remembers how it left them.
pub(super) fn write(top: &Path, objects: &Objects, entries: &mut [IndexEntry], which: &[Coming]) -> Result<(), ForGit> {
    let failed = |_| ForGit("something that cannot be written");
    let mut folders = Folders::of(top).map_err(failed)?;
    let mut leaving = Folders::of(top).map_err(failed)?;
    for coming in which {
        let entry = &mut entries[coming.at];
        let blob = objects.blob_within(entry.id, LARGEST_BLOB).map_err(|_| ForGit("a blob that cannot be read"))?;
        let blob = blob.ok_or(ForGit("a large blob"))?;
        let (folder, name) = split(&entry.path);
        let folder = folders.go_to(folder, true).map_err(failed)?;
        let is_there = match &coming.over {
            Some(Over::Here) => true,
            // Of what is empty and stays so nobody would see that it is new.
            Some(Over::Elsewhere(from)) => !blob.is_empty() && moved(&mut leaving, from, folder, name).is_ok(),
            None => false,
        };
        if is_there && let Some(stat) = write_over(folder, name, &blob, entry.mode) {
            entry.stat = stat;
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        entry.stat = match entry.mode {
            mode::SYMLINK => link(folder, name, &blob),
            mode => file(folder, name, &blob, mode == mode::EXECUTABLE),
        }?;
    }
    Ok(())
}

/// Gives what is at `from` another place, in which nothing is.
fn moved(leaving: &mut Folders, from: &[u8], to: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let (folder, old_name) = split(from);
    renameat_with(leaving.go_to(folder, false)?, old_name, to, name, RenameFlags::NOREPLACE)
}

/// Writes into the file that is there, which spares the file system making another; `None` where that might
/// be more than a file of this mode: one with a second name, rights of its own, or attributes that a new
/// one would not have. What it holds after a failure is not what was there, and a new one is written.
fn write_over(folder: BorrowedFd<'_>, name: &[u8], content: &[u8], mode: u32) -> Option<Stat> {
    const OWNERS: u32 = 0o600;
    const EXECUTE: u32 = 0o111;
    const SPECIAL: u32 = 0o7000;
    const ALL_OF_THE_OWNERS: u32 = 0o700;
    // A folder in which nothing could be replaced is no longer as it was made; whoever replaces finds out.
    if fstat(folder).ok()?.st_mode & ALL_OF_THE_OWNERS != ALL_OF_THE_OWNERS {
        return None;
    }
    // Without waiting, should it be a pipe all the same.
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).ok()?;
    let found = fstat(&file).ok()?;
    let rights = found.st_mode & (SPECIAL | OWNERS | EXECUTE);
    let is_executable = rights & EXECUTE != 0;
    let is_plain = FileType::from_raw_mode(found.st_mode).is_file()
        && found.st_nlink == 1
        && rights & !EXECUTE == OWNERS
        && is_executable == (mode == mode::EXECUTABLE)
        && matches!(flistxattr_query(&file), Ok(0) | Err(Errno::NOTSUP));
    if !is_plain {
        return None;
    }
    let mut file = File::from(file);
    crash::torn!("slot.file.torn", file, content);
    file.write_all(content).ok()?;
    if u64::try_from(found.st_size) != Ok(content.len() as u64) {
        file.set_len(content.len() as u64).ok()?;
    }
    fstat(&file).map(|found| Stat::of(&found)).ok()
}

fn file(folder: BorrowedFd<'_>, name: &[u8], content: &[u8], is_executable: bool) -> Result<Stat, ForGit> {
    let failed = |_| ForGit("a file that cannot be written");
    let mode = Mode::from_raw_mode(if is_executable { EXECUTABLE_MODE } else { FILE_MODE });
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, name, flags, mode).map_err(failed)?);
    file.write_all(content).map_err(|_| ForGit("a file that cannot be written"))?;
    fstat(&file).map(|found| Stat::of(&found)).map_err(failed)
}

fn link(folder: BorrowedFd<'_>, name: &[u8], goal: &[u8]) -> Result<Stat, ForGit> {
    // A goal that holds a NUL, or is empty or too long, is refused.
    symlinkat(goal, folder, name)
        .and_then(|()| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
        .map(|found| Stat::of(&found))
        .map_err(|_| ForGit("a link that cannot be made"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::fs::{XattrFlags, mkfifoat, setxattr};

    use super::*;

    /// Objects with these blobs, and an entry for a file `f` of each.
    fn blobs(folder: &Path, contents: &[&[u8]]) -> (Objects, Vec<IndexEntry>) {
        let git = |args: &[&str]| {
            let mut git = crate::git::command::bare_command(crate::git::command::Config::RepositoryOnly);
            git.current_dir(folder).args(args);
            assert!(crate::git::command::output(git, None).unwrap().status.success());
        };
        git(&["init", "-q", "--bare", "."]);
        let mut objects = Objects::open(folder).unwrap();
        let entry = |content: &&[u8]| {
            let id = objects.write_blob(content).unwrap();
            IndexEntry { path: b"f"[..].into(), mode: mode::FILE, id, stat: Stat::default() }
        };
        let entries = contents.iter().map(entry).collect();
        objects.flush().unwrap();
        (objects, entries)
    }

    #[test]
    fn a_file_is_written_over_and_one_that_is_more_than_a_file_is_replaced() {
        let (folder, repository) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let top = folder.path();
        let (file, other) = (top.join("f"), top.join("other"));
        let (objects, entries) = blobs(repository.path(), &[b"short\n", b"a longer one\n", b""]);
        let over_its_like = |entry: &IndexEntry| {
            write(top, &objects, &mut [entry.clone()], &[Coming { at: 0, over: Some(Over::Here) }]).unwrap();
        };
        let inode = || fs::symlink_metadata(&file).unwrap().ino();
        over_its_like(&entries[0]);
        let first = inode();
        for (at, content) in [(1, "a longer one\n"), (2, ""), (0, "short\n"), (0, "short\n")] {
            over_its_like(&entries[at]);
            assert_eq!((fs::read_to_string(&file).unwrap(), inode()), (content.to_owned(), first));
        }
        let rights = |mode: u32| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        type Odd<'a> = (&'a str, Box<dyn Fn() + 'a>);
        let odd: Vec<Odd<'_>> = vec![
            ("a second name", Box::new(|| fs::hard_link(&file, &other).unwrap())),
            ("executable", Box::new(|| rights(0o755))),
            ("of special rights", Box::new(|| rights(0o4644))),
            ("not to be read", Box::new(|| rights(0o200))),
            ("an attribute", Box::new(|| setxattr(&file, "user.lexpr", b"x", XattrFlags::empty()).unwrap())),
            (
                "a link",
                Box::new(|| {
                    fs::rename(&file, &other).unwrap();
                    std::os::unix::fs::symlink(&other, &file).unwrap();
                }),
            ),
            (
                "a pipe",
                Box::new(|| {
                    fs::remove_file(&file).unwrap();
                    mkfifoat(CWD, &file, Mode::from_raw_mode(FILE_MODE)).unwrap();
                }),
            ),
        ];
        let nature = || {
            let found = fs::symlink_metadata(&file).unwrap();
            (found.mode(), found.nlink(), flistxattr_query(File::open(&file).unwrap()))
        };
        let of_a_new_one = nature();
        for (what, make) in odd {
            over_its_like(&entries[0]);
            make();
            over_its_like(&entries[1]);
            assert_eq!(nature(), of_a_new_one, "{what}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "a longer one\n", "{what}");
            if other.exists() {
                assert_eq!(fs::read_to_string(&other).unwrap(), "short\n", "{what}");
                fs::remove_file(&other).unwrap();
            }
        }
    }

    #[test]
    fn a_file_that_serves_elsewhere_is_seen_to_be_new_there() {
        let (folder, repository) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let top = folder.path();
        let (objects, mut entries) = blobs(repository.path(), &[b"content\n", b""]);
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        for at in 0..entries.len() {
            // As empty as what comes in its place, or as long.
            fs::write(top.join("old"), if at == 0 { "CONTENT\n" } else { "" }).unwrap();
            File::options().write(true).open(top.join("old")).unwrap().set_modified(long_ago).unwrap();
            let over = Some(Over::Elsewhere(b"old"[..].into()));
            write(top, &objects, &mut entries, &[Coming { at, over }]).unwrap();
            assert!(fs::metadata(top.join("f")).unwrap().modified().unwrap() > long_ago, "{at}");
            assert_eq!(fs::read(top.join("f")).unwrap().len(), [8, 0][at]);
            fs::remove_file(top.join("f")).unwrap();
        }
    }

    #[test]
    fn no_folder_is_reached_through_a_link() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), inside.path().join("a")).unwrap();
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        let mut folders = Folders::of(inside.path()).unwrap();
        assert!(folders.go_to(b"a/", true).is_err() && folders.go_to(b"a/b/", true).is_err());
        remove(inside.path(), [&b"a/precious"[..]].into_iter(), &[]).unwrap_err();
        assert!(outside.path().join("precious").exists());
    }
}
