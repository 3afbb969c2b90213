//! What differs between two plans in what they mean: items and gates are known by their names, so that neither how anything
//! is written counts, nor whether a default is spelled out, nor an order that means nothing. That of gates does where the
//! first to fail skips the rest.
//!
//! Both have been checked. Gates that an item has of its own, where the other has those of the plan, are a difference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::meaning::meaning;
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
        Ok::<_, Box<Problem>>(meaning(document.root().value(document.text())))
    };
    let (left, right) = (value(left)?, value(right)?);
    let mut found = Vec::new();
    compare(&[], Some(&left), Some(&right), &mut found);
    let fails_fast = |plan: &Value| plan.pointer("/policy/failFast").is_none();
    if !(fails_fast(&left) || fails_fast(&right)) {
        found.retain(|difference| !is_order(difference));
    }
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
            if path.last().is_some_and(|key| key == "gates") {
                found.extend(other_order(path, before, after));
            }
            let keys: BTreeMap<&String, ()> = left.keys().chain(right.keys()).map(|key| (key, ())).collect();
            for key in keys.into_keys() {
                let mut path = path.to_vec();
                path.push(key.clone());
                compare(&path, left.get(key), right.get(key), found);
            }
        }
        _ => found.push(Difference { path: path.to_vec(), before: before.cloned(), after: after.cloned() }),
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

/// The names of the gates that both have, where they stand in another order.
fn other_order(path: &[String], before: Option<&Value>, after: Option<&Value>) -> Option<Difference> {
    let names = |list: Option<&Value>| -> Vec<Value> {
        list.and_then(Value::as_array).into_iter().flatten().filter_map(|gate| gate.get("name").cloned()).collect()
    };
    let (before, after) = (names(before), names(after));
    let among = |list: &[Value], other: &[Value]| -> Value {
        list.iter().filter(|name| other.contains(name)).cloned().collect()
    };
    let (before, after) = (among(&before, &after), among(&after, &before));
    (before != after).then(|| Difference { path: path.to_vec(), before: Some(before), after: Some(after) })
}

/// Whether it is one of the order of gates: both have them, so that each differs by itself.
pub fn is_order(difference: &Difference) -> bool {
    let is_names = |value: &Option<Value>| {
        value.as_ref().and_then(Value::as_array).is_some_and(|names| names.iter().all(Value::is_string))
    };
    difference.path.last().is_some_and(|key| key == "gates")
        && is_names(&difference.before)
        && is_names(&difference.after)
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
