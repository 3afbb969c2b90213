//! What the events so far say of a run: the one model behind the reports, the summary and the
//! terminal.
//!
//! It only gathers; what may happen in a run, and in which order, is the core's business. An
//! event that names something unknown changes nothing here.

mod endings;
mod evidence;
mod item;
mod job;
mod limits;
mod pause;
mod pool;
mod proof;
mod questions;
mod red;
mod runtimes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use endings::OpenLanding;
pub use item::{ItemView, LandedItem, Stage};
pub use job::{HeldUp, JobView, RunningGate, Unreported};
pub use limits::{LimitReport, LimitsView};
pub use pause::{Pause, run_time_ms};
pub use pool::Pool;
pub use proof::{Gates, ReusedView};
pub use red::RedGates;
pub use runtimes::Runtimes;

use super::resizing::Resizing;
use super::undo::Undos;
use crate::vocabulary::event::{
    Composed, CompositePurpose, Decision, Event, GateFinished, GateOutcome, HaltReason, ItemDecided, JobPurpose,
    Landed, Overridden, Recorded, RunStarted, SetAside, Step, Verdict,
};
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, GateName, GroupId, ItemName, JobId, SubjectDigest, TreeId, VerdictKey,
};

/// A run as far as its events tell.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    /// Without its items, which are in `items`; its `max_workers` are those there may be now.
    pub run: Option<RunStarted>,
    /// The most that its processes could have, each with limits of its own.
    pub most_workers: u32,
    pub started_at_ms: u64,
    /// When the newest event of the run's own work was recorded.
    pub latest_at_ms: u64,
    /// How often it was taken up again by a new process.
    pub resumptions: u32,
    /// It has ended without a word.
    pub is_dead: bool,
    /// Times between an end and the resumption that followed it, in order.
    pub pauses: Vec<Pause>,
    /// In canonical order.
    pub items: Vec<ItemView>,
    index: HashMap<ItemName, usize>,
    /// Boxed: half of a map's room stands empty where keys come in their order.
    pub jobs: BTreeMap<JobId, Box<JobView>>,
    /// Every ended attempt of every gate, in the order they ended.
    pub attempts: Vec<AttemptView>,
    by_key: HashMap<VerdictKey, Vec<usize>>,
    /// Passes that were known from an earlier run.
    pub reused: HashMap<VerdictKey, ReusedView>,
    /// The items of each, in canonical order; once it is made, those that could be merged.
    pub groups: BTreeMap<GroupId, Vec<ItemName>>,
    pub apexes: BTreeMap<ApexId, ApexView>,
    /// How many of them have a number.
    numbered: u32,
    pub target_moves: Vec<TargetMove>,
    /// Artifacts that gates did not leave though they ran to their end, by gate.
    pub missing_artifacts: BTreeMap<GateName, BTreeSet<String>>,
    /// Checks that gates were told to wait for in vain, by gate.
    told_missing: BTreeSet<(GateName, Vec<String>)>,
    told_held_up: BTreeSet<String>,
    pub red_on_target: RedGates,
    /// What gates with `inputs` see of trees.
    subjects: HashMap<(DefinitionDigest, TreeId), SubjectDigest>,
    pub pool: Pool,
    /// What takes no slot of this machine.
    pub elsewhere: Pool,
    runtimes: Runtimes,
    /// Of the pool, where it adapts.
    pub resizing: Resizing,
    pub throttling: Throttling,
    pub limits: LimitsView,
    /// Composites made, and the time that took in microseconds.
    pub composed: (u64, u64),
    /// Verdicts that items and landings stand on, by whether each took a run of its own.
    pub verdicts: VerdictCounts,
    pub interrupted: Option<String>,
    pub halted: Option<Halt>,
    pub ending: Option<Ending>,
    pub undos: Undos,
    landing: OpenLanding,
}

/// A move of the target that was begun.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LandingBegun {
    pub from: CommitId,
    pub to: CommitId,
    /// In canonical order.
    pub items: Vec<ItemName>,
}

/// One ended attempt of a gate. The tail of one that passed is dropped.
#[derive(Clone, Debug)]
pub struct AttemptView {
    pub purpose: JobPurpose,
    pub required: bool,
    pub run: Arc<GateFinished>,
    pub started_at_ms: u64,
    pub ended_at_ms: u64,
    /// It passed, and failed before on what the verdict belongs to.
    pub flake: bool,
    /// Those of its missing artifacts that its gate was not seen to lack before.
    pub newly_missing: Vec<String>,
}

/// A composite that was to land.
#[derive(Clone, Debug)]
pub struct ApexView {
    /// Counted from 1 among those that were gated or landed, in the order they were first; `None`
    /// for one that was given up before, of which people are told nothing.
    pub number: Option<u32>,
    pub base: CommitId,
    pub items: Vec<ItemName>,
    pub commit: Option<CommitId>,
    pub tree: Option<TreeId>,
    pub steps: Vec<Step>,
    pub set_aside: Vec<SetAside>,
    /// Jobs that gated it or a prefix of it, in the order they began.
    pub jobs: Vec<JobId>,
    pub proof: Vec<VerdictKey>,
    /// Its item lands although these gates did not pass.
    pub overridden: Option<Box<Overridden>>,
    pub landed: Option<(u64, Landed)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetMove {
    pub at_ms: u64,
    pub from: CommitId,
    pub to: CommitId,
}

/// Where a verdict came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VerdictSource {
    /// A run for this item.
    OwnRun,
    /// A run for another item or an apex, on an equal tree or equal inputs.
    SharedRun,
    /// It was known from an earlier run.
    EarlierRun,
}

/// How many verdicts took no run of their own, and how many did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    pub hits: u64,
    pub misses: u64,
}

impl VerdictCounts {
    fn add(&mut self, took_own_run: bool) {
        *(if took_own_run { &mut self.misses } else { &mut self.hits }) += 1;
    }
}

/// Work held back for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// How often.
    pub times: u64,
    /// For how long in all.
    pub waited_ms: u64,
    /// The threshold in force the last time, in bytes.
    pub threshold_bytes: Option<u64>,
    #[serde(skip)]
    pub now: bool,
}

/// Why a run could not go on.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    pub why: HaltReason,
    /// Of one or more lines.
    pub message: String,
    /// What to do before another run, as half a sentence.
    pub advice: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub exit_code: u8,
    pub peak_memory_bytes: u64,
}

impl RunView {
    /// The view of all of `events`.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut view = Self::default();
        for event in events {
            view.apply(event);
        }
        view
    }

    /// Takes the next event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        if self.undos.take_in(recorded) {
            return;
        }
        let at = recorded.at_ms;
        if let Event::RunResumed { .. } = &recorded.event {
            self.pauses.push(Pause { from_ms: self.latest_at_ms, to_ms: at.max(self.latest_at_ms) });
        }
        self.latest_at_ms = self.latest_at_ms.max(at);
        self.landing.take_in(&recorded.event);
        self.limits.take_in(recorded);
        match &recorded.event {
            Event::RunStarted(run) => self.start(at, run),
            Event::Composed(composed) => self.composed(composed),
            Event::JobStarted(job) => {
                // Workers behind the last that has a slot are those of gates elsewhere.
                let is_elsewhere = self.run.as_ref().is_some_and(|run| job.worker.0 >= run.max_workers);
                self.pool_of(is_elsewhere).count(at, 1);
                self.job_started(
                    at,
                    job.job,
                    JobView {
                        worker: job.worker,
                        is_elsewhere,
                        purpose: job.purpose.clone(),
                        tree: job.tree,
                        is_without_item: self.is_without_item(&job.purpose, job.tree),
                        gates: job.gates.clone(),
                        more: job.more,
                        started_at_ms: at,
                        ended_at_ms: None,
                        running: None,
                        is_cut_off: false,
                        unreported: None,
                        held_up: None,
                        attempts: Vec::new(),
                    },
                );
            }
            Event::GateStarted { job, gate, attempt, node, .. } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    let (gate, node) = (gate.clone(), node.clone());
                    (job.unreported, job.held_up) = (None, None);
                    job.running = Some(Box::new(RunningGate { gate, attempt: *attempt, since_ms: at, node }));
                }
            }
            Event::ChecksMissing { job, gate, checks, .. } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    let is_news = self.told_missing.insert((gate.clone(), checks.missing.clone()));
                    job.unreported =
                        Some(Box::new(Unreported { gate: gate.clone(), checks: (**checks).clone(), is_news }));
                }
            }
            Event::GateWaits { job, gate, why, .. } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.held_up = why.clone().map(|why| {
                        let is_news = self.told_held_up.insert(why.clone());
                        Box::new(HeldUp { gate: gate.clone(), why, is_news })
                    });
                }
            }
            Event::GateFinished(run) => self.gate_finished(at, run),
            Event::VerdictReused { gate, key, from, remembered } => {
                self.reused.insert(*key, ReusedView::of(gate, from, remembered.as_deref()));
            }
            Event::JobFinished { job } => {
                if let Some(is_elsewhere) = self.jobs.get(job).map(|job| job.is_elsewhere) {
                    self.pool_of(is_elsewhere).count(at, -1);
                }
                self.job_finished(at, *job);
            }
            Event::GroupFormed { group, items, .. } => drop(self.groups.insert(*group, items.clone())),
            Event::ApexFormed { apex, base, items } => {
                self.apexes.insert(
                    *apex,
                    ApexView {
                        number: None,
                        base: *base,
                        items: items.clone(),
                        commit: None,
                        tree: None,
                        steps: Vec::new(),
                        set_aside: Vec::new(),
                        jobs: Vec::new(),
                        proof: Vec::new(),
                        overridden: None,
                        landed: None,
                    },
                );
            }
            Event::ItemDecided(decided) => self.decided(at, decided),
            Event::ItemDeferred { item, reason } => {
                if let Some(item) = self.item_mut(item) {
                    item.deferred = Some(Box::new(reason.clone()));
                }
            }
            Event::GateRedOnTarget { gate, definition, tree } => {
                self.red_on_target.found(gate, *definition);
                let position = self.failure_on(*definition, *tree);
                self.red_on_target.shown_by(*definition, position);
            }
            Event::Overridden(overridden) => {
                if let Some(apex) = self.apexes.get_mut(&overridden.apex) {
                    apex.overridden = Some(overridden.clone());
                }
            }
            Event::LandingIntended(intent) => {
                if let Some(apex) = self.apexes.get_mut(&intent.apex) {
                    apex.proof.clone_from(&intent.proof);
                }
            }
            Event::Landed(landed) => self.landed(at, landed),
            Event::TargetMoved { from, to, landed, .. } => {
                self.target_moves.push(TargetMove { at_ms: at, from: *from, to: *to });
                for landed in landed {
                    if let Some(item) = self.item_mut(&landed.item) {
                        item.found_landed = true;
                        item.others_landed_as = landed.landed_as;
                    }
                }
            }
            Event::Throttled { threshold_bytes, .. } => {
                self.throttling.times += 1;
                self.throttling.threshold_bytes = Some(*threshold_bytes);
                self.throttling.now = true;
            }
            Event::Unthrottled { waited_ms, .. } => {
                self.throttling.waited_ms = self.throttling.waited_ms.saturating_add(*waited_ms);
                self.throttling.now = false;
            }
            Event::PoolResized { from, to, reason } => self.resizing.resized(at, *from, *to, *reason),
            Event::RunResumed { max_workers, workers_at_first, .. } => {
                self.resumed(at, *max_workers, *workers_at_first)
            }
            Event::Interrupted { signal } => {
                self.interrupted = Some(signal.clone());
                self.items.iter_mut().for_each(|item| item.interrupted = item.running > 0);
            }
            Event::RunHalted { why, message, advice } => {
                self.halted = Some(Halt { why: *why, message: message.clone(), advice: advice.clone() });
            }
            Event::RunFinished { exit_code, peak_memory_bytes, items } => {
                self.ending = Some(Ending { exit_code: *exit_code, peak_memory_bytes: *peak_memory_bytes });
                for end in items {
                    if let Some(item) = self.item_mut(&end.name) {
                        item.last_word = Some(Box::new(end.clone()));
                    }
                }
            }
            Event::InputsDigested { tree, definition, subject } => {
                self.subjects.insert((*definition, *tree), *subject);
            }
            Event::SingledOut { .. }
            | Event::LimitHeld { .. }
            | Event::LimitFreed { .. }
            | Event::UndoIntended { .. }
            | Event::Undone(_)
            | Event::UndoGivenUp { .. } => {}
        }
    }

    fn start(&mut self, at: u64, run: &RunStarted) {
        self.started_at_ms = at;
        self.pool.changed_at_ms = at;
        self.resizing = Resizing::of(run);
        self.index = run.items.iter().enumerate().map(|(ix, item)| (item.name.clone(), ix)).collect();
        self.items = run.items.iter().cloned().map(ItemView::new).collect();
        self.runtimes = Runtimes::of(run);
        self.most_workers = run.max_workers;
        let mut header = run.clone();
        header.items = Vec::new();
        self.run = Some(header);
    }

    fn composed(&mut self, composed: &Composed) {
        self.composed.0 += 1;
        self.composed.1 = self.composed.1.saturating_add(composed.duration_us);
        match &composed.purpose {
            CompositePurpose::Cone { item } => {
                if let Some(item) = self.item_mut(item)
                    && composed.set_aside.is_empty()
                {
                    item.cone = Some((composed.commit, composed.tree));
                }
            }
            CompositePurpose::Apex { apex } => {
                if let Some(apex) = self.apexes.get_mut(apex) {
                    apex.commit = Some(composed.commit);
                    apex.tree = Some(composed.tree);
                    apex.steps.clone_from(&composed.steps);
                    apex.set_aside.clone_from(&composed.set_aside);
                }
            }
            CompositePurpose::Group { group } => {
                if let Some(items) = self.groups.get_mut(group) {
                    let merged: BTreeSet<&ItemName> = composed.steps.iter().map(|step| &step.item).collect();
                    items.retain(|item| merged.contains(item));
                }
            }
            CompositePurpose::Without { .. } | CompositePurpose::Train { .. } => {}
        }
    }

    fn pool_of(&mut self, is_elsewhere: bool) -> &mut Pool {
        if is_elsewhere { &mut self.elsewhere } else { &mut self.pool }
    }

    fn job_started(&mut self, at: u64, id: JobId, job: JobView) {
        if let JobPurpose::Apex { apex, .. } = &job.purpose {
            self.number(*apex);
            if let Some(apex) = self.apexes.get_mut(apex) {
                apex.jobs.push(id);
            }
        }
        for name in self.gated_by(&job.purpose).to_vec() {
            if let Some(item) = self.item_mut(&name) {
                item.started_at_ms.get_or_insert(at);
                item.running += 1;
            }
        }
        self.jobs.insert(id, Box::new(job));
    }

    fn gate_finished(&mut self, at: u64, run: &GateFinished) {
        let position = self.attempts.len();
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        let is_it = |running: &RunningGate| (&running.gate, running.attempt) == (&run.gate, run.attempt);
        let began = job.running.take().filter(|running| is_it(running));
        (job.unreported, job.held_up) = (None, None);
        let started_at_ms = began.map_or(at.saturating_sub(run.duration_ms), |running| running.since_ms);
        job.attempts.push(position);
        let purpose = job.purpose.clone();
        let required = job.gates.iter().find(|gate| gate.key == run.key).is_none_or(|gate| gate.required);
        let failed_before = self.attempts_of(run.key).last().is_some_and(|attempt| attempt.run.outcome.is_failure());
        let flake = match run.verdict {
            Some(Verdict::Passed { flaky }) => flaky || failed_before,
            _ => false,
        };
        let mut run = run.clone();
        if run.outcome == GateOutcome::Passed {
            run.tail = String::new();
        }
        let newly_missing = self.missed(&run);
        self.by_key.entry(run.key).or_default().push(position);
        self.attempts.push(AttemptView {
            purpose,
            required,
            run: Arc::new(run),
            started_at_ms,
            ended_at_ms: at,
            flake,
            newly_missing,
        });
    }

    /// Of a gate that was ended nobody expects artifacts.
    fn missed(&mut self, run: &GateFinished) -> Vec<String> {
        let ran_to_its_end = matches!(run.outcome, GateOutcome::Passed | GateOutcome::Failed { .. });
        if !ran_to_its_end || run.missing_artifacts.is_empty() {
            return Vec::new();
        }
        let known = self.missing_artifacts.entry(run.gate.clone()).or_default();
        run.missing_artifacts.iter().filter(|missing| known.insert((*missing).clone())).cloned().collect()
    }

    fn job_finished(&mut self, at: u64, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.ended_at_ms = Some(at);
        if !job.is_cut_off {
            job.running = None;
        }
        let held_ms = at.saturating_sub(job.started_at_ms);
        let purpose = job.purpose.clone();
        let alone = !matches!(purpose, JobPurpose::Group { .. });
        for name in self.gated_by(&purpose).to_vec() {
            if let Some(item) = self.item_mut(&name) {
                item.busy_ms = item.busy_ms.saturating_add(if alone { held_ms } else { 0 });
                item.running = item.running.saturating_sub(1);
            }
        }
    }

    fn decided(&mut self, at: u64, decided: &ItemDecided) {
        let is_first = self.item(&decided.item).is_some_and(|item| item.passed.is_none() && item.decided.is_none());
        // A later decision says nothing new of the cone.
        for verdict in decided.gates.iter().filter(|_| is_first) {
            if let Some(source) = self.source(&decided.item, verdict) {
                self.verdicts.add(source == VerdictSource::OwnRun);
            }
        }
        if let Some(item) = self.item_mut(&decided.item) {
            item.decided_at_ms = Some(at);
            item.deferred = None;
            match decided.decision {
                Decision::Passed => item.passed = Some(Box::new(decided.clone())),
                _ => item.decided = Some(Box::new(decided.clone())),
            }
        }
    }

    fn landed(&mut self, at: u64, landed: &Landed) {
        let proof = self.apexes.get(&landed.apex).map(|apex| apex.proof.clone()).unwrap_or_default();
        if landed.from != landed.to {
            self.note_repairs(&proof);
            let overridden = self.apexes.get(&landed.apex).and_then(|apex| apex.overridden.as_ref());
            for gate in overridden.into_iter().flat_map(|overridden| overridden.red()) {
                self.red_on_target.found(&gate.gate, gate.definition);
            }
        }
        for key in proof {
            let is_own = |purpose: &JobPurpose| match purpose {
                JobPurpose::Apex { apex, .. } => *apex == landed.apex,
                JobPurpose::Train { item, .. } => landed.items.contains(item),
                _ => false,
            };
            let took_own_run = self.attempts_of(key).any(|attempt| is_own(&attempt.purpose));
            self.verdicts.add(took_own_run);
        }
        let steps = self.apexes.get(&landed.apex).map(|apex| apex.steps.clone()).unwrap_or_default();
        let commits: HashMap<ItemName, CommitId> = steps.into_iter().map(|step| (step.item, step.commit)).collect();
        for name in &landed.items {
            let commit = commits.get(name).copied();
            if let Some(item) = self.item_mut(name) {
                item.found_landed = landed.from == landed.to;
                if !item.found_landed {
                    item.landed = Some(LandedItem { apex: landed.apex, commit, at_ms: at });
                }
            }
        }
        self.number(landed.apex);
        if let Some(apex) = self.apexes.get_mut(&landed.apex) {
            apex.landed = Some((at, landed.clone()));
        }
    }

    fn number(&mut self, apex: ApexId) {
        if let Some(apex) = self.apexes.get_mut(&apex)
            && apex.number.is_none()
        {
            self.numbered += 1;
            apex.number = Some(self.numbered);
        }
    }

    fn item_mut(&mut self, name: &ItemName) -> Option<&mut ItemView> {
        self.index.get(name).map(|&ix| &mut self.items[ix])
    }
}
