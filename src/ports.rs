//! What the loop needs done by the outside world, as traits: the seam at which the simulator
//! and the tests stand in for git, processes and the clock.
//!
//! Every method may be called from any task. None of them decides anything: they do one thing
//! and say how it went. `Err` means lexpr could not do its job; a conflict, a failed gate or a
//! target that moved is an answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::plan::graph::{Graph, ItemIx};
use crate::plan::{Gate, Setup};
use crate::vocabulary::event::{
    Artifact, GateOutcome, LandedByOthers, LinedUpGate, LinedUpItem, MissingChecks, RanElsewhere, SetAside, Step,
    Verdict,
};
use crate::vocabulary::names::{
    ApexId, CommitId, FileDigest, ItemName, JobId, MergeStrategy, RunId, SubjectDigest, TreeId, VerdictKey, WorkerId,
};
use crate::vocabulary::trail::Trail;
use crate::vocabulary::verdict::{FoundPass, Remembered};

/// What went wrong below the loop, already in words a user can act on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What happened and where.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

/// One item as the composer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ComposeItem {
    pub ix: ItemIx,
    pub name: ItemName,
    pub branch: String,
    pub head: CommitId,
    pub strategy: MergeStrategy,
    /// Direct dependencies; those outside the composite are ignored.
    pub deps: Vec<ItemIx>,
    /// Heads whose changes the base has without having them in its history, and whose commits the
    /// item shares: they count as merged before it, so that the item builds on them.
    pub merged: Vec<CommitId>,
    /// Why it lands although not all of its gates passed, for the message of the commit that lands.
    pub overridden: Option<Arc<str>>,
}

impl ComposeItem {
    /// An item of the plan with what its branch is: a head, and what counts as merged before it.
    pub fn of(graph: &Graph, ix: ItemIx, head: CommitId, merged: Vec<CommitId>) -> Self {
        let item = graph.item(ix);
        Self {
            ix,
            name: item.name.clone(),
            branch: item.branch.clone(),
            head,
            strategy: item.strategy,
            deps: graph.deps(ix).to_vec(),
            merged,
            overridden: None,
        }
    }

    /// The item as a run writes it down when it begins, yet to be landed; its gates as they were `written` for other items.
    pub fn lined_up(&self, graph: &Graph, written: &mut WrittenGates) -> LinedUpItem {
        let item = graph.item(self.ix);
        let names = |indices: &[ItemIx]| indices.iter().map(|ix| graph.name(*ix).clone()).collect::<Vec<_>>();
        let implied = names(graph.implied(self.ix));
        let mut deps = names(&self.deps);
        // Named ones first.
        deps.sort_by_key(|dep| implied.contains(dep));
        LinedUpItem {
            name: self.name.clone(),
            branch: self.branch.clone(),
            head: self.head,
            strategy: self.strategy,
            priority: item.priority,
            level: graph.level(self.ix),
            deps,
            implied,
            merged: self.merged.clone(),
            gates: item.gates.iter().map(|gate| written.of(gate)).collect(),
            already_landed: None,
        }
    }
}

/// Gates of one graph as a run writes them down: what many items share lies in memory once.
#[derive(Debug, Default)]
pub struct WrittenGates(HashMap<usize, Arc<LinedUpGate>>);

impl WrittenGates {
    fn of(&mut self, gate: &Arc<Gate>) -> Arc<LinedUpGate> {
        let written = self.0.entry(Arc::as_ptr(gate).addr()).or_insert_with(|| {
            Arc::new(LinedUpGate {
                name: gate.name.clone(),
                definition: gate.definition,
                run: gate.run.clone(),
                cwd: gate.cwd.clone(),
                required: gate.required,
                by_inputs: gate.inputs.is_some(),
                clean: gate.clean,
                runtime: gate.runtime.name().cloned(),
                image: gate.runtime.container().map(|container| container.image.clone()),
            })
        });
        Arc::clone(written)
    }
}

/// Merge `items`, in the order given (canonical), onto `base`.
#[derive(Clone, Debug)]
pub struct ComposeRequest {
    pub base: CommitId,
    pub items: Vec<Arc<ComposeItem>>,
    /// How the target came to be at `base` since the run began: whom a conflict meets
    /// where it meets none of the items. Nothing else depends on it.
    pub beneath: Trail,
}

/// A composite. An item whose head the composite contains already is a step like any other,
/// at the commit and tree that stood before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    pub commit: CommitId,
    pub tree: TreeId,
    /// One per merged item, in order.
    pub steps: Vec<Step>,
    /// The others, in order: those that conflict, and those that depend on one that does.
    pub set_aside: Vec<SetAside>,
}

/// Makes composites. The objects are readable by slots and by [`Lander`] afterwards.
pub trait Composer: Send + Sync {
    fn compose(&self, request: ComposeRequest) -> BoxFuture<'_, Result<Composite, PortError>>;

    /// The tree of a commit.
    fn tree_of(&self, commit: CommitId) -> BoxFuture<'_, Result<TreeId, PortError>>;

    /// Which of `items` the history of `to` has, in the order given, each with the commit by which it came
    /// since the target was at `from`, where that can be named.
    fn landed_since(
        &self,
        from: CommitId,
        to: CommitId,
        items: Vec<Arc<ComposeItem>>,
    ) -> BoxFuture<'_, Result<Vec<LandedByOthers>, PortError>>;

    /// Digests the entries of `tree` (paths, modes and ids) that match any of the globs.
    fn digest_inputs(&self, tree: TreeId, inputs: Vec<String>) -> BoxFuture<'_, Result<SubjectDigest, PortError>>;
}

/// One composite to gate in one slot.
#[derive(Clone, Debug)]
pub struct Job {
    pub job: JobId,
    pub worker: WorkerId,
    /// HEAD in the slot.
    pub commit: CommitId,
    pub tree: TreeId,
    /// What the target's branch points to in the slot.
    pub base: CommitId,
    /// In the order they run.
    pub gates: Vec<JobGateRun>,
    /// Stop at the first required gate that fails.
    pub fail_fast: bool,
    /// Remove ignored files before the first gate: nothing an earlier run left may matter.
    pub clean_slot: bool,
    pub setup: Option<Arc<Setup>>,
}

#[derive(Clone, Debug)]
pub struct JobGateRun {
    pub gate: Arc<Gate>,
    pub key: VerdictKey,
    /// For a gate with `context: true`: the item it runs for.
    pub item: Option<ItemName>,
    /// How many attempts of this key the journal has the end of.
    pub ran: u32,
}

/// News from a job, sent as it happens.
#[derive(Clone, Debug)]
pub enum JobNews {
    /// `gate` counts positions in [`Job::gates`]; `attempt` counts from 1.
    Started {
        job: JobId,
        gate: usize,
        attempt: u32,
        /// Of a gate elsewhere: where it runs.
        node: Option<String>,
    },
    /// The attempt that is asked for waits for checks that nothing reports as.
    ChecksMissing {
        job: JobId,
        gate: usize,
        attempt: u32,
        checks: Box<MissingChecks>,
    },
    /// Why the attempt that is asked for has not begun; `None` where nothing is known to hold it up any more.
    Waits {
        job: JobId,
        gate: usize,
        attempt: u32,
        why: Option<String>,
    },
    Finished {
        job: JobId,
        gate: usize,
        attempt: u32,
        run: Box<GateRun>,
    },
    /// Trouble with the machine, such as a full disk, keeps this gate from running and would keep
    /// any other: it says nothing of what is gated, and the run cannot go on. The last news of a job.
    Stuck(PortError),
}

/// One ended attempt of a gate.
#[derive(Clone, Debug)]
pub struct GateRun {
    pub outcome: GateOutcome,
    /// `None` while another attempt follows.
    pub verdict: Option<Verdict>,
    pub duration_ms: u64,
    pub backoff_ms: Option<u64>,
    /// `None` where it ended before its memory was measured.
    pub peak_memory_bytes: Option<u64>,
    pub log: PathBuf,
    pub log_digest: Option<FileDigest>,
    pub tail: String,
    pub artifacts: Vec<Artifact>,
    pub missing_artifacts: Vec<String>,
    pub elsewhere: Option<RanElsewhere>,
}

impl GateRun {
    /// One of which nothing is kept: no process ran.
    pub fn in_name_only(outcome: GateOutcome, verdict: Option<Verdict>, duration_ms: u64) -> Self {
        Self {
            outcome,
            verdict,
            duration_ms,
            backoff_ms: None,
            peak_memory_bytes: None,
            log: PathBuf::new(),
            log_digest: None,
            tail: String::new(),
            artifacts: Vec::new(),
            missing_artifacts: Vec::new(),
            elsewhere: None,
        }
    }
}

/// Runs gates. The future ends when the slot is free again and all that the job started is gone.
pub trait GateRunner: Send + Sync {
    /// `cancel` turning true ends the running gate (outcome `cancelled`) and the job.
    ///
    /// # Errors
    /// Only where not even an outcome `infrastructure` could be made of the failure.
    fn run(
        &self,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<(), PortError>>;
}

/// Move the target from one commit to another.
#[derive(Clone, Debug)]
pub struct LandRequest {
    pub apex: ApexId,
    pub from: CommitId,
    pub to: CommitId,
    pub tree: TreeId,
    pub items: Vec<Arc<ComposeItem>>,
}

#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum LandOutcome {
    Landed {
        pushed_to: Option<String>,
        moved_checkouts: Vec<String>,
    },
    /// Somebody else moved the target; it now stands at `to`. Nothing was done.
    TargetMoved {
        to: CommitId,
    },
    /// The target cannot be moved for a reason the user must deal with. Nothing was done, unless
    /// the message says what.
    Refused {
        message: String,
        /// What to do before another run, as half a sentence.
        advice: Option<String>,
    },
}

/// What became of a landing whose process ended before it could tell.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Recovery {
    /// The target was moved. What had to follow has followed by now.
    Landed { pushed_to: Option<String>, moved_checkouts: Vec<String> },
    /// Nothing was done.
    NotLanded,
    /// It was begun, and something that the user must deal with keeps it from its end.
    Refused { message: String, advice: Option<String> },
}

/// Where the target is, seen from where a run left it.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Whereabouts {
    There,
    /// Somebody added to it; it now stands at `to`.
    Moved {
        to: CommitId,
    },
    /// It lacks what it had, or is gone.
    Lost {
        message: String,
        advice: Option<String>,
    },
}

/// What an urgent run asks of those that land beside it, while it has an apex under proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// That those which are not urgent hold their landings back: each would have the apex proven anew.
    Proving,
    /// That urgent ones do so, too: the target was moved before it could land.
    Overtaken,
}

/// Moves the target.
pub trait Lander: Send + Sync {
    /// `cancel` turning true ends a wait for landings of others; a landing that has begun is finished.
    fn land(
        &self,
        request: LandRequest,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<LandOutcome, PortError>>;

    /// Asked before a landing is intended: `None` where nobody is to land first; else what waits until they have,
    /// or do not want to any more, or for as long as is right. False there: `cancel` turned true before that.
    fn gives_way(
        &self,
        _urgent: bool,
        _cancel: watch::Receiver<bool>,
    ) -> Option<BoxFuture<'static, Result<bool, PortError>>> {
        // Where nobody lands beside the run.
        None
    }

    /// What the run claims from now on, in place of what it did before.
    ///
    /// # Errors
    /// Where that cannot be made known.
    fn claim(&self, _claim: Option<Claim>) -> Result<(), PortError> {
        Ok(())
    }

    /// Asked between landings, and often: `None` where the target is at `tip` at a glance. Else what finds out where it is,
    /// without waiting for long: `None` there while somebody else lands, and nothing is known.
    fn elsewhere(&self, _tip: CommitId) -> Option<BoxFuture<'static, Result<Option<Whereabouts>, PortError>>> {
        // Where nobody lands beside the run.
        None
    }

    /// Brings a landing to its end that was begun by a process that is gone.
    fn recover(&self, request: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>>;

    /// Where the target is that a run left at `tip`.
    fn whereabouts(&self, tip: CommitId) -> BoxFuture<'_, Result<Whereabouts, PortError>>;

    /// Writes what a landing leaves behind and says where it lies.
    fn write_receipt(&self, apex: ApexId, receipt: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>>;
}

/// A pass that an earlier run found.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownPass {
    pub from: RunId,
    pub remembered: Option<Remembered>,
}

/// Passes that outlive the run that found them. What cannot be read is not known, and what cannot be
/// written is not remembered: a run goes on without it.
pub trait VerdictStore: Send + Sync {
    /// What is known of these keys, in their order.
    fn passes(&self, keys: Vec<VerdictKey>) -> BoxFuture<'static, Vec<Option<KnownPass>>>;

    /// Takes note of a pass of this run, which is journalled; returns at once.
    fn remember(&self, pass: FoundPass);
}

/// Where events become durable.
pub trait Journal: Send {
    /// Appends one line; durable only after the next [`Journal::sync`].
    fn append(&mut self, line: &crate::vocabulary::event::Recorded) -> Result<(), PortError>;

    /// All that was appended survives a crash of the machine once this returns.
    fn sync(&mut self) -> Result<(), PortError>;
}

/// Time, real or virtual.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; never goes backwards within one run.
    fn now_ms(&self) -> u64;

    fn sleep_ms(&self, ms: u64) -> BoxFuture<'static, ()>;
}

/// How much memory lexpr and all it started hold.
pub trait MemoryGauge: Send + Sync {
    /// Bytes; `None` where it cannot be measured.
    fn used_bytes(&self) -> Option<u64>;
}

/// What the machine's processors and disks were asked for: microseconds, counted from some time that
/// stays the same. Each is `None` where it cannot be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Time in which something that could run waited for a processor.
    pub waited_for_cpu_us: Option<u64>,
    /// Time in which nothing went on for waiting for a disk.
    pub stalled_on_io_us: Option<u64>,
    /// Time in which processors were idle, over all of them added up.
    pub idle_us: Option<u64>,
    /// Processor time that lexpr and all it started took.
    pub own_us: Option<u64>,
}

/// How busy the machine is.
pub trait LoadGauge: Send + Sync {
    fn load(&self) -> Load;
}
