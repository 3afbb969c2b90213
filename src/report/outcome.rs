//! How an attempt of a gate ended, in words.

use crate::vocabulary::event::{GateOutcome, ItemGateStatus, in_one_line};

/// What became of a gate of an item, in words.
pub fn gate_words(status: ItemGateStatus) -> &'static str {
    match status {
        ItemGateStatus::Passed => "passed",
        ItemGateStatus::Flaky => "passed after it had failed",
        ItemGateStatus::Failed => "failed",
        ItemGateStatus::Unjudged => "could not be run",
        ItemGateStatus::NotRun => "not run",
        ItemGateStatus::ApexOnly => "runs on what lands alone",
    }
}

/// How an attempt ended, in words: `exit status 1`, `timed out after 30.0s`.
pub fn outcome_text(outcome: &GateOutcome) -> String {
    match outcome {
        GateOutcome::Passed => "passed".to_owned(),
        GateOutcome::Failed { exit_code } => format!("exit status {exit_code}"),
        GateOutcome::Signaled { signal } => format!("ended by signal {}", signal_name(*signal)),
        GateOutcome::TimedOut { after_ms, signal: Some(signal) } => {
            format!("timed out after {}, ended by {}", crate::wording::duration(*after_ms), signal_name(*signal))
        }
        GateOutcome::TimedOut { after_ms, signal: None } => {
            format!("timed out after {}, ended when asked to", crate::wording::duration(*after_ms))
        }
        GateOutcome::Cancelled => "cancelled".to_owned(),
        GateOutcome::RateLimited { exit_code } => format!("rate limited (exit status {exit_code})"),
        GateOutcome::OutOfMemory { limit_bytes: Some(limit), .. } => {
            format!("ended for want of memory (the limit is {})", crate::wording::bytes(*limit))
        }
        GateOutcome::OutOfMemory { limit_bytes: None, .. } => "ended for want of memory".to_owned(),
        GateOutcome::Infrastructure { message } => {
            format!("could not be run: {}", crate::wording::shown(&in_one_line(message)))
        }
    }
}

/// [`outcome_text`], with the time it took where that is not in it: `exit status 1 after 1.2s`.
pub fn outcome_after(outcome: &GateOutcome, duration_ms: u64) -> String {
    let text = outcome_text(outcome);
    match outcome {
        GateOutcome::Passed
        | GateOutcome::Failed { .. }
        | GateOutcome::Signaled { .. }
        | GateOutcome::Cancelled
        | GateOutcome::OutOfMemory { .. }
        | GateOutcome::RateLimited { .. } => {
            format!("{text} after {}", crate::wording::duration(duration_ms))
        }
        GateOutcome::TimedOut { .. } | GateOutcome::Infrastructure { .. } => text,
    }
}

/// `SIGKILL`, or the number where the system has no name for it.
fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    const NAMED: [(Signal, &str); 12] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
    ];
    NAMED
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or_else(|| signal.to_string(), |(_, name)| (*name).into())
}
