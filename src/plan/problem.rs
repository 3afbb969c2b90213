//! What can be wrong with a plan, as data: where it stands, what was expected and what to do.
//!
//! A [`Problem`] knows its place and its words, not how it is shown: that is the work of
//! `diagnostics`.

use std::fmt;
use std::sync::Arc;

use super::pointer::Pointer;

/// A stretch of a source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Span {
    /// Bytes from the start of the text.
    pub start: u32,
    /// Exclusive; equal to `start` where the place has no text of its own.
    pub end: u32,
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
}

/// A text and what to call it.
#[derive(Clone, Debug)]
pub struct Source {
    /// A path as the user gave it, or `-`.
    pub name: String,
    pub text: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The plan cannot be used.
    Error,
    /// The plan can be used, but perhaps not as its author thinks.
    Warning,
}

/// One thing that is wrong, or looks wrong, with a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub severity: Severity,
    /// The key path; the root where the whole document is meant.
    pub path: Pointer,
    /// `None` where the text has no place for it, as with a file that cannot be read.
    pub at: Option<Span>,
    /// What is wrong, and what was expected.
    pub message: String,
    /// A few words beside the underlined text.
    pub label: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that matter, each with a few words.
    pub related: Vec<(Span, String)>,
}

impl Problem {
    /// An error without a place in the text.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: Pointer::root(),
            at: None,
            message: message.into(),
            label: None,
            hint: None,
            related: Vec::new(),
        }
    }

    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint `did you mean …?` where there is such a word.
    #[must_use]
    pub fn did_you_mean(self, word: Option<&str>) -> Self {
        match word {
            Some(word) => self.hint(format!("did you mean {}?", Quoted(word))),
            None => self,
        }
    }
}

/// Brings problems into the order of the file and folds those that aliases repeat: one mistake
/// in an anchor used by a hundred items is one problem.
pub fn in_file_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| problem.at.is_none() || seen.insert((problem.at, problem.message.clone())));
    problems.sort_by_key(|problem| problem.at.map(|span| (span.start, span.end)));
    problems
}

/// Words of more letters are compared with none: that takes the product of their lengths in time
/// and memory, and no name may be longer.
const COMPARED_CHARS: usize = 200;

/// The candidate most like `word`, if any is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > COMPARED_CHARS {
        return None;
    }
    // A third of the letters may differ; of two letters one.
    let allowed = (length / 3).max(1);
    let lower = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    // `timeout` is no misspelling of `timeoutSeconds`, but surely means it.
    let longer = (length >= 3).then(|| candidates.iter().copied().find(|candidate| candidate.starts_with(word)));
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or(longer.flatten())
}

/// Shows text from a plan inside a message: in backticks, on one line, nothing that a terminal
/// would act on, and not longer than a line.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

/// Longer texts are cut here: a name of 200 bytes fits, a script does not.
const QUOTED_CHARS: usize = 200;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        for (at, c) in self.0.chars().enumerate() {
            if at == QUOTED_CHARS {
                f.write_str("…")?;
                break;
            }
            if is_control(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str("`")
    }
}

/// Control characters, and those that turn the direction of text or break lines.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_like_the_one_given() {
        assert_eq!(nearest("depz", ["deps", "name", "gates"]), Some("deps"));
        assert_eq!(nearest("maxworkers", ["maxWorkers", "spend"]), Some("maxWorkers"));
        assert_eq!(nearest("timeout", ["name", "timeoutSeconds"]), Some("timeoutSeconds"));
        assert_eq!(nearest("zebra", ["deps", "name"]), None);
        assert_eq!(nearest("a", ["b"]), None);
    }

    #[test]
    fn quoted_text_cannot_reach_the_terminal() {
        assert_eq!(Quoted("a\u{1b}[31m\u{202e}b").to_string(), "`a\\u{1b}[31m\\u{202e}b`");
    }
}
