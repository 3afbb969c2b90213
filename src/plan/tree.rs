//! The tree that a text is read into: values, and the place of each.
//!
//! Made to be small, for a plan may have millions of values: texts that stand in the source as they
//! are meant are not copied. Knows neither how a text is read nor what a plan is.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::problem::Span;

/// More than any map has keys that the schema names; beyond, only environments and the like go.
const UNINDEXED_KEYS: usize = 32;

/// Where something stands, and, if it came by an alias or a merge key, where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub used: Span,
    pub defined: Option<Box<Span>>,
}

impl Place {
    /// Where the text to change stands.
    pub fn written(&self) -> Span {
        self.defined.as_deref().copied().unwrap_or(self.used)
    }
}

/// A text of the document. Those who ask for it have the source at hand.
#[derive(Clone, Debug)]
pub(super) enum Text {
    /// So it stands in the source, between these bytes.
    Source {
        start: u32,
        end: u32,
    },
    Own(Box<str>),
}

impl Text {
    pub fn of<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Source { start, end } => source.get(*start as usize..*end as usize).unwrap_or_default(),
            Self::Own(text) => text,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Text),
    List(Box<[Node]>),
    Map(Box<[Entry]>),
    /// One with so many keys that looking through them would show.
    LargeMap(Box<LargeMap>),
}

#[derive(Clone, Debug)]
pub(super) struct LargeMap {
    entries: Box<[Entry]>,
    /// The last entry of each key.
    index: HashMap<Box<str>, usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Text,
    pub key_place: Place,
    pub value: Node,
}

impl Content {
    pub fn map(entries: Box<[Entry]>, source: &str) -> Self {
        if entries.len() <= UNINDEXED_KEYS {
            return Self::Map(entries);
        }
        let index = entries.iter().enumerate().map(|(at, entry)| (Box::from(entry.key.of(source)), at)).collect();
        Self::LargeMap(Box::new(LargeMap { entries, index }))
    }

    /// The whole number or the fraction that JSON Schema takes a float for: `1.0` is whole to it.
    pub fn float(value: f64) -> Result<i64, f64> {
        /// Whole numbers up to here have a float of their own (2^53).
        const EXACT: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 in magnitude fits")]
        if value.fract() == 0.0 && value.abs() <= EXACT { Ok(value as i64) } else { Err(value) }
    }
}

impl Node {
    /// The entries of a map, in the order of the text.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            Content::LargeMap(map) => Some(&map.entries),
            _ => None,
        }
    }

    /// The last entry of a map that has the key.
    pub fn get(&self, key: &str, source: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().rfind(|entry| entry.key.of(source) == key),
            Content::LargeMap(map) => map.index.get(key).map(|at| &map.entries[*at]),
            _ => None,
        }
    }

    pub fn is_container(&self) -> bool {
        matches!(self.content, Content::List(_) | Content::Map(_) | Content::LargeMap(_))
    }

    /// Whether the value is text that can be underlined as such.
    pub fn is_visible(&self) -> bool {
        let span = self.place.written();
        !self.is_container() && span.start < span.end
    }

    /// Where to point for this value: a map begins with its first key.
    pub fn visible_place(&self) -> &Place {
        self.entries().and_then(<[Entry]>::first).map_or(&self.place, |first| &first.key_place)
    }

    /// Whether a map in this value has a key twice.
    pub fn repeats_a_key(&self, source: &str) -> bool {
        let mut seen = HashSet::new();
        let twice = self.entries().unwrap_or_default().iter().any(|entry| !seen.insert(entry.key.of(source)));
        let below = |node: &Self| node.repeats_a_key(source);
        twice
            || match &self.content {
                Content::List(nodes) => nodes.iter().any(below),
                _ => self.entries().unwrap_or_default().iter().map(|entry| &entry.value).any(below),
            }
    }

    /// The data without its places. Of a repeated key the last value stands.
    pub fn value(&self, source: &str) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::from(*value),
            Content::Signed(value) => Value::from(*value),
            Content::Unsigned(value) => Value::from(*value),
            Content::Float(value) => Content::float(*value).map_or_else(Value::from, Value::from),
            Content::Text(text) => Value::from(text.of(source)),
            Content::List(nodes) => nodes.iter().map(|node| node.value(source)).collect(),
            Content::Map(_) | Content::LargeMap(_) => self
                .entries()
                .into_iter()
                .flatten()
                .map(|entry| (entry.key.of(source).to_owned(), entry.value.value(source)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_no_more_memory_than_it_needs() {
        // Millions of them are in memory at once: docs/performance.md has what that comes to.
        assert_eq!(size_of::<Node>(), 48);
        assert_eq!(size_of::<Entry>(), 88);
    }
}
