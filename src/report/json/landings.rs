//! The landings of a run, each with what proves it: what its receipt says, as data.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::view::{Gates, RunView};
use crate::vocabulary::event::RanBy;
use crate::vocabulary::names::{
    ApexId, CommitId, DefinitionDigest, FileDigest, GateName, ItemName, RunId, TreeId, VerdictKey,
};

/// A move of the target by this run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Landing {
    pub at_ms: u64,
    pub apex: ApexId,
    /// What the items were merged onto; absent in reports of before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<CommitId>,
    pub from: CommitId,
    pub to: CommitId,
    pub tree: TreeId,
    /// Items of the same composite that had landed by then; they were merged before `items`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landed_before: Vec<ItemName>,
    /// In the order they were merged.
    pub items: Vec<ItemName>,
    pub pushed_to: Option<String>,
    pub moved_checkouts: Vec<String>,
    /// The file of the receipt.
    pub receipt: Option<String>,
    /// The passes that prove `tree`.
    #[serde(default)]
    pub proof: Vec<ProvenBy>,
}

/// A pass of a gate that a landing rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvenBy {
    /// `null` only where the pass was found by an earlier run that told no more of it.
    pub gate: Option<GateName>,
    pub key: VerdictKey,
    /// The earlier run that found it.
    pub earlier_run: Option<RunId>,
    /// The verdict depends on the gate's declared inputs alone, not on the whole tree.
    pub by_inputs: bool,
    /// The gate ran in a slot that ignored files of earlier gates may have been in.
    pub warm_slot: bool,
    /// It failed on the same tree before it passed.
    pub flaky: bool,
    pub duration_ms: u64,
    pub log: Option<String>,
    pub log_digest: Option<FileDigest>,
    /// What ran it; absent: this machine's shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RanBy>,
    /// Where, on another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// In the order they happened. What others had landed already is none.
pub(super) fn of(view: &RunView, definitions: &HashMap<VerdictKey, DefinitionDigest>) -> Vec<Landing> {
    let gates = Gates::of(view, definitions);
    let mut landings: Vec<Landing> = view
        .apexes
        .values()
        .filter_map(|apex| apex.landed.as_ref().map(|landed| (apex, landed)))
        .filter(|(_, (_, landed))| landed.from != landed.to)
        .map(|(apex, (at_ms, landed))| Landing {
            at_ms: *at_ms,
            apex: landed.apex,
            base: Some(apex.base),
            from: landed.from,
            to: landed.to,
            tree: landed.tree,
            landed_before: {
                let merged = apex.steps.iter().map(|step| &step.item);
                merged.take_while(|item| landed.items.first() != Some(item)).cloned().collect()
            },
            items: landed.items.clone(),
            pushed_to: landed.pushed_to.clone(),
            moved_checkouts: landed.moved_checkouts.clone(),
            receipt: landed.receipt.clone(),
            proof: view.proof(apex, &gates),
        })
        .collect();
    landings.sort_by_key(|landing| landing.at_ms);
    landings
}
