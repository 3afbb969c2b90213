//! The figures of a simulation as a picture: for each strategy a bar for its gate runs and one for how long it
//! took, in SVG that needs nothing else and is read by light and by dark.

use std::fmt::Write as _;

use super::{Simulation, span};

const ROW: u32 = 30;
const NAMES: u32 = 170;
const BARS: u32 = 250;
const TOP: u32 = 64;
const GAP: u32 = 90;

pub(super) fn svg(simulation: &Simulation) -> String {
    let rows = u32::try_from(simulation.strategies.len()).unwrap_or(u32::MAX);
    let (width, height) = (NAMES + 2 * (BARS + GAP), TOP + ROW * rows + 24);
    let most = |of: &dyn Fn(&super::StrategyFigures) -> f64| {
        simulation.strategies.iter().map(of).fold(f64::MIN_POSITIVE, f64::max)
    };
    let runs = |one: &super::StrategyFigures| one.figures.gate_runs_per_landed_item;
    let time = |one: &super::StrategyFigures| one.figures.makespan_seconds;
    let (most_runs, most_time) = (most(&runs), most(&time));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>What landing {} items costs by each strategy</title>\n\
         <style>text{{fill:#222}}.ours{{fill:#2a6fb0}}.other{{fill:#9aa5b1}}.least{{stroke:#b04a2a;stroke-dasharray:4 3}}\n\
         @media (prefers-color-scheme:dark){{text{{fill:#ddd}}.ours{{fill:#6fb1ea}}.other{{fill:#6b7680}}}}</style>\n\
         <text x=\"0\" y=\"18\">{} items, {} workers; {} % fail, {} % clash, {} % of gate runs lie</text>\n\
         <text x=\"{NAMES}\" y=\"46\">gate runs for each item that landed</text>\n\
         <text x=\"{}\" y=\"46\">until all had landed</text>\n",
        simulation.items,
        simulation.items,
        simulation.workers,
        simulation.fail_percent,
        simulation.clash_percent,
        simulation.flake_percent,
        NAMES + BARS + GAP,
    );
    for (one, row) in simulation.strategies.iter().zip(0..) {
        let y = TOP + ROW * row;
        let class = if one.ours { "ours" } else { "other" };
        let _ = writeln!(svg, "<text x=\"0\" y=\"{}\">{}</text>", y + 15, one.name);
        let bars = [
            (NAMES, runs(one) / most_runs, format!("{:.2}", runs(one))),
            (NAMES + BARS + GAP, time(one) / most_time, span(time(one))),
        ];
        for (x, share, label) in bars {
            let long = f64::from(BARS) * share;
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{long:.1}\" height=\"20\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{label}</text>",
                f64::from(x) + long + 6.0,
                y + 15
            );
        }
    }
    if let Some(fewest) = simulation.fewest_gate_runs.filter(|fewest| *fewest <= most_runs) {
        let x = f64::from(NAMES) + f64::from(BARS) * fewest / most_runs;
        let bottom = TOP + ROW * rows;
        let _ = writeln!(
            svg,
            "<line class=\"least\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\
             <text x=\"{NAMES}\" y=\"{}\">dashed: at least {fewest:.2}, the entropy of who fails</text>",
            TOP - 6,
            bottom + 14
        );
    }
    svg.push_str("</svg>\n");
    svg
}
