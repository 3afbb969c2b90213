//! What a landing leaves behind: enough to make the composite again from its base and heads, and
//! to see which verdicts proved its tree.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::RunSetup;
use crate::core::strategy::LandAction;
use crate::plan::Gate;
use crate::ports::GateRun;
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, FileDigest, GateName, ItemName, MergeStrategy, PlanDigest, RunId, TreeId,
    VerdictKey,
};

/// The version of the receipt's format.
const RECEIPT_FORMAT: u32 = 1;

/// A landing, as it can be checked later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub format: u32,
    pub run: RunId,
    pub apex: ApexId,
    /// Milliseconds since the Unix epoch when the landing was begun.
    pub at_ms: u64,
    pub plan_digest: PlanDigest,
    pub target: String,
    /// What the target was moved from.
    pub base: CommitId,
    /// What it was moved to.
    pub composite: CommitId,
    pub tree: TreeId,
    /// In the order they were merged onto `base`.
    pub items: Vec<ReceiptItem>,
    /// The passes that prove `tree`.
    pub gates: Vec<ReceiptGate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptItem {
    pub name: ItemName,
    pub branch: String,
    pub head: CommitId,
    pub strategy: MergeStrategy,
}

/// A pass of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptGate {
    /// `None` where the pass was found by an earlier run.
    pub name: Option<GateName>,
    pub key: VerdictKey,
    pub definition: Option<DefinitionDigest>,
    /// The verdict depends on the gate's declared inputs alone, not on the whole tree.
    pub by_inputs: bool,
    /// The gate ran in a slot that ignored files of earlier gates may have been in.
    pub warm_slot: bool,
    /// It failed on the same tree before it passed.
    pub flaky: bool,
    pub duration_ms: u64,
    pub log: Option<String>,
    pub log_digest: Option<FileDigest>,
}

pub(super) fn gate_passed(gate: &Gate, key: VerdictKey, run: &GateRun) -> ReceiptGate {
    ReceiptGate {
        name: Some(gate.name.clone()),
        key,
        definition: Some(gate.definition),
        by_inputs: gate.inputs.is_some(),
        warm_slot: !gate.clean,
        flaky: false,
        duration_ms: run.duration_ms,
        log: Some(run.log.to_string_lossy().into_owned()),
        log_digest: run.log_digest,
    }
}

pub(super) fn receipt(
    setup: &RunSetup,
    passes: &HashMap<VerdictKey, ReceiptGate>,
    action: &LandAction,
    at_ms: u64,
) -> serde_json::Value {
    let from_earlier_run = |key: VerdictKey| ReceiptGate {
        name: None,
        key,
        definition: None,
        by_inputs: false,
        warm_slot: true,
        flaky: false,
        duration_ms: 0,
        log: None,
        log_digest: None,
    };
    let receipt = Receipt {
        format: RECEIPT_FORMAT,
        run: setup.started.run.clone(),
        apex: action.apex,
        at_ms,
        plan_digest: setup.started.plan_digest,
        target: setup.started.target.clone(),
        base: action.from.commit,
        composite: action.to.commit,
        tree: action.to.tree,
        items: action
            .items
            .iter()
            .map(|ix| {
                let item = &setup.items[ix.get()];
                ReceiptItem {
                    name: item.name.clone(),
                    branch: item.branch.clone(),
                    head: item.head,
                    strategy: item.strategy,
                }
            })
            .collect(),
        gates: action
            .proof
            .iter()
            .map(|key| passes.get(key).cloned().unwrap_or_else(|| from_earlier_run(*key)))
            .collect(),
    };
    serde_json::to_value(receipt).expect("a receipt is made of strings, numbers and lists")
}
