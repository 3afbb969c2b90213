//! Reading ahead: while one composite is made of what was read, a second thread reads and inflates what the next item will be
//! asked for.
//!
//! It decides nothing. What it has not read in time, or could not, is read by whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use gix::ObjectId;
use gix::objs::Kind;

use super::parsed::{Entry, Tree, parse_commit, parse_tree};
use super::{ObjectStore, Objects};

/// What was read and not yet asked for has about as many bytes at most.
const MOST_BYTES: usize = 512 << 10;

/// Longer ones are left to whoever asks.
const LONGEST_BLOB: u64 = 512 << 10;

/// So much further on it goes on where it was overtaken, or it would be again at once.
const HEADWAY: usize = 4;

/// The base's trees, beside which others are read.
const MAX_KEPT_ENTRIES: usize = 6_000;

/// What is done with a blob when it was read.
pub type Then = Box<dyn FnOnce(&Objects, &[u8]) + Send>;

/// One thing that will be asked for.
pub enum Wanted {
    Commit(ObjectId),
    Blob(ObjectId, Then),
    /// The commit, and all of its trees that are not the same in tree `since`.
    Trees {
        commit: ObjectId,
        since: ObjectId,
    },
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Wanted").field(&self.id()).finish()
    }
}

impl Wanted {
    fn id(&self) -> ObjectId {
        match *self {
            Self::Commit(id) | Self::Blob(id, _) | Self::Trees { commit: id, .. } => id,
        }
    }
}

/// The second thread; ends with this.
#[derive(Debug)]
pub struct ReadAhead {
    ahead: Arc<Ahead>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// `None` where no thread can be had for it. Who asks for `objects` is spared what was read.
    pub fn start(store: &ObjectStore, objects: &mut Objects) -> Option<Self> {
        let ahead = Arc::new(Ahead::default());
        let (store, shared) = (store.clone(), Arc::clone(&ahead));
        let work = move || shared.work(&store);
        let thread = thread::Builder::new().name("read-ahead".to_owned()).spawn(work).ok()?;
        objects.ahead = Some(Arc::clone(&ahead));
        Some(Self { ahead, thread: Some(thread) })
    }

    /// From now on this is what is wanted, in this order. The first is being asked for.
    pub fn want(&self, wanted: Vec<Wanted>) {
        let mut state = self.ahead.lock();
        // Whatever is asked for says how far its asker has come; of what is asked for twice, the first time.
        let mut places: HashMap<ObjectId, usize> = HashMap::with_capacity(wanted.len());
        for (at, wanted) in wanted.iter().enumerate() {
            places.entry(wanted.id()).or_insert(at);
        }
        state.read.retain(|id, read| match places.get(id) {
            Some(at) => {
                read.at = *at;
                true
            }
            None => false,
        });
        state.bytes = state.read.values().map(Read::bytes).sum();
        state.round += 1;
        let wanted = wanted.into_iter().map(Some).collect();
        (state.wanted, state.places, state.reached, state.next) = (wanted, places, 0, 1);
        self.ahead.changed.notify_one();
    }

    /// Forgets what was wanted, and gives back what was read.
    pub fn rest(&self) {
        self.want(Vec::new());
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.ahead.lock().has_ended = true;
        self.ahead.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing that anybody waits for.
            let _ = thread.join();
        }
    }
}

/// What both threads see.
#[derive(Default)]
pub(super) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// `None` where it was begun with.
    wanted: Vec<Option<Wanted>>,
    /// Where in `wanted` what has an id stands.
    places: HashMap<ObjectId, usize>,
    /// One more with each list.
    round: u64,
    /// What stands before this has been asked for.
    reached: usize,
    /// What is read next.
    next: usize,
    read: HashMap<ObjectId, Read>,
    bytes: usize,
    /// The second thread waits.
    is_idle: bool,
    has_ended: bool,
}

struct Read {
    at: usize,
    what: What,
}

enum What {
    Object(Kind, Vec<u8>),
    Tree(Arc<Tree>),
}

impl Read {
    /// What it takes, more or less.
    fn bytes(&self) -> usize {
        match &self.what {
            What::Object(_, data) => data.len(),
            What::Tree(tree) => tree.entries.len() * size_of::<Entry>(),
        }
    }
}

impl Ahead {
    /// Whoever panicked left numbers behind, and nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object that is asked for now, if it was read.
    pub(super) fn take(&self, id: &ObjectId) -> Option<(Kind, Vec<u8>)> {
        match self.take_what(id)? {
            What::Object(kind, data) => Some((kind, data)),
            What::Tree(_) => None,
        }
    }

    pub(super) fn take_tree(&self, id: &ObjectId) -> Option<Arc<Tree>> {
        match self.take_what(id)? {
            What::Tree(tree) => Some(tree),
            What::Object(..) => None,
        }
    }

    fn take_what(&self, id: &ObjectId) -> Option<What> {
        let mut state = self.lock();
        if state.wanted.is_empty() {
            return None;
        }
        if let Some(at) = state.places.get(id).copied() {
            state.reach(at);
        }
        let read = state.read.remove(id);
        state.bytes -= read.as_ref().map_or(0, Read::bytes);
        if state.is_idle && state.has_work() {
            self.changed.notify_one();
        }
        read.map(|read| read.what)
    }

    fn work(&self, store: &ObjectStore) {
        let mut objects = None;
        loop {
            let mut state = self.lock();
            while !state.has_ended && !state.has_work() {
                if state.wanted.is_empty() {
                    // It may be long until something is.
                    objects = None;
                }
                state.is_idle = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_idle = false;
            if state.has_ended {
                return;
            }
            let (round, at) = (state.round, state.next);
            state.next += 1;
            // Of what was told again some was read already.
            let wanted = state.wanted[at].take().filter(|wanted| !state.read.contains_key(&wanted.id()));
            drop(state);
            let objects = objects.get_or_insert_with(|| store.objects().keeping(MAX_KEPT_ENTRIES));
            // What cannot be read is told to who asks for it.
            let _ = wanted.and_then(|wanted| self.read(objects, wanted, round, at));
        }
    }

    /// `None` where something cannot be read, or need not be any longer.
    fn read(&self, objects: &mut Objects, wanted: Wanted, round: u64, at: usize) -> Option<()> {
        let put = |id, what| self.put(id, Read { at, what }, round);
        match wanted {
            Wanted::Commit(id) => {
                let (kind, data) = objects.any(id).ok()?;
                put(id, What::Object(kind, data))
            }
            Wanted::Blob(id, then) => {
                let data = objects.blob_within(id, LONGEST_BLOB).ok()??;
                then(objects, &data);
                put(id, What::Object(Kind::Blob, data))
            }
            Wanted::Trees { commit, since } => {
                let (kind, data) = objects.any(commit).ok()?;
                let tree = parse_commit(commit, &data).ok()?.tree;
                put(commit, What::Object(kind, data))?;
                let mut open = vec![(Some(since), tree)];
                while let Some((since, tree)) = open.pop() {
                    if since == Some(tree) {
                        continue;
                    }
                    let data = objects.read(tree, Kind::Tree, "tree").ok()?;
                    let after = Arc::new(parse_tree(tree, &data, objects.empty_tree()).ok()?);
                    let before = match since {
                        Some(since) => Some(objects.tree(since).ok()?),
                        None => None,
                    };
                    put(tree, What::Tree(Arc::clone(&after)))?;
                    open.extend(after.entries.iter().filter(|entry| entry.is_tree()).map(|entry| {
                        let same = before.as_ref().and_then(|before| before.entry(&entry.name));
                        (same.filter(|same| same.is_tree()).map(|same| same.id), entry.id)
                    }));
                }
                Some(())
            }
        }
    }

    /// `None` where this place in the list is no longer of interest, or there is no room.
    fn put(&self, id: ObjectId, read: Read, round: u64) -> Option<()> {
        let mut state = self.lock();
        if state.round != round || state.reached >= read.at || state.has_ended {
            return None;
        }
        state.bytes += read.bytes();
        if let Some(known) = state.read.insert(id, read) {
            state.bytes -= known.bytes();
        }
        (state.bytes < MOST_BYTES).then_some(())
    }
}

impl State {
    /// Something is wanted that there is room for.
    fn has_work(&self) -> bool {
        self.next < self.wanted.len() && self.bytes < MOST_BYTES
    }

    /// What stands before `at` is asked for no more, and what stands there is being read by who asks.
    fn reach(&mut self, at: usize) {
        if at <= self.reached {
            return;
        }
        self.reached = at;
        if self.next <= at {
            self.next = at + HEADWAY;
        }
        let bytes = &mut self.bytes;
        self.read.retain(|_, read| {
            let is_ahead = read.at >= at;
            *bytes -= if is_ahead { 0 } else { read.bytes() };
            is_ahead
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::git::objects::Name;

    /// A repository of nothing but objects, and who writes them.
    fn world(folder: &Path) -> Objects {
        for below in ["objects/pack", "objects/info", "refs/heads"] {
            std::fs::create_dir_all(folder.join(below)).unwrap();
        }
        std::fs::write(folder.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";
        std::fs::write(folder.join("config"), config).unwrap();
        Objects::open(folder).unwrap()
    }

    fn blobs(objects: &mut Objects, texts: &[String]) -> Vec<ObjectId> {
        let ids = texts.iter().map(|text| objects.write_blob(text.as_bytes()).unwrap()).collect();
        objects.flush().unwrap();
        ids
    }

    /// Another who asks, of whom nobody wrote anything.
    fn start(folder: &Path) -> (ReadAhead, Objects) {
        let store = ObjectStore::open(folder).unwrap();
        let mut objects = store.objects();
        let reader = ReadAhead::start(&store, &mut objects);
        (reader.unwrap(), objects)
    }

    fn unused(id: ObjectId) -> Wanted {
        Wanted::Blob(id, Box::new(|_, _| {}))
    }

    /// Waits until the second thread has done all it was told that it has room for.
    fn done(reader: &ReadAhead) {
        loop {
            let state = reader.ahead.lock();
            if state.is_idle && !state.has_work() {
                return;
            }
            drop(state);
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_wanted_is_read_in_order_and_told_once_to_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let mut objects = world(folder.path());
        let texts: Vec<String> = (0..20).map(|at| format!("text {at}\n")).collect();
        let ids = blobs(&mut objects, &texts);
        let (reader, objects) = start(folder.path());
        let (tell, told) = mpsc::channel();
        let wanted = ids.iter().map(|id| {
            let (tell, id) = (tell.clone(), *id);
            Wanted::Blob(id, Box::new(move |_, text| tell.send((id, text.to_vec())).unwrap()))
        });
        reader.want(wanted.collect());
        done(&reader);
        let read: Vec<(ObjectId, Vec<u8>)> = told.try_iter().collect();
        let expected: Vec<(ObjectId, Vec<u8>)> =
            ids.iter().zip(&texts).skip(1).map(|(id, text)| (*id, text.clone().into_bytes())).collect();
        assert_eq!(read, expected, "the first is being asked for already");
        let held = || reader.ahead.lock().read.len();
        assert_eq!(held(), 19);
        for (at, (id, text)) in ids.iter().zip(&texts).enumerate() {
            assert_eq!(objects.blob(*id).unwrap(), text.as_bytes());
            assert_eq!(held(), 19 - at, "what was told is not held any longer");
        }
        assert_eq!(objects.blob(ids[3]).unwrap(), texts[3].as_bytes(), "and is there as before");
    }

    #[test]
    fn who_is_further_than_what_was_read_is_not_followed_and_what_it_passed_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let mut objects = world(folder.path());
        let texts: Vec<String> = (0..20).map(|at| format!("text {at}\n")).collect();
        let ids = blobs(&mut objects, &texts);
        let (reader, objects) = start(folder.path());
        reader.want(ids.iter().copied().map(unused).collect());
        done(&reader);
        assert_eq!(objects.blob(ids[15]).unwrap(), texts[15].as_bytes());
        let held: usize = reader.ahead.lock().read.len();
        assert_eq!(held, 4, "16 to 19");
        // Of a new list what is held stays if it is on it.
        reader.want([ids[0], ids[17], ids[18]].map(unused).into());
        done(&reader);
        assert_eq!(reader.ahead.lock().read.len(), 2);
        reader.rest();
        assert!(reader.ahead.lock().read.is_empty());
        assert_eq!(reader.ahead.lock().bytes, 0);
        assert_eq!(objects.blob(ids[17]).unwrap(), texts[17].as_bytes());
    }

    #[test]
    fn no_more_is_read_ahead_than_there_is_room_for_and_what_is_long_or_missing_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut objects = world(folder.path());
        let mut texts: Vec<String> = (0..20).map(|at| format!("{at}\n").repeat(30_000)).collect();
        texts[2] = "long\n".repeat(200_000);
        let mut ids = blobs(&mut objects, &texts);
        ids[1] = ObjectId::from_hex(b"deaddeaddeaddeaddeaddeaddeaddeaddeaddead").unwrap();
        let (reader, objects) = start(folder.path());
        reader.want(ids.iter().copied().map(unused).collect());
        let mut most = 0;
        for (at, id) in ids.iter().enumerate() {
            done(&reader);
            most = most.max(reader.ahead.lock().bytes);
            assert_eq!(objects.blob(*id).is_ok(), at != 1, "{at}");
        }
        assert!(most > MOST_BYTES / 2 && most < MOST_BYTES + 100_000, "{most}");
        assert_eq!(reader.ahead.lock().bytes, 0);
    }

    #[test]
    fn of_a_commit_the_trees_are_read_that_are_new_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut objects = world(folder.path());
        let entry = |name: &str, mode, id| Entry { name: Name::from(name.as_bytes()), mode, id };
        const FILE: u32 = 0o100_644;
        const TREE: u32 = 0o40_000;
        let text = objects.write_blob(b"text\n").unwrap();
        let mut below = |name: &str| objects.write_tree(vec![entry(name, FILE, text)]).unwrap();
        let [same, old, new] = ["same", "old", "new"].map(&mut below);
        let mut top = |changed| {
            let entries = vec![entry("a", TREE, same), entry("b", TREE, changed), entry("c", FILE, text)];
            objects.write_tree(entries).unwrap()
        };
        let (before, after) = (top(old), top(new));
        let commit = format!("tree {after}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nit\n");
        let commit = objects.write_commit(commit.as_bytes()).unwrap();
        let first = objects.write_blob(b"first\n").unwrap();
        objects.flush().unwrap();
        let (reader, mut objects) = start(folder.path());
        reader.want(vec![unused(first), Wanted::Trees { commit, since: before }]);
        done(&reader);
        let mut read: Vec<ObjectId> = reader.ahead.lock().read.keys().copied().collect();
        read.sort_unstable();
        let mut expected = vec![commit, after, new];
        expected.sort_unstable();
        assert_eq!(read, expected);
        assert_eq!(objects.commit(commit).unwrap().tree, after);
        assert_eq!(&*objects.tree(new).unwrap().entries[0].name, b"new");
        assert_eq!(reader.ahead.lock().read.len(), 1, "the top is left");
    }
}
