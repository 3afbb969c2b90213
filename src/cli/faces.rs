//! The faces of one run: who is shown its events, and what is told where when it has ended.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use super::prepare::Prepared;
use super::{FaceArgs, ProgressKind, speak};
use crate::cache::CacheStats;
use crate::durations;
use crate::engine::{Observer, exit};
use crate::git::compose::ShadowComposer;
use crate::memory::TreeMemory;
use crate::metrics::{Cache, CacheCounts, LastingCounts, MergeCounts, Metrics};
use crate::output::OutputError;
use crate::ports::MemoryGauge as _;
use crate::progress::{Beside, Choice, Progress};
use crate::report::json::{RunReport, VerdictCacheReport};
use crate::report::view::{RunView, VerdictCounts};
use crate::report::{Destination, Report, github, summary};
use crate::serve::{Hub, Server};
use crate::verdicts::{Stats, Verdicts};
use crate::vocabulary::event::Recorded;
use crate::wording::{Paint, live_duration};

/// Everything that shows or measures a run.
pub(super) struct Faces {
    view: Arc<Mutex<RunView>>,
    hub: Option<Arc<Hub>>,
    metrics: Arc<Metrics>,
    server: Option<Server>,
    progress: SharedProgress,
}

/// What faces show beside events.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub memory: &'a TreeMemory,
    pub composer: &'a ShadowComposer,
    pub verdicts: Option<&'a Verdicts>,
}

impl Faces {
    /// # Errors
    /// Where the metrics cannot be served as asked.
    pub(super) async fn open(
        args: &FaceArgs,
        prepared: &Prepared,
        logs: PathBuf,
        memory: &Arc<TreeMemory>,
    ) -> Result<Self, Failure> {
        let metrics = Arc::new(Metrics::new());
        metrics.observe_dependency_resolution(prepared.resolution.as_secs_f64());
        metrics.set_cache(Cache::Order, counts(prepared.order_cache));
        let view: Arc<Mutex<RunView>> = Arc::default();
        let (mut hub, mut server) = (None, None);
        if let Some(address) = &args.metrics_addr {
            let page = Arc::new(Hub::new(Arc::clone(&view), Arc::clone(&metrics), logs.clone()));
            let started = Server::start(address, Arc::clone(&page)).await;
            let started = started.map_err(|error| Failure::usage(error.to_string()))?;
            speak::note(&format!("metrics: http://{}/metrics\n", started.address()));
            speak::note(&format!("live page: http://{}/\n", started.address()));
            (hub, server) = (Some(page), Some(started));
        }
        let memory = Arc::clone(memory);
        let beside = || Beside {
            logs: Some(logs),
            durations: durations::recall(prepared.repo.common_dir()).gates.into_iter().collect(),
            memory: Some(Box::new(move || memory.used_bytes())),
        };
        let progress = SharedProgress::new(args.shown_as(), Arc::clone(&view), beside);
        Ok(Self { view, hub, metrics, server, progress })
    }

    /// Takes in what a run recorded before it was resumed, and shows nothing of it.
    pub(super) fn recall(&self, past: &[Recorded]) {
        for recorded in past {
            locked(&self.view).apply(recorded);
            self.metrics.apply(recorded);
            self.progress.recall(recorded);
            self.put_on_the_page(recorded);
        }
    }

    /// Who looks at the metrics is told of the memory then, not as it was at the last event.
    pub(super) fn measure_by(&self, memory: Arc<TreeMemory>) {
        self.metrics.ask_for_memory(move || memory.used_bytes());
    }

    pub(super) fn progress(&self) -> SharedProgress {
        self.progress.clone()
    }

    pub(super) fn observers<'a>(&'a self, watched: Watched<'a>) -> Vec<Observer<'a>> {
        vec![Box::new(move |recorded| self.show(recorded, watched))]
    }

    fn show(&self, recorded: &Recorded, watched: Watched<'_>) {
        // Once for both faces: a reading adds up all processes.
        let used_bytes = watched.memory.used_bytes().unwrap_or_default();
        let VerdictCounts { hits, misses } = {
            let mut view = locked(&self.view);
            view.apply(recorded);
            view.verdicts
        };
        self.metrics.apply(recorded);
        self.metrics.set_cache(Cache::Verdict, CacheCounts { hits, misses, evictions: 0 });
        if let Some(verdicts) = watched.verdicts {
            self.measure(verdicts.stats());
        }
        self.metrics.set_memory_usage(used_bytes);
        let made = watched.composer.stats();
        self.metrics.set_cache(Cache::Composite, counts(made.prefixes));
        self.metrics.set_merges(MergeCounts { by_lexpr: made.merges.spliced, by_git: made.merges.by_git });
        self.progress.show(recorded, used_bytes);
        self.put_on_the_page(recorded);
    }

    fn put_on_the_page(&self, recorded: &Recorded) {
        if let Some(hub) = &self.hub {
            hub.show(recorded);
        }
    }

    fn measure(&self, verdicts: Stats) {
        let Stats { hits, misses, evictions, .. } = verdicts;
        self.metrics.set_cache(Cache::Lasting, CacheCounts { hits, misses, evictions });
        self.metrics.set_lasting(LastingCounts {
            sets: verdicts.sets,
            deletes: verdicts.deletes,
            entries: verdicts.entries,
            size_bytes: verdicts.size_bytes,
            limit_bytes: verdicts.limit_bytes,
        });
    }

    /// Takes away what is redrawn, so that other text can follow.
    pub(super) fn leave_terminal(&self) {
        self.progress.finish();
    }

    /// What the run came to, or has come to so far; `None` where it did not begin.
    pub(super) fn report(&self, verdicts: Option<Stats>) -> Option<RunReport> {
        let view = locked(&self.view);
        if let Some(verdicts) = verdicts {
            self.measure(verdicts);
        }
        let mut report = RunReport::new(&view, self.metrics.values())?;
        report.summary.verdict_cache = verdicts.map(|verdicts| VerdictCacheReport {
            hits: verdicts.hits,
            misses: verdicts.misses,
            hit_rate: verdicts.hit_rate(),
            sets: verdicts.sets,
            deletes: verdicts.deletes,
            evictions: verdicts.evictions,
            entries: verdicts.entries,
            size_bytes: verdicts.size_bytes,
            limit_bytes: verdicts.limit_bytes,
        });
        Some(report)
    }

    /// Says what the run came to, everywhere it was asked for.
    ///
    /// # Errors
    /// A place could not be written to; the others were.
    pub(super) fn tell_the_end(
        &self,
        args: &FaceArgs,
        destinations: &[Destination],
        report: &Report,
    ) -> Result<(), Failure> {
        let stdout_is_taken = args.progress == ProgressKind::Json || destinations.iter().any(Destination::is_stdout);
        let summed_up = match report {
            Report::Execute(report) if speak::is_quiet() => {
                speak::must_know(&summary::kept_from_its_end(report));
                Ok(())
            }
            Report::Execute(run) if !stdout_is_taken => {
                let stdout = std::io::stdout();
                // On a terminal what was shown of the run stands right above.
                let space = if stdout.is_terminal() { "\n" } else { "" };
                let text = summary::text(run, Paint::for_stream(&stdout));
                speak::result(&format!("{space}{text}{}", annotations(report)))
            }
            _ => Ok(()),
        };
        let delivered = deliver(report, destinations);
        let measured = args.metrics_file.as_ref().map_or(Ok(()), |file| self.metrics.write(file).map_err(unwritten));
        let shown = self.progress.was_shown_whole();
        first_failure([summed_up, delivered, measured, shown])
    }

    /// Goes on serving the metrics for so long, or until `cut` is ready.
    pub(super) async fn linger(self, linger: Duration, cut: impl Future) {
        if let Some(server) = self.server {
            if !linger.is_zero() {
                let served = live_duration(linger.as_secs().saturating_mul(1000));
                speak::note(&format!("the page and the metrics are served for {served} more; Ctrl-C ends that\n"));
            }
            server.linger(linger, cut).await;
        }
    }
}

/// For GitHub Actions, where that is what lexpr runs in; nothing elsewhere.
pub(super) fn annotations(report: &Report) -> String {
    let is_in_actions = std::env::var_os("GITHUB_ACTIONS").is_some_and(|set| set == "true");
    if is_in_actions { github::annotations(report) } else { String::new() }
}

/// Writes the report to every place that was asked for, and to the step's summary of a CI server.
///
/// # Errors
/// A place could not be written to; the others were.
pub(super) fn deliver(report: &Report, destinations: &[Destination]) -> Result<(), Failure> {
    let delivered = destinations.iter().map(|destination| report.write(destination).map_err(unwritten));
    let step_summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty());
    let appended = step_summary.map(|file| report.append_step_summary(Path::new(&file)).map_err(unwritten));
    first_failure(delivered.chain(appended))
}

fn unwritten(error: OutputError) -> Failure {
    Failure::internal(error.to_string())
}

/// The first of several failures; those after it are shown.
fn first_failure(results: impl IntoIterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let mut first = Ok(());
    for result in results {
        match result {
            Err(failure) if first.is_err() => speak::must_know(&failure.text()),
            Err(failure) => first = Err(failure),
            Ok(()) => {}
        }
    }
    first
}

fn counts(stats: CacheStats) -> CacheCounts {
    CacheCounts { hits: stats.hits, misses: stats.misses, evictions: stats.evictions }
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

/// The face on the terminal while the run goes on, for the engine and for whoever hears signals.
#[derive(Clone)]
pub(super) struct SharedProgress {
    face: Arc<Mutex<Option<Progress>>>,
    is_over: Arc<AtomicBool>,
    /// Not every event could be written.
    is_cut_short: Arc<AtomicBool>,
    /// To be set when the process was stopped and goes on.
    pub(super) continued: Arc<AtomicBool>,
}

impl SharedProgress {
    fn new(kind: ProgressKind, view: Arc<Mutex<RunView>>, beside: impl FnOnce() -> Beside) -> Self {
        let continued = Arc::new(AtomicBool::new(false));
        let face = Progress::on_standard_streams(choice(kind), view, Arc::clone(&continued), beside);
        Self {
            face: Arc::new(Mutex::new(Some(face))),
            is_over: Arc::default(),
            is_cut_short: Arc::default(),
            continued,
        }
    }

    fn show(&self, recorded: &Recorded, used_bytes: u64) {
        if let Some(face) = locked(&self.face).as_mut() {
            face.memory(used_bytes);
            if let Err(error) = face.show(recorded) {
                self.is_cut_short.store(true, Ordering::Relaxed);
                // The target must not be left half way for want of a reader.
                let failure = Failure::internal(OutputError::Stdout(error).to_string());
                let hint = "the run goes on; its journal has every event, and the exit code will be 1";
                speak::must_know(&failure.with_hint(hint).text());
            }
        }
    }

    fn recall(&self, recorded: &Recorded) {
        if let Some(face) = locked(&self.face).as_mut() {
            face.recall(recorded);
        }
    }

    /// The run has ended. Waits for no terminal.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn was_shown_whole(&self) -> Result<(), Failure> {
        // What is wrong was said when it happened.
        if self.is_cut_short.load(Ordering::Relaxed) { Err(Failure::shown(exit::LEXPR_FAILED)) } else { Ok(()) }
    }

    /// Shows a line that is no event's.
    pub(super) fn note(&self, line: &str) {
        if !locked(&self.face).as_mut().is_some_and(|face| face.note(line)) {
            speak::must_know(&format!("\n{line}\n"));
        }
    }

    /// Shows a line that is no event's where nobody has typed one.
    pub(super) fn say(&self, line: &str) {
        if !locked(&self.face).as_mut().is_some_and(|face| face.note(line)) {
            speak::must_know(&format!("{line}\n"));
        }
    }

    /// Takes away what is redrawn.
    pub(super) fn finish(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(face) = locked(&self.face).take() {
            face.finish();
        }
    }
}

/// A face that panicked must not keep the others from being shown.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
