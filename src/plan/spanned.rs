//! Reads a YAML or JSON text once into a tree in which every key and value knows its place.
//!
//! Knows nothing of plans: it turns bytes into a [`Document`], and places in the document back
//! into lines of the text. Nesting, size and what aliases may add are bounded, so that no input
//! takes long.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{DefaultMessageFormatter, Error as YamlError, Location, MessageFormatter, Options, Spanned};

use super::pointer::{Pointer, Step};
use super::problem::{Problem, Quoted, Source, Span};

/// A plan of 100,000 items with gates of their own has about 30 MB.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The schema nests nine deep (plan, items, item, gates, gate, container, mounts, mount); the rest is
/// room for a clear message. The reader recurses, so that much deeper would need a large stack.
const MAX_DEPTH: usize = 20;

/// What aliases may add to a small document, in parser events; enough for a hundred items that
/// share fifty gates, and soon reached by a bomb.
const MIN_ALIAS_EVENTS: usize = 50_000;

/// What aliases may add to a large document, per byte of it: an item of 25 bytes may share 200
/// events of gates.
const ALIAS_EVENTS_PER_BYTE: usize = 8;

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

impl Document {
    /// Reads `bytes`, which `name` (a path, or `-`) is what to call.
    ///
    /// # Errors
    /// The one problem that keeps the text from being read at all. A text can have further
    /// problems that reading goes on after: [`Document::repeated_keys`].
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, (Source, Box<Problem>)> {
        let source_of = |text: &str| Source { name: name.to_owned(), text: Arc::from(text) };
        if bytes.len() > MAX_BYTES {
            let message = format!("a plan of {} bytes is too large: at most {MAX_BYTES} are read", bytes.len());
            return Err((source_of(""), Box::new(Problem::error(message))));
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
    let alias_events = bytes.saturating_mul(ALIAS_EVENTS_PER_BYTE).max(MIN_ALIAS_EVENTS);
    // A value of its own takes at least a byte of text; the rest comes by aliases.
    let nodes = bytes.saturating_add(alias_events).saturating_add(1);
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
            max_nodes: nodes,
            max_events: nodes.saturating_mul(3),
            max_aliases: bytes,
            max_anchors: bytes,
            max_merge_keys: bytes,
            max_recorded_anchor_events: alias_events,
            // Many items sharing one anchor is what anchors are for.
            enforce_alias_anchor_ratio: false,
        },
    }
}

fn span(location: &Location) -> Span {
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
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { place: place(&spanned.referenced, &spanned.defined), content: spanned.value })
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

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Content::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key_place = place(&key.referenced, &key.defined);
            entries.push(Entry { key: key.value, key_place, value: map.next_value()? });
        }
        let index = (entries.len() > UNINDEXED_KEYS)
            .then(|| entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect());
        Ok(Content::Map(Map { entries, index }))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Content, E> {
        Err(E::custom("binary data has no place in a plan"))
    }
}

/// The reader's error in the words of this tool.
fn unreadable(error: &YamlError, text: &str) -> Problem {
    let inner = match error.without_snippet() {
        YamlError::AliasError { error, .. } => error,
        other => other,
    };
    let said = DefaultMessageFormatter.format_message(inner).into_owned();
    let aliases_too_large = || {
        Problem::error("the aliases of this document expand to far more than the document itself")
            .hint("write out what differs, or give the shared gates once under `gates`")
    };
    let problem = match inner {
        YamlError::Budget { breach: serde_yaml::budget::BudgetBreach::Depth { .. }, .. } => too_deep(),
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => aliases_too_large(),
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => {
            Problem::error("an alias stands inside the anchor that it names").hint("nothing can contain itself")
        }
        YamlError::MultipleDocuments { .. } => {
            Problem::error("a second YAML document begins here").hint("a plan is one document: remove the `---`")
        }
        YamlError::NullIntoString { .. } => Problem::error("a key is missing before this `:`"),
        YamlError::Unexpected { expected: "string scalar", .. } => Problem::error("a key must be text"),
        YamlError::UnsupportedTag { tag, .. } => {
            Problem::error(format!("the tag {} means nothing in a plan", Quoted(tag)))
        }
        YamlError::MergeValueNotMapOrSeqOfMaps { .. } => {
            Problem::error("`<<` merges maps: expected an alias of a map, or a list of such aliases")
        }
        _ if said.contains("recursion limit") => too_deep(),
        _ if said.starts_with("tabs disallowed") => {
            Problem::error("a tab stands where this line is indented").hint("YAML is indented with spaces")
        }
        _ => Problem::error(format!("not valid YAML or JSON: {}", said.trim_end_matches('.'))),
    };
    Problem { at: error.location().map(|location| place_of_error(&location, text)), ..problem }
}

/// Where a text ends.
fn end_of(text: &str) -> Span {
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let last_line = text.rsplit('\n').next().unwrap_or("");
    Span {
        start: narrow(text.len()),
        end: narrow(text.len()),
        line: narrow(text.matches('\n').count() + 1),
        column: narrow(last_line.chars().count() + 1),
    }
}

fn too_deep() -> Problem {
    Problem::error(format!("nested too deeply: more than {MAX_DEPTH} lists or maps inside each other"))
        .hint("a plan needs no more than ten")
}

/// Some errors come with a line and a column alone.
fn place_of_error(location: &Location, text: &str) -> Span {
    let mut found = span(location);
    if location.span().byte_offset().is_none() {
        let line_start = match found.line {
            0 | 1 => 0,
            line => text.match_indices('\n').nth(line as usize - 2).map_or(text.len(), |(at, _)| at + 1),
        };
        let line = text[line_start..].lines().next().unwrap_or("");
        let before = line.char_indices().nth(found.column as usize - 1).map_or(line.len(), |(at, _)| at);
        let width = line[before..].chars().next().map_or(0, char::len_utf8);
        found.start = u32::try_from(line_start + before).unwrap_or(u32::MAX);
        found.end = found.start + u32::try_from(width).unwrap_or(0);
    }
    found
}
