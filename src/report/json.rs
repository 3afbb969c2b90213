//! The report of a run as data: what the JSON report holds, and what the Markdown report, the
//! summary and `lexpr status` are made of.
//!
//! Items are in canonical order and every list in it is in an order that does not depend on
//! timing, attempts and probes excepted, which are in the order they ended. What differs between
//! two runs of one plan are times, durations, paths, memory and who ran a shared gate.

mod apexes;
mod gates;
mod landings;
mod reasons;
mod runtimes;
mod timeline;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use apexes::apex_report;
pub(crate) use apexes::passed;
pub use landings::{Landing, ProvenBy};
pub use runtimes::{ImageReport, Queued, RuntimeReport};
pub use timeline::{GateSpan, Occupation};

use super::resizing::Resizing;
use super::summary;
use super::undo::Undo;
use super::view::{
    AttemptView, Halt, ItemView, LandingBegun, LimitReport, Pause, RunView, Stage, TargetMove, Throttling,
    VerdictSource, run_time_ms,
};
use crate::vocabulary::event::{
    FinalStatus, GateFinished, ItemGateStatus, JobPurpose, Overridden, OverrideGrant, RanBy, Reason, SetAside,
    UndoDirection,
};
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, GateName, ItemName, MergeStrategy, PlanDigest, RunId, TreeId, VerdictKey,
};

/// The version of the report's format; a new one when a reader of the old one would go wrong.
pub const REPORT_VERSION: u32 = 1;

/// Each fills a hole in the heap that the run has left: a list in one piece, of 10,000 items some 5 MB, would have to be beside
/// all of them.
pub type EachApart<T> = Vec<Box<T>>;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// [`REPORT_VERSION`] of the writer.
    pub report_version: u32,
    /// lexpr's own version.
    pub lexpr_version: String,
    pub run: RunId,
    /// Where the plan was read from, or `-`.
    pub plan: String,
    /// What the command line asked for beside the plan and `--execute`, as words; without what only shows a run, and without
    /// secrets. Absent where nothing was, and in runs of before this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The folder in which the command was given, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    pub plan_digest: PlanDigest,
    /// The git directory that all worktrees share.
    pub repository: String,
    /// The full name of the target's ref.
    pub target: String,
    /// Where the target was when the run began.
    pub base: CommitId,
    /// Where this run left it; equal to `base` where nothing landed.
    pub tip: CommitId,
    /// The remote that is pushed to.
    pub push: Option<String>,
    /// It ran beside the run that had the target, if one had.
    #[serde(default)]
    pub urgent: bool,
    /// Items that may land although their gates do not pass, as the command line had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<OverrideGrant>>,
    /// The run has ended. Otherwise an item has come to its `status` only where its `stage` is `done`; any other would if the
    /// run ended now.
    pub finished: bool,
    /// It was ended from outside, without a word of its own; it can be resumed.
    pub is_dead: bool,
    /// How often it was taken up again by a new process.
    pub resumptions: u32,
    /// As of the command; `null` while the run goes on, or where it was killed.
    pub exit_code: Option<u8>,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// When the newest event of the run's own work was recorded; of a run that goes on, when this was asked.
    pub ended_at_ms: u64,
    /// Times in which no process had it: what tells how long something took leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
    /// The signal that asked the run to stop.
    pub interrupted: Option<String>,
    pub halted: Option<Halt>,
    pub summary: Summary,
    /// The one thing to do next, in words.
    pub next: String,
    /// In canonical order.
    pub items: EachApart<ItemReport>,
    /// In the order they were formed.
    pub apexes: Vec<ApexReport>,
    pub landings: Vec<Landing>,
    /// One was begun, and what became of it is not recorded: the target may have been moved.
    #[serde(default)]
    pub landing_begun: Option<LandingBegun>,
    /// The landings are taken back: `lexpr undo` put the target back to where it was before them.
    #[serde(default)]
    pub undone: bool,
    /// Every such move, and every one forward again, in order.
    #[serde(default)]
    pub undos: Vec<Undo>,
    /// One was begun, and what became of it is not recorded.
    #[serde(default)]
    pub undo_begun: Option<UndoDirection>,
    /// The target moved by somebody else.
    pub target_moves: Vec<TargetMove>,
    /// Gates that were found to fail on the target itself.
    pub red_on_target: Vec<GateName>,
    /// Those of them that pass on what this run has landed since.
    #[serde(default)]
    pub repaired_on_target: Vec<GateName>,
    /// Gates that failed and passed on one tree, be it an item's or that of several.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flaky_gates: BTreeSet<GateName>,
    /// Artifacts that gates did not leave though they ran to their end, by gate.
    #[serde(default)]
    pub missing_artifacts: BTreeMap<GateName, BTreeSet<String>>,
    pub throttling: Throttling,
    /// What named limits held back, by limit and why.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
    /// What ran gates that this machine's shell did not, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<RuntimeReport>,
    /// What the workers did, in the order it began.
    #[serde(default)]
    pub timeline: EachApart<Occupation>,
}

impl ItemReport {
    /// Nothing more will happen to it. Until then its status is only what it would be if the run ended now.
    pub fn has_come_to_its_end(&self) -> bool {
        matches!(self.stage, None | Some(Stage::Done))
    }
}

/// The run in numbers. `successful`, `alreadyLanded`, `failed`, `conflicted`, `blocked`,
/// `skipped`, `unjudged`, `notLanded` and what is `open` sum to `total`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub total: usize,
    /// Landed in this run.
    pub successful: usize,
    /// Those of them that landed although not all of their gates passed.
    #[serde(default)]
    pub overridden: usize,
    pub already_landed: usize,
    pub failed: usize,
    pub conflicted: usize,
    pub blocked: usize,
    pub skipped: usize,
    pub unjudged: usize,
    pub not_landed: usize,
    /// Of a run that has not ended: the items that have not come to their end, by their `stage`.
    #[serde(default)]
    pub open: usize,
    /// From the first event to the newest one; of a run that goes on, until now.
    pub duration_ms: u64,
    /// The mean time that items held a worker for themselves, over those that did; 0 for none.
    pub average_time_ms: u64,
    pub concurrency: Concurrency,
    /// The part of the verdicts that items and landings stand on that needed no run of their
    /// own, 0 to 1; `null` where there was none.
    pub cache_hit_rate: Option<f64>,
    /// What the passes that outlast a run came to in this process; absent where they are not used, and
    /// where the report was made from the journal alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict_cache: Option<VerdictCacheReport>,
    /// Gates that need not run because an earlier run knew, and how long they had taken there.
    #[serde(default)]
    pub verdicts_reused: Reused,
    /// Of lexpr and its gates together; `null` where it was not measured.
    pub peak_memory_bytes: Option<u64>,
    /// The series of the metrics endpoint by name, as they stood at the end.
    pub metrics: BTreeMap<String, f64>,
}

/// The passes that outlast a run, as it used them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictCacheReport {
    pub hits: u64,
    pub misses: u64,
    /// 0 to 1; `null` where nothing was asked.
    pub hit_rate: Option<f64>,
    /// Passes that were added.
    pub sets: u64,
    /// Damaged ones that were removed.
    pub deletes: u64,
    /// Those that went for lack of room.
    pub evictions: u64,
    /// What there was at the run's end.
    pub entries: u64,
    pub size_bytes: u64,
    pub limit_bytes: u64,
}

/// What earlier runs spared this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reused {
    pub gates: u64,
    /// As far as the earlier runs told.
    pub duration_ms: u64,
}

/// How many workers were at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    pub max_workers: u32,
    pub peak_workers: u32,
    /// Over the whole run.
    pub mean_workers: f64,
    /// Gates that were in work elsewhere at once, at most.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub peak_elsewhere: u32,
    /// Where `maxWorkers` is `auto`: how many there were, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pool: Option<Resizing>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemReport {
    pub name: ItemName,
    pub status: FinalStatus,
    /// Its gates were running when the run was asked to stop, which cut them short.
    #[serde(default)]
    pub interrupted: bool,
    /// How far it has come; only while the run has not ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<Stage>,
    /// Why it has this status, in words; `null` for `landed` unless it was overridden.
    pub reason: Option<String>,
    /// The same for machines, where an event gave it.
    pub because: Option<Reason>,
    pub branch: String,
    pub head: CommitId,
    pub strategy: MergeStrategy,
    pub priority: i64,
    /// Counted from 0.
    pub level: u32,
    pub deps: Vec<ItemName>,
    /// Those of `deps` that the commit graph implies and the plan does not name.
    pub implied: Vec<ItemName>,
    /// The item on base and its dependencies.
    pub cone: Option<Cone>,
    /// The commit on the target's line that brought it; where others landed it, as far as that can be named.
    pub landed_as: Option<CommitId>,
    pub apex: Option<ApexId>,
    /// It landed although gates of it did not pass: which, by whose leave and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Box<Overridden>>,
    /// In plan order.
    pub gates: Vec<GateReport>,
    /// Runs of its failed gate on the same composite without the item.
    pub without_item: Vec<AttemptReport>,
    /// The run that shows why it failed, or was not judged: the last on a tree that was gated for it.
    pub failure: Option<Box<AttemptReport>>,
    /// Where it is not judged because the target fails a gate: the run that shows that, without any item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_failure: Option<Box<AttemptReport>>,
    /// The command that runs the gate of `failure` again, on the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<String>,
    /// How long jobs for this item alone held a worker.
    pub duration_ms: u64,
    pub started_at_ms: Option<u64>,
    pub decided_at_ms: Option<u64>,
    pub landed_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cone {
    pub commit: CommitId,
    pub tree: TreeId,
}

/// One gate of an item and the verdict that stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReport {
    pub name: GateName,
    pub run: String,
    pub cwd: String,
    pub required: bool,
    /// What runs it; absent: this machine's shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RanBy>,
    pub definition: DefinitionDigest,
    pub status: ItemGateStatus,
    /// An attempt goes on, or went on until its process ended, and no verdict stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<OpenAttempt>,
    /// A pass after a failure on the same tree.
    pub flaky: bool,
    pub key: Option<VerdictKey>,
    /// Where the verdict came from; `null` where there is none.
    pub verdict_from: Option<VerdictSource>,
    /// Which run, for a verdict from an earlier one.
    pub earlier_run: Option<RunId>,
    /// A copy of the log that the gate left there, where it was kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub earlier_log: Option<String>,
    /// The sum over its attempts.
    pub duration_ms: u64,
    /// In the order they ended.
    pub attempts: Vec<AttemptReport>,
}

/// How an attempt stands that has not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OpenAttempt {
    Running,
    CutOff,
}

/// One ended attempt of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptReport {
    pub purpose: JobPurpose,
    /// Without the tail of a pass.
    #[serde(flatten)]
    pub run: Arc<GateFinished>,
}

/// A composite that was to land.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApexReport {
    pub apex: ApexId,
    /// What people are told instead of its id: counted from 1 among those that were gated or
    /// landed; `null` for one that was given up before.
    pub number: Option<u32>,
    pub base: CommitId,
    /// In canonical order.
    pub items: Vec<ItemName>,
    pub commit: Option<CommitId>,
    pub tree: Option<TreeId>,
    pub set_aside: Vec<SetAside>,
    pub outcome: ApexOutcome,
    /// The runs on all of it and on its prefixes; none where its tree was proven already.
    pub probes: Vec<Probe>,
}

/// What an apex came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "came", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ApexOutcome {
    /// All of it landed.
    Landed,
    /// Others had landed all of it: nothing had to be moved.
    AlreadyLanded,
    /// A required gate failed on all of it, and its first `items` items landed.
    LandedPart { items: usize },
    /// A required gate failed, and nothing of it landed.
    Refuted,
    /// It was made again or given up before it came to anything.
    Open,
}

/// One job on an apex or on a prefix of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The number of items, from the first.
    pub members: u32,
    /// No required gate failed; `null` where that is not known.
    pub passed: Option<bool>,
    pub attempts: Vec<AttemptReport>,
}

impl RunReport {
    /// The report of the run that `view` shows, or `None` where not even its first event is
    /// there. `metrics` is passed on as [`Summary::metrics`].
    pub fn new(view: &RunView, metrics: BTreeMap<String, f64>) -> Option<Self> {
        let run = view.run.as_ref()?;
        let definitions = view.definitions();
        let each = view.items.iter().map(|item| Box::new(item_report(view, item, &definitions)));
        let items: EachApart<ItemReport> = each.collect();
        let landings = landings::of(view, &definitions);
        let mut report = Self {
            report_version: REPORT_VERSION,
            lexpr_version: run.version.clone(),
            run: run.run.clone(),
            plan: run.plan.clone(),
            arguments: run.arguments.clone(),
            directory: run.directory.clone(),
            plan_digest: run.plan_digest,
            repository: run.repository.clone(),
            target: run.target.clone(),
            base: run.base,
            tip: landings.last().map_or(run.base, |landing| landing.to),
            push: run.push.clone(),
            urgent: run.urgent,
            overrides: run.overrides.clone(),
            finished: view.ending.is_some(),
            is_dead: view.is_dead,
            resumptions: view.resumptions,
            exit_code: view.ending.map(|ending| ending.exit_code),
            started_at_ms: view.started_at_ms,
            ended_at_ms: view.latest_at_ms,
            pauses: view.pauses.clone(),
            interrupted: view.interrupted.clone(),
            halted: view.halted.clone(),
            summary: summarise(view, &items, metrics),
            next: String::new(),
            items,
            apexes: view.apexes.iter().map(|(id, apex)| apex_report(view, *id, apex)).collect(),
            landings,
            landing_begun: view.landing_begun().cloned(),
            undone: view.undos.is_undone(),
            undos: view.undos.done.clone(),
            undo_begun: view.undos.begun,
            target_moves: view.target_moves.clone(),
            red_on_target: view.red_on_target.names(),
            repaired_on_target: view.red_on_target.repaired(),
            flaky_gates: view.flaky_gates(),
            missing_artifacts: view.missing_artifacts.clone(),
            throttling: view.throttling,
            limits: view.limits.report(),
            runtimes: runtimes::of(view),
            timeline: timeline::of(view),
        };
        report.next = summary::next_step(&report);
        Some(report)
    }

    /// How long the run had been going on then (milliseconds since the Unix epoch), without its pauses.
    pub fn run_time_ms(&self, at_ms: u64) -> u64 {
        run_time_ms(&self.pauses, self.started_at_ms, at_ms)
    }

    /// Why a landing is no proof, if it is none: what is overridden lands alone.
    pub fn overridden_by(&self, landing: &Landing) -> Option<&Overridden> {
        let [name] = &landing.items[..] else { return None };
        self.items.iter().find(|item| item.name == *name)?.overridden.as_deref()
    }
}

fn summarise(view: &RunView, items: &[Box<ItemReport>], metrics: BTreeMap<String, f64>) -> Summary {
    let with = |status| items.iter().filter(|item| item.has_come_to_its_end() && item.status == status).count();
    let busy: Vec<u64> =
        items.iter().filter(|item| item.started_at_ms.is_some()).map(|item| item.duration_ms).collect();
    let elapsed_ms = view.elapsed_ms();
    Summary {
        total: items.len(),
        successful: with(FinalStatus::Landed),
        overridden: items.iter().filter(|item| item.overridden.is_some()).count(),
        already_landed: with(FinalStatus::AlreadyLanded),
        failed: with(FinalStatus::Failed),
        conflicted: with(FinalStatus::Conflicted),
        blocked: with(FinalStatus::Blocked),
        skipped: with(FinalStatus::Skipped),
        unjudged: with(FinalStatus::Unjudged),
        not_landed: with(FinalStatus::NotLanded),
        open: items.iter().filter(|item| !item.has_come_to_its_end()).count(),
        duration_ms: elapsed_ms,
        average_time_ms: busy.iter().copied().fold(0, u64::saturating_add).checked_div(busy.len() as u64).unwrap_or(0),
        concurrency: Concurrency {
            max_workers: view.most_workers,
            peak_workers: view.pool.peak,
            mean_workers: ratio(view.pool.busy_ms, elapsed_ms).unwrap_or(0.0),
            peak_elsewhere: view.elsewhere.peak,
            pool: view.resizing.adapts().then(|| view.resizing.clone()),
        },
        cache_hit_rate: ratio(view.verdicts.hits, view.verdicts.hits + view.verdicts.misses),
        verdict_cache: None,
        verdicts_reused: view.spared(),
        peak_memory_bytes: view.ending.map(|ending| ending.peak_memory_bytes).filter(|bytes| *bytes > 0),
        metrics,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `part / whole`, `None` for a whole of 0.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn item_report(view: &RunView, item: &ItemView, definitions: &HashMap<VerdictKey, DefinitionDigest>) -> ItemReport {
    let lined_up = &item.lined_up;
    let status = view.status(item);
    // At the end all causes are known; until then an item has the reason it was decided for.
    let at_the_end = item.last_word.as_ref().and_then(|end| end.reason.clone());
    let because = at_the_end.or_else(|| item.decided.as_ref().and_then(|decided| decided.reason.clone()));
    let without_item = |attempt: &&AttemptView| match &attempt.purpose {
        JobPurpose::Blame { item } => *item == lined_up.name,
        JobPurpose::SecondOpinion { item } => {
            *item == lined_up.name && view.jobs.get(&attempt.run.job).is_some_and(|job| job.is_without_item)
        }
        _ => false,
    };
    let shown = |attempt: &AttemptView| Box::new(gates::attempt_report(attempt));
    let failure = because.as_ref().and_then(|reason| view.evidence(&lined_up.name, reason)).map(shown);
    let target_failure = because.as_ref().and_then(|reason| view.evidence_on_target(reason)).map(shown);
    ItemReport {
        name: lined_up.name.clone(),
        status,
        interrupted: item.interrupted && status == FinalStatus::Skipped,
        stage: view.ending.is_none().then(|| view.stage(item)),
        reason: reasons::of(view, item, status, because.as_ref()),
        branch: lined_up.branch.clone(),
        head: lined_up.head,
        strategy: lined_up.strategy,
        priority: lined_up.priority,
        level: lined_up.level,
        deps: lined_up.deps.clone(),
        implied: lined_up.implied.clone(),
        cone: item.cone.map(|(commit, tree)| Cone { commit, tree }),
        landed_as: item.landed.map_or(item.others_landed_as, |landed| landed.commit),
        apex: item.landed.map(|landed| landed.apex),
        overridden: view.overridden(item).cloned().map(Box::new),
        gates: gates::of(view, item, definitions),
        without_item: view.attempts.iter().filter(without_item).map(gates::attempt_report).collect(),
        reproduce: failure.as_ref().and_then(|failure| view.reproduce(&lined_up.name, &failure.run.gate)),
        failure,
        target_failure,
        because,
        duration_ms: item.busy_ms.saturating_add(view.busy_now_ms(item)),
        started_at_ms: item.started_at_ms,
        decided_at_ms: item.decided_at_ms,
        landed_at_ms: item.landed.map(|landed| landed.at_ms),
    }
}
