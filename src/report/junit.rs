//! A run as JUnit XML, as CI servers and nextest's readers take it: a suite for each item, a case for each of
//! its gates, and one for its landing. quick-junit writes it.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report as Junit, TestCase, TestCaseStatus, TestRerun, TestSuite, XmlString,
};

use super::Report;
use super::dry_run::{DryRun, DryRunItem, Forecast};
use super::json::{AttemptReport, GateReport, ItemReport, RunReport};
use super::outcome::{gate_words, outcome_text};
use super::summary::status_words;
use super::undo::is_taken_back;
use crate::vocabulary::event::{FinalStatus, GateOutcome, ItemGateStatus};
use crate::wording::{block, shown};

/// The case that says what became of the item itself.
const LANDING: &str = "landing";

/// The report as XML. Ends with a newline.
pub fn render(report: &Report) -> String {
    let mut junit = match report {
        Report::Execute(report) => of_run(report),
        Report::DryRun(report) => of_dry_run(report),
    };
    junit.test_suites.retain(|suite| !suite.test_cases.is_empty());
    junit.to_string().expect("a text in memory takes everything")
}

fn of_run(report: &RunReport) -> Junit {
    let mut junit = Junit::new(format!("lexpr {}", report.run));
    junit.set_time(Duration::from_millis(report.summary.duration_ms));
    junit.add_test_suites(report.items.iter().map(|item| suite(report, item)));
    junit
}

fn suite(report: &RunReport, item: &ItemReport) -> TestSuite {
    let name = shown(item.name.as_str());
    let mut suite = TestSuite::new(&*name);
    suite.set_time(Duration::from_millis(item.duration_ms));
    suite.add_test_cases(item.gates.iter().map(|gate| of_gate(item, gate)));
    let mut case = TestCase::new(LANDING, landing(item));
    case.set_classname(&*name);
    if is_taken_back(report, item) {
        case.set_system_out("It landed, and was taken back by `lexpr undo`.");
    }
    suite.add_test_case(case);
    suite
}

/// A failure of its own where no gate shows why the item did not land.
fn landing(item: &ItemReport) -> TestCaseStatus {
    let why = item.reason.as_deref().unwrap_or_default();
    if !item.has_come_to_its_end() {
        return skipped("it has not come to its end");
    }
    match item.status {
        FinalStatus::Landed | FinalStatus::AlreadyLanded => TestCaseStatus::success(),
        FinalStatus::Conflicted => failed("conflict", why),
        FinalStatus::Unjudged => error("unjudged", why),
        FinalStatus::Failed if item.gates.iter().all(|gate| gate.status != ItemGateStatus::Failed) => {
            failed("failed", why)
        }
        FinalStatus::Failed | FinalStatus::Blocked | FinalStatus::Skipped | FinalStatus::NotLanded => {
            skipped(&format!("{}: {why}", status_words(item)))
        }
    }
}

fn of_gate(item: &ItemReport, gate: &GateReport) -> TestCase {
    let last = gate.attempts.last();
    let status = match gate.status {
        ItemGateStatus::Passed | ItemGateStatus::Flaky => {
            let mut status = TestCaseStatus::success();
            let failures = gate.attempts.iter().filter(|attempt| attempt.run.outcome.is_failure());
            for failure in failures {
                status.add_rerun(rerun(failure));
            }
            status
        }
        ItemGateStatus::Failed | ItemGateStatus::Unjudged if item.overridden.is_some() && gate.required => {
            let how = last.map_or_else(|| gate_words(gate).to_owned(), |attempt| outcome_text(&attempt.run.outcome));
            skipped(&format!("overridden: {how}"))
        }
        ItemGateStatus::Failed if !gate.required => {
            let how = last.map_or_else(|| "failed".to_owned(), |attempt| outcome_text(&attempt.run.outcome));
            skipped(&format!("optional: {how}"))
        }
        ItemGateStatus::Failed => {
            let how = last.map_or_else(|| "failed".to_owned(), |attempt| outcome_text(&attempt.run.outcome));
            let mut status = failed(kind(last), &how);
            // The first is the failure, the others came to the same.
            for attempt in gate.attempts.iter().skip(1).filter(|attempt| attempt.run.outcome.is_failure()) {
                status.add_rerun(rerun(attempt));
            }
            status
        }
        ItemGateStatus::Unjudged => error(
            "unjudged",
            last.map_or_else(|| "could not be run".to_owned(), |attempt| outcome_text(&attempt.run.outcome)).as_str(),
        ),
        ItemGateStatus::NotRun | ItemGateStatus::ApexOnly => skipped(gate_words(gate)),
    };
    let mut case = TestCase::new(&*shown(gate.name.as_str()), status);
    case.set_classname(&*shown(item.name.as_str()));
    case.set_time(Duration::from_millis(gate.duration_ms));
    case.extra.insert(XmlString::new("command"), XmlString::new(&*shown(&gate.run)));
    case.add_properties(properties(gate));
    if let Some(tail) = last.map(|attempt| &attempt.run.tail).filter(|tail| !tail.is_empty()) {
        case.set_system_out(block(tail));
    }
    case
}

/// What ran it and where, if this machine's shell did not.
fn properties(gate: &GateReport) -> Vec<Property> {
    let Some(ran_by) = &gate.runtime else { return Vec::new() };
    let elsewhere = gate.attempts.last().and_then(|attempt| attempt.run.elsewhere.as_ref());
    let facts = [
        ("runtime", Some(ran_by.name.to_string())),
        ("image", ran_by.image.clone()),
        ("imageId", ran_by.image_id.clone()),
        ("node", elsewhere.and_then(|elsewhere| elsewhere.node.clone())),
        ("queuedMs", elsewhere.map(|elsewhere| elsewhere.queued_ms.to_string())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some(Property::new(name, &*shown(&value?)))).collect()
}

fn kind(attempt: Option<&AttemptReport>) -> &'static str {
    match attempt.map(|attempt| &attempt.run.outcome) {
        Some(GateOutcome::TimedOut { .. }) => "timeout",
        Some(GateOutcome::Signaled { .. }) => "signal",
        Some(GateOutcome::OutOfMemory { .. }) => "out of memory",
        _ => "exit status",
    }
}

fn rerun(attempt: &AttemptReport) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Failure);
    rerun.set_type(kind(Some(attempt)));
    rerun.set_message(outcome_text(&attempt.run.outcome));
    rerun.set_time(Duration::from_millis(attempt.run.duration_ms));
    rerun.set_system_out(block(&attempt.run.tail));
    rerun
}

fn of_dry_run(report: &DryRun) -> Junit {
    let mut junit = Junit::new("lexpr dry run");
    junit.add_test_suites(report.items.iter().map(of_planned));
    junit
}

fn of_planned(item: &DryRunItem) -> TestSuite {
    let name = shown(item.item.name.as_str());
    let mut suite = TestSuite::new(&*name);
    let why = item.because.as_ref().map(ToString::to_string).unwrap_or_default();
    let status = match item.forecast {
        Forecast::Lands | Forecast::AlreadyLanded => TestCaseStatus::success(),
        Forecast::Conflicted => failed("conflict", &why),
        Forecast::Blocked => skipped(&why),
    };
    let mut case = TestCase::new("merge", status);
    case.set_classname(&*name);
    if let Some(note) = item.override_note() {
        case.set_system_out(shown(&note));
    }
    suite.add_test_case(case);
    suite
}

fn failed(kind: &str, why: &str) -> TestCaseStatus {
    non_success(NonSuccessKind::Failure, kind, why)
}

fn error(kind: &str, why: &str) -> TestCaseStatus {
    non_success(NonSuccessKind::Error, kind, why)
}

fn non_success(non_success: NonSuccessKind, kind: &str, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(non_success);
    status.set_type(kind).set_message(block(why));
    status
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(block(why));
    status
}
