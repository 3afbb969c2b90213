//! Many new objects as one pack: a file for each would take the file system longer than making them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::objs::{Data, Find, Kind};
use gix::progress::Discard;
use gix_pack::Bundle;
use gix_pack::bundle::write::Options;
use gix_pack::data::Version;
use gix_pack::data::output::bytes::FromEntriesIter;
use gix_pack::data::output::count::PackLocation;
use gix_pack::data::output::{Count, Entry, entry};

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

/// Writes a pack and its index into `folder`. It is not synced: it is for this run alone, and made again where
/// it is lost.
///
/// # Errors
/// Where they cannot be written.
pub(super) fn write(folder: &Path, objects: &[New<'_>], hash: gix::hash::Kind) -> Result<(), gix::Error> {
    // Not in memory: beside the objects it would be as much again.
    let file = tempfile::tempfile_in(folder).map_err(gix::Error::from_error)?;
    let mut pack = BufWriter::new(file);
    write_to(&mut pack, objects, hash)?;
    let mut pack = pack.into_inner().map_err(|unwritten| gix::Error::from_error(unwritten.into_error()))?;
    pack.rewind().map_err(gix::Error::from_error)?;
    // One thread: there is hardly anything to resolve.
    let options = Options { thread_limit: Some(1), ..Options::default() };
    let complete = None::<NoOthers>;
    Bundle::write_to_directory(
        &mut BufReader::new(pack),
        Some(folder),
        &mut Discard,
        &AtomicBool::new(false),
        complete,
        hash,
        options,
    )?;
    Ok(())
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

fn write_to(pack: &mut impl Write, objects: &[New<'_>], hash: gix::hash::Kind) -> Result<(), gix::Error> {
    // Where each is, and how many others have to be read for it.
    let mut places: HashMap<ObjectId, (usize, usize)> = HashMap::new();
    let entries = objects.iter().enumerate().map(|(at, new)| {
        let base = new.like.and_then(|like| places.get(&like).copied()).filter(|(_, depth)| *depth < DEEPEST);
        let told = base.and_then(|(base, depth)| Some((base, depth, delta(&objects[base].data, &new.data)?)));
        let data = told.as_ref().map_or(&*new.data, |(_, _, delta)| delta);
        let (kind, depth) = match &told {
            Some((base, depth, _)) => (entry::Kind::DeltaRef { object_index: *base }, depth + 1),
            None => (entry::Kind::Base(new.kind), 0),
        };
        places.insert(new.id, (at, depth));
        if let Some(compressed_data) = stored(data) {
            return Ok(vec![Entry { id: new.id, kind, decompressed_size: data.len(), compressed_data }]);
        }
        let count = Count { id: new.id, entry_pack_location: PackLocation::NotLookedUp };
        let object = Data { kind: new.kind, data, object_hash: hash };
        let compressed = Entry::from_data(&count, &object, Options::default().compression)?;
        Ok(vec![Entry { kind, ..compressed }])
    });
    let number = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    for written in FromEntriesIter::new(entries, pack, number, Version::V2, hash) {
        written?;
    }
    Ok(())
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

/// Where bases of deltas would be looked up, were there any.
struct NoOthers;

impl Find for NoOthers {
    fn try_find<'a>(&self, _: &gix::oid, _: &'a mut Vec<u8>) -> Result<Option<Data<'a>>, gix::Error> {
        Ok(None)
    }
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

    /// Each is told by what differs from the one before it.
    fn versions(contents: &[Vec<u8>]) -> Vec<New<'_>> {
        let mut like = None;
        let new = |data: &'_ Vec<u8>| New {
            id: id(data),
            kind: Kind::Blob,
            data: data.clone().into(),
            like: like.replace(id(data)),
        };
        contents.iter().map(new).collect()
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
        let mut new = versions(&contents);
        let mut seen = std::collections::HashSet::new();
        new.retain(|new| seen.insert(new.id));
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
}
