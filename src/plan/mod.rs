//! The plan as the rest of lexpr knows it: checked, with every default filled in.
//!
//! [`mod@file`] is what a document may look like, [`spanned`] reads one into a tree (by `plain_reader`
//! where it is plain, else by `reader`) or [`unreadable`] says why not, [`conform`] holds it against
//! the schema, [`check`] turns it into a [`Plan`] or into the list of all that is wrong with it,
//! [`graph`] orders its items. No I/O, no git: whether a branch exists is not known here.

pub mod amend;
mod cache_place;
pub mod check;
pub mod ci_service;
pub mod compare;
pub mod conform;
pub mod file;
mod forms_file;
pub mod globs;
pub mod graph;
pub mod limits_file;
mod meaning;
pub mod natural;
mod plain_reader;
pub mod pointer;
pub mod problem;
pub mod reach;
mod reader;
pub mod reference;
pub mod runtime;
mod runtimes_file;
pub mod spanned;
mod sure;
mod tree;
mod typed;
pub mod unreadable;
mod workers;

pub use cache_place::CachePlace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
pub use workers::MaxWorkers;

use globset::GlobMatcher;
use serde::{Deserialize, Serialize};

use self::runtime::{Asked, Runtime, Runtimes};
use crate::vocabulary::names::{DefinitionDigest, FileDigest, GateName, ItemName, MergeStrategy, PlanDigest};
use crate::vocabulary::verdict::GateParts;

/// A valid plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub digest: PlanDigest,
    /// As written: a branch name or a full ref name.
    pub target: String,
    pub policy: Policy,
    /// In the order of the document, which means nothing beyond messages.
    pub items: Vec<Item>,
}

/// What to land.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub name: ItemName,
    /// Any revision git understands; the item's name where the plan gives none. Where it is the
    /// name and there is no such revision, `pin` alone says what to land.
    pub branch: String,
    /// The commit that `branch` must be at, 4 to 64 hex digits in lower case.
    pub pin: Option<String>,
    pub deps: Vec<ItemName>,
    pub strategy: MergeStrategy,
    /// Higher starts first among the eligible.
    pub priority: i64,
    /// In plan order; items that name none share those of the plan.
    pub gates: Vec<Arc<Gate>>,
}

/// A command that judges one tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    pub name: GateName,
    /// Everything that makes this gate another gate than one with the same name.
    pub definition: DefinitionDigest,
    /// What that would be if this machine's shell ran it.
    pub local_definition: DefinitionDigest,
    pub runtime: Runtime,
    /// What it asks of whatever runs it.
    pub asked: Asked,
    /// Given to `sh -c`. Empty where a CI service runs it by what that is set up to do, and the plan says no more.
    pub run: String,
    /// Relative to the tree's root, `/`-separated, never leaving it; empty for the root.
    pub cwd: String,
    pub env: BTreeMap<String, String>,
    pub timeout: Duration,
    /// The plan gives this gate a timeout of its own, which `--gate-timeout` leaves alone.
    pub own_timeout: bool,
    /// Globs on paths from the tree's root; the verdict depends on what they match alone.
    pub inputs: Option<Vec<String>>,
    /// Claims on named limits, by how much of each.
    pub resources: BTreeMap<String, u32>,
    /// The exit status by which it says that it was refused for now, 1 to 255.
    pub rate_limit_exit_code: Option<u8>,
    pub at: GateAt,
    /// Ignored files are removed before it runs, too.
    pub clean: bool,
    /// `LEXPR_ITEM` and `LEXPR_BASE` are set and part of the verdict's key.
    pub context: bool,
    /// Globs relative to `cwd`.
    pub artifacts: Vec<String>,
    /// A required gate that fails keeps its item from landing.
    pub required: bool,
    pub retry: Retry,
}

impl Gate {
    /// What its verdicts depend on.
    pub fn parts(&self) -> GateParts {
        GateParts {
            name: self.name.clone(),
            definition: self.definition,
            run: self.run.clone(),
            cwd: self.cwd.clone(),
            env: self.env.iter().map(|(name, value)| (name.clone(), FileDigest::of([value.as_bytes()]))).collect(),
            inputs: self.inputs.clone(),
            artifacts: self.artifacts.clone(),
            timeout_ms: self.own_timeout.then(|| u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)),
            clean: self.clean,
            runtime: self.runtime.to_string(),
        }
    }
}

impl Gate {
    /// The same command, run by `runtime`: another gate.
    pub fn run_by(mut self, runtime: Runtime) -> Self {
        self.definition = runtime.define(self.local_definition);
        self.runtime = runtime;
        self
    }

    /// One of which a plan says no more than this: required, on the whole tree, tried once.
    pub fn bare(name: GateName, definition: DefinitionDigest, run: String, timeout: Duration) -> Self {
        Self {
            name,
            definition,
            local_definition: definition,
            runtime: Runtime::Local,
            asked: Asked::default(),
            run,
            cwd: String::new(),
            env: BTreeMap::new(),
            timeout,
            own_timeout: false,
            inputs: None,
            resources: BTreeMap::new(),
            rate_limit_exit_code: None,
            at: GateAt { cone: true, apex: true },
            clean: false,
            context: false,
            artifacts: Vec::new(),
            required: true,
            retry: Retry { max_attempts: 1, backoff: Duration::ZERO },
        }
    }
}

/// Where a gate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateAt {
    pub cone: bool,
    pub apex: bool,
}

/// How often a gate is tried and how long lexpr waits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// At least 1.
    pub max_attempts: u32,
    /// Before the second attempt; doubles with each further one.
    pub backoff: Duration,
}

/// A named limit that gates may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// How much may be claimed at once, at least 1; `None`: any amount.
    pub limit: Option<u32>,
    /// The least time from the beginning of one gate that claims it to that of the next; 0: none.
    pub gap: Duration,
}

/// What holds for the whole run.
#[derive(Clone, Debug)]
pub struct Policy {
    pub landing: Landing,
    /// `None`: as many as the machine has cores.
    pub max_workers: Option<MaxWorkers>,
    /// A match on a gate's name blocks its item. Each with its source text.
    pub block_on: Vec<(String, GlobMatcher)>,
    pub spend: Spend,
    pub group_size: GroupSize,
    pub fail_fast: bool,
    pub second_opinion: bool,
    /// How often in a row a target that others move is followed.
    pub max_rebases: u32,
    pub log_max_bytes: u64,
    /// Names of environment variables whose values are not written anywhere.
    pub redact: Vec<String>,
    /// By name; no gate claims another, nor more than there is.
    pub resources: BTreeMap<String, Resource>,
    pub setup: Option<Setup>,
    pub committer: Option<Identity>,
    pub admin_green: Option<AdminGreen>,
    pub merge: MergeSettings,
    /// Part of every verdict's key.
    pub cache_salt: Option<String>,
    pub fingerprint: Option<FingerprintCommand>,
    pub runtimes: Runtimes,
    /// By which commits get to where gates run elsewhere; `None`: the repository itself.
    pub exchange: Option<String>,
    /// Where verdicts are kept besides the repository.
    pub cache: Option<CachePlace>,
    pub performance: Performance,
}

/// Who may let items land although their gates do not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminGreen {
    /// Names, addresses, or `Name <email>`; nobody where it is empty.
    pub allowed_users: Vec<String>,
    pub require_reason: bool,
}

/// How items come to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// Each is gated on its cone, and those that passed land together.
    Pyramid,
    /// Straight on the tip, as many at a time as are likely to pass together.
    Batch,
    /// One after another, each gated on those ahead of it before they have landed.
    Train,
}

impl Landing {
    /// As the plan has it, where it gates no cones.
    pub fn without_cones(self) -> Option<&'static str> {
        match self {
            Self::Pyramid => None,
            Self::Batch => Some("batch"),
            Self::Train => Some("train"),
        }
    }
}

/// What a bisection saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// Fewest gate runs: one probe at a time.
    Gates,
    /// Shortest run: free slots probe what the next answers may ask for.
    Time,
}

/// How many eligible items the pyramid gates on one composite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSize {
    /// At most so many, at least 1.
    Fixed(u32),
    /// As many as their rate of passing and the workers make worthwhile.
    Auto,
}

impl GroupSize {
    /// `None`: it is lexpr's choice.
    pub fn fixed(self) -> Option<u32> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Auto => None,
        }
    }
}

/// A command that prepares a slot.
#[derive(Clone, Debug)]
pub struct Setup {
    pub run: String,
    /// Globs; the command runs again when what they match changes. Empty: once per slot.
    pub inputs: Vec<String>,
    pub definition: DefinitionDigest,
}

/// A command whose output is part of every verdict's key.
#[derive(Clone, Debug)]
pub struct FingerprintCommand {
    pub run: String,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub name: String,
    pub email: String,
}

/// How git merges: its own defaults unless the plan says otherwise, never the user's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MergeSettings {
    /// `merge.renames`
    pub renames: bool,
    /// `merge.directoryRenames`
    pub directory_renames: DirectoryRenames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectoryRenames {
    True,
    False,
    Conflict,
}

#[derive(Clone, Debug)]
pub struct Performance {
    /// `None`: 80 % of what the machine has available when the run starts.
    pub max_memory_bytes: Option<u64>,
    /// 1 to 100, of `max_memory_bytes`.
    pub memory_threshold_percent: u8,
    pub throttle_on_memory: bool,
    /// Items that land on one apex, at least 1; `None`: as many as the strategy likes.
    pub batch_size: Option<u32>,
    pub caching: bool,
    pub cache_ttl: Duration,
    /// Of remembered verdicts.
    pub cache_max_bytes: u64,
}
