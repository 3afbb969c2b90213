//! The scripted hands: composer, lander and memory gauge of one world. They check what only the
//! outside can see: that every composite holds its items' dependencies, that nothing lands whose
//! intent is not durable.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use futures::future::BoxFuture;
use lexpr::plan::graph::{Graph, ItemIx};
use lexpr::ports::{
    Claim, ComposeItem, ComposeRequest, Composer, Composite, LandOutcome, LandRequest, Lander, Load, LoadGauge,
    MemoryGauge, PortError, Recovery, Whereabouts,
};
use lexpr::simulation::time::VirtualTime;
use lexpr::vocabulary::event::{Conflict, Event, GateOutcome, LandedByOthers, Recorded, SetAside, SetAsideCause, Step};
use lexpr::vocabulary::names::{ApexId, CommitId, ItemName, JobId, SubjectDigest, TreeId, VerdictKey, WorkerId};
use tokio::sync::Notify;

use super::content::{Content, GateRecord, LandingRecord};
use super::watch::Watch;
use super::{Busyness, Effect, Mishap, OthersMove, Stop, When, World, commit_of, mix};

/// What memory is in use at a peak: more than any threshold of a scripted world.
const PEAK_BYTES: u64 = 1_000_000;

/// How long memory stays as it is.
const PEAK_MS: u64 = 700;

/// The moves that a world's mishaps make have the lower bits of [`Content::moves`] for themselves.
const FIRST_BIT_OF_OTHERS: usize = 32;

/// What must be there, what must not, and what happens then.
type ResolvedRule = (Vec<ItemIx>, Vec<ItemIx>, Effect);

#[derive(Default)]
pub(super) struct Inner {
    commits: HashMap<CommitId, Arc<Content>>,
    pub(super) trees: HashMap<TreeId, Arc<Content>>,
    target: Option<CommitId>,
    pub(super) attempts: HashMap<VerdictKey, u32>,
    /// How often each was rate limited.
    pub(super) refusals: HashMap<VerdictKey, u32>,
    pub(super) gates: Vec<GateRecord>,
    pub(super) gates_begun: usize,
    landings: Vec<LandingRecord>,
    receipts: Vec<serde_json::Value>,
    pub(super) journal: Vec<Recorded>,
    pub(super) synced: usize,
    pub(super) journalled_jobs: HashSet<JobId>,
    pub(super) journal_failed: bool,
    /// It was full once, and is not again.
    pub(super) journal_was_full: bool,
    pub(super) in_work: BTreeSet<WorkerId>,
    pub(super) most_in_work: usize,
    /// Of these, by workers of this machine.
    pub(super) most_here: usize,
    composites: usize,
    landing_attempts: usize,
    recoveries: usize,
    receipt_writes: usize,
    moves: usize,
    /// Which of the world's `others` have happened.
    others_done: HashSet<usize>,
    /// All that the target was moved to by the run, and by others.
    pub(super) landed: Vec<CommitId>,
    pub(super) moved_by_others: Vec<CommitId>,
    /// The run waits until others have landed.
    pub(super) gives_way: bool,
    /// How often it has.
    pub(super) gave_way: usize,
    /// What it asks of others now.
    pub(super) claimed: Option<Claim>,
    /// When memory was measured last, and what it was.
    pub(super) measured: Option<(u64, u64)>,
    /// When the load was counted last, and what was.
    counted: (u64, Load),
}

impl Inner {
    pub(super) fn content_of(&self, commit: CommitId) -> &Content {
        &self.commits[&commit]
    }
}

pub struct Hands {
    pub(super) world: World,
    pub(super) graph: Arc<Graph>,
    pub(super) time: VirtualTime,
    base: CommitId,
    conflicts: HashMap<ItemIx, Vec<ItemIx>>,
    /// By item: the moves of others that it cannot be merged with.
    conflicts_with_others: HashMap<ItemIx, u64>,
    already_landed: Vec<bool>,
    /// Rules by gate, with names resolved.
    rules: HashMap<String, Vec<ResolvedRule>>,
    inner: Arc<Mutex<Inner>>,
    pub(super) watch: Mutex<Watch>,
    pub(super) appended: Notify,
}

impl Hands {
    pub fn new(world: &World, graph: Arc<Graph>, time: VirtualTime) -> Self {
        let find = |name: &String| graph.find(&ItemName::new(name)).expect("a rule names items of the plan");
        let mut conflicts: HashMap<ItemIx, Vec<ItemIx>> = HashMap::new();
        for (one, other) in &world.conflicts {
            let (one, other) = (find(one), find(other));
            conflicts.entry(one).or_default().push(other);
            conflicts.entry(other).or_default().push(one);
        }
        conflicts.values_mut().for_each(|with| with.sort_unstable());
        let mut rules: HashMap<String, Vec<ResolvedRule>> = HashMap::new();
        for rule in &world.rules {
            let present = rule.present.iter().map(find).collect();
            let absent = rule.absent.iter().map(find).collect();
            rules.entry(rule.gate.clone()).or_default().push((present, absent, rule.effect));
        }
        let mut content = Content::of(graph.len());
        let mut already_landed = vec![false; graph.len()];
        for item in world.items.iter().filter(|item| item.already_landed) {
            let ix = find(&item.name);
            content = content.with(ix);
            already_landed[ix.get()] = true;
        }
        let base = commit_of(&[b"base"]);
        let mut conflicts_with_others: HashMap<ItemIx, u64> = HashMap::new();
        for item in &world.conflicts_with_others {
            conflicts_with_others.insert(find(item), u64::MAX);
        }
        for (number, others) in world.others.iter().enumerate() {
            for item in &others.conflicts_with {
                *conflicts_with_others.entry(find(item)).or_default() |= 1 << (FIRST_BIT_OF_OTHERS + number);
            }
        }
        let hands = Self {
            watch: Mutex::new(Watch::new(world, Arc::clone(&graph))),
            conflicts_with_others,
            world: world.clone(),
            graph,
            time,
            base,
            conflicts,
            already_landed,
            rules,
            inner: Arc::default(),
            appended: Notify::new(),
        };
        hands.lock().target = Some(base);
        hands.know(base, content);
        hands
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn know(&self, commit: CommitId, content: Content) -> TreeId {
        let tree = content.tree();
        let content = Arc::new(content);
        let mut inner = self.lock();
        inner.commits.insert(commit, Arc::clone(&content));
        inner.trees.insert(tree, content);
        tree
    }

    pub fn base(&self) -> CommitId {
        self.base
    }

    pub fn base_tree(&self) -> TreeId {
        self.lock().commits[&self.base].tree()
    }

    pub fn target(&self) -> CommitId {
        self.lock().target.unwrap()
    }

    pub fn journal(&self) -> Vec<Recorded> {
        self.lock().journal.clone()
    }

    pub fn is_last_journalled(&self, recorded: &Recorded) -> bool {
        self.lock().journal.last() == Some(recorded)
    }

    /// Waits until the journal has so many events.
    pub async fn journalled(&self, events: usize) {
        while self.lock().journal.len() < events {
            self.appended.notified().await;
        }
    }

    /// Waits until the run has moved the target so often.
    pub async fn moved(&self, times: usize) {
        while self.lock().landed.len() < times {
            self.appended.notified().await;
        }
    }

    /// Takes from the world what goes with a process that is killed; how many events are left.
    /// Between two waits of the loop nothing happens outside of it, so that it may as well have
    /// been killed at any event in between.
    pub fn die(&self, stop: Option<Stop>, before: usize) -> usize {
        let mut inner = self.lock();
        let kept = match stop {
            Some(Stop::Kill(events)) => inner.journal.len().min(before + events),
            Some(Stop::PowerLoss(_, part)) => inner.synced + (inner.journal.len() - inner.synced) / (part + 1),
            Some(Stop::Interrupt(_) | Stop::Refused | Stop::KillOnceMoved(_)) | None => inner.journal.len(),
        };
        inner.journal.truncate(kept);
        inner.synced = kept;
        inner.in_work.clear();
        (inner.gives_way, inner.claimed) = (false, None);
        inner.journal_failed = false;
        let mut recorded: HashMap<(JobId, VerdictKey), u32> = HashMap::new();
        let mut attempts: HashMap<VerdictKey, u32> = HashMap::new();
        let mut refusals: HashMap<VerdictKey, u32> = HashMap::new();
        for event in &inner.journal {
            if let Event::GateFinished(finished) = &event.event {
                *recorded.entry((finished.job, finished.key)).or_default() += 1;
                let is_refused = matches!(finished.outcome, GateOutcome::RateLimited { .. });
                let counts = !is_refused && finished.outcome != GateOutcome::Cancelled;
                *attempts.entry(finished.key).or_default() += u32::from(counts);
                *refusals.entry(finished.key).or_default() += u32::from(is_refused);
            }
        }
        // A gate that is tried again by the new process does what it would have done.
        inner.attempts = attempts;
        inner.refusals = refusals;
        for record in inner.gates.iter_mut().filter(|record| !record.lost) {
            let left = recorded.entry((record.job, record.key)).or_default();
            record.lost = *left == 0;
            *left = left.saturating_sub(1);
        }
        kept
    }

    /// A new process takes the run up.
    pub fn begin_again(&self) {
        let inner = &mut *self.lock();
        inner.measured = None;
        self.watch.lock().unwrap().begin_again(inner);
    }

    /// How often it waited until others had landed.
    pub fn gave_way(&self) -> usize {
        self.lock().gave_way
    }

    pub fn claimed(&self) -> Option<Claim> {
        self.lock().claimed
    }

    pub fn jobs_in_work(&self) -> usize {
        self.lock().in_work.len()
    }

    pub fn most_here(&self) -> usize {
        self.lock().most_here
    }

    pub fn most_in_work(&self) -> usize {
        self.lock().most_in_work
    }

    pub fn landing_records(&self) -> Vec<LandingRecord> {
        self.lock().landings.clone()
    }

    pub fn receipts(&self) -> Vec<serde_json::Value> {
        self.lock().receipts.clone()
    }

    pub fn gate_records(&self) -> Vec<GateRecord> {
        self.lock().gates.clone()
    }

    /// The names of the items in a tree, in canonical order.
    pub fn names_in(&self, content: &Content) -> Vec<String> {
        self.graph.indices().filter(|ix| content.has(*ix)).map(|ix| self.graph.name(ix).to_string()).collect()
    }

    pub(super) fn has_mishap(&self, mishap: Mishap) -> bool {
        self.world.mishaps.contains(&mishap)
    }

    fn hand_ms(&self, of: u64) -> u64 {
        mix(self.world.seed, of) % (self.world.longest_hand_ms + 1)
    }

    /// What `gate` does on a tree, as the world's rules have it; `None`: it passes.
    pub fn effects(&self, gate: &str, content: &Content) -> Vec<Effect> {
        let rules = self.rules.get(gate).map(Vec::as_slice).unwrap_or_default();
        rules
            .iter()
            .filter(|(present, absent, _)| {
                present.iter().all(|ix| content.has(*ix)) && !absent.iter().any(|ix| content.has(*ix))
            })
            .map(|(_, _, effect)| *effect)
            .collect()
    }

    /// Merges one item onto what stands there; the other side of the conflict where it cannot be.
    fn merge(&self, request: &ComposeRequest, standing: &Content, item: &ComposeItem) -> Result<Content, Conflict> {
        if standing.has(item.ix) {
            return Ok(standing.clone());
        }
        let with = self.conflicts.get(&item.ix).and_then(|with| with.iter().find(|with| standing.has(**with)));
        let meets_others = self.conflicts_with_others.get(&item.ix).is_some_and(|moves| moves & standing.moves != 0);
        if with.is_none() && !meets_others {
            return Ok(standing.with(item.ix));
        }
        Err(Conflict {
            with: with.map(|with| self.graph.name(*with).clone()).filter(|with| {
                let of_items = request.items.iter().any(|item| item.name == *with);
                of_items || request.beneath.backwards().any(|step| step.item.as_ref() == Some(with))
            }),
            paths: vec!["file".to_owned()],
            messages: vec!["CONFLICT (content): Merge conflict in file".to_owned()],
        })
    }

    fn compose_now(&self, request: &ComposeRequest) -> Composite {
        let base = Arc::clone(&self.lock().commits[&request.base]);
        let mut standing = (*base).clone();
        let mut commit = request.base;
        let mut tree = base.tree();
        let mut composite = Composite { commit, tree, steps: Vec::new(), set_aside: Vec::new() };
        let mut aside: HashSet<ItemIx> = HashSet::new();
        let asked: HashSet<ItemIx> = request.items.iter().map(|item| item.ix).collect();
        assert!(request.items.is_sorted_by_key(|item| item.ix), "items are merged in canonical order");
        for item in &request.items {
            for dep in &item.deps {
                let is_there = asked.contains(dep) || base.has(*dep) || self.already_landed[dep.get()];
                assert!(is_there, "invariant 2: {} without its dependency {}", item.name, self.graph.name(*dep));
            }
            if let Some(on) = item.deps.iter().find(|dep| aside.contains(dep)) {
                aside.insert(item.ix);
                let cause = SetAsideCause::Dependency { on: self.graph.name(*on).clone() };
                composite.set_aside.push(SetAside { item: item.name.clone(), cause });
                continue;
            }
            match self.merge(request, &standing, item) {
                Ok(merged) if merged == standing => {}
                Ok(merged) => {
                    let why = item.overridden.as_deref().unwrap_or_default();
                    let name = item.name.as_str();
                    commit = commit_of(&[commit.as_bytes(), item.head.as_bytes(), name.as_bytes(), why.as_bytes()]);
                    standing = merged;
                    tree = self.know(commit, standing.clone());
                }
                Err(conflict) => {
                    aside.insert(item.ix);
                    let cause = SetAsideCause::Conflict(conflict);
                    composite.set_aside.push(SetAside { item: item.name.clone(), cause });
                    continue;
                }
            }
            composite.steps.push(Step { item: item.name.clone(), commit, tree });
        }
        composite.commit = commit;
        composite.tree = tree;
        composite
    }

    /// Moves the target, or says where it is.
    fn swap(&self, request: &LandRequest) -> Result<(), CommitId> {
        let mut inner = self.lock();
        let target = inner.target.unwrap();
        if target != request.from {
            return Err(target);
        }
        let (before, after) = (Arc::clone(&inner.commits[&target]), Arc::clone(&inner.commits[&request.to]));
        assert_eq!(after.tree(), request.tree, "the tree is that of the commit");
        let gate_records = inner.gates.len();
        inner.landings.push(LandingRecord { to: request.to, before, after, gate_records });
        inner.target = Some(request.to);
        inner.landed.push(request.to);
        self.appended.notify_one();
        Ok(())
    }

    /// Somebody else moves the target.
    fn move_target(&self, bit: usize, brings: &[String]) {
        let (target, moves) = {
            let mut inner = self.lock();
            inner.moves += 1;
            (inner.target.unwrap(), inner.moves)
        };
        let mut content = (*self.lock().commits[&target]).clone();
        content.moves |= 1 << bit;
        for item in brings {
            content = content.with(self.graph.find(&ItemName::new(item)).unwrap());
        }
        let moved = commit_of(&[b"moved", target.as_bytes(), &moves.to_le_bytes()]);
        self.know(moved, content);
        let mut inner = self.lock();
        inner.target = Some(moved);
        inner.moved_by_others.push(moved);
    }

    /// Somebody else makes those of the world's moves whose time has come.
    pub fn others_move(&self, is_due: impl Fn(When) -> bool) {
        for (number, OthersMove { when, brings, .. }) in self.world.others.iter().enumerate() {
            if is_due(*when) && self.lock().others_done.insert(number) {
                self.move_target(FIRST_BIT_OF_OTHERS + number, brings);
            }
        }
    }

    /// The same at their times, for as long as it is waited for.
    pub async fn others_move_in_time(&self) {
        let mut times: Vec<u64> = self.world.others.iter().filter_map(|others| others.when.at_ms()).collect();
        times.sort_unstable();
        for at_ms in times {
            self.time.sleep(at_ms.saturating_sub(self.time.now())).await;
            self.others_move(|when| when == When::At(at_ms));
        }
        std::future::pending().await
    }
}

impl Composer for Hands {
    fn compose(&self, request: ComposeRequest) -> BoxFuture<'_, Result<Composite, PortError>> {
        async move {
            let number = {
                let mut inner = self.lock();
                inner.composites += 1;
                inner.composites
            };
            self.time.sleep(self.hand_ms(number as u64)).await;
            if self.has_mishap(Mishap::BrokenComposite(number)) {
                return Err(PortError { message: "an object is missing".to_owned(), hint: None });
            }
            Ok(self.compose_now(&request))
        }
        .boxed()
    }

    fn tree_of(&self, commit: CommitId) -> BoxFuture<'_, Result<TreeId, PortError>> {
        let tree = self.lock().commits[&commit].tree();
        futures::future::ready(Ok(tree)).boxed()
    }

    fn landed_since(
        &self,
        _: CommitId,
        to: CommitId,
        items: Vec<Arc<ComposeItem>>,
    ) -> BoxFuture<'_, Result<Vec<LandedByOthers>, PortError>> {
        let content = Arc::clone(&self.lock().commits[&to]);
        let there = items.iter().filter(|item| content.has(item.ix));
        let landed = there.map(|item| LandedByOthers { item: item.name.clone(), landed_as: Some(to) }).collect();
        futures::future::ready(Ok(landed)).boxed()
    }

    fn digest_inputs(&self, tree: TreeId, inputs: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>> {
        async move {
            let content = Arc::clone(&self.lock().trees[&tree]);
            let seen = inputs
                .iter()
                .filter(|name| self.graph.find(&ItemName::new(name)).is_some_and(|ix| content.has(ix)))
                .map(String::as_bytes);
            Ok(SubjectDigest::of(seen))
        }
        .boxed()
    }
}
impl Lander for Hands {
    fn land(
        &self,
        request: LandRequest,
        _: tokio::sync::watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<LandOutcome, PortError>> {
        async move {
            let number = {
                let mut inner = self.lock();
                assert!(!inner.journal_failed, "nothing starts after the journal has failed");
                let intended = |recorded: &Recorded| match &recorded.event {
                    Event::LandingIntended(intended) => intended.to == request.to && intended.from == request.from,
                    _ => false,
                };
                let journalled = inner.journal[..inner.synced].iter().rev().any(intended);
                assert!(journalled, "invariant 6: a landing whose intent is not durable");
                inner.landing_attempts += 1;
                inner.landing_attempts
            };
            // Never at once: a run may be killed between the intent and the move.
            self.time.sleep(self.hand_ms(number as u64 + 1_000_000).max(1)).await;
            if self.has_mishap(Mishap::BrokenLanding(number)) {
                return Err(PortError { message: "git broke".to_owned(), hint: None });
            }
            if self.has_mishap(Mishap::RefusedLanding(number)) {
                let message = "main is checked out and dirty".to_owned();
                return Ok(LandOutcome::Refused { message, advice: None });
            }
            if self.has_mishap(Mishap::MovedBeforeLanding(number)) {
                let bit = self.lock().moves % FIRST_BIT_OF_OTHERS;
                self.move_target(bit, &[]);
            }
            self.others_move(|when| when == When::BeforeLanding(number));
            if let Err(elsewhere) = self.swap(&request) {
                return Ok(LandOutcome::TargetMoved { to: elsewhere });
            }
            // Long enough to be killed before it is told.
            self.time.sleep(self.hand_ms(number as u64 + 2_000_000)).await;
            Ok(LandOutcome::Landed { pushed_to: None, moved_checkouts: Vec::new() })
        }
        .boxed()
    }

    fn gives_way(
        &self,
        urgent: bool,
        mut cancel: tokio::sync::watch::Receiver<bool>,
    ) -> Option<BoxFuture<'static, Result<bool, PortError>>> {
        assert_eq!(urgent, self.world.urgent);
        let now = self.time.now();
        let there = self.world.urgent_beside.iter().filter(|(from, lasts)| (*from..from + lasts).contains(&now));
        let until = there.map(|(from, lasts)| from + lasts).max()?;
        let (time, inner) = (self.time.clone(), Arc::clone(&self.inner));
        inner.lock().unwrap().gives_way = true;
        let wait = async move {
            let may_land = tokio::select! {
                biased;
                _ = cancel.wait_for(|cancelled| *cancelled) => false,
                () = time.sleep(until - now) => true,
            };
            let mut inner = inner.lock().unwrap();
            (inner.gives_way, inner.gave_way) = (false, inner.gave_way + usize::from(may_land));
            Ok(may_land)
        };
        Some(wait.boxed())
    }

    fn claim(&self, claim: Option<Claim>) -> Result<(), PortError> {
        assert!(self.world.urgent || claim.is_none(), "a run that is not urgent claims the right of way");
        self.lock().claimed = claim;
        Ok(())
    }

    fn recover(&self, request: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>> {
        let (landed, number) = {
            let mut inner = self.lock();
            inner.recoveries += 1;
            (inner.landed.contains(&request.to), inner.recoveries)
        };
        let recovery = match landed {
            true if self.has_mishap(Mishap::RefusedRecovery(number)) => {
                Recovery::Refused { message: "another git holds the index".to_owned(), advice: None }
            }
            true => Recovery::Landed { pushed_to: None, moved_checkouts: Vec::new() },
            false => Recovery::NotLanded,
        };
        futures::future::ready(Ok(recovery)).boxed()
    }

    fn whereabouts(&self, tip: CommitId) -> BoxFuture<'_, Result<Whereabouts, PortError>> {
        let to = self.target();
        let whereabouts = if to == tip { Whereabouts::There } else { Whereabouts::Moved { to } };
        futures::future::ready(Ok(whereabouts)).boxed()
    }

    fn elsewhere(&self, tip: CommitId) -> Option<BoxFuture<'static, Result<Option<Whereabouts>, PortError>>> {
        if self.target() == tip {
            return None;
        }
        let (time, inner) = (self.time.clone(), Arc::clone(&self.inner));
        let takes_ms = self.hand_ms(self.lock().moves as u64 + 3_000_000);
        let look = async move {
            time.sleep(takes_ms).await;
            Ok(inner.lock().unwrap().target.map(|to| Whereabouts::Moved { to }))
        };
        Some(look.boxed())
    }

    fn write_receipt(&self, apex: ApexId, receipt: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>> {
        let number = {
            let mut inner = self.lock();
            inner.receipt_writes += 1;
            inner.receipt_writes
        };
        let lost = self.has_mishap(Mishap::ReceiptLost(number));
        self.lock().receipts.push(receipt);
        let path = PathBuf::from(format!("receipt-{}", apex.0));
        let full = PortError { message: "no space left for the receipt".to_owned(), hint: None };
        futures::future::ready(if lost { Err(full) } else { Ok(path) }).boxed()
    }
}

impl MemoryGauge for Hands {
    fn used_bytes(&self) -> Option<u64> {
        let now = self.time.now();
        let mut inner = self.lock();
        let of_jobs = self.world.memory.get(inner.in_work.len()).or(self.world.memory.last()).copied()?;
        let is_peak = self.world.memory_peaks && mix(self.world.seed, now / PEAK_MS).is_multiple_of(3);
        let used = if is_peak { PEAK_BYTES } else { of_jobs };
        inner.measured = Some((now, used));
        Some(used)
    }
}

/// How long the load stays as it is.
const LOAD_MS: u64 = 900;

impl Hands {
    /// Counts what the load was since it was counted last: before what is in work changes.
    pub(super) fn count_load(&self, inner: &mut Inner) {
        let now = self.time.now();
        let (before_ms, before) = inner.counted;
        let since_us = (now - before_ms) * 1000;
        // Hundredths of the time since, of four counters.
        let percents = match self.world.load {
            Busyness::Uncounted => [None; 4],
            Busyness::Wild => {
                let drawn = |nth: u64| mix(mix(self.world.seed, now / LOAD_MS), nth);
                [1, 2, 3, 4].map(|nth| (drawn(nth + 10) % 8 > 0).then(|| drawn(nth) % 150))
            }
            Busyness::Of { cores, percent_a_gate } => {
                let (all, wanted) = (u64::from(cores) * 100, inner.in_work.len() as u64 * u64::from(percent_a_gate));
                let waited = if wanted > all { 100 } else { 0 };
                [Some(waited), Some(0), Some(all.saturating_sub(wanted)), Some(wanted.min(all))]
            }
        };
        let count = |counter: Option<u64>, percent: Option<u64>| {
            percent.map(|percent| counter.unwrap_or(0) + since_us / 100 * percent)
        };
        let [waited, stalled, idle, own] = percents;
        let load = Load {
            waited_for_cpu_us: count(before.waited_for_cpu_us, waited),
            stalled_on_io_us: count(before.stalled_on_io_us, stalled),
            idle_us: count(before.idle_us, idle),
            own_us: count(before.own_us, own),
        };
        inner.counted = (now, load);
    }
}

impl LoadGauge for Hands {
    fn load(&self) -> Load {
        let mut inner = self.lock();
        self.count_load(&mut inner);
        inner.counted.1
    }
}
