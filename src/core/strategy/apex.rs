//! Forming, proving and landing an apex: shared by every strategy that lands several items on
//! one composite.

use super::batch;
use super::bisect::{Search, search};
use super::blame::{Accusation, Finding};
use super::{Action, Judged, LandAction, Round};
use crate::core::judge::{Judgement, KeyedGate, Wanted};
use crate::core::state::{Apex, MadeApex, Standpoint};
use crate::plan::Landing;
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{
    CompositePurpose, Decision, Event, HaltReason, ItemDecided, JobPurpose, Reason, SetAsideCause,
};

impl Round<'_> {
    /// Drives the apex under way, or forms the next one.
    pub(super) fn apex(&mut self) {
        if self.state.landing().is_some() {
            return;
        }
        match self.state.apex() {
            None => self.form_apex(),
            Some(apex) => match &apex.made {
                None => self.actions.push(Action::Compose {
                    purpose: CompositePurpose::Apex { apex: apex.id },
                    base: apex.base.commit,
                    items: apex.candidates.clone(),
                }),
                Some(made) if made.conflicts_at_tip > 0 => self.eject_conflicting(made),
                Some(made) if self.is_at_the_last() => self.judge_the_last(apex, made),
                Some(made) => self.prove(apex, made),
            },
        }
    }

    /// The first `batchSize` passed, unlanded items in canonical order, once every item before
    /// the last of them is decided: timing decides when, never what.
    fn form_apex(&mut self) {
        if self.has_decisions() {
            return;
        }
        let batch = self.limits.batch_size as usize;
        let settled = self.state.settled_count();
        if settled == 0 || (settled < batch && self.state.is_any_undecided()) {
            return;
        }
        let graph = self.state.graph();
        let items = self.state.passed().take(settled.min(batch)).map(|ix| graph.name(ix).clone()).collect();
        self.record(Event::ApexFormed { apex: self.state.next_apex(), base: self.state.tip().commit, items });
    }

    /// Everything ahead of these has landed or failed, and they conflict with the tip itself. A run
    /// that was stopped in between has some of them out already.
    pub(super) fn eject_conflicting(&mut self, made: &MadeApex) {
        for (ix, cause) in made.at_tip().filter(|(ix, _)| self.state.phase(*ix).may_land()) {
            if let SetAsideCause::Conflict(conflict) = cause {
                let conflict = conflict.clone();
                self.decide(ItemDecided {
                    item: self.state.graph().name(*ix).clone(),
                    decision: Decision::Conflicted,
                    reason: Some(Reason::Conflict { at_tip: true, conflict }),
                    gates: self.item_verdicts(*ix, None),
                });
            }
        }
    }

    fn prove(&mut self, apex: &Apex, made: &MadeApex) {
        let members = made.members.len();
        let width = self.search_width();
        let passes = |prefix: usize| match self.judge_prefix(apex, made, prefix) {
            Some(Judgement::Passed) => Some(true),
            Some(Judgement::Failed(_)) => Some(false),
            Some(Judgement::Unrunnable(..) | Judgement::Open(_)) | None => None,
        };
        let split: &dyn Fn(usize) -> usize = match self.limits.landing {
            // Each has passed by itself: what breaks them together may be anywhere.
            Landing::Pyramid | Landing::Train => &|items| items / 2,
            Landing::Batch => &|items| batch::split(items, batch::pass_rate(apex.seen + self.limits.history)),
        };
        match search(members, width, split, passes) {
            Search::Passed => self.land(apex, made, members),
            Search::Probe(prefixes) => {
                let (first, next_ones) = prefixes.split_first().map_or((0, &[][..]), |(first, rest)| (*first, rest));
                self.probe(apex, made, first);
                // Those that may be asked for next only once an answer to it is on its way: an earlier run may know it.
                if self.is_probed(apex, made, first) {
                    for prefix in next_ones {
                        self.probe(apex, made, *prefix);
                    }
                }
            }
            Search::Suspect { passing } => self.accuse(apex, made, passing),
        }
    }

    pub(super) fn judge_prefix(&self, apex: &Apex, made: &MadeApex, prefix: usize) -> Option<Judgement> {
        let at = made.members[prefix - 1].1;
        self.judge_at(&made.keys[prefix - 1], made.gates_of(prefix), at.tree, apex.base.commit)
    }

    fn is_probed(&self, apex: &Apex, made: &MadeApex, prefix: usize) -> bool {
        let Some(Judgement::Open(open)) = self.judge_prefix(apex, made, prefix) else { return false };
        let mut in_work = self.state.jobs().values().flat_map(|job| &job.gates);
        in_work.any(|gate| open.iter().any(|open| open.key == gate.key))
    }

    fn probe(&mut self, apex: &Apex, made: &MadeApex, prefix: usize) {
        let purpose = JobPurpose::Apex { apex: apex.id, members: u32::try_from(prefix).unwrap_or(u32::MAX) };
        let at = made.members[prefix - 1].1;
        let judged = self.judge_or_gate(&made.keys[prefix - 1], made.gates_of(prefix), at, apex.base.commit, purpose);
        if let Judged::Settled(Judgement::Unrunnable(gate, message)) = judged {
            self.halt_unrunnable(&gate, &message);
        }
    }

    fn halt_unrunnable(&mut self, gate: &KeyedGate, message: &str) {
        let name = |ix: &ItemIx| self.state.graph().name(*ix).as_str();
        let with = match self.state.apex().map_or(&[][..], |apex| &apex.candidates) {
            [] => String::new(),
            [item] => format!(", with {}", name(item)),
            [first, others @ ..] => format!(", with {} and {} more", name(first), others.len()),
        };
        let gate = &gate.gate.name;
        let message = format!("gate {gate} could not be run on the tree that was about to land{with}: {message}");
        self.halt(HaltReason::Infrastructure, message);
    }

    /// Prefix `passing` passes and the next member's does not.
    fn accuse(&mut self, apex: &Apex, made: &MadeApex, passing: usize) {
        let (item, with) = made.members[passing];
        let without = if passing == 0 { apex.base } else { made.members[passing - 1].1 };
        let Some(Judgement::Failed(gate)) = self.judge_prefix(apex, made, passing + 1) else { return };
        let base = apex.base.commit;
        let gates: Vec<Wanted> = made.gates_of(passing + 1).cloned().collect();
        match self.blame(&Accusation { item, gate: &gate, with, without, base }) {
            Finding::Open => {}
            Finding::Unrunnable(message) => self.halt_unrunnable(&gate, &message),
            // What passes lands first: once that is recorded, the suspect goes.
            Finding::Guilty { .. } | Finding::Red if apex.landed < passing => self.land(apex, made, passing),
            Finding::Guilty { .. } if !self.own_failures_are_firm(item, &gates, with, base) => {}
            Finding::Guilty { fails_without_too } => self.decide(ItemDecided {
                item: self.state.graph().name(item).clone(),
                decision: Decision::Failed,
                reason: Some(Reason::GateFailed {
                    gate: gate.gate.name.clone(),
                    key: gate.key,
                    apex: Some(apex.id),
                    fails_without_too,
                }),
                gates: self.item_verdicts(item, Some((&gates, with.tree, base))),
            }),
            Finding::Red => self.excuse(made, passing, &gate, without),
        }
    }

    /// The gate fails on what has landed: whoever needs it cannot be judged.
    fn excuse(&mut self, made: &MadeApex, landed: usize, gate: &KeyedGate, at: Standpoint) {
        self.red_on_target(gate, at);
        let definition = gate.gate.definition;
        let needs_it = |ix: ItemIx| {
            let mut own = self.state.graph().gates(ix).iter();
            own.any(|own| own.definition == definition && own.required) && self.state.phase(ix).may_land()
        };
        // The suspect last, with whom the apex goes: a run that is stopped in between excuses the
        // others, too.
        let mut excused: Vec<ItemIx> = made.members[landed..].iter().map(|(ix, _)| *ix).collect();
        excused.rotate_left(1);
        excused.retain(|ix| needs_it(*ix));
        for ix in excused {
            self.decide(ItemDecided {
                item: self.state.graph().name(ix).clone(),
                decision: Decision::Unjudged,
                reason: Some(Reason::RedOnTarget { gate: gate.gate.name.clone(), key: gate.key }),
                gates: self.item_verdicts(ix, None),
            });
        }
    }

    /// Says once that a gate fails on a tree that is, or stands for, the target.
    pub(super) fn red_on_target(&mut self, gate: &KeyedGate, at: Standpoint) {
        let said = self.actions.iter().any(|action| {
            matches!(action, Action::Record(Event::GateRedOnTarget { definition, tree, .. })
                if *definition == gate.gate.definition && *tree == at.tree)
        });
        if !said && !self.state.is_known_red(gate.gate.definition, at.tree) {
            self.record(Event::GateRedOnTarget {
                gate: gate.gate.name.clone(),
                definition: gate.gate.definition,
                tree: at.tree,
            });
        }
    }

    pub(super) fn land(&mut self, apex: &Apex, made: &MadeApex, members: usize) {
        let Some(proof) = self.proof(apex, made, members) else { return };
        self.actions.push(Action::Land(LandAction {
            apex: apex.id,
            from: self.state.tip(),
            to: made.members[members - 1].1,
            items: made.members[apex.landed..members].iter().map(|(ix, _)| *ix).collect(),
            proof,
        }));
    }

    /// The passes that prove the first `members` items' tree, but for what is overridden there; `None` where one is
    /// missing, which a search never asks for.
    fn proof(&self, apex: &Apex, made: &MadeApex, members: usize) -> Option<Vec<crate::vocabulary::names::VerdictKey>> {
        let at = made.members[members - 1].1;
        made.gates_of(members)
            .filter(|wanted| !self.state.is_overridden_there(apex, wanted, at.tree))
            .map(|wanted| {
                let gate = self.state.keyed(wanted, at.tree, apex.base.commit)?;
                let passed =
                    matches!(self.state.standing(&gate.key), Some(crate::core::judge::Standing::Passed { .. }));
                passed.then_some(gate.key)
            })
            .collect()
    }
}
