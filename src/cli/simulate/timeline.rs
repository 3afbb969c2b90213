//! One run of each strategy as a picture: a row for each worker with a bar for each gate run, and beneath what landed
//! when and who went out. SVG that needs nothing else and is read by light and by dark.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::span;
use crate::report::html::markup::text as svg_text;
use crate::simulation::trace::{Composite, Ending, GateRun, Trace};
use crate::simulation::world::World;
use crate::vocabulary::event::Decision;

const ROW: u32 = 26;
const BAR: u32 = 20;
/// Where time begins.
const LEFT: f64 = 72.0;
/// What a usual run of a gate is wide.
const GATE: f64 = 86.0;
const NARROWEST: f64 = 700.0;
/// Characters are about so wide; a picture knows no fonts.
const CHARACTER: f64 = 6.4;

/// What is drawn.
pub(super) struct Timelines<'a> {
    /// In canonical order; empty where they are called by their numbers.
    pub names: Vec<&'a str>,
    pub world: &'a World,
    pub workers: u32,
    pub gate_ms: u64,
    /// Each strategy with a run of it.
    pub traces: Vec<(&'static str, Trace)>,
}

pub(super) fn svg(timelines: &Timelines<'_>) -> String {
    let longest_ms = timelines.traces.iter().map(|(_, trace)| trace.end_ms).max().unwrap_or(0);
    let width = (x_of(longest_ms, timelines.gate_ms) + 24.0).max(NARROWEST);
    let mut body = String::new();
    let mut y = 18;
    for line in head(timelines, width) {
        let _ = writeln!(body, "<text x=\"0\" y=\"{y}\">{}</text>", svg_text(&line));
        y += 18;
    }
    for (name, trace) in &timelines.traces {
        y += 24;
        y = panel(&mut body, timelines, name, trace, y);
    }
    y = legend(&mut body, y + 16);
    let names: Vec<_> = timelines.traces.iter().map(|(name, _)| *name).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {y}\" width=\"{width:.0}\" height=\"{y}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>How {} items land: {}</title>\n\
         <style>text{{fill:#222}}.b{{fill:#fff;text-anchor:middle;font-size:11px}}.n{{font-weight:bold}}.t{{fill:#666}}\
         .g{{stroke:#ccc}}.passed{{fill:#2a6fb0}}.failed{{fill:#b8402a}}.lied{{fill:#8a6100}}.stopped{{fill:#77818c}}\
         .mark{{stroke:#222;stroke-width:2;fill:none}}\n\
         @media (prefers-color-scheme:dark){{text{{fill:#ddd}}.b{{fill:#111}}.t{{fill:#aaa}}.g{{stroke:#444}}\
         .passed{{fill:#6fb1ea}}.failed{{fill:#f08f7a}}.lied{{fill:#e3b341}}.stopped{{fill:#97a1ac}}.mark{{stroke:#ddd}}}}\
         </style>\n{body}</svg>\n",
        timelines.world.len(),
        svg_text(&names.join("; ")),
    )
}

/// Who is broken and who clashes, and what the numbers stand for.
fn head(timelines: &Timelines<'_>, width: f64) -> Vec<String> {
    let world = timelines.world;
    let broken: BTreeSet<usize> = (0..world.len()).filter(|item| world.is_broken(*item)).collect();
    let mut of_them: Vec<String> = Vec::new();
    if !broken.is_empty() {
        of_them.push(format!("{} {} broken", numbers(&broken), if broken.len() == 1 { "is" } else { "are" }));
    }
    let pairs = (0..world.len()).flat_map(|one| world.clashes(one).map(move |other| (one, other)));
    of_them.extend(pairs.filter(|(one, other)| one < other).map(|(l, r)| format!("{} clashes with {}", l + 1, r + 1)));
    if of_them.is_empty() {
        of_them.push("all in order".to_owned());
    }
    let workers = timelines.workers;
    let mut lines = vec![format!(
        "{} items: {}. {workers} worker{}, time in gate runs of {}",
        world.len(),
        of_them.join(", "),
        if workers == 1 { "" } else { "s" },
        span(timelines.gate_ms as f64 / 1000.0)
    )];
    let mut line = String::new();
    for (name, nth) in timelines.names.iter().zip(1_usize..) {
        let entry = format!("{nth} {name}");
        if !line.is_empty() && wide(&line) + wide(&entry) + 2.0 * CHARACTER > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(if line.is_empty() { "" } else { ", " });
        line.push_str(&entry);
    }
    lines.extend((!line.is_empty()).then_some(line));
    lines
}

/// Draws one run from `top` on; says where it ends.
fn panel(body: &mut String, timelines: &Timelines<'_>, name: &str, trace: &Trace, top: u32) -> u32 {
    let x = |at_ms: u64| x_of(at_ms, timelines.gate_ms);
    let runs = trace.runs.len();
    let _ = writeln!(
        body,
        "<text class=\"n\" x=\"0\" y=\"{top}\">{}<tspan class=\"t\" font-weight=\"normal\" dx=\"8\">{runs} gate run{}, \
         done after {:.1}</tspan></text>",
        svg_text(name),
        if runs == 1 { "" } else { "s" },
        trace.end_ms as f64 / timelines.gate_ms.max(1) as f64
    );
    // Nobody needs rows in which nothing is.
    let rows = trace.runs.iter().map(|run| run.worker + 1).max().unwrap_or(0);
    let first = top + 26;
    let landings = lanes(trace.landings.iter().map(|(at_ms, items)| (x(*at_ms), numbers(items))));
    let out = trace.out.iter().map(|(at_ms, item, why)| (x(*at_ms), format!("{} {}", item + 1, ending(*why))));
    let out = lanes(out);
    let height = |lanes: &[Mark]| ROW * lanes.iter().map(|mark| mark.lane + 1).max().unwrap_or(1);
    let below = first + ROW * rows;
    let bottom = below + height(&landings) + if out.is_empty() { 0 } else { height(&out) };
    let ticks = trace.end_ms.div_ceil(timelines.gate_ms.max(1));
    for tick in 0..=ticks {
        let at = x(tick * timelines.gate_ms);
        let _ = writeln!(
            body,
            "<line class=\"g\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\
             <text class=\"t\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{tick}</text>",
            first - 4,
            first - 8,
        );
    }
    for row in 0..rows {
        let _ = writeln!(body, "<text class=\"t\" x=\"0\" y=\"{}\">worker {}</text>", first + ROW * row + 15, row + 1);
    }
    for run in &trace.runs {
        bar(body, run, (x(run.from_ms), x(run.until_ms)), first + ROW * run.worker, &timelines.names);
    }
    let _ = writeln!(body, "<text class=\"t\" x=\"0\" y=\"{}\">lands</text>", below + 15);
    for Mark { at, lane, text } in &landings {
        let y = below + ROW * lane;
        let _ = writeln!(
            body,
            "<path class=\"mark\" d=\"M{at:.1} {}v14m-4 -4l4 4l4 -4\"/><text text-anchor=\"end\" x=\"{:.1}\" y=\"{}\">{text}</text>",
            y + 3,
            at - 7.0,
            y + 15
        );
    }
    if !out.is_empty() {
        let y = below + height(&landings);
        let _ = writeln!(body, "<text class=\"t\" x=\"0\" y=\"{}\">out</text>", y + 15);
        for Mark { at, lane, text } in &out {
            let y = y + ROW * lane;
            let _ = writeln!(
                body,
                "<path class=\"mark\" d=\"M{:.1} {}l8 8m0 -8l-8 8\"/><text text-anchor=\"end\" x=\"{:.1}\" y=\"{}\">{text}</text>",
                at - 4.0,
                y + 7,
                at - 7.0,
                y + 15
            );
        }
    }
    bottom
}

fn bar(body: &mut String, run: &GateRun, (from, until): (f64, f64), y: u32, names: &[&str]) {
    let class = match run.ending {
        Ending::Passed => "passed",
        Ending::Failed => "failed",
        Ending::Lied => "lied",
        Ending::Stopped => "stopped",
    };
    let width = (until - from - 2.0).max(1.0);
    let room = (width / CHARACTER) as usize;
    let label = label(&run.what);
    let shown: String = match label.chars().count() <= room {
        true => label,
        false if room > 1 => label.chars().take(room - 1).chain(['…']).collect(),
        false => String::new(),
    };
    let _ = writeln!(
        body,
        "<g><title>{}: gate {} {class}</title><rect class=\"{class}\" x=\"{:.1}\" y=\"{y}\" width=\"{width:.1}\" \
         height=\"{BAR}\" rx=\"2\"/><text class=\"b\" x=\"{:.1}\" y=\"{}\">{shown}</text></g>",
        svg_text(&in_words(&run.what, names)),
        svg_text(run.gate.as_str()),
        from + 1.0,
        f64::midpoint(from, until),
        y + 14,
    );
}

/// What fits on a bar.
fn label(what: &Composite) -> String {
    let question = |probe: bool| if probe { " ?" } else { "" };
    match what {
        Composite::Cone(item) => (item + 1).to_string(),
        Composite::Group { items, probe } => format!("{}{}", numbers(items), question(*probe)),
        Composite::Apex { items, probe } => format!("▲{}{}", numbers(items), question(*probe)),
        Composite::Train { item, ahead } => {
            let mut all = ahead.clone();
            all.insert(*item);
            format!("▲{}", numbers(&all))
        }
        Composite::Again(item) => format!("{} again", item + 1),
        Composite::Without(item) => format!("without {}", item + 1),
    }
}

fn in_words(what: &Composite, names: &[&str]) -> String {
    let name = |item: usize| names.get(item).map_or_else(|| format!("item {}", item + 1), ToString::to_string);
    let all = |items: &BTreeSet<usize>| items.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", ");
    let probe = |probe: bool| if probe { "a probe, " } else { "" };
    match what {
        Composite::Cone(item) => format!("the cone of {}", name(*item)),
        Composite::Group { items, probe: is_probe } => format!("a group, {}{}", probe(*is_probe), all(items)),
        Composite::Apex { items, probe: is_probe } => format!("the tip with {}{}", probe(*is_probe), all(items)),
        Composite::Train { item, ahead } if ahead.is_empty() => format!("{} on the tip", name(*item)),
        Composite::Train { item, ahead } => format!("{} on the tip with {}", name(*item), all(ahead)),
        Composite::Again(item) => format!("what failed with {} once more", name(*item)),
        Composite::Without(item) => format!("what failed with {}, without it", name(*item)),
    }
}

fn ending(decision: Decision) -> &'static str {
    match decision {
        Decision::Passed => "passes",
        Decision::Failed => "fails",
        Decision::Conflicted => "conflicts",
        Decision::Blocked => "blocked",
        Decision::Unjudged => "unjudged",
    }
}

/// A text that ends at a place in time, and in which lane it meets no other.
struct Mark {
    at: f64,
    lane: u32,
    text: String,
}

fn lanes(marks: impl Iterator<Item = (f64, String)>) -> Vec<Mark> {
    // Where the last text of each lane ends.
    let mut ends: Vec<f64> = Vec::new();
    marks
        .map(|(at, text)| {
            let begins = at - 7.0 - wide(&text);
            let lane = ends.iter().position(|end| *end <= begins).unwrap_or(ends.len());
            let end = at + 8.0;
            match ends.get_mut(lane) {
                Some(there) => *there = end,
                None => ends.push(end),
            }
            Mark { at, lane: u32::try_from(lane).unwrap_or(u32::MAX), text }
        })
        .collect()
}

/// What the colours and signs mean.
fn legend(body: &mut String, top: u32) -> u32 {
    let entries = [
        ("passed", "passes"),
        ("failed", "fails"),
        ("lied", "fails, and passes when run again"),
        ("stopped", "stopped: nobody needs it any more"),
    ];
    let mut x = 0.0;
    for (class, text) in entries {
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top}\" width=\"12\" height=\"12\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\">{text}</text>",
            x + 18.0,
            top + 11
        );
        x += 18.0 + wide(text) + 16.0;
    }
    let _ = writeln!(
        body,
        "<text class=\"t\" x=\"0\" y=\"{}\">a bar says which items it judged together; ▲: on what has landed by then; \
         ?: a probe of a search; again: a second opinion</text>",
        top + 30
    );
    top + 38
}

/// `1–3, 5`, counted from 1.
fn numbers(items: &BTreeSet<usize>) -> String {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for item in items.iter().map(|item| item + 1) {
        match stretches.last_mut().filter(|(_, last)| *last + 1 == item) {
            Some((_, last)) => *last = item,
            None => stretches.push((item, item)),
        }
    }
    let texts = stretches.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn wide(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

fn x_of(at_ms: u64, gate_ms: u64) -> f64 {
    LEFT + GATE * at_ms as f64 / gate_ms.max(1) as f64
}
