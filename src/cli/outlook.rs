//! What a forecast says beyond its dry run: brings together what the composer found of pairs, what the
//! rehearsal showed and what earlier runs left.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::expected::{Expected, Pricing, beforehand};
use super::failure::Failure;
use super::prepare::{Prepared, Workshop};
use crate::core::critical_path::GateDurations;
use crate::core::forecast::order::{set_aside_in_order, suggest};
use crate::core::forecast::price::{Price, Way, cheapest, critical_path};
use crate::core::forecast::work::{FailureRate, Rehearsed, Work};
use crate::core::forecast::{Meeting, hotspots, inherited, limits};
use crate::durations::{self, Recalled};
use crate::git::pairs::Pairs;
use crate::plan::graph::ItemIx;
use crate::plan::{GroupSize, Landing, Spend};
use crate::ports::{ComposeRequest, Composer};
use crate::report::forecast::{
    Clash, Costs, CriticalPath, Hotspot, OrderAdvice, Outlook, PairCounts, RateBasis, SpendWord, StrategyCost,
    StrategyWord, SuggestedPriority, Suggestion,
};
use crate::simulation::beforehand::Beforehand;
use crate::vocabulary::names::{DefinitionDigest, ItemName};
use crate::vocabulary::trail::Trail;

/// What the rehearsal of a run came to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub rehearsed: Rehearsed,
    /// Items that would neither land nor have landed.
    pub left: Vec<ItemIx>,
    pub known_verdicts: u32,
    /// Gates that passed in earlier runs on the base with these items, ascending.
    pub passes: Vec<(Vec<ItemIx>, DefinitionDigest)>,
    pub workers: u32,
}

/// Looks at pairs, at most `most_pairs`, and at what it all will cost.
pub(super) async fn look(
    prepared: &Prepared,
    workshop: &Workshop,
    seen: Seen,
    most_pairs: usize,
) -> Result<Outlook, Failure> {
    let open: Vec<_> = prepared
        .items
        .iter()
        .zip(&prepared.lined_up)
        .filter(|(_, lined_up)| lined_up.already_landed.is_none())
        .map(|(item, _)| item.clone())
        .collect();
    let pairs = workshop.composer.pairs(prepared.target.commit, open.clone(), most_pairs).await?;
    let of: Vec<ItemIx> = open.iter().map(|item| item.ix).collect();
    let clashes = clashes(prepared, &pairs, &of);
    let order = advise(prepared, workshop, &seen, &pairs, &of).await?;
    let name = |at: usize| prepared.graph.name(of[at]).clone();
    Ok(Outlook {
        pairs: PairCounts {
            compared: narrow(pairs.compared),
            clashing: narrow(pairs.clashes.len()),
            is_cut: pairs.is_cut,
            apart: pairs.apart.iter().map(|at| name(*at)).collect(),
            undecided: pairs.undecided.iter().map(|(first, second)| (name(*first), name(*second))).collect(),
        },
        hotspots: spots(prepared, &pairs, &of, &clashes),
        clashes,
        order,
        known_verdicts: seen.known_verdicts,
        cost: costs(prepared, &seen, &pairs, &of),
    })
}

/// `of` says which item a position in `pairs` is.
fn clashes(prepared: &Prepared, pairs: &Pairs, of: &[ItemIx]) -> Vec<Clash> {
    let graph = &prepared.graph;
    let meetings: Vec<Meeting<'_>> = pairs
        .clashes
        .iter()
        .map(|clash| Meeting {
            first: of[clash.first],
            second: of[clash.second],
            paths: clash.places.iter().map(|place| place.path.as_str()).collect(),
        })
        .collect();
    let name = |ix: ItemIx| graph.name(ix).clone();
    let clash = |(number, origin): (usize, Option<usize>)| Clash {
        first: name(meetings[number].first),
        second: name(meetings[number].second),
        inherited_from: origin.map(|origin| (name(meetings[origin].first), name(meetings[origin].second))),
        places: pairs.clashes[number].places.clone(),
    };
    inherited(graph, &meetings).into_iter().enumerate().map(clash).collect()
}

fn spots(prepared: &Prepared, pairs: &Pairs, of: &[ItemIx], clashes: &[Clash]) -> Vec<Hotspot> {
    let touched = of.iter().copied().zip(pairs.touched.iter().map(Vec::as_slice));
    let own = || clashes.iter().filter(|clash| clash.inherited_from.is_none());
    let spot = |(path, items): (&str, Vec<ItemIx>)| Hotspot {
        path: path.to_owned(),
        items: items.into_iter().map(|ix| prepared.graph.name(ix).clone()).collect(),
        clashes: narrow(own().filter(|clash| clash.places.iter().any(|place| place.path == path)).count()),
    };
    hotspots(touched).into_iter().map(spot).collect()
}

/// What the order comes to, and what another would: tried by really merging in it.
async fn advise(
    prepared: &Prepared,
    workshop: &Workshop,
    seen: &Seen,
    pairs: &Pairs,
    of: &[ItemIx],
) -> Result<OrderAdvice, Failure> {
    let graph = &prepared.graph;
    // What does not merge by itself lands in no order, and nothing on top of it does.
    let mut out = unmergeable(seen, pairs, of);
    for ix in graph.indices() {
        if graph.deps(ix).iter().any(|dep| out.contains(dep)) {
            out.insert(ix);
        }
    }
    let is_open: HashSet<ItemIx> = of.iter().copied().collect();
    let names =
        |items: &mut dyn Iterator<Item = ItemIx>| -> Vec<ItemName> { items.map(|ix| graph.name(ix).clone()).collect() };
    let set_aside = names(&mut seen.left.iter().copied().filter(|ix| !out.contains(ix)));
    let clashes: Vec<_> = pairs.clashes.iter().map(|clash| (of[clash.first], of[clash.second])).collect();
    out.extend(graph.indices().filter(|ix| !is_open.contains(ix)));
    let out: Vec<ItemIx> = out.into_iter().collect();
    if set_aside.is_empty() || set_aside_in_order(graph, &clashes, &out).is_empty() {
        return Ok(OrderAdvice { set_aside, suggestion: None });
    }
    let Some(better) = suggest(graph, &clashes, &out) else {
        return Ok(OrderAdvice { set_aside, suggestion: None });
    };
    let order: Vec<ItemIx> = better.order.iter().copied().filter(|ix| out.binary_search(ix).is_err()).collect();
    let items = order.iter().map(|ix| prepared.items[ix.get()].clone()).collect();
    let request = ComposeRequest { base: prepared.target.commit, items, beneath: Trail::default() };
    let made = workshop.composer.compose(request).await?;
    // Pairs tell nothing of three that clash only together.
    let is_better = made.set_aside.len() <= better.set_aside.len();
    let suggestion = is_better.then(|| Suggestion {
        priorities: better
            .priorities
            .iter()
            .map(|(ix, priority)| SuggestedPriority { item: graph.name(*ix).clone(), priority: *priority })
            .collect(),
        order: names(&mut order.iter().copied()),
        set_aside: made.set_aside.iter().map(|aside| aside.item.clone()).collect(),
        is_least: better.is_least,
    });
    Ok(OrderAdvice { set_aside, suggestion })
}

/// Those that do not merge onto the base by themselves.
fn unmergeable(seen: &Seen, pairs: &Pairs, of: &[ItemIx]) -> BTreeSet<ItemIx> {
    let left: HashSet<ItemIx> = seen.left.iter().copied().collect();
    pairs.apart.iter().map(|at| of[*at]).filter(|ix| left.contains(ix)).collect()
}

fn costs(prepared: &Prepared, seen: &Seen, pairs: &Pairs, of: &[ItemIx]) -> Costs {
    let graph = &prepared.graph;
    let spend = prepared.policy.spend;
    let gated = seen.rehearsed.gated(graph);
    let needed: BTreeSet<DefinitionDigest> =
        gated.iter().flat_map(|ix| graph.gates(*ix)).map(|gate| gate.definition).collect();
    let Recalled { gates, items } = durations::recall(prepared.repo.common_dir());
    let failures = FailureRate::of(items);
    let remembered: GateDurations = gates.into_iter().collect();
    let durations = remembered.of(needed.iter().copied());
    let bounds = limits::bounds(graph, &prepared.policy.resources, &seen.rehearsed, &durations);
    let group_size = match prepared.policy.group_size {
        GroupSize::Fixed(2..) if prepared.policy.landing == Landing::Pyramid => prepared.policy.group_size,
        _ => GroupSize::Auto,
    };
    let work = Work {
        bounds,
        group_size: group_size.fixed(),
        ..Work::of(graph, &seen.rehearsed, &durations, seen.workers, failures)
    };
    let path = critical_path(&work.items);
    let known = beforehand(graph, pairs, of, unmergeable(seen, pairs, of));
    let pricing = Pricing {
        graph,
        policy: &prepared.policy,
        durations: &durations,
        history: items,
        failure_rate: failures.rate,
        workers: seen.workers,
        beforehand: Arc::new(Beforehand { passes: seen.passes.clone(), ..known }),
    };
    let Expected { prices, runs } = pricing.expected(&work);
    Costs {
        failure_rate: failures.rate,
        failure_rate_is: if failures.is_learned { RateBasis::Remembered } else { RateBasis::Assumed },
        gates: narrow(needed.len()),
        gates_of_unknown_duration: narrow(needed.iter().filter(|gate| !durations.knows(**gate)).count()),
        critical_path: CriticalPath {
            items: path.items.iter().map(|at| graph.name(work.items[*at].ix).clone()).collect(),
            ms: path.ms,
        },
        simulated_runs: runs,
        group_size: group_size.fixed(),
        cheapest: cheapest(&prices, spend).map(|price| word(price.way)),
        strategies: prices.iter().map(strategy).collect(),
        landing: match prepared.policy.landing {
            Landing::Pyramid if prepared.policy.group_size == GroupSize::Fixed(1) => StrategyWord::Pyramid,
            Landing::Pyramid => StrategyWord::PyramidGroups,
            Landing::Batch => StrategyWord::Batch,
            Landing::Train => StrategyWord::Train,
        },
        spend: match spend {
            Spend::Gates => SpendWord::Gates,
            Spend::Time => SpendWord::Time,
        },
    }
}

fn strategy(price: &Price) -> StrategyCost {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds, and not below 0")]
    let whole = |ms: f64| ms.round() as u64;
    // An estimate has no more places than that.
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    StrategyCost {
        strategy: word(price.way),
        gate_runs: rounded(price.gate_runs),
        confirmations: rounded(price.confirmations),
        gate_ms: whole(price.gate_ms),
        makespan_ms: whole(price.makespan_ms),
    }
}

fn word(way: Way) -> StrategyWord {
    match way {
        Way::Pyramid => StrategyWord::Pyramid,
        Way::PyramidGroups => StrategyWord::PyramidGroups,
        Way::Batch => StrategyWord::Batch,
        Way::Train => StrategyWord::Train,
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
