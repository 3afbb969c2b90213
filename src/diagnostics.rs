//! Shows problems: for people as the lines of the file with what is wrong underlined, for
//! programs as JSON.
//!
//! Whether there is a terminal that shows colour, the caller knows. Nothing here decides what is
//! a problem, and nothing that stands in a plan reaches the terminal as a control sequence.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};
use serde::Serialize;

use crate::plan::problem::{Problem, Severity, Source, Span};

/// Lines this far apart, in bytes, are shown apart; between nearer ones the rest is left out.
const APART_BYTES: usize = 16 * 1024;

/// A line longer than this, in bytes, is shown in part: a plan may be one line of JSON.
const LONG_LINE_BYTES: usize = 1024;

/// What is shown of such a line before and after what is underlined, in bytes.
const AROUND_BYTES: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Colour,
}

/// All problems, each with its lines, and how many there are.
pub fn text(source: &Source, problems: &[Problem], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut text = String::new();
    for problem in problems {
        text.extend(renderer.render(&[group(source, problem)]).chars().map(visible));
        text.push_str("\n\n");
    }
    if !problems.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", normalize_untrusted_str(&source.name), counts(problems));
    }
    text
}

/// The renderer replaces the older control characters; some terminals act on the later ones too.
fn visible(c: char) -> char {
    if matches!(c, '\u{80}'..='\u{9f}') { char::REPLACEMENT_CHARACTER } else { c }
}

/// `2 errors, 1 warning`.
pub fn counts(problems: &[Problem]) -> String {
    let count = |severity, one: &str| {
        let number = problems.iter().filter(|problem| problem.severity == severity).count();
        let plural = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {one}{plural}"))
    };
    let counts: Vec<String> =
        [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
    if counts.is_empty() { "no problems".to_owned() } else { counts.join(", ") }
}

/// A list of all problems, indented, with a final newline.
pub fn json(source: &Source, problems: &[Problem]) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        severity: &'static str,
        file: &'a str,
        /// Counted from 1.
        line: Option<u32>,
        /// In characters, counted from 1.
        column: Option<u32>,
        path: String,
        message: &'a str,
        hint: Option<&'a str>,
    }
    let shown: Vec<Shown<'_>> = problems
        .iter()
        .map(|problem| Shown {
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            file: &source.name,
            line: problem.at.map(|span| span.line),
            column: problem.at.map(|span| span.column),
            path: problem.path.to_string(),
            message: &problem.message,
            hint: problem.hint.as_deref(),
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&shown).expect("the fields are text and numbers");
    text.push('\n');
    text
}

fn group<'a>(source: &'a Source, problem: &'a Problem) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = problem.path.to_string();
    let title = if path.is_empty() { problem.message.clone() } else { format!("{path}: {}", problem.message) };
    let mut group = Group::with_title(level.primary_title(title));
    group = match problem.at {
        Some(at) => located(group, source, problem, at),
        None => group.element(Origin::path(normalize_untrusted_str(&source.name))),
    };
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.message(normalize_untrusted_str(hint)));
    }
    group
}

/// One place to underline.
struct Mark<'a> {
    kind: AnnotationKind,
    span: Span,
    range: Range<usize>,
    label: Option<&'a str>,
}

fn located<'a>(mut group: Group<'a>, source: &'a Source, problem: &'a Problem, at: Span) -> Group<'a> {
    let text = &*source.text;
    let mut marks = vec![Mark {
        kind: AnnotationKind::Primary,
        span: at,
        range: first_line(text, at),
        label: problem.label.as_deref(),
    }];
    marks.extend(problem.related.iter().map(|(span, label)| Mark {
        kind: AnnotationKind::Context,
        span: *span,
        range: first_line(text, *span),
        label: Some(label),
    }));
    // In the order of the file, those close together in one window; the problem's own first.
    marks.sort_by_key(|mark| mark.range.start);
    let mut windows: Vec<Vec<Mark<'a>>> = Vec::new();
    for mark in marks {
        match windows.last_mut() {
            Some(window) if mark.range.start - window[0].range.start < APART_BYTES => window.push(mark),
            _ => windows.push(vec![mark]),
        }
    }
    windows.sort_by_key(|window| window.iter().all(|mark| mark.kind != AnnotationKind::Primary));
    for window in windows {
        let Some((first, last)) = window.first().zip(window.last()) else { continue };
        let (start, end) = (line_start(text, first.range.start), line_end(text, last.range.end));
        if let (Some(start), Some(end)) = (start, end) {
            let snippet = Snippet::source(&text[start..end])
                .line_start(first.span.line as usize)
                .path(normalize_untrusted_str(&source.name));
            group = group.element(snippet.annotations(window.iter().map(|mark| {
                let label = mark.label.map(normalize_untrusted_str);
                mark.kind.span(mark.range.start - start..mark.range.end - start).label(label)
            })));
        } else {
            for mark in &window {
                group = in_part(group, source, mark);
            }
        }
    }
    group
}

/// Shows some text around a mark in a line too long to show.
fn in_part<'a>(group: Group<'a>, source: &'a Source, mark: &Mark<'_>) -> Group<'a> {
    let text = &*source.text;
    let from = floor(text, mark.range.start.saturating_sub(AROUND_BYTES));
    let until = floor(text, mark.range.end.min(mark.range.start + AROUND_BYTES) + AROUND_BYTES);
    let before = text[from..mark.range.start].rfind('\n').map_or(from, |at| from + at + 1);
    let shown = &text[before..until];
    let shown = &shown
        [..shown[mark.range.start - before..].find('\n').map_or(shown.len(), |at| mark.range.start - before + at)];
    let range = mark.range.start - before..(mark.range.end - before).min(shown.len());
    let origin = Origin::path(normalize_untrusted_str(&source.name))
        .line(mark.span.line as usize)
        .char_column(mark.span.column as usize);
    let label = mark.label.map(normalize_untrusted_str);
    group.element(origin).element(
        Snippet::source(shown).line_start(mark.span.line as usize).annotation(mark.kind.span(range).label(label)),
    )
}

/// The bytes of a span, without what lies beyond its first line.
fn first_line(text: &str, span: Span) -> Range<usize> {
    let start = floor(text, span.start as usize);
    let end = floor(text, (span.end as usize).max(start));
    let line = text[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    start..line
}

/// Where the line that holds byte `at` begins; `None` if that is far away.
fn line_start(text: &str, at: usize) -> Option<usize> {
    let from = at.saturating_sub(LONG_LINE_BYTES);
    match text.as_bytes()[from..at].iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => Some(from + newline + 1),
        None => (from == 0).then_some(0),
    }
}

/// Where the line that holds byte `at` ends; `None` if that is far away.
fn line_end(text: &str, at: usize) -> Option<usize> {
    let until = text.len().min(at + LONG_LINE_BYTES);
    match text.as_bytes()[at..until].iter().position(|byte| *byte == b'\n') {
        Some(newline) => Some(at + newline),
        None => (until == text.len()).then_some(until),
    }
}

/// The nearest boundary between characters at or before byte `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
