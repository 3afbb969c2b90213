//! The loop that lands a plan: one task owns the state, asks the strategy what may happen next,
//! journals every fact before it acts on it, and waits for whatever finishes first.
//!
//! It knows no git, no process and no screen: those are [`crate::ports`] and observers of events.

mod receipt;
pub mod rehearsal;
mod throttle;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use tokio::sync::{mpsc, watch};

pub use receipt::{Receipt, ReceiptGate, ReceiptItem};
use throttle::Throttle;

use crate::core::judge::{Standing, Surroundings};
use crate::core::limits::Limits;
use crate::core::state::{ImpossibleTransition, RunState};
use crate::core::strategy::{Action, GateAction, LandAction, pyramid};
use crate::plan::graph::{Graph, ItemIx};
use crate::plan::{Gate, Policy};
use crate::ports::{
    Clock, ComposeItem, ComposeRequest, Composer, Composite, GateRun, GateRunner, Job, JobGateRun, JobNews, Journal,
    LandOutcome, LandRequest, Lander, MemoryGauge, PortError, VerdictStore,
};
use crate::vocabulary::event::{
    Composed, CompositePurpose, Event, FinalItem, FinalStatus, GateFinished, GateOutcome, HaltReason, JobGate,
    JobStarted, Landed, LandingIntended, Recorded, RunStarted, Verdict,
};
use crate::vocabulary::names::{CommitId, DefinitionDigest, JobId, SubjectDigest, TreeId, WorkerId};

/// How often memory is measured while gates run.
const MEMORY_SAMPLE_MS: u64 = 500;

/// Exit codes of a run, as the README lists them.
pub mod exit {
    pub const ALL_LANDED: u8 = 0;
    pub const LEXPR_FAILED: u8 = 1;
    pub const ITEMS_LEFT: u8 = 3;
    pub const TARGET_NOT_MOVED: u8 = 4;
    pub const INTERRUPTED: u8 = 130;
}

/// What a run is about.
#[derive(Clone, Debug)]
pub struct RunSetup {
    /// The first event, with all that was resolved.
    pub started: RunStarted,
    pub graph: Arc<Graph>,
    /// What the composer needs of each item, in canonical order.
    pub items: Vec<Arc<ComposeItem>>,
    pub policy: Arc<Policy>,
    pub limits: Limits,
    pub surroundings: Surroundings,
    /// Bytes of memory above which nothing new starts while something runs; `None`: no limit.
    pub memory_threshold: Option<u64>,
}

/// The outside world.
#[expect(missing_debug_implementations, reason = "trait objects say nothing of themselves")]
#[derive(Clone)]
pub struct Ports {
    pub composer: Arc<dyn Composer>,
    pub gates: Arc<dyn GateRunner>,
    pub lander: Arc<dyn Lander>,
    pub clock: Arc<dyn Clock>,
    pub memory: Arc<dyn MemoryGauge>,
    /// `None` where verdicts of other runs are not to be used.
    pub verdicts: Option<Arc<dyn VerdictStore>>,
}

/// Sees every event once it is journalled and applied.
pub type Observer<'a> = Box<dyn FnMut(&Recorded) + Send + 'a>;

/// lexpr could not do its job. What happened before it is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{doing}: {source}")]
    Port { doing: &'static str, source: PortError },
    /// What happens can no longer be recorded, so nothing may happen any more.
    #[error("writing the journal: {0}")]
    Journal(PortError),
    #[error("an impossible transition, which is a bug in lexpr: {0}")]
    Impossible(#[from] ImpossibleTransition),
}

fn port(doing: &'static str) -> impl FnOnce(PortError) -> EngineError {
    move |source| EngineError::Port { doing, source }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    pub exit_code: u8,
    /// In canonical order.
    pub items: Vec<FinalItem>,
}

/// Something that was under way and has ended.
enum Done {
    Composed {
        purpose: CompositePurpose,
        base: CommitId,
        result: Result<Composite, PortError>,
        duration_us: u64,
    },
    Digested {
        tree: TreeId,
        definition: DefinitionDigest,
        result: Result<SubjectDigest, PortError>,
    },
    Job {
        job: JobId,
        result: Result<(), PortError>,
    },
    Landing {
        action: LandAction,
        result: Result<LandingEnd, PortError>,
        duration_us: u64,
    },
    /// The run was abandoned before its first step.
    NeverBegun,
}

enum LandingEnd {
    Landed {
        pushed_to: Option<String>,
        moved_checkouts: Vec<String>,
        /// `None` where nothing had to be moved.
        receipt: Option<Result<String, PortError>>,
    },
    Moved {
        to: CommitId,
        to_tree: TreeId,
    },
    Refused {
        message: String,
    },
}

/// Runs a plan to its end.
///
/// `interrupts` yields the name of each signal that asks the run to stop; only the first counts.
///
/// # Errors
/// Where lexpr could not do its job; everything it had started has ended by then.
pub async fn run(
    setup: RunSetup,
    ports: Ports,
    journal: Box<dyn Journal + '_>,
    observers: Vec<Observer<'_>>,
    interrupts: mpsc::UnboundedReceiver<String>,
) -> Result<RunEnd, EngineError> {
    let state = RunState::new(Arc::clone(&setup.graph), setup.surroundings.clone());
    let (news_sender, news) = mpsc::unbounded_channel();
    let (cancel, _) = watch::channel(false);
    let throttle = Throttle::new(setup.memory_threshold, Arc::clone(&ports.memory));
    let mut engine = Engine {
        state,
        setup,
        ports,
        journal,
        observers,
        seq: 0,
        in_flight: Vec::new(),
        composing: HashSet::new(),
        digesting: HashSet::new(),
        running: HashMap::new(),
        news_sender,
        cancel,
        abandoned: Arc::new(AtomicBool::new(false)),
        throttle,
        passes: HashMap::new(),
    };
    let result = engine.drive(news, interrupts).await;
    if let Err(error) = &result {
        engine.abandon(error).await;
    }
    result
}

/// A job in work.
struct RunningJob {
    gates: Vec<JobGateRun>,
    /// It has come to a verdict on at least one of its gates.
    has_judged: bool,
}

struct Engine<'a> {
    state: RunState,
    setup: RunSetup,
    ports: Ports,
    journal: Box<dyn Journal + 'a>,
    observers: Vec<Observer<'a>>,
    seq: u64,
    in_flight: Vec<BoxFuture<'static, Done>>,
    composing: HashSet<CompositePurpose>,
    digesting: HashSet<(TreeId, DefinitionDigest)>,
    running: HashMap<JobId, RunningJob>,
    news_sender: mpsc::UnboundedSender<JobNews>,
    cancel: watch::Sender<bool>,
    /// Nothing that has not begun may begin any more.
    abandoned: Arc<AtomicBool>,
    throttle: Throttle,
    /// For receipts: what is known of each pass.
    passes: HashMap<crate::vocabulary::names::VerdictKey, ReceiptGate>,
}

impl Engine<'_> {
    async fn drive(
        &mut self,
        mut news: mpsc::UnboundedReceiver<JobNews>,
        mut interrupts: mpsc::UnboundedReceiver<String>,
    ) -> Result<RunEnd, EngineError> {
        self.record(Event::RunStarted(Box::new(self.setup.started.clone())))?;
        self.sync()?;
        let mut something_changed = true;
        loop {
            if something_changed {
                self.act()?;
            }
            if self.in_flight.is_empty() {
                break;
            }
            something_changed = true;
            self.throttle.sample_if_older(self.ports.clock.now_ms(), MEMORY_SAMPLE_MS);
            let wake = self.ports.clock.sleep_ms(self.throttle.sample_again_in_ms(MEMORY_SAMPLE_MS));
            tokio::select! {
                // News first: a job's last words must be heard before its end.
                biased;
                Some(signal) = interrupts.recv(), if !self.state.is_interrupted() => self.interrupt(signal)?,
                Some(news) = news.recv() => self.hear(news)?,
                (done, at, _) = select_all(&mut self.in_flight) => {
                    drop(self.in_flight.remove(at));
                    while let Ok(news) = news.try_recv() {
                        self.hear(news)?;
                    }
                    self.finish(done)?;
                }
                () = wake => something_changed = self.sample_memory()?,
            }
        }
        self.end()
    }

    /// Asks the strategy and does what it says, until there is nothing more to do but wait.
    fn act(&mut self) -> Result<(), EngineError> {
        loop {
            let actions = pyramid::next(&self.state, &self.setup.limits, &self.setup.policy);
            let (decisions, starts): (Vec<_>, Vec<_>) =
                actions.into_iter().partition(|action| matches!(action, Action::Record(_)));
            if decisions.is_empty() {
                if self.start_all(starts)? {
                    continue;
                }
                return Ok(());
            }
            // What else was asked for was asked without knowing of these.
            for decision in decisions {
                if let Action::Record(event) = decision {
                    self.record(event)?;
                }
            }
        }
    }

    /// True where something became known that the strategy did not know when it asked.
    fn start_all(&mut self, actions: Vec<Action>) -> Result<bool, EngineError> {
        let mut news = false;
        for action in actions {
            match action {
                Action::Record(event) => self.record(event)?,
                Action::Compose { purpose, base, items } => self.start_composing(purpose, base, &items),
                Action::Digest { tree, gate } => self.start_digesting(tree, &gate),
                Action::Gate(action) if self.reuse_verdicts(&action)? => news = true,
                Action::Gate(action) => self.start_job(action)?,
                Action::Land(action) => self.start_landing(action)?,
            }
        }
        Ok(news)
    }

    fn start_composing(&mut self, purpose: CompositePurpose, base: CommitId, items: &[ItemIx]) {
        if !self.composing.insert(purpose.clone()) {
            return;
        }
        let items = items.iter().map(|ix| Arc::clone(&self.setup.items[ix.get()])).collect();
        let composer = Arc::clone(&self.ports.composer);
        let begun = std::time::Instant::now();
        self.launch(async move {
            let result = composer.compose(ComposeRequest { base, items }).await;
            Done::Composed { purpose, base, result, duration_us: micros_since(begun) }
        });
    }

    /// Lets something happen beside the loop; it begins when the loop next waits.
    fn launch(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        let abandoned = Arc::clone(&self.abandoned);
        let unless_abandoned =
            async move { if abandoned.load(Ordering::Relaxed) { Done::NeverBegun } else { work.await } };
        self.in_flight.push(unless_abandoned.boxed());
    }

    fn start_digesting(&mut self, tree: TreeId, gate: &Gate) {
        let definition = gate.definition;
        if !self.digesting.insert((tree, definition)) {
            return;
        }
        let inputs = gate.inputs.clone().unwrap_or_default();
        let composer = Arc::clone(&self.ports.composer);
        self.launch(
            async move { Done::Digested { tree, definition, result: composer.digest_inputs(tree, inputs).await } },
        );
    }

    fn start_job(&mut self, action: GateAction) -> Result<(), EngineError> {
        if self.is_throttled()? {
            return Ok(());
        }
        let job = self.state.next_job();
        let worker = self.free_worker();
        let gates: Vec<JobGateRun> = action
            .gates
            .iter()
            .map(|keyed| JobGateRun {
                gate: Arc::clone(&keyed.gate),
                key: keyed.key,
                item: keyed.context.map(|ix| self.setup.graph.name(ix).clone()),
            })
            .collect();
        self.record(Event::JobStarted(Box::new(JobStarted {
            job,
            worker,
            purpose: action.purpose,
            commit: action.at.commit,
            tree: action.at.tree,
            gates: action
                .gates
                .iter()
                .map(|keyed| JobGate { name: keyed.gate.name.clone(), key: keyed.key, required: keyed.required })
                .collect(),
        })))?;
        self.running.insert(job, RunningJob { gates: gates.clone(), has_judged: false });
        let work = Job {
            job,
            worker,
            commit: action.at.commit,
            tree: action.at.tree,
            base: action.base,
            gates,
            fail_fast: self.setup.limits.fail_fast,
            clean_slot: action.clean_slot,
            setup: self.setup.policy.setup.clone().map(Arc::new),
        };
        let runner = Arc::clone(&self.ports.gates);
        let news = self.news_sender.clone();
        let cancel = self.cancel.subscribe();
        self.launch(async move { Done::Job { job, result: runner.run(work, news, cancel).await } });
        Ok(())
    }

    /// Records the passes that earlier runs found; true where there was one.
    fn reuse_verdicts(&mut self, action: &GateAction) -> Result<bool, EngineError> {
        let Some(store) = self.ports.verdicts.clone() else { return Ok(false) };
        // A second opinion wants to see for itself.
        if action.clean_slot {
            return Ok(false);
        }
        let mut reused = false;
        for keyed in &action.gates {
            if let Some(from) = store.pass(&keyed.key) {
                self.record(Event::VerdictReused { gate: keyed.gate.name.clone(), key: keyed.key, from })?;
                reused = true;
            }
        }
        Ok(reused)
    }

    fn free_worker(&self) -> WorkerId {
        let taken: HashSet<u32> = self.state.jobs().values().map(|job| job.worker.0).collect();
        WorkerId((0..).find(|worker| !taken.contains(worker)).unwrap_or(0))
    }

    fn is_throttled(&mut self) -> Result<bool, EngineError> {
        let running = !self.state.jobs().is_empty();
        let (throttled, event) = self.throttle.check(self.ports.clock.now_ms(), running);
        if let Some(event) = event {
            self.record(event)?;
        }
        Ok(throttled)
    }

    /// True where work that was held back may start.
    fn sample_memory(&mut self) -> Result<bool, EngineError> {
        self.throttle.sample(self.ports.clock.now_ms());
        Ok(self.throttle.is_holding() && !self.is_throttled()?)
    }

    fn start_landing(&mut self, action: LandAction) -> Result<(), EngineError> {
        if self.state.landing().is_some() {
            return Ok(());
        }
        let names = |items: &[ItemIx]| items.iter().map(|ix| self.setup.graph.name(*ix).clone()).collect::<Vec<_>>();
        self.record(Event::LandingIntended(Box::new(LandingIntended {
            apex: action.apex,
            from: action.from.commit,
            to: action.to.commit,
            tree: action.to.tree,
            items: names(&action.items),
            proof: action.proof.clone(),
            push: self.setup.started.push.clone(),
        })))?;
        self.sync()?;
        let begun = std::time::Instant::now();
        if action.from.commit == action.to.commit {
            // The target holds these items already; there is nothing to move.
            let landed = LandingEnd::Landed { pushed_to: None, moved_checkouts: Vec::new(), receipt: None };
            let done = Done::Landing { action, result: Ok(landed), duration_us: 0 };
            self.launch(futures::future::ready(done));
            return Ok(());
        }
        let request = LandRequest {
            apex: action.apex,
            from: action.from.commit,
            to: action.to.commit,
            tree: action.to.tree,
            items: action.items.iter().map(|ix| Arc::clone(&self.setup.items[ix.get()])).collect(),
        };
        let receipt = receipt::receipt(&self.setup, &self.passes, &action, self.ports.clock.now_ms());
        let lander = Arc::clone(&self.ports.lander);
        let composer = Arc::clone(&self.ports.composer);
        self.launch(async move {
            let apex = action.apex;
            let result = land(&*lander, &*composer, request, apex, receipt).await;
            Done::Landing { action, result, duration_us: micros_since(begun) }
        });
        Ok(())
    }

    fn hear(&mut self, news: JobNews) -> Result<(), EngineError> {
        match news {
            JobNews::Started { job, gate, attempt } => {
                if let Some(run) = self.running.get(&job).and_then(|running| running.gates.get(gate)) {
                    let (gate, key) = (run.gate.name.clone(), run.key);
                    self.record(Event::GateStarted { job, gate, key, attempt })?;
                }
            }
            JobNews::Finished { job, gate, attempt, run } => self.gate_finished(job, gate, attempt, *run)?,
        }
        Ok(())
    }

    fn gate_finished(&mut self, job: JobId, gate: usize, attempt: u32, run: GateRun) -> Result<(), EngineError> {
        let Some(running) = self.running.get_mut(&job) else { return Ok(()) };
        let Some(JobGateRun { gate, key, .. }) = running.gates.get(gate).cloned() else { return Ok(()) };
        running.has_judged |= run.verdict.is_some() && run.outcome != GateOutcome::Cancelled;
        let pass = matches!(run.verdict, Some(Verdict::Passed { .. })).then(|| receipt::gate_passed(&gate, key, &run));
        self.record(Event::GateFinished(Box::new(GateFinished {
            job,
            gate: gate.name.clone(),
            key,
            attempt,
            outcome: run.outcome,
            verdict: run.verdict,
            duration_ms: run.duration_ms,
            backoff_ms: run.backoff_ms,
            peak_memory_bytes: run.peak_memory_bytes,
            log: run.log.to_string_lossy().into_owned(),
            log_digest: run.log_digest,
            tail: run.tail,
            artifacts: run.artifacts,
            missing_artifacts: run.missing_artifacts,
        })))?;
        if let Some(mut pass) = pass {
            pass.flaky = matches!(self.state.standing(&key), Some(Standing::Passed { flaky: true }));
            if let Some(store) = &self.ports.verdicts {
                store.remember_pass(key, &self.setup.started.run);
            }
            self.passes.insert(key, pass);
        }
        Ok(())
    }

    fn finish(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Composed { purpose, base, result, duration_us } => {
                self.composing.remove(&purpose);
                let composite = result.map_err(port("making a composite"))?;
                let is_apex = matches!(purpose, CompositePurpose::Apex { .. });
                self.record(Event::Composed(Box::new(Composed {
                    purpose,
                    base,
                    commit: composite.commit,
                    tree: composite.tree,
                    steps: if is_apex { composite.steps } else { Vec::new() },
                    set_aside: composite.set_aside,
                    duration_us,
                })))
            }
            Done::Digested { tree, definition, result } => {
                self.digesting.remove(&(tree, definition));
                let subject = result.map_err(port("reading what a gate's inputs match"))?;
                self.record(Event::InputsDigested { tree, definition, subject })
            }
            Done::Job { job, result } => self.job_finished(job, result.err()),
            Done::Landing { action, result, duration_us } => self.landing_finished(action, result, duration_us),
            Done::NeverBegun => Ok(()),
        }
    }

    fn job_finished(&mut self, job: JobId, failure: Option<PortError>) -> Result<(), EngineError> {
        if let Some(RunningJob { gates, has_judged: false }) = self.running.remove(&job)
            && !*self.cancel.borrow()
            && let Some(JobGateRun { gate, key, .. }) = gates.first()
        {
            // A job that judges nothing would be asked for again and again.
            let message = failure.map_or_else(|| "the job ended without a word".to_owned(), |error| error.to_string());
            self.record(Event::GateFinished(Box::new(GateFinished {
                job,
                gate: gate.name.clone(),
                key: *key,
                attempt: 1,
                outcome: GateOutcome::Infrastructure { message },
                verdict: Some(Verdict::Unknown),
                duration_ms: 0,
                backoff_ms: None,
                peak_memory_bytes: 0,
                log: String::new(),
                log_digest: None,
                tail: String::new(),
                artifacts: Vec::new(),
                missing_artifacts: Vec::new(),
            })))?;
        }
        self.record(Event::JobFinished { job })
    }

    fn landing_finished(
        &mut self,
        action: LandAction,
        result: Result<LandingEnd, PortError>,
        duration_us: u64,
    ) -> Result<(), EngineError> {
        match result.map_err(port("landing"))? {
            LandingEnd::Landed { pushed_to, moved_checkouts, receipt } => {
                let (receipt, lost) = match receipt {
                    Some(Ok(path)) => (Some(path), None),
                    Some(Err(error)) => (None, Some(error)),
                    None => (None, None),
                };
                self.record(Event::Landed(Box::new(Landed {
                    apex: action.apex,
                    from: action.from.commit,
                    to: action.to.commit,
                    tree: action.to.tree,
                    items: action.items.iter().map(|ix| self.setup.graph.name(*ix).clone()).collect(),
                    pushed_to,
                    moved_checkouts,
                    receipt,
                    duration_us,
                })))?;
                if let Some(error) = lost {
                    // The target has moved all the same, and that comes first.
                    self.sync()?;
                    return Err(port("writing the receipt of a landing")(error));
                }
            }
            LandingEnd::Moved { to, to_tree } => {
                self.record(Event::TargetMoved { from: action.from.commit, to, to_tree })?;
                if self.state.rebases() > self.setup.limits.max_rebases {
                    let message = format!(
                        "{} was moved by others {} times in a row while this run was about to move it",
                        self.setup.started.target,
                        self.state.rebases()
                    );
                    self.halt(HaltReason::TargetKeepsMoving, message)?;
                }
            }
            LandingEnd::Refused { message } => self.halt(HaltReason::TargetNotMovable, message)?,
        }
        self.sync()
    }

    fn halt(&mut self, why: HaltReason, message: String) -> Result<(), EngineError> {
        self.record(Event::RunHalted { why, message })
    }

    fn interrupt(&mut self, signal: String) -> Result<(), EngineError> {
        self.record(Event::Interrupted { signal })?;
        self.sync()?;
        self.cancel.send_replace(true);
        Ok(())
    }

    fn end(&mut self) -> Result<RunEnd, EngineError> {
        let items = self.state.final_items();
        let all_landed =
            items.iter().all(|item| matches!(item.status, FinalStatus::Landed | FinalStatus::AlreadyLanded));
        let exit_code = match self.state.halted() {
            _ if self.state.is_interrupted() => exit::INTERRUPTED,
            Some(HaltReason::Infrastructure) => exit::LEXPR_FAILED,
            Some(HaltReason::TargetNotMovable | HaltReason::TargetKeepsMoving) => exit::TARGET_NOT_MOVED,
            None if all_landed => exit::ALL_LANDED,
            None => exit::ITEMS_LEFT,
        };
        // Nothing is held back any more, if it was.
        self.is_throttled()?;
        self.throttle.sample(self.ports.clock.now_ms());
        let peak_memory_bytes = self.throttle.peak_bytes();
        self.record(Event::RunFinished { exit_code, peak_memory_bytes, items: items.clone() })?;
        self.sync()?;
        Ok(RunEnd { exit_code, items })
    }

    /// Journals a fact, then lets it change the state, then shows it.
    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        self.seq += 1;
        let recorded = Recorded { seq: self.seq, at_ms: self.ports.clock.now_ms(), event };
        self.journal.append(&recorded).map_err(EngineError::Journal)?;
        self.state.apply(&recorded.event)?;
        for observer in &mut self.observers {
            observer(&recorded);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.journal.sync().map_err(EngineError::Journal)
    }

    /// After a failure of lexpr's own: ends what was started, so that nothing outlives the run. A
    /// landing that is under way ends as it ends, and is recorded where that is still possible.
    async fn abandon(&mut self, failure: &EngineError) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.cancel.send_replace(true);
        for done in futures::future::join_all(self.in_flight.drain(..)).await {
            if matches!((failure, &done), (EngineError::Port { .. }, Done::Landing { .. })) {
                // A second failure adds nothing to the first, which is the one that is reported.
                let _ = self.finish(done);
            }
        }
    }
}

async fn land(
    lander: &dyn Lander,
    composer: &dyn Composer,
    request: LandRequest,
    apex: crate::vocabulary::names::ApexId,
    receipt: serde_json::Value,
) -> Result<LandingEnd, PortError> {
    Ok(match lander.land(request).await? {
        LandOutcome::Landed { pushed_to, moved_checkouts } => {
            let path = lander.write_receipt(apex, receipt).await;
            let receipt = path.map(|path| path.to_string_lossy().into_owned());
            LandingEnd::Landed { pushed_to, moved_checkouts, receipt: Some(receipt) }
        }
        LandOutcome::TargetMoved { to } => LandingEnd::Moved { to, to_tree: composer.tree_of(to).await? },
        LandOutcome::Refused { message } => LandingEnd::Refused { message },
    })
}

fn micros_since(begun: std::time::Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
