//! Passes that later runs of the repository need not find again: kept on disk under their keys,
//! each for a time, all of them within a bound. No failure is kept, and nothing that is damaged,
//! out of date or cannot be read is known. What cannot be written is not remembered, and said once.
//!
//! A pass is written by a thread of its own, so that nobody waits for a disk; its run's journal is
//! synced first, so that no verdict outlasts the record of how it was come by.

pub mod entry;
pub mod folder;
#[cfg(feature = "shared-cache")]
pub mod shared;
mod totals;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::entry::{Entry, Kept};
use self::folder::Folder;
pub use self::totals::Totals;
use crate::ports::{Clock, KnownPass, VerdictStore};
use crate::vocabulary::names::{RunId, VerdictKey};
use crate::vocabulary::verdict::{FoundPass, Remembered};

/// Room is made at a run's end, and before that whenever so much of the limit was written.
const SWEPT_AFTER_PART: u64 = 8;

/// A place that machines share, where the same entries are. What is wrong with it costs nothing but what
/// it would have spared.
pub trait Elsewhere: Send + Sync {
    /// The bytes under a key, whatever they are; `None` where there are none, or nobody answers.
    fn get(&self, key: VerdictKey) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Puts them there; blocks.
    fn put(&self, key: VerdictKey, bytes: Vec<u8>);

    /// Why it is asked no more, where it is not.
    fn trouble(&self) -> Option<String>;
}

/// What a run keeps passes by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub folder: Folder,
    /// How long a pass stands for another run.
    pub ttl: Duration,
    pub limit_bytes: u64,
    /// Where logs of passes that are reused go; `None` where what is there is only to be looked at, and nothing of it
    /// changes.
    pub logs: Option<PathBuf>,
    /// The run's.
    pub journal: PathBuf,
}

/// What came of asking, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub sets: u64,
    /// Damaged entries that were removed.
    pub deletes: u64,
    pub evictions: u64,
    /// What there was when it was last looked.
    pub entries: u64,
    pub size_bytes: u64,
    pub limit_bytes: u64,
}

impl Stats {
    /// `None` where nothing was asked.
    pub fn hit_rate(&self) -> Option<f64> {
        hit_rate(self.hits, self.misses)
    }
}

fn hit_rate(hits: u64, misses: u64) -> Option<f64> {
    let asked = hits.saturating_add(misses);
    (asked > 0).then(|| hits as f64 / asked as f64)
}

/// The passes of a repository, as one run keeps them.
pub struct Verdicts {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writer>>,
}

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdicts").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

struct Writer {
    passes: Sender<FoundPass>,
    thread: JoinHandle<()>,
}

struct Shared {
    settings: Settings,
    clock: Arc<dyn Clock>,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    counters: Counters,
    /// The first that kept something from being read or written.
    trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    sets: AtomicU64,
    deletes: AtomicU64,
    evictions: AtomicU64,
    entries: AtomicU64,
    size_bytes: AtomicU64,
}

fn count(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Verdicts {
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        let counters = Counters::default();
        let shared = Shared { settings, clock, elsewhere, counters, trouble: Mutex::default() };
        Self { shared: Arc::new(shared), writer: Mutex::default() }
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Waits until what was to be remembered is, makes room, and adds what this run counted to the
    /// repository's totals. Says what went wrong on the way, if anything did.
    pub fn close(&self) -> Option<String> {
        if let Some(Writer { passes, thread }) = locked(&self.writer).take() {
            drop(passes);
            if thread.join().is_err() {
                self.shared.is_in_trouble("remembering verdicts", &io::Error::other("it broke off"));
            }
        }
        let stats = self.stats();
        if stats != (Stats { limit_bytes: stats.limit_bytes, ..Stats::default() }) {
            self.shared.sweep();
            let Stats { hits, misses, sets, deletes, evictions, limit_bytes, .. } = self.stats();
            let run = Totals { hits, misses, sets, deletes, evictions, limit_bytes };
            let folder = self.shared.settings.folder.path();
            if let Err(error) = Totals::add(folder, &run) {
                self.shared.is_in_trouble("counting", &error);
            }
        }
        let here = locked(&self.shared.trouble).take();
        let there = self.shared.elsewhere.as_ref().and_then(|elsewhere| elsewhere.trouble());
        match (here, there) {
            (Some(here), Some(there)) => Some(format!("{here}; {there}")),
            (here, there) => here.or(there),
        }
    }
}

impl VerdictStore for Verdicts {
    fn passes(&self, keys: Vec<VerdictKey>) -> BoxFuture<'static, Vec<Option<KnownPass>>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let here = Arc::clone(&shared);
            let asked = keys.clone();
            let look = move || asked.iter().map(|key| here.find(*key)).collect();
            // Broken off only where the process ends.
            let mut known: Vec<Option<KnownPass>> =
                tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| vec![None; keys.len()]);
            if let Some(elsewhere) = &shared.elsewhere {
                let missing = keys.iter().zip(&mut known).filter(|(_, known)| known.is_none());
                let fetch = missing.map(|(key, known)| async {
                    *known = Shared::fetch(Arc::clone(&shared), &**elsewhere, *key).await;
                });
                futures::future::join_all(fetch).await;
            }
            for known in &known {
                count(if known.is_some() { &shared.counters.hits } else { &shared.counters.misses }, 1);
            }
            known
        }
        .boxed()
    }

    fn remember(&self, pass: FoundPass) {
        let mut writer = locked(&self.writer);
        if writer.is_none() {
            let (passes, received) = mpsc::channel();
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().spawn(move || shared.write_all(&received)) {
                Ok(thread) => *writer = Some(Writer { passes, thread }),
                Err(error) => self.shared.is_in_trouble("starting a thread", &error),
            }
        }
        if let Some(writer) = writer.as_ref() {
            // A thread that broke off is told of when it is waited for.
            let _ = writer.passes.send(pass);
        }
    }
}

impl Shared {
    /// What is found elsewhere is kept here, to be found as everything else is.
    async fn fetch(shared: Arc<Self>, elsewhere: &dyn Elsewhere, key: VerdictKey) -> Option<KnownPass> {
        let bytes = elsewhere.get(key).await?;
        let keep = move || {
            // Damage, wherever it came from, is nothing to keep.
            let kept = entry::decode(key, &bytes).ok()?;
            if let Err(error) = shared.settings.folder.write(key, &bytes) {
                shared.is_in_trouble("writing", &error);
            }
            shared.known(key, &kept)
        };
        tokio::task::spawn_blocking(keep).await.ok().flatten()
    }

    fn find(&self, key: VerdictKey) -> Option<KnownPass> {
        let folder = &self.settings.folder;
        let bytes = match folder.read(key) {
            Ok(bytes) => bytes?,
            Err(error) => {
                self.is_in_trouble("reading", &error);
                return None;
            }
        };
        let Ok(kept) = entry::decode(key, &bytes) else {
            // Whoever runs the gate puts a whole one there.
            if self.settings.logs.is_some() && matches!(folder.remove(key), Ok(true)) {
                count(&self.counters.deletes, 1);
            }
            return None;
        };
        let known = self.known(key, &kept)?;
        if self.settings.logs.is_some() {
            folder.touch(key);
        }
        Some(known)
    }

    /// What a run is told of an entry; `None` where its time is over.
    fn known(&self, key: VerdictKey, kept: &Kept<'_>) -> Option<KnownPass> {
        if !is_in_time(kept.entry.at_ms, self.clock.now_ms(), self.settings.ttl) {
            return None;
        }
        let log = kept.log().and_then(|log| self.hand_out(key, &log));
        let Entry { parts, run, at_ms, duration_ms, flaky, log_digest, .. } = kept.entry.clone();
        let remembered = Remembered { definition: parts.gate.definition, at_ms, duration_ms, flaky, log, log_digest };
        Some(KnownPass { from: run, remembered: Some(remembered) })
    }

    /// Puts a log where the run's others are.
    fn hand_out(&self, key: VerdictKey, log: &[u8]) -> Option<String> {
        let logs = self.settings.logs.as_ref()?;
        let path = logs.join(format!("verdict-{key}.log"));
        let written = std::fs::create_dir_all(logs).and_then(|()| std::fs::write(&path, log));
        written.ok().map(|()| path.to_string_lossy().into_owned())
    }

    /// The writer's thread: until nobody is there any more who could have a pass.
    fn write_all(&self, passes: &Receiver<FoundPass>) {
        let mut since_swept = 0;
        while let Ok(first) = passes.recv() {
            let mut batch = vec![first];
            batch.extend(passes.try_iter());
            if let Err(error) = File::open(&self.settings.journal).and_then(|journal| journal.sync_data()) {
                self.is_in_trouble("syncing the journal", &error);
                continue;
            }
            for pass in &batch {
                since_swept += self.write(pass);
            }
            if since_swept > self.settings.limit_bytes / SWEPT_AFTER_PART {
                self.sweep();
                since_swept = 0;
            }
        }
    }

    /// How many bytes that took.
    fn write(&self, pass: &FoundPass) -> u64 {
        let log = pass.log.as_ref().and_then(|(path, _)| read_log(path));
        let key = pass.parts.key();
        let replaced = peek(&self.settings.folder, key).map(|before| (before.run, before.at_ms));
        let Some(bytes) = entry::encode(pass, log.as_deref(), replaced) else { return 0 };
        match self.settings.folder.write(key, &bytes) {
            Ok(()) => count(&self.counters.sets, 1),
            Err(error) => self.is_in_trouble("writing", &error),
        }
        let size = bytes.len() as u64;
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.put(key, bytes);
        }
        size
    }

    fn sweep(&self) {
        match self.settings.folder.sweep(self.settings.limit_bytes) {
            Ok(swept) => {
                count(&self.counters.evictions, swept.evicted);
                self.counters.entries.store(swept.entries, Ordering::Relaxed);
                self.counters.size_bytes.store(swept.bytes, Ordering::Relaxed);
            }
            Err(error) => self.is_in_trouble("making room", &error),
        }
    }

    fn is_in_trouble(&self, doing: &str, error: &io::Error) {
        let place = self.settings.folder.path().display();
        locked(&self.trouble).get_or_insert_with(|| format!("{doing} in {place}: {error}"));
    }

    fn stats(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Stats {
            hits: of(&counters.hits),
            misses: of(&counters.misses),
            sets: of(&counters.sets),
            deletes: of(&counters.deletes),
            evictions: of(&counters.evictions),
            entries: of(&counters.entries),
            size_bytes: of(&counters.size_bytes),
            limit_bytes: self.settings.limit_bytes,
        }
    }
}

/// Whether a pass still stands. One from the future was made by a clock that was wrong: by so much it
/// may be as old.
pub fn is_in_time(found_ms: u64, now_ms: u64, ttl: Duration) -> bool {
    u128::from(now_ms.abs_diff(found_ms)) < ttl.as_millis()
}

/// The entry under a key, whatever its age; nothing is counted, and nothing removed.
pub fn peek(folder: &Folder, key: VerdictKey) -> Option<Entry> {
    let bytes = folder.read(key).ok()??;
    entry::decode(key, &bytes).ok().map(|kept| kept.entry)
}

/// Whether a pass of that run is remembered.
pub fn is_remembered(common_dir: &Path, key: VerdictKey, run: &RunId) -> bool {
    peek(&Folder::of(common_dir), key).is_some_and(|entry| entry.run == *run)
}

/// What all runs of a repository counted.
pub fn totals(folder: &Folder) -> Totals {
    Totals::read(folder.path())
}

/// A log that may be kept, or the beginning of one that is too large for that.
fn read_log(path: &Path) -> Option<Vec<u8>> {
    let mut log = Vec::new();
    File::open(path).ok()?.take(entry::MOST_LOG_BYTES as u64 + 1).read_to_end(&mut log).ok()?;
    Some(log)
}

/// Nothing in here can be half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
