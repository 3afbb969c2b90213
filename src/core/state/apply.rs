//! The one transition function of a run, and what it is made of.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Apex, Cone, ImpossibleTransition, MadeApex, Phase, RunState, Standpoint, StartRank, Train, word};
use crate::core::judge::{self, Keys, KnownRuns, Standing};
use crate::plan::graph::ItemIx;
use crate::vocabulary::event::{
    Composed, CompositePurpose, Decision, Event, GateFinished, ItemDecided, Landed, LandingIntended, Reason,
    RunStarted, SetAsideCause,
};
use crate::vocabulary::names::{ApexId, CommitId, ItemName, JobId};
use crate::vocabulary::trail::TargetStep;

impl RunState {
    /// The one transition function.
    ///
    /// # Errors
    /// Where the event cannot follow what came before; the state is then no longer to be used.
    pub fn apply(&mut self, event: &Event) -> Result<(), ImpossibleTransition> {
        // What became of a landing may be learned after the run that intended it has ended.
        let of_the_end = match event {
            Event::RunResumed { .. } => true,
            Event::Landed(_) => self.landing.is_some(),
            Event::UndoIntended { .. } | Event::Undone(_) | Event::UndoGivenUp { .. } => true,
            _ => false,
        };
        if self.finished && !of_the_end {
            return Err(ImpossibleTransition::AfterEnd);
        }
        if self.started == matches!(event, Event::RunStarted(_)) {
            return Err(ImpossibleTransition::Start);
        }
        let of_an_undo = matches!(event, Event::UndoIntended { .. } | Event::Undone(_) | Event::UndoGivenUp { .. });
        if !of_an_undo && (self.undoing.is_some() || self.taken_back.is_some()) {
            return Err(ImpossibleTransition::Undone);
        }
        match event {
            Event::RunStarted(started) => self.start(started),
            Event::Composed(composed) => self.composed(composed),
            Event::InputsDigested { tree, definition, subject } => {
                self.subjects.insert((*tree, *definition), *subject);
                Ok(())
            }
            Event::JobStarted(job) => {
                if self.jobs.insert(job.job, (**job).clone()).is_some() {
                    return Err(ImpossibleTransition::JobTwice(job.job));
                }
                self.last_job = self.last_job.max(job.job.0);
                Ok(())
            }
            Event::GateStarted { job, .. } | Event::ChecksMissing { job, .. } | Event::GateWaits { job, .. } => {
                self.expect_job(*job)
            }
            Event::GateFinished(finished) => self.gate_finished(finished),
            Event::VerdictReused { key, .. } => {
                self.known.entry(*key).or_default().reuse();
                Ok(())
            }
            Event::JobFinished { job } => {
                self.claims.job_ended(*job);
                self.jobs.remove(job).map(drop).ok_or(ImpossibleTransition::UnknownJob(*job))
            }
            Event::GroupFormed { group, base, items } => self.group_formed(*group, *base, items),
            Event::SingledOut { group, item, .. } => self.singled_out(*group, item),
            Event::ApexFormed { apex, base, items } => self.apex_formed(*apex, *base, items),
            Event::ItemDecided(decided) => self.decided(decided),
            Event::ItemDeferred { item, reason } => self.deferred(item, reason),
            Event::GateRedOnTarget { definition, tree, .. } => {
                self.red.insert((*definition, *tree));
                Ok(())
            }
            Event::Overridden(overridden) => self.overridden(overridden),
            Event::LandingIntended(intended) => {
                self.expect_tip(intended.from)?;
                self.expect_proven(intended)?;
                self.landing = Some((**intended).clone());
                Ok(())
            }
            Event::Landed(landed) => self.landed(landed),
            Event::TargetMoved { from, to, to_tree, landed } => {
                self.expect_tip(*from)?;
                self.target_moved(Standpoint { commit: *to, tree: *to_tree }, landed)
            }
            Event::Throttled { .. } | Event::Unthrottled { .. } => Ok(()),
            Event::PoolResized { from, to, .. } => self.resized(*from, *to),
            Event::LimitHeld { limit, why, .. } => {
                self.claims.hold(limit.clone(), *why);
                Ok(())
            }
            Event::LimitFreed { limit } => {
                self.claims.free(limit).then_some(()).ok_or_else(|| ImpossibleTransition::NotHeld(limit.clone()))
            }
            Event::RunResumed { landing_is_open, .. } => {
                self.resumed(*landing_is_open);
                Ok(())
            }
            Event::Interrupted { .. } => {
                self.interrupted = true;
                Ok(())
            }
            Event::RunHalted { why, .. } => {
                self.halted.get_or_insert(*why);
                Ok(())
            }
            Event::RunFinished { .. } => {
                self.finished = true;
                Ok(())
            }
            Event::UndoIntended { direction, from, to, push } => {
                self.undo_intended(*direction, *from, *to, push.is_some())
            }
            Event::Undone(undone) => self.undone(undone),
            Event::UndoGivenUp { .. } => self.undo_given_up(),
        }
    }

    fn start(&mut self, started: &RunStarted) -> Result<(), ImpossibleTransition> {
        let same_items = started.items.len() == self.graph.len()
            && started.items.iter().zip(self.graph.indices()).all(|(item, ix)| item.name == *self.graph.name(ix));
        if !same_items {
            return Err(ImpossibleTransition::Start);
        }
        self.started = true;
        self.base = Standpoint { commit: started.base, tree: started.base_tree };
        self.tip = self.base;
        self.train = Train::new(started.batch_size);
        self.undecided = self.graph.indices().collect();
        let landed = started.items.iter().zip(self.graph.indices()).filter(|(item, _)| item.already_landed.is_some());
        let landed: Vec<ItemIx> = landed.map(|(_, ix)| ix).collect();
        for &ix in &landed {
            self.items[ix.get()].phase = Phase::AlreadyLanded;
            self.items[ix.get()].in_base = true;
            self.undecided.remove(&ix);
        }
        self.put_last(started.overrides.as_deref())?;
        for ix in self.graph.indices() {
            if self.graph.deps(ix).is_empty() {
                self.make_eligible(ix);
            }
        }
        // Only now: one landed item may depend on another.
        for ix in landed {
            self.satisfy_dependents(ix);
        }
        self.advance_frontier();
        Ok(())
    }

    /// Tells the direct dependents of `ix` that it has passed or had landed before the run.
    pub(super) fn satisfy_dependents(&mut self, ix: ItemIx) {
        for dependent in self.graph.dependents(ix).to_vec() {
            let state = &mut self.items[dependent.get()];
            state.waiting_for = state.waiting_for.saturating_sub(1);
            if state.waiting_for == 0 {
                self.make_eligible(dependent);
            }
        }
    }

    fn make_eligible(&mut self, ix: ItemIx) {
        let state = &mut self.items[ix.get()];
        if state.phase == Phase::Waiting && !self.put_last.contains(&ix) {
            state.phase = Phase::Eligible;
            self.fresh.insert((self.start_rank(ix), ix));
        }
    }

    /// When an item's turn comes, beside others that may start.
    pub fn start_rank(&self, ix: ItemIx) -> StartRank {
        (std::cmp::Reverse(self.graph.urgency(ix)), std::cmp::Reverse(self.lengths[ix.get()]))
    }

    fn composed(&mut self, composed: &Composed) -> Result<(), ImpossibleTransition> {
        let set_aside = composed
            .set_aside
            .iter()
            .map(|aside| Ok((self.ix(&aside.item)?, aside.cause.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let cone = |gates| Cone {
            base: composed.base,
            commit: composed.commit,
            tree: composed.tree,
            set_aside: set_aside.clone(),
            gates,
            keys: Keys::default(),
        };
        match &composed.purpose {
            // A composite on a base that the run has left is of no use.
            CompositePurpose::Cone { .. } | CompositePurpose::Without { .. } if composed.base != self.base.commit => {}
            CompositePurpose::Cone { item } => {
                let ix = self.ix(item)?;
                let gates = judge::cone_gates(&self.graph, &self.cone_dependencies(ix), ix);
                self.items[ix.get()].cone = Some(cone(gates.into()));
                let key = (self.start_rank(ix), ix);
                if self.fresh.remove(&key) {
                    self.open.insert(key);
                }
            }
            CompositePurpose::Without { item } => {
                let ix = self.ix(item)?;
                self.items[ix.get()].without = Some(Box::new(cone(Arc::from([]))));
            }
            CompositePurpose::Group { group } => self.group_composed(*group, composed)?,
            CompositePurpose::Train { item } => {
                let ix = self.ix(item)?;
                if self.items[ix.get()].phase.may_land() {
                    self.train.composed(&self.graph, ix, composed);
                }
            }
            CompositePurpose::Apex { apex } => {
                let members = composed
                    .steps
                    .iter()
                    .map(|step| Ok((self.ix(&step.item)?, Standpoint { commit: step.commit, tree: step.tree })))
                    .collect::<Result<Vec<_>, ImpossibleTransition>>()?;
                let indices: Vec<ItemIx> = members.iter().map(|(ix, _)| *ix).collect();
                let gates = judge::apex_gates(&self.graph, &indices).into();
                let first = indices.first().copied();
                if let Some(apex) = self.apex.as_mut().filter(|current| current.id == *apex) {
                    let conflicts: Vec<_> = set_aside
                        .into_iter()
                        .filter(|(_, cause)| matches!(cause, SetAsideCause::Conflict(_)))
                        .collect();
                    let conflicts_at_tip =
                        conflicts.iter().take_while(|(ix, _)| first.is_none_or(|first| *ix < first)).count();
                    let keys = vec![Keys::default(); members.len()];
                    apex.made = Some(MadeApex { members, conflicts, conflicts_at_tip, gates, keys });
                }
            }
        }
        Ok(())
    }

    fn gate_finished(&mut self, finished: &GateFinished) -> Result<(), ImpossibleTransition> {
        self.expect_job(finished.job)?;
        if let (Some(job), Some(_)) = (self.jobs.get(&finished.job), finished.verdict) {
            self.claims.gate_ended(job, finished.key);
        }
        self.known.entry(finished.key).or_default().count(&finished.outcome, finished.verdict);
        Ok(())
    }

    fn apex_formed(&mut self, apex: ApexId, base: CommitId, items: &[ItemName]) -> Result<(), ImpossibleTransition> {
        self.expect_tip(base)?;
        if self.apex.is_some() {
            return Err(ImpossibleTransition::ApexTwice);
        }
        let candidates = items.iter().map(|name| self.ix(name)).collect::<Result<Vec<_>, _>>()?;
        for &ix in &candidates {
            let passed = *self.phase(ix) == Phase::Passed;
            // What was not gated by itself stands on what it depends on.
            let stands = |dep: &ItemIx| self.phase(*dep).has_landed() || candidates.binary_search(dep).is_ok();
            self.expect_phase(ix, "a candidate", |phase| {
                passed || phase.may_land() && self.graph.deps(ix).iter().all(stands)
            })?;
        }
        self.last_apex = apex.0;
        self.apex = Some(Apex {
            id: apex,
            base: self.tip,
            candidates,
            made: None,
            landed: 0,
            seen: self.outcomes,
            overridden: None,
        });
        Ok(())
    }

    fn decided(&mut self, decided: &ItemDecided) -> Result<(), ImpossibleTransition> {
        let ix = self.ix(&decided.item)?;
        if decided.decision == Decision::Passed {
            self.expect_phase(ix, "passed", |phase| *phase == Phase::Eligible)?;
            self.leave_phase(ix);
            self.items[ix.get()].phase = Phase::Passed;
            self.leave_group(ix, true);
            self.passed.insert(ix);
            self.advance_frontier();
            self.satisfy_dependents(ix);
            return Ok(());
        }
        let reason = decided.reason.clone().ok_or(ImpossibleTransition::Item {
            item: decided.item.clone(),
            from: self.items[ix.get()].phase.word(),
            to: "decided without a reason",
        })?;
        let replaces = decided.decision == Decision::Blocked;
        self.expect_phase(ix, word(decided.decision), |phase| match phase {
            Phase::AlreadyLanded | Phase::Landed | Phase::Out(Decision::Blocked, _) => false,
            Phase::Out(..) => replaces,
            _ => true,
        })?;
        // Its dependents are told once; a block that replaces another end tells them nothing new.
        let first_fall = !matches!(self.items[ix.get()].phase, Phase::Out(..));
        self.leave_phase(ix);
        self.advance_frontier();
        self.items[ix.get()].phase = Phase::Out(decided.decision, Box::new(reason.clone()));
        self.leave_group(ix, false);
        self.outcomes.failed += u32::from(decided.decision == Decision::Failed);
        self.train.fell(decided.decision);
        self.train.keep_what_stands_on(self.tip.commit);
        if self.ends_the_apex(ix, decided.decision, &reason) {
            self.apex = None;
        }
        if first_fall {
            let root = match &reason {
                Reason::DependencyFailed { root } => self.ix(root)?,
                _ => ix,
            };
            let dependents = self.graph.dependents(ix).to_vec();
            self.to_block.extend(dependents.into_iter().map(|dependent| (dependent, root)));
        }
        self.forget_settled_blocks();
        Ok(())
    }

    /// Whether a candidate's end is that of the apex. Where a gate is red on the target all who need
    /// it go, and the suspect last; where several conflict with the tip, all of them: one event
    /// each, and until the last the apex says who is still to go. A candidate is blocked by another
    /// that goes, and says nothing new.
    fn ends_the_apex(&self, ix: ItemIx, decision: Decision, reason: &Reason) -> bool {
        let Some(apex) = self.apex.as_ref().filter(|apex| apex.candidates.binary_search(&ix).is_ok()) else {
            return false;
        };
        if let Some(made) = apex.made.as_ref().filter(|made| made.conflicts_at_tip > 0) {
            return made.at_tip().all(|(other, _)| !self.items[other.get()].phase.may_land());
        }
        let suspect = apex.made.as_ref().and_then(|made| made.members.get(apex.landed));
        match (decision, reason) {
            (Decision::Blocked, _) => false,
            (_, Reason::RedOnTarget { .. }) => suspect.is_none_or(|(suspect, _)| *suspect == ix),
            _ => true,
        }
    }

    fn deferred(&mut self, item: &ItemName, reason: &Reason) -> Result<(), ImpossibleTransition> {
        let ix = self.ix(item)?;
        self.expect_phase(ix, "deferred", |phase| *phase == Phase::Eligible)?;
        self.leave_phase(ix);
        self.items[ix.get()].phase = Phase::Deferred(Box::new(reason.clone()));
        self.note_overdue(ix);
        // It will not pass before its dependencies have landed, so nobody waits for what is behind it.
        let mut behind = self.graph.dependents(ix).to_vec();
        while let Some(dependent) = behind.pop() {
            if self.undecided.remove(&dependent) {
                behind.extend(self.graph.dependents(dependent));
            }
        }
        self.advance_frontier();
        Ok(())
    }

    /// A deferred item whose dependencies have all landed has its answer.
    pub(super) fn note_overdue(&mut self, ix: ItemIx) {
        let landed = |dep: &ItemIx| self.items[dep.get()].phase.has_landed();
        let Phase::Deferred(reason) = &self.items[ix.get()].phase else { return };
        if !self.graph.deps(ix).iter().all(landed) {
            return;
        }
        // What kept it from being judged was a dependency that would not land, and did.
        if matches!(**reason, Reason::DependencyFailed { .. }) {
            self.reopen(ix);
        } else {
            self.overdue.insert(ix);
        }
    }

    /// A deferred item is to be judged after all, and what is behind it waits for it again.
    fn reopen(&mut self, ix: ItemIx) {
        self.items[ix.get()].phase = Phase::Eligible;
        self.fresh.insert((self.start_rank(ix), ix));
        self.await_again(ix);
    }

    /// What waited behind an item that was deferred, and is not any more, may come to pass again.
    pub(super) fn await_again(&mut self, ix: ItemIx) {
        for at in self.graph.indices().skip(ix.get()) {
            let deferred = |dep: &ItemIx| matches!(self.items[dep.get()].phase, Phase::Deferred(_));
            let is_open = matches!(self.items[at.get()].phase, Phase::Waiting | Phase::Eligible);
            if is_open && !self.put_last.contains(&at) && !self.graph.closure(at).iter().any(deferred) {
                self.undecided.insert(at);
            }
        }
        let passed_behind = self.passed.range(ix..).filter(|passed| passed.get() < self.frontier).count();
        self.settled -= passed_behind;
        self.frontier = self.frontier.min(ix.get());
    }

    /// Moves the frontier on to the first undecided item. It moves back only where an item is opened
    /// again.
    pub(super) fn advance_frontier(&mut self) {
        let first_undecided = self.undecided.first().map_or(self.items.len(), |ix| ix.get());
        while self.frontier < first_undecided {
            self.settled += usize::from(self.items[self.frontier].phase == Phase::Passed);
            self.frontier += 1;
        }
    }

    pub(super) fn leave_phase(&mut self, ix: ItemIx) {
        let ranked = (self.start_rank(ix), ix);
        self.fresh.remove(&ranked);
        self.open.remove(&ranked);
        self.undecided.remove(&ix);
        if self.passed.remove(&ix) && ix.get() < self.frontier {
            self.settled -= 1;
        }
        self.overdue.remove(&ix);
        self.items[ix.get()].cone = None;
        self.items[ix.get()].without = None;
        self.train.forget(ix);
    }

    /// Drops blocks at the front that have nothing left to block, so that the queue's front is
    /// always work.
    pub(super) fn forget_settled_blocks(&mut self) {
        while let Some((ix, _)) = self.to_block.front() {
            match self.items[ix.get()].phase {
                Phase::AlreadyLanded | Phase::Landed | Phase::Out(Decision::Blocked, _) => self.to_block.pop_front(),
                _ => break,
            };
        }
    }

    fn landed(&mut self, landed: &Landed) -> Result<(), ImpossibleTransition> {
        let intended = self.landing.take().ok_or(ImpossibleTransition::NoLanding)?;
        self.expect_apex(landed.apex)?;
        self.expect_tip(landed.from)?;
        if intended.to != landed.to || intended.items != landed.items {
            return Err(ImpossibleTransition::NoLanding);
        }
        let members = landed.items.iter().map(|name| self.ix(name)).collect::<Result<Vec<_>, _>>()?;
        for &ix in &members {
            self.expect_phase(ix, "landed", Phase::may_land)?;
            let had_passed = self.items[ix.get()].phase == Phase::Passed;
            self.leave_phase(ix);
            // Where nothing had to be moved others had landed it since the run began.
            self.items[ix.get()].phase = if landed.from == landed.to { Phase::AlreadyLanded } else { Phase::Landed };
            if !had_passed {
                self.satisfy_dependents(ix);
            }
        }
        self.advance_frontier();
        self.count_landed(members.len(), landed.tree);
        for &ix in &members {
            for dependent in self.graph.dependents(ix).to_vec() {
                self.note_overdue(dependent);
            }
        }
        self.rebases = 0;
        if let Some(Apex { landed, made: Some(made), .. }) = &self.apex {
            let mut before = self.tip.tree;
            for (ix, at) in made.members.iter().skip(*landed).take(members.len()) {
                let item = Some(self.graph.name(*ix).clone());
                self.trail.push(TargetStep { item, before, after: at.tree });
                before = at.tree;
            }
        }
        self.tip = Standpoint { commit: landed.to, tree: landed.tree };
        self.train.landed(members.len());
        self.train.keep_what_stands_on(self.tip.commit);
        if let Some(apex) = &mut self.apex {
            apex.landed += members.len();
            if apex.made.as_ref().is_none_or(|made| apex.landed >= made.members.len()) {
                self.apex = None;
            }
        }
        Ok(())
    }

    fn resized(&mut self, from: u32, to: u32) -> Result<(), ImpossibleTransition> {
        if to == 0 || from == to || self.pool.is_some_and(|size| size != from) {
            return Err(ImpossibleTransition::Pool { from, to });
        }
        self.pool = Some(to);
        Ok(())
    }

    /// Jobs and a landing's intent went with the process that had them; what became of the landing
    /// is recorded before. Composites may have gone too, and are the same when made again.
    fn resumed(&mut self, landing_is_open: bool) {
        self.finished = false;
        self.interrupted = false;
        self.halted = None;
        self.rebases = 0;
        // What was measured is of another time, and perhaps of another machine.
        self.pool = None;
        self.jobs.clear();
        self.train.forget_all();
        self.claims.resumed();
        // An open landing is of the apex as it was made.
        if !landing_is_open {
            self.landing = None;
            if let Some(apex) = &mut self.apex {
                apex.made = None;
            }
        }
        for item in &mut self.items {
            item.cone = None;
            item.without = None;
        }
        self.fresh.append(&mut self.open);
        self.resume_groups();
        self.known.values_mut().for_each(KnownRuns::forget_unrunnable);
    }

    pub(super) fn ix(&self, name: &ItemName) -> Result<ItemIx, ImpossibleTransition> {
        self.graph.find(name).ok_or_else(|| ImpossibleTransition::UnknownItem(name.clone()))
    }

    fn expect_job(&self, job: JobId) -> Result<(), ImpossibleTransition> {
        self.jobs.contains_key(&job).then_some(()).ok_or(ImpossibleTransition::UnknownJob(job))
    }

    fn expect_tip(&self, expected: CommitId) -> Result<(), ImpossibleTransition> {
        let at = self.tip.commit;
        (at == expected).then_some(()).ok_or(ImpossibleTransition::Target { at, expected })
    }

    pub(super) fn expect_apex(&self, apex: ApexId) -> Result<(), ImpossibleTransition> {
        let current = self.apex.as_ref().is_some_and(|current| current.id == apex);
        current.then_some(()).ok_or(ImpossibleTransition::Apex(apex))
    }

    /// What is to land must be a prefix of the apex under way, beginning where the last landing
    /// ended, and every required gate of its items must have passed on its tree, or be overridden there.
    fn expect_proven(&self, intended: &LandingIntended) -> Result<(), ImpossibleTransition> {
        self.expect_apex(intended.apex)?;
        let not_of_it = ImpossibleTransition::NotOfTheApex { to: intended.to };
        let Some(apex) = &self.apex else { return Err(not_of_it) };
        let Some(made) = &apex.made else { return Err(not_of_it) };
        let upto = apex.landed + intended.items.len();
        let Some(members) = made.members.get(apex.landed..upto) else { return Err(not_of_it) };
        let same_items = members.iter().zip(&intended.items).all(|((ix, _), name)| self.graph.name(*ix) == name);
        let to = Standpoint { commit: intended.to, tree: intended.tree };
        if !same_items || members.last().is_none_or(|(_, last)| *last != to) {
            return Err(not_of_it);
        }
        let proof: HashSet<_> = intended.proof.iter().collect();
        for (_, wanted) in made.gates.iter().filter(|(first, _)| *first < upto) {
            let keyed = self.keyed(wanted, intended.tree, apex.base.commit);
            let passed = keyed.is_some_and(|gate| {
                matches!(self.standing(&gate.key), Some(Standing::Passed { .. })) && proof.contains(&gate.key)
            });
            if !passed && !self.is_overridden_there(apex, wanted, intended.tree) {
                return Err(ImpossibleTransition::Unproven { gate: wanted.gate.name.clone(), tree: intended.tree });
            }
        }
        Ok(())
    }

    pub(super) fn expect_phase(
        &self,
        ix: ItemIx,
        to: &'static str,
        allowed: impl Fn(&Phase) -> bool,
    ) -> Result<(), ImpossibleTransition> {
        let phase = &self.items[ix.get()].phase;
        if allowed(phase) {
            return Ok(());
        }
        Err(ImpossibleTransition::Item { item: self.graph.name(ix).clone(), from: phase.word(), to })
    }
}
