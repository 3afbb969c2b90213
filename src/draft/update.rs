//! What brings a plan up to date that a person has changed: new branches and new dependencies come in,
//! what has landed goes, and nothing else is touched.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::names::item_name;
use super::text::{comment, item_text, scalar};
use super::{Draft, DraftDep};
use crate::plan::amend::{Amended, Amendment, NewDep, NewItem, Outline, Outlined};
use crate::plan::natural::natural_cmp;
use crate::plan::reach::reaches;
use crate::vocabulary::names::{CommitId, RunId};
use crate::wording::{list, shell_word, shown};

/// A plan's text after it was brought up to date, and what happened to it.
#[derive(Debug)]
pub struct Updated {
    pub text: String,
    /// A line each: what came, what went, what has to be done by hand.
    pub notes: Vec<String>,
    /// Nothing has to be done by hand, and nothing is lost.
    pub is_done: bool,
}

/// An item whose branch is gone, and of which nothing says that the target has it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub item: String,
    pub branch: String,
    pub seen: Option<LastSeen>,
    /// A merge in the target that names such a branch: no proof, as names are used again.
    pub merge: Option<String>,
    /// A remote's branch of the same name.
    pub elsewhere: Option<String>,
}

/// Where a branch that is gone by now was found last.
#[derive(Clone, Debug)]
pub struct LastSeen {
    pub head: CommitId,
    pub by: SeenBy,
    /// Why what the plan lands on has that commit, if it has. The branch may have been elsewhere since.
    pub landed: Option<String>,
}

#[derive(Clone, Debug)]
pub enum SeenBy {
    Run(RunId),
    Reflog,
}

/// What else is known of the items of a plan than a draft says.
#[derive(Clone, Copy, Debug)]
pub struct Fate<'a> {
    /// What the items are compared with, as people call it.
    pub base: &'a str,
    /// The plan's file.
    pub plan: &'a str,
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
            Some(item) => _ = goes.insert(item, why),
            None => notes.push(format!("left out {}: {why}", shown(branch))),
        }
    }
    let mut is_done = true;
    let borrowed_from = outline.borrowed_from(&goes.keys().map(|item| (*item).to_owned()).collect());
    for (item, why) in outline.items().iter().filter_map(|item| Some((&item.name, goes.get(&*item.name)?))) {
        if borrowed_from.contains(item) {
            notes.push(format!("by hand: - {}: {why}; an anchor in it is used by what stays", shown(item)));
            is_done = false;
        } else {
            notes.push(format!("- {}: {why}", shown(item)));
            amendment.removed.insert(item.clone());
        }
    }
    let item_of =
        |branch: &str| items.get(branch).map_or_else(|| item_name(branch), |item| Cow::Borrowed(*item)).into_owned();
    let lost: Vec<&Lost> = fate.lost.iter().filter(|lost| !goes.contains_key(&*lost.item)).collect();
    notes.extend(lost.iter().map(|lost| note_of(lost, fate.base)));
    let mut is_done = is_done && lost.is_empty();
    notes.extend(what_next(&lost, outline, &amendment.removed, fate.plan));
    let mut wiring = Wiring::of(outline);
    for new in draft.items.iter().filter(|new| !goes.contains_key(&*item_of(&new.name))) {
        let deps = new.deps.iter().map(|dep| DraftDep { name: item_of(&dep.name), why: dep.why.clone() });
        let Some(item) = outline.items().iter().find(|item| item.branch == new.name) else {
            let name = item_name(&new.name).into_owned();
            if outline.has_commented_out(&name) {
                notes.push(format!("left out {}: it is commented out", shown(&new.name)));
                continue;
            }
            let mut new = new.clone();
            new.deps = deps.filter(|dep| wiring.add(&name, &dep.name)).collect();
            notes.push(format!("+ {}", shown(&new.name)));
            amendment.added.push(NewItem { lines: item_text(&new, ""), name });
            continue;
        };
        for dep in deps {
            if item.deps.contains(&dep.name) || outline.has_commented_out_dep(item, &dep.name) {
                continue;
            }
            let (dependent, dependency) = (shown(&item.name), shown(&dep.name));
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

/// What is known of an item whose branch is gone, and how to have that back.
fn note_of(lost: &Lost, base: &str) -> String {
    let seen = lost.seen.as_ref().map(|LastSeen { head, by, landed }| {
        let by = match by {
            SeenBy::Run(run) => format!("as run {run} had it"),
            SeenBy::Reflog => "where it was last left".to_owned(),
        };
        (head.short(), by, landed.as_deref())
    });
    let merge = lost.merge.as_ref().map(|merge| format!("{merge} in {base} merged a branch of that name"));
    let why = match (&seen, merge) {
        (Some((head, by, Some(landed))), _) => {
            format!("of {head}, {by}, it is known: {landed}; it may have moved since")
        }
        (Some((head, _, None)), Some(merge)) => format!("{merge}, but not {head}"),
        (None, Some(merge)) => format!("{merge}, which may have been another"),
        (_, None) => format!("nothing says that its work is in {base}"),
    };
    let branch = shell_word(&lost.branch);
    let back = match (&lost.elsewhere, &seen) {
        (Some(elsewhere), _) => format!("; `git branch {branch} {}` has it back", shell_word(elsewhere)),
        (None, Some((head, by, None))) => format!("; `git branch {branch} {head}` has it back {by}"),
        (None, Some((_, _, Some(_))) | None) => String::new(),
    };
    let named = if lost.branch == lost.item { String::new() } else { format!(" {}", shown(&lost.branch)) };
    format!("left alone {}: its branch{named} is gone, and {why}{back}", shown(&lost.item))
}

/// What to do about all that is lost.
fn what_next(lost: &[&Lost], outline: &Outline, removed: &BTreeSet<String>, plan: &str) -> Option<String> {
    let names: Vec<&str> = lost.iter().map(|lost| &*lost.item).collect();
    let (are, have, are_not, them) = match names.as_slice() {
        [] => return None,
        [_] => ("it is", "it has", "is not", "it"),
        _ => ("they are", "they have", "are not", "them"),
    };
    let goes = |item: &Outlined| removed.contains(&item.name) || names.contains(&&*item.name);
    let depends = |item: &&Outlined| !goes(item) && item.deps.iter().any(|dep| names.contains(&&**dep));
    let dependents: Vec<&str> = outline.items().iter().filter(depends).map(|item| &*item.name).collect();
    let from = match dependents.as_slice() {
        [] => String::new(),
        some => format!(", also from the deps of {}", list(some)),
    };
    let words: Vec<String> = names.iter().map(|name| shell_word(name)).collect();
    Some(format!(
        "next: merge refuses the plan until {are} back or out; if {have} landed, or {are_not} wanted any more, \
         `lexpr plan --update {} --remove {}` takes {them} out{from}",
        shell_word(plan),
        words.join(" "),
    ))
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
        let fate = Fate { base: "main", plan: "plan", unwanted: &nobody, lost: &[] };
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
  # It goes.
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
        let notes = ["- old: in base", "+ c", "+ yy depends on z: so it is", "+ z depends on a: so it is"];
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
        assert_eq!(updated.text, "schemaVersion: v1\nitems: []\n# --- Ann's ---\n## Bob's\n");
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
        assert_eq!(fewer.text, list("[ # several\n    b, # why b\n     # why c\n  ]").replace("- name: c\n", ""));
        let others = update(&text, &draft(&[("a", &["d"]), ("d", &[])], &["b", "c"]));
        let expected = list("[d # several\n     # why b\n     # why c\n  ]");
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
            &Fate { base: "main", plan: "plan", unwanted: &BTreeSet::new(), lost: &[] },
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
