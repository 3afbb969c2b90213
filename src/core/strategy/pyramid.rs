//! The pyramid: every item is gated on its own cone once its dependencies have passed, as many at
//! a time as there are slots; those that passed land together on apexes.

use super::blame::{Accusation, Finding};
use super::{Action, Judged, Round};
use crate::core::judge::{Judgement, KeyedGate};
use crate::core::state::{Cone, Phase, Standpoint};
use crate::plan::graph::ItemIx;
use crate::plan::{Policy, Spend};
use crate::vocabulary::event::{CompositePurpose, Decision, Event, ItemDecided, JobPurpose, Reason, SetAsideCause};
use crate::vocabulary::names::ItemName;

/// Cones made ahead of the slots they wait for, so that a freed slot never waits for a merge.
const CONES_AHEAD_PER_WORKER: usize = 2;
/// Cones that wait for a named limit do not count among them, so that what claims nothing goes on; but not without end, for
/// each is looked at in every round.
const MOST_HELD_BACK: usize = 200;

impl Round<'_> {
    pub(super) fn pyramid(&mut self, policy: &Policy) {
        self.settle_deferred();
        // First what is closest to landing: slots that prove an apex free everything behind it.
        self.apex();
        self.judge_open();
        self.open_more(policy);
        if self.limits.spend == Spend::Time && !self.has_decisions() && !self.is_something_being_made() {
            for group in self.state.groups() {
                if self.is_being_searched(group) {
                    self.look_into(group);
                }
            }
        }
    }

    /// Items on their cones and groups, in start order.
    fn judge_open(&mut self) {
        let mut groups = self.state.groups().into_iter().peekable();
        for ix in self.state.open().collect::<Vec<_>>() {
            while let Some(group) = groups.next_if(|group| group.rank < self.state.start_rank(ix)) {
                self.judge_group(group);
            }
            self.judge_item(ix);
        }
        groups.for_each(|group| self.judge_group(group));
    }

    /// Deferred items whose dependencies all landed although they fail together: nobody can say
    /// any more whose fault it is.
    fn settle_deferred(&mut self) {
        for ix in self.state.overdue().collect::<Vec<_>>() {
            if let Phase::Deferred(reason) = self.state.phase(ix) {
                self.set_out(ix, Decision::Unjudged, (**reason).clone(), None);
            }
        }
    }

    /// Makes the cones of the next items in start order, or their groups, and blocks those a policy names.
    fn open_more(&mut self, policy: &Policy) {
        let wanted = self.width * CONES_AHEAD_PER_WORKER;
        let held_back = self.limited.held_back().min(MOST_HELD_BACK);
        let mut room = (wanted + held_back).saturating_sub(self.state.open_count() + self.state.group_count());
        let limits = self.limits;
        let busy = limits.groups.as_ref().map(|groups| self.busy_lanes(groups)).unwrap_or_default();
        for ix in self.state.fresh() {
            if room == 0 {
                return;
            }
            let alone = match &limits.groups {
                Some(groups) if self.group_or_alone(groups, &busy, ix, policy) => true,
                // One at a time: the next in line may stand in it.
                Some(_) if self.has_decisions() => return,
                Some(_) => false,
                None => true,
            };
            if alone && !self.is_blocked_by(policy, ix) {
                self.compose_cone(ix);
                room -= 1;
            }
        }
    }

    fn compose_cone(&mut self, ix: ItemIx) {
        let mut items = self.state.cone_dependencies(ix);
        items.push(ix);
        let item = self.state.graph().name(ix).clone();
        let base = self.state.base().commit;
        self.actions.push(Action::Compose { purpose: CompositePurpose::Cone { item }, base, items });
    }

    fn judge_item(&mut self, ix: ItemIx) {
        let Some(cone) = self.state.cone(ix) else { return };
        match self.set_aside(ix, cone) {
            Some((_, reason)) if self.hangs_on_a_passed_item(&reason) => {
                let item = self.state.graph().name(ix).clone();
                return self.record(Event::ItemDeferred { item, reason });
            }
            Some((decision, reason)) => return self.set_out(ix, decision, reason, None),
            None => {}
        }
        let at = Standpoint { commit: cone.commit, tree: cone.tree };
        let purpose = JobPurpose::Cone { item: self.state.graph().name(ix).clone() };
        match self.judge_or_gate(&cone.keys, cone.gates.iter(), at, cone.base, purpose) {
            Judged::Waiting => {}
            Judged::Settled(Judgement::Passed) => {
                self.decide(ItemDecided {
                    item: self.state.graph().name(ix).clone(),
                    decision: Decision::Passed,
                    reason: None,
                    gates: self.item_verdicts(ix, Some((&cone.gates, cone.tree, cone.base))),
                });
            }
            Judged::Settled(_) if cone.base != self.state.base().commit => {
                // It began on a base that the target has left: its failure there proves nothing.
                if !self.is_in_work(ix) {
                    self.compose_cone(ix);
                }
            }
            Judged::Settled(Judgement::Failed(gate)) => self.accuse_item(ix, cone, &gate),
            Judged::Settled(Judgement::Unrunnable(gate, message)) => self.set_out_unrunnable(ix, cone, &gate, message),
            Judged::Settled(Judgement::Open(_)) => {}
        }
    }

    fn is_in_work(&self, ix: ItemIx) -> bool {
        let name = self.state.graph().name(ix);
        self.state.jobs().values().any(|job| matches!(&job.purpose, JobPurpose::Cone { item } if item == name))
    }

    /// The dependency that meets a base which has moved may land all the same, where the base moves
    /// again: others may have merged it themselves.
    fn hangs_on_a_passed_item(&self, reason: &Reason) -> bool {
        let Reason::DependencyFailed { root } = reason else { return false };
        self.state.graph().find(root).is_some_and(|root| *self.state.phase(root) == Phase::Passed)
    }

    /// Why an item's cone cannot be judged: it conflicts, or two of its dependencies do.
    fn set_aside(&self, ix: ItemIx, cone: &Cone) -> Option<(Decision, Reason)> {
        let (aside, conflict) = cone.set_aside.iter().find_map(|(aside, cause)| match cause {
            SetAsideCause::Conflict(conflict) => Some((*aside, conflict.clone())),
            SetAsideCause::Dependency { .. } => None,
        })?;
        if aside == ix {
            return Some((Decision::Conflicted, Reason::Conflict { at_tip: false, conflict }));
        }
        let second = self.state.graph().name(aside).clone();
        let graph = self.state.graph();
        let is_dependency = |name: &ItemName| graph.find(name).is_some_and(|with| graph.closure(ix).contains(&with));
        Some(match conflict.with.filter(is_dependency) {
            Some(first) => (Decision::Blocked, Reason::DependenciesConflict { first, second, paths: conflict.paths }),
            // Its cone passed, so it can only meet a base that has moved since.
            None => (Decision::Blocked, Reason::DependencyFailed { root: second }),
        })
    }

    fn accuse_item(&mut self, ix: ItemIx, cone: &Cone, gate: &KeyedGate) {
        let dependencies = self.state.cone_dependencies(ix);
        let without = match (dependencies.is_empty(), self.state.without(ix)) {
            (true, _) => self.state.base(),
            (false, Some(made)) => Standpoint { commit: made.commit, tree: made.tree },
            (false, None) => {
                let item = self.state.graph().name(ix).clone();
                let purpose = CompositePurpose::Without { item };
                self.actions.push(Action::Compose { purpose, base: cone.base, items: dependencies });
                return;
            }
        };
        let with = Standpoint { commit: cone.commit, tree: cone.tree };
        match self.blame(&Accusation { item: ix, gate, with, without, base: cone.base }) {
            Finding::Open => {}
            Finding::Guilty { fails_without_too } => {
                let reason =
                    Reason::GateFailed { gate: gate.gate.name.clone(), key: gate.key, apex: None, fails_without_too };
                self.set_out(ix, Decision::Failed, reason, Some(cone));
            }
            Finding::Unrunnable(message) => self.set_out_unrunnable(ix, cone, gate, message),
            Finding::Red if dependencies.is_empty() => self.set_out_red(ix, cone, gate),
            Finding::Red => self.accuse_dependencies(ix, cone, gate),
        }
    }

    /// The gate fails on the item's dependencies without the item: is the base to blame already?
    fn accuse_dependencies(&mut self, ix: ItemIx, cone: &Cone, gate: &KeyedGate) {
        let with = Standpoint { commit: cone.commit, tree: cone.tree };
        let without = self.state.base();
        match self.blame(&Accusation { item: ix, gate, with, without, base: cone.base }) {
            Finding::Open => {}
            Finding::Unrunnable(message) => self.set_out_unrunnable(ix, cone, gate, message),
            Finding::Red => self.set_out_red(ix, cone, gate),
            // Each dependency passed by itself; whether they land together shows whose fault it is.
            Finding::Guilty { .. } => {
                let item: ItemName = self.state.graph().name(ix).clone();
                let reason = Reason::DependenciesFail { gate: gate.gate.name.clone(), key: gate.key };
                self.record(Event::ItemDeferred { item, reason });
            }
        }
    }

    fn set_out_unrunnable(&mut self, ix: ItemIx, cone: &Cone, gate: &KeyedGate, message: String) {
        let reason = Reason::Infrastructure { gate: gate.gate.name.clone(), message };
        self.set_out(ix, Decision::Unjudged, reason, Some(cone));
    }

    fn set_out_red(&mut self, ix: ItemIx, cone: &Cone, gate: &KeyedGate) {
        self.red_on_target(gate, self.state.base());
        let reason = Reason::RedOnTarget { gate: gate.gate.name.clone(), key: gate.key };
        self.set_out(ix, Decision::Unjudged, reason, Some(cone));
    }
}
