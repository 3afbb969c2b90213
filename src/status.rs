//! What `lexpr status` says of a run: a line for every item and what to do next. It reads a
//! report; where the events come from is the command's business.

use std::fmt::Write as _;

use crate::report::json::{ItemReport, RunReport};
use crate::report::summary::{evidence_of, facts, halted, headline, state_words, tone_of, under_way};
use crate::report::view::Stage;
use crate::wording::{Paint, Tone, duration, ref_name, shown};

/// The run as text for standard output. Ends with a newline.
pub fn text(report: &RunReport, paint: Paint) -> String {
    let mut out = String::new();
    let state = match (report.finished, report.exit_code) {
        (true, Some(code)) => format!("finished, exit code {code}"),
        _ => "not finished".to_owned(),
    };
    let undone = if report.undone { ", undone since" } else { "" };
    let _ = writeln!(
        out,
        "{}run {}: {} onto {}, {state}{undone}",
        if report.urgent { "urgent " } else { "" },
        paint.paint(Tone::Strong, &shown(report.run.as_str())),
        shown(&report.plan),
        ref_name(&report.target)
    );
    let _ = writeln!(out, "  repository: {}\n", shown(&report.repository));
    for item in &report.items {
        let _ = writeln!(out, "{}", item_line(report, item, paint));
        let now = under_way(report, item);
        for line in now.into_iter().chain(evidence_of(report, item, paint)) {
            let _ = writeln!(out, "    {line}");
        }
    }
    let _ = writeln!(out, "\n{}", headline(report));
    out.push_str(&halted(report));
    for fact in facts(report) {
        let _ = writeln!(out, "  {fact}");
    }
    let _ = writeln!(out, "{} {}", paint.paint(Tone::Strong, "Next:"), report.next);
    out
}

fn item_line(report: &RunReport, item: &ItemReport, paint: Paint) -> String {
    let tone = match item.stage {
        None | Some(Stage::Done) => tone_of(item.status),
        Some(Stage::Waiting) => Tone::Quiet,
        Some(Stage::Running | Stage::Deferred) => Tone::Notice,
        Some(Stage::Passed) => Tone::Good,
    };
    let word = state_words(item);
    let mut line = format!(
        "{} {}",
        paint.paint(tone, &format!("{word:<13}")),
        paint.paint(Tone::Strong, &shown(item.name.as_str()))
    );
    if let Some(commit) = item.landed_as {
        let _ = write!(line, " as {}", commit.short());
    }
    let says_why = item.has_come_to_its_end() || report.is_dead;
    if let Some(reason) = item.reason.as_deref().filter(|_| says_why) {
        let _ = write!(line, ": {}", shown(reason));
    }
    if item.started_at_ms.is_some() && item.duration_ms > 0 {
        let _ = write!(line, " ({})", duration(item.duration_ms));
    }
    line
}
