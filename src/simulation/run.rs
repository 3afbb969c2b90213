//! One simulated run of lexpr's own: its loop and a strategy, in virtual time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Setting;
use super::beforehand::Beforehand;
use super::figures::Outcome;
use super::hands::Hands;
use super::time::{Hang, Patience, VirtualTime};
use super::world::{World, longest_ms};
use crate::core::critical_path::GateDurations;
use crate::core::judge::Surroundings;
use crate::core::limits::Limits;
use crate::core::strategy::groups::divide;
use crate::engine::rehearsal::{self, NoLoad, NoMemory, NothingKept};
use crate::engine::{self, EngineError, Ports, RunSetup};
use crate::plan::graph::Graph;
use crate::plan::{Gate, GroupSize, Item, Policy};
use crate::ports::{ComposeItem, WrittenGates};
use crate::vocabulary::event::{Event, JobPurpose, LinedUpItem, Recorded};
use crate::vocabulary::names::{CommitId, DefinitionDigest, GateName, ItemName, JobId, MergeStrategy, RunId};

/// What is simulated: items, what keeps their gates in bounds, and how long those take.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub graph: Arc<Graph>,
    pub policy: Arc<Policy>,
    pub limits: Limits,
    /// How many items the pyramid gates together.
    pub group_size: GroupSize,
    /// In milliseconds; gates that are not in it take no time.
    pub gate_ms: HashMap<DefinitionDigest, u64>,
    pub beforehand: Arc<Beforehand>,
}

/// Why a simulation came to no end.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error("the simulated run hangs: {0}")]
    Hang(#[from] Hang),
    #[error("the simulated run failed: {0}")]
    Engine(#[from] EngineError),
}

/// So many items without dependencies, all with one gate.
pub fn independent(items: usize) -> (Vec<Item>, DefinitionDigest) {
    let definition = DefinitionDigest::of([b"simulated".as_slice()]);
    let gate = Arc::new(Gate::bare(GateName::new("gate"), definition, "true".to_owned(), Duration::from_secs(1)));
    let item = |at: usize| Item {
        name: ItemName::new(format!("item-{at}")),
        branch: format!("item-{at}"),
        pin: None,
        deps: Vec::new(),
        strategy: MergeStrategy::Merge,
        priority: 0,
        gates: vec![Arc::clone(&gate)],
    };
    ((1..=items).map(item).collect(), definition)
}

/// What an observer counts.
#[derive(Debug, Default)]
struct Count {
    outcome: Outcome,
    second_opinions: HashSet<JobId>,
}

/// Runs the scenario to its end in this world, whose items are the graph's.
///
/// # Errors
/// Where the run hangs or lexpr fails, which would be a bug.
pub fn run(scenario: &Scenario, world: &Arc<World>, setting: &Setting) -> Result<Outcome, SimulationError> {
    watched(scenario, world, setting, |_| {})
}

/// The same, and `watch` sees every event.
///
/// # Errors
/// Where the run hangs or lexpr fails, which would be a bug.
pub fn watched(
    scenario: &Scenario,
    world: &Arc<World>,
    setting: &Setting,
    mut watch: impl FnMut(&Recorded) + Send,
) -> Result<Outcome, SimulationError> {
    let graph = &scenario.graph;
    let gaps = scenario.policy.resources.values().map(|resource| resource.gap);
    let longest_gap_ms = gaps.max().and_then(|gap| u64::try_from(gap.as_millis()).ok()).unwrap_or(0);
    let all_gates_ms = longest_ms(scenario.gate_ms.values().sum(), setting.spread);
    let longest_ms: u64 = (all_gates_ms + longest_gap_ms).max(1);
    // Each item is looked at a few times more than a search for it takes, and time goes on while it is.
    let wakes = (graph.len() as u64 + 10).saturating_mul(1000).saturating_mul(1 + longest_ms / 500);
    let time = VirtualTime::new(world.seed, Patience { wakes, silence_ms: longest_ms * 10 + 10_000 });
    let hands = Arc::new(Hands::new(
        Arc::clone(graph),
        Arc::clone(world),
        time.clone(),
        scenario.gate_ms.clone(),
        setting.spread,
        Arc::clone(&scenario.beforehand),
    ));
    let (base, base_tree) = hands.base();
    let items: Vec<Arc<ComposeItem>> = graph
        .indices()
        .map(|ix| Arc::new(ComposeItem::of(graph, ix, CommitId::from_bytes(&[1; 20]).expect("20 bytes"), Vec::new())))
        .collect();
    let mut limits = Limits {
        elsewhere: 0,
        max_workers: u32::try_from(setting.workers).unwrap_or(u32::MAX).max(1),
        workers_at_first: None,
        second_opinion: setting.second_opinion,
        ..scenario.limits.clone()
    };
    limits.groups = divide(graph, scenario.group_size, &limits);
    let mut written = WrittenGates::default();
    let line_up = |item: &Arc<ComposeItem>| {
        let already_landed = scenario.beforehand.landed.contains(&item.ix).then(|| "in base".to_owned());
        Arc::new(LinedUpItem { already_landed, ..item.lined_up(graph, &mut written) })
    };
    let lined_up = items.iter().map(line_up).collect();
    let started = rehearsal::started(RunId::new("simulation"), (base, base_tree), &limits, lined_up);
    let setup = RunSetup {
        started,
        graph: Arc::clone(graph),
        items,
        policy: Arc::clone(&scenario.policy),
        limits,
        surroundings: Surroundings::default(),
        durations: Arc::new(scenario.gate_ms.iter().map(|(gate, ms)| (*gate, *ms)).collect::<GateDurations>()),
        memory_threshold: None,
    };
    let verdicts = hands.known();
    let ports = Ports {
        composer: hands.clone(),
        gates: hands.clone(),
        lander: hands,
        clock: Arc::new(time.clone()),
        memory: Arc::new(NoMemory),
        load: Arc::new(NoLoad),
        verdicts,
    };
    let outcome = Outcome { landed_ms: vec![None; graph.len()], ..Outcome::default() };
    let count = Mutex::new(Count { outcome, ..Count::default() });
    let see = |recorded: &Recorded| {
        time.something_happened();
        count.lock().unwrap_or_else(PoisonError::into_inner).hear(recorded, graph);
    };
    let (_signals, interrupts) = mpsc::unbounded_channel();
    let run =
        engine::run(None, setup, ports, Box::new(NothingKept), vec![Box::new(see), Box::new(&mut watch)], interrupts);
    time.drive(run)??;
    Ok(count.into_inner().unwrap_or_else(PoisonError::into_inner).outcome)
}

impl Count {
    fn hear(&mut self, recorded: &Recorded, graph: &Graph) {
        match &recorded.event {
            Event::JobStarted(job) if matches!(job.purpose, JobPurpose::SecondOpinion { .. }) => {
                self.second_opinions.insert(job.job);
            }
            Event::JobFinished { job } => {
                self.second_opinions.remove(job);
            }
            Event::GateFinished(finished) => {
                match self.second_opinions.contains(&finished.job) {
                    true => self.outcome.second_opinions += 1,
                    false => self.outcome.gate_runs += 1,
                }
                self.outcome.gate_ms += finished.duration_ms;
            }
            Event::Landed(landed) => {
                for ix in landed.items.iter().filter_map(|name| graph.find(name)) {
                    self.outcome.landed_ms[ix.get()] = Some(recorded.at_ms);
                }
            }
            Event::RunFinished { .. } => self.outcome.makespan_ms = recorded.at_ms,
            _ => {}
        }
    }
}
