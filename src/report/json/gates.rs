//! What became of an item's gates, and how those stand that are yet to say something.

use std::collections::HashMap;
use std::sync::Arc;

use super::{AttemptReport, GateReport, OpenAttempt};
use crate::report::view::{AttemptView, ItemView, JobView, RunView};
use crate::vocabulary::event::{ItemGateStatus, ItemVerdict, LinedUpGate, Verdict};
use crate::vocabulary::names::{DefinitionDigest, VerdictKey};

pub(super) fn of(
    view: &RunView,
    item: &ItemView,
    definitions: &HashMap<VerdictKey, DefinitionDigest>,
) -> Vec<GateReport> {
    // A decision on an apex says nothing new of the cone, so what made the item pass goes first.
    let decided = item.passed.as_ref().or(item.decided.as_ref());
    let judged_by = if decided.is_none() { newest_job(view, item) } else { None };
    let landed = if decided.is_none() { view.proven_on_apex(item, definitions) } else { Vec::new() };
    let verdicts = decided.map_or(&landed[..], |decided| &decided.gates);
    let same_length = verdicts.len() == item.lined_up.gates.len();
    item.lined_up
        .gates
        .iter()
        .enumerate()
        .map(|(at, gate)| {
            let verdict =
                if same_length { verdicts.get(at) } else { verdicts.iter().find(|verdict| verdict.gate == gate.name) };
            match (verdict, judged_by) {
                (None, Some(job)) => so_far(view, item, gate, job),
                _ => gate_report(view, item, gate, verdict),
            }
        })
        .collect()
}

fn gate_report(view: &RunView, item: &ItemView, gate: &LinedUpGate, verdict: Option<&ItemVerdict>) -> GateReport {
    let key = verdict.and_then(|verdict| verdict.key);
    let status = verdict.map_or(ItemGateStatus::NotRun, |verdict| verdict.status);
    let attempts: Vec<&AttemptView> = key.into_iter().flat_map(|key| view.attempts_of(key)).collect();
    let reused = key.filter(|_| attempts.is_empty()).and_then(|key| view.reused.get(&key));
    GateReport {
        name: gate.name.clone(),
        run: gate.run.clone(),
        cwd: gate.cwd.clone(),
        required: gate.required,
        runtime: view.ran_by(gate.definition).cloned(),
        definition: gate.definition,
        status,
        attempt: None,
        flaky: status == ItemGateStatus::Flaky || attempts.iter().any(|attempt| attempt.flake),
        key,
        verdict_from: verdict.and_then(|verdict| view.source(&item.lined_up.name, verdict)),
        earlier_run: reused.map(|reused| reused.from.clone()),
        earlier_log: reused.and_then(|reused| reused.log.clone()),
        duration_ms: attempts.iter().map(|attempt| attempt.run.duration_ms).fold(0, u64::saturating_add),
        attempts: attempts.into_iter().map(attempt_report).collect(),
    }
}

pub(super) fn attempt_report(attempt: &AttemptView) -> AttemptReport {
    AttemptReport { purpose: attempt.purpose.clone(), run: Arc::clone(&attempt.run) }
}

/// The job that judges the item, or judged it last.
fn newest_job<'a>(view: &'a RunView, item: &ItemView) -> Option<&'a JobView> {
    item.started_at_ms?;
    let of_it = |job: &&JobView| !job.is_without_item && view.gated_by(&job.purpose).contains(&item.lined_up.name);
    view.jobs.values().rev().map(AsRef::as_ref).find(of_it)
}

/// Of an item that is not decided yet: what its newest job has found so far.
fn so_far(view: &RunView, item: &ItemView, gate: &LinedUpGate, job: &JobView) -> GateReport {
    let of_it = |known: &&AttemptView| known.run.gate == gate.name;
    let found = job.attempts.iter().filter_map(|&position| view.attempts.get(position)).rfind(of_it);
    let status = match found.and_then(|found| found.run.verdict) {
        Some(Verdict::Passed { flaky: false }) => ItemGateStatus::Passed,
        Some(Verdict::Passed { flaky: true }) => ItemGateStatus::Flaky,
        Some(Verdict::Failed) => ItemGateStatus::Failed,
        Some(Verdict::Unknown) | None => ItemGateStatus::NotRun,
    };
    let key = found.map(|found| found.run.key);
    let verdict = ItemVerdict { gate: gate.name.clone(), key, required: gate.required, status };
    let is_at_it = job.running.as_ref().is_some_and(|running| running.gate == gate.name);
    let stands = if job.is_cut_off { OpenAttempt::CutOff } else { OpenAttempt::Running };
    GateReport { attempt: is_at_it.then_some(stands), ..gate_report(view, item, gate, Some(&verdict)) }
}
