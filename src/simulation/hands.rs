//! What stands for git and for gates: trees that know which items are in them, gates that fail where the
//! world says so and take their time, and a target that moves in name only.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::{mpsc, watch};

use super::random::Random;
use super::time::VirtualTime;
use super::world::World;
use crate::engine::rehearsal::NothingMoves;
use crate::plan::graph::{Graph, ItemIx};
use crate::ports::{
    ComposeRequest, Composer, Composite, GateRun, GateRunner, Job, JobGateRun, JobNews, LandOutcome, LandRequest,
    Lander, PortError, Recovery, Whereabouts,
};
use crate::vocabulary::event::{GateOutcome, Step, Verdict};
use crate::vocabulary::names::{ApexId, CommitId, DefinitionDigest, SubjectDigest, TreeId, VerdictKey};

/// In an id: which items a tree holds, whatever the order in which they came, and a word for nothing else.
type Content = [u64; 2];

/// A commit that something can stand on.
#[derive(Clone, Debug, Default)]
struct Ground {
    /// How many landings led to it, or would.
    landings: u32,
    content: Content,
    /// Where it is no commit that the target was at: how many landings led to the one beneath it, and the
    /// items in between, ascending.
    ahead: Option<(u32, Arc<[ItemIx]>)>,
}

impl Ground {
    fn target(landings: u32, content: Content) -> Self {
        Self { landings, content, ahead: None }
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
    ) -> Self {
        let at = commit_of([0; 2], 0);
        let trees = Trees {
            grounds: HashMap::from([(at, Ground::target(0, [0; 2]))]),
            landed: vec![NOT_YET; graph.len()],
            broken: HashMap::new(),
            runs: HashMap::new(),
        };
        Self { graph, world, time, gate_ms, spread, trees: Mutex::new(trees) }
    }

    pub(super) fn base(&self) -> (CommitId, TreeId) {
        (commit_of([0; 2], 0), tree_of([0; 2]))
    }

    fn trees(&self) -> MutexGuard<'_, Trees> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate by which an item fails that is broken, or that clashes: one of its own.
    fn gate_that_fails(&self, ix: ItemIx) -> Option<DefinitionDigest> {
        let required: Vec<_> = self.graph.gates(ix).iter().filter(|gate| gate.required && gate.at.apex).collect();
        let drawn = Random::of(&[self.world.seed, 4, ix.get() as u64]).word();
        let at = usize::try_from(drawn % required.len().max(1) as u64).unwrap_or(0);
        required.get(at).map(|gate| gate.definition)
    }

    fn merged(&self, request: &ComposeRequest) -> Composite {
        let trees = &mut *self.trees();
        let ground = trees.grounds.get(&request.base).cloned().unwrap_or_default();
        let ((since, ahead), mut content) = (ground.holds(), ground.content);
        let mut composite =
            Composite { commit: request.base, tree: tree_of(content), steps: Vec::new(), set_aside: Vec::new() };
        let mut inside: Vec<ItemIx> = Vec::with_capacity(request.items.len());
        // What stands on items that have not landed fails by what they fail by.
        let beneath = ground.ahead.as_ref().and_then(|_| trees.broken.get(&tree_of(content)));
        let mut shared: Arc<[DefinitionDigest]> = beneath.cloned().unwrap_or_default();
        let mut broken = shared.to_vec();
        for item in &request.items {
            let is_among = |items: &[ItemIx], other| items.binary_search(&ItemIx::new(other)).is_ok();
            let has = |other: usize| trees.landed[other] <= since || is_among(ahead, other) || is_among(&inside, other);
            if self.world.breaks(item.ix.get(), has)
                && let Some(gate) = self.gate_that_fails(item.ix)
                && !broken.contains(&gate)
            {
                broken.push(gate);
                shared = broken.as_slice().into();
            }
            inside.push(item.ix);
            let mut word = Random::of(&[5, item.ix.get() as u64]);
            content.iter_mut().for_each(|part| *part ^= word.word());
            let (commit, tree) = (commit_of(content, u64::from(ground.landings) + 1), tree_of(content));
            if !shared.is_empty() {
                trees.broken.insert(tree, Arc::clone(&shared));
            }
            composite.steps.push(Step { item: item.name.clone(), commit, tree });
            (composite.commit, composite.tree) = (commit, tree);
        }
        // Only what one item adds is built upon before it has landed.
        if let [item] = &*request.items {
            let ahead = [ahead, &[item.ix]].concat().into();
            let made = Ground { landings: ground.landings + 1, content, ahead: Some((since, ahead)) };
            trees.grounds.entry(composite.commit).or_insert(made);
        }
        composite
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
                let _ = news.send(JobNews::Started { job: job.job, gate, attempt });
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

    fn digest_inputs(&self, tree: TreeId, _: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>> {
        // Nobody knows which items touch them: each tree has inputs of its own.
        ready(Ok(SubjectDigest::of([tree.as_bytes()]))).boxed()
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
        trees.grounds.insert(request.to, Ground::target(landings, content_of(request.tree)));
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
        let hands = Hands::new(Arc::clone(&graph), Arc::new(world), time, HashMap::new(), 0.0);
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
