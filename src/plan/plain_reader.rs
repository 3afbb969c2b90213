//! Reads what most plans are: one YAML or JSON document without anchors, tags or merge keys.
//!
//! Says nothing about any other: whatever is unusual, too large or wrong is left to
//! [`super::reader`], which knows all of YAML and has the words for what is wrong. What is read
//! here, it reads alike; half of the time of checking a large plan is saved by it.

use granit_parser::{Event, Parser, ScalarStyle, Span as Stretch, StrInput};

use super::problem::Span;
use super::reader::read_scalar;
use super::spanned::{MAX_DEPTH, MAX_ENTRIES, MAX_KEY_BYTES, MAX_KEYS, MAX_NODES, MAX_TEXT_BYTES};
use super::tree::{Content, Entry, Node, Place, Text};

/// The tree of a plain text; `None` for every other text.
pub(super) fn read(source: &str) -> Option<Node> {
    // The other reader takes such a mark off by itself.
    if source.starts_with('\u{feff}') {
        return None;
    }
    let mut reader =
        Reader { events: Parser::new_from_str(source), source, nodes: Vec::new(), entries: Vec::new(), values: 0 };
    let (Event::StreamStart, _) = reader.next()? else { return None };
    let (Event::DocumentStart(_, None), _) = reader.next()? else { return None };
    let (event, at) = reader.next()?;
    let root = reader.node(event, &at, 0)?;
    let (Event::DocumentEnd, _) = reader.next()? else { return None };
    let (Event::StreamEnd, _) = reader.next()? else { return None };
    Some(root)
}

struct Reader<'s> {
    events: Parser<'s, StrInput<'s>>,
    source: &'s str,
    /// The elements of all lists that have begun, the innermost last.
    nodes: Vec<Node>,
    /// The entries of all maps that have begun, the innermost last.
    entries: Vec<Entry>,
    /// How many there were, keys included.
    values: usize,
}

impl<'s> Reader<'s> {
    fn next(&mut self) -> Option<(Event<'s>, Stretch)> {
        self.events.next_event()?.ok()
    }

    fn node(&mut self, event: Event<'s>, at: &Stretch, depth: usize) -> Option<Node> {
        self.values += 1;
        if depth == MAX_DEPTH || self.values > MAX_NODES {
            return None;
        }
        let place = place(at)?;
        let content = match event {
            Event::Scalar(value, style, 0, None) if value.len() <= MAX_TEXT_BYTES => {
                match (style == ScalarStyle::Plain).then(|| typed(&value)) {
                    Some(Typed::Unknown) => return None,
                    Some(Typed::As(content)) => content,
                    Some(Typed::Text) | None => Content::Text(self.text(value)),
                }
            }
            Event::SequenceStart(_, 0, None) => Content::List(self.list(depth + 1)?),
            Event::MappingStart(_, 0, None) => Content::map(self.map(depth + 1)?, self.source),
            _ => return None,
        };
        Some(Node { place, content })
    }

    fn list(&mut self, depth: usize) -> Option<Box<[Node]>> {
        let before = self.nodes.len();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(self.nodes.drain(before..).collect()),
                _ if self.nodes.len() - before == MAX_ENTRIES => return None,
                (event, at) => {
                    let node = self.node(event, &at, depth)?;
                    self.nodes.push(node);
                }
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Box<[Entry]>> {
        let before = self.entries.len();
        loop {
            let (key, key_place) = match self.next()? {
                (Event::MappingEnd, _) => return Some(self.entries.drain(before..).collect()),
                _ if self.entries.len() - before == MAX_KEYS => return None,
                (Event::Scalar(key, style, 0, None), at) if self.is_key(&key, style) => (key, place(&at)?),
                _ => return None,
            };
            self.values += 1;
            let key = self.text(key);
            let (event, at) = self.next()?;
            let value = self.node(event, &at, depth)?;
            self.entries.push(Entry { key, key_place, value });
        }
    }

    /// Whether this is a key, and no more than that.
    fn is_key(&self, key: &str, style: ScalarStyle) -> bool {
        key != "<<" && key.len() <= MAX_KEY_BYTES && !(style == ScalarStyle::Plain && is_null(key))
    }

    /// What the parser cut out of the source need not be kept twice.
    fn text(&self, value: std::borrow::Cow<'s, str>) -> Text {
        let start = (value.as_ptr() as usize).wrapping_sub(self.source.as_ptr() as usize);
        let end = start.wrapping_add(value.len());
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(from), Ok(to)) if self.source.get(start..end) == Some(&*value) => Text::Source { start: from, end: to },
            _ => Text::Own(value.into()),
        }
    }
}

/// As [`super::reader`] has places.
fn place(at: &Stretch) -> Option<Place> {
    let narrow = |number: usize| u32::try_from(number).ok();
    let used = Span {
        start: narrow(at.start.byte_offset()?)?,
        end: narrow(at.end.byte_offset()?)?.max(narrow(at.start.byte_offset()?)?),
        line: narrow(at.start.line())?.max(1),
        column: narrow(at.start.col() + 1)?,
    };
    Some(Place { used, defined: None })
}

/// What a scalar without quotes is.
enum Typed {
    Text,
    As(Content),
    /// Only a whole document says.
    Unknown,
}

/// The words for numbers and truth values, in lower case; some reader knows each, though not all do.
const WORDS: [&str; 5] = ["true", "false", "inf", "infinity", "nan"];

fn typed(scalar: &str) -> Typed {
    if is_null(scalar) {
        return Typed::As(Content::Null);
    }
    let bytes = scalar.as_bytes();
    // Everything else that is a number, or true or false, is made of these.
    let is_of_numbers = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_');
    match bytes[0] {
        b'0'..=b'9' | b'+' | b'-' | b'.' => {}
        _ if WORDS.iter().any(|word| word.eq_ignore_ascii_case(scalar)) => {}
        _ => return Typed::Text,
    }
    if !bytes.iter().all(is_of_numbers) {
        return Typed::Text;
    }
    // Marks alone could mean something else to a document that consists of them.
    if !bytes.iter().any(u8::is_ascii_alphanumeric) {
        return Typed::Unknown;
    }
    if let Some(number) = decimal(scalar) {
        return Typed::As(Content::Unsigned(number));
    }
    match read_scalar(scalar) {
        Some(Content::Text(text)) if text.of("") == scalar => Typed::Text,
        Some(content @ (Content::Bool(_) | Content::Signed(_) | Content::Unsigned(_) | Content::Float(_))) => {
            Typed::As(content)
        }
        _ => Typed::Unknown,
    }
}

/// The numbers that plans are full of.
fn decimal(scalar: &str) -> Option<u64> {
    let plain = scalar.bytes().all(|byte| byte.is_ascii_digit()) && (scalar == "0" || !scalar.starts_with('0'));
    if plain { scalar.parse().ok() } else { None }
}

fn is_null(scalar: &str) -> bool {
    matches!(scalar, "" | "~" | "null" | "Null" | "NULL")
}
