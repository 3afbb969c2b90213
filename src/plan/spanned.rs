//! Reads a YAML or JSON text once into a tree in which every key and value knows its place.
//!
//! Knows nothing of plans: it turns bytes into a [`Document`], and places in the document back
//! into lines of the text. Nesting, size and what aliases may add are bounded, so that no input
//! takes long.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Options, Spanned};

use super::pointer::{Pointer, Step};
use super::problem::{Problem, Quoted, Source, Span};
use super::unreadable::{end_of, too_large, unreadable};

/// Bytes of a text that are read. A plan of 10,000 items with gates of their own has about 3 MB.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of one value, after escapes: Linux gives a process no longer argument
/// (`MAX_ARG_STRLEN`, execve(2)), so that no longer command can be run.
pub const MAX_TEXT_BYTES: usize = 128 * 1024;

/// Keys of one map. The schema names no more than twenty for one; environments have the most.
pub const MAX_KEYS: usize = 10_000;

/// Bytes of a key. YAML allows 1024 characters for one that is not marked with `?`
/// (<https://yaml.org/spec/1.2.2/#742-flow-mappings>).
pub const MAX_KEY_BYTES: usize = 1024;

/// The schema nests nine deep (plan, items, item, gates, gate, container, mounts, mount); the rest is
/// room for a clear message. The reader recurses, so that much deeper would need a large stack.
pub(super) const MAX_DEPTH: usize = 20;

/// Entries of one list, and so items of one plan.
pub const MAX_ENTRIES: usize = 100_000;

/// Values of one document, those that come by aliases included: a plan of 10,000 items with ten
/// gates of their own has fewer. It takes a few hundred megabytes.
pub(super) const MAX_NODES: usize = 1_000_000;

/// What aliases may add to a small document, in [`Node::weight`]; enough for thirty items that share
/// thirty gates, and soon reached by a bomb.
const MIN_ALIAS_WEIGHT: usize = 10_000;

/// What aliases may add to a large document, per byte of it up to there: an item of 25 bytes may
/// share a hundred values of gates.
const ALIAS_WEIGHT_PER_BYTE: usize = 4;

/// So many bytes of text weigh as much as one value without any.
const BYTES_PER_WEIGHT: usize = 16;

/// Bytes of all texts together, those that aliases repeat included.
pub(super) const MAX_EXPANDED_BYTES: usize = 2 * MAX_BYTES;

/// The parser's events that a value has: a map's beginning and end.
const EVENTS_PER_NODE: usize = 2;

/// More than any map has keys that the schema names; beyond, only environments and the like go.
const UNINDEXED_KEYS: usize = 32;

/// A text that was read, with the place of everything in it.
#[derive(Clone, Debug)]
pub struct Document {
    source: Source,
    root: Node,
}

/// Where something stands, and, if it came by an alias or a merge key, where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    used: Span,
    defined: Option<Box<Span>>,
}

impl Place {
    /// Where the text to change stands.
    fn written(&self) -> Span {
        self.defined.as_deref().copied().unwrap_or(self.used)
    }
}

#[derive(Clone, Debug)]
struct Node {
    place: Place,
    content: Content,
    /// Of this value and all below it.
    weight: usize,
    /// Where the text of this value, and of all below it, ends; for an alias, the alias.
    end: u32,
}

#[derive(Clone, Debug)]
enum Content {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

#[derive(Clone, Debug, Default)]
struct Map {
    entries: Vec<Entry>,
    /// The last entry of each key, for maps so large that looking through them would show.
    index: Option<HashMap<String, usize>>,
}

impl Map {
    fn get(&self, key: &str) -> Option<&Entry> {
        match &self.index {
            Some(index) => index.get(key).map(|at| &self.entries[*at]),
            None => self.entries.iter().rfind(|entry| entry.key == key),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    key_place: Place,
    value: Node,
}

impl Entry {
    fn weight(&self) -> usize {
        1 + self.key.len() / BYTES_PER_WEIGHT + self.value.weight
    }
}

impl Document {
    /// Reads `bytes`, which `name` (a path, or `-`) is what to call.
    ///
    /// # Errors
    /// The one problem that keeps the text from being read at all. A text can have further
    /// problems that reading goes on after: [`Document::repeated_keys`].
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, (Source, Box<Problem>)> {
        let source_of = |text: &str| Source { name: name.to_owned(), text: Arc::from(text) };
        if bytes.len() > MAX_BYTES {
            return Err((source_of(""), Box::new(too_large())));
        }
        let text = match std::str::from_utf8(bytes) {
            // Places are counted without the mark that some editors begin a file with.
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
                let problem =
                    Problem::error("not UTF-8 text from here on").hint("a plan is a YAML or JSON file in UTF-8");
                let problem = Problem { at: Some(end_of(&good)), ..problem };
                return Err((source_of(&good), Box::new(problem)));
            }
        };
        let source = source_of(text);
        match serde_yaml::from_str_with_options::<Node>(text, options(text.len())) {
            Ok(root) => Ok(Self { source, root }),
            Err(error) => {
                let problem = unreadable(&error, text);
                Err((source, Box::new(problem)))
            }
        }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Nothing but white space and comments.
    pub fn is_empty(&self) -> bool {
        matches!(self.root.content, Content::Null) && self.root.place.used.start == self.root.place.used.end
    }

    /// The data without its places. Of a repeated key the last value stands.
    pub fn value(&self) -> Value {
        self.root.value()
    }

    /// A problem at the value that `path` leads to, or as near to it as the text goes.
    pub fn error(&self, path: &Pointer, message: impl Into<String>) -> Problem {
        let found = self.find(path);
        // Brackets and empty places say little; the key before them says what is meant.
        let place = match found.key {
            Some(key) if !found.node.is_visible() => key,
            _ => found.node.visible_place(),
        };
        located(Problem { path: path.clone(), ..Problem::error(message) }, place)
    }

    /// A problem at the key that `path` leads to.
    pub fn error_at_key(&self, path: &Pointer, message: impl Into<String>) -> Problem {
        let found = self.find(path);
        let place = found.key.unwrap_or_else(|| found.node.visible_place());
        located(Problem { path: path.clone(), ..Problem::error(message) }, place)
    }

    /// Where the value at `path` is used: for something that came by an alias, the alias.
    pub fn used_at(&self, path: &Pointer) -> Span {
        let found = self.find(path);
        match found.key {
            Some(key) if !found.node.is_visible() => key.used,
            _ => found.node.visible_place().used,
        }
    }

    /// Where the value at `path` is written: for something that came by an alias, in the anchor.
    pub fn written_at(&self, path: &Pointer) -> Span {
        self.find(path).node.visible_place().written()
    }

    /// Whether there is a value at `path`.
    pub fn has(&self, path: &Pointer) -> bool {
        self.find(path).steps == path.steps().len()
    }

    /// The text as it was written at `path`; empty for lists and maps.
    pub fn written(&self, path: &Pointer) -> &str {
        let found = self.find(path);
        match &found.node.content {
            Content::List(_) | Content::Map(_) => "",
            _ => {
                let span = found.node.place.written();
                self.source.text.get(span.start as usize..span.end as usize).unwrap_or("")
            }
        }
    }

    /// Keys that stand twice in one map.
    pub fn repeated_keys(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.root.repeated_keys(&Pointer::root(), &mut problems);
        problems
    }

    fn find(&self, path: &Pointer) -> Found<'_> {
        let mut found = Found { key: None, node: &self.root, steps: 0 };
        for step in path.steps() {
            let next = match (step, &found.node.content) {
                (Step::Key(key), Content::Map(map)) => map.get(key).map(|entry| (Some(&entry.key_place), &entry.value)),
                (Step::Index(index), Content::List(nodes)) => nodes.get(*index).map(|node| (None, node)),
                _ => None,
            };
            match next {
                Some((key, node)) => found = Found { key, node, steps: found.steps + 1 },
                None => break,
            }
        }
        found
    }
}

/// What a path leads to, or as near to it as there is something.
struct Found<'a> {
    /// How many steps of the path there were to take.
    steps: usize,
    key: Option<&'a Place>,
    node: &'a Node,
}

fn located(mut problem: Problem, place: &Place) -> Problem {
    problem.at = Some(place.written());
    if place.defined.is_some() {
        problem.related.push((place.used, "used here".to_owned()));
    }
    problem
}

impl Node {
    /// Whether the value is text that can be underlined as such.
    fn is_visible(&self) -> bool {
        let span = self.place.written();
        !matches!(self.content, Content::List(_) | Content::Map(_)) && span.start < span.end
    }

    /// Where to point for this value: a map begins with its first key.
    fn visible_place(&self) -> &Place {
        match &self.content {
            Content::Map(map) => map.entries.first().map_or(&self.place, |first| &first.key_place),
            _ => &self.place,
        }
    }

    fn value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::from(*value),
            Content::Signed(value) => Value::from(*value),
            Content::Unsigned(value) => Value::from(*value),
            Content::Float(value) => whole(*value).map_or_else(|| Value::from(*value), Value::from),
            Content::Text(value) => Value::from(value.as_str()),
            Content::List(nodes) => nodes.iter().map(Self::value).collect(),
            Content::Map(map) => {
                map.entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.value()))
                    .collect::<serde_json::Map<_, _>>()
            }
            .into(),
        }
    }

    fn repeated_keys(&self, path: &Pointer, problems: &mut Vec<Problem>) {
        match &self.content {
            Content::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if matches!(node.content, Content::List(_) | Content::Map(_)) {
                        node.repeated_keys(&path.join(index), problems);
                    }
                }
            }
            Content::Map(map) => {
                let mut first = HashMap::with_capacity(map.entries.len());
                for entry in &map.entries {
                    if let Some(before) = first.insert(entry.key.as_str(), &entry.key_place) {
                        let message = format!("the key {} stands here twice", Quoted(&entry.key));
                        let problem = Problem { path: path.join(entry.key.clone()), ..Problem::error(message) };
                        let mut problem = located(problem, &entry.key_place).hint("keep one of the two");
                        problem.related.push((before.written(), "first here".to_owned()));
                        problems.push(problem);
                    }
                    if matches!(entry.value.content, Content::List(_) | Content::Map(_)) {
                        entry.value.repeated_keys(&path.join(entry.key.clone()), problems);
                    }
                }
            }
            _ => {}
        }
    }
}

/// `1.0` is a whole number to JSON Schema, so it must be one here too.
fn whole(value: f64) -> Option<i64> {
    /// Whole numbers up to here have a float of their own (2^53).
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 in magnitude fits")]
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn options(bytes: usize) -> Options {
    let alias_weight = bytes.saturating_mul(ALIAS_WEIGHT_PER_BYTE).max(MIN_ALIAS_WEIGHT);
    let alias_events = alias_weight.saturating_mul(EVENTS_PER_NODE).min(MAX_NODES * EVENTS_PER_NODE);
    serde_yaml::options! {
        // `no` is a name, not false; `010` and `1_0` are what they look like; `.nan` is text.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // Repeated keys are found in the tree, all of them and each with its path.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: alias_events },
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            // Beginnings and ends, and each alias that brought something.
            max_events: MAX_NODES * 2 * EVENTS_PER_NODE,
            max_total_scalar_bytes: MAX_EXPANDED_BYTES,
            max_aliases: bytes,
            max_anchors: bytes,
            max_merge_keys: bytes,
            max_recorded_anchor_events: alias_events,
            // Many items sharing one anchor is what anchors are for.
            enforce_alias_anchor_ratio: false,
        },
    }
}

pub(super) fn span(location: &Location) -> Span {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let start = location.span().byte_offset().unwrap_or(0);
    let end = start + location.span().byte_len().unwrap_or(0);
    Span {
        start: narrow(start),
        end: narrow(end),
        line: narrow(location.line()).max(1),
        column: narrow(location.column()).max(1),
    }
}

fn place(used: &Location, defined: &Location) -> Place {
    let (used, defined) = (span(used), span(defined));
    Place { used, defined: (used != defined).then(|| Box::new(defined)) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: content, referenced, defined } = Spanned::deserialize(deserializer)?;
        let place = place(&referenced, &defined);
        let (below, end) = match &content {
            Content::List(nodes) => (nodes.iter().map(|node| node.weight).sum(), nodes.last().map(|last| last.end)),
            Content::Map(map) => {
                (map.entries.iter().map(Entry::weight).sum(), map.entries.last().map(|last| last.value.end))
            }
            Content::Text(text) => (text.len() / BYTES_PER_WEIGHT, None),
            _ => (0, None),
        };
        let end = end.filter(|_| place.defined.is_none()).unwrap_or(0).max(place.used.end);
        Ok(Self { place, content, weight: 1 + below, end })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
        bounded("a text", value, MAX_TEXT_BYTES)?;
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Content, E> {
        bounded("a text", &value, MAX_TEXT_BYTES)?;
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut gain = Gain::default();
        while let Some(node) = list.next_element::<Node>()? {
            gain.add(node.weight, node.place.used.start, node.end)?;
            if nodes.len() == MAX_ENTRIES {
                let refusal = format!("a list with more than {MAX_ENTRIES} entries");
                return Err(A::Error::invalid_length(nodes.len(), &refusal.as_str()));
            }
            nodes.push(node);
        }
        Ok(Content::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        let mut gain = Gain::default();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key_place = place(&key.referenced, &key.defined);
            bounded("a key", &key.value, MAX_KEY_BYTES)?;
            if entries.len() == MAX_KEYS {
                let refusal = format!("a map with more than {MAX_KEYS} keys");
                return Err(A::Error::invalid_length(entries.len(), &refusal.as_str()));
            }
            let entry = Entry { key: key.value, key_place, value: map.next_value()? };
            gain.add(entry.weight(), entry.key_place.used.start, entry.value.end)?;
            entries.push(entry);
        }
        let index = (entries.len() > UNINDEXED_KEYS)
            .then(|| entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect());
        Ok(Content::Map(Map { entries, index }))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Content, E> {
        Err(E::custom("binary data has no place in a plan"))
    }
}

/// What a list or a map weighs, and how much text there was to read for it: where aliases bring
/// far more than what is written, reading ends early, however large the document.
#[derive(Default)]
struct Gain {
    weight: usize,
    first_byte: Option<u32>,
}

impl Gain {
    fn add<E: de::Error>(&mut self, weight: usize, start: u32, end: u32) -> Result<(), E> {
        self.weight += weight;
        let bytes = end.saturating_sub(*self.first_byte.get_or_insert(start)) as usize;
        if self.weight > MIN_ALIAS_WEIGHT + bytes * ALIAS_WEIGHT_PER_BYTE {
            return Err(E::invalid_length(self.weight, &EXPANSION));
        }
        Ok(())
    }
}

/// How the reader's errors name what [`Gain`] refuses.
pub(super) const EXPANSION: &str = "no such expansion";

/// Refuses text that is longer than any that a plan needs.
fn bounded<E: de::Error>(what: &str, text: &str, most: usize) -> Result<(), E> {
    if text.len() > most {
        let refusal = format!("{what} of {} bytes, of which at most {most} are read", text.len());
        return Err(E::invalid_length(text.len(), &refusal.as_str()));
    }
    Ok(())
}
