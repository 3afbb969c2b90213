//! The items as a table: what became of each and why, and, folded, everything that was found out about it.

use std::fmt::Write as _;

use super::Mode;
use super::look::Look;
use super::markup::{code, escaped, text};
use super::now::log_button_of;
use crate::report::dry_run::DryRun;
use crate::report::json::{AttemptReport, ItemReport, RunReport};
use crate::report::outcome::{gate_words, how_it_ended, runtime_words};
use crate::report::summary::TAIL_LINES;
use crate::vocabulary::event::{ItemGateStatus, JobPurpose};
use crate::wording::{block, duration, ref_name};

/// The look as a sign and a word.
pub fn badge(look: Look) -> String {
    format!("<span class=\"badge {}\">{} {}</span>", look.class(), look.sign(), look.words())
}

pub fn items(report: &RunReport, mode: Mode) -> String {
    let mut out = String::from(
        "<h2>Items</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Item</th><th scope=\"col\">State</th><th scope=\"col\">Why</th><th scope=\"col\" class=\"n\">Time</th></tr></thead><tbody>\n",
    );
    for (at, item) in report.items.iter().enumerate() {
        let took = if item.started_at_ms.is_some() { duration(item.duration_ms) } else { String::new() };
        let _ = writeln!(
            out,
            "<tr id=\"item-{at}\"><td class=\"name\">{}</td><td>{}</td><td class=\"why\">{}</td><td class=\"n\">{took}</td></tr>",
            code(item.name.as_str()),
            badge(Look::of(item)),
            why(report, item, at, mode),
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// A sentence, and the rest folded.
fn why(report: &RunReport, item: &ItemReport, at: usize, mode: Mode) -> String {
    let mut out = text(item.reason.as_deref().unwrap_or_default());
    if let Some(failure) = &item.target_failure {
        out.push_str(&attempt(failure, &format!(" on {}, without any item:", code(&ref_name(&report.target)))));
    }
    if let Some(failure) = &item.failure {
        out.push_str(&attempt(failure, if item.target_failure.is_some() { " with this item:" } else { "" }));
        if let Some(command) = &item.reproduce {
            let _ = write!(out, "<div>reproduce {}</div>", code(command));
        }
    }
    if mode == Mode::Live {
        let name = text(item.name.as_str());
        let _ = write!(
            out,
            " <button type=\"button\" data-why=\"{at}\" data-key=\"why-{at}\" data-title=\"{name}\" aria-label=\"why {name}\">why</button>"
        );
    }
    let _ = write!(out, "<details><summary>{}</summary>\n<ul>\n", folded(item));
    let _ =
        writeln!(out, "<li>branch {} at {}, by {}</li>", code(&item.branch), code(&item.head.short()), item.strategy);
    if !item.deps.is_empty() {
        let deps: Vec<String> = item
            .deps
            .iter()
            .map(|dep| {
                format!(
                    "{}{}",
                    code(dep.as_str()),
                    if item.implied.contains(dep) { " (its head is in this branch)" } else { "" }
                )
            })
            .collect();
        let _ = writeln!(out, "<li>after {}</li>", deps.join(", "));
    }
    if let Some(cone) = &item.cone {
        let _ =
            writeln!(out, "<li>judged on {}, tree {}</li>", code(&cone.commit.short()), code(&cone.tree.to_string()));
    }
    if let Some(commit) = &item.landed_as {
        let _ = writeln!(out, "<li>landed as {}</li>", code(&commit.to_string()));
    }
    for gate in &item.gates {
        let by = gate.runtime.as_ref().map(|ran_by| format!(" by {}", text(&runtime_words(ran_by))));
        let (name, by) = (code(gate.name.as_str()), by.unwrap_or_default());
        let _ = write!(out, "<li>gate {name}{by}: {}", gate_words(gate));
        if let Some(run) = &gate.earlier_run {
            let _ = write!(out, ", known from run {}", code(run.as_str()));
        }
        let _ = write!(out, "; {}", code(&gate.run));
        for (nth, attempt) in (1..).zip(&gate.attempts) {
            let how = how_it_ended(&attempt.run);
            let run = &attempt.run;
            let button = log_button_of(run.job.0, run.attempt, run.gate.as_str(), mode);
            let _ =
                write!(out, "<br>attempt {nth}{}: {}, log {}{button}", purpose_of(attempt), text(&how), code(&run.log));
        }
        out.push_str("</li>\n");
    }
    for without in &item.without_item {
        let how = how_it_ended(&without.run);
        let _ = writeln!(out, "<li>{} without this item: {}</li>", code(without.run.gate.as_str()), text(&how));
    }
    out.push_str("</ul></details>");
    out
}

/// Why a gate was run once more.
fn purpose_of(attempt: &AttemptReport) -> &'static str {
    if matches!(attempt.purpose, JobPurpose::SecondOpinion { .. }) { ", a second opinion" } else { "" }
}

fn folded(item: &ItemReport) -> String {
    let passed = |status: ItemGateStatus| matches!(status, ItemGateStatus::Passed | ItemGateStatus::Flaky);
    let of = item.gates.len();
    match of {
        0 => "no gates".to_owned(),
        _ => format!("{} of {} gates passed", item.gates.iter().filter(|gate| passed(gate.status)).count(), of),
    }
}

/// The end of a failure's output, and where the rest lies.
fn attempt(attempt: &AttemptReport, on: &str) -> String {
    let run = &attempt.run;
    let tail = block(&run.tail);
    let lines: Vec<&str> = tail.lines().collect();
    let end = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    let log = if run.log.is_empty() { String::new() } else { format!("<div>log {}</div>", code(&run.log)) };
    format!("<div>{}{on} {}</div><pre>{}</pre>{log}", code(run.gate.as_str()), text(&how_it_ended(run)), escaped(&end))
}

pub fn planned(report: &DryRun) -> String {
    let mut out = String::from(
        "<h2>Items</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Item</th><th scope=\"col\">Would be</th><th scope=\"col\">Why</th><th scope=\"col\">After</th><th scope=\"col\">Gates</th></tr></thead><tbody>\n",
    );
    for (at, item) in report.items.iter().enumerate() {
        let deps: Vec<String> = item.item.deps.iter().map(|dep| code(dep.as_str())).collect();
        let gates =
            item.cone.as_ref().map(|cone| cone.gates.iter().map(|gate| code(gate.as_str())).collect::<Vec<_>>());
        let would = badge(Look::of_planned(item));
        let _ = writeln!(
            out,
            "<tr id=\"item-{at}\"><td class=\"name\">{}</td><td>{would}</td><td class=\"why\">{}</td><td class=\"name\">{}</td><td>{}</td></tr>",
            code(item.item.name.as_str()),
            item.remark().as_deref().map(text).unwrap_or_default(),
            deps.join(", "),
            gates.unwrap_or_default().join(", ")
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}
