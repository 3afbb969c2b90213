//! What the workers did, and when: for the pictures and for traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EachApart;
use crate::report::view::{JobView, RunView, RunningGate};
use crate::vocabulary::event::{GateOutcome, JobGate, JobPurpose, MissingChecks};
use crate::vocabulary::names::{GateName, ItemName, JobId, RuntimeName, WorkerId};

/// One occupation of one slot, or of a place elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Occupation {
    pub job: JobId,
    pub worker: WorkerId,
    /// The runtime that has it, where it takes no slot of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<RuntimeName>,
    pub purpose: JobPurpose,
    /// A second opinion on the tree that the item is compared with, which lacks it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_item: bool,
    /// The items whose composite it gated, in canonical order: one, or those of a group or of an apex.
    pub items: Vec<ItemName>,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// `null` while it goes on, or where the run was cut off and not taken up again.
    pub ended_at_ms: Option<u64>,
    /// The process that had it ended first; a later one took the run up again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
    /// Attempts of gates, in the order they began; the last one may still be running.
    pub gates: Vec<GateSpan>,
    /// What it waits for, where that are checks that nothing reports as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreported: Option<MissingChecks>,
    /// Why it has no node yet, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<String>,
}

/// One attempt of a gate in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateSpan {
    pub gate: GateName,
    pub attempt: u32,
    pub started_at_ms: u64,
    pub ended_at_ms: Option<u64>,
    /// `null` while it runs, or where it was cut off.
    pub outcome: Option<GateOutcome>,
    /// What runs it; absent: this machine's shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
    /// Where, on another machine, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How long it waited for that before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
}

impl Occupation {
    /// A gate of it said something against the tree.
    pub fn has_failed(&self) -> bool {
        self.gates.iter().filter_map(|gate| gate.outcome.as_ref()).any(GateOutcome::is_failure)
    }
}

pub(super) fn of(view: &RunView) -> EachApart<Occupation> {
    let each = view.jobs.iter().map(|(id, job)| Box::new(occupation(view, *id, job)));
    let mut timeline: EachApart<Occupation> = each.collect();
    timeline.sort_by_key(|job| (job.started_at_ms, job.worker));
    timeline
}

fn occupation(view: &RunView, id: JobId, job: &JobView) -> Occupation {
    let attempts = job.attempts.iter().filter_map(|position| view.attempts.get(*position)).map(|attempt| GateSpan {
        gate: attempt.run.gate.clone(),
        attempt: attempt.run.attempt,
        started_at_ms: attempt.started_at_ms,
        ended_at_ms: Some(attempt.ended_at_ms),
        outcome: Some(attempt.run.outcome.clone()),
        runtime: view.ran_by_of(attempt).map(|ran_by| ran_by.name.clone()),
        node: attempt.run.elsewhere.as_ref().and_then(|elsewhere| elsewhere.node.clone()),
        queued_ms: attempt.run.elsewhere.as_ref().map(|elsewhere| elsewhere.queued_ms),
    });
    let runtime = |gate: &JobGate| view.ran_by(gate.definition).map(|ran_by| ran_by.name.clone());
    let running = job.running.as_deref().cloned().map(|RunningGate { gate, attempt, since_ms, node }| GateSpan {
        runtime: job.gates.iter().find(|known| known.name == gate).and_then(runtime),
        gate,
        attempt,
        started_at_ms: since_ms,
        ended_at_ms: job.ended_at_ms,
        outcome: None,
        node,
        queued_ms: None,
    });
    // A list that grows begins with room for four, and most jobs have one.
    let mut gates = Vec::with_capacity(job.attempts.len() + usize::from(running.is_some()));
    gates.extend(attempts.chain(running));
    Occupation {
        job: id,
        worker: job.worker,
        elsewhere: job.gates.first().filter(|_| job.is_elsewhere).and_then(runtime),
        purpose: job.purpose.clone(),
        without_item: job.is_without_item,
        items: items_of(view, &job.purpose),
        started_at_ms: job.started_at_ms,
        ended_at_ms: job.ended_at_ms,
        cut_off: job.is_cut_off,
        gates,
        unreported: job.unreported.as_ref().filter(|_| job.ended_at_ms.is_none()).map(|it| it.checks.clone()),
        held_up: job.held_up.as_ref().filter(|_| job.ended_at_ms.is_none()).map(|it| it.why.clone()),
    }
}

fn items_of(view: &RunView, purpose: &JobPurpose) -> Vec<ItemName> {
    let first = |items: Option<&[ItemName]>, members: u32| {
        items.unwrap_or_default().iter().take(members as usize).cloned().collect()
    };
    match purpose {
        JobPurpose::Cone { item }
        | JobPurpose::SecondOpinion { item }
        | JobPurpose::Blame { item }
        | JobPurpose::Train { item, .. } => vec![item.clone()],
        JobPurpose::Group { group, members } => first(view.groups.get(group).map(Vec::as_slice), *members),
        JobPurpose::Apex { apex, members } => first(view.apexes.get(apex).map(|apex| apex.items.as_slice()), *members),
    }
}
