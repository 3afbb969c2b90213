//! The scripted hands: composer, gate runner, lander, journal and memory gauge of one world. They
//! check what only the outside can see: that nothing is begun before it is journalled, that no
//! more jobs run than there are workers, that every composite holds its items' dependencies.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use lexpr::plan::graph::{Graph, ItemIx};
use lexpr::ports::{
    ComposeItem, ComposeRequest, Composer, Composite, GateRun, GateRunner, Job, JobGateRun, JobNews, Journal,
    LandOutcome, LandRequest, Lander, MemoryGauge, PortError, Recovery, VerdictStore, Whereabouts,
};
use lexpr::vocabulary::event::{Conflict, Event, GateOutcome, Recorded, SetAside, SetAsideCause, Step, Verdict};
use lexpr::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, ItemName, JobId, RunId, SubjectDigest, TreeId, VerdictKey, WorkerId,
};
use tokio::sync::{Notify, mpsc, watch};

use super::time::VirtualTime;
use super::{Effect, Mishap, Stop, World, commit_of, mix};

/// How often the scripted runner tries a gate that it cannot run.
const INFRASTRUCTURE_ATTEMPTS: u32 = 2;

/// A run that tells more than this will never end.
const MOST_EVENTS: u64 = 200_000;

/// What is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// One bit an item, by canonical position.
    items: Vec<u64>,
    /// How often somebody else had moved the target.
    moves: u64,
}

impl Content {
    fn of(items: usize) -> Self {
        Self { items: vec![0; items.div_ceil(64)], moves: 0 }
    }

    pub fn has(&self, ix: ItemIx) -> bool {
        self.items[ix.get() / 64] >> (ix.get() % 64) & 1 == 1
    }

    pub fn with(&self, ix: ItemIx) -> Self {
        let mut content = self.clone();
        content.items[ix.get() / 64] |= 1 << (ix.get() % 64);
        content
    }

    pub fn without(&self, ix: ItemIx) -> Self {
        let mut content = self.clone();
        content.items[ix.get() / 64] &= !(1 << (ix.get() % 64));
        content
    }

    pub fn tree(&self) -> TreeId {
        let words: Vec<u8> = self.items.iter().chain([&self.moves]).flat_map(|word| word.to_le_bytes()).collect();
        TreeId::from_bytes(&super::twenty_bytes(&[b"tree", &words])).unwrap()
    }
}

/// One ended attempt of a gate, as the world saw it.
#[derive(Clone, Debug)]
pub struct GateRecord {
    pub gate: String,
    pub definition: DefinitionDigest,
    pub key: VerdictKey,
    pub tree: TreeId,
    pub what: Arc<Content>,
    /// Names of the items in the tree, in canonical order.
    pub content: Vec<String>,
    pub passed: bool,
    pub failed: bool,
    pub clean_slot: bool,
    pub job: JobId,
    /// Its run came to a verdict with it.
    pub judged: bool,
    /// The run was killed before it had recorded it.
    pub lost: bool,
}

/// One move of the target by the run.
#[derive(Clone, Debug)]
pub struct LandingRecord {
    pub before: Arc<Content>,
    pub after: Arc<Content>,
    /// How many gate records there were by then.
    pub gate_records: usize,
}

/// What must be there, what must not, and what happens then.
type ResolvedRule = (Vec<ItemIx>, Vec<ItemIx>, Effect);

#[derive(Default)]
struct Inner {
    commits: HashMap<CommitId, Arc<Content>>,
    trees: HashMap<TreeId, Arc<Content>>,
    target: Option<CommitId>,
    attempts: HashMap<VerdictKey, u32>,
    gates: Vec<GateRecord>,
    landings: Vec<LandingRecord>,
    receipts: Vec<serde_json::Value>,
    journal: Vec<Recorded>,
    synced: usize,
    journalled_jobs: HashSet<JobId>,
    journal_failed: bool,
    in_work: BTreeSet<WorkerId>,
    most_in_work: usize,
    composites: usize,
    landing_attempts: usize,
    moves: u64,
    /// All that the target was moved to.
    landed: Vec<CommitId>,
}

pub struct Hands {
    world: World,
    graph: Arc<Graph>,
    time: VirtualTime,
    base: CommitId,
    conflicts: HashMap<ItemIx, Vec<ItemIx>>,
    conflicts_with_others: HashSet<ItemIx>,
    already_landed: Vec<bool>,
    /// Rules by gate, with names resolved.
    rules: HashMap<String, Vec<ResolvedRule>>,
    inner: Arc<Mutex<Inner>>,
    appended: Arc<Notify>,
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
        let hands = Self {
            conflicts_with_others: world.conflicts_with_others.iter().map(find).collect(),
            world: world.clone(),
            graph,
            time,
            base,
            conflicts,
            already_landed,
            rules,
            inner: Arc::default(),
            appended: Arc::default(),
        };
        hands.lock().target = Some(base);
        hands.know(base, content);
        hands
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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

    /// Whether somebody else moved the target.
    pub fn has_moved(&self) -> bool {
        self.lock().moves > 0
    }

    pub fn journal(&self) -> Vec<Recorded> {
        self.lock().journal.clone()
    }

    pub fn last_journalled(&self) -> Option<Recorded> {
        self.lock().journal.last().cloned()
    }

    pub fn journal_writer(&self) -> JournalWriter {
        let full_at = self.world.mishaps.iter().find_map(|mishap| match mishap {
            Mishap::JournalFull(seq) => Some(*seq),
            _ => None,
        });
        JournalWriter { inner: Arc::clone(&self.inner), appended: Arc::clone(&self.appended), full_at }
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
    pub fn die(&self, stop: Stop, before: usize) -> usize {
        let mut inner = self.lock();
        let kept = match stop {
            Stop::Kill(events) => inner.journal.len().min(before + events),
            Stop::PowerLoss(_, part) => inner.synced + (inner.journal.len() - inner.synced) / (part + 1),
            Stop::Interrupt(_) | Stop::Refused | Stop::KillOnceMoved(_) => inner.journal.len(),
        };
        inner.journal.truncate(kept);
        inner.synced = kept;
        inner.in_work.clear();
        let mut recorded: HashMap<(JobId, VerdictKey), u32> = HashMap::new();
        let mut attempts: HashMap<VerdictKey, u32> = HashMap::new();
        for event in &inner.journal {
            if let Event::GateFinished(finished) = &event.event {
                *recorded.entry((finished.job, finished.key)).or_default() += 1;
                *attempts.entry(finished.key).or_default() += u32::from(finished.outcome != GateOutcome::Cancelled);
            }
        }
        // A gate that is tried again by the new process does what it would have done.
        inner.attempts = attempts;
        for record in inner.gates.iter_mut().filter(|record| !record.lost) {
            let left = recorded.entry((record.job, record.key)).or_default();
            record.lost = *left == 0;
            *left = left.saturating_sub(1);
        }
        kept
    }

    pub fn jobs_in_work(&self) -> usize {
        self.lock().in_work.len()
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
        let mut records = self.lock().gates.clone();
        for record in &mut records {
            let within = self.graph.indices().filter(|ix| record.what.has(*ix));
            record.content = within.map(|ix| self.graph.name(ix).to_string()).collect();
        }
        records
    }

    fn has_mishap(&self, mishap: Mishap) -> bool {
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
        let meets_others = standing.moves > 0 && self.conflicts_with_others.contains(&item.ix);
        if with.is_none() && !meets_others {
            return Ok(standing.with(item.ix));
        }
        Err(Conflict {
            with: with.map(|with| self.graph.name(*with).clone()).filter(|with| {
                let of_items = request.items.iter().any(|item| item.name == *with);
                of_items || request.beneath.iter().any(|step| step.item.as_ref() == Some(with))
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
                    commit = commit_of(&[commit.as_bytes(), item.head.as_bytes(), item.name.as_str().as_bytes()]);
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
        inner.landings.push(LandingRecord { before, after, gate_records });
        inner.target = Some(request.to);
        inner.landed.push(request.to);
        self.appended.notify_one();
        Ok(())
    }

    /// Runs all attempts of one gate; true where the job must not go on.
    async fn run_gate(&self, job: &Job, at: usize, news: &Sender, cancel: &mut Cancel) -> Result<bool, PortError> {
        let JobGateRun { gate, key, .. } = &job.gates[at];
        let content = Arc::clone(&self.lock().trees[&job.tree]);
        // A gate with inputs sees nothing else.
        let seen = gate.inputs.as_ref().map(|inputs| {
            let looked_at = inputs.iter().filter_map(|name| self.graph.find(&ItemName::new(name)));
            let there = looked_at.filter(|ix| content.has(*ix));
            there.fold(Content::of(self.graph.len()), |seen, ix| seen.with(ix))
        });
        let effects = self.effects(&gate.run, seen.as_ref().unwrap_or(&content));
        let tried_before = self.lock().attempts.contains_key(key);
        if effects.contains(&Effect::BreaksOff) || (effects.contains(&Effect::FailsThenBreaksOff) && tried_before) {
            return Err(PortError { message: "the slot is gone".to_owned(), hint: None });
        }
        for attempt in 1.. {
            send(news, JobNews::Started { job: job.job, gate: at, attempt });
            let run_no = {
                let mut inner = self.lock();
                let counted = inner.attempts.entry(*key).or_default();
                *counted += 1;
                *counted
            };
            let fixed = effects.iter().find_map(|effect| match effect {
                Effect::Takes(ms) => Some(*ms),
                _ => None,
            });
            let tree = u64::from_le_bytes(job.tree.as_bytes()[..8].try_into().unwrap());
            let varied = mix(mix(self.world.seed, tree), u64::from(run_no)) % (self.world.longest_gate_ms + 1);
            let ended = self.unless_cancelled(fixed.unwrap_or(varied), cancel).await;
            let outcome = if ended { outcome(&effects, run_no) } else { GateOutcome::Cancelled };
            let limit = match outcome {
                GateOutcome::Infrastructure { .. } => INFRASTRUCTURE_ATTEMPTS,
                GateOutcome::Passed | GateOutcome::Cancelled => attempt,
                _ => gate.retry.max_attempts,
            };
            let again = attempt < limit;
            let verdict = match outcome {
                _ if again => None,
                GateOutcome::Passed => Some(Verdict::Passed { flaky: attempt > 1 }),
                GateOutcome::Cancelled | GateOutcome::Infrastructure { .. } => Some(Verdict::Unknown),
                _ => Some(Verdict::Failed),
            };
            let passed = outcome == GateOutcome::Passed;
            let failed = !passed && !matches!(outcome, GateOutcome::Cancelled | GateOutcome::Infrastructure { .. });
            self.lock().gates.push(GateRecord {
                gate: gate.run.clone(),
                definition: gate.definition,
                key: *key,
                tree: job.tree,
                what: Arc::clone(&content),
                content: Vec::new(),
                passed,
                failed,
                clean_slot: job.clean_slot,
                job: job.job,
                judged: matches!(verdict, Some(Verdict::Passed { .. } | Verdict::Failed)),
                lost: false,
            });
            let backoff = again.then(|| gate.retry.backoff.as_millis().try_into().unwrap());
            let run = Box::new(gate_run(outcome, verdict, varied, backoff));
            send(news, JobNews::Finished { job: job.job, gate: at, attempt, run });
            if !ended {
                // It did not come to doing what it does at this try.
                self.lock().attempts.entry(*key).and_modify(|tries| *tries -= 1);
                return Ok(true);
            }
            if !again {
                return Ok(failed && gate.required && job.fail_fast);
            }
            if !self.unless_cancelled(backoff.unwrap_or(0), cancel).await {
                return Ok(true);
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Sleeps; false where the run was cancelled meanwhile.
    async fn unless_cancelled(&self, ms: u64, cancel: &mut Cancel) -> bool {
        if *cancel.borrow() {
            return false;
        }
        let sleep = self.time.sleep(ms);
        let cancelled = cancel.changed();
        matches!(select(std::pin::pin!(sleep), std::pin::pin!(cancelled)).await, Either::Left(_))
    }
}

type Sender = mpsc::UnboundedSender<JobNews>;
type Cancel = watch::Receiver<bool>;

fn send(news: &Sender, what: JobNews) {
    // Nobody listens any more where the run was abandoned.
    let _ = news.send(what);
}

fn outcome(effects: &[Effect], run_no: u32) -> GateOutcome {
    let failed = GateOutcome::Failed { exit_code: 1 };
    let is = |wanted: Effect| effects.contains(&wanted);
    if is(Effect::CannotRun) {
        GateOutcome::Infrastructure { message: "no space left in the slot".to_owned() }
    } else if is(Effect::Fails) || is(Effect::FailsThenBreaksOff) {
        failed
    } else if is(Effect::TimesOut) {
        GateOutcome::TimedOut { after_ms: 1, signal: Some(15) }
    } else if effects.iter().any(|effect| matches!(effect, Effect::FailsAtFirst(runs) if run_no <= *runs)) {
        failed
    } else {
        GateOutcome::Passed
    }
}

fn gate_run(outcome: GateOutcome, verdict: Option<Verdict>, duration_ms: u64, backoff_ms: Option<u64>) -> GateRun {
    GateRun {
        outcome,
        verdict,
        duration_ms,
        backoff_ms,
        peak_memory_bytes: None,
        log: PathBuf::from("log"),
        log_digest: None,
        tail: String::new(),
        artifacts: Vec::new(),
        missing_artifacts: Vec::new(),
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

impl GateRunner for Hands {
    fn run(&self, job: Job, news: Sender, mut cancel: Cancel) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            {
                let mut inner = self.lock();
                assert!(inner.journalled_jobs.contains(&job.job), "invariant 6: a job before its journal line");
                assert!(*cancel.borrow() || !inner.journal_failed, "nothing starts after the journal has failed");
                assert!(inner.in_work.insert(job.worker), "invariant 7: a worker does two jobs at once");
                inner.most_in_work = inner.most_in_work.max(inner.in_work.len());
            }
            let mut result = Ok(());
            for at in 0..job.gates.len() {
                match self.run_gate(&job, at, &news, &mut cancel).await {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            self.lock().in_work.remove(&job.worker);
            result
        }
        .boxed()
    }
}

impl Lander for Hands {
    fn land(&self, request: LandRequest) -> BoxFuture<'_, Result<LandOutcome, PortError>> {
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
                let (target, moves) = {
                    let mut inner = self.lock();
                    inner.moves += 1;
                    (inner.target.unwrap(), inner.moves)
                };
                let mut content = (*self.lock().commits[&target]).clone();
                content.moves = moves;
                let moved = commit_of(&[b"moved", target.as_bytes(), &moves.to_le_bytes()]);
                self.know(moved, content);
                self.lock().target = Some(moved);
            }
            if let Err(elsewhere) = self.swap(&request) {
                return Ok(LandOutcome::TargetMoved { to: elsewhere });
            }
            // Long enough to be killed before it is told.
            self.time.sleep(self.hand_ms(number as u64 + 2_000_000)).await;
            Ok(LandOutcome::Landed { pushed_to: None, moved_checkouts: Vec::new() })
        }
        .boxed()
    }

    fn recover(&self, request: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>> {
        let landed = self.lock().landed.contains(&request.to);
        let recovery = match landed {
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

    fn write_receipt(&self, apex: ApexId, receipt: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>> {
        let number = self.lock().landing_attempts;
        let lost = self.has_mishap(Mishap::ReceiptLost(number));
        self.lock().receipts.push(receipt);
        let path = PathBuf::from(format!("receipt-{}", apex.0));
        let full = PortError { message: "no space left for the receipt".to_owned(), hint: None };
        futures::future::ready(if lost { Err(full) } else { Ok(path) }).boxed()
    }
}

impl MemoryGauge for Hands {
    fn used_bytes(&self) -> Option<u64> {
        let in_work = self.lock().in_work.len();
        self.world.memory.get(in_work).or(self.world.memory.last()).copied()
    }
}

pub struct JournalWriter {
    inner: Arc<Mutex<Inner>>,
    appended: Arc<Notify>,
    full_at: Option<u64>,
}

impl Journal for JournalWriter {
    fn append(&mut self, recorded: &Recorded) -> Result<(), PortError> {
        let mut inner = self.inner.lock().unwrap();
        if inner.journal_failed || self.full_at == Some(recorded.seq) {
            inner.journal_failed = true;
            return Err(PortError { message: "no space left on device".to_owned(), hint: None });
        }
        if let Event::JobStarted(job) = &recorded.event {
            inner.journalled_jobs.insert(job.job);
        }
        assert_eq!(recorded.seq, inner.journal.len() as u64 + 1, "events are numbered without gaps");
        assert!(recorded.seq < MOST_EVENTS, "the run does not end");
        inner.journal.push(recorded.clone());
        self.appended.notify_one();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().unwrap();
        inner.synced = inner.journal.len();
        Ok(())
    }
}

/// Passes that outlive a run.
#[derive(Debug, Default)]
pub struct Store(Mutex<HashMap<VerdictKey, RunId>>);

impl VerdictStore for Store {
    fn pass(&self, key: &VerdictKey) -> Option<RunId> {
        self.0.lock().unwrap().get(key).cloned()
    }

    fn remember_pass(&self, key: VerdictKey, run: &RunId) {
        self.0.lock().unwrap().insert(key, run.clone());
    }
}
