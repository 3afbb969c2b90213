//! Named limits of a scripted world, and what must hold of them at every step of its run.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lexpr::plan::graph::Graph;
use lexpr::plan::{Gate, Resource};
use lexpr::vocabulary::event::{Event, GateOutcome, JobStarted, Recorded};
use lexpr::vocabulary::names::{DefinitionDigest, JobId, VerdictKey};

/// The status by which gates of scripted worlds say that they were refused.
pub const REFUSED: u8 = 75;

/// Nobody who was refused comes back sooner.
const SHORTEST_BACKOFF_MS: u64 = 1000;

/// What limits there are, and what gates have to do with them; gates by what they run.
#[derive(Clone, Debug, Default)]
pub struct Limited {
    /// By name: how much there is, and how many milliseconds are to be between two beginnings.
    pub resources: BTreeMap<String, (Option<u32>, u64)>,
    pub claims: Vec<(String, String, u32)>,
    /// They may be rate limited, and are so often on each tree.
    pub refused: Vec<(String, u32)>,
}

impl Limited {
    pub fn resources(&self) -> BTreeMap<String, Resource> {
        let resource = |(name, (limit, gap_ms)): (&String, &(Option<u32>, u64))| {
            (name.clone(), Resource { limit: *limit, gap: Duration::from_millis(*gap_ms) })
        };
        self.resources.iter().map(resource).collect()
    }

    /// Gives a gate what it claims.
    pub fn apply(&self, gate: &mut Gate) {
        for (_, resource, amount) in self.claims.iter().filter(|(run, ..)| *run == gate.run) {
            gate.resources.insert(resource.clone(), *amount);
        }
        if let Some((_, _)) = self.refused.iter().find(|(run, _)| *run == gate.run) {
            gate.rate_limit_exit_code = Some(REFUSED);
        }
    }

    /// How often a gate is refused before it is not, on one tree.
    pub fn refusals(&self, run: &str) -> u32 {
        self.refused.iter().find(|(refused, _)| refused == run).map_or(0, |(_, times)| *times)
    }
}

/// An account of its own of who holds what, and since when.
#[derive(Default)]
pub struct LimitsWatch {
    resources: BTreeMap<String, Resource>,
    claims: HashMap<DefinitionDigest, BTreeMap<String, u32>>,
    jobs: BTreeMap<JobId, (JobStarted, usize)>,
    /// By resource: when a gate that claims it last began. What its retries begin may come at any time.
    began: BTreeMap<String, u64>,
    /// When gates were refused, and the jobs in which they were.
    refused: HashMap<VerdictKey, (u64, JobId)>,
}

impl LimitsWatch {
    pub fn new(limited: &Limited, graph: &Graph) -> Self {
        let gates = graph.indices().flat_map(|ix| graph.gates(ix));
        Self {
            resources: limited.resources(),
            claims: gates.map(|gate| (gate.definition, gate.resources.clone())).collect(),
            ..Self::default()
        }
    }

    /// A new process knows what was written, and nothing else.
    pub fn begin_again(&mut self) {
        self.jobs.clear();
        self.began.clear();
        self.refused.clear();
    }

    /// Holds an event that is about to be journalled against the limits.
    pub fn check(&self, recorded: &Recorded) {
        let at_ms = recorded.at_ms;
        match &recorded.event {
            Event::JobStarted(job) => {
                let mut in_use = self.in_use();
                for (name, amount) in self.needed(job, 0) {
                    *in_use.entry(name).or_default() += amount;
                }
                for (name, amount) in in_use {
                    let limit = self.resources[&name].limit.unwrap_or(u32::MAX);
                    assert!(amount <= limit, "invariant 7: {amount} of {name} are claimed, and there are {limit}");
                }
                let paced = |definition: DefinitionDigest| {
                    self.claims[&definition].keys().any(|name| !self.resources[name].gap.is_zero())
                };
                assert!(job.gates.iter().skip(1).all(|gate| !paced(gate.definition)), "a slot waits for a pace");
            }
            Event::GateStarted { job, key, attempt, .. } => {
                if let Some((refused_ms, in_job)) = self.refused.get(key) {
                    assert_ne!(in_job, job, "who was refused goes on in its slot");
                    assert!(at_ms >= refused_ms + SHORTEST_BACKOFF_MS, "who was refused comes back too soon");
                }
                for (name, gap_ms) in self.paces(*job, *key) {
                    let before = self.began.get(&name).copied();
                    let is_paced = before.is_none_or(|before| at_ms >= before + gap_ms);
                    assert!(
                        *attempt > 1 || is_paced,
                        "{name} began {before:?}, again {at_ms}: {gap_ms} apart at least"
                    );
                }
            }
            _ => {}
        }
    }

    pub fn note(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::JobStarted(job) => drop(self.jobs.insert(job.job, ((**job).clone(), 0))),
            Event::JobFinished { job } => drop(self.jobs.remove(job)),
            Event::GateStarted { job, key, attempt: 1, .. } => {
                for (name, _) in self.paces(*job, *key) {
                    self.began.insert(name, recorded.at_ms);
                }
            }
            Event::GateFinished(finished) => {
                match finished.outcome {
                    GateOutcome::RateLimited { .. } => {
                        self.refused.insert(finished.key, (recorded.at_ms, finished.job));
                    }
                    _ => drop(self.refused.remove(&finished.key)),
                }
                if let Some((job, ended)) = self.jobs.get_mut(&finished.job).filter(|_| finished.verdict.is_some()) {
                    *ended = 1 + job.gates.iter().position(|gate| gate.key == finished.key).expect("it is of its job");
                }
            }
            Event::RunResumed { .. } => self.jobs.clear(),
            _ => {}
        }
    }

    fn needed(&self, job: &JobStarted, ended: usize) -> BTreeMap<String, u32> {
        let mut most: BTreeMap<String, u32> = BTreeMap::new();
        for (name, amount) in job.gates.iter().skip(ended).flat_map(|gate| &self.claims[&gate.definition]) {
            let known = most.entry(name.clone()).or_default();
            *known = (*known).max(*amount);
        }
        most
    }

    fn in_use(&self) -> BTreeMap<String, u32> {
        let mut sum: BTreeMap<String, u32> = BTreeMap::new();
        for (name, amount) in self.jobs.values().flat_map(|(job, ended)| self.needed(job, *ended)) {
            *sum.entry(name).or_default() += amount;
        }
        sum
    }

    /// What a gate of a job claims that has a pace, with its gap.
    fn paces(&self, job: JobId, key: VerdictKey) -> Vec<(String, u64)> {
        let gates = self.jobs.get(&job).map(|(job, _)| job.gates.as_slice()).unwrap_or_default();
        let claims = gates.iter().find(|gate| gate.key == key).map(|gate| &self.claims[&gate.definition]);
        let gap = |name: &String| u64::try_from(self.resources[name].gap.as_millis()).unwrap();
        let all = claims.into_iter().flat_map(BTreeMap::keys).map(|name| (name.clone(), gap(name)));
        all.filter(|(_, gap_ms)| *gap_ms > 0).collect()
    }
}
