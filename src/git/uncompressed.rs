//! Short objects, written without compressing them: to make ready for that takes longer than all else that is
//! done with one, and a quarter of a megabyte of memory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::encode::loose_header;

/// Data in the form of compressed data (RFC 1950; RFC 1951, section 3.2.4); `None` where it is longer than a page.
pub(super) fn stored(data: &[u8]) -> Option<Vec<u8>> {
    const SHORT: u16 = 4096;
    const ADLER: u32 = 65_521;
    let len = u16::try_from(data.len()).ok().filter(|len| *len <= SHORT)?;
    // Deflate, and nothing about how well; then the only block, as it is.
    let mut stored = vec![0x78, 0x01, 1];
    stored.extend(len.to_le_bytes());
    stored.extend((!len).to_le_bytes());
    stored.extend_from_slice(data);
    let (low, high) = data.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % ADLER;
        (low, (high + low) % ADLER)
    });
    stored.extend((high << 16 | low).to_be_bytes());
    Some(stored)
}

/// An object in the form of a file of its own; `None` where it is not short.
pub(super) fn loose(kind: Kind, data: &[u8]) -> Option<Vec<u8>> {
    stored(&[&loose_header(kind, data.len() as u64), data].concat())
}

/// Writes what [`loose`] gives as a file (gitrepository-layout(5)) into a folder of objects: there whole or not
/// at all, but not synced.
///
/// # Errors
/// Where that cannot be done.
pub(super) fn write_loose(objects: &Path, id: ObjectId, content: &[u8]) -> io::Result<()> {
    let hex = id.to_string();
    let (folder, name) = hex.split_at(2);
    let mut file = tempfile::Builder::new()
        .prefix("tmp_obj_")
        .permissions(fs::Permissions::from_mode(0o444))
        .tempfile_in(objects)?;
    file.write_all(content)?;
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
