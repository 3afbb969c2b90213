//! Changes to the text of a plan that leave everything else in it as it stands: comments, order,
//! quotes, and what a person wrote by hand.
//!
//! Places in the text decide where something is put or taken away; what is put there is the caller's
//! text. What cannot be changed without a guess is left alone and named.

mod edits;
mod lines;

use std::collections::BTreeSet;
use std::ops::Range;

use super::problem::Problem;
use super::spanned::Document;
use super::tree::{Content, Node};
use edits::{Edits, is_borrowed, text_of};
use lines::{
    QUOTES, commented_entry, commented_item, defined_elsewhere, entry_line, first_byte, has_comment_above, is_flow,
    item_end, last_byte, line_end, margin_of, with_comments_above,
};

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
    /// The text is no plan, or its items are no YAML list whose entries begin lines.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, Box<Problem>> {
        let document = Document::read(name, bytes).map_err(|(_, problem)| problem)?;
        let text = document.text();
        let mut items = Vec::new();
        for node in document.items().unwrap_or_default() {
            let Some(start) = entry_line(text, first_byte(node)) else {
                let message = format!(
                    "only items that are written as entries of a YAML list, each beginning a line with `- `, can be brought \
                     up to date; line {} has another",
                    node.visible_place().used.line
                );
                return Err(Box::new(Problem::error(message).hint(
                    "write each as `- name: …` on lines of its own; of a plan in JSON `lexpr plan` writes a new one, and \
                     `lexpr plan diff` says how the two differ",
                )));
            };
            let end = item_end(text, node, margin_of(&text[start..]));
            items.push(outlined(node, text, start..end));
        }
        Ok(Self { document, items })
    }

    pub fn items(&self) -> &[Outlined] {
        &self.items
    }

    /// Calls the branches of all items what `name_of` says of their revisions.
    #[must_use]
    pub fn with_branches(mut self, name_of: impl Fn(&str) -> String) -> Self {
        self.items.iter_mut().for_each(|item| item.branch = name_of(&item.branch));
        self
    }

    /// Whether somebody commented out the item `name`.
    pub fn has_commented_out(&self, name: &str) -> bool {
        self.document.text().lines().any(|line| commented_item(line) == Some(name))
    }

    /// Whether a comment stands right above the item, and may be about it. Nobody knows but people: it stays when the item
    /// goes.
    pub fn has_comment_above(&self, item: &Outlined) -> bool {
        let before = self.position(item).checked_sub(1).map(|above| self.items[above].lines.end);
        has_comment_above(self.document.text(), &item.lines, before.unwrap_or_default())
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
        let mut edits = Edits::of(self.document.text());
        let stays = |item: &&Outlined| !amendment.removed.contains(&item.name);
        for item in self.items.iter().filter(|item| !stays(item)) {
            // Else it would be the comment of what comes next.
            let parts = self.has_comment_above(item) && self.is_followed(item, amendment);
            edits.replace(item.lines.clone(), if parts { "\n" } else { "" });
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
                (false, true) => edits.replace(key_end..key_end, " []"),
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

    fn position(&self, item: &Outlined) -> usize {
        self.items.partition_point(|other| other.lines.start < item.lines.start)
    }

    /// Whether an item or a comment comes right below the item, once those are gone that go.
    fn is_followed(&self, item: &Outlined, amendment: &Amendment) -> bool {
        let mut end = item.lines.end;
        let mut below = self.items[self.position(item) + 1..].iter();
        let next = below.find(|next| {
            let is_gone = amendment.removed.contains(&next.name) && next.lines.start == end;
            end = if is_gone { next.lines.end } else { end };
            !is_gone
        });
        let has_new_below = next.is_none() && !amendment.added.is_empty();
        has_new_below || self.document.text()[end..].trim_start_matches(' ').starts_with(['-', '#'])
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
