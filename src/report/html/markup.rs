//! Other people's text in a page: nothing of it is markup, and no character of it can hide or reorder what follows.

use crate::wording::{in_backticks, shown};

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

/// A sentence in which what stands between backticks is code. A backtick that has no other is itself.
pub fn with_code(of: &str) -> String {
    let parts = in_backticks(of);
    parts.map(|(part, is_code)| if is_code { code(part) } else { text(part) }).collect()
}

/// The text as code.
pub fn code(of: &str) -> String {
    format!("<code>{}</code>", text(of))
}
