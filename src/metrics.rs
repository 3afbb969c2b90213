//! The metrics of a run in Prometheus' text format, in a registry of their own.
//!
//! Counters and histograms are functions of events ([`Metrics::apply`]); what no event tells, such
//! as memory in use, is set by whoever knows it. Every series is there from the start, and no
//! label holds a name of an item, a branch or a gate.

mod limits;
mod memory;
mod queue;
mod registrar;
mod runtimes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::proto::MetricType;
use prometheus::{Encoder as _, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

use self::limits::LimitMetrics;
use self::memory::MemoryMetrics;
use self::queue::{QUEUE_STATES, Queue};
use self::registrar::Registrar;
use self::runtimes::RuntimeMetrics;
use crate::output::{OutputError, write_file};
use crate::vocabulary::event::{
    CompositePurpose, Decision, Event, GateFinished, GateOutcome, JobPurpose, PoolReason, Reason, Recorded, RunStarted,
    Verdict,
};
use crate::vocabulary::names::{ApexId, JobId, VerdictKey};

/// What `/metrics` answers with (prometheus.io, "Exposition formats", text format 0.0.4).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Gates take from a moment to hours.
const GATE_SECONDS: [f64; 14] =
    [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];

/// A merge takes well under a millisecond where nothing meets, and seconds in a huge repository.
const MERGE_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Ordering a plan is a matter of micro- and milliseconds.
const RESOLUTION_SECONDS: [f64; 8] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];

/// A plan takes from seconds to a day.
const PLAN_SECONDS: [f64; 12] = [1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 86_400.0];

/// What spares work: kept in memory for the length of a run, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Canonical orders by plan signature.
    Order,
    /// Composites by what they are made of.
    Composite,
    /// Gate verdicts by what they belong to.
    Verdict,
    /// Those of them that outlast a run, as this one used them.
    Lasting,
}

impl Cache {
    pub const ALL: [Self; 4] = [Self::Order, Self::Composite, Self::Verdict, Self::Lasting];

    fn label(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Composite => "composite",
            Self::Verdict => "verdict",
            Self::Lasting => "lasting",
        }
    }
}

/// How often a cache was asked since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

/// The passes that outlast a run, beside how often they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastingCounts {
    pub sets: u64,
    pub deletes: u64,
    pub entries: u64,
    pub size_bytes: u64,
    pub limit_bytes: u64,
}

/// Why an item's merge did not come about: the values of the label `reason`.
const FAILURE_REASONS: [&str; 10] = [
    "gate_failed",
    "conflict",
    "dependency_failed",
    "dependency_overridden",
    "dependencies_conflict",
    "block_on",
    "red_on_target",
    "dependencies_fail",
    "infrastructure",
    "unknown",
];

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gate_seconds: Histogram,
    merge_seconds: Histogram,
    resolution_seconds: Histogram,
    plan_seconds: Histogram,
    memory: MemoryMetrics,
    runtimes: RuntimeMetrics,
    active_workers: IntGauge,
    max_workers: IntGauge,
    workers_limit: IntGauge,
    pool_changes: IntCounterVec,
    merge_success: IntCounter,
    merge_failure: IntCounterVec,
    already_landed: IntCounter,
    gate_success: IntCounter,
    gate_failure: IntCounter,
    gate_inconclusive: IntCounterVec,
    gate_retries: IntCounter,
    gate_flakes: IntCounter,
    verdicts_reused: IntCounter,
    jobs: IntCounterVec,
    queue: IntGaugeVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    cache_evictions: IntCounterVec,
    lasting: Lasting,
    merges: IntCounterVec,
    limits: LimitMetrics,
    apexes: IntCounter,
    landings: IntCounter,
    target_moves: IntCounter,
    resumptions: IntCounter,
    overrides: IntCounter,
    undos: IntCounter,
    events: IntCounter,
    tracker: Mutex<Tracker>,
}

/// The passes that outlast a run.
#[derive(Debug)]
struct Lasting {
    sets: IntCounter,
    deletes: IntCounter,
    entries: IntGauge,
    size: IntGauge,
    limit: IntGauge,
}

/// What must be remembered between events.
#[derive(Debug, Default)]
struct Tracker {
    started_at_ms: u64,
    workers_at_first: i64,
    queue: Queue,
    /// And whether they have a slot.
    jobs: HashMap<JobId, (JobPurpose, bool)>,
    /// The number of items of each apex.
    heights: HashMap<ApexId, usize>,
    /// Those whose last attempt failed.
    failed: HashSet<VerdictKey>,
    caches: [CacheCounts; Cache::ALL.len()],
    merges: MergeCounts,
}

/// How many trees were merged by whom since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeCounts {
    /// In process.
    pub by_lexpr: u64,
    /// Where git was asked.
    pub by_git: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let all = Registrar { registry: Registry::new() };
        all.gauges("build_info", "lexpr's version, always 1.", "version", &[VERSION])
            .with_label_values(&[VERSION])
            .set(1);
        Self {
            gate_seconds: all.histogram(
                "gate_execution_seconds",
                "Time that one attempt of a gate took.",
                &GATE_SECONDS,
            ),
            merge_seconds: all.histogram(
                "merge_execution_seconds",
                "Time that making one composite took.",
                &MERGE_SECONDS,
            ),
            resolution_seconds: all.histogram(
                "dependency_resolution_seconds",
                "Time that ordering the plan's items by their dependencies took.",
                &RESOLUTION_SECONDS,
            ),
            plan_seconds: all.histogram("plan_execution_seconds", "Time that a run took.", &PLAN_SECONDS),
            memory: MemoryMetrics::new(&all),
            runtimes: RuntimeMetrics::new(&all),
            active_workers: all.gauge("active_workers", "Workers that hold a slot."),
            max_workers: all.gauge("max_workers", "Workers there may be at most."),
            workers_limit: all
                .gauge("workers_limit", "Workers there may be now: fewer at times where the pool adapts."),
            pool_changes: all.counters(
                "pool_changes_total",
                "Changes of how many workers there may be, by why.",
                "reason",
                &PoolReason::LABELS,
            ),
            merge_success: all.counter("merge_success_total", "Items that landed."),
            merge_failure: all.counters(
                "merge_failure_total",
                "Items that were decided not to land.",
                "reason",
                &FAILURE_REASONS,
            ),
            already_landed: all.counter("merge_already_landed_total", "Items that the target had already."),
            gate_success: all.counter("gate_success_total", "Attempts of gates that passed."),
            gate_failure: all
                .counter("gate_failure_total", "Attempts of gates that failed, were ended by a signal or timed out."),
            gate_inconclusive: all.counters(
                "gate_inconclusive_total",
                "Attempts of gates that say nothing of the tree.",
                "outcome",
                &["cancelled", "infrastructure", "rate_limited"],
            ),
            gate_retries: all.counter("gate_retries_total", "Attempts of gates after the first."),
            gate_flakes: all.counter("gate_flakes_total", "Gates that passed after failing on the same tree."),
            verdicts_reused: all
                .counter("verdicts_reused_total", "Gates that need not run: a pass is known from an earlier run."),
            jobs: all.counters(
                "jobs_total",
                "Jobs on a worker, by what for.",
                "purpose",
                &["cone", "group", "apex", "bisection", "second_opinion", "blame", "train"],
            ),
            queue: all.gauges(
                "queue_items",
                "Items of the run by how far they have come; over all states, all of them.",
                "state",
                &QUEUE_STATES,
            ),
            cache_hits: all.counters(
                "cache_hits_total",
                "Answers a cache had.",
                "cache",
                &Cache::ALL.map(Cache::label),
            ),
            cache_misses: all.counters(
                "cache_misses_total",
                "Answers a cache lacked.",
                "cache",
                &Cache::ALL.map(Cache::label),
            ),
            cache_evictions: all.counters(
                "cache_evictions_total",
                "Answers a cache gave up.",
                "cache",
                &Cache::ALL.map(Cache::label),
            ),
            lasting: Lasting {
                sets: all
                    .counter("verdict_cache_sets_total", "Passes of this run that were remembered for later ones."),
                deletes: all.counter(
                    "verdict_cache_deletes_total",
                    "Remembered passes that were removed because they were damaged.",
                ),
                entries: all.gauge("verdict_cache_entries", "Passes that were remembered when room was last made."),
                size: all.gauge(
                    "verdict_cache_size_bytes",
                    "What remembered passes took on the disk when room was last made.",
                ),
                limit: all.gauge("verdict_cache_limit_bytes", "What remembered passes may take on the disk."),
            },
            merges: all.counters("tree_merges_total", "Trees that were merged, by whom.", "by", &["lexpr", "git"]),
            limits: LimitMetrics::new(&all),
            apexes: all.counter("apexes_total", "Composites chosen to land."),
            landings: all.counter("landings_total", "Moves of the target."),
            target_moves: all.counter("target_moves_total", "Moves of the target by somebody else."),
            resumptions: all.counter("resumptions_total", "Times the run was taken up by a new process."),
            overrides: all
                .counter("overrides_total", "Items whose gates did not pass and that were let land all the same."),
            undos: all.counter("undos_total", "Times that the run's landings were taken back or brought again."),
            events: all.counter("events_total", "Events of the run."),
            tracker: Mutex::default(),
            registry: all.registry,
        }
    }

    /// Takes the next event in.
    pub fn apply(&self, recorded: &Recorded) {
        let mut tracker = self.lock();
        self.events.inc();
        self.limits.apply(recorded);
        self.memory.apply(recorded);
        self.runtimes.apply(recorded);
        match &recorded.event {
            Event::RunStarted(run) => self.run_started(&mut tracker, recorded.at_ms, run),
            Event::Composed(composed) => {
                self.merge_seconds.observe(composed.duration_us as f64 / 1e6);
                match composed.purpose {
                    CompositePurpose::Apex { apex } => drop(tracker.heights.insert(apex, composed.steps.len())),
                    CompositePurpose::Group { group } => tracker.queue.group_made(group, &composed.steps),
                    CompositePurpose::Cone { .. }
                    | CompositePurpose::Without { .. }
                    | CompositePurpose::Train { .. } => {}
                }
            }
            Event::JobStarted(job) => {
                // Those behind the last have no slot here: what they do runs elsewhere.
                let has_a_slot = i64::from(job.worker.0) < self.max_workers.get();
                self.active_workers.add(i64::from(has_a_slot));
                let purpose = match &job.purpose {
                    JobPurpose::Cone { .. } => "cone",
                    JobPurpose::Apex { apex, members }
                        if tracker.heights.get(apex).is_some_and(|height| *members as usize != *height) =>
                    {
                        "bisection"
                    }
                    JobPurpose::Apex { .. } => "apex",
                    JobPurpose::Group { .. } => "group",
                    JobPurpose::SecondOpinion { .. } => "second_opinion",
                    JobPurpose::Blame { .. } => "blame",
                    JobPurpose::Train { .. } => "train",
                };
                self.jobs.with_label_values(&[purpose]).inc();
                tracker.queue.job_started(&job.purpose);
                tracker.jobs.insert(job.job, (job.purpose.clone(), has_a_slot));
            }
            Event::JobFinished { job } => {
                if let Some((purpose, has_a_slot)) = tracker.jobs.remove(job) {
                    self.active_workers.sub(i64::from(has_a_slot));
                    tracker.queue.job_finished(&purpose);
                }
            }
            Event::GateFinished(run) => self.gate_finished(&mut tracker, run),
            Event::VerdictReused { .. } => self.verdicts_reused.inc(),
            Event::ItemDecided(decided) if decided.decision == Decision::Passed => tracker.queue.passed(&decided.item),
            Event::ItemDecided(decided) => {
                // A decision that replaces another is the same item's.
                if tracker.queue.done(&decided.item) {
                    let reason = decided.reason.as_ref().map_or("unknown", reason_label);
                    self.merge_failure.with_label_values(&[reason]).inc();
                }
            }
            Event::ApexFormed { apex, items, .. } => {
                self.apexes.inc();
                tracker.heights.insert(*apex, items.len());
            }
            Event::Landed(landed) => {
                let items = landed.items.len() as u64;
                if landed.from == landed.to {
                    self.already_landed.inc_by(items);
                } else {
                    self.landings.inc();
                    self.merge_success.inc_by(items);
                }
                for item in &landed.items {
                    tracker.queue.done(item);
                }
            }
            Event::TargetMoved { landed, .. } => {
                self.target_moves.inc();
                self.already_landed.inc_by(landed.len() as u64);
                for landed in landed {
                    // What depends on it waits for it no longer.
                    tracker.queue.passed(&landed.item);
                    tracker.queue.done(&landed.item);
                }
            }
            Event::PoolResized { to, reason, .. } => {
                self.workers_limit.set(i64::from(*to));
                self.pool_changes.with_label_values(&[reason.label()]).inc();
            }
            Event::RunResumed { max_workers, workers_at_first, .. } => {
                self.resumptions.inc();
                if let Some(max_workers) = *max_workers {
                    self.max_workers.set(i64::from(max_workers));
                    tracker.workers_at_first = i64::from(workers_at_first.unwrap_or(max_workers));
                }
                self.workers_limit.set(tracker.workers_at_first);
                self.active_workers.set(0);
                tracker.jobs.clear();
                tracker.queue.resumed();
            }
            Event::RunFinished { .. } => {
                self.plan_seconds.observe(recorded.at_ms.saturating_sub(tracker.started_at_ms) as f64 / 1e3);
            }
            Event::Overridden(_) => self.overrides.inc(),
            Event::Undone(_) => self.undos.inc(),
            // The rooms of memory and limits have what there is to know of some of these.
            Event::InputsDigested { .. }
            | Event::Throttled { .. }
            | Event::Unthrottled { .. }
            | Event::UndoIntended { .. }
            | Event::UndoGivenUp { .. }
            | Event::GateStarted { .. }
            | Event::ChecksMissing { .. }
            | Event::GateWaits { .. }
            | Event::LimitHeld { .. }
            | Event::LimitFreed { .. }
            | Event::ItemDeferred { .. }
            | Event::GroupFormed { .. }
            | Event::SingledOut { .. }
            | Event::GateRedOnTarget { .. }
            | Event::LandingIntended(_)
            | Event::Interrupted { .. }
            | Event::RunHalted { .. } => {}
        }
        for (state, number) in QUEUE_STATES.iter().zip(tracker.queue.counts()) {
            self.queue.with_label_values(&[state]).set(number);
        }
    }

    fn run_started(&self, tracker: &mut Tracker, at_ms: u64, run: &RunStarted) {
        tracker.started_at_ms = at_ms;
        self.max_workers.set(i64::from(run.max_workers));
        tracker.workers_at_first = i64::from(run.workers_at_first.unwrap_or(run.max_workers));
        self.workers_limit.set(tracker.workers_at_first);
        tracker.queue.line_up(run);
        let already_landed = run.items.iter().filter(|item| item.already_landed.is_some()).count();
        self.already_landed.inc_by(already_landed as u64);
    }

    fn gate_finished(&self, tracker: &mut Tracker, run: &GateFinished) {
        self.gate_seconds.observe(run.duration_ms as f64 / 1e3);
        if run.attempt > 1 {
            self.gate_retries.inc();
        }
        match &run.outcome {
            GateOutcome::Passed => self.gate_success.inc(),
            GateOutcome::Failed { .. }
            | GateOutcome::Signaled { .. }
            | GateOutcome::TimedOut { .. }
            | GateOutcome::OutOfMemory { .. } => {
                self.gate_failure.inc();
                tracker.failed.insert(run.key);
            }
            GateOutcome::Cancelled => self.gate_inconclusive.with_label_values(&["cancelled"]).inc(),
            GateOutcome::Infrastructure { .. } => self.gate_inconclusive.with_label_values(&["infrastructure"]).inc(),
            GateOutcome::RateLimited { .. } => self.gate_inconclusive.with_label_values(&["rate_limited"]).inc(),
        }
        if let Some(Verdict::Passed { flaky }) = run.verdict
            && (tracker.failed.remove(&run.key) || flaky)
        {
            self.gate_flakes.inc();
        }
    }

    /// Says how long ordering the plan took.
    pub fn observe_dependency_resolution(&self, seconds: f64) {
        self.resolution_seconds.observe(seconds);
    }

    /// Says how much memory lexpr and its gates hold now.
    pub fn set_memory_usage(&self, bytes: u64) {
        self.memory.set_usage(bytes);
    }

    /// What says from now on how much memory that is, in bytes, whenever the metrics are rendered: no event may come for long.
    pub fn ask_for_memory(&self, gauge: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        self.memory.ask(gauge);
    }

    /// Says how a cache was used since the run began; numbers that shrink are ignored.
    pub fn set_cache(&self, cache: Cache, now: CacheCounts) {
        let mut tracker = self.lock();
        let before = &mut tracker.caches[cache as usize];
        let raise = |counter: &IntCounterVec, before: &mut u64, now: u64| {
            counter.with_label_values(&[cache.label()]).inc_by(now.saturating_sub(*before));
            *before = now.max(*before);
        };
        raise(&self.cache_hits, &mut before.hits, now.hits);
        raise(&self.cache_misses, &mut before.misses, now.misses);
        raise(&self.cache_evictions, &mut before.evictions, now.evictions);
    }

    /// Says what came of the passes that outlast a run; counts that shrink are ignored.
    pub fn set_lasting(&self, now: LastingCounts) {
        let raise = |counter: &IntCounter, now: u64| counter.inc_by(now.saturating_sub(counter.get()));
        raise(&self.lasting.sets, now.sets);
        raise(&self.lasting.deletes, now.deletes);
        self.lasting.entries.set(as_gauge(now.entries));
        self.lasting.size.set(as_gauge(now.size_bytes));
        self.lasting.limit.set(as_gauge(now.limit_bytes));
    }

    /// Says how many trees were merged since the run began; numbers that shrink are ignored.
    pub fn set_merges(&self, now: MergeCounts) {
        let before = &mut self.lock().merges;
        let raise = |by: &str, before: u64, now: u64| {
            self.merges.with_label_values(&[by]).inc_by(now.saturating_sub(before));
            now.max(before)
        };
        before.by_lexpr = raise("lexpr", before.by_lexpr, now.by_lexpr);
        before.by_git = raise("git", before.by_git, now.by_git);
    }

    /// All series in Prometheus' text format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        self.memory.measure();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a buffer takes all that is written");
        String::from_utf8(text).expect("names, labels and help texts are UTF-8")
    }

    /// All series by name, with their labels, as `render` has them; of a histogram its `_sum` and
    /// `_count`.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for family in self.registry.gather() {
            let name = family.name();
            for metric in family.get_metric() {
                let labels: Vec<String> =
                    metric.get_label().iter().map(|label| format!("{}={:?}", label.name(), label.value())).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                match family.get_field_type() {
                    MetricType::COUNTER => {
                        values.insert(format!("{name}{labels}"), metric.get_counter().get_value());
                    }
                    MetricType::HISTOGRAM => {
                        let histogram = metric.get_histogram();
                        values.insert(format!("{name}_sum{labels}"), histogram.get_sample_sum());
                        values.insert(format!("{name}_count{labels}"), histogram.get_sample_count() as f64);
                    }
                    _ => {
                        values.insert(format!("{name}{labels}"), metric.get_gauge().get_value());
                    }
                }
            }
        }
        values
    }

    /// Writes [`Metrics::render`] to a file for node_exporter's textfile collector, which must
    /// never see half of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), OutputError> {
        write_file(file, self.render().as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Tracker> {
        // Counts that a panic left half done are no reason to end a run.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reason_label(reason: &Reason) -> &'static str {
    match reason {
        Reason::GateFailed { .. } => "gate_failed",
        Reason::Conflict { .. } => "conflict",
        Reason::DependencyFailed { .. } => "dependency_failed",
        Reason::DependencyOverridden { .. } => "dependency_overridden",
        Reason::DependenciesConflict { .. } => "dependencies_conflict",
        Reason::BlockOn { .. } => "block_on",
        Reason::RedOnTarget { .. } => "red_on_target",
        Reason::DependenciesFail { .. } => "dependencies_fail",
        Reason::Infrastructure { .. } => "infrastructure",
    }
}

fn as_gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
