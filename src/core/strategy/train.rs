//! The train: items land one after another in canonical order, and those behind the first are gated
//! before it has landed, each on the tip and all that is ahead of it and does not fail (as Zuul's
//! dependent pipeline does, its documentation on project gating). When one fails, those behind it
//! move onto the nearest ahead that does not, and only what stands on another tree then is gated
//! again.
//!
//! Only the first item is decided, as an apex of its own on the tip: by then everything ahead of it
//! has landed or gone. What was found out by looking ahead are verdicts on trees and nothing else,
//! so how far and on what anybody looked ahead changes how long a run takes and not what lands.

use std::collections::{BTreeSet, HashSet};

use super::{Action, Judged, Round};
use crate::core::judge::{Judgement, KeyedGate};
use crate::core::state::Phase;
use crate::plan::Policy;
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{CompositePurpose, Event, JobPurpose};
use crate::vocabulary::names::VerdictKey;

/// Positions that wait for a verdict, ahead of the slots: a freed slot never waits for a merge, and
/// few merges are in vain when the line changes.
const POSITIONS_AHEAD_PER_WORKER: usize = 2;

impl Round<'_> {
    pub(super) fn train(&mut self, policy: &Policy) {
        let state = self.state;
        // Where nothing fails the window grows with all that lands, and who stands far behind is not looked at yet.
        let line = || state.undecided().take(state.train().window());
        let blocked =
            if policy.block_on.is_empty() { 0 } else { line().filter(|ix| self.is_blocked_by(policy, *ix)).count() };
        let Some(first) = line().next().filter(|_| blocked == 0) else { return };
        if self.state.apex().is_none() && self.state.landing().is_none() {
            let items = vec![self.state.graph().name(first).clone()];
            return self.record(Event::ApexFormed {
                apex: self.state.next_apex(),
                base: self.state.tip().commit,
                items,
            });
        }
        // First what is closest to landing.
        self.apex();
        if !self.has_decisions() {
            self.look_ahead(line());
        }
    }

    /// Gates the items behind the first where they would stand, in order, as far as there are slots.
    fn look_ahead(&mut self, line: impl Iterator<Item = ItemIx>) {
        let Some(apex) = self.state.apex() else { return };
        let Some(made) = &apex.made else { return };
        let mut seen = Line::default();
        seen.failing.extend(&apex.candidates);
        let (mut onto, mut ahead, mut waiting) = (apex.base, 0, 0);
        if let Some((first, at)) = made.members.first() {
            let gates = made.gates_of(1);
            seen.stands(*first, self.state.keys(&made.keys[0], gates, at.tree, onto.commit));
            let judged = self.judge_prefix(apex, made, 1);
            if !matches!(judged, Some(Judgement::Failed(_))) {
                seen.failing.remove(first);
                (onto, ahead) = (*at, 1);
                waiting += usize::from(judged != Some(Judgement::Passed));
            }
        }
        let most = self.limits.max_workers.saturating_add(self.limits.elsewhere) as usize * POSITIONS_AHEAD_PER_WORKER;
        for ix in line.filter(|ix| apex.candidates.binary_search(ix).is_err()) {
            if waiting >= most {
                break;
            }
            // What depends on one that fails falls with it.
            if self.state.graph().deps(ix).iter().any(|dep| seen.failing.contains(dep)) {
                seen.fails(ix);
                continue;
            }
            let item = self.state.graph().name(ix).clone();
            let Some(position) = self.state.train().position(onto.commit, ix) else {
                let purpose = CompositePurpose::Train { item };
                self.actions.push(Action::Compose { purpose, base: onto.commit, items: vec![ix] });
                break;
            };
            let Some(at) = position.at else {
                seen.fails(ix);
                continue;
            };
            let gates = position.gates.iter();
            seen.stands(ix, self.state.keys(&position.keys, gates.clone(), at.tree, onto.commit));
            let purpose = JobPurpose::Train { item, ahead };
            match self.judge_or_gate(&position.keys, gates, at, onto.commit, purpose) {
                Judged::Settled(Judgement::Failed(_)) => {
                    seen.fails(ix);
                    continue;
                }
                Judged::Settled(_) => {}
                Judged::Waiting => waiting += 1,
            }
            (onto, ahead) = (at, ahead + 1);
        }
        self.stop_what_nobody_needs(&seen);
    }

    /// Ends the jobs of items that stand elsewhere by now, or nowhere, unless what they run is asked for there.
    fn stop_what_nobody_needs(&mut self, seen: &Line) {
        let state = self.state;
        for (&job, started) in state.jobs() {
            let JobPurpose::Train { item, .. } = &started.purpose else { continue };
            // What others have landed stands in no line any more.
            let is_known = state
                .graph()
                .find(item)
                .is_some_and(|ix| seen.known.contains(&ix) || *state.phase(ix) == Phase::AlreadyLanded);
            if is_known && !started.gates.iter().any(|gate| seen.keys.contains(&gate.key)) {
                self.actions.push(Action::Stop { job });
            }
        }
    }
}

/// What was found out of the line by walking along it.
#[derive(Default)]
struct Line {
    failing: BTreeSet<ItemIx>,
    /// Items of which it is known where they stand, and that they stand nowhere.
    known: BTreeSet<ItemIx>,
    /// What the gates of these are filed under.
    keys: HashSet<VerdictKey>,
}

impl Line {
    /// The gates of an item where it stands, if what they are filed under is known.
    fn stands(&mut self, ix: ItemIx, gates: Option<&[KeyedGate]>) {
        if let Some(gates) = gates {
            self.keys.extend(gates.iter().map(|gate| gate.key));
            self.known.insert(ix);
        }
    }

    fn fails(&mut self, ix: ItemIx) {
        self.failing.insert(ix);
        self.known.insert(ix);
    }
}
