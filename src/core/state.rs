//! All that is known of a run, and the one function that changes it: [`RunState::apply`], live
//! and in replay alike. What should happen next is asked of [`super::strategy`].

mod apply;
mod ending;
mod groups;
mod moved;
mod overridden;
mod train;
mod undo;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use self::groups::{Group, MadeGroup};
use super::claims::Claims;
use super::critical_path::{self, GateDurations};
use super::judge::{self, KeyedGate, Keys, KnownRuns, Standing, Surroundings, Wanted};
use super::limits::Outcomes;
use crate::plan::Gate;
use crate::plan::graph::{Graph, ItemIx};
use crate::vocabulary::event::{
    Decision, HaltReason, JobStarted, LandingIntended, LimitOn, Overridden, OverrideGrant, Reason, SetAsideCause,
    UndoDirection,
};
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, GateName, GroupId, ItemName, JobId, RuntimeName, SubjectDigest, TreeId,
    VerdictKey,
};
use crate::vocabulary::trail::Trail;
use crate::vocabulary::verdict;
pub use train::{Position, Train};

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
    #[error("group {0:?} is of no items, or was never formed")]
    Group(GroupId),
    #[error("an apex is under way already")]
    ApexTwice,
    #[error("nothing was about to land")]
    NoLanding,
    #[error("{to} is not what the apex under way makes of the items that are to land")]
    NotOfTheApex { to: CommitId },
    #[error("gate {gate} has not passed on {tree}, which was about to land")]
    Unproven { gate: GateName, tree: TreeId },
    #[error("{0} cannot be overridden: the run was not allowed to, or its gates are not known to fail")]
    NotOverridden(ItemName),
    #[error("the target stands at {at}, not at {expected}")]
    Target { at: CommitId, expected: CommitId },
    #[error("the run has not started, or its items are not those of the plan")]
    Start,
    #[error("the run has ended")]
    AfterEnd,
    #[error("the run was undone, or was about to be")]
    Undone,
    #[error("no undo was intended that led there")]
    NoUndo,
    #[error("a pool of {from} workers cannot become one of {to}")]
    Pool { from: u32, to: u32 },
    #[error("the limit on {0} held nothing back")]
    NotHeld(LimitOn),
}

/// Where an item stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Before the run began, or by others since.
    AlreadyLanded,
    /// For dependencies to pass.
    Waiting,
    Eligible,
    /// Its dependencies fail together, or one that passed meets a base that has moved since; it is
    /// judged, or blocked, once they have landed or not.
    Deferred(Box<Reason>),
    Passed,
    Landed,
    /// Failed, conflicted, blocked or unjudged.
    Out(Decision, Box<Reason>),
}

impl Phase {
    /// Nothing was found out that keeps it from landing.
    pub fn may_land(&self) -> bool {
        matches!(self, Self::Waiting | Self::Eligible | Self::Passed)
    }

    /// It is on the target, by this run or by others.
    pub fn has_landed(&self) -> bool {
        matches!(self, Self::Landed | Self::AlreadyLanded)
    }

    /// It may come to the target by this run or by others; what has failed or is blocked stays so.
    pub fn is_yet_to_land(&self) -> bool {
        self.may_land() || matches!(self, Self::Deferred(_))
    }

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
#[derive(Clone, Debug, PartialEq)]
pub struct Cone {
    pub base: CommitId,
    pub commit: CommitId,
    pub tree: TreeId,
    /// Why the item, or one of its dependencies, is not in it.
    pub set_aside: Vec<(ItemIx, SetAsideCause)>,
    pub gates: Arc<[Wanted]>,
    pub keys: Keys,
}

/// A commit and its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    pub commit: CommitId,
    pub tree: TreeId,
}

/// The composite that is to land next.
#[derive(Clone, Debug, PartialEq)]
pub struct Apex {
    pub id: ApexId,
    /// What it stands on; the target's tip when it was formed.
    pub base: Standpoint,
    /// In canonical order.
    pub candidates: Vec<ItemIx>,
    pub made: Option<MadeApex>,
    /// How many of `made.members` have landed: a prefix lands before its suspect is ejected.
    pub landed: usize,
    /// How items had fared when it was formed.
    pub seen: Outcomes,
    /// Its one item lands although these gates did not pass.
    pub overridden: Option<Box<Overridden>>,
}

/// An apex once its composite is made.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeApex {
    /// The candidates that could be merged, in canonical order, with the prefix each completes.
    pub members: Vec<(ItemIx, Standpoint)>,
    /// Candidates that conflict with what stood before them.
    pub conflicts: Vec<(ItemIx, SetAsideCause)>,
    /// Candidates that conflict with the tip itself: nothing of the apex was before them.
    pub conflicts_at_tip: usize,
    /// Each with the position of the first member that needs it.
    pub gates: Arc<[(usize, Wanted)]>,
    /// Of the prefix that each member completes.
    pub keys: Vec<Keys>,
}

impl MadeApex {
    /// The gates of the first `members`.
    pub fn gates_of(&self, members: usize) -> impl Iterator<Item = &Wanted> + Clone {
        judge::needed_by_first(&self.gates, members)
    }

    /// The candidates that conflict with the tip itself.
    pub fn at_tip(&self) -> impl Iterator<Item = &(ItemIx, SetAsideCause)> {
        self.conflicts.iter().take(self.conflicts_at_tip)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct ItemState {
    phase: Phase,
    /// Direct dependencies that have not passed yet.
    waiting_for: u32,
    /// The run's base contains its landing: later cones do not merge it again.
    in_base: bool,
    cone: Option<Cone>,
    /// Of those alone that are about to be blamed.
    without: Option<Box<Cone>>,
    /// It left its group, to be judged on its own cone.
    singled_out: bool,
}

/// A run as its events tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    graph: Arc<Graph>,
    surroundings: Surroundings,
    started: bool,
    finished: bool,
    halted: Option<HaltReason>,
    interrupted: bool,
    base: Standpoint,
    tip: Standpoint,
    /// How the target came from the run's first base to `tip`, item by item.
    trail: Trail,
    /// And to `base`.
    trail_to_base: Trail,
    items: Vec<ItemState>,
    /// What lands last, whatever becomes of its gates.
    grant: Option<Box<OverrideGrant>>,
    put_last: BTreeSet<ItemIx>,
    known: HashMap<VerdictKey, KnownRuns>,
    subjects: HashMap<(TreeId, DefinitionDigest), SubjectDigest>,
    jobs: BTreeMap<JobId, JobStarted>,
    last_job: u64,
    groups: BTreeMap<GroupId, Group>,
    last_group: u32,
    claims: Claims,
    apex: Option<Apex>,
    last_apex: u32,
    train: Train,
    landing: Option<LandingIntended>,
    /// An undo that was begun: its direction, and from where to where it leads.
    undoing: Option<(UndoDirection, CommitId, CommitId)>,
    /// From where to where the target was put back.
    taken_back: Option<(CommitId, CommitId)>,
    /// And the remote's with it.
    taken_back_there: bool,
    rebases: u32,
    /// What the pool of workers was resized to in this process.
    pool: Option<u32>,
    outcomes: Outcomes,
    /// The length of the longest way from each item to the end of its dependents.
    lengths: Arc<[u64]>,
    /// Eligible items without a cone on the current base and in no group, in start order.
    fresh: BTreeSet<(StartRank, ItemIx)>,
    /// Eligible items with one.
    open: BTreeSet<(StartRank, ItemIx)>,
    /// Waiting or eligible, and not behind a deferred item.
    undecided: BTreeSet<ItemIx>,
    passed: BTreeSet<ItemIx>,
    /// No item before this position is undecided.
    frontier: usize,
    /// How many of `passed` stand before `frontier`.
    settled: usize,
    /// Deferred items whose dependencies have all landed although they fail together.
    overdue: BTreeSet<ItemIx>,
    /// Items whose dependency did not land, with that dependency's root cause.
    to_block: VecDeque<(ItemIx, ItemIx)>,
    /// The first gate of each definition, in canonical order, and how many items have one.
    users: HashMap<DefinitionDigest, (Arc<Gate>, u32)>,
    red: HashSet<(DefinitionDigest, TreeId)>,
}

/// Highest urgency first, then the longest way to the end, then canonical order.
pub type StartRank = (std::cmp::Reverse<i64>, std::cmp::Reverse<u64>);

impl RunState {
    /// The state before anything happened; the first event must be `runStarted`.
    /// `durations` decide what starts first where several items may, and nothing else.
    pub fn new(graph: Arc<Graph>, surroundings: Surroundings, durations: &GateDurations) -> Self {
        let items = graph
            .indices()
            .map(|ix| ItemState {
                phase: Phase::Waiting,
                waiting_for: u32::try_from(graph.deps(ix).len()).unwrap_or(u32::MAX),
                in_base: false,
                cone: None,
                without: None,
                singled_out: false,
            })
            .collect();
        let mut users: HashMap<DefinitionDigest, (Arc<Gate>, u32)> = HashMap::new();
        for ix in graph.indices() {
            let mut seen = HashSet::new();
            for gate in graph.gates(ix).iter().filter(|gate| seen.insert(gate.definition)) {
                users.entry(gate.definition).or_insert_with(|| (Arc::clone(gate), 0)).1 += 1;
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
            halted: None,
            interrupted: false,
            base: nowhere,
            tip: nowhere,
            trail: Trail::default(),
            trail_to_base: Trail::default(),
            items,
            grant: None,
            put_last: BTreeSet::new(),
            known: HashMap::new(),
            subjects: HashMap::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            groups: BTreeMap::new(),
            last_group: 0,
            claims: Claims::of(&graph),
            apex: None,
            last_apex: 0,
            train: Train::new(u32::MAX),
            landing: None,
            undoing: None,
            taken_back: None,
            taken_back_there: false,
            rebases: 0,
            pool: None,
            outcomes: Outcomes::default(),
            lengths: critical_path::lengths(&graph, durations).into(),
            fresh: BTreeSet::new(),
            open: BTreeSet::new(),
            undecided: BTreeSet::new(),
            passed: BTreeSet::new(),
            frontier: 0,
            settled: 0,
            overdue: BTreeSet::new(),
            to_block: VecDeque::new(),
            users,
            red: HashSet::new(),
            graph,
        }
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
        self.items[ix.get()].without.as_deref()
    }

    /// What an item's cone holds besides base and the item: its dependencies that base lacks,
    /// ascending. An item in base brings nothing of its own: whatever it depends on, it is there.
    pub fn cone_dependencies(&self, ix: ItemIx) -> Vec<ItemIx> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<ItemIx> = self.graph.deps(ix).to_vec();
        while let Some(dep) = open.pop() {
            if !self.items[dep.get()].in_base && seen.insert(dep) {
                open.extend(self.graph.deps(dep));
            }
        }
        seen.into_iter().collect()
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

    /// Whether an item may still come to pass or not.
    pub fn is_any_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// Nothing that passed, or was put off, is still to land.
    pub fn is_all_landed_that_passed(&self) -> bool {
        let is_deferred = |item: &ItemState| matches!(item.phase, Phase::Deferred(_));
        self.passed.is_empty() && !self.items.iter().any(is_deferred)
    }

    /// Those, in canonical order.
    pub fn undecided(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.undecided.iter().copied()
    }

    /// How items have fared in this run so far.
    pub fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    /// How many passed, unlanded items have nothing undecided before them.
    pub fn settled_count(&self) -> usize {
        self.settled
    }

    /// Passed and not landed, in canonical order.
    pub fn passed(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.passed.iter().copied()
    }

    /// Deferred items whose dependencies have all landed although they failed together.
    pub fn overdue(&self) -> impl Iterator<Item = ItemIx> + '_ {
        self.overdue.iter().copied()
    }

    /// The next item that a dependency's end takes out, with the root cause.
    pub fn next_blocked(&self) -> Option<(ItemIx, ItemIx)> {
        self.to_block.front().copied()
    }

    pub fn apex(&self) -> Option<&Apex> {
        self.apex.as_ref()
    }

    pub fn next_apex(&self) -> ApexId {
        ApexId(self.last_apex.saturating_add(1))
    }

    pub fn next_job(&self) -> JobId {
        JobId(self.last_job.saturating_add(1))
    }

    pub fn jobs(&self) -> &BTreeMap<JobId, JobStarted> {
        &self.jobs
    }

    /// What gates claim of named limits, and what is held of it.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    pub fn landing(&self) -> Option<&LandingIntended> {
        self.landing.as_ref()
    }

    /// How often others have moved the target while the run was about to, since it last did.
    pub fn rebases(&self) -> u32 {
        self.rebases
    }

    /// How many workers the pool was resized to; `None` while it is as it was at first.
    pub fn pool(&self) -> Option<u32> {
        self.pool
    }

    /// Why the run cannot go on; the first reason, where there are several.
    pub fn halted(&self) -> Option<HaltReason> {
        self.halted
    }

    /// Nothing more may happen to it unless it is resumed.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// The first gate of this definition, in canonical order.
    pub fn gate(&self, definition: DefinitionDigest) -> Option<&Arc<Gate>> {
        self.users.get(&definition).map(|(gate, _)| gate)
    }

    /// The runtime that has a job, where that takes no slot of this machine.
    pub fn elsewhere(&self, job: &JobStarted) -> Option<&RuntimeName> {
        let gate = self.gate(job.gates.first()?.definition)?;
        gate.runtime.elsewhere().map(|(runtime, _)| runtime)
    }

    /// Jobs in work in slots of this machine.
    pub fn jobs_here(&self) -> usize {
        self.jobs().values().filter(|job| self.elsewhere(job).is_none()).count()
    }

    /// How many items have a gate of this definition.
    pub fn users(&self, definition: DefinitionDigest) -> u32 {
        self.users.get(&definition).map_or(0, |(_, users)| *users)
    }

    pub fn is_known_red(&self, definition: DefinitionDigest, tree: TreeId) -> bool {
        self.red.contains(&(definition, tree))
    }

    pub fn standing(&self, key: &VerdictKey) -> Option<Standing<'_>> {
        self.known.get(key)?.standing()
    }

    /// How many attempts of a key this run has seen the end of.
    pub fn attempts(&self, key: &VerdictKey) -> u32 {
        self.known.get(key).map_or(0, KnownRuns::attempts)
    }

    /// What this run alone has seen of a key.
    pub fn own_standing(&self, key: &VerdictKey) -> Option<Standing<'_>> {
        self.known.get(key)?.own_standing()
    }

    /// What a gate looks at in a tree; `None` while what its `inputs` match there is not known.
    pub fn subject(&self, gate: &Gate, tree: TreeId) -> Option<SubjectDigest> {
        match gate.inputs {
            None => Some(judge::whole_tree(tree)),
            Some(_) => self.subjects.get(&(tree, gate.definition)).copied(),
        }
    }

    /// The gates of the composite of this tree, which stands on `base`, with what is known of their `keys`; `None` while
    /// what the `inputs` of one match in the tree is not known.
    pub fn keys<'k, 'w>(
        &self,
        keys: &'k Keys,
        mut wanted: impl Iterator<Item = &'w Wanted>,
        tree: TreeId,
        base: CommitId,
    ) -> Option<&'k [KeyedGate]> {
        keys.get_or(|| wanted.by_ref().map(|wanted| self.keyed(wanted, tree, base)).collect())
    }

    /// The key of a gate on a tree whose composite stands on `base`; `None` while what its
    /// `inputs` match in the tree is not known.
    pub fn keyed(&self, wanted: &Wanted, tree: TreeId, base: CommitId) -> Option<KeyedGate> {
        let subject = self.subject(&wanted.gate, tree)?;
        let context = wanted.context.map(|ix| (self.graph.name(ix).as_str(), base));
        Some(KeyedGate {
            gate: Arc::clone(&wanted.gate),
            context: wanted.context,
            required: wanted.required,
            key: verdict::key(subject, wanted.gate.definition, context, &self.surroundings),
        })
    }
}
