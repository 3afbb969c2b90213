//! Many new objects as one pack: a file for each would take the file system longer than making them.

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
use gix_pack::data::output::{Count, Entry};

/// An object and its content.
pub(super) type New = (ObjectId, (Kind, Vec<u8>));

/// Writes a pack and its index into `folder`. It is not synced: it is for this run alone, and made again where
/// it is lost.
///
/// # Errors
/// Where they cannot be written.
pub(super) fn write(folder: &Path, objects: &[New], hash: gix::hash::Kind) -> Result<(), gix::Error> {
    let entries = objects.iter().map(|(id, (kind, data))| {
        let count = Count { id: *id, entry_pack_location: PackLocation::NotLookedUp };
        let object = Data { kind: *kind, data, object_hash: hash };
        Entry::from_data(&count, &object, Options::default().compression).map(|entry| vec![entry])
    });
    let number = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let mut pack = Vec::new();
    for written in FromEntriesIter::new(entries, &mut pack, number, Version::V2, hash) {
        written?;
    }
    // One thread: there is nothing to resolve in a pack without deltas.
    let options = Options { thread_limit: Some(1), ..Options::default() };
    let complete = None::<NoOthers>;
    Bundle::write_to_directory(
        &mut &*pack,
        Some(folder),
        &mut Discard,
        &AtomicBool::new(false),
        complete,
        hash,
        options,
    )?;
    Ok(())
}

/// Where bases of deltas would be looked up, were there any.
struct NoOthers;

impl Find for NoOthers {
    fn try_find<'a>(&self, _: &gix::oid, _: &'a mut Vec<u8>) -> Result<Option<Data<'a>>, gix::Error> {
        Ok(None)
    }
}
