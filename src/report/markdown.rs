//! The report as Markdown, for step summaries, pull requests and chat.
//!
//! Names, reasons and logs are other people's text: here they are escaped for GitHub-flavoured
//! Markdown (CommonMark with tables and raw HTML), so that none can end a table cell, a code
//! block or the page.

use std::fmt::Write as _;

use super::Report;
use super::dry_run::{DryRun, Forecast, names, set_aside_text};
use super::forecast::OutlookInShort;
use super::json::{ApexOutcome, ApexReport, GateReport, ItemReport, RunReport};
use super::outcome::{gate_words, how_it_ended};
use super::summary::{facts, headline, is_problem, state_words, status_words};
use crate::vocabulary::event::{GateFinished, ItemGateStatus};
use crate::vocabulary::names::GateName;
use crate::wording::{block, count, duration, in_backticks, ref_name, shown};

/// How much of each failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Full,
    WithoutTails,
}

/// The whole report. Ends with a newline.
pub fn render(report: &Report) -> String {
    with_detail(report, Detail::Full)
}

/// As much of the report as `limit` bytes hold: without the logs' tails if need be, and cut at
/// the end of a line, saying so, if even that is too much.
pub fn render_within(report: &Report, limit: usize) -> String {
    const CUT: &str = "\n\n*The rest did not fit; the report file has it.*\n";
    let full = with_detail(report, Detail::Full);
    if full.len() <= limit {
        return full;
    }
    let mut text = with_detail(report, Detail::WithoutTails);
    if text.len() > limit {
        let room = limit.saturating_sub(CUT.len());
        let end = text.as_bytes()[..room].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}

fn with_detail(report: &Report, detail: Detail) -> String {
    match report {
        Report::Execute(run) => run_report(run, detail),
        Report::DryRun(dry) => dry_run(dry),
    }
}

fn run_report(report: &RunReport, detail: Detail) -> String {
    let mut out = format!("# {}\n\n", escape(&headline(report)));
    let state = match (report.finished, report.exit_code) {
        (true, Some(code)) => format!("exit code {code}"),
        _ if report.is_dead => "was cut off".to_owned(),
        _ => "goes on".to_owned(),
    };
    let _ = writeln!(
        out,
        "{} {} of {} on {}: {state}.\n",
        if report.urgent { "Urgent run" } else { "Run" },
        code(report.run.as_str()),
        code(&report.plan),
        code(&report.target)
    );
    if let Some(halt) = &report.halted {
        let lines: Vec<String> = block(&halt.message).lines().map(escape).collect();
        let _ = writeln!(out, "- the run could not go on: {}", lines.join("<br>"));
    }
    for fact in facts(report) {
        let _ = writeln!(out, "- {}", prose(&fact));
    }
    let _ = writeln!(out, "\n**Next:** {}\n", prose(&report.next));
    out.push_str(&items_table(&report.items));
    let problems: Vec<&ItemReport> = report.items.iter().map(Box::as_ref).filter(|item| did_not_land(item)).collect();
    if !problems.is_empty() {
        out.push_str("\n## What did not land\n");
        for item in problems {
            out.push_str(&problem(item, &ref_name(&report.target), detail));
        }
    }
    if report.apexes.iter().any(|apex| apex.number.is_some()) {
        out.push_str("\n## Apexes\n\n| Apex | Items | Outcome | Commit | Probes |\n|---:|---:|---|---|---|\n");
        let newest = report.apexes.iter().filter_map(|apex| apex.number).max();
        for (number, apex) in report.apexes.iter().filter_map(|apex| Some((apex.number?, apex))) {
            let outcome = match apex.outcome {
                ApexOutcome::Landed => "landed".to_owned(),
                ApexOutcome::AlreadyLanded => "landed before".to_owned(),
                ApexOutcome::LandedPart { items } => format!("refuted; its first {} landed", count(items, "item")),
                ApexOutcome::Refuted => "refuted".to_owned(),
                ApexOutcome::Open if is_proven(apex) => "proven, not landed".to_owned(),
                ApexOutcome::Open if !report.finished && Some(number) == newest => "open".to_owned(),
                ApexOutcome::Open => "given up".to_owned(),
            };
            let probes: Vec<String> = apex
                .probes
                .iter()
                .map(|probe| {
                    let word = match probe.passed {
                        Some(true) => "passed",
                        Some(false) => "failed",
                        None => "open",
                    };
                    format!("first {} {word}", probe.members)
                })
                .collect();
            let commit = apex.commit.map(|commit| code(&commit.short())).unwrap_or_default();
            let _ = writeln!(
                out,
                "| {number} | {} | {outcome} | {commit} | {} |",
                members(apex),
                if probes.is_empty() { "none: proven already".to_owned() } else { probes.join(", ") }
            );
        }
    }
    if detail == Detail::Full {
        out.push_str(&attempts_table(&report.items));
    }
    out
}

/// How many items of it could be merged, of how many.
fn members(apex: &ApexReport) -> String {
    match (apex.items.len(), apex.set_aside.len()) {
        (all, 0) => all.to_string(),
        (all, aside) => format!("{} of {all}, {aside} set aside", all.saturating_sub(aside)),
    }
}

/// Every attempt of every item's gates, with its log; folded, because few look for one that passed.
fn attempts_table(items: &[Box<ItemReport>]) -> String {
    let mut rows = String::new();
    for item in items {
        for gate in &item.gates {
            for (at, attempt) in gate.attempts.iter().enumerate() {
                let _ = writeln!(
                    rows,
                    "| {} | {} | {} | {} | {} |",
                    code(item.name.as_str()),
                    code(gate.name.as_str()),
                    at + 1,
                    escape(&how_it_ended(&attempt.run)),
                    code(&attempt.run.log)
                );
            }
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let head = "| Item | Gate | Attempt | Outcome | Log |\n|---|---|---:|---|---|\n";
    format!(
        "\n<details><summary>Every attempt of an item’s gates, with its log</summary>\n\n{head}{rows}\n</details>\n"
    )
}

fn is_proven(apex: &ApexReport) -> bool {
    apex.probes.iter().any(|probe| probe.passed == Some(true) && probe.members as usize == apex.items.len())
}

fn items_table(items: &[Box<ItemReport>]) -> String {
    let mut out =
        "| # | Item | Status | Why | Gates | Time | Landed as |\n|---:|---|---|---|---|---:|---|\n".to_owned();
    for (at, item) in items.iter().enumerate() {
        let gates: Vec<String> = item.gates.iter().map(gate_cell).collect();
        let time = item.started_at_ms.map(|_| duration(item.duration_ms)).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {time} | {} |",
            at + 1,
            code(item.name.as_str()),
            status_cell(item),
            escape(item.reason.as_deref().unwrap_or_default()),
            gates.join("<br>"),
            item.landed_as.map(|commit| code(&commit.short())).unwrap_or_default(),
        );
    }
    out
}

fn did_not_land(item: &ItemReport) -> bool {
    item.has_come_to_its_end() && is_problem(item.status)
}

fn status_cell(item: &ItemReport) -> String {
    let words = state_words(item);
    if did_not_land(item) { format!("**{words}**") } else { words.to_owned() }
}

fn gate_cell(gate: &GateReport) -> String {
    let word = match gate.status {
        ItemGateStatus::Passed => "passed",
        ItemGateStatus::Flaky => "flaky",
        ItemGateStatus::Failed => "failed",
        ItemGateStatus::Unjudged => "unjudged",
        ItemGateStatus::NotRun => gate_words(gate),
        ItemGateStatus::ApexOnly => "on the apex",
    };
    let optional = if gate.required { "" } else { ", optional" };
    let attempts = match gate.attempts.len() {
        0 | 1 => String::new(),
        more => format!(", {more} attempts"),
    };
    let runtime = gate.runtime.as_ref().map(|by| format!(" by {}", escape(by.name.as_str()))).unwrap_or_default();
    format!("{}{runtime} {word}{optional}{attempts}", code(gate.name.as_str()))
}

fn problem(item: &ItemReport, target: &str, detail: Detail) -> String {
    let mut out = format!(
        "\n### {} {}\n\n{}\n",
        code(item.name.as_str()),
        status_words(item),
        escape(item.reason.as_deref().unwrap_or("no reason was recorded"))
    );
    if let Some(failure) = &item.target_failure {
        out.push_str(&evidence(&failure.run, &format!(" on {}, without any item", code(target)), detail));
    }
    if let Some(failure) = &item.failure {
        let on = if item.target_failure.is_some() { " with this item" } else { "" };
        out.push_str(&evidence(&failure.run, on, detail));
        if let Some(command) = &item.reproduce {
            let _ = writeln!(out, "\nReproduce: {}", code(command));
        }
    }
    out
}

fn evidence(run: &GateFinished, on: &str, detail: Detail) -> String {
    let mut out = format!(
        "\nGate {}{on}, attempt {}: {}. Log: {}\n",
        code(run.gate.as_str()),
        run.attempt,
        escape(&how_it_ended(run)),
        code(&run.log)
    );
    let tail = block(&run.tail);
    if detail == Detail::Full && !tail.is_empty() {
        let fence = "`".repeat(longest_run_of_backticks(&tail).max(2) + 1);
        let _ = write!(out, "\n{fence}text\n{tail}\n{fence}\n");
    }
    out
}

fn dry_run(dry: &DryRun) -> String {
    let mut out = format!("# {}\n\n", escape(&format!("Dry run: {}", dry.headline())));
    let _ = writeln!(
        out,
        "Plan {} on {} at {}. Nothing was written to the repository.\n\n**Next:** {}\n",
        code(&dry.plan),
        code(&ref_name(&dry.target)),
        code(&dry.base.short()),
        escape(&dry.next_step())
    );
    let lines: Vec<String> = dry.outlook.iter().flat_map(OutlookInShort::lines).chain(dry.unknown()).collect();
    for line in &lines {
        let _ = writeln!(out, "- {}", prose(line));
    }
    if !lines.is_empty() {
        out.push('\n');
    }
    out.push_str("| Level | Item | Forecast | Why | After | Gates |\n|---:|---|---|---|---|---|\n");
    for (level, items) in dry.levels() {
        for item in items {
            let gates = item.cone.as_ref().map(|cone| codes(names(&cone.gates))).unwrap_or_default();
            let bad = matches!(item.forecast, Forecast::Conflicted | Forecast::Blocked);
            let forecast = item.forecast.words();
            let _ = writeln!(
                out,
                "| {level} | {} | {} | {} | {} | {gates} |",
                code(item.item.name.as_str()),
                if bad { format!("**{forecast}**") } else { forecast.to_owned() },
                escape(&item.remark().unwrap_or_default()),
                codes(item.item.deps.iter().map(|dep| dep.as_str())),
            );
        }
    }
    let gates = |gates: &[GateName]| if gates.is_empty() { "none".to_owned() } else { codes(names(gates)) };
    for (at, group) in dry.groups.iter().enumerate() {
        let _ = writeln!(
            out,
            "\n## Group {}\n\n{} as {}, tree {}. Gates: {}",
            at + 1,
            codes(group.items.iter().map(|item| item.as_str())),
            code(&group.commit.to_string()),
            code(&group.tree.short()),
            gates(&group.gates),
        );
    }
    for (at, apex) in dry.apexes.iter().enumerate() {
        let _ = writeln!(
            out,
            "\n## Apex {}\n\n{} as {}, tree {}. Gates: {}",
            at + 1,
            count(apex.items.len(), "item"),
            code(&apex.commit.to_string()),
            code(&apex.tree.short()),
            gates(&apex.gates),
        );
        for aside in &apex.set_aside {
            let _ = write!(out, "\n- {} {}", code(aside.item.as_str()), escape(&set_aside_text(aside)));
        }
        if !apex.set_aside.is_empty() {
            out.push('\n');
        }
    }
    out
}

/// Text of others as text: safe to show, on one line, and no character of it is markup or makes
/// a link.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            // Entities for what could start HTML or end a table cell: a backslash before a pipe
            // is not understood alike by all readers.
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' => out.push_str("&#124;"),
            // No mention and no reference to somebody's issue.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out.replace("://", "&#58;//")
}

/// A sentence of lexpr's own, with names of others in it: as text, but for what stands between backticks, which is code.
fn prose(sentence: &str) -> String {
    in_backticks(sentence).map(|(part, is_code)| if is_code { code(part) } else { escape(part) }).collect()
}

/// Text of others as a code span. Where a code span cannot hold it in a table cell (pipes, and
/// backticks, which would need delimiters of their own) it is escaped text instead.
fn code(text: &str) -> String {
    let safe = shown(text);
    if safe.trim().is_empty() {
        String::new()
    } else if safe.contains(['|', '`']) {
        escape(text)
    } else {
        format!("`{safe}`")
    }
}

fn codes<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(code).collect::<Vec<_>>().join(", ")
}

fn longest_run_of_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_never_markup() {
        assert_eq!(escape("a|b <b>*x*</b>\n# `c`"), "a&#124;b &lt;b&gt;\\*x\\*&lt;/b&gt;\\\\n\\# \\`c\\`");
        assert_eq!(code("feature/x_y"), "`feature/x_y`");
        assert_eq!(code("a|b"), "a&#124;b");
        assert_eq!(code("a`b"), "a\\`b");
        assert_eq!(prose("see a_b, then `lexpr resume r_1`."), "see a\\_b, then `lexpr resume r_1`.");
        assert_eq!(prose("a`b`: `lexpr <|` and @b`"), "a\\`b\\`: lexpr &lt;&#124; and &#64;b\\`");
        assert_eq!(longest_run_of_backticks("a ``` b ```` c"), 4);
    }
}
