//! Plans as people write them, with comments wherever one may stand, and random items of them landed: what an update
//! leaves is a valid plan of exactly the items that stay, with every comment that is not about something that went, and
//! a second update finds nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lexpr::draft::update::{Fate, Updated, updated};
use lexpr::draft::{Draft, DraftItem};
use lexpr::plan::amend::Outline;
use lexpr::plan::check::check;
use proptest::prelude::*;

use crate::random::Random;

/// A plan's text, and what an update may not lose.
#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    /// By item, what it depends on, in the order in which they are written.
    deps: Vec<(String, Vec<String>)>,
    comments: usize,
    /// Of the comments, those about what stays.
    staying: Vec<String>,
    has_new_commented_out: bool,
}

/// Items with a `g` have landed, those with a `k` have not; `n` is a branch that the plan lacks.
fn has_landed(name: &str) -> bool {
    name.starts_with('g')
}

struct Writer {
    random: Random,
    written: Written,
}

impl Writer {
    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.random.below(all.len())]
    }

    fn comment(&mut self, stays: bool) -> String {
        let id = format!("C{}x", self.written.comments);
        self.written.comments += 1;
        let more = self.one_of(&["", "name: k1", "- g1", "\"quo", "it's", ": {", "TODO [x]"]);
        let comment = format!("# {id} {more}");
        if stays {
            self.written.staying.push(id);
        }
        comment
    }

    /// ` # …` behind something, now and then.
    fn behind(&mut self, percent: usize, stays: bool) -> String {
        if self.chance(percent) { format!(" {}", self.comment(stays)) } else { String::new() }
    }

    fn quoted(&mut self, name: &str) -> String {
        match self.random.below(3) {
            0 => name.to_owned(),
            1 => format!("'{name}'"),
            _ => format!("\"{name}\""),
        }
    }

    fn plan(mut self) -> (Written, String) {
        let mut names: Vec<String> = (1..=6).flat_map(|at| [format!("k{at}"), format!("g{at}")]).collect();
        for at in (1..names.len()).rev() {
            names.swap(at, self.random.below(at + 1));
        }
        names.truncate(1 + self.random.below(names.len()));
        let margin = self.one_of(&["", "  ", "    "]);
        self.line("schemaVersion: v1");
        let head = self.behind(30, true);
        self.line(&format!("items:{head}"));
        for at in 0..names.len() {
            let name = names[at].clone();
            self.above(margin);
            let deps: Vec<String> = names[..at].iter().filter(|_| self.random.below(3) == 0).cloned().collect();
            self.item(margin, &name, &deps);
            self.written.deps.push((name, deps));
        }
        if self.chance(40) {
            let comment = self.comment(true);
            self.line(&format!("{margin}{comment}"));
        }
        if self.chance(50) {
            self.line("gates: [{name: test, run: 'true'}]");
        }
        let end = self.one_of(&["\n", "\n", "\r\n"]);
        let mut text = self.written.lines.join(end);
        if self.chance(80) {
            text.push_str(end);
        }
        (self.written, text)
    }

    fn line(&mut self, line: &str) {
        self.written.lines.push(line.to_owned());
    }

    fn above(&mut self, margin: &str) {
        if self.chance(20) {
            self.line("");
        }
        if self.chance(40) {
            let comment = self.comment(true);
            let margin = self.one_of(&[margin, ""]);
            self.line(&format!("{margin}{comment}"));
        }
        if self.chance(15) {
            self.written.has_new_commented_out = true;
            let out = self.one_of(&["# - name: n", "#- name: 'n' # not yet", "# - { name: n, deps: [k1] }"]);
            self.line(&format!("{margin}{out}"));
        }
        if self.chance(10) {
            self.line("");
        }
    }

    fn item(&mut self, margin: &str, name: &str, deps: &[String]) {
        let stays = !has_landed(name);
        let word = self.quoted(name);
        if self.chance(20) {
            let deps: Vec<String> = deps.iter().map(|dep| self.quoted(dep)).collect();
            let deps = if deps.is_empty() { String::new() } else { format!(", deps: [{}]", deps.join(", ")) };
            let behind = self.behind(30, stays);
            return self.line(&format!("{margin}- {{name: {word}{deps}}}{behind}"));
        }
        let mut keys = vec![if self.chance(10) {
            vec!["name: >-".to_owned(), format!("    {name}")]
        } else {
            vec![format!("name: {word}{}", self.behind(30, stays))]
        }];
        if self.chance(30) {
            keys.push(vec![format!("priority: 3{}", self.behind(50, stays))]);
        }
        if self.chance(20) {
            keys.push(vec!["gates: [{name: test, run: 'echo # no comment'}]".to_owned()]);
        }
        if !deps.is_empty() || self.chance(15) {
            keys.push(self.deps(deps, stays));
        }
        if keys.len() > 1 && self.chance(50) {
            let last = keys.len() - 1;
            keys.swap(0, last);
        }
        let mut dash = if self.chance(10) {
            let comment = self.comment(stays);
            self.line(&format!("{margin}- {comment}"));
            "  "
        } else {
            "- "
        };
        for key in keys {
            for line in key {
                self.line(&format!("{margin}{dash}{line}"));
                dash = "  ";
            }
            if self.chance(15) {
                let comment = self.comment(stays);
                self.line(&format!("{margin}  {comment}"));
            }
        }
    }

    fn deps(&mut self, deps: &[String], stays: bool) -> Vec<String> {
        let form = if deps.is_empty() { 0 } else { self.random.below(4) };
        if form == 0 {
            let words: Vec<String> = deps.iter().map(|dep| self.quoted(dep)).collect();
            return vec![format!("deps: [{}]{}", words.join(", "), self.behind(50, stays))];
        }
        let on_lines = form == 1;
        let (open, close) = if on_lines { ("deps: [", Some("]")) } else { ("deps:", None) };
        let mut lines = vec![format!("{open}{}", self.behind(40, stays))];
        let margin = if on_lines { "  " } else { self.one_of(&["", "  "]) };
        for dep in deps {
            if self.chance(20) {
                lines.push(format!("{margin}{}", self.comment(stays)));
            }
            let behind = self.behind(40, stays && !has_landed(dep));
            let word = self.quoted(dep);
            match (on_lines, self.chance(10)) {
                (true, _) if self.chance(30) && lines.last().is_some_and(|line| line.ends_with(',')) => {
                    let last = lines.len() - 1;
                    lines[last] += &format!(" {word},{behind}");
                }
                (true, _) => lines.push(format!("{margin}{word},{behind}")),
                (false, false) => lines.push(format!("{margin}- {word}{behind}")),
                (false, true) => lines.extend([format!("{margin}- >-{behind}"), format!("{margin}    {dep}")]),
            }
            if self.chance(10) {
                lines.push(format!("{margin}{}", self.comment(stays)));
            }
        }
        lines.extend(close.map(|close| format!("{close}{}", self.behind(30, stays))));
        lines
    }
}

fn update(text: &str, draft: &Draft) -> Updated {
    let outline = Outline::read("plan", text.as_bytes()).unwrap_or_else(|problem| panic!("{problem:?}\n{text}"));
    updated(
        &outline,
        draft,
        &Fate { base: "main", command: "lexpr plan --update plan", unwanted: &BTreeSet::new(), lost: &[] },
    )
}

proptest! {
    #[test]
    fn an_update_takes_what_has_landed_and_nothing_that_a_person_wrote_about_what_stays(seed: u64) {
        let (written, text) = Writer { random: Random(seed), written: Written::default() }.plan();
        prop_assert!(check("plan", text.as_bytes()).is_ok(), "{}", text);
        let (landed, open): (Vec<_>, Vec<_>) =
            written.deps.iter().map(|(name, _)| name.clone()).partition(|name| has_landed(name));
        let item = |name: String| DraftItem { name, deps: Vec::new(), notes: Vec::new() };
        let draft = Draft {
            target: "main".to_owned(),
            items: open.into_iter().chain(["n".to_owned()]).map(item).collect(),
            left_out: landed.into_iter().map(|name| (name, "in main".to_owned())).collect(),
            ..Draft::default()
        };
        let once = update(&text, &draft);
        let plan = match check("plan", once.text.as_bytes()) {
            Ok(checked) => checked.plan,
            Err(invalid) => panic!("{:?}\nbefore:\n{text}\nafter:\n{}", invalid.problems, once.text),
        };
        let mut said = String::new();
        let _ = write!(said, "before:\n{text}\nafter:\n{}", once.text);
        prop_assert!(once.is_done, "{:?} {}", once.notes, said);

        let is: BTreeMap<String, BTreeSet<String>> = plan.items.iter()
            .map(|item| (item.name.as_str().to_owned(), item.deps.iter().map(|dep| dep.as_str().to_owned()).collect()))
            .collect();
        let mut should: BTreeMap<String, BTreeSet<String>> = written.deps.iter()
            .filter(|(name, _)| !has_landed(name))
            .map(|(name, deps)| (name.clone(), deps.iter().filter(|dep| !has_landed(dep)).cloned().collect()))
            .collect();
        if !written.has_new_commented_out {
            should.insert("n".to_owned(), BTreeSet::new());
        }
        prop_assert_eq!(is, should, "{}", said);
        for comment in &written.staying {
            let found = |text: &str| text.matches(&format!("# {comment} ")).count();
            prop_assert_eq!(found(&once.text), 1, "{} {}", comment, said);
        }
        if text.contains("\r\n") {
            prop_assert_eq!(once.text.matches('\n').count(), once.text.matches("\r\n").count(), "{}", said);
        }
        let blank = |line: &str| !line.is_empty() && line.trim().is_empty();
        prop_assert!(!once.text.lines().any(blank), "a line of spaces alone: {}", said);
        prop_assert_eq!(update(&once.text, &draft).text, once.text);
    }
}
