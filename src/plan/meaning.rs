//! A plan's document brought to one of the forms that mean the same: what is spelled out and is the default is left out, and
//! of several ways to say something one is taken. It has been checked.

use serde_json::{Map, Value};

use super::conform::SCHEMA;

static NO_SCHEMA: Value = Value::Null;

/// Maps that are there whatever the document says: an absent one is one of defaults.
const ALWAYS_THERE: [&[&str]; 4] =
    [&["policy"], &["policy", "performance"], &["policy", "merge"], &["policy", "mergeRule"]];

/// Lists whose order means nothing.
const UNORDERED: [&str; 6] = ["deps", "at", "requiredGates", "optionalGates", "blockOn", "redact"];

/// Maps and lists that say nothing where they are empty.
const NOTHING_IF_EMPTY: [&str; 6] = ["items", "gates", "env", "resources", "artifacts", "retries"];

/// The document `plan` in that form.
pub(super) fn meaning(mut plan: Value) -> Value {
    if let Some(root) = plan.as_object_mut() {
        // Another major version is no plan, and within one all mean the same.
        root.remove("schemaVersion");
        if let Some(Value::String(target)) = root.get_mut("target")
            && let Some(short) = target.strip_prefix("refs/heads/")
        {
            *target = short.to_owned();
        }
        each(root.get_mut("items"), &mut item);
        each(root.get_mut("gates"), &mut gate);
        if let Some(Value::Object(limits)) = root.get_mut("policy").and_then(|policy| policy.get_mut("resources")) {
            limits.values_mut().for_each(limit);
        }
    }
    leave_out_defaults(&mut plan, &SCHEMA);
    if let Some(root) = plan.as_object_mut() {
        for list in ["items", "gates"] {
            root.entry(list).or_insert_with(|| Value::Array(Vec::new()));
        }
    }
    for path in ALWAYS_THERE {
        let mut at = &mut plan;
        for key in path {
            let Some(map) = at.as_object_mut() else { break };
            at = map.entry(*key).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    plan
}

fn each(list: Option<&mut Value>, to: &mut dyn FnMut(&mut Map<String, Value>)) {
    let entries = list.and_then(Value::as_array_mut).into_iter().flatten();
    entries.filter_map(Value::as_object_mut).for_each(to);
}

fn item(item: &mut Map<String, Value>) {
    if item.get("branch") == item.get("name") {
        item.remove("branch");
    }
    // The words of the earlier tool.
    if let Some(Value::String(strategy)) = item.get_mut("strategy")
        && let Some(short) = strategy.strip_suffix("-weave")
    {
        *strategy = short.to_owned();
    }
    if let Some(Value::String(pin)) = item.get_mut("sha") {
        pin.make_ascii_lowercase();
    }
    each(item.get_mut("gates"), &mut gate);
}

fn gate(gate: &mut Map<String, Value>) {
    if let Some(claims) = gate.get_mut("resources")
        && let Value::Array(names) = claims
    {
        let mut amounts = Map::new();
        for name in names.iter().filter_map(Value::as_str) {
            let before = amounts.get(name).and_then(Value::as_u64).unwrap_or_default();
            amounts.insert(name.to_owned(), Value::from(before + 1));
        }
        *claims = Value::Object(amounts);
    }
}

/// A limit without a pace is a number.
fn limit(limit: &mut Value) {
    if let Value::Object(map) = limit
        && map.len() == 1
        && let Some(number) = map.remove("limit")
    {
        *limit = number;
    }
}

fn leave_out_defaults(value: &mut Value, schema: &'static Value) {
    match value {
        Value::Array(entries) => {
            let of_entries = schema.get("items").map(resolved);
            for entry in entries {
                leave_out_defaults(entry, of_entries.unwrap_or(&NO_SCHEMA));
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if UNORDERED.contains(&key.as_str()) {
                    in_order(value);
                }
                let of_key = schema.get("properties").and_then(|keys| keys.get(key));
                let of_key = of_key.or_else(|| schema.get("additionalProperties"));
                leave_out_defaults(value, of_key.map_or(&NO_SCHEMA, resolved));
            }
            map.retain(|key, value| {
                let default = schema.pointer("/properties").and_then(|keys| keys.get(key)?.get("default"));
                let is_empty =
                    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
                let is_default = default.is_some_and(|default| ordered(default) == ordered(value));
                !(is_default || value.is_null() || is_empty && NOTHING_IF_EMPTY.contains(&key.as_str()))
            });
        }
        _ => {}
    }
}

fn ordered(value: &Value) -> Value {
    let mut value = value.clone();
    in_order(&mut value);
    value
}

fn in_order(list: &mut Value) {
    if let Value::Array(entries) = list {
        entries.sort_by_cached_key(Value::to_string);
    }
}

/// The schema that a reference stands for.
fn resolved(schema: &'static Value) -> &'static Value {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|place| SCHEMA.pointer(place)).unwrap_or(schema)
}
