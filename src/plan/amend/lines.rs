//! Where in the text of a plan something stands: lines, margins, the end of an entry, and whose a comment is.

use std::ops::Range;

use super::super::tree::{Content, Node};

pub(super) fn written(node: &Node) -> Range<usize> {
    let span = node.place.written();
    span.start as usize..span.end as usize
}

pub(super) fn first_byte(node: &Node) -> usize {
    let is_list = matches!(node.content, Content::List(_));
    if is_list { node.place.used.start as usize } else { node.visible_place().used.start as usize }
}

/// Where the text of what comes by aliases stands.
pub(super) fn defined_elsewhere(node: &Node, found: &mut Vec<usize>) {
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
pub(super) fn is_flow(text: &str, node: &Node) -> bool {
    text[written(node)].starts_with(['[', '{'])
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the end of the line that has the byte before `at`.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    if at > 0 && text[..at].ends_with('\n') {
        return at;
    }
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

pub(super) fn column(text: &str, at: u32) -> usize {
    at as usize - line_start(text, at as usize)
}

pub(super) fn margin_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches(' ').len()]
}

/// The start of the line with the dash of the entry whose first word is at `at`; `None` where other things than the
/// beginning of an entry stand before it: an anchor, a bracket, a comment, the head of a block scalar.
pub(super) fn entry_line(text: &str, at: usize) -> Option<usize> {
    let may_come_first = |word: &str| matches!(word.as_bytes()[0], b'{' | b'&' | b'!' | b'>' | b'|');
    let mut end = at;
    loop {
        let start = line_start(text, end);
        let before = without_comment(&text[start..end]).trim();
        match before.strip_prefix('-') {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => {
                return rest.split_whitespace().all(may_come_first).then_some(start);
            }
            None if start > 0 && before.split_whitespace().all(may_come_first) => end = start - 1,
            _ => return None,
        }
    }
}

pub(super) fn without_comment(line: &str) -> &str {
    let comment = line.match_indices('#').find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', '\t']));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Behind the last line of an item: the one with its last word, and comments that are set in further than its dash.
pub(super) fn item_end(text: &str, node: &Node, margin: &str) -> usize {
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
pub(super) fn last_byte(text: &str, node: &Node) -> usize {
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
        (false, _) if is_block_scalar(text, place.start) => block_scalar_end(text, place.start),
        (false, _) => place.start + text[place].trim_end().len(),
        (true, true) => behind_bracket(text, below.unwrap_or(place.start + 1)),
        (true, false) => below.unwrap_or(0),
    }
}

/// Whether the text that begins at `at` stands on lines below its head, `>-` or `|`.
fn is_block_scalar(text: &str, at: usize) -> bool {
    let start = line_start(text, at);
    let head = without_comment(text[..start].trim_end().lines().last().unwrap_or_default()).trim_end();
    let is_head =
        |word: &str| word.trim_start_matches(['>', '|']).bytes().all(|b| b.is_ascii_digit() || b"+-".contains(&b));
    let word = head.rsplit([' ', '\t']).next().unwrap_or_default();
    text[start..at].trim().is_empty() && word.starts_with(['>', '|']) && is_head(word)
}

/// Behind the last word of a block scalar. It is read up to the next word, over comments that are set in less.
fn block_scalar_end(text: &str, at: usize) -> usize {
    let margin = at - line_start(text, at);
    let mut end = at;
    let mut next = line_start(text, at);
    while next < text.len() {
        let line_end = line_end(text, next + 1);
        let line = text[next..line_end].trim_end();
        if !line.is_empty() {
            if margin_of(line).len() < margin {
                break;
            }
            end = next + line.len();
        }
        next = line_end;
    }
    end
}

/// Behind the bracket that closes what has its last entry before `at`: white space, a comma and comments may stand
/// between.
pub(super) fn behind_bracket(text: &str, at: usize) -> usize {
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
pub(super) fn with_comments_above(text: &str, lines: &Range<usize>) -> Range<usize> {
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

/// Whether a comment stands right above that may be about the item of these lines, the first behind `before`: not one that
/// is set in further, a heading, or an item that somebody commented out.
pub(super) fn has_comment_above(text: &str, lines: &Range<usize>, before: usize) -> bool {
    let margin = margin_of(&text[lines.start..]).len();
    let above = text[before..lines.start].lines().rev();
    let mut block =
        above.take_while(|line| line.trim_start().starts_with('#') && margin_of(line).len() <= margin).peekable();
    block.peek().is_some_and(|line| !is_heading(line)) && block.all(|line| commented_entry(line).is_none())
}

/// Whether a comment is set off by a line of its own: `## Ann's`, `# --- Ann's ---`, `#####`.
pub(super) fn is_heading(comment: &str) -> bool {
    let comment = comment.trim();
    comment.starts_with("##") || ["---", "===", "***", "~~~"].iter().any(|line| comment.contains(line))
}

/// `name: "a"` and `"a"` are as good as without the quotes.
pub(super) const QUOTES: [char; 2] = ['"', '\''];

/// What a comment would be an entry with, were it none: `a` of `# - a # why`.
pub(super) fn commented_entry(line: &str) -> Option<&str> {
    let entry = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("- ")?;
    Some(entry.split(" #").next().unwrap_or_default().trim())
}

/// The name of an item that is commented out, by its first line: `# - name: a`, `# - { name: a, deps: [b] }`.
pub(super) fn commented_item(line: &str) -> Option<&str> {
    let entry = commented_entry(line)?;
    let name = match entry.strip_prefix('{') {
        Some(flow) => flow.trim_start().strip_prefix("name:")?.split([',', '}']).next()?,
        None => entry.strip_prefix("name:")?,
    };
    Some(name.trim().trim_matches(QUOTES))
}
