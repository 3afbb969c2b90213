//! [`ShadowComposer`]: composites for the loop, made one at a time on a thread where waiting is
//! allowed, and remembered by what they are made of, prefix by prefix.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::command::tells_of_trouble;
use super::inputs::Inputs;
use super::merge_tree::MergeTreeError;
use super::objects::{commit_id, from_commit, from_tree, tree_id};
use super::pairs::Pairs;
use super::quarantine::Quarantine;
use super::resolve::{HeadOf, Relations};
use super::shadow::{ComposeError, MergeCounts, Prefix, Workbench, set_aside};
use super::version::GitVersion;
use crate::cache::{Cache, CacheStats};
use crate::plan::{Identity, MergeSettings};
use crate::ports::{ComposeItem, ComposeRequest, Composer, Composite, PortError};
use crate::vocabulary::event::{LandedByOthers, Step};
use crate::vocabulary::names::{CommitId, SubjectDigest, TreeId};
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

/// Prefixes remembered at most: those made last. Each takes some 400 bytes, the cache's own included, and shares the prefixes
/// before it.
pub const MAX_PREFIXES: u64 = 2_000;

/// Objects held in memory until there is a reason to write them.
const MOST_PENDING: usize = 10_000;

/// How long one composite is worked at while others may be waiting.
const LONGEST_TURN: Duration = Duration::from_millis(20);

/// Digests of inputs remembered at most, some 200 bytes each.
const MAX_DIGESTS: u64 = 10_000;

/// Trees are walked level by level, and one may be a thousand levels deep; what is not used costs
/// nothing.
const STACK_BYTES: usize = 16 << 20;

/// How composites are made and kept.
#[derive(Clone, Debug)]
pub struct ComposeSettings {
    pub merge: MergeSettings,
    /// `None`: the committer of what is merged.
    pub committer: Option<Identity>,
    /// How long a composite is remembered; `None` remembers nothing.
    pub remember_for: Option<Duration>,
}

/// What the composer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComposeStats {
    /// A hit is a composite answered from memory, whole; of a miss at least the last item had to
    /// be merged. What is evicted are prefixes.
    pub prefixes: CacheStats,
    pub merges: MergeCounts,
}

/// Makes composites in a quarantine.
pub struct ShadowComposer {
    bench: Bench,
    /// Held while a composite is looked up or worked at: equal requests of one turn never do the work twice.
    turn: tokio::sync::Mutex<()>,
    prefixes: Option<Cache<PrefixKey, Arc<Prefix>>>,
    digests: Cache<(TreeId, Vec<String>), SubjectDigest>,
    spliced: AtomicU64,
    merged_by_git: AtomicU64,
}

impl std::fmt::Debug for ShadowComposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShadowComposer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The workbench and the one thread that works at it. One and the same, because what it remembers is
/// freed where it was made: spread over a pool's threads the memory of each would grow to the most
/// it has ever held.
struct Bench {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

type Work = Box<dyn FnOnce(&mut Workbench) + Send>;

impl Bench {
    fn open(mut bench: Workbench) -> Result<Self, PortError> {
        let (sender, receiver) = mpsc::channel::<Work>();
        let at_work = move || {
            for work in receiver {
                work(&mut bench);
            }
        };
        let thread = std::thread::Builder::new().name("composer".to_owned()).stack_size(STACK_BYTES).spawn(at_work);
        let thread = thread.map_err(|error| broken(&format!("its thread could not be started: {error}")))?;
        Ok(Self { work: Some(sender), thread: Some(thread) })
    }

    fn hand(&self, work: Work) -> Result<(), PortError> {
        let handed = self.work.as_ref().and_then(|sender| sender.send(work).ok());
        handed.ok_or_else(|| broken("an earlier composition panicked"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // That it panicked was told to who had asked.
            let _ = thread.join();
        }
    }
}

/// What a prefix is made of: the base and the ordered items, chained.
type PrefixKey = [u8; 32];

impl ShadowComposer {
    /// # Errors
    /// Where the quarantine's objects cannot be opened.
    pub fn new(quarantine: &Quarantine, settings: ComposeSettings) -> Result<Self, PortError> {
        let bench = Workbench::new(quarantine, settings.merge, settings.committer).map_err(port_error)?;
        let prefixes = settings.remember_for.map(|time| Cache::new(MAX_PREFIXES, time));
        Ok(Self {
            bench: Bench::open(bench)?,
            turn: tokio::sync::Mutex::new(()),
            prefixes,
            digests: Cache::without_expiry(MAX_DIGESTS),
            spliced: AtomicU64::new(0),
            merged_by_git: AtomicU64::new(0),
        })
    }

    /// The counters, for the metrics.
    pub fn stats(&self) -> ComposeStats {
        ComposeStats {
            prefixes: self.prefixes.as_ref().map(Cache::stats).unwrap_or_default(),
            merges: MergeCounts {
                spliced: self.spliced.load(Ordering::Relaxed),
                by_git: self.merged_by_git.load(Ordering::Relaxed),
            },
        }
    }

    /// How items relate to `base` and to each other.
    ///
    /// # Errors
    /// Where a commit cannot be read.
    pub async fn relate(&self, base: CommitId, items: Vec<HeadOf>) -> Result<Relations, PortError> {
        self.at_the_bench(move |bench| bench.relate(base, &items)).await
    }

    /// Which of `items`, none of which has landed, clash with which on `base`; at most `most` pairs are merged.
    ///
    /// # Errors
    /// Where git or the disk fails.
    pub async fn pairs(&self, base: CommitId, items: Vec<Arc<ComposeItem>>, most: usize) -> Result<Pairs, PortError> {
        self.at_the_bench(move |bench| bench.pairs(base, &items, most)).await
    }

    async fn at_the_bench<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workbench) -> Result<T, ComposeError> + Send + 'static,
    ) -> Result<T, PortError> {
        let (tell, told) = oneshot::channel();
        self.bench.hand(Box::new(move |bench| {
            // Whoever asked may have gone.
            let _ = tell.send(work(bench).map_err(port_error));
        }))?;
        // A panic ends the thread: what it left half done is never used again.
        told.await.map_err(|_| broken("a composition panicked"))?
    }

    /// A long composite is made in turns, between which others get theirs: a worker waits for a cone of a
    /// few items, and not for all that is to land next.
    async fn compose_now(&self, request: ComposeRequest) -> Result<Composite, PortError> {
        let keys = keys(&request);
        let request = Arc::new(request);
        let mut at: Option<(usize, Arc<Prefix>)> = None;
        loop {
            let _turn = self.turn.lock().await;
            let begin = at.or_else(|| self.longest_known(&keys));
            let request = Arc::clone(&request);
            let (made, counts) =
                self.at_the_bench(move |bench| Ok((read_ahead_turn(bench, begin, &request)?, bench.counts))).await?;
            self.spliced.store(counts.spliced, Ordering::Relaxed);
            self.merged_by_git.store(counts.by_git, Ordering::Relaxed);
            if let Some(cache) = &self.prefixes {
                for (len, prefix) in &made {
                    cache.insert(keys[*len], Arc::clone(prefix));
                }
            }
            at = made.into_iter().next_back();
            if let Some((len, last)) = &at
                && *len + 1 == keys.len()
            {
                return Ok(composite(last));
            }
        }
    }

    fn longest_known(&self, keys: &[PrefixKey]) -> Option<(usize, Arc<Prefix>)> {
        let (shorter_by, prefix) = self.prefixes.as_ref()?.first_of(keys.iter().rev())?;
        Some((keys.len() - 1 - shorter_by, prefix))
    }
}

/// As [`one_turn`], while what it will need is read.
fn read_ahead_turn(
    bench: &mut Workbench,
    begin: Option<(usize, Arc<Prefix>)>,
    request: &ComposeRequest,
) -> Result<Vec<(usize, Arc<Prefix>)>, ComposeError> {
    let is_read_ahead = bench.items_will_be_merged(&request.items, begin.as_ref().map_or(0, |(len, _)| *len));
    let made = one_turn(bench, begin, request);
    let has_more = made.as_ref().is_ok_and(|made| made.last().is_some_and(|(len, _)| *len < request.items.len()));
    if is_read_ahead && !has_more {
        bench.nothing_is_wanted();
    }
    made
}

/// Makes more of a composite, from what there is of it, until it is whole or the turn is over: the prefixes,
/// each with its length, the one it began with first. One that is whole is where others see it.
fn one_turn(
    bench: &mut Workbench,
    begin: Option<(usize, Arc<Prefix>)>,
    request: &ComposeRequest,
) -> Result<Vec<(usize, Arc<Prefix>)>, ComposeError> {
    let begun = Instant::now();
    let (mut len, mut at) = match begin {
        Some(begin) => begin,
        None => (0, Arc::new(bench.start(request.base)?)),
    };
    let mut made = vec![(len, Arc::clone(&at))];
    for item in &request.items[len..] {
        if begun.elapsed() > LONGEST_TURN {
            return Ok(made);
        }
        at = Arc::new(bench.add(&at, item, &request.beneath)?);
        len += 1;
        if bench.objects.pending() > MOST_PENDING {
            bench.objects.flush()?;
        }
        made.push((len, Arc::clone(&at)));
    }
    bench.objects.flush()?;
    Ok(made)
}

impl Composer for ShadowComposer {
    fn compose(&self, request: ComposeRequest) -> BoxFuture<'_, Result<Composite, PortError>> {
        self.compose_now(request).boxed()
    }

    fn tree_of(&self, commit: CommitId) -> BoxFuture<'_, Result<TreeId, PortError>> {
        self.at_the_bench(move |bench| Ok(tree_id(bench.objects.commit(from_commit(commit))?.tree))).boxed()
    }

    fn landed_since(
        &self,
        from: CommitId,
        to: CommitId,
        items: Vec<Arc<ComposeItem>>,
    ) -> BoxFuture<'_, Result<Vec<LandedByOthers>, PortError>> {
        self.at_the_bench(move |bench| bench.landed_since(from, to, &items)).boxed()
    }

    fn digest_inputs(&self, tree: TreeId, inputs: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>> {
        async move {
            let key = (tree, inputs.clone());
            if let Some(known) = self.digests.get(&key) {
                return Ok(known);
            }
            let digest = self
                .at_the_bench(move |bench| Inputs::new(&inputs)?.digest(&mut bench.objects, from_tree(tree)))
                .await?;
            self.digests.insert(key, digest);
            Ok(digest)
        }
        .boxed()
    }
}

/// The key of every prefix of a request, from no item to all.
fn keys(request: &ComposeRequest) -> Vec<PrefixKey> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(request.base.as_bytes());
    hasher.update(&request.beneath.digest());
    let mut key = *hasher.finalize().as_bytes();
    let mut keys = vec![key];
    for item in &request.items {
        let ComposeItem { ix, name, branch, head, strategy, deps, merged, overridden } = &**item;
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in [name.as_str().as_bytes(), branch.as_bytes(), head.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        // Who depends on whom decides who is set aside with whom.
        hasher.update(&[*strategy as u8]).update(&(ix.get() as u64).to_le_bytes());
        hasher.update(&(deps.len() as u64).to_le_bytes());
        for dep in deps {
            hasher.update(&(dep.get() as u64).to_le_bytes());
        }
        for head in merged {
            hasher.update(head.as_bytes());
        }
        if let Some(overridden) = overridden {
            hasher.update(overridden.as_bytes());
        }
        key = *hasher.finalize().as_bytes();
        keys.push(key);
    }
    keys
}

fn composite(prefix: &Prefix) -> Composite {
    let mut steps: Vec<Step> = prefix
        .backwards()
        .filter(|(_, added, _)| added.set_aside.is_none())
        .map(|(_, added, after)| Step {
            item: added.item.name.clone(),
            commit: commit_id(after.landed),
            tree: tree_id(after.tree),
        })
        .collect();
    steps.reverse();
    Composite { commit: commit_id(prefix.landed), tree: tree_id(prefix.tree), steps, set_aside: set_aside(prefix) }
}

fn broken(why: &str) -> PortError {
    PortError { message: format!("composites can no longer be made: {why}"), hint: None }
}

fn port_error(err: ComposeError) -> PortError {
    let hint = match &err {
        ComposeError::Merge(MergeTreeError::AttributesOutOfReach { .. }) => {
            Some(format!("install git {} or newer", GitVersion::ATTR_SOURCE))
        }
        ComposeError::Objects(error) if tells_of_trouble(&error.to_string()) => None,
        ComposeError::Objects(_) => Some("`git fsck` in the repository tells whether its objects are whole".to_owned()),
        _ => None,
    };
    PortError { message: err.to_string(), hint }
}
