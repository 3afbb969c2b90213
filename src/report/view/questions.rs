//! What the faces ask of what was gathered. Nothing here changes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{ApexView, AttemptView, ItemView, JobView, RunView, Stage, VerdictSource, run_time_ms};
use crate::report::json::Reused;
use crate::report::reproduce;
use crate::vocabulary::event::{
    Decision, FinalStatus, ItemGateStatus, ItemVerdict, JobPurpose, LinedUpGate, Overridden,
};
use crate::vocabulary::names::{DefinitionDigest, GateName, ItemName, VerdictKey};

impl RunView {
    pub fn item(&self, name: &ItemName) -> Option<&ItemView> {
        self.index.get(name).map(|&ix| &self.items[ix])
    }

    /// Where an item's verdict came from; `None` where there is none.
    pub fn source(&self, item: &ItemName, verdict: &ItemVerdict) -> Option<VerdictSource> {
        if !matches!(verdict.status, ItemGateStatus::Passed | ItemGateStatus::Flaky | ItemGateStatus::Failed) {
            return None;
        }
        let mut attempts = verdict.key.into_iter().flat_map(|key| self.attempts_of(key)).peekable();
        let is_own = |purpose: &JobPurpose| match purpose {
            JobPurpose::Cone { item: whose }
            | JobPurpose::SecondOpinion { item: whose }
            | JobPurpose::Train { item: whose, .. } => whose == item,
            JobPurpose::Apex { .. } | JobPurpose::Group { .. } | JobPurpose::Blame { .. } => false,
        };
        Some(if attempts.peek().is_none() {
            VerdictSource::EarlierRun
        } else if attempts.any(|attempt| is_own(&attempt.purpose)) {
            VerdictSource::OwnRun
        } else {
            VerdictSource::SharedRun
        })
    }

    /// The items that are in work while a job on its way to a verdict on them is.
    pub fn gated_by<'a>(&'a self, purpose: &'a JobPurpose) -> &'a [ItemName] {
        match purpose {
            JobPurpose::Cone { item }
            | JobPurpose::SecondOpinion { item }
            | JobPurpose::Blame { item }
            | JobPurpose::Train { item, .. } => std::slice::from_ref(item),
            JobPurpose::Group { group, members } => {
                let items = self.groups.get(group).map_or(&[][..], Vec::as_slice);
                &items[..items.len().min(*members as usize)]
            }
            JobPurpose::Apex { .. } => &[],
        }
    }

    /// How long the jobs that go on for it alone have held a worker, in milliseconds.
    pub fn busy_now_ms(&self, item: &ItemView) -> u64 {
        if item.running == 0 {
            return 0;
        }
        let is_of_it = |job: &&JobView| {
            let alone = !matches!(job.purpose, JobPurpose::Group { .. });
            job.ended_at_ms.is_none() && alone && self.gated_by(&job.purpose).contains(&item.lined_up.name)
        };
        let held_ms = |job: &JobView| self.latest_at_ms.saturating_sub(job.started_at_ms);
        self.jobs.values().map(AsRef::as_ref).filter(is_of_it).map(held_ms).fold(0, u64::saturating_add)
    }

    /// What each key is of, as far as jobs tell.
    pub fn definitions(&self) -> HashMap<VerdictKey, DefinitionDigest> {
        self.jobs.values().flat_map(|job| &job.gates).map(|gate| (gate.key, gate.definition)).collect()
    }

    /// Which gates of an item that landed were overridden, if it was so.
    pub fn overridden(&self, item: &ItemView) -> Option<&Overridden> {
        let landed = item.landed.as_ref()?;
        self.apexes.get(&landed.apex)?.overridden.as_deref()
    }

    /// The verdicts by which an item landed that was not gated before, in the order of its gates: they are of the
    /// tree that landed, with all that landed with it.
    pub fn proven_on_apex(
        &self,
        item: &ItemView,
        definitions: &HashMap<VerdictKey, DefinitionDigest>,
    ) -> Vec<ItemVerdict> {
        let Some(apex) = item.landed.as_ref().and_then(|landed| self.apexes.get(&landed.apex)) else {
            return Vec::new();
        };
        let is_of = |key: &VerdictKey, gate: &LinedUpGate| match definitions.get(key) {
            Some(definition) => *definition == gate.definition,
            None => self.reused.get(key).is_some_and(|reused| reused.gate == gate.name),
        };
        let landed = apex.landed.as_ref().map_or(&[][..], |(_, landed)| &landed.items);
        let of_gate = |gate: &Arc<LinedUpGate>| {
            let keys: Vec<VerdictKey> =
                apex.proof.iter().filter(|key| gate.required && is_of(key, gate)).copied().collect();
            // One that is told its item's name has a verdict for each that landed with it.
            let has_it = |other: &&ItemName| {
                let other = self.item(other);
                other.is_some_and(|other| other.lined_up.gates.iter().any(|own| own.definition == gate.definition))
            };
            let place = || landed.iter().filter(has_it).position(|name| *name == item.lined_up.name);
            let own = if keys.len() > 1 { place().and_then(|place| keys.get(place)) } else { None };
            let key = own.or(keys.first()).copied();
            let is_flaky = || key.is_some_and(|key| self.attempts_of(key).any(|attempt| attempt.flake));
            let mut overridden = apex.overridden.iter().flat_map(|overridden| &overridden.gates);
            let overridden = overridden.find(|other| gate.required && other.definition == gate.definition);
            let key = key.or(overridden.map(|overridden| overridden.key));
            let status = match (key, overridden) {
                (_, Some(overridden)) => overridden.status,
                (None, None) => ItemGateStatus::NotRun,
                (Some(_), None) if is_flaky() => ItemGateStatus::Flaky,
                (Some(_), None) => ItemGateStatus::Passed,
            };
            ItemVerdict { gate: gate.name.clone(), key, required: gate.required, status }
        };
        item.lined_up.gates.iter().map(of_gate).collect()
    }

    /// Gates that passed after a failure on the same tree, whoever's it was.
    pub fn flaky_gates(&self) -> BTreeSet<GateName> {
        self.attempts.iter().filter(|attempt| attempt.flake).map(|attempt| attempt.run.gate.clone()).collect()
    }

    /// What earlier runs spared this one.
    pub fn spared(&self) -> Reused {
        let duration_ms = self.reused.values().map(|reused| reused.duration_ms).fold(0, u64::saturating_add);
        Reused { gates: self.reused.len() as u64, duration_ms }
    }

    /// All ended attempts that speak for `key`, in the order they ended.
    pub fn attempts_of(&self, key: VerdictKey) -> impl DoubleEndedIterator<Item = &AttemptView> {
        self.by_key.get(&key).into_iter().flatten().map(|&position| &self.attempts[position])
    }

    pub fn job_attempts<'a>(&'a self, job: &'a JobView) -> impl DoubleEndedIterator<Item = &'a AttemptView> {
        job.attempts.iter().map(|&position| &self.attempts[position])
    }

    /// The command that runs a gate again on what it judged of the item.
    pub fn reproduce(&self, item: &ItemName, gate: &GateName) -> Option<String> {
        self.run.as_ref().map(|run| reproduce::command(item, gate, &run.run))
    }

    /// What every item came to, or would, if the run ended now.
    pub fn status(&self, item: &ItemView) -> FinalStatus {
        if let Some(end) = &item.last_word {
            return end.status;
        }
        if item.landed.is_some() {
            return FinalStatus::Landed;
        }
        if item.is_in_place() {
            return FinalStatus::AlreadyLanded;
        }
        match item.decided.as_ref().map(|decided| decided.decision) {
            Some(Decision::Failed) => FinalStatus::Failed,
            Some(Decision::Conflicted) => FinalStatus::Conflicted,
            Some(Decision::Blocked) => FinalStatus::Blocked,
            Some(Decision::Unjudged) => FinalStatus::Unjudged,
            Some(Decision::Passed) | None if item.passed.is_some() => FinalStatus::NotLanded,
            Some(Decision::Passed) | None if item.deferred.is_some() => FinalStatus::Unjudged,
            Some(Decision::Passed) | None => FinalStatus::Skipped,
        }
    }

    pub fn stage(&self, item: &ItemView) -> Stage {
        let done = self.ending.is_some() || item.landed.is_some() || item.decided.is_some() || item.is_in_place();
        if done {
            Stage::Done
        } else if item.passed.is_some() {
            Stage::Passed
        } else if item.deferred.is_some() {
            Stage::Deferred
        } else if item.running > 0 {
            Stage::Running
        } else {
            Stage::Waiting
        }
    }

    /// From the first event to the newest one.
    pub fn elapsed_ms(&self) -> u64 {
        run_time_ms(&self.pauses, self.started_at_ms, self.latest_at_ms)
    }

    /// The target's short name, safe to show.
    pub fn target(&self) -> String {
        self.run.as_ref().map(|run| crate::wording::ref_name(&run.target).into_owned()).unwrap_or_default()
    }
}

impl ItemView {
    /// It needs no landing by this run.
    pub fn is_in_place(&self) -> bool {
        self.lined_up.already_landed.is_some() || self.found_landed
    }
}

impl ApexView {
    /// The number of items that make up all of it.
    pub fn height(&self) -> usize {
        if self.commit.is_some() { self.steps.len() } else { self.items.len() }
    }
}
