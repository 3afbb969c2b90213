//! Holds a document against the JSON schema of plans and says in a person's words where it
//! differs.
//!
//! What differs is taken out, and its place remembered, so that the rest can still be checked
//! for meaning: one misspelt key does not hide the next mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value};

use super::file;
use super::limits_file::PacingWord;
use super::pointer::{Pointer, Step};
use super::problem::{Problem, Quoted, nearest};
use super::spanned::Document;
use super::sure::Sure;
use super::tree::{Content, Entry, Node};

pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| file::schema().to_value());
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::validator_for(&SCHEMA).expect("the schema is made from types, and a test compiles it")
});
/// Of one item: the schema with another root. Plans may have a million items, of which no more than
/// one is in memory as the validator wants it.
static ITEM_VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::json!({ "$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], "$ref": ITEM });
    jsonschema::validator_for(&schema).expect("it is a part of the schema")
});
/// To make the validator takes longer than to read a small plan.
static SURE_BUT_FOR_ITEMS: LazyLock<Sure> = LazyLock::new(|| Sure::of(&SCHEMA).with_any_list("items"));
static SURE_ITEM: LazyLock<Sure> =
    LazyLock::new(|| SCHEMA.pointer(ITEM.trim_start_matches('#')).map_or(Sure::Never, Sure::of));

/// Where the schema describes an item.
const ITEM: &str = "#/$defs/Item";

/// More than anybody mends at once. Beyond, the rest of the document is not looked at.
const MAX_PROBLEMS: usize = 100_000;

/// What the schema had against a document.
#[derive(Debug, Default)]
pub struct Conformity {
    pub problems: Vec<Problem>,
    /// Places that were taken out of the value, or lack something they need.
    faulty: BTreeSet<Pointer>,
}

impl Conformity {
    /// Whether something at or below `place` is not what the schema wants.
    pub fn is_faulty(&self, place: &Pointer) -> bool {
        !self.faulty.is_empty() && self.faulty.range(place..).next().is_some_and(|next| next.starts_with(place))
    }

    /// The places in the document of the `kept` elements that are left of the list at `list`.
    pub fn places(&self, list: &Pointer, kept: usize) -> impl Iterator<Item = Pointer> {
        let whole = !self.is_faulty(list);
        (0..).map(|index| list.join(index)).filter(move |place| whole || !self.is_removed(place)).take(kept)
    }

    fn is_removed(&self, place: &Pointer) -> bool {
        self.faulty.contains(place)
    }
}

/// The data of a document, without what the schema does not allow in it.
#[derive(Debug)]
pub(super) struct Conformed {
    /// All but the list of items; null, where more is wrong than anybody is told.
    pub rest: Value,
    /// What is left of items that are not as they stand in the document, by their place in the
    /// list; null for nothing.
    pub mended: BTreeMap<usize, Value>,
    pub conformity: Conformity,
}

/// Holds `document` against the schema.
pub(super) fn conform(document: &Document) -> Conformed {
    let mut telling = Telling { document, conformity: Conformity::default(), told: 0 };
    let mut mended = BTreeMap::new();
    let mut rest = without_items(document);
    let mut unwanted = BTreeSet::new();
    let mut all_told = true;
    if SURE_BUT_FOR_ITEMS.allows(document.root(), document.text()) {
        all_told = document.items().is_none_or(|items| telling.items(items, &mut mended, &mut unwanted));
    } else {
        for error in VALIDATOR.iter_errors(&rest) {
            let place = place_of(&error, &Pointer::root());
            all_told = match document.items() {
                Some(items) if stands_for_items(&place) => telling.items(items, &mut mended, &mut unwanted),
                _ => telling.tell(&error, place, &mut unwanted),
            };
            if !all_told {
                break;
            }
        }
    }
    if all_told {
        mend(&mut rest, 0, &unwanted);
        if let (Some(_), Value::Object(rest)) = (document.items(), &mut rest) {
            rest.remove("items");
        }
    } else {
        rest = Value::Null;
    }
    telling.conformity.faulty.append(&mut unwanted);
    Conformed { rest, mended, conformity: telling.conformity }
}

/// The data of the document, with a null for all its items: the schema objects to that at the place
/// and in the order of what it may have against items.
fn without_items(document: &Document) -> Value {
    let source = document.text();
    let Some(entries) = document.root().entries() else { return document.root().value(source) };
    let value = |entry: &Entry| match (entry.key.of(source), &entry.value.content) {
        ("items", Content::List(items)) => items.iter().take(1).map(|_| Value::Null).collect(),
        _ => entry.value.value(source),
    };
    entries.iter().map(|entry| (entry.key.of(source).to_owned(), value(entry))).collect::<Map<_, _>>().into()
}

/// Whether an error is about the null that [`without_items`] puts there.
fn stands_for_items(place: &Pointer) -> bool {
    matches!(place.steps(), [Step::Key(key), Step::Index(0)] if key == "items")
}

/// Where an error is, in a document that has what was validated at `root`.
fn place_of(error: &ValidationError<'_>, root: &Pointer) -> Pointer {
    let below = error.instance_path().iter().map(|segment| match segment {
        LocationSegment::Property(key) => Step::Key(key.into_owned().into()),
        LocationSegment::Index(index) => Step::Index(index),
    });
    root.steps().iter().cloned().chain(below).collect()
}

/// Tells of errors, one after another.
struct Telling<'d> {
    document: &'d Document,
    conformity: Conformity,
    /// How many errors of the validator.
    told: usize,
}

impl Telling<'_> {
    /// Holds items against the schema. `false` if they have more errors than are told.
    fn items(&mut self, items: &[Node], mended: &mut BTreeMap<usize, Value>, unwanted: &mut BTreeSet<Pointer>) -> bool {
        let source = self.document.text();
        let list = Pointer::root().join("items");
        for (index, item) in items.iter().enumerate().filter(|(_, item)| !SURE_ITEM.allows(item, source)) {
            let root = list.join(index);
            let mut value = item.value(source);
            let mut unwanted_here = BTreeSet::new();
            let told_before = self.told;
            for error in ITEM_VALIDATOR.iter_errors(&value) {
                let place = place_of(&error, &root);
                if !self.tell(&error, place, &mut unwanted_here) {
                    return false;
                }
            }
            if self.told > told_before || item.repeats_a_key(source) {
                mend(&mut value, root.steps().len(), &unwanted_here);
                mended.insert(index, value);
            }
            // Not `append`, which goes through all that is there already.
            unwanted.extend(unwanted_here);
        }
        true
    }

    /// Adds what has to go to `unwanted`. `false` if so many were told of that nobody mends them.
    fn tell(&mut self, error: &ValidationError<'_>, place: Pointer, unwanted: &mut BTreeSet<Pointer>) -> bool {
        if self.told == MAX_PROBLEMS {
            return false;
        }
        self.told += 1;
        let document = self.document;
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let at = place.join(key.clone());
                    self.conformity.problems.push(unknown_key(document, &place, key, &at));
                    unwanted.insert(at);
                }
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                self.conformity.problems.push(missing_key(document, &place, key));
                self.conformity.faulty.insert(place.join(key.to_owned()));
            }
            _ => {
                self.conformity.problems.push(wrong_value(document, &place, error));
                unwanted.insert(place);
            }
        }
        true
    }
}

/// Takes what is at `unwanted` out of `value`, which is so many steps below the root.
fn mend(value: &mut Value, steps: usize, unwanted: &BTreeSet<Pointer>) {
    for place in unwanted.iter().filter(|place| place.steps().len() >= steps) {
        blank(value, &place.steps()[steps..]);
    }
    if !unwanted.is_empty() {
        sweep(value);
    }
}

/// Puts null, which the schema allows nowhere, in the place of what it does not allow.
fn blank(value: &mut Value, place: &[Step]) {
    let mut at = value;
    for step in place {
        let next = match step {
            Step::Key(key) => at.get_mut(key.as_ref()),
            Step::Index(index) => at.get_mut(index),
        };
        match next {
            Some(next) => at = next,
            // A container of it is gone already.
            None => return,
        }
    }
    *at = Value::Null;
}

/// Takes all nulls out.
fn sweep(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.retain(|element| !element.is_null());
            list.iter_mut().for_each(sweep);
        }
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(sweep);
        }
        _ => {}
    }
}

fn unknown_key(document: &Document, place: &Pointer, key: &str, at: &Pointer) -> Problem {
    let known: Vec<&str> = match schema_at(place).and_then(|schema| schema.get("properties")) {
        Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let problem = document.error_at_key(at, format!("unknown key {}", Quoted(key)));
    match nearest(key, known.iter().copied()) {
        Some(word) => problem.did_you_mean(Some(word)),
        None => problem.hint(format!("expected one of: {}", known.join(", "))),
    }
}

pub(super) fn missing_key(document: &Document, place: &Pointer, key: &str) -> Problem {
    let problem = document.error_at_key(place, format!("the key {} is missing", Quoted(key)));
    match (place.steps().is_empty(), key) {
        (true, "schemaVersion") => problem.hint("begin the plan with `schemaVersion: v1`"),
        _ => problem.label(format!("expected `{key}:` here")),
    }
}

/// Where a value's kind is wrong, what to call what was found.
fn found(document: &Document, place: &Pointer, value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("{}, which is true or false", Quoted(document.written(place))),
        Value::Number(_) => format!("the number {}", Quoted(document.written(place))),
        Value::String(text) => format!("the text {}", Quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn kind_name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a map",
        JsonType::String => "text",
    }
}

fn wrong_value(document: &Document, place: &Pointer, error: &ValidationError<'_>) -> Problem {
    let value = error.instance();
    let found = found(document, place, value);
    if matches!(place.steps(), [Step::Key(key)] if key == "schemaVersion") {
        let message = format!("expected schema version `v1`, `1` or `1.x.y`, found {found}");
        return document.error(place, message).hint("this lexpr reads version 1 of the schema");
    }
    let expected = match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<&str> = match kind {
                TypeKind::Single(kind) => vec![kind_name(*kind)],
                TypeKind::Multiple(kinds) => kinds.iter().map(kind_name).collect(),
            };
            let problem = document.error(place, format!("expected {}, found {found}", kinds.join(" or ")));
            let wants = |kind| kinds.contains(&kind_name(kind));
            let wants_text = wants(JsonType::String) && !wants(JsonType::Integer);
            return match value.as_ref() {
                Value::Number(_) | Value::Bool(_) if wants_text => {
                    problem.hint(format!("quote it: \"{}\"", document.written(place)))
                }
                _ if place.steps().is_empty() => problem.hint("a plan begins with `schemaVersion: v1`"),
                Value::Null => problem.hint("leave the key out, or give it a value"),
                _ => problem,
            };
        }
        ValidationErrorKind::Enum { options } => {
            let words: Vec<String> = options.as_array().into_iter().flatten().map(word).collect();
            let message = format!("expected one of {}, found {found}", words.join(", "));
            let near = value.as_str().and_then(|text| nearest(text, words.iter().map(String::as_str)));
            return document.error(place, message).did_you_mean(near);
        }
        ValidationErrorKind::Minimum { limit } => format!("at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("at most {limit}"),
        ValidationErrorKind::MinItems { limit: 1 } | ValidationErrorKind::MinLength { limit: 1 } => {
            return document.error(place, format!("{} must not be empty", name_of(place)));
        }
        ValidationErrorKind::MaxLength { limit } => {
            let length = value.as_str().map_or(0, |text| text.chars().count());
            return document
                .error(place, format!("{} has {length} characters: at most {limit} are allowed", name_of(place)));
        }
        ValidationErrorKind::Pattern { .. } => match place.steps().last() {
            Some(Step::Key(key)) if key == "sha" => "4 to 64 hexadecimal digits".to_owned(),
            Some(Step::Key(key)) if key == "user" => "`UID` or `UID:GID`, in numbers".to_owned(),
            Some(Step::Key(key)) if matches!(key.as_ref(), "groupSize" | "maxWorkers") => {
                "a whole number or `auto`".to_owned()
            }
            Some(Step::Key(key)) if key == "pacing" => {
                let message = format!("expected `safe`, `normal`, `fast` or a number of milliseconds, found {found}");
                let near = value.as_str().and_then(|text| nearest(text, PacingWord::ALL));
                return document.error(place, message).did_you_mean(near);
            }
            _ => "another form".to_owned(),
        },
        other => return document.error(place, format!("not allowed by the schema ({}): {error}", other.keyword())),
    };
    document.error(place, format!("expected {expected}, found {found}"))
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// What to call the value at a place: by its key, or as one of a list.
fn name_of(place: &Pointer) -> String {
    let mut steps = place.steps().iter().rev();
    match (steps.next(), steps.next()) {
        (Some(Step::Key(key)), _) => format!("`{key}`"),
        (Some(Step::Index(_)), Some(Step::Key(key))) => format!("an entry of `{key}`"),
        _ => "the value".to_owned(),
    }
}

/// The part of the schema that speaks about the place.
fn schema_at(place: &Pointer) -> Option<&'static Value> {
    let mut at = resolve(&SCHEMA);
    for step in place.steps() {
        at = resolve(match step {
            Step::Index(_) => at.get("items")?,
            Step::Key(key) => at
                .get("properties")
                .and_then(|properties| properties.get(key.as_ref()))
                .or_else(|| at.get("additionalProperties"))?,
        });
    }
    Some(at)
}

pub(super) fn resolve(schema: &'static Value) -> &'static Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| SCHEMA.pointer(reference.trim_start_matches('#')))
        .unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::reader;

    /// Items of which some are right and some are wrong, each in its own way.
    const ITEMS: &[&str] = &[
        "{name: a}",
        "{name: ''}",
        "{name: a, name: b}",
        "{name: 1}",
        "{name: ~}",
        "{}",
        "[a]",
        "a",
        "{name: a, colour: red}",
        "{name: a, deps: [b, c], branch: x/y, priority: -3, strategy: squash, sha: abcd}",
        "{name: a, deps: b}",
        "{name: a, deps: [1]}",
        "{name: a, branch: ''}",
        "{name: a, priority: 1.0}",
        "{name: a, priority: 9007199254740992}",
        "{name: a, priority: 18446744073709551615}",
        "{name: a, strategy: fold}",
        "{name: a, sha: xyz}",
        "{name: a, gates: [{name: g, run: x, env: {A: b}, at: [cone], inputs: [c], clean: true, timeoutSeconds: 1}]}",
        "{name: a, gates: [{name: g, run: x, env: {A: 1}}]}",
        "{name: a, gates: [{name: g, run: x, at: []}]}",
        "{name: a, gates: [{name: g, run: x, inputs: ['']}]}",
        "{name: a, gates: [{name: g, run: x, timeoutSeconds: 0}]}",
        "{name: a, gates: [{run: x}]}",
    ];

    #[test]
    fn what_is_surely_allowed_is_allowed() {
        let long = |length: usize| format!("{{name: {}}}", "ü".repeat(length));
        let items = ITEMS.iter().map(|item| (*item).to_owned()).chain([long(200), long(201)]);
        let surely = items.filter(|item| {
            let node = reader::read(item).unwrap();
            let surely = SURE_ITEM.allows(&node, item);
            assert!(!surely || ITEM_VALIDATOR.is_valid(&node.value(item)), "{item}");
            surely
        });
        // Such as most plans are made of, at least.
        assert_eq!(surely.collect::<Vec<_>>(), [ITEMS[0], ITEMS[18]]);
    }

    /// What stands beside the items of plans, some right and some wrong.
    const RESTS: &[&str] = &[
        "schemaVersion: v1",
        "schemaVersion: 1",
        "schemaVersion: 1.0.0",
        "schemaVersion: 1.7.3",
        "schemaVersion: v2",
        "schemaVersion: 2",
        "schemaVersion: [v1]",
        "target: main",
        "schemaVersion: v1\nitems: 3",
        "schemaVersion: v1\nitems: [~, 3]",
        "schemaVersion: v1\nschemaVersion: v1",
        "schemaVersion: v1\ntarget: ''",
        "schemaVersion: v1\ncolour: red",
        "schemaVersion: v1\ngates: [{name: unit, run: x, resources: [db]}]\npolicy: {maxWorkers: auto, groupSize: 2}",
        "schemaVersion: v1\ngates: [{name: unit, run: x, resources: {gpu: 2}}]\npolicy: {resources: {gpu: 4}}",
        "schemaVersion: v1\ngates: [{name: unit, run: x, resources: {gpu: 0}}]",
        "schemaVersion: v1\ngates: [{name: unit, run: x, resources: db}]",
        "schemaVersion: v1\npolicy: {maxWorkers: autos}",
        "schemaVersion: v1\npolicy: {maxWorkers: 0}",
        "schemaVersion: v1\npolicy: {maxWorkers: 1025}",
        "schemaVersion: v1\npolicy: {maxWorkers: 2.5}",
        "schemaVersion: v1\npolicy: {landing: boat}",
        "schemaVersion: v1\npolicy: {resources: {api: {limit: 3, perMinute: 60}}}",
        "schemaVersion: v1\npolicy: {retries: {unit: {maxAttempts: 3, backoffSeconds: 5}}}",
    ];

    #[test]
    fn what_surely_stands_beside_items_is_allowed_beside_them() {
        let surely = RESTS.iter().filter(|rest| {
            let document = Document::read("plan.yaml", rest.as_bytes()).unwrap();
            let surely = SURE_BUT_FOR_ITEMS.allows(document.root(), document.text());
            let (data, has_items) = (without_items(&document), document.items().is_some());
            let told = VALIDATOR.iter_errors(&data).map(|error| place_of(&error, &Pointer::root()));
            assert!(!surely || told.filter(|place| !(has_items && stands_for_items(place))).count() == 0, "{rest}");
            surely
        });
        let most_plans: Vec<&str> = [0, 1, 2, 9, 13, 14, 23].map(|at| RESTS[at]).to_vec();
        assert_eq!(surely.copied().collect::<Vec<_>>(), most_plans);
    }

    #[test]
    fn the_examples_of_what_a_pattern_describes_fit_it() {
        fn described_by_patterns<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
            match schema {
                Value::Object(words) => {
                    found.extend(words.contains_key("pattern").then_some(schema));
                    words.values().for_each(|value| described_by_patterns(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| described_by_patterns(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        described_by_patterns(&SCHEMA, &mut found);
        let mut tried = 0;
        for schema in found {
            let validator = jsonschema::validator_for(schema).unwrap();
            for example in schema.get("examples").and_then(Value::as_array).into_iter().flatten() {
                assert!(validator.is_valid(example), "{example} of {schema}");
                tried += 1;
            }
        }
        assert!(tried >= 3, "{tried}");
    }

    #[test]
    fn the_schema_objects_to_what_stands_for_the_items() {
        let document = Document::read("plan.yaml", b"schemaVersion: v1\nitems: [{ name: a }, 7]\n").unwrap();
        let rest = without_items(&document);
        let places: Vec<Pointer> =
            VALIDATOR.iter_errors(&rest).map(|error| place_of(&error, &Pointer::root())).collect();
        assert_eq!(places.iter().filter(|place| stands_for_items(place)).count(), places.len());
        assert_eq!(places.len(), 1);
        assert_eq!(conform(&document).mended, BTreeMap::from([(1, Value::Null)]));
    }
}
