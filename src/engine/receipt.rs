//! What a landing leaves behind: enough to make the composite again from its base and heads, and
//! to see which verdicts proved its tree.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RunSetup;
use crate::core::judge::Standing;
use crate::core::state::{ImpossibleTransition, RunState};
use crate::plan::graph::ItemIx;
use crate::plan::{Gate, Identity, MergeSettings};
use crate::vocabulary::event::{Event, LandingIntended, Overridden, RanBy, Recorded, Verdict};
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, FileDigest, GateName, ItemName, MergeStrategy, PlanDigest, RunId, TreeId,
    VerdictKey,
};
use crate::vocabulary::verdict::Remembered;

/// The version of the receipt's format.
pub const RECEIPT_FORMAT: u32 = 1;

/// A landing, as it can be checked later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    pub format: u32,
    pub run: RunId,
    pub apex: ApexId,
    /// Milliseconds since the Unix epoch when the landing was begun.
    pub at_ms: u64,
    pub plan_digest: PlanDigest,
    pub target: String,
    /// What the items were merged onto: `landed_before`, then `items`.
    pub base: CommitId,
    /// What the target was moved from.
    pub from: CommitId,
    /// What it was moved to.
    pub composite: CommitId,
    pub tree: TreeId,
    /// Items of the same composite that had landed by then.
    pub landed_before: Vec<ReceiptItem>,
    /// Those of this landing, in the order they were merged.
    pub items: Vec<ReceiptItem>,
    pub merge: MergeSettings,
    /// `None`: the committer of each head.
    pub committer: Option<Identity>,
    /// The passes that prove `tree`.
    pub gates: Vec<ReceiptGate>,
    /// Nothing proves `tree`: it was let land all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Box<Overridden>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptItem {
    pub name: ItemName,
    pub branch: String,
    pub head: CommitId,
    pub strategy: MergeStrategy,
    /// Heads that counted as merged before it, as its changes build on theirs: `base` has what they
    /// bring without having them in its history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<CommitId>,
}

/// A pass of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptGate {
    /// `None` only where the pass was found by an earlier run that told no more of it.
    pub name: Option<GateName>,
    pub key: VerdictKey,
    pub definition: Option<DefinitionDigest>,
    /// The earlier run that found it; `None`: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_by: Option<RunId>,
    /// The verdict depends on the gate's declared inputs alone, not on the whole tree.
    pub by_inputs: bool,
    /// The gate ran in a slot that ignored files of earlier gates may have been in.
    pub warm_slot: bool,
    /// It failed on the same tree before it passed.
    pub flaky: bool,
    pub duration_ms: u64,
    pub log: Option<String>,
    pub log_digest: Option<FileDigest>,
    /// `None`: this machine's shell ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RanBy>,
    /// Where, on another machine, as far as this run was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What is known of each pass, for receipts: a function of events, live and in replay.
#[derive(Debug, Default)]
pub(super) struct Passes(HashMap<VerdictKey, Pass>);

/// Boxed: a map has room for about twice as many as are in it.
#[derive(Debug)]
enum Pass {
    Found(Box<Found>),
    Reused(Box<ReceiptGate>),
}

/// What a receipt tells of a pass of this run, but for what the plan has.
#[derive(Debug)]
struct Found {
    gate: GateName,
    definition: Option<DefinitionDigest>,
    duration_ms: u64,
    log: Arc<str>,
    log_digest: Option<FileDigest>,
    node: Option<String>,
}

impl Passes {
    /// To be told of every event, before the state is.
    pub(super) fn note(&mut self, event: &Event, state: &RunState) {
        match event {
            Event::GateFinished(finished) if matches!(finished.verdict, Some(Verdict::Passed { .. })) => {
                let of_job = state.jobs().get(&finished.job);
                let gate = of_job.and_then(|job| job.gates.iter().find(|gate| gate.key == finished.key));
                let found = Found {
                    gate: finished.gate.clone(),
                    definition: gate.map(|gate| gate.definition),
                    duration_ms: finished.duration_ms,
                    log: Arc::clone(&finished.log),
                    log_digest: finished.log_digest,
                    node: finished.elsewhere.as_ref().and_then(|elsewhere| elsewhere.node.clone()),
                };
                self.0.insert(finished.key, Pass::Found(Box::new(found)));
            }
            Event::VerdictReused { gate, key, from, remembered: Some(remembered) } => {
                self.0.insert(*key, Pass::Reused(Box::new(reused(gate, *key, from, remembered, state))));
            }
            _ => {}
        }
    }

    fn of(&self, key: VerdictKey, state: &RunState) -> ReceiptGate {
        let flaky = matches!(state.standing(&key), Some(Standing::Passed { flaky: true }));
        match self.0.get(&key) {
            Some(Pass::Found(found)) => found.in_receipt(key, flaky, state),
            Some(Pass::Reused(pass)) => ReceiptGate { flaky: flaky || pass.flaky, ..ReceiptGate::clone(pass) },
            None => ReceiptGate {
                name: None,
                key,
                definition: None,
                found_by: None,
                by_inputs: false,
                warm_slot: true,
                flaky,
                duration_ms: 0,
                log: None,
                log_digest: None,
                runtime: None,
                node: None,
            },
        }
    }
}

impl Found {
    fn in_receipt(&self, key: VerdictKey, flaky: bool, state: &RunState) -> ReceiptGate {
        let gate = self.definition.and_then(|definition| state.gate(definition));
        let runtime = gate.and_then(|gate| gate.runtime.ran_by());
        ReceiptGate {
            name: Some(self.gate.clone()),
            key,
            definition: self.definition,
            found_by: None,
            by_inputs: gate.is_some_and(|gate| gate.inputs.is_some()),
            warm_slot: runs_warm(gate, runtime.as_ref()),
            flaky,
            duration_ms: self.duration_ms,
            log: Some(self.log.to_string()),
            log_digest: self.log_digest,
            runtime,
            node: self.node.clone(),
        }
    }
}

/// Ignored files of gates before it may be where it runs.
fn runs_warm(gate: Option<&Arc<Gate>>, ran_by: Option<&RanBy>) -> bool {
    gate.is_none_or(|gate| !gate.clean) && ran_by.is_none_or(RanBy::has_slot)
}

/// What an earlier run's pass is to a receipt of this one.
fn reused(gate: &GateName, key: VerdictKey, from: &RunId, remembered: &Remembered, state: &RunState) -> ReceiptGate {
    let of_plan = state.gate(remembered.definition);
    let runtime = of_plan.and_then(|gate| gate.runtime.ran_by());
    ReceiptGate {
        name: Some(gate.clone()),
        key,
        definition: Some(remembered.definition),
        found_by: Some(from.clone()),
        by_inputs: of_plan.is_some_and(|gate| gate.inputs.is_some()),
        warm_slot: runs_warm(of_plan, runtime.as_ref()),
        flaky: remembered.flaky,
        duration_ms: remembered.duration_ms,
        log: remembered.log.clone(),
        log_digest: remembered.log_digest.filter(|_| remembered.log.is_some()),
        runtime,
        node: None,
    }
}

/// The receipt of a landing that was begun `at_ms`: a function of what the run has recorded until
/// then, so that it can be told whether a file that claims to be one is it.
pub(super) fn receipt(
    setup: &RunSetup,
    state: &RunState,
    passes: &Passes,
    intended: &LandingIntended,
    at_ms: u64,
) -> Receipt {
    let item = |ix: ItemIx| {
        let item = &setup.items[ix.get()];
        ReceiptItem {
            name: item.name.clone(),
            branch: item.branch.clone(),
            head: item.head,
            strategy: item.strategy,
            merged: item.merged.clone(),
        }
    };
    let apex = state.apex().filter(|apex| apex.id == intended.apex);
    let before = apex.and_then(|apex| apex.made.as_ref()?.members.get(..apex.landed)).unwrap_or_default();
    Receipt {
        format: RECEIPT_FORMAT,
        run: setup.started.run.clone(),
        apex: intended.apex,
        at_ms,
        plan_digest: setup.started.plan_digest,
        target: setup.started.target.clone(),
        base: apex.map_or(intended.from, |apex| apex.base.commit),
        from: intended.from,
        composite: intended.to,
        tree: intended.tree,
        landed_before: before.iter().map(|(ix, _)| item(*ix)).collect(),
        items: intended.items.iter().filter_map(|name| setup.graph.find(name)).map(item).collect(),
        merge: setup.policy.merge,
        committer: setup.policy.committer.clone(),
        gates: intended.proof.iter().map(|key| passes.of(*key, state)).collect(),
        overridden: apex.and_then(|apex| apex.overridden.clone()),
    }
}

/// The receipts of all landings that a run has begun, in order.
///
/// # Errors
/// Where the events are not those of a run with this setup.
pub(super) fn all(setup: &RunSetup, events: &[Recorded]) -> Result<Vec<Receipt>, ImpossibleTransition> {
    let mut state = RunState::new(Arc::clone(&setup.graph), setup.surroundings.clone(), &setup.durations);
    let mut passes = Passes::default();
    let mut receipts = Vec::new();
    for recorded in events {
        passes.note(&recorded.event, &state);
        state.apply(&recorded.event)?;
        if let Event::LandingIntended(intended) = &recorded.event {
            receipts.push(receipt(setup, &state, &passes, intended, recorded.at_ms));
        }
    }
    Ok(receipts)
}
