//! Who was at work when, as a picture: a lane for each worker and each node, a bar for each job, a line for each landing.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::markup::{escaped, text};
use crate::report::json::RunReport;
use crate::report::lanes::{Bar, Lane, Whose, busy_ms, lanes};
use crate::report::outcome::{at, outcome_text};
use crate::report::trace::purpose_words;
use crate::vocabulary::event::{GateOutcome, JobPurpose};
use crate::wording::{count, cut, duration, shown};

const WIDTH: f64 = 1184.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 10.0;
const ROW: f64 = 24.0;
const BAR: f64 = 18.0;
/// Of one of several tracks of a lane, with what is between them.
const TRACK: f64 = 12.0;
const BETWEEN_TRACKS: f64 = 2.0;
/// What there is room for before the bars.
const NAME_CELLS: usize = 12;
/// Room for the times below.
const AXIS: f64 = 24.0;
const TICKS: u64 = 8;

/// A narrower bar has no room for a sign.
const SIGN_WIDTH: f64 = 12.0;

/// More bars are not told apart, and make a page slow.
const MOST_BARS: usize = 5000;

/// The picture, or nothing where nobody was at work.
pub fn svg(report: &RunReport) -> String {
    let lanes = lanes(&report.timeline);
    if lanes.is_empty() {
        return String::new();
    }
    let all_ms = report.run_time_ms(report.ended_at_ms).max(1);
    let after = |run_time_ms: u64| {
        let part = run_time_ms as f64 / all_ms as f64;
        LEFT + part.min(1.0) * (WIDTH - LEFT - RIGHT)
    };
    let place = |at_ms: u64| after(report.run_time_ms(at_ms));
    let height = lanes.iter().map(height_of).sum::<f64>() + AXIS;
    let mut out = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"What {} did in {}\">\n",
        who(&lanes),
        duration(all_ms)
    );
    // Writing to a string does not fail.
    let (step, ticks) = ticks(all_ms);
    for tick in ticks {
        let x = after(tick);
        let _ = writeln!(
            out,
            "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.1}\"/><text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            height - AXIS,
            height - 8.0,
            tick_words(tick, step)
        );
    }
    let mut starts: Vec<u64> =
        lanes.iter().flat_map(|lane| lane.tracks.iter().flatten()).map(Bar::started_at_ms).collect();
    starts.sort_unstable();
    let until_ms = starts.get(MOST_BARS - 1).copied().unwrap_or(u64::MAX);
    let mut top = 0.0;
    for lane in &lanes {
        name(&mut out, lane, top);
        let pitch = (height_of(lane) - ROW + BAR).max(BAR) / lane.tracks.len() as f64;
        for (nth, track) in lane.tracks.iter().enumerate() {
            let y = top + (ROW - BAR) / 2.0 + nth as f64 * pitch;
            let high = if lane.tracks.len() > 1 { pitch - BETWEEN_TRACKS } else { BAR };
            for bar in track.iter().take_while(|bar| bar.started_at_ms() <= until_ms) {
                draw(&mut out, report, bar, (place, y, high));
            }
        }
        top += height_of(lane);
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
            duration(report.run_time_ms(landing.at_ms))
        );
    }
    for pause in &report.pauses {
        let x = place(pause.from_ms);
        let _ = writeln!(
            out,
            "<line class=\"pause\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.1}\"><title>taken up again {} later</title></line>",
            height - AXIS,
            duration(pause.to_ms.saturating_sub(pause.from_ms))
        );
    }
    out.push_str("</svg>\n");
    if starts.len() > MOST_BARS {
        let _ = writeln!(out, "<p>The first {MOST_BARS} of {} are shown.</p>", count(starts.len(), "job"));
    }
    out
}

/// `3 workers`, `2 workers and 2 nodes`.
fn who(lanes: &[Lane<'_>]) -> String {
    let workers = lanes.iter().filter(|lane| lane.whose.is_here()).count();
    match (workers, lanes.len() - workers) {
        (workers, 0) => count(workers, "worker"),
        (0, nodes) => count(nodes, "node"),
        (workers, nodes) => format!("{} and {}", count(workers, "worker"), count(nodes, "node")),
    }
}

fn height_of(lane: &Lane<'_>) -> f64 {
    match lane.tracks.len() {
        0 | 1 => ROW,
        tracks => ROW - BAR + tracks as f64 * TRACK,
    }
}

/// Whose lane it is, under a line where it is a node's.
fn name(out: &mut String, lane: &Lane<'_>, top: f64) {
    let (whole, y) = (lane.whose.to_string(), top + 16.0);
    let whole = shown(&whole);
    if lane.whose.is_here() {
        let _ = writeln!(out, "<text class=\"row\" x=\"4\" y=\"{y:.1}\">{whole}</text>");
        return;
    }
    let short =
        if whole.width() > NAME_CELLS { format!("{}…", cut(&whole, NAME_CELLS - 1).0) } else { whole.to_string() };
    let _ = writeln!(
        out,
        "<line class=\"tick\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{top:.1}\" y2=\"{top:.1}\"/>\
         <text class=\"row\" x=\"4\" y=\"{y:.1}\"><title>{}</title>{}</text>",
        escaped(&whole),
        escaped(&short)
    );
}

/// `at`: where times are, and the upper edge and the height of the track.
fn draw(out: &mut String, report: &RunReport, bar: &Bar<'_>, at: (impl Fn(u64) -> f64, f64, f64)) {
    let (place, y, high) = at;
    let (from, to) = (place(bar.started_at_ms()), place(bar.ended_at_ms().unwrap_or(report.ended_at_ms)));
    let _ = writeln!(
        out,
        "<rect class=\"job {}{}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{high}\" rx=\"2\"><title>{}</title></rect>",
        class(bar),
        if is_apex(&bar.job.purpose) { " apex" } else { "" },
        (to - from).max(1.0),
        text(&words(report, bar))
    );
    // Not by colour alone.
    if bar.has_failed() && to - from >= SIGN_WIDTH {
        let _ = writeln!(
            out,
            "<text class=\"sign\" x=\"{:.1}\" y=\"{:.1}\">✗</text>",
            (from + to) / 2.0,
            y + high / 2.0 + 4.0
        );
    }
}

/// The picture in words, folded: a row for each lane.
pub fn in_words(report: &RunReport) -> String {
    let all_ms = report.run_time_ms(report.ended_at_ms);
    let lanes = lanes(&report.timeline);
    let are_all_here = lanes.iter().all(|lane| lane.whose.is_here());
    let (whole, head) = if are_all_here { ("The workers", "Worker") } else { ("Workers and nodes", "Worker or node") };
    let mut out = format!(
        "<details id=\"workers-in-words\"><summary>{whole} as a table</summary>\n<div class=\"scroll\"><table><thead><tr>\
         <th scope=\"col\">{head}</th><th scope=\"col\" class=\"n\">Jobs</th><th scope=\"col\" class=\"n\">Failed</th>\
         <th scope=\"col\" class=\"n\">At work</th></tr></thead><tbody>\n",
    );
    for lane in lanes.iter().filter(|lane| lane.tracks.iter().any(|track| !track.is_empty())) {
        let bars = || lane.tracks.iter().flatten();
        let whose = match lane.whose {
            Whose::Worker(worker) if are_all_here => (worker + 1).to_string(),
            whose => text(&whose.to_string()),
        };
        let _ = writeln!(
            out,
            "<tr><td>{whose}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{} of {}</td></tr>",
            bars().count(),
            bars().filter(|bar| bar.has_failed()).count(),
            duration(busy_ms(lane, report.ended_at_ms)),
            duration(all_ms)
        );
    }
    out.push_str("</tbody></table></div></details>\n");
    out
}

fn is_apex(purpose: &JobPurpose) -> bool {
    matches!(purpose, JobPurpose::Apex { .. })
}

fn class(bar: &Bar<'_>) -> &'static str {
    let is_cut_off = |outcome: &GateOutcome| {
        matches!(outcome, GateOutcome::Cancelled | GateOutcome::Infrastructure { .. } | GateOutcome::RateLimited { .. })
    };
    if bar.ended_at_ms().is_none() {
        "running"
    } else if bar.job.cut_off {
        "skipped"
    } else if bar.has_failed() {
        "failed"
    } else if bar.gates().iter().filter_map(|gate| gate.outcome.as_ref()).any(is_cut_off) {
        "skipped"
    } else {
        "landed"
    }
}

fn words(report: &RunReport, bar: &Bar<'_>) -> String {
    let gates: Vec<String> = bar
        .gates()
        .iter()
        .map(|gate| {
            let how = match &gate.outcome {
                Some(outcome) => outcome_text(outcome),
                None if bar.job.cut_off => "was cut off".to_owned(),
                None => "running".to_owned(),
            };
            let runtime = gate.runtime.as_ref().map(|runtime| format!(" by {runtime}")).unwrap_or_default();
            format!("{}{runtime} {how}{}", gate.gate, at(gate.node.as_deref(), gate.queued_ms))
        })
        .collect();
    let to = bar.ended_at_ms().unwrap_or(report.ended_at_ms);
    let after = duration(report.run_time_ms(bar.started_at_ms()));
    let took = duration(to.saturating_sub(bar.started_at_ms()));
    format!("{}, {took} from {after} on: {}", purpose_words(bar.job), gates.join(", "))
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
