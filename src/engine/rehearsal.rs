//! The ports of a dry run: every gate passes at once, and the target moves in name only. The
//! merges stay real, so a dry run goes through the same engine and makes the same composites as
//! the run it foretells.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::{mpsc, watch};

use super::Ports;
use crate::core::limits::Limits;
use crate::plan::Policy;
use crate::ports::{
    Clock, Composer, GateRun, GateRunner, Job, JobNews, Journal, KnownPass, LandOutcome, LandRequest, Lander, Load,
    LoadGauge, MemoryGauge, PortError, Recovery, VerdictStore, Whereabouts,
};
use crate::vocabulary::event::{EVENT_FORMAT, GateOutcome, LinedUpItem, Recorded, RunStarted, Verdict};
use crate::vocabulary::names::{ApexId, CommitId, PlanDigest, RunId, TreeId, VerdictKey};
use crate::vocabulary::verdict::FoundPass;

/// Ports of which all but the composer and the clock pretend. `verdicts` are those of earlier runs.
pub fn ports(composer: Arc<dyn Composer>, clock: Arc<dyn Clock>, verdicts: Option<Arc<dyn VerdictStore>>) -> Ports {
    Ports {
        composer,
        gates: Arc::new(EveryGatePasses),
        lander: Arc::new(NothingMoves),
        clock,
        memory: Arc::new(NoMemory),
        load: Arc::new(NoLoad),
        verdicts: verdicts.map(|verdicts| Arc::new(OnlyRecalled(verdicts)) as _),
    }
}

/// The policy of a run whose gates take no time: nobody has to wait for their pace.
pub fn policy(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.resources.values_mut().for_each(|resource| resource.gap = Duration::ZERO);
    policy
}

/// The first event of a run that has no repository and no plan.
pub fn started(run: RunId, base: (CommitId, TreeId), limits: &Limits, items: Vec<Arc<LinedUpItem>>) -> RunStarted {
    RunStarted {
        format: EVENT_FORMAT,
        run,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: "-".to_owned(),
        arguments: Vec::new(),
        directory: String::new(),
        plan_digest: PlanDigest::of([b"none".as_slice()]),
        repository: String::new(),
        target: "refs/heads/main".to_owned(),
        base: base.0,
        base_tree: base.1,
        push: None,
        urgent: false,
        overrides: None,
        no_sign: false,
        runtime: None,
        images: Vec::new(),
        gate_timeout_ms: None,
        artifact_dir: None,
        max_workers: limits.max_workers,
        workers_at_first: limits.workers_at_first,
        batch_size: limits.batch_size,
        memory_limit_bytes: None,
        fingerprint: None,
        items,
    }
}

/// Verdicts of earlier runs, to which nothing is added: what passes here has not run.
struct OnlyRecalled(Arc<dyn VerdictStore>);

impl VerdictStore for OnlyRecalled {
    fn passes(&self, keys: Vec<VerdictKey>) -> BoxFuture<'static, Vec<Option<KnownPass>>> {
        self.0.passes(keys)
    }

    fn remember(&self, _: FoundPass) {}
}

/// Says of every gate that it passed.
#[derive(Clone, Copy, Debug)]
pub struct EveryGatePasses;

impl GateRunner for EveryGatePasses {
    fn run(
        &self,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        _cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<(), PortError>> {
        for gate in 0..job.gates.len() {
            let passed = Verdict::Passed { flaky: false };
            let run = Box::new(GateRun::in_name_only(GateOutcome::Passed, Some(passed), 0));
            // The engine listens until its last job has ended.
            let _ = news.send(JobNews::Started { job: job.job, gate, attempt: 1, node: None });
            let _ = news.send(JobNews::Finished { job: job.job, gate, attempt: 1, run });
        }
        ready(Ok(())).boxed()
    }
}

/// Says of every landing that it went well, and moves nothing.
#[derive(Clone, Copy, Debug)]
pub struct NothingMoves;

impl Lander for NothingMoves {
    fn land(&self, _: LandRequest, _: watch::Receiver<bool>) -> BoxFuture<'_, Result<LandOutcome, PortError>> {
        ready(Ok(LandOutcome::Landed { pushed_to: None, moved_checkouts: Vec::new() })).boxed()
    }

    fn recover(&self, _: LandRequest) -> BoxFuture<'_, Result<Recovery, PortError>> {
        ready(Ok(Recovery::NotLanded)).boxed()
    }

    fn whereabouts(&self, _: CommitId) -> BoxFuture<'_, Result<Whereabouts, PortError>> {
        ready(Ok(Whereabouts::There)).boxed()
    }

    fn write_receipt(&self, _: ApexId, _: serde_json::Value) -> BoxFuture<'_, Result<PathBuf, PortError>> {
        ready(Ok(PathBuf::new())).boxed()
    }
}

/// A dry run leaves nothing to resume.
#[derive(Clone, Copy, Debug)]
pub struct NothingKept;

impl Journal for NothingKept {
    fn append(&mut self, _: &Recorded) -> Result<(), PortError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), PortError> {
        Ok(())
    }
}

/// Nothing runs, so nothing is held.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

impl MemoryGauge for NoMemory {
    fn used_bytes(&self) -> Option<u64> {
        None
    }
}

/// Nothing runs, so nothing is kept busy.
#[derive(Clone, Copy, Debug)]
pub struct NoLoad;

impl LoadGauge for NoLoad {
    fn load(&self) -> Load {
        Load::default()
    }
}
