//! What there is to do, whoever does it: the gates of items on their cones and of apexes, as a rehearsal showed
//! them, what they take, and how often items fail. What it costs is [`super::price`]'s business.

use std::collections::{BTreeSet, HashMap};

use super::limits::Bound;
use crate::core::critical_path::GateDurations;
use crate::core::judge::{Wanted, apex_gates, cone_gates, wanted_by};
use crate::core::limits::Outcomes;
use crate::core::strategy::batch::pass_rate;
use crate::plan::file::DEFAULT_BATCH_SIZE;
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::names::DefinitionDigest;

/// How often an item fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRate {
    /// From 0 to 1.
    pub rate: f64,
    /// Earlier runs told; else it is what is usual.
    pub is_learned: bool,
}

impl FailureRate {
    /// Where nothing is known: the mean of the Beta(1, 19) distribution.
    pub const ASSUMED: Self = Self { rate: 0.05, is_learned: false };

    /// As items have fared so far.
    pub fn of(seen: Outcomes) -> Self {
        if seen == Outcomes::default() {
            return Self::ASSUMED;
        }
        Self { rate: 1.0 - pass_rate(seen), is_learned: true }
    }
}

/// What is to be done, whoever does it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Those that would land or are gated at least, in canonical order.
    pub items: Vec<ItemWork>,
    /// The gates that are yet to run on each apex.
    pub apexes: Vec<Gates>,
    /// The distinct gates that the items need together where they land.
    pub together: Vec<SharedGate>,
    pub workers: u32,
    /// How often an item fails, from 0 to 1.
    pub failure_rate: f64,
    /// How many items groups have; `None`: as many as is best.
    pub group_size: Option<u32>,
    /// Those that named limits set.
    pub bounds: Vec<Bound>,
}

/// What a rehearsal of a run showed.
#[derive(Clone, Debug, Default)]
pub struct Rehearsed {
    /// Those that would land, in canonical order.
    pub landing: Vec<ItemIx>,
    /// For each item the gates that would run on its cone.
    pub cones: HashMap<ItemIx, Vec<DefinitionDigest>>,
    /// Those that would run on each apex.
    pub apexes: Vec<Vec<DefinitionDigest>>,
}

impl Rehearsed {
    /// What a pyramid of these items, which would land, would run, were nothing known: where the plan lands them in
    /// another way no cone was rehearsed.
    pub fn as_planned(graph: &Graph, landing: Vec<ItemIx>) -> Self {
        let definitions = |wanted: Vec<Wanted>| wanted.iter().map(|wanted| wanted.gate.definition).collect::<Vec<_>>();
        let lands: BTreeSet<ItemIx> = landing.iter().copied().collect();
        let cone = |ix: ItemIx| {
            let unlanded: Vec<ItemIx> = graph.closure(ix).into_iter().filter(|dep| lands.contains(dep)).collect();
            (ix, definitions(cone_gates(graph, &unlanded, ix)))
        };
        let apex = |items: &[ItemIx]| definitions(apex_gates(graph, items).into_iter().map(|(_, gate)| gate).collect());
        Self {
            cones: landing.iter().map(|ix| cone(*ix)).collect(),
            apexes: landing.chunks(DEFAULT_BATCH_SIZE as usize).map(apex).collect(),
            landing,
        }
    }

    /// Those that land or are gated at least, in canonical order.
    pub fn gated(&self, graph: &Graph) -> Vec<ItemIx> {
        let landing: BTreeSet<ItemIx> = self.landing.iter().copied().collect();
        graph.indices().filter(|ix| landing.contains(ix) || self.cones.contains_key(ix)).collect()
    }
}

impl Work {
    /// The work that a rehearsed run would do.
    pub fn of(
        graph: &Graph,
        rehearsed: &Rehearsed,
        durations: &GateDurations,
        workers: u32,
        failures: FailureRate,
    ) -> Self {
        let landing: BTreeSet<ItemIx> = rehearsed.landing.iter().copied().collect();
        let gated = rehearsed.gated(graph);
        let position: HashMap<ItemIx, usize> = gated.iter().enumerate().map(|(at, ix)| (*ix, at)).collect();
        let gates = |gates: &[DefinitionDigest]| Gates {
            runs: u32::try_from(gates.len()).unwrap_or(u32::MAX),
            ms: gates.iter().map(|gate| durations.ms(*gate)).sum(),
        };
        let item = |ix: &ItemIx| ItemWork {
            ix: *ix,
            lands: landing.contains(ix),
            deps: graph.deps(*ix).iter().filter_map(|dep| position.get(dep).copied()).collect(),
            cone: gates(rehearsed.cones.get(ix).map_or(&[], Vec::as_slice)),
        };
        let mut together: Vec<SharedGate> = Vec::new();
        let mut known = HashMap::new();
        for wanted in rehearsed.landing.iter().flat_map(|ix| wanted_by(graph, *ix)) {
            if wanted.required && wanted.gate.at.apex {
                let at = *known.entry(wanted.identity()).or_insert_with(|| {
                    together.push(SharedGate { items: 0, ms: durations.ms(wanted.gate.definition) });
                    together.len() - 1
                });
                together[at].items += 1;
            }
        }
        Self {
            items: gated.iter().map(item).collect(),
            apexes: rehearsed.apexes.iter().map(|apex| gates(apex)).collect(),
            together,
            workers,
            failure_rate: failures.rate,
            group_size: None,
            bounds: Vec::new(),
        }
    }
}

/// An item on its cone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemWork {
    pub ix: ItemIx,
    /// It lands unless a gate fails; else it is set aside wherever it is merged with what it clashes with.
    pub lands: bool,
    /// Positions in the list, before its own.
    pub deps: Vec<usize>,
    /// Those yet to run on its cone.
    pub cone: Gates,
}

/// Gates that run one after another on one tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    pub runs: u32,
    pub ms: u64,
}

/// A gate that some of the items need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedGate {
    pub items: u32,
    pub ms: u64,
}
