//! The command that a report is of, as a shell takes it.

use std::fmt::Write as _;

use super::dry_run::DryRun;
use super::json::RunReport;
use crate::wording::shell_word;

/// What began the run.
pub fn of_run(report: &RunReport) -> String {
    let mut command = format!("lexpr merge {} --execute", shell_word(&report.plan));
    if report.arguments.is_empty() {
        push_as_understood(&mut command, report);
    }
    push_words(&mut command, &report.arguments);
    command
}

/// What makes the page of a dry run again.
pub fn of_dry_run(report: &DryRun) -> String {
    let mut command = format!("lexpr merge {}", shell_word(&report.plan));
    push_words(&mut command, &report.arguments);
    command.push_str(" --report FILE.html");
    command
}

fn push_words(command: &mut String, words: &[String]) {
    for word in words {
        // Writing to a string does not fail.
        let _ = write!(command, " {}", shell_word(word));
    }
}

/// Runs of before the words of their command were kept tell something of it by what came of them.
fn push_as_understood(command: &mut String, report: &RunReport) {
    if let Some(remote) = &report.push {
        let _ = write!(command, " --push {}", shell_word(remote));
    }
    if report.urgent {
        command.push_str(" --urgent");
    }
    if let Some(grant) = &report.overrides {
        let items = grant.items.iter().map(|item| ("--override", item.as_str()));
        for (option, value) in items.chain(grant.reason.as_deref().map(|reason| ("--reason", reason))) {
            // Behind a space it would be read as an option of its own.
            let between = if value.starts_with('-') { '=' } else { ' ' };
            let _ = write!(command, " {option}{between}{}", shell_word(value));
        }
    }
}
