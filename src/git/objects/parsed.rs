//! Trees and commits as they are made of an object's bytes.

use std::ops::Deref;
use std::sync::Arc;

use gix::ObjectId;

use super::ObjectsError;

/// The modes that git writes into trees; everything else is read, but never taken for granted.
pub mod mode {
    pub const TREE: u32 = 0o40000;
    pub const FILE: u32 = 0o100_644;
    pub const EXECUTABLE: u32 = 0o100_755;
    pub const SYMLINK: u32 = 0o120_000;
    pub const SUBMODULE: u32 = 0o160_000;

    /// Which kind of file; the rest are permissions.
    pub const TYPE_BITS: u32 = 0o170_000;
    pub const FILE_TYPE: u32 = 0o100_000;
    /// No mode has more bits.
    pub const BEYOND: u32 = 0o200_000;

    pub const ALL: [u32; 5] = [TREE, FILE, EXECUTABLE, SYMLINK, SUBMODULE];
}

/// One line of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Name,
    pub mode: u32,
    pub id: ObjectId,
}

/// A name in a tree. All of one tree lie side by side, as there may be very many.
#[derive(Clone)]
pub struct Name {
    all: Arc<[u8]>,
    from: u32,
    to: u32,
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all[self.from as usize..self.to as usize]
    }
}

/// Of a name that has no more than 4 GB, as none in a tree has.
impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        Self { all: name.into(), from: 0, to: u32::try_from(name.len()).unwrap_or(u32::MAX) }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl Entry {
    pub fn is_tree(&self) -> bool {
        self.mode == mode::TREE
    }

    /// The same without the names of its whole tree.
    pub fn by_itself(&self) -> Self {
        Self { name: Name::from(&*self.name), ..*self }
    }
}

/// A decoded tree.
#[derive(Debug)]
pub struct Tree {
    /// Sorted by the bytes of the name alone (git sorts folders as if their name ended in `/`), so that
    /// trees can be read side by side even where a name is a file in one and a folder in another.
    pub entries: Vec<Entry>,
    /// Whether git would write the very same bytes: only its own modes, in its order, no name twice or
    /// empty, no folder that is empty. What merges such trees rewrites none of their entries.
    pub canonical: bool,
    /// Whether names come in git's order.
    pub in_order: bool,
}

impl Tree {
    pub fn entry(&self, name: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(&self.entries[at])
    }
}

/// A decoded commit. Author and committer are the raw lines, in the encoding of the commit.
#[derive(Clone, Debug)]
pub struct Commit {
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
    pub author: Vec<u8>,
    pub committer: Vec<u8>,
    pub encoding: Option<Vec<u8>>,
    pub message: Vec<u8>,
}

/// The bytes of a name as git compares them in trees: a folder's end in `/`.
pub(super) fn git_order(name: &[u8], is_tree: bool) -> impl Iterator<Item = u8> + '_ {
    name.iter().copied().chain(is_tree.then_some(b'/'))
}

/// A line as it lies in a tree's bytes, which are all there is of a tree: mode, name and the bytes of the id.
type RawEntry<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first line of a tree's bytes, and those behind it.
fn split_entry(data: &[u8], hash_len: usize) -> Result<(RawEntry<'_>, &[u8]), &'static str> {
    let space = data.iter().position(|b| *b == b' ').ok_or("an entry has no mode")?;
    let nul = data.iter().position(|b| *b == 0).ok_or("an entry has no end")?;
    if nul < space || data.len() < nul + 1 + hash_len {
        return Err("an entry is cut off");
    }
    let (entry, rest) = data.split_at(nul + 1 + hash_len);
    Ok(((&entry[..space], &entry[space + 1..nul], &entry[nul + 1..]), rest))
}

pub(super) fn parse_tree(id: ObjectId, data: &[u8], empty_tree: ObjectId) -> Result<Tree, ObjectsError> {
    let damaged = |what| ObjectsError::Damaged { id, what };
    let hash_len = id.as_slice().len();
    let (mut names, mut number, mut rest) = (Vec::with_capacity(data.len() / 2), 0, data);
    while !rest.is_empty() {
        let ((_, name, _), behind) = split_entry(rest, hash_len).map_err(damaged)?;
        names.extend_from_slice(name);
        (number, rest) = (number + 1, behind);
    }
    let place = |at: usize| u32::try_from(at).map_err(|_| damaged("its names are longer than 4 GB together"));
    place(names.len())?;
    let all: Arc<[u8]> = names.into();
    let mut entries: Vec<Entry> = Vec::with_capacity(number);
    let (mut canonical, mut in_order) = (true, true);
    let (mut from, mut rest) = (0, data);
    while !rest.is_empty() {
        let ((octal, name, entry_id), behind) = split_entry(rest, hash_len).map_err(damaged)?;
        rest = behind;
        let mode = std::str::from_utf8(octal)
            .ok()
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .ok_or_else(|| damaged("a mode is no octal number"))?;
        let entry_id = ObjectId::from_bytes_or_panic(entry_id);
        // A leading zero gives the same number but other bytes than git's.
        canonical &= mode::ALL.contains(&mode) && octal[0] != b'0';
        canonical &= !name.is_empty() && !name.contains(&b'/') && entry_id != empty_tree;
        let to = from + name.len();
        let name = Name { all: Arc::clone(&all), from: place(from)?, to: place(to)? };
        let entry = Entry { name, mode, id: entry_id };
        if let Some(last) = entries.last() {
            in_order &= git_order(&last.name, last.is_tree()).lt(git_order(&entry.name, entry.is_tree()));
        }
        entries.push(entry);
        from = to;
    }
    entries.sort_by(|l, r| l.name.cmp(&r.name));
    canonical &= in_order && entries.windows(2).all(|pair| pair[0].name != pair[1].name);
    Ok(Tree { entries, canonical, in_order })
}

pub(super) fn parse_commit(id: ObjectId, data: &[u8]) -> Result<Commit, ObjectsError> {
    let damaged = |what| ObjectsError::Damaged { id, what };
    let mut commit = Commit {
        tree: id,
        parents: Vec::new(),
        author: Vec::new(),
        committer: Vec::new(),
        encoding: None,
        message: Vec::new(),
    };
    let mut has_tree = false;
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[(end + 1).min(rest.len())..];
        if line.is_empty() {
            commit.message = rest.to_vec();
            break;
        }
        // A line that begins with a space continues the header before it, such as a signature.
        let Some(space) = line.iter().position(|b| *b == b' ').filter(|at| *at > 0) else { continue };
        let (key, value) = (&line[..space], &line[space + 1..]);
        match key {
            b"tree" => {
                commit.tree = ObjectId::from_hex(value).map_err(|_| damaged("its tree is no object id"))?;
                has_tree = true;
            }
            b"parent" => {
                commit.parents.push(ObjectId::from_hex(value).map_err(|_| damaged("a parent is no object id"))?);
            }
            b"author" => commit.author = value.to_vec(),
            b"committer" => commit.committer = value.to_vec(),
            b"encoding" => commit.encoding = Some(value.to_vec()),
            _ => {}
        }
    }
    if has_tree { Ok(commit) } else { Err(damaged("a commit without a tree")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Tree {
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend_from_slice(id.as_slice());
        }
        parse_tree(id, &data, ObjectId::empty_tree(gix::hash::Kind::Sha1)).unwrap()
    }

    #[test]
    fn invariant_3_trees_that_git_would_write_otherwise_are_told_apart() {
        assert!(tree(&[("100644", "a"), ("100644", "a.b"), ("40000", "a0"), ("120000", "b")]).canonical);
        assert!(tree(&[("100644", "a.b"), ("40000", "a"), ("160000", "a0")]).canonical);
        for odd in [
            &[("100664", "a")][..],
            &[("040000", "a")],
            &[("100644", "b"), ("100644", "a")],
            &[("100644", "a"), ("100644", "a")],
            &[("100644", "a"), ("100644", "a.b"), ("40000", "a")],
            &[("40000", "a"), ("100644", "a.b")],
            &[("100644", "")],
        ] {
            assert!(!tree(odd).canonical, "{odd:?}");
        }
    }

    #[test]
    fn a_commit_is_read_past_its_signature_and_other_headers() {
        let id = ObjectId::empty_blob(gix::hash::Kind::Sha1);
        let text = format!(
            "tree {id}\nparent {id}\nauthor A <a> 1 +0000\ncommitter C <c> 2 +0100\nencoding latin1\n\
             gpgsig -----BEGIN\n tree nonsense\n \n parent x\n\nsubject\n\nparent not one\n"
        );
        let commit = parse_commit(id, text.as_bytes()).unwrap();
        assert_eq!(commit.parents, [id]);
        assert_eq!(commit.committer, b"C <c> 2 +0100");
        assert_eq!(commit.encoding.as_deref(), Some(&b"latin1"[..]));
        assert_eq!(commit.message, b"subject\n\nparent not one\n");
    }
}
