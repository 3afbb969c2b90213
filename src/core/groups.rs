//! Which items are gated together on one composite where the plan asks for groups: a division made before the
//! run, from the graph alone, so that neither timing nor who was first decides who stands with whom.
//!
//! Items are divided into lanes. In a lane one group after another is gated: the first items that nothing is
//! known of, so that what was left of a refused group fills up with those behind it. Lanes go on beside each
//! other. Items of one lane depend on the same items, so that what becomes of those becomes of all of the lane
//! at once, and have the same gates: one that half of a group does not have is not spared by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::names::DefinitionDigest;

/// A division of all items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// For each item, in canonical order, its place in `lanes`.
    of: Vec<usize>,
    lanes: Vec<Lane>,
}

/// Items of which one group at a time is gated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// In canonical order.
    pub items: Vec<ItemIx>,
    /// How many of them stand together at most, at least 1.
    pub group_size: usize,
}

/// How items that may stand together are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Lanes, all of about the same length.
    pub lanes: usize,
    pub group_size: usize,
}

impl Groups {
    /// `share(n)` says how n items with the same gates and dependencies are shared out.
    pub fn divide(graph: &Graph, share: impl Fn(usize) -> Share) -> Self {
        let mut alike: BTreeMap<(&[ItemIx], BTreeSet<DefinitionDigest>), Vec<ItemIx>> = BTreeMap::new();
        let mut groups = Self { of: vec![0; graph.len()], lanes: Vec::new() };
        for ix in graph.indices() {
            let gates = graph.gates(ix);
            // What is told its item's name runs for each item anyway.
            if gates.iter().any(|gate| gate.context) {
                groups.add(&[ix], 1);
            } else {
                let gates = gates.iter().map(|gate| gate.definition).collect();
                alike.entry((graph.deps(ix), gates)).or_default().push(ix);
            }
        }
        for items in alike.into_values() {
            let Share { lanes, group_size } = share(items.len());
            let lanes = lanes.clamp(1, items.len());
            let (length, longer) = (items.len() / lanes, items.len() % lanes);
            let (with_one_more, others) = items.split_at(longer * (length + 1));
            for lane in with_one_more.chunks(length + 1).chain(others.chunks(length)) {
                groups.add(lane, group_size.max(1));
            }
        }
        groups
    }

    fn add(&mut self, items: &[ItemIx], group_size: usize) {
        for ix in items {
            self.of[ix.get()] = self.lanes.len();
        }
        self.lanes.push(Lane { items: items.to_vec(), group_size });
    }

    /// The lane an item stands in, and which that is.
    pub fn lane(&self, ix: ItemIx) -> (usize, &Lane) {
        let lane = self.of[ix.get()];
        (lane, &self.lanes[lane])
    }
}
