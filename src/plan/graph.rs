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
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
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

/// A list for each of a row of nodes, in two lists altogether: a plan may have millions of edges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows<T> {
    /// Of all nodes, one after the other.
    all: Vec<T>,
    /// Where in `all` those of each node begin, and at the end, where the last one's end.
    starts: Vec<u32>,
}

/// Who depends on whom, by position.
pub(super) type Edges = Rows<u32>;

impl<T> Rows<T> {
    pub(super) fn with_capacity(nodes: usize, all: usize) -> Self {
        let mut starts = Vec::with_capacity(nodes + 1);
        starts.push(0);
        Self { all: Vec::with_capacity(all), starts }
    }

    /// Adds to the list of the node whose turn it is.
    pub(super) fn push(&mut self, value: T) {
        self.all.push(value);
    }

    /// The next node's turn.
    pub(super) fn end_row(&mut self) {
        self.starts.push(narrow(self.all.len()));
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn row(&self, node: usize) -> &[T] {
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

impl<T: Copy + Default> Rows<T> {
    /// The same edges the other way round, those of each node ascending.
    fn reversed(&self, index: impl Fn(T) -> usize, of: impl Fn(usize) -> T) -> Self {
        let mut starts = vec![0_u32; self.starts.len()];
        for &other in &self.all {
            starts[index(other) + 1] += 1;
        }
        for node in 0..self.len() {
            starts[node + 1] += starts[node];
        }
        let mut free = starts.clone();
        let mut all = vec![T::default(); self.all.len()];
        for node in 0..self.len() {
            for &other in self.row(node) {
                let free = &mut free[index(other)];
                all[*free as usize] = of(node);
                *free += 1;
            }
        }
        Self { all, starts }
    }
}

impl Edges {
    /// How many edges lead from each node.
    fn degrees(&self) -> Vec<u32> {
        self.starts.windows(2).map(|ends| ends[1] - ends[0]).collect()
    }

    fn turned(&self) -> Self {
        self.reversed(|other| other as usize, narrow)
    }
}

pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a plan has fewer than 2^32 dependencies")
}

/// The items of a plan in canonical order, and the edges between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Direct dependencies, ascending, named and implied ones.
    deps: Rows<ItemIx>,
    /// Those of `deps` that only the commit graph knows.
    implied: Rows<ItemIx>,
    /// Direct dependents, ascending.
    dependents: Rows<ItemIx>,
    by_name: HashMap<ItemName, ItemIx>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    item: Arc<Item>,
    level: u32,
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
        let mut by_name: HashMap<ItemName, ItemIx> =
            items.iter().enumerate().map(|(at, item)| (item.name.clone(), ItemIx::new(at))).collect();
        let mut implied = implied.to_vec();
        implied.sort_unstable();
        implied.dedup();
        let mut implied = implied.into_iter().peekable();

        let mut deps = Edges::with_capacity(items.len(), items.len());
        let mut only_implied = Edges::with_capacity(items.len(), implied.len());
        let mut named: Vec<u32> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            named.clear();
            named.extend(item.deps.iter().filter_map(|dep| by_name.get(dep)).map(|dep| dep.0));
            named.sort_unstable();
            named.dedup();
            deps.all.extend_from_slice(&named);
            while let Some((_, dep)) = implied.next_if(|(dependent, _)| *dependent == at) {
                if named.binary_search(&narrow(dep)).is_err() {
                    deps.push(narrow(dep));
                    only_implied.push(narrow(dep));
                }
            }
            deps.end_row();
            only_implied.end_row();
        }

        let dependents = deps.turned();
        let urgency = inherited_priorities(&items, &deps, &dependents);
        let order = canonical_order(&items, &deps, &dependents, &urgency);
        if order.len() < items.len() {
            return Err(find_cycles(&deps));
        }
        drop(dependents);
        let mut rank = vec![ItemIx(0); items.len()];
        for (at, &position) in order.iter().enumerate() {
            rank[position as usize] = ItemIx::new(at);
        }
        for ix in by_name.values_mut() {
            *ix = rank[ix.get()];
        }
        let deps = ranked(&deps, &order, &rank);
        let implied = ranked(&only_implied, &order, &rank);
        let dependents = deps.reversed(ItemIx::get, ItemIx::new);
        let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(items.len());
        for (at, &position) in order.iter().enumerate() {
            nodes.push(Node {
                item: Arc::new(items[position as usize].take().expect("an order names each item once")),
                level: deps.row(at).iter().map(|dep| nodes[dep.get()].level + 1).max().unwrap_or(0),
                urgency: urgency[position as usize],
            });
        }
        Ok(Self { nodes, deps, implied, dependents, by_name })
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
        self.deps.row(ix.get())
    }

    /// Direct dependencies that the plan does not name but the commit graph implies, ascending.
    pub fn implied(&self, ix: ItemIx) -> &[ItemIx] {
        self.implied.row(ix.get())
    }

    /// Direct dependents, ascending.
    pub fn dependents(&self, ix: ItemIx) -> &[ItemIx] {
        self.dependents.row(ix.get())
    }

    /// 0 for an item without dependencies, else one more than the highest among them.
    pub fn level(&self, ix: ItemIx) -> u32 {
        self.nodes[ix.get()].level
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

/// Positions in order: the lists of `edges`, in that order.
fn ranked(edges: &Edges, order: &[u32], rank: &[ItemIx]) -> Rows<ItemIx> {
    let mut rows = Rows::with_capacity(order.len(), edges.all.len());
    for &position in order {
        let start = rows.all.len();
        rows.all.extend(edges.row(position as usize).iter().map(|&other| rank[other as usize]));
        rows.all[start..].sort_unstable();
        rows.end_row();
    }
    rows
}

/// Kahn's algorithm over a heap on (highest priority among the item and all its dependents,
/// natural name, bytes). Of what lies on a cycle or depends on one, nothing is in it.
fn canonical_order(items: &[Item], deps: &Edges, dependents: &Edges, priority: &[i64]) -> Vec<u32> {
    struct Ready<'a> {
        priority: i64,
        name: &'a str,
        position: u32,
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

    let mut waiting = deps.degrees();
    let ready = |position: u32| {
        let at = position as usize;
        Ready { priority: priority[at], name: items[at].name.as_str(), position }
    };
    let mut heap: BinaryHeap<Ready> =
        (0..narrow(items.len())).filter(|&at| waiting[at as usize] == 0).map(ready).collect();
    let mut order = Vec::with_capacity(items.len());
    while let Some(Ready { position, .. }) = heap.pop() {
        order.push(position);
        for &dependent in dependents.row(position as usize) {
            waiting[dependent as usize] -= 1;
            if waiting[dependent as usize] == 0 {
                heap.push(ready(dependent));
            }
        }
    }
    order
}

/// The highest priority among each item and all that depend on it, for items on no cycle.
fn inherited_priorities(items: &[Item], deps: &Edges, dependents: &Edges) -> Vec<i64> {
    let mut priority: Vec<i64> = items.iter().map(|item| item.priority).collect();
    if priority.windows(2).all(|pair| pair[0] == pair[1]) {
        return priority;
    }
    in_order(dependents, deps, |position| {
        for &dep in deps.row(position) {
            priority[dep as usize] = priority[dep as usize].max(priority[position]);
        }
    });
    priority
}

/// Calls `visit` with every node that lies on no cycle and does not lead to one by `edges`, after
/// all that it leads to. `turned` are the same edges the other way round. Says how many.
fn in_order(edges: &Edges, turned: &Edges, mut visit: impl FnMut(usize)) -> usize {
    let mut waiting = edges.degrees();
    let mut open: Vec<u32> = (0..narrow(edges.len())).filter(|&at| waiting[at as usize] == 0).collect();
    let mut visited = 0;
    while let Some(&node) = open.get(visited) {
        visited += 1;
        visit(node as usize);
        for &other in turned.row(node as usize) {
            waiting[other as usize] -= 1;
            if waiting[other as usize] == 0 {
                open.push(other);
            }
        }
    }
    visited
}

/// One cycle for every strongly connected component that has any, in the order of their first
/// member. `deps` holds, for every position, the positions it depends on.
pub(super) fn find_cycles(deps: &Edges) -> Vec<Cycle> {
    // Most plans have none, and this is a tenth of the work.
    if in_order(deps, &deps.turned(), |_| {}) == deps.len() {
        return Vec::new();
    }
    let mut graph = DiGraph::<(), ()>::with_capacity(deps.len(), deps.all.len());
    for _ in 0..deps.len() {
        graph.add_node(());
    }
    for dependent in 0..deps.len() {
        for &dep in deps.row(dependent) {
            graph.add_edge(NodeIndex::new(dependent), NodeIndex::new(dep as usize), ());
        }
    }
    // Not `tarjan_scc`: it recurses, and a chain of ten thousand items overflows the stack.
    let mut cycles: Vec<Cycle> = kosaraju_scc(&graph)
        .into_iter()
        .filter_map(|component| {
            let start = component.iter().map(|node| node.index()).min()?;
            (component.len() > 1 || deps.row(start).contains(&narrow(start))).then(|| shortest_cycle(deps, start))
        })
        .collect();
    cycles.sort_by_key(|cycle| cycle.0[0]);
    cycles
}

/// The shortest way from `start`, which lies on a cycle, back to itself (breadth first).
fn shortest_cycle(deps: &Edges, start: usize) -> Cycle {
    let mut reached_from: HashMap<usize, usize> = HashMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for dep in deps.row(at).iter().map(|dep| *dep as usize) {
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
