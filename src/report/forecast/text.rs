//! The forecast for a terminal.

use std::fmt::Write as _;

use super::{Clash, ForecastReport};
use crate::report::dry_run::DryRunItem;
use crate::vocabulary::names::ItemName;
use crate::wording::{Paint, Tone, count, duration, list, shown};

/// Up to so many items are drawn as a matrix; of more, only those that clash are listed.
const MOST_IN_MATRIX: usize = 16;

/// Names are cut to so many characters beside the matrix.
const NAME_COLUMN: usize = 24;

/// Clashes, items that would not land, hotspots and places of a clash that are listed: the JSON has all.
const MOST_CLASHES: usize = 40;
const MOST_ITEMS: usize = 20;
const MOST_HOTSPOTS: usize = 10;
const MOST_PLACES: usize = 4;

pub(super) fn render(report: &ForecastReport, paint: Paint) -> String {
    let mut out = String::new();
    let tone = if report.dry_run.is_clean() { Tone::Good } else { Tone::Bad };
    let _ = writeln!(out, "{}", paint.paint(tone, &report.dry_run.headline()));
    merges(&mut out, report, paint);
    clashes(&mut out, report, paint);
    hotspots(&mut out, report, paint);
    order(&mut out, report, paint);
    cost(&mut out, report, paint);
    let took = duration(report.dry_run.duration_ms);
    let _ = writeln!(out, "\nlooked at in {took}; nothing was written to the repository");
    out
}

fn heading(out: &mut String, paint: Paint, text: &str) {
    let _ = writeln!(out, "\n{}", paint.paint(Tone::Strong, text));
}

/// What the merges of cones and apexes came to.
fn merges(out: &mut String, report: &ForecastReport, paint: Paint) {
    heading(out, paint, &format!("Merges: {}", report.composites()));
    let apart: Vec<&DryRunItem> = report.dry_run.items.iter().filter(|item| !item.would_land()).collect();
    for item in apart.iter().take(MOST_ITEMS) {
        let what = paint.paint(Tone::Bad, &format!("{} {}", item.forecast.words(), shown(item.item.name.as_str())));
        let why = item.why().map(|why| format!(": {}", shown(&why))).unwrap_or_default();
        let _ = writeln!(out, "  {what}{why}");
    }
    if let more @ 1.. = apart.len().saturating_sub(MOST_ITEMS) {
        let _ = writeln!(out, "  and {more} more (--format json has all)");
    }
    for apex in report.apexes() {
        let _ = writeln!(out, "  {apex}");
    }
}

fn clashes(out: &mut String, report: &ForecastReport, paint: Paint) {
    let pairs = &report.outlook.pairs;
    let compared = count(pairs.compared as usize, "pair");
    heading(out, paint, &format!("Clashes: {} of {compared} that may meet", pairs.clashing));
    let items: Vec<&DryRunItem> = report.open_items().collect();
    if items.len() <= MOST_IN_MATRIX && pairs.clashing > 0 {
        matrix(out, report, &items, paint);
    }
    for clash in report.outlook.clashes.iter().take(MOST_CLASHES) {
        clash_lines(out, clash, paint);
    }
    if let more @ 1.. = report.outlook.clashes.len().saturating_sub(MOST_CLASHES) {
        let _ = writeln!(out, "  and {more} more (--format json has all)");
    }
    if !pairs.apart.is_empty() {
        let apart = list(pairs.apart.iter().map(ItemName::as_str));
        let _ = writeln!(out, "  in no pair, as they do not merge by themselves or change nothing: {apart}");
    }
    for (first, second) in &pairs.undecided {
        let _ = writeln!(out, "  git breaks down on {} and {}", shown(first.as_str()), shown(second.as_str()));
    }
    if pairs.is_cut {
        let _ = writeln!(out, "  more pairs than these may meet: those of the last items were left out");
    }
}

/// `x` where two clash, `i` where they inherit it, `d` where one depends on the other.
fn matrix(out: &mut String, report: &ForecastReport, items: &[&DryRunItem], paint: Paint) {
    let names: Vec<String> = items.iter().map(|item| cut(&shown(item.item.name.as_str()))).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let number = items.len().to_string().len();
    let _ = write!(out, "  {:number$} {:width$}", "", "");
    for column in 1..=items.len() {
        let _ = write!(out, " {column:>number$}");
    }
    out.push('\n');
    for (row, (item, name)) in items.iter().zip(&names).enumerate() {
        let _ = write!(out, "  {:>number$} {name:width$}", row + 1);
        for other in items {
            let (sign, tone) = match report.clash(&item.item.name, &other.item.name) {
                Some(Clash { inherited_from: Some(_), .. }) => ("i", Tone::Notice),
                Some(_) => ("x", Tone::Bad),
                None if item.item.deps.contains(&other.item.name) || other.item.deps.contains(&item.item.name) => {
                    ("d", Tone::Quiet)
                }
                None => (".", Tone::Quiet),
            };
            let _ = write!(out, " {:>pad$}{}", "", paint.paint(tone, sign), pad = number - 1);
        }
        out.push('\n');
    }
    let _ = writeln!(out, "  x clash, i clash of what they build on, d dependency, . none\n");
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_COLUMN {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(NAME_COLUMN - 1).collect();
    short.push('…');
    short
}

fn clash_lines(out: &mut String, clash: &Clash, paint: Paint) {
    let (first, second) = (shown(clash.first.as_str()), shown(clash.second.as_str()));
    let pair = format!("{first} x {second}");
    if let Some((one, other)) = &clash.inherited_from {
        let from = format!("as {} x {}", shown(one.as_str()), shown(other.as_str()));
        let _ = writeln!(out, "  {}", paint.paint(Tone::Quiet, &format!("{pair}: {from}")));
        return;
    }
    let _ = writeln!(out, "  {}: {}", paint.paint(Tone::Bad, &pair), clash.place_words(MOST_PLACES).join("; "));
}

fn hotspots(out: &mut String, report: &ForecastReport, paint: Paint) {
    let hotspots = &report.outlook.hotspots;
    if hotspots.is_empty() {
        return;
    }
    heading(out, paint, &format!("Hotspots: {} changed by more than one item", count(hotspots.len(), "path")));
    for hotspot in hotspots.iter().take(MOST_HOTSPOTS) {
        let clashes = match hotspot.clashes {
            0 => String::new(),
            1 => ", 1 clash".to_owned(),
            more => format!(", {more} clashes"),
        };
        let items = list(hotspot.items.iter().map(ItemName::as_str));
        let _ = writeln!(out, "  {}: {}{clashes}: {items}", shown(&hotspot.path), count(hotspot.items.len(), "item"));
    }
    if let more @ 1.. = hotspots.len().saturating_sub(MOST_HOTSPOTS) {
        let _ = writeln!(out, "  and {more} more");
    }
}

fn order(out: &mut String, report: &ForecastReport, paint: Paint) {
    let sentences = report.outlook.order.sentences();
    if sentences.is_empty() {
        return;
    }
    heading(out, paint, "Order");
    for sentence in sentences {
        let _ = writeln!(out, "  {sentence}");
    }
}

fn cost(out: &mut String, report: &ForecastReport, paint: Paint) {
    let cost = &report.outlook.cost;
    if cost.strategies.is_empty() {
        return;
    }
    heading(out, paint, &format!("Cost, with {}", count(report.dry_run.max_workers as usize, "worker")));
    let names: Vec<String> = cost.strategies.iter().map(|strategy| cost.words(strategy.strategy)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (strategy, name) in cost.strategies.iter().zip(&names) {
        let mut notes = Vec::new();
        if strategy.strategy == cost.landing {
            notes.push("as the plan has it".to_owned());
        }
        if Some(strategy.strategy) == cost.cheapest {
            notes.push(format!("cheapest: {}", cost.spend.words()));
        }
        let line = format!(
            "  {name:<width$} {:>7.1} gate runs, {} of gates, done in {}{}{}",
            strategy.gate_runs,
            duration(strategy.gate_ms),
            duration(strategy.makespan_ms),
            if notes.is_empty() { "" } else { "; " },
            notes.join("; ")
        );
        let tone = if Some(strategy.strategy) == cost.cheapest { Tone::Good } else { Tone::Quiet };
        let _ = writeln!(out, "{}", paint.paint(tone, &line));
    }
    if let Some(strategy) = cost.strategies.first().filter(|strategy| strategy.confirmations >= 0.05) {
        let _ = writeln!(out, "  and about {:.1} second opinions on failures", strategy.confirmations);
    }
    let _ = writeln!(out, "  {}", cost.basis());
    let _ = writeln!(out, "  {}", cost.grounds());
    let _ = writeln!(out, "  {} known already", count(report.outlook.known_verdicts as usize, "verdict"));
    for line in report.dry_run.unknown() {
        let _ = writeln!(out, "  {line}");
    }
    let path: Vec<String> = cost.critical_path.items.iter().map(|name| shown(name.as_str()).into_owned()).collect();
    if !path.is_empty() {
        let _ = writeln!(out, "  critical path: {}, {}", arrows(&path), duration(cost.critical_path.ms));
    }
}

/// `a -> b -> c`, without the middle of a long one.
fn arrows(path: &[String]) -> String {
    /// As many as a line holds.
    const MOST: usize = 8;
    if path.len() <= MOST {
        return path.join(" -> ");
    }
    let (first, last) = (&path[..MOST / 2], &path[path.len() - MOST / 2..]);
    format!("{} -> ({} more) -> {}", first.join(" -> "), path.len() - MOST, last.join(" -> "))
}
