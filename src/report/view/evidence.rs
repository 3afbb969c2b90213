//! Which run of a gate shows why an item is what it is: one on a tree that has the item, or one on the target
//! itself.

use super::{AttemptView, RunView};
use crate::vocabulary::event::{GateOutcome, JobPurpose, Reason};
use crate::vocabulary::names::{DefinitionDigest, ItemName, TreeId, VerdictKey};

impl RunView {
    /// The last attempt that shows why `reason` holds for the item, on a tree that was gated for it; `None` where there
    /// was no such tree.
    pub fn evidence(&self, item: &ItemName, reason: &Reason) -> Option<&AttemptView> {
        match reason {
            Reason::GateFailed { key, .. } | Reason::DependenciesFail { key, .. } => {
                self.attempts_of(*key).rev().find(|attempt| attempt.run.outcome.is_failure())
            }
            Reason::RedOnTarget { key, .. } => {
                let mut failures = self.attempts_of(*key).rev().filter(|attempt| attempt.run.outcome.is_failure());
                failures.find(|attempt| self.judges(attempt, item) || self.stands_for(*key, item))
            }
            Reason::Infrastructure { gate, .. } => self.attempts.iter().rev().find(|attempt| {
                let outcome = &attempt.run.outcome;
                attempt.run.gate == *gate
                    && matches!(outcome, GateOutcome::Infrastructure { .. } | GateOutcome::RateLimited { .. })
                    && (self.is_for(&attempt.purpose, item) || self.stands_for(attempt.run.key, item))
            }),
            _ => None,
        }
    }

    /// Where an item is not judged because the target fails a gate: the attempt that shows that, without any item.
    pub fn evidence_on_target(&self, reason: &Reason) -> Option<&AttemptView> {
        let Reason::RedOnTarget { key, .. } = reason else { return None };
        self.failure_on_target(self.definition(self.attempts_of(*key).next_back()?)?)
    }

    /// The attempt that shows that a gate fails on the target.
    pub fn failure_on_target(&self, definition: DefinitionDigest) -> Option<&AttemptView> {
        self.attempts.get(self.red_on_target.evidence(definition)?)
    }

    /// The position of the last failure of a gate on a tree, or on one that is the same to it.
    pub(super) fn failure_on(&self, definition: DefinitionDigest, tree: TreeId) -> Option<usize> {
        let subject = |tree: TreeId| self.subjects.get(&(definition, tree));
        let is_same = |other: TreeId| other == tree || subject(tree).is_some_and(|this| subject(other) == Some(this));
        self.attempts.iter().rposition(|attempt| {
            attempt.run.outcome.is_failure()
                && self.jobs.get(&attempt.run.job).is_some_and(|job| is_same(job.tree))
                && self.definition(attempt) == Some(definition)
        })
    }

    /// Whether a job is a second opinion on what the item is compared with: on a tree that was not made for the item.
    pub(super) fn is_without_item(&self, purpose: &JobPurpose, tree: TreeId) -> bool {
        let JobPurpose::SecondOpinion { item } = purpose else { return false };
        let is_cone = || self.item(item).and_then(|item| item.cone).is_some_and(|(_, cone)| cone == tree);
        let is_prefix = || {
            let mut steps = self.apexes.values().rev().flat_map(|apex| &apex.steps);
            steps.any(|step| step.tree == tree && step.item == *item)
        };
        let is_position = || {
            self.jobs.values().rev().any(|job| {
                job.tree == tree && matches!(&job.purpose, JobPurpose::Train { item: whose, .. } if whose == item)
            })
        };
        !(is_cone() || is_prefix() || is_position())
    }

    /// What its gate is.
    fn definition(&self, attempt: &AttemptView) -> Option<DefinitionDigest> {
        let job = self.jobs.get(&attempt.run.job)?;
        job.gates.iter().find(|gate| gate.key == attempt.run.key).map(|gate| gate.definition)
    }

    /// The verdict under `key` is one that the item was decided by.
    fn stands_for(&self, key: VerdictKey, item: &ItemName) -> bool {
        let item = self.item(item);
        let decided = item.and_then(|item| item.decided.as_ref()).into_iter().flat_map(|decided| &decided.gates);
        { decided }.any(|verdict| verdict.key == Some(key))
    }

    /// The job was begun for this item alone.
    fn is_for(&self, purpose: &JobPurpose, item: &ItemName) -> bool {
        match purpose {
            JobPurpose::Cone { item: whose }
            | JobPurpose::SecondOpinion { item: whose }
            | JobPurpose::Blame { item: whose }
            | JobPurpose::Train { item: whose, .. } => whose == item,
            JobPurpose::Apex { .. } | JobPurpose::Group { .. } => false,
        }
    }

    /// The attempt was on a tree that ends with the item.
    fn judges(&self, attempt: &AttemptView, item: &ItemName) -> bool {
        match &attempt.purpose {
            JobPurpose::Cone { item: whose } | JobPurpose::Train { item: whose, .. } => whose == item,
            JobPurpose::SecondOpinion { item: whose } => {
                whose == item && self.jobs.get(&attempt.run.job).is_some_and(|job| !job.is_without_item)
            }
            JobPurpose::Apex { apex, members } => {
                let steps = self.apexes.get(apex).map_or(&[][..], |apex| &apex.steps);
                let last = (*members as usize).checked_sub(1).and_then(|last| steps.get(last));
                last.is_some_and(|step| step.item == *item)
            }
            JobPurpose::Group { .. } | JobPurpose::Blame { .. } => false,
        }
    }
}
