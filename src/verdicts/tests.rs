use std::fs;

use super::entry::tests::pass;
use super::*;
use crate::clock::SystemClock;

struct World {
    folder: tempfile::TempDir,
    now_ms: Arc<AtomicU64>,
}

struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()> {
        SystemClock::new().sleep_ms(ms)
    }
}

const TTL: Duration = Duration::from_secs(60);

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("journal"), b"").unwrap();
        // A minute after the passes of `pass` were found, less a millisecond.
        Self { folder, now_ms: Arc::new(AtomicU64::new(1_000_000 + 59_999)) }
    }

    fn store(&self) -> Verdicts {
        self.bounded(u64::MAX)
    }

    fn bounded(&self, limit_bytes: u64) -> Verdicts {
        let settings = Settings {
            folder: Folder::of(self.folder.path()),
            ttl: TTL,
            limit_bytes,
            logs: Some(self.folder.path().join("logs")),
            journal: self.folder.path().join("journal"),
        };
        Verdicts::new(settings, Arc::new(SetClock(Arc::clone(&self.now_ms))), None)
    }

    /// Remembers a pass and its log as a run does.
    fn remember(&self, subject: &str, log: &[u8]) -> FoundPass {
        let mut pass = pass(subject, Some(log));
        let path = self.folder.path().join("found.log");
        fs::write(&path, log).unwrap();
        pass.log.as_mut().unwrap().0 = path;
        let store = self.store();
        store.remember(pass.clone());
        assert_eq!(store.close(), None);
        pass
    }
}

fn ask(store: &Verdicts, pass: &FoundPass) -> Option<KnownPass> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.passes(vec![pass.parts.key()])).remove(0)
}

#[test]
fn a_pass_is_known_to_the_next_run_with_its_log_and_whose_it_was() {
    let world = World::new();
    let pass = world.remember("a", b"1 test passed\n");
    let store = world.store();
    let known = ask(&store, &pass).unwrap();
    let remembered = known.remembered.unwrap();
    assert_eq!((&known.from, remembered.at_ms, remembered.duration_ms), (&pass.run, pass.at_ms, 70));
    assert_eq!(fs::read(remembered.log.unwrap()).unwrap(), b"1 test passed\n");
    assert_eq!(ask(&store, &self::pass("b", None)), None);
    assert_eq!(store.close(), None);
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.entries), (1, 1, 0, 1));
    let totals = totals(&Folder::of(world.folder.path()));
    assert_eq!((totals.hits, totals.misses, totals.sets), (1, 1, 1), "of both runs");
}

#[test]
fn a_pass_stands_for_its_time_and_no_longer_and_not_before() {
    let world = World::new();
    let pass = world.remember("a", b"");
    assert!(ask(&world.store(), &pass).is_some());
    world.now_ms.fetch_add(1, Ordering::Relaxed);
    assert_eq!(ask(&world.store(), &pass), None, "a minute old");
    world.now_ms.store(pass.at_ms - 60_000, Ordering::Relaxed);
    assert_eq!(ask(&world.store(), &pass), None, "a minute too young");
}

#[test]
fn a_damaged_entry_is_a_miss_and_goes_and_the_next_run_puts_a_whole_one_there() {
    let world = World::new();
    let pass = world.remember("a", b"fine\n");
    let name = pass.parts.key().to_string();
    let file = Folder::of(world.folder.path()).path().join(&name[..2]).join(&name);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let store = world.store();
    assert_eq!(ask(&store, &pass), None);
    assert!(!file.exists());
    assert_eq!((store.stats().misses, store.stats().deletes), (1, 1));
    world.remember("a", b"fine\n");
    assert!(ask(&world.store(), &pass).is_some());
}

#[test]
fn where_nothing_can_be_written_nothing_is_remembered_and_it_is_said_once() {
    let world = World::new();
    fs::write(world.folder.path().join("lexpr"), b"in the way").unwrap();
    let store = world.store();
    assert_eq!(ask(&store, &pass("a", None)), None);
    store.remember(pass("a", None));
    store.remember(pass("b", None));
    let trouble = store.close().unwrap();
    assert!(trouble.starts_with("reading in ") && trouble.contains("Not a directory"), "{trouble}");
    assert_eq!(store.stats().sets, 0);
}

#[test]
fn a_pass_whose_record_cannot_be_made_durable_is_not_remembered() {
    let world = World::new();
    fs::remove_file(world.folder.path().join("journal")).unwrap();
    let store = world.store();
    store.remember(pass("a", None));
    assert!(store.close().unwrap().starts_with("syncing the journal"));
    assert_eq!(ask(&world.store(), &pass("a", None)), None);
}

#[test]
fn what_a_run_remembers_beyond_the_bound_goes_before_the_run_has_ended() {
    let world = World::new();
    let store = world.bounded(16 * 4096);
    let (passes, received) = mpsc::channel();
    for number in 0..100 {
        passes.send(pass(&number.to_string(), None)).unwrap();
    }
    drop(passes);
    store.shared.write_all(&received);
    assert!(store.stats().evictions > 0, "the run has not ended yet");
    assert_eq!(store.close(), None);
    let stats = store.stats();
    assert_eq!(stats.sets, 100);
    assert!(stats.size_bytes <= stats.limit_bytes && stats.entries >= 14, "{stats:?}");
    assert_eq!(stats.evictions, 100 - stats.entries);
}

#[test]
fn several_runs_at_once_on_the_same_keys_know_whole_entries_or_none() {
    let world = World::new();
    let log = "a line of a log\n".repeat(2000);
    let passes: Vec<FoundPass> = (0..8).map(|number| pass(&number.to_string(), Some(log.as_bytes()))).collect();
    let path = world.folder.path().join("found.log");
    fs::write(&path, &log).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Less than all of them take: some are always on their way out.
                    let store = world.bounded(5 * 4096);
                    for pass in &passes {
                        let log = pass.log.clone().map(|(_, digest)| (path.clone(), digest));
                        store.remember(FoundPass { log, ..pass.clone() });
                        if let Some(known) = ask(&store, pass) {
                            assert_eq!(known.from, pass.run);
                        }
                    }
                    assert_eq!(store.close(), None);
                    assert_eq!(store.stats().deletes, 0, "nobody ever met a damaged entry");
                }
            });
        }
    });
}
