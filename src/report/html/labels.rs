//! Names of items in boxes that are all of one size: as much of each as fits, and where that would make several read alike,
//! the part in which they differ.

use std::collections::HashMap;

use unicode_width::UnicodeWidthStr as _;

use crate::wording::{cut, shortened};

/// What a box has room for, in cells, sign and space left out.
const CELLS: usize = 14;

/// A label for each of `names`, which are different and safe to show.
pub fn labels<T: AsRef<str>>(names: &[T]) -> Vec<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let mut labels: Vec<String> = names.iter().map(|name| short(name)).collect();
    // Where what tells a name from its likes begins in it.
    let mut differs_at: Vec<Option<usize>> = vec![None; names.len()];
    for alike in alike(&labels) {
        tell_apart(&names, alike, &mut labels, &mut differs_at);
    }
    // Two families of names may differ in the same: of these the beginning is shown, too.
    for at in alike(&labels).into_iter().flatten() {
        if let Some(from) = differs_at[at] {
            labels[at] = with_beginning(names[at], from);
        }
    }
    labels
}

/// Positions of what reads alike, several each.
fn alike(labels: &[String]) -> Vec<Vec<usize>> {
    let mut by_label: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, label) in labels.iter().enumerate() {
        by_label.entry(label).or_default().push(at);
    }
    by_label.into_values().filter(|alike| alike.len() > 1).collect()
}

/// Gives each of some names that read alike the part in which they differ, and so on for those that still do.
fn tell_apart(names: &[&str], members: Vec<usize>, labels: &mut [String], differs_at: &mut [Option<usize>]) {
    let mut open = vec![members];
    while let Some(members) = open.pop() {
        let family: Vec<&str> = members.iter().map(|at| names[*at]).collect();
        let common = common_bytes(&family);
        // A whole word, as long as that is enough to see the difference.
        let word = word_start(family[0], common);
        let told = |from: usize| family.iter().map(|name| from_there(name, from)).collect::<Vec<_>>();
        let is_of_use = |told: &[String]| told.iter().any(|label| *label != told[0]);
        let by_word = told(word);
        let (from, told) = if is_of_use(&by_word) { (word, by_word) } else { (common, told(common)) };
        let is_enough = is_of_use(&told);
        for (at, label) in members.iter().zip(told) {
            labels[*at] = label;
            differs_at[*at] = Some(from);
        }
        if is_enough {
            let own: Vec<String> = members.iter().map(|at| labels[*at].clone()).collect();
            open.extend(alike(&own).into_iter().map(|still| still.into_iter().map(|nth| members[nth]).collect()));
        }
    }
}

/// How many bytes all of them begin with.
fn common_bytes(names: &[&str]) -> usize {
    let first = names[0];
    let shared = |name: &&str| {
        let same = first.char_indices().zip(name.chars()).take_while(|((_, one), other)| one == other);
        same.last().map_or(0, |((at, one), _)| at + one.len_utf8())
    };
    names.iter().map(shared).min().unwrap_or(0)
}

/// Where the word begins that `at` is in, or behind.
fn word_start(name: &str, at: usize) -> usize {
    let before = name[..at].char_indices().rev().find(|(_, c)| !c.is_alphanumeric());
    before.map_or(0, |(start, c)| start + c.len_utf8())
}

/// What of a name begins there, as much as fits.
fn from_there(name: &str, from: usize) -> String {
    if from == 0 { shortened(name, CELLS) } else { format!("…{}", shortened(&name[from..], CELLS - 1)) }
}

/// The word that begins there, and before it as much of the name's beginning as there is room for.
fn with_beginning(name: &str, from: usize) -> String {
    /// Less says nothing.
    const LEAST: usize = 5;
    let rest = &name[from..];
    let word = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(rest);
    let (word, cells) = cut(word, CELLS - 1 - LEAST);
    let (beginning, _) = cut(&name[..from], CELLS - 1 - cells);
    format!("{beginning}…{word}")
}

/// A name that fits: its beginning often has a number, and its end says what it is about.
fn short(name: &str) -> String {
    if name.width() <= CELLS {
        return name.to_owned();
    }
    let (beginning, _) = cut(name, (CELLS - 1) / 2);
    let backwards: String = name.chars().rev().collect();
    let (end, _) = cut(&backwards, CELLS / 2);
    format!("{beginning}…{}", end.chars().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_for_its_box_keeps_both_its_ends() {
        assert_eq!(short("exactly-that-1"), "exactly-that-1");
        assert_eq!(short("31-retry-of-uploads"), "31-ret…uploads");
        // Of such characters each takes two cells.
        assert_eq!(short("日本語の項目名前がとても"), "日本語…とても");
        assert!(short(&"é".repeat(40)).width() <= CELLS);
    }

    #[test]
    fn names_that_would_read_alike_show_whole_words_from_where_they_differ() {
        let names = ["web-frontend-017-refactor", "web-frontend-018-refactor", "web-frontend-018-tests-and-refactor"];
        assert_eq!(labels(&names), ["…017-refactor", "…018-refactor", "…018-tests-an…"]);
        let other = ["api-backend-017-refactor", "api-backend-018-refactor"];
        let both: Vec<&str> = names[..2].iter().chain(&other).copied().collect();
        assert_eq!(labels(&both), ["web-fronte…017", "web-fronte…018", "api-backen…017", "api-backen…018"]);
        assert!(labels(&both).iter().all(|label| label.width() <= CELLS));
    }
}
