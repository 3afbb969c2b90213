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

/// What a text is.
#[derive(Debug)]
pub(super) enum Plain {
    Tree(Node),
    /// Plain up to a text of so many bytes. That is the one refusal that is not left to the other
    /// reader, which would have to look through all of the text again to come to it.
    TooLong(usize, Span),
    /// Not plain.
    Other,
}

/// Reads a plain text.
pub(super) fn read(source: &str) -> Plain {
    // The other reader takes such a mark off by itself.
    if source.starts_with('\u{feff}') {
        return Plain::Other;
    }
    let mut reader = Reader {
        events: Parser::new_from_str(source),
        source,
        nodes: Vec::new(),
        entries: Vec::new(),
        values: 0,
        too_long: None,
    };
    match (document(&mut reader), reader.too_long) {
        (Some(root), _) => Plain::Tree(root),
        (None, Some((bytes, at))) => Plain::TooLong(bytes, at),
        (None, None) => Plain::Other,
    }
}

fn document(reader: &mut Reader<'_>) -> Option<Node> {
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
    /// Of a text that is too long, and where to say so: at its key, if it has one.
    too_long: Option<(usize, Span)>,
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
                    self.bounded(&event, &place(&at)?)?;
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
            self.bounded(&event, &key_place)?;
            let value = self.node(event, &at, depth)?;
            self.entries.push(Entry { key, key_place, value });
        }
    }

    /// Refuses a text that is too long, which is said at `place`.
    fn bounded(&mut self, event: &Event<'_>, place: &Place) -> Option<()> {
        match event {
            Event::Scalar(text, _, 0, None) if text.len() > MAX_TEXT_BYTES => {
                self.too_long = Some((text.len(), place.used));
                None
            }
            _ => Some(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::reader;
    use crate::plan::unreadable::{too_long, unreadable};
    use proptest::prelude::*;

    fn alike(left: &Node, right: &Node, source: &str) -> bool {
        let contents = match (&left.content, &right.content) {
            (Content::Null, Content::Null) => true,
            (Content::Bool(left), Content::Bool(right)) => left == right,
            (Content::Signed(left), Content::Signed(right)) => left == right,
            (Content::Unsigned(left), Content::Unsigned(right)) => left == right,
            (Content::Float(left), Content::Float(right)) => left.to_bits() == right.to_bits(),
            (Content::Text(left), Content::Text(right)) => left.of(source) == right.of(source),
            (Content::List(left), Content::List(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| alike(left, right, source))
            }
            _ => match (left.entries(), right.entries()) {
                (Some(left), Some(right)) => {
                    left.len() == right.len()
                        && left.iter().zip(right).all(|(left, right)| {
                            left.key.of(source) == right.key.of(source)
                                && left.key_place == right.key_place
                                && alike(&left.value, &right.value, source)
                        })
                }
                _ => false,
            },
        };
        contents && left.place == right.place
    }

    /// Whether the text is plain; if it is, the other reader has to read it, and alike.
    fn is_plain(source: &str) -> bool {
        let plain = match read(source) {
            Plain::Tree(plain) => plain,
            Plain::Other => return false,
            Plain::TooLong(bytes, at) => {
                let error = reader::read(source).expect_err("a text that is too long");
                assert_eq!(too_long(bytes, at), unreadable(&error, source));
                return false;
            }
        };
        let full = reader::read(source).unwrap_or_else(|error| panic!("{source:?} is {plain:?}, and not: {error}"));
        assert!(alike(&plain, &full, source), "{source:?} is {plain:#?}, or {full:#?}");
        true
    }

    #[test]
    fn what_most_plans_are_is_read_here() {
        for plan in [
            include_str!("../../plans/strategies.yaml"),
            include_str!("../../plans/retries.yaml"),
            include_str!("../../plans/typescript.json"),
            "items:\n- name: \"a\\tb\"\n  gates:\n    - run: |\n        make\n        make test\n      env: { 'A b': '' }\n",
            "a: >-\n  folded\n  text\n\r\nb: x\r\nc: ü \u{10000}\nd:\ne: [~, 1, -1, 1.5, 0x10, true, No, 010, 1_0, .inf, 3f2a]\n",
        ] {
            assert!(is_plain(plan), "{plan}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_other_reader() {
        for other in [
            "",
            "# nothing\n",
            "a: &x 1\n",
            "a: *x\n",
            "<<: {}\n",
            "\"<<\": {}\n",
            "!!map {}\n",
            "a: !!str 1\n",
            "~: 1\n",
            "? [a]\n: b\n",
            "a: 1\n---\nb: 1\n",
            "%YAML 1.2\n---\na: 1\n",
            "\u{feff}a: 1\n",
            "a: [\n",
            "a: ...\n",
        ] {
            assert!(!is_plain(other), "{other}");
        }
        assert!(!is_plain(&"[".repeat(MAX_DEPTH + 1)));
        assert!(!is_plain(&format!("a: {}", "x".repeat(MAX_TEXT_BYTES + 1))));
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_in_the_same_words() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for text in [
            format!("schemaVersion: v1\ntarget:   {long}\n"),
            format!("- a: b\n  c: [b,   \"{long}\"]\n"),
            format!("a:\n  - {long}\n"),
            format!("a: 1\nb: |\n  {long}\n"),
            format!("a: 1\n? b\n: - c: {{d: '{long}'}}\n"),
        ] {
            assert!(matches!(read(&text), Plain::TooLong(..)));
            is_plain(&text);
        }
    }

    /// What some reader of YAML takes for something else than text, and what is nearly that.
    const SCALARS: &[&str] = &[
        "~",
        "null",
        "Null",
        "NULL",
        "nULL",
        "true",
        "True",
        "TRUE",
        "tRUE",
        "false",
        "yes",
        "No",
        "on",
        "off",
        "y",
        "n",
        "inf",
        "Inf",
        ".inf",
        "+.INF",
        "-.inf",
        "nan",
        ".NaN",
        "infinity",
        "Infinity",
        "0",
        "-0",
        "+0",
        "00",
        "007",
        "-7",
        "+7",
        "1_000",
        "_1",
        "0x1F",
        "-0x1f",
        "0o17",
        "0b11",
        "0X1f",
        "1e3",
        "1E+3",
        "1.",
        ".5",
        "-.5",
        "1.5e-7",
        "1e999",
        "-1e999",
        "e5",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "9007199254740993.0",
        "1.0",
        "1:30",
        "2001-01-01",
        "2001-01-01T00:00:00Z",
        "3f2a",
        "1a",
        "+",
        "-a",
        "--",
        "-.",
        ".",
        "..",
        "...",
        "---",
        "1.2.3",
        "v1",
        "a b",
        "1 2",
        "1 a",
        "#a",
        "a#",
        "1,5",
        "\u{0661}",
        "\u{ff11}",
        "=",
        "+a",
        "0.0",
        "-0.0",
        "0e0",
        "1e-400",
        "0_",
        "1__0",
        "+_",
        "0x",
        "0o8",
        "1.0_0",
        "?a",
        ":a",
        "-1",
        "''",
        "\"1\"",
    ];

    #[test]
    fn every_scalar_means_the_same_to_both_readers() {
        for scalar in SCALARS {
            for text in [
                format!("k: {scalar}\n"),
                format!("k: {scalar}"),
                format!("- {scalar}\n- b\n"),
                format!("[{scalar}]"),
                format!("[{scalar}, a]"),
                format!("{{k: {scalar}}}"),
                format!("{scalar}: v\n"),
                format!("{{{scalar}: v}}"),
                scalar.to_string(),
                format!("k: {scalar} \n"),
                format!("k:\n  {scalar}\n  b\n"),
                format!("k: {scalar} # c"),
            ] {
                is_plain(&text);
            }
        }
        assert!(is_plain(&format!("[{}]", SCALARS[..18].join(", "))));
    }

    /// What documents are made of, and what is unusual in them.
    const PIECES: &[&str] = &[
        "a", "b: ", "- ", "  ", "\n", "\n  ", "\r\n", ", ", "[", "]", "{", "}", "\"", "'", "|\n", ">-\n", "? ", ": ",
        "#", "~", "1", "-", ".", "\t", "ü", "&x ", "*x", "<<: ", "!!str ", "---\n", "...\n", "\\n", "items:\n",
        "name: a", "\u{85}", "\u{feff}", "%", "\u{2028}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whatever_is_plain_means_the_same_to_both_readers(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
            text in "[a-c:\\-\\[\\]{}|>'\"#,? \n0-9.]{0,24}",
        ) {
            is_plain(&pieces.concat());
            is_plain(&text);
        }
    }
}
