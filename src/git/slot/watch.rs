//! What the kernel tells of a slot's working tree while a run has it, so that a switch looks at what somebody had in
//! hand and at nothing else. Nothing is believed to be unchanged but what nobody opened, and what nothing came to, went
//! from or was renamed in, since it was last looked at (inotify(7)).
//!
//! Each tracked file is watched by itself, for what is done to it under another name; each folder with tracked
//! files, for names and rights. A write needs an opening, which is told at once, also where the writing itself
//! is not, as through a mapping (`mmap`); what is open still is looked at each time. What is mounted in the tree hides what is watched, and then, as wherever something cannot
//! be watched, everything is looked at. So it is where file systems may change from elsewhere, by a network.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat, stat};
use rustix::io::Errno;

use super::paths::{below, folder_of, folders_to};
use super::survey::{FOLDER, Untracked};
use crate::git::index::IndexEntry;

/// Those of statfs(2) on which nothing changes without the kernel's knowing whose hand it was: ext2 to ext4, xfs, btrfs, tmpfs.
const FILE_SYSTEMS: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Whoever writes a file has opened it, and not closed it, if only in memory. That times are set is told as what usually sets them.
const OF_FILES: WatchFlags = WatchFlags::OPEN
    .union(WatchFlags::ACCESS)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DONT_FOLLOW);

/// What comes, goes and gets other rights.
const OF_FOLDERS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Files and folders cannot be watched, or not all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unwatchable {
    /// Somebody forbade it, which the next look puts right: another can begin.
    ForNow,
    /// No more in this run.
    AtAll,
}

/// Where a switch has to look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Everything,
    /// Paths with a slash at the end, empty for the top. Folders in them are not meant.
    Folders(BTreeSet<Vec<u8>>),
}

/// Of one working tree.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    top: Top,
    /// By a watch's number, the folder that is watched or that the file is in: its path with a slash at the end.
    places: HashMap<i32, Arc<[u8]>, foldhash::fast::RandomState>,
    folders: BTreeMap<Arc<[u8]>, i32>,
    share: Share,
    /// How often a file's opening was told and no closing yet, by its watch's number: who has it open still may write it through a
    /// mapping, of which nothing is told.
    open: HashMap<i32, u32, foldhash::fast::RandomState>,
    /// Paths of files that the last switch wrote.
    came: Vec<Box<[u8]>>,
    /// A switch began that has not ended as lexpr ends it.
    is_in_doubt: bool,
    /// What else was found at the last look.
    pub(super) untracked: Vec<Untracked>,
}

impl Watch {
    /// Watches nothing yet; the first look is at everything.
    ///
    /// # Errors
    /// Where that cannot be, or not be relied on.
    pub(super) fn of(work_tree: &Path) -> Result<Self, Unwatchable> {
        Ok(Self {
            inotify: new_inotify()?,
            top: Top::of(work_tree)?,
            places: HashMap::default(),
            folders: BTreeMap::new(),
            open: HashMap::default(),
            share: Share(0),
            came: Vec::new(),
            is_in_doubt: true,
            untracked: Vec::new(),
        })
    }

    /// The folders in which somebody had something in hand since this was last asked; those of `entries`, which are all that
    /// is tracked, in order. Whatever is done from now on is told the next time, wherever there are entries now.
    ///
    /// # Errors
    /// Where not all can be watched: the switch has to look at everything, and this must not be asked again.
    pub(super) fn touched(&mut self, entries: &[IndexEntry]) -> Result<Touched, Unwatchable> {
        self.top.check()?;
        let mut told = self.told()?;
        let came = std::mem::take(&mut self.came);
        let is_in_doubt = std::mem::replace(&mut self.is_in_doubt, true);
        // A top that was replaced may be taken for the one that was watched.
        if told.is_all || is_in_doubt || !self.folders.contains_key(&b""[..]) {
            self.begin_anew(entries)?;
            return Ok(Touched::Everything);
        }
        // Should something in it be tracked again, nobody has looked at it since.
        for folder in told.folders.iter().filter(|folder| below(entries, folder).is_empty()) {
            self.folders.remove(&**folder);
        }
        let mut outer: Option<&[u8]> = None;
        for folder in &told.trees {
            let inside = &entries[below(entries, folder)];
            if inside.is_empty() || outer.is_some_and(|outer| folder.starts_with(outer)) {
                continue;
            }
            outer = Some(folder);
            self.watch_all(inside.iter(), &mut told.folders)?;
            told.folders.extend(inside.iter().flat_map(|entry| folders_to(&entry.path)).map(<[u8]>::to_vec));
        }
        let came = came.iter().filter_map(|path| entries.binary_search_by(|entry| entry.path.cmp(path)).ok());
        self.watch_all(came.map(|at| &entries[at]), &mut told.folders)?;
        Ok(Touched::Folders(told.folders))
    }

    /// Watches what is tracked now and nothing else.
    fn begin_anew(&mut self, entries: &[IndexEntry]) -> Result<(), Unwatchable> {
        self.inotify = new_inotify()?;
        self.places.clear();
        self.folders.clear();
        self.open.clear();
        self.share.grow(entries.len(), *MOST_WATCHES)?;
        self.watch_folder(b"")?;
        self.watch_all(entries.iter(), &mut BTreeSet::new())
    }

    /// Watches files and the folders on the way to them, whatever was watched of them before. Folders that were not, or are others
    /// than they were, are touched.
    fn watch_all<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a IndexEntry>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) -> Result<(), Unwatchable> {
        let mut led_to = BTreeMap::new();
        for entry in entries {
            if self.lead_to(&entry.path, &mut led_to, touched)? {
                self.watch_file(entry)?;
            }
        }
        Ok(())
    }

    /// Watches the folders on the way to a path but those that are in `led_to`. False where one of them is none.
    fn lead_to<'a>(
        &mut self,
        path: &'a [u8],
        led_to: &mut BTreeMap<&'a [u8], bool>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) -> Result<bool, Unwatchable> {
        for folder in folders_to(path) {
            if !led_to.contains_key(folder) {
                let before = self.folders.get(folder).copied();
                let now = self.watch_folder(folder)?;
                if now != before {
                    touched.insert(folder.to_vec());
                }
                led_to.insert(folder, now.is_some());
            }
            if led_to.get(folder) == Some(&false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A switch has ended: these are the files that it wrote, and this is what it found besides.
    pub(super) fn settle(&mut self, came: impl Iterator<Item = Box<[u8]>>, untracked: Vec<Untracked>) {
        self.came = came.collect();
        self.untracked = untracked;
        self.is_in_doubt = false;
    }

    /// The next look is at everything.
    pub(super) fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    /// Reads what there is to read.
    fn told(&mut self) -> Result<Told, Unwatchable> {
        /// Of most names some hundreds.
        const BUFFER_LEN: usize = 16 * 1024;
        const CAME_OR_WENT: ReadFlags =
            ReadFlags::CREATE.union(ReadFlags::DELETE).union(ReadFlags::MOVED_FROM).union(ReadFlags::MOVED_TO);
        const CLOSED: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::CLOSE_NOWRITE);
        let mut told = Told::default();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_LEN];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(_) => return Err(Unwatchable::AtAll),
            };
            let what = event.events();
            let Some(place) = self.places.get(&event.wd()) else {
                // Too much to tell (`IN_Q_OVERFLOW`), too.
                told.is_all = true;
                continue;
            };
            if what.contains(ReadFlags::UNMOUNT) {
                return Err(Unwatchable::AtAll);
            }
            if place.is_empty() && event.file_name().is_some_and(|name| name.to_bytes() == b".git") {
                continue;
            }
            if !told.folders.contains(&**place) {
                told.folders.insert(place.to_vec());
            }
            let is_of_a_folder = what.contains(ReadFlags::ISDIR) && what.intersects(CAME_OR_WENT);
            if let Some(name) = event.file_name().filter(|_| is_of_a_folder) {
                told.trees.insert([place, name.to_bytes(), b"/"].concat());
            }
            if what.contains(ReadFlags::OPEN) {
                *self.open.entry(event.wd()).or_default() += 1;
            }
            if what.intersects(CLOSED)
                && let Entry::Occupied(mut open) = self.open.entry(event.wd())
            {
                *open.get_mut() -= 1;
                if *open.get() == 0 {
                    open.remove();
                }
            }
            if what.contains(ReadFlags::IGNORED) {
                self.open.remove(&event.wd());
                let place = Arc::clone(place);
                self.places.remove(&event.wd());
                if self.folders.get(&place) == Some(&event.wd()) {
                    self.folders.remove(&place);
                }
            }
        }
        told.folders.extend(self.open.keys().filter_map(|number| self.places.get(number)).map(|place| place.to_vec()));
        Ok(told)
    }

    fn watch_folder(&mut self, folder: &[u8]) -> Result<Option<i32>, Unwatchable> {
        let place = self.place(folder);
        // With the slash a link would be followed.
        let number = self.watch(folder.strip_suffix(b"/").unwrap_or(folder), OF_FOLDERS, &place)?;
        match number {
            Some(number) => drop(self.folders.insert(place, number)),
            None => drop(self.folders.remove(&place)),
        }
        Ok(number)
    }

    fn watch_file(&mut self, entry: &IndexEntry) -> Result<(), Unwatchable> {
        self.watch(&entry.path, OF_FILES, &self.place(folder_of(&entry.path))).map(drop)
    }

    fn place(&self, folder: &[u8]) -> Arc<[u8]> {
        self.folders.get_key_value(folder).map_or_else(|| Arc::from(folder), |(place, _)| Arc::clone(place))
    }

    /// `None` where nothing of the kind is there: what comes is told by the folder above.
    fn watch(&mut self, path: &[u8], flags: WatchFlags, place: &Arc<[u8]>) -> Result<Option<i32>, Unwatchable> {
        match inotify::add_watch(&self.inotify, self.top.path.join(OsStr::from_bytes(path)), flags) {
            Ok(number) => {
                self.places.insert(number, Arc::clone(place));
                self.share.grow(self.places.len(), *MOST_WATCHES)?;
                Ok(Some(number))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(Errno::ACCESS) => Err(Unwatchable::ForNow),
            Err(_) => Err(Unwatchable::AtAll),
        }
    }
}

fn new_inotify() -> Result<OwnedFd, Errno> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
}

impl From<Errno> for Unwatchable {
    fn from(_: Errno) -> Self {
        Self::AtAll
    }
}

/// What the kernel told.
#[derive(Debug, Default)]
struct Told {
    is_all: bool,
    folders: BTreeSet<Vec<u8>>,
    /// Folders that came or went: what is meant is all in them. With a slash at the end.
    trees: BTreeSet<Vec<u8>>,
}

/// The folder that is watched, and what says whether it still is what its path leads to.
#[derive(Debug)]
struct Top {
    path: PathBuf,
    /// Where that really is.
    place: PathBuf,
    device: u64,
    inode: u64,
    /// The mounts that lexpr sees; told of each that comes or goes (proc_pid_mountinfo(5)).
    mounts: OwnedFd,
}

impl Top {
    fn of(path: &Path) -> Result<Self, Unwatchable> {
        let folder = openat(CWD, path, FOLDER, Mode::empty())?;
        let kind = fstatfs(&folder)?.f_type;
        if !FILE_SYSTEMS.contains(&u64::try_from(kind).map_err(|_| Unwatchable::AtAll)?) {
            return Err(Unwatchable::AtAll);
        }
        let mounts = openat(CWD, MOUNTS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let found = fstat(&folder)?;
        let place = path.canonicalize().map_err(|_| Unwatchable::AtAll)?;
        let top = Self { path: path.to_owned(), place, device: found.st_dev, inode: found.st_ino, mounts };
        if top.has_mounts()? { Err(Unwatchable::AtAll) } else { Ok(top) }
    }

    fn check(&self) -> Result<(), Unwatchable> {
        let found = stat(&self.path)?;
        let mut changed = [PollFd::new(&self.mounts, PollFlags::PRI)];
        let mounts_changed = poll(&mut changed, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0;
        if (found.st_dev, found.st_ino) != (self.device, self.inode) || mounts_changed && self.has_mounts()? {
            return Err(Unwatchable::AtAll);
        }
        Ok(())
    }

    /// Whether something is mounted in the folder.
    fn has_mounts(&self) -> Result<bool, Unwatchable> {
        let mounts = std::fs::read(MOUNTS).map_err(|_| Unwatchable::AtAll)?;
        Ok(is_mounted_in(self.place.as_os_str().as_bytes(), &mounts))
    }
}

const MOUNTS: &str = "/proc/self/mountinfo";

/// Whether one of the mounts is at the path or in it.
fn is_mounted_in(path: &[u8], mounts: &[u8]) -> bool {
    // There they stand with some bytes in octal.
    let mut name = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => name.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            byte => name.push(*byte),
        }
    }
    let points = mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.filter_map(|point| point.strip_prefix(&*name)).any(|rest| rest.is_empty() || rest[0] == b'/')
}

/// How many watches one slot has of those that lexpr takes; given back when it is dropped.
#[derive(Debug)]
struct Share(usize);

/// Of all slots of this process.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Share {
    /// # Errors
    /// Where all slots had more than `most` then.
    fn grow(&mut self, to: usize, most: usize) -> Result<(), Unwatchable> {
        let more = to.saturating_sub(self.0);
        if more > 0 && TAKEN.fetch_add(more, Ordering::Relaxed) + more > most {
            TAKEN.fetch_sub(more, Ordering::Relaxed);
            return Err(Unwatchable::AtAll);
        }
        self.0 += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Each keeps its file's inode in the kernel's memory, some 1.2 kB; and editors of the same user need some.
static MOST_WATCHES: LazyLock<usize> = LazyLock::new(|| {
    const ENOUGH: usize = 1 << 16;
    let allowed = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap_or_default();
    ENOUGH.min(allowed.trim().parse().unwrap_or(0) / 4)
});

#[cfg(test)]
mod tests {
    use gix::ObjectId;

    use super::*;
    use crate::git::index::Stat;
    use crate::git::objects::mode;

    #[test]
    fn what_is_gone_is_watched_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let entries = [IndexEntry { path: b"a/b/c"[..].into(), mode: mode::FILE, id, stat: Stat::default() }];
        let mut watch = Watch::of(folder.path()).unwrap();
        let mut count = Vec::new();
        for _ in 0..3 {
            std::fs::create_dir_all(&inside).unwrap();
            std::fs::write(inside.join("c"), "").unwrap();
            watch.touched(&entries).unwrap();
            watch.settle([Box::from(&b"a/b/c"[..])].into_iter(), Vec::new());
            watch.touched(&entries).unwrap();
            count.push((watch.places.len(), watch.folders.len()));
            std::fs::remove_dir_all(folder.path().join("a")).unwrap();
        }
        watch.touched(&entries).unwrap();
        count.push((watch.places.len(), watch.folders.len()));
        assert_eq!(count, [(4, 3), (4, 3), (4, 3), (1, 1)]);
    }

    /// As one that was replaced by another of its number: the kernel says of the old one that it is watched no more.
    #[test]
    fn where_the_top_is_watched_no_more_everything_is_looked_at_and_it_is_watched_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::of(folder.path()).unwrap();
        let nothing_new = Touched::Folders(BTreeSet::new());
        let look = |watch: &mut Watch| {
            let touched = watch.touched(&[]).unwrap();
            watch.settle(std::iter::empty(), Vec::new());
            touched
        };
        assert_eq!((look(&mut watch), look(&mut watch)), (Touched::Everything, nothing_new));
        inotify::remove_watch(&watch.inotify, watch.folders[&b""[..]]).unwrap();
        assert_eq!(look(&mut watch), Touched::Everything);
        std::fs::write(folder.path().join("new"), "").unwrap();
        assert_eq!(look(&mut watch), Touched::Folders(BTreeSet::from([Vec::new()])));
    }

    #[test]
    fn what_is_mounted_in_a_folder_is_told_from_what_is_mounted_beside_it() {
        let mounts = b"36 35 98:0 /mnt1 /a\\040b/c rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 98:0 / /a\\040b/cc/d rw - tmpfs none rw\n22 1 8:1 / / rw - ext4 /dev/vda rw\n";
        for (path, expected) in
            [("/a b/c", true), ("/a b", true), ("/a b/cc/d/e", false), ("/a", false), ("/a b/d", false)]
        {
            assert_eq!(is_mounted_in(path.as_bytes(), mounts), expected, "{path}");
        }
    }

    #[test]
    fn what_a_slot_has_of_the_watches_is_given_back() {
        let most = TAKEN.load(Ordering::Relaxed) + 1_500_000;
        let (mut one, mut other) = (Share(0), Share(0));
        one.grow(1_000_000, most).unwrap();
        other.grow(1_000_000, most).unwrap_err();
        one.grow(1_000_000, 0).unwrap();
        drop(one);
        other.grow(1_000_000, most).unwrap();
    }
}
