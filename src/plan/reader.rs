//! Reads any YAML or JSON text into a tree: anchors, aliases, merge keys, tags and all, or says why
//! it cannot be read.
//!
//! What most plans are, [`super::plain_reader`] reads in half the time. Here what aliases bring is
//! weighed while the document is read, so that no bomb takes long.

use serde::de::{self, Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, Location, Options, Spanned};

use super::problem::Span;
use super::spanned::{
    MAX_ALIASED_NODES, MAX_DEPTH, MAX_ENTRIES, MAX_KEY_BYTES, MAX_KEYS, MAX_NODES, MAX_TEXT_BYTES, most_expanded_bytes,
};
use super::tree::{Content, Entry, Node, Place, Text};

/// What aliases may add to a small document, in [`Read::weight`]; enough for thirty items that share
/// thirty gates, and soon reached by a bomb.
const MIN_ALIAS_WEIGHT: usize = 10_000;

/// What aliases may add to a large document, per byte of it up to there: an item of 25 bytes may
/// share a hundred values of gates.
const ALIAS_WEIGHT_PER_BYTE: usize = 4;

/// So many bytes of text weigh as much as one value without any.
const BYTES_PER_WEIGHT: usize = 16;

/// The parser's events that a value has: a map's beginning and end.
const EVENTS_PER_NODE: usize = 2;

/// The tree of a text.
///
/// # Errors
/// In the reader's own words, which [`super::unreadable`] translates.
pub(super) fn read(source: &str) -> Result<Node, Error> {
    serde_yaml::from_str_with_options::<Read>(source, options(source.len())).map(|read| read.node)
}

/// What a plain scalar that may be a number or the like comes to when it stands alone.
pub(super) fn read_scalar(scalar: &str) -> Option<Content> {
    serde_yaml::from_str_with_options::<ReadContent>(scalar, options(scalar.len())).ok().map(|read| read.content)
}

fn options(bytes: usize) -> Options {
    let alias_weight = bytes.saturating_mul(ALIAS_WEIGHT_PER_BYTE).max(MIN_ALIAS_WEIGHT);
    let alias_events = alias_weight.saturating_mul(EVENTS_PER_NODE).min(MAX_ALIASED_NODES * EVENTS_PER_NODE);
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
            max_total_scalar_bytes: most_expanded_bytes(bytes),
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

/// A value, and what counts while the document around it is read.
struct Read {
    node: Node,
    /// Of this value and all below it.
    weight: usize,
    /// Where the text of this value, and of all below it, ends; for an alias, the alias.
    end: u32,
}

/// The content of a value, what all below it weighs, and where the last of it ends.
struct ReadContent {
    content: Content,
    below: usize,
    end: Option<u32>,
}

impl From<Content> for ReadContent {
    fn from(content: Content) -> Self {
        Self { content, below: 0, end: None }
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, defined } = Spanned::<ReadContent>::deserialize(deserializer)?;
        let place = place(&referenced, &defined);
        let end = value.end.filter(|_| place.defined.is_none()).unwrap_or(0).max(place.used.end);
        Ok(Self { node: Node { place, content: value.content }, weight: 1 + value.below, end })
    }
}

impl<'de> Deserialize<'de> for ReadContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

fn text(text: Box<str>) -> ReadContent {
    let below = text.len() / BYTES_PER_WEIGHT;
    ReadContent { content: Content::Text(Text::Own(text)), below, end: None }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = ReadContent;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<ReadContent, E> {
        Ok(Content::Null.into())
    }

    fn visit_none<E>(self) -> Result<ReadContent, E> {
        Ok(Content::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<ReadContent, D::Error> {
        ReadContent::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ReadContent, E> {
        Ok(Content::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<ReadContent, E> {
        Ok(Content::Signed(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<ReadContent, E> {
        Ok(Content::Unsigned(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<ReadContent, E> {
        Ok(Content::Float(value).into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ReadContent, E> {
        bounded("a text", value, MAX_TEXT_BYTES)?;
        Ok(text(Box::from(value)))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<ReadContent, E> {
        bounded("a text", &value, MAX_TEXT_BYTES)?;
        Ok(text(value.into_boxed_str()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ReadContent, A::Error> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut gain = Gain::default();
        let mut last_end = None;
        while let Some(Read { node, weight, end }) = list.next_element()? {
            gain.add(weight, node.place.used.start, end)?;
            last_end = Some(end);
            if nodes.len() == MAX_ENTRIES {
                let refusal = format!("a list with more than {MAX_ENTRIES} entries");
                return Err(A::Error::invalid_length(nodes.len(), &refusal.as_str()));
            }
            nodes.push(node);
        }
        Ok(ReadContent { content: Content::List(nodes.into()), below: gain.weight, end: last_end })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadContent, A::Error> {
        let mut entries = Vec::new();
        let mut gain = Gain::default();
        let mut last_end = None;
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key_place = place(&key.referenced, &key.defined);
            bounded("a key", &key.value, MAX_KEY_BYTES)?;
            if entries.len() == MAX_KEYS {
                let refusal = format!("a map with more than {MAX_KEYS} keys");
                return Err(A::Error::invalid_length(entries.len(), &refusal.as_str()));
            }
            let Read { node, weight, end } = map.next_value()?;
            gain.add(1 + key.value.len() / BYTES_PER_WEIGHT + weight, key_place.used.start, end)?;
            last_end = Some(end);
            entries.push(Entry { key: Text::Own(key.value.into()), key_place, value: node });
        }
        // The keys are all their own: none stands in the source.
        let content = Content::map(entries.into(), "");
        Ok(ReadContent { content, below: gain.weight, end: last_end })
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<ReadContent, E> {
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
