//! Reading and writing git objects in process.
//!
//! Objects are found through the quarantine's alternates and written into the quarantine alone, where a
//! git that is started after [`Objects::flush`] sees them. No refs, no merging. Raw bytes
//! are parsed here rather than by gix, because what git would *not* have written the same way
//! (odd modes, unsorted trees) must be told apart from what it would.

mod ahead;
mod loose;
mod parsed;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::{Kind, Write};
use gix::odb::store::init::Slots;
use moka::policy::EvictionPolicy;

pub use self::ahead::{ReadAhead, Wanted};
pub use self::parsed::{Commit, Entry, Name, Tree, mode};
use self::parsed::{git_order, parse_commit, parse_tree};
use super::pack;
use super::uncompressed;
use crate::vocabulary::names::{CommitId, TreeId};

/// An object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    #[error("opening {path} for its objects: {why}")]
    NotOpened { path: String, why: String },
    #[error("reading object {id}: {why}")]
    Unreadable { id: ObjectId, why: String },
    #[error("object {id} is not a {expected}")]
    WrongKind { id: ObjectId, expected: &'static str },
    #[error("object {id} is damaged: {what}")]
    Damaged { id: ObjectId, what: &'static str },
    #[error("writing a {kind} into the quarantine: {why}")]
    NotWritten { kind: &'static str, why: String },
}

/// The error with what it came of, which is where a full disk shows.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// A pack is two files.
const MOST_LOOSE: usize = 3;

/// More packs than this make every search for an object longer; gix wants to know beforehand how many there may be.
const MOST_PACKS: usize = 1000;

/// Objects up to this many bytes are written whether or not there are some with their name.
const LONGEST_COPY: usize = 16 << 10;

/// An item's head, its merge base and what it is merged onto are asked for many times while it is merged.
const LAST_COMMITS: usize = 8;

/// Decoded trees are kept until they hold this many entries together: some 2 MB.
const MAX_KEPT_ENTRIES: usize = 24_000;

/// A repository's objects, opened once for all who read or write them: each pack is mapped once, however
/// many they are.
#[derive(Clone)]
pub struct ObjectStore {
    repo: gix::ThreadSafeRepository,
    loose: Arc<loose::Listing>,
    recent: Recent,
}

/// What was written last, so that whoever needs it next neither looks for it among all packs nor maps one.
type Recent = moka::sync::Cache<ObjectId, Arc<(Kind, Vec<u8>)>>;

/// With what the cache itself takes for each.
const MOST_RECENT_BYTES: u64 = 4 << 20;
const RECENT_OVERHEAD: usize = 250;

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStore").field("git_dir", &self.repo.git_dir()).finish_non_exhaustive()
    }
}

impl ObjectStore {
    /// # Errors
    /// Where gix cannot open the git directory.
    pub fn open(git_dir: &Path) -> Result<Self, ObjectsError> {
        // Isolated: neither the environment nor the user's configuration has a say.
        let repo = gix::open::Options::isolated()
            .open_path_as_is(true)
            .object_store_slots(Slots::AsNeededByDiskState { multiplier: 1.1, minimum: MOST_PACKS * 2 })
            .open(git_dir)
            .map_err(|err| ObjectsError::NotOpened { path: git_dir.display().to_string(), why: with_causes(&err) })?;
        let bytes = |_: &ObjectId, object: &Arc<(Kind, Vec<u8>)>| {
            u32::try_from(object.1.len() + RECENT_OVERHEAD).unwrap_or(u32::MAX)
        };
        let recent = Recent::builder()
            .max_capacity(MOST_RECENT_BYTES)
            .weigher(bytes)
            // Whatever came last, however often others were asked for.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let thread = repo.to_thread_local();
        let own = thread.objects.store_ref().path().to_owned();
        let borrowed = thread.objects.store_ref().alternate_db_paths().unwrap_or_default();
        let loose = Arc::new(loose::Listing::new([vec![own], borrowed].concat()));
        Ok(Self { repo, loose, recent })
    }

    /// For another thread.
    pub fn objects(&self) -> Objects {
        let mut repo = self.repo.to_thread_local();
        repo.objects.enable_object_memory();
        Objects {
            empty_tree: ObjectId::empty_tree(repo.object_hash()),
            repo,
            loose: loose::Reader::new(Arc::clone(&self.loose)),
            recent: self.recent.clone(),
            ahead: None,
            last_commits: RefCell::default(),
            trees: HashMap::new(),
            older_trees: HashMap::new(),
            kept_entries: 0,
            most_entries: MAX_KEPT_ENTRIES,
            packs: 0,
        }
    }
}

/// What one thread does with a repository's objects, and remembers of them.
pub struct Objects {
    repo: gix::Repository,
    loose: loose::Reader,
    recent: Recent,
    ahead: Option<Arc<ahead::Ahead>>,
    /// The one that was asked for last is the first.
    last_commits: RefCell<VecDeque<(ObjectId, Arc<Commit>)>>,
    /// Trees asked for lately.
    trees: HashMap<ObjectId, Arc<Tree>>,
    /// Those asked for before them, and not since.
    older_trees: HashMap<ObjectId, Arc<Tree>>,
    /// Of the former.
    kept_entries: usize,
    most_entries: usize,
    empty_tree: ObjectId,
    /// How many packs were written.
    packs: usize,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("git_dir", &self.repo.git_dir()).finish_non_exhaustive()
    }
}

impl Objects {
    /// # Errors
    /// Where gix cannot open the git directory.
    pub fn open(git_dir: &Path) -> Result<Self, ObjectsError> {
        Ok(ObjectStore::open(git_dir)?.objects())
    }

    /// The same, keeping trees of no more entries than this.
    pub fn keeping(self, most_entries: usize) -> Self {
        Self { most_entries, ..self }
    }

    pub fn empty_tree(&self) -> ObjectId {
        self.empty_tree
    }

    fn read(&self, id: ObjectId, kind: Kind, expected: &'static str) -> Result<Vec<u8>, ObjectsError> {
        let (found, data) = self.any(id)?;
        if found == kind { Ok(data) } else { Err(ObjectsError::WrongKind { id, expected }) }
    }

    /// An object of whatever kind.
    ///
    /// # Errors
    /// Where it is missing or damaged.
    pub fn any(&self, id: ObjectId) -> Result<(Kind, Vec<u8>), ObjectsError> {
        if let Some(recent) = self.recent.get(&id) {
            return Ok((recent.0, recent.1.clone()));
        }
        if let Some(object) = self.ahead.as_ref().and_then(|ahead| ahead.take(&id)) {
            return Ok(object);
        }
        if let Some(object) = self.loose.object(&id) {
            return Ok(object);
        }
        let found = self.repo.find_object(id).map_err(|err| ObjectsError::Unreadable { id, why: with_causes(&err) })?;
        let object = found.detach();
        Ok((object.kind, object.data))
    }

    /// The kind of hash that all objects here have.
    pub fn hash(&self) -> gix::hash::Kind {
        self.repo.object_hash()
    }

    /// Looks at an object without reading it.
    ///
    /// # Errors
    /// Where it is missing or of another kind.
    pub fn must_be(&self, id: ObjectId, kind: Kind, expected: &'static str) -> Result<(), ObjectsError> {
        // What a file says of itself is no reason to refuse it.
        let is_it = self.header(id)?.0 == kind || self.header_by_gix(id)?.0 == kind;
        if is_it { Ok(()) } else { Err(ObjectsError::WrongKind { id, expected }) }
    }

    /// # Errors
    /// Where the object is missing, no commit, or damaged.
    pub fn commit(&self, id: ObjectId) -> Result<Arc<Commit>, ObjectsError> {
        let mut last = self.last_commits.borrow_mut();
        let known = last.iter().position(|(known, _)| *known == id);
        let used = match known.and_then(|at| last.remove(at)) {
            Some(known) => known,
            None => (id, Arc::new(parse_commit(id, &self.read(id, Kind::Commit, "commit")?)?)),
        };
        let commit = Arc::clone(&used.1);
        last.push_front(used);
        last.truncate(LAST_COMMITS);
        Ok(commit)
    }

    /// # Errors
    /// Where the object is missing, no tree, or damaged.
    pub fn tree(&mut self, id: ObjectId) -> Result<Arc<Tree>, ObjectsError> {
        if let Some(tree) = self.trees.get(&id) {
            return Ok(Arc::clone(tree));
        }
        let ahead = || self.ahead.as_ref()?.take_tree(&id);
        let tree = match self.older_trees.remove(&id).or_else(ahead) {
            Some(tree) => tree,
            None => {
                let data = if id == self.empty_tree { Vec::new() } else { self.read(id, Kind::Tree, "tree")? };
                Arc::new(parse_tree(id, &data, self.empty_tree)?)
            }
        };
        self.keep(id, Arc::clone(&tree));
        Ok(tree)
    }

    /// What a tree has at a path from its top, unless that is a folder.
    ///
    /// # Errors
    /// Where a tree on the way cannot be read.
    pub fn file_at(&mut self, tree: ObjectId, path: &[u8]) -> Result<Option<Entry>, ObjectsError> {
        let mut folder = tree;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let tree = self.tree(folder)?;
            let Some(entry) = tree.entry(name) else { break };
            match (entry.is_tree(), names.peek()) {
                (true, Some(_)) => folder = entry.id,
                (false, None) => return Ok(Some(entry.clone())),
                _ => break,
            }
        }
        Ok(None)
    }

    /// Whether a tree has a folder at a path from its top.
    ///
    /// # Errors
    /// Where a tree on the way cannot be read.
    pub fn is_folder(&mut self, tree: ObjectId, path: &[u8]) -> Result<bool, ObjectsError> {
        let mut folder = tree;
        for name in path.split(|byte| *byte == b'/') {
            match self.tree(folder)?.entry(name) {
                Some(entry) if entry.is_tree() => folder = entry.id,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn keep(&mut self, id: ObjectId, tree: Arc<Tree>) {
        // What is asked for again and again, as the base's trees are, is never read again.
        if self.kept_entries > self.most_entries / 2 {
            self.older_trees = std::mem::take(&mut self.trees);
            self.kept_entries = 0;
        }
        self.kept_entries += tree.entries.len();
        self.trees.insert(id, tree);
    }

    /// # Errors
    /// Where the object is missing or no blob.
    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ObjectsError> {
        self.read(id, Kind::Blob, "blob")
    }

    /// As [`Objects::blob`], but `None` where it is larger than `most` bytes.
    ///
    /// # Errors
    /// Where the object is missing or no blob.
    pub fn blob_within(&self, id: ObjectId, most: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        let (_, size) = self.header(id)?;
        if size > most { Ok(None) } else { self.blob(id).map(Some) }
    }

    /// Its kind and how many bytes it has.
    fn header(&self, id: ObjectId) -> Result<(Kind, u64), ObjectsError> {
        if let Some(recent) = self.recent.get(&id) {
            return Ok((recent.0, recent.1.len() as u64));
        }
        if let Some(header) = self.loose.header(&id) {
            return Ok(header);
        }
        self.header_by_gix(id)
    }

    fn header_by_gix(&self, id: ObjectId) -> Result<(Kind, u64), ObjectsError> {
        let header =
            self.repo.find_header(id).map_err(|err| ObjectsError::Unreadable { id, why: with_causes(&err) })?;
        Ok((header.kind(), header.size()))
    }

    /// Writes `entries`, in any order, as one tree.
    ///
    /// # Errors
    /// Where the quarantine cannot be written to.
    pub fn write_tree(&mut self, mut entries: Vec<Entry>) -> Result<ObjectId, ObjectsError> {
        entries.sort_unstable_by(|l, r| git_order(&l.name, l.is_tree()).cmp(git_order(&r.name, r.is_tree())));
        let mut data = Vec::with_capacity(entries.len() * 48);
        for entry in &entries {
            data.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
            data.extend_from_slice(&entry.name);
            data.push(0);
            data.extend_from_slice(entry.id.as_slice());
        }
        self.write(Kind::Tree, "tree", &data)
    }

    /// # Errors
    /// Where the quarantine cannot be written to.
    pub fn write_blob(&self, data: &[u8]) -> Result<ObjectId, ObjectsError> {
        self.write(Kind::Blob, "blob", data)
    }

    /// Writes the raw bytes of a commit.
    ///
    /// # Errors
    /// Where the quarantine cannot be written to.
    pub fn write_commit(&self, data: &[u8]) -> Result<ObjectId, ObjectsError> {
        self.write(Kind::Commit, "commit", data)
    }

    /// How many objects are in memory alone.
    pub fn pending(&self) -> usize {
        self.repo.objects.num_objects_in_memory()
    }

    /// Brings what was written to where other processes see it: a few as files of their own, many as one pack.
    ///
    /// # Errors
    /// Where the quarantine cannot be written to.
    pub fn flush(&mut self) -> Result<(), ObjectsError> {
        if self.pending() == 0 {
            return Ok(());
        }
        let failed = |err: gix::Error| ObjectsError::NotWritten { kind: "pack", why: with_causes(&err) };
        let mut memory = self.repo.objects.take_object_memory().unwrap_or_default();
        let objects: Vec<(ObjectId, (Kind, Vec<u8>))> = memory.drain().collect();
        if objects.len() > MOST_LOOSE && self.packs < MOST_PACKS {
            self.packs += 1;
            let folder = self.repo.objects.store_ref().path().join("pack");
            let new = |object| -> pack::New<'_> {
                let (id, (kind, data)): &(ObjectId, (Kind, Vec<u8>)) = object;
                pack::New { id: *id, kind: *kind, data: data.into(), like: None }
            };
            let new: Vec<_> = objects.iter().map(new).collect();
            pack::write(&folder, &new, self.repo.object_hash()).map_err(failed)?;
        } else {
            for (id, (kind, data)) in &objects {
                match uncompressed::loose(*kind, data) {
                    Some(content) => uncompressed::write_loose(self.repo.objects.store_ref().path(), *id, &content)
                        .map_err(|err| ObjectsError::NotWritten { kind: "object", why: with_causes(&err) })?,
                    None => self.repo.objects.write_buf_with_known_id(*kind, data, *id).map(drop).map_err(failed)?,
                }
            }
        }
        for (id, object) in objects {
            self.recent.insert(id, Arc::new(object));
        }
        self.repo.objects.enable_object_memory();
        Ok(())
    }

    fn write(&self, kind: Kind, shown: &'static str, data: &[u8]) -> Result<ObjectId, ObjectsError> {
        let failed = |err: gix::Error| ObjectsError::NotWritten { kind: shown, why: with_causes(&err) };
        let id = gix::objs::compute_hash(self.repo.object_hash(), kind, data).map_err(failed)?;
        // Without a refresh: looking for packs that came meanwhile costs more than a second copy. So does looking at all, for
        // what is short.
        let is_there = || data.len() > LONGEST_COPY && self.repo.objects.exists_without_refresh(&id);
        if self.recent.contains_key(&id) || is_there() {
            return Ok(id);
        }
        self.repo.objects.write_buf_with_known_id(kind, data, id).map_err(failed)
    }
}

pub fn commit_id(id: ObjectId) -> CommitId {
    CommitId::from_bytes(id.as_slice()).expect("gix knows hashes of 20 and 32 bytes only, and so does CommitId")
}

pub fn tree_id(id: ObjectId) -> TreeId {
    TreeId::from_bytes(id.as_slice()).expect("gix knows hashes of 20 and 32 bytes only, and so does TreeId")
}

pub fn from_commit(id: CommitId) -> ObjectId {
    ObjectId::from_bytes_or_panic(id.as_bytes())
}

pub fn from_tree(id: TreeId) -> ObjectId {
    ObjectId::from_bytes_or_panic(id.as_bytes())
}
