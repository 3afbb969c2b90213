//! Items that somebody lets land whatever becomes of their gates: each alone, after all others, and as what it
//! is, an overridden tree and not a proven one.

use super::{Apex, ImpossibleTransition, Phase, RunState};
use crate::core::judge::{Standing, Wanted};
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{Overridden, OverrideGrant};
use crate::vocabulary::names::TreeId;

impl RunState {
    /// What the run was allowed to override, if anything.
    pub fn grant(&self) -> Option<&OverrideGrant> {
        self.grant.as_deref()
    }

    /// Items that are still to land last, in canonical order.
    pub fn last_ones(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.put_last.iter().copied().filter(|ix| self.items[ix.get()].phase == Phase::Waiting)
    }

    /// Whether an item lands last, be it that it has.
    pub fn is_put_last(&self, ix: ItemIx) -> bool {
        self.put_last.contains(&ix)
    }

    /// Takes what lands last out of everybody's way: nothing waits for it, and what depends on it is for another run.
    pub(super) fn put_last(&mut self, grant: Option<&OverrideGrant>) -> Result<(), ImpossibleTransition> {
        let Some(grant) = grant else { return Ok(()) };
        for name in &grant.items {
            let ix = self.ix(name)?;
            if self.items[ix.get()].phase == Phase::Waiting {
                self.put_last.insert(ix);
                self.undecided.remove(&ix);
            }
        }
        for &ix in &self.put_last {
            let behind = self.graph.dependents(ix).iter().filter(|dependent| !self.put_last.contains(dependent));
            self.to_block.extend(behind.map(|dependent| (*dependent, ix)));
        }
        self.grant = Some(Box::new(grant.clone()));
        self.forget_settled_blocks();
        Ok(())
    }

    pub(super) fn overridden(&mut self, overridden: &Overridden) -> Result<(), ImpossibleTransition> {
        self.expect_apex(overridden.apex)?;
        let ix = self.ix(&overridden.item)?;
        let refused = || ImpossibleTransition::NotOverridden(overridden.item.clone());
        let apex = self.apex.as_ref().filter(|apex| self.put_last.contains(&ix) && apex.candidates == [ix]);
        let made = apex.and_then(|apex| apex.made.as_ref().map(|made| (apex, made)));
        let (apex, made) = made.ok_or_else(refused)?;
        let [(_, at)] = made.members[..] else { return Err(refused()) };
        let mut is_needed = false;
        for wanted in made.gates_of(1) {
            let gate = self.keyed(wanted, at.tree, apex.base.commit).ok_or_else(refused)?;
            let passed = matches!(self.standing(&gate.key), Some(Standing::Passed { .. }));
            if !passed && !overridden.gates.iter().any(|overridden| overridden.key == gate.key) {
                return Err(refused());
            }
            is_needed |= !passed;
        }
        if !is_needed {
            return Err(refused());
        }
        if let Some(apex) = &mut self.apex {
            // The commit says by whom and why, and is made for that.
            apex.made = None;
            apex.overridden = Some(Box::new(overridden.clone()));
        }
        Ok(())
    }

    /// Whether a gate of the apex need not have passed on `tree`, on which it was overridden.
    pub fn is_overridden_there(&self, apex: &Apex, wanted: &Wanted, tree: TreeId) -> bool {
        let Some(overridden) = &apex.overridden else { return false };
        let keyed = self.keyed(wanted, tree, apex.base.commit);
        keyed.is_some_and(|gate| overridden.gates.iter().any(|overridden| overridden.key == gate.key))
    }

    /// Counts what the apex under way has landed. What was overridden tells nothing of how likely others are to pass; its
    /// gates are red on the target from now on.
    pub(super) fn count_landed(&mut self, members: usize, tree: TreeId) {
        match self.apex.as_ref().and_then(|apex| apex.overridden.as_ref()) {
            Some(overridden) => self.red.extend(overridden.red().map(|gate| (gate.definition, tree))),
            None => {
                let members = u32::try_from(members).unwrap_or(u32::MAX);
                self.outcomes.passed = self.outcomes.passed.saturating_add(members);
            }
        }
    }
}
