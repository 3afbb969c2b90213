//! What `lexpr why` says of an item: a paragraph of what it waited for, what it was judged on, what went wrong and what
//! would change that, and the evidence below. It reads a report; where the events come from is the command's
//! business.

use std::fmt::Write as _;

use crate::report::json::{AttemptReport, GateReport, ItemReport, RunReport};
use crate::report::outcome::{at, how_it_ended, runtime_words};
use crate::report::reproduce;
use crate::report::summary::{evidence_of, status_words, under_way, was_let_go};
use crate::report::undo::is_taken_back;
use crate::report::view::{Stage, VerdictSource};
use crate::vocabulary::event::{FinalStatus, GateOutcome, ItemGateStatus, Reason};
use crate::wording::{Paint, Tone, count, duration, list, ref_name, shown};

/// The item of the report, for a terminal. Ends with a newline.
pub fn text(report: &RunReport, item: &ItemReport, paint: Paint) -> String {
    let sentences = [
        state(report, item),
        waited(report, item),
        under_way(report, item).map(|what| format!("It {what}.")),
        judged(report, item),
        without(item),
        remedy(report, item),
    ];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    let name = shown(item.name.as_str());
    let paragraph = sentences.join(" ");
    let mut out = format!(
        "{} {}\n",
        paint.paint(Tone::Strong, &name),
        paragraph.strip_prefix(&*name).unwrap_or(&paragraph).trim_start()
    );
    let evidence = evidence_of(report, item, paint);
    if !evidence.is_empty() {
        out.push('\n');
    }
    for line in evidence {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// What became of it, in a sentence that begins with its name.
fn state(report: &RunReport, item: &ItemReport) -> Option<String> {
    let name = shown(item.name.as_str());
    let target = ref_name(&report.target);
    let why = item.reason.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
    Some(match (item.stage, item.status) {
        (Some(stage), _) if stage != Stage::Done && report.is_dead => {
            let when = match stage {
                Stage::Passed => format!("when it had passed and waited to land on {target}"),
                _ if item.started_at_ms.is_some() => "while it was being judged".to_owned(),
                _ => "before its gates began".to_owned(),
            };
            format!("{name} has come to no end: the run was cut off {when}.")
        }
        (Some(Stage::Waiting), _) => format!("{name} waits for its turn."),
        (Some(Stage::Running), _) => format!("{name} is being judged."),
        (Some(Stage::Passed), _) => format!("{name} has passed and waits to land on {target}."),
        (Some(Stage::Deferred), _) => format!("{name} is put off{why}."),
        (_, FinalStatus::Landed) => {
            let commit = item.landed_as.map(|commit| format!(" as {}", commit.short())).unwrap_or_default();
            let others = report
                .landings
                .iter()
                .find(|landing| Some(landing.apex) == item.apex)
                .map_or(0, |landing| landing.items.len().saturating_sub(1));
            let beside =
                if others == 0 { String::new() } else { format!(", together with {}", count(others, "other")) };
            let back = if is_taken_back(report, item) { " It was taken back since, by `lexpr undo`." } else { "" };
            match &item.overridden {
                Some(why) => {
                    format!("{name} landed on {target}{commit}, overridden: {}.{back}", shown(&why.to_string()))
                }
                None => format!("{name} landed on {target}{commit}{beside}.{back}"),
            }
        }
        (_, FinalStatus::AlreadyLanded) => format!("{name} had landed on {target} before{why}."),
        (_, FinalStatus::NotLanded | FinalStatus::Skipped) => format!("{name} did not land{why}."),
        _ => format!("{name} is {}{why}.", status_words(item)),
    })
}

fn waited(report: &RunReport, item: &ItemReport) -> Option<String> {
    if item.status == FinalStatus::AlreadyLanded {
        return None;
    }
    let deps: Vec<String> = item
        .deps
        .iter()
        .map(|dep| {
            let became = report
                .items
                .iter()
                .find(|other| other.name == *dep)
                .map(|other| became(report, other))
                .unwrap_or("is in no plan");
            format!("{dep} ({became})")
        })
        .collect();
    let began = item.started_at_ms.map(|at| duration(report.run_time_ms(at)));
    match (deps.is_empty(), began) {
        (true, None) => None,
        (true, Some(began)) => Some(format!("It depends on no other item; its gates began {began} into the run.")),
        (false, None) => Some(format!("It depends on {}.", list(deps))),
        (false, Some(began)) => Some(format!("It depends on {}; its gates began {began} into the run.", list(deps))),
    }
}

fn became(report: &RunReport, item: &ItemReport) -> &'static str {
    match item.stage {
        Some(stage) if stage != Stage::Done && report.is_dead => "at no end",
        Some(Stage::Waiting) => "waiting",
        Some(Stage::Running) => "running",
        Some(Stage::Passed) => "passed",
        Some(Stage::Deferred) => "put off",
        None | Some(Stage::Done) => status_words(item),
    }
}

fn judged(report: &RunReport, item: &ItemReport) -> Option<String> {
    if item.gates.is_empty() {
        let has_none = item.status == FinalStatus::Landed;
        return has_none.then(|| "It has no gates.".to_owned());
    }
    if item.gates.iter().all(|gate| gate.status == ItemGateStatus::NotRun) {
        return None;
    }
    let on = match &item.cone {
        Some(cone) if item.deps.is_empty() => {
            format!("on {} with it merged (commit {})", ref_name(&report.target), cone.commit.short())
        }
        Some(cone) => format!(
            "on {} with its dependencies and it merged (commit {})",
            ref_name(&report.target),
            cone.commit.short()
        ),
        None => "on what was about to land".to_owned(),
    };
    Some(format!("It was judged {on}: {}.", list(item.gates.iter().map(gate))))
}

/// `unit passed`, `lint failed (exit status 1 after 2.0s)`.
fn gate(gate: &GateReport) -> String {
    let last = gate.attempts.last().map(|attempt| how_it_ended(&attempt.run));
    let how = match (gate.status, last) {
        (ItemGateStatus::Passed, _) => match gate.verdict_from {
            Some(VerdictSource::EarlierRun) => format!("passed, as an earlier run knew{}", ran(gate)),
            Some(VerdictSource::SharedRun) => format!("passed, by a run it shares with others{}", ran(gate)),
            _ => format!("passed{}", ran(gate)),
        },
        (ItemGateStatus::Flaky, _) => format!("passed after it had failed{}", ran(gate)),
        (ItemGateStatus::Failed, Some(how)) => format!("failed ({how}{})", attempts(gate)),
        (ItemGateStatus::Failed, None) => "failed".to_owned(),
        (ItemGateStatus::Unjudged, Some(how)) => how,
        (ItemGateStatus::Unjudged, None) => "could not be run".to_owned(),
        (ItemGateStatus::NotRun, _) => "was not run".to_owned(),
        (ItemGateStatus::ApexOnly, _) => "runs on what is about to land alone".to_owned(),
    };
    format!("{} {how}", gate.name)
}

/// ` (pool, on w2, queued 0.4s)`, unless this machine's shell ran it.
fn ran(gate: &GateReport) -> String {
    let Some(ran_by) = &gate.runtime else { return String::new() };
    let elsewhere = gate.attempts.last().and_then(|attempt| attempt.run.elsewhere.as_ref());
    let node = elsewhere.and_then(|elsewhere| elsewhere.node.as_deref());
    format!(" ({}{})", runtime_words(ran_by), at(node, elsewhere.map(|it| it.queued_ms)))
}

fn attempts(gate: &GateReport) -> String {
    let were_cancelled = |attempt: &&AttemptReport| attempt.run.outcome == GateOutcome::Cancelled;
    match gate.attempts.iter().filter(|attempt| !were_cancelled(attempt)).count() {
        0 | 1 => String::new(),
        more => format!(", {more} attempts"),
    }
}

fn without(item: &ItemReport) -> Option<String> {
    let last = item.without_item.last()?;
    let how = how_it_ended(&last.run);
    Some(format!("On the same composite without it {} came to this: {how}.", shown(last.run.gate.as_str())))
}

/// What would change it.
fn remedy(report: &RunReport, item: &ItemReport) -> Option<String> {
    if !item.has_come_to_its_end() {
        return report.is_dead.then(|| format!("`lexpr resume {}` goes on with the run.", report.run));
    }
    if is_taken_back(report, item) {
        return Some(format!("Run {} again to land it anew.", shown(&report.plan)));
    }
    let branch = shown(&item.branch);
    let target = ref_name(&report.target);
    let again = format!("then run {} again", shown(&report.plan));
    Some(match (&item.because, item.status) {
        (_, FinalStatus::Landed | FinalStatus::AlreadyLanded) => return None,
        (Some(Reason::GateFailed { gate, .. }), _) => format!("Mend {} on {branch}, {again}.", shown(gate.as_str())),
        (Some(Reason::Conflict { conflict, .. }), _) => {
            let onto = conflict.with.as_ref().map_or_else(|| target.to_string(), |other| other.to_string());
            format!("Merge {} into {branch} and resolve the conflict, {again}.", shown(&onto))
        }
        (Some(Reason::DependencyFailed { root }), _) => {
            format!("It can land once {root} does: `lexpr why {}` says what keeps that.", shown(root.as_str()))
        }
        (Some(Reason::DependencyOverridden { .. }), _) => format!("Run {} again.", shown(&report.plan)),
        (Some(Reason::DependenciesConflict { first, second, .. }), _) => {
            format!("Make one of {first} and {second} contain the other, {again}.")
        }
        (Some(Reason::BlockOn { gate, .. }), _) => {
            format!("The plan's blockOn holds it for its gate {gate}; take that out, {again}.")
        }
        (Some(Reason::RedOnTarget { gate, .. }), _) if was_let_go(item) => {
            let command = reproduce::command(&item.name, gate, &report.run);
            format!(
                "No tree with it was gated: `{command}` tries it on {target} alone. If it passes there, give it the highest \
                 `priority`, else make {} pass on {target} itself, {again}.",
                shown(gate.as_str())
            )
        }
        (Some(Reason::RedOnTarget { gate, .. }), _) => format!("Make {gate} pass on {target} itself, {again}."),
        (Some(Reason::DependenciesFail { gate, .. }), _) => {
            format!("Make {gate} pass on its dependencies together, {again}.")
        }
        (Some(Reason::Infrastructure { .. }), _) => format!("See to what keeps the gate from being run, {again}."),
        (None, _) if report.finished && report.halted.is_none() && report.interrupted.is_none() => {
            format!("Run {} again.", shown(&report.plan))
        }
        (None, _) => format!("`lexpr resume {}` goes on with the run.", report.run),
    })
}
