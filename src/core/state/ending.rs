//! How the items of a run ended, as a function of where they stand.

use super::{Phase, RunState};
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{Decision, FinalItem, FinalStatus, Reason};

impl RunState {
    /// How every item ended, in canonical order, were the run to end now.
    pub fn final_items(&self) -> Vec<FinalItem> {
        // An item's first own failure among all it depends on, itself included; an item with a
        // failed dependency is blocked by it whatever else was found out about it meanwhile.
        let mut root: Vec<Option<ItemIx>> = Vec::with_capacity(self.graph.len());
        self.graph
            .indices()
            .map(|ix| {
                let phase = &self.items[ix.get()].phase;
                let inherited = self.graph.deps(ix).iter().filter_map(|dep| root[dep.get()]).min();
                // What is put off until a dependency lands that others are in the way of only waits.
                let waits = matches!(phase, Phase::Deferred(why) if matches!(**why, Reason::DependencyFailed { .. }));
                let own = (matches!(phase, Phase::Out(..) | Phase::Deferred(_)) && !waits).then_some(ix);
                let landed = phase.has_landed();
                root.push(if landed { None } else { inherited.or(own) });
                let (status, reason) = match (phase, inherited) {
                    (Phase::AlreadyLanded, _) => (FinalStatus::AlreadyLanded, None),
                    (Phase::Landed, _) => (FinalStatus::Landed, None),
                    (_, Some(root)) => (FinalStatus::Blocked, Some(self.blocked_by(ix, root))),
                    (Phase::Out(decision, reason), None) => (final_status(*decision), Some((**reason).clone())),
                    (Phase::Deferred(_), None) if waits => (FinalStatus::Skipped, None),
                    (Phase::Deferred(reason), None) => (FinalStatus::Unjudged, Some((**reason).clone())),
                    (Phase::Passed, None) => (FinalStatus::NotLanded, None),
                    (Phase::Waiting | Phase::Eligible, None) => (FinalStatus::Skipped, None),
                };
                FinalItem { name: self.graph.name(ix).clone(), status, reason }
            })
            .collect()
    }

    /// Why `root` keeps `ix` from landing; where it conflicts with another of the item's
    /// dependencies, both are named.
    fn blocked_by(&self, ix: ItemIx, root: ItemIx) -> Reason {
        let name = self.graph.name(root).clone();
        if let Phase::Out(_, reason) = self.phase(root)
            && let Reason::Conflict { conflict, .. } = &**reason
            && let Some(with) = &conflict.with
            && self.graph.find(with).is_some_and(|with| self.graph.closure(ix).contains(&with))
        {
            let paths = conflict.paths.clone();
            return Reason::DependenciesConflict { first: with.clone(), second: name, paths };
        }
        Reason::DependencyFailed { root: name }
    }
}

fn final_status(decision: Decision) -> FinalStatus {
    match decision {
        Decision::Passed => FinalStatus::NotLanded,
        Decision::Failed => FinalStatus::Failed,
        Decision::Conflicted => FinalStatus::Conflicted,
        Decision::Blocked => FinalStatus::Blocked,
        Decision::Unjudged => FinalStatus::Unjudged,
    }
}
