//! All that is known of a run, and the one function that changes it: [`RunState::apply`], live
//! and in replay alike. What should happen next is asked of [`super::strategy`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::judge::{self, KeyedGate, KnownRuns, Standing, Surroundings, Wanted};
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{
    Composed, CompositePurpose, Decision, Event, FinalItem, FinalStatus, GateFinished, ItemDecided, JobPurpose,
    JobStarted, Landed, LandingIntended, LinedUpItem, Reason, RunStarted, SetAsideCause,
};
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, ItemName, JobId, SubjectDigest, TreeId, VerdictKey,
};

/// An event that cannot follow what came before it: lexpr has a bug, or the journal is not of
/// this plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpossibleTransition {
    #[error("the run has no item named {0}")]
    UnknownItem(ItemName),
    #[error("the run has no job {0:?} in work")]
    UnknownJob(JobId),
    #[error("job {0:?} is in work already")]
    JobTwice(JobId),
    #[error("{item} cannot become {to}: it is {from}")]
    Item { item: ItemName, from: &'static str, to: &'static str },
    #[error("apex {0:?} is not the one under way")]
    Apex(ApexId),
    #[error("an apex is under way already")]
    ApexTwice,
    #[error("nothing was about to land")]
    NoLanding,
    #[error("the target stands at {at}, not at {expected}")]
    Target { at: CommitId, expected: CommitId },
    #[error("the run has not started, or its items are not those of the plan")]
    Start,
    #[error("the run has ended")]
    AfterEnd,
}

/// Where an item stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    AlreadyLanded,
    /// For dependencies to pass.
    Waiting,
    Eligible,
    /// Its dependencies fail together; it is judged, or blocked, once they have landed or not.
    Deferred(Box<Reason>),
    Passed,
    Landed,
    /// Failed, conflicted, blocked or unjudged.
    Out(Decision, Box<Reason>),
}

impl Phase {
    fn word(&self) -> &'static str {
        match self {
            Self::AlreadyLanded => "already landed",
            Self::Waiting => "waiting",
            Self::Eligible => "eligible",
            Self::Deferred(_) => "deferred",
            Self::Passed => "passed",
            Self::Landed => "landed",
            Self::Out(decision, _) => word(*decision),
        }
    }
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Passed => "passed",
        Decision::Failed => "failed",
        Decision::Conflicted => "conflicted",
        Decision::Blocked => "blocked",
        Decision::Unjudged => "unjudged",
    }
}

/// A composite of an item, as far as judging it needs.
#[derive(Clone, Debug)]
pub struct Cone {
    pub base: CommitId,
    pub commit: CommitId,
    pub tree: TreeId,
    /// Why the item, or one of its dependencies, is not in it.
    pub set_aside: Vec<(ItemIx, SetAsideCause)>,
    pub gates: Arc<[Wanted]>,
}

/// A commit and its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    pub commit: CommitId,
    pub tree: TreeId,
}

/// The composite that is to land next.
#[derive(Clone, Debug)]
pub struct Apex {
    pub id: ApexId,
    /// What it stands on; the target's tip when it was formed.
    pub base: Standpoint,
    /// In canonical order.
    pub candidates: Vec<ItemIx>,
    pub made: Option<MadeApex>,
    /// How many of `made.members` have landed: a prefix lands before its suspect is ejected.
    pub landed: usize,
}

/// An apex once its composite is made.
#[derive(Clone, Debug)]
pub struct MadeApex {
    /// The candidates that could be merged, in canonical order, with the prefix each completes.
    pub members: Vec<(ItemIx, Standpoint)>,
    /// Candidates that conflict with what stood before them.
    pub conflicts: Vec<(ItemIx, SetAsideCause)>,
    /// Candidates that conflict with the tip itself: nothing of the apex was before them.
    pub conflicts_at_tip: usize,
    /// Each with the position of the first member that needs it.
    pub gates: Arc<[(usize, Wanted)]>,
}

#[derive(Clone, Debug)]
struct ItemState {
    phase: Phase,
    /// Direct dependencies that have not passed yet.
    waiting_for: u32,
    /// The run's base contains its landing: later cones do not merge it again.
    in_base: bool,
    cone: Option<Cone>,
    without: Option<Cone>,
}

/// A run as its events tell it.
#[derive(Clone, Debug)]
pub struct RunState {
    graph: Arc<Graph>,
    surroundings: Surroundings,
    started: bool,
    finished: bool,
    halted: bool,
    interrupted: bool,
    base: Standpoint,
    tip: Standpoint,
    items: Vec<ItemState>,
    known: HashMap<VerdictKey, KnownRuns>,
    subjects: HashMap<(TreeId, DefinitionDigest), SubjectDigest>,
    jobs: BTreeMap<JobId, JobStarted>,
    last_job: u64,
    apex: Option<Apex>,
    last_apex: u32,
    landing: Option<LandingIntended>,
    rebases: u32,
    /// Eligible items without a cone on the current base, in start order.
    fresh: BTreeSet<(StartRank, ItemIx)>,
    /// Eligible items with one.
    open: BTreeSet<(StartRank, ItemIx)>,
    /// Waiting or eligible, and not behind a deferred item.
    undecided: BTreeSet<ItemIx>,
    passed: BTreeSet<ItemIx>,
    deferred: BTreeSet<ItemIx>,
    /// Items whose dependency did not land, with that dependency's root cause.
    to_block: VecDeque<(ItemIx, ItemIx)>,
    /// How many items have a gate of this definition.
    users: HashMap<DefinitionDigest, u32>,
    red: HashSet<(DefinitionDigest, TreeId)>,
}

/// Highest urgency first, then the longest chain of dependents, then canonical order.
type StartRank = (std::cmp::Reverse<i64>, std::cmp::Reverse<u32>);

impl RunState {
    /// The state before anything happened; the first event must be `runStarted`.
    pub fn new(graph: Arc<Graph>, surroundings: Surroundings) -> Self {
        let items = graph
            .indices()
            .map(|ix| ItemState {
                phase: Phase::Waiting,
                waiting_for: u32::try_from(graph.deps(ix).len()).unwrap_or(u32::MAX),
                in_base: false,
                cone: None,
                without: None,
            })
            .collect();
        let mut users: HashMap<DefinitionDigest, u32> = HashMap::new();
        for ix in graph.indices() {
            let definitions: HashSet<_> = graph.gates(ix).iter().map(|gate| gate.definition).collect();
            for definition in definitions {
                *users.entry(definition).or_default() += 1;
            }
        }
        let nowhere = Standpoint {
            commit: CommitId::from_bytes(&[0; 20]).expect("20 bytes are an id"),
            tree: TreeId::from_bytes(&[0; 20]).expect("20 bytes are an id"),
        };
        Self {
            surroundings,
            started: false,
            finished: false,
            halted: false,
            interrupted: false,
            base: nowhere,
            tip: nowhere,
            items,
            known: HashMap::new(),
            subjects: HashMap::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            apex: None,
            last_apex: 0,
            landing: None,
            rebases: 0,
            fresh: BTreeSet::new(),
            open: BTreeSet::new(),
            undecided: BTreeSet::new(),
            passed: BTreeSet::new(),
            deferred: BTreeSet::new(),
            to_block: VecDeque::new(),
            users,
            red: HashSet::new(),
            graph,
        }
    }

    /// The one transition function.
    ///
    /// # Errors
    /// Where the event cannot follow what came before; the state is then no longer to be used.
    pub fn apply(&mut self, event: &Event) -> Result<(), ImpossibleTransition> {
        if self.finished {
            return Err(ImpossibleTransition::AfterEnd);
        }
        if self.started == matches!(event, Event::RunStarted(_)) {
            return Err(ImpossibleTransition::Start);
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
            Event::GateStarted { job, key, attempt, .. } => {
                if *attempt == 1 {
                    self.known.entry(*key).or_default().begin();
                }
                self.expect_job(*job)
            }
            Event::GateFinished(finished) => self.gate_finished(finished),
            Event::VerdictReused { key, .. } => {
                self.known.entry(*key).or_default().reuse();
                Ok(())
            }
            Event::JobFinished { job } => self.jobs.remove(job).map(drop).ok_or(ImpossibleTransition::UnknownJob(*job)),
            Event::ApexFormed { apex, base, items } => self.apex_formed(*apex, *base, items),
            Event::ItemDecided(decided) => self.decided(decided),
            Event::ItemDeferred { item, reason } => self.deferred(item, reason),
            Event::GateRedOnTarget { definition, tree, .. } => {
                self.red.insert((*definition, *tree));
                Ok(())
            }
            Event::LandingIntended(intended) => {
                self.expect_tip(intended.from)?;
                self.expect_apex(intended.apex)?;
                self.landing = Some((**intended).clone());
                Ok(())
            }
            Event::Landed(landed) => self.landed(landed),
            Event::TargetMoved { from, to, to_tree } => {
                self.expect_tip(*from)?;
                self.target_moved(Standpoint { commit: *to, tree: *to_tree });
                Ok(())
            }
            Event::Throttled { .. } | Event::Unthrottled { .. } => Ok(()),
            Event::Interrupted { .. } => {
                self.interrupted = true;
                Ok(())
            }
            Event::RunHalted { .. } => {
                self.halted = true;
                Ok(())
            }
            Event::RunFinished { .. } => {
                self.finished = true;
                Ok(())
            }
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
        self.undecided = self.graph.indices().collect();
        for (item, ix) in started.items.iter().zip(self.graph.indices()) {
            if is_already_landed(item) {
                self.items[ix.get()].phase = Phase::AlreadyLanded;
                self.items[ix.get()].in_base = true;
                self.undecided.remove(&ix);
                self.satisfy_dependents(ix);
            }
        }
        for ix in self.graph.indices() {
            if self.graph.deps(ix).is_empty() {
                self.make_eligible(ix);
            }
        }
        Ok(())
    }

    /// Tells the direct dependents of `ix` that it has passed or had landed before the run.
    fn satisfy_dependents(&mut self, ix: ItemIx) {
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
        if state.phase == Phase::Waiting {
            state.phase = Phase::Eligible;
            self.fresh.insert((self.start_rank(ix), ix));
        }
    }

    fn start_rank(&self, ix: ItemIx) -> StartRank {
        (std::cmp::Reverse(self.graph.urgency(ix)), std::cmp::Reverse(self.graph.height(ix)))
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
                self.items[ix.get()].without = Some(cone(Arc::from([])));
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
                    apex.made = Some(MadeApex { members, conflicts, conflicts_at_tip, gates });
                }
            }
        }
        Ok(())
    }

    fn gate_finished(&mut self, finished: &GateFinished) -> Result<(), ImpossibleTransition> {
        self.expect_job(finished.job)?;
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
            self.expect_phase(ix, "a candidate", |phase| *phase == Phase::Passed)?;
        }
        self.last_apex = apex.0;
        self.apex = Some(Apex { id: apex, base: self.tip, candidates, made: None, landed: 0 });
        Ok(())
    }

    fn decided(&mut self, decided: &ItemDecided) -> Result<(), ImpossibleTransition> {
        let ix = self.ix(&decided.item)?;
        if decided.decision == Decision::Passed {
            self.expect_phase(ix, "passed", |phase| *phase == Phase::Eligible)?;
            self.leave_phase(ix);
            self.items[ix.get()].phase = Phase::Passed;
            self.passed.insert(ix);
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
        let first_fall = !matches!(self.items[ix.get()].phase, Phase::Out(..));
        self.leave_phase(ix);
        self.items[ix.get()].phase = Phase::Out(decided.decision, Box::new(reason.clone()));
        if self.apex.as_ref().is_some_and(|apex| apex.candidates.contains(&ix)) {
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

    fn deferred(&mut self, item: &ItemName, reason: &Reason) -> Result<(), ImpossibleTransition> {
        let ix = self.ix(item)?;
        self.expect_phase(ix, "deferred", |phase| *phase == Phase::Eligible)?;
        self.leave_phase(ix);
        self.items[ix.get()].phase = Phase::Deferred(Box::new(reason.clone()));
        self.deferred.insert(ix);
        // It will not pass, whatever its dependencies do, so nobody waits for what is behind it.
        let mut behind = self.graph.dependents(ix).to_vec();
        while let Some(dependent) = behind.pop() {
            if self.undecided.remove(&dependent) {
                behind.extend(self.graph.dependents(dependent));
            }
        }
        Ok(())
    }

    fn leave_phase(&mut self, ix: ItemIx) {
        let ranked = (self.start_rank(ix), ix);
        self.fresh.remove(&ranked);
        self.open.remove(&ranked);
        self.undecided.remove(&ix);
        self.passed.remove(&ix);
        self.deferred.remove(&ix);
        self.items[ix.get()].cone = None;
        self.items[ix.get()].without = None;
    }

    /// Drops blocks at the front that have nothing left to block, so that the queue's front is
    /// always work.
    fn forget_settled_blocks(&mut self) {
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
            self.expect_phase(ix, "landed", |phase| *phase == Phase::Passed)?;
            self.leave_phase(ix);
            self.items[ix.get()].phase = Phase::Landed;
        }
        self.tip = Standpoint { commit: landed.to, tree: landed.tree };
        if let Some(apex) = &mut self.apex {
            apex.landed += members.len();
            if apex.made.as_ref().is_none_or(|made| apex.landed >= made.members.len()) {
                self.apex = None;
            }
        }
        Ok(())
    }

    fn target_moved(&mut self, to: Standpoint) {
        self.landing = None;
        self.apex = None;
        self.rebases += 1;
        self.base = to;
        self.tip = to;
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
            state.in_base |= state.phase == Phase::Landed;
            state.without = None;
        }
        // What has begun on the old base ends there; the others take the new one.
        for (rank, ix) in std::mem::take(&mut self.open) {
            if started.contains(self.graph.name(ix)) {
                self.open.insert((rank, ix));
            } else {
                self.items[ix.get()].cone = None;
                self.fresh.insert((rank, ix));
            }
        }
    }

    fn ix(&self, name: &ItemName) -> Result<ItemIx, ImpossibleTransition> {
        self.graph.find(name).ok_or_else(|| ImpossibleTransition::UnknownItem(name.clone()))
    }

    fn expect_job(&self, job: JobId) -> Result<(), ImpossibleTransition> {
        self.jobs.contains_key(&job).then_some(()).ok_or(ImpossibleTransition::UnknownJob(job))
    }

    fn expect_tip(&self, expected: CommitId) -> Result<(), ImpossibleTransition> {
        let at = self.tip.commit;
        (at == expected).then_some(()).ok_or(ImpossibleTransition::Target { at, expected })
    }

    fn expect_apex(&self, apex: ApexId) -> Result<(), ImpossibleTransition> {
        let current = self.apex.as_ref().is_some_and(|current| current.id == apex);
        current.then_some(()).ok_or(ImpossibleTransition::Apex(apex))
    }

    fn expect_phase(
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

/// Questions.
impl RunState {
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    pub fn base(&self) -> Standpoint {
        self.base
    }

    pub fn tip(&self) -> Standpoint {
        self.tip
    }

    pub fn phase(&self, ix: ItemIx) -> &Phase {
        &self.items[ix.get()].phase
    }

    pub fn cone(&self, ix: ItemIx) -> Option<&Cone> {
        self.items[ix.get()].cone.as_ref()
    }

    /// The item's cone without the item.
    pub fn without(&self, ix: ItemIx) -> Option<&Cone> {
        self.items[ix.get()].without.as_ref()
    }

    /// What an item's cone holds besides base and the item: its dependencies that base lacks.
    pub fn cone_dependencies(&self, ix: ItemIx) -> Vec<ItemIx> {
        let mut closure = self.graph.closure(ix);
        closure.retain(|dep| !self.items[dep.get()].in_base);
        closure
    }

    /// In start order: eligible items that have no cone yet.
    pub fn fresh(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.fresh.iter().map(|(_, ix)| *ix)
    }

    /// In start order: eligible items whose cones are made.
    pub fn open(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.open.iter().map(|(_, ix)| *ix)
    }

    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    pub fn fresh_count(&self) -> usize {
        self.fresh.len()
    }

    pub fn first_undecided(&self) -> Option<ItemIx> {
        self.undecided.first().copied()
    }

    /// Passed and not landed, in canonical order.
    pub fn passed(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.passed.iter().copied()
    }

    pub fn deferred_items(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.deferred.iter().copied()
    }

    /// The next item that a dependency's end takes out, with the root cause.
    pub fn next_blocked(&self) -> Option<(ItemIx, ItemIx)> {
        self.to_block.front().copied()
    }

    pub fn apex(&self) -> Option<&Apex> {
        self.apex.as_ref()
    }

    pub fn next_apex(&self) -> ApexId {
        ApexId(self.last_apex + 1)
    }

    pub fn next_job(&self) -> JobId {
        JobId(self.last_job + 1)
    }

    pub fn jobs(&self) -> &BTreeMap<JobId, JobStarted> {
        &self.jobs
    }

    pub fn landing(&self) -> Option<&LandingIntended> {
        self.landing.as_ref()
    }

    pub fn rebases(&self) -> u32 {
        self.rebases
    }

    pub fn is_halted(&self) -> bool {
        self.halted
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// How many items have a gate of this definition.
    pub fn users(&self, definition: DefinitionDigest) -> u32 {
        self.users.get(&definition).copied().unwrap_or(0)
    }

    pub fn is_known_red(&self, definition: DefinitionDigest, tree: TreeId) -> bool {
        self.red.contains(&(definition, tree))
    }

    pub fn standing(&self, key: &VerdictKey) -> Option<Standing<'_>> {
        self.known.get(key)?.standing()
    }

    /// The key of a gate on a tree whose composite stands on `base`; `None` while what its
    /// `inputs` match in the tree is not known.
    pub fn keyed(&self, wanted: &Wanted, tree: TreeId, base: CommitId) -> Option<KeyedGate> {
        let subject = match wanted.gate.inputs {
            None => judge::whole_tree(tree),
            Some(_) => *self.subjects.get(&(tree, wanted.gate.definition))?,
        };
        let context = wanted.context.map(|ix| (self.graph.name(ix).as_str(), base));
        Some(KeyedGate {
            gate: Arc::clone(&wanted.gate),
            context: wanted.context,
            required: wanted.required,
            key: judge::verdict_key(subject, &wanted.gate, context, &self.surroundings),
        })
    }

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
                let own = matches!(phase, Phase::Out(..) | Phase::Deferred(_)).then_some(ix);
                let landed = matches!(phase, Phase::Landed | Phase::AlreadyLanded);
                root.push(if landed { None } else { inherited.or(own) });
                let (status, reason) = match (phase, inherited) {
                    (Phase::AlreadyLanded, _) => (FinalStatus::AlreadyLanded, None),
                    (Phase::Landed, _) => (FinalStatus::Landed, None),
                    (_, Some(root)) => (FinalStatus::Blocked, Some(self.blocked_by(ix, root))),
                    (Phase::Out(decision, reason), None) => (final_status(*decision), Some((**reason).clone())),
                    (Phase::Deferred(reason), None) => (FinalStatus::Unjudged, Some((**reason).clone())),
                    (Phase::Passed, None) => (FinalStatus::NotLanded, None),
                    (Phase::Waiting | Phase::Eligible, None) => (FinalStatus::Skipped, None),
                };
                FinalItem { name: self.graph.name(ix).clone(), status, reason }
            })
            .collect()
    }
}

impl RunState {
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

fn is_already_landed(item: &LinedUpItem) -> bool {
    item.already_landed.is_some()
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
