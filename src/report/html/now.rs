//! What goes on: who is at what, and the run in a few numbers.

use std::fmt::Write as _;

use super::Mode;
use super::markup::{code, text};
use crate::report::json::{GateSpan, Occupation, RunReport};
use crate::report::trace::purpose_words;
use crate::wording::{bytes, duration, live_duration};

/// How long the run took, or takes so far: on a page that is served that goes on by itself, from where it is.
pub fn elapsed(report: &RunReport, mode: Mode) -> String {
    let elapsed_ms = report.summary.duration_ms;
    if !ticks(report, mode) {
        return duration(elapsed_ms);
    }
    // As if it had never been cut off: what passed then is no time of it.
    let since = report.ended_at_ms.saturating_sub(elapsed_ms);
    format!("<span data-since=\"{since}\">{}</span>", live_duration(elapsed_ms))
}

fn ticks(report: &RunReport, mode: Mode) -> bool {
    mode == Mode::Live && !report.finished && !report.is_dead
}

/// The run in numbers.
pub fn gauges(report: &RunReport, mode: Mode) -> String {
    let summary = &report.summary;
    let landed = summary.successful;
    let minutes = summary.duration_ms as f64 / 60_000.0;
    let decided =
        report.items.iter().filter(|item| item.decided_at_ms.is_some() || item.landed_at_ms.is_some()).count();
    let at_work = || report.timeline.iter().filter(|job| job.ended_at_ms.is_none());
    let (elsewhere, here): (Vec<_>, Vec<_>) = at_work().partition(|job| job.elsewhere.is_some());
    let mut out = String::from("<dl class=\"gauges\">\n");
    let mut gauge = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    gauge("landed", format!("{landed} of {}", summary.total));
    gauge("decided", decided.to_string());
    if minutes > 0.0 {
        gauge("landed a minute", format!("{:.1}", landed as f64 / minutes));
    }
    if !report.finished {
        gauge("workers at it", format!("{} of {}", here.len(), summary.concurrency.max_workers));
    }
    if summary.concurrency.peak_elsewhere > 0 && !report.finished {
        let queued = elsewhere.iter().filter(|job| gate_of(job).is_none()).count();
        let queued = if queued > 0 { format!(", {queued} queued") } else { String::new() };
        gauge("gates elsewhere", format!("{}{queued}", elsewhere.len()));
    }
    if let Some(rate) = summary.cache_hit_rate {
        gauge("verdicts that took no run", format!("{:.0} %", rate * 100.0));
    }
    if summary.verdicts_reused.gates > 0 {
        gauge("known from earlier runs", summary.verdicts_reused.gates.to_string());
    }
    if let Some(peak) = summary.peak_memory_bytes {
        gauge("most memory", bytes(peak));
    }
    gauge("elapsed", elapsed(report, mode));
    out.push_str("</dl>\n");
    out
}

/// The jobs that have not ended, by worker, those elsewhere last; nothing where there are none.
pub fn running(report: &RunReport, mode: Mode) -> String {
    let mut jobs: Vec<&Occupation> =
        report.timeline.iter().map(Box::as_ref).filter(|job| job.ended_at_ms.is_none()).collect();
    if jobs.is_empty() || report.finished || report.is_dead {
        return String::new();
    }
    jobs.sort_by_key(|job| job.worker);
    let mut out = String::from(
        "<h2>Now</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Where</th><th scope=\"col\">Item</th><th scope=\"col\">Gate</th><th scope=\"col\" class=\"n\">For</th><th scope=\"col\">Log</th></tr></thead><tbody>\n",
    );
    let shown = if ticks(report, mode) { live_duration } else { duration };
    for job in jobs {
        let what = purpose_words(job);
        let gate = gate_of(job);
        let (name, since, log) = match gate {
            Some(gate) => (code(gate.gate.as_str()), gate.started_at_ms, log_button(job, gate, mode)),
            None if job.elsewhere.is_some() => {
                let waits = match (&job.unreported, &job.held_up) {
                    (Some(checks), _) => checks.to_string(),
                    (None, Some(why)) => format!("waits for a node: {why}"),
                    (None, None) => "waits for a node".to_owned(),
                };
                (text(&waits), job.started_at_ms, String::new())
            }
            None => ("a slot is made ready".to_owned(), job.started_at_ms, String::new()),
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{name}</td><td class=\"n\" data-since=\"{since}\">{}</td><td>{log}</td></tr>",
            text(&place(job, gate)),
            text(&what),
            shown(report.ended_at_ms.saturating_sub(since))
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// The one that it is at.
fn gate_of(job: &Occupation) -> Option<&GateSpan> {
    job.gates.last().filter(|gate| gate.ended_at_ms.is_none())
}

/// `worker 2`, `worker 2, boxed`, `w1, pool`, or `pool` before it has a node.
fn place(job: &Occupation, gate: Option<&GateSpan>) -> String {
    let node = gate.and_then(|gate| gate.node.clone());
    let runtime = gate.and_then(|gate| gate.runtime.as_ref()).or(job.elsewhere.as_ref()).map(ToString::to_string);
    let worker = job.elsewhere.is_none().then(|| format!("worker {}", job.worker.0 + 1));
    worker.or(node).into_iter().chain(runtime).collect::<Vec<_>>().join(", ")
}

fn log_button(job: &Occupation, gate: &GateSpan, mode: Mode) -> String {
    log_button_of(job.job.0, gate.attempt, gate.gate.as_str(), mode)
}

/// What shows the log of an attempt, where there is somebody to ask for it.
pub fn log_button_of(job: u64, attempt: u32, gate: &str, mode: Mode) -> String {
    if mode == Mode::Still {
        return String::new();
    }
    let key = format!("{job}/{attempt}/{gate}");
    format!(
        " <button type=\"button\" data-log=\"{key}\" data-key=\"log-{key}\" data-title=\"{gate}, job {job}, attempt {attempt}\" aria-label=\"log of {gate}, job {job}, attempt {attempt}\">log</button>",
        key = text(&key),
        gate = text(gate)
    )
}
