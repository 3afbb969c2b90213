//! `lexpr order PLAN`: what a plan's dependencies come to, as text or as a graph for others to draw.
//!
//! Knows the plan alone: dependencies that only the commit graph implies are not in it.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::check::{INVALID, VALID};
use super::source::read_plan;
use crate::diagnostics::{self, Style};
use crate::plan::graph::{Graph, ItemIx};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text,
    Json,
    Dot,
    Mermaid,
}

/// Writes the order of the plan at `path` (`-`: standard input) to `out`, or what is wrong with
/// the plan to `errors`, and returns the exit code.
///
/// # Errors
/// If `out` or `errors` cannot be written to.
pub fn run(path: &str, format: Format, style: Style, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<u8> {
    let checked = match read_plan(path) {
        Ok(checked) => checked,
        Err(invalid) => {
            errors.write_all(diagnostics::text(&invalid.source_text, &invalid.problems, style).as_bytes())?;
            return Ok(INVALID);
        }
    };
    errors.write_all(diagnostics::text(checked.places.source(), &checked.warnings, style).as_bytes())?;
    let graph = match Graph::new(checked.plan.items, &[]) {
        Ok(graph) => graph,
        // A plan that was checked has none.
        Err(_) => return Err(io::Error::other("the plan has a dependency cycle")),
    };
    out.write_all(show(&graph, &checked.plan.target, format).as_bytes())?;
    Ok(VALID)
}

/// The order in one of the formats, with a final newline.
pub fn show(graph: &Graph, target: &str, format: Format) -> String {
    match format {
        Format::Text => text(graph),
        Format::Json => json(graph, target),
        Format::Dot => dot(graph),
        Format::Mermaid => mermaid(graph),
    }
}

fn text(graph: &Graph) -> String {
    let mut text = String::new();
    let names = |list: &[ItemIx]| list.iter().map(|ix| graph.name(*ix).as_str()).collect::<Vec<_>>().join(", ");
    let digits = graph.levels().len().saturating_sub(1).to_string().len();
    for (level, members) in graph.levels().iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "level {level:>digits$}: {}", names(members));
    }
    text.push('\n');
    let number = graph.len().to_string().len();
    let width = graph.indices().map(|ix| graph.name(ix).as_str().chars().count()).max().unwrap_or(0).min(MAX_COLUMN);
    for ix in graph.indices() {
        let place = ix.get() + 1;
        let _ = match graph.deps(ix) {
            [] => writeln!(text, "{place:>number$}. {}", graph.name(ix)),
            deps => writeln!(text, "{place:>number$}. {:<width$}  after {}", graph.name(ix), names(deps)),
        };
    }
    text
}

/// A name longer than this does not push all others' columns out.
const MAX_COLUMN: usize = 40;

fn json(graph: &Graph, target: &str) -> String {
    #[derive(Serialize)]
    struct Order<'a> {
        target: &'a str,
        levels: Vec<Vec<&'a str>>,
        order: Vec<&'a str>,
        items: Vec<OrderedItem<'a>>,
    }
    #[derive(Serialize)]
    struct OrderedItem<'a> {
        name: &'a str,
        level: u32,
        priority: i64,
        deps: Vec<&'a str>,
        dependents: Vec<&'a str>,
    }
    let names = |list: &[ItemIx]| list.iter().map(|ix| graph.name(*ix).as_str()).collect::<Vec<_>>();
    let order = Order {
        target,
        levels: graph.levels().iter().map(|level| names(level)).collect(),
        order: graph.indices().map(|ix| graph.name(ix).as_str()).collect(),
        items: graph
            .indices()
            .map(|ix| OrderedItem {
                name: graph.name(ix).as_str(),
                level: graph.level(ix),
                priority: graph.item(ix).priority,
                deps: names(graph.deps(ix)),
                dependents: names(graph.dependents(ix)),
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&order).expect("the fields are text and numbers");
    text.push('\n');
    text
}

/// Arrows lead from a dependency to what depends on it: the way things land.
fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
    for ix in graph.indices() {
        let _ = writeln!(text, "  n{} [label=\"{}\"];", ix.get(), dot_label(graph.name(ix).as_str()));
    }
    for ix in graph.indices() {
        for dep in graph.deps(ix) {
            let _ = writeln!(text, "  n{} -> n{};", dep.get(), ix.get());
        }
    }
    text.push_str("}\n");
    text
}

/// Graphviz reads backslashes and HTML entities in labels
/// (<https://graphviz.org/docs/attr-types/escString/>).
fn dot_label(name: &str) -> String {
    let mut label = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\\' => {
                label.push('\\');
                label.push(c);
            }
            '&' => label.push_str("&amp;"),
            _ => label.push(c),
        }
    }
    label
}

fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for ix in graph.indices() {
        let _ = writeln!(text, "  n{}[\"{}\"]", ix.get(), mermaid_label(graph.name(ix).as_str()));
    }
    for ix in graph.indices() {
        for dep in graph.deps(ix) {
            let _ = writeln!(text, "  n{} --> n{}", dep.get(), ix.get());
        }
    }
    text
}

/// Mermaid reads `#NUMBER;` as the character of that number, and marks and HTML in everything
/// else that is neither a letter nor a digit
/// (<https://mermaid.js.org/syntax/flowchart.html#special-characters-that-break-syntax>).
fn mermaid_label(name: &str) -> String {
    let mut label = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '-' | '/' | '.') {
            let _ = write!(label, "#{};", u32::from(c));
        } else {
            label.push(c);
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_labels() {
        assert_eq!(dot_label(r#"a"];b\n&lt;"#), r#"a\"];b\\n&amp;lt;"#);
        assert_eq!(mermaid_label("a\"]<b>`#_\\"), "a#34;#93;#60;b#62;#96;#35;#95;#92;");
        assert_eq!(mermaid_label("feature/grün-2.0 x"), "feature/grün-2.0 x");
    }
}
