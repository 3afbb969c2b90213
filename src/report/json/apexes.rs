//! What became of each apex, and of the prefixes that were probed of it.

use std::collections::BTreeSet;

use super::gates::attempt_report;
use super::{ApexOutcome, ApexReport, Probe};
use crate::report::view::{ApexView, AttemptView, ItemView, JobView, RunView};
use crate::vocabulary::event::{JobPurpose, Reason, Verdict};
use crate::vocabulary::names::{ApexId, VerdictKey};

/// What it was refused for may have been seen before it was formed.
fn threw_one_out(view: &RunView, id: ApexId) -> bool {
    let failed = |item: &ItemView| match item.decided.as_ref().and_then(|decided| decided.reason.as_ref()) {
        Some(Reason::GateFailed { apex, .. }) => *apex == Some(id),
        _ => false,
    };
    view.items.iter().any(failed)
}

pub(super) fn apex_report(view: &RunView, id: ApexId, apex: &ApexView) -> ApexReport {
    // One may take several jobs: gates that claim more than others, or were rate limited, have their own.
    let mut jobs: Vec<(u32, Vec<&JobView>)> = Vec::new();
    for job in apex.jobs.iter().filter_map(|job| view.jobs.get(job)) {
        let JobPurpose::Apex { members, .. } = job.purpose else { continue };
        match jobs.iter_mut().find(|(same, _)| *same == members) {
            Some((_, of_probe)) => of_probe.push(job),
            None => jobs.push((members, vec![job])),
        }
    }
    let probes: Vec<Probe> = jobs
        .into_iter()
        .map(|(members, jobs)| {
            let attempts = || jobs.iter().flat_map(|job| view.job_attempts(job));
            let ended = jobs.last().is_some_and(|job| job.ended_at_ms.is_some() && !job.more);
            Probe {
                members,
                passed: passed(attempts().filter(|attempt| attempt.required), ended),
                attempts: attempts().map(attempt_report).collect(),
            }
        })
        .collect();
    let outcome = match &apex.landed {
        Some((_, landed)) if landed.from == landed.to => ApexOutcome::AlreadyLanded,
        Some((_, landed)) if landed.items.len() < apex.height() => {
            ApexOutcome::LandedPart { items: landed.items.len() }
        }
        Some(_) => ApexOutcome::Landed,
        None if probes.iter().any(|probe| probe.passed == Some(false)) || threw_one_out(view, id) => {
            ApexOutcome::Refuted
        }
        None => ApexOutcome::Open,
    };
    ApexReport {
        apex: id,
        number: apex.number,
        base: apex.base,
        items: apex.items.clone(),
        commit: apex.commit,
        tree: apex.tree,
        set_aside: apex.set_aside.clone(),
        outcome,
        probes,
    }
}

/// Whether the verdicts among `attempts` speak for the tree; `None` while that is open.
pub(crate) fn passed<'a>(attempts: impl Iterator<Item = &'a AttemptView>, ended: bool) -> Option<bool> {
    let mut unknown: BTreeSet<VerdictKey> = BTreeSet::new();
    for attempt in attempts {
        match attempt.run.verdict {
            Some(Verdict::Failed) => return Some(false),
            Some(Verdict::Unknown) => drop(unknown.insert(attempt.run.key)),
            // It may have been rate limited before.
            Some(Verdict::Passed { .. }) => drop(unknown.remove(&attempt.run.key)),
            None => {}
        }
    }
    (ended && unknown.is_empty()).then_some(true)
}
