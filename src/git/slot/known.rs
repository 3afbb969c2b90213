//! What is known of a slot's working tree from one switch to the next: in memory while a run has the
//! slot, and from run to run by the index and a small file beside it that holds for this very index
//! alone. What a killed lexpr left differs from what is written there, file by file, and shows.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use gix::ObjectId;
use gix::hash::Kind;
use rustix::fs::fstat;

use super::ForGit;
use super::folder::{open_own, write_over};
use super::survey::{Folders, Ignored, Left};
use crate::crash;
use crate::git::index::{self, IndexEntry, Stat, Time};

/// How the last switch left the working tree.
#[derive(Debug)]
pub(super) struct Known {
    /// In the order of their paths.
    pub(super) entries: Vec<IndexEntry>,
    /// Of the index.
    pub(super) checksum: ObjectId,
    /// Of which they are; `None` where that was not written down.
    pub(super) tree: Option<ObjectId>,
    /// When the index was written: what changed later has a later time.
    pub(super) written: Time,
    /// What is there besides; `None` where that has to be found out.
    pub(super) left: Option<Left>,
    /// In which nothing else is. Not written down.
    pub(super) folders: Folders,
}

/// An index as it was written.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: ObjectId,
    pub(super) at: Time,
}

impl Known {
    /// From the files of a slot.
    ///
    /// # Errors
    /// Where there is no index, or one that only git understands.
    pub(super) fn read(index: &Path, notes: &Path, hash: Kind) -> Result<Self, ForGit> {
        let missing = |_| ForGit("no index");
        let mut file = open_own(index, File::options().read(true)).map_err(missing)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(missing)?;
        let found = fstat(&file).map_err(|_| ForGit("no index"))?;
        let (entries, checksum) =
            index::read(&bytes, hash).map_err(|_| ForGit("an index that only git understands"))?;
        let noted = read_own(notes).ok().and_then(|notes| read_notes(&notes, checksum));
        let (tree, left) = noted.unzip();
        Ok(Self { entries, checksum, tree, written: Stat::of(&found).modified, left, folders: Folders::new() })
    }
}

fn read_own(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_own(path, File::options().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the index there, if there is one, was written to its end: git would believe one that was not.
pub(super) fn is_whole(index: &Path, hash: Kind) -> bool {
    match read_own(index) {
        Ok(bytes) => index::is_whole(&bytes, hash),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Writes an index over the one at `path`; its checksum tells whether it was written to its end.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn write_index(path: &Path, entries: &[IndexEntry], hash: Kind) -> Result<Written, ForGit> {
    let (bytes, checksum) = index::written(entries, hash).map_err(|_| ForGit("too many files"))?;
    let write = || Ok(Stat::of(&fstat(&write_over(path, &bytes)?)?).modified);
    let at = write().map_err(|_: std::io::Error| ForGit("an index that cannot be written"))?;
    crash::point!("slot.switch.indexed");
    Ok(Written { bytes, checksum, at })
}

/// The first word of what is written down beside an index. Another format has another.
const NOTES: &str = "lexpr-slot-2";

/// What a machine is called from one start to the next (random(4)); `None` where it does not say.
fn boot() -> Option<&'static str> {
    static BOOT: LazyLock<Option<String>> =
        LazyLock::new(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()));
    BOOT.as_deref()
}

/// A file into which a switch wrote may, after a power loss, hold what was there before and yet have the times
/// of the writing. So stat data is believed only within one life of the machine: where the notes do not say
/// that this is the one, the index gets a time that makes everybody compare contents ("racy git",
/// gitformat-index(5)). What is not there needs no doubt.
pub(super) fn doubt_after_a_restart(index: &Path, notes: &Path) {
    let noted = read_own(notes).unwrap_or_default();
    let head = noted.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let of = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if boot().is_some_and(|boot| boot.as_bytes() == of) {
        return;
    }
    // At zero git would take it for an index of no known time.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let doubted = open_own(index, File::options().write(true)).and_then(|file| file.set_modified(long_ago));
    if doubted.is_err() {
        // Without an index everything is written anew.
        let _ = fs::remove_file(index);
    }
}

/// The first word of the notes from before the first file of a switch comes until it has ended.
const BEGUN: &str = "lexpr-slot-begun";

/// Writes down that a switch has begun. Should it be cut off, files may be there that the index does not know; those
/// that the next tree ignores would pass for what a build made.
///
/// # Errors
/// Where that cannot be written.
pub(super) fn note_the_beginning(path: &Path) -> std::io::Result<()> {
    write_over(path, format!("{BEGUN} {}\n", boot().unwrap_or_default()).as_bytes())?;
    crash::point!("slot.switch.begun");
    Ok(())
}

/// Whether the last switch was cut off.
pub(super) fn is_cut_off(path: &Path) -> bool {
    read_own(path).is_ok_and(|notes| notes.starts_with(BEGUN.as_bytes()))
}

/// Writes down what an index does not say. Without it the next run finds it out.
pub(super) fn write_notes(path: &Path, checksum: ObjectId, tree: ObjectId, left: &Left) {
    let mut body = Vec::new();
    for (path, ignored) in left {
        body.push(match ignored {
            Ignored::Folder => b'd',
            Ignored::File => b'f',
            Ignored::Rules(_) => b'r',
        });
        body.extend_from_slice(path);
        body.push(0);
    }
    let digest = blake3::hash(&body);
    let boot = boot().unwrap_or_default();
    let notes = [format!("{NOTES} {checksum} {tree} {digest} {boot}\n").as_bytes(), &body].concat();
    // What is not there or not whole, or does not fit the index, is not believed.
    let _ = write_over(path, &notes);
    crash::point!("slot.switch.noted");
}

/// `None` where they are damaged, or another index's.
fn read_notes(notes: &[u8], checksum: ObjectId) -> Option<(ObjectId, Left)> {
    let end = notes.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = (std::str::from_utf8(&notes[..end]).ok()?, &notes[end + 1..]);
    let mut words = head.split(' ');
    let (format, of, tree, digest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_whole = blake3::Hash::from_hex(digest).ok()? == blake3::hash(body);
    if format != NOTES || ObjectId::from_hex(of.as_bytes()).ok()? != checksum || !is_whole {
        return None;
    }
    let mut left = Left::new();
    for line in body.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let ignored = match line[0] {
            b'd' => Ignored::Folder,
            b'f' => Ignored::File,
            // Of a run that is over: whether it is the same one is not known.
            b'r' => Ignored::Rules(Stat::default()),
            _ => return None,
        };
        left.insert(line[1..].to_vec(), ignored);
    }
    Some((ObjectId::from_hex(tree.as_bytes()).ok()?, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_believed_whole_and_for_their_own_index_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.notes");
        let (of, tree) = (ObjectId::empty_blob(Kind::Sha1), ObjectId::empty_tree(Kind::Sha1));
        let left = Left::from([
            (b"out".to_vec(), Ignored::Folder),
            (b"a \xff\n".to_vec(), Ignored::File),
            (b"x/.gitignore".to_vec(), Ignored::Rules(Stat::default())),
        ]);
        write_notes(&path, of, tree, &left);
        let notes = fs::read(&path).unwrap();
        assert_eq!(read_notes(&notes, of), Some((tree, left)));
        assert_eq!(read_notes(&notes, tree), None);
        for len in 0..notes.len() {
            assert_eq!(read_notes(&notes[..len], of), None, "{len} bytes");
        }
    }
}
