//! The forecast as one page that needs nothing else: no script, no font, no picture from elsewhere. Names and
//! paths are other people's text, and every one goes through [`text`].

use std::fmt::Write as _;

use super::{Clash, ForecastReport, place_words};
use crate::report::dry_run::DryRunItem;
use crate::report::html::markup::text;
use crate::report::html::still_page;
use crate::vocabulary::names::ItemName;
use crate::wording::{count, duration, ref_name};

/// Of more items that clash, the matrix is left out: nobody reads it, and it grows with their square.
const MOST_IN_MATRIX: usize = 100;

/// In a browser's own colours and fonts, dark where the reader's are.
const STYLE: &str = "\
:root{color-scheme:light dark;--bad:#b3261e;--badback:#f9dedc;--warn:#7a5900;--warnback:#ffefc7;--line:#8884;--good:#146c2e}\
@media(prefers-color-scheme:dark){:root{--bad:#ffb4ab;--badback:#601410;--warn:#ffdf9b;--warnback:#4a3800;--good:#7ddc93}}\
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}\
table{border-collapse:collapse;margin:1rem 0}caption{text-align:left;padding:.25rem 0}\
th,td{border:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.scroll{overflow-x:auto}.matrix td,.matrix thead th{text-align:center;min-width:1.5rem}.matrix tbody th{white-space:nowrap}\
.clash{background:var(--badback)}.clash a{color:var(--bad);font-weight:bold}\
.heir{background:var(--warnback)}.heir a{color:var(--warn)}\
a{color:inherit}a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:3px solid;outline-offset:2px}\
code{overflow-wrap:anywhere}.good{color:var(--good);font-weight:bold}.bad{color:var(--bad);font-weight:bold}\
tr:target{outline:3px solid}";

pub(super) fn render(report: &ForecastReport) -> String {
    let dry_run = &report.dry_run;
    let title = format!("Forecast: {}", dry_run.headline());
    let mut out = format!(
        "<h1>{}</h1>\n\
         <p>Plan <code>{}</code> on <code>{}</code> at <code>{}</code>. Nothing was written to the repository.</p>\n",
        text(&title),
        text(&dry_run.plan),
        text(&ref_name(&dry_run.target)),
        dry_run.base.short(),
    );
    clashes(&mut out, report);
    hotspots(&mut out, report);
    order(&mut out, report);
    cost(&mut out, report);
    items(&mut out, report);
    still_page(&title, STYLE, &out)
}

fn name(item: &ItemName) -> String {
    format!("<code>{}</code>", text(item.as_str()))
}

fn names<'a>(items: impl IntoIterator<Item = &'a ItemName>) -> String {
    items.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

fn clashes(out: &mut String, report: &ForecastReport) {
    let pairs = &report.outlook.pairs;
    let _ = writeln!(
        out,
        "<h2 id=\"clashes\">Clashes</h2>\n<p>{} of {} that may meet clash.</p>",
        pairs.clashing,
        count(pairs.compared as usize, "pair")
    );
    if report.outlook.clashes.is_empty() {
        return notes(out, report);
    }
    let in_clash = |item: &&DryRunItem| {
        let name = &item.item.name;
        report.outlook.clashes.iter().any(|clash| &clash.first == name || &clash.second == name)
    };
    let clashing: Vec<&DryRunItem> = report.open_items().filter(in_clash).collect();
    if clashing.len() <= MOST_IN_MATRIX {
        matrix(out, report, &clashing);
    }
    out.push_str(
        "<table>\n<caption>Each clash, with the lines of the first, as merged onto the target, against those of the \
         second</caption>\n<thead><tr><th scope=\"col\">First<th scope=\"col\">Second<th scope=\"col\">Where</tr></thead>\n<tbody>\n",
    );
    for (number, clash) in report.outlook.clashes.iter().enumerate() {
        let places = match &clash.inherited_from {
            Some((one, other)) => format!("as {} and {}", name(one), name(other)),
            None => clash.places.iter().map(|place| text(&place_words(place))).collect::<Vec<_>>().join("<br>"),
        };
        let (first, second) = (name(&clash.first), name(&clash.second));
        let _ = writeln!(out, "<tr id=\"clash-{number}\"><td>{first}<td>{second}<td>{places}</tr>");
    }
    out.push_str("</tbody>\n</table>\n");
    notes(out, report);
}

fn notes(out: &mut String, report: &ForecastReport) {
    let pairs = &report.outlook.pairs;
    if !pairs.apart.is_empty() {
        let apart = names(&pairs.apart);
        let _ = writeln!(out, "<p>In no pair, as they do not merge by themselves or change nothing: {apart}.</p>");
    }
    for (first, second) in &pairs.undecided {
        let _ = writeln!(out, "<p>git breaks down on {} and {}.</p>", name(first), name(second));
    }
    if pairs.is_cut {
        out.push_str("<p>More pairs than these may meet: those of the last items were left out.</p>\n");
    }
}

/// Every clash is a link to its row in the list: a keyboard goes from one to the next.
fn matrix(out: &mut String, report: &ForecastReport, items: &[&DryRunItem]) {
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Matrix of clashes\">\n\
         <table class=\"matrix\">\n<caption>x clash, i clash of what they build on, d dependency</caption>\n<thead><tr><td>",
    );
    for (column, item) in items.iter().enumerate() {
        let title = text(item.item.name.as_str());
        let _ = write!(out, "<th scope=\"col\" title=\"{title}\">{}", column + 1);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    let position = |of: &Clash| report.outlook.clashes.iter().position(|clash| std::ptr::eq(clash, of));
    for (row, item) in items.iter().enumerate() {
        let _ = write!(out, "<tr><th scope=\"row\">{} {}", row + 1, name(&item.item.name));
        for other in items {
            match report.clash(&item.item.name, &other.item.name) {
                Some(clash) => {
                    let (class, sign) = if clash.inherited_from.is_some() { ("heir", "i") } else { ("clash", "x") };
                    let what = text(&format!("{} and {} clash", clash.first, clash.second));
                    let number = position(clash).unwrap_or_default();
                    let _ = write!(
                        out,
                        "<td class=\"{class}\"><a href=\"#clash-{number}\" aria-label=\"{what}\" title=\"{what}\">{sign}</a>"
                    );
                }
                None if item.item.deps.contains(&other.item.name) || other.item.deps.contains(&item.item.name) => {
                    out.push_str("<td>d");
                }
                None => out.push_str("<td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn hotspots(out: &mut String, report: &ForecastReport) {
    let hotspots = &report.outlook.hotspots;
    if hotspots.is_empty() {
        return;
    }
    out.push_str(
        "<h2 id=\"hotspots\">Hotspots</h2>\n<table>\n<caption>Paths that more than one item changes</caption>\n\
         <thead><tr><th scope=\"col\">Path<th scope=\"col\" class=\"n\">Items<th scope=\"col\" class=\"n\">Clashes\
         <th scope=\"col\">Which</tr></thead>\n<tbody>\n",
    );
    for hotspot in hotspots {
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code><td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            text(&hotspot.path),
            hotspot.items.len(),
            hotspot.clashes,
            names(&hotspot.items)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

fn order(out: &mut String, report: &ForecastReport) {
    let advice = &report.outlook.order;
    let sentences = advice.sentences();
    if sentences.is_empty() {
        return;
    }
    let sentences: Vec<String> = sentences.iter().map(|sentence| text(sentence)).collect();
    let _ = writeln!(out, "<h2 id=\"order\">Order</h2>\n<p>{}</p>", sentences.join("<br>"));
    if let Some(better) = &advice.suggestion {
        out.push_str("<details>\n<summary>The order that these priorities give</summary>\n<ol>\n");
        for item in &better.order {
            let _ = writeln!(out, "<li>{}", name(item));
        }
        out.push_str("</ol>\n</details>\n");
    }
}

fn cost(out: &mut String, report: &ForecastReport) {
    let cost = &report.outlook.cost;
    if cost.strategies.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<h2 id=\"cost\">Cost</h2>\n<table>\n<caption>Expected with {}</caption>\n<thead><tr><th scope=\"col\">Strategy\
         <th scope=\"col\" class=\"n\">Gate runs<th scope=\"col\" class=\"n\">Time of gates\
         <th scope=\"col\" class=\"n\">Done in<th scope=\"col\">Notes</tr></thead>\n<tbody>",
        count(report.dry_run.max_workers as usize, "worker")
    );
    for strategy in &cost.strategies {
        let cheapest = Some(strategy.strategy) == cost.cheapest;
        let mut notes = Vec::new();
        if strategy.strategy == cost.landing {
            notes.push("as the plan has it".to_owned());
        }
        if cheapest {
            notes.push(format!("<span class=\"good\">cheapest</span>: {}", cost.spend.words()));
        }
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}<td class=\"n\">{:.1}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            cost.words(strategy.strategy),
            strategy.gate_runs,
            duration(strategy.gate_ms),
            duration(strategy.makespan_ms),
            notes.join("; ")
        );
    }
    let _ = writeln!(
        out,
        "</tbody>\n</table>\n<p>These are {}; {}. {} known already.</p>",
        cost.basis(),
        cost.grounds(),
        count(report.outlook.known_verdicts as usize, "verdict")
    );
    for line in report.dry_run.unknown() {
        let _ = writeln!(out, "<p>{}</p>", text(&line));
    }
    if let Some(strategy) = cost.strategies.first().filter(|strategy| strategy.confirmations >= 0.05) {
        let _ = writeln!(out, "<p>About {:.1} second opinions on failures besides.</p>", strategy.confirmations);
    }
    if !cost.critical_path.items.is_empty() {
        let path: Vec<String> = cost.critical_path.items.iter().map(name).collect();
        let took = duration(cost.critical_path.ms);
        let _ = writeln!(out, "<p>Critical path, {took}: {}</p>", path.join(" → "));
    }
}

fn items(out: &mut String, report: &ForecastReport) {
    out.push_str(
        "<h2 id=\"items\">Items</h2>\n<table>\n<caption>If every gate passed</caption>\n<thead><tr><th scope=\"col\" \
         class=\"n\">Level<th scope=\"col\">Item<th scope=\"col\">Forecast<th scope=\"col\">Why<th scope=\"col\">After\
         </tr></thead>\n<tbody>\n",
    );
    for (level, items) in report.dry_run.levels() {
        for item in items {
            let class = if item.would_land() { "good" } else { "bad" };
            let _ = writeln!(
                out,
                "<tr><td class=\"n\">{level}<td>{}<td class=\"{class}\">{}<td>{}<td>{}</tr>",
                name(&item.item.name),
                item.forecast.words(),
                text(&item.why().unwrap_or_default()),
                names(&item.item.deps)
            );
        }
    }
    let _ = writeln!(out, "</tbody>\n</table>\n<p>Merged for that: {}.</p>", text(&report.composites()));
    for apex in report.apexes() {
        let _ = writeln!(out, "<p>{}</p>", text(&apex));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_never_markup_nor_ends_an_attribute() {
        assert_eq!(text("<b>'x'&\"y\"\u{202e}\n"), "&lt;b&gt;&#39;x&#39;&amp;&quot;y&quot;\\u{202e}\\n");
    }
}
