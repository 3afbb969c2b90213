//! A quick yes to what the schema surely allows.
//!
//! Made of the schema itself, of the few of its words that most values are described with. It never
//! says no: where it is not sure, the validator, which knows all words, is asked.

use serde_json::{Map, Value};

use super::conform::resolve;
use super::tree::{Content, Entry, Node};

/// What a value must be, so that the schema surely allows it.
#[derive(Debug)]
pub(super) enum Sure {
    Text {
        least: usize,
        most: usize,
    },
    Word(Vec<&'static str>),
    Whole {
        least: i64,
        most: i64,
    },
    Flag,
    List {
        least: usize,
        elements: Box<Sure>,
    },
    Map {
        keys: Vec<(&'static str, Sure)>,
        required: Vec<&'static str>,
    },
    /// A map of whatever keys.
    Table(Box<Sure>),
    Either(Vec<Sure>),
    Anything,
    /// Nothing: ask the validator.
    Never,
}

/// What is said to people, and what says no more than where the schema of a value stands.
const WITHOUT_EFFECT: [&str; 7] = ["$schema", "$defs", "title", "description", "default", "examples", "format"];

/// Words that say something of values of one kind alone.
const OF_ONE_KIND: [(&str, &[&str]); 4] = [
    ("string", &["minLength", "maxLength", "pattern"]),
    ("number", &["minimum", "maximum"]),
    ("array", &["items", "minItems"]),
    ("object", &["properties", "required", "additionalProperties"]),
];

impl Sure {
    /// From a part of the schema.
    pub fn of(schema: &'static Value) -> Self {
        resolve(schema).as_object().and_then(Self::of_words).unwrap_or(Self::Never)
    }

    /// The same for a map whose `key` may also hold a list of whatever.
    pub fn with_any_list(mut self, key: &str) -> Self {
        if let Self::Map { keys, .. } = &mut self {
            let of_key = keys.iter_mut().filter(|(known, _)| *known == key);
            of_key.for_each(|(_, sure)| *sure = Self::List { least: 0, elements: Box::new(Self::Anything) });
        }
        self
    }

    fn of_words(words: &'static Map<String, Value>) -> Option<Self> {
        match words.get("type")? {
            Value::String(kind) => Self::of_kind(kind, words),
            Value::Array(kinds) => {
                let sure = kinds.iter().filter_map(|kind| Self::of_kind(kind.as_str()?, words));
                Some(Self::Either(sure.collect()))
            }
            _ => None,
        }
    }

    /// What values of one kind must be. Words about other kinds have no effect on these (JSON Schema Validation, 6).
    fn of_kind(kind: &str, words: &'static Map<String, Value>) -> Option<Self> {
        let has_effect = |word: &str| {
            let of_one = OF_ONE_KIND.iter().find(|(_, words)| words.contains(&word));
            of_one.is_none_or(|(of, _)| *of == kind || (*of, kind) == ("number", "integer"))
        };
        let knows = |known: &[&str]| {
            let mut with_effect = words.keys().map(String::as_str).filter(|word| has_effect(word));
            with_effect.all(|word| known.contains(&word) || WITHOUT_EFFECT.contains(&word))
        };
        let count = |word: &str, absent: usize| match words.get(word) {
            Some(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            None => Some(absent),
        };
        let whole = |word: &str, absent: i64| words.get(word).map_or(Some(absent), Value::as_i64);
        match kind {
            "string" if words.contains_key("pattern") && knows(&["type", "pattern"]) => Self::of_pattern(words),
            "string" if knows(&["type", "minLength", "maxLength"]) => {
                Some(Self::Text { least: count("minLength", 0)?, most: count("maxLength", usize::MAX)? })
            }
            "string" if knows(&["type", "enum"]) => {
                let words = words.get("enum")?.as_array()?;
                words.iter().map(Value::as_str).collect::<Option<_>>().map(Self::Word)
            }
            // Of numbers, the whole ones between whole bounds.
            "integer" | "number" if knows(&["type", "minimum", "maximum"]) => {
                Some(Self::Whole { least: whole("minimum", i64::MIN)?, most: whole("maximum", i64::MAX)? })
            }
            "boolean" if knows(&["type"]) => Some(Self::Flag),
            "array" if knows(&["type", "items", "minItems"]) => {
                let elements = Box::new(Self::of(words.get("items")?));
                Some(Self::List { least: count("minItems", 0)?, elements })
            }
            "object"
                if knows(&["type", "properties", "required", "additionalProperties"])
                    && words.get("additionalProperties") == Some(&Value::Bool(false)) =>
            {
                let properties = words.get("properties")?.as_object()?;
                let required = words.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                Some(Self::Map {
                    keys: properties.iter().map(|(key, schema)| (key.as_str(), Self::of(schema))).collect(),
                    required: required.iter().map(Value::as_str).collect::<Option<_>>()?,
                })
            }
            "object" if knows(&["type", "additionalProperties"]) => {
                Some(Self::Table(Box::new(Self::of(words.get("additionalProperties")?))))
            }
            _ => None,
        }
    }

    /// Of a text that a pattern describes: the one word that it is, or the examples. That the schema allows these is
    /// tested.
    fn of_pattern(words: &'static Map<String, Value>) -> Option<Self> {
        let pattern = words.get("pattern")?.as_str()?;
        let word = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix('$'));
        let word = word.filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let examples = words.get("examples").and_then(Value::as_array).into_iter().flatten();
        Some(Self::Word(word.into_iter().chain(examples.filter_map(Value::as_str)).collect()))
    }

    /// Whether the schema surely allows `node`, and no map in it has a key twice.
    pub fn allows(&self, node: &Node, source: &str) -> bool {
        match (self, &node.content) {
            (Self::Text { least, most }, Content::Text(text)) => {
                let text = text.of(source);
                // Characters are no more than bytes, and no fewer than a quarter of them.
                text.len() <= *most && (text.len() / 4 >= *least || text.chars().count() >= *least)
            }
            (Self::Word(words), Content::Text(text)) => words.contains(&text.of(source)),
            (Self::Whole { least, most }, Content::Signed(value)) => (*least..=*most).contains(value),
            (Self::Whole { least, most }, Content::Unsigned(value)) => {
                i64::try_from(*value).is_ok_and(|value| (*least..=*most).contains(&value))
            }
            (Self::Flag, Content::Bool(_)) => true,
            (Self::List { least, elements }, Content::List(nodes)) => {
                nodes.len() >= *least && nodes.iter().all(|node| elements.allows(node, source))
            }
            (Self::Map { keys, required }, Content::Map(entries)) => {
                let known = |entry: &Entry| {
                    let key = entry.key.of(source);
                    keys.iter().any(|(known, sure)| *known == key && sure.allows(&entry.value, source))
                };
                no_key_twice(entries, source)
                    && entries.iter().all(known)
                    && required.iter().all(|key| node.get(key, source).is_some())
            }
            (Self::Table(values), Content::Map(entries)) => {
                no_key_twice(entries, source) && entries.iter().all(|entry| values.allows(&entry.value, source))
            }
            (Self::Either(kinds), _) => kinds.iter().any(|sure| sure.allows(node, source)),
            (Self::Anything, _) => true,
            _ => false,
        }
    }
}

/// For the few keys that a map has that is not large.
fn no_key_twice(entries: &[Entry], source: &str) -> bool {
    entries.iter().enumerate().all(|(at, entry)| {
        let key = entry.key.of(source);
        entries[..at].iter().all(|before| before.key.of(source) != key)
    })
}
