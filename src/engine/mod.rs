//! The loop that lands a plan: one task owns the state, asks the strategy what may happen next,
//! journals every fact before it acts on it, and waits for whatever finishes first.
//!
//! It knows no git, no process and no screen: those are [`crate::ports`] and observers of events.

mod lookout;
mod outcomes;
mod pacing;
mod pool;
mod receipt;
pub mod rehearsal;
mod resuming;
mod right_of_way;
mod starting;
mod throttle;
pub mod verifying;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, select_all};
use tokio::sync::{mpsc, watch};

use lookout::Lookout;
use pacing::Pacing;
use pool::{Adaptive, Look};
use receipt::Passes;
pub use receipt::{RECEIPT_FORMAT, Receipt, ReceiptGate, ReceiptItem};
pub use resuming::Past;
use right_of_way::Way;
use throttle::Throttle;

use crate::core::critical_path::GateDurations;
use crate::core::judge::Surroundings;
use crate::core::limits::Limits;
use crate::core::pool::Resize;
use crate::core::state::{ImpossibleTransition, RunState};
use crate::core::strategy::{self, Action, LandAction};
use crate::plan::Policy;
use crate::plan::graph::Graph;
use crate::ports::{
    Claim, Clock, ComposeItem, Composer, Composite, GateRunner, JobGateRun, JobNews, Journal, KnownPass, Lander,
    LoadGauge, MemoryGauge, PortError, VerdictStore,
};
use crate::vocabulary::event::{
    CompositePurpose, Event, FinalItem, FinalStatus, HaltReason, LandedByOthers, Recorded, RunStarted,
};
use crate::vocabulary::names::{CommitId, DefinitionDigest, GateName, JobId, SubjectDigest, TreeId, VerdictKey};

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
    /// What starts first goes by these.
    pub durations: Arc<GateDurations>,
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
    /// Asked where the pool of workers adapts, and not otherwise.
    pub load: Arc<dyn LoadGauge>,
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
    /// For the target, from where it was; what it means that it was moved, if it was.
    Looked {
        tip: CommitId,
        result: Result<Option<Moved>, PortError>,
    },
    /// Those who were to land first, with whether the run may land now.
    Waited(Result<bool, PortError>),
    /// What earlier runs know of these gates.
    LookedUp {
        gates: Vec<(GateName, VerdictKey)>,
        known: Vec<Option<KnownPass>>,
    },
    /// The run was abandoned before its first step.
    NeverBegun,
}

/// Where others have moved the target to, and what of the run's they have landed with that.
struct Moved {
    to: CommitId,
    to_tree: TreeId,
    landed: Vec<LandedByOthers>,
}

enum LandingEnd {
    Landed {
        pushed_to: Option<String>,
        moved_checkouts: Vec<String>,
        /// `None` where nothing had to be moved.
        receipt: Option<String>,
    },
    Moved(Moved),
    Refused {
        message: String,
        advice: Option<String>,
    },
}

/// Runs a plan to its end, or goes on with a run from its `past`, which stands.
///
/// `interrupts` yields the name of each signal that asks the run to stop; only the first counts.
///
/// # Errors
/// Where lexpr could not do its job; everything it had started has ended by then.
pub async fn run(
    past: Option<Past>,
    setup: RunSetup,
    ports: Ports,
    journal: Box<dyn Journal + '_>,
    observers: Vec<Observer<'_>>,
    interrupts: mpsc::UnboundedReceiver<String>,
) -> Result<RunEnd, EngineError> {
    let (news_sender, news) = mpsc::unbounded_channel();
    let throttle = Throttle::new(setup.memory_threshold, Arc::clone(&ports.memory));
    let pacing = Pacing::new(&setup.policy, setup.started.run.clone());
    let state = RunState::new(Arc::clone(&setup.graph), setup.surroundings.clone(), &setup.durations);
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
        looking_up: HashSet::new(),
        unknown: HashSet::new(),
        running: HashMap::new(),
        news_sender,
        stopped: watch::channel(false).0,
        abandoned: Arc::new(AtomicBool::new(false)),
        throttle,
        adaptive: None,
        pacing,
        way: Way::default(),
        lookout: Lookout::default(),
        claimed: None,
        passes: Passes::default(),
        last_ms: 0,
        behind_ms: 0,
    };
    let result = engine.drive(past, news, interrupts).await;
    if let Err(error) = &result {
        engine.abandon(error).await;
    }
    // Whatever it ended by: it will not land.
    engine.ports.lander.claim(None).map_err(port("giving the right of way back"))?;
    result
}

/// A job in work.
struct RunningJob {
    gates: Vec<JobGateRun>,
    tree: TreeId,
    base: CommitId,
    /// It has come to a verdict on at least one of its gates.
    has_judged: bool,
    /// Turned true, ends it.
    cancel: watch::Sender<bool>,
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
    /// What earlier runs know of these is being looked up.
    looking_up: HashSet<VerdictKey>,
    /// And nothing is known of these, which are about to be run.
    unknown: HashSet<VerdictKey>,
    running: HashMap<JobId, RunningJob>,
    news_sender: mpsc::UnboundedSender<JobNews>,
    /// Turned true when the run is to stop: a landing that only waits for its turn need not begin.
    stopped: watch::Sender<bool>,
    /// Nothing that has not begun may begin any more.
    abandoned: Arc<AtomicBool>,
    throttle: Throttle,
    /// Where the pool of workers adapts.
    adaptive: Option<Adaptive>,
    pacing: Pacing,
    way: Way,
    lookout: Lookout,
    /// What an urgent run asks of others now.
    claimed: Option<Claim>,
    /// For receipts: what is known of each pass.
    passes: Passes,
    /// When the last event was recorded: a clock that was set back does not turn the run's time.
    last_ms: u64,
    /// How far the clock was set back before the run went on: its time goes on from its past.
    behind_ms: u64,
}

impl Engine<'_> {
    async fn drive(
        &mut self,
        past: Option<Past>,
        mut news: mpsc::UnboundedReceiver<JobNews>,
        mut interrupts: mpsc::UnboundedReceiver<String>,
    ) -> Result<RunEnd, EngineError> {
        match past {
            None => self.record(Event::RunStarted(Box::new(self.setup.started.clone())))?,
            Some(past) => self.take_up(past).await?,
        }
        self.sync()?;
        let Limits { workers_at_first, max_workers, .. } = self.setup.limits;
        self.adaptive = workers_at_first
            .map(|at_first| Adaptive::new(at_first, max_workers, Arc::clone(&self.ports.load), self.now_ms()));
        let mut something_changed = true;
        loop {
            if something_changed {
                self.act()?;
                self.mind_others()?;
            }
            if self.in_flight.is_empty() && !self.waits_for_its_time() {
                break;
            }
            something_changed = true;
            self.throttle.sample_if_older(self.now_ms(), MEMORY_SAMPLE_MS);
            if self.resize_pool()? {
                continue;
            }
            let sample_in_ms = self.throttle.sample_again_in_ms(MEMORY_SAMPLE_MS);
            let wake = self.ports.clock.sleep_ms(self.goes_on_in_ms().map_or(sample_in_ms, |ms| ms.min(sample_in_ms)));
            tokio::select! {
                // News first: a job's last words must be heard before its end.
                biased;
                Some(signal) = interrupts.recv(), if !self.state.is_interrupted() => self.interrupt(signal)?,
                Some(news) = news.recv() => self.hear(news)?,
                // Of nothing there is no first: it is not even asked for.
                (done, at, _) = async { select_all(&mut self.in_flight).await }, if !self.in_flight.is_empty() => {
                    drop(self.in_flight.remove(at));
                    while let Ok(news) = news.try_recv() {
                        self.hear(news)?;
                    }
                    self.finish(done)?;
                }
                () = wake => {
                    let goes_on = self.let_go()?;
                    something_changed = self.sample_memory()? || goes_on;
                }
            }
        }
        self.end()
    }

    /// Asks the strategy and does what it says, until there is nothing more to do but wait.
    fn act(&mut self) -> Result<(), EngineError> {
        loop {
            let starts = self.decide()?;
            if !self.start_all(starts)? {
                return Ok(());
            }
        }
    }

    /// Records what the strategy decides, until it asks for nothing but work to begin, which it gives: none while
    /// the target is looked for.
    fn decide(&mut self) -> Result<Vec<Action>, EngineError> {
        loop {
            self.let_go()?;
            let actions = strategy::next(&self.state, &self.setup.limits, &self.setup.policy);
            let looks_out = self.looks_out(&actions);
            let (decisions, starts): (Vec<_>, Vec<_>) =
                actions.into_iter().partition(|action| matches!(action, Action::Record(_)));
            let decisions: Vec<_> =
                decisions.into_iter().filter(|decision| !(looks_out && lookout::forms_an_apex(decision))).collect();
            if decisions.is_empty() {
                return Ok(if looks_out { Vec::new() } else { starts });
            }
            // What else was asked for was asked without knowing of these.
            for decision in decisions {
                if let Action::Record(event) = decision {
                    self.record(event)?;
                }
            }
        }
    }

    /// Looks whether there should be more workers, or fewer; true where there are now.
    fn resize_pool(&mut self) -> Result<bool, EngineError> {
        let at_ms = self.now_ms();
        let Some(adaptive) = self.adaptive.as_mut().filter(|adaptive| adaptive.is_due(at_ms)) else {
            return Ok(false);
        };
        if self.state.is_interrupted() || self.state.halted().is_some() {
            return Ok(false);
        }
        let look = Look {
            at_ms,
            busy: u32::try_from(self.state.jobs_here()).unwrap_or(u32::MAX),
            work_waits: strategy::wants_a_slot(&self.state, &self.setup.limits, &self.setup.policy),
            memory: self.throttle.pressure(),
        };
        match adaptive.look(&look) {
            Some(Resize { from, to, reason }) => {
                self.record(Event::PoolResized { from, to, reason })?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn interrupt(&mut self, signal: String) -> Result<(), EngineError> {
        self.record(Event::Interrupted { signal })?;
        self.sync()?;
        self.stop_all();
        Ok(())
    }

    fn stop_all(&self) {
        self.stopped.send_replace(true);
        self.stop_waiting();
        for running in self.running.values() {
            running.cancel.send_replace(true);
        }
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
        self.free_all()?;
        self.throttle.sample(self.now_ms());
        let peak_memory_bytes = self.throttle.peak_bytes();
        self.record(Event::RunFinished { exit_code, peak_memory_bytes, items: items.clone() })?;
        self.sync()?;
        Ok(RunEnd { exit_code, items })
    }

    /// Milliseconds since the Unix epoch, or as many more as make the run's time go forward.
    fn now_ms(&self) -> u64 {
        self.ports.clock.now_ms() + self.behind_ms
    }

    /// Journals a fact, then lets it change the state, then shows it.
    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        self.seq += 1;
        self.last_ms = self.last_ms.max(self.now_ms());
        let recorded = Recorded { seq: self.seq, at_ms: self.last_ms, event };
        self.journal.append(&recorded).map_err(EngineError::Journal)?;
        self.passes.note(&recorded.event, &self.state);
        self.pacing.note(&recorded, &self.state);
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
    /// landing that is under way ends as it ends, and that and the failure are recorded where that is
    /// still possible.
    async fn abandon(&mut self, failure: &EngineError) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.stop_all();
        for done in futures::future::join_all(self.in_flight.drain(..)).await {
            if matches!((failure, &done), (EngineError::Port { .. }, Done::Landing { .. })) {
                // A second failure adds nothing to the first, which is the one that is reported.
                let _ = self.finish(done);
            }
        }
        if let EngineError::Port { source, .. } = failure
            && !self.state.is_finished()
            && self.state.halted().is_none()
        {
            let (why, message) = (HaltReason::Infrastructure, failure.to_string());
            let _ = self.record(Event::RunHalted { why, message, advice: source.hint.clone() });
            let _ = self.sync();
        }
    }
}
