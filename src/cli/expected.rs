//! What each strategy would likely cost: the strategies themselves and the real loop, in virtual time, on the plan's
//! items, of which as many fail as in earlier runs. A plan that is too large for that is priced by formulas.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::conduct::limits_beforehand;
use crate::core::critical_path::GateDurations;
use crate::core::forecast::price::{self, Price, Way};
use crate::core::forecast::work::Work;
use crate::core::limits::{Limits, Outcomes, elsewhere};
use crate::git::pairs::Pairs;
use crate::plan::globs::path_globs;
use crate::plan::graph::{Graph, ItemIx};
use crate::plan::{GroupSize, Landing, Policy};
use crate::simulation::Setting;
use crate::simulation::beforehand::Beforehand;
use crate::simulation::run::{Scenario, SimulationError, run};
use crate::simulation::world::{Rates, World};
use crate::vocabulary::names::DefinitionDigest;

/// Larger plans would take seconds.
const MOST_ITEMS: usize = 300;

/// Items that are simulated for one strategy, over all of its runs: a second of one processor at most.
const ITEMS_IN_ALL: usize = 400;

/// More runs make the mean no better than what goes into it.
const MOST_RUNS: usize = 24;

/// Prices, and how many simulated runs they are the mean of; none: they come from formulas.
pub(super) struct Expected {
    pub prices: Vec<Price>,
    pub runs: u32,
}

/// What is priced.
pub(super) struct Pricing<'a> {
    pub graph: &'a Arc<Graph>,
    pub policy: &'a Policy,
    pub durations: &'a GateDurations,
    pub history: Outcomes,
    pub failure_rate: f64,
    pub workers: u32,
    pub beforehand: Arc<Beforehand>,
}

impl Pricing<'_> {
    /// In the order of [`Way::ALL`], without those that the plan cannot land by.
    pub(super) fn expected(&self, work: &Work) -> Expected {
        let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| self.may_land_by(*way)).collect();
        let open = self.graph.len() - self.beforehand.landed.len();
        if open == 0 || work.items.is_empty() {
            return Expected { prices: Vec::new(), runs: 0 };
        }
        let runs = (ITEMS_IN_ALL / open).clamp(1, MOST_RUNS);
        let simulated = if open <= MOST_ITEMS { self.simulated(&ways, runs) } else { None };
        match simulated {
            Some(prices) => Expected { prices, runs: u32::try_from(runs).unwrap_or(u32::MAX) },
            None => {
                let prices = price::prices(work, self.policy.spend);
                Expected { prices: prices.into_iter().filter(|price| ways.contains(&price.way)).collect(), runs: 0 }
            }
        }
    }

    /// A gate that runs on cones alone would never run.
    fn may_land_by(&self, way: Way) -> bool {
        let gates = || self.graph.indices().flat_map(|ix| self.graph.gates(ix));
        match way {
            Way::Pyramid | Way::PyramidGroups => true,
            Way::Batch | Way::Train => gates().all(|gate| !gate.required || gate.at.apex),
        }
    }

    /// `None` where a run comes to no end: a figure is advice, and no reason not to foretell the rest.
    fn simulated(&self, ways: &[Way], runs: usize) -> Option<Vec<Price>> {
        let rates = Rates { fail: self.failure_rate, clash: 0.0, flake: 0.0 };
        let worlds: Vec<Arc<World>> =
            World::draw_together(self.graph.len(), rates, runs).into_iter().map(Arc::new).collect();
        let gates = self.graph.indices().flat_map(|ix| self.graph.gates(ix)).map(|gate| gate.definition);
        let gate_ms: HashMap<DefinitionDigest, u64> = gates.map(|gate| (gate, self.durations.ms(gate))).collect();
        let scenario = |way: Way| {
            let (landing, group_size) = match (way, self.policy.group_size) {
                (Way::Pyramid, _) => (Landing::Pyramid, GroupSize::Fixed(1)),
                (Way::PyramidGroups, GroupSize::Fixed(1)) => (Landing::Pyramid, GroupSize::Auto),
                (Way::PyramidGroups, asked) => (Landing::Pyramid, asked),
                (Way::Batch, _) => (Landing::Batch, GroupSize::Fixed(1)),
                (Way::Train, _) => (Landing::Train, GroupSize::Fixed(1)),
            };
            let policy = Policy { landing, group_size, ..self.policy.clone() };
            Scenario {
                graph: Arc::clone(self.graph),
                limits: Limits {
                    history: self.history,
                    elsewhere: elsewhere(self.graph),
                    ..limits_beforehand(&policy)
                },
                group_size,
                policy: Arc::new(policy),
                gate_ms: gate_ms.clone(),
                beforehand: Arc::clone(&self.beforehand),
            }
        };
        let setting = Setting {
            workers: self.workers as usize,
            gate_ms: 0,
            spread: 0.0,
            second_opinion: self.policy.second_opinion,
            is_first_run: self.history == Outcomes::default(),
        };
        let prices: Result<Vec<Price>, SimulationError> = std::thread::scope(|scope| {
            let (worlds, setting) = (&worlds, &setting);
            let price = |way: Way| {
                let scenario = scenario(way);
                scope.spawn(move || price_of(way, &scenario, worlds, setting))
            };
            let under_way: Vec<_> = ways.iter().map(|way| price(*way)).collect();
            let joined = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(price) => price,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            under_way.into_iter().map(joined).collect()
        });
        prices.ok()
    }
}

fn price_of(way: Way, scenario: &Scenario, worlds: &[Arc<World>], setting: &Setting) -> Result<Price, SimulationError> {
    let mut all = Price { way, gate_runs: 0.0, confirmations: 0.0, gate_ms: 0.0, makespan_ms: 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "runs and milliseconds, far below 2^52")]
    for world in worlds {
        let outcome = run(scenario, world, setting)?;
        let share = |amount: u64| amount as f64 / worlds.len() as f64;
        all.gate_runs += share(outcome.gate_runs);
        all.confirmations += share(outcome.second_opinions);
        all.gate_ms += share(outcome.gate_ms);
        all.makespan_ms += share(outcome.makespan_ms);
    }
    Ok(all)
}

/// What the look at pairs says of the items. `of` says which item a position in `pairs` is.
pub(super) fn beforehand(graph: &Graph, pairs: &Pairs, of: &[ItemIx], apart: BTreeSet<ItemIx>) -> Beforehand {
    let mut clashes: HashMap<ItemIx, Vec<ItemIx>> = HashMap::new();
    for clash in &pairs.clashes {
        let (first, second) = (of[clash.first], of[clash.second]);
        clashes.entry(first).or_default().push(second);
        clashes.entry(second).or_default().push(first);
    }
    let inputs: BTreeSet<&Vec<String>> =
        of.iter().flat_map(|ix| graph.gates(*ix)).filter_map(|gate| gate.inputs.as_ref()).collect();
    let touched = |inputs: &Vec<String>| {
        let globs = path_globs(inputs).ok()?;
        let by = of.iter().zip(&pairs.touched).filter(|(_, paths)| paths.iter().any(|path| globs.is_match(path)));
        Some((inputs.clone(), by.map(|(ix, _)| *ix).collect()))
    };
    let open: BTreeSet<ItemIx> = of.iter().copied().collect();
    Beforehand {
        landed: graph.indices().filter(|ix| !open.contains(ix)).collect(),
        apart,
        clashes,
        touched: inputs.into_iter().filter_map(touched).collect(),
        passes: Vec::new(),
    }
}
