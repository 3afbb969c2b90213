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
const MAX_KEPT_ENTRIES: usize = 8_000;

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
    /// `None` where there is no processor or no thread for it. Who asks for `objects` is spared what was read.
    pub fn start(store: &ObjectStore, objects: &mut Objects) -> Option<Self> {
        if thread::available_parallelism().map_or(1, usize::from) < 2 {
            return None;
        }
        let ahead = Arc::new(Ahead::default());
        let (store, shared) = (store.clone(), Arc::clone(&ahead));
        let work = move || shared.work(&mut store.objects().keeping(MAX_KEPT_ENTRIES));
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
        let was_full = state.bytes >= MOST_BYTES;
        if let Some(at) = state.places.get(id).copied() {
            state.reach(at);
        }
        let read = state.read.remove(id);
        state.bytes -= read.as_ref().map_or(0, Read::bytes);
        if was_full && state.bytes < MOST_BYTES {
            self.changed.notify_one();
        }
        read.map(|read| read.what)
    }

    fn work(&self, objects: &mut Objects) {
        loop {
            let mut state = self.lock();
            while !state.has_ended && (state.next >= state.wanted.len() || state.bytes >= MOST_BYTES) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.has_ended {
                return;
            }
            let (round, at) = (state.round, state.next);
            let wanted = state.wanted[at].take();
            state.next += 1;
            drop(state);
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
