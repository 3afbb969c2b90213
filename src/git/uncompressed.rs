//! Short objects, written without compressing them: to make ready for that takes longer than all else that is
//! done with one, and a quarter of a megabyte of memory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::encode::loose_header;
use tempfile::NamedTempFile;

/// In bytes; a page.
pub(super) const SHORT: usize = 4096;

/// Data in the form of compressed data (RFC 1950; RFC 1951, section 3.2.4).
pub(super) fn stored(parts: &[&[u8]]) -> Vec<u8> {
    const LONGEST: usize = u16::MAX as usize;
    const ADLER: u32 = 65_521;
    let data = parts.concat();
    // Deflate, and nothing about how well.
    let mut stored = vec![0x78, 0x01];
    let mut blocks = data.chunks(LONGEST).peekable();
    while let Some(block) = blocks.next() {
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stored.push(u8::from(blocks.peek().is_none()));
        stored.extend(len.to_le_bytes());
        stored.extend((!len).to_le_bytes());
        stored.extend_from_slice(block);
    }
    if data.is_empty() {
        stored.extend([1, 0, 0, 0xff, 0xff]);
    }
    let (low, high) = data.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % ADLER;
        (low, (high + low) % ADLER)
    });
    stored.extend((high << 16 | low).to_be_bytes());
    stored
}

/// Writes an object as a file of its own (gitrepository-layout(5)) into a folder of objects: there whole or not
/// at all, but not synced.
///
/// # Errors
/// Where that cannot be done.
pub(super) fn write_loose(objects: &Path, id: ObjectId, kind: Kind, data: &[u8]) -> io::Result<()> {
    let hex = id.to_string();
    let (folder, name) = hex.split_at(2);
    let mut file: NamedTempFile = tempfile::Builder::new()
        .prefix("tmp_obj_")
        .permissions(fs::Permissions::from_mode(0o444))
        .tempfile_in(objects)?;
    file.write_all(&stored(&[&loose_header(kind, data.len() as u64), data]))?;
    let folder = objects.join(folder);
    match file.persist(folder.join(name)) {
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
            // Somebody else may make it at the same time.
            fs::create_dir_all(&folder)?;
            error.file.persist(folder.join(name)).map(drop).map_err(Into::into)
        }
        persisted => persisted.map(drop).map_err(Into::into),
    }
}
