//! Named limits, as far as a run's state has them: what each gate claims, which of it jobs in work
//! still hold, and what is held back. Who may start is asked of [`super::strategy`].
//!
//! A job claims all that it needs when it starts, and gives each claim back when the last of its
//! gates that needs it has ended.

use std::collections::{BTreeMap, HashMap};

use crate::plan::graph::Graph;
use crate::vocabulary::event::{HeldBy, JobGate, JobStarted, LimitOn};
use crate::vocabulary::names::{DefinitionDigest, JobId, VerdictKey};

/// How much of each limit is claimed, by name.
pub type Needs = BTreeMap<String, u32>;

static NOTHING: Needs = Needs::new();

/// The part of a run's state that limits are about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Of gates that claim something: the most that any gate of this definition does, for their verdicts are one.
    needs: HashMap<DefinitionDigest, Needs>,
    /// How many gates of a job in work, from its first on, have come to their end.
    ended: HashMap<JobId, usize>,
    held: BTreeMap<LimitOn, HeldBy>,
}

impl Claims {
    /// What the gates of a plan claim.
    pub fn of(graph: &Graph) -> Self {
        let mut needs: HashMap<DefinitionDigest, Needs> = HashMap::new();
        for gate in graph.indices().flat_map(|ix| graph.gates(ix)).filter(|gate| !gate.resources.is_empty()) {
            let most = needs.entry(gate.definition).or_default();
            raise(most, &gate.resources);
        }
        Self { needs, ..Self::default() }
    }

    pub fn needs(&self, gate: DefinitionDigest) -> &Needs {
        self.needs.get(&gate).unwrap_or(&NOTHING)
    }

    /// No gate of the plan claims anything.
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What a job in work still holds: its gates run one after another.
    pub fn held_by(&self, job: &JobStarted) -> Needs {
        let mut most = Needs::new();
        let ended = self.ended.get(&job.job).copied().unwrap_or(0);
        for gate in job.gates.iter().skip(ended) {
            raise(&mut most, self.needs(gate.definition));
        }
        most
    }

    /// What holds work back, and why.
    pub fn held(&self) -> &BTreeMap<LimitOn, HeldBy> {
        &self.held
    }

    pub(super) fn gate_ended(&mut self, job: &JobStarted, key: VerdictKey) {
        let is_it = |gate: &JobGate| gate.key == key;
        if let Some(position) = job.gates.iter().position(is_it).filter(|_| !self.needs.is_empty()) {
            let ended = self.ended.entry(job.job).or_default();
            *ended = (*ended).max(position + 1);
        }
    }

    pub(super) fn job_ended(&mut self, job: JobId) {
        self.ended.remove(&job);
    }

    pub(super) fn hold(&mut self, limit: LimitOn, why: HeldBy) {
        self.held.insert(limit, why);
    }

    /// False where it held nothing.
    pub(super) fn free(&mut self, limit: &LimitOn) -> bool {
        self.held.remove(limit).is_some()
    }

    /// Jobs and what they held went with the process that had them.
    pub(super) fn resumed(&mut self) {
        self.ended.clear();
        self.held.clear();
    }
}

/// Makes of `most` what covers both.
fn raise(most: &mut Needs, other: &Needs) {
    for (name, amount) in other {
        match most.get_mut(name) {
            Some(known) => *known = (*known).max(*amount),
            None => drop(most.insert(name.clone(), *amount)),
        }
    }
}
