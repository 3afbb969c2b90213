//! What GitHub Actions shows beside the code and at the top of a run: workflow commands on standard output
//! (docs.github.com, "Workflow commands for GitHub Actions"). The step's summary has the rest.

use std::fmt::Write as _;

use super::Report;
use super::dry_run::{DryRun, DryRunItem, Forecast};
use super::json::{ItemReport, RunReport};
use super::summary::{evidence_of, flaky_gates, status_words};
use crate::vocabulary::event::{FinalStatus, Reason};
use crate::wording::{Paint, block, shown};

/// GitHub shows so many annotations of each level for a step, and leaves out the others.
const MOST_OF_A_LEVEL: usize = 10;

/// An error for every item that failed, conflicted or could not be judged, and for a run that could not go on; a
/// warning for every gate that was flaky. The first of each. Every line ends with a newline.
pub fn annotations(report: &Report) -> String {
    let mut out = String::new();
    match report {
        Report::Execute(report) => {
            for error in errors(report).take(MOST_OF_A_LEVEL) {
                out.push_str(&error);
            }
            for flaky in flaky_gates(report).iter().take(MOST_OF_A_LEVEL) {
                let message = format!("{} failed and passed on one tree", shown(flaky));
                out.push_str(&command("warning", None, "flaky gate", &message));
            }
        }
        Report::DryRun(dry) => {
            for error in conflicts(dry).take(MOST_OF_A_LEVEL) {
                out.push_str(&error);
            }
        }
    }
    out
}

fn errors(report: &RunReport) -> impl Iterator<Item = String> {
    let halted =
        report.halted.iter().map(|halt| command("error", None, "the run could not go on", &block(&halt.message)));
    let is_told = |item: &&ItemReport| {
        matches!(item.status, FinalStatus::Failed | FinalStatus::Conflicted | FinalStatus::Unjudged)
    };
    halted.chain(report.items.iter().map(Box::as_ref).filter(is_told).map(|item| {
        let title = format!("{} {}", shown(item.name.as_str()), status_words(item));
        let mut lines = vec![shown(item.reason.as_deref().unwrap_or_default()).into_owned()];
        lines.extend(evidence_of(report, item, Paint::PLAIN));
        command("error", conflicting(item.because.as_ref()), &title, &lines.join("\n"))
    }))
}

fn conflicts(dry: &DryRun) -> impl Iterator<Item = String> {
    dry.items.iter().filter(|item| item.forecast == Forecast::Conflicted).map(|item: &DryRunItem| {
        let title = format!("{} would conflict", shown(item.item.name.as_str()));
        let why = item.why().unwrap_or_default();
        command("error", conflicting(item.because.as_ref()), &title, &shown(&why))
    })
}

/// The first path of a conflict.
fn conflicting(reason: Option<&Reason>) -> Option<&str> {
    match reason? {
        Reason::Conflict { conflict, .. } => conflict.paths.first().map(String::as_str),
        _ => None,
    }
}

fn command(level: &str, file: Option<&str>, title: &str, message: &str) -> String {
    let mut line = format!("::{level} ");
    if let Some(file) = file {
        let _ = write!(line, "file={},", property(file));
    }
    let _ = writeln!(line, "title={}::{}", property(title), data(message));
    line
}

/// As the runner takes it apart (actions/runner, `ActionCommand`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_ends_neither_the_line_nor_the_property() {
        let line = command("error", Some("a,b:c\n"), "100 %: x", "one\r\n::error::two %0A");
        assert_eq!(line, "::error file=a%2Cb%3Ac%0A,title=100 %25%3A x::one%0D%0A::error::two %250A\n");
    }
}
