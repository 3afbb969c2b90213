//! What gates leave on nodes. A worker is told in pathspecs of git's which files may be asked for, sends them by git, and
//! what the globs mean is chosen from them here, as from a slot.

use std::io;
use std::path::Path;

use super::exchange::{BringError, Exchange, object_format};
use super::{Errand, Left};
use crate::gate::artifacts::{self, BROUGHT, Kept, Shelf};

/// Pathspecs that name at least what `globs` mean. In one without a slash's meaning (gitglossary, "pathspec") `*` stands for
/// any text, so whatever is more than a plain name becomes one.
pub(super) fn pathspecs(globs: &[String]) -> Vec<String> {
    globs.iter().map(|glob| format!("./{}", widened(glob.strip_prefix("./").unwrap_or(glob)))).collect()
}

fn widened(glob: &str) -> String {
    let mut wide = String::new();
    let mut depth = 0_usize;
    let mut rest = glob;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            // Folders, or none.
            '*' => rest = rest.strip_prefix("*/").unwrap_or(rest),
            '[' => {
                // A bracket that stands first in it is of it.
                let first = rest.strip_prefix(['!', '^']).unwrap_or(rest);
                let end = first.strip_prefix(']').unwrap_or(first).find(']');
                rest = end.map_or("", |end| &first.strip_prefix(']').unwrap_or(first)[end + 1..]);
            }
            '\\' => rest = rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
            '?' => {}
            plain if depth == 0 => {
                wide.push(plain);
                continue;
            }
            _ => {}
        }
        if !wide.ends_with('*') {
            wide.push('*');
        }
    }
    wide
}

/// Where a worker sends them.
pub(super) fn files_of(ticket: &str) -> String {
    format!("{ticket}-files")
}

/// Brings what a gate left into a folder of its own, which is made where there is something. What cannot be had is told as
/// missing: it changes no verdict. Blocks.
pub(super) fn bring(exchange: &Exchange, errand: &Errand, left: &Left, folder: &Path) -> Kept {
    let lost = |why: &str| {
        let anything = ["$LEXPR_ARTIFACTS".to_owned()];
        let globs = if errand.artifacts.is_empty() { &anything[..] } else { &errand.artifacts };
        Kept {
            missing: globs.iter().map(|glob| format!("{glob} (not brought back: {why})")).collect(),
            ..Kept::default()
        }
    };
    let commit = match left {
        Left::Nothing => return Kept { missing: errand.artifacts.clone(), ..Kept::default() },
        Left::Lost(why) => return lost(why),
        Left::Sent(commit) => commit,
    };
    let shelf = Shelf::new(folder.to_owned());
    let brought = folder.join(BROUGHT);
    let bring = || -> Result<(), BringError> {
        std::fs::create_dir_all(&brought).map_err(kept_at(&brought))?;
        exchange.bring_files(&files_of(&errand.ticket), commit, object_format(errand.commit), &brought)
    };
    match bring() {
        Ok(()) => artifacts::keep_brought(&errand.artifacts, shelf).unwrap_or_else(|error| lost(&error.to_string())),
        Err(error) => {
            // What is not kept says nothing.
            let _ = std::fs::remove_dir_all(folder);
            lost(&error.to_string())
        }
    }
}

fn kept_at(path: &Path) -> impl FnOnce(io::Error) -> BringError {
    let file = path.display().to_string();
    move |source| BringError::Written { file, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pathspec_names_at_least_what_the_glob_means() {
        for (glob, expected) in [
            ("report.xml", "./report.xml"),
            ("./cov", "./cov"),
            ("**/junit.xml", "./*junit.xml"),
            ("a/**/b-?.xml", "./a/*b-*.xml"),
            ("target/**", "./target/*"),
            ("a{b,{c,d/e}}f.{x,y}", "./a*f.*"),
            ("[!]a]x[a-z]", "./*x*"),
            (r"a\*b\ü", "./a*b*"),
            ("a[", "./a*"),
            (":(top)x", "./:(top)x"),
        ] {
            assert_eq!(pathspecs(&[glob.to_owned()]), [expected], "{glob}");
        }
    }
}
