//! Reads a YAML or JSON text once into a tree in which every key and value knows its place.
//!
//! Knows nothing of plans: it turns bytes into a [`Document`], and places in the document back
//! into lines of the text. Nesting, size and what aliases may add are bounded, so that no input
//! takes long.

use std::collections::HashMap;
use std::sync::Arc;

use super::plain_reader::{self, Plain};
use super::pointer::{Pointer, Step, Trail};
use super::problem::{Problem, Quoted, Source, Span};
use super::reader;
use super::tree::{Content, Entry, Node, Place};
use super::unreadable::{end_of, too_large, too_long, unreadable};

/// Bytes of a text that are read. A plan of 1,000,000 items with short names has about 70 MB.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;

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
pub const MAX_ENTRIES: usize = 1_000_000;

/// Values of one document, those that come by aliases included: a plan of 1,000,000 items with
/// twenty values each. They take a gigabyte.
pub(super) const MAX_NODES: usize = 20_000_000;

/// Values that aliases bring, however large the document.
pub(super) const MAX_ALIASED_NODES: usize = 1_000_000;

/// Bytes of all texts together, those that aliases repeat included, for a document of so many
/// bytes: it, and what aliases may bring.
pub(super) const fn most_expanded_bytes(document: usize) -> usize {
    document + MAX_ALIASED_BYTES
}

/// Bytes of text that aliases bring, however large the document.
const MAX_ALIASED_BYTES: usize = 32 * 1024 * 1024;

/// A text that was read, with the place of everything in it.
#[derive(Clone, Debug)]
pub struct Document {
    source: Source,
    root: Node,
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
        let root = match plain_reader::read(text) {
            Plain::Tree(root) => Ok(root),
            Plain::TooLong(bytes, at) => Err(too_long(bytes, at)),
            Plain::Other => reader::read(text).map_err(|error| unreadable(&error, text)),
        };
        match root {
            Ok(root) => Ok(Self { source, root }),
            Err(problem) => Err((source, Box::new(problem))),
        }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Nothing but white space and comments.
    pub fn is_empty(&self) -> bool {
        matches!(self.root.content, Content::Null) && self.root.place.used.start == self.root.place.used.end
    }

    pub(super) fn text(&self) -> &str {
        &self.source.text
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The entries of the list that the document has at its key `items`.
    pub(super) fn items(&self) -> Option<&[Node]> {
        match &self.root.get("items", self.text())?.value.content {
            Content::List(items) => Some(items),
            _ => None,
        }
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
        if found.node.is_container() { "" } else { self.written_of(found.node) }
    }

    /// The text as it was written for a value that is neither a list nor a map.
    pub(super) fn written_of(&self, node: &Node) -> &str {
        let span = node.place.written();
        self.source.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Keys that stand twice in one map.
    pub fn repeated_keys(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        repeated_keys(&self.root, self.text(), &Trail::Root, &mut problems);
        problems
    }

    fn find(&self, path: &Pointer) -> Found<'_> {
        let mut found = Found { key: None, node: &self.root, steps: 0 };
        for step in path.steps() {
            let next = match (step, &found.node.content) {
                (Step::Index(index), Content::List(nodes)) => nodes.get(*index).map(|node| (None, node)),
                (Step::Index(_), _) => None,
                (Step::Key(key), _) => {
                    found.node.get(key, self.text()).map(|entry| (Some(&entry.key_place), &entry.value))
                }
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

fn repeated_keys(node: &Node, source: &str, at: &Trail<'_>, problems: &mut Vec<Problem>) {
    if let Content::List(nodes) = &node.content {
        for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_container()) {
            repeated_keys(node, source, &Trail::Index(at, index), problems);
        }
    }
    let entries = node.entries().unwrap_or_default();
    let mut seen = (entries.len() > COMPARED_KEYS).then(|| HashMap::with_capacity(entries.len()));
    for (index, entry) in entries.iter().enumerate() {
        let key = entry.key.of(source);
        let before: Option<&Entry> = match &mut seen {
            Some(seen) => seen.insert(key, entry),
            None => entries[..index].iter().rfind(|before| before.key.of(source) == key),
        };
        if let Some(before) = before {
            let message = format!("the key {} stands here twice", Quoted(key));
            let problem = Problem { path: Trail::Key(at, key).pointer(), ..Problem::error(message) };
            let mut problem = located(problem, &entry.key_place).hint("keep one of the two");
            problem.related.push((before.key_place.written(), "first here".to_owned()));
            problems.push(problem);
        }
        if entry.value.is_container() {
            repeated_keys(&entry.value, source, &Trail::Key(at, key), problems);
        }
    }
}

/// In a map of no more keys than this, comparing each with all is quicker than hashing them.
const COMPARED_KEYS: usize = 16;
