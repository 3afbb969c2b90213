//! Changes to a text, gathered by their places in what it was and made all at once; and what an item depends on, in each
//! of the forms in which YAML has a list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::tree::{Content, Entry, Node};
use super::lines::{column, entry_line, is_flow, last_byte, line_end, line_start, margin_of, without_comment, written};
use super::{NewDep, Outlined};

/// Changes to a text, by places in what it was.
pub(super) struct Edits<'a> {
    pub text: &'a str,
    edits: Vec<(Range<usize>, String)>,
    /// What has to be done by hand.
    pub left: Vec<String>,
}

impl<'a> Edits<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, edits: Vec::new(), left: Vec::new() }
    }

    pub fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.edits.push((range, with.into()));
    }

    pub fn remove(&mut self, range: Range<usize>) {
        self.replace(range, "");
    }

    /// Puts whole lines at the start of a line.
    pub fn insert_lines(&mut self, at: usize, lines: String) {
        // The last line of a text may have no end.
        let has_begun = at > 0 && !self.text[..at].ends_with('\n');
        self.edits.push((at..at, if has_begun { format!("\n{}", lines.trim_end_matches('\n')) } else { lines }));
    }

    /// What an item depends on: some more, and no longer on what is gone.
    pub fn deps(&mut self, item: &Outlined, node: &Node, added: &[&NewDep], removed: &BTreeSet<String>) {
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
        let end = last_byte(self.text, &name.value);
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
        let mut by_line: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        for dep in deps.iter().filter(|dep| goes(dep)) {
            let place = with_comma(self.text, written(dep));
            by_line.entry(line_start(self.text, place.start)).or_default().push(place);
        }
        for (line, places) in by_line {
            let end = line_end(self.text, places.iter().map(|place| place.end).max().unwrap_or(line));
            let mut rest = self.text[line..end].to_owned();
            for place in places.iter().rev() {
                rest.replace_range(place.start - line..place.end - line, "");
            }
            if rest.trim().is_empty() || rest.trim_start().starts_with('#') {
                // A comment behind all that goes is about that.
                self.remove(line..end);
            } else {
                places.into_iter().for_each(|place| self.remove(place));
            }
        }
    }

    fn block_deps(&mut self, entry: &Entry, deps: &[Node], added: &[&NewDep], removed: &BTreeSet<String>) {
        let goes = |dep: &Node| text_of(dep, self.text).is_some_and(|name| removed.contains(&name));
        let lines = |dep: &Node| {
            let start = written(dep).start;
            let start = entry_line(self.text, start).unwrap_or_else(|| line_start(self.text, start));
            start..line_end(self.text, last_byte(self.text, dep))
        };
        let going: Vec<Range<usize>> = deps.iter().filter(|dep| goes(dep)).map(lines).collect();
        let last = deps.last().map(lines);
        if going.len() == deps.len() && added.is_empty() {
            return self.all_block_deps(entry, going);
        }
        going.into_iter().for_each(|lines| self.remove(lines));
        if let Some(last) = last {
            let margin = margin_of(&self.text[last.start..]).to_owned();
            for dep in added {
                self.insert_lines(last.end, format!("{margin}- {}{}\n", dep.scalar, dep.comment));
            }
        }
    }

    /// All that an item depends on goes, and the key with it, unless the item begins with that, or a comment or an anchor
    /// stands at it or below.
    fn all_block_deps(&mut self, entry: &Entry, deps: Vec<Range<usize>>) {
        let key = entry.key_place.written();
        let line = line_start(self.text, key.start as usize);
        let end_of_line = line_end(self.text, key.end as usize);
        let colon = key.end as usize + self.text[key.end as usize..].find(':').unwrap_or(0) + 1;
        let begins_the_item = self.text[line..key.start as usize].contains('-');
        let mut above = end_of_line;
        let mut is_bare = self.text[colon..end_of_line].trim().is_empty();
        for lines in &deps {
            is_bare &= self.text[above..lines.start].trim().is_empty();
            above = lines.end;
        }
        if is_bare && !begins_the_item {
            return self.remove(line..above.max(line));
        }
        let behind = without_comment(&self.text[colon..end_of_line]).trim_end().len();
        self.replace(colon + behind..colon + behind, " []");
        deps.into_iter().for_each(|lines| self.remove(lines));
    }

    pub fn applied(&mut self) -> String {
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

/// The place of an entry of a list in brackets, with the comma that parts it from another: one behind the last that stays
/// is allowed (YAML 1.2, 7.4).
fn with_comma(text: &str, place: Range<usize>) -> Range<usize> {
    let blank = [' ', '\t'];
    let rest = &text[place.end..];
    let behind = place.end + rest.len() - rest.trim_start_matches(blank).len();
    let before = text[..place.start].trim_end_matches(blank);
    let begins_line = |comma: usize| text[line_start(text, comma)..comma].trim().is_empty();
    match text[behind..].chars().next() {
        Some(',') => place.start..behind + 1,
        _ if before.ends_with(',') && begins_line(before.len() - 1) => before.len() - 1..place.end,
        // No blanks at the end of a line.
        Some('\r' | '\n') => before.len()..behind,
        _ => place,
    }
}

/// Whether what an item depends on stands elsewhere in the text.
pub(super) fn is_borrowed(item: &Node, text: &str) -> bool {
    item.place.defined.is_some() || item.get("deps", text).is_some_and(|entry| entry.value.place.defined.is_some())
}

pub(super) fn text_of(node: &Node, text: &str) -> Option<String> {
    match &node.content {
        Content::Text(word) => Some(word.of(text).to_owned()),
        _ => None,
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
