//! Reading loose objects (gitrepository-layout(5), `objects/[0-9a-f][0-9a-f]`), which branches made on this machine are
//! until git packs them.
//!
//! gix looks for each in every folder of objects, maps it and makes a decompressor for it, three times what it takes to
//! read one. Here what is in a folder is listed once, and a short file read into memory that is there already. It is a
//! shortcut and nothing else: of what is not listed, not readable or not what its name says, gix is asked, and its word is
//! what counts. (A pack may hold the same object, and git looks there first.)

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use gix::ObjectId;
use gix::objs::decode::loose_header;
use gix::objs::{Kind, compute_hash};
use zlib_rs::{Inflate, InflateFlush, Status};

/// Of those that begin with the same byte no more are listed: git packs them when they are about 27 (`gc.auto`).
const MOST_LISTED: usize = 256;

/// What most objects have room in, with their header.
const SHORT: usize = 32 << 10;

/// Longer files are gix's to map: memory for one stays where it was made.
const LONGEST_FILE: usize = 1 << 20;

/// Of a file so much holds the header of its object.
const BEGINNING: usize = 128;

/// `commit 18446744073709551615` and a NUL.
const LONGEST_HEADER: usize = 28;

/// Deflated bytes are at most so many times as many when inflated (zlib's technical details: 1032:1).
const MOST_INFLATED: usize = 1032;

/// Objects, each with the position of the folder that it is in, by their ids.
type Listed = Box<[(ObjectId, u16)]>;

/// What a repository and those it borrows from have of them, found out as it is asked for.
#[derive(Debug)]
pub(super) struct Listing {
    folders: Vec<PathBuf>,
    by_first_byte: [OnceLock<Listed>; 256],
}

impl Listing {
    /// `folders` are those of objects, the repository's own first.
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, by_first_byte: std::array::from_fn(|_| OnceLock::new()) }
    }

    fn path_of(&self, id: &ObjectId) -> Option<PathBuf> {
        let first = id.as_slice()[0];
        let listed = self.by_first_byte[usize::from(first)].get_or_init(|| self.list(first));
        let at = listed.binary_search_by(|(known, _)| known.cmp(id)).ok()?;
        let hex = id.to_string();
        Some(self.folders[usize::from(listed[at].1)].join(&hex[..2]).join(&hex[2..]))
    }

    fn list(&self, first: u8) -> Listed {
        let beginning = format!("{first:02x}");
        let folders = (0..u16::MAX).zip(&self.folders);
        let named = folders.flat_map(|(at, folder)| {
            let files = fs::read_dir(folder.join(&beginning)).into_iter().flatten().flatten();
            // Whoever opens a pipe waits for its other end.
            let files = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
            files.map(move |file| (file.file_name(), at))
        });
        let ids = named.filter_map(|(rest, at)| {
            let hex = [beginning.as_bytes(), rest.as_encoded_bytes()].concat();
            Some((ObjectId::from_hex(&hex).ok()?, at))
        });
        let mut listed: Vec<(ObjectId, u16)> = ids.take(MOST_LISTED).collect();
        listed.sort_unstable();
        listed.dedup_by_key(|(id, _)| *id);
        listed.into_boxed_slice()
    }
}

/// Reads them for one thread.
pub(super) struct Reader {
    listing: Arc<Listing>,
    /// Made with the first object.
    tools: RefCell<Option<Tools>>,
}

struct Tools {
    inflate: Inflate,
    file: Vec<u8>,
    short: Box<[u8]>,
}

impl Reader {
    pub(super) fn new(listing: Arc<Listing>) -> Self {
        Self { listing, tools: RefCell::new(None) }
    }

    /// The whole object; `None` where gix has to be asked.
    pub(super) fn object(&self, id: &ObjectId) -> Option<(Kind, Vec<u8>)> {
        let mut tools = self.tools.borrow_mut();
        let file = File::open(self.listing.path_of(id)?).ok()?;
        let tools = tools.get_or_insert_with(Tools::new);
        tools.file.clear();
        let read = file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut tools.file).ok()?;
        let (kind, data) = if read > LONGEST_FILE { None } else { tools.object() }?;
        (compute_hash(id.kind(), kind, &data).ok()? == *id).then_some((kind, data))
    }

    /// Its kind and how many bytes it has, as the file says; `None` where gix has to be asked.
    pub(super) fn header(&self, id: &ObjectId) -> Option<(Kind, u64)> {
        let mut tools = self.tools.borrow_mut();
        let file = File::open(self.listing.path_of(id)?).ok()?;
        let tools = tools.get_or_insert_with(Tools::new);
        tools.file.clear();
        file.take(BEGINNING as u64).read_to_end(&mut tools.file).ok()?;
        tools.inflate.reset(true);
        let header = &mut tools.short[..LONGEST_HEADER];
        tools.inflate.decompress(&tools.file, header, InflateFlush::NoFlush).ok()?;
        let told = usize::try_from(tools.inflate.total_out()).ok()?;
        let (kind, len, _) = loose_header(&header[..told]).ok()?;
        Some((kind, len))
    }
}

impl Tools {
    fn new() -> Self {
        /// As zlib has it (RFC 1950).
        const WINDOW_BITS: u8 = 15;
        Self { inflate: Inflate::new(true, WINDOW_BITS), file: Vec::new(), short: vec![0; SHORT].into_boxed_slice() }
    }

    /// What the file holds.
    fn object(&mut self) -> Option<(Kind, Vec<u8>)> {
        self.inflate.reset(true);
        let status = self.inflate.decompress(&self.file, &mut self.short, InflateFlush::NoFlush).ok()?;
        let told = &self.short[..usize::try_from(self.inflate.total_out()).ok()?];
        let (kind, len, begins) = loose_header(told).ok()?;
        let len = usize::try_from(len).ok()?;
        let mut data = told.get(begins..)?.to_vec();
        if status == Status::StreamEnd {
            return (data.len() == len).then_some((kind, data));
        }
        let (known, read) = (data.len(), usize::try_from(self.inflate.total_in()).ok()?);
        // Whoever made it may say that it is as long as memory is.
        if len < known || len / MOST_INFLATED > self.file.len() {
            return None;
        }
        data.try_reserve_exact(len - known).ok()?;
        data.resize(len, 0);
        let status = self.inflate.decompress(&self.file[read..], &mut data[known..], InflateFlush::NoFlush).ok()?;
        let is_whole = status == Status::StreamEnd && self.inflate.total_out() == (begins + len) as u64;
        is_whole.then_some((kind, data))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zlib_rs::{DeflateConfig, compress_bound, compress_slice};

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut room = vec![0; compress_bound(content.len())];
        compress_slice(&mut room, content, DeflateConfig::default()).0.to_vec()
    }

    fn put(folder: &Path, id: ObjectId, file: &[u8]) {
        let hex = id.to_string();
        fs::create_dir_all(folder.join(&hex[..2])).unwrap();
        fs::write(folder.join(&hex[..2]).join(&hex[2..]), file).unwrap();
    }

    fn id_of(kind: Kind, data: &[u8]) -> ObjectId {
        compute_hash(gix::hash::Kind::Sha1, kind, data).unwrap()
    }

    /// Writes a blob of so many of whatever, and gives its name.
    fn put_blob(folder: &Path, content: &str) -> ObjectId {
        let id = id_of(Kind::Blob, content.as_bytes());
        put(folder, id, &deflated(format!("blob {}\0{content}", content.len()).as_bytes()));
        id
    }

    fn reader(folders: &[&Path]) -> Reader {
        Reader::new(Arc::new(Listing::new(folders.iter().map(|folder| folder.to_path_buf()).collect())))
    }

    /// Bytes that do not get fewer.
    fn noise(len: usize) -> Vec<u8> {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn objects_of_every_length_are_read_whole_and_with_their_kind() {
        let folder = tempfile::tempdir().unwrap();
        let header = "blob 32757\0".len();
        let mut expected = Vec::new();
        for len in [0, 1, 100, SHORT - header - 1, SHORT - header, SHORT - header + 1, SHORT, 1_000_000] {
            for data in [vec![0; len], noise(len)] {
                for kind in [Kind::Blob, Kind::Tree, Kind::Commit, Kind::Tag] {
                    let id = id_of(kind, &data);
                    let header = gix::objs::encode::loose_header(kind, data.len() as u64);
                    put(folder.path(), id, &deflated(&[&header, &data[..]].concat()));
                    expected.push((id, kind, data.clone()));
                }
            }
        }
        let reader = reader(&[folder.path()]);
        for (id, kind, data) in &expected {
            assert_eq!(reader.header(id), Some((*kind, data.len() as u64)), "{kind} of {} bytes", data.len());
            assert!(reader.object(id).as_ref() == Some(&(*kind, data.clone())), "{kind} of {} bytes", data.len());
        }
    }

    #[test]
    fn of_what_is_not_as_it_should_be_or_too_long_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let long = noise(100_000);
        let whole = deflated(&[b"blob 100000\0", &long[..]].concat());
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let files = [
            Vec::new(),
            b"blob 100000\0abc".to_vec(),
            whole[..whole.len() - 1].to_vec(),
            whole[..whole.len() / 2].to_vec(),
            flipped,
            deflated(b"blob 100000\0abc"),
            deflated(&[b"blub 100000\0", &long[..]].concat()),
            deflated(&[b"tree 100000\0", &long[..]].concat()),
            deflated(b"blob 100000"),
            deflated(b"blob 18446744073709551615\0abc"),
            deflated(&[b"blob 900000000000\0", &long[..]].concat()),
            deflated(&[b"blob 99999\0", &long[..]].concat()),
            deflated(&[b"blob 100001\0", &long[..]].concat()),
            deflated(&[b"blob 100000\0", &noise(100_001)[1..]].concat()),
        ];
        let id = id_of(Kind::Blob, &long);
        let is_told = || reader(&[folder.path()]).object(&id).is_some();
        for (file, at) in files.iter().zip(0..) {
            put(folder.path(), id, file);
            assert!(!is_told(), "file {at}");
        }
        put(folder.path(), id, &whole);
        assert!(is_told());
        let too_long = noise(1_100_000);
        let id = id_of(Kind::Blob, &too_long);
        put(folder.path(), id, &deflated(&[b"blob 1100000\0", &too_long[..]].concat()));
        assert!(reader(&[folder.path()]).object(&id).is_none());
    }

    #[test]
    fn a_pipe_in_the_place_of_an_object_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let id = put_blob(folder.path(), "abc");
        let path = folder.path().join(&id.to_string()[..2]).join(&id.to_string()[2..]);
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let reader = reader(&[folder.path()]);
        assert_eq!((reader.object(&id), reader.header(&id)), (None, None));
    }

    #[test]
    fn what_came_or_went_since_it_was_listed_is_left_to_gix() {
        let (own, borrowed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = put_blob(own.path(), "first");
        let (second, third) = (put_blob(borrowed.path(), "second"), put_blob(borrowed.path(), "third"));
        let all = [first, second, third].map(|id| id.as_slice()[0]);
        fs::write(own.path().join(format!("{:02x}/no object", all[0])), "").unwrap();
        let reader = reader(&[own.path(), Path::new("/nowhere/at/all"), borrowed.path()]);
        assert!([first, second, third].iter().all(|id| reader.object(id).is_some()));
        fs::remove_dir_all(borrowed.path()).unwrap();
        assert!(reader.object(&second).is_none() && reader.object(&third).is_none() && reader.object(&first).is_some());
        // In a folder that was listed before it came.
        let late =
            (0..).map(|at| at.to_string()).find(|text| id_of(Kind::Blob, text.as_bytes()).as_slice()[0] == all[0]);
        let late = put_blob(own.path(), &late.unwrap());
        assert!(reader.object(&late).is_none());
    }

    #[test]
    fn however_many_there_are_no_more_are_listed_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let begins = |text: &String| id_of(Kind::Blob, text.as_bytes()).as_slice()[0] == 7;
        let texts = (0..).map(|at: u32| at.to_string()).filter(begins).take(MOST_LISTED + 50);
        let ids: Vec<ObjectId> = texts.map(|text| put_blob(folder.path(), &text)).collect();
        let reader = reader(&[folder.path()]);
        assert_eq!(ids.iter().filter(|id| reader.object(id).is_some()).count(), MOST_LISTED);
    }
}
