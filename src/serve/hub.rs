//! What the live page is made of: the run's view, and its newest events for those who follow it.
//!
//! The run puts events in and waits for nobody. A follower asks for what comes after the event it has seen; what is no
//! longer there it is told to do without. So a slow reader costs nothing but its own connection.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::report::html::{Mode, Part, parts};
use crate::report::json::RunReport;
use crate::report::view::RunView;
use crate::vocabulary::event::Recorded;
use crate::vocabulary::names::JobId;

/// Events that are kept for followers, in bytes of JSON: some ten thousand.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Events that are handed out at once.
const AT_ONCE: usize = 256;

/// Making the page takes no more than this part of one processor, however many look at it.
const MOST_OF_A_PROCESSOR: u32 = 20;

/// A page that is opened says what time it is by then, give or take so much: a gate that takes long tells nothing meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// The run as its live page sees it.
#[derive(Debug)]
pub struct Hub {
    view: Arc<Mutex<RunView>>,
    metrics: Arc<Metrics>,
    /// Where logs of gates lie that are still running.
    logs: PathBuf,
    events: Mutex<Kept>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
    page: Mutex<Option<Made>>,
}

/// The newest events, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
}

/// The run as of a moment, made once for all who look.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub report: RunReport,
    pub parts: Vec<Part>,
    /// What a page is told that has them already, as JSON.
    pub json: Bytes,
}

/// The page's parts, as of a moment.
#[derive(Serialize)]
struct Told<'a> {
    /// The number of the newest event in it.
    seq: u64,
    finished: bool,
    /// When it was made, or the run ended, in milliseconds since the Unix epoch.
    now_ms: u64,
    parts: &'a [Part],
}

#[derive(Debug)]
struct Made {
    snapshot: Arc<Snapshot>,
    /// The number of the newest event in it.
    seq: u64,
    at: Instant,
    took: Duration,
}

/// What comes after an event that a follower has seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Following {
    /// The next ones, each with its number, as JSON; none where there are none yet.
    Events(Vec<(u64, Arc<str>)>),
    /// What was seen is not what comes before any that is kept; this is the number of the one before the first that is.
    Gone(u64),
}

impl Hub {
    /// A hub over the `view` that the caller keeps up to date.
    pub fn new(view: Arc<Mutex<RunView>>, metrics: Arc<Metrics>, logs: PathBuf) -> Self {
        let (newest, _) = watch::channel(0);
        Self { view, metrics, logs, events: Mutex::default(), newest, page: Mutex::default() }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn logs(&self) -> &PathBuf {
        &self.logs
    }

    /// Takes an event in that the view has taken in.
    pub fn show(&self, recorded: &Recorded) {
        let json: Arc<str> =
            serde_json::to_string(recorded).expect("an event has string keys and finite numbers").into();
        {
            let mut kept = locked(&self.events);
            kept.bytes += json.len();
            kept.events.push_back((recorded.seq, json));
            while kept.bytes > KEPT_BYTES {
                let Some((_, gone)) = kept.events.pop_front() else { break };
                kept.bytes -= gone.len();
            }
        }
        self.newest.send_replace(recorded.seq);
    }

    /// Is told of each new event.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(super) fn after(&self, seen: u64) -> Following {
        let kept = locked(&self.events);
        match (kept.events.front(), kept.events.back()) {
            (Some((first, _)), _) if *first > seen + 1 => Following::Gone(first - 1),
            // It has followed another run here, whose numbers say nothing of this one's.
            (Some((first, _)), Some((last, _))) if *last < seen => Following::Gone(first - 1),
            _ => {
                let from = kept.events.partition_point(|(seq, _)| *seq <= seen);
                Following::Events(kept.events.range(from..).take(AT_ONCE).cloned().collect())
            }
        }
    }

    /// What `question` finds in the run as it is now; nobody else does meanwhile.
    pub(super) fn with_view<T>(&self, question: impl FnOnce(&RunView) -> T) -> T {
        question(&locked(&self.view))
    }

    /// Whether this attempt of a gate goes on.
    pub(super) fn is_running(&self, job: JobId, gate: &str, attempt: u32) -> bool {
        self.with_view(|view| {
            let running = view.jobs.get(&job).and_then(|job| job.running.as_ref());
            running.is_some_and(|running| running.gate.as_str() == gate && running.attempt == attempt)
        })
    }

    /// The run so far, not older than the making of this allows; nothing before its first event. It may take as long as
    /// that is for somebody else.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let mut page = locked(&self.page);
        let newest = *self.newest.borrow();
        if let Some(made) = page.as_ref() {
            let (finished, age) = (made.snapshot.report.finished, made.at.elapsed());
            let is_young = !finished && age < made.took * MOST_OF_A_PROCESSOR;
            let is_as_it_is = made.seq >= newest && (finished || age < FRESH);
            if is_as_it_is || is_young {
                return Some(Arc::clone(&made.snapshot));
            }
        }
        let began = Instant::now();
        let mut view = self.with_view(RunView::clone);
        if view.ending.is_none() {
            view.goes_on(now_ms());
        }
        let report = RunReport::new(&view, BTreeMap::new())?;
        let parts = parts(&report, Mode::Live);
        let told = Told { seq: newest, finished: report.finished, now_ms: report.ended_at_ms, parts: &parts };
        let json = serde_json::to_vec(&told).expect("numbers and text are JSON").into();
        let snapshot = Arc::new(Snapshot { report, parts, json });
        *page = Some(Made { seq: newest, snapshot: Arc::clone(&snapshot), at: Instant::now(), took: began.elapsed() });
        Some(snapshot)
    }
}

/// By the clock that browsers go by, too.
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// A face that panicked must not keep the others from being shown.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::event::Event;

    fn hub() -> Hub {
        Hub::new(Arc::default(), Arc::new(Metrics::new()), PathBuf::new())
    }

    fn event(seq: u64, text: &str) -> Recorded {
        Recorded { seq, at_ms: seq, event: Event::Interrupted { signal: text.to_owned() } }
    }

    fn numbers(following: &Following) -> Vec<u64> {
        match following {
            Following::Events(events) => events.iter().map(|(seq, _)| *seq).collect(),
            Following::Gone(seq) => panic!("{seq}"),
        }
    }

    #[test]
    fn a_follower_gets_what_it_has_not_seen_in_order_and_some_at_once() {
        let hub = hub();
        assert_eq!(hub.after(0), Following::Events(Vec::new()));
        (1..=600).for_each(|seq| hub.show(&event(seq, "x")));
        assert_eq!(numbers(&hub.after(0)), (1..=256).collect::<Vec<_>>());
        assert_eq!(numbers(&hub.after(598)), [599, 600]);
        assert_eq!(numbers(&hub.after(600)), [0; 0]);
        assert_eq!(*hub.follow().borrow(), 600);
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_is_too_late_is_told() {
        let hub = hub();
        let large = "x".repeat(KEPT_BYTES / 3);
        (1..=4).for_each(|seq| hub.show(&event(seq, &large)));
        assert_eq!(hub.after(0), Following::Gone(2));
        assert_eq!(numbers(&hub.after(2)), [3, 4]);
        assert!(locked(&hub.events).bytes <= KEPT_BYTES);
    }

    #[test]
    fn who_followed_an_earlier_run_begins_anew() {
        let hub = hub();
        assert_eq!(hub.after(500), Following::Events(Vec::new()), "there is no run yet that could be another");
        (1..=3).for_each(|seq| hub.show(&event(seq, "x")));
        assert_eq!(hub.after(3), Following::Events(Vec::new()));
        assert_eq!(hub.after(500), Following::Gone(0));
        assert_eq!(numbers(&hub.after(0)), [1, 2, 3]);
    }
}
