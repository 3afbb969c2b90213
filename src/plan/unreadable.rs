//! Why a text cannot be read at all, in the words of this tool: the YAML reader's errors, and the
//! refusals of what is larger than any plan.
//!
//! Decides nothing: the limits are those of [`super::spanned`].

use serde_yaml::budget::BudgetBreach;
use serde_yaml::{DefaultMessageFormatter, Error as YamlError, Location, MessageFormatter};

use super::problem::{Problem, Quoted, Span};
use super::reader::{EXPANSION, span};
use super::spanned::{MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES, most_expanded_bytes};

/// How what is said of a text begins that has more of something than is read.
const TOO_MUCH: &str = "too large for a plan: ";

/// Of a text with more bytes than are read.
pub fn too_large() -> Problem {
    Problem::error(format!("{TOO_MUCH}more than {MAX_BYTES} bytes"))
        .hint("give shared gates once under `gates`, or land the items in several plans")
}

/// Of one text with more bytes than are read, at `at`.
pub(super) fn too_long(bytes: usize, at: Span) -> Problem {
    let problem =
        Problem::error(format!("{TOO_MUCH}a text of {bytes} bytes, of which at most {MAX_TEXT_BYTES} are read"));
    Problem { at: Some(at), ..problem }
}

/// The reader's error in the words of this tool.
pub(super) fn unreadable(error: &YamlError, text: &str) -> Problem {
    let inner = match error.without_snippet() {
        YamlError::AliasError { error, .. } => error,
        other => other,
    };
    let said = DefaultMessageFormatter.format_message(inner).into_owned();
    let aliases_too_large = || {
        Problem::error("the aliases of this document expand to far more than the document itself")
            .hint("write out what differs, or give the shared gates once under `gates`")
    };
    let problem = match inner {
        YamlError::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(),
        YamlError::Budget { breach: BudgetBreach::ScalarBytes { .. }, .. } => {
            let most = most_expanded_bytes(text.len());
            Problem::error(format!("{TOO_MUCH}more than {most} bytes of text, with what aliases repeat"))
        }
        YamlError::Budget { breach: BudgetBreach::Nodes { .. }, .. } => {
            Problem::error(format!("{TOO_MUCH}more than {MAX_NODES} values, with those that aliases repeat"))
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => aliases_too_large(),
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => {
            Problem::error("an alias stands inside the anchor that it names").hint("nothing can contain itself")
        }
        YamlError::SerdeInvalidLength { expected, .. } if expected == EXPANSION => aliases_too_large(),
        // Nothing else has a length that the reader asks for.
        YamlError::SerdeInvalidLength { expected, .. } => Problem::error(format!("{TOO_MUCH}{expected}")),
        YamlError::MultipleDocuments { .. } => {
            Problem::error("a second YAML document begins here").hint("a plan is one document: remove the `---`")
        }
        YamlError::NullIntoString { .. } => Problem::error("a key is missing before this `:`"),
        YamlError::Unexpected { expected: "string scalar", .. } => Problem::error("a key must be text"),
        YamlError::UnsupportedTag { tag, .. } => {
            Problem::error(format!("the tag {} means nothing in a plan", Quoted(tag)))
        }
        YamlError::MergeValueNotMapOrSeqOfMaps { .. } => {
            Problem::error("`<<` merges maps: expected an alias of a map, or a list of such aliases")
        }
        _ if said.contains("recursion limit") => too_deep(),
        _ if said.starts_with("tabs disallowed") => {
            Problem::error("a tab stands where this line is indented").hint("YAML is indented with spaces")
        }
        _ => Problem::error(format!("not valid YAML or JSON: {}", said.trim_end_matches('.'))),
    };
    let at = error.location().map_or(BEGINNING, |location| place_of_error(&location, text));
    Problem { at: Some(at), ..problem }
}

fn too_deep() -> Problem {
    Problem::error(format!("nested too deeply: more than {MAX_DEPTH} lists or maps inside each other"))
        .hint("a plan needs no more than ten")
}

/// For what the reader has no place.
const BEGINNING: Span = Span { start: 0, end: 0, line: 1, column: 1 };

/// Some errors come with a line and a column alone.
fn place_of_error(location: &Location, text: &str) -> Span {
    let mut found = span(location);
    if location.span().byte_offset().is_none() {
        let line_start = match found.line {
            0 | 1 => 0,
            line => text.match_indices('\n').nth(line as usize - 2).map_or(text.len(), |(at, _)| at + 1),
        };
        let line = text[line_start..].lines().next().unwrap_or("");
        let before = line.char_indices().nth(found.column as usize - 1).map_or(line.len(), |(at, _)| at);
        let width = line[before..].chars().next().map_or(0, char::len_utf8);
        found.start = u32::try_from(line_start + before).unwrap_or(u32::MAX);
        found.end = found.start + u32::try_from(width).unwrap_or(0);
    }
    found
}

/// Where a text ends.
pub(super) fn end_of(text: &str) -> Span {
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let last_line = text.rsplit('\n').next().unwrap_or("");
    Span {
        start: narrow(text.len()),
        end: narrow(text.len()),
        line: narrow(text.matches('\n').count() + 1),
        column: narrow(last_line.chars().count() + 1),
    }
}
