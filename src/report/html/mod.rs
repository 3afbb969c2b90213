//! A report as one page that needs nothing else: no script, no font, no picture from elsewhere. The pyramid, who was at
//! work when, and for each item why it is what it is, with its gates and the ends of their logs.
//!
//! The parts are made one by one, as the live page shows them, too.

mod labels;
mod landings;
mod layout;
pub mod look;
pub mod markup;
mod now;
mod pyramid;
mod style;
mod table;
mod timeline;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

pub use style::STYLE;

use serde::Serialize;

use super::dry_run::DryRun;
use super::forecast::OutlookInShort;
use super::json::RunReport;
use super::summary::{around_elapsed, facts, headline};
use super::{Report, command};
use crate::vocabulary::names::ItemName;
use crate::wording::{block, count, ref_name};
use look::Look;
use markup::{code, escaped, text, with_code};
use pyramid::Node;

/// The whole page. Ends with a newline.
pub fn render(report: &Report) -> String {
    match report {
        Report::Execute(report) => still_page(&headline(report), STYLE, &run(report)),
        Report::DryRun(report) => still_page(&report.headline(), STYLE, &dry_run(report)),
    }
}

/// A page that is a file: it loads nothing.
pub fn still_page(title: &str, style: &str, body: &str) -> String {
    page(title, "default-src 'none'; style-src 'unsafe-inline'", style, "", body)
}

/// A page around `body`, under a policy of what it may load; `head` is markup that goes into its head.
pub fn page(title: &str, policy: &str, style: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <title>{}</title>\n<style>{style}</style>\n{head}</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        text(title)
    )
}

/// One part of a page: a section with this id.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub id: &'static str,
    pub html: String,
}

/// Whether somebody can be asked for more than the page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A file: all that there is to say is in it.
    Still,
    /// Served by the run itself.
    Live,
}

/// The parts of a run's page, in their order.
pub fn parts(report: &RunReport, mode: Mode) -> Vec<Part> {
    vec![
        Part { id: "summary", html: summary(report, mode) },
        Part { id: "now", html: now::running(report, mode) },
        Part { id: "pyramid", html: pyramid_of(report, mode) },
        Part { id: "timeline", html: timeline_of(report) },
        Part { id: "items", html: table::items(report, mode) },
        Part { id: "landings", html: landings::landings(report) },
    ]
}

fn run(report: &RunReport) -> String {
    let mut out = String::new();
    for part in parts(report, Mode::Still).iter().filter(|part| !part.html.is_empty()) {
        let _ = writeln!(out, "<section id=\"{}\">\n{}</section>", part.id, part.html);
    }
    let _ = writeln!(
        out,
        "<p>Made by lexpr {} with {}.</p>",
        text(&report.lexpr_version),
        code(&format!("lexpr report {} --format html", report.run))
    );
    out
}

fn summary(report: &RunReport, mode: Mode) -> String {
    let (before, after) = around_elapsed(report);
    let mut out = format!("<h1>{}{}{}</h1>\n", text(&before), now::elapsed(report, mode), text(&after));
    let state = match (report.finished, report.exit_code) {
        (true, Some(code)) => format!("ended with exit code {code}"),
        _ if report.is_dead => "was cut off".to_owned(),
        _ => "goes on".to_owned(),
    };
    let _ = writeln!(
        out,
        "<p>{} {} {state}: {}, in {}.</p>",
        if report.urgent { "The urgent run" } else { "The run" },
        code(report.run.as_str()),
        code(&command::of_run(report)),
        code(if report.directory.is_empty() { &report.repository } else { &report.directory })
    );
    let _ = writeln!(out, "<p class=\"next\"><strong>Next:</strong> {}</p>\n<ul>", with_code(&report.next));
    if let Some(halt) = &report.halted {
        let lines = escaped(&block(&halt.message)).replace('\n', "<br>");
        let _ = writeln!(out, "<li>The run could not go on: {lines}</li>");
    }
    for fact in facts(report) {
        let _ = writeln!(out, "<li>{}</li>", with_code(&fact));
    }
    out.push_str("</ul>\n");
    out.push_str(&now::gauges(report, mode));
    out
}

fn positions<'a>(names: impl Iterator<Item = &'a ItemName>) -> HashMap<&'a ItemName, usize> {
    names.enumerate().map(|(at, name)| (name, at)).collect()
}

fn pyramid_of(report: &RunReport, mode: Mode) -> String {
    let places = positions(report.items.iter().map(|item| &item.name));
    let nodes: Vec<Node<'_>> = report
        .items
        .iter()
        .map(|item| Node {
            name: item.name.as_str(),
            level: item.level,
            deps: item.deps.iter().filter_map(|dep| places.get(dep).copied()).collect(),
            look: Look::of(item),
            why: item.reason.clone().unwrap_or_default(),
        })
        .collect();
    let top = format!(
        "{} at {}: {} landed{}",
        ref_name(&report.target),
        report.tip.short(),
        count(report.summary.successful, "item"),
        match report.summary.overridden {
            0 => String::new(),
            overridden => format!(", {overridden} of them overridden"),
        }
    );
    pyramid_part(&nodes, &top, mode)
}

fn pyramid_part(nodes: &[Node<'_>], top: &str, mode: Mode) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    // The live page's script does it there, and its parts are sent again and again.
    let lights = if mode == Mode::Still { pyramid::lights(nodes) } else { String::new() };
    let looks: BTreeSet<Look> = nodes.iter().map(|node| node.look).collect();
    let lines = match pyramid::lines_in_words(nodes).as_str() {
        "" => String::new(),
        words => format!("<p>{words}</p>\n"),
    };
    let legend: Vec<String> = looks.into_iter().map(table::badge).collect();
    format!(
        "<h2>Pyramid</h2>\n<p>{}</p>\n{lines}<p class=\"skip\"><a href=\"#items\">Past the picture, to the same as a table</a></p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Picture of the pyramid\">\n{}</div>\n",
        legend.join(" "),
        pyramid::svg(nodes, top, &lights)
    )
}

fn timeline_of(report: &RunReport) -> String {
    let svg = timeline::svg(report);
    if svg.is_empty() {
        return svg;
    }
    let overridden = if report.summary.overridden > 0 { ", dashed ones of what is overridden" } else { "" };
    let pauses = if report.pauses.is_empty() { "" } else { ", dotted ones where a new process took the run up again" };
    let is_elsewhere = report.timeline.iter().any(|job| job.elsewhere.is_some());
    let (heading, nodes) = match is_elsewhere {
        true => {
            ("Workers and nodes", " Nodes have a bar for each gate, those that they had at once beside each other.")
        }
        false => ("Workers", ""),
    };
    format!(
        "<h2>{heading}</h2>\n<p>Each bar is a job: green passed, red failed (✗ where there is room for it), dashed was cut off; thick borders gate what is about to land. Lines from top to bottom are landings{overridden}{pauses}.{nodes}</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Picture of the workers\">\n{svg}</div>\n{}",
        timeline::in_words(report)
    )
}

fn dry_run(report: &DryRun) -> String {
    let places = positions(report.items.iter().map(|item| &item.item.name));
    let nodes: Vec<Node<'_>> = report
        .items
        .iter()
        .map(|item| Node {
            name: item.item.name.as_str(),
            level: item.item.level,
            deps: item.item.deps.iter().filter_map(|dep| places.get(dep).copied()).collect(),
            look: Look::of_planned(item),
            why: item.remark().unwrap_or_default(),
        })
        .collect();
    let top = format!("{} at {}", ref_name(&report.target), report.base.short());
    let outlook = report.outlook.iter().flat_map(OutlookInShort::lines).chain(report.unknown());
    let outlook: String = outlook.map(|line| format!("<li>{}</li>\n", with_code(&line))).collect();
    let outlook = if outlook.is_empty() { outlook } else { format!("<ul>\n{outlook}</ul>\n") };
    format!(
        "<h1>{}</h1>\n<p>A dry run of {} in {}: nothing was written to the repository.</p>\n\
         <p class=\"next\"><strong>Next:</strong> {}</p>\n{outlook}<section id=\"pyramid\">\n{}</section>\n<section id=\"items\">\n{}</section>\n\
         <p>Made by lexpr {} with {}.</p>\n",
        text(&report.headline()),
        code(&report.plan),
        code(&report.repository),
        text(&report.next_step()),
        pyramid_part(&nodes, &top, Mode::Still),
        table::planned(report),
        text(&report.lexpr_version),
        code(&command::of_dry_run(report)),
    )
}
