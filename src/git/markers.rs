//! Which lines of either side a conflict is about, read from the text that git marked.
//!
//! What stands between two markers stands in the side's own version as it is, and so do the line above and
//! the line below: changes that touch are one conflict, so what bounds it is the same on both sides
//! (`xdl_do_merge` of git's `xmerge.c`). That is how the lines are found again in the side's version.

use crate::vocabulary::clash::{ClashHunk, Lines};

/// A version of the file that was merged.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    pub text: &'a [u8],
    /// What git's marker names it by, or begins with.
    pub label: &'a str,
}

/// What stands next to a conflict.
#[derive(Clone, Copy)]
enum Beside<'a> {
    /// The beginning or the end of the file.
    Edge,
    Line(&'a [u8]),
    /// Another conflict.
    Unknown,
}

/// The conflicts that `marked` shows, in order. One whose lines cannot be found in both versions is left out:
/// the file then holds markers of its own that cannot be told from git's.
pub fn hunks(marked: &[u8], ours: Side<'_>, theirs: Side<'_>) -> Vec<ClashHunk> {
    let marked = lines(marked);
    let (our_lines, their_lines) = (lines(ours.text), lines(theirs.text));
    let mut found = Vec::new();
    // How far a line of the marked text lies, in each version, from where it stands there.
    let (mut our_shift, mut their_shift) = (0_isize, 0_isize);
    let mut at = 0;
    let mut ended_before = None;
    while at < marked.len() {
        let Some(size) = marker(marked[at], b'<', ours.label) else {
            at += 1;
            continue;
        };
        let Some(len) = marked[at + 1..].iter().position(|line| marker(line, b'>', theirs.label) == Some(size)) else {
            break;
        };
        let (begin, end) = (at + 1, at + 1 + len);
        let above = match at {
            0 => Beside::Edge,
            _ if ended_before == Some(at) => Beside::Unknown,
            _ => Beside::Line(marked[at - 1]),
        };
        let below = match marked.get(end + 1) {
            None => Beside::Edge,
            Some(line) if marker(line, b'<', ours.label).is_some() => Beside::Unknown,
            Some(line) => Beside::Line(line),
        };
        // Text may look like the marker in the middle: the right one is that by which both sides are found.
        let middles = (begin..end).filter(|middle| is_middle(marked[*middle], size));
        let hunk = middles.into_iter().find_map(|middle| {
            let (our_part, their_part) = (&marked[begin..middle], &marked[middle + 1..end]);
            let our_at = find(&our_lines, our_part, above, below, at.saturating_add_signed(our_shift))?;
            let their_at = find(&their_lines, their_part, above, below, at.saturating_add_signed(their_shift))?;
            Some((our_at, our_part.len(), their_at, their_part.len()))
        });
        at = end + 1;
        ended_before = Some(at);
        if let Some((our_at, our_len, their_at, their_len)) = hunk {
            found.push(ClashHunk { first: span(our_at, our_len), second: span(their_at, their_len) });
            our_shift = distance(at, our_at + our_len);
            their_shift = distance(at, their_at + their_len);
        }
    }
    found
}

/// Without line ends, be they `\n` or `\r\n`: git writes its markers with those of the file.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

/// How long a marker is, if the line is one: `conflict-marker-size` decides (gitattributes(5)).
fn marker(line: &[u8], sign: u8, label: &str) -> Option<usize> {
    let size = line.iter().take_while(|byte| **byte == sign).count();
    let rest = line.get(size..)?.strip_prefix(b" ")?.strip_prefix(label.as_bytes())?;
    // Behind the label stands, after a rename, a colon and the path.
    (size > 0 && (rest.is_empty() || rest.starts_with(b":"))).then_some(size)
}

fn is_middle(line: &[u8], size: usize) -> bool {
    line.len() == size && line.iter().all(|byte| *byte == b'=')
}

/// Where `part` stands in `version` between what is beside it; of several places the one nearest to where it
/// is expected, the first of two.
fn find(version: &[&[u8]], part: &[&[u8]], above: Beside<'_>, below: Beside<'_>, expected: usize) -> Option<usize> {
    let last = version.len().checked_sub(part.len())?;
    let expected = expected.min(last);
    let fits = |at: usize| {
        let end = at + part.len();
        let above_fits = match above {
            Beside::Edge => at == 0,
            Beside::Line(line) => at > 0 && version[at - 1] == line,
            Beside::Unknown => true,
        };
        let below_fits = match below {
            Beside::Edge => end == version.len(),
            Beside::Line(line) => version.get(end) == Some(&line),
            Beside::Unknown => true,
        };
        above_fits && below_fits && version[at..end] == *part
    };
    (0..=last.max(expected)).find_map(|away| {
        let before = expected.checked_sub(away).filter(|at| fits(*at));
        before.or_else(|| Some(expected + away).filter(|at| *at <= last && fits(*at)))
    })
}

fn span(at: usize, len: usize) -> Lines {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Lines { start: narrow(at + 1), count: narrow(len) }
}

fn distance(from: usize, to: usize) -> isize {
    isize::try_from(to).unwrap_or(isize::MAX) - isize::try_from(from).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(marked: &str, ours: &str, theirs: &str) -> Vec<String> {
        let side = |text, label| Side { text, label };
        let found = hunks(marked.as_bytes(), side(ours.as_bytes(), "aaa"), side(theirs.as_bytes(), "bbb"));
        found.iter().map(|hunk| format!("{} | {}", hunk.first, hunk.second)).collect()
    }

    #[test]
    fn each_conflict_is_found_in_both_versions_though_other_lines_moved_in_between() {
        let ours = "1\nOURS\n3\n4\nadded by us\n5\n6\nUS TOO\nAND MORE\n8\n";
        let theirs = "0\n1\nTHEIRS\n3\n4\n5\n6\n8\n";
        let marked = "0\n1\n<<<<<<< aaa\nOURS\n=======\nTHEIRS\n>>>>>>> bbb\n3\n4\nadded by us\n5\n6\n\
                      <<<<<<< aaa\nUS TOO\nAND MORE\n=======\n>>>>>>> bbb\n8\n";
        assert_eq!(shown(marked, ours, theirs), ["2 | 3", "8-9 | none before 8"]);
    }

    #[test]
    fn of_places_that_look_alike_the_nearest_counts_and_edges_are_edges() {
        let row = "x\ny\n".repeat(20);
        let ours = format!("A\n{row}U\n");
        let theirs = format!("B\n{row}T\n");
        let marked =
            format!("<<<<<<< aaa:f\nA\n=======\nB\n>>>>>>> bbb:g\n{row}<<<<<<< aaa:f\nU\n=======\nT\n>>>>>>> bbb:g\n");
        assert_eq!(shown(&marked, &ours, &theirs), ["1 | 1", "42 | 42"]);
        // The same change thirty lines further on.
        let ours = format!("{row}z\nx\ny\n");
        let theirs = format!("{row}w\nx\ny\n");
        let marked = format!("{row}<<<<<<< aaa\nz\n=======\nw\n>>>>>>> bbb\nx\ny\n");
        assert_eq!(shown(&marked, &ours, &theirs), ["41 | 41"]);
    }

    #[test]
    fn text_that_looks_like_markers_and_markers_of_another_size_and_line_end_are_told_apart() {
        let ours = "Title\n=======\nours\nend\n";
        let theirs = "Other\n=======\ntheirs\nend\n";
        let marked = "<<<<<<< aaa\nTitle\n=======\nours\n=======\nOther\n=======\ntheirs\n>>>>>>> bbb\nend\n";
        assert_eq!(shown(marked, ours, theirs), ["1-3 | 1-3"]);
        let marked = "a\r\n<<< aaa\r\nb\r\n===\r\nc\r\n>>> bbb\r\nd\r\n";
        assert_eq!(shown(marked, "a\r\nb\r\nd\r\n", "a\r\nc\r\nd\r\n"), ["2 | 2"]);
        // Markers that somebody committed are text.
        assert_eq!(shown("<<<<<<< HEAD\na\n=======\nb\n>>>>>>> topic\n", "", ""), Vec::<String>::new());
        assert_eq!(shown("<<<<<<< aaa\na\n", "a\n", ""), Vec::<String>::new());
    }
}
