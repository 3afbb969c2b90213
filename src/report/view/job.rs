//! Jobs: what each does, and what holds it up.

use crate::vocabulary::event::{JobGate, JobPurpose, MissingChecks};
use crate::vocabulary::names::{GateName, TreeId, WorkerId};

/// One occupation of one slot.
#[derive(Clone, Debug)]
pub struct JobView {
    pub worker: WorkerId,
    /// It holds no slot here; its gates run elsewhere.
    pub is_elsewhere: bool,
    pub purpose: JobPurpose,
    pub tree: TreeId,
    /// A second opinion on the tree that an item is compared with, which lacks the item.
    pub is_without_item: bool,
    pub gates: Vec<JobGate>,
    /// Others of the composite's gates follow in jobs of their own.
    pub more: bool,
    pub started_at_ms: u64,
    pub ended_at_ms: Option<u64>,
    /// What its process ended in the midst of, where that is over.
    pub running: Option<Box<RunningGate>>,
    /// Its process ended before it did.
    pub is_cut_off: bool,
    /// What it waits for before the next gate can run.
    pub unreported: Option<Box<Unreported>>,
    /// Why the next gate has no node yet, where that is known.
    pub held_up: Option<Box<HeldUp>>,
    /// Positions in [`super::RunView::attempts`].
    pub attempts: Vec<usize>,
}

/// A gate waits for checks that nothing reports as.
#[derive(Clone, Debug)]
pub struct Unreported {
    pub gate: GateName,
    pub checks: MissingChecks,
    /// The first that is told of these checks and this gate.
    pub is_news: bool,
}

/// A gate has no node yet.
#[derive(Clone, Debug)]
pub struct HeldUp {
    pub gate: GateName,
    pub why: String,
    /// The first that is told of this reason.
    pub is_news: bool,
}

/// The attempt of a gate that a job is at.
#[derive(Clone, Debug)]
pub struct RunningGate {
    pub gate: GateName,
    pub attempt: u32,
    pub since_ms: u64,
    /// Of a gate elsewhere, as far as that was told.
    pub node: Option<String>,
}
