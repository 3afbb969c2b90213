//! `lexpr merge`: wires git, gates, journal, metrics and faces to the engine and lets it run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::dry_run;
use super::failure::Failure;
use super::prepare::{self, Opened, Overrides, Prepared, Workshop, line_up};
use super::{MergeArgs, ProgressKind, speak};
use crate::cache::VerdictCache;
use crate::clock::SystemClock;
use crate::core::judge::Surroundings;
use crate::core::limits::{DEFAULT_MAX_REBASES, Limits};
use crate::engine::{self, Observer, Ports, RunSetup};
use crate::gate::processes::RecentProcesses;
use crate::gate::{GateSettings, LocalGates, own_executable};
use crate::git::land::{LanderSettings, LocalLander};
use crate::git::lock::RunLock;
use crate::git::quarantine::Quarantine;
use crate::git::slot::{SlotPool, SlotSettings, repository_id};
use crate::journal::JournalFile;
use crate::memory::{self, TreeMemory};
use crate::metrics::{Cache, CacheCounts, Metrics};
use crate::plan::Policy;
use crate::ports::MemoryGauge as _;
use crate::progress::{Choice, Progress};
use crate::report::json::RunReport;
use crate::report::view::RunView;
use crate::report::{Destination, Report, summary};
use crate::runs::RunFolder;
use crate::serve::Server;
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
        deliver(&Report::DryRun(Box::new(report)), &destinations)?;
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

/// Writes the report to every place that was asked for, and to the step's summary of a CI server.
fn deliver(report: &Report, destinations: &[Destination]) -> Result<(), Failure> {
    let failed = |error: crate::output::OutputError| Failure::internal(error.to_string());
    for destination in destinations {
        report.write(destination).map_err(failed)?;
    }
    match std::env::var_os("GITHUB_STEP_SUMMARY") {
        Some(file) if !file.is_empty() => report.append_step_summary(Path::new(&file)).map_err(failed),
        _ => Ok(()),
    }
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
struct Tentative(Option<RunFolder>);

impl Tentative {
    fn begun(mut self) -> Option<RunFolder> {
        self.0.take()
    }
}

impl Drop for Tentative {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // What cannot be removed has no journal and so counts as no run.
            let _ = std::fs::remove_dir_all(&folder.path);
        }
    }
}

async fn execute(args: &MergeArgs, opened: Opened, destinations: &[Destination]) -> Result<Outcome, Failure> {
    let common_dir = opened.repo.common_dir().to_owned();
    let folder = RunFolder::create(&common_dir).map_err(|error| Failure::internal(error.to_string()))?;
    let tentative = Tentative(Some(folder.clone()));
    let run = folder.id.clone();
    let _lock = RunLock::acquire(&common_dir, &opened.target.full_name, &run)
        .map_err(|error| Failure::target(error.to_string()))?;
    let Workshop { quarantine, composer } = Workshop::in_folder(&folder.quarantine(), &opened)?;
    let prepared = line_up(opened, &composer).await?;
    let lander = LocalLander::new(LanderSettings {
        common_dir: common_dir.clone(),
        started_in: prepared.repo.work_tree().map(Path::to_owned),
        quarantine: folder.quarantine(),
        target: prepared.target.full_name.clone(),
        push: args.push.clone(),
        no_sign: args.no_sign,
        run_dir: folder.path.clone(),
    });
    lander
        .preflight(prepared.target.commit)
        .and_then(|()| lander.must_have_room_for(prepared.target.commit, &prepared.arriving))
        .map_err(|refusal| Failure::target(refusal.to_string()))?;
    std::fs::write(folder.plan(), prepared.text.as_bytes())
        .map_err(|error| Failure::io("writing", &folder.plan(), &error))?;

    let policy = Arc::clone(&prepared.policy);
    let limits = limits(&policy);
    let slots = SlotPool::new(SlotSettings {
        cache_root: cache_root(),
        repository_id: repository_id(&common_dir),
        object_dirs: vec![prepared.repo.objects().to_owned(), quarantine.objects()],
        target_branch: prepared.target.short_name().to_owned(),
    });
    let processes = Arc::new(RecentProcesses::default());
    let gate_settings = GateSettings {
        run: run.clone(),
        logs: folder.logs(),
        artifacts: artifact_dir(args, &folder)?,
        guard_exe: own_executable().map_err(|error| Failure::internal(format!("finding lexpr itself: {error}")))?,
        environment: std::env::vars_os().collect(),
        grace: GateSettings::DEFAULT_GRACE,
    };
    let gates = LocalGates::new(gate_settings, slots, Arc::clone(&processes));
    let memory = Arc::new(TreeMemory::new(processes));
    let verdicts =
        policy.performance.caching.then(|| Arc::new(VerdictCache::new(VERDICTS_KEPT, policy.performance.cache_ttl)));

    let metrics = Arc::new(Metrics::new());
    metrics.observe_dependency_resolution(prepared.resolution.as_secs_f64());
    metrics.set_cache(Cache::Order, counts(prepared.order_cache));
    let server = match &args.metrics_addr {
        Some(address) => {
            let started = Server::start(address, Arc::clone(&metrics)).await;
            let server = started.map_err(|error| Failure::usage(error.to_string()))?;
            speak::note(&format!("metrics: http://{}/metrics\n", server.address()));
            Some(server)
        }
        None => None,
    };

    let continued = Arc::new(AtomicBool::new(false));
    let progress = Progress::on_standard_streams(choice(args.progress), Arc::clone(&continued));
    let progress = Arc::new(Mutex::new(Some(progress)));
    let view = Mutex::new(RunView::default());
    let journal = JournalFile::create(&folder.journal()).map_err(|error| Failure::internal(error.to_string()))?;
    let setup = RunSetup {
        started: run_started(&prepared, run.clone(), &limits, args.push.clone()),
        graph: Arc::clone(&prepared.graph),
        items: prepared.items.clone(),
        policy: Arc::clone(&policy),
        limits,
        surroundings: surroundings(&policy),
        memory_threshold: memory_threshold(&policy),
    };
    let observers: Vec<Observer<'_>> = vec![
        Box::new(|recorded| locked(&view).apply(recorded)),
        Box::new(|recorded| {
            // Once for both faces: a reading adds up all processes.
            let used_bytes = memory.used_bytes().unwrap_or_default();
            metrics.apply(recorded);
            metrics.set_memory_usage(used_bytes);
            metrics.set_cache(Cache::Composite, counts(composer.stats().prefixes));
            if let Some(progress) = locked(&progress).as_mut() {
                progress.memory(used_bytes);
                progress.show(recorded);
            }
        }),
    ];
    let (signal_sender, signals) = mpsc::unbounded_channel();
    let listening = tokio::spawn(listen(signal_sender, Arc::clone(&progress)));
    let continuing = tokio::spawn(listen_for_continuation(continued));
    let ports = Ports {
        composer: composer.clone(),
        gates: Arc::new(gates),
        lander: Arc::new(lander),
        clock: Arc::new(SystemClock::new()),
        memory: memory.clone(),
        verdicts: verdicts.clone().map(|verdicts| verdicts as _),
    };
    tentative.begun();
    let ended = engine::run(setup, ports, Box::new(journal), observers, signals).await;
    let json_on_stdout = finish_progress(&progress);
    let ended = ended.map_err(|error| {
        let failure = Failure::from(error);
        let seen = format!("the journal of run {run} has what happened before: lexpr status {run}");
        Failure { hint: Some(failure.hint.map_or(seen.clone(), |hint| format!("{hint}; {seen}"))), ..failure }
    })?;
    remove_composites(&quarantine);
    let (hits, misses) = locked(&view).verdict_hits_and_misses();
    let evictions = verdicts.as_ref().map_or(0, |verdicts| verdicts.stats().evictions);
    metrics.set_cache(Cache::Verdict, CacheCounts { hits, misses, evictions });

    let report = RunReport::new(&locked(&view), metrics.values())
        .ok_or_else(|| Failure::internal("the run ended before it began"))?;
    if !json_on_stdout && !destinations.iter().any(Destination::is_stdout) {
        speak::result(&summary::text(&report, Paint::for_stream(&std::io::stdout())))?;
    }
    deliver(&Report::Execute(Box::new(report)), destinations)?;
    if let Some(file) = &args.metrics_file {
        metrics.write(file).map_err(|error| Failure::internal(error.to_string()))?;
    }
    if let Some(server) = server {
        server.linger(Duration::from_secs(args.metrics_linger), tokio::signal::ctrl_c()).await;
    }
    listening.abort();
    continuing.abort();
    Ok(Outcome { exit_code: ended.exit_code, items: ended.items })
}

fn choice(kind: ProgressKind) -> Choice {
    match kind {
        ProgressKind::Auto => Choice::Auto,
        ProgressKind::Live => Choice::Live,
        ProgressKind::Plain => Choice::Plain,
        ProgressKind::Json => Choice::Json,
        ProgressKind::None => Choice::None,
    }
}

fn artifact_dir(args: &MergeArgs, folder: &RunFolder) -> Result<PathBuf, Failure> {
    match &args.artifact_dir {
        None => Ok(folder.artifacts()),
        Some(asked_for) => std::path::absolute(asked_for).map_err(|error| Failure::io("finding", asked_for, &error)),
    }
}

fn counts(stats: crate::cache::CacheStats) -> CacheCounts {
    CacheCounts { hits: stats.hits, misses: stats.misses, evictions: stats.evictions }
}

/// A face that panicked must not keep the others from being shown.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True where standard output holds JSON lines and must hold nothing else.
fn finish_progress(progress: &Mutex<Option<Progress>>) -> bool {
    let Some(progress) = locked(progress).take() else { return false };
    let owns_stdout = progress.owns_stdout();
    progress.finish();
    owns_stdout
}

/// What landed is in the user's store by now, and everything else can be made again.
fn remove_composites(quarantine: &Quarantine) {
    // What cannot be removed costs space and nothing else.
    let _ = std::fs::remove_dir_all(quarantine.folder());
}

/// How long the live view may take to leave the terminal before the process ends at once.
const CLEARING: Duration = Duration::from_millis(200);

/// Tells the engine of the first signal that asks to stop; the second ends the process at once.
async fn listen(engine: mpsc::UnboundedSender<String>, progress: Arc<Mutex<Option<Progress>>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds =
        [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")];
    let mut streams = Vec::new();
    for (kind, name) in kinds {
        match signal(kind) {
            Ok(stream) => streams.push((stream, name)),
            Err(error) => speak::note(&format!("{name} cannot be listened to: {error}\n")),
        }
    }
    let mut told = false;
    while !streams.is_empty() {
        let next = futures::future::select_all(streams.iter_mut().map(|(stream, name)| {
            Box::pin(async move {
                stream.recv().await;
                *name
            })
        }));
        let (name, ..) = next.await;
        if told {
            let progress = Arc::clone(&progress);
            let clearing = tokio::task::spawn_blocking(move || finish_progress(&progress));
            // A terminal that takes nothing must not keep the process.
            let _ = tokio::time::timeout(CLEARING, clearing).await;
            // Guards end every gate once this process is gone.
            std::process::exit(i32::from(engine::exit::INTERRUPTED));
        }
        told = true;
        // The engine may have ended already.
        let _ = engine.send(name.to_owned());
        let progress = Arc::clone(&progress);
        // Not awaited, so that a terminal that takes nothing does not keep the second signal out.
        tokio::task::spawn_blocking(move || {
            let note = format!("{name}: stopping; again to stop at once");
            if !locked(&progress).as_mut().is_some_and(|progress| progress.note(&note)) {
                speak::note(&format!("\n{note}\n"));
            }
        });
    }
}

/// Sets `continued` whenever the process was stopped and goes on.
async fn listen_for_continuation(continued: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    // Without it a stop costs some stale lines on a terminal, and nothing else.
    let Ok(mut stream) = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())) else { return };
    while stream.recv().await.is_some() {
        continued.store(true, Ordering::Relaxed);
    }
}
