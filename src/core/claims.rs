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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::plan::{Gate, Item};
    use crate::vocabulary::event::JobPurpose;
    use crate::vocabulary::names::{CommitId, GateName, ItemName, MergeStrategy, TreeId, WorkerId};

    fn gate(name: &str, claims: &[(&str, u32)]) -> Gate {
        let definition = DefinitionDigest::of([name.as_bytes()]);
        let resources = claims.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
        let bare = Gate::bare(GateName::new(name), definition, "x".to_owned(), Duration::from_secs(1));
        Gate { resources, ..bare }
    }

    fn item(name: &str, gates: Vec<Gate>) -> Item {
        Item {
            name: ItemName::new(name),
            branch: name.to_owned(),
            pin: None,
            deps: Vec::new(),
            strategy: MergeStrategy::Merge,
            priority: 0,
            gates: gates.into_iter().map(Arc::new).collect(),
        }
    }

    #[test]
    fn a_job_holds_the_most_that_its_gates_need_which_are_yet_to_end() {
        let first = vec![gate("load", &[("db", 2), ("api", 1)]), gate("unit", &[]), gate("e2e", &[("db", 1)])];
        let graph = Graph::new(vec![item("a", first), item("b", vec![gate("e2e", &[("gpu", 1)])])], &[]).unwrap();
        let mut claims = Claims::of(&graph);
        let key = |name: &str| VerdictKey::of([name.as_bytes()]);
        let in_job = |name: &str| JobGate {
            name: GateName::new(name),
            key: key(name),
            definition: DefinitionDigest::of([name.as_bytes()]),
            required: true,
        };
        let job = JobStarted {
            job: JobId(1),
            worker: WorkerId(0),
            purpose: JobPurpose::Cone { item: ItemName::new("a") },
            commit: CommitId::from_bytes(&[1; 20]).unwrap(),
            tree: TreeId::from_bytes(&[1; 20]).unwrap(),
            gates: ["load", "unit", "e2e"].map(in_job).into(),
            more: false,
        };
        let needs = |claims: &[(&str, u32)]| gate("", claims).resources;
        // Equal gates share their verdicts, so what any of them claims counts for all.
        assert_eq!(claims.held_by(&job), needs(&[("db", 2), ("api", 1), ("gpu", 1)]));
        claims.gate_ended(&job, key("load"));
        assert_eq!(claims.held_by(&job), needs(&[("db", 1), ("gpu", 1)]));
        claims.gate_ended(&job, key("e2e"));
        assert_eq!(claims.held_by(&job), needs(&[]));
        claims.job_ended(JobId(1));
        assert_eq!(claims, Claims::of(&graph));
    }
}
