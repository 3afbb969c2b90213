//! `lexpr plan diff A B`: what differs between two plans.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::source::read_bytes;
use crate::cli::{CheckFormat, PlanDiffArgs, speak};
use crate::plan::check::check;
use crate::plan::compare::{Difference, differences, is_order};
use crate::wording::shown;

/// Runs the command.
///
/// # Errors
/// Where one of them is no plan.
pub(super) fn run(args: &PlanDiffArgs) -> Result<u8, Failure> {
    let (before, after) = (valid(&args.before)?, valid(&args.after)?);
    let found = differences((&before.0, &before.1), (&after.0, &after.1))
        .map_err(|problem| Failure::internal(problem.message))?;
    let text = match args.format {
        CheckFormat::Text => text(&found),
        CheckFormat::Json => {
            let json = serde_json::to_string_pretty(&found).map_err(|error| Failure::internal(error.to_string()))?;
            format!("{json}\n")
        }
    };
    speak::result(&text)?;
    Ok(0)
}

/// The name and the bytes of a plan.
fn valid(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let name = path.display().to_string();
    let bytes = read_bytes(&name).map_err(|invalid| super::invalid(&invalid))?;
    check(&name, &bytes).map_err(|invalid| super::invalid(&invalid))?;
    Ok((name, bytes))
}

fn text(found: &[Difference]) -> String {
    if found.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    for difference in found {
        if let (true, Some(before), Some(after)) = (is_order(difference), &difference.before, &difference.after) {
            let whose = match difference.path.as_slice() {
                [_, item, _] => format!("item {}: ", shown(item)),
                _ => String::new(),
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "~ {whose}order of gates  {} -> {}", names(before), names(after));
            continue;
        }
        let (what, mark) = match (&difference.before, &difference.after) {
            (None, Some(after)) => (value(Some(after)), '+'),
            // What goes with an item or a gate is of no interest.
            (Some(Value::Object(_)), None) => (String::new(), '-'),
            (Some(before), None) => (value(Some(before)), '-'),
            (before, after) => (format!("{} -> {}", value(before.as_ref()), value(after.as_ref())), '~'),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", format!("{mark} {}  {what}", place(&difference.path)).trim_end());
    }
    text
}

fn names(list: &Value) -> String {
    let names: Vec<_> = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(shown).collect();
    names.join(", ")
}

/// `item a: deps`, `gate unit: run`, `policy.maxWorkers`.
fn place(path: &[String]) -> String {
    let named = |kind: &str, name: &str, below: &[String]| {
        let below = if below.is_empty() { String::new() } else { format!(": {}", dotted(below)) };
        format!("{kind} {}{below}", shown(name))
    };
    match path {
        [items, name, below @ ..] if items == "items" => named("item", name, below),
        [gates, name, below @ ..] if gates == "gates" => named("gate", name, below),
        _ => dotted(path),
    }
}

fn dotted(path: &[String]) -> String {
    path.iter().map(|key| shown(key)).collect::<Vec<_>>().join(".")
}

fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => shown(text).into_owned(),
        Some(Value::Object(map)) if map.is_empty() => String::new(),
        Some(other) => shown(&other.to_string()).into_owned(),
    }
}
