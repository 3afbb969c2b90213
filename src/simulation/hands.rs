//! What stands for git and for gates: trees that know which items are in them, gates that fail where the
//! world says so and take their time, and a target that moves in name only.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::{mpsc, watch};

use super::beforehand::Beforehand;
use super::random::Random;
use super::time::VirtualTime;
use super::world::World;
use crate::core::judge::{Surroundings, whole_tree};
use crate::engine::rehearsal::NothingMoves;
use crate::plan::Gate;
use crate::plan::graph::{Graph, ItemIx};
use crate::ports::{
    ComposeItem, ComposeRequest, Composer, Composite, GateRun, GateRunner, Job, JobGateRun, JobNews, KnownPass,
    LandOutcome, LandRequest, Lander, PortError, Recovery, VerdictStore, Whereabouts,
};
use crate::vocabulary::event::{Conflict, GateOutcome, LandedByOthers, SetAside, SetAsideCause, Step, Verdict};
use crate::vocabulary::names::{ApexId, CommitId, DefinitionDigest, RunId, SubjectDigest, TreeId, VerdictKey};
use crate::vocabulary::verdict::{self, FoundPass};

/// In an id: which items a tree holds, whatever the order in which they came, and a word for nothing else.
type Content = [u64; 2];

/// A commit that something can stand on.
#[derive(Clone, Debug, Default)]
struct Ground {
    /// How many landings led to it, or would.
    landings: u32,
    content: Content,
    seen: Seen,
    /// Where it is no commit that the target was at: how many landings led to the one beneath it, and the
    /// items in between, ascending.
    ahead: Option<(u32, Arc<[ItemIx]>)>,
}

/// What gates with `inputs` see of a tree: for each of [`Beforehand::touched`] the content that it matches.
type Seen = Arc<[Content]>;

impl Ground {
    fn target(landings: u32, content: Content, seen: Seen) -> Self {
        Self { landings, content, seen, ahead: None }
    }

    /// After how many landings an item must have landed to be in it, and the others that are.
    fn holds(&self) -> (u32, &[ItemIx]) {
        self.ahead.as_ref().map_or((self.landings, &[]), |(landings, ahead)| (*landings, ahead))
    }
}

#[derive(Debug)]
struct Trees {
    /// What the target was at, and what was made in between for others to stand on.
    grounds: HashMap<CommitId, Ground>,
    /// After how many landings an item was there.
    landed: Vec<u32>,
    /// Gates that fail on a tree; of trees that are not in it all pass.
    broken: HashMap<TreeId, Arc<[DefinitionDigest]>>,
    /// How often a gate ran on a tree, where gates may lie.
    runs: HashMap<VerdictKey, u64>,
    /// Where there are gates whose inputs are known.
    seen: HashMap<TreeId, Seen>,
}

/// The ports of one simulated run.
#[derive(Debug)]
pub(super) struct Hands {
    graph: Arc<Graph>,
    world: Arc<World>,
    time: VirtualTime,
    /// What each gate takes.
    gate_ms: HashMap<DefinitionDigest, u64>,
    /// See [`crate::simulation::Setting::spread`].
    spread: f64,
    beforehand: Arc<Beforehand>,
    /// The gate by which each item would fail, were it broken or did it clash.
    fails_by: Vec<Option<DefinitionDigest>>,
    trees: Mutex<Trees>,
}

const NOT_YET: u32 = u32::MAX;

impl Hands {
    pub(super) fn new(
        graph: Arc<Graph>,
        world: Arc<World>,
        time: VirtualTime,
        gate_ms: HashMap<DefinitionDigest, u64>,
        spread: f64,
        beforehand: Arc<Beforehand>,
    ) -> Self {
        let at = commit_of([0; 2], 0);
        let seen: Seen = vec![[0; 2]; beforehand.touched.len()].into();
        let mut landed = vec![NOT_YET; graph.len()];
        for ix in &beforehand.landed {
            landed[ix.get()] = 0;
        }
        let trees = Trees {
            grounds: HashMap::from([(at, Ground::target(0, [0; 2], Arc::clone(&seen)))]),
            landed,
            broken: HashMap::new(),
            runs: HashMap::new(),
            seen: HashMap::from([(tree_of([0; 2]), seen)]),
        };
        let fails_by = graph.indices().map(|ix| gate_that_fails(&graph, &world, &beforehand, ix)).collect();
        Self { graph, world, time, gate_ms, spread, beforehand, fails_by, trees: Mutex::new(trees) }
    }

    /// The verdicts of earlier runs.
    pub(super) fn known(&self) -> Option<Arc<dyn VerdictStore>> {
        let key = |(items, gate): &(Vec<ItemIx>, DefinitionDigest)| {
            let gate = items.iter().flat_map(|ix| self.graph.gates(*ix)).find(|own| own.definition == *gate)?;
            let mut ground = Ground::target(0, [0; 2], vec![[0; 2]; self.beforehand.touched.len()].into());
            items.iter().for_each(|ix| self.add(&mut ground, *ix));
            let subject = match &gate.inputs {
                None => whole_tree(tree_of(ground.content)),
                Some(inputs) => self.inputs_of(&ground.seen, inputs)?,
            };
            Some(verdict::key(subject, gate.definition, None, &Surroundings::default()))
        };
        let keys: HashSet<VerdictKey> = self.beforehand.passes.iter().filter_map(key).collect();
        (!keys.is_empty()).then(|| Arc::new(Known(keys)) as _)
    }

    /// What a gate with these inputs sees.
    fn inputs_of(&self, seen: &Seen, inputs: &[String]) -> Option<SubjectDigest> {
        let at = self.beforehand.touched.iter().position(|(globs, _)| globs == inputs)?;
        let content = seen.get(at)?;
        Some(SubjectDigest::of([&b"inputs"[..], &content[0].to_be_bytes(), &content[1].to_be_bytes()]))
    }

    fn add(&self, ground: &mut Ground, ix: ItemIx) {
        let mut word = Random::of(&[5, ix.get() as u64]);
        let words = [word.word(), word.word()];
        let add = |content: &mut Content| content.iter_mut().zip(words).for_each(|(part, word)| *part ^= word);
        add(&mut ground.content);
        if self.beforehand.touched.iter().any(|(_, by)| by.contains(&ix)) {
            let mut seen = ground.seen.to_vec();
            for (content, (_, by)) in seen.iter_mut().zip(&self.beforehand.touched) {
                if by.contains(&ix) {
                    add(content);
                }
            }
            ground.seen = seen.into();
        }
    }

    pub(super) fn base(&self) -> (CommitId, TreeId) {
        (commit_of([0; 2], 0), tree_of([0; 2]))
    }

    fn trees(&self) -> MutexGuard<'_, Trees> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn merged(&self, request: &ComposeRequest) -> Composite {
        let trees = &mut *self.trees();
        let mut ground = trees.grounds.get(&request.base).cloned().unwrap_or_default();
        let landings = ground.landings;
        let (since, ahead) = {
            let (since, ahead) = ground.holds();
            (since, ahead.to_vec())
        };
        let mut composite =
            Composite { commit: request.base, tree: tree_of(ground.content), steps: Vec::new(), set_aside: Vec::new() };
        let mut inside: Vec<ItemIx> = Vec::with_capacity(request.items.len());
        let mut aside: Vec<ItemIx> = Vec::new();
        // What stands on items that have not landed fails by what they fail by.
        let beneath = ground.ahead.as_ref().and_then(|_| trees.broken.get(&tree_of(ground.content)));
        let mut shared: Arc<[DefinitionDigest]> = beneath.cloned().unwrap_or_default();
        let mut broken = shared.to_vec();
        for item in &request.items {
            let is_among = |items: &[ItemIx], other| items.binary_search(&ItemIx::new(other)).is_ok();
            let has =
                |other: usize| trees.landed[other] <= since || is_among(&ahead, other) || is_among(&inside, other);
            if let Some(cause) = self.is_kept_out(item.ix, &item.deps, &aside, has) {
                aside.push(item.ix);
                composite.set_aside.push(SetAside { item: item.name.clone(), cause });
                continue;
            }
            if self.world.breaks(item.ix.get(), has)
                && let Some(gate) = self.fails_by[item.ix.get()]
                && !broken.contains(&gate)
            {
                broken.push(gate);
                shared = broken.as_slice().into();
            }
            inside.push(item.ix);
            self.add(&mut ground, item.ix);
            let (commit, tree) = (commit_of(ground.content, u64::from(landings) + 1), tree_of(ground.content));
            if !shared.is_empty() {
                trees.broken.insert(tree, Arc::clone(&shared));
            }
            if !ground.seen.is_empty() {
                trees.seen.insert(tree, Arc::clone(&ground.seen));
            }
            composite.steps.push(Step { item: item.name.clone(), commit, tree });
            (composite.commit, composite.tree) = (commit, tree);
        }
        // Only what one item adds is built upon before it has landed.
        if let ([item], []) = (&*request.items, &*aside) {
            let ahead = [&ahead, &[item.ix][..]].concat().into();
            let made = Ground { landings: landings + 1, ahead: Some((since, ahead)), ..ground };
            trees.grounds.entry(composite.commit).or_insert(made);
        }
        composite
    }

    /// Why an item does not merge onto what `has` says is there.
    fn is_kept_out(
        &self,
        ix: ItemIx,
        deps: &[ItemIx],
        aside: &[ItemIx],
        has: impl Fn(usize) -> bool,
    ) -> Option<SetAsideCause> {
        if let Some(on) = deps.iter().find(|dep| aside.contains(dep)) {
            return Some(SetAsideCause::Dependency { on: self.graph.name(*on).clone() });
        }
        let with = self.beforehand.meets(ix, has)?.map(|with| self.graph.name(with).clone());
        Some(SetAsideCause::Conflict(Conflict { with, paths: Vec::new(), messages: Vec::new() }))
    }

    /// Runs a gate once: whether it passes, and what it takes.
    fn runs(&self, job: &Job, run: &JobGateRun) -> (bool, u64) {
        let mean_ms = self.gate_ms.get(&run.gate.definition).copied().unwrap_or_default();
        let trees = &mut *self.trees();
        let nth = if self.world.rates.flake > 0.0 || self.spread > 0.0 {
            let nth = trees.runs.entry(run.key).or_default();
            *nth += 1;
            *nth
        } else {
            0
        };
        let (gate, tree) = (word_of(run.gate.definition.as_bytes()), word_of(job.tree.as_bytes()));
        let takes_ms = self.world.takes_ms(mean_ms, self.spread, gate, tree, nth);
        let is_broken = trees.broken.get(&job.tree).is_some_and(|broken| broken.contains(&run.gate.definition));
        (!is_broken && !self.world.is_flake(gate, tree, nth), takes_ms)
    }

    async fn run_job(&self, job: Job, news: mpsc::UnboundedSender<JobNews>, mut cancel: watch::Receiver<bool>) {
        for (gate, run) in job.gates.iter().enumerate() {
            let most = run.gate.retry.max_attempts;
            for attempt in 1..=most {
                let (passes, takes_ms) = self.runs(&job, run);
                // The loop listens until its last job has ended.
                let _ = news.send(JobNews::Started { job: job.job, gate, attempt, node: None });
                let began_ms = self.time.now();
                tokio::select! {
                    () = self.time.sleep(takes_ms) => {}
                    _ = cancel.wait_for(|cancelled| *cancelled) => {
                        let (outcome, took_ms) = (GateOutcome::Cancelled, self.time.now() - began_ms);
                        let run = Box::new(GateRun::in_name_only(outcome, Some(Verdict::Unknown), took_ms));
                        let _ = news.send(JobNews::Finished { job: job.job, gate, attempt, run });
                        return;
                    }
                }
                let is_last = passes || attempt == most;
                let verdict = if passes { Verdict::Passed { flaky: attempt > 1 } } else { Verdict::Failed };
                let outcome = if passes { GateOutcome::Passed } else { GateOutcome::Failed { exit_code: 1 } };
                let run = GateRun::in_name_only(outcome, is_last.then_some(verdict), takes_ms);
                let _ = news.send(JobNews::Finished { job: job.job, gate, attempt, run: Box::new(run) });
                // What ends at the same instant is heard before any of the slots is free, as with the peers.
                tokio::task::yield_now().await;
                if !passes && is_last && job.fail_fast && job.gates[gate].gate.required {
                    return;
                }
                if passes {
                    break;
                }
            }
        }
    }
}

/// The gate by which an item fails that is broken, or that clashes: one of its own that looks at what it changes.
fn gate_that_fails(graph: &Graph, world: &World, beforehand: &Beforehand, ix: ItemIx) -> Option<DefinitionDigest> {
    let may_fail = |gate: &&Arc<Gate>| {
        gate.required
            && gate.at.apex
            && beforehand.touches(ix, gate.inputs.as_deref())
            && !beforehand.has_passed(ix, gate.definition)
    };
    let gates: Vec<_> = graph.gates(ix).iter().filter(may_fail).collect();
    let drawn = Random::of(&[world.seed, 4, ix.get() as u64]).word();
    let at = usize::try_from(drawn % gates.len().max(1) as u64).unwrap_or(0);
    gates.get(at).map(|gate| gate.definition)
}

/// What earlier runs left; nothing is added to it.
struct Known(HashSet<VerdictKey>);

impl VerdictStore for Known {
    fn passes(&self, keys: Vec<VerdictKey>) -> BoxFuture<'static, Vec<Option<KnownPass>>> {
        let known = |key: &VerdictKey| {
            self.0.contains(key).then(|| KnownPass { from: RunId::new("earlier"), remembered: None })
        };
        ready(keys.iter().map(known).collect()).boxed()
    }

    fn remember(&self, _: FoundPass) {}
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// An id of 20 bytes.
fn twenty(content: Content, last: u64) -> [u8; 20] {
    let mut id = [0; 20];
    for (part, word) in id.chunks_mut(8).zip([content[0], content[1], last]) {
        part.copy_from_slice(&word.to_be_bytes()[8 - part.len()..]);
    }
    id
}

fn tree_of(content: Content) -> TreeId {
    TreeId::from_bytes(&twenty(content, 0)).expect("20 bytes are an id")
}

fn commit_of(content: Content, salt: u64) -> CommitId {
    CommitId::from_bytes(&twenty(content, salt + 1)).expect("20 bytes are an id")
}

fn content_of(tree: TreeId) -> Content {
    [0, 8].map(|from| word_of(&tree.as_bytes()[from..]))
}

impl Composer for Hands {
    fn compose(&self, request: ComposeRequest) -> BoxFuture<'_, Result<Composite, PortError>> {
        ready(Ok(self.merged(&request))).boxed()
    }

    fn tree_of(&self, commit: CommitId) -> BoxFuture<'_, Result<TreeId, PortError>> {
        let content = self.trees().grounds.get(&commit).map(|ground| ground.content).unwrap_or_default();
        ready(Ok(tree_of(content))).boxed()
    }

    fn landed_since(
        &self,
        _: CommitId,
        _: CommitId,
        _: Vec<Arc<ComposeItem>>,
    ) -> BoxFuture<'_, Result<Vec<LandedByOthers>, PortError>> {
        // Nobody else moves the target.
        ready(Ok(Vec::new())).boxed()
    }

    fn digest_inputs(&self, tree: TreeId, inputs: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>> {
        let known = self.trees().seen.get(&tree).and_then(|seen| self.inputs_of(seen, &inputs));
        // Where nobody knows which items change them each tree has inputs of its own.
        ready(Ok(known.unwrap_or_else(|| SubjectDigest::of([tree.as_bytes()])))).boxed()
    }
}

impl GateRunner for Hands {
    fn run(
        &self,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<(), PortError>> {
        self.run_job(job, news, cancel).map(Ok).boxed()
    }
}

impl Lander for Hands {
    fn land(&self, request: LandRequest, _: watch::Receiver<bool>) -> BoxFuture<'_, Result<LandOutcome, PortError>> {
        let trees = &mut *self.trees();
        let landings = trees.grounds.get(&request.from).map_or(0, |ground| ground.landings) + 1;
        let seen = trees.seen.get(&request.tree).cloned().unwrap_or_default();
        trees.grounds.insert(request.to, Ground::target(landings, content_of(request.tree), seen));
        for item in &request.items {
            trees.landed[item.ix.get()] = landings;
        }
        ready(Ok(LandOutcome::Landed { pushed_to: None, moved_checkouts: Vec::new() })).boxed()
    }

    fn recover(&self, request: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>> {
        NothingMoves.recover(request)
    }

    fn whereabouts(&self, tip: CommitId) -> BoxFuture<'_, Result<Whereabouts, PortError>> {
        NothingMoves.whereabouts(tip)
    }

    fn write_receipt(&self, apex: ApexId, receipt: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>> {
        NothingMoves.write_receipt(apex, receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ComposeItem;
    use crate::simulation::run::independent;
    use crate::simulation::time::Patience;
    use crate::simulation::world::Rates;
    use crate::vocabulary::trail::Trail;

    #[test]
    fn what_stands_on_a_broken_item_that_has_not_landed_fails_by_it() {
        let rates = Rates { fail: 0.5, clash: 0.0, flake: 0.0 };
        let worlds = (0..).map(|seed| World::draw(2, rates, seed));
        let world = worlds.into_iter().find(|world| world.is_broken(0) && !world.is_broken(1)).unwrap();
        let (items, gate) = independent(2);
        let graph = Arc::new(Graph::new(items, &[]).unwrap());
        let time = VirtualTime::new(1, Patience { wakes: 1, silence_ms: 1 });
        let hands = Hands::new(Arc::clone(&graph), Arc::new(world), time, HashMap::new(), 0.0, Arc::default());
        let add = |base: CommitId, item: usize| {
            let item = ComposeItem::of(&graph, ItemIx::new(item), CommitId::from_bytes(&[1; 20]).unwrap(), Vec::new());
            hands.merged(&ComposeRequest { base, items: vec![Arc::new(item)], beneath: Trail::default() })
        };
        let fails = |made: &Composite| hands.trees().broken.get(&made.tree).is_some_and(|by| by.contains(&gate));
        let (base, _) = hands.base();
        let first = add(base, 0);
        assert!(fails(&first));
        assert!(fails(&add(first.commit, 1)), "the second passes by itself, and stands on the first");
        assert!(!fails(&add(base, 1)));
    }
}
