//! What the train sees beyond the tip: where items would stand if all that is ahead of them landed,
//! and how many of them it looks at. Like all of the state a function of the events; empty where
//! nobody looks ahead.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{RunState, Standpoint};
use crate::core::judge::{self, Keys, Wanted};
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{Composed, Decision};
use crate::vocabulary::names::CommitId;
use crate::vocabulary::trail::{TargetStep, Trail};

/// How many items the train looks at before it knows how they fare, and how many at least: as Zuul's
/// `window` and `window-floor` have it.
const WINDOW: u32 = 20;
const WINDOW_FLOOR: u32 = 3;

/// An item on all that is ahead of it and does not fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// `None`: it cannot be merged there.
    pub at: Option<Standpoint>,
    pub gates: Arc<[Wanted]>,
    pub keys: Keys,
}

/// The known positions, by what they stand on, and the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    positions: HashMap<CommitId, BTreeMap<ItemIx, Position>>,
    window: u32,
    ceiling: u32,
}

impl Train {
    /// One that looks at `ceiling` items at most.
    pub(super) fn new(ceiling: u32) -> Self {
        let ceiling = ceiling.max(1);
        Self { positions: HashMap::new(), window: WINDOW.min(ceiling), ceiling }
    }

    /// How many undecided items it looks at; at least 1.
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// Where `ix` stands on the commit `onto`; `None` while nobody has looked.
    pub fn position(&self, onto: CommitId, ix: ItemIx) -> Option<&Position> {
        self.positions.get(&onto)?.get(&ix)
    }

    pub(super) fn composed(&mut self, graph: &Graph, ix: ItemIx, composed: &Composed) {
        let at = composed.set_aside.is_empty();
        let at = at.then_some(Standpoint { commit: composed.commit, tree: composed.tree });
        let gates = judge::apex_gates(graph, &[ix]).into_iter().map(|(_, wanted)| wanted).collect();
        self.positions.entry(composed.base).or_default().insert(ix, Position { at, gates, keys: Keys::default() });
    }

    /// The window grows with each item that lands.
    pub(super) fn landed(&mut self, items: usize) {
        let grown = self.window.saturating_add(u32::try_from(items).unwrap_or(u32::MAX));
        self.window = grown.min(self.ceiling);
    }

    /// And is halved with each that is thrown out.
    pub(super) fn fell(&mut self, decision: Decision) {
        if matches!(decision, Decision::Failed | Decision::Conflicted) {
            self.window = (self.window / 2).max(WINDOW_FLOOR.min(self.ceiling));
        }
    }

    /// An item is decided: nobody asks any more where it would stand.
    pub(super) fn forget(&mut self, ix: ItemIx) {
        self.positions.retain(|_, here| {
            here.remove(&ix);
            !here.is_empty()
        });
    }

    /// Forgets what does not stand on the tip, nor on what would land there.
    pub(super) fn keep_what_stands_on(&mut self, tip: CommitId) {
        let mut reached = HashSet::new();
        let mut open = vec![tip];
        while let Some(onto) = open.pop() {
            if reached.insert(onto) {
                let here = self.positions.get(&onto).into_iter().flat_map(BTreeMap::values);
                open.extend(here.filter_map(|position| position.at).map(|at| at.commit));
            }
        }
        self.positions.retain(|onto, _| reached.contains(onto));
    }

    pub(super) fn forget_all(&mut self) {
        self.positions.clear();
    }

    /// What would land between `tip` and `onto`, in this order; `None` where `onto` is nothing that the train
    /// looked at.
    fn way(&self, graph: &Graph, tip: Standpoint, onto: CommitId) -> Option<Vec<TargetStep>> {
        let mut from: HashMap<CommitId, (CommitId, TargetStep)> = HashMap::new();
        let mut open = vec![tip];
        while let Some(before) = open.pop() {
            for (ix, position) in self.positions.get(&before.commit)? {
                // What is there already leads nowhere.
                let Some(at) = position.at.filter(|at| at.commit != before.commit) else { continue };
                let item = Some(graph.name(*ix).clone());
                let step = TargetStep { item, before: before.tree, after: at.tree };
                if from.insert(at.commit, (before.commit, step)).is_none() && self.positions.contains_key(&at.commit) {
                    open.push(at);
                }
            }
        }
        let mut steps = Vec::new();
        let mut at = onto;
        while at != tip.commit {
            let (before, step) = from.get(&at)?;
            steps.push(step.clone());
            at = *before;
        }
        steps.reverse();
        Some(steps)
    }
}

impl RunState {
    pub fn train(&self) -> &Train {
        &self.train
    }

    /// How the target came, or would come, to be at `onto` since the run began: the tip, the base, or where it
    /// will be once what the train looks at has landed.
    pub fn trail_to(&self, onto: CommitId) -> Trail {
        if onto == self.tip.commit {
            return self.trail.clone();
        }
        match self.train.way(&self.graph, self.tip, onto) {
            Some(ahead) => {
                let mut trail = self.trail.clone();
                trail.extend(ahead);
                trail
            }
            None => self.trail_to_base.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_by_one_and_is_halved_between_a_floor_and_a_ceiling() {
        let mut train = Train::new(23);
        assert_eq!(train.window(), 20);
        train.landed(2);
        assert_eq!(train.window(), 22);
        train.landed(4);
        assert_eq!(train.window(), 23);
        let halved: Vec<usize> = (0..5)
            .map(|_| {
                train.fell(Decision::Failed);
                train.window()
            })
            .collect();
        assert_eq!(halved, [11, 5, 3, 3, 3]);
        train.fell(Decision::Conflicted);
        train.landed(1);
        assert_eq!(train.window(), 4);
        // That is no fault of the item's.
        train.fell(Decision::Blocked);
        train.fell(Decision::Unjudged);
        assert_eq!(train.window(), 4);
        let mut narrow = Train::new(2);
        narrow.fell(Decision::Failed);
        assert_eq!((narrow.window(), Train::new(0).window()), (2, 1));
    }
}
