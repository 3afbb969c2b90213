//! The live view of a run on a terminal: a header with counts, memory and an estimate, one line
//! for every worker, and above them, scrolling away, the same lines that the plain view prints.
//!
//! Every line that is redrawn is cut to the terminal's width, so it works at 20 columns too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::facts::{lines, subject};
use crate::report::view::{RunView, Stage};
use crate::vocabulary::event::{Event, FinalStatus, JobPurpose, Recorded};
use crate::vocabulary::names::WorkerId;
use crate::wording::{Paint, Tone, bytes, duration, shown};

/// How often times on the screen move on: often enough that tenths of a second look alive,
/// seldom enough to cost nothing.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// The time, in milliseconds since the Unix epoch.
type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Draws a run on a terminal.
pub struct Live {
    view: RunView,
    paint: Paint,
    screen: MultiProgress,
    header: Option<ProgressBar>,
    workers: BTreeMap<WorkerId, ProgressBar>,
    memory_bytes: Option<u64>,
    now: Now,
    /// Redrawing goes on between events.
    ticking: bool,
}

impl Live {
    /// On standard error, which is a terminal.
    pub fn on_stderr(paint: Paint) -> Self {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        Self { ticking: true, ..Self::on(ProgressDrawTarget::stderr(), paint, Arc::new(now)) }
    }

    /// On any target and with any clock; it is redrawn when an event is shown, at no other time.
    pub fn on(target: ProgressDrawTarget, paint: Paint, now: Now) -> Self {
        Self {
            view: RunView::default(),
            paint,
            screen: MultiProgress::with_draw_target(target),
            header: None,
            workers: BTreeMap::new(),
            memory_bytes: None,
            now,
            ticking: false,
        }
    }

    pub fn show(&mut self, recorded: &Recorded) {
        self.view.apply(recorded);
        for line in lines(&self.view, recorded, self.paint) {
            // A terminal that went away ends nothing.
            let _ = self.screen.println(line);
        }
        match &recorded.event {
            Event::RunStarted(_) => {
                let header = self.line(self.view.started_at_ms);
                self.header = Some(self.screen.add(header));
            }
            Event::JobStarted(job) => {
                let line = self.line(recorded.at_ms);
                // By number, so that a worker does not jump about between jobs.
                let place = 1 + self.workers.range(..job.worker).count();
                self.workers.insert(job.worker, self.screen.insert(place, line));
            }
            Event::JobFinished { job } => {
                if let Some(worker) = self.view.jobs.get(job).map(|job| job.worker)
                    && let Some(line) = self.workers.remove(&worker)
                {
                    line.finish_and_clear();
                    self.screen.remove(&line);
                }
            }
            _ => {}
        }
        self.draw();
    }

    pub fn memory(&mut self, used_bytes: u64) {
        self.memory_bytes = Some(used_bytes);
        self.draw();
    }

    /// Takes the header and the workers' lines off the screen; what scrolled stays.
    pub fn finish(mut self) {
        for line in self.workers.values().chain(&self.header) {
            line.finish_and_clear();
        }
        self.workers.clear();
        let _ = self.screen.clear();
    }

    /// A line that begins with the time since `since_ms` and is cut to the screen's width.
    fn line(&self, since_ms: u64) -> ProgressBar {
        let (now, paint) = (Arc::clone(&self.now), self.paint);
        let elapsed = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let elapsed = duration(now().saturating_sub(since_ms));
            // Nothing can be done about a screen that takes no text.
            let _ = out.write_str(&paint.paint(Tone::Quiet, &format!("{elapsed:>6}")));
        };
        let style = ProgressStyle::with_template("{since} {wide_msg}")
            .expect("the template is well-formed")
            .with_key("since", elapsed);
        let line = ProgressBar::new_spinner().with_style(style);
        if self.ticking {
            line.enable_steady_tick(REDRAW_EVERY);
        }
        line
    }

    fn draw(&self) {
        for job in self.view.jobs.values().filter(|job| job.ended_at_ms.is_none()) {
            if let Some(line) = self.workers.get(&job.worker) {
                let gate = job.running.as_ref().map(|(gate, attempt, _)| {
                    let nth = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                    format!("{}{nth}", shown(gate.as_str()))
                });
                let what = self.paint.paint(Tone::Strong, &subject(&self.view, &job.purpose));
                line.set_message(format!("{what}: {}", gate.unwrap_or_else(|| "preparing".to_owned())));
            }
        }
        if let Some(header) = &self.header {
            header.set_message(self.headline());
        }
    }

    /// `3/12 landed, 2 passed, 1 failed, 512 MiB, 1m 20s left`, the most telling first.
    fn headline(&self) -> String {
        let view = &self.view;
        let with = |wanted: &[FinalStatus]| {
            let done = view.items.iter().filter(|item| view.stage(item) == Stage::Done);
            done.filter(|item| wanted.contains(&view.status(item))).count()
        };
        let landed = with(&[FinalStatus::Landed]);
        let total = view.items.iter().filter(|item| item.lined_up.already_landed.is_none()).count();
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
        if view.throttling.now {
            parts.push(self.paint.paint(Tone::Notice, "held back for memory"));
        }
        parts.extend(self.memory_bytes.map(bytes));
        parts.extend(remaining_ms(view, (self.now)()).map(|ms| format!("about {} left", duration(ms))));
        parts.join(", ")
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// How long the items that are not decided will keep the workers, going by the mean of those
/// that are: the longer of what all workers need together and what the longest chain of
/// dependencies needs one after another. `None` before there is anything to go by. What an apex
/// takes is not in it.
fn remaining_ms(view: &RunView, now_ms: u64) -> Option<u64> {
    let max_workers = u64::from(view.run.as_ref()?.max_workers.max(1));
    let ended: Vec<u64> = view
        .jobs
        .values()
        .filter(|job| matches!(job.purpose, JobPurpose::Cone { .. }))
        .filter_map(|job| Some(job.ended_at_ms?.saturating_sub(job.started_at_ms)))
        .collect();
    let mean = ended.iter().sum::<u64>().checked_div(ended.len() as u64)?;
    let mut together = 0;
    let mut chain: Vec<u64> = Vec::with_capacity(view.items.len());
    let mut position = BTreeMap::new();
    for (at, item) in view.items.iter().enumerate() {
        let own = match view.stage(item) {
            Stage::Waiting => mean,
            Stage::Running => mean.saturating_sub(now_ms.saturating_sub(item.started_at_ms.unwrap_or(now_ms))),
            Stage::Passed | Stage::Deferred | Stage::Done => 0,
        };
        together += own;
        let before = item.lined_up.deps.iter().filter_map(|dep| position.get(dep)).map(|&dep: &usize| chain[dep]).max();
        chain.push(before.unwrap_or(0) + own);
        position.insert(&item.lined_up.name, at);
    }
    let longest = chain.into_iter().max().unwrap_or(0);
    let left = longest.max(together / max_workers);
    (left > 0).then_some(left)
}
