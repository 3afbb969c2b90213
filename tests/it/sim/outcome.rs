//! What became of a scripted run, and ways to ask about it.

use std::sync::Arc;

use lexpr::core::judge::Surroundings;
use lexpr::core::state::RunState;
use lexpr::engine::{EngineError, RunEnd, RunSetup};
use lexpr::plan::graph::Graph;
use lexpr::vocabulary::event::{Decision, Event, FinalStatus, GateOutcome, JobPurpose, Recorded};
use lexpr::vocabulary::names::ItemName;

use super::{GateRecord, Hands, World};

/// What became of a run.
pub struct Outcome {
    pub world: World,
    pub graph: Arc<Graph>,
    pub setup: RunSetup,
    pub end: Result<RunEnd, EngineError>,
    pub events: Vec<Recorded>,
    pub shown: Vec<Recorded>,
    pub hands: Arc<Hands>,
    pub took_ms: u64,
}

impl Outcome {
    pub fn end(&self) -> &RunEnd {
        self.end.as_ref().expect("lexpr did its job")
    }

    pub fn exit_code(&self) -> u8 {
        self.end().exit_code
    }

    /// `name status`, in canonical order.
    pub fn statuses(&self) -> Vec<String> {
        self.end().items.iter().map(|item| format!("{} {}", item.name, item.status)).collect()
    }

    pub fn with_status(&self, status: FinalStatus) -> Vec<String> {
        self.end().items.iter().filter(|item| item.status == status).map(|item| item.name.to_string()).collect()
    }

    /// The reason an item ended as it did, in the words a user reads.
    pub fn reason(&self, item: &str) -> String {
        let item = self.end().items.iter().find(|one| one.name.as_str() == item).expect("every item has an end");
        item.reason.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Names of landed items, in the order they landed.
    pub fn landed(&self) -> Vec<String> {
        self.landings().iter().flatten().cloned().collect()
    }

    /// The same, by landing.
    pub fn landings(&self) -> Vec<Vec<String>> {
        let landed = |recorded: &Recorded| match &recorded.event {
            Event::Landed(landed) if landed.from != landed.to => {
                Some(landed.items.iter().map(ToString::to_string).collect())
            }
            _ => None,
        };
        self.events.iter().filter_map(landed).collect()
    }

    /// Every ended attempt of a gate, in the order they ended.
    pub fn gate_runs(&self) -> Vec<GateRecord> {
        self.hands.gate_records()
    }

    /// The trees that a gate was run on, each as the names in it.
    pub fn trees_of(&self, gate: &str) -> Vec<String> {
        let runs = self.gate_runs();
        let of_gate = runs.iter().filter(|run| run.gate == gate);
        of_gate.map(|run| self.hands.names_in(&run.what).join("+")).collect()
    }

    pub fn count(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|recorded| of(&recorded.event)).count()
    }

    /// The state after the first `events` events.
    pub fn replayed(&self, events: usize) -> RunState {
        let mut state = RunState::new(Arc::clone(&self.graph), Surroundings::default(), &self.setup.durations);
        for recorded in &self.events[..events] {
            state.apply(&recorded.event).expect("what happened live can happen again");
        }
        state
    }

    /// The events in a few words each, without times, numbers and digests.
    pub fn story(&self) -> Vec<String> {
        self.events.iter().filter_map(|recorded| told(&recorded.event)).collect()
    }
}

fn told(event: &Event) -> Option<String> {
    let joined = |names: &[ItemName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    Some(match event {
        Event::Overridden(overridden) => format!("overridden {}: {}", overridden.item, overridden.what()),
        Event::JobStarted(job) => match &job.purpose {
            JobPurpose::Cone { item } => format!("gate {item}"),
            JobPurpose::Group { members, .. } => format!("gate group {members}"),
            JobPurpose::Apex { members, .. } => format!("gate apex {members}"),
            JobPurpose::SecondOpinion { item } => format!("again {item}"),
            JobPurpose::Blame { item } => format!("without {item}"),
            JobPurpose::Train { item, ahead } => format!("gate {item} behind {ahead}"),
        },
        Event::GateFinished(finished) => {
            let word = match &finished.outcome {
                GateOutcome::Passed => "passed",
                GateOutcome::Failed { .. } | GateOutcome::Signaled { .. } => "failed",
                GateOutcome::TimedOut { .. } => "timed out",
                GateOutcome::OutOfMemory { .. } => "out of memory",
                GateOutcome::Cancelled => "cancelled",
                GateOutcome::Infrastructure { .. } => "could not be run",
                GateOutcome::RateLimited { .. } => "rate limited",
            };
            format!("{} {word}", finished.gate)
        }
        Event::VerdictReused { gate, .. } => format!("{gate} reused"),
        Event::GroupFormed { items, .. } => format!("group {}", joined(items)),
        Event::SingledOut { item, .. } => format!("{item} singled out"),
        Event::ApexFormed { items, .. } => format!("apex {}", joined(items)),
        Event::ItemDecided(decided) => {
            let word = match decided.decision {
                Decision::Passed => "passed",
                Decision::Failed => "failed",
                Decision::Conflicted => "conflicted",
                Decision::Blocked => "blocked",
                Decision::Unjudged => "unjudged",
            };
            format!("{} {word}", decided.item)
        }
        Event::ItemDeferred { item, .. } => format!("{item} deferred"),
        Event::GateRedOnTarget { gate, .. } => format!("{gate} is red"),
        Event::Landed(landed) => format!("landed {}", joined(&landed.items)),
        Event::TargetMoved { .. } => "target moved".to_owned(),
        Event::PoolResized { from, to, .. } => format!("workers {from} -> {to}"),
        Event::Throttled { .. } => "throttled".to_owned(),
        Event::Unthrottled { .. } => "unthrottled".to_owned(),
        Event::LimitHeld { limit, why, .. } => format!("{limit} held by {why:?}"),
        Event::LimitFreed { limit } => format!("{limit} freed"),
        Event::RunResumed { .. } => "resumed".to_owned(),
        Event::Interrupted { .. } => "interrupted".to_owned(),
        Event::RunHalted { .. } => "halted".to_owned(),
        Event::RunFinished { exit_code, .. } => format!("exit {exit_code}"),
        Event::UndoIntended { .. } => "about to undo".to_owned(),
        Event::Undone(_) => "undone".to_owned(),
        Event::UndoGivenUp { .. } => "undo given up".to_owned(),
        Event::RunStarted(_)
        | Event::Composed(_)
        | Event::InputsDigested { .. }
        | Event::GateStarted { .. }
        | Event::ChecksMissing { .. }
        | Event::GateWaits { .. }
        | Event::JobFinished { .. }
        | Event::LandingIntended(_) => return None,
    })
}
