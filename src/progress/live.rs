//! The live view of a run on a terminal: a header, one line for every busy worker, and above them, scrolling away, the
//! same lines that the plain view prints. What the block says is the picture's business, and how it gets onto the
//! terminal is the screen's; this is when, and from what.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::estimate::{Durations, remaining_ms};
use super::facts::{lines, subject_of};
use super::output::{Output, Running};
use super::picture::{At, Busy, Counts, Moment, rows};
use super::screen::{Screen, Stderr, Terminal};
use crate::output::Watched;
use crate::report::summary::limit_name;
use crate::report::view::{JobView, RunView, RunningGate, Stage, run_time_ms};
use crate::vocabulary::event::{Event, FinalStatus, Recorded, RunStarted};
use crate::vocabulary::names::{DefinitionDigest, JobId, VerdictKey};
use crate::wording::Paint;

/// The least time between two frames: fast enough to look immediate, and 500 items that are decided at once are no 500
/// frames. A frame in which nothing has changed is not written.
const FRAME_EVERY: Duration = Duration::from_millis(100);

/// How often is looked what gates have printed and how much memory they hold: nobody reads faster.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// When the ticker draws so late, it may have been stopped meanwhile.
const OVERSLEPT: Duration = Duration::from_millis(400);

/// How long the first frame after a stop waits for the news that there was one: a signal handler
/// and a task are to run before it, and nobody sees so short a delay.
const NEWS_OF_A_STOP: Duration = Duration::from_millis(30);

/// The time, in milliseconds since the Unix epoch.
type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What is shown beside events, and where it comes from.
#[derive(Default)]
pub struct Beside {
    /// The folder in which gates that run write their logs; their last lines are shown.
    pub logs: Option<PathBuf>,
    /// What gates took in earlier runs, in milliseconds.
    pub durations: HashMap<DefinitionDigest, u64>,
    /// Measures what lexpr and its gates hold, in bytes.
    pub memory: Option<Gauge>,
}

/// Measures something; `None` where it cannot.
pub type Gauge = Box<dyn Fn() -> Option<u64> + Send>;

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").field("logs", &self.logs).finish_non_exhaustive()
    }
}

/// Draws a run on a terminal.
pub struct Live {
    picture: Arc<Mutex<Picture>>,
    ticker: Option<Ticker>,
    /// Until a ticker takes it.
    sight: Option<Sight>,
}

impl Live {
    /// On standard error, which is a terminal; redrawn at intervals, too. `continued` is set by
    /// whoever hears that the process was stopped and goes on (SIGCONT).
    pub fn on_stderr(view: Arc<Mutex<RunView>>, paint: Paint, continued: Arc<AtomicBool>, beside: Beside) -> Self {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let mut live = Self::on(view, Stderr(Watched::new(std::io::stderr())), paint, Arc::new(now), continued, beside);
        live.ticker = live.sight.take().and_then(|sight| Ticker::start(Arc::clone(&live.picture), sight));
        locked(&live.picture).is_ticking = live.ticker.is_some();
        live
    }

    /// Over the `view` that the caller keeps up to date, on any terminal and with any clock; it is redrawn when asked to and when an event is
    /// shown, at no other time.
    pub fn on(
        view: Arc<Mutex<RunView>>,
        terminal: impl Terminal + 'static,
        paint: Paint,
        now: Now,
        continued: Arc<AtomicBool>,
        beside: Beside,
    ) -> Self {
        let Beside { logs, durations, memory } = beside;
        let picture = Picture {
            view,
            durations: Durations::new(durations),
            paint,
            screen: Screen::new(terminal),
            above: Vec::new(),
            memory_bytes: None,
            output: BTreeMap::new(),
            keys: BTreeMap::new(),
            now,
            continued,
            is_ticking: false,
            drawn: None,
            ticked: None,
        };
        let sight = Sight { output: logs.map(Output::of), memory };
        Self { picture: Arc::new(Mutex::new(picture)), ticker: None, sight: Some(sight) }
    }

    /// Shows an event that the view has taken in.
    pub fn show(&mut self, recorded: &Recorded) {
        let mut picture = locked(&self.picture);
        picture.take_in(recorded);
        let above = lines(&locked(&picture.view), recorded, picture.paint);
        picture.add(above);
    }

    /// Takes an event in that was shown by the process that recorded it.
    pub fn recall(&mut self, recorded: &Recorded) {
        locked(&self.picture).take_in(recorded);
    }

    /// Shows a line that is no event's, at once.
    pub fn note(&mut self, line: String) {
        let mut picture = locked(&self.picture);
        picture.above.push(line);
        picture.draw();
    }

    /// Is on the screen when it is drawn next.
    pub fn memory(&mut self, used_bytes: u64) {
        locked(&self.picture).memory_bytes = Some(used_bytes);
    }

    /// Looks what is to be shown beside events, and draws.
    pub fn redraw(&mut self) {
        if let Some(sight) = &mut self.sight {
            sight.look(&self.picture);
        }
        locked(&self.picture).draw();
    }

    /// Takes the header and the workers' lines off the screen; what scrolled stays.
    pub fn finish(mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.stop();
        }
        let picture = &mut *locked(&self.picture);
        picture.screen.draw(&std::mem::take(&mut picture.above), &[]);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// A frame that panicked must not keep the next ones from being drawn.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees what no event tells.
struct Sight {
    output: Option<Output>,
    memory: Option<Gauge>,
}

impl Sight {
    /// Reads files while nobody waits: events go on being shown meanwhile.
    fn look(&mut self, picture: &Mutex<Picture>) {
        let running = {
            let picture = locked(picture);
            let view = locked(&picture.view);
            busy(&view).into_iter().filter_map(|(id, job)| picture.running(*id, job)).collect()
        };
        let lines = self.output.as_mut().map(|output| output.look(running));
        let memory_bytes = self.memory.as_ref().and_then(|measure| measure());
        let mut picture = locked(picture);
        picture.output = lines.unwrap_or_default();
        picture.memory_bytes = memory_bytes.or(picture.memory_bytes);
    }
}

/// Draws between events, until it is stopped or dropped.
struct Ticker {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// `None` where no thread can be had; events are shown all the same.
    fn start(picture: Arc<Mutex<Picture>>, mut sight: Sight) -> Option<Self> {
        let (end, ended) = channel();
        let tick = move || {
            let mut looked: Option<Instant> = None;
            while ended.recv_timeout(FRAME_EVERY) == Err(RecvTimeoutError::Timeout) {
                if looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
                    sight.look(&picture);
                    looked = Some(Instant::now());
                }
                let mut picture = locked(&picture);
                picture.draw();
                picture.ticked = Some(Instant::now());
            }
        };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(tick).ok()?;
        Some(Self { end, thread })
    }

    fn stop(self) {
        drop(self.end);
        // What a frame panicked with has been said.
        let _ = self.thread.join();
    }
}

/// What is known of the run, and the screen it is drawn on.
struct Picture {
    /// Taken for as long as it is read, never while the terminal is written to: the run waits for it.
    view: Arc<Mutex<RunView>>,
    durations: Durations,
    paint: Paint,
    screen: Screen,
    /// Lines that are yet to be shown.
    above: Vec<String>,
    memory_bytes: Option<u64>,
    /// The last line of each gate that runs.
    output: BTreeMap<Running, String>,
    /// By which key each job's newest gate is known.
    keys: BTreeMap<JobId, VerdictKey>,
    now: Now,
    continued: Arc<AtomicBool>,
    /// Frames come by themselves.
    is_ticking: bool,
    drawn: Option<Instant>,
    /// When the ticker drew last.
    ticked: Option<Instant>,
}

impl Picture {
    fn take_in(&mut self, recorded: &Recorded) {
        self.durations.hear(&locked(&self.view), recorded);
        match &recorded.event {
            Event::GateStarted { job, key, .. } => drop(self.keys.insert(*job, *key)),
            Event::JobFinished { job } => drop(self.keys.remove(job)),
            _ => {}
        }
    }

    /// Shows `lines` now, or, where frames come by themselves and one has just been drawn, with the next.
    fn add(&mut self, lines: Vec<String>) {
        self.above.extend(lines);
        let has_just_drawn = self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME_EVERY);
        if !(self.is_ticking && has_just_drawn) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        // The ticker overslept, so the process may have been stopped, and the shell may have
        // written below the block.
        if self.ticked.is_some_and(|ticked| ticked.elapsed() > OVERSLEPT) {
            std::thread::sleep(NEWS_OF_A_STOP);
        }
        if self.continued.swap(false, Ordering::Relaxed) {
            self.screen.abandon();
        }
        let moment = {
            let view = locked(&self.view);
            view.run.as_ref().map(|run| self.moment(&view, run))
        };
        let block = moment.map_or_else(Vec::new, |moment| rows(&moment, self.screen.size(), self.paint));
        self.screen.draw(&std::mem::take(&mut self.above), &block);
        self.drawn = Some(Instant::now());
    }

    /// `None` between two gates.
    fn running(&self, id: JobId, job: &JobView) -> Option<Running> {
        match job.running.as_deref() {
            Some(RunningGate { gate, attempt, .. }) => {
                Some(Running { job: id, gate: Some((gate.clone(), *self.keys.get(&id)?)), attempt: *attempt })
            }
            None if job.is_elsewhere => None,
            // The setup writes a log beside the first gate's.
            None if job.attempts.is_empty() => Some(Running { job: id, gate: None, attempt: 1 }),
            None => None,
        }
    }

    fn moment(&self, view: &RunView, run: &RunStarted) -> Moment {
        let now_ms = (self.now)();
        let shown = |(id, job): (&JobId, &JobView)| {
            let running = job.running.as_deref();
            Busy {
                elapsed_ms: now_ms.saturating_sub(running.map_or(job.started_at_ms, |running| running.since_ms)),
                expected_ms: running.and_then(|running| self.durations.of_gate(job, &running.gate)),
                subject: subject_of(view, job),
                at: match running {
                    Some(RunningGate { gate, attempt, node, .. }) => {
                        At::Gate { name: gate.as_str().to_owned(), attempt: *attempt, node: node.clone() }
                    }
                    None if job.is_elsewhere => At::Queued,
                    None => At::Preparing,
                },
                output: match (&job.unreported, &job.held_up) {
                    (Some(unreported), _) => unreported.checks.to_string(),
                    (None, Some(held_up)) => held_up.why.clone(),
                    (None, None) => {
                        let printed = self.running(*id, job).and_then(|running| self.output.get(&running).cloned());
                        printed.unwrap_or_default()
                    }
                },
            }
        };
        Moment {
            elapsed_ms: run_time_ms(&view.pauses, view.started_at_ms, now_ms),
            counts: counts(view),
            stops: view.interrupted.is_some(),
            throttled: view.throttling.now,
            held_by: view.limits.now().map(|(limit, _)| limit_name(limit)).collect(),
            workers: view.resizing.adapts().then_some(view.resizing.workers),
            // Of a run that was asked to stop only what runs now is left.
            left_ms: if view.interrupted.is_some() { None } else { remaining_ms(view, now_ms, &self.durations) },
            memory_bytes: self.memory_bytes,
            memory_limit_bytes: run.memory_limit_bytes,
            verdicts: view.verdicts,
            busy: busy(view).into_iter().map(shown).collect(),
        }
    }
}

/// The workers by number, so that none jumps about between jobs.
fn busy(view: &RunView) -> Vec<(&JobId, &JobView)> {
    let jobs = view.jobs.iter().map(|(id, job)| (id, job.as_ref()));
    let mut busy: Vec<_> = jobs.filter(|(_, job)| job.ended_at_ms.is_none()).collect();
    busy.sort_by_key(|(_, job)| job.worker);
    busy
}

fn counts(view: &RunView) -> Counts {
    let mut counts = Counts::default();
    for item in &view.items {
        counts.total += usize::from(!item.is_in_place());
        let of_its_kind = match (view.stage(item), view.status(item)) {
            (Stage::Done, FinalStatus::Landed) => &mut counts.landed,
            (Stage::Done, FinalStatus::Failed) => &mut counts.failed,
            (Stage::Done, FinalStatus::Conflicted) => &mut counts.conflicted,
            (Stage::Done, FinalStatus::Blocked) => &mut counts.blocked,
            (Stage::Done, FinalStatus::Unjudged) => &mut counts.unjudged,
            (Stage::Done, FinalStatus::AlreadyLanded | FinalStatus::Skipped | FinalStatus::NotLanded) => continue,
            (Stage::Passed, _) => &mut counts.passed,
            (Stage::Running, _) => &mut counts.running,
            (Stage::Waiting | Stage::Deferred, _) => &mut counts.waiting,
        };
        *of_its_kind += 1;
    }
    counts
}
