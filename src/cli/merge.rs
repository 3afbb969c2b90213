//! `lexpr merge`: wires git, gates, journal, metrics and faces to the engine and lets it run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::dry_run;
use super::faces::{self, Faces, Watched};
use super::failure::Failure;
use super::prepare::{self, Opened, Overrides, Prepared, Workshop, line_up};
use super::signals::Signals;
use super::{MergeArgs, ProgressKind, speak};
use crate::cache::VerdictCache;
use crate::clock::SystemClock;
use crate::core::judge::Surroundings;
use crate::core::limits::{DEFAULT_MAX_REBASES, Limits};
use crate::engine::{self, EngineError, Ports, RunSetup};
use crate::gate::processes::RecentProcesses;
use crate::gate::{GateSettings, LocalGates, own_executable};
use crate::git::land::{LanderSettings, LocalLander};
use crate::git::lock::RunLock;
use crate::git::quarantine::Quarantine;
use crate::git::slot::{SlotPool, SlotSettings, repository_id};
use crate::journal::JournalFile;
use crate::memory::{self, TreeMemory};
use crate::plan::Policy;
use crate::report::{Destination, Report};
use crate::runs::RunFolder;
use crate::vocabulary::event::{EVENT_FORMAT, FinalItem, RunStarted};
use crate::vocabulary::names::RunId;
use crate::wording::Paint;

/// Verdicts kept in memory.
const VERDICTS_KEPT: u64 = 100_000;

/// The share of the machine's available memory that a run takes where the plan sets no limit.
const DEFAULT_MEMORY_PERCENT: u64 = 80;

/// How a merge ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub exit_code: u8,
    /// In canonical order; empty for a dry run.
    pub items: Vec<FinalItem>,
}

/// Runs the command.
///
/// # Errors
/// Where the plan or command line is invalid, the target cannot be moved, or lexpr fails.
pub fn run(args: MergeArgs) -> Result<Outcome, Failure> {
    let destinations = destinations(&args.report)?;
    check_outputs(&args, &destinations)?;
    let overrides = Overrides {
        target: args.target.clone(),
        max_workers: args.max_workers,
        gate_timeout: args.gate_timeout.map(Duration::from_secs),
    };
    let source = args.plan.to_string_lossy().into_owned();
    let opened = prepare::open(&source, &args.repository.repo, &overrides)?;
    let runtime = runtime()?;
    if args.execute {
        runtime.block_on(execute(&args, opened, &destinations))
    } else {
        let report = runtime.block_on(dry_run::rehearse(opened))?;
        let exit_code = if report.is_clean() { engine::exit::ALL_LANDED } else { engine::exit::ITEMS_LEFT };
        if !destinations.iter().any(Destination::is_stdout) {
            speak::result(&report.text(Paint::for_stream(&std::io::stdout())))?;
        }
        faces::deliver(&Report::DryRun(Box::new(report)), &destinations)?;
        Ok(Outcome { exit_code, items: Vec::new() })
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("threads could not be started: {error}")))
}

/// Refuses what would only fail once main has moved: places that cannot be written to.
fn check_outputs(args: &MergeArgs, destinations: &[Destination]) -> Result<(), Failure> {
    if args.progress == ProgressKind::Json && destinations.iter().any(Destination::is_stdout) {
        return Err(Failure::usage("--progress json and a report cannot share standard output")
            .with_hint("give the report a file of its own"));
    }
    let files = args.report.iter().chain(&args.metrics_file);
    for file in files.filter(|file| !file.exists() || file.is_dir()) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
        if file.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", file.display())).with_hint("name a file in it"));
        }
        if file != Path::new("-") && !(folder.is_dir() && writable) {
            return Err(Failure::usage(format!("{} cannot be written", file.display()))
                .with_hint(format!("is {} a folder that you may write to?", folder.display())));
        }
    }
    let folders = args.artifact_dir.clone().into_iter().chain(args.execute.then(cache_root));
    for folder in folders {
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::usage(format!("{} cannot be made: {error}", folder.display())))?;
    }
    Ok(())
}

fn destinations(files: &[PathBuf]) -> Result<Vec<Destination>, Failure> {
    files
        .iter()
        .map(|file| Destination::from_path(file.clone()).map_err(|error| Failure::usage(error.to_string())))
        .collect()
}

/// The limits a plan's policy gives on this machine.
pub(super) fn limits(policy: &Policy) -> Limits {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    Limits {
        max_workers: policy.max_workers.unwrap_or(cores),
        batch_size: policy.performance.batch_size,
        fail_fast: policy.fail_fast,
        second_opinion: policy.second_opinion,
        spend: policy.spend,
        max_rebases: DEFAULT_MAX_REBASES,
    }
}

pub(super) fn surroundings(policy: &Policy) -> Surroundings {
    Surroundings {
        setup: policy.setup.as_ref().map(|setup| setup.definition),
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// lexpr's folder among the user's caches: `$XDG_CACHE_HOME/lexpr` or `~/.cache/lexpr`
/// (XDG Base Directory Specification).
pub(super) fn cache_root() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("lexpr")
}

pub(super) fn run_started(prepared: &Prepared, run: RunId, limits: &Limits, push: Option<String>) -> RunStarted {
    RunStarted {
        format: EVENT_FORMAT,
        run,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: prepared.source.clone(),
        plan_digest: prepared.digest,
        repository: prepared.repo.common_dir().to_string_lossy().into_owned(),
        target: prepared.target.full_name.clone(),
        base: prepared.target.commit,
        base_tree: prepared.target.tree,
        push,
        max_workers: limits.max_workers,
        batch_size: limits.batch_size,
        memory_limit_bytes: memory_limit(&prepared.policy),
        items: prepared.lined_up.clone(),
    }
}

/// What the plan allows, or most of what there is; `None` where it does not want to be held back
/// or nobody knows how much there is.
fn memory_limit(policy: &Policy) -> Option<u64> {
    if !policy.performance.throttle_on_memory {
        return None;
    }
    policy
        .performance
        .max_memory_bytes
        .or_else(|| memory::available_bytes().map(|available| available / 100 * DEFAULT_MEMORY_PERCENT))
}

fn memory_threshold(policy: &Policy) -> Option<u64> {
    memory_limit(policy).map(|limit| limit / 100 * u64::from(policy.performance.memory_threshold_percent))
}

/// A run's folder that is removed again unless the run begins.
struct Tentative {
    folder: RunFolder,
    has_begun: bool,
}

impl Tentative {
    fn create(common_dir: &Path) -> Result<Self, Failure> {
        let folder = RunFolder::create(common_dir).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self { folder, has_begun: false })
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        if !self.has_begun {
            // What cannot be removed has no journal and so counts as no run.
            let _ = std::fs::remove_dir_all(&self.folder.path);
        }
    }
}

/// A run, from the claim on its target to the last word on it.
async fn execute(args: &MergeArgs, opened: Opened, destinations: &[Destination]) -> Result<Outcome, Failure> {
    let common_dir = opened.repo.common_dir().to_owned();
    let mut tentative = Tentative::create(&common_dir)?;
    let folder = tentative.folder.clone();
    let _lock = RunLock::acquire(&common_dir, &opened.target.full_name, &folder.id)
        .map_err(|error| Failure::target(error.to_string()))?;
    let workshop = Workshop::in_folder(&folder.quarantine(), &opened)?;
    let prepared = line_up(opened, &workshop.composer).await?;
    let lander = lander(args, &prepared, &folder);
    lander.preflight(prepared.target.commit)?;
    lander.must_have_room_for(prepared.target.commit, &prepared.arriving)?;
    std::fs::write(folder.plan(), prepared.text.as_bytes())
        .map_err(|error| Failure::io("writing", &folder.plan(), &error))?;

    let processes = Arc::new(RecentProcesses::default());
    let gates = gates(args, &prepared, &workshop.quarantine, &folder, Arc::clone(&processes))?;
    let memory = Arc::new(TreeMemory::new(processes));
    let verdicts = verdict_cache(&prepared.policy);
    let faces = Faces::open(args, &prepared).await?;
    let journal = JournalFile::create(&folder.journal()).map_err(|error| Failure::internal(error.to_string()))?;
    let ports = Ports {
        composer: workshop.composer.clone(),
        gates: Arc::new(gates),
        lander: Arc::new(lander),
        clock: Arc::new(SystemClock::new()),
        memory: memory.clone(),
        verdicts: verdicts.clone().map(|verdicts| verdicts as _),
    };
    let watched = Watched { memory: &memory, composer: &workshop.composer, verdicts: verdicts.as_deref() };
    let (signals, interrupts) = Signals::listen(faces.progress());

    tentative.has_begun = true;
    let setup = run_setup(&prepared, folder.id.clone(), args.push.clone());
    let ended = engine::run(setup, ports, Box::new(journal), faces.observers(watched), interrupts).await;
    faces.leave_terminal();
    let ended = ended.map_err(|error| broken_off(error, &folder.id))?;
    remove_composites(&workshop.quarantine);
    faces.tell_the_end(args, destinations)?;
    faces.linger(Duration::from_secs(args.metrics_linger), signals.next_after_the_run()).await;
    Ok(Outcome { exit_code: ended.exit_code, items: ended.items })
}

fn lander(args: &MergeArgs, prepared: &Prepared, folder: &RunFolder) -> LocalLander {
    LocalLander::new(LanderSettings {
        common_dir: prepared.repo.common_dir().to_owned(),
        started_in: prepared.repo.work_tree().map(Path::to_owned),
        quarantine: folder.quarantine(),
        target: prepared.target.full_name.clone(),
        push: args.push.clone(),
        no_sign: args.no_sign,
        run_dir: folder.path.clone(),
    })
}

fn gates(
    args: &MergeArgs,
    prepared: &Prepared,
    quarantine: &Quarantine,
    folder: &RunFolder,
    processes: Arc<RecentProcesses>,
) -> Result<LocalGates, Failure> {
    let slots = SlotPool::new(SlotSettings {
        cache_root: cache_root(),
        repository_id: repository_id(prepared.repo.common_dir()),
        object_dirs: vec![prepared.repo.objects().to_owned(), quarantine.objects()],
        target_branch: prepared.target.short_name().to_owned(),
    });
    let settings = GateSettings {
        run: folder.id.clone(),
        logs: folder.logs(),
        artifacts: artifact_dir(args, folder)?,
        guard_exe: own_executable().map_err(|error| Failure::internal(format!("finding lexpr itself: {error}")))?,
        environment: std::env::vars_os().collect(),
        grace: GateSettings::DEFAULT_GRACE,
    };
    Ok(LocalGates::new(settings, slots, processes))
}

fn artifact_dir(args: &MergeArgs, folder: &RunFolder) -> Result<PathBuf, Failure> {
    match &args.artifact_dir {
        None => Ok(folder.artifacts()),
        Some(asked_for) => std::path::absolute(asked_for).map_err(|error| Failure::io("finding", asked_for, &error)),
    }
}

fn verdict_cache(policy: &Policy) -> Option<Arc<VerdictCache>> {
    policy.performance.caching.then(|| Arc::new(VerdictCache::new(VERDICTS_KEPT, policy.performance.cache_ttl)))
}

fn run_setup(prepared: &Prepared, run: RunId, push: Option<String>) -> RunSetup {
    let limits = limits(&prepared.policy);
    RunSetup {
        started: run_started(prepared, run, &limits, push),
        graph: Arc::clone(&prepared.graph),
        items: prepared.items.clone(),
        policy: Arc::clone(&prepared.policy),
        limits,
        surroundings: surroundings(&prepared.policy),
        memory_threshold: memory_threshold(&prepared.policy),
    }
}

/// lexpr failed in the middle of a run: what it did until then can be seen.
fn broken_off(error: EngineError, run: &RunId) -> Failure {
    let failure = Failure::from(error);
    let seen = format!("the journal of run {run} has what happened before: lexpr status {run}");
    Failure { hint: Some(failure.hint.map_or(seen.clone(), |hint| format!("{hint}; {seen}"))), ..failure }
}

/// What landed is in the user's store by now, and everything else can be made again.
fn remove_composites(quarantine: &Quarantine) {
    // What cannot be removed costs space and nothing else.
    let _ = std::fs::remove_dir_all(quarantine.folder());
}
