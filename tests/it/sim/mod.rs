//! A scripted world behind the engine's ports, in virtual time: what conflicts, which gate fails
//! on which items, what is flaky and how long everything takes is written down beforehand, and
//! the whole run is over in milliseconds.
//!
//! A tree is the *set* of items in it, so the cone of an item and an apex with the same content
//! are the same tree, as in git; a commit is its base and the sequence of what was merged.
#![expect(clippy::unwrap_used, reason = "a world that contradicts itself fails its test")]

mod answers;
mod content;
mod hands;
mod journal;
mod limits;
pub mod oracle;
mod outcome;
mod run;
mod runner;
pub mod strategies;
mod watch;
mod words;

use std::sync::Arc;
use std::time::Duration;

use globset::Glob;
use lexpr::core::critical_path::GateDurations;
use lexpr::core::limits::{Limits, Outcomes};
use lexpr::plan::graph::Graph;
use lexpr::plan::runtime::{Cluster, Runtime, Runtimes, SlurmPolicy};
use lexpr::plan::{
    DirectoryRenames, Gate, GateAt, GroupSize, Item, Landing, MergeSettings, Performance, Policy, Retry, Spend,
};
use lexpr::ports::{ComposeItem, WrittenGates};
use lexpr::vocabulary::event::{EVENT_FORMAT, LinedUpItem, OverrideGrant, RunStarted};
use lexpr::vocabulary::names::{
    CommitId, DefinitionDigest, GateName, ItemName, MergeStrategy, PlanDigest, RunId, RuntimeName, TreeId, VerdictKey,
};

pub use content::{Content, GateRecord};
pub use hands::Hands;
pub use journal::Store;
pub use limits::Limited;
pub use outcome::Outcome;

/// Mixes two numbers into one that looks like neither.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(b).wrapping_add(0x632B_E59B_D9B4_E019);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// An end before the end.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// `kill -9` once the journal has so many more events than it began with.
    Kill(usize),
    /// The machine goes down: of what was not yet durable only every so many-th part is kept.
    PowerLoss(usize, usize),
    /// Somebody asks the run to stop, at this time.
    Interrupt(u64),
    /// `kill -9` once the target was moved so often, before the run can know of it.
    KillOnceMoved(usize),
    /// The run ends because it cannot move the target, and whatever was in its way is gone then.
    Refused,
}

/// What a gate does on a tree that holds all of `present` and none of `absent`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub gate: String,
    pub present: Vec<String>,
    pub absent: Vec<String>,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    Fails,
    /// The first attempts on each tree fail, the others pass.
    FailsAtFirst(u32),
    TimesOut,
    /// lexpr cannot run it, however often it tries.
    CannotRun,
    /// The job breaks off without a word.
    BreaksOff,
    /// lexpr cannot run it at first.
    CannotRunAtFirst(u32),
    /// The first attempt fails, and then the job breaks off whenever it is tried again.
    FailsThenBreaksOff,
    /// Takes this long, whatever the seed says.
    Takes(u64),
}

/// A gate as the plan of a scripted world has it; its `run` is what [`Rule`]s know it by.
#[derive(Clone, Debug)]
pub struct GateSpec {
    pub name: String,
    pub run: String,
    pub required: bool,
    pub cone: bool,
    pub apex: bool,
    /// Names of the items that the gate looks at.
    pub inputs: Option<Vec<String>>,
    pub context: bool,
    pub max_attempts: u32,
    /// A runtime on another machine has it, and so many of its like at once.
    pub elsewhere: Option<u32>,
}

pub fn gate(name: &str) -> GateSpec {
    GateSpec {
        name: name.to_owned(),
        run: name.to_owned(),
        required: true,
        cone: true,
        apex: true,
        inputs: None,
        context: false,
        max_attempts: 1,
        elsewhere: None,
    }
}

impl GateSpec {
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    pub fn only_on_cones(mut self) -> Self {
        self.apex = false;
        self
    }

    pub fn only_on_apexes(mut self) -> Self {
        self.cone = false;
        self
    }

    pub fn running(mut self, run: &str) -> Self {
        run.clone_into(&mut self.run);
        self
    }

    pub fn attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    pub fn looking_at(mut self, items: &[&str]) -> Self {
        self.inputs = Some(items.iter().map(|item| (*item).to_owned()).collect());
        self
    }

    pub fn elsewhere(mut self, at_once: u32) -> Self {
        self.elsewhere = Some(at_once);
        self
    }

    pub fn told_its_item(mut self) -> Self {
        self.context = true;
        self
    }

    fn build(&self) -> Gate {
        let inputs = self.inputs.clone().unwrap_or_default().join(",");
        let parts = [self.run.as_str(), &inputs, if self.context { "context" } else { "" }];
        let definition = DefinitionDigest::of(parts.map(str::as_bytes));
        let name = GateName::new(&self.name);
        let bare = Gate::bare(name, definition, self.run.clone(), Duration::from_secs(1800));
        let runtime = self.elsewhere.map_or(Runtime::Local, |max_in_flight| {
            let policy = SlurmPolicy { max_in_flight, ..SlurmPolicy::default() };
            let runtime = RuntimeName::new(format!("of-{max_in_flight}"));
            Runtime::Slurm(Box::new(Cluster { runtime, needs: policy.needs.clone(), policy }))
        });
        Gate {
            inputs: self.inputs.clone(),
            at: GateAt { cone: self.cone, apex: self.apex },
            context: self.context,
            required: self.required,
            retry: Retry { max_attempts: self.max_attempts, backoff: Duration::from_secs(1) },
            ..bare.run_by(runtime)
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct ItemSpec {
    pub name: String,
    pub deps: Vec<String>,
    pub priority: i64,
    /// `None`: those of the plan.
    pub gates: Option<Vec<GateSpec>>,
    pub already_landed: bool,
}

/// What somebody else, or something else, does to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mishap {
    /// Just before the landing of this number (from 1) is tried, somebody moves the target.
    MovedBeforeLanding(usize),
    RefusedLanding(usize),
    ReceiptLost(usize),
    BrokenLanding(usize),
    /// At this time.
    Interrupt(u64),
    /// The journal cannot take the event of this number.
    JournalFull(u64),
    /// The composite of this number (from 1) cannot be made.
    BrokenComposite(usize),
    /// The machine lets nothing run when it comes to the gate of this number (from 1).
    StuckGate(usize),
    /// A landing that was begun cannot be brought to its end at the try of this number (from 1).
    RefusedRecovery(usize),
}

/// A move of the target by somebody else.
#[derive(Clone, Debug, PartialEq)]
pub struct OthersMove {
    pub when: When,
    /// Items that they merged by hand.
    pub brings: Vec<String>,
    /// Items that conflict with what they merged.
    pub conflicts_with: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Just before the landing of this number (from 1) is tried.
    BeforeLanding(usize),
    /// At this time.
    At(u64),
    /// After the process of this number (from 1) has ended.
    Between(usize),
}

impl When {
    fn at_ms(self) -> Option<u64> {
        match self {
            Self::At(at_ms) => Some(at_ms),
            Self::BeforeLanding(_) | Self::Between(_) => None,
        }
    }
}

/// What the machine of a world counts of its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Busyness {
    /// Nothing.
    Uncounted,
    /// Anything, which has nothing to do with what runs; some of it is not counted.
    Wild,
    /// What gates take of so many processors, each so many hundredths of one.
    Of { cores: u32, percent_a_gate: u32 },
}

/// The world before a run.
#[derive(Clone, Debug)]
pub struct World {
    pub items: Vec<ItemSpec>,
    pub gates: Vec<GateSpec>,
    pub rules: Vec<Rule>,
    /// Pairs that git cannot merge.
    pub conflicts: Vec<(String, String)>,
    /// Items that conflict with what somebody else moved the target to.
    pub conflicts_with_others: Vec<String>,
    pub block_on: Vec<String>,
    pub mishaps: Vec<Mishap>,
    /// How the run is stopped, one after another; after each it is resumed.
    pub stops: Vec<Stop>,
    /// How often a run that ended by itself before its end is taken up again, whatever it ended by.
    pub taken_up: usize,
    pub others: Vec<OthersMove>,
    /// When urgent runs are about to land beside it: from when, and for how long.
    pub urgent_beside: Vec<(u64, u64)>,
    /// It is an urgent run itself.
    pub urgent: bool,
    /// Items that may land although their gates do not pass.
    pub overrides: Vec<String>,
    pub limits: Limits,
    /// How many items the pyramid gates together.
    pub group_size: u32,
    /// Memory in use with so many jobs in work, by their number; the last holds for all above.
    pub memory: Vec<u64>,
    pub memory_threshold: Option<u64>,
    /// Every now and then there is hardly any memory left, whatever runs.
    pub memory_peaks: bool,
    pub load: Busyness,
    /// Decides durations and who is first among those that are done at the same time.
    pub seed: u64,
    /// Gates take up to this long.
    pub longest_gate_ms: u64,
    /// Composites and landings take up to this long.
    pub longest_hand_ms: u64,
    pub remembered: Option<Arc<Store>>,
    /// How long gates took in earlier runs, in milliseconds, by what they run.
    pub durations: Vec<(String, u64)>,
    pub limited: Limited,
}

impl World {
    /// Items as `name` or `name:dep,dep`, separated by spaces; one gate, `unit`, for all of them.
    pub fn of(items: &str) -> Self {
        let items = items.split_whitespace().map(|word| {
            let (name, deps) = word.split_once(':').unwrap_or((word, ""));
            ItemSpec {
                name: name.to_owned(),
                deps: deps.split(',').filter(|dep| !dep.is_empty()).map(str::to_owned).collect(),
                ..ItemSpec::default()
            }
        });
        Self {
            items: items.collect(),
            gates: vec![gate("unit")],
            rules: Vec::new(),
            conflicts: Vec::new(),
            conflicts_with_others: Vec::new(),
            block_on: Vec::new(),
            mishaps: Vec::new(),
            stops: Vec::new(),
            taken_up: 0,
            others: Vec::new(),
            urgent_beside: Vec::new(),
            urgent: false,
            overrides: Vec::new(),
            limits: Limits {
                landing: Landing::Pyramid,
                elsewhere: 0,
                max_workers: 4,
                workers_at_first: None,
                batch_size: 50,
                fail_fast: true,
                second_opinion: true,
                spend: Spend::Gates,
                max_rebases: lexpr::plan::file::DEFAULT_MAX_REBASES,
                history: Outcomes::default(),
                groups: None,
            },
            group_size: 1,
            memory: vec![0],
            memory_threshold: None,
            memory_peaks: false,
            load: Busyness::Uncounted,
            seed: 1,
            longest_gate_ms: 1000,
            longest_hand_ms: 0,
            remembered: None,
            durations: Vec::new(),
            limited: Limited::default(),
        }
    }

    pub fn gates(mut self, gates: impl IntoIterator<Item = GateSpec>) -> Self {
        self.gates = gates.into_iter().collect();
        self
    }

    fn item_mut(&mut self, name: &str) -> &mut ItemSpec {
        self.items.iter_mut().find(|item| item.name == name).expect("the item is in the world")
    }

    pub fn own_gates(mut self, item: &str, gates: impl IntoIterator<Item = GateSpec>) -> Self {
        self.item_mut(item).gates = Some(gates.into_iter().collect());
        self
    }

    pub fn priority(mut self, item: &str, priority: i64) -> Self {
        self.item_mut(item).priority = priority;
        self
    }

    pub fn already_landed(mut self, item: &str) -> Self {
        self.item_mut(item).already_landed = true;
        self
    }

    pub fn when(mut self, gate: &str, present: &[&str], effect: Effect) -> Self {
        let present = present.iter().map(|item| (*item).to_owned()).collect();
        self.rules.push(Rule { gate: gate.to_owned(), present, absent: Vec::new(), effect });
        self
    }

    /// `gate` fails on every tree that holds all of these.
    pub fn fails(self, gate: &str, present: &[&str]) -> Self {
        self.when(gate, present, Effect::Fails)
    }

    pub fn conflict(mut self, one: &str, other: &str) -> Self {
        self.conflicts.push((one.to_owned(), other.to_owned()));
        self
    }

    pub fn mishap(mut self, mishap: Mishap) -> Self {
        self.mishaps.push(mishap);
        self
    }

    pub fn stop(mut self, stop: Stop) -> Self {
        self.stops.push(stop);
        self
    }

    /// A limit of so much, with so many milliseconds between two beginnings.
    pub fn resource(mut self, name: &str, limit: Option<u32>, gap_ms: u64) -> Self {
        self.limited.resources.insert(name.to_owned(), (limit, gap_ms));
        self
    }

    /// Gates that run this claim so much of it.
    pub fn claims(mut self, run: &str, resource: &str, amount: u32) -> Self {
        self.limited.claims.push((run.to_owned(), resource.to_owned(), amount));
        self
    }

    /// Gates that run this are rate limited so often on each tree before they are not.
    pub fn refused(mut self, run: &str, times: u32) -> Self {
        self.limited.refused.push((run.to_owned(), times));
        self
    }

    pub fn workers(mut self, workers: u32) -> Self {
        self.limits.max_workers = workers;
        self
    }

    /// `maxWorkers: auto`, beginning with so many.
    pub fn adapts(mut self, at_first: u32, ceiling: u32, load: Busyness) -> Self {
        self.limits.max_workers = ceiling;
        self.limits.workers_at_first = Some(at_first);
        self.load = load;
        self
    }

    pub fn batch(mut self, size: u32) -> Self {
        self.limits.batch_size = size;
        self
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn graph(&self) -> Graph {
        let build = |gate: &GateSpec| {
            let mut gate = gate.build();
            self.limited.apply(&mut gate);
            Arc::new(gate)
        };
        let shared: Vec<Arc<Gate>> = self.gates.iter().map(build).collect();
        let items = self.items.iter().map(|item| Item {
            name: ItemName::new(&item.name),
            branch: item.name.clone(),
            pin: None,
            deps: item.deps.iter().map(ItemName::new).collect(),
            strategy: MergeStrategy::Merge,
            priority: item.priority,
            gates: match &item.gates {
                None => shared.clone(),
                Some(own) => own.iter().map(build).collect(),
            },
        });
        Graph::new(items.collect(), &[]).expect("a scripted plan has no cycle")
    }

    /// What earlier runs knew of the gates of `graph`.
    fn known_durations(&self, graph: &Graph) -> GateDurations {
        let gates = graph.indices().flat_map(|ix| graph.gates(ix));
        let known = gates.filter_map(|gate| {
            let (_, ms) = self.durations.iter().find(|(run, _)| *run == gate.run)?;
            Some((gate.definition, *ms))
        });
        known.collect()
    }

    fn policy(&self) -> Policy {
        let block_on = self.block_on.iter();
        Policy {
            landing: self.limits.landing,
            max_workers: None,
            block_on: block_on.map(|glob| (glob.clone(), Glob::new(glob).unwrap().compile_matcher())).collect(),
            spend: self.limits.spend,
            group_size: GroupSize::Fixed(self.group_size),
            fail_fast: self.limits.fail_fast,
            second_opinion: self.limits.second_opinion,
            max_rebases: self.limits.max_rebases,
            log_max_bytes: 1024 * 1024,
            redact: Vec::new(),
            resources: self.limited.resources(),
            setup: None,
            admin_green: None,
            committer: None,
            merge: MergeSettings { renames: true, directory_renames: DirectoryRenames::Conflict },
            cache_salt: None,
            fingerprint: None,
            runtimes: Runtimes::default(),
            exchange: None,
            cache: None,
            performance: Performance {
                max_memory_bytes: None,
                memory_threshold_percent: 80,
                throttle_on_memory: true,
                batch_size: Some(self.limits.batch_size),
                caching: true,
                cache_ttl: Duration::from_secs(3600),
                cache_max_bytes: 1 << 20,
            },
        }
    }

    fn started(&self, graph: &Graph, base: CommitId, base_tree: TreeId) -> RunStarted {
        let mut written = WrittenGates::default();
        let items = graph.indices().map(|ix| {
            let item = ComposeItem::of(graph, ix, head(graph.name(ix)), Vec::new());
            let already_landed = self.is_already_landed(&item.name).then(|| "in base".to_owned());
            Arc::new(LinedUpItem { already_landed, ..item.lined_up(graph, &mut written) })
        });
        RunStarted {
            format: EVENT_FORMAT,
            run: RunId::new("20261121-000000-0000"),
            version: "0.1.0".to_owned(),
            plan: "-".to_owned(),
            arguments: Vec::new(),
            directory: String::new(),
            plan_digest: PlanDigest::of([b"plan".as_slice()]),
            repository: "/nowhere".to_owned(),
            target: "refs/heads/main".to_owned(),
            base,
            base_tree,
            push: None,
            urgent: self.urgent,
            overrides: self.grant(graph),
            no_sign: false,
            runtime: None,
            images: Vec::new(),
            gate_timeout_ms: None,
            artifact_dir: None,
            max_workers: self.limits.max_workers,
            workers_at_first: self.limits.workers_at_first,
            batch_size: self.limits.batch_size,
            memory_limit_bytes: self.memory_threshold,
            fingerprint: None,
            items: items.collect(),
        }
    }

    fn grant(&self, graph: &Graph) -> Option<Box<OverrideGrant>> {
        let names = graph.indices().map(|ix| graph.name(ix));
        let items: Vec<ItemName> =
            names.filter(|name| self.overrides.iter().any(|one| one == name.as_str())).cloned().collect();
        let by = "Ann <ann@example.com>".to_owned();
        (!items.is_empty()).then(|| Box::new(OverrideGrant { items, by, reason: Some("it has to".to_owned()) }))
    }

    /// The same without anything that goes wrong around a run.
    pub fn undisturbed(self) -> Self {
        let urgent_beside = Vec::new();
        Self { stops: Vec::new(), mishaps: Vec::new(), others: Vec::new(), urgent_beside, taken_up: 0, ..self }
    }

    /// Whether more than one process works on it.
    pub fn is_resumed(&self) -> bool {
        !self.stops.is_empty() || self.taken_up > 0
    }

    fn is_already_landed(&self, name: &ItemName) -> bool {
        self.items.iter().any(|item| item.already_landed && item.name == name.as_str())
    }
}

fn head(name: &ItemName) -> CommitId {
    commit_of(&[b"head", name.as_str().as_bytes()])
}

fn commit_of(parts: &[&[u8]]) -> CommitId {
    CommitId::from_bytes(&twenty_bytes(parts)).expect("20 bytes are an id")
}

fn twenty_bytes(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = VerdictKey::of(parts.iter().copied()).as_bytes().to_vec();
    bytes.resize(20, 0);
    bytes
}
