//! `lexpr check PLAN`: says everything that is wrong with a plan, or that nothing is.

use std::collections::HashSet;
use std::io::{self, Write};

use super::source::read_plan;
use crate::diagnostics::{self, Style};
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::graph::Graph;

/// The plan is valid, perhaps with warnings.
pub const VALID: u8 = 0;
/// The plan has errors.
pub const INVALID: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text(Style),
    Json,
}

/// Checks the plan at `path` (`-`: standard input) and returns the exit code.
///
/// # Errors
/// If `out` cannot be written to.
pub fn run(path: &str, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let checked = read_plan(path);
    let (source, problems) = match &checked {
        Ok(checked) => (checked.places.source(), &checked.warnings),
        Err(invalid) => (&invalid.source_text, &invalid.problems),
    };
    match format {
        Format::Json => out.write_all(diagnostics::json(source, problems).as_bytes())?,
        Format::Text(style) => out.write_all(diagnostics::text(source, problems, style).as_bytes())?,
    }
    match checked {
        Ok(Checked { plan, .. }) => {
            if format != Format::Json {
                writeln!(out, "{path} is a valid plan: {}.", describe(plan))?;
            }
            Ok(VALID)
        }
        Err(_) => Ok(INVALID),
    }
}

/// `12 items in 3 levels, 4 gates, landing on main`.
fn describe(plan: Plan) -> String {
    let gates: HashSet<_> =
        plan.items.iter().flat_map(|item| &item.gates).map(|gate| (&gate.name, gate.definition)).collect();
    let gates = count(gates.len(), "gate");
    let items = count(plan.items.len(), "item");
    let target = plan.target;
    // A checked plan has no cycles.
    let levels = Graph::new(plan.items, &[]).map_or(0, |graph| graph.levels().len());
    format!("{items} in {}, {gates}, landing on {target}", count(levels, "level"))
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
