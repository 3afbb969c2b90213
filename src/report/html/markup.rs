//! Other people's text in a page: nothing of it is markup, and no character of it can hide or reorder what follows.

use crate::wording::shown;

/// `of` on one line, safe to show, as text of HTML or SVG or as a quoted attribute.
pub fn text(of: &str) -> String {
    escaped(&shown(of))
}

/// Lines that are safe to show already, as text.
pub fn escaped(of: &str) -> String {
    let mut out = String::with_capacity(of.len());
    for c in of.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The text as code.
pub fn code(of: &str) -> String {
    format!("<code>{}</code>", text(of))
}
