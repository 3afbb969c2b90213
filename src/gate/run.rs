//! Gates on this machine: a slot and a guard per worker, kept for the whole run so that build
//! outputs stay warm. The order of things within one job is `job`'s.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::artifacts::Spare;
use super::client::Guard;
use super::job::{JobRun, blocking};
use super::processes::{self, RecentProcesses};
use crate::git::command::GitError;
use crate::git::slot::{Slot, SlotPool};
use crate::ports::{GateRunner, Job, JobNews, PortError};
use crate::vocabulary::names::{RunId, WorkerId};

/// What holds for all gates of one run.
#[derive(Clone, Debug)]
pub struct GateSettings {
    pub run: RunId,
    /// By which processes of the run are known, see [`crate::runs::RunFolder::mark`].
    pub mark: String,
    /// Absolute; made where missing. A file for each attempt and for each setup.
    pub logs: PathBuf,
    /// Absolute; made where something is kept.
    pub artifacts: PathBuf,
    /// What is started as `guard_exe guard`: lexpr itself, see [`own_executable`].
    pub guard_exe: PathBuf,
    /// The caller's environment, such as [`std::env::vars_os`] gives it.
    pub environment: Vec<(OsString, OsString)>,
    /// A log holds no more than this, and says what it does not hold.
    pub log_max_bytes: u64,
    /// Variables whose values are not written to logs, besides those whose names tell.
    pub redact: Vec<String>,
    /// From TERM to KILL when a gate's time is up or it is cancelled.
    pub grace: Duration,
    /// How long a container engine is waited for that does not answer, if the gate's own time is no shorter.
    pub engine_patience: Duration,
}

impl GateSettings {
    /// Long enough for a test runner to write its report, short enough to wait for at Ctrl-C.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
    /// A daemon that is started anew is back within a minute or two, with many containers and a slow disk.
    pub const ENGINE_PATIENCE: Duration = Duration::from_secs(180);
}

/// The program that runs, to be started again: on Linux by a name that stays right when the file
/// is replaced or removed meanwhile, such as by a gate that builds lexpr.
///
/// # Errors
/// Where the operating system does not tell.
pub fn own_executable() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

/// Runs gates in slots of this machine.
#[derive(Debug)]
pub struct LocalGates {
    pub(super) settings: GateSettings,
    pub(super) pool: SlotPool,
    pub(super) processes: Arc<RecentProcesses>,
    workers: Mutex<HashMap<WorkerId, Arc<tokio::sync::Mutex<Worker>>>>,
}

/// What one worker keeps from job to job.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) slot: Option<Slot>,
    pub(super) guard: Option<Guard>,
    pub(super) spare_shelf: Option<Spare>,
}

impl Worker {
    /// The slot that it has, or the first that nobody has.
    pub(super) async fn take_slot(&mut self, pool: &SlotPool) -> Result<Result<Slot, GitError>, PortError> {
        if let Some(slot) = self.slot.take() {
            return Ok(Ok(slot));
        }
        // A guard is of the slot that it was started for.
        self.guard = None;
        let pool = pool.clone();
        // What got away from its guard may still be at work in a slot.
        blocking(move || pool.take_unless(processes::is_somebody_in)).await
    }
}

impl LocalGates {
    /// `processes` is shared with whatever else measures this machine's processes.
    pub fn new(settings: GateSettings, pool: SlotPool, processes: Arc<RecentProcesses>) -> Self {
        Self { settings, pool, processes, workers: Mutex::default() }
    }

    /// Takes a slot for a worker that will soon have a gate to run, and starts a guard in it. What cannot be had now is
    /// asked for again by the gate, and whatever stands against it is told then.
    pub async fn warm_up(&self, worker: WorkerId) {
        let worker = self.worker(worker);
        let mut worker = worker.lock().await;
        let Ok(Ok(slot)) = worker.take_slot(&self.pool).await else { return };
        if let (None, Ok(at_work)) = (&worker.guard, slot.at_work()) {
            worker.guard = Guard::start(&self.settings.guard_exe, at_work).await.ok();
        }
        worker.slot = Some(slot);
    }

    pub(super) fn worker(&self, id: WorkerId) -> Arc<tokio::sync::Mutex<Worker>> {
        // Nothing in here can be half done.
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(workers.entry(id).or_default())
    }
}

impl GateRunner for LocalGates {
    fn run(
        &self,
        job: Job,
        news: mpsc::UnboundedSender<JobNews>,
        cancel: watch::Receiver<bool>,
    ) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let worker = self.worker(job.worker);
            let mut worker = worker.lock().await;
            JobRun::new(self, &mut worker, &job, news, cancel).run().await
        })
    }
}
