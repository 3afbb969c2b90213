//! What may happen next in a run: a strategy looks at the state and the limits and answers with
//! [`Action`]s. It never remembers anything: asked again, it answers again.

mod apex;
pub mod batch;
pub mod bisect;
mod blame;
pub mod claims;
pub mod groups;
mod overridden;
pub mod pyramid;
mod train;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use claims::Queue;

use super::judge::{self, Judgement, KeyedGate, Keys, Standing, Wanted, judge, reached};
use super::limits::Limits;
use super::state::{Cone, Phase, RunState, Standpoint};
use crate::plan::graph::ItemIx;
use crate::plan::{Gate, Landing, Policy, Spend};
use crate::vocabulary::event::{
    CompositePurpose, Decision, Event, HaltReason, ItemDecided, ItemGateStatus, ItemVerdict, JobPurpose, Reason,
};
use crate::vocabulary::names::{ApexId, CommitId, DefinitionDigest, JobId, RuntimeName, TreeId, VerdictKey};

/// What may happen next, by the strategy that the plan asks for. Empty while everything waits for something
/// under way, and at the end.
pub fn next(state: &RunState, limits: &Limits, policy: &Policy) -> Vec<Action> {
    ask(state, limits, policy).map_or_else(Vec::new, Round::into_actions)
}

/// Whether a composite waits to be gated for want of a slot alone.
pub fn wants_a_slot(state: &RunState, limits: &Limits, policy: &Policy) -> bool {
    ask(state, limits, policy).is_some_and(|round| round.lacks_a_slot)
}

fn ask<'a>(state: &'a RunState, limits: &'a Limits, policy: &'a Policy) -> Option<Round<'a>> {
    if state.halted().is_some() || state.is_interrupted() {
        return None;
    }
    let mut round = Round::new(state, limits, policy);
    round.block_dependents();
    if !round.has_decisions() {
        if round.is_at_the_last() {
            round.apex();
        } else {
            match limits.landing {
                Landing::Pyramid => round.pyramid(policy),
                Landing::Batch => round.batch(policy),
                Landing::Train => round.train(policy),
            }
            round.form_the_last(policy);
        }
        round.stop_what_is_over();
    }
    if !round.has_decisions() && round.halt.is_none() {
        round.tell_of_limits();
    }
    Some(round)
}

/// Something that may happen now.
#[derive(Clone, Debug)]
pub enum Action {
    /// A decision: record it, then ask again.
    Record(Event),
    /// Make a composite. Asked for until its `composed` event is there.
    Compose { purpose: CompositePurpose, base: CommitId, items: Vec<ItemIx> },
    /// Find out what a gate's `inputs` match in a tree. Asked for until it is known.
    Digest { tree: TreeId, gate: Arc<Gate> },
    /// Take a free slot and gate a composite in it.
    Gate(GateAction),
    /// End a job whose verdicts nobody needs any more. Asked for until it has ended.
    Stop { job: JobId },
    /// Move the target to the first `members` items of the apex.
    Land(LandAction),
}

#[derive(Clone, Debug)]
pub struct GateAction {
    pub purpose: JobPurpose,
    pub at: Standpoint,
    /// What the composite stands on.
    pub base: CommitId,
    pub gates: Vec<KeyedGate>,
    /// Nothing an earlier run left behind may matter.
    pub clean_slot: bool,
    /// Others of the composite's gates follow in jobs of their own.
    pub more: bool,
}

#[derive(Clone, Debug)]
pub struct LandAction {
    pub apex: ApexId,
    pub from: Standpoint,
    pub to: Standpoint,
    pub items: Vec<ItemIx>,
    /// The keys of the passes that prove the tree.
    pub proof: Vec<VerdictKey>,
}

/// One asking of a strategy: the answers so far and the slots they leave free.
struct Round<'a> {
    state: &'a RunState,
    limits: &'a Limits,
    actions: Vec<Action>,
    /// In work or free, here and elsewhere.
    width: usize,
    /// Of this machine.
    free_slots: usize,
    /// How many gates runtimes elsewhere have.
    elsewhere: BTreeMap<&'a RuntimeName, u32>,
    /// A job was not started although nothing but a slot is missing.
    lacks_a_slot: bool,
    /// Keys that are being run, or will be by an action of this round: equal keys share one run.
    claimed: HashSet<VerdictKey>,
    /// What was asked for and is being run.
    awaited: HashSet<VerdictKey>,
    limited: Queue<'a>,
    /// The event that ends the run, recorded after everything else that this round decides: what
    /// is known of an item is not lost to it.
    halt: Option<Event>,
}

/// A composite's judgement, or what keeps it from having one in this round.
enum Judged {
    Settled(Judgement),
    /// An action for it is among the answers, or something under way will change it.
    Waiting,
}

impl<'a> Round<'a> {
    fn new(state: &'a RunState, limits: &'a Limits, policy: &'a Policy) -> Self {
        let claimed = state.jobs().values().flat_map(|job| job.gates.iter().map(|gate| gate.key)).collect();
        let slots = limits.slots(state.pool()) as usize;
        let mut elsewhere = BTreeMap::new();
        if limits.elsewhere > 0 {
            for runtime in state.jobs().values().filter_map(|job| state.elsewhere(job)) {
                *elsewhere.entry(runtime).or_default() += 1;
            }
        }
        let jobs_elsewhere: u32 = elsewhere.values().sum();
        let free_slots = slots.saturating_sub(state.jobs().len() - jobs_elsewhere as usize);
        let limited = Queue::new(state, &policy.resources);
        Self {
            state,
            limits,
            actions: Vec::new(),
            width: slots.saturating_add(limits.elsewhere as usize),
            free_slots,
            elsewhere,
            lacks_a_slot: false,
            claimed,
            awaited: HashSet::new(),
            limited,
            halt: None,
        }
    }

    fn record(&mut self, event: Event) {
        self.actions.push(Action::Record(event));
    }

    /// All answers, the end of the run last.
    fn into_actions(mut self) -> Vec<Action> {
        self.actions.extend(self.halt.map(Action::Record));
        self.actions
    }

    /// One at a time: each may take the next in line with it.
    fn block_dependents(&mut self) {
        if let Some((ix, root)) = self.state.next_blocked() {
            let name = self.state.graph().name(root).clone();
            let reason = if self.state.is_put_last(root) && !matches!(self.state.phase(root), Phase::Out(..)) {
                Reason::DependencyOverridden { root: name }
            } else {
                Reason::DependencyFailed { root: name }
            };
            self.set_out(ix, Decision::Blocked, reason, None);
        }
    }

    /// Takes an item out that has a gate which the policy blocks on; true where it had.
    fn is_blocked_by(&mut self, policy: &Policy, ix: ItemIx) -> bool {
        let reason = self.state.graph().gates(ix).iter().find_map(|gate| {
            let (glob, _) = policy.block_on.iter().find(|(_, glob)| glob.is_match(gate.name.as_str()))?;
            Some(Reason::BlockOn { gate: gate.name.clone(), glob: glob.clone() })
        });
        let is_blocked = reason.is_some();
        if let Some(reason) = reason {
            self.set_out(ix, Decision::Blocked, reason, None);
        }
        is_blocked
    }

    /// Records that an item does not land. By what failed on its `cone` only once that is firm.
    fn set_out(&mut self, ix: ItemIx, decision: Decision, reason: Reason, cone: Option<&Cone>) {
        if let Some(cone) = cone {
            let at = Standpoint { commit: cone.commit, tree: cone.tree };
            if !self.own_failures_are_firm(ix, &cone.gates, at, cone.base) {
                return;
            }
        }
        self.decide(ItemDecided {
            item: self.state.graph().name(ix).clone(),
            decision,
            reason: Some(reason),
            gates: self.item_verdicts(ix, cone.map(|cone| (&*cone.gates, cone.tree, cone.base))),
        });
    }

    fn has_decisions(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Record(_)))
    }

    fn decide(&mut self, decided: ItemDecided) {
        self.record(Event::ItemDecided(Box::new(decided)));
    }

    fn halt(&mut self, why: HaltReason, message: String) {
        self.halt.get_or_insert(Event::RunHalted { why, message, advice: None });
    }

    /// Keys of `wanted` on the tree of `at`, asking for the digests that are missing.
    fn keyed<'k, 'w>(
        &mut self,
        keys: &'k Keys,
        wanted: impl Iterator<Item = &'w Wanted> + Clone,
        tree: TreeId,
        base: CommitId,
    ) -> Option<&'k [KeyedGate]> {
        let known = self.state.keys(keys, wanted.clone(), tree, base);
        if known.is_none() {
            for one in wanted.filter(|wanted| self.state.subject(&wanted.gate, tree).is_none()) {
                self.actions.push(Action::Digest { tree, gate: Arc::clone(&one.gate) });
            }
        }
        known
    }

    /// Judges the composite `at`, on `base`, by `wanted`; starts a job for what has no verdict yet
    /// where a slot is free.
    fn judge_or_gate<'w>(
        &mut self,
        keys: &Keys,
        wanted: impl Iterator<Item = &'w Wanted> + Clone,
        at: Standpoint,
        base: CommitId,
        purpose: JobPurpose,
    ) -> Judged {
        let Some(gates) = self.keyed(keys, wanted, at.tree, base) else { return Judged::Waiting };
        match self.judge_keyed(gates) {
            Judgement::Open(gates) => {
                self.gate(GateAction { purpose, at, base, gates, clean_slot: false, more: false });
                Judged::Waiting
            }
            settled => Judged::Settled(settled),
        }
    }

    /// What the known verdicts say of a tree; `None` while what a gate's `inputs` match there is not known.
    fn judge_at<'w>(
        &self,
        keys: &Keys,
        wanted: impl Iterator<Item = &'w Wanted>,
        tree: TreeId,
        base: CommitId,
    ) -> Option<Judgement> {
        self.state.keys(keys, wanted, tree, base).map(|gates| self.judge_keyed(gates))
    }

    fn judge_keyed(&self, gates: &[KeyedGate]) -> Judgement {
        judge(gates.iter().map(|gate| (gate, self.state.standing(&gate.key))), self.limits.fail_fast)
    }

    /// How many probes of one search may run at once.
    fn search_width(&self) -> usize {
        match self.limits.spend {
            Spend::Gates => 1,
            // Not what the pool has become: which prefixes are tried hangs on verdicts alone.
            Spend::Time => self.limits.width_at_first() as usize,
        }
    }

    /// Starts a job, of the first of the gates at least, unless one of its keys is being run already, a limit holds it
    /// back or no slot is free.
    fn gate(&mut self, mut action: GateAction) {
        let in_one_job = self.limited.in_one_job(&action.gates);
        action.more = in_one_job < action.gates.len();
        action.gates.truncate(in_one_job);
        let being_run = action.gates.iter().any(|gate| self.claimed.contains(&gate.key));
        if being_run {
            self.awaited.extend(action.gates.iter().map(|gate| gate.key));
        }
        if being_run || !self.limited.lets_start(&action.gates) {
            return;
        }
        if !self.takes_a_place(&action.gates) {
            return;
        }
        self.limited.take(&action.gates);
        self.claimed.extend(action.gates.iter().map(|gate| gate.key));
        self.actions.push(Action::Gate(action));
    }

    /// A slot of this machine for a job of these gates, or a place in the runtime that has them; false where none is free.
    fn takes_a_place(&mut self, gates: &[KeyedGate]) -> bool {
        let runtime = gates.first().and_then(|first| self.state.gate(first.gate.definition)?.runtime.elsewhere());
        match runtime {
            Some((runtime, most)) => {
                let taken = self.elsewhere.entry(runtime).or_default();
                let is_free = *taken < most;
                *taken += u32::from(is_free);
                is_free
            }
            None if self.free_slots == 0 => {
                self.lacks_a_slot = true;
                false
            }
            None => {
                self.free_slots -= 1;
                true
            }
        }
    }

    /// Ends jobs that looked ahead to what nobody asks any more: of an apex that is gone, and of whatever kind once all is
    /// decided and landed. What somebody else waits for goes on.
    fn stop_what_is_over(&mut self) {
        let state = self.state;
        let all_is_decided = !state.is_any_undecided()
            && state.is_all_landed_that_passed()
            && state.apex().is_none()
            && state.landing().is_none();
        for (&job, started) in state.jobs() {
            let is_over = match &started.purpose {
                JobPurpose::Apex { apex, .. } => state.apex().is_none_or(|current| current.id != *apex),
                _ => all_is_decided,
            };
            if is_over && !started.gates.iter().any(|gate| self.awaited.contains(&gate.key)) {
                self.actions.push(Action::Stop { job });
            }
        }
    }

    /// Says what limits have come to hold back, and what they hold back no more.
    fn tell_of_limits(&mut self) {
        for event in self.limited.changes(self.free_slots > 0) {
            self.record(event);
        }
    }

    /// Whether a failure stands firm: it was seen more than once, or once is enough.
    fn is_firm(&self, standing: Standing<'_>) -> bool {
        matches!(standing, Standing::Failed { more_than_once } if more_than_once || !self.limits.second_opinion)
    }

    /// Without `failFast` an item that goes is told all that it failed, so each of its failures
    /// is made firm first: whether a flake was told from a failure must not hang on who else
    /// happened to run an equal gate again by then. True once nothing more has to be run.
    fn own_failures_are_firm(&mut self, item: ItemIx, wanted: &[Wanted], at: Standpoint, base: CommitId) -> bool {
        if self.limits.fail_fast {
            return true;
        }
        let state = self.state;
        let own: HashSet<_> = judge::wanted_by(state.graph(), item).map(|wanted| wanted.identity()).collect();
        let doubtful: Vec<KeyedGate> = wanted
            .iter()
            .filter(|wanted| wanted.required && own.contains(&wanted.identity()))
            .filter_map(|wanted| state.keyed(wanted, at.tree, base))
            .filter(|gate| {
                let standing = state.standing(&gate.key);
                standing.is_some_and(|standing| matches!(standing, Standing::Failed { .. }) && !self.is_firm(standing))
            })
            .collect();
        let firm = doubtful.is_empty();
        for gate in doubtful {
            self.second_opinion(item, at, base, gate);
        }
        firm
    }

    /// What is known of an item's own gates, for its decision's record: on the composite that was
    /// judged by these gates, in this order, and on no other.
    fn item_verdicts(&self, ix: ItemIx, judged: Option<(&[Wanted], TreeId, CommitId)>) -> Vec<ItemVerdict> {
        let mut known: HashMap<(DefinitionDigest, Option<ItemIx>), (VerdictKey, Option<Standing<'_>>)> = HashMap::new();
        if let Some((gates, tree, base)) = judged {
            let standings: Vec<_> = gates
                .iter()
                .map_while(|wanted| self.state.keyed(wanted, tree, base))
                .map(|keyed| (keyed.key, self.state.standing(&keyed.key)))
                .collect();
            let required = gates.iter().zip(&standings).map(|(wanted, (_, standing))| (wanted.required, *standing));
            let reached = reached(required, self.limits.fail_fast);
            known.extend(gates.iter().map(Wanted::identity).zip(standings).take(reached));
        }
        let own = self.state.graph().gates(ix).iter();
        own.map(|gate| {
            let known = known.get(&(gate.definition, gate.context.then_some(ix)));
            let status = match known.and_then(|(_, standing)| *standing) {
                None if !gate.at.cone => ItemGateStatus::ApexOnly,
                None => ItemGateStatus::NotRun,
                Some(Standing::Passed { flaky: false }) => ItemGateStatus::Passed,
                Some(Standing::Passed { flaky: true }) => ItemGateStatus::Flaky,
                Some(Standing::Failed { .. }) => ItemGateStatus::Failed,
                Some(Standing::Unrunnable(_)) => ItemGateStatus::Unjudged,
            };
            let key = known.map(|(key, _)| *key);
            ItemVerdict { gate: gate.name.clone(), key, required: gate.required, status }
        })
        .collect()
    }
}
