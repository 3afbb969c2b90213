//! How an attempt of a gate ended, in words.

use super::json::{GateReport, OpenAttempt};
use crate::vocabulary::event::{GateFinished, GateOutcome, ItemGateStatus, RanBy, RanElsewhere, in_one_line};
use crate::wording::{bytes, duration, shown};

/// What became of a gate of an item, in words.
pub fn gate_words(gate: &GateReport) -> &'static str {
    match gate.status {
        ItemGateStatus::Passed => "passed",
        ItemGateStatus::Flaky => "passed after it had failed",
        ItemGateStatus::Failed => "failed",
        ItemGateStatus::Unjudged => "could not be run",
        ItemGateStatus::NotRun => match gate.attempt {
            Some(OpenAttempt::Running) => "running",
            Some(OpenAttempt::CutOff) => "cut off",
            None => "not run",
        },
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
            format!("timed out after {}, ended by {}", duration(*after_ms), signal_name(*signal))
        }
        GateOutcome::TimedOut { after_ms, signal: None } => {
            format!("timed out after {}, ended when asked to", duration(*after_ms))
        }
        GateOutcome::Cancelled => "cancelled".to_owned(),
        GateOutcome::RateLimited { exit_code } => format!("rate limited (exit status {exit_code})"),
        GateOutcome::OutOfMemory { limit_bytes: Some(limit), .. } => {
            format!("ended for want of memory (the limit is {})", bytes(*limit))
        }
        GateOutcome::OutOfMemory { limit_bytes: None, .. } => "ended for want of memory".to_owned(),
        GateOutcome::Infrastructure { message } => {
            format!("could not be run: {}", shown(&in_one_line(message)))
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
            format!("{text} after {}", duration(duration_ms))
        }
        GateOutcome::TimedOut { .. } | GateOutcome::Infrastructure { .. } => text,
    }
}

/// [`outcome_after`], and where that was: `exit status 1 after 1.2s, on w2, queued 0.4s`.
pub fn how_it_ended(run: &GateFinished) -> String {
    format!("{}{}", outcome_after(&run.outcome, run.duration_ms), place_of(&run.outcome, run.elsewhere.as_ref()))
}

/// [`at`], of an attempt that ended so. What kept one from being run before any node had it is no queue.
pub fn place_of(outcome: &GateOutcome, elsewhere: Option<&RanElsewhere>) -> String {
    let had_a_node =
        |elsewhere: &&RanElsewhere| elsewhere.node.is_some() || !matches!(outcome, GateOutcome::Infrastructure { .. });
    let elsewhere = elsewhere.filter(had_a_node);
    at(elsewhere.and_then(|it| it.node.as_deref()), elsewhere.map(|it| it.queued_ms))
}

/// Where a gate ran that took no slot of this machine, behind a comma: `, on w2, queued 0.4s`.
pub fn at(node: Option<&str>, queued_ms: Option<u64>) -> String {
    let node = node.map(|node| format!(", on {}", shown(node))).unwrap_or_default();
    let queued = queued_ms.map(|ms| format!(", queued {}", duration(ms))).unwrap_or_default();
    format!("{node}{queued}")
}

/// What ran a gate that this machine's shell did not: `pool`, `boxed with image debian:12 (sha256:0123456789ab)`.
pub fn runtime_words(ran_by: &RanBy) -> String {
    let image =
        ran_by.image.as_deref().map(|image| format!(" with {}", image_words(image, ran_by.image_id.as_deref())));
    format!("{}{}", shown(ran_by.name.as_str()), image.unwrap_or_default())
}

/// `image debian:12 (sha256:0123456789ab)`.
pub fn image_words(image: &str, id: Option<&str>) -> String {
    // As much of it as engines themselves show; reports for machines and receipts have all of it.
    const DIGITS: usize = 12;
    let short = |id: &str| match id.split_once(':') {
        Some((kind, digits)) => format!("{kind}:{}", digits.chars().take(DIGITS).collect::<String>()),
        None => id.chars().take(DIGITS).collect(),
    };
    let id = id.map(|id| format!(" ({})", shown(&short(id)))).unwrap_or_default();
    format!("image {}{id}", shown(image))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_node_could_run_is_not_said_to_have_been_queued() {
        let place = |outcome: &GateOutcome, node: Option<&str>| {
            place_of(outcome, Some(&RanElsewhere { node: node.map(str::to_owned), queued_ms: 400 }))
        };
        let not_run = GateOutcome::Infrastructure { message: "no such partition".to_owned() };
        assert_eq!(place(&not_run, None), "");
        assert_eq!(place(&not_run, Some("w2")), ", on w2, queued 0.4s");
        assert_eq!(place(&GateOutcome::Cancelled, None), ", queued 0.4s");
    }
}
