//! Many new objects as one pack: a file for each would take the file system longer than making them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gix::ObjectId;
use gix::objs::Kind;
use gix_pack::data::Version;
use gix_pack::data::entry::Header;
use gix_pack::data::header::encode;
use tempfile::NamedTempFile;
use zlib_rs::crc32::crc32;
use zlib_rs::{DeflateConfig, ReturnCode, compress_bound, compress_slice};

use super::uncompressed::stored;

/// Of the objects that have to be read to read one: git's own limit (`pack.depth`).
const DEEPEST: usize = 50;

/// An object that goes into a pack.
#[derive(Clone, Debug)]
pub(super) struct New<'a> {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
    pub(super) data: Cow<'a, [u8]>,
    /// What was in its place before, of the same kind: it is told by what differs, where that comes first.
    pub(super) like: Option<ObjectId>,
}

/// Where an object is in a pack, and the checksum of its bytes there.
struct Place {
    id: ObjectId,
    offset: u64,
    crc: u32,
}

/// Writes a pack and its index into `folder`. It is not synced: it is for this run alone, and made again where
/// it is lost.
///
/// # Errors
/// Where they cannot be written.
pub(super) fn write(folder: &Path, objects: &[New<'_>], hash: gix::hash::Kind) -> Result<(), gix::Error> {
    // Not in memory: beside the objects it would be as much again.
    let (pack, (places, checksum)) = new_file(folder, |pack| write_to(pack, objects, hash))?;
    let (index, ()) = new_file(folder, |index| write_index(index, places, checksum))?;
    let named = |extension| folder.join(format!("pack-{checksum}.{extension}"));
    pack.persist(named("pack")).map_err(|unnamed| gix::Error::from_error(unnamed.error))?;
    // The last one: by it git finds the pack.
    index.persist(named("idx")).map_err(|unnamed| gix::Error::from_error(unnamed.error))?;
    Ok(())
}

/// A file without a name yet, with what is written into it.
fn new_file<T>(
    folder: &Path,
    write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> Result<T, gix::Error>,
) -> Result<(NamedTempFile, T), gix::Error> {
    let mut named = tempfile::Builder::new();
    // git's beginning of a name, so that it removes what stays behind, and its mode of packs.
    let file = named.prefix("tmp_pack_").permissions(Permissions::from_mode(0o444)).tempfile_in(folder);
    let mut file = BufWriter::new(file.map_err(gix::Error::from_error)?);
    let written = write(&mut file)?;
    let file = file.into_inner().map_err(|unwritten| gix::Error::from_error(unwritten.into_error()))?;
    Ok((file, written))
}

/// A pack of objects, in their order.
///
/// # Errors
/// Where it cannot be compressed.
pub(super) fn bytes(objects: &[New<'_>], hash: gix::hash::Kind) -> Result<Vec<u8>, gix::Error> {
    let mut pack = Vec::new();
    write_to(&mut pack, objects, hash)?;
    Ok(pack)
}

/// Where each of them is, and the pack's checksum (gitformat-pack(5)).
fn write_to(
    pack: &mut impl Write,
    objects: &[New<'_>],
    hash: gix::hash::Kind,
) -> Result<(Vec<Place>, ObjectId), gix::Error> {
    let mut pack = gix::hash::io::Write::new(pack, hash);
    let number = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let beginning = encode(Version::V2, number);
    pack.write_all(&beginning).map_err(gix::Error::from_error)?;
    let mut offset = beginning.len() as u64;
    let mut places: Vec<Place> = Vec::with_capacity(objects.len());
    // Which each is, and how many others have to be read for it.
    let mut known: HashMap<ObjectId, (usize, usize)> = HashMap::new();
    let mut header_bytes = Vec::new();
    for (at, new) in objects.iter().enumerate() {
        let base = new.like.and_then(|like| known.get(&like).copied()).filter(|(_, depth)| *depth < DEEPEST);
        let told = base.and_then(|(base, depth)| Some((base, depth, delta(&objects[base].data, &new.data)?)));
        let data = told.as_ref().map_or(&*new.data, |(_, _, delta)| delta);
        let (header, depth) = match &told {
            Some((base, depth, _)) => (Header::OfsDelta { base_distance: offset - places[*base].offset }, depth + 1),
            None => (header_of(new.kind), 0),
        };
        known.insert(new.id, (at, depth));
        header_bytes.clear();
        header.write_to(data.len() as u64, &mut header_bytes).map_err(gix::Error::from_error)?;
        let content = match stored(data) {
            Some(stored) => stored,
            None => deflated(data).map_err(gix::Error::from_error)?,
        };
        for part in [&header_bytes, &content] {
            pack.write_all(part).map_err(gix::Error::from_error)?;
        }
        places.push(Place { id: new.id, offset, crc: crc32(crc32(0, &header_bytes), &content) });
        offset += (header_bytes.len() + content.len()) as u64;
    }
    let checksum = pack.hash.try_finalize()?;
    pack.inner.write_all(checksum.as_slice()).map_err(gix::Error::from_error)?;
    Ok((places, checksum))
}

fn header_of(kind: Kind) -> Header {
    match kind {
        Kind::Commit => Header::Commit,
        Kind::Tree => Header::Tree,
        Kind::Blob => Header::Blob,
        Kind::Tag => Header::Tag,
    }
}

fn deflated(data: &[u8]) -> io::Result<Vec<u8>> {
    /// It is for this run, or git packs it again.
    const FAST: i32 = 1;
    let mut deflated = vec![0; compress_bound(data.len())];
    let (written, done) = compress_slice(&mut deflated, data, DeflateConfig::new(FAST));
    if done != ReturnCode::Ok {
        return Err(io::Error::other(format!("{} bytes could not be compressed: {done:?}", data.len())));
    }
    let len = written.len();
    deflated.truncate(len);
    Ok(deflated)
}

/// The index of a pack with this checksum: version 2 in gitformat-pack(5). gix makes one of the pack alone, for which it reads
/// everything again.
fn write_index(index: &mut impl Write, mut places: Vec<Place>, checksum: ObjectId) -> Result<(), gix::Error> {
    /// Offsets from here on are in a table of their own.
    const LARGE: u64 = 1 << 31;
    places.sort_unstable_by_key(|place| place.id);
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    let mut upto = 0;
    for first in 0..=u8::MAX {
        upto += places[upto..].iter().take_while(|place| place.id.first_byte() == first).count();
        bytes.extend(u32::try_from(upto).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes.extend(places.iter().flat_map(|place| place.id.as_slice()));
    bytes.extend(places.iter().flat_map(|place| place.crc.to_be_bytes()));
    let mut large = Vec::new();
    for place in &places {
        let short = u32::try_from(place.offset).ok().filter(|_| place.offset < LARGE);
        bytes.extend(short.unwrap_or((1 << 31) | u32::try_from(large.len() / 8).unwrap_or(0)).to_be_bytes());
        if short.is_none() {
            large.extend(place.offset.to_be_bytes());
        }
    }
    bytes.extend(large);
    bytes.extend_from_slice(checksum.as_slice());
    let mut index = gix::hash::io::Write::new(index, checksum.kind());
    index.write_all(&bytes).map_err(gix::Error::from_error)?;
    let checksum = index.hash.try_finalize()?;
    index.inner.write_all(checksum.as_slice()).map_err(gix::Error::from_error)
}

/// How `to` comes of `from` (gitformat-pack(5), "Deltified representation"): what both begin and end with is
/// copied. `None` where that is little, or they are too long to be told so.
fn delta(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    /// A copy's length has three bytes, and its offset four.
    const LONGEST: usize = 0xff_ffff;
    const LONGEST_INSERT: usize = 127;
    if from.len() > LONGEST || to.len() > LONGEST {
        return None;
    }
    let begin = from.iter().zip(to).take_while(|(from, to)| from == to).count();
    let (rest_from, rest_to) = (&from[begin..], &to[begin..]);
    let end = rest_from.iter().rev().zip(rest_to.iter().rev()).take_while(|(from, to)| from == to).count();
    let middle = &rest_to[..rest_to.len() - end];
    // git refuses a difference that copies and inserts nothing (DELTA_SIZE_MIN in its delta.h).
    if to.is_empty() || middle.len() > to.len() / 2 {
        return None;
    }
    let mut delta = Vec::with_capacity(middle.len() + 32);
    for mut size in [from.len(), to.len()] {
        while size > 0x7f {
            delta.push(size.to_le_bytes()[0] | 0x80);
            size >>= 7;
        }
        delta.push(size.to_le_bytes()[0]);
    }
    let copy = |delta: &mut Vec<u8>, offset: usize, len: usize| {
        if len > 0 {
            // All bytes of both are told, even where they are zero.
            delta.push(0b1111_1111);
            delta.extend_from_slice(&offset.to_le_bytes()[..4]);
            delta.extend_from_slice(&len.to_le_bytes()[..3]);
        }
    };
    copy(&mut delta, 0, begin);
    for piece in middle.chunks(LONGEST_INSERT) {
        delta.extend(u8::try_from(piece.len()));
        delta.extend_from_slice(piece);
    }
    copy(&mut delta, from.len() - end, end);
    Some(delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::command::{Config, Git, bare_command, output};
    use crate::git::objects::Objects;

    const HASH: gix::hash::Kind = gix::hash::Kind::Sha1;

    fn id(data: &[u8]) -> ObjectId {
        gix::objs::compute_hash(HASH, Kind::Blob, data).unwrap()
    }

    /// Each is told by what differs from the one before it; equal ones are there once.
    fn versions(contents: &[Vec<u8>]) -> Vec<New<'_>> {
        let mut like = None;
        let new = |data: &'_ Vec<u8>| New {
            id: id(data),
            kind: Kind::Blob,
            data: data.clone().into(),
            like: like.replace(id(data)),
        };
        let mut seen = std::collections::HashSet::new();
        contents.iter().map(new).filter(|new| seen.insert(new.id)).collect()
    }

    #[test]
    fn git_reads_every_object_as_it_was_however_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut init = bare_command(Config::RepositoryOnly);
        init.args(["init", "-q", "--bare"]).arg(folder.path());
        assert!(output(init, None).unwrap().status.success());
        let git = Git::new(folder.path(), Config::RepositoryOnly);
        let long: Vec<u8> = (0..60_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let with = |at: usize, insert: &[u8]| [&long[..at], insert, &long[at..]].concat();
        // An emptied file, and lengths at which something is told otherwise.
        let mut contents =
            vec![vec![9; 3000], Vec::new(), b"a".to_vec(), vec![7; 127], vec![7; 128], vec![7; 4096], vec![7; 4097]];
        contents.extend([with(0, b"begin"), with(100_000, &[1; 500]), with(long.len(), b"end"), long[1..].to_vec()]);
        contents.extend([long[..1000].to_vec(), with(70_000, &[]), Vec::new(), b"same at both ends, same".to_vec()]);
        // More than may build on each other.
        contents.extend((0..2 * DEEPEST).map(|n| with(n * 7, format!("version {n}").as_bytes())));
        let new = versions(&contents);
        let pack = bytes(&new, HASH).unwrap();
        assert!(pack.len() < 10 * long.len(), "{} bytes are not told by what differs", pack.len());
        git.run_with_input(["index-pack", "--stdin", "--strict", "--fsck-objects"], &pack).unwrap();
        let listed = git.run(["verify-pack", "-v"].into_iter().map(str::to_owned).chain(
            std::fs::read_dir(folder.path().join("objects/pack")).unwrap().filter_map(|entry| {
                let path = entry.unwrap().path();
                path.extension().is_some_and(|extension| extension == "idx").then(|| path.display().to_string())
            }),
        ));
        let listed = String::from_utf8(listed.unwrap()).unwrap();
        assert!(listed.contains(&format!("chain length = {DEEPEST}:")), "{listed}");
        assert!(!listed.contains(&format!("chain length = {}:", DEEPEST + 1)), "{listed}");
        let objects = Objects::open(folder.path()).unwrap();
        for data in &contents {
            assert_eq!(&git.run(["cat-file", "blob", &id(data).to_string()]).unwrap(), data);
            assert_eq!(&objects.blob(id(data)).unwrap(), data);
        }
    }

    #[test]
    fn an_index_is_the_one_that_git_makes_of_the_pack() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<Vec<u8>> = (0..600_u32).map(|n| vec![n.to_le_bytes()[0]; n as usize * 13]).collect();
        let new = versions(&contents);
        write(folder.path(), &new, HASH).unwrap();
        let named = |extension: &str| {
            let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            files.find(|file| file.extension().is_some_and(|its| its == extension)).unwrap()
        };
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "something else stayed behind");
        let (pack, index) = (named("pack"), std::fs::read(named("idx")).unwrap());
        let by_git = folder.path().join("by-git.idx");
        let mut index_pack = bare_command(Config::RepositoryOnly);
        index_pack.args(["index-pack", "--object-format=sha1", "-o"]).args([&by_git, &pack]);
        let done = output(index_pack, None).unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(index == std::fs::read(by_git).unwrap(), "git makes another one");
        let bytes = std::fs::read(&pack).unwrap();
        let checksum = ObjectId::from_bytes_or_panic(&bytes[bytes.len() - HASH.len_in_bytes()..]);
        assert_eq!(pack.file_stem().unwrap().to_string_lossy(), format!("pack-{checksum}"));
    }

    #[test]
    fn an_index_holds_offsets_of_any_size() {
        let offsets = [12, (1 << 31) - 1, 1 << 31, 1 << 40, 3];
        let places = offsets.map(|offset: u64| Place { id: id(&offset.to_le_bytes()), offset, crc: 7 });
        let mut index = Vec::new();
        write_index(&mut index, places.into(), id(b"pack")).unwrap();
        let mut show_index = bare_command(Config::RepositoryOnly);
        show_index.arg("show-index");
        let shown = output(show_index, Some(&index)).unwrap().stdout;
        let mut expected = offsets.map(|offset| (id(&offset.to_le_bytes()), offset));
        expected.sort();
        let expected: String = expected.iter().map(|(id, offset)| format!("{offset} {id} (00000007)\n")).collect();
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
    }
}
