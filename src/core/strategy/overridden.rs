//! What somebody lets land whatever becomes of its gates. Its turn comes when nothing else of the run can go on, one item at
//! a time: so nobody is gated on it, and what does not pass on it is charged to nobody else. Its gates are run all the
//! same, once: where they pass it lands like any other, and where not the journal has which.

use super::{Judged, Round};
use crate::core::judge::{Judgement, Standing, Wanted};
use crate::core::state::{Apex, MadeApex, Standpoint};
use crate::plan::Policy;
use crate::vocabulary::event::{Event, ItemGateStatus, JobPurpose, Overridden, OverriddenGate};
use crate::vocabulary::names::CommitId;

impl Round<'_> {
    /// Whether the apex under way is of an item that lands last.
    pub(super) fn is_at_the_last(&self) -> bool {
        let of_the_apex = self.state.apex().map_or(&[][..], |apex| &apex.candidates);
        of_the_apex.iter().any(|ix| self.state.is_put_last(*ix))
    }

    /// Forms an apex of the next item that lands last, once nothing else can go on.
    pub(super) fn form_the_last(&mut self, policy: &Policy) {
        let state = self.state;
        let is_at_work = state.apex().is_some() || state.landing().is_some() || !state.jobs().is_empty();
        let waits = !self.actions.is_empty() || self.limited.held_back() > 0;
        if is_at_work || waits || self.halt.is_some() {
            return;
        }
        let next = state.last_ones().find(|ix| {
            let mut deps = state.graph().deps(*ix).iter();
            deps.all(|dep| state.phase(*dep).has_landed())
        });
        let Some(ix) = next else { return };
        if !self.is_blocked_by(policy, ix) {
            let items = vec![state.graph().name(ix).clone()];
            self.record(Event::ApexFormed { apex: state.next_apex(), base: state.tip().commit, items });
        }
    }

    /// What [`Round::apex`] does with an apex of one that lands last.
    pub(super) fn judge_the_last(&mut self, apex: &Apex, made: &MadeApex) {
        if apex.overridden.is_some() {
            return self.land(apex, made, 1);
        }
        let [(ix, at)] = made.members[..] else { return };
        let base = apex.base.commit;
        let purpose = JobPurpose::Apex { apex: apex.id, members: 1 };
        match self.judge_or_gate(&made.keys[0], made.gates_of(1), at, base, purpose) {
            Judged::Waiting | Judged::Settled(Judgement::Open(_)) => return,
            Judged::Settled(Judgement::Passed) => return self.land(apex, made, 1),
            // A flake is no reason to override anything.
            Judged::Settled(Judgement::Failed(gate)) => {
                if self.state.standing(&gate.key).is_some_and(|standing| !self.is_firm(standing)) {
                    return self.second_opinion(ix, at, base, gate);
                }
            }
            Judged::Settled(Judgement::Unrunnable(..)) => {}
        }
        let gates: Vec<Wanted> = made.gates_of(1).cloned().collect();
        let Some(grant) = self.state.grant() else { return };
        if self.own_failures_are_firm(ix, &gates, at, base) {
            self.record(Event::Overridden(Box::new(Overridden {
                apex: apex.id,
                item: self.state.graph().name(ix).clone(),
                by: grant.by.clone(),
                reason: grant.reason.clone(),
                gates: self.without_a_pass(&gates, at, base),
            })));
        }
    }

    /// With `failFast`, none of those behind the first that did not pass counts as run, though another composite may have had
    /// an equal one: that hangs on who was first.
    fn without_a_pass(&self, gates: &[Wanted], at: Standpoint, base: CommitId) -> Vec<OverriddenGate> {
        let keyed = gates.iter().filter_map(|wanted| self.state.keyed(wanted, at.tree, base));
        let mut is_reached = true;
        keyed
            .filter_map(|gate| {
                let status = match self.state.standing(&gate.key) {
                    _ if !is_reached => ItemGateStatus::NotRun,
                    Some(Standing::Passed { .. }) => return None,
                    Some(Standing::Failed { .. }) => ItemGateStatus::Failed,
                    Some(Standing::Unrunnable(_)) => ItemGateStatus::Unjudged,
                    None => ItemGateStatus::NotRun,
                };
                is_reached = is_reached && !self.limits.fail_fast;
                Some(OverriddenGate {
                    gate: gate.gate.name.clone(),
                    key: gate.key,
                    definition: gate.gate.definition,
                    status,
                })
            })
            .collect()
    }
}
