//! The one closed [`Event`] enum: every fact of a run, in the order it became true.
//!
//! The journal, the terminal, the metrics, the reports and the state of a live or replayed
//! run are all functions of a sequence of these and of nothing else. An event says what
//! happened; it never says what should be done about it.

mod endings;
mod limits;
mod overriding;
mod pool;
mod runtimes;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::endings::{
    Decision, FinalItem, FinalStatus, ItemDecided, ItemGateStatus, ItemVerdict, LandedByOthers, Reason, in_one_line,
};
pub use self::limits::{HeldBy, LimitOn};
pub use self::overriding::{Overridden, OverriddenGate, OverrideGrant};
pub use self::pool::PoolReason;
pub use self::runtimes::{FixedImage, MissingChecks, RanBy, RanElsewhere};
use super::names::{
    ApexId, CommitId, DefinitionDigest, FileDigest, GateName, GroupId, ItemName, JobId, MergeStrategy, PlanDigest,
    RunId, RuntimeName, SubjectDigest, TreeId, VerdictKey, WorkerId,
};
use super::verdict::{Fingerprint, Remembered};

/// The version of the journal's and the event stream's format.
pub const EVENT_FORMAT: u32 = 1;

/// An event with its place in its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Counted from 1 without gaps.
    pub seq: u64,
    /// Milliseconds since the Unix epoch when lexpr learned of it.
    pub at_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// Everything that can happen in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// Always the first.
    RunStarted(Box<RunStarted>),
    /// A composite was made in memory.
    Composed(Box<Composed>),
    /// What a gate with `inputs` sees of a tree.
    InputsDigested { tree: TreeId, definition: DefinitionDigest, subject: SubjectDigest },
    /// A worker took a slot to gate one composite.
    JobStarted(Box<JobStarted>),
    /// An attempt of a gate began in a job.
    GateStarted {
        job: JobId,
        gate: GateName,
        key: VerdictKey,
        attempt: u32,
        /// Of a gate elsewhere: where it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// An attempt of a gate waits for checks that nothing reports as. Said again, ever less often, for as long as it does.
    ChecksMissing { job: JobId, gate: GateName, key: VerdictKey, attempt: u32, checks: Box<MissingChecks> },
    /// An attempt of a gate has not begun elsewhere, and why is known. Said again where that changes.
    GateWaits {
        job: JobId,
        gate: GateName,
        key: VerdictKey,
        attempt: u32,
        /// `null` where nothing is known to hold it up any more.
        why: Option<String>,
    },
    /// An attempt of a gate ended.
    GateFinished(Box<GateFinished>),
    /// A gate need not run: a pass under this key is known from an earlier run.
    VerdictReused {
        gate: GateName,
        key: VerdictKey,
        from: RunId,
        /// What is known of that pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remembered: Option<Box<Remembered>>,
    },
    /// The job gave its worker back. Gates it had not begun stay unjudged by it.
    JobFinished { job: JobId },
    /// Eligible items are to be gated together: these, in canonical order, on `base` and what they depend on.
    GroupFormed { group: GroupId, base: CommitId, items: Vec<ItemName> },
    /// An item is to be judged alone, on its own cone, and its group goes on without it.
    SingledOut {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<GroupId>,
        item: ItemName,
        why: SingledOutFor,
    },
    /// The next composite to land was chosen: these items, in canonical order, on `base`.
    ApexFormed { apex: ApexId, base: CommitId, items: Vec<ItemName> },
    /// What an item's own work came to. After `passed` comes at most one other decision; `blocked`
    /// replaces any other where a dependency turned out not to land.
    ItemDecided(Box<ItemDecided>),
    /// The item can only be judged once its dependencies have landed or not: they fail together, or
    /// one of them passed and meets a base that has moved since.
    ItemDeferred { item: ItemName, reason: Reason },
    /// A gate fails on the target itself (or on what stands on it) without the item it failed on.
    GateRedOnTarget { gate: GateName, definition: DefinitionDigest, tree: TreeId },
    /// The item of the apex lands although not all of its gates passed: the run was allowed to. Its composite is made again, with
    /// that in the commit's message.
    Overridden(Box<Overridden>),
    /// The target is about to be moved; what follows is `landed`, `targetMoved` or `runHalted`.
    LandingIntended(Box<LandingIntended>),
    /// The target was moved to a proven composite, or to an overridden one.
    Landed(Box<Landed>),
    /// Somebody else moved the target.
    TargetMoved {
        from: CommitId,
        to: CommitId,
        to_tree: TreeId,
        /// Items of this run that were still to land and are there now, in canonical order: merged under
        /// their own heads, or named by a `Lexpr-Head` trailer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        landed: Vec<LandedByOthers>,
    },
    /// Work is held back because lexpr and its gates use too much memory.
    Throttled { used_bytes: u64, threshold_bytes: u64 },
    /// Work starts again after `waited_ms` of being held back.
    Unthrottled { used_bytes: u64, waited_ms: u64 },
    /// With `maxWorkers: auto`: so many composites are gated at once from now on. Of the gates that
    /// run none is ended for it.
    PoolResized { from: u32, to: u32, reason: PoolReason },
    /// A named limit holds work back: slots stand empty while something waits for what is in use, or
    /// what claims it may not begin before `for_ms` are over (`None` where that hangs on a gate that is
    /// about to begin). Said again where the reason changes.
    LimitHeld {
        limit: LimitOn,
        why: HeldBy,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// It holds nothing back any more.
    LimitFreed { limit: LimitOn },
    /// A run that had not come to its end, or had been stopped before it, goes on in a new
    /// process: no job is in work, and composites are made again.
    RunResumed {
        /// lexpr's own version.
        version: String,
        /// Bytes at the journal's end that were no whole event and were cut off.
        cut_bytes: u64,
        /// The landing that was intended last is neither done nor undone: something keeps it from
        /// its end, and the next resumption tries again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        landing_is_open: bool,
        /// Slots there may be from now on; `None` in journals that do not tell: as before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_workers: Option<u32>,
        /// So many of them at first, where the pool adapts from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workers_at_first: Option<u32>,
    },
    /// The user asked the run to stop.
    Interrupted { signal: String },
    /// The run cannot go on for a reason that is no item's fault; it ends unfinished, with
    /// `runFinished` or, where lexpr itself failed, without.
    /// `advice` says what to do before another run, as half a sentence.
    RunHalted { why: HaltReason, message: String, advice: Option<String> },
    /// The last, unless the run is resumed or undone. `items` holds every item in canonical order.
    RunFinished { exit_code: u8, peak_memory_bytes: u64, items: Vec<FinalItem> },
    /// The target is about to be put back to where it was before the run's first landing, or, where
    /// that was done, forward again; what follows is `undone` or `undoGivenUp`. Back once more: it is
    /// back here, and the remote's is to follow.
    UndoIntended { direction: UndoDirection, from: CommitId, to: CommitId, push: Option<String> },
    /// The target was moved so. While the landings are taken back the run cannot be resumed.
    Undone(Box<Undone>),
    /// What was intended was not done.
    UndoGivenUp { why: String },
}

/// What a run set out to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStarted {
    /// [`EVENT_FORMAT`] of the writer.
    pub format: u32,
    pub run: RunId,
    /// lexpr's own version.
    pub version: String,
    /// Where the plan was read from, or `-`.
    pub plan: String,
    /// What the command line asked for beside the plan and `--execute`, as words, to be shown; what it came to stands in fields
    /// of its own. Without what only shows a run, and without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The folder in which the command was given; empty in journals that do not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    pub plan_digest: PlanDigest,
    /// The git directory that all worktrees share.
    pub repository: String,
    /// The full name of the ref that is to move, such as `refs/heads/main`.
    pub target: String,
    pub base: CommitId,
    pub base_tree: TreeId,
    pub push: Option<String>,
    /// It runs beside the run that has the target, and has it for its landings alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Items that may land although their gates do not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<OverrideGrant>>,
    /// Unsigned commits may land although the user's configuration asks for signed ones.
    pub no_sign: bool,
    /// What the command line would have run all gates, in place of what the plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
    /// What the images of containers stood for when the run began: every gate's definition has that of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<FixedImage>,
    /// What the command line gave to gates without a timeout of their own.
    pub gate_timeout_ms: Option<u64>,
    /// Where artifacts go, if not to the run's own folder.
    pub artifact_dir: Option<String>,
    /// Composites that may be gated at once, at most.
    pub max_workers: u32,
    /// With `maxWorkers: auto`: how many at first; how many later, `poolResized` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_at_first: Option<u32>,
    pub batch_size: u32,
    /// `None`: no limit was asked for.
    pub memory_limit_bytes: Option<u64>,
    /// What `policy.fingerprint` said, where the plan has one: every verdict's key has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// In canonical order; other events name items by `name`.
    pub items: Vec<Arc<LinedUpItem>>,
}

/// One item of a run with all that was resolved before it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinedUpItem {
    pub name: ItemName,
    pub branch: String,
    pub head: CommitId,
    pub strategy: MergeStrategy,
    pub priority: i64,
    /// Counted from 0; an item's level is one more than the highest of its dependencies.
    pub level: u32,
    /// Named in the plan, then implied ones, each group in canonical order.
    pub deps: Vec<ItemName>,
    /// Those of `deps` that the plan does not name but the commit graph implies.
    pub implied: Vec<ItemName>,
    /// Heads whose changes the base has without having them in its history, and on which the item
    /// builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<CommitId>,
    pub gates: Vec<Arc<LinedUpGate>>,
    /// Why the item needs no landing, for example `in base` or the commit that carries its trailer.
    pub already_landed: Option<String>,
}

/// One gate of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinedUpGate {
    pub name: GateName,
    pub definition: DefinitionDigest,
    /// The command, as it stands in the plan.
    pub run: String,
    pub cwd: String,
    pub required: bool,
    /// Its verdicts depend on its declared inputs alone. Not told by runs of before it was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_inputs: bool,
    /// Ignored files are removed before it runs. Not told by runs of before it was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// What runs it; `None`: this machine's shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
    /// Of a gate in a container, as the plan names it; what that stands for is among the run's `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// What a composite was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum CompositePurpose {
    /// Base, the item's dependencies and the item.
    Cone { item: ItemName },
    /// The cone without its item: what the item is compared with before it is blamed.
    Without { item: ItemName },
    /// Base, the dependencies of a group's items and the items.
    Group { group: GroupId },
    /// The target's tip and the items about to land.
    Apex { apex: ApexId },
    /// The target as it will be if what is ahead of the item lands, and the item.
    Train { item: ItemName },
}

/// The result of making a composite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Composed {
    pub purpose: CompositePurpose,
    pub base: CommitId,
    /// What would land: `base` itself where nothing could be merged.
    pub commit: CommitId,
    pub tree: TreeId,
    /// For an apex or a group, one per merged item in canonical order, so that step k is the prefix of
    /// k + 1 items; empty for other composites.
    pub steps: Vec<Step>,
    /// The items that are not in it, in canonical order.
    pub set_aside: Vec<SetAside>,
    pub duration_us: u64,
}

/// A prefix of an apex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub item: ItemName,
    pub commit: CommitId,
    pub tree: TreeId,
}

/// An item that could not become part of a composite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    pub item: ItemName,
    #[serde(flatten)]
    pub cause: SetAsideCause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "cause", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SetAsideCause {
    /// git reports a conflict with what was merged so far.
    Conflict(Conflict),
    /// A dependency was set aside in the same composite.
    Dependency { on: ItemName },
}

/// A conflict as git reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The item that it meets: one of the composite, or one that this run has landed beneath it;
    /// `None` where it meets what was there before the run, or what others have landed since.
    pub with: Option<ItemName>,
    /// Sorted; bytes that are no UTF-8 are replaced by U+FFFD.
    pub paths: Vec<String>,
    /// git's own messages, one a line, for example `CONFLICT (content): Merge conflict in a`.
    pub messages: Vec<String>,
}

/// Why an item cannot be judged with its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SingledOutFor {
    /// A gate passes on the group's items before it and fails once it is there.
    Gate { gate: GateName, key: VerdictKey },
    /// It, or what it depends on, conflicts with what was merged before it.
    Conflict,
    /// A gate of the group could not be run.
    Infrastructure { gate: GateName },
    /// Those before it were singled out one after another, so that it is in no group.
    Neighbours,
}

/// Why a slot is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobPurpose {
    /// Judge an item on its cone.
    Cone { item: ItemName },
    /// Judge the first `members` of a group's items that could be merged: all of them, or a probe.
    Group { group: GroupId, members: u32 },
    /// Judge the first `members` items of an apex: all of it, or a probe of a bisection.
    Apex { apex: ApexId, members: u32 },
    /// Run what failed once more on the same tree, in a clean slot.
    SecondOpinion { item: ItemName },
    /// Run what failed on the same composite without the item.
    Blame { item: ItemName },
    /// Judge an item on so many others that are ahead of it and are about to land.
    Train { item: ItemName, ahead: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStarted {
    pub job: JobId,
    pub worker: WorkerId,
    pub purpose: JobPurpose,
    pub commit: CommitId,
    pub tree: TreeId,
    /// In the order they will run.
    pub gates: Vec<JobGate>,
    /// Others of the composite's gates follow in jobs of their own: they claim more, or may be rate limited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobGate {
    pub name: GateName,
    pub key: VerdictKey,
    pub definition: DefinitionDigest,
    pub required: bool,
}

/// One ended attempt of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateFinished {
    pub job: JobId,
    pub gate: GateName,
    pub key: VerdictKey,
    /// Counted from 1.
    pub attempt: u32,
    pub outcome: GateOutcome,
    /// What this run of the gate came to; `None` while another attempt follows.
    pub verdict: Option<Verdict>,
    pub duration_ms: u64,
    /// How long lexpr waits before the next attempt.
    pub backoff_ms: Option<u64>,
    /// The most memory its processes held together, as far as it was seen; `None` where it ended
    /// before anybody looked.
    pub peak_memory_bytes: Option<u64>,
    /// The log file with all of its output.
    // Shared: several keep it, of each gate that has run.
    pub log: Arc<str>,
    pub log_digest: Option<FileDigest>,
    /// The end of its output, bounded, as text.
    pub tail: String,
    pub artifacts: Vec<Artifact>,
    /// Artifact patterns that matched no file.
    pub missing_artifacts: Vec<String>,
    /// `None`: in a slot of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<RanElsewhere>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum GateOutcome {
    Passed,
    /// The command ended with a status other than 0.
    Failed {
        exit_code: i32,
    },
    /// A signal that lexpr did not send ended it.
    Signaled {
        signal: i32,
    },
    /// It ran longer than it may; `signal` is the one that ended it, or `None` where the
    /// command ended by itself after being asked to.
    TimedOut {
        after_ms: u64,
        signal: Option<i32>,
    },
    /// lexpr ended it because the run was interrupted, or because nobody needs its verdict any more.
    /// Never a verdict.
    Cancelled,
    /// lexpr could not run it. Never a verdict.
    Infrastructure {
        message: String,
    },
    /// It was ended, or a part of it, for using more memory than its runtime lets it.
    OutOfMemory {
        exit_code: i32,
        limit_bytes: Option<u64>,
    },
    /// It ended with the status by which it says that somebody refused to serve it for now. Never a
    /// verdict: it is asked for again.
    RateLimited {
        exit_code: i32,
    },
}

impl GateOutcome {
    /// It says something against the tree.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Signaled { .. } | Self::TimedOut { .. } | Self::OutOfMemory { .. } => true,
            Self::Passed | Self::Cancelled | Self::Infrastructure { .. } | Self::RateLimited { .. } => false,
        }
    }
}

/// What a run of a gate, with all its attempts, says of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Verdict {
    Passed {
        /// It failed before it passed, on this very tree.
        flaky: bool,
    },
    Failed,
    /// Cancelled, or lexpr could not run it.
    Unknown,
}

/// A file that a gate left and lexpr kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Relative to the gate's cwd.
    pub source: String,
    /// Where the copy lies.
    pub stored: String,
    pub bytes: u64,
}

/// What is about to be done to the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LandingIntended {
    pub apex: ApexId,
    pub from: CommitId,
    pub to: CommitId,
    pub tree: TreeId,
    pub items: Vec<ItemName>,
    /// The verdicts that prove `tree`, one per distinct required gate; of an overridden tree, those there are.
    pub proof: Vec<VerdictKey>,
    pub push: Option<String>,
}

/// What was done to the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Landed {
    pub apex: ApexId,
    pub from: CommitId,
    pub to: CommitId,
    pub tree: TreeId,
    pub items: Vec<ItemName>,
    pub pushed_to: Option<String>,
    /// Worktrees that had the target checked out and were moved along.
    pub moved_checkouts: Vec<String>,
    pub receipt: Option<String>,
    pub duration_us: u64,
}

/// Which way an undo moves the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UndoDirection {
    /// To where it was before the run's first landing.
    Back,
    /// To where the run had left it: an undo is undone.
    Forward,
}

/// What an undo did to the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    pub direction: UndoDirection,
    pub from: CommitId,
    pub to: CommitId,
    pub pushed_to: Option<String>,
    /// Worktrees that had the target checked out and were moved along.
    pub moved_checkouts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HaltReason {
    /// The target could not be moved: a dirty checkout, a refused push, a rejected ref update.
    TargetNotMovable,
    /// The target was moved by others more often than a run follows it.
    TargetKeepsMoving,
    /// A gate of an apex could not be run, or lexpr itself failed: a disk is full, git is gone.
    Infrastructure,
}
