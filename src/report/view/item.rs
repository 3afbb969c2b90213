//! One item of a run, as far as its events tell, and how far it has come.

use std::sync::Arc;

use crate::vocabulary::event::{FinalItem, ItemDecided, LinedUpItem, Reason};
use crate::vocabulary::names::{ApexId, CommitId, TreeId};

/// One item of the run. There may be very many: what few have lies elsewhere.
#[derive(Clone, Debug)]
pub struct ItemView {
    pub lined_up: Arc<LinedUpItem>,
    /// Its commit and tree on base and its dependencies, of the newest cone.
    pub cone: Option<(CommitId, TreeId)>,
    pub passed: Option<Box<ItemDecided>>,
    /// Any decision but `passed`.
    pub decided: Option<Box<ItemDecided>>,
    pub deferred: Option<Box<Reason>>,
    pub landed: Option<LandedItem>,
    /// Others had landed it when its turn came: nothing had to be moved.
    pub found_landed: bool,
    /// The commit by which they did, where that can be named.
    pub others_landed_as: Option<CommitId>,
    /// What the end of the run says.
    pub last_word: Option<Box<FinalItem>>,
    /// When the first job for it began.
    pub started_at_ms: Option<u64>,
    /// When it passed or another decision on it fell, whichever came last.
    pub decided_at_ms: Option<u64>,
    /// How long jobs for this item alone held a worker.
    pub busy_ms: u64,
    /// Its gates were running when the run was asked to stop.
    pub interrupted: bool,
    /// Jobs for it that have not ended.
    pub(super) running: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct LandedItem {
    pub apex: ApexId,
    /// `None` only where the apex was not seen being made.
    pub commit: Option<CommitId>,
    pub at_ms: u64,
}

/// How far an item has come in a run that has not ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// For a dependency or a worker.
    Waiting,
    /// In a slot: on its cone, or for a second look at what failed there.
    Running,
    /// It may be part of an apex.
    Passed,
    /// Until its dependencies have landed or not.
    Deferred,
    /// Nothing more will happen to it.
    Done,
}

impl ItemView {
    pub(super) fn new(lined_up: Arc<LinedUpItem>) -> Self {
        Self {
            lined_up,
            cone: None,
            passed: None,
            decided: None,
            deferred: None,
            landed: None,
            found_landed: false,
            others_landed_as: None,
            last_word: None,
            started_at_ms: None,
            decided_at_ms: None,
            busy_ms: 0,
            interrupted: false,
            running: 0,
        }
    }
}
