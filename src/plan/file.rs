//! What a plan document may look like: the wire types of schema version 1 and the JSON schema
//! made from them, which people read with `lexpr schema plan`.
//!
//! The types say shapes and limits only. What a document means, and whether it means anything,
//! [`super::check`] says. Absent keys stay absent here; defaults are filled in there. Plans of
//! the earlier TypeScript tool (JSON, `schemaVersion` 1.x.y) are documents of this schema too.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;

pub use super::forms_file::{DirectoryRenamesFile, GroupSizeFile, SchemaVersion};
use super::limits_file::{ClaimsFile, ResourceFile};
use super::runtimes_file::{CiAskedFile, ContainerFile, RuntimePolicyFile, SlurmFile};
use super::workers::MaxWorkers;
use crate::vocabulary::names::MergeStrategy;

/// Bytes of a name; the schema counts characters, which are never more.
pub const MAX_NAME_BYTES: usize = 200;

/// The target where a plan names none.
pub const DEFAULT_TARGET: &str = "main";
/// Half an hour: longer than most suites, short enough to notice a hang in the same sitting.
pub const DEFAULT_GATE_TIMEOUT_SECONDS: u64 = 1800;
/// More foreign moves in a row than this mean that the run comes too late every time.
pub const DEFAULT_MAX_REBASES: u32 = 10;
/// To ask for versions takes moments.
pub const DEFAULT_FINGERPRINT_TIMEOUT_SECONDS: u64 = 60;
/// Nobody reads more, and a gate in a loop must not fill the disk.
pub const DEFAULT_LOG_MAX_MB: u64 = 100;
/// Of the memory limit, in percent.
pub const DEFAULT_MEMORY_THRESHOLD_PERCENT: u8 = 80;
/// Items that land on one apex.
pub const DEFAULT_BATCH_SIZE: u32 = 50;
/// How long a verdict, or a composite in memory, stands for another of the same.
pub const DEFAULT_CACHE_TTL_SECONDS: u64 = 3600;
/// Some 100,000 verdicts with their logs.
pub const DEFAULT_CACHE_MAX_MB: u64 = 512;

/// A plan: which branches to land on which target, what must pass first, and how the run goes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "lexpr plan, schema version 1")]
pub struct PlanFile<'a> {
    /// The version of this schema: `v1`, `1` or `1.x.y`. Another major version is refused.
    #[schemars(required)]
    pub schema_version: Option<SchemaVersion>,

    /// The branch to land on, by its name or its full ref name.
    #[schemars(length(min = 1), extend("default" = DEFAULT_TARGET))]
    pub target: Option<String>,

    /// What holds for the whole run.
    pub policy: Option<PolicyFile>,

    /// Gates for every item that has none of its own (no `gates` key, or an empty list).
    pub gates: Option<Vec<GateFile>>,

    /// What to land. The order of this list means nothing.
    #[serde(borrow)]
    pub items: Option<Vec<ItemFile<'a>>>,
}

// A plan may have a million, so it copies no text of the document.
/// One branch to land.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Item")]
pub struct ItemFile<'a> {
    /// Unique in the plan: 1 to 200 bytes of UTF-8, without control characters, `..` or a leading dash.
    #[schemars(required, length(min = 1, max = MAX_NAME_BYTES), example = &"auth", example = &"feature/auth")]
    #[serde(borrow)]
    pub name: Option<&'a str>,

    /// The revision to land: a branch, a remote-tracking branch or anything else git resolves to a
    /// commit. Default: the item's name, and where no such revision exists, `sha`.
    #[schemars(length(min = 1), example = &"feature/auth", example = &"origin/feature/auth")]
    #[serde(borrow)]
    pub branch: Option<&'a str>,

    /// The commit the branch must be at, 4 to 64 hexadecimal digits in quotes. A branch that has
    /// moved since is then an error.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{4,64}$"), example = &"3f2a9c1d0b")]
    #[serde(borrow)]
    pub sha: Option<&'a str>,

    /// Names of the items this one depends on. It lands after them and never without them.
    #[schemars(extend("default" = Value::Array(Vec::new())))]
    #[serde(borrow)]
    pub deps: Option<Vec<&'a str>>,

    /// How the item becomes part of the target: a merge commit, one squashed commit, or its own
    /// commits replayed. The `-weave` names of the earlier tool mean the same.
    #[schemars(extend("default" = "merge"))]
    pub strategy: Option<StrategyFile>,

    /// Among items that could start, those with a higher priority, or with a dependent that has one, start first.
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64), extend("default" = 0))]
    pub priority: Option<i64>,

    /// The commands that judge this item. Without any, the plan's own `gates` do.
    pub gates: Option<Vec<GateFile>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum StrategyFile {
    Merge,
    Squash,
    Rebase,
    MergeWeave,
    SquashWeave,
    RebaseWeave,
}

impl From<StrategyFile> for MergeStrategy {
    fn from(strategy: StrategyFile) -> Self {
        match strategy {
            StrategyFile::Merge | StrategyFile::MergeWeave => Self::Merge,
            StrategyFile::Squash | StrategyFile::SquashWeave => Self::Squash,
            StrategyFile::Rebase | StrategyFile::RebaseWeave => Self::Rebase,
        }
    }
}

/// A command that judges one tree: exit status 0 passes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Gate")]
pub struct GateFile {
    /// What the gate is called in policies and reports; follows the rules for item names.
    #[schemars(required, length(min = 1, max = MAX_NAME_BYTES), example = &"unit")]
    pub name: Option<String>,

    /// Given to `sh -c`, in a checkout of the tree to judge. A gate that a CI service runs needs none: what that is set
    /// up to do counts, and this is never sent there.
    #[schemars(length(min = 1), example = &"cargo test --workspace")]
    pub run: Option<String>,

    /// Where it runs: a folder of the tree, relative to its root. Default: the root.
    #[schemars(example = &"crates/auth")]
    pub cwd: Option<String>,

    /// Variables for the command. Numbers need quotes.
    pub env: Option<BTreeMap<String, String>>,

    /// After this long the command and all that it started are ended, and the gate has failed.
    /// Default: the policy's `gateTimeoutSeconds`.
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: Option<u64>,

    /// Globs on paths from the root of the tree. Where given, the verdict depends on what they
    /// match alone, and stands for every tree that is equal in that.
    #[schemars(length(min = 1), inner(length(min = 1)), example = ["crates/auth/**", "Cargo.lock"])]
    pub inputs: Option<Vec<String>>,

    /// Claims one of each limit named here (see the policy's `resources`); a limit named twice is claimed twice.
    /// Or by how much of each: `{ gpu: 2 }`. All are claimed at once, and held while the gate runs.
    pub resources: Option<ClaimsFile>,

    /// The exit status by which it says that a service refused it for now. It is no verdict then: the gate gives
    /// its slot and its claims back, and is asked for again after a while, ten times at most.
    #[schemars(range(min = 1, max = 255), example = 75)]
    pub rate_limit_exit_code: Option<u8>,

    /// Where it runs: on the item with its dependencies (`cone`), on what is about to land
    /// (`apex`), or both. At least one required gate of an item runs at the apex.
    #[schemars(length(min = 1), extend("default" = ["cone", "apex"]))]
    pub at: Option<Vec<AtFile>>,

    /// Remove ignored files, such as build outputs, before it runs.
    #[schemars(extend("default" = false))]
    pub clean: Option<bool>,

    /// Set `LEXPR_ITEM` and `LEXPR_BASE` for it. Its verdicts then belong to one item and base.
    #[schemars(extend("default" = false))]
    pub context: Option<bool>,

    /// Globs on files to keep after it ran, relative to `cwd`.
    #[schemars(inner(length(min = 1)), example = ["target/nextest/junit.xml"])]
    pub artifacts: Option<Vec<String>>,

    /// What runs the command: `local` (this machine's shell), `container`, `slurm`, or one of the policy's `runtimes` by its
    /// name. Default: the policy's `defaultRuntime`.
    #[schemars(length(min = 1), example = &"container")]
    pub runtime: Option<String>,

    /// The container it runs in, where a container is what runs it.
    pub container: Option<ContainerFile>,

    /// What it asks of a cluster, where one runs it.
    pub slurm: Option<SlurmFile>,

    /// What it asks of a CI service, where one runs it.
    pub ci_service: Option<CiAskedFile>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum AtFile {
    Cone,
    Apex,
}

/// What holds for the whole run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub struct PolicyFile {
    /// How many trees are gated at once. Default: the machine's cores. `auto`: as many as the machine has room for
    /// and get more done, between 1 and four times its cores.
    pub max_workers: Option<MaxWorkers>,

    /// How items land: each gated by itself before they land together (`pyramid`); straight on the target, many
    /// at a time, which takes the fewest gate runs (`batch`); one after another, each gated on those ahead of it
    /// before they have landed (`train`); or what `spend` makes the better choice of the first two (`auto`).
    #[schemars(extend("default" = "pyramid"))]
    pub landing: Option<LandingFile>,

    /// Gates that every item must have; an item that lacks one is an error of the plan. All gates
    /// that are not optional are required anyway.
    #[schemars(inner(length(min = 1)), extend("default" = Value::Array(Vec::new())))]
    pub required_gates: Option<Vec<String>>,

    /// Gates that are run and reported but keep nothing from landing.
    #[schemars(inner(length(min = 1)), extend("default" = Value::Array(Vec::new())))]
    pub optional_gates: Option<Vec<String>>,

    /// Globs on gate names. An item with a gate that matches is blocked before any of its gates runs.
    #[schemars(inner(length(min = 1)), extend("default" = Value::Array(Vec::new())))]
    pub block_on: Option<Vec<String>>,

    /// What the search for a culprit saves: gate runs (`gates`) or time (`time`).
    #[schemars(extend("default" = "gates"))]
    pub spend: Option<SpendFile>,

    /// How many eligible items the pyramid gates together on one composite, or `auto`: as many as their rate of
    /// passing makes worthwhile and, with `spend: time`, as leave every worker something to do.
    #[schemars(extend("default" = 1))]
    pub group_size: Option<GroupSizeFile>,

    /// A required gate that fails skips the gates after it.
    #[schemars(extend("default" = true))]
    pub fail_fast: Option<bool>,

    /// A required failure that would eject an item is run once more on the same tree first.
    #[schemars(extend("default" = true))]
    pub second_opinion: Option<bool>,

    /// A command that prepares each working folder before its first gate.
    pub setup: Option<SetupFile>,

    /// Who commits. Default: the committer of each item's head.
    pub committer: Option<CommitterFile>,

    /// By gate name: how often a gate is tried before it has failed.
    pub retries: Option<BTreeMap<String, RetryFile>>,

    /// Who may land items although their gates do not pass, with `--override`. Default: nobody.
    pub overrides: Option<OverridesFile>,

    /// Accepted for plans of the earlier tool, which knew one rule: every required gate passes.
    pub merge_rule: Option<MergeRuleFile>,

    /// How often in a row a run follows a target that others move before it stops, to be resumed.
    #[schemars(range(min = 0), extend("default" = DEFAULT_MAX_REBASES))]
    pub max_rebases: Option<u32>,

    /// Megabytes that a gate's log may hold. Of a longer one the beginning and the end are kept.
    #[schemars(rename = "logMaxMB", range(min = 1, max = 1_048_576), extend("default" = DEFAULT_LOG_MAX_MB))]
    #[serde(rename = "logMaxMB")]
    pub log_max_mb: Option<u64>,

    /// Environment variables whose values are struck out of what gates print, besides those whose
    /// names tell (TOKEN, SECRET, PASSWORD and the like).
    #[schemars(inner(length(min = 1)), extend("default" = Value::Array(Vec::new())))]
    pub redact: Option<Vec<String>>,

    /// For gates that have no `timeoutSeconds` of their own.
    #[schemars(range(min = 1, max = 604_800), extend("default" = DEFAULT_GATE_TIMEOUT_SECONDS))]
    pub gate_timeout_seconds: Option<u64>,

    /// Limits by name that gates may claim: how many at once (`db: 1`), and with `pacing` how soon after each
    /// other they may begin (`api: { limit: 3, pacing: safe }`).
    pub resources: Option<BTreeMap<String, ResourceFile>>,

    /// How git merges. Git's own defaults otherwise; nothing is read from anyone's configuration.
    pub merge: Option<MergeFile>,

    /// Part of what verdicts are known again by: another text, and none of those before is known.
    #[schemars(example = &"2026-11")]
    pub cache_salt: Option<String>,

    /// A command whose output is part of what verdicts are known again by: what gates depend on and no tree holds,
    /// such as the version of a compiler. It runs once in each run, as a gate on the target's tree does.
    pub fingerprint: Option<FingerprintFile>,

    /// Where passes are kept besides the repository, for other machines: `redis://HOST:PORT/DB`,
    /// `file:///FOLDER` or `s3://BUCKET/PREFIX?region=…&endpoint=…`. Who can write there can say that
    /// anything has passed. Only in a build with the feature `shared-cache`.
    #[schemars(length(min = 1), example = &"redis://cache.example:6379/0", example = &"file:///mnt/team/lexpr")]
    pub cache: Option<String>,

    /// What runs gates, by names that gates and `defaultRuntime` use: containers of this machine, a cluster, or a CI
    /// service.
    pub runtimes: Option<BTreeMap<String, RuntimePolicyFile>>,

    /// A repository that lexpr and the nodes of a cluster, or a CI service, reach, by a URL or an absolute path: commits
    /// that are gated elsewhere are sent there, below `refs/lexpr/`, and for a CI service as branches below `lexpr/`.
    /// Default: the repository itself, which takes a file system that both have, and is none for a CI service.
    #[schemars(length(min = 1), example = &"ssh://git@git.example/shop.git")]
    pub exchange: Option<String>,

    /// What runs the gates that name no `runtime`.
    #[schemars(length(min = 1), extend("default" = "local"))]
    pub default_runtime: Option<String>,

    /// Sizes and limits: memory, how many items land at once, and what passes are remembered.
    pub performance: Option<PerformanceFile>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum LandingFile {
    Pyramid,
    Train,
    Batch,
    Auto,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum SpendFile {
    Gates,
    Time,
}

/// A command that prepares a working folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Setup")]
pub struct SetupFile {
    /// Given to `sh -c` in the root of the tree.
    #[schemars(required, length(min = 1), example = &"npm ci")]
    pub run: Option<String>,

    /// Globs; it runs again when what they match changes. Without any: once for each folder.
    #[schemars(inner(length(min = 1)), example = ["package-lock.json"])]
    pub inputs: Option<Vec<String>>,
}

/// A command that says what gates depend on besides the tree.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Fingerprint")]
pub struct FingerprintFile {
    /// Given to `sh -c` in the root of the target's tree. What it prints, errors included, must be the
    /// same for the same machine.
    #[schemars(required, length(min = 1), example = &"rustc -V")]
    pub run: Option<String>,

    /// After this long it is ended, and the run does not begin.
    #[schemars(range(min = 1, max = 604_800), extend("default" = DEFAULT_FINGERPRINT_TIMEOUT_SECONDS))]
    pub timeout_seconds: Option<u64>,
}

/// A committer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Committer")]
pub struct CommitterFile {
    /// The name that commits carry, without `<`, `>` and line breaks.
    #[schemars(required, length(min = 1), example = &"Landing Bot")]
    pub name: Option<String>,

    /// The address that commits carry, without `<`, `>` and line breaks.
    #[schemars(required, length(min = 1), example = &"landing@example.com")]
    pub email: Option<String>,
}

/// How often a gate is tried.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub struct RetryFile {
    /// The first try included.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    pub max_attempts: Option<u32>,

    /// Before the second try; doubles with each further one.
    #[schemars(range(min = 0, max = 86_400), extend("default" = 0))]
    pub backoff_seconds: Option<f64>,
}

/// Who may override what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Overrides")]
pub struct OverridesFile {
    /// Those who may let an item land whose gates are red.
    pub admin_green: Option<AdminGreenFile>,
}

/// Who may land an item whose gates are red.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AdminGreen")]
pub struct AdminGreenFile {
    /// By git's `user.name`, `user.email`, or both as `Name <email>`. It is a record of who answers for it, and no lock:
    /// git believes what its user says of themselves.
    #[schemars(inner(length(min = 1)))]
    pub allowed_users: Option<Vec<String>>,
    /// `--reason` has to say why.
    #[schemars(extend("default" = true))]
    pub require_reason: Option<bool>,
}

/// When an item may land.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "MergeRule")]
pub struct MergeRuleFile {
    /// The one rule there is: an item lands when every required gate has passed.
    #[serde(rename = "type")]
    #[schemars(extend("default" = "strict-required"))]
    pub kind: Option<MergeRuleKindFile>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum MergeRuleKindFile {
    StrictRequired,
}

/// How git merges.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Merge")]
pub struct MergeFile {
    /// Git's `merge.renames`: follow files that one side renamed.
    #[schemars(extend("default" = true))]
    pub renames: Option<bool>,

    /// Git's `merge.directoryRenames`: what happens to files added to a folder that the other side
    /// renamed.
    #[schemars(extend("default" = "conflict"))]
    pub directory_renames: Option<DirectoryRenamesFile>,
}

/// Sizes and limits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Performance")]
pub struct PerformanceFile {
    /// For lexpr and its gates together, in units of 1024 x 1024 bytes. Default: 80 % of what is available.
    #[serde(rename = "maxMemoryMB")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub max_memory_mb: Option<u64>,

    /// Percent of `maxMemoryMB` above which no new gate starts; with nothing running, one always may.
    #[schemars(range(min = 1, max = 100), extend("default" = DEFAULT_MEMORY_THRESHOLD_PERCENT))]
    pub memory_threshold_percent: Option<u8>,

    /// Whether work waits for memory at all.
    #[schemars(extend("default" = true))]
    pub throttle_on_memory: Option<bool>,

    /// How many items land at once, at most. Default: 50; with `landing: batch` as many as are likely to pass
    /// together. With `landing: train`, how many are looked at, at most; default: as many as its window grows to.
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_size: Option<u32>,

    /// Whether a pass of a gate on a tree stands for the next run of the same gate on it, in this run
    /// and in later ones of the repository.
    #[schemars(extend("default" = true))]
    pub enable_caching: Option<bool>,

    /// For how many seconds a pass stands for gates of later runs. 0: a run knows its own passes alone.
    #[serde(rename = "cacheTTLSeconds")]
    #[schemars(range(min = 0, max = 31_536_000), extend("default" = DEFAULT_CACHE_TTL_SECONDS))]
    pub cache_ttl_seconds: Option<u64>,

    /// Megabytes that remembered passes may take in the repository's git directory; those that were not
    /// used for the longest time go first.
    #[serde(rename = "cacheMaxMB")]
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = DEFAULT_CACHE_MAX_MB))]
    pub cache_max_mb: Option<u64>,
}

/// The JSON schema (2020-12) of a plan.
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<PlanFile<'_>>()
}

/// The schema as it stands in `schemas/plan.schema.json`, with a final newline.
pub fn schema_json() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).expect("a schema has text keys only");
    text.push('\n');
    text
}

/// A key that may be left out is not one that may be null.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            object.remove("anyOf");
            object.extend(only);
        }
    }
}
