//! Of items that clash two by two, not all can land: which to set aside, so that as few as possible are, and
//! those of the lowest priorities; and which priorities make the canonical order do that.
//!
//! To land, an item needs its dependencies and may clash with nothing that landed before it. What is set
//! aside with its dependents is thus a vertex cover of the clashes that is closed under dependents. Sets of
//! clashing items are searched through one by one; what takes too many steps is the best that was found.

use std::collections::BTreeSet;

use crate::plan::Item;
use crate::plan::graph::{Graph, ItemIx};

/// Steps of the search for all sets together, each a few microseconds for every ten items in a set.
const MOST_STEPS: u32 = 20_000;

/// Items that are put in order anew, over all tries to do with fewer changed priorities: some tenths of a second.
const MOST_REORDERED: usize = 200_000;

/// Two items that do not merge with each other.
pub type Clash = (ItemIx, ItemIx);

/// What other priorities would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// Items with the priority that they should have, ascending.
    pub priorities: Vec<(ItemIx, i64)>,
    /// All items in the order that these give.
    pub order: Vec<ItemIx>,
    /// Ascending.
    pub set_aside: Vec<ItemIx>,
    /// Nothing better is possible; else nothing better was found.
    pub is_least: bool,
}

/// The items that are set aside when all land in the graph's order, but for those in `out`, which land in no
/// order, or have landed. Ascending, without `out`.
pub fn set_aside_in_order(graph: &Graph, clashes: &[Clash], out: &[ItemIx]) -> Vec<ItemIx> {
    Clashing::new(graph, clashes, out).in_order(graph.indices())
}

/// Better priorities, if there are any.
pub fn suggest(graph: &Graph, clashes: &[Clash], out: &[ItemIx]) -> Option<Suggestion> {
    let clashing = Clashing::new(graph, clashes, out);
    let now = clashing.in_order(graph.indices());
    let (best, is_least) = clashing.least(&now);
    if clashing.cost_of(&best) >= clashing.cost_of(&now) {
        return None;
    }
    let wanted = clashing.priorities_for(&best);
    let (mut order, mut set_aside) = clashing.with_priorities(&wanted)?;
    let cost = clashing.cost_of(&set_aside);
    if cost >= clashing.cost_of(&now) {
        return None;
    }
    // What changes nothing, because another one is set aside instead of it, is no advice.
    let mut priorities = wanted;
    let tries = MOST_REORDERED / graph.len().max(1);
    let (mut at, mut in_need) = (priorities.len(), 0);
    for _ in 0..tries {
        if in_need == priorities.len() {
            break;
        }
        at = at.checked_sub(1).unwrap_or(priorities.len() - 1);
        let mut fewer = priorities.clone();
        fewer.remove(at);
        match clashing.with_priorities(&fewer) {
            Some((in_order, aside)) if clashing.cost_of(&aside) <= cost => {
                (priorities, order, set_aside) = (fewer, in_order, aside);
                in_need = 0;
            }
            // Without others it may not be.
            _ => in_need += 1,
        }
    }
    Some(Suggestion { priorities, order, set_aside, is_least })
}

/// How many items of each priority are set aside, the highest first: less is better, in this order.
type Cost = Vec<u32>;

/// The items and their clashes, by position.
struct Clashing<'a> {
    graph: &'a Graph,
    /// For each item those that it clashes with, ascending.
    with: Vec<BTreeSet<usize>>,
    is_out: Vec<bool>,
    /// For each item the place of its priority among all, from the highest.
    rank: Vec<usize>,
    ranks: usize,
}

impl<'a> Clashing<'a> {
    fn new(graph: &'a Graph, clashes: &[Clash], out: &[ItemIx]) -> Self {
        let mut is_out = vec![false; graph.len()];
        for ix in out {
            is_out[ix.get()] = true;
        }
        let mut with = vec![BTreeSet::new(); graph.len()];
        for (one, other) in clashes.iter().map(|(one, other)| (one.get(), other.get())) {
            if !is_out[one] && !is_out[other] && one != other {
                with[one].insert(other);
                with[other].insert(one);
            }
        }
        let priorities: BTreeSet<i64> = graph.indices().map(|ix| graph.item(ix).priority).collect();
        let priorities: Vec<i64> = priorities.into_iter().rev().collect();
        let rank = graph.indices().map(|ix| priorities.partition_point(|above| *above > graph.item(ix).priority));
        Self { graph, with, is_out, rank: rank.collect(), ranks: priorities.len() }
    }

    fn in_order(&self, order: impl Iterator<Item = ItemIx>) -> Vec<ItemIx> {
        let mut is_in = vec![false; self.graph.len()];
        let mut aside = Vec::new();
        for ix in order.filter(|ix| !self.is_out[ix.get()]) {
            let may_land = self.with[ix.get()].iter().all(|other| !is_in[*other])
                && self.graph.deps(ix).iter().all(|dep| is_in[dep.get()] || self.is_out[dep.get()]);
            if may_land {
                is_in[ix.get()] = true;
            } else {
                aside.push(ix);
            }
        }
        aside.sort_unstable();
        aside
    }

    /// All items in the order that these priorities give, and those that are set aside in it.
    fn with_priorities(&self, priorities: &[(ItemIx, i64)]) -> Option<(Vec<ItemIx>, Vec<ItemIx>)> {
        let graph = self.graph;
        let mut items: Vec<Item> = graph.indices().map(|ix| Item::clone(graph.item(ix))).collect();
        for (ix, priority) in priorities {
            items[ix.get()].priority = *priority;
        }
        let implied: Vec<(usize, usize)> =
            graph.indices().flat_map(|ix| graph.implied(ix).iter().map(move |dep| (ix.get(), dep.get()))).collect();
        // It has no cycle, as the graph has none.
        let reordered = Graph::new(items, &implied).ok()?;
        let order: Vec<ItemIx> = reordered.indices().filter_map(|ix| graph.find(reordered.name(ix))).collect();
        let set_aside = self.in_order(order.iter().copied());
        Some((order, set_aside))
    }

    fn cost_of(&self, items: &[ItemIx]) -> Cost {
        let mut cost = vec![0; self.ranks];
        for ix in items {
            cost[self.rank[ix.get()]] += 1;
        }
        cost
    }

    /// An item and all that depend on it, ascending.
    fn with_dependents(&self, at: usize) -> Vec<usize> {
        self.reached(at, |ix| self.graph.dependents(ix))
    }

    /// An item and all that it depends on, ascending.
    fn with_dependencies(&self, at: usize) -> Vec<usize> {
        self.reached(at, |ix| self.graph.deps(ix))
    }

    fn reached(&self, at: usize, next: impl Fn(ItemIx) -> &'a [ItemIx]) -> Vec<usize> {
        let mut seen = BTreeSet::from([at]);
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            open.extend(next(ItemIx::new(at)).iter().map(|ix| ix.get()).filter(|next| seen.insert(*next)));
        }
        seen.into_iter().filter(|at| !self.is_out[*at]).collect()
    }

    /// The cheapest items to set aside, no dearer than `known`; and whether it is sure that none are cheaper.
    fn least(&self, known: &[ItemIx]) -> (Vec<ItemIx>, bool) {
        let mut is_aside = vec![false; self.graph.len()];
        for ix in known {
            is_aside[ix.get()] = true;
        }
        let (mut steps, mut is_least) = (MOST_STEPS, true);
        for members in self.sets() {
            let known = members.iter().map(|at| is_aside[*at]).collect();
            let set = ClashingSet::of(self, &members);
            let (best, is_sure) = set.least(known, &mut steps);
            is_least &= is_sure;
            for (at, aside) in members.iter().zip(best) {
                is_aside[*at] = aside;
            }
        }
        ((0..is_aside.len()).filter(|at| is_aside[*at]).map(ItemIx::new).collect(), is_least)
    }

    /// Items whose clashes have to do with each other, with their dependents, each set ascending.
    fn sets(&self) -> Vec<Vec<usize>> {
        let mut set_of: Vec<Option<usize>> = vec![None; self.graph.len()];
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for begin in (0..self.graph.len()).filter(|at| !self.with[*at].is_empty()) {
            if set_of[begin].is_some() {
                continue;
            }
            let number = sets.len();
            let mut members = Vec::new();
            let mut open = vec![begin];
            while let Some(at) = open.pop() {
                if self.is_out[at] || set_of[at].is_some() {
                    continue;
                }
                set_of[at] = Some(number);
                members.push(at);
                open.extend(&self.with[at]);
                open.extend(self.graph.dependents(ItemIx::new(at)).iter().map(|ix| ix.get()));
                // What it needs matters where that, or what else needs that, clashes.
                open.extend(self.graph.deps(ItemIx::new(at)).iter().map(|ix| ix.get()));
            }
            members.sort_unstable();
            sets.push(members);
        }
        sets
    }

    /// Priorities by which those to set aside come after all that they would keep from landing: below the
    /// lowest of these, for a dependency is as urgent as what depends on it.
    fn priorities_for(&self, set_aside: &[ItemIx]) -> Vec<(ItemIx, i64)> {
        let mut is_aside = vec![false; self.graph.len()];
        for ix in set_aside {
            is_aside[ix.get()] = true;
        }
        let priority = |at: usize| self.graph.item(ItemIx::new(at)).priority;
        let mut wanted: Vec<Option<i64>> = vec![None; self.graph.len()];
        for ix in set_aside {
            let kept = self.with[ix.get()].iter().filter(|other| !is_aside[**other]);
            let Some(below) = kept.map(|other| priority(*other).saturating_sub(1)).min() else { continue };
            // Were a dependent more urgent, so would the item be.
            for at in self.with_dependents(ix.get()) {
                wanted[at] = Some(wanted[at].map_or(below, |known| known.min(below)));
            }
        }
        let lower = wanted.into_iter().enumerate().filter_map(|(at, wanted)| Some((at, wanted?)));
        lower.filter(|(at, wanted)| *wanted < priority(*at)).map(|(at, wanted)| (ItemIx::new(at), wanted)).collect()
    }
}

/// One set of items to be searched through, by their positions in it.
struct ClashingSet {
    with: Vec<Vec<usize>>,
    /// Each item with its dependents.
    with_dependents: Vec<Vec<usize>>,
    /// Each item with what it depends on.
    with_dependencies: Vec<Vec<usize>>,
    rank: Vec<usize>,
    ranks: usize,
}

/// What is decided of each item so far.
#[derive(Clone)]
struct Decided {
    is_aside: Vec<bool>,
    is_kept: Vec<bool>,
    cost: Cost,
}

impl ClashingSet {
    /// `members` ascend.
    fn of(clashing: &Clashing<'_>, members: &[usize]) -> Self {
        let within = |all: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            all.filter_map(|at| members.binary_search(&at).ok()).collect()
        };
        let of = |list: &dyn Fn(usize) -> Vec<usize>| -> Vec<Vec<usize>> {
            members.iter().map(|at| within(&mut list(*at).into_iter())).collect()
        };
        Self {
            with: of(&|at| clashing.with[at].iter().copied().collect()),
            with_dependents: of(&|at| clashing.with_dependents(at)),
            with_dependencies: of(&|at| clashing.with_dependencies(at)),
            rank: members.iter().map(|at| clashing.rank[*at]).collect(),
            ranks: clashing.ranks,
        }
    }

    /// Which items are cheapest to set aside, where `known` is one way; and whether none are cheaper.
    fn least(&self, known: Vec<bool>, steps: &mut u32) -> (Vec<bool>, bool) {
        let mut best_cost = vec![0; self.ranks];
        for (at, _) in known.iter().enumerate().filter(|(_, is_aside)| **is_aside) {
            best_cost[self.rank[at]] += 1;
        }
        let mut best = known;
        let nothing = vec![false; self.rank.len()];
        let nothing = Decided { is_aside: nothing.clone(), is_kept: nothing, cost: vec![0; self.ranks] };
        // Depth first, and what clashes most is set aside first: the first end of the search is what a greedy
        // choice would come to.
        let mut open = vec![nothing];
        while let Some(mut decided) = open.pop() {
            let Some(left) = steps.checked_sub(1) else { return (best, false) };
            *steps = left;
            self.settle(&mut decided);
            if decided.cost >= best_cost {
                continue;
            }
            let Some(at) = self.most_clashing(&decided) else {
                (best, best_cost) = (decided.is_aside, decided.cost);
                continue;
            };
            let mut keeping = decided.clone();
            if self.keep(&mut keeping, at) {
                open.push(keeping);
            }
            if self.set_aside(&mut decided, at) {
                open.push(decided);
            }
        }
        (best, true)
    }

    /// Sets aside what needs no choice: where an item has one clash left, the other one, if nothing depends on
    /// that and its priority is not higher. That costs no more than setting the item aside, and covers as much;
    /// unless the item goes anyway, with one that it depends on.
    fn settle(&self, decided: &mut Decided) {
        for at in 0..self.with.len() {
            if decided.is_aside[at] || decided.is_kept[at] || self.with_dependencies[at].len() > 1 {
                continue;
            }
            let mut open = self.with[at].iter().filter(|other| !decided.is_aside[**other]);
            let (Some(&other), None) = (open.next(), open.next()) else { continue };
            let goes_alone = self.with_dependents[other].len() == 1 && !decided.is_kept[other];
            if goes_alone && self.rank[other] >= self.rank[at] {
                self.set_aside(decided, other);
            }
        }
    }

    /// The undecided item with the most clashes that are undecided; of several the last.
    fn most_clashing(&self, decided: &Decided) -> Option<usize> {
        let open = |at: usize| self.with[at].iter().filter(|other| !decided.is_aside[**other]).count();
        let undecided = (0..self.with.len()).filter(|at| !decided.is_aside[*at] && !decided.is_kept[*at]);
        undecided.map(|at| (open(at), at)).filter(|(open, _)| *open > 0).max().map(|(_, at)| at)
    }

    /// False where it cannot be.
    fn set_aside(&self, decided: &mut Decided, at: usize) -> bool {
        for &at in &self.with_dependents[at] {
            if decided.is_kept[at] {
                return false;
            }
            if !decided.is_aside[at] {
                decided.is_aside[at] = true;
                decided.cost[self.rank[at]] += 1;
            }
        }
        true
    }

    /// Keeps an item and what it needs, and sets aside all that clash with these. False where it cannot be.
    fn keep(&self, decided: &mut Decided, at: usize) -> bool {
        for &at in &self.with_dependencies[at] {
            if decided.is_aside[at] {
                return false;
            }
            decided.is_kept[at] = true;
            if !self.with[at].iter().all(|other| self.set_aside(decided, *other)) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::names::{ItemName, MergeStrategy};
    use proptest::prelude::*;

    /// Items named by their positions, with (deps, priority).
    fn graph(items: &[(&[usize], i64)]) -> Graph {
        let name = |at: usize| ItemName::new(format!("i{at}"));
        let item = |(at, (deps, priority)): (usize, &(&[usize], i64))| Item {
            name: name(at),
            branch: format!("i{at}"),
            pin: None,
            deps: deps.iter().map(|dep| name(*dep)).collect(),
            strategy: MergeStrategy::Merge,
            priority: *priority,
            gates: Vec::new(),
        };
        Graph::new(items.iter().enumerate().map(item).collect(), &[]).unwrap()
    }

    fn clashes(graph: &Graph, pairs: &[(usize, usize)]) -> Vec<Clash> {
        let find = |at: usize| graph.find(&ItemName::new(format!("i{at}"))).unwrap();
        pairs.iter().map(|(one, other)| (find(*one), find(*other))).collect()
    }

    fn told(graph: &Graph, items: &[ItemIx]) -> Vec<String> {
        items.iter().map(|ix| graph.name(*ix).to_string()).collect()
    }

    #[test]
    fn the_one_that_clashes_with_all_others_comes_last() {
        let graph = graph(&[(&[], 0), (&[], 0), (&[], 0), (&[], 0)]);
        let star = clashes(&graph, &[(0, 1), (0, 2), (0, 3)]);
        assert_eq!(told(&graph, &set_aside_in_order(&graph, &star, &[])), ["i1", "i2", "i3"]);
        let better = suggest(&graph, &star, &[]).unwrap();
        assert_eq!(told(&graph, &better.set_aside), ["i0"]);
        assert_eq!(told(&graph, &better.order), ["i1", "i2", "i3", "i0"]);
        assert_eq!(better.priorities, [(ItemIx::new(0), -1)]);
        assert!(better.is_least);
        // Where it cannot land anyway, nothing is better.
        assert_eq!(suggest(&graph, &star, &[ItemIx::new(0)]), None);
        assert_eq!(set_aside_in_order(&graph, &star, &[ItemIx::new(0)]), []);
    }

    #[test]
    fn a_higher_priority_is_not_set_aside_for_any_number_of_lower_ones() {
        let graph = graph(&[(&[], 5), (&[], 0), (&[], 0)]);
        assert_eq!(suggest(&graph, &clashes(&graph, &[(0, 1), (0, 2)]), &[]), None);
    }

    #[test]
    fn dependents_count_and_two_that_clash_have_no_better_order() {
        let pair = graph(&[(&[], 0), (&[], 0)]);
        assert_eq!(suggest(&pair, &clashes(&pair, &[(0, 1)]), &[]), None);
        // i1 comes first and keeps i2 from landing, on which two others depend.
        let graph = graph(&[(&[], 0), (&[], 0), (&[], 0), (&[2], 0), (&[3], 0)]);
        let better = suggest(&graph, &clashes(&graph, &[(1, 2)]), &[]).unwrap();
        assert_eq!(told(&graph, &better.set_aside), ["i1"]);
    }

    #[test]
    fn what_only_trades_places_with_another_is_not_named() {
        // i0 clashes with two others, i3 with i4 alone: whichever of these two comes first, one is set aside.
        let graph = graph(&[(&[], 0), (&[], 0), (&[], 0), (&[], 0), (&[], 0)]);
        let better = suggest(&graph, &clashes(&graph, &[(0, 1), (0, 2), (3, 4)]), &[]).unwrap();
        assert_eq!(better.priorities, [(ItemIx::new(0), -1)]);
        assert_eq!(told(&graph, &better.set_aside), ["i0", "i4"]);
    }

    /// All ways to set items aside, the cheapest.
    fn by_force(clashing: &Clashing<'_>, clashes: &[Clash]) -> Cost {
        let count = clashing.graph.len();
        let ways = (0_u32..1 << count).filter_map(|way| {
            let is_aside = |at: usize| way >> at & 1 == 1;
            let covers = clashes.iter().all(|(one, other)| is_aside(one.get()) || is_aside(other.get()));
            let is_closed = clashing
                .graph
                .indices()
                .all(|ix| is_aside(ix.get()) || clashing.graph.deps(ix).iter().all(|dep| !is_aside(dep.get())));
            let aside: Vec<ItemIx> = (0..count).filter(|at| is_aside(*at)).map(ItemIx::new).collect();
            (covers && is_closed).then(|| clashing.cost_of(&aside))
        });
        ways.min().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_least_is_the_least_and_priorities_reach_it(
            items in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..2), 0_i64..3), 2..9),
            pairs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12),
        ) {
            let deps: Vec<Vec<usize>> = items.iter().enumerate().map(|(at, (deps, _))| {
                if at == 0 { Vec::new() } else { deps.iter().map(|dep| dep.index(at)).collect() }
            }).collect();
            let described: Vec<(&[usize], i64)> =
                deps.iter().zip(&items).map(|(deps, (_, priority))| (deps.as_slice(), *priority)).collect();
            let graph = graph(&described);
            let count = items.len();
            let pairs: Vec<Clash> = pairs.iter()
                .map(|(one, other)| (ItemIx::new(one.index(count)), ItemIx::new(other.index(count))))
                .filter(|(one, other)| {
                    one != other && !graph.closure(*one).contains(other) && !graph.closure(*other).contains(one)
                })
                .collect();
            let clashing = Clashing::new(&graph, &pairs, &[]);
            let now = set_aside_in_order(&graph, &pairs, &[]);
            let (least, is_least) = clashing.least(&now);
            prop_assert!(is_least);
            prop_assert_eq!(clashing.cost_of(&least), by_force(&clashing, &pairs));
            if let Some(better) = suggest(&graph, &pairs, &[]) {
                for at in 0..better.priorities.len() {
                    let mut fewer = better.priorities.clone();
                    fewer.remove(at);
                    let (_, aside) = clashing.with_priorities(&fewer).unwrap();
                    prop_assert!(clashing.cost_of(&aside) > clashing.cost_of(&least), "each of them is needed");
                }
                prop_assert!(clashing.cost_of(&better.set_aside) < clashing.cost_of(&now));
                prop_assert_eq!(clashing.cost_of(&better.set_aside), clashing.cost_of(&least));
            } else {
                prop_assert_eq!(clashing.cost_of(&now), clashing.cost_of(&least));
            }
        }
    }
}
