//! A run under way, whether it is new or goes on: its hands, its faces and its journal are wired
//! to the engine, and what it came to is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;

use super::clearing::Clearing;
use super::faces::{Faces, Watched};
use super::failure::Failure;
use super::given::Options;
use super::lasting::{self, Lasting};
use super::on_finish::OnFinish;
use super::prepare::{Prepared, Workshop};
use super::signals::Signals;
use super::{FaceArgs, ProgressKind, leftovers, missing_checks, speak, tidying, turns};
use crate::clock::SystemClock;
use crate::core::judge::Surroundings;
use crate::core::limits::{Limits, Outcomes, elsewhere};
use crate::core::pool;
use crate::core::strategy::groups::divide;
use crate::crash;
use crate::durations::{self, Lesson, Recalled};
use crate::engine::{self, EngineError, Past, Ports, RunSetup};
use crate::gate::elsewhere::{AllGates, Exchange, GatesElsewhere};
use crate::gate::processes::RecentProcesses;
use crate::gate::{GateSettings, LocalGates, own_executable};
use crate::git::command::{Config, Git};
use crate::git::land::{LanderSettings, LocalLander};
use crate::git::lock::RunLock;
use crate::git::quarantine::Quarantine;
use crate::git::repo::UserRepo;
use crate::git::slot::{SlotPool, SlotSettings, repository_id};
use crate::journal::{self, JournalFile};
use crate::load::MachineLoad;
use crate::memory::{self, TreeMemory};
use crate::plan::file::DEFAULT_BATCH_SIZE;
use crate::plan::runtime::Runtime;
use crate::plan::{Landing, MaxWorkers, Policy};
use crate::report::{Destination, Report};
use crate::runs::{Hold, RunFolder};
use crate::vocabulary::event::{EVENT_FORMAT, FinalItem, OverrideGrant, RunStarted};
use crate::vocabulary::names::{RunId, WorkerId};
use crate::vocabulary::verdict::Fingerprint;

/// The share of the machine's available memory that a run takes where the plan sets no limit.
const DEFAULT_MEMORY_PERCENT: u64 = 80;

/// How a command that runs a plan ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub exit_code: u8,
    /// In canonical order; empty for a dry run.
    pub items: Vec<FinalItem>,
}

/// A run that may begin: nothing stands against it any more.
pub(super) struct Run<'a> {
    pub prepared: &'a Prepared,
    pub folder: &'a RunFolder,
    pub workshop: Workshop,
    pub lander: LocalLander,
    pub options: &'a Options,
    pub faces: &'a FaceArgs,
    pub destinations: &'a [Destination],
    /// When to stop as if asked to.
    pub deadline: Option<Duration>,
    /// What no other process has until the run has ended: its folder and, unless it is urgent, its target.
    pub held: (Hold, Option<RunLock>),
}

impl Run<'_> {
    /// Sees the run through, from its `past` where it has one, and tells its end.
    ///
    /// # Errors
    /// Where lexpr fails; what happened until then is in the journal.
    pub(super) async fn conduct(self, past: Option<Past>) -> Result<Outcome, Failure> {
        let Self { prepared, folder, workshop, lander, options, faces: asked, destinations, deadline, held } = self;
        if let Some(past) = &past {
            tell_of_the_cut(folder, past);
        }
        let processes = Arc::new(RecentProcesses::before_any_descendant());
        let gates = Arc::new(gates(options, prepared, &workshop.quarantine, folder, Arc::clone(&processes))?);
        if past.is_some() {
            // What it had elsewhere is cleared up at its end, whether it is asked for again or not.
            let all = prepared.graph.indices().flat_map(|ix| prepared.graph.gates(ix));
            all.for_each(|gate| gates.elsewhere().recall(&gate.runtime));
        }
        if past.is_none() {
            missing_checks::tell(prepared, gates.elsewhere()).await;
        }
        warm_up(&gates, prepared);
        let Lasting { fingerprint, verdicts } = lasting::open(prepared, folder, gates.here(), past.as_ref()).await?;
        let load = Arc::new(MachineLoad::new(Arc::clone(&processes)));
        let memory = Arc::new(TreeMemory::new(processes));
        let faces = Faces::open(asked, prepared, folder.logs(), &memory).await?;
        faces.measure_by(Arc::clone(&memory));
        let (progress, target) = (faces.progress(), prepared.target.full_name.clone());
        let lander = lander.told_to(move |awaited| progress.say(&turns::waiting_for(&target, awaited)));
        let ports = Ports {
            composer: workshop.composer.clone(),
            gates: gates.clone(),
            lander: Arc::new(lander),
            clock: Arc::new(SystemClock::new()),
            memory: memory.clone(),
            load,
            verdicts: verdicts.clone().map(|verdicts| verdicts as _),
        };
        let watched = Watched { memory: &memory, composer: &workshop.composer, verdicts: verdicts.as_deref() };
        let setup = run_setup(prepared, folder.id.clone(), options, fingerprint);
        let unwritable = |error: crate::journal::JournalError| Failure::internal(error.to_string());
        let (signals, interrupts) = Signals::listen(faces.progress(), deadline);
        let journal = match &past {
            None => JournalFile::create(&folder.journal()),
            Some(past) => JournalFile::reopen(&folder.journal(), past.cut_bytes),
        };
        let journal = Box::new(journal.map_err(unwritable)?);
        faces.recall(past.as_ref().map_or(&[], |past| &past.events));
        let lesson = Lesson::default();
        let mut observers = faces.observers(watched);
        observers.push(Box::new(|recorded| lesson.hear(recorded)));
        let ended = engine::run(past, setup, ports, journal, observers, interrupts).await;
        faces.leave_terminal();
        // Nothing is composed any more, and the report needs as much memory as what that was made of.
        drop(workshop);
        crash::point!("elsewhere.clear.before");
        let is_stopped = ended.as_ref().is_ok_and(|ended| ended.exit_code == engine::exit::INTERRUPTED);
        let clearing = Clearing { gates: gates.elsewhere(), is_hurried: is_stopped };
        if let Err(error) = clearing.to_its_end(signals.next_after_the_run()).await {
            let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            speak::must_know(&format!("{}{hint}; {}\n", error.message, taken_away_by(folder, is_stopped)));
        }
        leftovers::remove_containers(folder, &options.images);
        let remembered = verdicts.as_deref().map(lasting::close);
        lesson.keep(prepared.repo.common_dir());
        let report = faces.report(remembered).map(|report| Report::Execute(Box::new(report)));
        let finish = OnFinish { command: asked.on_finish.as_deref(), prepared, folder };
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let failure = broken_off(error, folder);
                finish.tell(report.as_ref(), failure.exit_code, signals.next_after_the_run()).await;
                return Err(failure);
            }
        };
        crash::point!("run.ended");
        tidying::tidy_up(&prepared.repo, folder, ended.exit_code)?;
        let report = report.ok_or_else(|| Failure::internal("the run ended before it began"))?;
        let told = faces.tell_the_end(asked, destinations, &report);
        let exit_code = told.as_ref().map_or_else(|failure| failure.exit_code, |()| ended.exit_code);
        // Whatever follows is not the run: others need not wait for it, and the command at the end may begin the next.
        drop(held);
        finish.tell(Some(&report), exit_code, signals.next_after_the_run()).await;
        told?;
        faces.linger(Duration::from_secs(asked.metrics_linger), signals.next_after_the_run()).await;
        Ok(Outcome { exit_code: ended.exit_code, items: ended.items })
    }
}

/// What takes away what a run left elsewhere.
fn taken_away_by(folder: &RunFolder, is_stopped: bool) -> String {
    let resumed =
        if is_stopped { format!("`lexpr resume {}` uses it or takes it away, ", folder.id) } else { String::new() };
    format!("{resumed}`lexpr clean {}` takes it away", folder.id)
}

/// Says what is cut off the end of a journal, however the run is shown: nothing of a record goes
/// without a word.
pub(super) fn tell_of_the_cut(folder: &RunFolder, past: &Past) {
    if past.cut_bytes > 0 {
        speak::note(&format!(
            "the last {} bytes of {} are no whole event, as a crash leaves them, and are cut off; the {} events before \
             them are whole\n",
            past.cut_bytes,
            folder.journal().display(),
            past.events.len()
        ));
    }
}

/// Threads for a run of so many workers. Each of them waits for the disk in one thread at most, and so do a landing
/// and the faces; more would each keep a heap of their own for nothing.
///
/// # Errors
/// Where the system starts none.
pub(super) fn runtime(workers: u32) -> Result<tokio::runtime::Runtime, Failure> {
    const BESIDE_THE_WORKERS: usize = 3;
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(usize::try_from(workers).unwrap_or(usize::MAX).saturating_add(BESIDE_THE_WORKERS))
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("threads could not be started: {error}")))
}

/// How long what nobody waits for any more, such as a git that a remote does not answer, may keep lexpr. Whoever resumes the
/// run waits for it.
const LONGEST_FAREWELL: Duration = Duration::from_secs(3);

/// Sees work through, and ends the threads.
pub(super) fn see_through<T>(runtime: tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LONGEST_FAREWELL);
    done
}

/// Refuses what would only fail once main has moved: places that cannot be written to.
pub(super) fn check_outputs(
    args: &FaceArgs,
    folders: impl IntoIterator<Item = PathBuf>,
    destinations: &[Destination],
) -> Result<(), Failure> {
    if args.progress == ProgressKind::Json && destinations.iter().any(Destination::is_stdout) {
        return Err(Failure::usage("--progress json and a report cannot share standard output")
            .with_hint("give the report a file of its own"));
    }
    let files = args.report.iter().chain(&args.metrics_file);
    for file in files.filter(|file| !file.exists() || file.is_dir()) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let writable = rustix::fs::access(folder, Access::WRITE_OK).is_ok();
        if file.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", file.display())).with_hint("name a file in it"));
        }
        if file != Path::new("-") && !(folder.is_dir() && writable) {
            return Err(Failure::usage(format!("{} cannot be written", file.display()))
                .with_hint(format!("is {} a folder that you may write to?", folder.display())));
        }
    }
    if let Some(file) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(&file);
        opened.map_err(|error| {
            Failure::usage(format!(
                "GITHUB_STEP_SUMMARY is {}, which cannot be written: {error}",
                Path::new(&file).display()
            ))
            .with_hint("unset it, or name a file that can be")
        })?;
    }
    for folder in folders {
        must_be_writable(&folder)?;
    }
    Ok(())
}

/// A folder for what a run makes, which is made where it is missing.
fn must_be_writable(folder: &Path) -> Result<(), Failure> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let made = std::fs::create_dir_all(folder);
    let Err(error) = made.and_then(|()| Ok(rustix::fs::access(folder, access)?)) else { return Ok(()) };
    let message = format!("{} cannot be made or written to: {error}", folder.display());
    if folder == cache_root() {
        let hint = "gates run there: make it writable for the user that runs lexpr, or name another folder in \
                    XDG_CACHE_HOME";
        return Err(Failure::internal(message).with_hint(hint));
    }
    Err(Failure::usage(message))
}

pub(super) fn destinations(files: &[PathBuf]) -> Result<Vec<Destination>, Failure> {
    files
        .iter()
        .map(|file| Destination::from_path(file.clone()).map_err(|error| Failure::usage(error.to_string())))
        .collect()
}

/// The limits a plan's policy gives on this machine, of a run without a history in which each item is gated by
/// itself.
pub(super) fn limits(policy: &Policy) -> Limits {
    let (max_workers, workers_at_first) = workers(policy.max_workers);
    Limits {
        landing: policy.landing,
        max_workers,
        elsewhere: 0,
        workers_at_first,
        batch_size: policy.performance.batch_size.unwrap_or(match policy.landing {
            Landing::Pyramid => DEFAULT_BATCH_SIZE,
            Landing::Batch | Landing::Train => u32::MAX,
        }),
        fail_fast: policy.fail_fast,
        second_opinion: policy.second_opinion,
        spend: policy.spend,
        max_rebases: policy.max_rebases,
        history: Outcomes::default(),
        groups: None,
    }
}

/// How many workers there may be, and how many at first where the pool adapts.
pub(super) fn workers(asked: Option<MaxWorkers>) -> (u32, Option<u32>) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let most = most_workers();
    match asked {
        None => (cores.min(most), None),
        Some(MaxWorkers::Fixed(workers)) => (workers.min(most), None),
        Some(MaxWorkers::Auto) => (cores.saturating_mul(pool::MOST_PER_CORE).min(most), Some(cores.min(most))),
    }
}

/// The same where nothing is measured: a pool that adapts stays as it begins.
pub(super) fn limits_beforehand(policy: &Policy) -> Limits {
    let limits = limits(policy);
    Limits { max_workers: limits.slots_at_first(), workers_at_first: None, ..limits }
}

/// As many as the limit on open files allows: a worker has a slot's locks and watch, a guard's pipes and, for
/// moments, those of a git.
pub(super) fn most_workers() -> u32 {
    const OF_LEXPR: u64 = 32;
    const OF_A_WORKER: u64 = 14;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let workers = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OF_LEXPR) / OF_A_WORKER);
    u32::try_from(workers).unwrap_or(u32::MAX).max(1)
}

pub(super) fn surroundings(policy: &Policy, fingerprint: Option<Fingerprint>) -> Surroundings {
    Surroundings {
        salt: policy.cache_salt.clone(),
        fingerprint,
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

pub(super) fn run_started(prepared: &Prepared, run: RunId, limits: &Limits, options: &Options) -> RunStarted {
    RunStarted {
        format: EVENT_FORMAT,
        run,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: prepared.source.clone(),
        arguments: options.arguments.clone(),
        directory: options.directory.clone(),
        plan_digest: prepared.digest,
        repository: prepared.repo.common_dir().to_string_lossy().into_owned(),
        target: prepared.target.full_name.clone(),
        base: prepared.target.commit,
        base_tree: prepared.target.tree,
        push: options.push.clone(),
        urgent: options.urgent,
        overrides: options.overrides.as_ref().map(|grant| Box::new(in_canonical_order(grant, prepared))),
        no_sign: options.no_sign,
        runtime: options.runtime.clone(),
        images: options.images.clone(),
        gate_timeout_ms: options.gate_timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        artifact_dir: options.artifact_dir.as_ref().map(|folder| folder.to_string_lossy().into_owned()),
        max_workers: limits.max_workers,
        workers_at_first: limits.workers_at_first,
        batch_size: limits.batch_size,
        memory_limit_bytes: memory_limit(&prepared.policy),
        fingerprint: None,
        items: prepared.lined_up.clone(),
    }
}

/// The items of a grant as the run lines them up.
fn in_canonical_order(grant: &OverrideGrant, prepared: &Prepared) -> OverrideGrant {
    let names = prepared.lined_up.iter().map(|item| &item.name);
    OverrideGrant { items: names.filter(|name| grant.items.contains(name)).cloned().collect(), ..grant.clone() }
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

/// What moves a run's target, and that of `push`, to what was made in the workshop, if there is one.
pub(super) fn lander(
    repo: &UserRepo,
    folder: &RunFolder,
    target: &str,
    push: Option<&str>,
    no_sign: bool,
    workshop: Option<&Workshop>,
) -> LocalLander {
    LocalLander::new(LanderSettings {
        common_dir: repo.common_dir().to_owned(),
        started_in: repo.work_tree().map(Path::to_owned),
        objects: repo.objects().to_owned(),
        quarantine: folder.quarantine(),
        made: workshop.map(|workshop| workshop.quarantine.store().clone()),
        target: target.to_owned(),
        push: push.map(str::to_owned),
        no_sign,
        run: folder.id.clone(),
        run_dir: folder.path.clone(),
    })
}

/// Says which hook a person may count on and lexpr does not start.
///
/// # Errors
/// Where git fails.
pub(super) fn tell_of_hooks(lander: &LocalLander) -> Result<(), Failure> {
    if let Some(hook) = lander.unasked_push_hook()? {
        speak::note(&format!("lexpr starts no hooks: {} is not asked about what is pushed\n", hook.display()));
    }
    Ok(())
}

fn gates(
    options: &Options,
    prepared: &Prepared,
    quarantine: &Quarantine,
    folder: &RunFolder,
    processes: Arc<RecentProcesses>,
) -> Result<AllGates, Failure> {
    let slots = SlotPool::new(SlotSettings {
        cache_root: cache_root(),
        repository_id: repository_id(prepared.repo.common_dir()),
        object_dirs: vec![prepared.repo.objects().to_owned(), quarantine.objects()],
        store: Some(quarantine.store().clone()),
        target_branch: prepared.target.short_name().to_owned(),
    });
    let artifacts = options.artifact_dir.clone().unwrap_or_else(|| folder.artifacts());
    let settings = gate_settings(&prepared.policy, folder, artifacts)?;
    let git = Git::new(quarantine.folder(), Config::Users);
    let exchange = Exchange::new(git, exchange_of(&prepared.policy, &prepared.repo), folder.id.clone());
    let elsewhere = GatesElsewhere::new(settings.clone(), exchange);
    Ok(AllGates::new(LocalGates::new(settings, slots, processes), elsewhere))
}

/// Has slots and guards ready for the first gates, as many as the machine runs at once, while the run begins.
fn warm_up(gates: &Arc<AllGates>, prepared: &Prepared) {
    let first = limits_beforehand(&prepared.policy).max_workers.min(workers(None).0);
    let left = prepared.graph.indices().zip(&prepared.lined_up).filter(|(_, item)| item.already_landed.is_none());
    let gates_of_all = left.flat_map(|(ix, _)| prepared.graph.gates(ix));
    let gates_here = gates_of_all.filter(|gate| gate.runtime.elsewhere().is_none());
    for worker in (0..first).zip(gates_here).map(|(worker, _)| WorkerId(worker)) {
        let gates = Arc::clone(gates);
        tokio::spawn(async move { gates.here().warm_up(worker).await });
    }
}

/// What holds for all gates of a run; `folder` is its own, or one that is used as such.
///
/// # Errors
/// Where lexpr cannot find itself.
pub(super) fn gate_settings(policy: &Policy, folder: &RunFolder, artifacts: PathBuf) -> Result<GateSettings, Failure> {
    Ok(GateSettings {
        run: folder.id.clone(),
        mark: folder.mark(),
        logs: folder.logs(),
        artifacts,
        guard_exe: own_executable().map_err(|error| Failure::internal(format!("finding lexpr itself: {error}")))?,
        environment: std::env::vars_os().collect(),
        log_max_bytes: policy.log_max_bytes,
        redact: policy.redact.clone(),
        grace: GateSettings::DEFAULT_GRACE,
        engine_patience: GateSettings::ENGINE_PATIENCE,
    })
}

/// Takes all that a run has elsewhere off these runtimes.
///
/// # Errors
/// Where one or the exchange cannot be asked, or something does not end.
pub(super) async fn clear_elsewhere(
    policy: &Policy,
    exchange: Exchange,
    folder: &RunFolder,
    runtimes: &[&Runtime],
) -> Result<(), Failure> {
    let settings = gate_settings(policy, folder, folder.artifacts())?;
    let elsewhere = GatesElsewhere::new(settings, exchange);
    runtimes.iter().for_each(|runtime| elsewhere.recall(runtime));
    Clearing { gates: &elsewhere, is_hurried: false }.to_its_end(std::future::pending::<()>()).await?;
    Ok(())
}

/// The address of what the plan's gates elsewhere get their commits from.
pub(super) fn exchange_of(policy: &Policy, repo: &UserRepo) -> String {
    policy.exchange.clone().unwrap_or_else(|| repo.common_dir().to_string_lossy().into_owned())
}

pub(super) fn run_setup(
    prepared: &Prepared,
    run: RunId,
    options: &Options,
    fingerprint: Option<Fingerprint>,
) -> RunSetup {
    let Recalled { gates, items } = durations::recall(prepared.repo.common_dir());
    let elsewhere = elsewhere(&prepared.graph);
    let mut limits = Limits { history: items, elsewhere, ..limits(&prepared.policy) };
    // It lands beside runs that may land all the time, and giving up is no way to be urgent.
    if options.urgent {
        limits.max_rebases = u32::MAX;
    }
    limits.groups = divide(&prepared.graph, prepared.policy.group_size, &limits);
    RunSetup {
        started: RunStarted { fingerprint: fingerprint.clone(), ..run_started(prepared, run, &limits, options) },
        graph: Arc::clone(&prepared.graph),
        items: prepared.items.clone(),
        policy: Arc::clone(&prepared.policy),
        limits,
        surroundings: surroundings(&prepared.policy, fingerprint),
        durations: Arc::new(gates.into_iter().collect()),
        memory_threshold: memory_threshold(&prepared.policy),
    }
}

/// lexpr failed in the middle of a run: what it did until then can be seen.
fn broken_off(error: EngineError, folder: &RunFolder) -> Failure {
    let failure = Failure::from(error);
    let seen = if journal::first(&folder.journal()).is_some() {
        format!("its journal has what happened before: `lexpr resume {}` goes on from there", folder.id)
    } else {
        "nothing was done: run the plan again".to_owned()
    };
    Failure { hint: Some(failure.hint.map_or(seen.clone(), |hint| format!("{hint}; {seen}"))), ..failure }
}
