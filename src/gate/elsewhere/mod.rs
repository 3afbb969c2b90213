//! Gates that run on other machines, by engines that exist. lexpr sends a gate as an [`Errand`]: the commit by git, the
//! rest with a script (`worker.sh`) that runs it over there and gives account of it. A CI service (`ci`) gets the commit
//! alone. Who asks for gates, how often one is tried and what its outcome means, is not known here.
//!
//! A pass is believed on positive proof alone: a line that names the errand and the tree that git had checked out, and an
//! engine that does not say otherwise (`account`), or a CI service's clear word on this very commit. All that goes wrong
//! on the way is an infrastructure failure.

mod account;
pub mod ci;
mod exchange;
mod jobs;
mod leavings;
pub mod slurm;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use exchange::Exchange;
pub use jobs::{AllGates, GatesElsewhere};

use super::pump::LogRules;
use crate::vocabulary::event::{GateOutcome, MissingChecks};
use crate::vocabulary::names::{CommitId, TreeId};

/// One gate to be run elsewhere, once.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Who asks twice for the same finds the first: made of the verdict's key and, behind a last `-`, how many attempts the
    /// journal has of it. Letters, digits and `-` only.
    pub ticket: String,
    pub commit: CommitId,
    pub tree: TreeId,
    /// Run before the gate, in each checkout.
    pub setup: Option<String>,
    pub command: String,
    /// Below the top of the checkout.
    pub cwd: String,
    /// The gate's own variables and what lexpr tells it.
    pub env: BTreeMap<String, String>,
    /// Variables of lexpr's own environment that the gate gets. Their values stand on no command line and in no file.
    pub pass_env: Vec<String>,
    /// Globs on files below `cwd` that are brought back.
    pub artifacts: Vec<String>,
    /// From when the gate begins on its node.
    pub timeout: Duration,
    /// Made where missing; what the gate prints is added.
    pub log: PathBuf,
    pub log_rules: LogRules,
}

/// What is known of an errand before it has come to something.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Somebody has begun with it: who, or nothing where that is not told. Said once.
    Begun(String),
    /// It waits for checks that nothing reports as.
    ChecksMissing(Box<MissingChecks>),
    /// Why nobody has begun with it yet; `None` where nothing is known to hold it up any more.
    Waits(Option<String>),
    /// It cannot be run, and would not be however often it is tried.
    InVain,
}

/// What came of an errand.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Returned {
    pub outcome: GateOutcome,
    /// Where it ran, as far as it got.
    pub node: Option<String>,
    /// From when it was asked for until a node had it.
    pub queued_ms: u64,
    /// The gate alone.
    pub ran_ms: u64,
    /// `None` where the node does not measure it.
    pub peak_memory_bytes: Option<u64>,
    /// The engine ended it, or a part of it, for want of memory.
    pub out_of_memory: bool,
    pub left: Left,
}

impl Returned {
    /// Of an errand that nobody had, asked for at `asked`.
    fn early(outcome: GateOutcome, asked: Instant) -> Self {
        Self {
            outcome,
            node: None,
            queued_ms: u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX),
            ran_ms: 0,
            peak_memory_bytes: None,
            out_of_memory: false,
            left: Left::Nothing,
        }
    }
}

/// What a gate left on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Left {
    /// Nothing that was asked for, or nobody said.
    #[default]
    Nothing,
    /// It was sent to the exchange as this commit, whose name is as the worker wrote it.
    Sent(String),
    /// There is something, and it could not be sent.
    Lost(String),
}
