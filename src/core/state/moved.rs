//! Others have moved the target: the run goes on from there, and what they have landed of its items is
//! none of its work any more.

use std::collections::HashSet;

use super::{ImpossibleTransition, Phase, RunState, Standpoint};
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{JobPurpose, LandedByOthers};
use crate::vocabulary::names::ItemName;
use crate::vocabulary::trail::TargetStep;

impl RunState {
    pub(super) fn target_moved(
        &mut self,
        to: Standpoint,
        landed: &[LandedByOthers],
    ) -> Result<(), ImpossibleTransition> {
        // One that was seen before anything was about to land has cost no apex.
        self.rebases += u32::from(self.landing.take().is_some());
        self.apex = None;
        self.train.forget_all();
        self.trail.push(TargetStep { item: None, before: self.tip.tree, after: to.tree });
        self.trail_to_base = self.trail.clone();
        self.base = to;
        self.tip = to;
        for landed in landed {
            let ix = self.ix(&landed.item)?;
            self.landed_by_others(ix)?;
        }
        self.forget_settled_blocks();
        let started: HashSet<ItemName> = self
            .jobs
            .values()
            .filter_map(|job| match &job.purpose {
                JobPurpose::Cone { item } => Some(item.clone()),
                _ => None,
            })
            .collect();
        for ix in self.graph.indices() {
            let state = &mut self.items[ix.get()];
            state.in_base |= state.phase.has_landed();
            state.without = None;
        }
        self.regroup();
        // What has begun on the old base ends there; the others take the new one.
        for (rank, ix) in std::mem::take(&mut self.open) {
            if started.contains(self.graph.name(ix)) {
                self.open.insert((rank, ix));
            } else {
                self.items[ix.get()].cone = None;
                self.fresh.insert((rank, ix));
            }
        }
        Ok(())
    }

    /// Others have landed an item: what depends on it need not wait for it any more, and nothing is
    /// judged, merged or blocked on its account.
    fn landed_by_others(&mut self, ix: ItemIx) -> Result<(), ImpossibleTransition> {
        self.expect_phase(ix, "landed by others", Phase::is_yet_to_land)?;
        let phase = std::mem::replace(&mut self.items[ix.get()].phase, Phase::AlreadyLanded);
        self.leave_phase(ix);
        // What it was gated with stands on it there as well as here.
        self.leave_group(ix, true);
        match phase {
            Phase::Passed => {}
            Phase::Deferred(_) => {
                self.satisfy_dependents(ix);
                self.await_again(ix);
            }
            _ => self.satisfy_dependents(ix),
        }
        self.advance_frontier();
        for dependent in self.graph.dependents(ix).to_vec() {
            self.note_overdue(dependent);
        }
        Ok(())
    }
}
