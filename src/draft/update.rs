//! What brings a plan up to date that a person has changed: new branches and new dependencies come in,
//! what has landed goes, and nothing else is touched.

mod lost;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::names::item_name;
use super::text::{comment, item_text, scalar};
use super::{Draft, DraftDep};
use crate::plan::amend::{Amended, Amendment, NewDep, NewItem, Outline};
use crate::plan::natural::natural_cmp;
use crate::plan::reach::reaches;
use crate::wording::shown;
pub use lost::{LastSeen, Lost, Renamed, SeenBy};
use lost::{note_of, what_next};

/// A plan's text after it was brought up to date, and what happened to it.
#[derive(Debug)]
pub struct Updated {
    pub text: String,
    /// A line each: what came, what went, what has to be done by hand.
    pub notes: Vec<String>,
    /// Nothing has to be done by hand, and nothing is lost.
    pub is_done: bool,
}

/// What else is known of the items of a plan than a draft says.
#[derive(Clone, Copy, Debug)]
pub struct Fate<'a> {
    /// What the items are compared with, as people call it.
    pub base: &'a str,
    /// What brings this plan up to date, as a shell reads it.
    pub command: &'a str,
    /// Items that somebody wants out.
    pub unwanted: &'a BTreeSet<String>,
    pub lost: &'a [Lost],
}

/// Makes `outline`'s plan what `draft` says. Its items stand for branches, as the plan's do: those that have landed by
/// `draft` go, those that the plan lacks come. What is lost stays, for its work would not land and others build on it:
/// who took it out unasked would hide that.
pub fn updated(outline: &Outline, draft: &Draft, fate: &Fate<'_>) -> Updated {
    let mut notes = Vec::new();
    let mut amendment = Amendment::default();
    let items: BTreeMap<&str, &str> =
        outline.items().iter().map(|item| (item.branch.as_str(), item.name.as_str())).collect();
    let is_open = |item: &str| {
        let lands = |branch: &str| draft.items.iter().any(|open| open.name == branch);
        outline.items().iter().any(|other| other.name == item && lands(&other.branch))
    };
    let says = |item: &str| if is_open(item) { "as you say; its branch has not landed" } else { "as you say" };
    let mut goes: BTreeMap<&str, &str> = fate.unwanted.iter().map(|item| (item.as_str(), says(item))).collect();
    for (branch, why) in &draft.left_out {
        match items.get(branch.as_str()) {
            // What has no work yet has not landed: somebody is about to begin.
            Some(item) if draft.without_commits.contains(branch) => {
                if !goes.contains_key(item) {
                    notes.push(format!("left alone {}: its branch has {why}", shown(item)));
                }
            }
            Some(item) => _ = goes.insert(item, why),
            None => notes.push(format!("left out {}: {why}", shown(branch))),
        }
    }
    let mut is_done = true;
    let borrowed_from = outline.borrowed_from(&goes.keys().map(|item| (*item).to_owned()).collect());
    for (item, why) in outline.items().iter().filter_map(|item| Some((item, goes.get(&*item.name)?))) {
        let name = shown(&item.name);
        if borrowed_from.contains(&item.name) {
            notes.push(format!("by hand: - {name}: {why}; an anchor in it is used by what stays"));
            is_done = false;
        } else {
            let above = if outline.has_comment_above(item) { "; the comment above it stays" } else { "" };
            notes.push(format!("- {name}: {why}{above}"));
            amendment.removed.insert(item.name.clone());
        }
    }
    let lost: Vec<&Lost> = fate.lost.iter().filter(|lost| !goes.contains_key(&*lost.item)).collect();
    let renamed: BTreeMap<&str, (&str, bool)> = lost
        .iter()
        .filter_map(|lost| lost.renamed.as_ref().map(|renamed| (&*renamed.to, (&*lost.item, renamed.is_sure))))
        .collect();
    let item_of = |branch: &str| {
        let known = items.get(branch).or_else(|| renamed.get(branch).map(|(item, _)| item));
        known.map_or_else(|| item_name(branch), |item| Cow::Borrowed(*item)).into_owned()
    };
    notes.extend(lost.iter().map(|lost| note_of(lost, fate.base)));
    let mut is_done = is_done && lost.is_empty();
    notes.extend(what_next(&lost, outline, &amendment.removed, fate));
    let is_commented_out = |branch: &str| !items.contains_key(branch) && outline.has_commented_out(&item_name(branch));
    let commented_out: BTreeSet<String> =
        draft.items.iter().filter(|new| is_commented_out(&new.name)).map(|new| item_of(&new.name)).collect();
    let mut wiring = Wiring::of(outline);
    for new in draft.items.iter().filter(|new| !goes.contains_key(&*item_of(&new.name))) {
        let deps = new.deps.iter().map(|dep| DraftDep { name: item_of(&dep.name), why: dep.why.clone() });
        let Some(item) = outline.items().iter().find(|item| item.branch == new.name) else {
            if let Some((item, is_sure)) = renamed.get(&*new.name) {
                let may = if *is_sure { "is" } else { "may be" };
                notes.push(format!("left out {}: it {may} {}, renamed", shown(&new.name), shown(item)));
                continue;
            }
            let name = item_name(&new.name).into_owned();
            if commented_out.contains(&name) {
                notes.push(format!("left out {}: it is commented out", shown(&new.name)));
                continue;
            }
            let mut new = new.clone();
            let (out, here): (Vec<_>, Vec<_>) = deps.partition(|dep| commented_out.contains(&dep.name));
            new.deps = here.into_iter().filter(|dep| wiring.add(&name, &dep.name)).collect();
            new.notes.extend(out.iter().map(|dep| format!("{} is commented out: {}", shown(&dep.name), dep.why)));
            notes.push(format!("+ {}", shown(&new.name)));
            amendment.added.push(NewItem { lines: item_text(&new, ""), name });
            continue;
        };
        for dep in deps {
            if item.deps.contains(&dep.name) || outline.has_commented_out_dep(item, &dep.name) {
                continue;
            }
            let (dependent, dependency) = (shown(&item.name), shown(&dep.name));
            if commented_out.contains(&dep.name) {
                notes.push(format!("{dependent} depends on {dependency}, which is commented out: {}", dep.why));
                continue;
            }
            if !wiring.add(&item.name, &dep.name) {
                notes.push(format!(
                    "{dependent} is not made to depend on {dependency}, which depends on it: {}",
                    dep.why
                ));
                continue;
            }
            if outline.has_borrowed_deps(item) {
                notes.push(format!(
                    "by hand: {dependent} depends on {dependency}: {}; its deps come by an alias",
                    dep.why
                ));
                is_done = false;
                continue;
            }
            notes.push(format!("+ {dependent} depends on {dependency}: {}", dep.why));
            let new = NewDep { scalar: scalar(&dep.name), comment: comment(&dep.why), name: dep.name };
            amendment.deps.push((item.name.clone(), new));
        }
    }
    let Amended { text, left } = outline.amended(&amendment, order(outline));
    notes.extend(left.iter().map(|left| format!("by hand: {}", shown(left))));
    Updated { text, notes, is_done: is_done && left.is_empty() }
}

/// New items go where they would stand in a plan that is written anew; behind all others where somebody put the items in
/// another order.
fn order(outline: &Outline) -> impl Fn(&str, &str) -> bool {
    let is_natural = outline.items().is_sorted_by(|left, right| natural_cmp(&left.name, &right.name).is_le());
    move |new, other| is_natural && natural_cmp(new, other).is_lt()
}

/// Who depends on whom by now, by name.
struct Wiring(BTreeMap<String, BTreeSet<String>>);

impl Wiring {
    fn of(outline: &Outline) -> Self {
        Self(outline.items().iter().map(|item| (item.name.clone(), item.deps.iter().cloned().collect())).collect())
    }

    /// False, and nothing changes, where that would close a circle.
    fn add(&mut self, dependent: &str, dependency: &str) -> bool {
        let next = |at| self.0.get(at).into_iter().flatten().map(String::as_str);
        if dependent == dependency || reaches(dependency, dependent, next) {
            return false;
        }
        self.0.entry(dependent.to_owned()).or_default().insert(dependency.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::draft::{DraftItem, plan_text};
    use crate::plan::check::check;

    fn item(name: &str, deps: &[&str]) -> DraftItem {
        let dep = |name: &&str| DraftDep { name: (*name).to_owned(), why: "so it is".to_owned() };
        DraftItem { name: name.to_owned(), deps: deps.iter().map(dep).collect(), notes: Vec::new() }
    }

    fn draft(items: &[(&str, &[&str])], landed: &[&str]) -> Draft {
        Draft {
            target: "main".to_owned(),
            items: items.iter().map(|(name, deps)| item(name, deps)).collect(),
            left_out: landed.iter().map(|name| ((*name).to_owned(), "in base".to_owned())).collect(),
            ..Draft::default()
        }
    }

    fn update(text: &str, draft: &Draft) -> Updated {
        let nobody = BTreeSet::new();
        let fate = Fate { base: "main", command: "lexpr plan --update plan", unwanted: &nobody, lost: &[] };
        let updated = updated(&Outline::read("plan", text.as_bytes()).unwrap(), draft, &fate);
        if let Err(invalid) = check("plan", updated.text.as_bytes()) {
            panic!("{:?}\n{}", invalid.problems, updated.text);
        }
        let again = super::updated(&Outline::read("plan", updated.text.as_bytes()).unwrap(), draft, &fate);
        assert_eq!(again.text, updated.text, "twice is once");
        updated
    }

    const BY_HAND: &str = "\
# My plan.
schemaVersion: v1
target: main # where it goes
gates:
- {name: test, run: 'make  test'}
items:
  # The first.
  - name: a   # mine
    priority: 3
  - { name: b, branch: feature/b, deps: [ a,  'old' ] }
  # It may go.
  - name: old
    deps: # of old
      - a
    # - x
  - name: z
    deps:
      - old
      - b   # because
      # - c
  - branch: y
    name: yy
    gates:
      - name: own
        run: |
          make own
          make more
  # The end.
";

    #[test]
    fn what_a_person_wrote_stays_and_the_rest_is_brought_up_to_date() {
        let now = draft(
            &[("a", &[]), ("c", &["a", "feature/b"]), ("feature/b", &[]), ("y", &["z"]), ("z", &["c", "a"])],
            &["old"],
        );
        let updated = update(BY_HAND, &now);
        let expected = "\
# My plan.
schemaVersion: v1
target: main # where it goes
gates:
- {name: test, run: 'make  test'}
items:
  # The first.
  - name: a   # mine
    priority: 3
  - { name: b, branch: feature/b, deps: [a] }
  # It may go.

  - name: z
    deps:
      - b   # because
      - a # so it is
      # - c
  - branch: y
    name: yy
    deps:
      - z # so it is
    gates:
      - name: own
        run: |
          make own
          make more
  - name: c
    deps:
      - a # so it is
      - b # so it is
  # The end.
";
        assert_eq!(updated.text, expected);
        let notes = [
            "- old: in base; the comment above it stays",
            "+ c",
            "+ yy depends on z: so it is",
            "+ z depends on a: so it is",
        ];
        assert_eq!(updated.notes, notes);
    }

    #[test]
    fn what_is_commented_out_stays_out() {
        let text = "schemaVersion: v1\nitems:\n  - name: b\n    # - a # not now\n  # - name: \"c\"\n  #   deps: [b]\n";
        let updated = update(text, &draft(&[("a", &[]), ("b", &["a"]), ("c", &["b"])], &[]));
        assert_eq!(
            updated.text,
            "schemaVersion: v1\nitems:\n  - name: a\n  - name: b\n    # - a # not now\n  # - name: \"c\"\n  #   deps: [b]\n"
        );
        assert_eq!(updated.notes, ["+ a", "left out c: it is commented out"]);
    }

    #[test]
    fn a_list_that_empties_or_fills_stays_a_list() {
        let emptied = update("schemaVersion: v1\nitems:\n- name: a\n", &draft(&[], &["a"]));
        assert_eq!(emptied.text, "schemaVersion: v1\nitems: []\n");
        let filled = update("schemaVersion: v1\nitems: []\n", &draft(&[("a", &[])], &[]));
        assert_eq!(filled.text, "schemaVersion: v1\nitems:\n  - name: a\n");
        let no_newline = update("schemaVersion: v1\nitems:\n- name: a", &draft(&[("a", &["b"]), ("b", &[])], &[]));
        assert_eq!(no_newline.text, "schemaVersion: v1\nitems:\n- name: a\n  deps:\n    - b # so it is\n- name: b");
    }

    #[test]
    fn an_item_with_an_anchor_that_others_use_is_left_to_people() {
        let text = "schemaVersion: v1\nitems:\n- name: a\n  gates: &g\n  - {name: x, run: 'true'}\n- name: b\n  gates: *g\n- name: c\n  deps: [a]\n";
        let updated = update(text, &draft(&[("b", &[]), ("c", &[])], &["a"]));
        assert_eq!(updated.text, text);
        assert_eq!(updated.notes, ["by hand: - a: in base; an anchor in it is used by what stays"]);
        let together = update(text, &draft(&[("c", &[])], &["a", "b"]));
        assert_eq!(together.text, "schemaVersion: v1\nitems:\n- name: c\n  deps: []\n");
    }

    #[test]
    fn lines_that_come_end_as_those_that_are_there_do() {
        let text = "schemaVersion: v1\nitems:\n- name: b\n  deps:\n  - c\n- name: c\n";
        let now = draft(&[("a", &[]), ("b", &["a"])], &["c"]);
        let windows = update(&text.replace('\n', "\r\n"), &now);
        assert_eq!(windows.text, update(text, &now).text.replace('\n', "\r\n"));
    }

    #[test]
    fn a_heading_stays_when_the_first_item_below_it_goes() {
        let text = "schemaVersion: v1\nitems:\n# --- Ann's ---\n# The first.\n- name: a\n## Bob's\n- name: b\n";
        let updated = update(text, &draft(&[], &["a", "b"]));
        assert_eq!(updated.text, "schemaVersion: v1\nitems: []\n# --- Ann's ---\n# The first.\n\n## Bob's\n");
    }

    #[test]
    fn a_plan_without_items_takes_some_wherever_they_belong() {
        let new = draft(&[("a", &[])], &[]);
        let taken = |text: &str| update(text, &new).text;
        let behind = "gates: [{name: t, run: 'true'}]\n# eof\n";
        for none in ["items: []", "items:", "items: [\n]", "items:\n  []"] {
            let text = format!("schemaVersion: v1\n{none}\n{behind}");
            assert_eq!(taken(&text), format!("schemaVersion: v1\nitems:\n  - name: a\n{behind}"), "{none:?}");
        }
        assert_eq!(
            taken("items: [] # all gone\nschemaVersion: v1\n"),
            "items: # all gone\n  - name: a\nschemaVersion: v1\n"
        );
    }

    #[test]
    fn comments_in_a_list_of_dependencies_stay() {
        let list = |deps: &str| {
            format!("schemaVersion: v1\nitems:\n- name: a\n  deps: {deps} # end\n- name: b\n- name: c\n- name: d\n")
        };
        let text = list("[ # several\n    b, # why b\n    c # why c\n  ]");
        let more = update(&text, &draft(&[("a", &["d"]), ("b", &[]), ("c", &[]), ("d", &[])], &[]));
        assert_eq!(more.text, list("[ # several\n    b, # why b\n    c, d # why c\n  ]"));
        let fewer = update(&text, &draft(&[("a", &[]), ("b", &[]), ("d", &[])], &["c"]));
        assert_eq!(fewer.text, list("[ # several\n    b, # why b\n  ]").replace("- name: c\n", ""));
        let others = update(&text, &draft(&[("a", &["d"]), ("d", &[])], &["b", "c"]));
        let expected = list("[d # several\n  ]");
        assert_eq!(others.text, expected.replace("- name: b\n- name: c\n", ""));
    }

    #[test]
    fn an_item_that_begins_with_its_dependencies_keeps_its_dash() {
        let text = "schemaVersion: v1\nitems:\n- deps:\n    - b\n  name: a\n- name: b\n";
        let updated = update(text, &draft(&[("a", &[])], &["b"]));
        assert_eq!(updated.text, "schemaVersion: v1\nitems:\n- deps: []\n  name: a\n");
    }

    #[test]
    fn a_circle_is_not_closed_and_what_comes_by_an_alias_is_left_to_people() {
        let circle = "schemaVersion: v1\nitems:\n- name: a\n  deps: [b]\n- name: b\n";
        let updated = update(circle, &draft(&[("a", &[]), ("b", &["a"])], &[]));
        assert_eq!(updated.text, circle);
        assert_eq!(updated.notes, ["b is not made to depend on a, which depends on it: so it is"]);
        let alias = "schemaVersion: v1\nitems:\n- name: a\n- name: b\n  deps: &d [a]\n- name: c\n  deps: *d\n";
        let updated = super::updated(
            &Outline::read("plan", alias.as_bytes()).unwrap(),
            &draft(&[("a", &[]), ("b", &[]), ("c", &["b"])], &[]),
            &Fate { base: "main", command: "lexpr plan --update plan", unwanted: &BTreeSet::new(), lost: &[] },
        );
        assert_eq!(updated.text, alias);
        assert_eq!(updated.notes, ["by hand: c depends on b: so it is; its deps come by an alias"]);
        assert!(!updated.is_done);
        assert!(Outline::read("plan", b"schemaVersion: v1\nitems: [{name: a}]\n").is_err());
    }

    proptest! {
        /// However a plan came to be by updates, it is what is written anew.
        #[test]
        fn a_plan_that_nobody_changed_is_updated_to_what_is_written_anew(
            before in prop::collection::btree_set(0_usize..12, 0..10),
            after in prop::collection::btree_set(0_usize..12, 0..10),
        ) {
            let name = |at: &usize| format!("i{at}");
            let of = |here: &BTreeSet<usize>, landed: Vec<usize>| Draft {
                target: "main".to_owned(),
                items: here.iter().map(|at| DraftItem {
                    name: name(at),
                    deps: here.range(..at).filter(|dep| (*dep + at) % 3 == 0)
                        .map(|dep| DraftDep { name: name(dep), why: "x".to_owned() }).collect(),
                    notes: Vec::new(),
                }).collect(),
                left_out: landed.iter().map(|at| (name(at), "in base".to_owned())).collect(),
                ..Draft::default()
            };
            let first = plan_text(&of(&before, Vec::new()));
            let updated = update(&first, &of(&after, before.difference(&after).copied().collect()));
            let deps = |text: &str| {
                let mut items: Vec<_> = check("plan", text.as_bytes()).unwrap().plan.items.into_iter()
                    .map(|mut item| { item.deps.sort(); (item.name, item.deps) }).collect();
                items.sort();
                items
            };
            prop_assert_eq!(deps(&updated.text), deps(&plan_text(&of(&after, Vec::new()))));
        }
    }
}
