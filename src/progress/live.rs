//! The live view of a run on a terminal: a header with counts, memory and an estimate, one line
//! for every busy worker, and above them, scrolling away, the same lines that the plain view
//! prints. How they get onto the terminal is the screen's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::facts::{lines, subject};
use super::screen::{Screen, Stderr, Terminal};
use crate::output::Watched;
use crate::report::summary::limit_name;
use crate::report::view::{JobView, RunView, Stage};
use crate::vocabulary::event::{FinalStatus, JobPurpose, Recorded};
use crate::vocabulary::names::ItemName;
use crate::wording::{Paint, Tone, bytes, count, duration, list, shown};

/// How often times on the screen move on: often enough that tenths of a second look alive,
/// seldom enough to cost nothing.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// How long the first frame after a stop waits for the news that there was one: a signal handler
/// and a task are to run before it, and nobody sees so short a delay.
const NEWS_OF_A_STOP: Duration = Duration::from_millis(30);

/// The time, in milliseconds since the Unix epoch.
type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Draws a run on a terminal.
pub struct Live {
    picture: Arc<Mutex<Picture>>,
    ticker: Option<Ticker>,
}

impl Live {
    /// On standard error, which is a terminal; redrawn at intervals, too. `continued` is set by
    /// whoever hears that the process was stopped and goes on (SIGCONT).
    pub fn on_stderr(paint: Paint, continued: Arc<AtomicBool>) -> Self {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let mut live = Self::on(Stderr(Watched::new(std::io::stderr())), paint, Arc::new(now), continued);
        live.ticker = Ticker::start(Arc::clone(&live.picture));
        live
    }

    /// On any terminal and with any clock; it is redrawn when asked to and when an event is
    /// shown, at no other time.
    pub fn on(terminal: impl Terminal + 'static, paint: Paint, now: Now, continued: Arc<AtomicBool>) -> Self {
        let picture = Picture {
            view: RunView::default(),
            paint,
            screen: Screen::new(terminal),
            memory_bytes: None,
            now,
            continued,
            ticked: None,
        };
        Self { picture: Arc::new(Mutex::new(picture)), ticker: None }
    }

    pub fn show(&mut self, recorded: &Recorded) {
        let mut picture = locked(&self.picture);
        picture.view.apply(recorded);
        let above = lines(&picture.view, recorded, picture.paint);
        picture.draw(&above);
    }

    /// Takes an event in that was shown by the process that recorded it.
    pub fn recall(&mut self, recorded: &Recorded) {
        locked(&self.picture).view.apply(recorded);
    }

    /// Shows a line that is no event's.
    pub fn note(&mut self, line: String) {
        locked(&self.picture).draw(&[line]);
    }

    /// Is on the screen when it is drawn next.
    pub fn memory(&mut self, used_bytes: u64) {
        locked(&self.picture).memory_bytes = Some(used_bytes);
    }

    pub fn redraw(&mut self) {
        locked(&self.picture).draw(&[]);
    }

    /// Takes the header and the workers' lines off the screen; what scrolled stays.
    pub fn finish(mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.stop();
        }
        locked(&self.picture).screen.draw(&[], &[]);
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// A frame that panicked must not keep the next ones from being drawn.
fn locked(picture: &Mutex<Picture>) -> MutexGuard<'_, Picture> {
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws between events, until it is stopped or dropped.
struct Ticker {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// `None` where no thread can be had; events are shown all the same.
    fn start(picture: Arc<Mutex<Picture>>) -> Option<Self> {
        let (end, ended) = channel();
        let tick = move || {
            while ended.recv_timeout(REDRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
                let mut picture = locked(&picture);
                picture.draw(&[]);
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
    view: RunView,
    paint: Paint,
    screen: Screen,
    memory_bytes: Option<u64>,
    now: Now,
    continued: Arc<AtomicBool>,
    /// When the ticker drew last.
    ticked: Option<Instant>,
}

impl Picture {
    fn draw(&mut self, above: &[String]) {
        // The ticker overslept, so the process may have been stopped, and the shell may have
        // written below the block.
        if self.ticked.is_some_and(|ticked| ticked.elapsed() > 2 * REDRAW_EVERY) {
            std::thread::sleep(NEWS_OF_A_STOP);
        }
        if self.continued.swap(false, Ordering::Relaxed) {
            self.screen.abandon();
        }
        self.screen.draw(above, &self.block());
    }

    /// The header and the workers by number, so that none jumps about between jobs.
    fn block(&self) -> Vec<String> {
        if self.view.run.is_none() {
            return Vec::new();
        }
        let mut busy: Vec<_> = self.view.jobs.values().filter(|job| job.ended_at_ms.is_none()).collect();
        busy.sort_by_key(|job| job.worker);
        let workers = busy.into_iter().map(|job| {
            let gate = job.running.as_ref().map(|(gate, attempt, _)| {
                let nth = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                format!("{}{nth}", shown(gate.as_str()))
            });
            let what = self.paint.paint(Tone::Strong, &subject(&self.view, &job.purpose));
            self.line(job.started_at_ms, &format!("{what}: {}", gate.as_deref().unwrap_or("preparing")))
        });
        std::iter::once(self.line(self.view.started_at_ms, &self.headline())).chain(workers).collect()
    }

    /// A line that begins with the time since `since_ms`.
    fn line(&self, since_ms: u64, text: &str) -> String {
        let elapsed = duration((self.now)().saturating_sub(since_ms));
        format!("{} {text}", self.paint.paint(Tone::Quiet, &format!("{elapsed:>6}")))
    }

    /// `3/12 landed, 2 passed, 1 failed, 512 MiB, 1m 20s left`, the most telling first.
    fn headline(&self) -> String {
        let view = &self.view;
        let with = |wanted: &[FinalStatus]| {
            let done = view.items.iter().filter(|item| view.stage(item) == Stage::Done);
            done.filter(|item| wanted.contains(&view.status(item))).count()
        };
        let landed = with(&[FinalStatus::Landed]);
        let total = view.items.iter().filter(|item| !item.is_in_place()).count();
        let mut parts = vec![self.paint.paint(Tone::Strong, &format!("{landed}/{total} landed"))];
        let mut add = |number: usize, word: &str, tone: Tone| {
            if number > 0 {
                parts.push(self.paint.paint(tone, &format!("{number} {word}")));
            }
        };
        add(with(&[FinalStatus::Failed]), "failed", Tone::Bad);
        add(with(&[FinalStatus::Conflicted]), "conflicted", Tone::Bad);
        add(with(&[FinalStatus::Blocked]), "blocked", Tone::Notice);
        add(with(&[FinalStatus::Unjudged]), "unjudged", Tone::Notice);
        let at = |wanted: Stage| view.items.iter().filter(|item| view.stage(item) == wanted).count();
        add(at(Stage::Passed), "passed", Tone::Good);
        add(at(Stage::Running), "running", Tone::Quiet);
        add(at(Stage::Waiting) + at(Stage::Deferred), "waiting", Tone::Quiet);
        if view.interrupted.is_some() {
            parts.push(self.paint.paint(Tone::Notice, "stopping"));
        }
        if view.throttling.now {
            parts.push(self.paint.paint(Tone::Notice, "held back for memory"));
        }
        if view.resizing.adapts() {
            parts.push(count(view.resizing.workers as usize, "worker"));
        }
        let held: Vec<String> = view.limits.now().map(|(limit, _)| limit_name(limit)).collect();
        if !held.is_empty() {
            parts.push(self.paint.paint(Tone::Notice, &format!("held back by {}", list(&held))));
        }
        parts.extend(self.memory_bytes.map(bytes));
        // Of a run that was asked to stop only what runs now is left.
        let left = remaining_ms(view, (self.now)()).filter(|_| view.interrupted.is_none());
        parts.extend(left.map(|ms| format!("about {} left", duration(ms))));
        parts.join(", ")
    }
}

/// How long the items that are not decided will keep the workers, going by those that were gated so far: the
/// longer of what all workers need together and what the longest chain of dependencies needs one after another.
/// A job for a group keeps one worker for all of its items, and each of them as long. `None` before there is
/// anything to go by. What an apex takes is not in it.
fn remaining_ms(view: &RunView, now_ms: u64) -> Option<u64> {
    let workers = u64::from(view.resizing.workers.max(1));
    let is_alone = |purpose: &JobPurpose| matches!(purpose, JobPurpose::Cone { .. } | JobPurpose::Train { .. });
    let judges = |job: &&JobView| is_alone(&job.purpose) || matches!(job.purpose, JobPurpose::Group { .. });
    let (mut kept_ms, mut waited_ms, mut gated) = (0, 0, BTreeSet::new());
    // With how many others a worker is shared.
    let mut together: BTreeMap<&ItemName, u64> = BTreeMap::new();
    for job in view.jobs.values().filter(judges) {
        let items = view.gated_by(&job.purpose);
        let Some(ended_at_ms) = job.ended_at_ms else {
            together.extend(items.iter().map(|item| (item, items.len() as u64)));
            continue;
        };
        let took_ms = ended_at_ms.saturating_sub(job.started_at_ms);
        kept_ms += took_ms;
        waited_ms += took_ms * items.len() as u64;
        gated.extend(items);
    }
    let of_each = |ms: u64| ms.checked_div(gated.len() as u64);
    let (worker_ms, item_ms) = (of_each(kept_ms)?, of_each(waited_ms)?);
    let mut all_ms = 0;
    let mut chain: Vec<u64> = Vec::with_capacity(view.items.len());
    let mut position = BTreeMap::new();
    for (at, item) in view.items.iter().enumerate() {
        let name = &item.lined_up.name;
        let (of_worker, own) = match view.stage(item) {
            Stage::Waiting => (worker_ms, item_ms),
            Stage::Running => {
                let since_ms = now_ms.saturating_sub(item.started_at_ms.unwrap_or(now_ms));
                let left_ms = item_ms.saturating_sub(since_ms);
                (left_ms / together.get(name).copied().unwrap_or(1).max(1), left_ms)
            }
            Stage::Passed | Stage::Deferred | Stage::Done => (0, 0),
        };
        all_ms += of_worker;
        let before = item.lined_up.deps.iter().filter_map(|dep| position.get(dep)).map(|&dep: &usize| chain[dep]).max();
        chain.push(before.unwrap_or(0) + own);
        position.insert(name, at);
    }
    let longest = chain.into_iter().max().unwrap_or(0);
    let left = longest.max(all_ms / workers);
    (left > 0).then_some(left)
}
