//! Who was at work when, as a picture: a row for each worker, a bar for each job, a line for each landing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::markup::text;
use crate::report::json::{Occupation, RunReport};
use crate::report::outcome::outcome_text;
use crate::report::trace::purpose_words;
use crate::vocabulary::event::{GateOutcome, JobPurpose};
use crate::wording::{count, duration};

const WIDTH: f64 = 1184.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 10.0;
const ROW: f64 = 24.0;
const BAR: f64 = 18.0;
/// Room for the times below.
const AXIS: f64 = 24.0;
const TICKS: u64 = 8;

/// A narrower bar has no room for a sign.
const SIGN_WIDTH: f64 = 12.0;

/// More bars are not told apart, and make a page slow.
const MOST_JOBS: usize = 5000;

/// The picture, or nothing where no worker was at work.
pub fn svg(report: &RunReport) -> String {
    let workers = report.timeline.iter().map(|job| job.worker.0 + 1).max().unwrap_or(0);
    if workers == 0 {
        return String::new();
    }
    let all_ms = report.ended_at_ms.saturating_sub(report.started_at_ms).max(1);
    let place = |at_ms: u64| {
        let part = at_ms.saturating_sub(report.started_at_ms) as f64 / all_ms as f64;
        LEFT + part.min(1.0) * (WIDTH - LEFT - RIGHT)
    };
    let height = f64::from(workers) * ROW + AXIS;
    let mut out = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"What {} did in {}\">\n",
        count(workers as usize, "worker"),
        duration(all_ms)
    );
    // Writing to a string does not fail.
    let (step, ticks) = ticks(all_ms);
    for tick in ticks {
        let x = place(report.started_at_ms + tick);
        let _ = writeln!(
            out,
            "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.1}\"/><text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            height - AXIS,
            height - 8.0,
            tick_words(tick, step)
        );
    }
    for worker in 0..workers {
        let _ = writeln!(
            out,
            "<text class=\"row\" x=\"4\" y=\"{:.1}\">worker {}</text>",
            f64::from(worker) * ROW + 16.0,
            worker + 1
        );
    }
    for job in report.timeline.iter().take(MOST_JOBS) {
        let from = place(job.started_at_ms);
        let to = place(job.ended_at_ms.unwrap_or(report.ended_at_ms));
        let _ = writeln!(
            out,
            "<rect class=\"job {}{}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"><title>{}</title></rect>",
            class(job),
            if is_apex(&job.purpose) { " apex" } else { "" },
            f64::from(job.worker.0) * ROW + (ROW - BAR) / 2.0,
            (to - from).max(1.0),
            text(&words(report, job))
        );
        // Not by colour alone.
        if job.has_failed() && to - from >= SIGN_WIDTH {
            let y = f64::from(job.worker.0) * ROW + 16.0;
            let _ = writeln!(out, "<text class=\"sign\" x=\"{:.1}\" y=\"{y:.1}\">✗</text>", (from + to) / 2.0);
        }
    }
    for landing in &report.landings {
        let x = place(landing.at_ms);
        let is_overridden = report.overridden_by(landing).is_some();
        let _ = writeln!(
            out,
            "<line class=\"landing{}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.1}\"><title>{} landed{} after {}</title></line>",
            if is_overridden { " overridden" } else { "" },
            height - AXIS,
            count(landing.items.len(), "item"),
            if is_overridden { ", overridden," } else { "" },
            duration(landing.at_ms.saturating_sub(report.started_at_ms))
        );
    }
    out.push_str("</svg>\n");
    if report.timeline.len() > MOST_JOBS {
        let _ = writeln!(out, "<p>The first {MOST_JOBS} of {} are shown.</p>", count(report.timeline.len(), "job"));
    }
    out
}

/// The picture in words, folded: a row for each worker.
pub fn in_words(report: &RunReport) -> String {
    let all_ms = report.ended_at_ms.saturating_sub(report.started_at_ms);
    let mut workers: BTreeMap<u32, (usize, usize, u64)> = BTreeMap::new();
    for job in &report.timeline {
        let (jobs, failed, busy_ms) = workers.entry(job.worker.0).or_default();
        *jobs += 1;
        *failed += usize::from(job.has_failed());
        *busy_ms += job.ended_at_ms.unwrap_or(report.ended_at_ms).saturating_sub(job.started_at_ms);
    }
    let mut out = String::from(
        "<details id=\"workers-in-words\"><summary>The workers as a table</summary>\n<div class=\"scroll\"><table><thead><tr>\
         <th scope=\"col\">Worker</th><th scope=\"col\" class=\"n\">Jobs</th><th scope=\"col\" class=\"n\">Failed</th>\
         <th scope=\"col\" class=\"n\">At work</th></tr></thead><tbody>\n",
    );
    for (worker, (jobs, failed, busy_ms)) in workers {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{jobs}</td><td class=\"n\">{failed}</td><td class=\"n\">{} of {}</td></tr>",
            worker + 1,
            duration(busy_ms),
            duration(all_ms)
        );
    }
    out.push_str("</tbody></table></div></details>\n");
    out
}

fn is_apex(purpose: &JobPurpose) -> bool {
    matches!(purpose, JobPurpose::Apex { .. })
}

fn class(job: &Occupation) -> &'static str {
    let is_cut_off = |outcome: &GateOutcome| {
        matches!(outcome, GateOutcome::Cancelled | GateOutcome::Infrastructure { .. } | GateOutcome::RateLimited { .. })
    };
    if job.ended_at_ms.is_none() {
        "running"
    } else if job.has_failed() {
        "failed"
    } else if job.gates.iter().filter_map(|gate| gate.outcome.as_ref()).any(is_cut_off) {
        "skipped"
    } else {
        "landed"
    }
}

fn words(report: &RunReport, job: &Occupation) -> String {
    let gates: Vec<String> = job
        .gates
        .iter()
        .map(|gate| {
            let how = gate.outcome.as_ref().map_or_else(|| "running".to_owned(), outcome_text);
            format!("{} {how}", gate.gate)
        })
        .collect();
    let to = job.ended_at_ms.unwrap_or(report.ended_at_ms);
    let after = duration(job.started_at_ms.saturating_sub(report.started_at_ms));
    let took = duration(to.saturating_sub(job.started_at_ms));
    format!("{}, {took} from {after} on: {}", purpose_words(job), gates.join(", "))
}

/// How far they are apart, and round times, about [`TICKS`] of them.
fn ticks(all_ms: u64) -> (u64, Vec<u64>) {
    const STEPS: [u64; 18] =
        [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 3_600_000];
    let step = STEPS.into_iter().find(|step| all_ms / step <= TICKS);
    let step = step.unwrap_or_else(|| (all_ms / TICKS).next_multiple_of(3_600_000));
    (step, (0..=all_ms / step).map(|nth| nth * step).collect())
}

/// In milliseconds where tenths of a second would not tell one from the next.
fn tick_words(tick: u64, step: u64) -> String {
    if step < 100 { format!("{tick}ms") } else { duration(tick) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ticks_of_a_timeline_read_alike_however_short_or_long_the_run() {
        for all_ms in (1..2000).chain((2000..200_000_000).step_by(77_777)) {
            let (step, ticks) = ticks(all_ms);
            let mut words: Vec<String> = ticks.iter().map(|tick| tick_words(*tick, step)).collect();
            words.dedup();
            assert_eq!(words.len(), ticks.len(), "{all_ms} ms: {words:?}");
        }
    }
}
