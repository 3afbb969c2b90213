//! One simulated run as it went: what each worker gated and when, what landed and who went out. A function of the
//! run's events, as every other way to show a run is.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::vocabulary::event::{
    Composed, CompositePurpose, Decision, Event, GateFinished, GateOutcome, JobPurpose, JobStarted, Recorded, Verdict,
};
use crate::vocabulary::names::{ApexId, CommitId, GateName, GroupId, ItemName, JobId, VerdictKey};

/// A run, with its items by their canonical positions, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order in which they ended.
    pub runs: Vec<GateRun>,
    /// When something landed, and what: all that landed at one time together.
    pub landings: Vec<(u64, BTreeSet<usize>)>,
    /// Who does not land, and since when that is known.
    pub out: Vec<(u64, usize, Decision)>,
    pub end_ms: u64,
}

/// One run of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRun {
    /// Counted from 0.
    pub worker: u32,
    pub gate: GateName,
    pub from_ms: u64,
    pub until_ms: u64,
    pub what: Composite,
    pub ending: Ending,
    key: VerdictKey,
}

/// What a gate ran on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composite {
    /// An item on the base and what it depends on.
    Cone(usize),
    /// Items together on the base; a probe where they are not all of their group.
    Group { items: BTreeSet<usize>, probe: bool },
    /// Items on the tip, about to land; a probe where they are not all of the apex.
    Apex { items: BTreeSet<usize>, probe: bool },
    /// An item, on others that are about to land before it.
    Train { item: usize, ahead: BTreeSet<usize> },
    /// What failed with this item last in it, once more.
    Again(usize),
    /// What failed with this item, without it.
    Without(usize),
}

/// How a run of a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Passed,
    Failed,
    /// It failed, and passed on the same tree another time.
    Lied,
    /// Nobody needed its verdict any more.
    Stopped,
}

/// What is told of a run so far.
#[derive(Debug, Default)]
pub struct Tracer {
    trace: Trace,
    items: HashMap<ItemName, usize>,
    groups: HashMap<GroupId, Vec<usize>>,
    apexes: HashMap<ApexId, Vec<usize>>,
    /// What composites hold that others stand on, besides what the target held at first.
    holds: HashMap<CommitId, BTreeSet<usize>>,
    landed: BTreeSet<usize>,
    jobs: HashMap<JobId, (u32, Composite)>,
    began_ms: HashMap<(JobId, VerdictKey), u64>,
}

impl Tracer {
    /// To be told of every event, in order.
    pub fn hear(&mut self, recorded: &Recorded) {
        let at_ms = recorded.at_ms;
        match &recorded.event {
            Event::RunStarted(started) => {
                self.items = started.items.iter().map(|item| item.name.clone()).zip(0..).collect();
            }
            Event::GroupFormed { group, items, .. } => drop(self.groups.insert(*group, self.places(items))),
            Event::ApexFormed { apex, items, .. } => drop(self.apexes.insert(*apex, self.places(items))),
            Event::Composed(composed) => self.composed(composed),
            Event::JobStarted(job) => drop(self.jobs.insert(job.job, (job.worker.0, self.composite(job)))),
            Event::GateStarted { job, key, .. } => drop(self.began_ms.insert((*job, *key), at_ms)),
            Event::GateFinished(finished) => self.gate_finished(finished, at_ms),
            Event::ItemDecided(decided) if decided.decision != Decision::Passed => {
                let out = self.items.get(&decided.item).map(|item| (at_ms, *item, decided.decision));
                self.trace.out.extend(out);
            }
            Event::Landed(landed) => {
                let items = self.places(&landed.items);
                self.landed.extend(&items);
                match self.trace.landings.last_mut().filter(|(landed_ms, _)| *landed_ms == at_ms) {
                    Some((_, together)) => together.extend(items),
                    None => self.trace.landings.push((at_ms, items.into_iter().collect())),
                }
            }
            Event::RunFinished { .. } => self.trace.end_ms = at_ms,
            _ => {}
        }
    }

    /// The run, once it has ended.
    pub fn finish(self) -> Trace {
        let mut trace = self.trace;
        let passed: HashSet<VerdictKey> =
            trace.runs.iter().filter(|run| run.ending == Ending::Passed).map(|run| run.key).collect();
        for run in trace.runs.iter_mut().filter(|run| run.ending == Ending::Failed && passed.contains(&run.key)) {
            run.ending = Ending::Lied;
        }
        trace
    }

    fn places(&self, items: &[ItemName]) -> Vec<usize> {
        items.iter().filter_map(|item| self.items.get(item)).copied().collect()
    }

    fn composed(&mut self, composed: &Composed) {
        let beneath = self.holds.get(&composed.base).cloned().unwrap_or_default();
        match &composed.purpose {
            CompositePurpose::Train { item } => {
                let holds = beneath.into_iter().chain(self.items.get(item).copied()).collect();
                self.holds.insert(composed.commit, holds);
            }
            CompositePurpose::Apex { .. } => {
                let mut holds = beneath;
                for step in &composed.steps {
                    holds.extend(self.items.get(&step.item));
                    self.holds.insert(step.commit, holds.clone());
                }
            }
            CompositePurpose::Cone { .. } | CompositePurpose::Without { .. } | CompositePurpose::Group { .. } => {}
        }
    }

    fn composite(&self, job: &JobStarted) -> Composite {
        let place = |item: &ItemName| self.items.get(item).copied().unwrap_or_default();
        let first = |all: Option<&Vec<usize>>, members: u32| {
            let all = all.map_or(&[][..], Vec::as_slice);
            let items: BTreeSet<usize> = all.iter().copied().take(members as usize).collect();
            let probe = items.len() < all.len();
            (items, probe)
        };
        match &job.purpose {
            JobPurpose::Cone { item } => Composite::Cone(place(item)),
            JobPurpose::Group { group, members } => {
                let (items, probe) = first(self.groups.get(group), *members);
                Composite::Group { items, probe }
            }
            JobPurpose::Apex { apex, members } => {
                let (items, probe) = first(self.apexes.get(apex), *members);
                Composite::Apex { items, probe }
            }
            JobPurpose::SecondOpinion { item } => Composite::Again(place(item)),
            JobPurpose::Blame { item } => Composite::Without(place(item)),
            JobPurpose::Train { item, .. } => {
                let item = place(item);
                let mut ahead = self.holds.get(&job.commit).cloned().unwrap_or_default();
                ahead.retain(|other| *other != item && !self.landed.contains(other));
                Composite::Train { item, ahead }
            }
        }
    }

    fn gate_finished(&mut self, finished: &GateFinished, at_ms: u64) {
        let Some((worker, what)) = self.jobs.get(&finished.job).cloned() else { return };
        let Some(from_ms) = self.began_ms.remove(&(finished.job, finished.key)) else { return };
        let ending = match (&finished.outcome, finished.verdict) {
            (GateOutcome::Cancelled, _) => Ending::Stopped,
            (GateOutcome::Passed, _) | (_, Some(Verdict::Passed { .. })) => Ending::Passed,
            _ => Ending::Failed,
        };
        let (gate, key) = (finished.gate.clone(), finished.key);
        self.trace.runs.push(GateRun { worker, gate, from_ms, until_ms: at_ms, what, ending, key });
    }
}
