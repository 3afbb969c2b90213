//! What differs between two plans, as their documents say it: items and gates are known by their
//! names, so that neither their order nor how anything is written counts.
//!
//! Both have been checked. What one leaves to a default and the other spells out is a difference, and is shown as one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::natural::natural_cmp;
use super::problem::Problem;
use super::spanned::Document;

/// Something that stands in one plan and not so in the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Keys and names from the top: `policy`, `maxWorkers`, or `items`, the item's name, `deps`.
    pub path: Vec<String>,
    /// `None`: only the other plan has it.
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// What differs, by path in natural order.
///
/// # Errors
/// Where a text cannot be read.
pub fn differences(left: (&str, &[u8]), right: (&str, &[u8])) -> Result<Vec<Difference>, Box<Problem>> {
    let value = |(name, bytes): (&str, &[u8])| {
        let document = Document::read(name, bytes).map_err(|(_, problem)| problem)?;
        Ok::<_, Box<Problem>>(document.root().value(document.text()))
    };
    let mut found = Vec::new();
    compare(&[], Some(&value(left)?), Some(&value(right)?), &mut found);
    found.sort_by(|left, right| {
        let pairs = left.path.iter().zip(&right.path).map(|(left, right)| natural_cmp(left, right));
        pairs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then(left.path.len().cmp(&right.path.len()))
    });
    Ok(found)
}

fn compare(path: &[String], before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (Some(left), Some(right)) = (before.map(keyed), after.map(keyed)) else {
        let difference = Difference { path: path.to_vec(), before: before.cloned(), after: after.cloned() };
        return found.push(difference);
    };
    match (left, right) {
        (Some(left), Some(right)) => {
            let keys: BTreeMap<&String, ()> = left.keys().chain(right.keys()).map(|key| (key, ())).collect();
            for key in keys.into_keys() {
                let mut path = path.to_vec();
                path.push(key.clone());
                compare(&path, left.get(key), right.get(key), found);
            }
        }
        _ => {
            // In another order, dependencies are the same.
            let sorted = |value: Option<&Value>| value.map(in_order);
            if path.last().is_some_and(|key| key == "deps") && sorted(before) == sorted(after) {
                return;
            }
            found.push(Difference { path: path.to_vec(), before: before.cloned(), after: after.cloned() });
        }
    }
}

/// A map, and a list of things that have names as a map by these; `None` for anything else.
fn keyed(value: &Value) -> Option<Map<String, Value>> {
    let Value::Array(entries) = value else { return value.as_object().cloned() };
    let mut map = Map::new();
    for entry in entries {
        let mut entry = entry.as_object()?.clone();
        let name = entry.remove("name")?;
        map.insert(name.as_str()?.to_owned(), Value::Object(entry));
    }
    Some(map)
}

fn in_order(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
    words.sort();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(left: &str, right: &str) -> Vec<String> {
        let plan = |items: &str| format!("schemaVersion: v1\n{items}");
        let differences = differences(("a", plan(left).as_bytes()), ("b", plan(right).as_bytes())).unwrap();
        let shown = |value: Option<Value>| value.map_or("nothing".to_owned(), |value| value.to_string());
        differences
            .into_iter()
            .map(|one| format!("{}: {} -> {}", one.path.join("."), shown(one.before), shown(one.after)))
            .collect()
    }

    #[test]
    fn order_and_spelling_do_not_count() {
        let left = "items:\n- name: a\n  deps: [b, c]\n- {name: b}\n- {name: c}\n";
        let right = "items: [{name: \"c\"}, {name: b}, {deps: [c, b], name: a}] # so\n";
        assert_eq!(found(left, right), [""; 0]);
    }

    #[test]
    fn items_and_gates_are_known_by_their_names() {
        let left = "policy: { maxWorkers: 2 }\ngates: [{name: g, run: x}]\nitems:\n- {name: a, deps: [b]}\n- {name: b}\n- {name: pr-10}\n";
        let right = "policy: { maxWorkers: auto }\ngates: [{name: g, run: y, cwd: z}]\nitems:\n- {name: a}\n- {name: b, priority: 3}\n- {name: pr-2}\n";
        assert_eq!(
            found(left, right),
            [
                "gates.g.cwd: nothing -> \"z\"",
                "gates.g.run: \"x\" -> \"y\"",
                "items.a.deps: [\"b\"] -> nothing",
                "items.b.priority: nothing -> 3",
                "items.pr-2: nothing -> {}",
                "items.pr-10: {} -> nothing",
                "policy.maxWorkers: 2 -> \"auto\"",
            ]
        );
        assert_eq!(found("items: []\n", "items: [{name: a}]\n"), ["items.a: nothing -> {}"]);
    }
}
