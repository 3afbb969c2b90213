//! How long gates take, by earlier runs and this one, and how long the run will go on, by that. Guesses for people:
//! nothing is decided by them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::report::view::{ItemView, JobView, RunView, Stage};
use crate::vocabulary::event::{Event, GateOutcome, JobPurpose, Recorded};
use crate::vocabulary::names::{DefinitionDigest, GateName, ItemName};

/// Less is no time that anybody waits for.
const LEAST_LEFT_MS: u64 = 1000;

/// What passes of each gate took.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations {
    /// In earlier runs, in milliseconds.
    remembered: HashMap<DefinitionDigest, u64>,
    /// In this one: together, and how many.
    seen: HashMap<DefinitionDigest, (u64, u64)>,
}

impl Durations {
    pub(super) fn new(remembered: HashMap<DefinitionDigest, u64>) -> Self {
        Self { remembered, seen: HashMap::new() }
    }

    /// Learns from an event that `view` has taken in.
    pub(super) fn hear(&mut self, view: &RunView, recorded: &Recorded) {
        let Event::GateFinished(run) = &recorded.event else { return };
        let gates = view.jobs.get(&run.job).map_or(&[][..], |job| &job.gates);
        if run.outcome == GateOutcome::Passed
            && let Some(gate) = gates.iter().find(|gate| gate.key == run.key)
        {
            let (together_ms, number) = self.seen.entry(gate.definition).or_default();
            *together_ms = together_ms.saturating_add(run.duration_ms);
            *number += 1;
        }
    }

    /// What a gate of a job may take, in milliseconds; `None` where it was never seen to pass.
    pub(super) fn of_gate(&self, job: &JobView, gate: &GateName) -> Option<u64> {
        self.newest(job.gates.iter().find(|own| own.name == *gate)?.definition)
    }

    fn newest(&self, gate: DefinitionDigest) -> Option<u64> {
        let seen = self.seen.get(&gate).and_then(|(together_ms, number)| together_ms.checked_div(*number));
        seen.or_else(|| self.remembered.get(&gate).copied())
    }

    /// What all gates of an item took in earlier runs; `None` where one of them is not known.
    fn of_item(&self, item: &ItemView) -> Option<u64> {
        let each = item.lined_up.gates.iter().map(|gate| self.remembered.get(&gate.definition).copied());
        each.reduce(|sum, ms| Some(sum?.saturating_add(ms?))).flatten()
    }
}

/// How long the items that are not decided will keep the workers, going by what their gates took in earlier runs and,
/// where that is not known, by the items that were gated so far: the longer of what all workers need together and what
/// the longest chain of dependencies needs one after another. A job for a group keeps one worker for all of its items,
/// and each of them as long. What passes is proven together once more in the end. `None` before there is anything to go
/// by, and where no item is gated by itself or in a group.
pub(super) fn remaining_ms(view: &RunView, now_ms: u64, durations: &Durations) -> Option<u64> {
    let workers = u64::from(view.resizing.workers.max(1));
    let is_alone = |purpose: &JobPurpose| matches!(purpose, JobPurpose::Cone { .. } | JobPurpose::Train { .. });
    let judges = |job: &&JobView| is_alone(&job.purpose) || matches!(job.purpose, JobPurpose::Group { .. });
    let (mut kept_ms, mut waited_ms, mut gated) = (0_u64, 0_u64, BTreeSet::new());
    // With how many others a worker is shared.
    let mut together: BTreeMap<&ItemName, u64> = BTreeMap::new();
    let (mut jobs, mut places) = (0_u64, 0_u64);
    for job in view.jobs.values().map(AsRef::as_ref).filter(judges) {
        let items = view.gated_by(&job.purpose);
        jobs += 1;
        places += items.len() as u64;
        let Some(ended_at_ms) = job.ended_at_ms else {
            together.extend(items.iter().map(|item| (item, items.len() as u64)));
            continue;
        };
        let took_ms = ended_at_ms.saturating_sub(job.started_at_ms);
        kept_ms = kept_ms.saturating_add(took_ms);
        waited_ms = waited_ms.saturating_add(took_ms.saturating_mul(items.len() as u64));
        gated.extend(items);
    }
    let of_each = |ms: u64| ms.checked_div(gated.len() as u64);
    let average = of_each(kept_ms).zip(of_each(waited_ms));
    // Of a worker, and of the item.
    let cost = |item: &ItemView| match durations.of_item(item) {
        Some(own_ms) => Some((own_ms.saturating_mul(jobs).checked_div(places)?, own_ms)),
        None => average,
    };
    let mut all_ms = 0_u64;
    let mut chain: Vec<u64> = Vec::with_capacity(view.items.len());
    let mut position = BTreeMap::new();
    for (at, item) in view.items.iter().enumerate() {
        let name = &item.lined_up.name;
        let (of_worker, own) = match view.stage(item) {
            Stage::Waiting => cost(item)?,
            Stage::Running => {
                let since_ms = now_ms.saturating_sub(item.started_at_ms.unwrap_or(now_ms));
                let left_ms = cost(item)?.1.saturating_sub(since_ms);
                (left_ms / together.get(name).copied().unwrap_or(1).max(1), left_ms)
            }
            Stage::Passed | Stage::Deferred | Stage::Done => (0, 0),
        };
        all_ms = all_ms.saturating_add(of_worker);
        let before = item.lined_up.deps.iter().filter_map(|dep| position.get(dep)).map(|&dep: &usize| chain[dep]).max();
        chain.push(before.unwrap_or(0).saturating_add(own));
        position.insert(name, at);
    }
    let longest = chain.into_iter().max().unwrap_or(0);
    let left = longest.max(all_ms / workers).saturating_add(proof_ms(view, now_ms, durations));
    (left >= LEAST_LEFT_MS).then_some(left)
}

/// What the required gates take, one after another, that what has not landed is yet to pass on an apex, as far as that
/// is known; of one that is under proof what is left of it. In a train there is none, and none where the apex is a tree
/// that is gated anyway.
fn proof_ms(view: &RunView, now_ms: u64, durations: &Durations) -> u64 {
    let gated: Vec<&JobView> = view.jobs.values().map(AsRef::as_ref).collect();
    if gated.iter().any(|job| matches!(job.purpose, JobPurpose::Train { .. })) || lands_as_gated(view) {
        return 0;
    }
    let open = view.items.iter().filter(|item| !matches!(view.stage(item), Stage::Done));
    let gates = open.flat_map(|item| &item.lined_up.gates).filter(|gate| gate.required).map(|gate| gate.definition);
    let distinct: BTreeSet<DefinitionDigest> = gates.collect();
    let all_ms = distinct.into_iter().filter_map(|gate| durations.newest(gate)).fold(0, u64::saturating_add);
    let under_proof =
        gated.iter().rfind(|job| matches!(job.purpose, JobPurpose::Apex { .. }) && job.ended_at_ms.is_none());
    all_ms.saturating_sub(under_proof.map_or(0, |job| now_ms.saturating_sub(job.started_at_ms)))
}

/// One item and what it depends on is all that is to land and has landed, and nobody else moved the target: then what
/// lands is the very tree that this item is gated on.
fn lands_as_gated(view: &RunView) -> bool {
    let is_open = |item: &&ItemView| !matches!(view.stage(item), Stage::Done);
    // What an item depends on stands before it.
    let Some(top) = view.items.iter().rfind(is_open) else { return false };
    let mut beneath = BTreeSet::from([&top.lined_up.name]);
    for item in view.items.iter().rev() {
        if beneath.contains(&item.lined_up.name) {
            beneath.extend(&item.lined_up.deps);
        }
    }
    let counts = |item: &&ItemView| is_open(item) || item.landed.is_some();
    view.target_moves.is_empty() && view.items.iter().filter(counts).all(|item| beneath.contains(&item.lined_up.name))
}
