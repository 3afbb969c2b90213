//! The landings as a table, each with its receipt folded beneath it: what landed, made of what, and which passes prove
//! its tree, or who overrode what did not pass.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::look::Look;
use super::markup::{code, text};
use super::table::badge;
use crate::report::json::{ItemReport, Landing, ProvenBy, RunReport};
use crate::report::outcome::{at, runtime_words};
use crate::vocabulary::names::ItemName;
use crate::wording::{count, duration, ref_name};

/// Rows of a receipt's list at most: the file has the rest, and a page that is passed on stays one that opens.
const MOST_ROWS: usize = 500;

/// Of the table.
const COLUMNS: usize = 4;

pub(super) fn landings(report: &RunReport) -> String {
    if report.landings.is_empty() {
        return String::new();
    }
    let by_name: HashMap<&ItemName, &ItemReport> = report.items.iter().map(|item| (&item.name, &**item)).collect();
    let mut out = String::from(
        "<h2>Landings</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Tree</th><th scope=\"col\">Items</th></tr></thead><tbody>\n",
    );
    for (at, landing) in report.landings.iter().enumerate() {
        let items: Vec<String> = landing.items.iter().map(|item| code(item.as_str())).collect();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"name\">{}{}</td></tr>\n<tr id=\"receipt-{at}\"><td colspan=\"{COLUMNS}\">{}</td></tr>",
            code(&landing.from.short()),
            code(&landing.to.short()),
            code(&landing.tree.to_string()),
            items.join(", "),
            report.overridden_by(landing).map(|_| format!(" {}", badge(Look::Overridden))).unwrap_or_default(),
            receipt(report, landing, &by_name)
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn receipt(report: &RunReport, landing: &Landing, by_name: &HashMap<&ItemName, &ItemReport>) -> String {
    let overridden = report.overridden_by(landing);
    let stands_on = match overridden {
        Some(_) => "overridden".to_owned(),
        None => format!("proven by {}", count(landing.proof.len(), "gate")),
    };
    let mut out =
        format!("<details><summary>Receipt: {}, {stands_on}</summary>\n<ul>\n", count(landing.items.len(), "item"));
    if let Some(overridden) = overridden {
        let _ = writeln!(out, "<li>no proof: {}</li>", text(&overridden.to_string()));
    }
    let mut fact = |what: &str, value: &str| {
        let _ = writeln!(out, "<li>{what} {}</li>", code(value));
    };
    fact("plan digest", &report.plan_digest.to_string());
    fact("target", &ref_name(&report.target));
    if let Some(base) = &landing.base {
        fact("base", &base.to_string());
    }
    fact("moved from", &landing.from.to_string());
    fact("composite", &landing.to.to_string());
    fact("tree", &landing.tree.to_string());
    if !landing.landed_before.is_empty() {
        let before = count(landing.landed_before.len(), "item");
        fact("merged before them, and landed already:", &before);
    }
    if let Some(remote) = &landing.pushed_to {
        fact("pushed to", remote);
    }
    if let Some(file) = &landing.receipt {
        fact("kept in", file);
        let verify = code(&format!("lexpr verify {}", report.run));
        let _ = writeln!(out, "<li>{verify} makes the composite again, and holds the file against it</li>");
    }
    out.push_str("</ul>\n");
    let items: Vec<_> = landing.items.iter().filter_map(|name| by_name.get(name)).collect();
    let items = items.into_iter().map(|item| {
        let strategy = item.strategy.to_string();
        vec![code(item.name.as_str()), code(&item.branch), code(&item.head.to_string()), strategy]
    });
    table(&mut out, &["Item", "Branch", "Head", "Strategy"], items);
    let gates = landing.proof.iter().map(|proven| {
        let log = proven.log.as_deref().map(code).unwrap_or_default();
        let digest = proven.log_digest.map(|digest| code(&digest.to_string())).unwrap_or_default();
        let gate = proven.gate.as_ref().map_or_else(|| "not named".to_owned(), |gate| code(gate.as_str()));
        vec![gate, verdict(proven), log, digest]
    });
    table(&mut out, &["Gate", "Verdict", "Log", "Digest of the log"], gates);
    out.push_str("</details>");
    out
}

/// How it came to be known that the gate passes.
fn verdict(proven: &ProvenBy) -> String {
    let mut words = format!("passed after {}", duration(proven.duration_ms));
    if proven.flaky {
        words.push_str(", having failed on the same tree");
    }
    if let Some(run) = &proven.earlier_run {
        let _ = write!(words, ", known from run {run}");
    }
    if proven.by_inputs {
        words.push_str(", by its inputs alone");
    }
    if proven.warm_slot {
        words.push_str(", in a slot kept warm");
    }
    if let Some(ran_by) = &proven.runtime {
        let _ = write!(words, ", by {}{}", runtime_words(ran_by), at(proven.node.as_deref(), None));
    }
    text(&words)
}

fn table(out: &mut String, heads: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    out.push_str("<table><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    let more = rows.len().saturating_sub(MOST_ROWS);
    for cells in rows.take(MOST_ROWS) {
        let _ = writeln!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
    }
    if more > 0 {
        let _ = writeln!(out, "<tr><td colspan=\"{}\">{more} more, in the receipt's file</td></tr>", heads.len());
    }
    out.push_str("</tbody></table>\n");
}
