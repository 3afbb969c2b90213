//! Changes to the text of a plan that leave everything else in it as it stands: comments, order,
//! quotes, and what a person wrote by hand.
//!
//! Places in the text decide where something is put or taken away; what is put there is the caller's
//! text. What cannot be changed without a guess is left alone and named.

use std::collections::BTreeSet;
use std::ops::Range;

use super::problem::Problem;
use super::spanned::Document;
use super::tree::{Content, Entry, Node};

/// A plan's text, as far as its items can be changed.
#[derive(Debug)]
pub struct Outline {
    document: Document,
    items: Vec<Outlined>,
}

/// An item as the text has it.
#[derive(Clone, Debug)]
pub struct Outlined {
    pub name: String,
    /// The revision it names: its name where it says nothing else.
    pub branch: String,
    pub deps: Vec<String>,
    /// From the line on which it begins to the end of that on which it ends, in bytes.
    lines: Range<usize>,
}

/// What is to become of a plan.
#[derive(Debug, Default)]
pub struct Amendment {
    /// Entries of the list of items, in their order.
    pub added: Vec<NewItem>,
    /// (item, what it depends on as well).
    pub deps: Vec<(String, NewDep)>,
    /// Items that go, with what others say of depending on them.
    pub removed: BTreeSet<String>,
}

#[derive(Debug)]
pub struct NewItem {
    pub name: String,
    /// Whole lines, each to be set in by the margin of the list.
    pub lines: String,
}

#[derive(Debug)]
pub struct NewDep {
    pub name: String,
    /// The name as YAML.
    pub scalar: String,
    /// ` # why`, or nothing.
    pub comment: String,
}

/// A plan's text after an [`Amendment`].
#[derive(Debug)]
pub struct Amended {
    pub text: String,
    /// What has to be done by hand.
    pub left: Vec<String>,
}

impl Outline {
    /// Reads the plan `bytes`, which `name` is what to call; it has been checked.
    ///
    /// # Errors
    /// The text is no plan, or its items are not a list with an entry a line.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, Box<Problem>> {
        let document = Document::read(name, bytes).map_err(|(_, problem)| problem)?;
        let text = document.text();
        let mut items = Vec::new();
        for node in document.items().unwrap_or_default() {
            let Some(start) = entry_line(text, first_byte(node)) else {
                return Err(Box::new(
                    Problem::error("the items are not a list with each entry on lines of its own")
                        .hint("write them as `- name: …`, each on a line of its own, to have them brought up to date"),
                ));
            };
            let end = item_end(text, node, margin_of(&text[start..]));
            items.push(outlined(node, text, start..end));
        }
        Ok(Self { document, items })
    }

    pub fn items(&self) -> &[Outlined] {
        &self.items
    }

    /// Whether somebody commented out the item `name`.
    pub fn has_commented_out(&self, name: &str) -> bool {
        let named = |line| Some(commented_entry(line)?.strip_prefix("name:")?.trim().trim_matches(QUOTES));
        self.document.text().lines().any(|line| named(line) == Some(name))
    }

    /// Whether what `item` depends on comes by an alias, and is to be changed by nobody but people.
    pub fn has_borrowed_deps(&self, item: &Outlined) -> bool {
        let mut nodes = self.items.iter().zip(self.document.items().unwrap_or_default());
        nodes.any(|(other, node)| other.name == item.name && is_borrowed(node, self.document.text()))
    }

    /// Whether somebody commented out that `item` depends on `name`.
    pub fn has_commented_out_dep(&self, item: &Outlined, name: &str) -> bool {
        let lines = self.document.text().get(item.lines.clone()).unwrap_or_default().lines();
        lines.filter_map(commented_entry).any(|entry| entry.trim_matches(QUOTES) == name)
    }

    /// Those of the items `going` that have an anchor which is used by what stays: without them the text would be no YAML.
    pub fn borrowed_from(&self, going: &BTreeSet<String>) -> BTreeSet<String> {
        let nodes = self.document.items().unwrap_or_default();
        let items_entry = self.document.root().get("items", self.document.text());
        let mut staying = Vec::new();
        for entry in self.document.root().entries().into_iter().flatten() {
            if !items_entry.is_some_and(|items| std::ptr::eq(items, entry)) {
                defined_elsewhere(&entry.value, &mut staying);
            }
        }
        let mut borrowed_from = BTreeSet::new();
        let (mut open, mut rest): (Vec<_>, Vec<_>) =
            self.items.iter().zip(nodes).partition(|(item, _)| !going.contains(&item.name));
        loop {
            open.iter().for_each(|(_, node)| defined_elsewhere(node, &mut staying));
            (open, rest) =
                rest.into_iter().partition(|(item, _)| staying.iter().any(|place| item.lines.contains(place)));
            if open.is_empty() {
                return borrowed_from;
            }
            borrowed_from.extend(open.iter().map(|(item, _)| item.name.clone()));
        }
    }

    /// The text with all that the amendment says. An item is put before the first that follows it by `follows`
    /// (left before right), and behind all where none does.
    pub fn amended(&self, amendment: &Amendment, follows: impl Fn(&str, &str) -> bool) -> Amended {
        let mut edits = Edits { text: self.document.text(), edits: Vec::new(), left: Vec::new() };
        let stays = |item: &&Outlined| !amendment.removed.contains(&item.name);
        for item in self.items.iter().filter(|item| !stays(item)) {
            edits.remove(with_comments_above(edits.text, &item.lines));
        }
        let nodes = self.document.items().unwrap_or_default();
        for (item, node) in self.items.iter().zip(nodes).filter(|(item, _)| stays(item)) {
            let added: Vec<&NewDep> =
                amendment.deps.iter().filter(|(name, _)| *name == item.name).map(|(_, dep)| dep).collect();
            edits.deps(item, node, &added, &amendment.removed);
        }
        let at_end = edits.text.len();
        let margin = self.items.first().map_or("  ", |item| margin_of(&edits.text[item.lines.start..]));
        if self.items_value().is_none() && !amendment.added.is_empty() {
            edits.insert_lines(at_end, "items:\n".to_owned());
        }
        for new in &amendment.added {
            let before = self.items.iter().filter(stays).find(|item| follows(&new.name, &item.name));
            let at = match (before, self.items.last()) {
                (Some(before), _) => with_comments_above(edits.text, &before.lines).start,
                (None, Some(last)) => last.lines.end,
                (None, None) => self.items_value().map_or(at_end, |(key, value)| line_end(edits.text, value.max(key))),
            };
            let lines: String = new.lines.lines().map(|line| format!("{margin}{line}\n")).collect();
            edits.insert_lines(at, lines);
        }
        let is_empty = !self.items.iter().any(|item| stays(&item)) && amendment.added.is_empty();
        if let Some((key_end, value)) = self.items_value() {
            match (self.items.is_empty(), is_empty) {
                (false, true) => edits.edits.push((key_end..key_end, " []".to_owned())),
                // What stood for no items goes, and a comment behind it stays.
                (true, false) => edits.remove(key_end..value.max(key_end)),
                _ => {}
            }
        }
        let mut amended = edits.applied();
        // What is put in comes with bare newlines; a text that has none gets none.
        let bare_newlines = |text: &str| text.matches('\n').count() - text.matches("\r\n").count();
        if edits.text.contains('\n') && bare_newlines(edits.text) == 0 {
            amended = amended.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        Amended { text: amended, left: edits.left }
    }

    /// Behind the colon of the key `items`, and behind its value.
    fn items_value(&self) -> Option<(usize, usize)> {
        let text = self.document.text();
        let entry = self.document.root().get("items", text)?;
        let key_end = entry.key_place.written().end as usize;
        let colon = key_end + text[key_end..].find(':')? + 1;
        Some((colon, if is_flow(text, &entry.value) { last_byte(text, &entry.value) } else { colon }))
    }
}

/// Whether what an item depends on stands elsewhere in the text.
fn is_borrowed(item: &Node, text: &str) -> bool {
    item.place.defined.is_some() || item.get("deps", text).is_some_and(|entry| entry.value.place.defined.is_some())
}

fn outlined(node: &Node, text: &str, lines: Range<usize>) -> Outlined {
    let word = |key: &str| match &node.get(key, text)?.value.content {
        Content::Text(word) => Some(word.of(text).to_owned()),
        _ => None,
    };
    let deps = match node.get("deps", text).map(|entry| &entry.value.content) {
        Some(Content::List(deps)) => deps.iter().filter_map(|dep| text_of(dep, text)).collect(),
        _ => Vec::new(),
    };
    let name = word("name").unwrap_or_default();
    Outlined { branch: word("branch").unwrap_or_else(|| name.clone()), name, deps, lines }
}

fn text_of(node: &Node, text: &str) -> Option<String> {
    match &node.content {
        Content::Text(word) => Some(word.of(text).to_owned()),
        _ => None,
    }
}

/// Changes to a text, by places in what it was.
struct Edits<'a> {
    text: &'a str,
    edits: Vec<(Range<usize>, String)>,
    left: Vec<String>,
}

impl Edits<'_> {
    fn remove(&mut self, range: Range<usize>) {
        self.edits.push((range, String::new()));
    }

    /// Puts whole lines at the start of a line.
    fn insert_lines(&mut self, at: usize, lines: String) {
        // The last line of a text may have no end.
        let has_begun = at > 0 && !self.text[..at].ends_with('\n');
        self.edits.push((at..at, if has_begun { format!("\n{}", lines.trim_end_matches('\n')) } else { lines }));
    }

    /// What an item depends on: some more, and no longer on what is gone.
    fn deps(&mut self, item: &Outlined, node: &Node, added: &[&NewDep], removed: &BTreeSet<String>) {
        let has_removed = item.deps.iter().any(|dep| removed.contains(dep));
        if added.is_empty() && !has_removed {
            return;
        }
        let entry = node.get("deps", self.text);
        if is_borrowed(node, self.text) {
            let stay = item.deps.iter().filter(|dep| !removed.contains(*dep)).map(String::as_str);
            let names = added.iter().map(|dep| &*dep.name).chain(stay);
            self.left.push(format!("deps of {} come by an alias; they should be [{}]", item.name, list(names)));
            return;
        }
        match entry {
            None => self.new_deps(item, node, added),
            Some(entry) => match &entry.value.content {
                Content::List(deps) if is_flow(self.text, &entry.value) => self.flow_deps(entry, deps, added, removed),
                Content::List(deps) => self.block_deps(entry, deps, added, removed),
                // Nothing behind the colon.
                _ => {
                    let at = entry.key_place.written().end as usize;
                    self.block_after(
                        line_end(self.text, at),
                        column(self.text, entry.key_place.written().start),
                        added,
                    );
                }
            },
        }
    }

    fn new_deps(&mut self, item: &Outlined, node: &Node, added: &[&NewDep]) {
        let Some(name) = node.get("name", self.text) else { return };
        let end = name.value.place.written().end as usize;
        if is_flow(self.text, node) {
            let deps: Vec<&str> = added.iter().map(|dep| &*dep.scalar).collect();
            self.edits.push((end..end, format!(", deps: [{}]", deps.join(", "))));
        } else if name.value.place.defined.is_some() {
            self.left.push(format!("{} depends on {}", item.name, list(added.iter().map(|dep| &*dep.name))));
        } else {
            let column = column(self.text, name.key_place.written().start);
            let at = line_end(self.text, end);
            self.insert_lines(at, format!("{}deps:\n", " ".repeat(column)));
            self.block_after(at, column, added);
        }
    }

    /// Entries of a list whose key is so far set in.
    fn block_after(&mut self, at: usize, column: usize, added: &[&NewDep]) {
        for dep in added {
            self.insert_lines(at, format!("{}- {}{}\n", " ".repeat(column + 2), dep.scalar, dep.comment));
        }
    }

    fn flow_deps(&mut self, entry: &Entry, deps: &[Node], added: &[&NewDep], removed: &BTreeSet<String>) {
        let stay = deps.iter().filter(|dep| !text_of(dep, self.text).is_some_and(|name| removed.contains(&name)));
        let stay = stay.map(|dep| &self.text[written(dep)]);
        let words: Vec<&str> = stay.chain(added.iter().map(|dep| &*dep.scalar)).collect();
        let place = written(&entry.value).start..last_byte(self.text, &entry.value);
        if self.text[place.clone()].contains('\n') {
            return self.flow_deps_on_lines(place.start, deps, added, removed);
        }
        self.edits.push((place, format!("[{}]", words.join(", "))));
    }

    /// The same of a list in brackets, which begins at `start`, on several lines: there may be comments in it.
    fn flow_deps_on_lines(&mut self, start: usize, deps: &[Node], added: &[&NewDep], removed: &BTreeSet<String>) {
        let goes = |dep: &Node| text_of(dep, self.text).is_some_and(|name| removed.contains(&name));
        let words: String = added.iter().map(|dep| format!(", {}", dep.scalar)).collect();
        match deps.iter().rfind(|dep| !goes(dep)) {
            Some(last) => self.edits.push((written(last).end..written(last).end, words)),
            None => self.edits.push((start + 1..start + 1, words.trim_start_matches(", ").to_owned())),
        }
        for dep in deps.iter().filter(|dep| goes(dep)) {
            let place = written(dep);
            // A comma behind the last one that stays is allowed (YAML 1.2, 7.4).
            let rest = &self.text[place.end..];
            let comma = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            self.remove(place.start..place.end + if rest[comma..].starts_with(',') { comma + 1 } else { 0 });
        }
    }

    fn block_deps(&mut self, entry: &Entry, deps: &[Node], added: &[&NewDep], removed: &BTreeSet<String>) {
        let goes = |dep: &Node| text_of(dep, self.text).is_some_and(|name| removed.contains(&name));
        let going: Vec<&Node> = deps.iter().filter(|dep| goes(dep)).collect();
        if going.len() == deps.len() && added.is_empty() {
            let last_end = line_end(self.text, deps.last().map_or(0, |dep| written(dep).end));
            if self.text[..entry.key_place.written().start as usize].trim_end_matches(' ').ends_with('-') {
                // The item begins with it.
                let key_end = entry.key_place.written().end as usize;
                let colon = key_end + self.text[key_end..].find(':').unwrap_or(0) + 1;
                return self.edits.push((colon..last_end, " []\n".to_owned()));
            }
            // The key goes with the last of them.
            let start = line_start(self.text, entry.key_place.written().start as usize);
            return self.remove(start..last_end.max(start));
        }
        for dep in going {
            let place = written(dep);
            self.remove(line_start(self.text, place.start)..line_end(self.text, place.end));
        }
        if let Some(last) = deps.last().map(written) {
            let margin = margin_of(&self.text[line_start(self.text, last.start)..]).to_owned();
            let at = line_end(self.text, last.end);
            for dep in added {
                self.insert_lines(at, format!("{margin}- {}{}\n", dep.scalar, dep.comment));
            }
        }
    }

    fn applied(&mut self) -> String {
        // Of several at one place the first put there comes first.
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::with_capacity(self.text.len());
        let mut at = 0;
        for (range, replacement) in &self.edits {
            text.push_str(self.text.get(at..range.start).unwrap_or_default());
            text.push_str(replacement);
            at = at.max(range.end);
        }
        text.push_str(&self.text[at..]);
        text
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn written(node: &Node) -> Range<usize> {
    let span = node.place.written();
    span.start as usize..span.end as usize
}

fn first_byte(node: &Node) -> usize {
    let is_list = matches!(node.content, Content::List(_));
    if is_list { node.place.used.start as usize } else { node.visible_place().used.start as usize }
}

/// Where the text of what comes by aliases stands.
fn defined_elsewhere(node: &Node, found: &mut Vec<usize>) {
    found.extend(node.place.defined.as_deref().map(|span| span.start as usize));
    if let Content::List(nodes) = &node.content {
        nodes.iter().for_each(|node| defined_elsewhere(node, found));
    }
    for entry in node.entries().into_iter().flatten() {
        found.extend(entry.key_place.defined.as_deref().map(|span| span.start as usize));
        defined_elsewhere(&entry.value, found);
    }
}

/// Whether a list or map stands in brackets. One that does not has no width, and an anchor makes its place that of its
/// first entry, which may stand in brackets.
fn is_flow(text: &str, node: &Node) -> bool {
    text[written(node)].starts_with(['[', '{'])
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the end of the line that has the byte before `at`.
fn line_end(text: &str, at: usize) -> usize {
    if at > 0 && text[..at].ends_with('\n') {
        return at;
    }
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn column(text: &str, at: u32) -> usize {
    at as usize - line_start(text, at as usize)
}

fn margin_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches(' ').len()]
}

/// The start of the line with the dash of the entry whose first word is at `at`; `None` where other things stand before
/// it on its line.
fn entry_line(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() || c == '{');
    let before = before.strip_suffix('-')?;
    let start = line_start(text, before.len());
    text[start..before.len()].bytes().all(|byte| byte == b' ').then_some(start)
}

/// Behind the last line of an item: the one with its last word, and comments that are set in further than its dash.
fn item_end(text: &str, node: &Node, margin: &str) -> usize {
    let mut end = line_end(text, last_byte(text, node));
    loop {
        let line = text[end..].lines().next().unwrap_or_default();
        if !line.trim_start().starts_with('#') || margin_of(line).len() <= margin.len() {
            return end;
        }
        end = line_end(text, end + line.len());
    }
}

/// Behind everything in the value, brackets included.
fn last_byte(text: &str, node: &Node) -> usize {
    if node.place.defined.is_some() {
        // An alias: what it stands for ends elsewhere.
        return node.place.used.end as usize;
    }
    let below = match &node.content {
        Content::List(nodes) => nodes.iter().map(|node| last_byte(text, node)).max(),
        _ => node
            .entries()
            .into_iter()
            .flatten()
            .map(|entry| last_byte(text, &entry.value).max(entry.key_place.used.end as usize))
            .max(),
    };
    let place = node.place.used.start as usize..node.place.used.end as usize;
    match (node.is_container(), is_flow(text, node)) {
        // A block scalar is read up to the next word.
        (false, _) => place.start + text[place].trim_end().len(),
        (true, true) => behind_bracket(text, below.unwrap_or(place.start + 1)),
        (true, false) => below.unwrap_or(0),
    }
}

/// Behind the bracket that closes what has its last entry before `at`: white space, a comma and comments may stand
/// between.
fn behind_bracket(text: &str, at: usize) -> usize {
    let mut is_comment = false;
    for (offset, c) in text[at..].char_indices() {
        match c {
            '\n' => is_comment = false,
            '#' => is_comment = true,
            ']' | '}' if !is_comment => return at + offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The lines of an item, with the comments right above that stand where it does, but for a heading of several items.
fn with_comments_above(text: &str, lines: &Range<usize>) -> Range<usize> {
    let margin = margin_of(&text[lines.start..]);
    let mut start = lines.start;
    while start > 0 {
        let above = line_start(text, start - 1);
        let line = &text[above..start];
        if !line.trim_start().starts_with('#') || margin_of(line) != margin || is_heading(line) {
            break;
        }
        start = above;
    }
    start..lines.end
}

/// Whether a comment is set off by a line of its own: `## Ann's`, `# --- Ann's ---`, `#####`.
fn is_heading(comment: &str) -> bool {
    let comment = comment.trim();
    comment.starts_with("##") || ["---", "===", "***", "~~~"].iter().any(|line| comment.contains(line))
}

/// `name: "a"` and `"a"` are as good as without the quotes.
const QUOTES: [char; 2] = ['"', '\''];

/// What a comment would be an entry with, were it none: `a` of `# - a # why`.
fn commented_entry(line: &str) -> Option<&str> {
    let entry = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("- ")?;
    Some(entry.split(" #").next().unwrap_or_default().trim())
}
