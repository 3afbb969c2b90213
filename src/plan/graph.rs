//! Items and what they depend on, in canonical order: the one order of a plan's items that
//! depends on names, priorities and dependencies alone.
//!
//! An [`ItemIx`] is a position in that order, so every dependency of an item has a smaller
//! index than the item itself.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::natural::natural_cmp;
use super::{Gate, Item};
use crate::vocabulary::names::ItemName;

/// A position in canonical order, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ItemIx(u32);

impl ItemIx {
    /// # Panics
    /// For a position beyond `u32::MAX`; a plan of that size does not fit into memory.
    pub fn new(position: usize) -> Self {
        Self(u32::try_from(position).expect("a plan has fewer than 2^32 items"))
    }

    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// One dependency cycle: positions in the given list of items, each depending on the next and
/// the last on the first. An item that depends on itself is a cycle of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

/// The items of a plan in canonical order, and the edges between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    by_name: HashMap<ItemName, ItemIx>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    item: Arc<Item>,
    /// Direct dependencies, ascending, named and implied ones.
    deps: Vec<ItemIx>,
    /// Those of `deps` that only the commit graph knows.
    implied: Vec<ItemIx>,
    /// Direct dependents, ascending.
    dependents: Vec<ItemIx>,
    level: u32,
    /// The number of items on the longest chain that begins here.
    height: u32,
    /// The highest priority among the item and all its dependents.
    urgency: i64,
}

impl Graph {
    /// Orders `items`, whose dependencies are those they name and `implied`, given as
    /// (dependent, dependency) positions in `items`. Names that no item has are ignored:
    /// [`super::check`] reports them.
    ///
    /// # Errors
    /// One cycle for every strongly connected component that has any, in the order of their
    /// first member.
    pub fn new(items: Vec<Item>, implied: &[(usize, usize)]) -> Result<Self, Vec<Cycle>> {
        let position: HashMap<ItemName, usize> =
            items.iter().enumerate().map(|(at, item)| (item.name.clone(), at)).collect();
        let named: Vec<Vec<usize>> = items
            .iter()
            .map(|item| {
                let mut deps: Vec<usize> = item.deps.iter().filter_map(|dep| position.get(dep).copied()).collect();
                deps.sort_unstable();
                deps.dedup();
                deps
            })
            .collect();
        let mut only_implied = vec![Vec::new(); items.len()];
        for &(dependent, dependency) in implied {
            if named[dependent].binary_search(&dependency).is_err() {
                only_implied[dependent].push(dependency);
            }
        }
        let all: Vec<Vec<usize>> =
            named.iter().zip(&only_implied).map(|(n, i)| n.iter().chain(i).copied().collect()).collect();

        let cycles = find_cycles(&all);
        if !cycles.is_empty() {
            return Err(cycles);
        }
        let urgency = inherited_priorities(&items, &all);
        let order = canonical_order(&items, &all, &urgency);
        Ok(Self::assemble(items, &all, &only_implied, &order, &urgency))
    }

    fn assemble(
        items: Vec<Item>,
        deps: &[Vec<usize>],
        implied: &[Vec<usize>],
        order: &[usize],
        urgency: &[i64],
    ) -> Self {
        let mut rank = vec![ItemIx(0); items.len()];
        for (at, &position) in order.iter().enumerate() {
            rank[position] = ItemIx::new(at);
        }
        let ranked = |positions: &[usize]| {
            let mut indices: Vec<ItemIx> = positions.iter().map(|&at| rank[at]).collect();
            indices.sort_unstable();
            indices.dedup();
            indices
        };
        let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
        let mut nodes: Vec<Node> = order
            .iter()
            .map(|&position| Node {
                item: Arc::new(items[position].take().expect("an order names each item once")),
                deps: ranked(&deps[position]),
                implied: ranked(&implied[position]),
                dependents: Vec::new(),
                level: 0,
                height: 1,
                urgency: urgency[position],
            })
            .collect();
        for at in 0..nodes.len() {
            let deps = std::mem::take(&mut nodes[at].deps);
            nodes[at].level = deps.iter().map(|dep| nodes[dep.get()].level + 1).max().unwrap_or(0);
            for dep in &deps {
                nodes[dep.get()].dependents.push(ItemIx::new(at));
            }
            nodes[at].deps = deps;
        }
        for at in (0..nodes.len()).rev() {
            nodes[at].height = 1 + nodes[at].dependents.iter().map(|d| nodes[d.get()].height).max().unwrap_or(0);
        }
        let by_name = nodes.iter().enumerate().map(|(at, node)| (node.item.name.clone(), ItemIx::new(at))).collect();
        Self { nodes, by_name }
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All positions, in canonical order.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = ItemIx> + use<> {
        (0..self.nodes.len()).map(ItemIx::new)
    }

    pub fn item(&self, ix: ItemIx) -> &Arc<Item> {
        &self.nodes[ix.get()].item
    }

    pub fn name(&self, ix: ItemIx) -> &ItemName {
        &self.nodes[ix.get()].item.name
    }

    pub fn gates(&self, ix: ItemIx) -> &[Arc<Gate>] {
        &self.nodes[ix.get()].item.gates
    }

    pub fn find(&self, name: &ItemName) -> Option<ItemIx> {
        self.by_name.get(name).copied()
    }

    /// Direct dependencies, ascending.
    pub fn deps(&self, ix: ItemIx) -> &[ItemIx] {
        &self.nodes[ix.get()].deps
    }

    /// Direct dependencies that the plan does not name but the commit graph implies, ascending.
    pub fn implied(&self, ix: ItemIx) -> &[ItemIx] {
        &self.nodes[ix.get()].implied
    }

    /// Direct dependents, ascending.
    pub fn dependents(&self, ix: ItemIx) -> &[ItemIx] {
        &self.nodes[ix.get()].dependents
    }

    /// 0 for an item without dependencies, else one more than the highest among them.
    pub fn level(&self, ix: ItemIx) -> u32 {
        self.nodes[ix.get()].level
    }

    /// The number of items on the longest chain of dependents that begins with this one.
    pub fn height(&self, ix: ItemIx) -> u32 {
        self.nodes[ix.get()].height
    }

    /// The highest priority among the item and all its dependents, direct or not.
    pub fn urgency(&self, ix: ItemIx) -> i64 {
        self.nodes[ix.get()].urgency
    }

    /// All items that `ix` depends on, directly or not, ascending, without itself.
    pub fn closure(&self, ix: ItemIx) -> Vec<ItemIx> {
        let mut seen = std::collections::BTreeSet::new();
        let mut open: Vec<ItemIx> = self.deps(ix).to_vec();
        while let Some(dep) = open.pop() {
            if seen.insert(dep) {
                open.extend(self.deps(dep));
            }
        }
        seen.into_iter().collect()
    }

    /// The items of each level, for display; within a level in canonical order.
    pub fn levels(&self) -> Vec<Vec<ItemIx>> {
        let depth = self.nodes.iter().map(|node| node.level as usize + 1).max().unwrap_or(0);
        let mut levels = vec![Vec::new(); depth];
        for ix in self.indices() {
            levels[self.level(ix) as usize].push(ix);
        }
        levels
    }
}

/// Kahn's algorithm over a heap on (highest priority among the item and all its dependents,
/// natural name, bytes). `deps` must be free of cycles.
fn canonical_order(items: &[Item], deps: &[Vec<usize>], priority: &[i64]) -> Vec<usize> {
    struct Ready<'a> {
        priority: i64,
        name: &'a str,
        position: usize,
    }
    impl Ord for Ready<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            // The heap gives its greatest first: highest priority, then first name.
            self.priority.cmp(&other.priority).then_with(|| natural_cmp(other.name, self.name))
        }
    }
    impl PartialOrd for Ready<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl PartialEq for Ready<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Ready<'_> {}

    let dependents = reversed(deps);
    let mut waiting: Vec<usize> = deps.iter().map(Vec::len).collect();
    let ready = |position: usize| Ready { priority: priority[position], name: items[position].name.as_str(), position };
    let mut heap: BinaryHeap<Ready> = (0..items.len()).filter(|&at| waiting[at] == 0).map(ready).collect();
    let mut order = Vec::with_capacity(items.len());
    while let Some(Ready { position, .. }) = heap.pop() {
        order.push(position);
        for &dependent in &dependents[position] {
            waiting[dependent] -= 1;
            if waiting[dependent] == 0 {
                heap.push(ready(dependent));
            }
        }
    }
    order
}

fn reversed(deps: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut dependents = vec![Vec::new(); deps.len()];
    for (dependent, deps) in deps.iter().enumerate() {
        for &dep in deps {
            dependents[dep].push(dependent);
        }
    }
    dependents
}

/// The highest priority among each item and all that depend on it.
fn inherited_priorities(items: &[Item], deps: &[Vec<usize>]) -> Vec<i64> {
    let dependents = reversed(deps);
    let mut priority: Vec<i64> = items.iter().map(|item| item.priority).collect();
    let mut waiting: Vec<usize> = dependents.iter().map(Vec::len).collect();
    let mut open: VecDeque<usize> = (0..items.len()).filter(|&at| waiting[at] == 0).collect();
    while let Some(position) = open.pop_front() {
        for &dep in &deps[position] {
            priority[dep] = priority[dep].max(priority[position]);
            waiting[dep] -= 1;
            if waiting[dep] == 0 {
                open.push_back(dep);
            }
        }
    }
    priority
}

/// One cycle for every strongly connected component that has any, in the order of their first
/// member. `deps` holds, for every position, the positions it depends on.
pub(super) fn find_cycles(deps: &[Vec<usize>]) -> Vec<Cycle> {
    let mut graph = DiGraph::<(), ()>::with_capacity(deps.len(), deps.iter().map(Vec::len).sum());
    for _ in deps {
        graph.add_node(());
    }
    for (dependent, deps) in deps.iter().enumerate() {
        for &dep in deps {
            graph.add_edge(NodeIndex::new(dependent), NodeIndex::new(dep), ());
        }
    }
    // Not `tarjan_scc`: it recurses, and a chain of ten thousand items overflows the stack.
    let mut cycles: Vec<Cycle> = kosaraju_scc(&graph)
        .into_iter()
        .filter_map(|component| {
            let start = component.iter().map(|node| node.index()).min()?;
            (component.len() > 1 || deps[start].contains(&start)).then(|| shortest_cycle(deps, start))
        })
        .collect();
    cycles.sort_by_key(|cycle| cycle.0[0]);
    cycles
}

/// The shortest way from `start`, which lies on a cycle, back to itself (breadth first).
fn shortest_cycle(deps: &[Vec<usize>], start: usize) -> Cycle {
    let mut reached_from: HashMap<usize, usize> = HashMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for &dep in &deps[at] {
            if dep == start {
                let mut path = vec![at];
                let mut step = at;
                while step != start {
                    step = reached_from[&step];
                    path.push(step);
                }
                path.reverse();
                return Cycle(path);
            }
            if let std::collections::hash_map::Entry::Vacant(entry) = reached_from.entry(dep) {
                entry.insert(at);
                open.push_back(dep);
            }
        }
    }
    // A member of a strongly connected component always reaches itself.
    Cycle(vec![start])
}
