//! Index files: read and written in process, because a slot is switched for every gate and a process
//! each time would cost more than the switch. Versions 2 and 3 are read (what git writes under
//! default configuration), version 2 is written; extensions, which are git's own shortcuts, are not
//! kept. Compares nothing with the disk and knows no contents.
//!
//! The format is git's `Documentation/gitformat-index.txt`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gix::ObjectId;
use gix::hash::Kind;

use super::objects::mode;

/// The index file is damaged, or of a kind that lexpr's own configuration never makes git write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an index file of version 2 or 3")]
pub struct NotAnIndex;

/// One tracked path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked<'a> {
    /// Relative to the top of the working tree.
    pub path: &'a Path,
    pub mode: u32,
    /// The bytes of an object's id.
    pub id: &'a [u8],
}

impl Tracked<'_> {
    /// A submodule's commit: a folder that lexpr leaves empty.
    pub fn is_submodule(&self) -> bool {
        self.mode & mode::TYPE_BITS == mode::SUBMODULE
    }
}

/// Seconds and nanoseconds, as far as an index has room for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u32, pub u32);

impl From<Time> for SystemTime {
    fn from(Time(seconds, nanoseconds): Time) -> Self {
        Self::UNIX_EPOCH + Duration::new(seconds.into(), nanoseconds)
    }
}

/// What is written down of a file, so that its being the same later shows it was not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub changed: Time,
    pub modified: Time,
    /// dev, ino.
    place: [u32; 2],
    /// uid, gid, size.
    rest: [u32; 3],
}

impl Stat {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "an index has 32 bits for each; the types are others on other systems"
    )]
    pub fn of(found: &rustix::fs::Stat) -> Self {
        Self {
            changed: Time(found.st_ctime as u32, found.st_ctime_nsec as u32),
            modified: Time(found.st_mtime as u32, found.st_mtime_nsec as u32),
            place: [found.st_dev as u32, found.st_ino as u32],
            rest: [found.st_uid as u32, found.st_gid as u32, found.st_size as u32],
        }
    }

    /// In the order of the file.
    fn words(&self) -> [u32; 6] {
        [self.changed.0, self.changed.1, self.modified.0, self.modified.1, self.place[0], self.place[1]]
    }
}

/// One tracked path with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub path: Box<[u8]>,
    /// One of those that git writes into trees.
    pub mode: u32,
    pub id: ObjectId,
    pub stat: Stat,
}

const SIGNATURE: &[u8] = b"DIRC";
const HEADER: usize = 12;
/// ctime, mtime, dev, ino (24 bytes) precede the mode; uid, gid and size (12) follow it.
const MODE_AT: usize = 24;
const STAT: usize = 40;
/// Set in the flags of an entry that has two more bytes of them (version 3).
const EXTENDED: u16 = 0x4000;
/// What the flags say of a path's length at most: longer ones end at their NUL.
const LONGEST_TOLD: u16 = 0x0fff;

/// One entry as it lies in the file.
struct Raw<'a> {
    tracked: Tracked<'a>,
    flags: u16,
    /// From the entry's beginning to its id.
    stat: &'a [u8],
}

/// Goes over the entries of an index.
struct Entries<'a> {
    index: &'a [u8],
    id_len: usize,
    at: usize,
    left: u32,
}

fn word(bytes: &[u8], at: usize) -> Result<u32, NotAnIndex> {
    let bytes = bytes.get(at..at + 4).ok_or(NotAnIndex)?;
    Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| NotAnIndex)?))
}

impl<'a> Entries<'a> {
    fn of(index: &'a [u8], id_len: usize) -> Result<Self, NotAnIndex> {
        if !index.starts_with(SIGNATURE) || !matches!(word(index, 4)?, 2 | 3) {
            return Err(NotAnIndex);
        }
        Ok(Self { index, id_len, at: HEADER, left: word(index, 8)? })
    }

    fn next(&mut self) -> Result<Option<Raw<'a>>, NotAnIndex> {
        if self.left == 0 {
            return Ok(None);
        }
        let flags_at = self.at + STAT + self.id_len;
        let flags = u16::try_from(word(self.index, flags_at)? >> 16).map_err(|_| NotAnIndex)?;
        let path_at = flags_at + if flags & EXTENDED == 0 { 2 } else { 4 };
        let rest = self.index.get(path_at..).ok_or(NotAnIndex)?;
        let len = rest.iter().position(|byte| *byte == 0).ok_or(NotAnIndex)?;
        let raw = Raw {
            tracked: Tracked {
                path: Path::new(OsStr::from_bytes(&rest[..len])),
                mode: word(self.index, self.at + MODE_AT)?,
                id: &self.index[self.at + STAT..flags_at],
            },
            flags,
            stat: &self.index[self.at..self.at + STAT],
        };
        // One to eight NULs end an entry at a multiple of eight bytes from its start.
        self.at += (path_at - self.at + len) / 8 * 8 + 8;
        self.left -= 1;
        Ok(Some(raw))
    }
}

/// All entries of an index, in its order: by the bytes of their paths. Reads what is there, whatever
/// its checksum.
///
/// `id_len` is the length of an object id: 20 bytes of SHA-1 or 32 of SHA-256.
///
/// # Errors
/// Where it cannot be read.
pub fn tracked(index: &[u8], id_len: usize) -> Result<Vec<Tracked<'_>>, NotAnIndex> {
    let mut entries = Entries::of(index, id_len)?;
    let mut all = Vec::new();
    while let Some(raw) = entries.next()? {
        all.push(raw.tracked);
    }
    Ok(all)
}

/// Whether an index has the checksum that its end says.
pub fn is_whole(index: &[u8], hash: Kind) -> bool {
    let parts = index.len().checked_sub(hash.len_in_bytes()).map(|end| index.split_at(end));
    parts.is_some_and(|(body, checksum)| digest(body, hash).is_ok_and(|digest| digest.as_slice() == checksum))
}

/// All entries of an index and the checksum at its end.
///
/// # Errors
/// Where it is damaged, or holds anything but files, executables and symbolic links as a checkout
/// leaves them: submodules, unmerged or hidden entries, required extensions.
pub fn read(index: &[u8], hash: Kind) -> Result<(Vec<IndexEntry>, ObjectId), NotAnIndex> {
    let end = index.len().checked_sub(hash.len_in_bytes()).ok_or(NotAnIndex)?;
    let (body, checksum) = index.split_at(end);
    if digest(body, hash)?.as_slice() != checksum {
        return Err(NotAnIndex);
    }
    let mut entries = Entries::of(body, hash.len_in_bytes())?;
    let mut all: Vec<IndexEntry> = Vec::new();
    while let Some(raw) = entries.next()? {
        let path = raw.tracked.path.as_os_str().as_bytes();
        let in_order = all.last().is_none_or(|last| *last.path < *path);
        let plain = matches!(raw.tracked.mode, mode::FILE | mode::EXECUTABLE | mode::SYMLINK);
        // Neither a stage of a conflict, nor `assume-valid`, nor anything that takes more bits.
        if !in_order || !plain || raw.flags & !LONGEST_TOLD != 0 {
            return Err(NotAnIndex);
        }
        let word = |at: usize| word(raw.stat, at * 4);
        let stat = Stat {
            changed: Time(word(0)?, word(1)?),
            modified: Time(word(2)?, word(3)?),
            place: [word(4)?, word(5)?],
            rest: [word(7)?, word(8)?, word(9)?],
        };
        let id = ObjectId::from_bytes_or_panic(raw.tracked.id);
        all.push(IndexEntry { path: path.into(), mode: raw.tracked.mode, id, stat });
    }
    // Those that git may ignore have a capital letter first.
    let mut at = entries.at;
    while at < body.len() {
        if !body[at].is_ascii_uppercase() {
            return Err(NotAnIndex);
        }
        at = at.saturating_add(8).saturating_add(usize::try_from(word(body, at + 4)?).map_err(|_| NotAnIndex)?);
    }
    if at != body.len() {
        return Err(NotAnIndex);
    }
    Ok((all, ObjectId::from_bytes_or_panic(checksum)))
}

/// The bytes of an index with these entries, which are in order, and its checksum.
///
/// # Errors
/// Where there are too many for one.
pub fn written(entries: &[IndexEntry], hash: Kind) -> Result<(Vec<u8>, ObjectId), NotAnIndex> {
    let mut index = Vec::with_capacity(entries.len() * 128);
    index.extend_from_slice(SIGNATURE);
    index.extend_from_slice(&2_u32.to_be_bytes());
    index.extend_from_slice(&u32::try_from(entries.len()).map_err(|_| NotAnIndex)?.to_be_bytes());
    for IndexEntry { path, mode, id, stat } in entries {
        let begun = index.len();
        for word in stat.words().iter().chain([mode]).chain(&stat.rest) {
            index.extend_from_slice(&word.to_be_bytes());
        }
        index.extend_from_slice(id.as_slice());
        let told = u16::try_from(path.len()).unwrap_or(LONGEST_TOLD).min(LONGEST_TOLD);
        index.extend_from_slice(&told.to_be_bytes());
        index.extend_from_slice(path);
        let len = index.len() - begun;
        index.resize(begun + len / 8 * 8 + 8, 0);
    }
    let checksum = digest(&index, hash)?;
    index.extend_from_slice(checksum.as_slice());
    Ok((index, checksum))
}

fn digest(bytes: &[u8], hash: Kind) -> Result<ObjectId, NotAnIndex> {
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(bytes);
    hasher.try_finalize().map_err(|_| NotAnIndex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], mode: u32, size: u32) -> IndexEntry {
        let stat = Stat { changed: Time(1, 2), modified: Time(3, 4), place: [5, 6], rest: [7, 8, size] };
        IndexEntry { path: path.into(), mode, id: ObjectId::empty_blob(Kind::Sha1), stat }
    }

    #[test]
    fn what_is_written_is_read_again_and_damage_is_seen() {
        let long = vec![b'x'; 5000];
        let entries =
            [entry(b"a", mode::FILE, 1), entry(b"b \xff\n", mode::SYMLINK, 2), entry(&long, mode::EXECUTABLE, 3)];
        let (bytes, checksum) = written(&entries, Kind::Sha1).unwrap();
        assert_eq!(read(&bytes, Kind::Sha1).unwrap(), (entries.to_vec(), checksum));
        assert_eq!(tracked(&bytes, 20).unwrap().len(), 3);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped, Kind::Sha1).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], Kind::Sha1).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_a_checkout_does_not_leave_is_refused() {
        let submodule = [entry(b"a", mode::SUBMODULE, 1)];
        let disorder = [entry(b"b", mode::FILE, 1), entry(b"a", mode::FILE, 1)];
        for odd in [&submodule[..], &disorder] {
            assert!(read(&written(odd, Kind::Sha1).unwrap().0, Kind::Sha1).is_err());
        }
        let with_extension = |name: &[u8]| {
            let (mut bytes, _) = written(&[entry(b"a", mode::FILE, 1)], Kind::Sha1).unwrap();
            bytes.truncate(bytes.len() - 20);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0, 0, 0, 1, b'x']);
            let checksum = digest(&bytes, Kind::Sha1).unwrap();
            bytes.extend_from_slice(checksum.as_slice());
            read(&bytes, Kind::Sha1)
        };
        assert!(with_extension(b"TREE").is_ok());
        assert!(with_extension(b"link").is_err());
    }
}
